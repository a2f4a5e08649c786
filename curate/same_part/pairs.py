"""Compares prints: registered, less what the product always shows, whitened, then correlated.

    Prints -> weights_of -> register -> correlations -> refit -> local_differences

Shifts are (dy, dx) in px of the print. K is the inner side of a print, without its margins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, gaussian_filter

from curate.records import FloatArray, IntArray
from curate.same_part.prints import MARGIN_PX, SIDE_PX, Prints, spectra_of

CLIP = 2.5
"""Residuals count up to so many standard deviations: two alike cracks do not make the same surface."""
FLOOR = 0.03
"""Noise, as a share of the mean power of the set's prints: frequencies that hold less are not raised to it."""
BLOCK_PX = 6
"""Side of the blocks in which a local difference is looked for: a tenth of the part."""
RIM = 2
"""Half blocks at each side that are the rim: a shift brings other shade into the blur there. It has its own limit."""
UNREGISTERED_PX = 0.35
"""What registration may leave: a difference that so small a shift explains is none."""
CELLS = 6
"""A side of the print has so many; windows of half the side are left out in turn, a cell apart."""
STEPS = 4
"""Steps of the fit: from a shift that is right to a pixel, turns of 2 degrees converge in three or four."""
FARTHEST = 0.12
"""The largest share of turn, stretch or shear: beyond it the fit has gone astray, and the shift alone counts."""

INNER = slice(MARGIN_PX, SIDE_PX - MARGIN_PX)
INNER_PX = SIDE_PX - 2 * MARGIN_PX
ROUGH_PX = 0.7
"""Blur of the correlation surface: a peak between two pixels is shared by both."""


@dataclass(frozen=True, kw_only=True)
class Registered:
    """C prints, shifted onto one.

    Attributes:
        first, moved: (S, S) the one, and (C, S, S) the others.
        shifts: (C, 2) by how much each was moved, in px.
        white: (1 + C, K * K) the one and the others, whitened.
    """

    first: FloatArray
    moved: FloatArray
    shifts: FloatArray
    white: FloatArray

    def at(self, which: IntArray) -> Registered:
        """Return some of the others beside the one."""
        rows = np.concatenate([[0], which + 1])
        return Registered(first=self.first, moved=self.moved[which], shifts=self.shifts[which], white=self.white[rows])


def register(first: FloatArray, others: FloatArray, weights: FloatArray) -> Registered:
    """Return C prints (C, S, S), shifted onto one print (S, S), all whitened by the `weights` of `weights_of`."""
    spectra = spectra_of(others)
    shifts = shifts_onto(spectra_of(first), spectra)
    moved = shifted(spectra, shifts)
    return Registered(first=first, moved=moved, shifts=shifts, white=whitened(_with(first, moved), weights))


def refit(registered: Registered, reference: FloatArray, weights: FloatArray) -> tuple[Registered, FloatArray]:
    """Undo a turn, a crop and a stretch of the others too; return them, and the reference fitted along, whitened.

    Without that, a turned part would be left with the product's own outline, which all others have too. Fitted scores
    are higher, of different parts as well: they have their own null distribution.

    Args:
        registered: C prints beside one.
        reference: (S, S) what the product always shows.
        weights: of `weights_of`.
    """
    first = registered.first
    moved, shifts = fitted(first, _with(reference, registered.moved))
    white = whitened(_with(first, moved), weights)
    again = Registered(
        first=first, moved=moved[1:], shifts=registered.shifts + shifts[1:], white=np.delete(white, 1, axis=0)
    )
    return again, white[1]


def correlations(registered: Registered, reference: FloatArray) -> FloatArray:
    """Return (C,) Fisher's z of the correlation of each with the one, both less a reference: near 0 for other parts.

    Args:
        registered: C prints beside one.
        reference: (K * K,) what the product always shows, whitened.

    Source: ours.
    """
    residuals = _clipped(registered.white - reference)
    norms = np.linalg.norm(residuals, axis=1)
    return _fisher(residuals[1:] @ residuals[0] / (norms[1:] * norms[0] + 1e-9))


def correlations_elsewhere(registered: Registered, reference: FloatArray) -> FloatArray:
    """Return (C,) the same without the place where it is highest: the least of what is left without each window.

    Two parts with the same hole agree there alone, two shots of a part everywhere. Source: ours.
    """
    residuals = _clipped(registered.white - reference)
    one, many = residuals[0], residuals[1:]
    shared, first, others = (_elsewhere(values) for values in (many * one, one[None] ** 2, many**2))
    return _fisher((shared / (np.sqrt(first * others) + 1e-9)).min(axis=(1, 2), initial=1))


def _elsewhere(values: FloatArray) -> FloatArray:
    """Return (C, 4, 4) sums of (C, K * K) outside each of 4 x 4 windows, half of the side long."""
    cells = values.reshape(len(values), CELLS, INNER_PX // CELLS, CELLS, INNER_PX // CELLS).sum(axis=(2, 4))
    windows = sliding_window_view(cells, (CELLS // 2, CELLS // 2), axis=(1, 2)).sum(axis=(3, 4))
    elsewhere: FloatArray = cells.sum(axis=(1, 2), keepdims=True) - windows
    return elsewhere


def mutual_correlations(registered: Registered, reference: FloatArray) -> FloatArray:
    """Return (1 + C, 1 + C) the same of all pairs among the one and the others."""
    residuals = _clipped(registered.white - reference)
    residuals /= np.linalg.norm(residuals, axis=1, keepdims=True) + 1e-9
    return _fisher(residuals @ residuals.T)


def mutual_differences(registered: Registered) -> FloatArray:
    """Return (1 + C, 1 + C) how far two prints differ nearly everywhere: the median over cells of the mean square.

    Shots of a part differ by noise there, parts of one product by their surfaces; edges that a turn has moved lie in
    few of the cells. Source: ours.
    """
    inner = _with(registered.first, registered.moved)[:, INNER, INNER]
    side = INNER_PX // CELLS
    cells = (
        inner.reshape(len(inner), CELLS, side, CELLS, side).transpose(1, 3, 0, 2, 4).reshape(-1, len(inner), side**2)
    )
    power = np.square(cells).sum(axis=2)
    squares = power[:, :, None] + power[:, None] - 2 * cells @ cells.transpose(0, 2, 1)
    differences: FloatArray = np.median(np.maximum(0, squares), axis=0) / side**2
    return differences


def joined(one: Registered, other: Registered) -> Registered:
    """Return the prints of both, registered to the same print."""
    return Registered(
        first=one.first,
        moved=np.concatenate([one.moved, other.moved]),
        shifts=np.concatenate([one.shifts, other.shifts]),
        white=np.concatenate([one.white, other.white[1:]]),
    )


def _with(one: FloatArray, many: FloatArray) -> FloatArray:
    return np.concatenate([one[None], many])


# --- registration

_CYCLES_Y = np.fft.fftfreq(SIDE_PX).astype(np.float32)[:, None]
_CYCLES_X = np.fft.rfftfreq(SIDE_PX).astype(np.float32)[None]
_ROUGH = np.exp(-2 * (np.pi * ROUGH_PX) ** 2 * (_CYCLES_Y**2 + _CYCLES_X**2)).astype(np.float32)


def shifts_onto(spectrum: NDArray[np.complex64], others: NDArray[np.complex64]) -> FloatArray:
    """Return (C, 2) shifts that bring the others onto one print, at most MARGIN_PX, by parts of a pixel.

    Args:
        spectrum, others: (S, S // 2 + 1) and (C, S, S // 2 + 1) of `spectra_of`.

    Source: phase correlation, Kuglin & Hines 1975. Differs: blurred, and the peak is that of a parabola.
    """
    cross = spectrum * others.conj()
    size = np.abs(cross)
    cross *= _ROUGH / (size + 1e-3 * size.mean(axis=(1, 2), keepdims=True) + 1e-12)
    rows = np.arange(-MARGIN_PX - 1, MARGIN_PX + 2)
    partial = scipy.fft.ifft(cross, axis=1)[:, rows]
    surface = scipy.fft.irfft(partial, n=SIDE_PX, axis=2)[:, :, rows]
    return _peaks(surface)


def _peaks(surface: FloatArray) -> FloatArray:
    """Return (C, 2) where each surface (C, 2 m + 3, 2 m + 3) peaks, from its middle, by parts of a pixel."""
    inner = surface[:, 1:-1, 1:-1]
    row, column = np.divmod(inner.reshape(len(inner), inner.shape[1] * inner.shape[2]).argmax(axis=1), inner.shape[2])
    each, row, column = np.arange(len(inner)), row + 1, column + 1
    top = surface[each, row, column]
    down = _vertex(surface[each, row - 1, column], top, surface[each, row + 1, column])
    right = _vertex(surface[each, row, column - 1], top, surface[each, row, column + 1])
    middle = MARGIN_PX + 1
    return np.stack([row - middle + down, column - middle + right], axis=1).astype(np.float32)


def _vertex(before: FloatArray, top: FloatArray, after: FloatArray) -> FloatArray:
    bend = before + after - 2 * top
    offset: FloatArray = np.clip(0.5 * (before - after) / np.where(bend < 0, bend, -np.inf), -0.5, 0.5)
    return offset


_AWAY = np.arange(INNER_PX, dtype=np.float32) - np.float32((INNER_PX - 1) / 2)
_PLACES = np.stack(
    [np.repeat(_AWAY, INNER_PX), np.tile(_AWAY, INNER_PX), np.ones(INNER_PX**2, np.float32)]
)  # (3, K * K): y, x from the middle, 1


def shifted(spectra: NDArray[np.complex64], shifts: FloatArray) -> FloatArray:
    """Return prints (C, S, S) of spectra (C, S, S // 2 + 1), shifted by (C, 2) px."""
    turn_y = np.exp(-2j * np.pi * _CYCLES_Y * shifts[:, 0, None, None]).astype(np.complex64)
    turn_x = np.exp(-2j * np.pi * _CYCLES_X * shifts[:, 1, None, None]).astype(np.complex64)
    moved: FloatArray = scipy.fft.irfft2(spectra * turn_y * turn_x, s=(SIDE_PX, SIDE_PX), axes=(1, 2))
    return moved


def fitted(first: FloatArray, others: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the others, moved by the affine map that fits each best to one print (C, S, S), and their shifts (C, 2).

    Args:
        first, others: (S, S) and (C, S, S), registered by a shift.

    Source: inverse compositional fit, Baker & Matthews 2004, §3.2. Differs: where it strays, nothing is moved.
    """
    start = np.tile(np.eye(3, dtype=np.float32), (len(others), 1, 1))
    maps, best = start.copy(), start.copy()
    moved, error = others[:, INNER, INNER], np.full(len(others), np.inf, np.float32)
    slopes, inverse = _slopes(first)
    for _ in range(STEPS):
        change = (moved - first[INNER, INNER]).reshape(len(others), -1) @ slopes.T @ inverse  # (C, 6)
        maps = (maps @ np.linalg.inv(_matrices(change))).astype(np.float32)
        astray = (np.abs(maps - start)[:, :2] > (FARTHEST, FARTHEST, MARGIN_PX / 2)).any(axis=(1, 2))
        maps[astray] = start[astray]
        moved = _warped(others, maps)
        now = _errors(first, moved)
        best[now < error], error = maps[now < error], np.minimum(now, error)
    return np.stack([_warped_smoothly(other, map_) for other, map_ in zip(others, best, strict=True)]), -best[:, :2, 2]


def _warped_smoothly(values: FloatArray, map_: FloatArray) -> FloatArray:
    """Return an image (S, S), moved by a map (3, 3) about its middle, by cubic splines: nothing is blurred."""
    middle = (SIDE_PX - 1) / 2
    offset = map_[:2, 2] + middle - map_[:2, :2].sum(axis=1) * middle
    warped: FloatArray = affine_transform(values, map_[:2, :2], offset, order=3, mode="nearest")
    return warped


def _errors(first: FloatArray, moved: FloatArray) -> FloatArray:
    errors: FloatArray = np.square(moved - first[INNER, INNER]).sum(axis=(1, 2))
    return errors


def _slopes(first: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return (6, K * K) how a print changes with an affine map, and the inverse (6, 6) of its normal matrix."""
    down, right = (np.gradient(first, axis=axis)[INNER, INNER].reshape(-1) for axis in (0, 1))
    slopes = np.concatenate([down * _PLACES, right * _PLACES])
    normal = slopes @ slopes.T
    ridge = np.diag(1e-3 * np.diag(normal) + 1e-9).astype(np.float32)
    return slopes, np.linalg.inv(normal + ridge)


def _matrices(change: NDArray[Any]) -> NDArray[np.float64]:
    matrices = np.tile(np.eye(3), (len(change), 1, 1))
    matrices[:, :2] += change.reshape(-1, 2, 3)
    return matrices


def _warped(values: FloatArray, maps: FloatArray) -> FloatArray:
    """Return images (C, K, K) of (C, S, S): at each pixel, what stands where the map (C, 3, 3) sends it; bilinear."""
    at = maps[:, :2] @ _PLACES + np.float32((SIDE_PX - 1) / 2)  # (C, 2, K * K)
    np.clip(at, 0, SIDE_PX - 1.001, out=at)
    corner = at.astype(np.int32)
    part = at - corner
    place = corner[:, 0] * SIDE_PX + corner[:, 1] + np.arange(len(values), dtype=np.int32)[:, None] * SIDE_PX**2
    flat = values.reshape(-1)
    upper: FloatArray = flat[place]
    lower: FloatArray = flat[place + SIDE_PX]
    upper += part[:, 1] * (flat[place + 1] - upper)
    lower += part[:, 1] * (flat[place + SIDE_PX + 1] - lower)
    upper += part[:, 0] * (lower - upper)
    return upper.reshape(len(values), INNER_PX, INNER_PX)


# --- correlation


def weights_of(prints: Prints) -> FloatArray:
    """Return (K, K // 2 + 1) weights of the frequencies that make the set's prints white.

    Where texture is smooth, few large patches decide a correlation, and different parts score high by chance. White,
    every frequency has its say, and chance is small.

    Source: whitening by the mean power spectrum of the set, a floor of noise added (as Wiener does).
    """
    count, total = max(1, len(prints)), np.zeros((INNER_PX, INNER_PX))
    mean = prints.values.sum(axis=0, dtype=np.float32)[INNER, INNER] / count
    for values in prints.values:
        total += np.square(np.abs(scipy.fft.fft2((values[INNER, INNER] - mean) * _FADE)))
    power = gaussian_filter(total / count, 1, mode="wrap")[:, : INNER_PX // 2 + 1]
    weights: FloatArray = (1 / np.sqrt(power + FLOOR * power.mean() + 1e-12)).astype(np.float32)
    return weights


def _fade() -> FloatArray:
    ramp = np.minimum(np.arange(INNER_PX), np.arange(INNER_PX)[::-1]) + 1
    edge = np.sin(np.pi / 2 * np.minimum(1, ramp / 4)) ** 2
    return np.outer(edge, edge).astype(np.float32)


_FADE = _fade()


def whitened(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the insides of prints (C, S, S), whitened: (C, K * K). Of a difference it is the difference of both."""
    spectra = scipy.fft.rfft2(values[:, INNER, INNER] * _FADE, axes=(-2, -1)) * weights
    white: FloatArray = scipy.fft.irfft2(spectra, s=(INNER_PX, INNER_PX), axes=(-2, -1)).reshape(len(values), -1)
    return white


def _clipped(residuals: FloatArray) -> FloatArray:
    """Clip residuals (C, P) at CLIP standard deviations, and return them of mean 0."""
    reach = CLIP * 1.2533 * np.abs(residuals).mean(axis=-1, keepdims=True)
    np.clip(residuals, -reach, reach, out=residuals)
    residuals -= residuals.mean(axis=-1, keepdims=True)
    return residuals


def _fisher(correlations: FloatArray) -> FloatArray:
    """Return artanh r. Source: Fisher 1921."""
    z: FloatArray = np.arctanh(np.clip(correlations, -0.999, 0.999)).astype(np.float32)
    return z


def local_differences(first: FloatArray, moved: FloatArray) -> FloatArray:
    """Return (C, 2) the largest difference of a block beside what noise and registration explain: middle and rim.

    Noise is the median block; registration leaves UNREGISTERED_PX of the slope that both images have: an edge that
    is in one of them alone is a difference.

    Args:
        first, moved: (S, S) and (C, S, S) of `Registered`.

    Source: ours.
    """
    first, moved = first[INNER, INNER], moved[:, INNER, INNER]
    contrast = (moved * first).sum(axis=(1, 2)) / (np.square(moved).sum(axis=(1, 2)) + 1e-9)
    scaled = moved * np.clip(contrast, 0.5, 2)[:, None, None]
    difference = _blocks(np.square(scaled - first))
    slope = np.minimum(_blocks(_steepness(first)), _blocks(_steepness(scaled)))
    expected = np.median(difference, axis=(1, 2), keepdims=True) + UNREGISTERED_PX**2 * slope
    ratio = np.sqrt(difference / (expected + 1e-9))
    middle = ratio[:, RIM:-RIM, RIM:-RIM].max(axis=(1, 2))
    ratio[:, RIM:-RIM, RIM:-RIM] = 0
    return np.stack([middle, ratio.max(axis=(1, 2))], axis=1)


def _steepness(values: FloatArray) -> FloatArray:
    """Return (..., K, K) squared differences to the next pixel: those across two would miss a line of one pixel."""
    down = np.diff(values, axis=-2, append=values[..., -1:, :])
    right = np.diff(values, axis=-1, append=values[..., -1:])
    return np.square(down) + np.square(right)


def _blocks(values: FloatArray) -> FloatArray:
    """Return (..., B, B) means of blocks of (..., K, K), each half a block from the next."""
    half = BLOCK_PX // 2
    cells = INNER_PX // half
    small = values.reshape(*values.shape[:-2], cells, half, cells, half).mean(axis=(-3, -1))
    blocks: FloatArray = 0.25 * (small[..., 1:, 1:] + small[..., 1:, :-1] + small[..., :-1, 1:] + small[..., :-1, :-1])
    return blocks
