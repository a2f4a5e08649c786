"""Which folders of a dataset are splits: `train`, `val` and `test`, at any depth and under their other names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

_SPLIT = re.compile(
    r"(?:train|training|val|valid|validation|test|testing|eval|evaluation|holdout)"
    r"(?:[-_ ]?(?:set|split|data|images?|imgs?))?(?:[-_ ]?20\d\d)?"
)


def is_split(folder: str) -> bool:
    """Return whether a folder is named like a split: `train`, `Test`, `validation`, `val2017`, `train_images`."""
    return _SPLIT.fullmatch(folder.lower()) is not None


def is_training(split: str) -> bool:
    """Return whether a split is named like one to train on."""
    return is_split(split) and split.lower().startswith("train")


def split_depths(names: Sequence[str]) -> list[int | None]:
    """Return where the split stands among the folders of each path, None where there is none.

    A folder is a split if it and all folders beside it that hold images are named like splits, so that a class `test`
    beside classes of other names stays a class. The first one of a path counts.

    Args:
        names: paths of images below the root, "/" between folders.
    """
    beside: dict[str, set[str]] = defaultdict(set)
    for name in names:
        folders = name.split("/")[:-1]
        for depth, folder in enumerate(folders):
            beside["/".join(folders[:depth])].add(folder)
    homes = {home for home, folders in beside.items() if all(map(is_split, folders))}
    return [_depth(name.split("/")[:-1], homes) for name in names]


def _depth(folders: Sequence[str], homes: set[str]) -> int | None:
    return next((depth for depth in range(len(folders)) if "/".join(folders[:depth]) in homes), None)


def folder_split(name: str) -> str:
    """Return the first folder of a path that is named like a split, "" if none is."""
    return next((folder for folder in name.split("/")[:-1] if is_split(folder)), "")
