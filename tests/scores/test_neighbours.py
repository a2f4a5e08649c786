"""The scorer `neighbours`: laws on drawn features."""

import builtins
import json

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from curate.errors import CouldNotFinish
from curate.records import Embeddings, PatchesInMemory, Scores
from curate.scores import neighbours, patch_index, similar
from curate.scores.neighbours import Neighbours, NeighboursConfig
from curate.scores.similar import similar_images, walk_order

WIDTH, ROWS, COLUMNS = 16, 5, 6
ALL = NeighboursConfig(images=3, position=0)
BOTH = pytest.mark.parametrize("exact_up_to", [100_000, 0], indirect=True, ids=["compared one by one", "through lists"])


@pytest.fixture
def exact_up_to(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setattr(patch_index, "EXACT_UP_TO", request.param)


def drawn(count: int, seed: int = 0, planted: tuple[int, ...] = ()) -> list[np.ndarray]:
    """Return images of one part: each place has its own look, and planted images one odd patch each."""
    rng = np.random.default_rng(seed)
    part = rng.normal(size=(ROWS * COLUMNS, WIDTH))
    images = [part + 0.2 * rng.normal(size=part.shape) for _ in range(count)]
    for image in planted:
        images[image][rng.integers(len(part))] += 2 * rng.normal(size=WIDTH)
    return [image.astype(np.float16) for image in images]


def embedded(images: list[np.ndarray]) -> Embeddings:
    return Embeddings(
        images=np.arange(len(images)),
        grids=np.array([(len(image) // COLUMNS, COLUMNS) for image in images]),
        pooled=np.stack([image.astype(np.float32).mean(axis=0) for image in images]),
        stages=(slice(0, WIDTH),),
        source=PatchesInMemory(images),
        width=WIDTH,
    )


def scored(images: list[np.ndarray], config: NeighboursConfig = ALL, groups: np.ndarray | None = None) -> Scores:
    groups = np.arange(len(images)) if groups is None else groups
    return Neighbours(config=config).score(embedded(images), groups)


def brute_force(images: list[np.ndarray], index: int, count: int) -> np.ndarray:
    query = images[index].astype(np.float64)
    others = [image.astype(np.float64) for i, image in enumerate(images) if i != index]
    gaps = [np.linalg.norm(query[:, None] - other[None], axis=2).min(axis=1) for other in others]
    return np.sort(gaps, axis=0)[:count].mean(axis=0)


@BOTH
@pytest.mark.usefixtures("exact_up_to")
def test_planted_anomalies_come_first():
    planted = (3, 17, 41)
    values = scored(drawn(60, planted=planted)).values
    assert set(np.argsort(-values)[:3]) == set(planted)


def test_the_map_peaks_where_the_anomaly_was_planted():
    images = drawn(20)
    images[4][13] += np.float16(3)
    assert scored(images).maps[4].argmax() == 13


def test_exact_equals_brute_force_also_with_uneven_grids():
    images = drawn(12)
    images[2], images[7] = images[2][: 2 * COLUMNS], np.concatenate([images[7], images[7][:COLUMNS]])
    scores = scored(images)
    for index in range(len(images)):
        assert_allclose(scores.maps[index].ravel(), brute_force(images, index, 3), rtol=1e-3, atol=1e-3)


def test_lists_find_nearly_what_a_search_among_all_finds_and_say_how_much(monkeypatch: pytest.MonkeyPatch):
    images = drawn(80, planted=(1, 2))
    every = scored(images)
    monkeypatch.setattr(patch_index, "EXACT_UP_TO", 0)
    monkeypatch.setattr(patch_index, "PROBED", 1)
    some = scored(images)
    assert (every.facts["recall"], every.facts["compared"]) == (1, 80)
    assert 0.5 < some.facts["recall"] < 1
    assert (some.values >= every.values * 0.999).all()  # fewer to choose from: never nearer
    assert np.corrcoef(every.values, some.values)[0, 1] > 0.95


def test_many_copies_of_one_image_do_not_crowd_out_the_others():
    images = drawn(12)
    groups = np.concatenate([np.arange(12), np.full(40, 2)])
    near = similar_images(embedded(images + [images[2]] * 40), groups, 11).near
    assert all(len(set(groups[row])) == 11 for row in near[:12])


@pytest.mark.parametrize("group_count", [1, 2, 3])
def test_an_image_of_a_large_group_is_compared_with_all_others_but_its_group(
    group_count: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(similar, "WIDTHS", (1, 2))
    images, groups = drawn(30), np.arange(30) % group_count
    near = similar_images(embedded(images), groups, 12).near
    outside = 30 - 30 // group_count
    assert ((near >= 0).sum(axis=1) == min(12, outside)).all()
    assert all((groups[row[row >= 0]] != groups[image]).all() for image, row in enumerate(near))


def test_an_inverted_file_index_finds_most_and_says_how_much(monkeypatch: pytest.MonkeyPatch):
    images, groups = drawn(300, planted=(3,)), np.arange(300)
    exact = similar_images(embedded(images), groups, 5)
    monkeypatch.setattr(similar, "EXACT_UP_TO", 100)
    monkeypatch.setattr(similar, "PROBED_SHARE", 0.5)
    lists = similar_images(embedded(images), groups, 5)
    assert (exact.search, exact.recall, lists.search) == ("exact", 1.0, "inverted lists")
    found = np.mean([len(np.intersect1d(a, b)) / 5 for a, b in zip(exact.near, lists.near, strict=True)])
    assert 0.5 < lists.recall <= 1
    assert abs(found - lists.recall) < 0.25


def test_some_rows_alone_are_answered_as_among_all():
    images, groups = drawn(20), np.arange(20)
    rows = np.array([7, 3])
    whole, part = (
        similar_images(embedded(images), groups, 4).near,
        similar_images(embedded(images), groups, 4, rows=rows).near,
    )
    assert_array_equal(part, whole[rows])


def test_a_set_that_does_not_fit_into_memory_is_compared_in_blocks(monkeypatch: pytest.MonkeyPatch):
    images = drawn(60, planted=(4, 30))
    whole = scored(images)
    monkeypatch.setattr(neighbours, "MEMORY_BYTES", 24 * ROWS * COLUMNS * WIDTH * 4)
    blocks = scored(images)
    assert 20 <= blocks.facts["compared"] <= 24
    assert set(np.argsort(-blocks.values)[:2]) == {4, 30}
    assert np.corrcoef(whole.values, blocks.values)[0, 1] > 0.95


def test_a_leakage_group_that_fills_a_block_is_compared_with_images_of_other_blocks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(neighbours, "MEMORY_BYTES", 16 * ROWS * COLUMNS * WIDTH * 4)
    alike = drawn(1)[0]
    near = [(alike + np.float16(0.001 * i)).astype(np.float16) for i in range(30)]
    groups = np.concatenate([np.zeros(30, dtype=np.int64), np.arange(1, 31)])
    assert (scored(near + drawn(30, seed=3), ALL, groups).values > 0).all()


def test_a_walk_visits_every_image_once():
    assert sorted(walk_order(embedded(drawn(50)), leaf=4).tolist()) == list(range(50))


def test_scores_follow_the_images_when_these_are_shuffled():
    images, order = drawn(25, planted=(3,)), np.random.default_rng(1).permutation(25)
    shuffled = scored([images[i] for i in order])
    assert_allclose(shuffled.values, scored(images).values[order], rtol=1e-5)


@BOTH
@pytest.mark.usefixtures("exact_up_to")
def test_copies_of_an_anomaly_do_not_vouch_for_it():
    images = drawn(30, planted=(5,))
    copies = images + [images[5]] * 6
    groups = np.concatenate([np.arange(30), np.full(6, 5)])
    known, unknown = scored(copies, ALL, groups).values, scored(copies).values
    assert known.argmax() in {5, *range(30, 36)}
    assert_allclose(known[30:], known[5], rtol=1e-5)
    assert unknown[5] < known[5]


def test_copies_of_another_image_count_as_one_neighbour():
    images = drawn(10)
    groups = np.concatenate([np.arange(10), np.full(5, 2)])
    assert_allclose(scored(images + [images[2]] * 5, ALL, groups).values[:10], scored(images).values, rtol=1e-4)


def test_scores_scale_with_the_features():
    images = drawn(20, planted=(2,))
    doubled = scored([image * np.float16(2) for image in images])
    assert_allclose(doubled.values, 2 * scored(images).values, rtol=1e-4)


@BOTH
@pytest.mark.usefixtures("exact_up_to")
def test_the_same_input_gives_the_same_bytes():
    images = drawn(40, planted=(2,))
    first, second = scored(images), scored(images)
    assert first.values.tobytes() == second.values.tobytes()
    assert_array_equal(first.neighbours, second.neighbours)


@BOTH
@pytest.mark.usefixtures("exact_up_to")
@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_equal_images_score_zero(count: int):
    scores = scored(drawn(1) * count)
    assert_array_equal(scores.values, np.zeros(count))


@BOTH
@pytest.mark.usefixtures("exact_up_to")
@pytest.mark.parametrize("value", [0, 7])
def test_constant_features_survive(value: int):
    flat = [np.full((ROWS * COLUMNS, WIDTH), value, dtype=np.float16)] * 12
    assert_array_equal(scored(flat).values, np.zeros(12))


def test_an_image_whose_kin_are_all_there_is_scores_zero():
    scores = scored(drawn(4), ALL, np.zeros(4, dtype=np.int64))
    assert_array_equal(scores.values, np.zeros(4))
    assert (scores.neighbours == -1).all()


def test_similar_images_are_others_nearest_first_and_padded():
    pooled_at = [np.full((COLUMNS, WIDTH), at, dtype=np.float16) for at in (0, 1, 3, 7)]
    near = similar_images(embedded(pooled_at), np.array([0, 1, 2, 2]), 4).near
    assert near.tolist() == [[1, 2, 3, -1], [0, 2, 3, -1], [1, 0, -1, -1], [1, 0, -1, -1]]


def test_progress_counts_every_image():
    seen: list[int] = []
    Neighbours().score(embedded(drawn(6)), np.arange(6), progress=seen.append)
    assert sum(seen) == 6


@BOTH
@pytest.mark.usefixtures("exact_up_to")
def test_the_facts_can_be_written_as_json():
    assert json.loads(json.dumps(scored(drawn(9)).facts, allow_nan=False))


def test_without_faiss_one_sentence_names_the_extras(monkeypatch: pytest.MonkeyPatch):
    real = builtins.__import__

    def without(name: str, *args: object, **kwargs: object) -> object:
        if name == "faiss":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(CouldNotFinish, match=r"curate-vision\[cpu\].*curate-vision\[gpu\]"):
        scored(drawn(5))


def test_a_right_thing_in_a_wrong_place_is_seen_where_position_counts():
    images = drawn(30)
    images[4][[0, -1]] = images[4][[-1, 0]]  # two far corners change places
    blind, aware = scored(images), scored(images, NeighboursConfig(images=3))
    assert blind.values.argmax() != 4
    assert aware.values.argmax() == 4
    assert set(np.argsort(aware.maps[4].ravel())[-2:]) == {0, ROWS * COLUMNS - 1}


def test_places_are_in_longest_sides_from_the_centre():
    places = neighbours.grid_positions(2, 4)
    assert_allclose(places[[0, -1]], [[-0.125, -0.375], [0.125, 0.375]])
