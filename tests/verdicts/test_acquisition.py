"""Images in different lighting or focus than the rest of their nominal set."""

from __future__ import annotations

import numpy as np
import pytest

from curate.records import Optics
from curate.verdicts.acquisition import FEWEST, MEASURES, acquisition_outliers, as_table

N = 60
NAMES = [measure.name for measure in MEASURES]


def usual(count: int = N, spread: float = 0.01, seed: int = 0) -> np.ndarray:
    """Return how images of one station were taken: the same but for some percent."""
    middle = np.array([120.0, 40.0, 0.9, 1.0, 1.0])
    return middle * np.random.default_rng(seed).normal(1, spread, (count, len(middle)))


def found(optics: np.ndarray, duplicates: np.ndarray | None = None) -> dict:
    return acquisition_outliers(optics, np.arange(len(optics)) if duplicates is None else duplicates)


def test_the_table_holds_the_measures_in_their_order():
    table = as_table([Optics(brightness=1, contrast=2, sharpness=3, red=4, blue=5)])
    assert table.tolist() == [[1, 2, 3, 4, 5]]
    assert NAMES == ["brightness", "contrast", "sharpness", "red", "blue"]
    assert as_table([]).shape == (0, 5)


@pytest.mark.parametrize(
    ("measure", "factor", "difference"),
    [
        ("brightness", 0.6, "darker"),
        ("brightness", 1.5, "brighter"),
        ("contrast", 0.7, "of less contrast"),
        ("contrast", 1.5, "of more contrast"),
        ("sharpness", 0.6, "less sharp"),
        ("red", 1.2, "redder"),
        ("blue", 0.8, "less blue"),
    ],
)
def test_an_image_far_out_is_found_and_named(measure: str, factor: float, difference: str):
    optics = usual()
    optics[7, NAMES.index(measure)] *= factor
    ((row, (outlier,)),) = found(optics).items()
    assert (row, outlier.difference, outlier.measure) == (7, difference, measure)
    assert outlier.value == optics[7, NAMES.index(measure)]
    assert outlier.relative > 1
    inside = (optics[:, NAMES.index(measure)] >= outlier.low) & (optics[:, NAMES.index(measure)] <= outlier.high)
    assert inside.mean() == pytest.approx(0.8, abs=0.02)


def test_of_several_measures_the_one_farthest_out_is_named_first():
    optics = usual()
    optics[7, :2] *= 0.5, 0.8
    assert [one.measure for one in found(optics)[7]] == ["brightness", "contrast"]


def test_a_sharper_image_is_no_fault():
    optics = usual()
    optics[7, NAMES.index("sharpness")] *= 2
    assert found(optics) == {}


@pytest.mark.parametrize("spread", [0.0, 0.002, 0.01, 0.05, 0.3])
def test_of_images_that_differ_as_they_always_do_hardly_any_is_found(spread: float):
    shares = [len(found(usual(200, spread, seed).clip(0.01))) / 200 for seed in range(10)]
    assert np.mean(shares) < 0.005


def test_the_wider_a_set_is_the_farther_out_an_image_must_lie():
    narrow, wide = usual(spread=0.01), usual(spread=0.2)
    narrow[7, 0] = wide[7, 0] = 80
    assert list(found(narrow)) == [7]
    assert found(wide) == {}


@pytest.mark.parametrize(("share", "some"), [(0.08, True), (0.2, False)])
def test_up_to_a_tenth_are_found_and_more_are_a_part_of_the_set(share: float, some: bool):
    optics = usual(100)
    changed = int(100 * share)
    optics[:changed, 0] *= 0.5
    assert list(found(optics)) == (list(range(changed)) if some else [])


def test_a_set_of_few_images_is_not_judged():
    optics = usual(FEWEST)
    optics[0, 0] *= 0.4
    assert list(found(optics)) == [0]
    assert found(optics[:-1]) == {}


def test_copies_count_once():
    optics, duplicates = usual(100), np.arange(100)
    optics[:20] = optics[0] * np.array([0.5, 1, 1, 1, 1])
    duplicates[:20] = 0
    assert found(optics) == {}  # twenty images under another light are a part of the set
    assert sorted(found(optics, duplicates=duplicates)) == list(range(20))  # one image and its copies are not


def test_black_images_are_measured_too():
    optics = usual()
    optics[7] = 0, 0, 1, 1, 1
    outliers = found(optics)[7]
    assert {one.difference for one in outliers} == {"darker", "of less contrast"}
    assert all(np.isfinite(one.relative) for one in outliers)
