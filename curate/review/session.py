"""One audit under review: its page, its pictures, and the decisions that people take on it.

An image is requested by its row in the audit, never by a path, and given as a thumbnail, never as a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from curate.audit.decisions import LONGEST_NOTE, Decided, Decision, Decisions
from curate.audit.effective_verdicts import with_decisions
from curate.audit.parquet import Audit
from curate.audit.reviewed import hashes_of
from curate.errors import UsageError
from curate.reports.archived_thumbnails import ArchivedThumbnails
from curate.reports.html import Page, ReviewState, prepare, render
from curate.reports.originals import Originals, originals
from curate.reports.thumbnails import PictureSource, Thumbnails, ThumbnailSize, ThumbnailSizes, encode_all


class BadRequest(Exception):
    """A request that the page itself never makes."""


@dataclass(frozen=True, kw_only=True)
class ReviewSession:
    """One audit under review: its page, its images and its decisions."""

    page: Page
    images: Originals
    archived: ArchivedThumbnails
    decisions: Decisions

    def html(self) -> str:
        """Return the page; its thumbnails are addresses below the page's own."""
        addresses = {(row, size): f"picture/{row}/{size}" for row, sizes in self._sizes.items() for size in sizes}
        state = ReviewState(script=script(), decisions=self.state())
        return render(self.page, Thumbnails(addresses=addresses), self.images, review=state)

    def state(self) -> dict[str, dict[str, Any]]:
        """Return the decisions by row, as JSON values."""
        row_of, decisions = self.page.rows.row_of, self.decisions.all()
        return {str(row_of[path]): as_json(decided) for path, decided in decisions.items() if path in row_of}

    def picture(self, row: int, size: ThumbnailSize) -> bytes | None:
        """Return a thumbnail as WebP; None where the page shows no such thumbnail or there is no picture."""
        if size not in self._sizes.get(row, ()):
            return None
        thumbnails = encode_all(row, (size,), self._source)
        return None if isinstance(thumbnails, str) else thumbnails[size]

    def decide(self, request: Mapping[str, Any]) -> Decided:
        """Change a decision as a page requests it.

        Raises:
            BadRequest: no page makes such a request.
            Stale: another change came first.
        """
        row, decision, note, seen = (request.get(key) for key in ("row", "decision", "note", "revision"))
        shown = self.page.rows.shown
        if not (isinstance(row, int) and isinstance(seen, int) and isinstance(note, str) and row in shown):
            raise BadRequest("a request needs row, decision, note and revision of an image on the page")
        if decision not in set(Decision) or len(note) > LONGEST_NOTE:
            raise BadRequest("the decision must be keep, reject, unsure or empty; the note may have 2,000 characters")
        return self.decisions.decide(self.page.rows.images[row]["path"], Decision(decision), note, seen=seen)

    @property
    def _sizes(self) -> ThumbnailSizes:
        return self.page.thumbnail_sizes if self.images.available else self.archived.sizes

    @property
    def _source(self) -> PictureSource:
        return self.images.picture if self.images.available else self.archived.picture


def as_json(decided: Decided) -> dict[str, Any]:
    """Return a decision as JSON values."""
    return {"decision": decided.decision.value, "note": decided.note, "revision": decided.revision}


def review_session(audit: Audit, dataset: Path | None = None) -> ReviewSession:
    """Open an audit for review.

    Args:
        audit: as read from its folder.
        dataset: where the dataset lies now; None for where it was scanned.

    Raises:
        UsageError: `dataset` is no folder, or the audit has none.
        InputError: `decisions.parquet` is damaged.
    """
    if audit.path is None:
        raise UsageError("an audit must be written to a folder before it can be reviewed")
    decisions = Decisions(audit.path, hashes_of(audit))
    scanned = {"images": with_decisions(audit.tables["images"], {})}  # decisions change while the page is open
    page = prepare(replace(audit, tables={**audit.tables, **scanned}), frozenset(decisions.all()))
    archived = ArchivedThumbnails(page.rows, audit.path)
    return ReviewSession(page=page, images=originals(audit, dataset), archived=archived, decisions=decisions)


@cache
def script() -> str:
    """Return what the page runs beside the report's own script."""
    return (Path(__file__).parent / "templates" / "review.js").read_text(encoding="utf-8")
