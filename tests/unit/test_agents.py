"""What user agents say. The texts are examples of what their makers publish."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.capture.agents import MOST_BYTES, agent

CHROME = "(KHTML, like Gecko) Chrome/140.0.0.0"
BOTS = [
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    f"Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X) {CHROME} Mobile Safari/537.36 (compatible; Googlebot/2.1)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "Mozilla/5.0 (compatible; Baiduspider/2.0; +http://www.baidu.com/search/spider.html)",
    "Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)",
    "DuckDuckBot/1.1; (+http://duckduckgo.com/duckduckbot.html)",
    "Mozilla/5.0 (compatible; Yahoo! Slurp; http://help.yahoo.com/help/us/ysearch/slurp)",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko); compatible; ChatGPT-User/1.0; +https://openai.com/bot",
    "Mozilla/5.0 (compatible; ClaudeBot/1.0; +claudebot@anthropic.com)",
    "CCBot/2.0 (https://commoncrawl.org/faq/)",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "Twitterbot/1.0",
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "WhatsApp/2.23.20.0",
    "Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)",
    "kube-probe/1.29",
    "GoogleHC/1.0",
    "ELB-HealthChecker/2.0",
    f"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 {CHROME.replace('Chrome', 'HeadlessChrome')} Safari/537.36",
    "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
    "Scrapy/2.11.0 (+https://scrapy.org)",
    "some_bot_of_mine",
]
PEOPLE = {
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 {CHROME} Safari/537.36": "desktop",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15": "desktop",
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0": "desktop",
    f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 {CHROME} Safari/537.36": "desktop",
    "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 6.1; Trident/7.0; Tablet PC 2.0)": "desktop",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148": "mobile",
    f"Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 {CHROME} Mobile Safari/537.36": "mobile",
    "Mozilla/5.0 (Linux; Android 9; CUBOT_P30) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/99.0 Mobile Safari/537.36": "mobile",
    "Mozilla/5.0 (Android 15; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0": "mobile",
    f"Mozilla/5.0 (Linux; Android 14; SM-X710) AppleWebKit/537.36 {CHROME} Safari/537.36": "tablet",
    "Mozilla/5.0 (iPad; CPU OS 12_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/12.1 Mobile/15E148": "tablet",
    f"Mozilla/5.0 (Linux; Android 12; BRAVIA 4K GoogleTV) AppleWebKit/537.36 {CHROME} Safari/537.36": None,
    "python-requests/2.32.3": None,
    "okhttp/4.12.0": None,
    "curl/8.9.1": None,
    "": None,
}


@pytest.mark.parametrize("text", BOTS)
def test_a_known_bot_is_a_bot(text: str) -> None:
    assert agent(text.encode()).bot
    assert agent(text.encode()).device == "bot"


@pytest.mark.parametrize(("text", "device"), PEOPLE.items())
def test_people_and_programs_are_no_bots_and_have_their_device(text: str, device: str | None) -> None:
    assert agent(text.encode()) == (text, False, device)


@given(st.binary(max_size=MOST_BYTES))
def test_no_bytes_raise(header: bytes) -> None:
    found = agent(header)
    assert found.text.encode("latin-1") == header
    assert found.bot is (found.device == "bot")


@given(st.sampled_from(BOTS), st.text("AZaz ;/", max_size=20))
def test_a_bot_is_one_whatever_the_case(text: str, rest: str) -> None:
    assert agent(f"{text.upper()} {rest}".encode()).bot
    assert agent(f"{text.lower()} {rest}".encode()).bot


def test_what_is_remembered_is_bounded() -> None:
    remembered = agent.cache_info().maxsize
    assert remembered is not None
    assert remembered * MOST_BYTES < 2**20
