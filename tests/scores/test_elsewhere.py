"""Images that are ordinary among another class."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from test_neighbours import ALL, COLUMNS, ROWS, WIDTH, drawn, embedded

from curate.embeddings.threads import one_core_each
from curate.scores.by_label import score_by_label
from curate.scores.elsewhere import FEWEST, ordinary_elsewhere
from curate.scores.neighbours import Neighbours, NeighboursConfig, against

GOOD, DEFECTS, STRAYED = 30, 14, 6
LABELS = ["good"] * GOOD + ["scratch"] * (DEFECTS + STRAYED)


def mixed(good: int = GOOD) -> list[np.ndarray]:
    """Return good images, then a folder of defects: odd in a place each, but for the last few, which are good."""
    count = good + DEFECTS + STRAYED
    return drawn(count, planted=tuple(range(good, good + DEFECTS)))


def found_in(images: list[np.ndarray], labels: list[str], config: NeighboursConfig = ALL):
    embeddings, kin = embedded(images), np.arange(len(images))
    own = score_by_label(Neighbours(config=config), embeddings, kin, labels).values
    return ordinary_elsewhere(embeddings, kin, labels, own, np.ones(len(images), dtype=np.bool_), config)


@pytest.mark.parametrize("position", [0.0, 4.0])
def test_about_half_of_the_good_images_among_defects_are_found_and_no_defect(position: float):
    found = found_in(mixed(), LABELS, NeighboursConfig(images=3, position=position))
    assert found.keys() <= set(range(GOOD + DEFECTS, GOOD + DEFECTS + STRAYED))
    assert len(found) >= 2
    assert {one.label for one in found.values()} == {"good"}
    assert all(0.5 <= one.odder <= 1 for one in found.values())


def test_no_good_image_is_called_a_defect_though_it_is_ordinary_among_them():
    assert not {i for i in found_in(mixed(), LABELS) if i < GOOD}


def test_a_class_of_few_images_vouches_for_none():
    few = FEWEST - 1
    assert found_in(mixed(few), ["good"] * few + ["scratch"] * (DEFECTS + STRAYED)) == {}


def test_one_class_has_nowhere_else_to_look():
    assert found_in(drawn(20), ["good"] * 20) == {}


@pytest.mark.parametrize("position", [0.0, 4.0])
def test_against_a_bank_scores_as_the_scorer_does_within_it(position: float):
    images, config = drawn(20, planted=(4,)), NeighboursConfig(images=3, position=position)
    embeddings, kin = embedded(images), np.arange(20)
    with one_core_each("test") as pool:
        values = against(embeddings, kin, np.arange(20), np.ones(20, dtype=np.bool_), config, pool)
    assert_allclose(values, Neighbours(config=config).score(embeddings, kin).values, rtol=1e-5)


def test_an_image_is_compared_with_images_of_the_bank_alone():
    images = drawn(20)
    images += [images[3].copy()]
    embeddings, kin = embedded(images), np.arange(21)
    bank = np.arange(21) < 20
    bank[3] = False
    assert embeddings.width == WIDTH
    assert len(images[0]) == ROWS * COLUMNS
    with one_core_each("test") as pool:
        without = against(embeddings, kin, np.array([20]), bank, ALL, pool)
        bank[3] = True
        having = against(embeddings, kin, np.array([20]), bank, ALL, pool)
    assert having[0] < without[0]
