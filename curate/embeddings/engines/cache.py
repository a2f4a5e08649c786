"""What the local engine keeps on disk: the facts of a file, and the descriptors of an image.

Everything that decides a row is in its store's name or in its key, so rows of other settings are never read.
`EmbedSettings` lists these settings.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.choices import Precision, Runtime
from curate.embeddings import pyramid
from curate.embeddings.backbones import Backbone
from curate.embeddings.store import ShardStore, check_writable, content_key
from curate.findings import Code
from curate.images.decode import DecodeConfig
from curate.images.integrity import TRANSIENT_CODES
from curate.images.levels import Levels
from curate.records import Finding, FloatArray, ImageFacts, Optics

FACTS_VERSION, VECTORS_VERSION = 6, 3
"""Part of the stores' names. Raise them when the same image and settings give other facts, or other descriptors."""

NOT_KEPT = TRANSIENT_CODES | {Code.TOO_LARGE}
"""Reasons to skip a file that may not hold next time: more memory, another package, another --max-pixels."""

FACTS = pa.schema([("key", pa.binary(32)), ("max_pixels", pa.int64()), ("facts", pa.string())])
VECTORS = pa.schema(
    [
        ("key", pa.binary(32)),
        ("rows", pa.int32()),
        ("columns", pa.int32()),
        ("pooled", pa.large_binary()),
        ("patches", pa.large_binary()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class EmbedSettings:
    """What decides the descriptors of an image, besides its backbone.

    Attributes:
        long_px: what the longest side of an image becomes.
        decode: how files are decoded.
        levels: where black and white lie in deep files.
        seed: of the projection.
        device: "cpu" or "cuda".
        runtime: what runs the network on a CPU; CUDA always runs torch.
        precision: the numbers that the network calculates in.
        batch_size: images a forward pass; None to find it.
    """

    long_px: int
    decode: DecodeConfig
    levels: Levels
    seed: int = 0
    device: str = "cpu"
    runtime: Runtime = Runtime.TORCH
    precision: Precision = Precision.FP32
    batch_size: int | None = None


class Cache:
    """The two stores of the content-addressed cache: the facts of files, and the descriptors of images.

    Raises:
        WriteError: the folder cannot be made or written to.
    """

    def __init__(self, folder: Path, backbone: Backbone, settings: EmbedSettings) -> None:
        check_writable(folder)
        levels = settings.levels
        decoding = content_key(
            FACTS_VERSION,
            settings.long_px,
            (levels.integer_black, levels.integer_white, levels.float_black, levels.float_white),
            (levels.markers, settings.decode.bands),
        )
        describing = content_key(
            VECTORS_VERSION,
            (backbone.sha256, backbone.name, backbone.strides),
            (settings.runtime, settings.precision, _arithmetic(settings)),
            pyramid.RECIPE,
            settings.seed,
        )
        self.max_pixels = settings.decode.max_pixels
        self.facts = ShardStore(folder / f"facts-{decoding.hex()[:16]}", FACTS)
        self.vectors = ShardStore(folder / f"vectors-{describing.hex()[:16]}", VECTORS, blob="patches")

    def facts_of(self, sha256: bytes) -> ImageFacts | None:
        """Return the facts of a file's content; None if there are none, or if today's --max-pixels may change them."""
        row = self.facts.find(sha256)
        if row is None:
            return None
        if row["max_pixels"] > self.max_pixels:
            self.facts.forget(sha256)  # facts found under a smaller limit hold under both
            return None
        values = json.loads(row["facts"])
        values["findings"] = tuple(Finding(**finding) for finding in values["findings"])
        values["optics"] = Optics(**values["optics"]) if values["optics"] else None
        return ImageFacts(**values)

    def describes(self, pixel_hash: str) -> bool:
        """Return whether the descriptors of an image are there and whole."""
        return self.vectors.find(bytes.fromhex(pixel_hash), check_blob=True) is not None

    def facts_rows(self, facts: Sequence[ImageFacts]) -> dict[str, list[Any]]:
        """Return the rows of the facts store for files that were decoded, without those of `NOT_KEPT`."""
        kept = [f for f in facts if not (f.skip_reason and NOT_KEPT & {finding.code for finding in f.findings})]
        return {
            "key": [bytes.fromhex(f.sha256) for f in kept],
            "max_pixels": [self.max_pixels] * len(kept),
            "facts": [json.dumps(asdict(f)) for f in kept],
        }

    def flush(self) -> None:
        """Write what is pending; see `ShardStore.flush`."""
        self.vectors.flush()
        self.facts.flush()


def _arithmetic(settings: EmbedSettings) -> str:
    """Return the device as a part of the key; marked where it calculates by autocast.

    Version 0.3 stored fp32 values under bf16 on CUDA: the mark keeps them from being read.
    """
    autocast = settings.device != "cpu" and settings.precision is Precision.BF16
    return f"{settings.device} autocast" if autocast else settings.device


def vector_rows(keys: Sequence[bytes], patches: NDArray[np.float16], pooled: FloatArray) -> dict[str, list[Any]]:
    """Return the rows of the vectors store for a batch: patches (B, rows, columns, width), pooled (B, P)."""
    count, rows, columns, _ = patches.shape
    return {
        "key": list(keys),
        "rows": [rows] * count,
        "columns": [columns] * count,
        "pooled": [vector.tobytes() for vector in pooled],
        "patches": [image.tobytes() for image in patches],
    }


@dataclass(frozen=True)
class CachedPatches:
    """Patch descriptors read from the cache, an image at a time."""

    store: ShardStore
    keys: tuple[bytes, ...]
    width: int

    def read(self, index: int) -> NDArray[np.float16]:
        """Return the patches of image `index`. Raises CouldNotFinish where they were damaged since `embed`."""
        values = np.frombuffer(self.store.blob(self.keys[index]), dtype=np.float16)
        return values.reshape(-1, self.width)
