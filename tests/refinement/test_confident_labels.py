"""Labels that similar images contradict."""

from __future__ import annotations

import numpy as np
import pytest

from curate.records import EmbeddedImages, Embeddings, PatchesInMemory
from curate.refinement.confident_labels import RECOGNISED, confident_labels, contradicted, votes


def classes(sizes: list[int], *, seed: int = 0, spread: float = 0.2) -> tuple[EmbeddedImages, list[str]]:
    """Return images of some classes, well apart, and their true labels."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 1, (len(sizes), 16))
    pooled = np.concatenate([c + rng.normal(0, spread, (n, 16)) for c, n in zip(centres, sizes, strict=True)])
    labels = [f"class {c}" for c, n in enumerate(sizes) for _ in range(n)]
    return labelled(pooled.astype(np.float32), labels), labels


def labelled(pooled: np.ndarray, labels: list[str], groups: np.ndarray | None = None) -> EmbeddedImages:
    count = len(pooled)
    embeddings = Embeddings(
        images=np.arange(count),
        grids=np.ones((count, 2), dtype=np.int64),
        pooled=pooled,
        stages=(slice(0, pooled.shape[1]),),
        source=PatchesInMemory([]),
        width=1,
    )
    groups = np.arange(count) if groups is None else groups
    return EmbeddedImages(embeddings=embeddings, groups=groups, duplicates=groups, labels=tuple(labels))


def with_labels(images: EmbeddedImages, labels: list[str]) -> EmbeddedImages:
    return labelled(images.embeddings.pooled.copy(), labels, images.groups)


def test_nothing_is_found_where_all_labels_are_right():
    assert confident_labels(classes([20] * 30)[0]) == {}


@pytest.mark.parametrize("sizes", [[20] * 30, [60, 60], [200, 12, 12, 12]])
def test_labels_given_at_random_are_found_with_the_true_class(sizes: list[int]):
    images, truth = classes(sizes)
    rng = np.random.default_rng(1)
    wrong = rng.choice(len(truth), size=max(2, len(truth) // 20), replace=False).tolist()
    given = list(truth)
    for row in wrong:
        given[row] = str(rng.choice([name for name in sorted(set(truth)) if name != truth[row]]))
    found = confident_labels(with_labels(images, given))
    assert {row: one.label for row, one in found.items()} == {row: truth[row] for row in wrong}


def test_classes_of_three_images_are_left_alone_beside_large_ones():
    assert confident_labels(classes([100, 100, 3, 3])[0]) == {}


def test_a_class_that_is_not_recognised_in_its_own_images_is_not_asked():
    rng = np.random.default_rng(0)
    images = labelled(rng.normal(0, 1, (60, 16)).astype(np.float32), ["a", "b", "c"] * 20)
    assert confident_labels(images) == {}


def test_an_image_of_a_leakage_group_has_no_vote_on_it():
    images, truth = classes([12, 12])
    given = ["class 1" if row < 2 else label for row, label in enumerate(truth)]
    groups = np.array([0, 0, *range(2, 24)])
    found = confident_labels(labelled(images.embeddings.pooled.copy(), given, groups))
    assert {row: one.label for row, one in found.items()} == {0: "class 0", 1: "class 0"}


def test_an_only_image_of_its_class_is_not_judged():
    images, truth = classes([20, 1])
    assert confident_labels(images) == {}
    assert confident_labels(with_labels(images, truth)) == {}


def test_votes_add_up_to_one_and_the_own_class_stands_first():
    images, truth = classes([12, 5, 4])
    labels = np.array([int(name[-1]) for name in truth])
    of, shares = votes(images, labels, np.arange(len(labels)))
    assert (of[:, 0] == labels).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert (shares[:, 0] > RECOGNISED).all()


def test_a_share_below_that_of_the_class_does_not_contradict():
    of = np.array([[0, 1]] * 4 + [[1, 0]] * 4)
    shares = np.array([[0.95, 0.05]] * 3 + [[0.45, 0.55]] + [[0.95, 0.05]] * 4)
    assert contradicted(of, shares, of[:, 0]).tolist() == [-1] * 8
    shares[3] = 0.2, 0.8
    assert contradicted(of, shares, of[:, 0]).tolist() == [-1, -1, -1, 1, -1, -1, -1, -1]


def test_a_class_that_its_images_name_hardly_more_often_than_chance_contradicts_nobody():
    of = np.array([[0, 1]] * 4 + [[1, 0]] * 4)
    shares = np.array([[0.6, 0.4]] * 3 + [[0.1, 0.9]] + [[0.95, 0.05]] * 4)
    assert contradicted(of, shares, of[:, 0]).tolist() == [-1] * 8


def test_the_order_of_the_images_changes_nothing():
    images, truth = classes([20, 20, 20])
    given = ["class 2" if row in (3, 25) else label for row, label in enumerate(truth)]
    order = np.random.default_rng(2).permutation(60)
    found = confident_labels(with_labels(images, given))
    again = confident_labels(labelled(images.embeddings.pooled[order], [given[i] for i in order]))
    assert {int(order[row]): one.label for row, one in again.items()} == {row: one.label for row, one in found.items()}
    assert sorted(found) == [3, 25]
