"""Planted defects in the rounds: scored as new images, never learnt from, without a say in what real images score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from curate.config import ScanConfig
from curate.findings import Code
from curate.records import EmbeddedImages, PatchesInMemory, PlantedDefect, PlantedImages
from curate.refinement.judge_dataset import judge_dataset, progress_total
from curate.refinement.judge_set import judge_set
from curate.scores.neighbours import Neighbours
from curate.verdicts.judged_set import JudgedSet
from tests.refinement.test_judge_set import Scripted
from tests.scores.test_neighbours import drawn, embedded
from tests.verdicts.test_judge import embedded_images, embeddings_of, verdicts_of

N, Q = 60, 24
DEFECTS = tuple(PlantedDefect(family="scratch", size=0.1 + 0.01 * (i % 3), contrast=0.5) for i in range(Q))
BASE = np.arange(0, 2 * Q, 2)


def with_planted(adds: float, *, spread: float = 0.05, tops: tuple[int, ...] = ()) -> tuple[EmbeddedImages, np.ndarray]:
    """Return N images and Q planted copies, and what a scorer that adds so much for a planted defect scores them."""
    values = np.random.default_rng(0).normal(1, spread, N)
    values[list(tops)] = 5
    scores = np.concatenate([values, values[BASE] + adds])
    whole = embeddings_of(np.random.default_rng(1).normal(size=(N + Q, 3)))
    rows = np.arange(N + Q)
    planted = PlantedImages(embeddings=whole.subset(rows[N:]), base=BASE, defects=DEFECTS)
    return replace(embedded_images(whole.subset(rows[:N])), planted=planted), scores


def refined(adds: float, *, tops: tuple[int, ...] = (), **config) -> tuple[Scripted, JudgedSet]:
    images, scores = with_planted(adds, tops=tops)
    scorer = Scripted(scores)
    return scorer, judge_set(images, [scorer], ScanConfig(**config))


def test_nothing_is_learnt_from_a_planted_image_in_any_round():
    scorer, _ = refined(1.0, tops=(3, 7))
    assert len(scorer.guides) > 1
    for guide in scorer.guides:
        assert len(guide.nominal) == N + Q
        assert not guide.nominal[N:].any()


def test_what_is_handed_on_is_of_the_real_images_and_the_power_is_of_the_planted_ones():
    _, found = refined(1.0, tops=(3, 7))
    for scores in (found.joined, *found.views):
        assert {len(scores.values), len(scores.maps), len(scores.neighbours)} == {N}
    assert {len(found.relative), len(found.rejected), *map(len, found.view_relative.values())} == {N}
    assert found.threshold.lift > 10 * found.threshold.mixture.nominal_spread  # 1, where nominal scores vary by 0.05
    assert found.power.defects == DEFECTS
    assert found.power.found.all()
    assert np.flatnonzero(found.rejected).tolist() == [3, 7]


def test_a_planted_defect_that_adds_nothing_is_not_found_and_the_set_says_that_nobody_can_tell():
    images, scores = with_planted(0.0)
    found = judge_dataset(images, [Scripted(scores)], ScanConfig())
    assert found.judged[0].threshold.cannot_tell
    assert not found.judged[0].power.found.any()
    verdicts = verdicts_of(images, found)
    for findings in verdicts.findings:
        (unseen,) = (finding for finding in findings if finding.code == Code.DEFECTS_UNSEEN)
        assert unseen.message.endswith("so real defects may be there, unseen")


def test_a_planted_defect_that_stands_out_gives_no_such_finding():
    images, scores = with_planted(1.0)
    findings = verdicts_of(images, judge_dataset(images, [Scripted(scores)], ScanConfig())).findings
    assert not any(finding.code == Code.DEFECTS_UNSEEN for some in findings for finding in some)


def test_an_image_that_the_cap_spares_is_uncertain_kept_and_has_a_finding():
    images, scores = with_planted(1.0, tops=(3, 7, 9))
    found = judge_dataset(images, [Scripted(scores)], ScanConfig(max_share=2 / N, rounds=1))
    verdicts = verdicts_of(images, found)
    unsure = np.flatnonzero(verdicts.uncertain)
    assert len(unsure) == 1
    assert not verdicts.flagged[unsure[0]]
    (finding,) = (one for one in verdicts.findings[unsure[0]] if one.code == Code.UNCERTAIN)
    assert finding.message.startswith("Kept, but not surely nominal: confidence 0.0")
    others = [some for i, some in enumerate(verdicts.findings) if i != unsure[0]]
    assert not any(one.code == Code.UNCERTAIN for some in others for one in some)


def test_the_progress_counts_planted_images_too():
    images, scores = with_planted(1.0)
    counted = list[int]()
    config = ScanConfig(rounds=3)
    judge_dataset(images, [Scripted(scores)], config, progress=counted.append)
    missing = N + Q  # a scripted scorer reports no progress of its own
    assert sum(counted) + missing == progress_total(images, [Scripted(scores)], config)


def real_images(*, planted: bool) -> EmbeddedImages:
    """Return drawn images, one of them odd, and copies of half of them with an odd patch."""
    images = drawn(20, planted=(4,))
    rng = np.random.default_rng(5)
    copies = [images[i].copy() for i in range(0, 20, 2)]
    for copy in copies:
        copy[rng.integers(len(copy))] += (3 * rng.normal(size=copy.shape[1])).astype(np.float16)
    real, copied = embedded(images), embedded(copies)
    source = PatchesInMemory(copies)
    both = PlantedImages(
        embeddings=replace(copied, images=np.arange(0, 20, 2), source=source),
        base=np.arange(0, 20, 2),
        defects=DEFECTS[:10],
    )
    return replace(embedded_images(real), planted=both if planted else None)


def test_real_images_score_the_same_with_and_without_planted_ones():
    config = ScanConfig(rounds=1)
    without, with_them = (judge_set(real_images(planted=planted), [Neighbours()], config) for planted in (False, True))
    np.testing.assert_allclose(with_them.views[0].values, without.views[0].values, rtol=1e-5)
    np.testing.assert_allclose(with_them.joined.values, without.joined.values, rtol=1e-5)
    assert (with_them.views[0].neighbours == without.views[0].neighbours).all()
    ordinary = with_them.joined.values[[0, 2, 6, 8]]
    assert (with_them.power.values > ordinary.max()).mean() > 0.5


def test_the_planted_copies_of_a_nominal_set_go_with_its_images():
    images, _ = with_planted(1.0)
    rows = np.array([4, 1, 10, 59])
    part = images.subset(rows)
    assert part.planted.base.tolist() == [0, 2]
    assert part.planted.defects == (DEFECTS[2], DEFECTS[5])
    assert part.planted.embeddings.images.tolist() == [N + 2, N + 5]
    assert len(images.subset(np.array([1, 3])).planted) == 0


def test_a_set_without_a_planted_copy_is_judged_by_its_scores_alone():
    images, scores = with_planted(1.0, tops=(3,))
    empty = replace(images, planted=images.subset(np.array([1])).planted)
    found = judge_set(empty, [Scripted(scores[:N])], ScanConfig())
    assert found.threshold.lift is None
    assert len(found.power.found) == 0
    assert np.flatnonzero(found.rejected).tolist() == [3]
