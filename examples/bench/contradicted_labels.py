"""Give some images of several products a wrong label, and find them: our check, and cleanlab on the same vectors.

    python examples/bench/contradicted_labels.py LABELLED_SET... [--images 3,20,60] [--shares 0,0.05,0.1] [--offline]

Each set holds good/ and defect/<type>/; its good images are one class. Of each class the first so many images are
taken; each image gets the label of another class with a chance of the share. cleanlab's find_label_issues judges the
out-of-sample probabilities of a logistic regression, and of a vote of the five nearest images, on the pooled vectors
that our check compares. Printed: precision and recall in %, and how many images are found.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from cleanlab.filter import find_label_issues
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from curate.bench.embedder import LabelledSetEmbedder, listing_of
from curate.bench.sets import read_set
from curate.pipeline import configure, embed_settings
from curate.records import EmbeddedImages, Embeddings, PatchesInMemory
from curate.refinement.confident_labels import confident_labels
from curate.scores.similar import balanced


def good_vectors(folder: Path, *, offline: bool) -> Embeddings:
    """Return the embeddings of the good images of a set."""
    source = read_set(folder)
    embedder = LabelledSetEmbedder(source=source, config=configure({"offline": offline}))
    names = [source.relative(row) for row in range(len(source))]
    whole = embedder.embed_all(embed_settings(listing_of(source, names, source.files), embedder.config))
    good = [row for row, name in enumerate(names) if name.startswith("good/")]
    return whole.embeddings.subset(whole.embedding_rows[good])


def images_of(sets: Sequence[Embeddings], most: int) -> tuple[Embeddings, NDArray[np.int64]]:
    """Return the pooled vectors of the first images of each set, and their classes."""
    pooled = np.concatenate([one.pooled[:most] for one in sets])
    truth = np.concatenate([np.full(len(one.pooled[:most]), i) for i, one in enumerate(sets)])
    embeddings = Embeddings(
        images=np.arange(len(pooled)),
        grids=np.ones((len(pooled), 2), dtype=np.int64),
        pooled=pooled,
        stages=sets[0].stages,
        source=PatchesInMemory([]),
        width=1,
    )
    return embeddings, truth


def found_by(embeddings: Embeddings, labels: NDArray[np.int64]) -> dict[str, NDArray[np.bool_]]:
    """Return which images each method finds."""
    rows = np.arange(len(labels))
    images = EmbeddedImages(
        embeddings=embeddings, groups=rows, duplicates=rows, labels=tuple(f"class {one:02d}" for one in labels)
    )
    ours = np.isin(rows, list(confident_labels(images)))
    folds = int(min(5, np.bincount(labels)[np.bincount(labels) > 0].min()))
    found = {"contradicted labels": ours}
    models = {"logistic regression": LogisticRegression(max_iter=100), "five nearest": KNeighborsClassifier(5)}
    for name, model in models.items():
        if folds > 1:
            chance = cross_val_predict(model, balanced(embeddings), labels, cv=folds, method="predict_proba")
            found[f"cleanlab, {name}"] = find_label_issues(labels, chance)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", type=Path, nargs="+")
    parser.add_argument("--images", default="3,20,60")
    parser.add_argument("--shares", default="0,0.05,0.1,0.2")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--offline", action="store_true")
    args = parser.parse_args()
    sets = [good_vectors(folder, offline=args.offline) for folder in args.sets]
    print("| images a class | wrong | method | precision | recall | found |\n| --- | --- | --- | --- | --- | --- |")
    for most in (int(part) for part in args.images.split(",")):
        embeddings, truth = images_of(sets, most)
        for share in (float(part) for part in args.shares.split(",")):
            rng = np.random.default_rng((args.seed, most, round(1000 * share)))
            wrong = rng.random(len(truth)) < share
            shift = rng.integers(1, len(sets), len(truth))
            labels = np.where(wrong, (truth + shift) % len(sets), truth)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                results = found_by(embeddings, labels)
            for method, found in results.items():
                hits = int((found & wrong).sum())
                precision, recall = 100 * hits / max(1, found.sum()), 100 * hits / max(1, wrong.sum())
                print(f"| {most} | {wrong.sum()} | {method} | {precision:.0f} | {recall:.0f} | {found.sum()} |")


if __name__ == "__main__":
    main()
