"""`report.html`: an audit as one page for people.

    tables -> words, figures, cards -> thumbnails -> one file, and a folder beside it for what exceeds the budget

The page needs no network and no server. Its Content-Security-Policy allows its own script and style by their
hash and nothing else; what comes from the dataset reaches it escaped by Jinja2, or as JSON that the script
puts into the page as text.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from curate.atomic_files import replace_text
from curate.audit.folder import OWN_THUMBNAIL, REPORT
from curate.audit.parquet import Audit
from curate.audit.schema import EXACT
from curate.errors import UsageError, WriteError
from curate.images.names import printable
from curate.progress import Progress, no_progress
from curate.records import Verdict
from curate.reports import panels, story
from curate.reports.archived_thumbnails import ArchivedThumbnails
from curate.reports.audit_rows import NEAREST_SHOWN, AuditRows
from curate.reports.budget import BudgetPanel, budget_panel, look_first_words
from curate.reports.cards import cards, thumbnail_sizes
from curate.reports.numbers import counted, finite, percent
from curate.reports.originals import Originals, originals
from curate.reports.power import PowerPanel, power_panel
from curate.reports.shots import across_groups, search_words, shot_pairs
from curate.reports.thumbnails import INLINE_BYTES, ThumbnailBudget, Thumbnails, ThumbnailSizes, draw_thumbnails

GENERATOR = "curate report"
TEMPLATE, STYLE = "report.html.j2", "report.css"
TABLE_ROWS = 1000
"""Rows of a table in the page; the rest is in the audit's own tables."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page without its thumbnails, which a report inlines and the review page requests one by one."""

    rows: AuditRows
    classes: Sequence[panels.ClassPanel]
    map: panels.MapPanel | None
    budget: BudgetPanel | None
    power: PowerPanel | None

    @cached_property
    def cards(self) -> list[dict[str, Any]]:
        """The flagged images, most anomalous first, as the script reads them."""
        return cards(self.rows, self.rows.flagged)

    @cached_property
    def kept_cards(self) -> list[dict[str, Any]]:
        """The kept images to review, as the script reads them."""
        return cards(self.rows, self.rows.kept_to_review)

    @property
    def thumbnail_sizes(self) -> ThumbnailSizes:
        """The thumbnails that the page shows, the most important first."""
        return thumbnail_sizes(self.rows, self.map.dots if self.map else ())


@dataclass(frozen=True, kw_only=True)
class ReviewState:
    """What the review page has beside the report: its own script, and the decisions by row, as JSON values."""

    script: str
    decisions: Mapping[str, Any]


def prepare(audit: Audit, reviewed: frozenset[str] = frozenset()) -> Page:
    """Draw the figures of an audit's page.

    Args:
        audit: with the tables of `curate.audit.schema`.
        reviewed: paths of images that have a card in any case, beside those that were decided on.
    """
    rows = AuditRows(audit, reviewed)
    return Page(
        rows=rows,
        classes=panels.class_panels(rows),
        map=panels.map_panel(rows),
        budget=budget_panel(audit.tables["images"]),
        power=power_panel(audit.run),
    )


def write_report(
    folder: Path,
    audit: Audit,
    *,
    file: Path | None = None,
    dataset: Path | None = None,
    inline_bytes: int = INLINE_BYTES,
    progress: Progress = no_progress,
) -> Path:
    """Write the report of an audit, whole or not at all.

    Args:
        folder: where the audit lies at the moment; its `path` is where it will lie.
        audit: with the tables of `curate.audit.schema`.
        file: of the page; None for `report.html` in `folder`. Its thumbnails go into `<name>-thumbnails` beside it.
        dataset: where the dataset lies now; None for where it was scanned.
        inline_bytes: how much of the page its thumbnails and maps may take; maps are always in it.
        progress: called with the number of images just finished.

    Returns:
        The page.

    Raises:
        UsageError: `file` exists and is no report, or `dataset` is no folder.
        WriteError: the page cannot be written.
    """
    page, images = prepare(audit), originals(audit, dataset)
    target = file or folder / REPORT
    _refuse_strangers(target)
    beside = target.with_name(f"{target.stem}-thumbnails")
    maps_bytes = sum(len(card["overlay"] or "") for card in (*page.cards, *page.kept_cards))
    budget = ThumbnailBudget(beside, max(0, inline_bytes - maps_bytes))
    try:
        if images.available:
            thumbnails = draw_thumbnails(page.thumbnail_sizes, images.picture, budget, progress=progress)
        else:
            archived = ArchivedThumbnails(page.rows, folder)
            thumbnails = draw_thumbnails(archived.sizes, archived.picture, budget, progress=progress)
        replace_text(target, render(page, thumbnails, images))
        _tidy(beside, thumbnails.beside)
    except OSError as error:
        raise WriteError(
            f"{target}: the report cannot be written ({error.strerror or error}); choose another place with -o"
        ) from error
    return target


def thumbnail_count(audit: Audit) -> int:
    """Return how many images a report decodes at most: what its progress counts."""
    rows = AuditRows(audit)
    return min(len(rows.images), (1 + NEAREST_SHOWN) * len(rows.shown) + panels.KEPT_DOTS)


def render(page: Page, thumbnails: Thumbnails, images: Originals, *, review: ReviewState | None = None) -> str:
    """Return the page as HTML.

    Args:
        page: see `prepare`.
        thumbnails: of the page.
        images: of the dataset.
        review: what the review page needs beside the report; None for a report.
    """
    values: dict[str, Any] = {
        "generator": GENERATOR,
        "version": str(page.rows.audit.run.get("curate", "")),
        "policy": policy(beside=bool(thumbnails.beside), review_script=review.script if review else ""),
        "style": _asset(STYLE),
        "scripts": _scripts(review.script if review else ""),
        "review": review is not None,
        "data": _data(page, thumbnails, images) | {"review": review and {"decisions": review.decisions}},
    }
    return _environment().get_template(TEMPLATE).render(values | _first_screen(page, images) | _tables(page, images))


def policy(*, beside: bool, review_script: str = "") -> str:
    """Return the Content-Security-Policy of a page: its own script and style, its own pictures, and nothing else.

    Args:
        beside: thumbnails lie in a folder beside the page.
        review_script: of the review page, which is served, and sends decisions to its server; "" for a report.
    """
    pictures = "data: 'self'" if review_script else "data: file:" if beside else "data:"
    return "; ".join(
        (
            "default-src 'none'",
            f"img-src {pictures}",
            f"style-src {_hash(_asset(STYLE))}",
            f"script-src {' '.join(_hash(script) for script in _scripts(review_script))}",
            "connect-src 'self'" if review_script else "connect-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _scripts(review_script: str) -> tuple[str, ...]:
    return (_asset("report.js"), *filter(None, (review_script,)))


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("curate.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": True, "allow_nan": False, "separators": (",", ":")}
    environment.filters |= {"percent": percent, "counted": counted}
    return environment


@cache
def _asset(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


def _data(page: Page, thumbnails: Thumbnails, images: Originals) -> dict[str, Any]:
    """Return what the script reads: the cards, the thumbnails' addresses, and the name of every image shown."""
    return {
        "cards": page.cards,
        "thumbnails": {f"{row}-{size}": address for (row, size), address in thumbnails.addresses.items()},
        "missing": {str(row): reason for row, reason in thumbnails.missing.items()},
        "gone": not images.available,
        "root": str(images.root).rstrip("/"),
        "images": {str(row): _caption(page.rows, row) for row in page.thumbnail_sizes},
        "dots": list(page.map.dots) if page.map else [],
        "kept_to_review": page.kept_cards,
        "look_first": page.rows.look_first,
    }


def _caption(rows: AuditRows, row: int) -> dict[str, Any]:
    image = rows.images[row]
    return {
        "shown": printable(image["path"]),
        "label": image["label"],
        "verdict": image["verdict"],
        "score": finite(image["anomaly_score"]),
        "size": [image["width_px"], image["height_px"]],
    }


def _first_screen(page: Page, images: Originals) -> dict[str, Any]:
    rows, run = page.rows, page.rows.audit.run
    counts = story.verdicts(rows)
    labels = sorted({rows.images[row]["label"] for row in rows.shown})
    return {
        "name": printable(Path(str(run.get("dataset", ""))).name or "dataset"),
        "headline": story.headline(rows),
        "look_first": look_first_words(rows.audit.tables["images"]),
        "shown_first": len(rows.look_first),
        "unjudged": story.unjudged(rows),
        "total": len(rows.images),
        "counts": [
            (verdict.value, story.VERDICT_WORDS[verdict], counts[verdict])
            for verdict in Verdict
            if verdict is not Verdict.REJECTED or counts[verdict]
        ],
        "contamination": story.contamination(run),
        "settings": story.settings(rows),
        "next_steps": story.next_steps(rows),
        "gone": "" if images.available else printable(str(images.root)),
        "views": rows.views,
        "labels": [(label, story.label_words(label)) for label in labels],
        "flagged": len(rows.flagged),
        "kept_to_review": len(set(rows.kept_to_review) - set(rows.look_first)),
    }


def _tables(page: Page, images: Originals) -> dict[str, Any]:
    rows = page.rows
    unreadable = [i for i in rows.images if i["verdict"] == Verdict.UNREADABLE]
    return {
        "classes": page.classes,
        "other_classes": panels.other_classes(rows),
        "map": page.map,
        "budget": page.budget,
        "power": page.power,
        "table_rows": TABLE_ROWS,
        "unreadable": [
            (printable(i["path"]), i["label"], i["skip_reason"], ", ".join(i["reasons"])) for i in unreadable
        ],
        "duplicates": [
            (printable(pair["path"]), printable(pair["duplicate_of"]), pair["kind"], pair["same_label"])
            for pair in rows.duplicates
        ],
        "shots": shot_pairs(rows, images),
        "search_words": search_words(rows),
        "shots_found": sum(pair["kind"] != EXACT for pair in rows.duplicates),
        "across_groups": across_groups(rows),
        "other_findings": story.other_findings(rows),
        "worst": [(c["shown"], c["verdict"], c["score"], _first_reason(c)) for c in page.cards[:TABLE_ROWS]],
    }


def _first_reason(card: Mapping[str, Any]) -> str:
    return next((reason["message"] for reason in card["reasons"]), "")


def _refuse_strangers(target: Path) -> None:
    """Refuse to overwrite anything but an earlier report."""
    if not os.path.lexists(target):
        return
    if target.is_file() and not target.is_symlink():
        with target.open("rb") as file:
            if GENERATOR.encode() in file.read(1000):
                return
    raise UsageError(f"{target}: exists and is no report of curate; choose another name with -o")


def _tidy(beside: Path, used: frozenset[str]) -> None:
    """Remove the thumbnails of an earlier report that this one does not show."""
    if not beside.is_dir() or beside.is_symlink():
        return
    for file in beside.iterdir():
        if OWN_THUMBNAIL.fullmatch(file.name) and file.name not in used:
            file.unlink()
    with suppress(OSError):  # something else lies there
        beside.rmdir()
