"""STPM as published, on drawn plates and the packaged backbone; few steps."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from curate.choices import StudentKind
from curate.embeddings.backbones import load_backbone
from curate.embeddings.packaged import PACKAGED_NAME
from curate.embeddings.timm_pyramids import timm_pyramid
from curate.errors import UsageError
from curate.records import Embeddings, PatchesInMemory
from curate.scores.published.mlg_stpm import Curriculum
from curate.scores.published.stpm import StpmConfig, TeacherStudent, untrained
from curate.scores.student import Student
from curate.scores.student_config import StudentConfig
from tests.plates import draw_plate
from tests.scores.watched import Watched

COUNT, HOLED = 8, 5
QUICK = StudentConfig(
    kind=StudentKind.STPM,
    curriculum=Curriculum.META_SET,
    stpm=StpmConfig(epochs=4, batch=4, meta_batch=2, learning_rate=0.1, warm_up=2, every=1),
)


def plates(heights: tuple[int, ...] = (64,) * COUNT) -> Callable[[int], np.ndarray]:
    rng = np.random.default_rng(0)
    drawn = [np.asarray(draw_plate(rng, hole=i == HOLED, side=64).convert("RGB"))[:h] for i, h in enumerate(heights)]
    return drawn.__getitem__


def embedded(heights: tuple[int, ...] = (64,) * COUNT) -> Embeddings:
    return Embeddings(
        images=np.arange(len(heights)),
        grids=np.array([(height // 16, 4) for height in heights]),
        pooled=np.random.default_rng(0).normal(size=(len(heights), 6)).astype(np.float32),
        stages=(slice(0, 6),),
        source=PatchesInMemory([]),
        width=6,
    )


def student(images: Callable[[int], np.ndarray], config: StudentConfig = QUICK) -> Student:
    return Student(config=config, images=images, teacher=load_backbone(PACKAGED_NAME))


def test_the_plate_with_a_hole_scores_highest_and_stays_out_of_the_meta_set():
    config = replace(QUICK, meta_set=replace(QUICK.meta_set, least=3))
    scores = student(plates(), config).score(embedded(), np.arange(COUNT))
    assert scores.values.argmax() == HOLED
    assert [m.shape for m in scores.maps] == [(4, 4)] * COUNT
    assert scores.meta_set is not None
    assert scores.meta_set.epochs == (2, 3, 4)
    assert HOLED not in scores.meta_set.final


def test_images_may_differ_in_size():
    heights = (64, 48, 64, 32, 64, 64)
    scores = student(plates(heights)).score(embedded(heights), np.arange(len(heights)))
    assert [m.shape[0] for m in scores.maps] == [height // 16 for height in heights]


def test_the_same_seed_gives_the_same_bytes_and_leaves_torchs_random_numbers_alone():
    one = student(plates())
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first, second = (one.score(embedded(), np.arange(COUNT)).values.tobytes() for _ in range(2))
    assert first == second
    assert torch.equal(torch.rand(1), expected)


def test_a_student_equal_to_its_teacher_scores_zero():
    teacher = load_backbone(PACKAGED_NAME)
    assert (TeacherStudent(teacher, teacher.network).anomaly_map(plates()(0)) == 0).all()


def test_a_fresh_student_has_the_teachers_stages_but_not_its_weights():
    teacher = load_backbone(PACKAGED_NAME)
    batch = torch.rand((1, 3, 64, 64))
    outputs, targets = untrained(teacher, 0)(batch), teacher.network(batch)
    assert [stage.shape for stage in outputs] == [stage.shape for stage in targets]
    assert not torch.allclose(outputs[0], targets[0])


@pytest.mark.parametrize("count", [1, 2, 3, COUNT])
def test_half_of_the_progress_is_made_before_the_first_image_is_judged(count: int):
    pixels = plates()
    source = Watched([pixels(image) for image in range(count)])
    config = replace(QUICK, curriculum=Curriculum.BATCHES)
    student(source.read, config).score(embedded((64,) * count), np.arange(count), progress=source.progress)
    assert source.progress_at_reads[-count] == (count + 1) // 2
    assert source.finished == count


def test_without_images_the_error_names_what_is_missing():
    with pytest.raises(UsageError, match="learns from images"):
        Student(config=QUICK).score(embedded(), np.arange(COUNT))


def test_images_of_another_size_than_embedded_are_refused():
    with pytest.raises(UsageError, match="image 0: its pixels do not cover its patch grid"):
        student(plates()).score(embedded((48,) * COUNT), np.arange(COUNT))


def test_a_backbone_whose_weights_cannot_be_drawn_anew_is_refused_in_one_sentence():
    teacher = replace(load_backbone(PACKAGED_NAME), name="vit_tiny_patch16_224")
    teacher = replace(teacher, network=timm_pyramid(teacher.name))
    with pytest.raises(UsageError, match=r"--student stpm: .* vit_tiny_patch16_224 cannot be drawn anew"):
        untrained(teacher, 0)
