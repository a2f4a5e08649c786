"""Photograph a report for README, in Debian's Chromium: python examples/readme_picture.py REPORT.html OUT.jpg"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
WIDTH, FIRST_SCREEN, CARDS = 1440, 590, 680


def main() -> None:
    if CHROMIUM is None:
        raise SystemExit("no chromium on this machine; install it: sudo apt-get install chromium")
    report, out = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, "--no-first-run"])
        page = chromium.new_page(viewport={"width": WIDTH, "height": FIRST_SCREEN + CARDS}, color_scheme="light")
        page.goto(report.as_uri())
        # the first screen and the cards in one picture: what lies between is left out of the picture alone
        for section in ("#scores", "#power", "#budget", "#map"):
            page.locator(section).evaluate("section => { section.hidden = true }")
        # the local folder of the dataset means nothing to readers
        page.locator(".pairs dd bdi").first.evaluate(
            "path => { path.textContent = path.textContent.split('/').pop(); }"
        )
        page.locator(".card .photo").nth(1).wait_for()
        for picture in page.locator(".card").nth(0).or_(page.locator(".card").nth(1)).locator("img").all():
            picture.evaluate("image => { image.loading = 'eager'; return image.decode(); }")
        page.screenshot(path=out, type="jpeg", quality=78)
        chromium.close()


if __name__ == "__main__":
    main()
