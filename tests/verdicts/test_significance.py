"""p, q and confidence."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from curate.verdicts.significance import significance
from curate.verdicts.threshold import find_threshold
from tests.verdicts.test_threshold import contaminated


@pytest.mark.parametrize("share", [0.05, 0.2, 0.4])
@pytest.mark.parametrize("seed", [0, 1])
def test_q_values_reject_what_the_step_up_procedure_rejects(seed: int, share: float):
    """Benjamini and Hochberg 1995, section 3.1."""
    scores, _ = contaminated(share, seed)
    sure = significance(scores, find_threshold(scores))
    p = sure.p_value.astype(np.float64)
    ordered = np.sort(p)
    for level in (0.01, 0.05, 0.1, 0.2, 0.5):
        passed = np.flatnonzero(ordered <= level * np.arange(1, len(p) + 1) / len(p) * (1 - 1e-6))
        limit = ordered[passed[-1]] if len(passed) else -1.0
        assert ((p <= limit) <= (sure.q_value <= level)).all()


def test_q_values_keep_the_order_and_stay_within_0_and_1():
    scores, _ = contaminated(0.2, 0)
    sure = significance(scores, find_threshold(scores))
    assert (np.diff(sure.q_value[np.argsort(sure.p_value)]) >= 0).all()
    assert (sure.q_value >= sure.p_value * (1 - 1e-6)).all()
    assert (sure.q_value <= 1).all()


def test_what_is_anomalous_is_hardly_likely_to_be_nominal():
    scores, truth = contaminated(0.2, 0)
    sure = significance(scores, find_threshold(scores))
    assert (sure.confidence[truth] < 0.5).all()
    assert (sure.q_value[truth] < 0.1).all()


def test_where_nothing_can_be_judged_nothing_speaks_against_an_image():
    scores = np.ones(5, dtype=np.float32)
    sure = significance(scores, find_threshold(scores))
    for values in (sure.p_value, sure.q_value, sure.confidence):
        assert_array_equal(values, np.ones(5))
