"""Figures keep their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from curate.bench import measures
from curate.bench.plots import reliability_points

WRONG = np.array([0, 0, 0, 0, 0, 0, 0, 0, 1, 1], dtype=bool)


def test_a_perfect_ranking_has_every_figure_at_its_best():
    found = measures.ranking(WRONG, np.arange(10.0))
    assert found == {"auroc": 1.0, "ap": 1.0, "precision_at_5": 1.0, "precision_at_10": 1.0, "precision_at_20": 1.0}


def test_expected_precision_is_what_the_confidence_of_the_highest_scores_says():
    confidence = np.array([0.9] * 8 + [0.3, 0.1])
    found = measures.expected_precision(np.arange(10.0), confidence)
    assert found == pytest.approx(
        {"expected_precision_at_5": 0.9, "expected_precision_at_10": 0.9, "expected_precision_at_20": 0.8}
    )


def test_where_nothing_is_wrong_there_is_no_ranking_but_there_are_false_alarms():
    none = np.zeros(4, dtype=bool)
    assert measures.ranking(none, np.arange(4.0)) == {}
    assert measures.verdicts(none, np.array([True, False, False, False])) == {"flagged": 1, "false_alarm": 0.25}


def test_verdicts_count_hits_and_alarms():
    flagged = np.zeros(10, dtype=bool)
    flagged[[0, 8]] = True
    found = measures.verdicts(WRONG, flagged)
    assert (found["precision"], found["recall"], found["f1"], found["false_alarm"]) == (0.5, 0.5, 0.5, 0.125)


def test_a_confidence_that_keeps_its_word_has_no_error():
    wrong = np.array([True] * 2 + [False] * 8)
    assert measures.calibration_error(wrong, np.full(10, 0.8)) == pytest.approx(0)
    assert measures.calibration_error(wrong, np.full(10, 1.0)) == pytest.approx(0.2)


def test_a_reliability_diagram_says_of_each_bin_how_many_how_sure_and_how_many_of_them_are_nominal():
    wrong, confidence = np.array([True, True, False, False]), np.array([0.02, 0.04, 0.06, 1.0])
    assert measures.reliability(wrong, confidence) == pytest.approx(
        {"images_0": 3, "confidence_0": 0.04, "nominal_0": 1 / 3, "images_9": 1, "confidence_9": 1, "nominal_9": 1}
    )


def test_diagrams_of_several_draws_are_pooled_image_by_image():
    def rows(seed: int, told: dict[str, float]) -> list[dict[str, object]]:
        known = {"dataset": "plates", "share": 0.1, "seed": seed}
        return [known | {"figure": name, "value": value} for name, value in told.items()]

    one = measures.reliability(np.array([True, False, False]), np.array([0.96, 0.96, 0.96]))
    other = measures.reliability(np.array([True, False]), np.array([0.92, 0.2]))
    assert reliability_points(rows(0, one) + rows(1, other)) == [
        pytest.approx((0.2, 1, 1)),
        pytest.approx(((3 * 0.96 + 0.92) / 4, 2 / 4, 4)),
    ]


def test_realised_false_discovery_is_the_share_of_false_ones_among_the_flagged():
    found = measures.discovery(WRONG, np.array([0.05] + [0.5] * 7 + [0.01, 0.1]))
    assert found == {"fdr": pytest.approx(1 / 3), "fdr_flagged": 3.0, "fdr_recall": 1.0}
    assert measures.discovery(WRONG, np.ones(10))["fdr"] == 0


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=4, max_size=60))
def test_auroc_and_average_precision_are_those_of_scikit_learn_with_ties(pairs):
    truth = np.array([True, False] + [wrong for wrong, _ in pairs])
    scores = np.array([3, 3] + [score for _, score in pairs], dtype=np.float32)
    assert measures.rank_auroc(truth, scores) == pytest.approx(roc_auc_score(truth, scores))
    assert measures.average_precision(truth, scores) == pytest.approx(average_precision_score(truth, scores))


def test_a_map_that_is_its_mask_has_full_pixel_figures_and_a_reversed_one_none():
    mask = np.zeros((20, 20), dtype=bool)
    mask[3:6, 4:9] = mask[12:15, 12:14] = True
    noise = np.linspace(0, 0.1, 400, dtype=np.float32).reshape(20, 20)
    found = measures.pixels([mask + noise], [mask])
    assert found["pixel_auroc"] == 1
    assert found["pro"] == pytest.approx(1)
    assert measures.pixels([noise - mask], [mask])["pro"] == 0


def test_a_region_that_is_missed_costs_its_share_of_the_overlap_however_small_it_is():
    mask = np.zeros((40, 40), dtype=bool)
    mask[:10, :10] = mask[30, 30] = True
    scores = np.linspace(0, 0.1, 1600, dtype=np.float32).reshape(40, 40)
    scores[:10, :10] = 1
    scores[30, 30] = -1
    assert measures.pixels([scores], [mask])["pro"] == pytest.approx(0.5)
