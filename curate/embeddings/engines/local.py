"""Embedding on this machine: decode, forward and write at the same time, in bounded memory.

    files -> threads: read, hash, decode -> one at a time: batch by size, forward -> thread: write

The caller sees images in the order of the listing; batches hold images of one size. On a CPU an image's
descriptors do not depend on the batch that it was in, so a cached scan and a fresh one agree bit by bit.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from curate.embeddings import pyramid
from curate.embeddings.backbones import Backbone, forward
from curate.embeddings.frame import frame_size, tiling
from curate.embeddings.runtimes import Precision, Run, Runtime, prepare
from curate.embeddings.store import Shelf, content_key
from curate.errors import CouldNotFinish
from curate.images.decode import DecodeConfig, check_suffix, decode_image, read_file, unread
from curate.images.levels import Levels
from curate.records import DecodedImage, Embeddings, Finding, FloatArray, ImageFacts, Listing, Progress, no_progress

VERSION = 1
"""Part of every cache key: raise it when the same image and settings give other descriptors."""

PIXELS_A_BATCH_CPU, PIXELS_A_BATCH_CUDA = 1_000_000, 16_000_000

Pixels = NDArray[np.uint8] | NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class EmbedSettings:
    """What decides the descriptors of an image, besides its backbone.

    Attributes:
        long_px: what the longest side of an image becomes.
        decode: how files are decoded.
        levels: where black and white lie in deep files.
        full_hash: decode JPEGs in full for the duplicate key, since the set mixes formats.
        seed: of the projection.
        device: "cpu" or "cuda".
        runtime, precision: what runs the network on a CPU, and in what numbers; CUDA runs torch in fp32.
        batch_size: images a forward pass; None to find it.
    """

    long_px: int
    decode: DecodeConfig
    levels: Levels
    full_hash: bool = False
    seed: int = 0
    device: str = "cpu"
    runtime: Runtime = Runtime.TORCH
    precision: Precision = Precision.FP32
    batch_size: int | None = None


@dataclass
class EmbedReport:
    """What the embedding did, for `run.json`: counts of images, and seconds by stage.

    `decode_s` is the sum over threads; the others are wall time of the one forward thread.
    """

    embedded: int = 0
    from_cache: int = 0
    batch_size: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: {"decode_s": 0.0, "wait_s": 0.0, "forward_s": 0.0})


class Cache:
    """The two shelves of the content-addressed cache: what a file holds, and what an image looks like."""

    def __init__(self, folder: Path, backbone: Backbone, settings: EmbedSettings) -> None:
        decoding = content_key(
            VERSION, settings.long_px, asdict(settings.decode), settings.levels.as_json(), settings.full_hash
        )
        describing = content_key(
            VERSION,
            (backbone.sha256, backbone.name, backbone.strides),
            (settings.runtime, settings.precision),
            pyramid.RECIPE,
            settings.seed,
        )
        facts = pa.schema([("key", pa.binary(32)), ("facts", pa.string())])
        vectors = pa.schema(
            [
                ("key", pa.binary(32)),
                ("rows", pa.int32()),
                ("columns", pa.int32()),
                ("pooled", pa.large_binary()),
                ("patches", pa.large_binary()),
            ]
        )
        self.facts = Shelf(folder / f"facts-{decoding.hex()[:16]}", facts)
        self.vectors = Shelf(folder / f"vectors-{describing.hex()[:16]}", vectors, heavy="patches")

    def flush(self) -> None:
        """Write what is pending; see `Shelf.flush`."""
        self.vectors.flush()
        self.facts.flush()


@dataclass(frozen=True)
class CachedPatches:
    """Patch descriptors read from the cache, an image at a time."""

    shelf: Shelf
    keys: tuple[bytes, ...]

    def read(self, index: int) -> NDArray[np.float16]:
        values = np.frombuffer(self.shelf.heavy(self.keys[index]), dtype=np.float16)
        return values.reshape(-1, pyramid.WIDTH)


def embed(
    listing: Listing,
    backbone: Backbone,
    settings: EmbedSettings,
    cache: Cache,
    *,
    progress: Progress = no_progress,
) -> tuple[list[ImageFacts], Embeddings, EmbedReport]:
    """Decode and embed every image of a listing, or take it from the cache.

    Returns:
        What is known of each file, aligned with the listing; the embeddings of those that could be read;
        and what the work was.

    Raises:
        WriteError: the cache cannot be written.
        CouldNotFinish: the network gave values that are not finite.
    """
    report = EmbedReport()
    facts: list[ImageFacts] = []
    with ThreadPoolExecutor(1, thread_name_prefix="write") as writer:
        batches = _Batches(_Network(backbone, settings), cache, writer, report)
        try:
            for prepared in _in_order(listing.files, lambda file: _prepare(file, settings, cache), report):
                facts.append(replace(prepared.facts, findings=prepared.facts.findings + prepared.named))
                batches.add(prepared)
                progress(1)
            batches.finish()
        finally:
            writer.shutdown(wait=True)
            cache.flush()
    return facts, _embeddings(facts, backbone, cache), report


@dataclass(frozen=True)
class _Prepared:
    """One file on its way: `known` facts need not be cached; `named` are findings about its name, not its content."""

    facts: ImageFacts
    pixels: Pixels | None
    known: bool
    named: tuple[Finding, ...]
    decode_s: float


def _prepare(file: Path, settings: EmbedSettings, cache: Cache) -> _Prepared:
    """Read, hash and, unless the cache knows the file, decode it. Runs in a thread."""
    start = perf_counter()
    data = read_file(file, settings.decode)
    if isinstance(data, Finding):
        return _Prepared(unread(data), None, True, (), 0.0)
    named = check_suffix(file, data)
    sha256 = hashlib.sha256(data).digest()
    known = sha256 in cache.facts
    if known:
        facts = _facts_from_json(cache.facts.read(sha256)["facts"])
        if facts.skip_reason or bytes.fromhex(facts.pixel_hash) in cache.vectors:
            return _Prepared(facts, None, True, named, 0.0)
    image = decode_image(
        data,
        size=lambda width, height: frame_size(width, height, settings.long_px),
        levels=settings.levels,
        config=settings.decode,
        full_hash=settings.full_hash,
    )
    seconds = perf_counter() - start
    if isinstance(image, DecodedImage):
        return _Prepared(image.facts, image.pixels, known, named, seconds)
    return _Prepared(image, None, known, named, seconds)


def _in_order(files: Sequence[Path], prepare: Callable[[Path], _Prepared], report: EmbedReport) -> Iterator[_Prepared]:
    """Prepare files in threads, a bounded number ahead, and yield them in order."""
    workers = max(1, min(8, os.cpu_count() or 1))
    waiting: deque[Future[_Prepared]] = deque()
    left = iter(files)
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        try:
            for file in left:
                waiting.append(pool.submit(prepare, file))
                if len(waiting) >= 4 * workers:
                    yield _next(waiting, report)
            while waiting:
                yield _next(waiting, report)
        finally:
            for future in waiting:
                future.cancel()


def _next(waiting: deque[Future[_Prepared]], report: EmbedReport) -> _Prepared:
    start = perf_counter()
    prepared = waiting.popleft().result()
    report.seconds["wait_s"] += perf_counter() - start
    report.seconds["decode_s"] += prepared.decode_s
    return prepared


class _Batches:
    """Collects images of one size until a batch is full, runs it, and hands it to the writer."""

    def __init__(self, network: _Network, cache: Cache, writer: ThreadPoolExecutor, report: EmbedReport) -> None:
        self._network, self._cache, self._writer, self._report = network, cache, writer, report
        self._waiting: dict[tuple[int, ...], list[tuple[bytes, Pixels]]] = {}
        self._seen: set[bytes] = set()
        self._facts: list[ImageFacts] = []
        self._writes: deque[Future[None]] = deque()

    def add(self, prepared: _Prepared) -> None:
        """Take one image; run its batch when that is full."""
        if not prepared.known:
            self._facts.append(prepared.facts)
        if prepared.pixels is None:
            self._report.from_cache += not prepared.facts.skip_reason
            return
        key = bytes.fromhex(prepared.facts.pixel_hash)
        if key in self._seen or key in self._cache.vectors:
            self._report.from_cache += 1
            return
        self._seen.add(key)
        shape = prepared.pixels.shape
        self._waiting.setdefault(shape, []).append((key, prepared.pixels))
        if len(self._waiting[shape]) >= self._network.images_a_batch(shape):
            self._run(shape)
        elif sum(len(images) for images in self._waiting.values()) >= 256:
            self._run(max(self._waiting, key=lambda s: len(self._waiting[s])))

    def finish(self) -> None:
        """Run what is left and wait until all is handed to the cache."""
        for shape in list(self._waiting):
            self._run(shape)
        self._write_facts()
        while self._writes:
            self._writes.popleft().result()

    def _run(self, shape: tuple[int, ...]) -> None:
        keys, pixels = zip(*self._waiting.pop(shape), strict=True)
        start = perf_counter()
        patches, pooled = self._network.describe(np.stack(pixels))
        self._report.seconds["forward_s"] += perf_counter() - start
        self._report.embedded += len(keys)
        self._report.batch_size = max(self._report.batch_size, len(keys))
        self._submit(self._cache.vectors, lambda: _rows(keys, patches, pooled))
        self._write_facts()

    def _write_facts(self) -> None:
        facts, self._facts = self._facts, []
        if facts:
            keys = [bytes.fromhex(known.sha256) for known in facts]
            self._submit(self._cache.facts, lambda: {"key": keys, "facts": [json.dumps(asdict(f)) for f in facts]})

    def _submit(self, shelf: Shelf, rows: Callable[[], dict[str, list[Any]]]) -> None:
        self._writes.append(self._writer.submit(lambda: shelf.append(rows())))
        while len(self._writes) > 8:
            self._writes.popleft().result()


def _rows(keys: Sequence[bytes], patches: NDArray[np.float16], pooled: FloatArray) -> dict[str, list[Any]]:
    count, rows, columns, _ = patches.shape
    return {
        "key": list(keys),
        "rows": [rows] * count,
        "columns": [columns] * count,
        "pooled": [vector.tobytes() for vector in pooled],
        "patches": [image.tobytes() for image in patches],
    }


class _Network:
    """The backbone on its device, from pixels to descriptors; halves its batch when memory runs out."""

    def __init__(self, backbone: Backbone, settings: EmbedSettings) -> None:
        self._backbone, self._device = backbone, torch.device(settings.device)
        self._run = _runner(backbone, settings)
        self._matrix = pyramid.projection(sum(backbone.channels), pyramid.WIDTH, settings.seed).to(self._device)
        self._asked = settings.batch_size
        self._pixels = PIXELS_A_BATCH_CPU if settings.device == "cpu" else PIXELS_A_BATCH_CUDA

    def images_a_batch(self, shape: tuple[int, ...]) -> int:
        """Return how many images of `shape` (H, W, 3) make a batch."""
        crop = tiling(shape[0], shape[1])
        return self._asked or max(1, min(256, self._pixels // (crop.height * crop.width)))

    def describe(self, pixels: Pixels) -> tuple[NDArray[np.float16], FloatArray]:
        """Return patch descriptors (B, rows, columns, width) and pooled vectors (B, P) of (B, H, W, 3) pixels."""
        try:
            return self._describe(pixels)
        except torch.OutOfMemoryError:
            if len(pixels) == 1:
                raise CouldNotFinish(
                    "one image alone does not fit into the device's memory; choose a smaller --image-size or the cpu"
                ) from None
        self._pixels //= 2
        torch.cuda.empty_cache()
        middle = len(pixels) // 2
        halves = [self.describe(pixels[:middle]), self.describe(pixels[middle:])]
        return np.concatenate([h[0] for h in halves]), np.concatenate([h[1] for h in halves])

    def _describe(self, pixels: Pixels) -> tuple[NDArray[np.float16], FloatArray]:
        with torch.inference_mode():
            maps = self._grid_maps(pixels)
            patches = pyramid.describe(maps, self._matrix)
            pooled = torch.cat([m.mean(dim=(2, 3)) for m in maps], dim=1)
            if not (torch.isfinite(patches).all() and torch.isfinite(pooled).all()):
                raise CouldNotFinish(f"backbone {self._backbone.name} gives values that are not finite; choose another")
            return patches.half().cpu().numpy(), pooled.cpu().numpy()

    def _grid_maps(self, pixels: Pixels) -> list[Tensor]:
        """Run the network tile by tile and put the stages together on the image's patch grid."""
        count, height, width, _ = pixels.shape
        cut = tiling(height, width)
        if len(cut.tiles) == 1:
            return self._forward(pixels)
        rows, columns = cut.tiles[-1].rows.stop, cut.tiles[-1].columns.stop
        whole = [torch.zeros((count, c, rows, columns), device=self._device) for c in self._backbone.channels]
        for tile in cut.tiles:
            crops = pixels[:, tile.top : tile.top + cut.height, tile.left : tile.left + cut.width]
            inner = (
                slice(tile.inner_top, tile.inner_top + tile.rows.stop - tile.rows.start),
                slice(tile.inner_left, tile.inner_left + tile.columns.stop - tile.columns.start),
            )
            for target, found in zip(whole, self._forward(crops), strict=True):
                target[:, :, tile.rows, tile.columns] = found[:, :, *inner]
        return whole

    def _forward(self, crops: Pixels) -> list[Tensor]:
        batch = pyramid.to_input(crops, self._backbone.mean, self._backbone.std).to(self._device)
        return pyramid.on_grid(self._run(batch), self._backbone.strides)


def _runner(backbone: Backbone, settings: EmbedSettings) -> Run:
    """Return what runs the network where the settings say."""
    if settings.device == "cpu":
        return prepare(backbone.network, settings.runtime, precision=settings.precision)
    backbone.network.to(settings.device)
    return lambda batch: list(forward(backbone, batch))


def _facts_from_json(text: str) -> ImageFacts:
    values = json.loads(text)
    values["findings"] = tuple(Finding(**finding) for finding in values["findings"])
    return ImageFacts(**values)


def _embeddings(facts: Sequence[ImageFacts], backbone: Backbone, cache: Cache) -> Embeddings:
    """Gather what the cache holds of every image that could be read; the patches stay on disk."""
    images = [i for i, known in enumerate(facts) if not known.skip_reason]
    keys = tuple(bytes.fromhex(facts[i].pixel_hash) for i in images)
    grids = np.zeros((len(keys), 2), dtype=np.int64)
    pooled = np.zeros((len(keys), sum(backbone.channels)), dtype=np.float32)
    for index, key in enumerate(keys):
        row = cache.vectors.read(key)
        grids[index] = row["rows"], row["columns"]
        pooled[index] = np.frombuffer(row["pooled"], dtype=np.float32)
    edges = np.cumsum((0, *backbone.channels))
    return Embeddings(
        images=np.array(images, dtype=np.int64),
        grids=grids,
        pooled=pooled,
        stages=tuple(slice(int(a), int(b)) for a, b in pairwise(edges)),
        source=CachedPatches(cache.vectors, keys),
        width=pyramid.WIDTH,
    )
