"""The leakage groups of a labelled set: copies, and shots of the same part, are drawn together.

They are found once, before the first draw, and kept in `bench.json`: a folder that is continued, by a later version
too, goes on with the draws that it began with.
"""

from __future__ import annotations

from dataclasses import replace

from curate.bench.cells import CellStore
from curate.bench.embedder import LabelledSetEmbedder
from curate.bench.sets import LabelledSet
from curate.config import ScanConfig
from curate.errors import UsageError
from curate.progress import Stages


def with_groups(source: LabelledSet, config: ScanConfig, store: CellStore, *, screen: Stages) -> LabelledSet:
    """Return a set with its leakage groups: those that its folder was drawn by, or else those that a search finds.

    Args:
        source: the labelled set.
        config: the settings of a scan; without `same_part`, copies alone are groups.
        store: the folder of the bench.
        screen: where the search is shown.

    Raises:
        UsageError: the folder has cells of this set whose draws would now be others.
    """
    kept = store.groups(source.name)
    if kept is not None:
        return replace(source, groups=_by_row(source, kept))
    found = LabelledSetEmbedder(source=source, config=config, screen=screen).leakage_groups()
    parts = named_groups(replace(source, groups=found))
    if parts and any(cell.dataset == source.name for cell in store.all()):
        raise UsageError(
            f"{store.folder}: its cells of {source.name} were drawn image by image, and shots of one part are now "
            "drawn together: choose another folder with -o"
        )
    store.keep_groups(source.name, parts)
    return replace(source, groups=_by_row(source, parts))


def named_groups(source: LabelledSet) -> list[list[str]]:
    """Return the paths of each leakage group of more than one image."""
    return [[source.relative(row) for row in part] for part in source.parts(range(len(source))) if len(part) > 1]


def _by_row(source: LabelledSet, parts: list[list[str]]) -> tuple[int, ...]:
    """Return the group of each row, called by the first of its rows."""
    first = {path: part[0] for part in parts for path in part}
    row_of = {source.relative(row): row for row in range(len(source))}
    return tuple(row_of[first.get(path, path)] for path in row_of)
