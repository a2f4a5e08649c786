"""What the tests of splits share: pruning an audit of twelve parts that rejects two."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curate.audit.parquet import read_audit
from curate.cli.screen import Screen
from curate.splits.modes import Mode
from curate.splits.prune import Pruned, PruneSettings, prune_audit

FOLDERS = (Mode.COPY, Mode.HARDLINK, Mode.SYMLINK)
REJECTED = {"train/good/000.png", "train/good/004.png"}


def go(home: Path, mode: Mode | None = None, *, split: str = "split", audit: str = "audit", **more: object) -> Pruned:
    """Prune the audit in a folder as the command line would."""
    chosen = PruneSettings(mode=mode, **more)  # type: ignore[arg-type]
    return prune_audit(read_audit(home / audit), home / split, settings=chosen, stages=Screen(quiet=True))


def names(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}


def decide(audit: Path, **decisions: str) -> None:
    rows = {"path": list(decisions), "decision": list(decisions.values()), "note": ["why"] * len(decisions)}
    pq.write_table(pa.table(rows), audit / "decisions.parquet")
