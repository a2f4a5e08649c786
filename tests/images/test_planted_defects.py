"""Planted defects: drawn within their ranges, seen, of the image's own type, and the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from curate.images.planted_defects import CONTRASTS, FAMILIES, SIZES, VISIBLE_GREY, draw_defect, plant
from curate.records import PlantedDefect
from tests.plates import draw_plate


def picture(kind: type = np.uint8, side: int = 96) -> np.ndarray:
    """Return a brushed plate with a hole, RGB."""
    grey = np.asarray(draw_plate(np.random.default_rng(0), hole=True, side=side))
    return np.repeat(grey[..., None], 3, axis=2).astype(kind)


def defect(family: str, size: float = 0.3, contrast: float = 1.0) -> PlantedDefect:
    return PlantedDefect(family=family, size=size, contrast=contrast)


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(3))
def test_every_family_changes_part_of_the_image_and_stays_within_its_type_and_range(family: str, kind: type, seed: int):
    before = picture(kind)
    copy = before.copy()
    after = plant(before, defect(family), np.random.default_rng(seed))
    assert (before == copy).all()
    assert (after.dtype, after.shape) == (before.dtype, before.shape)
    assert after.min() >= 0
    assert after.max() <= 255
    changed = np.abs(after.astype(float) - before).max(axis=2) > 1
    assert 0 < changed.mean() < 0.5


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_seed_plants_the_same_defect_and_another_seed_another(family: str):
    first, again, other = (plant(picture(), defect(family), np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_defect_stays_within_its_size(family: str):
    size = 0.25
    for seed in range(5):
        after = plant(picture(side=128), defect(family, size), np.random.default_rng(seed))
        rows, columns = np.nonzero(np.abs(after.astype(float) - picture(side=128)).max(axis=2) > 1)
        extent_px = max(np.ptp(rows), np.ptp(columns))
        assert extent_px <= size * 128 * np.sqrt(2) + 4  # the corners of a square


@pytest.mark.parametrize("family", FAMILIES)
def test_the_less_contrast_the_less_an_image_changes(family: str):
    """Where the defect is drawn at the first try, only the contrast differs."""
    strong, faint = (
        np.abs(plant(picture(np.float32), defect(family, contrast=c), np.random.default_rng(4)) - picture(np.float32))
        for c in (1.0, 0.5)
    )
    assert 0 < faint.sum() < strong.sum()


def test_a_defect_can_be_seen_where_the_image_shows_anything_it_could_differ_from():
    after = plant(picture(np.float32), defect("stain"), np.random.default_rng(0))
    change = np.abs(after - picture(np.float32)).max(axis=2)
    assert np.sqrt(np.mean(change[change > 1] ** 2)) > VISIBLE_GREY / 2


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shape", [(16, 16), (16, 200), (200, 16)])
def test_the_smallest_and_the_longest_images_take_every_defect(family: str, shape: tuple[int, int]):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (*shape, 3)).astype(np.uint8)
    for size in SIZES:
        assert plant(pixels, defect(family, size), rng).shape == pixels.shape


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("value", [0, 128, 255])
def test_an_image_of_one_colour_stays_an_image(family: str, value: int):
    """Nothing can be moved from elsewhere, and nothing smoothed away: it may stay as it is, but it ends."""
    after = plant(np.full((32, 32, 3), value, dtype=np.uint8), defect(family), np.random.default_rng(0))
    assert after.dtype == np.uint8


def test_defects_are_drawn_from_all_families_over_the_whole_of_their_ranges():
    rng = np.random.default_rng(0)
    drawn = [draw_defect(rng) for _ in range(600)]
    assert {one.family for one in drawn} == set(FAMILIES)
    for values, (low, high) in (([d.size for d in drawn], SIZES), ([d.contrast for d in drawn], CONTRASTS)):
        assert low <= min(values) < 1.1 * low
        assert high >= max(values) > high / 1.1
        assert np.median(values) == pytest.approx(np.sqrt(low * high), rel=0.15)  # even on a log scale
    assert [draw_defect(np.random.default_rng(3)) for _ in range(2)] == [draw_defect(np.random.default_rng(3))] * 2
