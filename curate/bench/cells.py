"""The cells of a bench on disk: one small JSON file each, written whole, so that a run goes on where it stopped.

    DIR/bench.json                                             what all cells share: settings, the sets' fingerprints
    DIR/cells/<set>/share-<p>-seed-<s>/<question>-<name>.json  one cell

A cell that failed holds its reason, and is tried again by the next run.
"""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from curate.errors import UsageError, WriteError

SETTINGS = "bench.json"
CELLS = "cells"


@dataclass(frozen=True, kw_only=True, order=True)
class Cell:
    """What is measured: one method on one draw of one set.

    Attributes:
        dataset: name of the set.
        share, seed: of the draw.
        question: "finds" (does it find the noise?), "cleans" (does cleaning help?), or "searches" (which settings?).
        method: a scorer, an ablation, a baseline; or a detector; or "search".
        trained: what a detector was trained on: "raw", "clean", or "by-<method>"; "" for other questions.
    """

    dataset: str
    share: float
    seed: int
    question: str
    method: str
    trained: str = ""

    @property
    def place(self) -> str:
        """Where the cell lies below `cells/`."""
        name = "-".join(part for part in (self.question, self.method, self.trained) if part)
        return f"{self.dataset}/share-{self.share:g}-seed-{self.seed}/{name}.json"


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came out of a cell.

    Attributes:
        figures: by view (a score's column, "start" and "best" of a search, "reliability" of the diagram, or "" where
            there is one only) and name.
        counts: images, defective, and the realised share of the draw.
        flagged: rows of the draw that the method would flag; what cleaning leaves out.
        reason: why there are no figures, one sentence; "" where there are.
        made: date, versions and machine.
        scan: the settings of the scan or search that was measured; "" for another method, or where they were not kept.
    """

    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)
    flagged: list[int] = field(default_factory=list)
    reason: str = ""
    made: dict[str, str] = field(default_factory=dict)
    scan: str = ""


class Store:
    """The folder of a bench.

    Args:
        folder: made if it is not there.
        shared: what all cells share; JSON values only.

    Raises:
        UsageError: the folder holds a bench of other settings or other images, or something else.
        WriteError: it cannot be written to.
    """

    def __init__(self, folder: Path, shared: dict[str, Any]) -> None:
        self.folder = folder
        file = folder / SETTINGS
        if folder.exists() and not file.is_file() and any(folder.iterdir()):
            raise UsageError(f"{folder}: holds something that is no bench: choose another folder with -o")
        known = read_settings(folder) if file.is_file() else {}
        _refuse_other(folder, known, shared)
        merged = known | shared | {"sets": known.get("sets", {}) | shared.get("sets", {})}
        if merged != known:
            write_json(file, merged)

    def read(self, cell: Cell) -> Result | None:
        """Return what is known of a cell; None where nothing is, or the file is damaged."""
        known = _load(self.folder / CELLS / cell.place)
        return known[1] if known and known[0] == cell else None

    def done(self, cell: Cell, scan: str = "") -> bool:
        """Return whether a cell has its figures, of these settings of a scan or search."""
        known = self.read(cell)
        return known is not None and not known.reason and scan in (known.scan or scan, "")

    def write(self, cell: Cell, result: Result) -> None:
        """Keep a cell. Raises WriteError."""
        write_json(self.folder / CELLS / cell.place, {"cell": asdict(cell), "result": asdict(result)})

    def all(self) -> dict[Cell, Result]:
        """Return every cell that is there, in order."""
        files = (self.folder / CELLS).glob("*/*/*.json")
        return dict(sorted((k for f in files if (k := _load(f)) is not None), key=lambda known: known[0]))


def _load(file: Path) -> tuple[Cell, Result] | None:
    """Return what a file holds; None where it is not there, or damaged."""
    try:
        value = json.loads(file.read_bytes())
        return Cell(**value["cell"]), Result(**value["result"])
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


def _refuse_other(folder: Path, known: dict[str, Any], shared: dict[str, Any]) -> None:
    for name, value in shared.items():
        if name == "sets":
            changed = [key for key in value if known.get("sets", {}).get(key, value[key]) != value[key]]
            if changed:
                raise UsageError(
                    f"{folder}: its cells were made of another {changed[0]}: choose another folder with -o"
                )
        elif name in known and known[name] != value:
            raise UsageError(
                f"{folder}: its cells were made with {name} {known[name]!r}, not {value!r}: "
                "choose another folder with -o"
            )


def write_json(file: Path, value: dict[str, Any]) -> None:
    """Write a JSON file whole or not at all.

    Raises:
        WriteError: no permission, or no room.
    """
    beside = file.with_name(f".{uuid.uuid4().hex}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            os.replace(beside, file)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise WriteError(f"{file}: cannot be written ({error.strerror}): choose another folder with -o") from error
