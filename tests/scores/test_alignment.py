"""Whether the images of a set lie alike, and that a view which goes by the place is silent where they do not."""

import numpy as np
import pytest

from curate.records import Scores
from curate.scores.alignment import MOST_COST, place_cost
from curate.scores.flow import Flow, FlowConfig
from tests.scores.test_neighbours import drawn, embedded

COUNT = 20


def anywhere(seed: int) -> list[np.ndarray]:
    """Return images of one part whose patches lie in another order each."""
    rng = np.random.default_rng(seed)
    return [image[rng.permutation(len(image))] for image in drawn(COUNT)]


def cost(images: list[np.ndarray], kin: np.ndarray | None = None) -> float:
    return place_cost(embedded(images), np.arange(len(images)) if kin is None else kin)


def flow(images: list[np.ndarray], **config: bool) -> Scores:
    return Flow(config=FlowConfig(**config)).score(embedded(images), np.arange(len(images)))


def test_the_place_costs_nothing_where_images_lie_alike_and_much_where_they_do_not():
    assert cost(drawn(COUNT)) == pytest.approx(0, abs=0.01)
    assert cost(anywhere(0)) > 2 * MOST_COST


def test_defects_in_two_of_five_images_do_not_make_a_set_look_turned():
    assert cost(drawn(COUNT, planted=tuple(range(0, COUNT, 2)))) < MOST_COST / 2


def test_equal_images_cost_nothing_and_an_image_without_another_neither():
    assert cost([drawn(1)[0].copy() for _ in range(COUNT)]) == 0
    assert cost(anywhere(0), kin=np.zeros(COUNT, dtype=np.int64)) == 0


def test_images_of_different_grids_are_compared_by_their_relative_place():
    images = drawn(COUNT)
    images[3] = images[3][:6]  # one row of the five
    assert cost(images) == pytest.approx(0, abs=0.05)


def test_flow_is_silent_where_the_place_says_little_and_says_why():
    silent, speaking = flow(anywhere(0)), flow(drawn(COUNT))
    assert silent.mute is not None
    assert silent.mute.all()
    assert "do not lie alike" in silent.facts["mute"]
    assert speaking.mute is not None
    assert not speaking.mute.any()
    assert "mute" not in speaking.facts


def test_a_flow_that_ignores_the_place_is_never_silent():
    found = flow(anywhere(0), position=False)
    assert found.mute is not None
    assert not found.mute.any()
