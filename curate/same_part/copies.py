"""Finds copies of one file that differ in their pixels: compressed again, resized, turned or mirrored.

    prints -> candidates -> prints that agree in one of eight orientations -> the same noise -> copies

Another shot of the same part is no copy, however alike: its noise is its own. Where no noise can be seen, that cannot
be told, and no copy is reported.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from PIL import Image
from scipy.spatial import KDTree

from curate.errors import CouldNotFinish
from curate.records import FloatArray, IntArray
from curate.same_part.clusters import components
from curate.same_part.noise import grey_of, own_noise
from curate.same_part.orientations import ORIENTATIONS, is_on_its_side, oriented, unoriented
from curate.same_part.planted_copies import plant_copies, second_shots
from curate.same_part.prints import SIDE_PX, Pixels, Prints, Read, print_of

log = logging.getLogger(__name__)

PLANTED = 12
"""Images that copies are planted of: enough for a limit, at a fixed cost."""
LIMIT_QUANTILE, LIMIT_MARGIN = 0.99, 1.25
"""Prints of copies differ at most by a quarter more than 99 % of the planted ones do."""
PAIRS, FEWEST_PAIRS, PAIRS_QUANTILE = 200, 20, 0.05
"""Pairs drawn by chance: prints of copies differ at most by half of what 95 % of such pairs do, if there are enough."""
SHARE = 0.3
"""Of the poorer print's contrast: where little is shown, small differences mean nothing."""
NEAR = 8
"""Candidates by what no orientation changes, beside those that are most similar as a whole."""
CHECKED = 4
"""Of each image, so many of the nearest candidates are compared in full."""
MOST_OWN_NOISE = 0.25
"""Copies have at most this share of noise of their own: JPEG makes some."""
SHOT_NOISE_GREY, SHOT_QUALITIES, SHOT_SHARE = 1.0, (None, 95), 0.67
"""A second shot has noise of one grey level at least, and is stored as it is or as a good JPEG. Copies have at most two
thirds of its share of own noise: in texture, that share is small."""
LIGHT_GREY = 0.75
"""The mean grey of a copy is that of its original but for rounding."""
ASPECT = 0.03
"""Width by height of a copy differs by rounding alone."""
RIM_PX = 2
WINDOW_PX = 1024
"""Noise is compared in the middle of a picture, at most so many pixels a side."""
PRINT_FROM_PX = 256
SMALLEST_PX = 32

_INNER = slice(RIM_PX, SIDE_PX - RIM_PX)


@dataclass(frozen=True, kw_only=True)
class Copies:
    """Which of M images are copies of one file.

    Attributes:
        pairs: (P, 2) rows, the smaller first, ascending.
        orientations: (P,) how the second image lies beside the first, an index of `ORIENTATIONS`.
        first: (M,) the smallest row of the images that any chain of copies joins.
        limit: the largest difference of two prints; 0 if no copy could be planted.
        most_own_noise: the largest share of noise of its own that a copy may have.
        recall: the share of planted copies that is found, by kind; empty if none could be planted.
    """

    pairs: IntArray
    orientations: IntArray
    first: IntArray
    limit: float
    most_own_noise: float
    recall: Mapping[str, float]

    def of_first(self, count: int) -> Copies:
        """Return what is said of the first images."""
        among = (self.pairs < count).all(axis=1)
        return replace(self, pairs=self.pairs[among], orientations=self.orientations[among], first=self.first[:count])


def find_copies(read: Read, prints: Prints, near: IntArray, *, groups: IntArray, seed: int) -> Copies:
    """Return the images that are copies of one file though their pixels differ.

    Args:
        read: returns the pixels of a row, (H, W, 3) RGB in 0-255, at full size or nearly so.
        prints: of the M images.
        near: (M, C) rows most similar to each image as a whole; -1 for none.
        groups: (M,) leakage groups that are known: their images are not compared.
        seed: of the planted copies and of the pairs that are drawn.

    Source: ours.
    """
    generator = np.random.default_rng(seed)
    read = lru_cache(maxsize=CHECKED)(read)
    shown = np.flatnonzero(~prints.flat)
    rows = generator.permutation(shown)[:PLANTED]
    planted = list(_plant(read, prints, rows, generator=generator))
    limit = _limit(prints, np.array([one.difference for one in planted], np.float32), groups, generator=generator)
    most = _most_own_noise(read, rows, generator)
    unlike = LIMIT_MARGIN * float(np.quantile([one.unlike for one in planted], LIMIT_QUANTILE)) if planted else 0.0
    checked: dict[tuple[int, int], int | None] = {}
    for row, others in enumerate(_candidates(prints, near, groups, unlike=unlike)):
        for other in _alike(prints, row, others, limit=limit):
            pair = (min(row, other), max(row, other))
            if pair not in checked:
                checked[pair] = _orientation_if_read(read, pair, _agreeing(prints, pair, limit), most=most)
    found = {pair: orientation for pair, orientation in checked.items() if orientation is not None}
    pairs = np.array(sorted(found), np.int64).reshape(-1, 2)
    first = np.arange(len(prints), dtype=np.int64)
    for rows in components(pairs):
        first[rows] = rows.min()
    return Copies(
        pairs=pairs,
        orientations=np.array([found[pair] for pair in sorted(found)], np.int64),
        first=first,
        limit=limit,
        most_own_noise=most,
        recall=_recall(planted, limit, most),
    )


# --- prints


def _vectors(prints: Prints, rows: IntArray) -> FloatArray:
    """Return the inner prints of some rows, one below another."""
    return prints.values[rows][:, _INNER, _INNER].astype(np.float32).reshape(len(rows), -1)


def differences(one: FloatArray, others: FloatArray) -> FloatArray:
    """Return (8, C) the root mean square differences of a print (S, S), in each orientation, to inner prints (C, P)."""
    turned = np.stack([oriented(one, o)[_INNER, _INNER].ravel() for o in range(len(ORIENTATIONS))])  # (8, P)
    squares = np.square(turned).sum(axis=1)[:, None] + np.square(others).sum(axis=1) - 2 * turned @ others.T
    result: FloatArray = np.sqrt(np.maximum(0, squares) / others.shape[1])
    return result


def _compared(prints: Prints, row: int, others: IntArray) -> FloatArray:
    """Return (8, C) the differences of an image to others; infinite where the shapes do not fit."""
    result = differences(prints.values[row].astype(np.float32), _vectors(prints, others))
    for orientation in range(len(ORIENTATIONS)):
        aspect = -prints.aspects[row] if is_on_its_side(orientation) else prints.aspects[row]
        result[orientation, np.abs(prints.aspects[others] - aspect) > ASPECT] = np.inf
    return result


def _alike(prints: Prints, row: int, others: IntArray, *, limit: float) -> list[int]:
    """Return the others whose prints differ least from that of an image, and no more than the limit allows."""
    if not len(others):
        return []
    difference = _compared(prints, row, others).min(axis=0)
    contrast = np.minimum(_contrast(prints, others), _contrast(prints, np.array([row])))
    near = np.flatnonzero(difference <= np.minimum(limit, SHARE * contrast))
    nearest: list[int] = others[near[np.argsort(difference[near], kind="stable")[:CHECKED]]].tolist()
    return nearest


def _agreeing(prints: Prints, pair: tuple[int, int], limit: float) -> list[int]:
    """Return the orientations in which the first of a pair agrees with the second."""
    return np.flatnonzero(_compared(prints, pair[0], np.array([pair[1]]))[:, 0] <= limit).tolist()


def _contrast(prints: Prints, rows: IntArray) -> FloatArray:
    contrast: FloatArray = _vectors(prints, rows).std(axis=1)
    return contrast


def _candidates(prints: Prints, near: IntArray, groups: IntArray, *, unlike: float) -> Iterator[IntArray]:
    """Yield for each image the others that may be its copies: the most similar, and those alike in any orientation.

    Left out are those that differ by more than `unlike` in what no orientation changes, as no planted copy does.
    """
    shown = np.flatnonzero(~prints.flat)
    numbers = unoriented(prints.values[shown])
    all_numbers = np.full((len(prints), numbers.shape[1]), np.inf, numbers.dtype)
    all_numbers[shown] = numbers
    _, once = np.unique(np.column_stack([groups[shown], numbers]), axis=0, return_index=True)
    alike = np.full((len(prints), NEAR), -1, np.int64)
    if len(once) > 1:
        places = KDTree(numbers[once]).query(numbers[once], k=range(2, min(NEAR, len(once) - 1) + 2))[1]
        alike[shown[once], : places.shape[1]] = shown[once][places]
    for row in range(len(prints)):
        others = np.unique(np.concatenate([near[row], alike[row]]))
        others = others[(others >= 0) & (others != row)]
        others = others[~prints.flat[others] & (groups[others] != groups[row])]
        if prints.flat[row]:
            others = others[:0]
        yield others[np.linalg.norm(all_numbers[others] - all_numbers[row], axis=1) <= unlike]


# --- the same noise


def _orientation(one: Pixels, other: Pixels, agreeing: list[int], *, most: float) -> int | None:
    """Return in which of the orientations a picture is a copy of another; None if in none."""
    shares = {o: noise for o in agreeing if (noise := _own_noise(oriented(one, o), other)) <= most}
    return min(shares, key=shares.__getitem__) if shares else None


def _orientation_if_read(read: Read, pair: tuple[int, int], agreeing: list[int], *, most: float) -> int | None:
    """Return `_orientation` of a pair; None if a file is gone, as one may be before a large set is looked through."""
    try:
        one, other = read(pair[0]), read(pair[1])
    except CouldNotFinish as error:
        log.warning("%s", error)
        return None
    return _orientation(one, other, agreeing, most=most)


def _own_noise(one: Pixels, other: Pixels) -> float:
    """Return the share of own noise of two pictures at the size of the smaller; NaN if it cannot be told."""
    size = (min(one.shape[1], other.shape[1]), min(one.shape[0], other.shape[0]))
    if min(size) < SMALLEST_PX:
        return float("nan")
    first, second = (_middle(_at(grey_of(picture), size)) for picture in (one, other))
    if abs(float(first.mean()) - float(second.mean())) > LIGHT_GREY:
        return 1.0
    return own_noise(first, second)


def _at(grey: FloatArray, size: tuple[int, int]) -> FloatArray:
    if grey.shape[::-1] == size:
        return grey
    return np.asarray(Image.fromarray(np.ascontiguousarray(grey)).resize(size, Image.Resampling.BICUBIC), np.float32)


def _middle(grey: FloatArray) -> FloatArray:
    top, left = (max(0, side - WINDOW_PX) // 2 for side in grey.shape)
    return grey[top : top + WINDOW_PX, left : left + WINDOW_PX]


# --- planted copies


@dataclass(frozen=True, kw_only=True)
class _PlantedCopy:
    """A planted copy.

    Attributes:
        kind: of the copy.
        difference: of its print from that of its original, in its orientation.
        unlike: how far it is from its original in what no orientation changes.
        own_noise: its share of own noise.
    """

    kind: str
    difference: float
    unlike: float
    own_noise: float


def _plant(read: Read, prints: Prints, rows: IntArray, *, generator: np.random.Generator) -> Iterator[_PlantedCopy]:
    for row in rows.tolist():
        pixels = read(row)
        one = prints.values[row].astype(np.float32)
        for kind, (copy, orientation) in plant_copies(pixels, generator).items():
            copied = print_of(_shrunk(copy))
            inner = copied[_INNER, _INNER].reshape(1, -1)
            first, second = unoriented(np.stack([one, copied]).astype(np.float16))
            yield _PlantedCopy(
                kind=kind,
                difference=float(differences(one, inner)[orientation, 0]),
                unlike=float(np.linalg.norm(first - second)),
                own_noise=_own_noise(oriented(pixels, orientation), copy),
            )


def _most_own_noise(read: Read, rows: IntArray, generator: np.random.Generator) -> float:
    """Return the share of own noise that a copy may have, so that second shots of the same images have more."""
    shots = [
        _own_noise(*second_shots(read(row), SHOT_NOISE_GREY, generator, quality=quality))
        for row in rows.tolist()
        for quality in SHOT_QUALITIES
    ]
    told = [noise for noise in shots if not np.isnan(noise)]
    return min([MOST_OWN_NOISE, *(SHOT_SHARE * noise for noise in told)])


def _shrunk(pixels: Pixels) -> Pixels:
    """Return pixels of the size that prints are made from."""
    image = Image.fromarray(pixels)
    image.thumbnail((PRINT_FROM_PX, PRINT_FROM_PX), Image.Resampling.BICUBIC, reducing_gap=1.5)
    return np.asarray(image)


def _limit(prints: Prints, planted: FloatArray, groups: IntArray, *, generator: np.random.Generator) -> float:
    """Return how far the prints of copies may differ: planted ones do, pairs by chance do not."""
    if not len(planted):
        return 0.0
    limit = LIMIT_MARGIN * float(np.quantile(planted, LIMIT_QUANTILE))
    shown = np.flatnonzero(~prints.flat)
    pairs = shown[generator.integers(0, len(shown), (PAIRS, 2))]
    pairs = np.unique(np.sort(pairs[groups[pairs[:, 0]] != groups[pairs[:, 1]]], axis=1), axis=0)
    if len(pairs) < FEWEST_PAIRS:
        return limit
    apart = [_compared(prints, int(one), other[None]).min() for one, other in pairs]
    return min(limit, float(np.quantile(apart, PAIRS_QUANTILE)) / 2)


def _recall(planted: list[_PlantedCopy], limit: float, most: float) -> dict[str, float]:
    """Return the share of planted copies that would be found, by kind."""
    kinds = dict.fromkeys(one.kind for one in planted)
    return {
        kind: float(np.mean([one.own_noise <= most and one.difference <= limit for one in planted if one.kind == kind]))
        for kind in kinds
    }
