"""The verdicts: what is flagged, as what, and what is said."""

import numpy as np
import pytest

from curate.records import Embeddings, PatchesInMemory, Scores, Verdict, no_progress
from curate.scores.base import NO_GUIDE, Guide
from curate.verdicts.judge import judge
from curate.verdicts.rounds import RefineConfig, refine

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


class Drawn:
    """A scorer that has looked already: its maps are drawn, its scores are their maxima."""

    name = "drawn"

    def __init__(self, maps: np.ndarray) -> None:
        self.maps = {i: m.astype(np.float32) for i, m in enumerate(maps)}

    def score(self, embeddings: Embeddings, kin: np.ndarray, *, guide: Guide = NO_GUIDE, progress=no_progress):
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
    labels = [""] * count if labels is None else labels
    duplicates = np.arange(count) if duplicates is None else duplicates
    embeddings, chosen = embeddings_of(pooled), RefineConfig(**{"max_share": 1} | config)
    refined = refine(embeddings, duplicates, labels, duplicates, [Drawn(maps)], chosen, optics=optics)
    return judge(refined, labels, duplicates), refined.fences


def test_one_odd_place_is_mislabelled_and_the_message_says_where(maps: np.ndarray):
    maps[3, 0, 3] = 9
    verdicts, _ = judged(maps)
    assert verdicts.verdict[3] is Verdict.MISLABELLED
    (finding,) = verdicts.findings[3]
    assert finding.code == "LBL001"
    assert "long tail" not in finding.message
    assert "88% from the left, 12% from the top" in finding.message


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
    assert finding.message.startswith("darker than the set: brightness 4")
    assert finding.message.endswith("; what it shows is ordinary")
    assert verdicts.anomaly_score[5] > 1 > plain.anomaly_score[5]
    others = np.arange(N) != 5
    assert (verdicts.anomaly_score[others] == plain.anomaly_score[others]).all()


def test_how_an_image_was_taken_does_not_count_unless_it_is_asked(maps: np.ndarray):
    assert not judged(maps)[0].flagged.any()


def test_a_defect_stays_a_defect_however_it_changes_the_light(maps: np.ndarray):
    maps[5, 0, 3] = 9
    plain, verdicts = judged(maps)[0], judged(maps, optics=lit((5,)))[0]
    assert verdicts.verdict[5] is Verdict.MISLABELLED
    assert [finding.code for finding in verdicts.findings[5]] == ["LBL001"]
    assert verdicts.anomaly_score[5] == plain.anomaly_score[5]


def test_of_an_image_unlike_the_set_as_a_whole_the_light_is_told_too(maps: np.ndarray):
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
    assert verdicts.verdict[5] is Verdict.KEEP


TWO_KINDS = np.random.default_rng(1).normal(size=(2 * N, 24)) + np.repeat([0, 40], N)[:, None] * np.eye(24)[0]
"""Pooled vectors of two products in one folder."""


def of_two_kinds(**config):
    """Judge a folder of two products, the second ten times as odd as the first; one of each has a defect."""
    maps = np.random.default_rng(0).normal(1, 0.05, (2 * N, 4, 4))
    maps[N:] *= 10
    maps[3, 0, 3], maps[N + 3, 0, 3] = 2, 20
    embeddings, alone, labels = embeddings_of(TWO_KINDS), np.arange(2 * N), ["good"] * (2 * N)
    refined = refine(embeddings, alone, labels, alone, [Drawn(maps)], RefineConfig(**config))
    return refined, judge(refined, labels, alone)


def test_each_kind_of_images_in_a_class_is_judged_by_itself_and_it_is_said():
    refined, verdicts = of_two_kinds()
    assert np.flatnonzero(verdicts.flagged).tolist() == [3, N + 3]
    assert set(refined.fences) == {"good, kind 1 of 2", "good, kind 2 of 2"}
    assert [finding.code for finding in verdicts.findings[3]] == ["LBL001", "SET003"]
    assert {findings[-1].message for findings in verdicts.findings} == {
        f"the class holds 2 kinds of images that have little in common; judged as 'good, kind {k} of 2'" for k in (1, 2)
    }
    assert set(verdicts.suggested_label) == {""}


def test_a_group_of_images_apart_is_told_of_but_not_flagged_for_it(maps: np.ndarray):
    pooled = np.random.default_rng(1).normal(size=(N, 24))
    pooled[:8, 0] += 40
    verdicts, _ = judged(maps, pooled=pooled)
    assert not verdicts.flagged.any()
    told = {finding.message for findings in verdicts.findings[:8] for finding in findings if finding.code == "SET004"}
    assert told == {"one of 8 images that are like each other and lie apart from the rest"}
    assert all(finding.code != "SET004" for findings in verdicts.findings[8:] for finding in findings)


def test_a_class_can_be_judged_as_one_whatever_it_holds():
    refined, verdicts = of_two_kinds(kinds=False)
    assert set(refined.fences) == {"good"}
    assert not any(finding.code == "SET003" for findings in verdicts.findings for finding in findings)


def test_a_flagged_image_that_a_long_tail_would_explain_says_so():
    scores = np.concatenate([np.random.default_rng(0).lognormal(0, 0.3, 197), [2.7, 2.9, 3.1]])
    verdicts, _ = judged(np.tile(scores[:, None, None], (1, 4, 4)) * np.linspace(0.2, 1, 16).reshape(4, 4))
    assert verdicts.flagged[-3:].all()
    assert all(verdicts.significance.confidence[-3:] > 0.5)
    assert all("a long tail of nominal images would explain it too" in f[0].message for f in verdicts.findings[-3:])


def test_an_image_that_is_odd_all_over_is_near_ood(maps: np.ndarray):
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


def test_each_class_has_its_own_fence(maps: np.ndarray):
    maps[20:] *= 10  # a class whose images differ more from one another is not anomalous for that
    verdicts, fences = judged(maps, ["a"] * 20 + ["b"] * 20)
    assert verdicts.flagged.mean() < 0.2
    assert set(fences) == {"a", "b"}


def test_copies_count_once_in_the_fence(maps: np.ndarray):
    maps[30, 0, 0] = 8
    _, alone = judged(maps)
    copied = np.concatenate([maps, np.repeat(maps[30:31], 60, axis=0)])
    again, fences = judged(copied, duplicates=np.concatenate([np.arange(N), np.full(60, 30)]))
    assert fences[""].value == pytest.approx(alone[""].value)
    assert again.flagged[30]
    assert again.flagged[N:].all()


@pytest.mark.parametrize("count", [1, 2, 7, 30])
def test_equal_or_few_images_are_all_kept(count: int):
    verdicts, _ = judged(np.zeros((count, 4, 4)))
    assert set(verdicts.verdict) == {Verdict.KEEP}
    assert np.isfinite(verdicts.anomaly_score).all()
