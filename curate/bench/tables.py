"""From cells to figures.parquet, tables.md and the summary on the screen."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.atomic_files import replace_text, replacing_file
from curate.bench.cells import GROUPS, JOINED_SCORE, Cell, CellResult, CellStore, Question, read_settings
from curate.bench.variants import ABLATIONS, scorer_variants
from curate.errors import WriteError

FIGURES, MARKDOWN = "figures.parquet", "tables.md"
DETECTOR, BASELINE, SCORER, ABLATION, TIME = "detector", "baseline", "scorer", "ablation", "time"

SCHEMA = pa.schema(
    [
        pa.field("dataset", pa.string(), metadata={"comment": "name of the labelled set"}),
        pa.field("share", pa.float64(), metadata={"comment": "of noise, 0-1, as asked for"}),
        pa.field(
            "seed", pa.int32(), metadata={"comment": "of the draw, by leakage group: all shots of a part or none"}
        ),
        pa.field("images", pa.int32(), metadata={"comment": "in the training set"}),
        pa.field("parts", pa.int32(), metadata={"comment": "leakage groups that they form; null if not counted"}),
        pa.field("defective", pa.int32(), metadata={"comment": "images that do not belong among them"}),
        pa.field("question", pa.string(), metadata={"comment": "finds, cleans or time"}),
        pa.field("kind", pa.string(), metadata={"comment": "scorer, ablation, baseline, detector or time"}),
        pa.field("method", pa.string(), metadata={"comment": "its name"}),
        pa.field(
            "trained", pa.string(), metadata={"comment": "what a detector was trained on: raw, clean, by-<method>"}
        ),
        pa.field(
            "view",
            pa.string(),
            metadata={"comment": "column of the score, or reliability; empty for the method's own"},
        ),
        pa.field(
            "figure",
            pa.string(),
            metadata={
                "comment": "auroc, ap, f1, precision_at_5, expected_precision_at_5, power_real, power_planted, ...; "
                "shares are 0-1"
            },
        ),
        pa.field("value", pa.float64(), metadata={"comment": "null for a cell that failed"}),
        pa.field("reason", pa.string(), metadata={"comment": "why a cell failed; empty if it did not"}),
        pa.field("made", pa.string(), metadata={"comment": "date, versions, machine"}),
    ]
)

COLUMNS = (
    ("auroc", "AUROC"),
    ("ap", "AP"),
    ("precision", "precision"),
    ("recall", "recall"),
    ("f1", "F1"),
    ("false_alarm", "false alarms"),
    ("precision_at_5", "P@5%"),
    ("precision_at_10", "P@10%"),
    ("precision_at_20", "P@20%"),
    ("expected_precision_at_5", "expected P@5%"),
    ("expected_precision_at_10", "expected P@10%"),
    ("expected_precision_at_20", "expected P@20%"),
    ("power_real", "real defects found"),
    ("power_planted", "planted defects found"),
    ("contamination_error", "contamination error"),
    ("calibration_error", "ECE"),
    ("fdr", "FDR at 0.1"),
    ("pixel_auroc", "pixel AUROC"),
    ("pro", "PRO"),
)
CLEANING = (("image_auroc", "image AUROC"), ("pixel_auroc", "pixel AUROC"), ("pro", "PRO"))
Row = dict[str, Any]


def figures_table(store: CellStore) -> pa.Table:
    """Return every figure of every cell, one a row, in the order of the cells; then those of the throughput."""
    rows = [row for cell, result in store.all().items() for row in _rows(cell, result)]
    rows += read_settings(store.folder).get("throughput", [])
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _rows(cell: Cell, result: CellResult) -> list[Row]:
    of_cell: Row = {
        "dataset": cell.dataset,
        "share": cell.share,
        "seed": cell.seed,
        "images": result.counts.get("images"),
        "parts": result.counts.get("parts"),
        "defective": result.counts.get("defective"),
        "question": cell.question,
        "kind": kind_of(cell),
        "method": cell.method,
        "trained": cell.trained,
        "reason": result.reason,
        "made": "; ".join(result.made[key] for key in sorted(result.made)),
    }
    if result.reason:
        return [{**of_cell, "view": "", "figure": "", "value": None}]
    return [
        {**of_cell, "view": view, "figure": figure, "value": float(value)}
        for view, figures in sorted(result.figures.items())
        for figure, value in sorted(figures.items())
    ]


def kind_of(cell: Cell) -> str:
    """Return what kind of method a cell measures."""
    if cell.question == Question.CLEANS:
        return DETECTOR
    if cell.method in scorer_variants():
        return SCORER
    return ABLATION if cell.method in ABLATIONS else BASELINE


def write_figures(figures: pa.Table, folder: Path) -> None:
    """Write the Parquet file. Raises WriteError."""
    try:
        with replacing_file(folder / FIGURES) as file:
            pq.write_table(figures, file)
    except OSError as error:
        raise WriteError(f"{folder / FIGURES}: cannot be written ({error.strerror or error})") from error


def write_markdown(store: CellStore, figures: pa.Table) -> None:
    """Write the tables. Raises WriteError."""
    file = store.folder / MARKDOWN
    try:
        replace_text(file, markdown(figures, read_settings(store.folder)))
    except OSError as error:
        raise WriteError(f"{file}: cannot be written ({error.strerror or error})") from error


def markdown(figures: pa.Table, settings: dict[str, Any]) -> str:
    """Return all tables of a bench: the means over the sets, each set, the throughput, the failed cells."""
    rows = figures.to_pylist()
    finds, cleans = _of(rows, Question.FINDS), _of(rows, Question.CLEANS)
    parts = [_head(rows, settings)]
    if finds:
        parts += ["## Does it find the noise?", *_means(finds, ("auroc", "ap", "f1"), _method)]
        parts += [_of_set(finds, name, COLUMNS, name_of=_method) for name in _values(finds, "dataset")]
    if cleans:
        parts += ["## Does cleaning help?", *_means(cleans, ("image_auroc",), _training)]
        parts += [_of_set(cleans, name, CLEANING, name_of=_training) for name in _values(cleans, "dataset")]
    parts += _time([row for row in rows if row["question"] == TIME])
    parts += _failed(rows)
    return "\n\n".join(parts) + "\n"


def _of(rows: Sequence[Row], question: str) -> list[Row]:
    """Return the rows of a question; the only view of a method repeats its own figures and is left out."""
    own = [row for row in rows if row["question"] == question]
    views: dict[str, set[str]] = {}
    for row in own:
        views.setdefault(row["method"], set()).update({row["view"]} - {"", JOINED_SCORE})
    return [row for row in own if not row["view"] or len(views[row["method"]]) > 1]


def _head(rows: Sequence[Row], settings: dict[str, Any]) -> str:
    made = sorted({row["made"] for row in rows})
    lines = [
        "# Bench",
        f"Backbone {settings.get('backbone')}, image size {settings.get('image_size')}, training sets of up to "
        f"{settings.get('images')} images, {settings.get('test_share'):.0%} of each kind kept for the test. Figures in "
        "%, mean over the seeds, ± their standard deviation; shares count defective / all images.",
        "\n".join(f"- {line}" for line in made + _grouped(settings.get(GROUPS, {}))),
    ]
    return "\n\n".join(lines)


def _grouped(groups: dict[str, list[list[str]]]) -> list[str]:
    """Say which sets were drawn by leakage group, where a set has any of more than one image."""
    return [
        f"{name}: {sum(map(len, parts))} images are copies or shots of {_count(len(parts), 'part')}, drawn together"
        for name, parts in sorted(groups.items())
        if parts
    ]


def _method(row: Row) -> str:
    view = row["view"]
    return str(row["method"]) + (f" ({view})" if view and view != JOINED_SCORE else "")


def _training(row: Row) -> str:
    return f"{row['method']}, {_TRAINED.get(row['trained'], row['trained'].replace('by-', 'cleaned by '))}"


_TRAINED = {"raw": "raw", "clean": "truly clean"}


def _values(rows: Sequence[Row], name: str) -> list[Any]:
    return list(dict.fromkeys(row[name] for row in rows))


def _wanted(row: Row) -> bool:
    """Return whether a row has a value of its own: the joined score's ranking is repeated under the method itself."""
    return row["value"] is not None and row["view"] != JOINED_SCORE


def _means(rows: Sequence[Row], figures: Sequence[str], name_of: Callable[[Row], str]) -> list[str]:
    """Return one table a figure: methods by shares, mean over all sets."""
    out, datasets = [], _values(rows, "dataset")
    for figure in figures:
        chosen = [row for row in rows if row["figure"] == figure and _wanted(row)]
        if not chosen:
            continue
        shares = sorted({row["share"] for row in chosen})
        lines = [
            f"### {dict(COLUMNS + CLEANING)[figure]}, {_sets(len(datasets))}",
            _line("method", *_percents(shares)),
        ]
        lines.append(_rule(1 + len(shares)))
        for method in dict.fromkeys(map(name_of, chosen)):
            own = [row for row in chosen if name_of(row) == method]
            lines.append(_line(method, *(_mean_of_sets(own, share, len(datasets)) for share in shares)))
        out.append("\n".join([lines[0], "", *lines[1:]]))
    return out


def _sets(count: int) -> str:
    return "one set" if count == 1 else f"mean of {count} sets"


def _mean_of_sets(rows: Sequence[Row], share: float, sets: int) -> str:
    by_set: dict[str, list[float]] = {}
    for row in rows:
        if row["share"] == share:
            by_set.setdefault(row["dataset"], []).append(row["value"])
    if not by_set:
        return "-"
    mean = 100 * statistics.mean(statistics.mean(values) for values in by_set.values())
    return f"{mean:.1f}" + ("" if len(by_set) == sets else f" ({len(by_set)} sets)")


def _of_set(
    rows: Sequence[Row], name: str, columns: Sequence[tuple[str, str]], *, name_of: Callable[[Row], str]
) -> str:
    """Return the table of one set: one row a share and method, one column a figure that some method has."""
    own = [row for row in rows if row["dataset"] == name and _wanted(row)]
    present = {row["figure"] for row in own}
    shown = [(figure, title) for figure, title in columns if figure in present]
    values: dict[tuple[float, str], dict[str, list[float]]] = {}
    counts: dict[float, str] = {}
    for row in own:
        values.setdefault((row["share"], name_of(row)), {}).setdefault(row["figure"], []).append(row["value"])
        counts[row["share"]] = f"{row['defective']}/{row['images']}"
    lines = [f"### {name}", "", _line("share", "defective", "method", *(title for _, title in shown))]
    lines.append(_rule(3 + len(shown)))
    for (share, method), by_figure in sorted(values.items(), key=lambda item: item[0][0]):
        cells = (spread(by_figure.get(figure, [])) for figure, _ in shown)
        lines.append(_line(f"{share:.0%}", counts[share], method, *cells))
    return "\n".join(lines)


def spread(values: Sequence[float]) -> str:
    """Return the mean and standard deviation of some shares in %, "-" for none."""
    if not values:
        return "-"
    mean = f"{100 * statistics.mean(values):.1f}"
    return mean if len(values) < 2 else f"{mean} ± {100 * statistics.stdev(values):.1f}"


def _time(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    lines = [_line("what", "figure"), _rule(2), *(_line(row["figure"], f"{row['value']:.4g}") for row in rows)]
    return [f"## Speed and memory\n\n{rows[0]['dataset']}, {rows[0]['images']} images", "\n".join(lines)]


def _failed(rows: Sequence[Row]) -> list[str]:
    reasons: dict[tuple[str, str], int] = {}
    for row in rows:
        if row["reason"]:
            key = (row["method"], row["reason"])
            reasons[key] = reasons.get(key, 0) + 1
    lines = [f"- {method}: {reason} ({_count(count, 'cell')})" for (method, reason), count in reasons.items()]
    return ["## Failed cells", "\n".join(lines)] if lines else []


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _percents(shares: Sequence[float]) -> list[str]:
    return [f"{share:.0%}" for share in shares]


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _rule(columns: int) -> str:
    return _line(*["---"] * columns)


def summary(figures: pa.Table, store: CellStore, drawn: Sequence[str]) -> str:
    """Return what the screen shows: the means, the failed cells, and the files with the rest."""
    rows = figures.to_pylist()
    finds, cleans = _of(rows, Question.FINDS), _of(rows, Question.CLEANS)
    parts = [*_means(finds, ("auroc", "f1"), _method), *_means(cleans, ("image_auroc",), _training)]
    parts += _failed(rows)
    failed = pc.sum(pc.not_equal(figures["reason"], "")).as_py() or 0
    files = ", ".join([MARKDOWN, FIGURES, *drawn])
    parts.append(f"{_count(len(rows), 'figure')}, {_count(failed, 'cell')} failed. In {store.folder}: {files}")
    return "\n\n".join(parts)
