"""The search over the settings of `flow`."""

from dataclasses import replace

import numpy as np
import pytest
from test_flow import QUICK, drawn, embedded

from curate.errors import CouldNotFinish
from curate.scores import flow_search
from curate.scores.by_label import score_by_label
from curate.scores.flow import Flow, FlowConfig
from curate.scores.flow_search import held_back_nll, search

START = replace(QUICK, steps=6)
IMAGES, KIN, ONE_LABEL = embedded(drawn(20)), np.arange(20), [""] * 20


def nll_of(config: FlowConfig, labels: list[str]) -> float:
    return held_back_nll(score_by_label(Flow(config=config), IMAGES, KIN, labels))


def test_the_best_is_no_worse_than_the_start_and_repeats():
    best, value = search(IMAGES, KIN, ONE_LABEL, trials=3, start=START)
    assert value == nll_of(best, ONE_LABEL) <= nll_of(START, ONE_LABEL)
    assert search(IMAGES, KIN, ONE_LABEL, trials=3, start=START) == (best, value)


def test_what_was_seen_in_the_first_half_of_the_trials_leads_the_second(monkeypatch):
    def tried(sign: int) -> list[dict[str, float]]:
        seen = []

        def noted(scores):
            seen.append(scores.facts[""]["settings"])
            return sign * held_back_nll(scores)

        monkeypatch.setattr(flow_search, "held_back_nll", noted)
        search(IMAGES, KIN, ONE_LABEL, trials=6, start=START)
        return seen

    likeliest, unlikeliest = tried(1), tried(-1)
    assert likeliest[:3] == unlikeliest[:3]
    assert all(one != other for one, other in zip(likeliest[3:], unlikeliest[3:], strict=True))


def test_flows_of_several_labels_are_judged_together():
    halves, rows = ["a", "b"] * 10, np.arange(20)
    alone = [Flow(config=START).score(IMAGES.subset(rows[at::2]), KIN[at::2]) for at in (0, 1)]
    told = [one["held_back_nats_per_dim"] for scores in alone for one in scores.facts["flows"] if one]
    assert told
    assert search(IMAGES, KIN, halves, trials=1, start=START) == (START, np.mean([min(values) for values in told]))


def test_settings_that_train_nothing_are_refused():
    with pytest.raises(CouldNotFinish, match="nothing was trained"):
        nll_of(FlowConfig(), ONE_LABEL)
