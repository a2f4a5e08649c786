"""List the images of a dataset: a folder in one of four layouts, a manifest, or a list of files on stdin.

`list_images` recognises the layout, or takes the one that was asked for, and returns every image file in the order of
its path. Only manifests are opened here; decoding finds the files that cannot be read.

Labels and splits by layout:
    flat          none; sub-folders are searched too
    classes       label = the folder below the root ("good", "defect/scratch"); every image lies in a folder;
                  split = the folder "train", "val", ... at any depth where all beside it are splits too; the label is
                  the rest: "bottle/good" for bottle/train/good
    mvtec         split = first folder ("train"), label = second ("good"); `train` alone unless a split is asked for
    manifest      columns `label`, `split`, `group`, `trusted`; elsewhere groups come from the names, if asked for
    huggingface   column `label`; split = the folder, or the column `split`
    file-list     none
"""

from __future__ import annotations

import codecs
import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from curate.errors import NothingToAudit, UsageError
from curate.images import manifests
from curate.images.folders import FoundFile, walk
from curate.images.integrity import invalid_name, perhaps_mask
from curate.images.masks import TellApart, find_images
from curate.images.name_groups import groups_from
from curate.images.names import unicode_name, unique_names
from curate.images.split_names import folder_split, split_depths
from curate.images.table_paths import spellings
from curate.images.table_texts import NO_NAME_WORDS, cell_text, decode_text, is_utf_16
from curate.records import Finding, Layout, Listing

__all__ = ["ALL_SPLITS", "STDIN", "list_images", "recognise", "unicode_name", "unique_names"]

ALL_SPLITS = "all"
TRAIN = "train"
STDIN = "-"


@dataclass(frozen=True, kw_only=True)
class LayoutFile:
    """One image file of a dataset; `name` is its path below the root as the system gives it, not yet valid Unicode."""

    name: str
    file: Path
    label: str = ""
    split: str = ""
    group: str = ""
    trusted: bool | None = None


@dataclass(frozen=True, kw_only=True)
class LayoutFiles:
    """The image files that a layout lists, in no order yet, how many entries it ignored, by reason, and the masks."""

    root: Path
    layout: Layout
    entries: Sequence[LayoutFile]
    ignored: Counter[str]
    apart: TellApart = field(default_factory=lambda: TellApart(images=[]))


def list_images(
    dataset: str | Path,
    *,
    layout: Layout | None = None,
    split: str | None = None,
    group_from: str | None = None,
    root: Path | None = None,
    stdin: BinaryIO | None = None,
) -> Listing:
    """Return the image files of a dataset in the order of their paths.

    Args:
        dataset: a folder, a manifest (.csv, .jsonl, .parquet), or "-" for a list of files on stdin.
        layout: how to read it; None recognises it.
        split: only this split; "all" for every one. None means `train` for MVTec AD, every split elsewhere.
        group_from: a regular expression that captures an image's group of its path; None for the column `group`.
        root: of a manifest: the folder of the images, which its paths begin at; None for the manifest's own.
        stdin: where "-" reads from; None for the process's own.

    Raises:
        UsageError: no such path, a layout that does not fit, `root` beside anything but a manifest, a split that does
            not exist, files on several drives, `group_from` beside a column `group`, or one that gives no groups.
        InputError: a manifest that cannot be used.
        NothingToAudit: not one image.
    """
    listed = _list_layout(dataset, layout, root, stdin=stdin)
    entries = _of_split(listed, split)
    if not entries:
        raise NothingToAudit(_nothing(dataset, listed))
    listing = replace(_listing(listed, entries), root_as_named=_as_named(root or dataset))
    return listing if group_from is None else _with_groups(listing, group_from, dataset)


def _as_named(dataset: str | Path) -> Path | None:
    """Return the folder of a dataset, absolute, with the links in its name."""
    if str(dataset) == STDIN:
        return None
    path = Path(os.path.abspath(dataset))  # noqa: PTH100  resolve would follow links
    return path if path.is_dir() else path.parent


def _with_groups(listing: Listing, group_from: str, dataset: str | Path) -> Listing:
    if any(listing.groups):
        raise UsageError(
            f"--group-from {group_from!r}: {_shown(Path(dataset))} has a column group already; leave one of the two out"
        )
    groups = (cell_text(group, NO_NAME_WORDS) for group in groups_from(listing.paths, group_from))
    return replace(listing, groups=tuple(groups))


def _list_layout(
    dataset: str | Path, layout: Layout | None, root: Path | None, *, stdin: BinaryIO | None
) -> LayoutFiles:
    if root is not None and (str(dataset) == STDIN or Path(dataset).is_dir()):
        raise UsageError(f"--root {_shown(root)}: is for a manifest, and {_shown(Path(dataset))} is none; leave it out")
    if root is not None and not root.is_dir():
        raise UsageError(f"--root {_shown(root)}: there is no such folder: check the path")
    if str(dataset) == STDIN:
        _must_fit(layout, (Layout.FILE_LIST,), "standard input holds a list of files")
        return _file_list(stdin or sys.stdin.buffer)
    path = Path(dataset)
    if not str(dataset) or not os.path.exists(path):  # noqa: PTH110  False also for names that no file can have
        raise UsageError(f"{_shown(path)}: there is no such file or folder: check the path")
    if not path.is_dir():
        _must_fit(layout, (Layout.MANIFEST,), f"{_shown(path)} is a file")
        return _manifest(path, root)
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


def _flat(root: Path) -> LayoutFiles:
    ignored: Counter[str] = Counter()
    apart = find_images(root, ignored)
    entries = [LayoutFile(name=image.name, file=image.file) for image in apart.images]
    return LayoutFiles(root=root, layout=Layout.FLAT, entries=entries, ignored=ignored, apart=apart)


def _classes(root: Path) -> LayoutFiles:
    ignored: Counter[str] = Counter()
    apart = find_images(root, ignored)
    outside = [image.name for image in apart.images if "/" not in image.name]
    if outside:
        raise UsageError(
            f"{_shown(root)}: the layout classes needs every image in a folder, but {len(outside)} lie outside, "
            f"such as {unicode_name(outside[0])}: move them or use the layout flat"
        )
    names = [image.name for image in apart.images]
    depths = [None] * len(names) if _shows_mvtec(root) else split_depths(names)
    entries = [_class_entry(image, depth) for image, depth in zip(apart.images, depths, strict=True)]
    return LayoutFiles(root=root, layout=Layout.CLASSES, entries=entries, ignored=ignored, apart=apart)


def _class_entry(image: FoundFile, split_depth: int | None) -> LayoutFile:
    folders = image.name.split("/")[:-1]
    split = "" if split_depth is None else folders.pop(split_depth)
    label = unicode_name("/".join(folders))
    return LayoutFile(name=image.name, file=image.file, label=label, split=unicode_name(split))


def _mvtec(root: Path) -> LayoutFiles:
    if not _shows_mvtec(root):
        raise UsageError(f"{_shown(root)}: the layout mvtec needs a folder train/good, which is not there")
    ignored: Counter[str] = Counter()
    apart = find_images(root, ignored)
    entries = [entry for image in apart.images if (entry := _mvtec_entry(image, ignored)) is not None]
    return LayoutFiles(root=root, layout=Layout.MVTEC, entries=entries, ignored=ignored, apart=apart)


def _mvtec_entry(image: FoundFile, ignored: Counter[str]) -> LayoutFile | None:
    parts = image.name.split("/")
    if len(parts) < 3:
        ignored["outside the layout"] += 1
        return None
    return LayoutFile(name=image.name, file=image.file, split=unicode_name(parts[0]), label=unicode_name(parts[1]))


def _manifest(path: Path, root: Path | None) -> LayoutFiles:
    folder = (root or path.parent).resolve()
    rows = manifests.read_manifest(path, root)
    entries = [_from_row(row, folder, row.split) for row in rows]
    return LayoutFiles(root=folder, layout=Layout.MANIFEST, entries=entries, ignored=Counter())


def _huggingface(root: Path) -> LayoutFiles:
    present = manifests.metadata_files(root)
    if not present:
        raise UsageError(f"{_shown(root)}: the layout huggingface needs a metadata.csv, .jsonl or .parquet there")
    files = [file for file in present if manifests.names_files(file)] or present
    rows = manifests.read_metadata(root, files)
    entries = [_from_row(row, root, row.split or folder_split(row.name)) for row in rows]
    ignored: Counter[str] = Counter()
    names = {entry.name for entry in entries}
    apart = find_images(root, ignored)
    ignored["not in the metadata"] = sum(image.name not in names for image in apart.images)
    ignored["mask"] -= sum(mask.name in names for mask, _ in apart.masks)
    ignored["not an image"] -= len(files)
    return LayoutFiles(root=root, layout=Layout.HUGGINGFACE, entries=entries, ignored=+ignored, apart=apart)


def _from_row(row: manifests.ManifestRow, folder: Path, split: str) -> LayoutFile:
    trusted = manifests.TRUSTED[row.trusted.strip().lower()]
    file = folder / row.name
    return LayoutFile(name=row.name, file=file, label=row.label, split=split, group=row.group, trusted=trusted)


def _file_list(stream: BinaryIO) -> LayoutFiles:
    """Read one path a line, or NUL-separated if a NUL byte occurs; the root is the deepest folder above all files."""
    # abspath, not resolve: a link in the list stays a link
    named = [os.path.abspath(_spelt(line)) for line in _lines(stream.read()) if line.strip()]  # noqa: PTH100
    files = list(dict.fromkeys(named))
    root = _common_folder(files) if files else Path.cwd()
    entries = [LayoutFile(name=Path(file).relative_to(root).as_posix(), file=Path(file)) for file in files]
    ignored = Counter({"listed twice": len(named) - len(files)})
    return LayoutFiles(root=root, layout=Layout.FILE_LIST, entries=entries, ignored=+ignored)


def _lines(data: bytes) -> list[str]:
    if is_utf_16(data):
        return decode_text(data).splitlines()
    data = data.removeprefix(codecs.BOM_UTF8)
    lines = data.split(b"\0") if b"\0" in data else [line.removesuffix(b"\r") for line in data.split(b"\n")]
    return [os.fsdecode(line) for line in lines]


def _spelt(line: str) -> str:
    """Return the path of a line as it is written, or in the other way that names a file."""
    return next((way for way in spellings(line) if "\0" not in way and os.path.lexists(way)), line)


def _common_folder(files: Sequence[str]) -> Path:
    try:
        return Path(os.path.commonpath([Path(file).parent for file in files]))
    except ValueError as error:
        raise UsageError(f"{STDIN}: the files listed lie on different drives: list those of one drive a run") from error


FOLDER_LAYOUTS: Mapping[Layout, Callable[[Path], LayoutFiles]] = MappingProxyType(
    {Layout.FLAT: _flat, Layout.CLASSES: _classes, Layout.MVTEC: _mvtec, Layout.HUGGINGFACE: _huggingface}
)


def _of_split(listed: LayoutFiles, split: str | None) -> Sequence[LayoutFile]:
    wanted = TRAIN if split is None and listed.layout is Layout.MVTEC else split
    if wanted is None or wanted == ALL_SPLITS or not listed.entries:
        return listed.entries
    splits = sorted({entry.split for entry in listed.entries} - {""})
    if split is not None and split not in splits:
        there = f"it has {', '.join([*splits, ALL_SPLITS])}" if splits else "it has no splits: leave --split out"
        raise UsageError(f"{_shown(listed.root)}: there is no split {split!r}, {there}")
    chosen = [entry for entry in listed.entries if entry.split == wanted]
    if len(chosen) < len(listed.entries):
        listed.ignored["other split"] += len(listed.entries) - len(chosen)
    return chosen


def _nothing(dataset: str | Path, listed: LayoutFiles) -> str:
    what = "standard input" if str(dataset) == STDIN else _shown(Path(dataset))
    passed = ", ".join(f"{count} {reason}" for reason, count in sorted(listed.ignored.items()))
    if passed:
        return f"{what}: no image to audit (passed over: {passed}): check the path, or choose a --layout or --split"
    return f"{what}: no image to audit, nothing is there: check the path"


def _listing(listed: LayoutFiles, entries: Sequence[LayoutFile]) -> Listing:
    names = list(unique_names(entry.name for entry in entries))
    order = sorted(range(len(entries)), key=names.__getitem__)
    return Listing(
        root=listed.root,
        layout=listed.layout,
        paths=tuple(names[row] for row in order),
        files=tuple(entries[row].file for row in order),
        labels=tuple(entries[row].label for row in order),
        splits=tuple(entries[row].split for row in order),
        groups=tuple(entries[row].group for row in order),
        trusted=tuple(entries[row].trusted for row in order),
        ignored=dict(sorted(listed.ignored.items())),
        findings=tuple(_name_findings(names[row], entries[row].name, listed.apart.doubts) for row in order),
        masks=_masks(listed.apart, {entry.name: path for entry, path in zip(entries, names, strict=True)}),
    )


def _masks(apart: TellApart, paths: Mapping[str, str]) -> dict[str, tuple[Path, str]]:
    """Return the masks by their path, with the path of each one's image; those that a manifest lists are images."""
    masks = sorted((mask.name, mask.file, image) for mask, image in apart.masks if mask.name not in paths)
    shown = unique_names(name for name, _, _ in masks)
    return {path: (file, paths.get(image, "")) for path, (_, file, image) in zip(shown, masks, strict=True)}


def _name_findings(path: str, name: str, doubts: Mapping[str, str]) -> tuple[Finding, ...]:
    invalid = () if path == name else (invalid_name(path),)
    return (*invalid, perhaps_mask(doubts[name])) if name in doubts else invalid


def _shown(path: Path) -> str:
    return unicode_name(str(path)) or '""'
