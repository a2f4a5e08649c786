"""Embed images on this machine: decode, run the network and write at the same time, in bounded memory.

    files -> threads: read, hash, decode -> batch by size -> threads: network -> thread: write

Progress and facts come in the order of the listing; batches hold images of one size. On a CPU an image's descriptors do
not depend on its batch, so a cached scan and a fresh one agree bit by bit.
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
from functools import partial
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.choices import Runtime
from curate.embeddings import pyramid
from curate.embeddings.backbones import Backbone
from curate.embeddings.engines.cache import Cache, CachedPatches, EmbedSettings, vector_rows
from curate.embeddings.engines.network import PatchNetwork, Pixels
from curate.embeddings.frame import frame_size
from curate.embeddings.store import ShardStore
from curate.embeddings.threads import lane_count, one_core_each
from curate.images.decode import check_suffix, decode_image, header_pixels, read_file, unread
from curate.images.optics import measure
from curate.progress import Progress, no_progress
from curate.records import DecodedImage, Embeddings, Finding, FloatArray, ImageFacts, Listing

__all__ = ["Cache", "EmbedReport", "EmbedSettings", "embed"]

PIXELS_DECODED_AT_A_TIME = 600_000_000
WAITING_BYTES = 256 << 20
"""The most resized pixels, in bytes, that wait for their batch to fill or for an earlier image to be decoded."""


@dataclass
class EmbedReport:
    """Counts of images, and seconds by stage, for `run.json`.

    `decode_s` and `forward_s` are sums over threads; `wait_s` is wall time without an image to batch.
    """

    embedded: int = 0
    from_cache: int = 0
    batch_size: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: {"decode_s": 0.0, "wait_s": 0.0, "forward_s": 0.0})


def embed(
    listing: Listing,
    backbone: Backbone,
    settings: EmbedSettings,
    *,
    cache: Cache,
    progress: Progress = no_progress,
) -> tuple[list[ImageFacts], Embeddings, EmbedReport]:
    """Decode and embed every image of a listing, or take it from the cache.

    Returns:
        The facts of each file, aligned with the listing; the embeddings of those that could be read; and a report.

    Raises:
        WriteError: the cache cannot be written.
        CouldNotFinish: the network gave values that are not finite, or the cache was damaged during the run.
        UsageError: the device cannot calculate in the precision.
    """
    report = EmbedReport()
    facts: list[ImageFacts] = []
    prepare = partial(_prepare, settings=settings, cache=cache, room=_Room(PIXELS_DECODED_AT_A_TIME))
    with ThreadPoolExecutor(1, thread_name_prefix="write") as writer, lanes(settings) as threads:
        batches = _Batches(PatchNetwork(backbone, settings), cache, lanes=threads, writer=writer, report=report)
        try:
            for prepared in _in_order(listing.files, prepare, report=report, long_px=settings.long_px):
                facts.append(replace(prepared.facts, findings=prepared.facts.findings + prepared.name_findings))
                batches.add(prepared)
                progress(1)
            batches.finish()
        except KeyboardInterrupt:
            batches.collect()  # keep what was embedded
            raise
        finally:
            writer.shutdown(wait=True)
            cache.flush()
    return facts, _embeddings(facts, backbone, cache), report


@dataclass(frozen=True)
class _Prepared:
    """One file, read and hashed.

    Attributes:
        facts: of its content.
        pixels: to embed; None if the cache has its descriptors, or if it cannot be read.
        cached: whether the cache has the facts already, or must not keep them.
        name_findings: findings about its name, which are not cached with its content.
    """

    facts: ImageFacts
    pixels: Pixels | None
    cached: bool
    name_findings: tuple[Finding, ...] = ()
    decode_s: float = 0.0


class _Room:
    """Bounds a sum over threads: whoever asks for more than is free waits; more than all is granted alone."""

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
    """Return how many pixels decoding a file holds; a guess from its length if the header cannot be read."""
    return header_pixels(data) or 4 * len(data)


def _prepare(file: Path, settings: EmbedSettings, *, cache: Cache, room: _Room) -> _Prepared:
    """Read and hash a file; decode it unless it is in the cache. Runs in a thread."""
    start = perf_counter()
    data = read_file(file, settings.decode)
    if isinstance(data, Finding):
        return _Prepared(unread(data), None, cached=True)
    name_findings = check_suffix(file, data)
    facts = cache.facts_of(hashlib.sha256(data).digest())
    if facts is not None and (facts.skip_reason or cache.describes(facts.pixel_hash)):
        return _Prepared(facts, None, cached=True, name_findings=name_findings)
    with room.taken(_pixels_held(data)):
        image = decode_image(
            data,
            size=lambda width, height: frame_size(width, height, settings.long_px),
            levels=settings.levels,
            config=settings.decode,
        )
        if isinstance(image, DecodedImage):
            image = replace(image, facts=replace(image.facts, optics=measure(image.pixels)))
    return _Prepared(
        facts=image.facts if isinstance(image, DecodedImage) else image,
        pixels=image.pixels if isinstance(image, DecodedImage) else None,
        cached=facts is not None,
        name_findings=name_findings,
        decode_s=perf_counter() - start,
    )


def _in_order(
    files: Sequence[Path], prepare: Callable[[Path], _Prepared], *, report: EmbedReport, long_px: int
) -> Iterator[_Prepared]:
    """Prepare files in threads, at most a bounded number ahead, and yield them in order."""
    workers = max(1, min(8, os.cpu_count() or 1))
    ahead = max(workers, min(4 * workers, WAITING_BYTES // (12 * long_px**2)))  # 12: three channels of float32
    waiting: deque[Future[_Prepared]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        try:
            for file in files:
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


def lanes(settings: EmbedSettings) -> AbstractContextManager[ThreadPoolExecutor]:
    """Return the threads that run the network: one a core for torch on a CPU, else a single one."""
    if settings.device == "cpu" and settings.runtime is Runtime.TORCH:
        return one_core_each("forward")
    return ThreadPoolExecutor(1, thread_name_prefix="forward")


@dataclass(frozen=True)
class _Described:
    """The descriptors of a batch."""

    keys: tuple[bytes, ...]
    patches: NDArray[np.float16]
    pooled: FloatArray
    seconds: float


class _Batches:
    """Collects images of one size until a batch is full, runs it and hands its descriptors to the writer."""

    def __init__(
        self,
        network: PatchNetwork,
        cache: Cache,
        *,
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
        if not prepared.cached:
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
        """Run what is left, and wait until the cache has it all."""
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
        """Hand finished batches to the writer, in order, until `at_most` are running."""
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

    def _submit(self, store: ShardStore, rows: Callable[[], dict[str, list[Any]]]) -> None:
        self._writes.append(self._writer.submit(lambda: store.append(rows())))
        while len(self._writes) > 8:
            self._writes.popleft().result()


def _embeddings(facts: Sequence[ImageFacts], backbone: Backbone, cache: Cache) -> Embeddings:
    """Read the embeddings of all readable images from the cache; the patches stay on disk."""
    images = [row for row, image in enumerate(facts) if not image.skip_reason]
    return read_embeddings(
        images, [bytes.fromhex(facts[row].pixel_hash) for row in images], backbone=backbone, cache=cache
    )


def read_embeddings(images: Sequence[int], keys: Sequence[bytes], *, backbone: Backbone, cache: Cache) -> Embeddings:
    """Read embeddings from the cache; the patches stay on disk.

    Args:
        images: rows of the listing.
        keys: of their descriptors, aligned.
        backbone: made the descriptors.
        cache: holds them.

    Raises:
        CouldNotFinish: a row was damaged since it was written.
    """
    grids = np.zeros((len(keys), 2), dtype=np.int64)
    pooled = np.zeros((len(keys), sum(backbone.channels)), dtype=np.float32)
    for index, key in enumerate(keys):
        row = cache.vectors.read(key)
        grids[index] = row["rows"], row["columns"]
        pooled[index] = np.frombuffer(row["pooled"], dtype=np.float32)
    edges, parts = np.cumsum((0, *backbone.channels)), pyramid.stage_columns(backbone.channels)
    width = parts[-1].stop
    return Embeddings(
        images=np.array(images, dtype=np.int64),
        grids=grids,
        pooled=pooled,
        stages=tuple(slice(int(a), int(b)) for a, b in pairwise(edges)),
        source=CachedPatches(cache.vectors, tuple(keys), width),
        width=width,
        parts=parts,
    )
