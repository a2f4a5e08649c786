"""The figures of a report, each with what it shows in words and, where it helps, in numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from curate.records import FLAGGED, FloatArray, IntArray, Verdict
from curate.reports import plots
from curate.reports.audit_rows import AuditRows
from curate.reports.numbers import counted, finite, percent
from curate.reports.story import label_words
from curate.scorers import HYBRID

CLASSES_SHOWN = 24
"""Nominal sets with a figure of their own: those with the most flagged images; the others are rows of a table."""
SCORES_SHOWN = 5.0
"""Higher scores are counted in the last bar, so that one extreme image does not flatten all others."""
BINS, KEPT_DOTS = 40, 1000
SPREAD = 0.99


@dataclass(frozen=True, kw_only=True)
class ClassPanel:
    """One nominal set: its scores, its thresholds and its rounds.

    Attributes:
        label: as shown.
        svg, words: the histogram, and what it shows.
        bins: from, to, kept, flagged of every bar that is not empty.
        thresholds: view, its threshold on its own scale.
        weights: view, its weight in the joined score, where there are several.
        rounds_svg, rounds: the figure ("" for a single round) and the rows of `rounds.parquet`.
    """

    label: str
    svg: str
    words: str
    bins: Sequence[tuple[str, str, int, int]]
    thresholds: Sequence[tuple[str, float]]
    weights: Sequence[tuple[str, float]]
    rounds_svg: str
    rounds: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class MapPanel:
    """The map of the set: its dots in the order of the figure, as rows of the audit."""

    svg: str
    words: str
    dots: Sequence[int]


def class_panels(rows: AuditRows) -> list[ClassPanel]:
    """Return a panel for the nominal sets with the most flagged images, in the order of their names."""
    return [_class_panel(rows, name, number) for number, name in enumerate(sorted(_sets_shown(rows)))]


def other_classes(rows: AuditRows) -> list[tuple[str, int, int]]:
    """Return name, images and flagged images of the nominal sets that have no panel."""
    shown = set(_sets_shown(rows))
    return [
        (label_words(name), len(scores["kept"]) + len(scores["flagged"]), len(scores["flagged"]))
        for name, scores in rows.scores.items()
        if name not in shown
    ]


def _sets_shown(rows: AuditRows) -> list[str]:
    """Return the nominal sets with the most flagged images, as many as have a panel."""
    return sorted(rows.scores, key=lambda name: (-len(rows.scores[name]["flagged"]), name))[:CLASSES_SHOWN]


def _class_panel(audit_rows: AuditRows, name: str, number: int) -> ClassPanel:
    """Return the panel of a nominal set; `number` keeps the ids of its figures apart from those of other panels."""
    kept, flagged = (np.asarray(audit_rows.scores[name][group], dtype=np.float32) for group in ("kept", "flagged"))
    edges = _edges(np.concatenate([kept, flagged]))
    kept_shown, flagged_shown = (np.clip(scores, edges[0], edges[-1]) for scores in (kept, flagged))
    rounds = audit_rows.rounds.get(name, [])
    weights = _weights(audit_rows, name)
    return ClassPanel(
        label=label_words(name),
        svg=plots.histogram(kept_shown, flagged_shown, edges, mark=f"h{number}-"),
        words=_histogram_words(kept, flagged, edges),
        bins=_bins(kept_shown, flagged_shown, edges),
        thresholds=_thresholds(audit_rows, name),
        weights=weights if len(weights) > 1 else [],
        rounds_svg=plots.rounds(rounds, f"r{number}-") if len(rounds) > 1 else "",
        rounds=rounds,
    )


def _thresholds(rows: AuditRows, name: str) -> list[tuple[str, float]]:
    views = rows.audit.views.get(name, {})
    words = {HYBRID: "joined score"} | {view: view for view in rows.views}
    thresholds = {view: finite(views[view].threshold) for view in words if view in views}
    return [(words[view], threshold) for view, threshold in thresholds.items() if threshold is not None]


def _weights(rows: AuditRows, name: str) -> list[tuple[str, float]]:
    views = rows.audit.views.get(name, {})
    weights = {view: finite(views[view].weight) for view in rows.views if view in views}
    return [(view, weight) for view, weight in weights.items() if weight is not None]


def _edges(scores: FloatArray) -> FloatArray:
    """Return bins that have the threshold, 1, for an edge, so that no bar holds kept and flagged images alike."""
    low, high = min(float(scores.min()), 0.0), max(1.2, min(float(scores.max()), SCORES_SHOWN))
    width = (high - low) / BINS
    below, above = int(np.ceil((1 - low) / width)), int(np.ceil((high - 1) / width))
    return np.asarray(1 + width * np.arange(-below, above + 1), dtype=np.float32)


def _histogram_words(kept: FloatArray, flagged: FloatArray, edges: FloatArray) -> str:
    scores = np.concatenate([kept, flagged])
    low, high = (float(value) for value in np.quantile(scores, [0.05, 0.95]))
    words = f"{counted(len(scores), 'image')}, {len(flagged):,} flagged. 90 % of the scores lie between {low:.2f} and "
    words += f"{high:.2f}; the highest is {float(scores.max()):.2f}, the threshold 1."
    beyond = int((scores > edges[-1]).sum())
    return words + (f" The last bar includes {counted(beyond, 'score')} above {edges[-1]:.1f}." if beyond else "")


def _bins(kept: FloatArray, flagged: FloatArray, edges: FloatArray) -> list[tuple[str, str, int, int]]:
    counts = [np.histogram(scores, edges)[0].tolist() for scores in (kept, flagged)]
    bars = zip(edges[:-1], edges[1:], *counts, strict=True)
    return [(f"{start:.2f}", f"{end:.2f}", k, f) for start, end, k, f in bars if k or f]


def map_panel(audit_rows: AuditRows) -> MapPanel | None:
    """Return the map of the set; None where the audit has no coordinates."""
    rows = [row for row, image in enumerate(audit_rows.images) if _coordinates(image) is not None]
    if len(rows) < 3:
        return None
    kept = [row for row in rows if audit_rows.images[row]["verdict"] not in FLAGGED]
    groups = [_flagged_on_map(audit_rows, verdict) for verdict in FLAGGED]
    flagged = [row for group in groups for row in group]
    drawn = [kept[i] for i in _evenly_spaced(len(kept), KEPT_DOTS)]
    svg = plots.scatter(_points(audit_rows, drawn), [_points(audit_rows, group) for group in groups], "m-")
    words = _map_words(_points(audit_rows, kept), _points(audit_rows, flagged))
    if len(drawn) < len(kept):
        words += f" Only {len(drawn):,} of the kept images are drawn, evenly spaced in the list."
    return MapPanel(svg=svg, words=words, dots=[*drawn, *flagged])


def _flagged_on_map(rows: AuditRows, verdict: Verdict) -> list[int]:
    images = rows.images
    return [row for row in rows.flagged if _coordinates(images[row]) and images[row]["verdict"] == verdict]


def _coordinates(image: Mapping[str, Any]) -> tuple[float, float] | None:
    x, y = finite(image.get("pca_1")), finite(image.get("pca_2"))
    return None if x is None or y is None else (x, y)


def _points(audit_rows: AuditRows, rows: Sequence[int]) -> FloatArray:
    points = [_coordinates(audit_rows.images[row]) for row in rows]
    return np.asarray(points, dtype=np.float32).reshape(len(rows), 2)


def _evenly_spaced(count: int, most: int) -> IntArray:
    return np.unique(np.linspace(0, max(0, count - 1), min(count, most)).astype(np.int64))


def _map_words(kept: FloatArray, flagged: FloatArray) -> str:
    """Return how many flagged images lie apart from the kept ones: beyond where 99 % of these lie."""
    words = f"Dots: {counted(len(kept), 'kept image')}; larger marks: {counted(len(flagged), 'flagged image')}."
    if len(kept) < 10 or not len(flagged):
        return words
    centre, spread = np.median(kept, axis=0), np.std(kept, axis=0) + 1e-12
    reach = np.quantile(np.linalg.norm((kept - centre) / spread, axis=1), SPREAD)
    apart = int((np.linalg.norm((flagged - centre) / spread, axis=1) > reach).sum())
    words += f" {counted(apart, 'flagged image')} {'lies' if apart == 1 else 'lie'} farther from the centre than "
    words += f"{percent(SPREAD)} of the kept images."
    return words + " The map compares whole images, so a small defect hardly moves an image on it."
