"""Compare ways to join the views' scores, on contaminated sets.

    python examples/bench/ablate_join.py LABELLED_SET... [--shares 0,0.05,0.1,0.2,0.4,0.5] [--seeds 3] [--offline]

Each set holds good/ and defect/<type>/. The draws are those of `curate bench`, the views those of `curate scan`. Each
view is standardised by its own nominal images; the joins differ in how they combine the three. "weights" is the join
of a scan (`curate.scores.joined`). The first table has, for each share, AUROC / AP / F1 at the threshold in %, means
over sets and draws; at share 0, the share of flagged images. The second has AUROC / AP when one view, each in turn, is
replaced by noise with a long tail, as of a view that does not suit a set.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import MappingProxyType

import numpy as np
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from curate.bench.draws import draw
from curate.bench.embedder import LabelledSetEmbedder
from curate.bench.sets import read_set
from curate.pipeline import configure, embedded_images
from curate.records import FloatArray
from curate.refinement.judge_set import judge_set
from curate.scores.base import ScorerContext, make_scorers
from curate.scores.joined import bulk, view_weights, weighted_highest
from curate.verdicts.threshold import find_threshold

IMAGES, TEST_SHARE = 200, 0.4

JOINS: MappingProxyType[str, Callable[[FloatArray], FloatArray]] = MappingProxyType(
    {
        "weights": lambda z: weighted_highest(z, view_weights(z)),
        "two highest": lambda z: weighted_highest(z, np.ones(len(z))),
        "mean": lambda z: z.mean(axis=0),
        "median": lambda z: np.median(z, axis=0),
        "maximum": lambda z: z.max(axis=0),
        "log-mean-exp": lambda z: np.logaddexp.reduce(z, axis=0) - np.log(len(z)),
    }
)


def views_of(embedder: LabelledSetEmbedder, share: float, seed: int) -> tuple[FloatArray, np.ndarray]:
    """Return (V, N) standard scores of a draw, and (N,) which images are noise."""
    drawn = embedder.embed_draw(draw(embedder.source, share, seed, images=IMAGES, test_share=TEST_SHARE))
    config = embedder.config
    images = embedded_images(drawn.listing, drawn.facts, drawn.duplicates, embeddings=drawn.embeddings, config=config)
    judged = judge_set(images, make_scorers(ScorerContext(config=config)), config)
    return np.stack([bulk(v.values).standard(v.values) for v in judged.views]), drawn.draw.wrong[drawn.readable]


def with_a_broken_view(standard: FloatArray) -> Iterator[FloatArray]:
    """Yield the views, each in turn replaced by noise."""
    noise = np.random.default_rng(0).lognormal(0, 0.6, standard.shape).astype(np.float32)
    for broken in range(len(standard)):
        yield np.stack([bulk(noise[i]).standard(noise[i]) if i == broken else v for i, v in enumerate(standard)])


def ranked(scores: FloatArray, wrong: np.ndarray) -> tuple[float, float]:
    """Return AUROC and AP in %."""
    return 100 * float(roc_auc_score(wrong, scores)), 100 * float(average_precision_score(wrong, scores))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", type=Path, nargs="+")
    parser.add_argument("--shares", default="0,0.05,0.1,0.2,0.4,0.5")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--offline", action="store_true")
    args = parser.parse_args()
    shares = [float(part) for part in args.shares.split(",")]
    whole, broken = defaultdict(list), defaultdict(list)
    for folder in args.sets:
        embedder = LabelledSetEmbedder(
            source=read_set(folder), config=configure({"offline": args.offline, "rounds": 1})
        )
        for share, seed in ((share, seed) for share in shares for seed in range(args.seeds)):
            standard, wrong = views_of(embedder, share, seed)
            for name, join in JOINS.items():
                scores = join(standard).astype(np.float32)
                flagged = scores > find_threshold(scores).value
                if not wrong.any():
                    whole[name, share].append((100 * float(flagged.mean()),))
                    continue
                f1 = 100 * float(f1_score(wrong, flagged, zero_division=0))
                whole[name, share].append((*ranked(scores, wrong), f1))
                broken[name, share] += [ranked(join(z), wrong) for z in with_a_broken_view(standard)]
    for title, figures in (("views joined by", whole), ("one view is noise", broken)):
        measured = [share for share in shares if ("mean", share) in figures]
        print(f"| {title} | {' | '.join(f'{share:.0%}' for share in measured)} |\n|{' --- |' * (len(measured) + 1)}")
        for name in JOINS:
            cells = [" / ".join(f"{x:.1f}" for x in np.mean(figures[name, share], axis=0)) for share in measured]
            print(f"| {name} | {' | '.join(cells)} |")
        print()


if __name__ == "__main__":
    main()
