"""`report.html`: an audit as one page that people look at.

    tables -> words, figures, cards -> thumbnails -> one file, and a folder beside it for what exceeds the budget

The page needs no network and no server. Its Content-Security-Policy allows its own script and style by their
hash and nothing else; what comes from the dataset reaches it escaped by Jinja2, or as JSON that the script
puts into the page as text.
"""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from curate.errors import UsageError, WriteError
from curate.images.names import printable
from curate.records import Progress, Verdict, no_progress
from curate.reports import panels, story
from curate.reports.cards import NEAREST_SHOWN, Pages, cards, number, wanted
from curate.reports.leftovers import Leftovers
from curate.reports.originals import Originals, originals
from curate.reports.parquet import Audit
from curate.reports.place import OWN_THUMBNAIL, REPORT, umask
from curate.reports.thumbnails import INLINE_BYTES, Shelf, Thumbnails, Wanted, draw

GENERATOR = "curate report"
TEMPLATE, STYLE = "report.html.j2", "report.css"
TABLE_ROWS = 1000
"""Rows of a table in the page; the rest is in the audit's own tables."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """All that a page shows but its thumbnails, which a report inlines and the review page asks for one by one."""

    pages: Pages
    classes: Sequence[panels.ClassPanel]
    map: panels.MapPanel | None

    @cached_property
    def cards(self) -> list[dict[str, Any]]:
        """The flagged images, worst first, as the script reads them."""
        return cards(self.pages, self.pages.flagged)

    @cached_property
    def below(self) -> list[dict[str, Any]]:
        """The kept images to look at, as the script reads them."""
        return cards(self.pages, self.pages.below)

    @property
    def wanted(self) -> Wanted:
        """The thumbnails that the page shows, the most important first."""
        return wanted(self.pages, self.map.dots if self.map else ())


def prepare(audit: Audit, decided: frozenset[str] = frozenset()) -> Page:
    """Draw the figures of an audit's page.

    Args:
        decided: paths of images that have a card in any case.
    """
    pages = Pages(audit, decided)
    return Page(pages=pages, classes=panels.class_panels(pages), map=panels.map_panel(pages))


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
        audit: with the tables of `curate.reports.schema`.
        file: of the page; None for `report.html` in `folder`. Its thumbnails go into `<name>-thumbnails` beside it.
        dataset: where the dataset lies now; None for where it was scanned.
        inline_bytes: how much of the page its thumbnails and maps may take; maps are always in it.
        progress: called with the number of images just finished.

    Returns:
        The page.

    Raises:
        UsageError: `file` is there and is no report, or `dataset` is no folder.
        WriteError: the page cannot be written.
    """
    page, images = prepare(audit), originals(audit, dataset)
    target = file or folder / REPORT
    _refuse_strangers(target)
    beside = target.with_name(f"{target.stem}-thumbnails")
    maps_bytes = sum(len(card["veil"] or "") for card in (*page.cards, *page.below))
    shelf = Shelf(beside, max(0, inline_bytes - maps_bytes))
    try:
        thumbnails = _thumbnails(page, images, folder, shelf, progress)
        _replace(target, render(page, thumbnails, images))
        _tidy(beside, thumbnails.beside)
    except OSError as error:
        raise WriteError(
            f"{target}: the report cannot be written ({error.strerror or error}); choose another place with -o"
        ) from error
    return target


def thumbnail_count(audit: Audit) -> int:
    """Return how many images a report decodes at most: what its progress counts."""
    pages = Pages(audit)
    return min(len(pages.images), (1 + NEAREST_SHOWN) * len(pages.shown) + panels.KEPT_DOTS)


def _thumbnails(page: Page, images: Originals, folder: Path, shelf: Shelf, progress: Progress) -> Thumbnails:
    if images.there:
        return draw(page.wanted, images.picture, shelf, progress=progress)
    left = Leftovers(page.pages, folder)
    return draw(left.wanted, left.picture, shelf, progress=progress)


def render(page: Page, thumbnails: Thumbnails, images: Originals, *, review: Mapping[str, Any] | None = None) -> str:
    """Return the page as HTML.

    Args:
        review: what the review page needs beside the report; None for a report.
    """
    values: dict[str, Any] = {
        "generator": GENERATOR,
        "version": str(page.pages.audit.run.get("curate", "")),
        "policy": policy(beside=bool(thumbnails.beside), review=review is not None),
        "style": _asset(STYLE),
        "scripts": [_asset(name) for name in _scripts(review is not None)],
        "review": review is not None,
        "data": _data(page, thumbnails, images, review),
    }
    return _environment().get_template(TEMPLATE).render(values | _first_screen(page, images) | _tables(page))


def policy(*, beside: bool, review: bool) -> str:
    """Return the Content-Security-Policy of a page: its own script and style, its own pictures, and nothing else.

    Args:
        beside: thumbnails lie in a folder beside the page.
        review: the page is served, and sends decisions to its server.
    """
    pictures = "data: 'self'" if review else "data: file:" if beside else "data:"
    return "; ".join(
        (
            "default-src 'none'",
            f"img-src {pictures}",
            f"style-src {_hash(_asset(STYLE))}",
            f"script-src {' '.join(_hash(_asset(name)) for name in _scripts(review))}",
            "connect-src 'self'" if review else "connect-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _scripts(review: bool) -> tuple[str, ...]:
    return ("report.js", "review.js") if review else ("report.js",)


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
    environment.filters |= {"percent": story.percent}
    return environment


@cache
def _asset(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


def _data(page: Page, thumbnails: Thumbnails, images: Originals, review: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what the script reads: the cards, the thumbnails' addresses, and the name of every image shown."""
    pages, shown = page.pages, page.wanted
    return {
        "cards": page.cards,
        "thumbnails": {f"{row}-{kind}": address for (row, kind), address in thumbnails.addresses.items()},
        "gaps": {str(row): why for row, why in thumbnails.gaps.items()},
        "gone": not images.there,
        "root": str(images.root).rstrip("/"),
        "images": {str(row): _caption(pages, row) for row in shown},
        "dots": list(page.map.dots) if page.map else [],
        "below": page.below,
        "review": review,
    }


def _caption(pages: Pages, row: int) -> dict[str, Any]:
    image = pages.images[row]
    return {
        "shown": printable(image["path"]),
        "label": image["label"],
        "verdict": image["verdict"],
        "score": number(image["anomaly_score"]),
        "size": [image["width_px"], image["height_px"]],
    }


def _first_screen(page: Page, images: Originals) -> dict[str, Any]:
    pages, run = page.pages, page.pages.audit.run
    counts = story.verdicts(pages)
    labels = sorted({pages.images[row]["label"] for row in pages.shown})
    return {
        "name": printable(Path(str(run.get("dataset", ""))).name or "dataset"),
        "headline": story.headline(pages),
        "unjudged": story.unjudged(pages),
        "total": len(pages.images),
        "counts": [(verdict.value, story.VERDICT_WORDS[verdict], counts[verdict]) for verdict in Verdict],
        "contamination": story.contamination(run),
        "settings": story.settings(pages),
        "next_steps": story.next_steps(pages),
        "gone": "" if images.there else printable(str(images.root)),
        "views": pages.views,
        "labels": [(label, story.label_words(label)) for label in labels],
        "flagged": len(pages.flagged),
        "below": len(pages.below),
    }


def _tables(page: Page) -> dict[str, Any]:
    pages = page.pages
    unreadable = [i for i in pages.images if i["verdict"] == Verdict.UNREADABLE]
    return {
        "classes": page.classes,
        "other_classes": panels.other_classes(pages),
        "map": page.map,
        "table_rows": TABLE_ROWS,
        "unreadable": [
            (printable(i["path"]), i["label"], i["skip_reason"], ", ".join(i["reasons"])) for i in unreadable
        ],
        "duplicates": [
            (printable(pair["path"]), printable(pair["duplicate_of"]), pair["kind"], pair["same_label"])
            for pair in pages.duplicates
        ],
        "noticed": story.noticed(pages),
        "worst": [(card["shown"], card["verdict"], card["score"], _main(card)) for card in page.cards[:TABLE_ROWS]],
    }


def _main(card: Mapping[str, Any]) -> str:
    return next((reason["message"] for reason in card["reasons"]), "")


def _refuse_strangers(target: Path) -> None:
    """Refuse to write over anything but an earlier report."""
    if not os.path.lexists(target):
        return
    if target.is_file() and not target.is_symlink():
        with target.open("rb") as there:
            if GENERATOR.encode() in there.read(1000):
                return
    raise UsageError(f"{target}: is there and is no report of curate; choose another name with -o")


def _replace(target: Path, text: str) -> None:
    """Write a file whole or not at all."""
    handle, name = tempfile.mkstemp(prefix=".curate-", suffix=".html", dir=target.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        Path(name).chmod(0o666 & ~umask())
        os.replace(name, target)
    finally:
        with suppress(FileNotFoundError):
            Path(name).unlink()


def _tidy(beside: Path, used: frozenset[str]) -> None:
    """Remove the thumbnails of an earlier report that this one does not show."""
    if not beside.is_dir() or beside.is_symlink():
        return
    for file in beside.iterdir():
        if OWN_THUMBNAIL.fullmatch(file.name) and file.name not in used:
            file.unlink()
    with suppress(OSError):  # something else lies there
        beside.rmdir()
