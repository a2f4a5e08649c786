"""A labelled set: which of its images are truly nominal, and which are not.

Layouts:
    good/ defect/<type>/                     nominal below `good`, defective below `defect`; other folders are left out
    train/good/ test/good/ test/<type>/      MVTec AD: the good of both splits are nominal
    one folder a class                       the class "good" (or --nominal) is nominal, the others are defective;
                                             without one, every class is nominal and noise is a wrong label
Images and masks are those that a scan tells apart (`curate.images.masks`); an image may have several masks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from curate.errors import InputError, UsageError
from curate.images.masks import TellApart, find_images
from curate.images.split_names import split_depths

GOOD, DEFECT = "good", "defect"
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
        masks: (N,) the mask files of a defective image; () where there is none.
        groups: (N,) leakage groups; see `curate.bench.groups`. If nothing is said, each image is a group of its own.
    """

    name: str
    root: Path
    files: tuple[Path, ...]
    labels: tuple[str, ...]
    nominal: tuple[bool, ...]
    masks: tuple[tuple[Path, ...], ...]
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
    apart = find_images(root, Counter())
    good, bad = _nominal_and_defective(root, sorted(root / image.name for image in apart.images), nominal)
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
        masks=((),) * len(good) + _masks(root, apart, [file for file, _ in bad]),
    )


Labelled = list[tuple[Path, str]]


def _nominal_and_defective(root: Path, images: Sequence[Path], nominal: str | None) -> tuple[Labelled, Labelled]:
    """Return both kinds of images, each image with its label, in the order of their paths."""
    if nominal is None and (root / "train" / GOOD).is_dir():
        good = [*_below(root / "train" / GOOD, images), *_below(root / "test" / GOOD, images)]
        bad = [file for file in _below(root / "test", images) if not file.is_relative_to(root / "test" / GOOD)]
        return _as(sorted(good), GOOD), [pair for pair in _labelled(bad, root) if pair[1] != "test"]
    if nominal is None and (root / DEFECT).is_dir():
        return _as(_below(root / GOOD, images), GOOD), _labelled(_below(root / DEFECT, images), root)
    classes = _classes(root, images)
    names = list(classes)
    if nominal is not None and nominal not in names:
        classes_named = ", ".join(names[:CLASSES_NAMED]) or "none"
        raise UsageError(f"--nominal {nominal}: {root} has no such class folder; its classes are {classes_named}")
    good_name = nominal or (GOOD if GOOD in names else None)
    if good_name is None:
        return [(file, name) for name, files in classes.items() for file in files], []
    bad_named = [(file, name) for name, files in classes.items() if name != good_name for file in files]
    return _as(classes[good_name], GOOD), bad_named


def _classes(root: Path, images: Sequence[Path]) -> dict[str, list[Path]]:
    """Return the images by the first folder that is no split, in the order of both."""
    classes: dict[str, list[Path]] = {}
    names = [file.relative_to(root).as_posix() for file in images]
    for file, name, depth in zip(images, names, split_depths(names), strict=True):
        folders = [folder for at, folder in enumerate(name.split("/")[:-1]) if at != depth]
        if folders:
            classes.setdefault(folders[0], []).append(file)
    return dict(sorted(classes.items()))


def _below(folder: Path, images: Iterable[Path]) -> list[Path]:
    return [file for file in images if file.is_relative_to(folder)]


def _as(files: Iterable[Path], label: str) -> Labelled:
    return [(file, label) for file in files]


def _labelled(files: Iterable[Path], root: Path) -> Labelled:
    return [(file, file.parent.relative_to(root).as_posix()) for file in files]


def _masks(root: Path, apart: TellApart, files: Iterable[Path]) -> tuple[tuple[Path, ...], ...]:
    """Return the masks of each image."""
    owned: dict[Path, list[Path]] = {}
    for mask, image in sorted(apart.masks):
        if image:
            owned.setdefault(root / image, []).append(mask.file)
    return tuple(tuple(owned.get(file, ())) for file in files)
