"""How should the views be joined? Other joins of the same views, on contaminated sets.

    python examples/bench/ablate_join.py LABELLED_SET... [--shares 0,0.05,0.1,0.2,0.4,0.5] [--seeds 3] [--offline]

Each set holds good/ and defect/<type>/. The draws are those of `curate bench`, the views those of `curate scan`; each
view is measured in its own nominal bulk, and the joins differ in what they make of the three; "votes" is that of a scan
(`curate.scores.hybrid`). Printed for each share:
AUROC / AP / F1 above the fence in %, means over sets and draws; at share 0 the share of images that is flagged. Below,
AUROC / AP when one view, each in turn, is replaced by noise with a long tail: that is what a view is worth that does
not suit a set.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import MappingProxyType

import numpy as np
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from curate.audit import configure
from curate.bench.draws import draw
from curate.bench.road import Road
from curate.bench.sets import read_set
from curate.records import FloatArray
from curate.scores.hybrid import bulk, highest, votes
from curate.scores.views import make_scorers
from curate.verdicts.fence import fence
from curate.verdicts.rounds import look

IMAGES, TEST_SHARE = 200, 0.4

JOINS: MappingProxyType[str, Callable[[FloatArray], FloatArray]] = MappingProxyType(
    {
        "votes": lambda z: highest(z, votes(z)),
        "two highest": lambda z: highest(z, np.ones(len(z))),
        "mean": lambda z: z.mean(axis=0),
        "median": lambda z: np.median(z, axis=0),
        "maximum": lambda z: z.max(axis=0),
        "log-mean-exp": lambda z: np.logaddexp.reduce(z, axis=0) - np.log(len(z)),
    }
)


def views_of(road: Road, share: float, seed: int) -> tuple[FloatArray, np.ndarray]:
    """Return (V, N) standard scores of a draw, and (N,) which images are noise."""
    drawn = road.drawn(draw(road.source, share, seed, images=IMAGES, test_share=TEST_SHARE))
    everyone = np.ones(len(drawn.embeddings), dtype=np.bool_)
    views = look(drawn.embeddings, drawn.kin, drawn.labels, make_scorers(road.config), everyone, ())
    return np.stack([bulk(v.values).standard(v.values) for v in views]), drawn.draw.wrong[drawn.readable]


def with_a_broken_view(standard: FloatArray) -> Iterator[FloatArray]:
    """Yield the views with each in turn replaced."""
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
        road = Road(source=read_set(folder), config=configure({"offline": args.offline}))
        for share, seed in ((share, seed) for share in shares for seed in range(args.seeds)):
            standard, wrong = views_of(road, share, seed)
            for name, join in JOINS.items():
                scores = join(standard).astype(np.float32)
                flagged = scores > fence(scores).value
                if not wrong.any():
                    whole[name, share].append((100 * float(flagged.mean()),))
                    continue
                found = 100 * float(f1_score(wrong, flagged, zero_division=0))
                whole[name, share].append((*ranked(scores, wrong), found))
                broken[name, share] += [ranked(join(spoilt), wrong) for spoilt in with_a_broken_view(standard)]
    for title, figures in (("views joined by", whole), ("one view is noise", broken)):
        told = [share for share in shares if ("mean", share) in figures]
        print(f"| {title} | {' | '.join(f'{share:.0%}' for share in told)} |\n|{' --- |' * (len(told) + 1)}")
        for name in JOINS:
            cells = [" / ".join(f"{x:.1f}" for x in np.mean(figures[name, share], axis=0)) for share in told]
            print(f"| {name} | {' | '.join(cells)} |")
        print()


if __name__ == "__main__":
    main()
