"""Images that belong to another class: ordinary there, or near it."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from curate.config import ScanConfig
from curate.partition.nominal_sets import partition
from curate.records import Verdict
from curate.refinement.judge_dataset import judge_dataset, progress_total
from curate.refinement.label_checks import FEWEST_IMAGES, Classes, Members
from curate.scores.neighbours import Neighbours, NeighboursConfig, score_against
from tests.scores.test_neighbours import ALL, drawn, embedded
from tests.verdicts.test_judge import embedded_images, verdicts_of

GOOD, DEFECTS, STRAYED = 30, 14, 6
LABELS = ["good"] * GOOD + ["scratch"] * (DEFECTS + STRAYED)


def mixed(good: int = GOOD) -> list[np.ndarray]:
    """Return good images, then a folder of defects: each anomalous in a place, but for the last few, which are good."""
    count = good + DEFECTS + STRAYED
    return drawn(count, planted=tuple(range(good, good + DEFECTS)))


def found_in(images: list[np.ndarray], labels: list[str], config: NeighboursConfig = ALL, groups=None):
    asked = embedded_images(embedded(images), labels, groups=groups)
    members = []
    for one in partition(asked):
        part = asked.subset(one.rows)
        scores = replace(Neighbours(config=config).score(part.embeddings, part.groups), config=config)
        members.append(Members(nominal_set=one, scores=scores, threshold=None))
    return Classes(asked, tuple(members), np.ones(len(images), dtype=np.bool_)).ordinary()


@pytest.mark.parametrize("position", [0.0, 4.0])
def test_about_half_of_the_good_images_among_defects_are_found_and_no_defect(position: float):
    found = found_in(mixed(), LABELS, NeighboursConfig(images=3, position=position))
    assert found.keys() <= set(range(GOOD + DEFECTS, GOOD + DEFECTS + STRAYED))
    assert len(found) >= 2
    assert {one.label for one in found.values()} == {"good"}
    assert all(0.5 <= one.share_above <= 1 for one in found.values())


def test_strays_of_each_subpopulation_of_the_good_class_are_found():
    parts = [drawn(48, seed=seed, planted=tuple(range(34, 42))) for seed in (0, 1)]  # 34 good, 8 defects, 6 strays
    images = [*parts[0][:34], *parts[1][:34], *parts[0][34:], *parts[1][34:]]
    labels = ["good"] * 68 + ["scratch"] * 28
    sets = partition(embedded_images(embedded(images), labels))
    assert [one.label for one in sets] == ["good", "good", "scratch"]
    found = found_in(images, labels)
    assert found.keys() <= {*range(76, 82), *range(90, 96)}
    assert {one.label for one in found.values()} == {"good"}
    names = {image: f"good, subpopulation {1 + (image >= 82)} of 2" for image in found}
    assert {image: one.nominal_set for image, one in found.items()} == names


@dataclass(frozen=True)
class Wrapped:
    """A scorer that stands for another, as one whose time is taken does."""

    scorer: Neighbours
    name: str = "neighbours"

    def score(self, *args, **options):
        return self.scorer.score(*args, **options)


@pytest.mark.parametrize("wrap", [lambda scorer: scorer, Wrapped], ids=["as it is", "wrapped"])
def test_they_are_mislabelled_with_the_other_label_and_say_so_though_they_lie_below_their_threshold(wrap):
    images = embedded_images(embedded(mixed()), LABELS)
    judged = judge_dataset(images, [wrap(Neighbours(config=ALL))], ScanConfig(max_share=0.9, min_keep=1))
    verdicts, ordinary = verdicts_of(images, judged), judged.checks.ordinary
    rejected = {
        row for one, result in zip(judged.sets, judged.judged, strict=True) for row in one.rows[result.rejected]
    }
    strayed = [i for i, found in enumerate(verdicts.findings) if found and found[0].code == "LBL003"]
    assert len(strayed) >= 2
    for i in strayed:
        assert i >= GOOD + DEFECTS
        assert verdicts.verdict[i] is Verdict.MISLABELLED
        assert verdicts.suggested_label[i] == "good"
        assert verdicts.flagged[i]
        assert verdicts.anomaly_score[i] < 1
        assert i not in rejected  # by no round: it lies below the threshold
        assert {LABELS[n] for n in ordinary[i].nearest} == {"good"}
        assert "Labelled 'scratch', but ordinary in 'good': " in verdicts.findings[i][0].message


def test_no_good_image_is_called_a_defect_though_it_is_ordinary_among_them():
    assert not {i for i in found_in(mixed(), LABELS) if i < GOOD}


def test_a_class_of_few_images_is_not_asked():
    few = FEWEST_IMAGES - 1
    assert found_in(mixed(few), ["good"] * few + ["scratch"] * (DEFECTS + STRAYED)) == {}


def test_where_there_is_one_class_no_image_is_ordinary_in_another():
    assert found_in(drawn(20), ["good"] * 20) == {}


@pytest.mark.parametrize("position", [0.0, 4.0])
def test_against_a_bank_scores_as_the_scorer_does_within_it(position: float):
    images, config = drawn(20, planted=(4,)), NeighboursConfig(images=3, position=position)
    embeddings, groups = embedded(images), np.arange(20)
    bank = np.ones(20, dtype=np.bool_)
    values = score_against(embeddings, groups, np.arange(20), bank=bank, config=config)
    assert_allclose(values, Neighbours(config=config).score(embeddings, groups).values, rtol=1e-5)


def test_an_image_is_compared_with_images_of_the_bank_alone():
    images = drawn(20)
    images += [images[3].copy()]
    embeddings, groups = embedded(images), np.arange(21)
    bank = np.arange(21) < 20
    bank[3] = False
    without = score_against(embeddings, groups, np.array([20]), bank=bank, config=ALL)
    bank[3] = True
    having = score_against(embeddings, groups, np.array([20]), bank=bank, config=ALL)
    assert having[0] < without[0]


def test_a_loose_class_is_not_asked_though_it_is_tighter_than_another():
    labels = ["good"] * GOOD + ["scratch"] * 20 + ["bend"] * 20
    images = drawn(GOOD + 40, planted=tuple(range(GOOD + 20, GOOD + 32)))  # bends are looser than scratches
    for image in images[GOOD:]:
        image[0] += np.float16(6)  # one mark, which scratches and bends share
    assert found_in(images, labels) == {}


def judged(images: list[np.ndarray], labels: list[str], groups=None):
    asked = embedded_images(embedded(images), labels, groups=groups)
    found = judge_dataset(asked, [Neighbours(config=ALL)], ScanConfig())
    return found.checks.near, verdicts_of(asked, found)


def test_a_rare_defect_is_not_called_good_though_most_of_it_looks_so():
    images = drawn(GOOD + 25)
    for image in images[GOOD:-1]:
        image[0] += np.float16(6)  # the usual defect of the folder; the last image shows another
    images[-1][7] += np.float16(3)
    near, verdicts = judged(images, ["good"] * GOOD + ["scratch"] * 25)
    last = len(images) - 1
    assert near[last].label == "good"
    assert near[last].anomalous
    assert verdicts.flagged[last]
    assert verdicts.suggested_label[last] == ""
    assert verdicts.findings[last][0].code == "LBL001"


def test_nothing_that_cannot_be_compared_is_called_ordinary():
    groups = np.zeros(len(LABELS), dtype=np.int64)
    groups[GOOD + 10 :] = np.arange(1, len(LABELS) - GOOD - 9)  # the first ten defects are of the lot of all good ones
    assert not {i for i in found_in(mixed(), LABELS, groups=groups) if i < GOOD + 10}


@pytest.mark.parametrize("count", [3, 12])
def test_a_class_that_cannot_be_judged_does_not_say_that_an_image_is_anomalous_there(count: int):
    images = drawn(GOOD) + drawn(count + 1, seed=9)
    groups = np.arange(len(images))
    groups[GOOD:-1] = GOOD  # all bolts are of one lot, so nobody knows how much bolts differ
    near, verdicts = judged(images, ["nut"] * GOOD + ["bolt"] * count + ["nut"], groups)
    last = len(images) - 1
    assert near[last].anomalous is None
    assert verdicts.suggested_label[last] == "bolt"


@pytest.mark.parametrize("defective", [False, True])
def test_a_part_of_another_class_is_said_to_be_one_even_where_it_is_anomalous_there_too(defective: bool):
    images = drawn(GOOD) + drawn(GOOD + 1, seed=9)
    if defective:
        images[-1][7] += np.float16(3)
    near, verdicts = judged(images, ["nut"] * GOOD + ["bolt"] * GOOD + ["nut"])
    last = len(images) - 1
    assert near[last].anomalous is defective
    assert verdicts.suggested_label[last] == "bolt"
    assert verdicts.findings[last][0].code in {"LBL002", "LBL003"}


@pytest.mark.parametrize("labels", [LABELS, ["good"] * len(LABELS)], ids=["two classes", "one class"])
def test_progress_ends_where_it_was_said_to_end(labels: list[str]):
    images, reported = embedded_images(embedded(mixed()), labels), list[int]()
    scorers = [Neighbours(config=ALL)]
    judge_dataset(images, scorers, ScanConfig(), progress=reported.append)
    assert sum(reported) == progress_total(images, scorers, ScanConfig())
