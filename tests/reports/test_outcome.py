"""What an audit tells of the kept images."""

from typing import Any, cast

import numpy as np

from curate.findings import APART, NOT_JUDGED, OTHERWISE
from curate.records import Finding, Verdict
from curate.reports.maps import KEPT_MAPS
from curate.reports.outcome import Outcome
from curate.reports.pictures import to_draw
from curate.verdicts.judge import Verdicts
from curate.verdicts.significance import Significance
from tests.verdicts.test_judge import embeddings_of

N = 2 * KEPT_MAPS + 30


def outcome(codes: dict[int, str], *, flagged: int = 0, copies: int = 0) -> Outcome:
    """Return an outcome of N images: image 0 has the lowest score; the last are flagged, the first copies of one."""
    none = np.zeros(N, dtype=np.float32)
    verdicts = Verdicts(
        verdict=(Verdict.KEEP,) * N,
        anomaly_score=np.arange(N, dtype=np.float32),
        flagged=np.arange(N) >= N - flagged,
        significance=Significance(p_value=none, q_value=none, confidence=none),
        suggested_label=("",) * N,
        findings=tuple((Finding(code=codes[i], message="told"),) if i in codes else () for i in range(N)),
    )
    duplicates = np.maximum(np.arange(N), copies)
    unused = cast("Any", None)  # of the outcome, what is asked for here knows verdicts and copies alone
    return Outcome(
        listing=unused,
        facts=(),
        duplicates=duplicates,
        embeddings=embeddings_of(np.zeros((N, 3))),
        refined=unused,
        verdicts=verdicts,
    )


def test_the_kept_images_of_the_highest_scores_are_looked_at_highest_first():
    assert outcome({}, flagged=10).kept_to_look_at == list(range(N - 11, N - 11 - KEPT_MAPS, -1))


def test_what_is_odd_by_its_light_alone_has_no_map():
    assert to_draw(outcome({N - 1: OTHERWISE, N - 2: "LBL001", N - 3: "OOD001"}, flagged=3)) == [N - 2, N - 3]


def test_images_of_a_group_apart_are_looked_at_whatever_their_scores_unless_they_are_flagged():
    apart = [0, 2, N - 2, N - 1]  # the first has a copy; the last but one has a high score, and is there once
    found = outcome(dict.fromkeys(apart, APART), flagged=1, copies=1).kept_to_look_at
    assert found[KEPT_MAPS:] == [0, 2]
    assert found.count(N - 2) == 1
    assert N - 1 not in found


def test_of_groups_apart_as_many_are_looked_at_as_of_the_highest_scores():
    assert len(outcome(dict.fromkeys(range(KEPT_MAPS + 5), APART)).kept_to_look_at) == 2 * KEPT_MAPS


def test_of_copies_one_is_looked_at_for_its_score():
    found = outcome({}, copies=N - 3).kept_to_look_at
    assert sorted(found) == [0, N - 2, N - 1]


def test_images_of_a_class_that_was_not_judged_are_not_looked_at_for_their_scores():
    assert N - 1 not in outcome({N - 1: NOT_JUDGED}).kept_to_look_at
