"""The figures of a judged draw: what `curate`'s own scores, verdicts and probabilities are worth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.bench import measures
from curate.bench.cells import JOINED_SCORE, RELIABILITY
from curate.bench.embedder import DrawnSet
from curate.bench.judge_draw import JudgedDraw
from curate.bench.masks import measure_maps
from curate.bench.sets import LabelledSet
from curate.records import CLEAN, BoolArray


def scan_figures(drawn: DrawnSet, judged: JudgedDraw, source: LabelledSet) -> dict[str, measures.Figures]:
    """Return the figures of a judged draw by the column of the score; those of the verdicts are under ""."""
    table, wrong = judged.images, drawn.draw.wrong
    own = measures.verdicts(wrong, flagged(table)) | judged.seconds
    own |= {
        "contamination": judged.contamination,
        "contamination_error": judged.contamination - drawn.draw.realised,
    }
    figures: dict[str, measures.Figures] = {}
    rows = drawn.draw.rows[drawn.readable]
    for column, maps in judged.maps.items():
        noise, scores = _with_value(table, column, wrong)
        if len(scores):
            figures[column] = measures.ranking(noise, scores) | measure_maps(maps, source, rows)
    own |= figures.get(JOINED_SCORE, {}) | _calibration(table, wrong) | _labels(table, drawn, source)
    own |= _power(judged, wrong)
    if reliability := measures.reliability(*_with_value(table, "confidence", wrong)):
        figures[RELIABILITY] = reliability
    return {"": own, **figures}


def flagged(images: pa.Table) -> BoolArray:
    """Return which images of an images table have a verdict other than those of the cleaned split, (N,)."""
    return np.array([verdict not in CLEAN for verdict in images["verdict"].to_pylist()], dtype=np.bool_)


def _calibration(table: pa.Table, wrong: BoolArray) -> measures.Figures:
    """Return how far `confidence` and `q_value` hold, where the table has values."""
    figures: measures.Figures = {}
    noise, confidence = _with_value(table, "confidence", wrong)
    if len(confidence):
        figures["calibration_error"] = measures.calibration_error(noise, confidence)
        _, scores = _with_value(table, JOINED_SCORE, wrong)
        figures |= measures.expected_precision(scores, confidence)
    noise, q_values = _with_value(table, "q_value", wrong)
    if len(q_values):
        figures |= measures.discovery(noise, q_values)
    return figures


def _power(judged: JudgedDraw, wrong: BoolArray) -> measures.Figures:
    """Return the share of planted defects, and of real ones, that score above the threshold; of those that there are.

    An acquisition outlier counts as well: its score says how far its light or focus lies outside.
    """
    figures = {} if judged.power_planted is None else {"power_planted": judged.power_planted}
    noise, scores = _with_value(judged.images, JOINED_SCORE, wrong)
    return figures | ({"power_real": float((scores[noise] > 1).mean())} if noise.any() else {})


def _with_value(table: Any, column: str, wrong: BoolArray) -> tuple[BoolArray, NDArray[np.float64]]:
    """Return, of the images with a value in a column, which are noise, and the values."""
    values = table[column].to_numpy(zero_copy_only=False).astype(np.float64)
    finite = np.isfinite(values)
    return wrong[finite], values[finite]


def _labels(table: pa.Table, drawn: DrawnSet, source: LabelledSet) -> measures.Figures:
    """Return the share of wrong labels that were corrected, where noise is a wrong label."""
    if not source.by_class or not drawn.draw.wrong.any():
        return {}
    suggested = table["suggested_label"].to_pylist()
    right = [suggested[i] == source.labels[row] for i, row in enumerate(drawn.draw.rows) if drawn.draw.wrong[i]]
    return {"label_recall": float(np.mean(right))}
