"""The network on its device: from pixels of one size to patch descriptors and pooled vectors."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from curate.embeddings import pyramid
from curate.embeddings.backbones import Backbone
from curate.embeddings.engines.cache import EmbedSettings
from curate.embeddings.frame import tiling
from curate.embeddings.runtimes import Forward, prepare, prepare_on
from curate.errors import CouldNotFinish
from curate.records import FloatArray

PIXELS_A_BATCH_CPU, PIXELS_A_BATCH_CUDA = 1_000_000, 16_000_000

Pixels = NDArray[np.uint8] | NDArray[np.float32]


class PatchNetwork:
    """The backbone on its device, from pixels to descriptors; halves the batch when memory runs out."""

    def __init__(self, backbone: Backbone, settings: EmbedSettings) -> None:
        self._backbone, self._device = backbone, torch.device(settings.device)
        self._run = _runner(backbone, settings)
        self._matrix = pyramid.projection_by_stage(backbone.channels, settings.seed).to(self._device)
        self._batch_size = settings.batch_size
        self._pixels = PIXELS_A_BATCH_CPU if settings.device == "cpu" else PIXELS_A_BATCH_CUDA

    def images_a_batch(self, shape: tuple[int, ...]) -> int:
        """Return how many images of `shape` (H, W, 3) make a batch."""
        crop = tiling(shape[0], shape[1])
        return self._batch_size or max(1, min(256, self._pixels // (crop.height * crop.width)))

    def describe(self, pixels: Pixels) -> tuple[NDArray[np.float16], FloatArray]:
        """Return patch descriptors (B, rows, columns, width) and pooled vectors (B, P) of (B, H, W, 3) pixels.

        On a CPU the images go through one at a time: several at once are rounded otherwise than one alone, and what is
        kept of an image must not depend on its batch.
        """
        if self._device.type == "cpu" and len(pixels) > 1:
            alone = [self._describe(pixels[image : image + 1]) for image in range(len(pixels))]
            return np.concatenate([one[0] for one in alone]), np.concatenate([one[1] for one in alone])
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
        """Run the network tile by tile and join the stages on the image's patch grid."""
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
            for target, maps in zip(whole, self._forward(crops), strict=True):
                target[:, :, tile.rows, tile.columns] = maps[:, :, *inner]
        return whole

    def _forward(self, crops: Pixels) -> list[Tensor]:
        batch = pyramid.to_input(crops, self._backbone.mean, self._backbone.std).to(self._device)
        return pyramid.on_grid(self._run(batch), self._backbone.strides)


def _runner(backbone: Backbone, settings: EmbedSettings) -> Forward:
    """Return what runs the network on the device, by the runtime and in the precision of the settings."""
    if settings.device == "cpu":
        return prepare(backbone.network, settings.runtime, precision=settings.precision)
    return prepare_on(settings.device, backbone.network, precision=settings.precision)
