"""Trusted images: always learnt from, never flagged, scored as all others, and what lies outside is never spoken of."""

from dataclasses import replace

import numpy as np
import pytest

from curate.choices import PValues
from curate.config import ScanConfig
from curate.records import EmbeddedImages, Embeddings, MetaSet, Verdict
from curate.refinement.judge_dataset import judge_dataset
from curate.scores.base import NO_GUIDE, Guide
from curate.verdicts.judge import JudgedImages, Verdicts, decide
from curate.verdicts.judged_set import LabelChecks, NearOtherClass
from curate.verdicts.rejection_cap import RejectionCap
from tests.verdicts.test_judge import Drawn, embedded_images, embeddings_of, lit, verdicts_of

LISTED, OUTSIDE = 40, 200


class Watched(Drawn):
    """Remembers what it may learn from; names every image as near, and the last ones as the meta-set."""

    def __init__(self, maps: np.ndarray) -> None:
        super().__init__(maps)
        self.guides = list[Guide]()

    def score(self, embeddings: Embeddings, groups: np.ndarray, *, guide: Guide = NO_GUIDE, progress=lambda _: None):
        self.guides.append(guide)
        scores = super().score(embeddings, groups, guide=guide, progress=progress)
        count = len(embeddings)
        near = (np.arange(count)[:, None] - np.arange(1, 4)) % count
        return replace(scores, neighbours=near, meta_set=MetaSet(epochs=(1,), members=(np.arange(count - 3, count),)))


def drawn(listed: int = LISTED, outside: int = OUTSIDE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(1, 0.05, (listed + outside, 4, 4))


def judged(
    maps: np.ndarray, trusted: np.ndarray, *, outside: int = 0, labels=None, optics=None, **config
) -> tuple[Verdicts, JudgedImages, Watched]:
    pooled = np.random.default_rng(1).normal(size=(len(maps), 3))
    images = embedded_images(embeddings_of(pooled), labels, optics=optics)
    images = replace(images, trusted=trusted, outside=outside)
    scorer = Watched(maps)
    found = judge_dataset(images, [scorer], ScanConfig(**config))
    listed = images.subset(np.arange(images.listed))
    return verdicts_of(listed, found), found, scorer


def outside_of(maps: np.ndarray, listed: int = LISTED) -> np.ndarray:
    return np.arange(len(maps)) >= listed


def test_a_trusted_image_is_kept_and_learnt_from_whatever_it_scores_and_it_is_said():
    maps = drawn(240, 0)
    maps[[*range(30), 200], 0, 3] = 9
    verdicts, found, scorer = judged(maps, np.arange(240) >= 120, rounds=3)
    assert np.flatnonzero(verdicts.flagged).tolist() == list(range(30))
    assert verdicts.verdict[200] is Verdict.KEEP
    assert [finding.code for finding in verdicts.findings[200]] == ["SET008"]
    assert verdicts.findings[200][0].message.startswith("Trusted, and kept for that, though its score is ")
    assert all(guide.nominal[120:].all() for guide in scorer.guides)
    assert np.flatnonzero(~scorer.guides[-1].nominal).tolist() == list(range(30))
    assert not found.judged[0].rejected[200]
    assert verdicts.uncertain[200]  # kept, though more likely anomalous
    assert not (verdicts.uncertain & verdicts.flagged)[120:].any()


def test_a_trusted_image_in_another_light_or_of_another_class_is_not_flagged_either():
    maps, optics = drawn(40, 0), lit((5, 30))
    verdicts, *_ = judged(maps, np.arange(40) >= 20, optics=optics, rounds=1)
    assert np.flatnonzero(verdicts.flagged).tolist() == [5]
    assert verdicts.verdict[30] is Verdict.KEEP


def test_a_trusted_image_whose_label_is_contradicted_is_not_flagged_either():
    _, found, _ = judged(drawn(40, 0), np.arange(40) >= 20, rounds=1)
    near = NearOtherClass(nominal_set="b", label="b", neighbours=5, anomalous=False, votes=0.9)
    checks, cap = LabelChecks(near={5: near, 30: near}), RejectionCap(max_share=0.5, min_keep=8)
    verdicts = decide(found.judged[0], found.sets[0], checks, duplicates=np.arange(40), cap=cap)
    assert np.flatnonzero(verdicts.flagged).tolist() == [5]
    assert verdicts.verdict[30] is Verdict.KEEP
    assert verdicts.suggested_label[30] == ""


def test_images_outside_are_learnt_from_and_nothing_is_said_about_them():
    maps = drawn()
    maps[[*range(10), LISTED + 7], 0, 3] = 9
    verdicts, found, scorer = judged(maps, outside_of(maps), outside=OUTSIDE, rounds=3, fdr=0.05)
    (judged_set,) = found.judged
    assert np.flatnonzero(verdicts.flagged).tolist() == list(range(10))
    assert {len(column) for column in (verdicts.verdict, verdicts.significance.p_value, judged_set.relative)} == {
        LISTED
    }
    assert all(len(guide.nominal) == LISTED + OUTSIDE and guide.nominal[LISTED:].all() for guide in scorer.guides)
    assert [(one.images, one.kept) for one in judged_set.rounds] == [(LISTED, LISTED - 10)] * len(judged_set.rounds)
    for view in (judged_set.joined, *judged_set.views):
        assert len(view.values) == len(view.maps) == len(view.neighbours) == LISTED
        assert view.neighbours.max() < LISTED
        assert (np.diff((view.neighbours < 0).astype(int), axis=1) >= 0).all()  # those that are left stand first
        assert view.meta_set.final.tolist() == []
    assert found.sets[0].rows.tolist() == list(range(LISTED))


def test_p_values_are_conformal_where_twenty_are_trusted_and_model_based_below():
    maps = drawn(60, 20)
    for outside, kind in ((20, PValues.CONFORMAL), (19, PValues.MODEL_BASED)):
        some = maps[: 60 + outside]
        verdicts, found, _ = judged(some, outside_of(some, 60), outside=outside, rounds=1)
        (judged_set,) = found.judged
        assert judged_set.p_values is kind
        notes = [finding for findings in verdicts.findings for finding in findings if finding.code == "SET007"]
        assert len(notes) == (0 if kind is PValues.CONFORMAL else 60)
        if kind is PValues.CONFORMAL:
            reference = maps[60:].max(axis=(1, 2))
            as_high = (reference >= maps[:60].max(axis=(1, 2))[:, None]).sum(axis=1)
            assert verdicts.significance.p_value == pytest.approx((1 + as_high) / 21)
    assert notes[0].message == (
        "19 trusted images are of this nominal set, each part counted once, and 20 are needed, "
        "so p- and q-values are model-based"
    )


def test_the_reference_of_an_image_is_of_its_own_label():
    maps = drawn(80, 60)
    maps[40:80] *= 10
    maps[80:] *= 10  # the trusted images are of the second class
    maps[[3, 43], 0, 3] = 5, 50
    labels = ["a"] * 40 + ["b"] * 100
    verdicts, found, _ = judged(maps, outside_of(maps, 80), outside=60, labels=labels, rounds=1)
    assert {one.label: result.p_values for one, result in zip(found.sets, found.judged, strict=True)} == {
        "a": PValues.MODEL_BASED,
        "b": PValues.CONFORMAL,
    }
    bounds = verdicts.significance.fdr_bound
    assert np.isnan(bounds[:40]).all()
    assert (bounds[40:80] <= 1).all()
    assert verdicts.findings[0][-1].message.startswith("0 trusted images are of this nominal set")


def test_images_outside_of_which_nothing_in_the_dataset_is_alike_make_no_set():
    pooled = np.random.default_rng(1).normal(size=(120, 24))
    pooled[60:, 0] += 400
    images: EmbeddedImages = replace(embedded_images(embeddings_of(pooled)), trusted=np.arange(120) >= 60, outside=60)
    found = judge_dataset(images, [Drawn(drawn(60, 60))], ScanConfig())
    assert [len(one.rows) for one in found.sets] == [60]


def test_a_set_that_is_too_small_to_be_judged_is_not_said_to_lack_trusted_images():
    maps = drawn(5, 60)
    verdicts, _, _ = judged(maps, outside_of(maps, 5), outside=60, rounds=1)
    assert {finding.code for findings in verdicts.findings for finding in findings} == {"SET001"}


def test_without_trusted_images_all_is_as_it_was():
    maps = drawn(40, 0)
    maps[3, 0, 3] = 9
    plain, _, _ = judged(maps, None)
    assert np.flatnonzero(plain.flagged).tolist() == [3]
    assert np.isnan(plain.significance.fdr_bound).all()
    assert {finding.code for findings in plain.findings for finding in findings} == {"LBL001"}


def test_the_order_of_the_images_does_not_matter():
    maps = drawn(240, 0)
    maps[:8, 0, 3] = 9
    trusted, order = np.arange(240) >= 60, np.random.default_rng(4).permutation(240)
    plain, *_ = judged(maps, trusted, rounds=2)
    moved, *_ = judged(maps[order], trusted[order], rounds=2)
    for name in ("p_value", "q_value", "fdr_bound"):
        assert (getattr(moved.significance, name) == getattr(plain.significance, name)[order]).all()
    assert moved.verdict == tuple(plain.verdict[i] for i in order)
