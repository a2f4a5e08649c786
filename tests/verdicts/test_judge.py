"""The verdicts: what is flagged, as what, and what is said."""

from typing import Any, cast

import numpy as np
import pytest

from curate.audit.judged_dataset import JudgedDataset
from curate.config import ScanConfig
from curate.progress import no_progress
from curate.records import EmbeddedImages, Embeddings, PatchesInMemory, Scores, Verdict
from curate.refinement.judge_dataset import judge_dataset
from curate.scores.base import NO_GUIDE, Guide, Scorer
from curate.verdicts.judge import JudgedImages, Verdicts, position_in_words
from curate.verdicts.threshold import Threshold

N = 40


def embeddings_of(pooled: np.ndarray) -> Embeddings:
    count = len(pooled)
    return Embeddings(
        images=np.arange(count),
        grids=np.full((count, 2), 4),
        pooled=pooled.astype(np.float32),
        stages=(slice(0, pooled.shape[1]),),
        source=PatchesInMemory([np.zeros((16, 2), dtype=np.float16)] * count),
        width=2,
    )


def embedded_images(
    embeddings: Embeddings, labels=None, *, groups=None, duplicates=None, optics=None
) -> EmbeddedImages:
    """Return images that are of one class, and each of a part of its own, unless it is said."""
    alone = np.arange(len(embeddings))
    duplicates = alone if duplicates is None else duplicates
    return EmbeddedImages(
        embeddings=embeddings,
        groups=duplicates if groups is None else groups,
        duplicates=duplicates,
        labels=tuple(labels or [""] * len(embeddings)),
        optics=optics,
    )


def verdicts_of(images: EmbeddedImages, found: JudgedImages) -> Verdicts:
    """Return the verdicts of all nominal sets in the order of the images."""
    unused = cast("Any", None)
    dataset = JudgedDataset(
        listing=unused, facts=(), duplicates=images.duplicates, embeddings=images.embeddings, images=found
    )
    return dataset.verdicts


def thresholds_of(found: JudgedImages) -> dict[str, Threshold]:
    return {one.name: result.threshold for one, result in zip(found.sets, found.judged, strict=True)}


class Drawn(Scorer):
    """A scorer that has scored already: its maps are drawn, its scores are their maxima."""

    name = "drawn"

    def __init__(self, maps: np.ndarray) -> None:
        self.maps = {i: m.astype(np.float32) for i, m in enumerate(maps)}

    def score(self, embeddings: Embeddings, groups: np.ndarray, *, guide: Guide = NO_GUIDE, progress=no_progress):
        maps = [self.maps[int(i)] for i in embeddings.images]
        return Scores(
            scorer=self.name,
            values=np.array([m.max() for m in maps], dtype=np.float32),
            maps=maps,
            neighbours=np.zeros((len(maps), 0), dtype=np.int64),
        )


@pytest.fixture
def maps() -> np.ndarray:
    return np.random.default_rng(0).normal(1, 0.05, (N, 4, 4))


def judged(maps: np.ndarray, labels=None, pooled=None, duplicates=None, optics=None, **config):
    count = len(maps)
    pooled = np.random.default_rng(1).normal(size=(count, 3)) if pooled is None else pooled
    duplicates = np.arange(count) if duplicates is None else duplicates
    images = embedded_images(embeddings_of(pooled), labels, duplicates=duplicates, optics=optics)
    found = judge_dataset(images, [Drawn(maps)], ScanConfig(**{"max_share": 1} | config))
    return verdicts_of(images, found), thresholds_of(found)


def test_one_anomalous_position_is_mislabelled_and_the_message_says_where(maps: np.ndarray):
    maps[3, 0, 3] = 9
    verdicts, _ = judged(maps)
    assert verdicts.verdict[3] is Verdict.MISLABELLED
    (finding,) = verdicts.findings[3]
    assert finding.code == "LBL001"
    assert "long tail" not in finding.message
    assert finding.message.startswith("Local anomaly near the top right corner, score ")
    assert finding.message.endswith(" (threshold 1)")


def lit(dark: tuple[int, ...] = ()) -> np.ndarray:
    """Return how images were taken: alike, but for the dark ones."""
    optics = np.array([120.0, 40, 0.9, 1, 1]) * np.random.default_rng(2).normal(1, 0.01, (N, 5))
    optics[list(dark), 0] *= 0.4
    return optics


def test_an_image_in_another_light_is_near_ood_though_its_patches_are_ordinary(maps: np.ndarray):
    plain, _ = judged(maps, optics=lit())
    verdicts, _ = judged(maps, optics=lit((5,)))
    assert not plain.flagged.any()
    assert np.flatnonzero(verdicts.flagged).tolist() == [5]
    assert verdicts.verdict[5] is Verdict.NEAR_OOD
    (finding,) = verdicts.findings[5]
    assert finding.code == "OOD003"
    assert finding.message.startswith("Darker than the set: brightness 4")
    assert finding.message.endswith("; what it shows is nominal")
    assert verdicts.anomaly_score[5] > 1 > plain.anomaly_score[5]
    others = np.arange(N) != 5
    assert (verdicts.anomaly_score[others] == plain.anomaly_score[others]).all()


def test_acquisition_does_not_count_unless_it_is_asked_for(maps: np.ndarray):
    assert not judged(maps)[0].flagged.any()


def test_a_defect_stays_a_defect_however_it_changes_the_light(maps: np.ndarray):
    maps[5, 0, 3] = 9
    plain, verdicts = judged(maps)[0], judged(maps, optics=lit((5,)))[0]
    assert verdicts.verdict[5] is Verdict.MISLABELLED
    assert [finding.code for finding in verdicts.findings[5]] == ["LBL001"]
    assert verdicts.anomaly_score[5] == plain.anomaly_score[5]


def test_of_an_image_anomalous_as_a_whole_the_light_is_reported_too(maps: np.ndarray):
    maps[5] += 8
    verdicts, _ = judged(maps, optics=lit((5,)))
    assert verdicts.verdict[5] is Verdict.NEAR_OOD
    assert [finding.code for finding in verdicts.findings[5]] == ["OOD001", "OOD003"]


def test_images_in_another_light_count_towards_what_a_class_may_lose(maps: np.ndarray):
    maps[3, 0, 3] = 9
    verdicts, _ = judged(maps, optics=lit((5, 6)), max_share=2 / N)
    assert verdicts.flagged.sum() == 2
    assert verdicts.flagged[3]
    assert any(finding.code == "SET002" for finding in verdicts.findings[0])


def test_a_set_that_cannot_be_judged_is_not_judged_by_its_light_either(maps: np.ndarray):
    verdicts, _ = judged(np.ones_like(maps), optics=lit((5,)))
    assert not verdicts.flagged.any()
    assert verdicts.verdict[5] is Verdict.NOT_JUDGED


TWO_PRODUCTS = np.random.default_rng(1).normal(size=(2 * N, 24)) + np.repeat([0, 40], N)[:, None] * np.eye(24)[0]
"""Pooled vectors of two products in one folder."""


def of_two_products(**config):
    """Judge a folder of two products, the second ten times as anomalous as the first; one of each has a defect."""
    maps = np.random.default_rng(0).normal(1, 0.05, (2 * N, 4, 4))
    maps[N:] *= 10
    maps[3, 0, 3], maps[N + 3, 0, 3] = 2, 20
    images = embedded_images(embeddings_of(TWO_PRODUCTS), ["good"] * (2 * N))
    found = judge_dataset(images, [Drawn(maps)], ScanConfig(**config))
    return thresholds_of(found), verdicts_of(images, found)


def test_each_subpopulation_of_a_class_is_judged_by_itself_and_it_is_said():
    thresholds, verdicts = of_two_products()
    assert np.flatnonzero(verdicts.flagged).tolist() == [3, N + 3]
    assert set(thresholds) == {"good, subpopulation 1 of 2", "good, subpopulation 2 of 2"}
    assert [finding.code for finding in verdicts.findings[3]] == ["LBL001", "SET003"]
    assert {findings[-1].message for findings in verdicts.findings} == {
        f"The class holds 2 subpopulations that have little in common; judged as 'good, subpopulation {k} of 2'"
        for k in (1, 2)
    }
    assert set(verdicts.suggested_label) == {""}


def test_a_small_group_apart_is_reported_but_not_flagged_for_it(maps: np.ndarray):
    pooled = np.random.default_rng(1).normal(size=(N, 24))
    pooled[:8, 0] += 40
    verdicts, _ = judged(maps, pooled=pooled)
    assert not verdicts.flagged.any()
    told = {finding.message for findings in verdicts.findings[:8] for finding in findings if finding.code == "SET004"}
    assert told == {"One of 8 similar images that lie apart from the rest"}
    assert all(finding.code != "SET004" for findings in verdicts.findings[8:] for finding in findings)


def test_a_class_can_be_judged_as_one_whatever_it_holds():
    thresholds, verdicts = of_two_products(subpopulations=False)
    assert set(thresholds) == {"good"}
    assert not any(finding.code == "SET003" for findings in verdicts.findings for finding in findings)


def test_a_flagged_image_that_a_long_tail_would_explain_says_so():
    scores = np.concatenate([np.random.default_rng(0).lognormal(0, 0.3, 197), [2.7, 2.9, 3.1]])
    verdicts, _ = judged(np.tile(scores[:, None, None], (1, 4, 4)) * np.linspace(0.2, 1, 16).reshape(4, 4))
    assert verdicts.flagged[-3:].all()
    assert all(verdicts.significance.confidence[-3:] > 0.5)
    assert all("a long tail of nominal images would explain it too" in f[0].message for f in verdicts.findings[-3:])


def test_an_image_that_is_anomalous_as_a_whole_is_near_ood(maps: np.ndarray):
    maps[5] += 4
    verdicts, _ = judged(maps)
    assert verdicts.verdict[5] is Verdict.NEAR_OOD
    assert [f.code for f in verdicts.findings[5]] == ["OOD001"]


def test_an_image_among_another_class_is_mislabelled_with_the_other_label_suggested(maps: np.ndarray):
    labels = ["a"] * 20 + ["b"] * 20
    pooled = np.random.default_rng(2).normal(0, 0.1, (N, 3)) + np.repeat([[0], [5]], 20, axis=0)
    pooled[4] = pooled[30] + 0.01
    maps[4] += 4
    verdicts, _ = judged(maps, labels, pooled)
    assert verdicts.verdict[4] is Verdict.MISLABELLED
    assert verdicts.suggested_label[4] == "b"
    assert verdicts.findings[4][0].code == "LBL002"
    assert verdicts.suggested_label[:4] == ("",) * 4


def test_flagged_is_above_one_and_has_a_finding_and_nothing_else_has(maps: np.ndarray):
    maps[7, 1, 1], maps[9] = 5, 6
    verdicts, _ = judged(maps)
    assert (verdicts.flagged == (verdicts.anomaly_score > 1)).all()
    assert [bool(found) for found in verdicts.findings] == verdicts.flagged.tolist()
    assert [v is not Verdict.KEEP for v in verdicts.verdict] == verdicts.flagged.tolist()


def test_each_class_has_its_own_threshold(maps: np.ndarray):
    maps[20:] *= 10  # a class whose images differ more from one another is not anomalous for that
    verdicts, thresholds = judged(maps, ["a"] * 20 + ["b"] * 20)
    assert verdicts.flagged.mean() < 0.2
    assert set(thresholds) == {"a", "b"}


def test_copies_count_once_in_the_threshold(maps: np.ndarray):
    maps[30, 0, 0] = 8
    _, alone = judged(maps)
    copied = np.concatenate([maps, np.repeat(maps[30:31], 60, axis=0)])
    again, thresholds = judged(copied, duplicates=np.concatenate([np.arange(N), np.full(60, 30)]))
    assert thresholds[""].value == pytest.approx(alone[""].value)
    assert again.flagged[30]
    assert again.flagged[N:].all()


@pytest.mark.parametrize("count", [1, 2, 7, 30])
def test_equal_or_few_images_are_not_judged_and_none_is_flagged(count: int):
    verdicts, _ = judged(np.zeros((count, 4, 4)))
    assert set(verdicts.verdict) == {Verdict.NOT_JUDGED}
    assert not verdicts.flagged.any()
    assert np.isfinite(verdicts.anomaly_score).all()


@pytest.mark.parametrize(
    ("at", "words"),
    [
        ((0, 0), "near the top left corner"),
        ((0, 5), "near the top edge"),
        ((5, 8), "near the right edge"),
        ((8, 8), "near the bottom right corner"),
        ((4, 4), "near the centre"),
    ],
)
def test_the_position_of_an_anomaly_is_said_in_words(at: tuple[int, int], words: str):
    anomaly_map = np.zeros((9, 9), dtype=np.float32)
    anomaly_map[at] = 1
    assert position_in_words(anomaly_map) == words


def test_the_rounds_of_one_class_go_on_where_another_class_ran_away():
    """Each nominal set is refined by itself: a class whose second round is not believed does not end another's."""
    rng = np.random.default_rng(0)
    calm, wild = rng.normal(1, 0.05, 60), rng.normal(1, 0.05, 60)
    calm[[3, 7]] = wild[[3, 7]] = 5
    again = calm.copy()
    again[9] = 5  # found by the second round of the calm class alone
    half = np.where(np.arange(60) % 2 == 0, wild + 2, wild)  # as if every second image had become anomalous
    script = {("calm", 0): calm, ("calm", 1): again, ("calm", 2): again, ("wild", 0): wild, ("wild", 1): half}

    class Scripted(Drawn):
        def __init__(self) -> None:
            self.calls = {"calm": 0, "wild": 0}

        def score(self, embeddings, groups, *, guide=NO_GUIDE, progress=no_progress):
            name = "calm" if embeddings.images[0] < 60 else "wild"
            values = script[name, self.calls[name]].astype(np.float32)
            self.calls[name] += 1
            maps = [np.full((4, 4), value, dtype=np.float32) for value in values]
            return Scores(scorer="drawn", values=values, maps=maps, neighbours=np.zeros((60, 0), dtype=np.int64))

    images = embedded_images(embeddings_of(rng.normal(size=(120, 3))), ["calm"] * 60 + ["wild"] * 60)
    found = judge_dataset(images, [Scripted()], ScanConfig())
    calm_set, wild_set = found.judged
    assert calm_set.ended == "after 3 of 5: nothing changes any more"
    assert wild_set.ended.endswith("the round before stands")
    assert np.flatnonzero(verdicts_of(images, found).flagged).tolist() == [3, 7, 9, 63, 67]


def test_each_class_is_judged_as_if_it_were_alone(maps: np.ndarray):
    """Scale, threshold, significance and acquisition of a class do not depend on the other classes."""
    maps[3, 0, 3], maps[25, 1, 1] = 5, 60
    maps[20:] *= 10
    optics = lit((5, 30))
    optics[20:, 0] *= 0.5
    pooled = np.random.default_rng(3).normal(size=(N, 3)) + np.repeat([[0], [50]], 20, axis=0)  # none is near the other
    together, thresholds = judged(maps, ["a"] * 20 + ["b"] * 20, pooled, optics=optics)
    for label, rows in (("a", slice(0, 20)), ("b", slice(20, 40))):
        alone, threshold = judged(maps[rows], pooled=pooled[rows], optics=optics[rows])
        assert thresholds[label].value == threshold[""].value
        assert together.verdict[rows] == alone.verdict
        assert together.findings[rows] == alone.findings
        assert (together.anomaly_score[rows] == alone.anomaly_score).all()
        assert (together.significance.q_value[rows] == alone.significance.q_value).all()
