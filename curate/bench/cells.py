"""The cells of a bench on disk: one small JSON file each, written whole, so that a stopped run can go on.

    DIR/bench.json                                             what all cells share: settings, the sets' fingerprints
                                                               and leakage groups
    DIR/cells/<set>/share-<p>-seed-<s>/<question>-<name>.json  one cell

A cell that failed holds its reason, and the next run tries it again. Cells of a question that this version does not
know are ignored; earlier versions also wrote "searches".
"""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from curate import __version__
from curate.atomic_files import replace_text
from curate.errors import UsageError, WriteError

SETTINGS = "bench.json"
CELLS = "cells"
GROUPS = "groups"
"""The key of the leakage groups in `bench.json`."""

JOINED_SCORE = "anomaly_score"
"""The view of the joined score, as the column of the audit."""

RELIABILITY = "reliability"
"""The view of a reliability diagram; see `measures.reliability`."""


class Question(StrEnum):
    """What a cell asks about its method: does it find the noise, or: does a detector gain from cleaning?"""

    FINDS = "finds"
    CLEANS = "cleans"


@dataclass(frozen=True, kw_only=True, order=True)
class Cell:
    """What is measured: one method on one draw of one set.

    Attributes:
        dataset: name of the set.
        share, seed: of the draw.
        question: see `Question`.
        method: a scorer, an ablation or a baseline; or a detector.
        trained: what a detector was trained on: "raw", "clean", or "by-<method>"; "" for other methods.
    """

    dataset: str
    share: float
    seed: int
    question: Question
    method: str
    trained: str = ""

    @property
    def path(self) -> str:
        """The cell's file, relative to `cells/`."""
        name = "-".join(part for part in (self.question, self.method, self.trained) if part)
        return f"{self.dataset}/share-{self.share:g}-seed-{self.seed}/{name}.json"


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """The measured figures of a cell.

    Attributes:
        figures: by view (a score's column, "reliability" of the diagram, or "" for the method's own) and name.
        counts: images, parts, defective, and the realised share of the draw.
        flagged: rows of the draw that the method would flag; cleaning leaves them out.
        reason: why there are no figures, one sentence; "" where there are.
        made: date, versions and machine.
        scan: the settings of the scan that was measured; "" for another method, or where they were not kept.
    """

    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)
    flagged: list[int] = field(default_factory=list)
    reason: str = ""
    made: dict[str, str] = field(default_factory=dict)
    scan: str = ""


class CellStore:
    """The folder of a bench.

    Args:
        folder: created where it does not exist.
        shared: what all cells share; JSON values only.

    Raises:
        UsageError: the folder holds a bench of other settings or other images, or something else.
        WriteError: it cannot be written to.
    """

    def __init__(self, folder: Path, shared: dict[str, Any]) -> None:
        self.folder = folder
        file = folder / SETTINGS
        if folder.exists() and not file.is_file() and any(folder.iterdir()):
            raise UsageError(f"{folder}: not empty, and not a bench: choose another folder with -o")
        kept = read_settings(folder) if file.is_file() else {}
        _refuse_other(folder, kept, shared)
        merged = kept | shared | {"sets": kept.get("sets", {}) | shared.get("sets", {})}
        if merged != kept:
            write_json(file, merged)

    def read(self, cell: Cell) -> CellResult | None:
        """Return the result of a cell; None where it has none, or the file is damaged."""
        loaded = _load(self.folder / CELLS / cell.path)
        return loaded[1] if loaded and loaded[0] == cell else None

    def done(self, cell: Cell, scan: str = "") -> bool:
        """Return whether a cell has its figures, measured with these settings of a scan."""
        result = self.read(cell)
        return result is not None and not result.reason and scan in (result.scan or scan, "")

    def write(self, cell: Cell, result: CellResult) -> None:
        """Keep the result of a cell. Raises WriteError."""
        write_json(self.folder / CELLS / cell.path, {"cell": asdict(cell), "result": asdict(result)})

    def groups(self, dataset: str) -> list[list[str]] | None:
        """Return the leakage groups that the draws of a set keep together, as paths; None where none were kept."""
        groups: dict[str, list[list[str]]] = read_settings(self.folder).get(GROUPS, {})
        return groups.get(dataset)

    def keep_groups(self, dataset: str, groups: list[list[str]]) -> None:
        """Keep the leakage groups of a set. Raises WriteError."""
        kept = read_settings(self.folder)
        write_json(self.folder / SETTINGS, kept | {GROUPS: kept.get(GROUPS, {}) | {dataset: groups}})

    def all(self) -> dict[Cell, CellResult]:
        """Return all cells of the folder that this version can read, in order."""
        files = (self.folder / CELLS).glob("*/*/*.json")
        loaded = [cell for file in files if (cell := _load(file)) is not None]
        return dict(sorted(loaded, key=lambda pair: pair[0]))


def _load(file: Path) -> tuple[Cell, CellResult] | None:
    """Return the content of a file; None where it is absent, damaged, or of an unknown question."""
    try:
        value = json.loads(file.read_bytes())
        cell = value["cell"]
        return Cell(**cell | {"question": Question(cell["question"])}), CellResult(**value["result"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def read_settings(folder: Path) -> dict[str, Any]:
    """Return what the cells of a folder share.

    Raises:
        UsageError: the file is damaged.
    """
    try:
        value = json.loads((folder / SETTINGS).read_bytes())
    except ValueError as error:
        raise UsageError(f"{folder / SETTINGS}: damaged ({error}): choose another folder with -o") from error
    return dict(value)


def _refuse_other(folder: Path, kept: dict[str, Any], shared: dict[str, Any]) -> None:
    for name, value in shared.items():
        if name == "sets":
            changed = [key for key in value if kept.get("sets", {}).get(key, value[key]) != value[key]]
            if changed:
                raise UsageError(
                    f"{folder}: its cells belong to another set named {changed[0]}: choose another folder with -o"
                )
        elif name in kept and kept[name] != value:
            raise UsageError(
                f"{folder}: its cells were made with {name} {kept[name]!r}, not {value!r}: "
                "choose another folder with -o"
            )


def write_json(file: Path, value: dict[str, Any]) -> None:
    """Write a JSON file whole or not at all.

    Raises:
        WriteError: no permission, or no room.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_text(file, json.dumps(value, indent=1, sort_keys=True) + "\n")
    except OSError as error:
        raise WriteError(f"{file}: cannot be written ({error.strerror}): choose another folder with -o") from error


def provenance() -> dict[str, str]:
    """Return date, versions and machine, as each cell keeps them."""
    import torch

    return {
        "date": time.strftime("%Y-%m-%d"),
        "curate": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
