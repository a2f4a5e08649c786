"""A Bayesian search over the rates and penalties of `flow`, judged by training images that were held back.

RAD (arXiv 2508.17789) names Bayesian optimisation as a keyword only; what is searched, and by what, is our decision.
No label of a test set is ever looked at: a trial's value is the likelihood of held-back training images alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from curate.errors import CouldNotFinish
from curate.records import Embeddings, IntArray, Progress, Scores, no_progress
from curate.scores.by_label import score_by_label
from curate.scores.flow import RAD, Flow, FlowConfig

SEARCHED = ("inner_rate", "outer_rate", "l2", "l2_gain")
"""alpha, beta, lambda_0 and gamma, as `FlowConfig` names them."""

AT_RANDOM = 10
"""The first so many trials, half of them at most, are drawn at random; optuna's own would be ten of any number."""


def search(
    embeddings: Embeddings,
    kin: IntArray,
    labels: Sequence[str],
    *,
    trials: int,
    start: FlowConfig = RAD,
    progress: Progress = no_progress,
) -> tuple[FlowConfig, float]:
    """Search inner and outer rate (alpha, beta), lambda_0 and gamma.

    A set of several labels has a flow each, and one setting for them all, as in a scan.

    Args:
        embeddings: of the training images, N of them.
        kin: (N,) see `Scorer.score`.
        labels: (N,) see `score_by_label`.
        trials: how many settings are tried, `start` first.
        start: all other settings; it trains coupling blocks.
        progress: called with 1 after each trial.

    Returns:
        The best settings, and their held-back negative log-likelihood, nats per dimension of the whitened descriptors.

    Raises:
        CouldNotFinish: optuna is not installed, or the set is too small for a flow.
    """
    try:
        import optuna
    except ImportError as error:
        raise CouldNotFinish("optuna is not installed: install curate[bench]") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def objective(trial: Any) -> float:
        flow = Flow(config=replace(start, **_suggested(trial.suggest_float)))
        value = held_back_nll(score_by_label(flow, embeddings, kin, labels))
        progress(1)
        return value

    sampler = optuna.samplers.TPESampler(n_startup_trials=min(AT_RANDOM, trials // 2), seed=start.seed)
    study = optuna.create_study(sampler=sampler)
    study.enqueue_trial({name: getattr(start, name) for name in SEARCHED})
    study.optimize(objective, n_trials=trials)
    return replace(start, **study.best_params), float(study.best_value)


def held_back_nll(scores: Scores) -> float:
    """Return the mean over labels and folds of the likelihood that training kept, negative, in nats per dimension.

    Args:
        scores: of `flow`, label by label.

    Raises:
        CouldNotFinish: the set was too small for a flow, or the settings have no coupling blocks.
    """
    flows = [told for facts in scores.facts.values() for told in facts.get("flows", []) if told]
    values = [min(told["held_back_nats_per_dim"]) for told in flows]
    if not values:
        raise CouldNotFinish("flow: nothing was trained: the set is too small, or the settings have no coupling blocks")
    return float(np.mean(values))


def _suggested(suggest: Callable[..., float]) -> dict[str, Any]:
    return {
        "inner_rate": suggest("inner_rate", 1e-3, 0.2, log=True),
        "outer_rate": suggest("outer_rate", 1e-4, 1e-2, log=True),
        "l2": suggest("l2", 1e-4, 1.0, log=True),
        "l2_gain": suggest("l2_gain", 0.0, 2.0),
    }
