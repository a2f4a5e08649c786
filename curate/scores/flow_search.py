"""A Bayesian search over the rates and penalties of `flow`, judged by training images that were held back.

RAD (arXiv 2508.17789) names Bayesian optimisation as a keyword only; what is searched, and by what, is our decision.
No label of a test set is ever looked at: a trial's value is the likelihood of held-back training images alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from curate.errors import CouldNotFinish
from curate.records import Embeddings, IntArray, Progress, no_progress
from curate.scores.flow import RAD, Flow, FlowConfig


def search(
    embeddings: Embeddings, kin: IntArray, *, trials: int, start: FlowConfig = RAD, progress: Progress = no_progress
) -> tuple[FlowConfig, float]:
    """Search inner and outer rate (alpha, beta), lambda_0 and gamma.

    Args:
        embeddings: of the training images, N of them.
        kin: (N,) see `Scorer.score`.
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
        value = held_back_nll(embeddings, kin, replace(start, **_suggested(trial.suggest_float)))
        progress(1)
        return value

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=start.seed))
    study.enqueue_trial({name: getattr(start, name) for name in ("inner_rate", "outer_rate", "l2", "l2_gain")})
    study.optimize(objective, n_trials=trials)
    return replace(start, **study.best_params), float(study.best_value)


def held_back_nll(embeddings: Embeddings, kin: IntArray, config: FlowConfig) -> float:
    """Return the mean over folds of the likelihood that training kept, negative, in nats per dimension.

    Raises:
        CouldNotFinish: the set is too small for a flow, or `config` has no coupling blocks.
    """
    flows = Flow(config=config).score(embeddings, kin).facts.get("flows", [])
    values = [min(told["held_back_nats_per_dim"]) for told in flows if told]
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
