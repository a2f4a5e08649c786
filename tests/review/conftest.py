"""A running review page of the drawn audit, and tabs on it in a real browser."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curate.audit.parquet import Audit
from curate.review.server import listening
from curate.review.session import review_session
from tests.audit.drawn_audit import draw_audit
from tests.reports.browser import open_chromium


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    yield from open_chromium()


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    return draw_audit(tmp_path)


@pytest.fixture
def address(audit: Audit) -> Iterator[str]:
    """The address of a running review page of the drawn audit."""
    with listening(review_session(audit)) as (address, server):
        thread = threading.Thread(target=server)
        thread.start()
        yield address
        server.stop()
        thread.join(10)


@pytest.fixture
def tabs(chromium: Any, address: str) -> Iterator[tuple[Any, Any]]:
    """Two tabs on the review page; a console error but the expected 409 or an exception fails the test."""
    context, faults = chromium.new_context(viewport={"width": 1200, "height": 900}), list[str]()
    context.set_default_timeout(10_000)
    tabs = (context.new_page(), context.new_page())
    for tab in tabs:
        tab.on("console", lambda m: m.type == "error" and "409" not in m.text and faults.append(m.text))
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.on("request", lambda r: r.url.startswith((address, "data:")) or faults.append(r.url))
        tab.goto(address + "#flagged")
    yield tabs
    context.close()
    assert faults == []
