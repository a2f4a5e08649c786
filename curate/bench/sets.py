"""A labelled set: which of its images are truly nominal, and which are not.

Layouts:
    good/ defect/<type>/                     nominal below `good`, defective below `defect`; other folders are left out
    train/good/ test/good/ test/<type>/      MVTec AD: the good of both splits are nominal
    one folder a class                       the class "good" (or --nominal) is nominal, the others are defective;
                                             without one, every class is nominal and noise is a wrong label
Masks of the defects are in `masks/<type>/` or `ground_truth/<type>/`, named like the image, or with `_mask`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from curate.errors import InputError, UsageError
from curate.images.folders import IMAGE_SUFFIXES

GOOD, DEFECT = "good", "defect"
MASK_HOMES = ("masks", "ground_truth")
CLASSES_NAMED = 8


@dataclass(frozen=True, kw_only=True)
class LabelledSet:
    """The images of a labelled set.

    Attributes:
        name: the folder's own.
        root: the folder.
        files: of the nominal images and then the defective ones, each in the order of their paths.
        labels: (N,) class of each: "good" for a nominal image, "defect/<type>" or the class folder's name else.
        nominal: (N,) whether an image is; all, where noise is a wrong label.
        masks: (N,) the mask file of a defective image; None where there is none.
        groups: (N,) leakage groups; see `curate.bench.groups`. If nothing is said, each image is a group of its own.
    """

    name: str
    root: Path
    files: tuple[Path, ...]
    labels: tuple[str, ...]
    nominal: tuple[bool, ...]
    masks: tuple[Path | None, ...]
    groups: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.groups:
            object.__setattr__(self, "groups", tuple(range(len(self.files))))

    def __len__(self) -> int:
        return len(self.files)

    @property
    def by_class(self) -> bool:
        """Whether noise is an image under another class's label."""
        return all(self.nominal)

    @property
    def contradictory(self) -> frozenset[int]:
        """The rows of leakage groups that are both nominal and defective, or of several classes where all are nominal.

        Either a label is wrong, or the defect does not show in every shot: as noise or as nominal, the group would be
        judged by a truth that is in doubt.
        """
        truths: dict[int, set[str | bool]] = {}
        for group, label, nominal in zip(self.groups, self.labels, self.nominal, strict=True):
            truths.setdefault(group, set()).add(label if self.by_class else nominal)
        return frozenset(row for row, group in enumerate(self.groups) if len(truths[group]) > 1)

    def parts(self, rows: Iterable[int]) -> list[tuple[int, ...]]:
        """Return some rows by leakage group: all shots of a part together, in the order of their first row."""
        members: dict[int, list[int]] = {}
        for row in rows:
            members.setdefault(self.groups[row], []).append(row)
        return [tuple(part) for part in members.values()]

    def relative(self, row: int) -> str:
        """Return the POSIX path of an image below the root."""
        return self.files[row].relative_to(self.root).as_posix()


def read_sets(folders: Iterable[Path], nominal: str | None) -> tuple[LabelledSet, ...]:
    """Read the labelled sets of a call.

    Raises:
        UsageError: a folder does not exist, is not labelled, or two have the same name.
    """
    sources = tuple(read_set(folder, nominal) for folder in folders)
    names = [source.name for source in sources]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UsageError(f"{twice}: two of the sets have this name: rename a folder, or bench them in separate calls")
    return sources


def read_set(root: Path, nominal: str | None = None) -> LabelledSet:
    """Read which images of a folder are nominal and which are not.

    Args:
        root: the set's folder.
        nominal: the class folder whose images are nominal; None for "good".

    Raises:
        UsageError: no such folder, or no such class.
        InputError: the set lacks nominal or defective images.
    """
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder: check the path")
    good, bad = _nominal_and_defective(root, nominal)
    if not good:
        raise InputError(f"{root}: no nominal image below good/ or train/good/; a bench needs a labelled set")
    if not bad and len({label for _, label in good}) < 2:
        raise InputError(
            f"{root}: no defective image below defect/<type>/ or test/<type>/, and no second class; "
            "a bench needs known noise"
        )
    rows = good + bad
    files = tuple(file for file, _ in rows)
    return LabelledSet(
        name=root.resolve().name,
        root=root,
        files=files,
        labels=tuple(label for _, label in rows),
        nominal=(True,) * len(good) + (False,) * len(bad),
        masks=(None,) * len(good) + tuple(_mask(root, file) for file, _ in bad),
    )


Labelled = list[tuple[Path, str]]


def _nominal_and_defective(root: Path, nominal: str | None) -> tuple[Labelled, Labelled]:
    """Return both kinds of images, each image with its label."""
    if nominal is None and (root / "train" / GOOD).is_dir():
        test = sorted(folder for folder in (root / "test").glob("*") if folder.is_dir())
        good = images_below(root / "train" / GOOD, root / "test" / GOOD)
        return _as(good, GOOD), [pair for folder in test if folder.name != GOOD for pair in _labelled(folder, root)]
    if nominal is None and (root / DEFECT).is_dir():
        return _as(images_below(root / GOOD), GOOD), _labelled(root / DEFECT, root)
    classes = sorted(folder for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    classes = [folder for folder in classes if folder.name not in MASK_HOMES and images_below(folder)]
    names = [folder.name for folder in classes]
    if nominal is not None and nominal not in names:
        classes_named = ", ".join(names[:CLASSES_NAMED]) or "none"
        raise UsageError(f"--nominal {nominal}: {root} has no such class folder; its classes are {classes_named}")
    good_name = nominal or (GOOD if GOOD in names else None)
    if good_name is None:
        return [(file, folder.name) for folder in classes for file in images_below(folder)], []
    bad = [(file, folder.name) for folder in classes if folder.name != good_name for file in images_below(folder)]
    return _as(images_below(root / good_name), GOOD), bad


def images_below(*folders: Path) -> list[Path]:
    """Return the image files below some folders in the order of their paths, as `Path` orders them."""
    paths = (path for folder in folders for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    return sorted(path for path in paths if path.is_file())


def _as(files: Iterable[Path], label: str) -> Labelled:
    return [(file, label) for file in files]


def _labelled(folder: Path, root: Path) -> Labelled:
    return [(file, file.parent.relative_to(root).as_posix()) for file in images_below(folder)]


def _mask(root: Path, file: Path) -> Path | None:
    """Return the mask of a defective image, if it has one."""
    for home in MASK_HOMES:
        for name in (f"{file.stem}.png", f"{file.stem}_mask.png"):
            mask = root / home / file.parent.name / name
            if mask.is_file():
                return mask
    return None
