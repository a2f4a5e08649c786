"""Choose what is joined, and how, on all sets but one; judge it on that one; for each set in turn.

    python examples/bench/leave_one_out.py LABELLED_SET... [--shares 0.1,0.4] [--seeds 3] [--backbone NAME] [--offline]

Each set holds good/ and defect/<type>/. The draws are those of `curate bench`, the views those of a scan in a single
pass. What is chosen: each view's own weight in the joined score (`curate.scorers`), and the share of a map, its highest
values, that an image's score is the mean of. The criterion is the mean of average precision over sets and shares. The
table says for each set what the others chose, AUROC / AP in % of that choice, of each view alone and of the scan's own
settings; then the mean over all sets, and over the three with the lowest AP.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from curate.bench.draws import draw
from curate.bench.embedder import LabelledSetEmbedder
from curate.bench.sets import read_set
from curate.pipeline import configure, embedded_images
from curate.records import FloatArray, Scores
from curate.refinement.judge_set import judge_set
from curate.scorers import DEFAULT_SCORERS, SCORERS
from curate.scores.base import ScorerContext, make_scorers
from curate.scores.joined import bulk, view_weights, weighted_highest
from curate.scores.neighbours import NeighboursConfig, top_mean

IMAGES, TEST_SHARE = 200, 0.4
TOP_SHARES = (0.005, 0.01, 0.02, 0.05)
WEIGHTS = (0.0, 0.25, 0.5, 1.0)


@dataclass(frozen=True)
class Choice:
    """One way to join: each view's weight, in the order of `DEFAULT_SCORERS`, and the top share of a map."""

    weights: tuple[float, ...]
    top_share: float

    def __str__(self) -> str:
        views = ", ".join(f"{n} {w:g}" for n, w in zip(DEFAULT_SCORERS, self.weights, strict=True) if w)
        return f"{views}; {self.top_share:.1%}"


@dataclass(frozen=True)
class Drawn:
    """One draw: by top share, (V, N) standard scores of the active views and their names; (N,) which are noise."""

    names: tuple[str, ...]
    standard: Mapping[float, FloatArray]
    wrong: np.ndarray

    def figures(self, choice: Choice) -> tuple[float, float]:
        """Return AUROC and AP in % of a choice; of all active views where it names none of them."""
        own = dict(zip(DEFAULT_SCORERS, choice.weights, strict=True))
        rows = [i for i, name in enumerate(self.names) if own[name]] or list(range(len(self.names)))
        scores = self.standard[choice.top_share][rows]
        weights = view_weights(scores) * np.array([own[self.names[i]] or 1.0 for i in rows])
        joined = weighted_highest(scores, weights / weights.max())
        return (
            100 * float(roc_auc_score(self.wrong, joined)),
            100 * float(average_precision_score(self.wrong, joined)),
        )


CHOICES = tuple(
    Choice(w, s) for w, s in product(product(WEIGHTS, repeat=len(DEFAULT_SCORERS)), TOP_SHARES) if max(w) == 1
)
DEFAULT = Choice(tuple(SCORERS[name].weight for name in DEFAULT_SCORERS), NeighboursConfig().top_share)


def drawn_from(embedder: LabelledSetEmbedder, share: float, seed: int) -> Drawn:
    """Score a draw in a single pass."""
    one = embedder.embed_draw(draw(embedder.source, share, seed, images=IMAGES, test_share=TEST_SHARE))
    config = embedder.config
    images = embedded_images(one.listing, one.facts, one.duplicates, embeddings=one.embeddings, config=config)
    views = list(judge_set(images, make_scorers(ScorerContext(config=config)), config).views)
    active = [view for view in views if not view.abstains] or views
    standard = {share: np.stack([_standard(view, share) for view in active]) for share in TOP_SHARES}
    return Drawn(tuple(view.scorer for view in active), standard, one.draw.wrong[one.readable])


def _standard(view: Scores, share: float) -> FloatArray:
    values = np.array([top_mean(one, share) for one in view.maps], dtype=np.float32)
    return bulk(values).standard(values)


def mean_figures(draws: Sequence[Sequence[Drawn]], choice: Choice) -> np.ndarray:
    """Return AUROC and AP of a choice: the mean over the draws of each set, then over the sets."""
    return np.mean([np.mean([one.figures(choice) for one in of_set], axis=0) for of_set in draws], axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", type=Path, nargs="+")
    parser.add_argument("--shares", default="0.1,0.4")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--backbone")
    parser.add_argument("--offline", action="store_true")
    args = parser.parse_args()
    shares = [float(part) for part in args.shares.split(",")]
    settings = {"offline": args.offline, "rounds": 1} | ({"backbone": args.backbone} if args.backbone else {})
    by_set: dict[str, list[Drawn]] = {}
    for folder in args.sets:
        embedder = LabelledSetEmbedder(source=read_set(folder), config=configure(settings))
        by_set[folder.name] = [drawn_from(embedder, share, seed) for share in shares for seed in range(args.seeds)]
    print_table(by_set)


def print_table(by_set: Mapping[str, Sequence[Drawn]]) -> None:
    """Print the figures of each set, chosen without it, and their means."""
    alone = [Choice(tuple(float(n == name) for n in DEFAULT_SCORERS), DEFAULT.top_share) for name in DEFAULT_SCORERS]
    print(f"| set | chosen without it | AUROC / AP | {' | '.join(DEFAULT_SCORERS)} | the scan's own |")
    print(f"|{' --- |' * (4 + len(DEFAULT_SCORERS))}")
    rows = []
    for name in by_set:
        others = [draws for other, draws in by_set.items() if other != name]
        chosen = max(CHOICES, key=lambda choice: mean_figures(others, choice)[1])
        rows.append([mean_figures([by_set[name]], choice) for choice in (chosen, *alone, DEFAULT)])
        print(f"| {name} | {chosen} | {' | '.join(f'{a:.1f} / {b:.1f}' for a, b in rows[-1])} |")
    figures = np.array(rows)  # (sets, columns, 2)
    worst = np.stack([np.sort(figures[:, column], axis=0)[:3].mean(axis=0) for column in range(figures.shape[1])])
    for title, cells in (("mean", figures.mean(axis=0)), ("worst three", worst)):
        print(f"| {title} | | {' | '.join(f'{a:.1f} / {b:.1f}' for a, b in cells)} |")


if __name__ == "__main__":
    main()
