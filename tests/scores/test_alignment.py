"""Whether the images of a set lie alike, and that a view which goes by the place is silent where they do not."""

from dataclasses import asdict, replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from curate.records import Scores
from curate.scores import alignment
from curate.scores.alignment import MORE, MOST_COST, MOST_OWN_COST, Alignment, measure_alignment
from curate.scores.base import Guide
from curate.scores.by_label import score_by_label
from curate.scores.flow import Flow, FlowConfig
from curate.scores.neighbours import Neighbours, NeighboursConfig
from curate.scores.student import Student, StudentConfig
from tests.scores.test_neighbours import COLUMNS, WIDTH, drawn, embedded

COUNT = 20


def anywhere(seed: int) -> list[np.ndarray]:
    """Return images of one part whose patches lie in another order each."""
    rng = np.random.default_rng(seed)
    return [image[rng.permutation(len(image))] for image in drawn(COUNT)]


def texture(seed: int) -> list[np.ndarray]:
    """Return images of many patches, each of one of a few looks, whichever its place."""
    rng = np.random.default_rng(seed)
    looks = rng.normal(size=(24, WIDTH))
    images = [looks[rng.integers(len(looks), size=24 * COLUMNS)] for _ in range(COUNT)]
    return [(image + 0.2 * rng.normal(size=image.shape)).astype(np.float16) for image in images]


def lie(images: list[np.ndarray], kin: np.ndarray | None = None) -> Alignment:
    return measure_alignment(embedded(images), np.arange(len(images)) if kin is None else kin)


def cost(images: list[np.ndarray], kin: np.ndarray | None = None) -> float:
    return lie(images, kin).place_cost


def flow(images: list[np.ndarray], **config: bool) -> Scores:
    return Flow(config=FlowConfig(**config)).score(embedded(images), np.arange(len(images)))


def test_the_place_costs_nothing_where_images_lie_alike_and_much_where_they_do_not():
    assert cost(drawn(COUNT)) == pytest.approx(0, abs=0.01)
    assert cost(anywhere(0)) > 2 * MOST_COST


def test_defects_in_half_of_the_images_do_not_make_a_set_look_turned():
    assert cost(drawn(COUNT, planted=tuple(range(0, COUNT, 2)))) < MOST_COST / 2


def test_a_few_turned_parts_among_aligned_ones_do_not_make_a_set_look_turned():
    images = drawn(COUNT)
    for image in (3, 8, 14):
        images[image] = images[image][::-1].copy()
    assert cost(images) < MOST_COST


def test_of_a_large_set_some_images_are_asked(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(alignment, "KNOWN", 10)
    assert cost(drawn(COUNT)) == pytest.approx(0, abs=0.01)
    assert cost(anywhere(0)) > 2 * MOST_COST


def test_equal_images_cost_nothing_and_an_image_without_another_neither():
    assert cost([drawn(1)[0].copy() for _ in range(COUNT)]) == 0
    assert cost(anywhere(0), kin=np.zeros(COUNT, dtype=np.int64)) == 0


def test_images_of_different_grids_are_compared_by_their_relative_place():
    images = drawn(COUNT)
    images[3] = images[3][:6]  # one row of the five
    assert cost(images) == pytest.approx(0, abs=0.05)


def test_flow_is_mute_where_images_do_not_lie_alike_and_says_why():
    mute, speaking = flow(anywhere(0)), flow(drawn(COUNT))
    assert mute.mute is not None
    assert mute.mute.all()
    assert "do not lie alike" in mute.facts["mute"]
    assert speaking.mute is None
    assert "mute" not in speaking.facts


def test_a_texture_costs_much_by_place_and_nothing_in_its_own_image():
    found = lie(texture(0))
    assert found.place_cost > 2 * MOST_COST
    assert found.own_cost < MOST_OWN_COST / 2
    assert found.texture
    assert not found.alike


def test_parts_are_no_texture_wherever_they_lie():
    for images in (drawn(COUNT), anywhere(0), drawn(COUNT, planted=tuple(range(0, COUNT, 2)))):
        assert lie(images).own_cost > 2 * MOST_OWN_COST


def test_images_of_one_patch_have_none_away_and_are_no_texture():
    rng = np.random.default_rng(0)
    images = [rng.normal(size=(1, WIDTH)).astype(np.float16) for _ in range(COUNT)]
    single = replace(embedded(images), grids=np.ones((COUNT, 2), dtype=np.int64))
    found = measure_alignment(single, np.arange(COUNT))
    assert found.place_cost == 0
    assert not found.texture
    assert "own_cost" not in found.told()  # run.json knows no infinity


def test_flow_has_a_say_on_a_texture():
    found = flow(texture(0))
    assert found.mute is None
    assert found.facts["place_cost"] > MOST_COST > found.facts["own_cost"]


def test_a_flow_that_ignores_the_place_is_never_mute():
    assert flow(anywhere(0), position=False).mute is None


def test_what_another_measured_is_not_measured_again():
    embeddings, kin = embedded(drawn(COUNT)), np.arange(COUNT)
    assert Flow().score(embeddings, kin, guide=Guide(alignment=Alignment(2 * MOST_COST))).mute is not None


def test_neighbours_count_the_place_and_fewer_images_only_where_images_lie_alike():
    aligned, turned = (embedded(images) for images in (drawn(COUNT), anywhere(0)))
    few = NeighboursConfig(compared=4)
    blind = Neighbours(config=NeighboursConfig(position=0, compared=4 * MORE))
    kin = np.arange(COUNT)
    assert Neighbours(config=few).score(aligned, kin).facts["settings"] == asdict(few)
    told = Guide(alignment=Alignment())
    assert_array_equal(Neighbours(config=few).score(turned, kin).values, blind.score(turned, kin, guide=told).values)


def test_the_student_is_larger_and_learns_longer_where_images_do_not_lie_alike():
    few = StudentConfig(hidden=8, epochs=2, warm_up=1, every=1, again=1, steps=4)
    more = StudentConfig(hidden=8 * MORE, epochs=2 * MORE, warm_up=MORE, every=MORE, again=MORE, steps=4)
    kin, aligned, turned = np.arange(COUNT), embedded(drawn(COUNT)), embedded(anywhere(0))
    assert Student(config=few).score(aligned, kin).facts["settings"] == asdict(few)
    told, known = Guide(alignment=Alignment()), Student(config=few).score(turned, kin)
    assert known.facts["settings"] == asdict(more)
    assert_array_equal(known.values, Student(config=more).score(turned, kin, guide=told).values)


def test_a_class_that_does_not_lie_alike_mutes_the_view_for_itself_alone():
    labels = ["aligned"] * COUNT + ["turned"] * COUNT
    found = score_by_label(Flow(), embedded([*drawn(COUNT), *anywhere(0)]), np.arange(2 * COUNT), labels)
    assert found.mute is not None
    assert_array_equal(found.mute, np.arange(2 * COUNT) >= COUNT)
