"""The search over the settings of `flow`."""

from dataclasses import replace

import numpy as np
import pytest
from test_flow import QUICK, drawn, embedded

from curate.errors import CouldNotFinish
from curate.scores.flow import FlowConfig
from curate.scores.flow_search import held_back_nll, search


def test_the_best_is_no_worse_than_the_start_and_repeats():
    images, kin = embedded(drawn(20)), np.arange(20)
    start = replace(QUICK, steps=6)
    best, value = search(images, kin, trials=3, start=start)
    assert value <= held_back_nll(images, kin, start)
    assert search(images, kin, trials=3, start=start) == (best, value)


def test_settings_that_train_nothing_are_refused():
    with pytest.raises(CouldNotFinish, match="nothing was trained"):
        held_back_nll(embedded(drawn(20)), np.arange(20), FlowConfig())
