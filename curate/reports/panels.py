"""The figures of a report, each with what it shows in words and, where it helps, in numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from curate.records import FloatArray, IntArray, Verdict
from curate.reports import plots
from curate.reports.cards import FLAGGED, Pages, fence_of, number, votes_of
from curate.reports.story import label_words, percent

CLASSES_SHOWN = 24
"""Classes with a figure of their own: those with the most flagged images; the others are rows of a table."""
SCORES_SHOWN = 5.0
"""Higher scores are counted in the last bar, so that one wild image does not flatten all others."""
BINS, KEPT_DOTS = 40, 1000
SPREAD = 0.99


@dataclass(frozen=True, kw_only=True)
class ClassPanel:
    """One class: its scores against the fence, and its rounds.

    Attributes:
        label: as shown.
        svg, words: the histogram, and what it shows.
        bins: from, to, kept, flagged of every bar that is not empty.
        fences: view, fence on its own scale.
        votes: view, its votes in the hybrid, where there are several.
        rounds_svg, rounds: the figure ("" for a single round) and the rows of `rounds.parquet`.
    """

    label: str
    svg: str
    words: str
    bins: Sequence[tuple[str, str, int, int]]
    fences: Sequence[tuple[str, float]]
    votes: Sequence[tuple[str, float]]
    rounds_svg: str
    rounds: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class MapPanel:
    """The map of the set: its dots in the order of the figure, as rows of the audit."""

    svg: str
    words: str
    dots: Sequence[int]


def class_panels(pages: Pages) -> list[ClassPanel]:
    """Return a panel for the classes with the most flagged images, in the order of their names."""
    return [_class_panel(pages, label, number) for number, label in enumerate(sorted(_shown_labels(pages)))]


def other_classes(pages: Pages) -> list[tuple[str, int, int]]:
    """Return label, images and flagged images of the classes that have no panel."""
    shown = set(_shown_labels(pages))
    return [
        (label_words(label), len(found["kept"]) + len(found["flagged"]), len(found["flagged"]))
        for label, found in pages.scores.items()
        if label not in shown
    ]


def _shown_labels(pages: Pages) -> list[str]:
    """Return the labels with the most flagged images, as many as have a panel."""
    return sorted(pages.scores, key=lambda label: (-len(pages.scores[label]["flagged"]), label))[:CLASSES_SHOWN]


def _class_panel(pages: Pages, label: str, place: int) -> ClassPanel:
    kept, flagged = (np.asarray(pages.scores[label][group], dtype=np.float32) for group in ("kept", "flagged"))
    edges = _edges(np.concatenate([kept, flagged]))
    kept_shown, flagged_shown = (np.clip(scores, edges[0], edges[-1]) for scores in (kept, flagged))
    rounds = pages.rounds.get(label, [])
    views = ("hybrid", *pages.views)
    fences = [(view, fence) for view in views if (fence := fence_of(pages.audit.run, label, view)) is not None]
    votes = [(view, told) for view in pages.views if (told := votes_of(pages.audit.run, label, view)) is not None]
    return ClassPanel(
        label=label_words(label),
        svg=plots.histogram(kept_shown, flagged_shown, edges, f"h{place}-"),
        words=_histogram_words(kept, flagged, edges),
        bins=_bins(kept_shown, flagged_shown, edges),
        fences=fences,
        votes=votes if len(votes) > 1 else [],
        rounds_svg=plots.rounds(rounds, f"r{place}-") if len(rounds) > 1 else "",
        rounds=rounds,
    )


def _edges(scores: FloatArray) -> FloatArray:
    """Return bins that have the fence, 1, for an edge, so that no bar holds kept and flagged images alike."""
    low, high = min(float(scores.min()), 0.0), max(1.2, min(float(scores.max()), SCORES_SHOWN))
    width = (high - low) / BINS
    below, above = int(np.ceil((1 - low) / width)), int(np.ceil((high - 1) / width))
    return np.asarray(1 + width * np.arange(-below, above + 1), dtype=np.float32)


def _histogram_words(kept: FloatArray, flagged: FloatArray, edges: FloatArray) -> str:
    both = np.concatenate([kept, flagged])
    low, high = (float(value) for value in np.quantile(both, [0.05, 0.95]))
    words = f"{len(both):,} images, {len(flagged):,} flagged. Nine in ten score between {low:.2f} and {high:.2f}"
    words += f", the highest {float(both.max()):.2f}; the fence is 1."
    beyond = int((both > edges[-1]).sum())
    return words + (f" {beyond:,} beyond {edges[-1]:.1f} are counted in the last bar." if beyond else "")


def _bins(kept: FloatArray, flagged: FloatArray, edges: FloatArray) -> list[tuple[str, str, int, int]]:
    counts = [np.histogram(scores, edges)[0].tolist() for scores in (kept, flagged)]
    bars = zip(edges[:-1], edges[1:], *counts, strict=True)
    return [(f"{start:.2f}", f"{end:.2f}", k, f) for start, end, k, f in bars if k or f]


def map_panel(pages: Pages) -> MapPanel | None:
    """Return the map of the set; None where the audit has no coordinates."""
    rows = [row for row, image in enumerate(pages.images) if _at(image) is not None]
    if len(rows) < 3:
        return None
    kept = [row for row in rows if pages.images[row]["verdict"] not in FLAGGED]
    groups = [[row for row in pages.flagged if _at(pages.images[row]) and _is(pages, row, v)] for v in FLAGGED]
    drawn = [kept[i] for i in _even(len(kept), KEPT_DOTS)]
    svg = plots.scatter(_points(pages, drawn), [_points(pages, group) for group in groups], "m-")
    words = _map_words(_points(pages, kept), _points(pages, [row for group in groups for row in group]))
    if len(drawn) < len(kept):
        words += f" Of the kept images {len(drawn):,} are drawn, evenly over the list."
    return MapPanel(svg=svg, words=words, dots=[*drawn, *(row for group in groups for row in group)])


def _is(pages: Pages, row: int, verdict: Verdict) -> bool:
    return bool(pages.images[row]["verdict"] == verdict)


def _at(image: Mapping[str, Any]) -> tuple[float, float] | None:
    x, y = number(image.get("pca_1")), number(image.get("pca_2"))
    return None if x is None or y is None else (x, y)


def _points(pages: Pages, rows: Sequence[int]) -> FloatArray:
    return np.asarray([_at(pages.images[row]) for row in rows], dtype=np.float32).reshape(len(rows), 2)


def _even(count: int, wanted: int) -> IntArray:
    return np.unique(np.linspace(0, max(0, count - 1), min(count, wanted)).astype(np.int64))


def _map_words(kept: FloatArray, flagged: FloatArray) -> str:
    """Say how many of the flagged images lie apart from the kept ones: beyond where 99 % of these lie."""
    words = f"{len(kept):,} kept images as dots, {len(flagged):,} flagged ones marked."
    if len(kept) < 10 or not len(flagged):
        return words
    middle, spread = np.median(kept, axis=0), np.std(kept, axis=0) + 1e-12
    reach = np.quantile(np.linalg.norm((kept - middle) / spread, axis=1), SPREAD)
    apart = int((np.linalg.norm((flagged - middle) / spread, axis=1) > reach).sum())
    words += f" {apart:,} of the flagged lie apart, farther from the middle than {percent(SPREAD)} of the kept."
    return words + " One small defect hardly moves an image on this map, which shows images as a whole."
