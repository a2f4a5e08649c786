"""Embedding on this machine: decode, forward and write at the same time, in bounded memory.

    files -> threads: read, hash, decode -> batch by size -> threads: forward -> thread: write

The caller sees images in the order of the listing; batches hold images of one size. On a CPU an image's
descriptors do not depend on the batch that it was in, so a cached scan and a fresh one agree bit by bit.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from curate.embeddings import pyramid
from curate.embeddings.backbones import Backbone, forward
from curate.embeddings.engines.cache import Cache, CachedPatches, EmbedSettings, vector_rows
from curate.embeddings.frame import frame_size, tiling
from curate.embeddings.runtimes import Run, Runtime, prepare
from curate.embeddings.store import Shelf
from curate.embeddings.threads import lane_count, one_core_each
from curate.errors import CouldNotFinish
from curate.images.decode import check_suffix, decode_image, header_pixels, read_file, unread
from curate.images.optics import measure
from curate.records import DecodedImage, Embeddings, Finding, FloatArray, ImageFacts, Listing, Progress, no_progress

__all__ = ["Cache", "EmbedReport", "EmbedSettings", "embed"]

PIXELS_A_BATCH_CPU, PIXELS_A_BATCH_CUDA = 1_000_000, 16_000_000
PIXELS_DECODED_AT_A_TIME = 600_000_000
WAITING_BYTES = 256 << 20
"""Of resized pixels that wait for their batch to fill, or for an earlier image to be decoded."""

Pixels = NDArray[np.uint8] | NDArray[np.float32]


@dataclass
class EmbedReport:
    """What the embedding did, for `run.json`: counts of images, and seconds by stage.

    `decode_s` and `forward_s` are sums over threads; `wait_s` is wall time that nothing was there to batch.
    """

    embedded: int = 0
    from_cache: int = 0
    batch_size: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: {"decode_s": 0.0, "wait_s": 0.0, "forward_s": 0.0})


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
        CouldNotFinish: the network gave values that are not finite, or the cache was damaged meanwhile.
    """
    report = EmbedReport()
    facts: list[ImageFacts] = []
    room = _Room(PIXELS_DECODED_AT_A_TIME)
    with ThreadPoolExecutor(1, thread_name_prefix="write") as writer, _lanes(settings) as lanes:
        batches = _Batches(_Network(backbone, settings), cache, lanes, writer, report)
        try:
            for prepared in _in_order(
                listing.files, lambda f: _prepare(f, settings, cache, room), report, settings.long_px
            ):
                facts.append(replace(prepared.facts, findings=prepared.facts.findings + prepared.named))
                batches.add(prepared)
                progress(1)
            batches.finish()
        except KeyboardInterrupt:
            batches.collect()  # what was embedded stays embedded
            raise
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


class _Room:
    """Bounds a sum over threads: one that takes more than is free waits; one larger than all waits until alone."""

    def __init__(self, size: int) -> None:
        self._size = self._free = size
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, amount: int) -> Iterator[None]:
        """Hold `amount` for the length of a `with` block."""
        amount = min(amount, self._size)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= amount)
            self._free -= amount
        try:
            yield
        finally:
            with self._changed:
                self._free += amount
                self._changed.notify_all()


def _pixels_held(data: bytes) -> int:
    """Return how many pixels a file's decoding holds; where its header tells nothing, a guess from its length."""
    return header_pixels(data) or 4 * len(data)


def _prepare(file: Path, settings: EmbedSettings, cache: Cache, room: _Room) -> _Prepared:
    """Read, hash and, unless the cache knows the file, decode it. Runs in a thread."""
    start = perf_counter()
    data = read_file(file, settings.decode)
    if isinstance(data, Finding):
        return _Prepared(unread(data), None, True, (), 0.0)
    named = check_suffix(file, data)
    facts = cache.facts_of(hashlib.sha256(data).digest())
    if facts is not None and (facts.skip_reason or cache.describes(facts.pixel_hash)):
        return _Prepared(facts, None, True, named, 0.0)
    with room.taken(_pixels_held(data)):
        image = decode_image(
            data,
            size=lambda width, height: frame_size(width, height, settings.long_px),
            levels=settings.levels,
            config=settings.decode,
        )
        if isinstance(image, DecodedImage):
            image = replace(image, facts=replace(image.facts, optics=measure(image.pixels)))
    seconds = perf_counter() - start
    if isinstance(image, DecodedImage):
        return _Prepared(image.facts, image.pixels, facts is not None, named, seconds)
    return _Prepared(image, None, facts is not None, named, seconds)


def _in_order(
    files: Sequence[Path], prepare: Callable[[Path], _Prepared], report: EmbedReport, long_px: int
) -> Iterator[_Prepared]:
    """Prepare files in threads, a bounded number ahead, and yield them in order."""
    workers = max(1, min(8, os.cpu_count() or 1))
    ahead = max(workers, min(4 * workers, WAITING_BYTES // (12 * long_px**2)))  # 12: three channels of float32
    waiting: deque[Future[_Prepared]] = deque()
    left = iter(files)
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        try:
            for file in left:
                waiting.append(pool.submit(prepare, file))
                if len(waiting) >= ahead:
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


def _lanes(settings: EmbedSettings) -> AbstractContextManager[ThreadPoolExecutor]:
    """Return the threads that run the network: one a core for torch on a CPU, else one that drives the device."""
    if settings.device == "cpu" and settings.runtime is Runtime.TORCH:
        return one_core_each("forward")
    return ThreadPoolExecutor(1, thread_name_prefix="forward")


@dataclass(frozen=True)
class _Described:
    """A batch that came out of the network."""

    keys: tuple[bytes, ...]
    patches: NDArray[np.float16]
    pooled: FloatArray
    seconds: float


class _Batches:
    """Collects images of one size until a batch is full, has it run, and hands it to the writer."""

    def __init__(
        self,
        network: _Network,
        cache: Cache,
        lanes: ThreadPoolExecutor,
        writer: ThreadPoolExecutor,
        report: EmbedReport,
    ) -> None:
        self._network, self._cache, self._report = network, cache, report
        self._lanes, self._writer = lanes, writer
        self._running: deque[Future[_Described]] = deque()
        self._waiting: dict[tuple[int, ...], list[tuple[bytes, Pixels]]] = {}
        self._waiting_bytes: Counter[tuple[int, ...]] = Counter()
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
        if key in self._seen or self._cache.describes(prepared.facts.pixel_hash):
            self._report.from_cache += 1
            return
        self._seen.add(key)
        shape = prepared.pixels.shape
        self._waiting.setdefault(shape, []).append((key, prepared.pixels))
        self._waiting_bytes[shape] += prepared.pixels.nbytes
        if len(self._waiting[shape]) >= self._network.images_a_batch(shape):
            self._run(shape)
        elif self._waiting_bytes.total() >= WAITING_BYTES:
            self._run(self._waiting_bytes.most_common(1)[0][0])

    def finish(self) -> None:
        """Run what is left and wait until all is handed to the cache."""
        for shape in list(self._waiting):
            self._run(shape)
        self.collect()
        self._write_facts()
        while self._writes:
            self._writes.popleft().result()

    def _run(self, shape: tuple[int, ...]) -> None:
        keys, pixels = zip(*self._waiting.pop(shape), strict=True)
        del self._waiting_bytes[shape]
        self._running.append(self._lanes.submit(self._describe, keys, np.stack(pixels)))
        self.collect(at_most=lane_count() + 1)

    def _describe(self, keys: tuple[bytes, ...], pixels: Pixels) -> _Described:
        start = perf_counter()
        patches, pooled = self._network.describe(pixels)
        return _Described(keys, patches, pooled, perf_counter() - start)

    def collect(self, *, at_most: int = 0) -> None:
        """Hand what came out of the network to the writer, in order, until `at_most` batches are under way."""
        while len(self._running) > at_most:
            done = self._running.popleft().result()
            self._report.seconds["forward_s"] += done.seconds
            self._report.embedded += len(done.keys)
            self._report.batch_size = max(self._report.batch_size, len(done.keys))
            self._write_batch(done)
            self._write_facts()

    def _write_batch(self, done: _Described) -> None:
        self._submit(self._cache.vectors, lambda: vector_rows(done.keys, done.patches, done.pooled))

    def _write_facts(self) -> None:
        facts, self._facts = self._facts, []
        if facts:
            self._submit(self._cache.facts, lambda: self._cache.facts_rows(facts))

    def _submit(self, shelf: Shelf, rows: Callable[[], dict[str, list[Any]]]) -> None:
        self._writes.append(self._writer.submit(lambda: shelf.append(rows())))
        while len(self._writes) > 8:
            self._writes.popleft().result()


class _Network:
    """The backbone on its device, from pixels to descriptors; halves its batch when memory runs out."""

    def __init__(self, backbone: Backbone, settings: EmbedSettings) -> None:
        self._backbone, self._device = backbone, torch.device(settings.device)
        self._run = _runner(backbone, settings)
        self._matrix = pyramid.projection_by_stage(backbone.channels, pyramid.WIDTH, settings.seed).to(self._device)
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
        parts=pyramid.stage_columns(len(backbone.channels), pyramid.WIDTH),
    )
