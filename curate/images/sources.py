"""Where images come from: a folder in one of four layouts, a manifest, or a list of files on stdin.

`list_images` recognises the layout, or takes the one that was asked for, and returns every image file in
the order of its path. Nothing is opened here but manifests: a file that cannot be read is found by decoding.

Labels and splits by layout:
    flat          none; sub-folders are searched too
    classes       label = the folder below the root ("good", "defect/scratch"); every image lies in a folder;
                  split = the first folder, label = the rest, where all first folders are splits ("train", "val")
    mvtec         split = first folder ("train"), label = second ("good"); `train` alone unless a split is asked for
    manifest      columns `label`, `split`, `group`
    huggingface   column `label`; split = the folder, or the column `split`
    file-list     none
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from curate.errors import NothingToAudit, UsageError
from curate.images import manifests
from curate.images.folders import FoundFile, find_images, walk
from curate.images.integrity import invalid_name
from curate.images.names import unicode_name, unique_names
from curate.records import Finding, Layout, Listing

__all__ = ["ALL_SPLITS", "STDIN", "list_images", "recognise", "unicode_name", "unique_names"]

ALL_SPLITS = "all"
TRAIN = "train"
STDIN = "-"
SPLITS = frozenset(manifests.SPLIT_FOLDERS)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One image file before the listing is put in order; `name` is its path below the root, as the system gives it."""

    name: str
    file: Path
    label: str = ""
    split: str = ""
    group: str = ""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a layout found."""

    root: Path
    layout: Layout
    entries: Sequence[Entry]
    ignored: Counter[str]


def list_images(
    dataset: str | Path, *, layout: Layout | None = None, split: str | None = None, stdin: BinaryIO | None = None
) -> Listing:
    """Return the image files of a dataset in the order of their paths.

    Args:
        dataset: a folder, a manifest (.csv, .jsonl, .parquet), or "-" for a list of files on stdin.
        layout: how to read it; None recognises it.
        split: only this split; "all" for every one. None means `train` for MVTec AD, every split elsewhere.
        stdin: where "-" reads from; None for the process's own.

    Raises:
        UsageError: no such path, a layout that does not fit, a split that does not exist, files on several drives.
        InputError: a manifest that cannot be used.
        NothingToAudit: not one image.
    """
    found = _find(dataset, layout, stdin)
    entries = _of_split(found, split)
    if not entries:
        raise NothingToAudit(_nothing(dataset, found))
    return _listing(found, entries)


def _find(dataset: str | Path, layout: Layout | None, stdin: BinaryIO | None) -> Found:
    if str(dataset) == STDIN:
        _must_fit(layout, (Layout.FILE_LIST,), "standard input holds a list of files")
        return _file_list(stdin or sys.stdin.buffer)
    path = Path(dataset)
    if not str(dataset) or not os.path.exists(path):  # noqa: PTH110  False also for names that no file can have
        raise UsageError(f"{_shown(path)}: there is no such file or folder: check the path")
    if not path.is_dir():
        _must_fit(layout, (Layout.MANIFEST,), f"{_shown(path)} is a file")
        return _manifest(path)
    _must_fit(layout, tuple(FOLDER_LAYOUTS), f"{_shown(path)} is a folder")
    return FOLDER_LAYOUTS[layout or recognise(path)](path.resolve())


def recognise(root: Path) -> Layout:
    """Return the layout that a folder shows: metadata, then `train/good`, then whether all images lie in folders."""
    if any(manifests.names_files(file) for file in manifests.metadata_files(root)):
        return Layout.HUGGINGFACE
    if _shows_mvtec(root):
        return Layout.MVTEC
    first = next(walk(root, Counter()), None)  # the root itself is walked before its folders
    return Layout.CLASSES if first is not None and "/" in first.name else Layout.FLAT


def _shows_mvtec(root: Path) -> bool:
    return (root / TRAIN / "good").is_dir()


def _must_fit(layout: Layout | None, allowed: Sequence[Layout], what: str) -> None:
    if layout is not None and layout not in allowed:
        raise UsageError(f"{what}, which the layout {layout} cannot read: use {' or '.join(allowed)}")


def _flat(root: Path) -> Found:
    ignored: Counter[str] = Counter()
    entries = [Entry(name=found.name, file=found.file) for found in find_images(root, ignored)]
    return Found(root=root, layout=Layout.FLAT, entries=entries, ignored=ignored)


def _classes(root: Path) -> Found:
    ignored: Counter[str] = Counter()
    images = find_images(root, ignored)
    outside = [found.name for found in images if "/" not in found.name]
    if outside:
        raise UsageError(
            f"{_shown(root)}: the layout classes wants every image in a folder, but {len(outside)} lie outside, "
            f"such as {unicode_name(outside[0])}: move them or use the layout flat"
        )
    tops = {found.name.partition("/")[0].lower() for found in images}
    with_splits = tops <= SPLITS and not _shows_mvtec(root)
    entries = [_class_entry(found, with_splits) for found in images]
    return Found(root=root, layout=Layout.CLASSES, entries=entries, ignored=ignored)


def _class_entry(found: FoundFile, with_splits: bool) -> Entry:
    label, split = found.name.rpartition("/")[0], ""
    if with_splits:
        split, _, label = label.partition("/")
    return Entry(name=found.name, file=found.file, label=unicode_name(label), split=unicode_name(split))


def _mvtec(root: Path) -> Found:
    if not _shows_mvtec(root):
        raise UsageError(f"{_shown(root)}: the layout mvtec wants a folder train/good, which is not there")
    ignored: Counter[str] = Counter()
    entries = [entry for found in find_images(root, ignored) if (entry := _mvtec_entry(found, ignored)) is not None]
    return Found(root=root, layout=Layout.MVTEC, entries=entries, ignored=ignored)


def _mvtec_entry(found: FoundFile, ignored: Counter[str]) -> Entry | None:
    parts = found.name.split("/")
    if len(parts) < 3:
        ignored["outside the layout"] += 1
        return None
    return Entry(name=found.name, file=found.file, split=unicode_name(parts[0]), label=unicode_name(parts[1]))


def _manifest(path: Path) -> Found:
    folder = path.parent.resolve()
    rows = manifests.read_manifest(path)
    entries = [_from_row(row, folder, row.split) for row in rows]
    return Found(root=folder, layout=Layout.MANIFEST, entries=entries, ignored=Counter())


def _huggingface(root: Path) -> Found:
    files = manifests.metadata_files(root)
    if not files:
        raise UsageError(f"{_shown(root)}: the layout huggingface wants a metadata.csv, .jsonl or .parquet there")
    entries = [
        _from_row(row, root, row.split or _folder_split(row.name)) for row in manifests.read_metadata(root, files)
    ]
    ignored: Counter[str] = Counter()
    listed = {entry.name for entry in entries}
    ignored["not in the metadata"] = sum(found.name not in listed for found in find_images(root, ignored))
    ignored["not an image"] -= len(files)
    return Found(root=root, layout=Layout.HUGGINGFACE, entries=entries, ignored=+ignored)


def _folder_split(name: str) -> str:
    first, slash, _ = name.partition("/")
    return first if slash and first in manifests.SPLIT_FOLDERS else ""


def _from_row(row: manifests.Row, folder: Path, split: str) -> Entry:
    return Entry(name=row.name, file=folder / row.name, label=row.label, split=split, group=row.group)


def _file_list(stream: BinaryIO) -> Found:
    """Read one path a line, or NUL-separated where a NUL byte occurs; the root is the deepest folder above all."""
    data = stream.read()
    lines = data.split(b"\0") if b"\0" in data else [line.removesuffix(b"\r") for line in data.split(b"\n")]
    # abspath, not resolve: a link in the list stays the link that was named
    named = [os.path.abspath(os.fsdecode(line)) for line in lines if line]  # noqa: PTH100
    files = list(dict.fromkeys(named))
    root = _common_folder(files) if files else Path.cwd()
    entries = [Entry(name=Path(file).relative_to(root).as_posix(), file=Path(file)) for file in files]
    ignored = Counter({"listed twice": len(named) - len(files)})
    return Found(root=root, layout=Layout.FILE_LIST, entries=entries, ignored=+ignored)


def _common_folder(files: Sequence[str]) -> Path:
    try:
        return Path(os.path.commonpath([Path(file).parent for file in files]))
    except ValueError as error:
        raise UsageError(f"{STDIN}: the files listed lie on different drives: list those of one drive a run") from error


FOLDER_LAYOUTS: Mapping[Layout, Callable[[Path], Found]] = MappingProxyType(
    {Layout.FLAT: _flat, Layout.CLASSES: _classes, Layout.MVTEC: _mvtec, Layout.HUGGINGFACE: _huggingface}
)


def _of_split(found: Found, split: str | None) -> Sequence[Entry]:
    wanted = TRAIN if split is None and found.layout is Layout.MVTEC else split
    if wanted is None or wanted == ALL_SPLITS or not found.entries:
        return found.entries
    splits = sorted({entry.split for entry in found.entries} - {""})
    if split is not None and split not in splits:
        there = f"it has {', '.join([*splits, ALL_SPLITS])}" if splits else "it has no splits: leave --split out"
        raise UsageError(f"{_shown(found.root)}: there is no split {split!r}, {there}")
    chosen = [entry for entry in found.entries if entry.split == wanted]
    if len(chosen) < len(found.entries):
        found.ignored["other split"] += len(found.entries) - len(chosen)
    return chosen


def _nothing(dataset: str | Path, found: Found) -> str:
    what = "standard input" if str(dataset) == STDIN else _shown(Path(dataset))
    passed = ", ".join(f"{count} {reason}" for reason, count in sorted(found.ignored.items()))
    if passed:
        return f"{what}: no image to audit (passed over: {passed}): check the path, or choose a --layout or --split"
    return f"{what}: no image to audit, nothing is there: check the path"


def _listing(found: Found, entries: Sequence[Entry]) -> Listing:
    names = list(unique_names(entry.name for entry in entries))
    order = sorted(range(len(entries)), key=names.__getitem__)
    return Listing(
        root=found.root,
        layout=found.layout,
        paths=tuple(names[row] for row in order),
        files=tuple(entries[row].file for row in order),
        labels=tuple(entries[row].label for row in order),
        splits=tuple(entries[row].split for row in order),
        groups=tuple(entries[row].group for row in order),
        ignored=dict(sorted(found.ignored.items())),
        findings=tuple(_name_findings(names[row], entries[row].name) for row in order),
    )


def _name_findings(path: str, name: str) -> tuple[Finding, ...]:
    return () if path == name else (invalid_name(path),)


def _shown(path: Path) -> str:
    return unicode_name(str(path)) or '""'
