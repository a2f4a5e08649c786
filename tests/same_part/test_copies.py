"""Tests of finding copies of one file."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import pytest
from parts import nearest, part
from PIL import Image
from scipy.ndimage import gaussian_filter

from curate.errors import CouldNotFinish
from curate.same_part.copies import Copies, find_copies
from curate.same_part.noise import own_noise
from curate.same_part.orientations import ORIENTATIONS, oriented, unoriented
from curate.same_part.planted_copies import COPIES
from curate.same_part.prints import Pixels, prints_of

PARTS = 16
NOISE = 2.0


def shot(number: int, seed: int = 0, *, wide: bool = False) -> Pixels:
    """Photograph part `number`, with noise of this shot alone; `wide` adds a plain strip at its right."""
    grey = part(number)[..., 0].astype(float)
    grey = np.pad(grey, ((0, 0), (0, 64)), constant_values=70) if wide else grey
    grey = np.kron(grey, np.ones((2, 2)))
    grey += np.random.default_rng((number, seed)).normal(0, NOISE, grey.shape)
    return np.repeat(np.clip(np.rint(grey), 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def compressed(pixels: Pixels, quality: int) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def resized(pixels: Pixels, scale: float) -> Pixels:
    size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def copies_in(pictures: Sequence[Pixels], groups: np.ndarray | None = None) -> Copies:
    groups = np.arange(len(pictures)) if groups is None else groups
    prints = prints_of(pictures.__getitem__, len(pictures))
    return find_copies(pictures.__getitem__, prints, nearest(pictures), groups=groups, seed=0)


def pairs(found: Copies) -> dict[tuple[int, int], str]:
    return {
        (int(a), int(b)): ORIENTATIONS[o] for (a, b), o in zip(found.pairs, found.orientations.tolist(), strict=True)
    }


@cache
def parts(wide: bool = False) -> tuple[Pixels, ...]:
    return tuple(shot(number, wide=wide) for number in range(PARTS))


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("orientation", range(1, len(ORIENTATIONS)))
def test_a_copy_is_found_however_it_is_turned_or_mirrored(orientation, wide):
    copy = np.ascontiguousarray(oriented(parts(wide)[3], orientation))
    assert pairs(copies_in([*parts(wide), copy])) == {(3, PARTS): ORIENTATIONS[orientation]}


@pytest.mark.parametrize(
    "changed",
    [
        lambda pixels: compressed(pixels, 50),
        lambda pixels: compressed(pixels, 75),
        lambda pixels: compressed(pixels, 95),
        lambda pixels: resized(pixels, 0.5),
        lambda pixels: resized(pixels, 0.8),
        lambda pixels: resized(pixels, 2),
        lambda pixels: compressed(resized(np.ascontiguousarray(oriented(pixels, 0)), 0.7), 80),
    ],
)
def test_a_copy_is_found_compressed_again_and_resized(changed: Callable[[Pixels], Pixels]):
    assert pairs(copies_in([*parts(), changed(parts()[5])])) == {(5, PARTS): ""}


def test_another_shot_by_a_camera_that_did_not_move_is_no_copy():
    assert pairs(copies_in([*parts(), shot(5, seed=1)])) == {}


@pytest.mark.parametrize("quality", [95, 85])
def test_nor_is_it_where_the_camera_stores_jpeg(quality):
    shots = [compressed(pixels, quality) for pixels in (*parts(), shot(5, seed=1))]
    assert pairs(copies_in(shots)) == {}


def test_different_parts_are_no_copies_and_planted_ones_are_found():
    found = copies_in(parts())
    assert pairs(found) == {}
    assert found.recall.keys() == COPIES.keys()
    assert min(found.recall.values()) >= 0.9
    assert found.first.tolist() == list(range(PARTS))


def test_copies_of_copies_are_one_file():
    turned = np.ascontiguousarray(oriented(parts()[2], 1))
    found = copies_in([*parts(), turned, compressed(turned, 80), compressed(parts()[2], 60)])
    assert found.first[PARTS:].tolist() == [2, 2, 2]


def test_images_that_show_nothing_or_no_noise_are_no_copies():
    even = [np.full((256, 256, 3), grey, np.uint8) for grey in (90, 90, 91)]
    clouds = 120 + 400 * gaussian_filter(np.random.default_rng(9).normal(0, 1, (256, 256)), 12, mode="wrap")
    smooth = np.repeat(np.clip(clouds, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    assert pairs(copies_in([*parts(), *even, smooth, compressed(smooth, 95)])) == {}
    assert pairs(copies_in(even)) == {}


def test_plates_that_look_the_same_in_a_mirror_are_no_copies_of_each_other():
    grey = np.repeat(np.random.default_rng(0).normal(130, 12, (256, 1)), 256, axis=1)
    plates = [grey + np.random.default_rng(seed).normal(0, NOISE, grey.shape) for seed in range(8)]
    shots = [np.repeat(np.clip(plate, 0, 255).astype(np.uint8)[..., None], 3, axis=2) for plate in plates]
    assert pairs(copies_in(shots)) == {}


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_images_hold_no_copies(count):
    assert pairs(copies_in(parts()[:count]) if count else find_none()) == {}


def find_none() -> Copies:
    prints = prints_of(parts().__getitem__, 0)
    return find_copies(parts().__getitem__, prints, np.zeros((0, 4), np.int64), groups=np.arange(0), seed=0)


def test_of_two_images_one_may_be_a_copy():
    assert pairs(copies_in([parts()[0], compressed(parts()[0], 75)])) == {(0, 1): ""}
    assert pairs(copies_in(parts()[:2])) == {}


def test_images_too_small_to_show_noise_are_no_copies():
    tiny = resized(parts()[0], 24 / 256)
    assert pairs(copies_in([*parts(), tiny, compressed(tiny, 90)])) == {}


def test_a_known_group_is_not_compared():
    groups = np.append(np.arange(PARTS), 5)
    assert pairs(copies_in([*parts(), compressed(parts()[5], 75)], groups)) == {}


def test_the_same_seed_finds_the_same():
    pictures = [*parts(), compressed(parts()[5], 75)]
    first, again = copies_in(pictures), copies_in(pictures)
    assert pairs(first) == pairs(again)
    assert (first.limit, first.recall, first.most_own_noise) == (again.limit, again.recall, again.most_own_noise)


def test_what_no_orientation_changes_is_the_same_for_all_eight():
    square = np.random.default_rng(0).normal(0, 1, (64, 64)).astype(np.float16)
    every = np.stack([oriented(square, o) for o in range(len(ORIENTATIONS))])
    assert len({o.tobytes() for o in every}) == len(ORIENTATIONS)
    np.testing.assert_allclose(unoriented(every), np.repeat(unoriented(every[:1]), len(every), axis=0), atol=1e-6)


def test_own_noise_is_none_of_a_copy_and_all_of_another_shot():
    first, other = (shot(0, seed=seed)[..., 0].astype(np.float32) for seed in (0, 1))
    assert abs(own_noise(first, first)) < 0.05
    assert own_noise(first, other) > 0.8
    assert np.isnan(own_noise(np.full((64, 64), 90, np.float32), np.full((64, 64), 90, np.float32)))


def test_a_file_that_is_gone_when_its_copy_is_looked_at_is_no_copy_and_ends_nothing():
    shown = [*parts(), resized(shot(3), 0.75)]
    prints = prints_of(shown.__getitem__, len(shown))

    def read(row: int) -> Pixels:
        if row == PARTS:
            raise CouldNotFinish("16.png: was read before and cannot be read any more")
        return shown[row]

    whole = find_copies(shown.__getitem__, prints, nearest(shown), groups=np.arange(len(shown)), seed=1)
    assert pairs(whole) == {(3, PARTS): ORIENTATIONS[0]}
    assert pairs(find_copies(read, prints, nearest(shown), groups=np.arange(len(shown)), seed=1)) == {}
