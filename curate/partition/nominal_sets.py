"""Split a dataset into nominal sets: images of one class, or of one subpopulation of it, that are judged together."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from curate.partition.subpopulations import small_groups_apart, subpopulations_of
from curate.records import EmbeddedImages, IntArray


@dataclass(frozen=True, kw_only=True)
class NominalSet:
    """Images that are judged together.

    Attributes:
        name: the label, or the label and which subpopulation.
        label: the class; "" where the source says nothing.
        subpopulations: how many the class holds; 1 if it is judged as a whole.
        rows: (M,) the images, ascending.
        group_sizes: (M,) how many images the small group apart holds that each image is of; 0 for all others.
    """

    name: str
    label: str
    subpopulations: int
    rows: IntArray
    group_sizes: IntArray


def partition(images: EmbeddedImages, *, subpopulations: bool = True) -> tuple[NominalSet, ...]:
    """Return the nominal sets of a dataset, by name.

    Args:
        images: labelled.
        subpopulations: whether subpopulations are separated; if not, each class is one nominal set.
    """
    classes = rows_by_name(images.labels)
    sets: dict[str, NominalSet] = {}
    for label, rows in classes.items():
        pooled, groups = images.embeddings.pooled, images.groups
        number_of = subpopulations_of(pooled[rows], groups[rows]) if subpopulations else np.zeros_like(rows)
        parts = [np.flatnonzero(number_of == number) for number in range(int(number_of.max(initial=0)) + 1)]
        for number, part in enumerate(parts, 1):
            name = _title(label, f"{number} of {len(parts)}", {*classes, *sets}) if len(parts) > 1 else label
            members = rows[part]
            sets[name] = NominalSet(
                name=name,
                label=label,
                subpopulations=len(parts),
                rows=members,
                group_sizes=small_groups_apart(pooled[members], groups[members]),
            )
    return tuple(sets[name] for name in sorted(sets))


def rows_by_name(names: Sequence[str]) -> dict[str, IntArray]:
    """Return the rows of each name, ascending; names in order."""
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        rows.setdefault(name, []).append(row)
    return {name: np.array(rows[name], dtype=np.int64) for name in sorted(rows)}


def names_of(sets: Sequence[NominalSet]) -> tuple[str, ...]:
    """Return the name of each image's nominal set, in the order of the images."""
    names = [""] * sum(len(one.rows) for one in sets)
    for one in sets:
        for row in one.rows.tolist():
            names[row] = one.name
    return tuple(names)


def _title(label: str, which: str, taken: Collection[str]) -> str:
    """Return a name that no class and no other nominal set has."""
    title = f"{label}, subpopulation {which}" if label else f"subpopulation {which}"
    while title in taken:
        title += "'"
    return title
