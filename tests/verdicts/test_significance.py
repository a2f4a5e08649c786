"""p, q and confidence."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from curate.verdicts.fence import Method
from curate.verdicts.rounds import over_fence
from curate.verdicts.significance import q_values, significance
from tests.verdicts.test_fence import contaminated


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.floats(0.01, 0.5))
def test_q_values_reject_what_the_step_up_procedure_rejects(p: list[float], level: float):
    ordered = np.sort(p)
    passed = np.flatnonzero(ordered <= level * np.arange(1, len(p) + 1) / len(p) * (1 - 1e-12))
    threshold = ordered[passed[-1]] if len(passed) else -1.0
    assert ((np.array(p) <= threshold) <= (q_values(np.array(p)) <= level)).all()


def test_q_values_keep_the_order_and_stay_within_0_and_1():
    p = np.random.default_rng(0).random(50)
    q = q_values(p)
    assert (np.diff(q[np.argsort(p)]) >= 0).all()
    assert (q >= p - 1e-12).all()
    assert (q <= 1).all()


def test_each_class_is_weighed_against_its_own_images():
    scores, truth = contaminated(0.2, 0)
    both = np.concatenate([scores, 100 * scores])
    labels = ["a"] * len(scores) + ["b"] * len(scores)
    fences, _ = over_fence(both, labels, np.arange(len(both)), Method.MIXTURE)
    sure = significance(both, labels, fences)
    half = len(scores)
    assert_allclose(sure.confidence[:half], sure.confidence[half:], atol=1e-3)
    assert (sure.confidence[:half][truth] < 0.5).all()
    assert (sure.q_value[:half][truth] < 0.1).all()


def test_where_nothing_can_be_judged_nothing_speaks_against_an_image():
    scores = np.ones(5, dtype=np.float32)
    fences, _ = over_fence(scores, [""] * 5, np.arange(5), Method.MIXTURE)
    sure = significance(scores, [""] * 5, fences)
    for values in (sure.p_value, sure.q_value, sure.confidence):
        assert_array_equal(values, np.ones(5))
