"""Verdicts from planted defects, their three constants chosen on all sets but the one that they are judged on.

    python examples/bench/planted_thresholds.py LABELLED_SET... [--shares 0,0.05,0.1,0.4] [--seeds 3] [--offline]

Each set holds good/ and defect/<type>/. The draws are those of `curate bench`, scored in a single pass, so rounds are
not in it. The constants are those of `curate.verdicts.threshold`: `OF_LIFT`, `LEAST_SPREADS`, `ALIKE_BELOW`. The
criterion is the mean over draws of F1 as a share of the F1 with the true number of defects, less 5 times what clean
draws have of false alarms above 2 % in the mean, and 3 times what the worst has above 5 %. Printed by share: F1 and the
mean of the worst three sets, F1 with the true number and the best possible one, false alarms in % of the nominal images
(mean and most), the expected calibration error, and how often the interval of the contamination holds the truth; for
the constants that the other sets chose, and for the scan's own.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curate.bench.draws import draw
from curate.bench.embedder import LabelledSetEmbedder
from curate.bench.sets import read_set
from curate.embeddings.engines.local import Cache
from curate.pipeline import configure, embedded_images, with_planted
from curate.progress import Silent
from curate.refinement.judge_set import judge_set
from curate.scores.base import ScorerContext, make_scorers
from curate.verdicts import threshold as settings
from curate.verdicts.threshold import EVEN, Threshold

IMAGES, TEST_SHARE, BINS = 200, 0.4, 10
CHOICES = tuple(product((0.5, 0.6, 0.7, 0.8, 0.9), (2.5, 3.0, 3.5), (0.5, 0.6, 0.7, 0.8, 1.0)))
OWN = (settings.OF_LIFT, settings.LEAST_SPREADS, settings.ALIKE_BELOW)

Choice = tuple[float, float, float]


@dataclass(frozen=True)
class Figures:
    """Of one draw: see the module; `true_count` is the F1 with the true number of defects, `best` the best one."""

    f1: float
    false_alarms: float
    error: float


@dataclass(frozen=True)
class Drawn:
    """One draw: what the choices lead to, and what does not depend on them."""

    share: float
    by_choice: dict[Choice, Figures]
    true_count: float
    best: float
    covered: bool


def f1_of(flagged: NDArray[np.bool_], wrong: NDArray[np.bool_]) -> float:
    """Return F1, 0-1; 0 where nothing is wrong."""
    return 2 * float((flagged & wrong).sum()) / max(1, int(flagged.sum() + wrong.sum()))


def anomalous(scores: NDArray[np.float64], threshold: Threshold, choice: Choice) -> NDArray[np.float64]:
    """Return (N,) how likely an image of each score is anomalous by a choice of the constants."""
    own = (settings.OF_LIFT, settings.LEAST_SPREADS, settings.ALIKE_BELOW)
    settings.OF_LIFT, settings.LEAST_SPREADS, settings.ALIKE_BELOW = choice
    try:
        return 1 - threshold.confidence(scores)
    finally:
        settings.OF_LIFT, settings.LEAST_SPREADS, settings.ALIKE_BELOW = own


def calibration_error(chance: NDArray[np.float64], wrong: NDArray[np.bool_]) -> float:
    """Return the expected calibration error over ten bins, 0-1."""
    at = np.minimum((BINS * chance).astype(int), BINS - 1)
    gaps = [abs(chance[at == one].mean() - wrong[at == one].mean()) * (at == one).mean() for one in np.unique(at)]
    return float(np.sum(gaps))


def drawn_from(embedder: LabelledSetEmbedder, share: float, seed: int) -> Drawn:
    """Score a draw in a single pass, and judge it by every choice."""
    one = embedder.embed_draw(draw(embedder.source, share, seed, images=IMAGES, test_share=TEST_SHARE))
    config = embedder.config
    images = embedded_images(one.listing, one.facts, one.duplicates, embeddings=one.embeddings, config=config)
    network = (one.backbone, one.settings, Cache(config.cache, one.backbone, one.settings))
    images = with_planted(images, one.facts, config, pixels=one.pixels, network=network, screen=Silent())
    judged = judge_set(images, make_scorers(ScorerContext(config=config)), config)
    scores, wrong = judged.joined.values.astype(np.float64), np.array(one.draw.wrong[one.readable], dtype=np.bool_)
    ranked = np.argsort(-scores, kind="stable")
    firsts = [np.isin(np.arange(len(scores)), ranked[:count]) for count in range(1, len(scores) + 1)]
    by_choice = {}
    for choice in dict.fromkeys((*CHOICES, OWN)):
        chance = anomalous(scores, judged.threshold, choice)
        flagged = chance > 1 - EVEN
        alarms = float((flagged & ~wrong).sum() / max(1, (~wrong).sum()))
        by_choice[choice] = Figures(f1_of(flagged, wrong), alarms, calibration_error(chance, wrong))
    threshold = judged.threshold
    return Drawn(
        share,
        by_choice,
        true_count=f1_of(firsts[wrong.sum() - 1], wrong) if wrong.any() else 0.0,
        best=max(f1_of(first, wrong) for first in firsts),
        covered=threshold.contamination_low <= wrong.mean() <= threshold.contamination_high,
    )


def criterion(draws: Sequence[Drawn], choice: Choice) -> float:
    """Return how good a choice is; see the module."""
    noisy = [one for one in draws if one.share]
    alarms = [one.by_choice[choice].false_alarms for one in draws if not one.share] or [0.0]
    found = np.mean([one.by_choice[choice].f1 / max(one.true_count, 0.2) for one in noisy]) if noisy else 0.0
    return float(found - 5 * max(0.0, np.mean(alarms) - 0.02) - 3 * max(0.0, max(alarms) - 0.05))


def print_table(by_set: dict[str, list[Drawn]], chosen: Callable[[str], Choice], title: str) -> None:
    """Print the figures by share, for the constants that `chosen` returns for each set."""
    print(f"\n{title}\n\n| share | F1 | worst three | true number | best | false alarms | most | ECE | covered |")
    print("|" + " --- |" * 9)
    for share in sorted({one.share for draws in by_set.values() for one in draws}):
        rows, f1s = [], []
        for name, draws in by_set.items():
            of_share = [(one, one.by_choice[chosen(name)]) for one in draws if one.share == share]
            f1s.append(np.mean([figures.f1 for _, figures in of_share]))
            rows += [(o.true_count, o.best, 100 * f.false_alarms, f.error, o.covered) for o, f in of_share]
        count, best, alarms, error, covered = np.mean(np.array(rows, dtype=np.float64), axis=0)
        most = max(row[2] for row in rows)
        head = f"{np.mean(f1s):.2f} | {np.mean(np.sort(f1s)[:3]):.2f} | {count:.2f} | {best:.2f}" if share else "| | |"
        print(f"| {share:g} | {head} | {alarms:.1f} | {most:.1f} | {error:.3f} | {covered:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", type=Path, nargs="+")
    parser.add_argument("--shares", default="0,0.05,0.1,0.2,0.4,0.5")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--offline", action="store_true")
    args = parser.parse_args()
    shares = [float(part) for part in args.shares.split(",")]
    by_set: dict[str, list[Drawn]] = {}
    for folder in args.sets:
        embedder = LabelledSetEmbedder(
            source=read_set(folder), config=configure({"offline": args.offline, "rounds": 1})
        )
        by_set[folder.name] = [drawn_from(embedder, share, seed) for share in shares for seed in range(args.seeds)]
    chosen = {}
    for name in by_set:
        others = [one for other, draws in by_set.items() if other != name for one in draws]
        chosen[name] = max(CHOICES, key=lambda choice: criterion(others, choice)) if others else OWN
        print(f"{name}: the other sets choose OF_LIFT, LEAST_SPREADS, ALIKE_BELOW = {chosen[name]}")
    print_table(by_set, chosen.__getitem__, "Chosen without the set")
    print_table(by_set, lambda _: OWN, f"The scan's own, {OWN}")


if __name__ == "__main__":
    main()
