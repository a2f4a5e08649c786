"""The flow's first, closed-form step: descriptors are centred and whitened by a Gaussian of their place.

Each cell of the reference grid has its own mean, each area of 2 x 2 cells its own covariance (a Gaussian a place, as
Defard et al. 2021, PaDiM, §III), shrunk towards that of all places. The map is linear with a known
log-determinant, so a likelihood stays exact. It is fitted from sums, which are added and taken away by fold: no patch
is held.

Ours: a share `ridge` of the mean variance is added to every direction, as if each descriptor carried so much noise.
Directions in which nominal descriptors hardly vary would else outvote all others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from curate.errors import CouldNotFinish
from curate.records import Embeddings, FloatArray, IntArray
from curate.scores.places import ReferenceGrid, places_of

BLOCK = 32
"""Images whose patches are held at once."""

FLOOR = 1e-5
"""Variance that every direction has at least, as a share of the mean square of all descriptors."""

PRIOR = 1.0
"""Patches of the mean of all places that a cell's own mean is joined with."""


@dataclass(frozen=True)
class Sums:
    """Sums over patches: `count` (cells,), `total` (cells, D), `square` (areas, D, D)."""

    count: Tensor
    total: Tensor
    square: Tensor

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.count + other.count, self.total + other.total, self.square + other.square)

    def __sub__(self, other: Sums) -> Sums:
        return Sums(self.count - other.count, self.total - other.total, self.square - other.square)


def no_sums(grid: ReferenceGrid, width: int) -> Sums:
    areas = int(grid.areas().max()) + 1
    return Sums(torch.zeros(grid.cells), torch.zeros(grid.cells, width), torch.zeros(areas, width, width))


def add_up(embeddings: Embeddings, rows: IntArray, grid: ReferenceGrid) -> Sums:
    """Add up the patches of the images `rows`.

    Raises:
        CouldNotFinish: a descriptor is not finite.
    """
    sums, areas = no_sums(grid, embeddings.width), grid.areas()
    for images, patches in blocks_of(embeddings, rows):
        _refuse_not_finite(embeddings, images, patches)
        cells = np.concatenate([grid.cells_of(places_of(*embeddings.grids[i].tolist())) for i in images.tolist()])
        x, at = torch.from_numpy(patches), torch.from_numpy(cells)
        sums.count.index_add_(0, at, torch.ones(len(at)))
        sums.total.index_add_(0, at, x)
        for area, members in _by(areas[cells]):
            mine = x[members]
            sums.square[area].addmm_(mine.T, mine)
    return sums


def blocks_of(embeddings: Embeddings, rows: IntArray) -> Iterator[tuple[IntArray, FloatArray]]:
    """Yield (some of the images `rows`, their patches one below another)."""
    for start in range(0, len(rows), BLOCK):
        images = rows[start : start + BLOCK]
        yield images, np.concatenate([embeddings.patches(int(i)) for i in images])


def _refuse_not_finite(embeddings: Embeddings, images: IntArray, patches: FloatArray) -> None:
    bad = ~np.isfinite(patches.sum(axis=1))
    if bad.any():
        image = images[int(np.searchsorted(np.cumsum(embeddings.patch_counts()[images]), bad.argmax(), side="right"))]
        raise CouldNotFinish(
            f"flow: the descriptors of image {int(embeddings.images[image])} hold NaN or infinity; "
            "remove the image, or embed it again with a backbone and precision that stay finite"
        )


def _by(keys: IntArray) -> Iterator[tuple[int, Tensor]]:
    """Yield (key, places of that key) for each key that occurs, ascending."""
    order = np.argsort(keys, kind="stable")
    found, starts = np.unique(keys[order], return_index=True)
    for key, members in zip(found.tolist(), np.split(order, starts[1:]), strict=True):
        yield key, torch.from_numpy(members)


@dataclass(frozen=True)
class Prior:
    """How much a place counts for itself.

    Attributes:
        place: let each cell have its own mean.
        local: share, 0-1, of an area's own covariance in its Gaussian; the rest is that of all places.
    """

    place: bool
    local: float


PRIORS = (Prior(False, 0.0), Prior(True, 0.0), Prior(True, 0.5), Prior(True, 0.75))
"""From descriptors that may lie anywhere to parts that always lie the same way."""


@dataclass(frozen=True)
class Whitening:
    """A Gaussian a place: z = root (x - mean), root the inverse of a lower Cholesky factor.

    Attributes:
        mean: (cells, D).
        root: (areas, D, D).
        log_det: (areas,) of `root`.
        area: (cells,) the area of each cell.
        noise: standard deviation of the noise that `ridge` stands for.
    """

    mean: Tensor
    root: Tensor
    log_det: Tensor
    area: IntArray
    noise: float

    def __call__(self, x: Tensor, cells: IntArray) -> tuple[Tensor, Tensor]:
        """Whiten descriptors (P, D) at the cells (P,): (P, D), and the log-determinant at each, (P,)."""
        centred, areas = x - self.mean[torch.from_numpy(cells)], self.area[cells]
        out = torch.empty_like(centred)
        for area, members in _by(areas):
            out[members] = centred[members] @ self.root[area].T
        return out, self.log_det[torch.from_numpy(areas)]


def fit(sums: Sums, grid: ReferenceGrid, prior: Prior, ridge: float) -> Whitening:
    """Fit the Gaussian of each place.

    Args:
        sums: over the patches to learn from, of one image at least.
        grid: see there.
        prior: how much a place counts for itself.
        ridge: variance that is added to each direction, as a share of the mean variance.
    """
    area = torch.from_numpy(grid.areas())
    count, total, square = sums.count.double(), sums.total.double(), sums.square.double()
    common = total.sum(dim=0) / count.sum()
    mean = common.expand_as(total)
    if prior.place:
        mean = (total + PRIOR * common) / (count + PRIOR)[:, None]
    weight = torch.zeros(len(square), dtype=torch.float64).index_add_(0, area, count)
    scatter = square - _outer_sums(total, mean, count, area, len(square))
    shared = scatter.sum(dim=0) / count.sum()
    own = scatter / weight.clamp(min=1)[:, None, None]
    share = torch.where(weight > 0, prior.local, 0.0)[:, None, None]
    scale = float(square.diagonal(dim1=1, dim2=2).sum() / count.sum() / total.shape[1])
    extra = max(ridge * float(shared.diagonal().mean()), FLOOR * scale, 1e-12)
    eye = torch.eye(total.shape[1], dtype=torch.float64)
    factor = torch.linalg.cholesky(share * own + (1 - share) * shared + extra * eye)
    root = torch.linalg.solve_triangular(factor, eye.expand_as(factor), upper=False)
    log_det = -factor.diagonal(dim1=1, dim2=2).log().sum(dim=1)
    return Whitening(mean.float(), root.float(), log_det.float(), grid.areas(), float(np.sqrt(extra)))


def _outer_sums(total: Tensor, mean: Tensor, count: Tensor, area: Tensor, areas: int) -> Tensor:
    """Return, by area, the sums over its cells of S m' + m S' - n m m': what centring takes from the squares."""
    out = torch.zeros(areas, total.shape[1], total.shape[1], dtype=total.dtype)
    for at in range(areas):
        cells = area == at
        m, cross = mean[cells], total[cells] - 0.5 * count[cells, None] * mean[cells]
        half = cross.T @ m
        out[at] = half + half.T
    return out


def choose_prior(
    embeddings: Embeddings, rows: IntArray, sums: Sums, grid: ReferenceGrid, priors: Sequence[Prior], ridge: float
) -> tuple[Prior, list[float]]:
    """Choose by the likelihood of images that were not fitted.

    Args:
        embeddings: of N images.
        rows: images that `sums` does not count.
        sums: see `fit`.
        grid: see there.
        priors: to choose from.
        ridge: see `fit`.

    Returns:
        The best, and what each led to: the median over images of the mean over an image's patches, nats per dimension.
    """
    found = []
    for prior in priors:
        whitening = fit(sums, grid, prior, ridge)
        found.append(float(np.median([gaussian_nll(embeddings, i, whitening, grid).mean() for i in rows.tolist()])))
    return priors[int(np.argmin(found))], found


def gaussian_nll(embeddings: Embeddings, image: int, whitening: Whitening, grid: ReferenceGrid) -> FloatArray:
    """Return the negative log-likelihood of each patch of an image under the Gaussians alone, in nats per dimension."""
    x = torch.from_numpy(embeddings.patches(image))
    z, log_det = whitening(x, grid.cells_of(places_of(*embeddings.grids[image].tolist())))
    nats = 0.5 * z.square().sum(dim=1) - log_det
    return np.asarray(nats.numpy() / x.shape[1] + 0.5 * np.log(2 * np.pi), dtype=np.float32)
