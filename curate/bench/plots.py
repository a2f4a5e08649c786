"""Curves over the share of noise, and reliability diagrams; SVG and PNG, equal for equal figures.

Curves have one line a method, with a band over the seeds; a reliability diagram has one line a share.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.bench.cells import RELIABILITY, Question
from curate.errors import WriteError

FINDS_PANELS = (
    ("auroc", "AUROC"),
    ("ap", "average precision"),
    ("f1", "F1 of the verdicts"),
    ("false_alarm", "false alarms"),
)
CLEANS_PANELS = (("image_auroc", "image AUROC"), ("pixel_auroc", "pixel AUROC"), ("pro", "PRO"))
COLUMNS = 4
"""Reliability diagrams side by side."""

LARGEST_DOT, SMALLEST_DOT = 120.0, 4.0
"""Areas of their dots, in square points: that of a bin with all images, and what every dot has in addition."""

STYLE: Any = {"svg.hashsalt": "curate", "svg.fonttype": "path", "font.size": 8, "axes.grid": True, "grid.alpha": 0.3}
PANEL_INCHES, DPI = (3.1, 2.4), 130
OWN_WIDTH, OTHER_WIDTH = 2.0, 1.0

Row = dict[str, Any]
Curve = dict[float, list[float]]


def draw(figures: pa.Table, folder: Path) -> list[Path]:
    """Draw the curves of both questions, and the reliability diagrams.

    Args:
        figures: see `tables.SCHEMA`.
        folder: of the pictures.

    Returns:
        The files written.

    Raises:
        WriteError: a file cannot be written.
    """
    measured = [row for row in figures.to_pylist() if row["value"] is not None]
    rows = [row for row in measured if row["view"] == ""]
    written = []
    for question, panels in ((Question.FINDS, FINDS_PANELS), (Question.CLEANS, CLEANS_PANELS)):
        own = [row for row in rows if row["question"] == question]
        shown = [(figure, title) for figure, title in panels if any(row["figure"] == figure for row in own)]
        if shown:
            written += _sheet(own, shown, folder / f"curves-{question}")
    reliability = [row for row in measured if row["view"] == RELIABILITY]
    return written + (_reliability(reliability, folder / "curves-reliability") if reliability else [])


def _sheet(rows: Sequence[Row], panels: Sequence[tuple[str, str]], stem: Path) -> list[Path]:
    """Draw one sheet: one column a set, one row a figure."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sets = list(dict.fromkeys(row["dataset"] for row in rows))
    own_last = sorted(rows, key=lambda row: row["kind"] != "baseline")  # drawn on top of the others
    names = list(dict.fromkeys(_name(row) for row in own_last))
    with matplotlib.rc_context(STYLE):
        size = (PANEL_INCHES[0] * len(sets) + 1.8, PANEL_INCHES[1] * len(panels) + 0.4)
        sheet = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(sheet)
        axes = sheet.subplots(len(panels), len(sets), squeeze=False, sharex=True)
        colours = matplotlib.colormaps["tab20"].colors  # type: ignore[attr-defined]
        for line, (figure, title) in enumerate(panels):
            for column, name in enumerate(sets):
                own = [row for row in rows if row["dataset"] == name and row["figure"] == figure]
                _panel(axes[line][column], own, names, colours=colours)
                axes[line][column].set_ylabel(title if column == 0 else "")
                axes[line][column].set_title(name if line == 0 else "")
                axes[line][column].set_xlabel("share of noise" if line == len(panels) - 1 else "")
        handles = {
            text: handle
            for row in axes
            for ax in row
            for handle, text in zip(*ax.get_legend_handles_labels(), strict=True)
        }
        sheet.legend(
            [handles[n] for n in names if n in handles], [n for n in names if n in handles], loc="outside right upper"
        )
        return [_save(sheet, stem.with_name(f"{stem.name}.{kind}")) for kind in ("svg", "png")]


def _panel(ax: Any, rows: Sequence[Row], names: Sequence[str], *, colours: Sequence[Any]) -> None:
    for index, name in enumerate(names):
        curve: Curve = {}
        kind = ""
        for row in rows:
            if _name(row) == name:
                curve.setdefault(row["share"], []).append(row["value"])
                kind = row["kind"]
        if not curve:
            continue
        shares = sorted(curve)
        means = [statistics.mean(curve[share]) for share in shares]
        off = [statistics.stdev(curve[share]) if len(curve[share]) > 1 else 0.0 for share in shares]
        colour = colours[index % len(colours)]
        dashed = kind == "baseline"
        ax.plot(
            shares,
            means,
            label=name,
            color=colour,
            marker=".",
            linewidth=OTHER_WIDTH if dashed else OWN_WIDTH,
            linestyle="--" if dashed else "-",
        )
        low, high = ([m + sign * o for m, o in zip(means, off, strict=True)] for sign in (-1, 1))
        ax.fill_between(shares, low, high, color=colour, alpha=0.15, linewidth=0)


def _reliability(rows: Sequence[Row], stem: Path) -> list[Path]:
    """Draw one reliability diagram a method over all sets and draws; the area of a dot shows its number of images."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(str(row["method"]) for row in rows))
    columns = min(COLUMNS, len(names))
    lines = -(-len(names) // columns)
    with matplotlib.rc_context(STYLE):
        size = (PANEL_INCHES[0] * columns, PANEL_INCHES[0] * lines)
        sheet = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(sheet)
        axes = sheet.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).ravel()
        for ax, name in zip(axes, names, strict=False):
            ax.plot([0, 1], [0, 1], color="0.6", linewidth=OTHER_WIDTH, linestyle="--")
            own = [row for row in rows if row["method"] == name]
            for share in sorted({row["share"] for row in own}):
                confidence, nominal, images = zip(
                    *reliability_points([r for r in own if r["share"] == share]), strict=True
                )
                (line,) = ax.plot(confidence, nominal, linewidth=OTHER_WIDTH, label=f"{share:.0%} of noise")
                areas = [LARGEST_DOT * count / sum(images) + SMALLEST_DOT for count in images]
                ax.scatter(confidence, nominal, s=areas, color=line.get_color())
            ax.set(title=name, xlabel="confidence that nominal", ylabel="share that is nominal")
            ax.legend(loc="lower right")
        for ax in axes[len(names) :]:
            ax.set_axis_off()
        return [_save(sheet, stem.with_name(f"{stem.name}.{kind}")) for kind in ("svg", "png")]


def reliability_points(rows: Sequence[Row]) -> list[tuple[float, float, float]]:
    """Pool the diagrams of cells: for each bin with images, their mean confidence, nominal share and number."""
    cells: dict[Any, dict[str, float]] = {}
    for row in rows:
        cells.setdefault((row["dataset"], row["share"], row["seed"]), {})[row["figure"]] = row["value"]
    points = []
    for at in sorted({int(row["figure"].rpartition("_")[2]) for row in rows}):
        filled = [cell for cell in cells.values() if f"images_{at}" in cell]
        count = sum(cell[f"images_{at}"] for cell in filled)
        means = [
            sum(cell[f"images_{at}"] * cell[f"{name}_{at}"] for cell in filled) / count
            for name in ("confidence", "nominal")
        ]
        points.append((means[0], means[1], count))
    return points


def _name(row: Row) -> str:
    return f"{row['method']}, {row['trained']}" if row["trained"] else str(row["method"])


def _save(sheet: Any, file: Path) -> Path:
    metadata = {"Date": None, "Creator": "curate"} if file.suffix == ".svg" else {"Software": "curate"}
    try:
        sheet.savefig(file, dpi=DPI, metadata=metadata)
    except OSError as error:
        raise WriteError(f"{file}: cannot be written ({error.strerror or error})") from error
    return file
