"""Debian's Chromium by Playwright, held off every network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
ARGUMENTS += ["--disable-sync", "--no-first-run"]
WHERE = next((found for name in ("chromium", "chromium-browser") if (found := shutil.which(name))), "")
HOW = "BROWSER TESTS SKIPPED: no chromium on this machine; install it: sudo apt-get install chromium"


def open_chromium() -> Iterator[object]:
    """Yield a running Chromium; skip where there is none, unless NEEDS_BROWSER says that there must be one."""
    if not WHERE:
        if os.environ.get("NEEDS_BROWSER") == "1":
            pytest.fail("NEEDS_BROWSER=1, but there is no chromium: apt-get install chromium")
        pytest.skip(HOW)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=WHERE, args=ARGUMENTS)
        yield chromium
        chromium.close()
