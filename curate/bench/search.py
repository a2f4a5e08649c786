"""What a search over the settings of `flow` finds on a draw, and what that is worth in finding the noise.

The search sees the draw's images as a user has them, without the truth; start and best are ranked against it after.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

from curate.bench import measures
from curate.bench.road import DrawnSet
from curate.config import ScanConfig
from curate.errors import UsageError
from curate.scores.by_label import score_by_label
from curate.scores.flow import RAD, Flow, FlowConfig
from curate.scores.flow_search import SEARCHED, held_back_nll, search

SEARCH = "search"
FEWEST_TRIALS = 2


def check_search(trials: int) -> None:
    """Refuse a search that cannot be; 0 trials are none.

    Raises:
        UsageError: too few trials, or optuna is not installed.
    """
    if trials and trials < FEWEST_TRIALS:
        raise UsageError(
            f"--search {trials}: a search takes {FEWEST_TRIALS} trials or more (the first is its start), or 0 for none"
        )
    if trials and find_spec("optuna") is None:
        raise UsageError("--search: optuna is not installed: pip install 'curate[bench]', or leave --search out")


def start_of(config: ScanConfig) -> FlowConfig:
    """Return the settings that a search starts from: the default has no coupling blocks, so nothing to train."""
    return replace(RAD, seed=config.seed)


def run_search(drawn: DrawnSet, start: FlowConfig, trials: int) -> dict[str, measures.Figures]:
    """Search on a draw; return settings, held-back likelihood and ranking of "start" and "best".

    Raises:
        CouldNotFinish: the draw is too small for a flow.
    """
    images, kin, labels = drawn.embeddings, drawn.kin, drawn.labels
    best, _ = search(images, kin, labels, trials=trials, start=start)
    figures: dict[str, measures.Figures] = {"": {"trials": trials}}
    for view, settings in (("start", start), ("best", best)):
        scores = score_by_label(Flow(config=settings), images, kin, labels)
        figures[view] = {
            **{name: getattr(settings, name) for name in SEARCHED},
            "held_back_nats_per_dim": held_back_nll(scores),
            **measures.ranking(drawn.draw.wrong[drawn.readable], scores.values),
        }
    return figures
