"""Tell the masks among the image files of a folder: pictures of where a defect is, each of one image.

    files -> candidates by folder or name, each with its image -> by content -> images, masks, doubts

All below a folder `ground_truth` is a mask. Elsewhere a mask is recognised by its partner and by its content:

    a folder named like `masks`, `gt`, `labels`, `SegmentationClass`     half of its files name images beside it
    a stem with a word such as `_mask`, `_GT`, `_label`                   the image has the stem without it
    an image of the same stem in the same folder, under another suffix    `000.png` beside `000.jpg`

The content of a mask is a few values; that of its image is not. Where name and content disagree, the file is judged as
an image, and a finding asks. Where no content of a folder can be read, the names decide.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from curate.images import formats, rasters
from curate.images.files import read_file
from curate.images.folders import FoundFile, walk
from curate.images.integrity import attempt
from curate.images.levels import spread
from curate.images.names import unicode_name
from curate.records import BoolArray, Finding

FOLDER_WORDS = frozenset(
    (
        *("mask", "masks", "gt", "gts", "label", "labels", "labelmap", "labelmaps", "trimap", "trimaps"),
        *("annot", "annots", "annotation", "annotations", "seg", "segs", "segment", "segments"),
        *("segmentation", "segmentations", "segmentationclass", "segmentationobject"),
    )
)
CERTAIN_FOLDER = "groundtruth"
_WORDS = r"(?:ground[_-]?truth|gts?|masks?|labels?|seg|segmentation|annotations?|annot)"
_AROUND = re.compile(
    rf"^(?:{_WORDS}[_\-. ]+)?(.+?)(?:[_\-. ]+(?:(?:defect|anomaly|binary)[_-])?{_WORDS}(?:[_\-. ]?\d{{1,3}})?)?$"
)
_PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")

TEST = "test"
SAMPLE = 16
"""Files of one folder that are opened; all of it where they disagree."""
MOST_FOLDERS = 64
"""In a dataset of at most so many folders, folders of any name are compared."""
FEW_VALUES = 16
"""A mask has a value for the background, one for the defect, or a few for its types."""
EDGE, BINARY_SHARE = 8, 0.97
"""Or, stored with loss: nearly all of it within so many grey levels of black or white."""
MOST_PIXELS, PIXELS_COMPARED = 100_000_000, 2**20
THREADS = 4


class Content(Enum):
    """What a picture holds: one value, a few, many, or it cannot be read."""

    ONE = "one"
    FEW = "few"
    MANY = "many"
    UNREAD = "unread"


@dataclass(frozen=True, kw_only=True)
class TellApart:
    """The image files of a folder, told apart.

    Attributes:
        images: to be judged.
        masks: the mask files, and the name of each one's image; "" for one that belongs to no image, or to several.
        doubts: by the name of an image, why it may be a mask.
    """

    images: list[FoundFile]
    masks: list[tuple[FoundFile, str]] = field(default_factory=list)
    doubts: dict[str, str] = field(default_factory=dict)


class _Pair(NamedTuple):
    """A candidate and the image that it may be the mask of, if there is one."""

    file: FoundFile
    image: FoundFile | None


def find_images(root: Path, ignored: Counter[str]) -> TellApart:
    """Return the image files below `root`, told apart; masks and all other entries are counted in `ignored`."""
    apart = tell_masks(list(walk(root, ignored)))
    ignored += Counter({"mask": len(apart.masks)})  # in place; a count of 0 leaves no key
    return apart


def tell_masks(files: Sequence[FoundFile]) -> TellApart:
    """Return files told apart into images and masks."""
    state = _State()
    homes = {file.name: mask_folder(file.name) for file in files}
    certain = {name for name, home in homes.items() if _is_certain(home.rpartition("/")[2])}
    named = [file for file in files if homes[file.name] and file.name not in certain]
    _by_folder(state, named, homes, pictures=[file for file in files if not homes[file.name]])
    pictures = [file for file in files if file.name not in state.masks and file.name not in certain]
    _by_folder(state, [file for file in files if file.name in certain], homes, pictures=pictures)
    _by_ending(state, [file for file in files if file.name not in state.masks and file.name not in state.doubts])
    _by_suffix(state, [file for file in files if file.name not in state.masks])
    _unnamed_folders(state, [file for file in files if file.name not in state.masks])
    return TellApart(
        images=[file for file in files if file.name not in state.masks],
        masks=[
            (file, "" if state.masks[file.name] in state.masks else state.masks[file.name])
            for file in files
            if file.name in state.masks
        ],
        doubts=state.doubts,
    )


@dataclass
class _State:
    """What is decided so far: masks with their images, doubts, and the contents that were read."""

    masks: dict[str, str] = field(default_factory=dict)
    doubts: dict[str, str] = field(default_factory=dict)
    contents: dict[str, Content] = field(default_factory=dict)

    def content(self, file: FoundFile) -> Content:
        """Return what a file holds; each is read once."""
        if file.name not in self.contents:
            self.contents[file.name] = content_of(file.file)
        return self.contents[file.name]

    def read(self, files: Sequence[FoundFile]) -> None:
        """Read the contents of many files."""
        new = [file for file in files if file.name not in self.contents]
        with ThreadPoolExecutor(THREADS, thread_name_prefix="masks") as pool:
            self.contents.update(
                zip((file.name for file in new), pool.map(content_of, (f.file for f in new)), strict=True)
            )

    def accept(self, pairs: Sequence[_Pair]) -> None:
        self.masks.update({pair.file.name: pair.image.name if pair.image else "" for pair in pairs})

    def doubt(self, pairs: Sequence[_Pair], why: str) -> None:
        for pair in pairs:
            whose = f" of {unicode_name(pair.image.name)}" if pair.image else ""
            self.doubts[pair.file.name] = f"perhaps a mask{whose}: {why}; it is judged as an image"


def mask_folder(name: str) -> str:
    """Return the path of the first folder above a file that is named like one of masks, a certain one before others.

    "" where there is none.
    """
    folders = name.split("/")[:-1]
    depths = (at for kind in (_is_certain, _is_named) for at, folder in enumerate(folders, 1) if kind(folder))
    return "/".join(folders[: next(depths, 0)])


def _is_certain(folder: str) -> bool:
    return "".join(letter for letter in folder.lower() if letter.isalpha()) == CERTAIN_FOLDER


def _is_named(folder: str) -> bool:
    return folder.lower() in FOLDER_WORDS or any(part.lower() in FOLDER_WORDS for part in _PARTS.findall(folder))


def plain_stem(name: str) -> str:
    """Return a file's stem in lower case, without a word such as `_mask`, `_GT2` or `label_`."""
    stem = stem_of(name)
    match = _AROUND.match(stem)
    return match[1] if match else stem


def stem_of(name: str) -> str:
    """Return a file's stem in lower case."""
    return name.rpartition("/")[2].rpartition(".")[0].lower()


def parent_of(name: str) -> str:
    """Return the folder of a file, "" for the root."""
    return name.rpartition("/")[0]


def _parents(name: str) -> Iterator[str]:
    """Yield the folders above a name from the nearest to the root, which is ""."""
    while name:
        name = parent_of(name)
        yield name


class Partners:
    """The images below the parents of some folders, by what a file in such a folder is named after."""

    def __init__(self, images: Sequence[FoundFile], homes: set[str]) -> None:
        self._marks: dict[tuple[str, str, str], list[FoundFile]] = defaultdict(list)
        above = {parent_of(home) for home in homes}
        for image in images:
            stem, folder = stem_of(image.name), parent_of(image.name).rpartition("/")[2].lower()
            for parent in above.intersection(_parents(image.name)):
                for near in {"", folder}:
                    self._marks[parent, near, stem].append(image)

    def named_by(self, name: str, home: str) -> list[FoundFile]:
        """Return the images that a file below `home` may belong to.

        Below a sub-folder they are found by folder and stem (`masks/hole/01.png`), by a folder that is named like the
        image (`gt/hole/01/000.png`), or by the stem with a word such as `_mask`; a plain stem must name one image only.
        """
        folders = name.removeprefix(f"{home}/").lower().split("/")[:-1]
        near, above = (["", "", *folders])[-1], (["", "", *folders])[-2]
        parent, stem, plain = parent_of(home), stem_of(name), plain_stem(name)
        for folder, named in ((near, plain), (near, stem), (above, near)):
            found = self._marks.get((parent, folder, named), []) if named else []
            if found and (folder or plain != stem or len(found) == 1):
                return found
        return []


def one_of(images: Sequence[FoundFile]) -> FoundFile | None:
    """Return the only image, or the only one in a split `test`; None if none or several remain."""
    in_test = [image for image in images if TEST in image.name.lower().split("/")[:-1]]
    return next((some[0] for some in (images, in_test) if len(some) == 1), None)


def _by_folder(
    state: _State, files: Sequence[FoundFile], homes: Mapping[str, str], *, pictures: Sequence[FoundFile]
) -> None:
    """Decide about the files in folders named like folders of masks, a folder at a time."""
    partners = Partners(pictures, {homes[file.name] for file in files}) if files else None
    by_home: dict[str, list[FoundFile]] = defaultdict(list)
    for file in files:
        by_home[homes[file.name]].append(file)
    for home, inside in by_home.items():
        named = [partners.named_by(file.name, home) if partners else [] for file in inside]
        pairs = [_Pair(file, one_of(images)) for file, images in zip(inside, named, strict=True)]
        if _is_certain(home.rpartition("/")[2]):
            state.accept(pairs)
        elif 2 * sum(map(bool, named)) >= len(inside):
            _by_content(state, pairs, unread_is_mask=True, ask=home.rpartition("/")[2].lower() in FOLDER_WORDS)
        elif _all_few(state, inside):
            state.doubt(pairs, "it has few values, but fewer than half of its folder's files have the name of an image")


def _by_ending(state: _State, files: Sequence[FoundFile]) -> None:
    """Decide about files with a word such as `_mask` whose image lies beside them."""
    beside: dict[tuple[str, str], list[FoundFile]] = defaultdict(list)
    for file in files:
        beside[parent_of(file.name), stem_of(file.name)].append(file)
    by_folder: dict[str, list[_Pair]] = defaultdict(list)
    for file in files:
        plain = plain_stem(file.name)
        if plain != stem_of(file.name) and (images := beside.get((parent_of(file.name), plain))):
            by_folder[parent_of(file.name)].append(_Pair(file, images[0]))
    for pairs in by_folder.values():
        _by_content(state, pairs, unread_is_mask=False)


def _by_suffix(state: _State, files: Sequence[FoundFile]) -> None:
    """Decide about files that have an image of the same stem beside them, such as `000.png` beside `000.jpg`."""
    beside: dict[tuple[str, str], list[FoundFile]] = defaultdict(list)
    for file in files:
        beside[parent_of(file.name), stem_of(file.name)].append(file)
    groups: dict[tuple[str, str], list[_Pair]] = defaultdict(list)
    for (folder, _), some in beside.items():
        for file in some if len(some) > 1 else ():
            image = next(one for one in some if one is not file)
            groups[folder, file.name.rpartition(".")[2].lower()].append(_Pair(file, image))
    for pairs in groups.values():
        contents = {state.content(pair.file) for pair in spread(pairs, SAMPLE)}
        if Content.FEW in contents:  # two pictures of one stem are copies, as long as both are pictures
            _by_content(state, pairs, unread_is_mask=False, ask=False)


def _unnamed_folders(state: _State, files: Sequence[FoundFile]) -> None:
    """Ask about folders of any name whose files are of few values and named like the images of another folder."""
    by_folder: dict[str, dict[str, FoundFile]] = defaultdict(dict)
    for file in files:
        by_folder[parent_of(file.name)].setdefault(stem_of(file.name), file)
    if not 1 < len(by_folder) <= MOST_FOLDERS:
        return
    for folder, inside in by_folder.items():
        for other, images in by_folder.items():
            pairs = [_Pair(inside[stem], images[stem]) for stem in inside.keys() & images.keys()]
            pairs = sorted(pair for pair in pairs if pair.file.name not in state.doubts)
            if other != folder and pairs and 2 * len(pairs) >= len(inside) and _are_masks(state, pairs):
                state.doubt(pairs, "it has few values, and the name of that image")
                break


def _are_masks(state: _State, pairs: Sequence[_Pair]) -> bool:
    return _all_few(state, [pair.file for pair in pairs]) and _of_pictures(state, pairs)


def _all_few(state: _State, files: Sequence[FoundFile]) -> bool:
    """Return whether the sample of some files holds few values or one each, and not one everywhere."""
    contents = set()
    for file in spread(files, SAMPLE):
        contents.add(state.content(file))
        if not contents <= {Content.FEW, Content.ONE}:
            return False
    return Content.FEW in contents


def _of_pictures(state: _State, pairs: Sequence[_Pair]) -> bool:
    """Return whether most images of the sample hold many values, as those of masks do; blank ones do not count."""
    images = [pair.image for pair in spread(pairs, SAMPLE) if pair.image]
    contents = [content for image in images if (content := state.content(image)) in (Content.FEW, Content.MANY)]
    return 2 * contents.count(Content.MANY) >= len(contents)


def _by_content(state: _State, pairs: Sequence[_Pair], *, unread_is_mask: bool, ask: bool = True) -> None:
    """Accept candidates as masks if they hold few values and their images many; else ask."""
    contents = {state.content(pair.file) for pair in spread(pairs, SAMPLE)} - {Content.UNREAD}
    if not contents:
        state.accept(pairs if unread_is_mask else ())
        return
    few, many = list(pairs), list[_Pair]()
    if contents == {Content.MANY}:
        few, many = many, few
    elif Content.MANY in contents or not unread_is_mask:
        state.read([pair.file for pair in pairs])
        few = [pair for pair in pairs if state.content(pair.file) in (Content.FEW, Content.ONE)]
        many = [pair for pair in pairs if state.content(pair.file) is Content.MANY]
    if few and not _of_pictures(state, few):
        state.doubt(few if ask else (), "it has few values, but so has that image")
    else:
        state.accept(few)
    state.doubt(many if ask else (), "its name says so, but it has many values")


def content_of(file: Path) -> Content:
    """Return what a picture holds; large ones are looked at in part. Never raises."""
    data = read_file(file, MOST_PIXELS)
    if isinstance(data, Finding):
        return Content.UNREAD
    content = attempt(lambda: _content(data))
    return Content.UNREAD if isinstance(content, Finding) else content


def _distinct(channel: NDArray[Any]) -> int:
    if channel.dtype == np.uint8:  # counted, which is many times faster than sorted
        return int(np.count_nonzero(np.bincount(channel)))
    return len(np.unique(channel))


def defect_pixels(file: Path) -> BoolArray:
    """Return where a mask shows a defect, (H, W), upright; nowhere if it cannot be read.

    Bright pixels, or any that are not black where none is bright, or where the defects have colours.
    """
    data = read_file(file, MOST_PIXELS)
    pixels = data if isinstance(data, Finding) else attempt(lambda: _pixels(data))
    if isinstance(pixels, Finding):
        return np.zeros((1, 1), np.bool_)
    brightest = pixels.max(axis=2)
    grey = bool((pixels == pixels[..., :1]).all())
    full = 255 if pixels.dtype == np.uint8 else int(brightest.max())
    defect: BoolArray = brightest > (full // 2 if grey and brightest.max() > full // 2 else 0)
    return defect


def _pixels(data: bytes) -> NDArray[Any]:
    """Return the pixels of a picture, (H, W, 1 or 3)."""
    header = formats.read_header(data)
    if header.elements > 4 * MOST_PIXELS:
        raise ValueError("too many pixels")
    if header.deep:
        return rasters.read_deep(data, header).values
    pixels: NDArray[np.uint8] = np.asarray(rasters.read_shallow(data, header).image)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _content(data: bytes) -> Content:
    pixels = _pixels(data)
    flat = pixels.reshape(-1, pixels.shape[2])
    flat = flat[:: len(flat) // PIXELS_COMPARED | 1]
    values = max(_distinct(channel) for channel in flat.T)
    if values <= FEW_VALUES:
        return Content.ONE if values == 1 else Content.FEW
    if pixels.dtype != np.uint8:
        return Content.MANY
    ends = ((flat <= EDGE) | (flat >= 255 - EDGE)).all(axis=1)
    return Content.FEW if ends.mean() >= BINARY_SHARE else Content.MANY
