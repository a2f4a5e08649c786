"""Images that are ordinary among another class."""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.testing import assert_allclose
from test_neighbours import ALL, drawn, embedded

from curate.embeddings.threads import one_core_each
from curate.records import Verdict
from curate.scores.by_label import score_by_label
from curate.scores.elsewhere import FEWEST, Classes
from curate.scores.kinds import nominal_sets
from curate.scores.neighbours import Neighbours, NeighboursConfig, against
from curate.verdicts.judge import judge
from curate.verdicts.rounds import RefineConfig, looks, refine

GOOD, DEFECTS, STRAYED = 30, 14, 6
LABELS = ["good"] * GOOD + ["scratch"] * (DEFECTS + STRAYED)


def mixed(good: int = GOOD) -> list[np.ndarray]:
    """Return good images, then a folder of defects: odd in a place each, but for the last few, which are good."""
    count = good + DEFECTS + STRAYED
    return drawn(count, planted=tuple(range(good, good + DEFECTS)))


def found_in(images: list[np.ndarray], labels: list[str], config: NeighboursConfig = ALL, kin=None):
    embeddings, kin = embedded(images), np.arange(len(images)) if kin is None else kin
    sets = nominal_sets(embeddings, kin, labels)
    own = score_by_label(Neighbours(config=config), embeddings, kin, sets.names).values
    everyone = np.ones(len(images), dtype=np.bool_)
    configs = dict.fromkeys(sets.names, config)
    return Classes(embeddings=embeddings, kin=kin, sets=sets, kept=everyone, configs=configs).ordinary(own)


@pytest.mark.parametrize("position", [0.0, 4.0])
def test_about_half_of_the_good_images_among_defects_are_found_and_no_defect(position: float):
    found = found_in(mixed(), LABELS, NeighboursConfig(images=3, position=position))
    assert found.keys() <= set(range(GOOD + DEFECTS, GOOD + DEFECTS + STRAYED))
    assert len(found) >= 2
    assert {one.label for one in found.values()} == {"good"}
    assert all(0.5 <= one.odder <= 1 for one in found.values())


def test_strays_of_each_kind_in_the_good_class_are_found():
    parts = [drawn(48, seed=seed, planted=tuple(range(34, 42))) for seed in (0, 1)]  # 34 good, 8 defects, 6 strays
    images = [*parts[0][:34], *parts[1][:34], *parts[0][34:], *parts[1][34:]]
    labels = ["good"] * 68 + ["scratch"] * 28
    assert nominal_sets(embedded(images), np.arange(96), labels).kinds["good"] == 2
    found = found_in(images, labels)
    assert found.keys() <= {*range(76, 82), *range(90, 96)}
    assert {one.label for one in found.values()} == {"good, kind 1 of 2", "good, kind 2 of 2"}
    assert all(one.label == f"good, kind {1 + (image >= 82)} of 2" for image, one in found.items())


@dataclass(frozen=True)
class Wrapped:
    """A scorer that stands for another, as one whose time is taken does."""

    scorer: Neighbours
    name: str = "neighbours"

    def score(self, *args, **options):
        return self.scorer.score(*args, **options)


@pytest.mark.parametrize("wrap", [lambda scorer: scorer, Wrapped], ids=["as it is", "wrapped"])
def test_they_are_mislabelled_with_the_other_label_and_say_so_though_they_lie_below_their_fence(wrap):
    embeddings, kin = embedded(mixed()), np.arange(len(LABELS))
    config = RefineConfig(max_share=0.9, min_keep=1)
    refined = refine(embeddings, kin, LABELS, kin, [wrap(Neighbours(config=ALL))], config)
    verdicts = judge(refined, LABELS, kin)
    strayed = [i for i, found in enumerate(verdicts.findings) if found and found[0].code == "LBL003"]
    assert len(strayed) >= 2
    for i in strayed:
        assert i >= GOOD + DEFECTS
        assert verdicts.verdict[i] is Verdict.MISLABELLED
        assert verdicts.suggested_label[i] == "good"
        assert verdicts.flagged[i]
        assert verdicts.anomaly_score[i] < 1
        assert refined.round_rejected[i] == 0  # no round did: it lies below the fence
        assert {LABELS[n] for n in refined.elsewhere[i].nearest} == {"good"}
        assert "labelled 'scratch', but ordinary among 'good': " in verdicts.findings[i][0].message


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
    with one_core_each("test") as pool:
        without = against(embeddings, kin, np.array([20]), bank, ALL, pool)
        bank[3] = True
        having = against(embeddings, kin, np.array([20]), bank, ALL, pool)
    assert having[0] < without[0]


def test_a_loose_class_vouches_for_none_though_it_is_tighter_than_another():
    labels = ["good"] * GOOD + ["scratch"] * 20 + ["bend"] * 20
    images = drawn(GOOD + 40, planted=tuple(range(GOOD + 20, GOOD + 32)))  # bends are looser than scratches
    for image in images[GOOD:]:
        image[0] += np.float16(6)  # one mark, which scratches and bends share
    assert found_in(images, labels) == {}


def judged(images: list[np.ndarray], labels: list[str], kin=None):
    embeddings, alone = embedded(images), np.arange(len(images))
    kin = alone if kin is None else kin
    refined = refine(embeddings, kin, labels, alone, [Neighbours(config=ALL)], RefineConfig())
    return refined, judge(refined, labels, alone)


def test_a_rare_defect_is_not_called_good_though_most_of_it_looks_so():
    images = drawn(GOOD + 25)
    for image in images[GOOD:-1]:
        image[0] += np.float16(6)  # the usual defect of the folder; the last image shows another
    images[-1][7] += np.float16(3)
    refined, verdicts = judged(images, ["good"] * GOOD + ["scratch"] * 25)
    last = len(images) - 1
    assert refined.near[last].label == "good"
    assert refined.near[last].odd
    assert verdicts.flagged[last]
    assert verdicts.suggested_label[last] == ""
    assert verdicts.findings[last][0].code == "LBL001"


def test_nothing_that_cannot_be_compared_is_called_ordinary():
    kin = np.zeros(len(LABELS), dtype=np.int64)
    kin[GOOD + 10 :] = np.arange(1, len(LABELS) - GOOD - 9)  # the first ten defects are of the lot of all good ones
    assert not {i for i in found_in(mixed(), LABELS, kin=kin) if i < GOOD + 10}


@pytest.mark.parametrize("count", [3, 12])
def test_a_class_that_cannot_be_judged_does_not_say_that_an_image_is_odd_there(count: int):
    images = drawn(GOOD) + drawn(count + 1, seed=9)
    kin = np.arange(len(images))
    kin[GOOD:-1] = GOOD  # all bolts are of one lot, so nobody knows how much bolts differ
    refined, verdicts = judged(images, ["nut"] * GOOD + ["bolt"] * count + ["nut"], kin)
    last = len(images) - 1
    assert refined.near[last].odd is None
    assert verdicts.suggested_label[last] == "bolt"


@pytest.mark.parametrize("defective", [False, True])
def test_a_part_of_another_class_is_said_to_be_one_even_where_it_is_odd_there_too(defective: bool):
    images = drawn(GOOD) + drawn(GOOD + 1, seed=9)
    if defective:
        images[-1][7] += np.float16(3)
    refined, verdicts = judged(images, ["nut"] * GOOD + ["bolt"] * GOOD + ["nut"])
    last = len(images) - 1
    assert refined.near[last].odd is defective
    assert verdicts.suggested_label[last] == "bolt"
    assert verdicts.findings[last][0].code in {"LBL002", "LBL003"}


@pytest.mark.parametrize("labels", [LABELS, ["good"] * len(LABELS)], ids=["two classes", "one class"])
def test_progress_ends_where_it_was_said_to_end(labels: list[str]):
    embeddings, kin, told = embedded(mixed()), np.arange(len(labels)), list[int]()
    scorers = [Neighbours(config=ALL)]
    refine(embeddings, kin, labels, kin, scorers, RefineConfig(), progress=told.append)
    assert sum(told) == len(labels) * looks(scorers, labels, RefineConfig())
