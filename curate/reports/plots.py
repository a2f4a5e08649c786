"""The plots of a report, drawn by matplotlib and cleaned into SVG that may stand inline.

A strict Content-Security-Policy forbids inline styles, so styles become attributes and colours become classes
(`fill-kept`, `stroke-kept`), which the page's style sheet defines for light, dark and print. The figures hold numbers
and our own words alone, never a name of the dataset.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, cast
from xml.etree import ElementTree

import numpy as np

from curate.records import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS: Mapping[str, str] = {
    "#010101": "text",
    "#020202": "grid",
    "#030303": "kept",
    "#040404": "flagged",
    "#050505": "threshold",
    "#060606": "other",
    "#070707": "band",
}
TEXT, GRID, KEPT, FLAGGED, THRESHOLD, OTHER, BAND = COLOURS
"""Placeholders for colours; `clean` turns them into classes."""

STYLE: Mapping[str, Any] = {
    "svg.hashsalt": "curate",  # the same audit gives the same bytes
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.edgecolor": GRID,
    "axes.labelcolor": TEXT,
    "text.color": TEXT,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": TEXT,
    "ytick.labelcolor": TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "path.simplify": False,
}
SVG = "http://www.w3.org/2000/svg"
LINK = "{http://www.w3.org/1999/xlink}href"
PAINT = frozenset(("fill", "stroke", "stroke-width", "stroke-dasharray", "opacity", "fill-opacity", "stroke-opacity"))
KEPT_STYLES = PAINT | {"font-size", "text-anchor", "font-weight"}
REFERENCE = re.compile(r"(?:^|url\()#([\w-]+)")
LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}")
COUNTS_BEFORE_LOG = 60
"""With more images than this in one bar, a single flagged one could not be seen on a linear scale."""


def histogram(kept: FloatArray, flagged: FloatArray, edges: FloatArray, *, mark: str) -> str:
    """Draw the anomaly scores of one nominal set, with the threshold at 1.

    Args:
        kept, flagged: the scores.
        edges: (B + 1,) of the bins.
        mark: begins the ids of this figure, so that no two figures of a page share one.
    """
    counts = [np.histogram(values, edges)[0] for values in (kept, flagged)]
    top = float(np.max(np.sum(counts, axis=0), initial=1))
    with _drawing():
        figure, (axes,) = _figure(6.0, 2.1, 1)
        for bottom, bars, colour in ((0, counts[0], KEPT), (counts[0], counts[1], FLAGGED)):
            axes.bar(edges[:-1], bars, np.diff(edges) * 0.92, bottom=bottom, align="edge", color=colour, linewidth=0)
        axes.axvline(1, color=THRESHOLD, linewidth=1.4, dashes=(5, 3))
        axes.annotate("threshold", (1, 1), (4, -1), ("data", "axes fraction"), textcoords="offset points", va="top")
        axes.set_xlabel("anomaly score (median image 0, threshold 1)")
        axes.set_ylabel("images")
        if top > COUNTS_BEFORE_LOG:
            axes.set_yscale("symlog", linthresh=1, base=10)
            axes.set_ylabel("images, log scale")
        axes.set_ylim(0, top * (2.4 if top > COUNTS_BEFORE_LOG else 1.2))
        axes.set_xlim(float(edges[0]), float(edges[-1]))
        return clean(figure, mark)


def rounds(numbers: Sequence[Mapping[str, Any]], mark: str) -> str:
    """Draw the threshold and the rejected images of one nominal set, round by round.

    Args:
        numbers: the set's rows of `rounds.parquet`, in order, at least one.
        mark: see `histogram`.
    """
    x = [row["round"] for row in numbers]
    with _drawing():
        figure, (left, right) = _figure(6.0, 1.9, 2)
        left.fill_between(x, _reals(numbers, "q1"), _reals(numbers, "q3"), color=BAND, linewidth=0)
        left.plot(x, _reals(numbers, "fence"), color=THRESHOLD, marker="o", markersize=3.5, linewidth=1.4)
        left.set_ylabel("threshold; band: Q1 to Q3")
        for shift, name, colour in ((-0.2, "rejected", FLAGGED), (0.2, "reinstated", OTHER)):
            right.bar([r + shift for r in x], _reals(numbers, name), 0.38, color=colour, linewidth=0)
        right.set_ylabel("rejected, reinstated")
        right.locator_params("y", integer=True)
        for axes in (left, right):
            axes.set_xlabel("round")
            axes.set_xticks(x if len(x) <= 12 else x[:: -(-len(x) // 12)])
        return clean(figure, mark)


def scatter(kept: FloatArray, flagged: Sequence[FloatArray], mark: str) -> str:
    """Draw the set as dots; `clean` numbers them, kept first, then the flagged groups in order.

    Args:
        kept: (N, 2) finite.
        flagged: groups of (M, 2) finite, each with a mark of its own: a triangle, a diamond, a square.
        mark: see `histogram`.
    """
    with _drawing():
        figure, (axes,) = _figure(7.2, 4.6, 1)
        axes.scatter(kept[:, 0], kept[:, 1], s=14, color=KEPT, alpha=0.75, linewidths=0, gid="dots-0")
        for number, (points, shape) in enumerate(zip(flagged, "^Ds", strict=False), start=1):
            axes.scatter(
                points[:, 0],
                points[:, 1],
                s=34,
                color=FLAGGED if number == 1 else OTHER,
                marker=shape,
                gid=f"dots-{number}",
            )
        axes.set_xlabel("first principal component")
        axes.set_ylabel("second principal component")
        axes.tick_params(labelbottom=False, labelleft=False, length=0)
        return clean(figure, mark)


def power(cells: Sequence[tuple[str, str, float, tuple[float, float]]], mark: str) -> str:
    """Draw the share of planted defects found, by size, with its interval; a colour for each range of contrasts.

    Args:
        cells: size, contrast, share found and its interval, 0-1, at least one.
        mark: see `histogram`.
    """
    sizes, contrasts = list(dict.fromkeys(cell[0] for cell in cells)), list(dict.fromkeys(cell[1] for cell in cells))
    with _drawing():
        figure, (axes,) = _figure(6.0, 2.4, 1)
        for number, contrast in enumerate(contrasts):
            own = [cell for cell in cells if cell[1] == contrast]
            shift = 0.16 * (number - (len(contrasts) - 1) / 2)
            x, shares = [sizes.index(cell[0]) + shift for cell in own], [cell[2] for cell in own]
            beyond = [
                [share - cell[3][0] for cell, share in zip(own, shares, strict=True)],
                [cell[3][1] - share for cell, share in zip(own, shares, strict=True)],
            ]
            colour, shape = (KEPT, FLAGGED, OTHER)[number % 3], "os^"[number % 3]
            label = f"contrast {contrast}"
            axes.errorbar(x, shares, np.maximum(beyond, 0), color=colour, marker=shape, linestyle="none", label=label)
        axes.set_xticks(range(len(sizes)), sizes)
        axes.set_xlim(-0.5, len(sizes) - 0.5)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("size, of the image's longest side")
        axes.set_ylabel("share found")
        axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
        return clean(figure, mark)


def budget(shares: FloatArray, precision: FloatArray, mark: str) -> str:
    """Draw the expected precision over the share of the images that is reviewed, highest scores first.

    Args:
        shares: (N,) ascending, 0-1.
        precision: (N,) expected, 0-1.
        mark: see `histogram`.
    """
    with _drawing():
        figure, (axes,) = _figure(6.0, 2.1, 1)
        axes.plot(100 * shares, precision, color=THRESHOLD, linewidth=1.4)
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("images reviewed, % of the set, highest scores first")
        axes.set_ylabel("expected precision")
        return clean(figure, mark)


def _reals(numbers: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [float("nan") if row.get(name) is None else float(row[name]) for row in numbers]


def _drawing() -> AbstractContextManager[None]:
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it logs that it builds a font cache
    from matplotlib import rc_context

    return rc_context(cast("Any", STYLE))


def _figure(width_in: float, height_in: float, columns: int) -> tuple[Figure, Sequence[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="tight")
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def clean(figure: Figure, mark: str) -> str:
    """Return a figure as an `svg` element: no style, no colour, no doubtful id, few digits; dots carry `data-dot`."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", LINK[1:].partition("}")[0])
    svg = ElementTree.fromstring(buffer.getvalue())  # noqa: S314  our own figure
    for parent in svg.iter():
        for child in [c for c in parent if c.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style")]:
            parent.remove(child)
    _number_dots(svg)
    used = {reference for element in svg.iter() for value in element.attrib.values() for reference in _targets(value)}
    for element in svg.iter():
        _plain(element, used, mark)
    for size in ("width", "height"):
        svg.attrib.pop(size, None)
    svg.set("aria-hidden", "true")  # the page describes each figure in words
    return ElementTree.tostring(svg, encoding="unicode")


def _number_dots(svg: ElementTree.Element) -> None:
    groups = sorted((g for g in svg.iter() if g.get("id", "").startswith("dots-")), key=lambda g: g.get("id", ""))
    dots = (use for group in groups for use in group.iter(f"{{{SVG}}}use"))
    for number, dot in enumerate(dots):
        dot.set("data-dot", str(number))


def _targets(value: str) -> list[str]:
    return REFERENCE.findall(value)


def _plain(element: ElementTree.Element, used: set[str], mark: str) -> None:
    """Turn an element's style into attributes and classes, make its ids its own, and shorten its numbers."""
    name = element.attrib.pop("id", "")
    if name in used:
        element.set("id", mark + name)
    for attribute in (LINK, "clip-path"):
        if attribute in element.attrib:
            element.set(attribute, element.attrib[attribute].replace("#", f"#{mark}"))
    _unstyle(element)
    for attribute in ("d", "x", "y", "transform", "width", "height"):
        if attribute in element.attrib:
            element.set(attribute, LONG_NUMBER.sub(_short, element.attrib[attribute]).replace("\n", " ").strip())
    element.tail = None
    if element.text and not element.text.strip():
        element.text = None


def _unstyle(element: ElementTree.Element) -> None:
    classes = []
    for what, value in _declarations(element.attrib.pop("style", "")):
        if value in COLOURS and what in ("fill", "stroke"):
            classes.append(f"{what}-{COLOURS[value]}")
        elif what in KEPT_STYLES:
            element.set(what, value)
    if classes:
        element.set("class", " ".join(classes))


def _declarations(style: str) -> list[tuple[str, str]]:
    pairs = (part.partition(":") for part in style.split(";"))
    return [(name.strip(), value.strip()) for name, _, value in pairs if name.strip()]


def _short(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")
