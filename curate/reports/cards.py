"""What the page is told of each image that it shows, as plain values: scores, reason, neighbours, map.

A card's numbers are those of the audit; only each view's place on the common scale is worked out here.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from curate.findings import APART, NOT_JUDGED, OTHERWISE, catalogue
from curate.images.names import printable
from curate.records import Verdict
from curate.reports.maps import KEPT_MAPS, veil
from curate.reports.parquet import Audit
from curate.reports.thumbnails import Kind, data_address, to_webp

FLAGGED = (Verdict.MISLABELLED, Verdict.NEAR_OOD)
NEAREST_SHOWN = 3
LEAST_BELOW = 12
"""Kept images that are shown at least, those of the highest scores; else as many as may be anomalous."""

LEAST_MORE = 0.01
"""So small a share, 0-1, of anomalous images beyond the flagged ones is within what an estimate is off by."""
VEIL_QUALITY = 60

Row = dict[str, Any]


@dataclass(frozen=True)
class Pages:
    """An audit's tables row by row, as the parts of a report need them."""

    audit: Audit
    decided: frozenset[str] = frozenset()
    """Paths of images that have a card in any case."""

    @cached_property
    def images(self) -> list[Row]:
        """The rows of `images.parquet`."""
        return self._rows("images")

    @cached_property
    def row_of(self) -> dict[str, int]:
        """The row of each path."""
        return {image["path"]: row for row, image in enumerate(self.images)}

    @cached_property
    def findings(self) -> dict[str, list[Row]]:
        """The findings of each path, those that flag it first."""
        found = defaultdict[str, list[Row]](list)
        for finding in self._rows("findings"):
            found[finding["path"]].append(finding)
        return {path: sorted(rows, key=lambda f: f["score"] is None) for path, rows in found.items()}

    @cached_property
    def duplicates(self) -> list[Row]:
        """The rows of `duplicates.parquet`."""
        return self._rows("duplicates")

    @cached_property
    def rounds(self) -> dict[str, list[Row]]:
        """The rounds of each nominal set, in order."""
        found = defaultdict[str, list[Row]](list)
        for row in sorted(self._rows("rounds"), key=lambda r: (nominal_set(r), r["round"])):
            found[nominal_set(row)].append(row)
        return found

    @cached_property
    def maps(self) -> dict[str, Row]:
        """The anomaly map of each path that has one."""
        return {row["path"]: row for row in self._rows("maps")}

    @cached_property
    def flagged(self) -> list[int]:
        """The rows of the flagged images, worst first."""
        rows = [row for row, image in enumerate(self.images) if image["verdict"] in FLAGGED]
        return sorted(rows, key=lambda row: (-(number(self.images[row]["anomaly_score"]) or 0.0), row))

    @cached_property
    def below(self) -> list[int]:
        """The rows of the kept images with the highest scores, the highest first; of classes that were judged.

        Behind them those of groups apart (SET004), `KEPT_MAPS` at most, and of `decided`, that have no card yet.
        """
        small = {path for path, found in self.findings.items() if any(f["code"] == NOT_JUDGED for f in found)}
        judged = ((row, image) for row, image in enumerate(self.images) if image["path"] not in small)
        kept = ((row, image) for row, image in judged if image["verdict"] == Verdict.KEEP)
        scored = [(score, row) for row, image in kept if (score := number(image["anomaly_score"])) is not None]
        shown = min(max(self.more, LEAST_BELOW), KEPT_MAPS)
        highest = [row for _, row in sorted(scored, key=lambda at: (-at[0], at[1]))[:shown]]
        others = [*self.apart[:KEPT_MAPS], *(path for path in sorted(self.decided) if path in self.row_of)]
        there = {*highest, *self.flagged}
        return [*highest, *(row for row in dict.fromkeys(self.row_of[path] for path in others) if row not in there)]

    @cached_property
    def apart(self) -> list[str]:
        """The paths of images in groups apart, in the order of the audit."""
        return [path for path, found in self.findings.items() if any(f["code"] == APART for f in found)]

    @cached_property
    def more(self) -> int:
        """How many images more than are flagged the estimated contamination stands for; 0 within what it is off by."""
        estimate = number((self.audit.run.get("contamination") or {}).get("estimate")) or 0.0
        scored = sum(number(image["anomaly_score"]) is not None for image in self.images)
        lit = sum(f["code"] == OTHERWISE and f["score"] is not None for found in self.findings.values() for f in found)
        more = estimate * scored - (len(self.flagged) - lit)  # the estimate does not count those in another light
        return max(1, round(more)) if more > LEAST_MORE * scored else 0

    @property
    def shown(self) -> list[int]:
        """The rows of the images that have a card, and can be decided on: the flagged ones, then those just below."""
        return [*self.flagged, *self.below]

    @cached_property
    def views(self) -> tuple[str, ...]:
        """The scorers that gave a score."""
        table = self.audit.tables["images"]
        names = [name for name in table.column_names if name.startswith("score_")]
        return tuple(n.removeprefix("score_") for n in names if table[n].null_count < table.num_rows)

    @cached_property
    def scores(self) -> dict[str, dict[str, list[float]]]:
        """The anomaly scores of each nominal set, by verdict group: "kept" and "flagged"."""
        found: dict[str, dict[str, list[float]]] = {}
        for image in self.images:
            score = number(image["anomaly_score"])
            if score is not None:
                group = "flagged" if image["verdict"] in FLAGGED else "kept"
                found.setdefault(nominal_set(image), {"kept": [], "flagged": []})[group].append(score)
        return dict(sorted(found.items()))

    @cached_property
    def medians(self) -> dict[tuple[str, str], float]:
        """The median score of each nominal set and view."""
        found = defaultdict[tuple[str, str], list[float]](list)
        for image in self.images:
            for view in self.views:
                value = number(image[f"score_{view}"])
                if value is not None:
                    found[nominal_set(image), view].append(value)
        return {key: float(np.median(values)) for key, values in found.items()}

    def nearest(self, row: int) -> list[int]:
        """Return the rows of the kept images nearest to one, nearest first."""
        paths = self.images[row].get("nearest") or []
        return [self.row_of[path] for path in paths[:NEAREST_SHOWN] if path in self.row_of]

    def _rows(self, name: str) -> list[Row]:
        return self.audit.tables[name].to_pylist() if name in self.audit.tables else []


def nominal_set(row: Row) -> str:
    """Return what an image was judged among, or a round is of: a label, or a kind of images within it."""
    return str(row["nominal_set"])


def number(value: Any) -> float | None:
    """Return a finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        told = float(value)
    except OverflowError:  # an integer of hundreds of digits, which JSON may hold
        return None
    return told if math.isfinite(told) else None


def cards(pages: Pages, rows: Sequence[int]) -> list[Row]:
    """Return what the page needs to show some images, in their order; JSON values only."""
    return [_card(pages, row) for row in rows]


def wanted(pages: Pages, dots: Sequence[int]) -> dict[int, frozenset[Kind]]:
    """Return the thumbnails that a page needs: the worst images first, each followed by what is shown beside it.

    Args:
        dots: rows on the map of the set.
    """
    found = defaultdict[int, set[Kind]](set)
    for row in pages.shown:
        found[row].add(Kind.CARD)
        for near in pages.nearest(row):
            found[near].add(Kind.NEAR)
    for row in dots:
        found[row].add(Kind.DOT)
    return {row: frozenset(kinds) for row, kinds in found.items()}


def _card(pages: Pages, row: int) -> Row:
    image = pages.images[row]
    found = pages.findings.get(image["path"], [])
    return {
        "row": row,
        "path": image["path"],
        "shown": printable(image["path"]),
        "label": image["label"],
        "among": printable(nominal_set(image)),
        "suggested": printable(image["suggested_label"] or ""),
        "verdict": image["verdict"],
        "score": number(image["anomaly_score"]),
        "confidence": number(image["confidence"]),
        "p": number(image["p_value"]),
        "q": number(image["q_value"]),
        "round": image["round_rejected"],
        "size": [image["width_px"], image["height_px"]],
        "views": [view for name in pages.views if (view := _view(pages, image, name))],
        "reasons": [_reason(finding) for finding in found],
        "nearest": pages.nearest(row),
        "veil": _veil(pages, image["path"]),
        "box": _box(image, found),
    }


def _view(pages: Pages, image: Row, name: str) -> Row | None:
    """Return one view's score and fence; `at` is its place where 0 is the class's median image and 1 the fence."""
    score = number(image[f"score_{name}"])
    if score is None:
        return None
    fence = fence_of(pages.audit.run, nominal_set(image), name)
    median = pages.medians[nominal_set(image), name]
    at = (score - median) / (fence - median) if fence is not None and fence > median else None
    mute = printable(why_mute(pages.audit.run, nominal_set(image), name))
    return {"name": name, "score": score, "fence": fence, "at": at, "mute": mute}


def fence_of(run: Mapping[str, Any], label: str, view: str) -> float | None:
    """Return a fence as `run.json` has it, on the view's own scale; None if there is none."""
    fences = run.get("fences", {}).get(label, {})
    entry = fences.get(view) if isinstance(fences, Mapping) else None
    return number(entry.get("value")) if isinstance(entry, Mapping) else None


def votes_of(run: Mapping[str, Any], label: str, view: str) -> float | None:
    """Return how many votes a view has in the hybrid, as `run.json` has it; None if it does not say."""
    told = run.get("votes")
    of_label = told.get(label) if isinstance(told, Mapping) else None
    return number(of_label.get(view)) if isinstance(of_label, Mapping) else None


def why_mute(run: Mapping[str, Any], label: str, view: str) -> str:
    """Return why a view has no say in a class, as `run.json` has it; "" where it has, if only because no other has."""
    if fence_of(run, label, view) is not None:
        return ""
    told = run.get("scorers", {}).get(view, {})
    facts = told.get(label) if isinstance(told, Mapping) else None
    mute = facts.get("mute") if isinstance(facts, Mapping) else None
    return mute if isinstance(mute, str) else ""


def _reason(finding: Row) -> Row:
    text = catalogue().get(finding["code"])
    return {
        "code": finding["code"],
        "title": text.title if text else "",
        "message": printable(finding["message"]),
        "cure": text.cure if text else "",
        "main": finding["score"] is not None,
    }


def _veil(pages: Pages, path: str) -> str | None:
    """Return the anomaly map as an address of its own picture; None where the audit holds none."""
    entry, scale = pages.maps.get(path), pages.audit.run.get("map_scale", {})
    if entry is None or len(entry["values"]) != entry["rows"] * entry["columns"] or not entry["values"]:
        return None
    values = np.asarray(entry["values"], dtype=np.float32).reshape(entry["rows"], entry["columns"])
    low, high = number(scale.get("low")), number(scale.get("high"))
    low, high = float(values.min()) if low is None else low, float(values.max()) if high is None else high
    return data_address(to_webp(veil(values, low, high), VEIL_QUALITY))


def _box(image: Row, found: Sequence[Row]) -> list[float] | None:
    """Return left, top, width and height of where it is odd, as shares of the image's sides."""
    box = next((f["box"] for f in found if f["box"]), None)
    width, height = image["width_px"], image["height_px"]
    if not box or not width or not height or len(box) != 4:
        return None
    return [round(side / of, 4) for side, of in zip(box, (width, height, width, height), strict=True)]
