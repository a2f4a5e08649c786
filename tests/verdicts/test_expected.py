"""The contamination that the user expects, as a prior of the mixture's share."""

import numpy as np
import pytest

from curate.config import MOST_EXPECTED, ScanConfig, share_range
from curate.errors import UsageError
from curate.pipeline import configure
from curate.verdicts.mixture import CLEAN_PRIOR, EXPECTED_MASS, SHARES, _log_prior, fit_mixture
from curate.verdicts.reference import SideInformation
from curate.verdicts.threshold import find_threshold
from tests.verdicts.test_threshold import contaminated


def unclear(seed: int) -> np.ndarray:
    """Return scores of which it cannot be told how many are anomalous."""
    rng = np.random.default_rng(seed)
    return np.sort(rng.normal(0, 1, 100) + (np.arange(100) < 15) * rng.gamma(3, 1, 100))


def test_the_contamination_moves_towards_what_is_expected_the_more_the_narrower_it_is():
    ranges = [None, (0.0, 0.6), (0.05, 0.35), (0.1, 0.3), (0.15, 0.25)]
    found = [
        np.mean([fit_mixture(unclear(seed), 1e-9, expected=one).contamination for seed in range(5)]) for one in ranges
    ]
    assert found == sorted(found)
    assert found[0] < 0.05
    assert 0.15 < found[-1] < 0.2


def test_few_are_expected_where_few_are_expected():
    plain, few = (fit_mixture(unclear(0), 1e-9, expected=one).contamination for one in (None, (0.0, 0.02)))
    assert few < plain
    assert few < 0.05


def test_scores_that_leave_no_doubt_outweigh_what_is_expected():
    scores, _ = contaminated(0.3, 0)
    found = find_threshold(scores, side=SideInformation(expected=(0.001, 0.01)))
    assert abs(found.contamination - 0.3) < 0.1


@pytest.mark.parametrize("expected", [(0.01, 0.05), (0.0, 0.02), (0.05, 0.0501), (0.001, 0.6), (0.599, 0.6)])
def test_nine_tenths_of_the_prior_lie_within_the_range_and_the_rest_is_as_before(expected: tuple[float, float]):
    prior, plain = np.exp(_log_prior(expected)), np.exp(_log_prior())
    assert prior.sum() == pytest.approx(1)
    added = prior - (1 - EXPECTED_MASS) * plain
    assert added.sum() == pytest.approx(EXPECTED_MASS)
    steps = np.flatnonzero(added > 1e-9)
    assert SHARES[max(steps[0] - 1, 0)] <= expected[0]
    assert SHARES[min(steps[-1] + 1, len(SHARES) - 1)] >= expected[1]
    assert plain[0] == pytest.approx(CLEAN_PRIOR)


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("1%-5%", (0.01, 0.05)),
        ("1-5%", (0.01, 0.05)),
        (" 0.01 - 0.05 ", (0.01, 0.05)),
        (".5%–2.5 %", (0.005, 0.025)),
        ("0-60%", (0, 0.6)),
    ],
)
def test_a_range_is_read_in_percent_or_in_shares(text: str, shares: tuple[float, float]):
    assert share_range(text) == pytest.approx(shares)
    assert ScanConfig(expected=text).expected_shares == pytest.approx(shares)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("5%", "write LOW-HIGH"),
        ("1%-5", "write LOW-HIGH"),
        ("", "write LOW-HIGH"),
        ("a-b", "write LOW-HIGH"),
        ("-1%-5%", "write LOW-HIGH"),
        ("1e-3-0.1", "write LOW-HIGH"),
        ("5%-1%", "the first share must be below the second"),
        ("0.1-0.1", "the first share must be below the second"),
        ("1-5", "at most 60% can be expected"),
        ("10%-90%", "at most 60% can be expected"),
        ("1%-" + "9" * 400 + "%", "at most 60% can be expected"),
    ],
)
def test_what_is_no_range_is_answered_in_one_sentence(text: str, why: str):
    with pytest.raises(UsageError, match=f"^--expected .*{why}") as caught:
        configure({"expected": text})
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_what_can_be_expected_ends_where_the_model_does():
    assert SHARES[-1] == MOST_EXPECTED
