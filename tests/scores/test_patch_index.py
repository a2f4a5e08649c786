"""The patch index: it finds the nearest images, and widens its search where too few are found."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from curate.scores import patch_index
from curate.scores.patch_index import PatchIndex

WIDTH, PATCHES = 8, 20


def drawn(count: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(PATCHES, WIDTH)).astype(np.float32) for _ in range(count)]


def brute_force(images: list[np.ndarray], query: np.ndarray, others: list[int], count: int) -> np.ndarray:
    gaps = [np.linalg.norm(query[:, None] - images[i][None], axis=2).min(axis=1) for i in others]
    return np.sort(gaps, axis=0)[:count]


@pytest.fixture(params=[100_000, 0], ids=["compared one by one", "through lists"])
def _lists(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setattr(patch_index, "EXACT_UP_TO", request.param)


@pytest.mark.usefixtures("_lists")
def test_an_exact_search_is_brute_force_without_the_group():
    images, groups = drawn(15), np.arange(15) // 3
    index = PatchIndex(lambda i: images[i], np.arange(15), groups)
    others = [i for i in range(15) if groups[i] != 2]
    wanted = brute_force(images, images[7], others, 4)
    assert_allclose(index.nearest(images[7], 2, 4, exact=True), wanted, rtol=1e-5)


@pytest.mark.usefixtures("_lists")
def test_the_images_may_come_in_any_order_of_their_groups():
    images, groups = drawn(6), np.array([5, 1, 5, 0, 1, 0])
    index = PatchIndex(lambda i: images[i], np.arange(6), groups)
    wanted = brute_force(images, images[0], [1, 3, 4, 5], 4)
    assert_allclose(index.nearest(images[0], 5, 4, exact=True), wanted, rtol=1e-5)


@pytest.mark.usefixtures("_lists")
def test_an_image_that_holds_all_of_the_nearest_patches_counts_once():
    images = drawn(6)
    images[3] = np.repeat(images[0][:1], 500, axis=0) + np.float32(1e-3)  # far more than a search brings at first
    index = PatchIndex(lambda i: images[i], np.arange(6), np.arange(6))
    found = index.nearest(images[0][:1], 0, 5)
    assert_allclose(found, brute_force(images, images[0][:1], [1, 2, 3, 4, 5], 5), rtol=1e-4)


@pytest.mark.usefixtures("_lists")
def test_where_there_are_fewer_images_the_rest_is_infinite():
    images = drawn(3)
    found = PatchIndex(lambda i: images[i], np.arange(3), np.arange(3)).nearest(images[1], 1, 5)
    assert np.isfinite(found[:2]).all()
    assert np.isinf(found[2:]).all()


@pytest.mark.usefixtures("_lists")
def test_nothing_is_found_where_all_are_of_the_group():
    images = drawn(3)
    index = PatchIndex(lambda i: images[i], np.arange(3), np.zeros(3, dtype=np.int64))
    assert np.isinf(index.nearest(images[1], 0, 2)).all()


@pytest.mark.usefixtures("_lists")
def test_equal_patches_are_at_distance_zero():
    image = drawn(1)[0] * np.float32(1000)
    index = PatchIndex(lambda i: image, np.arange(4), np.arange(4))
    assert (index.nearest(image, 0, 3) == 0).all()


def test_an_index_prints_nothing(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(patch_index, "EXACT_UP_TO", 0)
    images = drawn(4)
    PatchIndex(lambda i: images[i], np.arange(4), np.arange(4))
    assert capfd.readouterr() == ("", "")
