"""The scorer `student`: laws on drawn features."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from curate.errors import CouldNotFinish
from curate.records import Embeddings, PatchesInMemory, Scores
from curate.scores.alignment import Alignment
from curate.scores.base import NO_GUIDE, Guide
from curate.scores.folds import group_folds
from curate.scores.published.mlg_stpm import Curriculum
from curate.scores.student import Student
from curate.scores.student_config import ABLATIONS, StudentConfig
from curate.scores.student_training import StudentModel, StudentNet, weighted_mean
from curate.scores.surroundings import (
    SURROUNDINGS,
    moments,
    partial_whitening,
    position_encoding,
    surrounding_means,
)
from tests.scores.watched import Watched

WIDTH, ROWS, COLUMNS = 12, 8, 7
PARTS = (slice(0, 4), slice(4, 8), slice(8, 12))
QUICK = StudentConfig(
    curriculum=Curriculum.META_SET,
    epochs=4,
    steps=15,
    warm_up=2,
    every=1,
    again=2,
    batch=128,
    meta_batch=64,
    reduced_width=8,
    hidden=16,
)


def drawn(count: int, planted: tuple[int, ...] = (), seed: int = 0, rows: int = ROWS) -> list[np.ndarray]:
    """Return images of one smooth part, each lit a little differently, and in planted ones two anomalous patches."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:rows, 0:COLUMNS]
    waves = np.stack([np.sin(0.7 * y + 0.5 * k * x) for k in range(WIDTH)], axis=-1)
    light = rng.normal(size=(count, 1, 1, WIDTH))
    images = waves + 0.3 * light + 0.05 * rng.normal(size=(count, rows, COLUMNS, WIDTH))
    for image in planted:
        images[image, 4, 2:4] += 2 * rng.normal(size=WIDTH)
    return [image.reshape(-1, WIDTH).astype(np.float16) for image in images]


def embedded(images: list[np.ndarray], parts: tuple[slice, ...] = PARTS) -> Embeddings:
    return Embeddings(
        images=np.arange(len(images)),
        grids=np.array([(len(image) // COLUMNS, COLUMNS) for image in images]),
        pooled=np.stack([image.astype(np.float32).mean(axis=0) for image in images]),
        stages=PARTS,
        source=PatchesInMemory(images),
        width=WIDTH,
        parts=parts,
    )


def scored(
    images: list[np.ndarray], config: StudentConfig = QUICK, groups: np.ndarray | None = None, guide: Guide = NO_GUIDE
) -> Scores:
    groups = np.arange(len(images)) if groups is None else groups
    return Student(config=config).score(embedded(images), groups, guide=guide)


def nets(scores: Scores) -> tuple[StudentNet, ...]:
    assert isinstance(scores.model, StudentModel)
    return scores.model.nets


@pytest.mark.parametrize("curriculum", list(Curriculum))
def test_planted_anomalies_come_first(curriculum: Curriculum):
    values = scored(drawn(40, planted=(3, 17, 31)), replace(QUICK, curriculum=curriculum)).values
    assert set(np.argsort(-values)[:3]) == {3, 17, 31}


def test_the_map_peaks_where_the_anomaly_was_planted():
    peak = np.unravel_index(scored(drawn(30, planted=(4,))).maps[4].argmax(), (ROWS, COLUMNS))
    assert peak in {(4, 2), (4, 3)}


def test_anomalies_do_not_enter_the_meta_set():
    planted = (3, 9, 17, 31)
    meta_set = scored(drawn(40, planted=planted)).meta_set
    assert meta_set is not None
    assert meta_set.epochs == (2, 3, 4)
    assert not set(meta_set.final) & set(planted)


def test_a_student_of_batches_alone_still_hands_on_a_meta_set():
    meta_set = scored(drawn(30), replace(QUICK, curriculum=Curriculum.BATCHES)).meta_set
    assert meta_set is not None
    assert meta_set.epochs == (QUICK.epochs,)


def test_an_image_and_its_leakage_group_are_judged_by_a_student_that_was_trained_on_none_of_them():
    images, groups = drawn(30), np.arange(30)
    groups[20:] = 20
    quick = replace(QUICK, curriculum=Curriculum.BATCHES)
    before = scored(images, quick, groups)
    changed = [image + np.float16(0.2) * (i >= 20) for i, image in enumerate(images)]
    fold = group_folds(groups, QUICK.folds, np.random.default_rng(QUICK.seed))[20]
    guide = Guide(model=before.model)
    # the feature extractor is handed on, so that only what the students are trained on may differ
    first, second = (nets(scored(some, quick, groups, guide=guide)) for some in (images, changed))
    same = [torch.equal(a.inner.weight, b.inner.weight) for a, b in zip(first, second, strict=True)]
    assert same == [which == fold for which in range(QUICK.folds)]


def test_rejected_images_are_not_trained_on_but_scored():
    images = drawn(40, planted=tuple(range(12)))
    nominal = np.arange(40) >= 12
    guided, unguided = scored(images, guide=Guide(nominal=nominal)), scored(images)
    assert guided.values[:12].min() > guided.values[12:].max()
    assert guided.values[:12].mean() > unguided.values[:12].mean()
    assert guided.meta_set is not None
    assert nominal[guided.meta_set.final].all()


def test_when_all_are_rejected_all_are_trained_on():
    scores = scored(drawn(12), guide=Guide(nominal=np.zeros(12, dtype=np.bool_)))
    assert len(scores.values) == 12


def test_a_second_round_goes_on_where_the_first_stopped():
    images = drawn(40, planted=(5,))
    short = replace(QUICK, epochs=1, warm_up=1, again=2)
    first = scored(images, short)
    second = scored(images, short, guide=Guide(model=first.model))
    assert np.median(second.values) < np.median(first.values)
    assert second.values.argmax() == 5


def test_the_model_of_the_round_before_is_left_as_it_was():
    images = drawn(20)
    first = scored(images)
    weights = [net.inner.weight.clone() for net in nets(first)]
    scored(images, guide=Guide(model=first.model))
    assert all(torch.equal(a, net.inner.weight) for a, net in zip(weights, nets(first), strict=True))


def test_the_same_input_gives_the_same_bytes_whatever_torch_drew_before():
    images = drawn(30, planted=(2,))
    first = scored(images)
    torch.rand(7)
    second = scored(images)
    assert first.values.tobytes() == second.values.tobytes()
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first.maps, second.maps, strict=True))


def test_scoring_leaves_torchs_own_random_numbers_alone():
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    scored(drawn(6))
    assert torch.equal(torch.rand(3), expected)


def test_grids_may_differ_between_images():
    images = drawn(20, planted=(3,)) + drawn(20, rows=5, seed=1)
    scores = scored(images)
    assert [m.shape for m in scores.maps] == [(ROWS, COLUMNS)] * 20 + [(5, COLUMNS)] * 20
    assert scores.values[:20].argmax() == 3


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_few_images_are_scored(count: int):
    scores = scored(drawn(count))
    assert len(scores.values) == count
    assert scores.meta_set is not None
    assert_array_equal(scores.meta_set.final, np.arange(count))


def test_images_of_one_leakage_group_score_zero():
    assert_array_equal(scored(drawn(4), groups=np.zeros(4, dtype=np.int64)).values, np.zeros(4))


@pytest.mark.parametrize("value", [0, 7])
def test_constant_features_score_next_to_nothing(value: int):
    flat = [np.full((ROWS * COLUMNS, WIDTH), value, dtype=np.float16)] * 12
    assert_allclose(scored(flat).values, np.zeros(12), atol=1e-5)


def test_a_descriptor_without_stages_is_its_own_target():
    whole = Student(config=QUICK).score(embedded(drawn(30, planted=(6,)), parts=()), np.arange(30))
    assert whole.values.argmax() == 6


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_descriptor_that_is_not_finite_is_refused(value: float):
    images = drawn(10)
    embeddings = embedded([image.copy() for image in images])
    embeddings.source.read(7)[5, 3] = value
    with pytest.raises(CouldNotFinish, match="image 7: its descriptors are not finite"):
        Student(config=QUICK).score(embeddings, np.arange(10))


@pytest.mark.parametrize("count", [1, 2, 3, 9])
@pytest.mark.parametrize("one_group", [False, True], ids=["a group an image", "one group"])
def test_progress_counts_every_image_once(count: int, one_group: bool):
    calls: list[int] = []
    groups = np.zeros(count, dtype=np.int64) if one_group else np.arange(count)
    Student(config=QUICK).score(embedded(drawn(count)), groups, progress=calls.append)
    assert sum(calls) == count


@pytest.mark.parametrize("count", [2, 3, 9])
@pytest.mark.parametrize("again", [False, True], ids=["first round", "second round"])
def test_half_of_the_progress_is_made_before_the_first_image_is_judged(count: int, again: bool):
    source = Watched(drawn(count))
    student = Student(config=replace(QUICK, curriculum=Curriculum.BATCHES))
    embeddings, groups = replace(embedded(source.arrays), source=source), np.arange(count)
    model = student.score(embeddings, groups).model if again else None
    student.score(embeddings, groups, guide=Guide(model=model), progress=source.progress)
    assert source.progress_at_reads[-count] == (count + 1) // 2


def test_progress_moves_while_the_patch_dataset_is_read():
    source = Watched(drawn(60))
    embeddings = replace(embedded(source.arrays), source=source)
    Student(config=replace(QUICK, curriculum=Curriculum.BATCHES, epochs=1)).score(
        embeddings, np.arange(60), guide=Guide(alignment=Alignment()), progress=source.progress
    )
    assert 0 < source.progress_at_reads[60] < source.progress_at_reads[119] < 30


def test_the_facts_can_be_written_as_json():
    assert json.loads(json.dumps(scored(drawn(9)).facts, allow_nan=False))


def test_the_ablations_cover_every_curriculum():
    assert {config.curriculum for config in ABLATIONS.values()} == set(Curriculum)


def test_folds_are_even_and_keep_leakage_groups_together():
    groups = np.array([0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8])
    folds = group_folds(groups, 3, np.random.default_rng(0))
    assert_array_equal(np.bincount(folds), [4, 4, 4])
    assert len(set(folds[:4])) == 1


def test_surroundings_are_the_means_of_their_windows_inside_the_image():
    grid = torch.randn((9, 6, 2), generator=torch.Generator().manual_seed(0))
    got = surrounding_means(grid).reshape(9, 6, len(SURROUNDINGS), 2)
    y, x = np.mgrid[0:9, 0:6]

    def inside(window: tuple[int, int, int, int], row: int, column: int) -> np.ndarray:
        top, bottom, left, right = window
        return (y >= row + top) & (y < row + bottom) & (x >= column + left) & (x < column + right)

    for row, column in ((0, 0), (4, 3), (8, 5)):
        for which, (outer, inner) in enumerate(SURROUNDINGS):
            chosen = inside(outer, row, column)
            chosen &= ~inside(inner, row, column) if inner else True
            wanted = grid[chosen].mean(dim=0) if chosen.any() else torch.zeros(2)
            torch.testing.assert_close(got[row, column, which], wanted, atol=1e-5, rtol=1e-4)


def test_a_patch_and_those_next_to_it_are_hidden_from_the_student():
    grid = torch.zeros((11, 11, 1))
    grid[5, 5] = 1
    seen = surrounding_means(grid).reshape(11, 11, -1)
    assert (seen[3:8, 3:8] == 0).all()
    assert (seen[2, 5] != 0).any()


def test_the_position_encoding_differs_between_any_two_patches():
    cells = position_encoding(6, 9)
    assert cells.shape == (54, 64)
    assert torch.cdist(cells, cells).fill_diagonal_(1).min() > 0.1


def test_partial_whitening_brings_the_mean_variance_to_one_and_narrows_its_range():
    rng = torch.Generator().manual_seed(0)
    x = torch.randn((4000, 5), generator=rng) * torch.tensor([10.0, 5.0, 1.0, 1.0, 0.5]) + 3
    mean, covariance = moments([x[:1000], x[1000:]], 5)
    white = partial_whitening(mean, covariance, 5)(x)
    spread = white.var(dim=0)
    torch.testing.assert_close(white.mean(dim=0), torch.zeros(5), atol=1e-3, rtol=0)
    assert abs(float(spread.mean()) - 1) < 0.01
    assert 15 < float(spread.max() / spread.min()) < 25


def test_a_deeper_stage_weighs_half_as_much():
    stages = torch.tensor([[3.0, 1.0, 0.5], [6.0, 1.0, 4.0]])
    torch.testing.assert_close(weighted_mean(stages), torch.tensor([4.0, 1.0, 5 / 3]))
