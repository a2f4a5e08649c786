"""Whether the images of a set are aligned, and that a view which uses position abstains where they are not."""

from dataclasses import asdict, replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from curate.records import MOST_OWN_IMAGE_COST, MOST_POSITION_COST, Alignment, Scores
from curate.scores import alignment
from curate.scores.alignment import MORE, measure_alignment
from curate.scores.base import Guide
from curate.scores.flow import Flow, FlowConfig
from curate.scores.neighbours import ALIGNED_IMAGES, UNALIGNED_IMAGES, Neighbours, NeighboursConfig
from curate.scores.student import Student, StudentConfig
from tests.scores.test_neighbours import COLUMNS, WIDTH, drawn, embedded

COUNT = 20


def anywhere(seed: int) -> list[np.ndarray]:
    """Return images of one part whose patches lie in another order each."""
    rng = np.random.default_rng(seed)
    return [image[rng.permutation(len(image))] for image in drawn(COUNT)]


def texture(seed: int) -> list[np.ndarray]:
    """Return images of many patches, each of one of a few appearances, whichever its position."""
    rng = np.random.default_rng(seed)
    appearances = rng.normal(size=(24, WIDTH))
    images = [appearances[rng.integers(len(appearances), size=24 * COLUMNS)] for _ in range(COUNT)]
    return [(image + 0.2 * rng.normal(size=image.shape)).astype(np.float16) for image in images]


def measured(images: list[np.ndarray], groups: np.ndarray | None = None) -> Alignment:
    return measure_alignment(embedded(images), np.arange(len(images)) if groups is None else groups)


def cost(images: list[np.ndarray], groups: np.ndarray | None = None) -> float:
    return measured(images, groups).position_cost


def flow(images: list[np.ndarray], **config: bool) -> Scores:
    return Flow(config=FlowConfig(**config)).score(embedded(images), np.arange(len(images)))


def test_position_costs_nothing_where_images_are_aligned_and_much_where_they_are_not():
    assert cost(drawn(COUNT)) == pytest.approx(0, abs=0.01)
    assert cost(anywhere(0)) > 2 * MOST_POSITION_COST


def test_defects_in_half_of_the_images_do_not_make_a_set_look_turned():
    assert cost(drawn(COUNT, planted=tuple(range(0, COUNT, 2)))) < MOST_POSITION_COST / 2


def test_a_few_turned_parts_among_aligned_ones_do_not_make_a_set_look_turned():
    images = drawn(COUNT)
    for image in (3, 8, 14):
        images[image] = images[image][::-1].copy()
    assert cost(images) < MOST_POSITION_COST


def test_of_a_large_set_some_images_are_measured(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(alignment, "MOST_IMAGES", 10)
    assert cost(drawn(COUNT)) == pytest.approx(0, abs=0.01)
    assert cost(anywhere(0)) > 2 * MOST_POSITION_COST


def test_equal_images_cost_nothing_and_an_image_without_another_neither():
    assert cost([drawn(1)[0].copy() for _ in range(COUNT)]) == 0
    assert cost(anywhere(0), groups=np.zeros(COUNT, dtype=np.int64)) == 0


def test_images_of_different_grids_are_compared_by_their_relative_place():
    images = drawn(COUNT)
    images[3] = images[3][:6]  # one row of the five
    assert cost(images) == pytest.approx(0, abs=0.05)


def test_flow_abstains_where_images_are_not_aligned_and_says_why():
    assert "only if the images are aligned" in flow(anywhere(0)).abstains
    assert flow(drawn(COUNT)).abstains == ""


def test_a_texture_costs_much_by_position_and_nothing_in_its_own_image():
    found = measured(texture(0))
    assert found.position_cost > 2 * MOST_POSITION_COST
    assert found.own_image_cost < MOST_OWN_IMAGE_COST / 2
    assert found.texture
    assert not found.aligned


def test_parts_are_no_texture_wherever_they_lie():
    for images in (drawn(COUNT), anywhere(0), drawn(COUNT, planted=tuple(range(0, COUNT, 2)))):
        assert measured(images).own_image_cost > 2 * MOST_OWN_IMAGE_COST


def test_images_of_one_patch_have_none_away_and_are_no_texture():
    rng = np.random.default_rng(0)
    images = [rng.normal(size=(1, WIDTH)).astype(np.float16) for _ in range(COUNT)]
    single = replace(embedded(images), grids=np.ones((COUNT, 2), dtype=np.int64))
    found = measure_alignment(single, np.arange(COUNT))
    assert found.position_cost == 0
    assert not found.texture
    assert "own_cost" not in found.as_json()  # run.json knows no infinity


def test_flow_judges_a_texture():
    found = flow(texture(0))
    assert found.abstains == ""
    assert found.facts["place_cost"] > MOST_POSITION_COST > found.facts["own_cost"]


def test_a_flow_that_ignores_position_never_abstains():
    assert flow(anywhere(0), position=False).abstains == ""


def test_an_alignment_that_was_measured_is_not_measured_again():
    embeddings, groups = embedded(drawn(COUNT)), np.arange(COUNT)
    assert Flow().score(embeddings, groups, guide=Guide(alignment=Alignment(2 * MOST_POSITION_COST))).abstains


def test_neighbours_use_position_only_where_images_are_aligned():
    aligned, turned = (embedded(images) for images in (drawn(COUNT), anywhere(0)))
    blind = Neighbours(config=NeighboursConfig(images=UNALIGNED_IMAGES, position=0))
    groups = np.arange(COUNT)
    assert Neighbours().score(aligned, groups).facts["settings"] == asdict(NeighboursConfig(images=ALIGNED_IMAGES))
    aligned_guide = Guide(alignment=Alignment())
    assert_array_equal(
        Neighbours().score(turned, groups).values, blind.score(turned, groups, guide=aligned_guide).values
    )


def test_the_student_is_larger_and_learns_longer_where_images_are_not_aligned():
    few = StudentConfig(hidden=8, epochs=2, warm_up=1, every=1, again=1, steps=4)
    more = StudentConfig(hidden=8 * MORE, epochs=2 * MORE, warm_up=MORE, every=MORE, again=MORE, steps=4)
    groups, aligned, turned = np.arange(COUNT), embedded(drawn(COUNT)), embedded(anywhere(0))
    assert Student(config=few).score(aligned, groups).facts["settings"] == asdict(few)
    guide, larger = Guide(alignment=Alignment()), Student(config=few).score(turned, groups)
    assert larger.facts["settings"] == asdict(more)
    assert_array_equal(larger.values, Student(config=more).score(turned, groups, guide=guide).values)
