"""The rounds: what is learnt from, who comes back, when it ends, and what is never rejected."""

from dataclasses import dataclass

import numpy as np
import pytest

from curate.config import ScanConfig
from curate.progress import no_progress
from curate.records import Embeddings, Scores, WarmStart
from curate.refinement.judge_set import judge_set
from curate.scores.base import NO_GUIDE, Guide
from curate.verdicts.judge import disagreements
from curate.verdicts.judged_set import JudgedSet, contamination
from tests.verdicts.test_judge import embedded_images, embeddings_of

N = 60


@dataclass(frozen=True)
class Model(WarmStart):
    """After how many rounds it was handed on."""

    rounds: int


class Scripted:
    """A scorer whose scores of each round are written down; it remembers its guides."""

    def __init__(self, *rounds: np.ndarray, name: str = "scripted", abstains: bool = False) -> None:
        self.rounds, self.guides, self.name, self.abstains = rounds, list[Guide](), name, abstains

    def score(self, embeddings: Embeddings, groups: np.ndarray, *, guide: Guide = NO_GUIDE, progress=no_progress):
        values = self.rounds[min(len(self.guides), len(self.rounds) - 1)]
        self.guides.append(guide)
        return Scores(
            scorer=self.name,
            values=values.astype(np.float32),
            maps=[np.full((4, 4), v, dtype=np.float32) for v in values],
            neighbours=np.zeros((len(values), 0), dtype=np.int64),
            abstains="the images are not aligned" if self.abstains else "",
            model=Model(len(self.guides)),
        )


def bulk(*planted: int) -> np.ndarray:
    values = np.random.default_rng(0).normal(1, 0.05, N)
    values[list(planted)] = 5
    return values


def refined(*scorers: Scripted, **config) -> JudgedSet:
    count = len(scorers[0].rounds[0])
    pooled = np.random.default_rng(1).normal(size=(count, 3))
    return judge_set(embedded_images(embeddings_of(pooled)), scorers, ScanConfig(**config))


def test_the_next_round_learns_without_the_rejected_and_starts_from_the_last_model():
    scorer = Scripted(bulk(3, 7))
    refined(scorer, rounds=5)
    first, second = scorer.guides[:2]
    assert first.nominal is not None
    assert first.nominal.all()
    assert first.model is None
    assert np.flatnonzero(~second.nominal).tolist() == [3, 7]
    assert second.model == Model(1)


def test_the_rounds_end_when_nothing_changes():
    scorer = Scripted(bulk(3, 7))
    found = refined(scorer, rounds=9)
    assert len(scorer.guides) == 2
    assert [r.number for r in found.rounds] == [1, 2]


def test_a_clean_set_needs_one_round():
    scorer = Scripted(bulk())
    assert len(refined(scorer, rounds=9).rounds) == 1


def test_a_round_that_finds_more_than_the_first_allows_is_not_believed():
    first = bulk(3, 7)
    half = np.where(np.arange(N) % 2 == 0, first + 2, first)  # as if every second image had become anomalous
    found = refined(Scripted(first, half), rounds=5)
    assert [r.number for r in found.rounds] == [1]
    assert np.flatnonzero(found.rejected).tolist() == [3, 7]
    assert found.joined.values.argmax() in (3, 7)
    assert found.ended.startswith("after 2 of 5: ")
    assert found.ended.endswith("the round before stands")


def test_an_image_can_come_back_and_the_story_says_so():
    found = refined(Scripted(bulk(3, 7), bulk(3, 9)), rounds=2)
    assert found.ended == "after 2 of 2: no more were asked for"
    assert np.flatnonzero(found.rejected).tolist() == [3, 9]
    assert found.round_rejected[[3, 7, 9]].tolist() == [1, 0, 2]
    assert [(r.rejected, r.reinstated, r.kept) for r in found.rounds] == [(2, 0, N - 2), (1, 1, N - 2)]


def test_rounds_that_go_in_a_circle_end():
    scorer = Scripted(*[bulk(3, 7), bulk(3, 9)] * 10)
    found = refined(scorer, rounds=20)
    assert len(scorer.guides) == 3
    assert found.ended == "after 3 of 20: the same images as in an earlier round came out"


def test_never_more_than_a_share_of_a_class_is_rejected_and_the_worst_are():
    values = bulk(*range(20))
    values[4] = 9
    found = refined(Scripted(values), max_share=0.1)
    assert found.rejected.sum() == 6
    assert found.rejected[4]
    assert "20 of 60" in found.cap_note


def test_a_class_that_would_fall_below_min_keep_is_left_alone():
    found = refined(Scripted(bulk(3, 7)), min_keep=N - 1)
    assert not found.rejected.any()
    assert "59" in found.cap_note


@pytest.mark.parametrize("rounds", [1, 3])
def test_the_contamination_of_the_set_has_an_interval_around_it(rounds: int):
    estimated = contamination([refined(Scripted(bulk(*range(12))), rounds=rounds)])
    assert estimated["low"] <= estimated["estimate"] <= estimated["high"]
    assert estimated["estimate"] == pytest.approx(0.2, abs=0.05)


def test_a_class_that_is_half_anomalous_keeps_its_ranking_and_is_flagged():
    values = bulk(*range(31))
    values[:31] += np.random.default_rng(2).normal(0, 0.2, 31)
    found = refined(Scripted(values), max_share=0.9)
    assert found.rejected.tolist() == [i < 31 for i in range(N)]
    assert (np.argsort(found.relative) == np.argsort(found.joined.values)).all()


def test_a_view_that_abstains_has_no_threshold_and_no_part_in_verdict_or_disagreement():
    found = refined(Scripted(bulk(3), name="active"), Scripted(bulk(9), name="quiet", abstains=True), rounds=1)
    assert np.flatnonzero(found.rejected).tolist() == [3]
    assert list(found.view_thresholds) == list(found.view_relative) == list(found.weights) == ["active"]
    assert disagreements(found.view_relative) == {}


def test_a_disagreement_of_two_views_does_not_name_a_third_that_abstains():
    views = (
        Scripted(bulk(3), name="loud"),
        Scripted(bulk(), name="calm"),
        Scripted(bulk(9), name="quiet", abstains=True),
    )
    found = disagreements(refined(*views, rounds=1).view_relative)
    assert list(found) == [3]
    assert "loud" in found[3].message
    assert "quiet" not in found[3].message


def test_the_only_view_is_joined_though_it_abstains():
    found = refined(Scripted(bulk(3), abstains=True), rounds=1)
    assert np.flatnonzero(found.rejected).tolist() == [3]
    assert list(found.view_thresholds) == ["scripted"]


def test_what_the_first_round_could_not_exclude_no_later_one_excludes():
    rng = np.random.default_rng(1)
    half = np.arange(200) % 2
    flat, apart = rng.normal(2.15 * half, 0.6), rng.normal(3 * half, 0.6)
    flat[0] = apart[0] = 9
    first, alone = refined(Scripted(flat), rounds=1), refined(Scripted(apart), rounds=1)
    assert first.threshold.may_be_clean
    assert alone.rejected.sum() > 50
    found = refined(Scripted(flat, apart), rounds=2)
    assert [r.number for r in found.rounds] == [1, 2]
    assert found.rejected.sum() < 5
