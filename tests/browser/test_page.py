"""The dashboard, looked at in a real Chromium over a real server."""

import re
from pathlib import Path
from typing import Any

import httpx2 as httpx
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Served, visit
from tests.integration.program import Program

LOG = Path(__file__).resolve().parent.parent / "data" / "apache_combined_2015-05.log.gz"
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


def post(served: Served, path: str, key: str, body: object) -> Any:
    """Ask the API as any client does."""
    headers = {"Authorization": f"Bearer {key}"}
    return (
        httpx.post(f"{served.address}/api/v1/{path}", json=body, headers=headers, timeout=20)
        .raise_for_status()
        .json()
    )


def send(served: Served, key: str, count: int, route: str = "/courses/{course}", status: int = 200) -> None:
    """Send requests that happened just now."""
    properties = {
        "http.route": route,
        "http.response.status_code": status,
        "duration": 12_000,
        "http.response.body.size": 1_000,
    }
    events = [{"name": "http.request", "properties": properties} for _ in range(count)]
    assert post(served, "events", key, {"events": events})["accepted"] == count


def figure(page: Page, metric: str) -> Any:
    """The headline figure of a metric."""
    return page.locator(f"[data-metric={metric}] .value")


def test_it_shows_the_figures_that_the_api_gives_and_takes_new_ones_without_a_reload(
    browser: Browser, served: Served
) -> None:
    key = served.key("school", "read", "write")
    send(served, key, 30)
    send(served, key, 10, "/reports/{report}", 500)
    with visit(browser, f"{served.address}/#key={key}") as seen:
        expect(figure(seen.page, "requests")).to_have_text("40")
        expect(figure(seen.page, "error_rate")).to_have_text("25.0 %")
        expect(figure(seen.page, "bytes")).to_have_text("40.0 kB")
        answer = post(served, "query", key, {"metrics": ["requests", "p95_duration"], "date_range": "24h"})
        assert answer["results"][0]["metrics"] == [40, 12.0]
        expect(figure(seen.page, "p95_duration")).to_have_text("12 ms")
        rows = seen.page.locator("[data-table=routes] tbody tr")
        expect(rows.first).to_contain_text("/courses/{course}")
        expect(rows).to_have_count(2)
        expect(seen.page.locator("[data-table=activity] li")).to_have_count(10)
        send(served, key, 5)
        expect(figure(seen.page, "requests")).to_have_text("45", timeout=15_000)
        assert seen.complaints == []
        assert all(url.split(" ")[1].startswith(served.address) for url in seen.asked)


def test_the_key_leaves_the_address_and_stays_in_the_tab(browser: Browser, served: Served) -> None:
    key = served.key("school", "read")
    with visit(browser, f"{served.address}/#key={key}") as seen:
        expect(seen.page.locator("[data-notice=empty]")).to_be_visible()
        assert seen.page.url == f"{served.address}/"
        seen.page.reload()
        expect(seen.page.locator("[data-notice=empty]")).to_be_visible()
        assert not any("sg_" in url for url in seen.asked)


def test_an_empty_tenant_is_told_what_to_do(browser: Browser, served: Served) -> None:
    key = served.key("school", "read", "write")
    with visit(browser, f"{served.address}/#key={key}") as seen:
        notice = seen.page.locator("[data-notice=empty]")
        for said in ("Streamgauge().instrument(app)", "./run import access-log", "./run doctor"):
            expect(notice).to_contain_text(said)
        send(served, key, 1)
        expect(figure(seen.page, "requests")).to_have_text("1", timeout=15_000)


def test_without_a_usable_key_it_asks_for_one_and_says_why(browser: Browser, served: Served) -> None:
    key = served.key("school", "read")
    wrong = key[:-4] + ("aaaa" if not key.endswith("aaaa") else "bbbb")
    with visit(browser, served.address) as seen:
        expect(seen.page.get_by_text("streamgauge keys create")).to_be_visible()
        for text, told in (
            ("nonsense", "That is not a key"),
            (wrong, "a valid access key or token is needed"),
        ):
            seen.page.get_by_label("Access key").fill(text)
            seen.page.get_by_role("button", name="Open").click()
            expect(seen.page.get_by_role("alert").filter(has_text=told)).to_be_visible()
        seen.page.get_by_label("Access key").fill(key)
        seen.page.get_by_role("button", name="Open").click()
        expect(seen.page.locator("[data-notice=empty]")).to_be_visible()


def test_a_route_filters_the_page_and_the_address_can_be_shared(browser: Browser, served: Served) -> None:
    key = served.key("school", "read", "write")
    send(served, key, 30)
    send(served, key, 7, "/login")
    with visit(browser, f"{served.address}/#key={key}") as seen:
        seen.page.get_by_role("button", name="/login").click()
        expect(figure(seen.page, "requests")).to_have_text("7")
        assert "route=%2Flogin" in seen.page.url
        seen.page.get_by_role("button", name="7 days").click()
        expect(seen.page.get_by_role("button", name="7 days")).to_have_attribute("aria-pressed", "true")
        expect(figure(seen.page, "requests")).to_have_text("7")
        seen.page.go_back()
        seen.page.go_back()
        expect(figure(seen.page, "requests")).to_have_text("37")
        with seen.page.context.expect_page() as opened:
            seen.page.evaluate(f"window.open('{served.address}/?range=7d&route=%2Flogin#key={key}')")
        expect(figure(opened.value, "requests")).to_have_text("7")


def test_an_unchanged_poll_is_answered_304(browser: Browser, served: Served) -> None:
    key = served.key("school", "read", "write")
    send(served, key, 3)
    with visit(browser, f"{served.address}/#key={key}") as seen:
        expect(figure(seen.page, "requests")).to_have_text("3")
        with seen.page.expect_response(
            lambda reply: "aggregate" in reply.url and reply.status == 304, timeout=20_000
        ):
            pass


def test_a_hidden_page_asks_nothing_until_it_is_seen_again(browser: Browser, served: Served) -> None:
    key = served.key("school", "read", "write")
    send(served, key, 3)
    with visit(browser, f"{served.address}/#key={key}") as seen:
        expect(figure(seen.page, "requests")).to_have_text("3")
        hide = "(hidden) => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true}); document.dispatchEvent(new Event('visibilitychange')) }"
        seen.page.evaluate(hide, True)
        seen.page.wait_for_timeout(4_000)  # a round under way ends, and a timer that was set runs out
        before = len(seen.asked)
        seen.page.wait_for_timeout(5_000)
        assert len(seen.asked) == before
        send(served, key, 2)
        seen.page.evaluate(hide, False)
        expect(figure(seen.page, "requests")).to_have_text("5")


def test_hostile_names_are_text(browser: Browser, served: Served) -> None:
    key = served.key("school", "read", "write")
    send(served, key, 3, HOSTILE)
    with visit(browser, f"{served.address}/#key={key}") as seen:
        expect(seen.page.locator("[data-table=routes]")).to_contain_text(HOSTILE)
        expect(seen.page.locator("[data-table=activity]")).to_contain_text(HOSTILE)
        assert seen.page.title() == "Streamgauge"
        assert seen.page.locator("img").count() == 0
        assert seen.complaints == []


def test_the_policy_lets_nothing_in_that_is_not_ours(browser: Browser, served: Served) -> None:
    with visit(browser, served.address) as seen:
        inject = "() => { const s = document.createElement('script'); s.textContent = \"document.title='owned'\"; document.body.append(s) }"
        seen.page.evaluate(inject)
        assert seen.page.title() == "Streamgauge"
        assert any("Content Security Policy" in said for said in seen.complaints)
        seen.complaints.clear()
        sent = seen.page.evaluate("fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'refused')")
        assert sent == "refused"
        assert any("connect-src" in said for said in seen.complaints)


def test_it_fits_a_phone_and_follows_the_dark_scheme(
    browser: Browser, served: Served, tmp_path: Path
) -> None:
    key = served.key("school", "read", "write")
    send(served, key, 20, "/courses/{course}/lessons/{lesson}/progress")
    grounds = {}
    for name, width, dark in (("light", 1280, False), ("dark", 1280, True), ("phone", 360, False)):
        with visit(browser, f"{served.address}/#key={key}", dark=dark, width=width) as seen:
            expect(figure(seen.page, "requests")).to_have_text("20")
            assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
            grounds[name] = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
            picture = seen.page.screenshot(path=tmp_path / f"{name}.png")
            assert len(picture) > 10_000
            drawn = seen.page.evaluate(
                "[...document.querySelectorAll('canvas')].map((c) => new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size)"
            )
            assert len(drawn) == 3
            assert min(drawn) > 3
    assert grounds["light"] == grounds["phone"] != grounds["dark"]


def test_curves_are_told_in_words_and_can_be_had_as_tables(browser: Browser, served: Served) -> None:
    key = served.key("school", "read", "write")
    send(served, key, 20)
    with visit(browser, f"{served.address}/#key={key}") as seen:
        told = seen.page.get_by_role(
            "img", name=re.compile("Requests and errors: Requests from 0 to 20, Errors from 0 to 0")
        )
        expect(told).to_be_visible()
        seen.page.get_by_role("button", name="Table").first.press("Enter")
        table = seen.page.locator(".curves table").first
        expect(table.locator("tbody tr")).to_have_count(24)
        expect(table.locator("tbody tr").last).to_contain_text("20")


def test_a_real_log_is_shown_as_query_counts_it(browser: Browser, served: Served) -> None:
    with Program(
        "import",
        "access-log",
        str(LOG),
        "--tenant",
        "site",
        log=served.folder / "import.log",
        **served.environment,
    ) as command:
        assert command.ended() == 0, command.output
    key = served.key("site", "read")
    answer = post(served, "query", key, {"metrics": ["events"], "date_range": "all"})
    assert answer["results"][0]["metrics"] == [9_999]
    with visit(browser, f"{served.address}/?range=30d#key={key}") as seen:
        # It is of 2015: nothing of it lies within the last 30 days, and the page says so without failing.
        expect(figure(seen.page, "requests")).to_have_text("0")
        expect(seen.page.locator("[data-table=activity] li")).to_have_count(10)
        assert seen.complaints == []


def test_a_server_that_goes_away_is_told_and_found_again(browser: Browser, served: Served) -> None:
    key = served.key("school", "read", "write")
    send(served, key, 3)
    with visit(browser, f"{served.address}/#key={key}") as seen:
        expect(figure(seen.page, "requests")).to_have_text("3")
        seen.page.context.set_offline(True)
        expect(seen.page.get_by_role("status")).to_have_text("The server cannot be reached.", timeout=15_000)
        expect(figure(seen.page, "requests")).to_have_text("3")
        seen.page.context.set_offline(False)
        expect(seen.page.get_by_role("status")).to_contain_text(
            "active in the last 5 minutes", timeout=30_000
        )
