"""A dataset is split into nominal sets: by class, and by subpopulation within it."""

import numpy as np

from curate.partition.nominal_sets import names_of, partition
from tests.partition.test_subpopulations import FAR, cloud
from tests.verdicts.test_judge import embedded_images, embeddings_of


def sets_of(pooled: np.ndarray, labels: list[str], **options):
    return partition(embedded_images(embeddings_of(pooled), labels), **options)


def test_nominal_sets_are_named_by_label_and_subpopulation_and_a_whole_class_by_its_label_alone():
    pooled = np.concatenate([cloud(40), cloud(40, at=FAR, seed=1), cloud(40, seed=2)])
    labels = ["good"] * 80 + ["bent"] * 40
    sets = sets_of(pooled, labels)
    first, second = "good, subpopulation 1 of 2", "good, subpopulation 2 of 2"
    assert [(one.name, one.label, one.subpopulations) for one in sets] == [
        ("bent", "bent", 1),
        (first, "good", 2),
        (second, "good", 2),
    ]
    assert names_of(sets) == (first,) * 40 + (second,) * 40 + ("bent",) * 40
    assert names_of(sets_of(pooled, labels, subpopulations=False)) == tuple(labels)


def test_every_image_is_of_exactly_one_nominal_set():
    pooled = np.concatenate([cloud(40), cloud(40, at=FAR, seed=1), cloud(7, seed=2)])
    sets = sets_of(pooled, ["b"] * 80 + ["a", "c"] * 3 + ["c"])
    assert sorted(np.concatenate([one.rows for one in sets]).tolist()) == list(range(87))
    assert all((np.diff(one.rows) > 0).all() for one in sets)


def test_a_class_that_bears_the_name_of_a_subpopulation_is_not_mixed_with_it():
    pooled = np.concatenate([cloud(40), cloud(40, at=FAR, seed=1), cloud(40, seed=2)])
    second = "subpopulation 2 of 2"
    sets = sets_of(pooled, [""] * 80 + [second] * 40)
    assert names_of(sets) == ("subpopulation 1 of 2",) * 40 + (f"{second}'",) * 40 + (second,) * 40
    assert {one.name: one.label for one in sets}[f"{second}'"] == ""


def test_a_subpopulation_holds_small_groups_apart_of_its_own():
    pooled = np.concatenate([cloud(60), cloud(60, at=3 * FAR, seed=1), cloud(9, at=4 * FAR, seed=2)])
    sets = sets_of(pooled, ["good"] * 129)
    assert len(sets) == 2
    sizes = np.zeros(129, dtype=np.int64)
    for one in sets:
        sizes[one.rows] = one.group_sizes
    assert np.flatnonzero(sizes).tolist() == list(range(120, 129))
    assert set(sizes[120:]) == {9}
