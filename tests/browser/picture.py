"""Take the README's picture of the page: python -m tests.browser.picture ADDRESS_WITH_KEY FILE

For example over a tenant filled with `./run load --tenant picture --actors 4000 --days 7`, with the address that
`streamgauge up` prints for it, or `http://127.0.0.1:8400/?range=7d#key=...`.
"""

import re
import shutil
import sys

from playwright.sync_api import expect, sync_playwright

from tests.browser.conftest import NAMES


def main(address: str, file: str) -> None:
    """Open the page, wait for its figures, and keep what it looks like."""
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(address)
        expect(page.locator("[data-metric=requests] .value")).to_have_text(re.compile("[0-9]"))
        expect(page.locator("canvas")).to_have_count(3)
        page.screenshot(path=file)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:3])
