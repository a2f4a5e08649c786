"""Which images of a judged dataset are shown with a map."""

from typing import Any, cast

import numpy as np

from curate.audit.judged_dataset import JudgedDataset
from curate.audit.map_renderer import to_draw
from curate.audit.maps import KEPT_MAPS
from curate.findings import Code
from curate.partition.nominal_sets import NominalSet
from curate.records import Finding, Verdict
from curate.verdicts.judge import JudgedImages, Verdicts
from curate.verdicts.judged_set import LabelChecks
from curate.verdicts.significance import Significance
from tests.verdicts.test_judge import embeddings_of

N = 2 * KEPT_MAPS + 30


def dataset(codes: dict[int, str], *, flagged: int = 0, duplicates: int = 0) -> JudgedDataset:
    """Return a dataset of N images: image 0 has the lowest score; the last are flagged, the first copies of one."""
    none = np.zeros(N, dtype=np.float32)
    verdicts = Verdicts(
        verdict=(Verdict.KEEP,) * N,
        anomaly_score=np.arange(N, dtype=np.float32),
        flagged=np.arange(N) >= N - flagged,
        significance=Significance(p_value=none, q_value=none, confidence=none, fdr_bound=none),
        uncertain=np.zeros(N, dtype=np.bool_),
        suggested_label=("",) * N,
        findings=tuple((Finding(code=codes[i], message="noted"),) if i in codes else () for i in range(N)),
    )
    whole = NominalSet(name="", label="", subpopulations=1, rows=np.arange(N), group_sizes=np.zeros(N, dtype=np.int64))
    unused = cast("Any", None)  # what is asked for here needs verdicts and copies alone
    return JudgedDataset(
        listing=unused,
        facts=(),
        duplicates=np.maximum(np.arange(N), duplicates),
        embeddings=embeddings_of(np.zeros((N, 3))),
        images=JudgedImages(sets=(whole,), judged=unused, checks=LabelChecks(), verdicts=(verdicts,)),
    )


def test_the_kept_images_of_the_highest_scores_are_shown_highest_first():
    assert dataset({}, flagged=10).kept_to_review == list(range(N - 11, N - 11 - KEPT_MAPS, -1))


def test_an_acquisition_outlier_has_no_map():
    assert to_draw(dataset({N - 1: Code.ACQUISITION_OUTLIER, N - 2: "LBL001", N - 3: "OOD001"}, flagged=3)) == [
        N - 2,
        N - 3,
    ]


def test_images_of_a_group_apart_are_shown_whatever_their_scores_unless_they_are_flagged():
    apart = [0, 2, N - 2, N - 1]  # the first has a copy; the last but one has a high score, and is there once
    found = dataset(dict.fromkeys(apart, Code.SMALL_GROUP_APART), flagged=1, duplicates=1).kept_to_review
    assert found[KEPT_MAPS:] == [0, 2]
    assert found.count(N - 2) == 1
    assert N - 1 not in found


def test_of_groups_apart_as_many_are_shown_as_of_the_highest_scores():
    assert len(dataset(dict.fromkeys(range(KEPT_MAPS + 5), Code.SMALL_GROUP_APART)).kept_to_review) == 2 * KEPT_MAPS


def test_of_copies_one_is_shown_for_its_score():
    found = dataset({}, duplicates=N - 3).kept_to_review
    assert sorted(found) == [0, N - 2, N - 1]


def test_images_of_a_class_that_was_not_judged_are_not_shown_for_their_scores():
    assert N - 1 not in dataset({N - 1: Code.NOT_JUDGED}).kept_to_review
