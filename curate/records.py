"""The values that the stages hand on: frozen, arrays sealed, invariants checked.

    Listing -> ImageFacts + pixels -> Embeddings -> NominalSet -> Scores -> JudgedSet -> Verdicts -> Audit

Data about many images are aligned arrays: row i of each belongs to the same image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]
"""A value that `run.json` can hold."""


class Layout(StrEnum):
    """How a dataset lies on disk."""

    FLAT = "flat"
    CLASSES = "classes"
    MVTEC = "mvtec"
    MANIFEST = "manifest"
    HUGGINGFACE = "huggingface"
    FILE_LIST = "file-list"


class Verdict(StrEnum):
    """What becomes of an image; `keep` and `not_judged` are the cleaned split."""

    KEEP = "keep"
    NOT_JUDGED = "not_judged"
    """It was read, but its nominal set could not be judged (SET001): nothing speaks for it or against it."""
    MISLABELLED = "mislabelled"
    NEAR_OOD = "near_ood"
    DUPLICATE = "duplicate"
    UNREADABLE = "unreadable"
    REJECTED = "rejected"
    """By a person: no scan gives it, and `effective_verdict` alone has it."""


FLAGGED = (Verdict.MISLABELLED, Verdict.NEAR_OOD)
"""The verdicts that a person is asked about."""


CLEAN = frozenset((Verdict.KEEP, Verdict.NOT_JUDGED))
"""The verdicts of the cleaned split: nothing speaks against these images."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was noticed about one image. `code` is a key of `rules/findings.toml`."""

    code: str
    message: str


_LISTING_COLUMNS = ("paths", "files", "labels", "splits", "groups", "findings", "trusted")


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The image files of a dataset, in the order of their paths.

    Attributes:
        root: the folder that `paths` are relative to, resolved.
        layout: how the dataset was read.
        paths: POSIX paths below `root`, unique, valid Unicode also where the file name is not.
        files: the files themselves, aligned with `paths`.
        labels, splits, groups: aligned with `paths`; "" where the source says nothing.
        ignored: how many entries were passed over, by reason ("hidden", "not an image", "mask", ...).
        findings: aligned with `paths`: what the listing itself noticed (a name that is not valid UTF-8).
        root_as_named: `root` as the user named it, absolute, links kept; None for `root` itself.
        masks: pictures of where defects are, passed over: by the path of each its file, and the path of its image, ""
            if it belongs to none that is listed.
        trusted: aligned with `paths`: whether an image is known to be nominal; None where the source says nothing.
        outside: how many of the files, the last ones, are trusted images that lie outside the dataset.
    """

    root: Path
    layout: Layout
    paths: tuple[str, ...]
    files: tuple[Path, ...]
    labels: tuple[str, ...]
    splits: tuple[str, ...]
    groups: tuple[str, ...]
    ignored: dict[str, int] = field(default_factory=dict)
    findings: tuple[tuple[Finding, ...], ...] = ()
    root_as_named: Path | None = None
    masks: Mapping[str, tuple[Path, str]] = field(default_factory=dict)
    trusted: tuple[bool | None, ...] = ()
    outside: int = 0

    @property
    def named(self) -> Path:
        """The root as the user named it, absolute."""
        return self.root_as_named or self.root

    def __post_init__(self) -> None:
        if not self.trusted:
            object.__setattr__(self, "trusted", (None,) * len(self.paths))
        aligned = (self.files, self.labels, self.splits, self.groups, self.trusted)
        if any(len(column) != len(self.paths) for column in aligned):
            raise ValueError("columns of a listing differ in length")
        if len(set(self.paths)) != len(self.paths):
            raise ValueError("paths of a listing are not unique")
        if not self.findings:
            object.__setattr__(self, "findings", ((),) * len(self.paths))

    def __len__(self) -> int:
        return len(self.paths)

    def followed_by(self, others: Listing) -> Listing:
        """Return these files, then `others`, which lie outside the dataset; their paths must differ from these."""
        joined: dict[str, Any] = {name: getattr(self, name) + getattr(others, name) for name in _LISTING_COLUMNS}
        return replace(self, **joined, outside=len(others))

    def without_outside(self) -> Listing:
        """Return the files of the dataset alone."""
        count = len(self) - self.outside
        return replace(self, **{name: getattr(self, name)[:count] for name in _LISTING_COLUMNS}, outside=0)


@dataclass(frozen=True, kw_only=True)
class Optics:
    """How an image was taken, measured on the pixels that the network sees.

    Attributes:
        brightness: mean grey, 0-255.
        contrast: standard deviation of the grey, 0-128.
        sharpness: how much the grey of neighbouring pixels differs beside that of pixels four apart (root mean
            square), about 0.2-1; 1 of an even image, or of one too small. In a blurred image neighbours differ less.
        red, blue: the mean of that channel beside that of green; 1 for a grey image.
    """

    brightness: float
    contrast: float
    sharpness: float
    red: float
    blue: float


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """What decoding learned about one image file; all that is known where it could not be read.

    Attributes:
        sha256: of the file's bytes, hex; "" where the file could not be read at all.
        pixel_hash: of the pixels as they are embedded (see `decode.read_image`), hex; "" if unreadable.
        duplicate_key: equal for two images if their stored samples and shapes are, hex; "reduced:" and hex for a JPEG
            at reduced scale, which `duplicates.confirmed_keys` settles; "bytes:" and `sha256` for a file of which not
            all was read.
        width_px, height_px: of the full image, upright (after EXIF orientation); 0 if unknown.
        mode: Pillow's or tifffile's mode of the file ("L", "RGB", "RGB;16", "uint16x3", "float32", ...); "" if unknown.
        bit_depth: bits per channel of the file's samples; 0 if unknown.
        optics: how it was taken; None where the image was not embedded.
        skip_reason: one sentence; "" for an image that was read.
        findings: what was noticed, `skip_reason`'s own finding included.
    """

    sha256: str = ""
    pixel_hash: str = ""
    duplicate_key: str = ""
    width_px: int = 0
    height_px: int = 0
    mode: str = ""
    bit_depth: int = 0
    optics: Optics | None = None
    skip_reason: str = ""
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DecodedImage:
    """An image ready for the network.

    Attributes:
        facts: see `ImageFacts`.
        pixels: (H, W, 3) RGB, uint8 in 0-255 for files of 8 bits or fewer, float32 in 0-255 for deeper ones;
            upright, resized to the size that was asked for. Grey is repeated over the channels.
    """

    facts: ImageFacts
    pixels: NDArray[np.uint8] | NDArray[np.float32]


class PatchSource(Protocol):
    """Where the patch descriptors of images are read from: memory, or the cache on disk."""

    def read(self, index: int) -> NDArray[np.float16]:
        """Return the patches of image `index`, shape (rows * columns, D), row-major over the grid."""
        ...


@dataclass(frozen=True)
class PatchesInMemory:
    """Patch descriptors held as one array an image."""

    arrays: Sequence[NDArray[np.float16]]

    def read(self, index: int) -> NDArray[np.float16]:
        return self.arrays[index]


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """What the frozen backbone says about N images.

    Attributes:
        images: (N,) rows of the listing: image i here is file `images[i]` there.
        grids: (N, 2) rows and columns of each image's patch grid.
        pooled: (N, P) the mean of each stage's channels, stages one after another.
        stages: where each stage stands in `pooled`'s columns.
        source: patch descriptors, fp16, D wide.
        width: D.
        parts: where each stage stands in a patch descriptor's columns; one for all if nothing is said.
    """

    images: IntArray
    grids: IntArray
    pooled: FloatArray
    stages: tuple[slice, ...]
    source: PatchSource
    width: int
    parts: tuple[slice, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.images)
        if self.grids.shape != (count, 2) or len(self.pooled) != count:
            raise ValueError("arrays of the embeddings differ in length")
        for array in (self.images, self.grids, self.pooled):
            array.setflags(write=False)
        if not self.parts:
            object.__setattr__(self, "parts", (slice(0, self.width),))

    def __len__(self) -> int:
        return len(self.images)

    def patch_counts(self) -> IntArray:
        """Return (N,) the number of patches of each image."""
        return np.asarray(self.grids.prod(axis=1), dtype=np.int64)

    def patches(self, index: int) -> FloatArray:
        """Return image `index`'s patch descriptors, (rows * columns, D), fp32, row-major over its grid."""
        return self.source.read(index).astype(np.float32)

    def blocks(self, images: int) -> Iterator[tuple[IntArray, FloatArray]]:
        """Yield (indices of up to `images` images, their patches one below another), in order."""
        for start in range(0, len(self), images):
            indices = np.arange(start, min(start + images, len(self)), dtype=np.int64)
            yield indices, np.concatenate([self.patches(int(i)) for i in indices])

    def subset(self, indices: IntArray) -> Embeddings:
        """Return the embeddings of the images `indices`, in that order; patches stay where they are."""
        return Embeddings(
            images=self.images[indices],
            grids=self.grids[indices],
            pooled=self.pooled[indices],
            stages=self.stages,
            source=_Subset(self.source, indices),
            width=self.width,
            parts=self.parts,
        )

    def followed_by(self, others: Embeddings) -> Embeddings:
        """Return the embeddings of these images, then of `others`, made by the same backbone."""
        return Embeddings(
            images=np.concatenate([self.images, others.images]),
            grids=np.concatenate([self.grids, others.grids]),
            pooled=np.concatenate([self.pooled, others.pooled]),
            stages=self.stages,
            source=_InTurn(self.source, len(self), others.source),
            width=self.width,
            parts=self.parts,
        )


@dataclass(frozen=True)
class _InTurn:
    first: PatchSource
    count: int
    second: PatchSource

    def read(self, index: int) -> NDArray[np.float16]:
        return self.first.read(index) if index < self.count else self.second.read(index - self.count)


@dataclass(frozen=True)
class _Subset:
    source: PatchSource
    indices: IntArray

    def read(self, index: int) -> NDArray[np.float16]:
        return self.source.read(int(self.indices[index]))


@dataclass(frozen=True, kw_only=True)
class MetaSet:
    """The Evolving Meta-Set of N images: those that a view takes as most nominal, as they changed while it learned.

    Source: MLG-STPM (Sensors 2025, 25(19), 6255).

    Attributes:
        epochs: (E,) the epochs after which all images were ranked again, ascending.
        members: E sets of indices, each ascending; the last one is the meta-set that holds.
    """

    epochs: tuple[int, ...]
    members: tuple[IntArray, ...]

    def __post_init__(self) -> None:
        if not self.epochs or len(self.epochs) != len(self.members):
            raise ValueError("a meta-set needs its members for each of its epochs")

    @property
    def final(self) -> IntArray:
        """The members that hold at the end."""
        return self.members[-1]

    def held_at(self, epoch: int) -> IntArray:
        """Return the members after the last ranking up to `epoch`; none before the first."""
        held = np.zeros(0, dtype=np.int64)
        for at, members in zip(self.epochs, self.members, strict=True):
            held = members if at <= epoch else held
        return held


MOST_POSITION_COST = 0.22
"""Images are aligned if searching at the same position alone raises a patch's nearest distance by at most this share.

It lies between what aligned and unaligned sets were measured to cost; see docs/experiments.
"""

MOST_OWN_IMAGE_COST = 0.3
"""Images are a texture if searching in a patch's own image raises its nearest distance by at most this share."""


@dataclass(frozen=True)
class Alignment:
    """How the images of a nominal set lie; see `curate.scores.alignment.measure_alignment`.

    A cost is the growth, as a share, of the distance from a patch to its nearest patch in the most similar images,
    when the search is restricted: the growth that a quarter of the patches exceed, in the median over an even sample
    of images. 0 is none.

    Attributes:
        position_cost: of searching around the patch's own position alone, 0 or more; 0 for aligned parts.
        own_image_cost: of searching in the patch's own image, away from it; below 0 where images resemble themselves
            more than each other, infinite where a patch grid is too coarse to be searched.
    """

    position_cost: float = 0.0
    own_image_cost: float = np.inf

    @property
    def aligned(self) -> bool:
        """Whether a position shows the same part in every image."""
        return self.position_cost <= MOST_POSITION_COST

    @property
    def texture(self) -> bool:
        """Whether any position of an image shows what any other does."""
        return self.own_image_cost <= MOST_OWN_IMAGE_COST

    def as_json(self) -> dict[str, float]:
        """Return the finite costs."""
        costs = {"place_cost": round(self.position_cost, 4), "own_cost": round(self.own_image_cost, 4)}
        return {name: cost for name, cost in costs.items() if np.isfinite(cost)}


@dataclass(frozen=True, kw_only=True)
class PlantedDefect:
    """One defect that was drawn into an image.

    Attributes:
        family: its kind, a key of `planted_defects.FAMILIES`.
        size: longest extent, as a share of the image's longest side.
        contrast: how much of it shows, 0-1.
    """

    family: str
    size: float
    contrast: float


@dataclass(frozen=True, kw_only=True)
class PlantedImages:
    """Copies of Q images, each with one defect that was drawn into it.

    Attributes:
        embeddings: of the Q copies; `embeddings.images` are the rows of the listing that they are copies of.
        base: (Q,) the index of the image that each is a copy of, among those that are judged.
        defects: Q, what was planted.
    """

    embeddings: Embeddings
    base: IntArray
    defects: tuple[PlantedDefect, ...]

    def __len__(self) -> int:
        return len(self.base)

    def among(self, rows: IntArray) -> PlantedImages:
        """Return the copies of the images `rows`, with their indices in `rows`."""
        index = {row: i for i, row in enumerate(rows.tolist())}
        kept = np.flatnonzero(np.isin(self.base, rows))
        return PlantedImages(
            embeddings=self.embeddings.subset(kept),
            base=np.array([index[row] for row in self.base[kept].tolist()], dtype=np.int64),
            defects=tuple(self.defects[i] for i in kept.tolist()),
        )


@dataclass(frozen=True, kw_only=True)
class EmbeddedImages:
    """M images that are to be judged, with what says which of them may not speak for each other.

    Attributes:
        embeddings: of the M images.
        groups: (M,) leakage groups: images with equal numbers (copies, shots of one part) never speak for each other.
        duplicates: (M,) equal numbers for exact duplicates: together they count once in a threshold.
        labels: M class names; "" where the source says nothing.
        optics: (M, 5) how the images were taken, see `curate.verdicts.acquisition.as_table`; None if not to count.
        planted: copies of some of them with defects drawn into them; None if there are none.
        trusted: (M,) whether an image is known to be nominal; None if nobody says so of any.
        outside: how many of the images, the last ones, lie outside the dataset: they are trusted, learnt from and
            scored, and nothing is said about them.
    """

    embeddings: Embeddings
    groups: IntArray
    duplicates: IntArray
    labels: tuple[str, ...]
    optics: NDArray[np.float64] | None = None
    planted: PlantedImages | None = None
    trusted: BoolArray | None = None
    outside: int = 0

    def __post_init__(self) -> None:
        optional = (column for column in (self.optics, self.trusted) if column is not None)
        columns = (self.groups, self.duplicates, self.labels, *optional)
        if any(len(column) != len(self.embeddings) for column in columns):
            raise ValueError("columns of the embedded images differ in length")

    def __len__(self) -> int:
        return len(self.embeddings)

    @property
    def listed(self) -> int:
        """How many of the images, the first ones, are the dataset's own."""
        return len(self) - self.outside

    def subset(self, rows: IntArray) -> EmbeddedImages:
        """Return the images `rows`, in that order; those outside the dataset must be the last."""
        return EmbeddedImages(
            embeddings=self.embeddings.subset(rows),
            groups=self.groups[rows],
            duplicates=self.duplicates[rows],
            labels=tuple(self.labels[row] for row in rows.tolist()),
            optics=None if self.optics is None else self.optics[rows],
            planted=None if self.planted is None else self.planted.among(rows),
            trusted=None if self.trusted is None else self.trusted[rows],
            outside=int((rows >= self.listed).sum()),
        )


@dataclass(frozen=True)
class WarmStart:
    """What a scorer starts from in the next round; each scorer that does has a subclass of its own."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """One scorer's view of the N images of a nominal set. Higher is more anomalous.

    Attributes:
        scorer: its name, the column `score_<scorer>` of the audit.
        values: (N,) image scores, finite.
        maps: N anomaly maps, each (rows, columns) of the image's patch grid.
        neighbours: (N, k) indices of the images nearest to each, nearest first; -1 where there are fewer.
            k is 0 for a scorer that knows no neighbours.
        facts: what the run records: search, recall, settings.
        meta_set: the images that this view takes as most nominal; None for a view that keeps no such set.
        abstains: why this view cannot judge this set, one sentence; "" where it can. A view that abstains has no
            weight in the joined score where another view does not.
        model: what the scorer starts from in the next round (`Guide.model`); None for one that always starts anew.
    """

    scorer: str
    values: FloatArray
    maps: Sequence[FloatArray]
    neighbours: IntArray
    facts: Mapping[str, Json] = field(default_factory=dict)
    meta_set: MetaSet | None = None
    abstains: str = ""
    model: WarmStart | None = None

    def __post_init__(self) -> None:
        if len({len(self.values), len(self.maps), len(self.neighbours)}) != 1:
            raise ValueError("arrays of the scores differ in length")
        if not np.isfinite(self.values).all():
            raise ValueError(f"{self.scorer}: a score is not finite")
        self.values.setflags(write=False)
        self.neighbours.setflags(write=False)
