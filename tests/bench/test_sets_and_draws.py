"""Which images are nominal, and which a draw takes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from curate.bench.draws import check_shares, counts, draw, pools
from curate.bench.masks import measure_maps
from curate.bench.sets import LabelledSet, read_set
from curate.errors import InputError, UsageError
from curate.images.sources import list_images


def made(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(root / name)
    return root


def imagined(good: int, bad: int) -> LabelledSet:
    """A set of which nothing lies on disk."""
    root = Path("set")
    files = [root / "good" / f"{i:03d}.png" for i in range(good)] + [
        root / "defect/x" / f"{i:03d}.png" for i in range(bad)
    ]
    return LabelledSet(
        name="set",
        root=root,
        files=tuple(files),
        labels=("good",) * good + ("defect/x",) * bad,
        nominal=(True,) * good + (False,) * bad,
        masks=((),) * (good + bad),
    )


def test_good_and_defect_folders_are_read_and_others_left_out(tmp_path):
    found = read_set(
        made(tmp_path, "good/1.png", "good/2.png", "defect/hole/1.png", "unsure/3.png", "masks/hole/1.png")
    )
    assert [found.relative(row) for row in range(len(found))] == ["good/1.png", "good/2.png", "defect/hole/1.png"]
    assert found.nominal == (True, True, False)
    assert found.masks == ((), (), (tmp_path / "masks/hole/1.png",))


def test_mvtec_layout_takes_the_good_of_both_splits_and_its_masks(tmp_path):
    names = ("train/good/1.png", "test/good/2.png", "test/cut/3.png", "ground_truth/cut/3_mask.png")
    found = read_set(made(tmp_path, *names))
    assert found.nominal == (True, True, False)
    assert found.masks[2] == (tmp_path / "ground_truth/cut/3_mask.png",)


def test_the_bench_finds_what_a_scan_finds(tmp_path):
    names = ("good/1.png", "good/2.png", "defect/hole/1.png")
    made(tmp_path, *names, "good/._1.png", ".ipynb_checkpoints/1.png", "good/@eaDir/1.png", "good/__MACOSX/3.png")
    made(tmp_path, "masks/hole/1/000.png", "masks/hole/1/001.png")
    found = read_set(tmp_path)
    assert (
        sorted(found.relative(row) for row in range(len(found))) == sorted(names) == sorted(list_images(tmp_path).paths)
    )
    assert [file.name for file in found.masks[2]] == ["000.png", "001.png"]


def test_splits_are_no_classes_of_a_bench(tmp_path):
    found = read_set(made(tmp_path, "train/bolt/1.png", "train/nut/1.png", "val/bolt/2.png", "val/nut/2.png"))
    assert sorted(found.labels) == ["bolt", "bolt", "nut", "nut"]


def test_several_masks_of_an_image_are_one_truth(tmp_path):
    source = replace(imagined(0, 1), masks=((tmp_path / "a.png", tmp_path / "b.png"),))
    for name, left in (("a.png", 0), ("b.png", 20)):
        pixels = np.zeros((40, 40), np.uint8)
        pixels[:, left : left + 5] = 1
        Image.fromarray(pixels).save(tmp_path / name)
    truth = np.zeros((40, 40), np.float32)
    truth[:, :5] = truth[:, 20:25] = 1
    assert measure_maps([truth], source, np.array([0]))["pixel_auroc"] == 1
    assert measure_maps([truth * (np.arange(40) < 5)], source, np.array([0]))["pixel_auroc"] == 0.75


def test_a_class_folder_may_be_named_nominal(tmp_path):
    made(tmp_path, "bolt/1.png", "nut/2.png", "washer/3.png")
    assert read_set(tmp_path, nominal="nut").nominal == (True, False, False)
    with pytest.raises(UsageError, match=r"--nominal screw: .* its classes are bolt, nut, washer"):
        read_set(tmp_path, nominal="screw")


def test_without_a_good_class_noise_is_a_wrong_label(tmp_path):
    made(tmp_path, *(f"{name}/{i:02d}.png" for name in ("bolt", "nut") for i in range(20)))
    source = read_set(tmp_path)
    drawn = draw(source, 0.2, 0, images=20)
    assert source.by_class
    assert drawn.realised == 0.2
    wrong = [drawn.labels[i] != source.labels[row] for i, row in enumerate(drawn.rows)]
    assert wrong == drawn.wrong.tolist()


def test_a_set_without_defects_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(InputError, match="no defective image below defect/<type>/"):
        read_set(made(tmp_path, "good/1.png"))
    with pytest.raises(UsageError, match="no such folder"):
        read_set(tmp_path / "nowhere")


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2, 0.4, 0.5])
def test_a_draw_has_the_share_asked_for_and_never_an_image_of_the_test(share):
    source = imagined(300, 150)
    held = pools(source, 0.4)
    for seed in range(3):
        drawn = draw(source, share, seed)
        assert abs(drawn.realised - share) < 0.01
        assert not set(drawn.rows.tolist()) & {*held.test_good, *held.test_bad}
        assert list(drawn.names) == sorted(drawn.names)


def test_the_test_set_does_not_depend_on_share_or_seed_and_equal_seeds_draw_equally():
    source = imagined(50, 20)
    assert pools(source, 0.4) == pools(source, 0.4)
    assert np.array_equal(draw(source, 0.2, 1).rows, draw(source, 0.2, 1).rows)
    assert set(draw(source, 0.2, 1).rows) != set(draw(source, 0.2, 2).rows)


def test_where_nominal_images_run_out_the_share_is_kept():
    nominal, noisy = counts(0.5, 200, good=30, bad=90)
    assert (nominal, noisy) == (30, 30)


def grouped(source: LabelledSet, *parts: Sequence[int]) -> LabelledSet:
    groups = list(range(len(source)))
    for part in parts:
        for row in part:
            groups[row] = part[0]
    return replace(source, groups=tuple(groups))


PAIRS = [(row, row + 1) for row in range(0, 60, 2)] + [(row, row + 1, row + 2) for row in range(100, 130, 3)]
"""Shots of one part: of 60 nominal images in pairs, and of 30 defective ones in threes."""


def test_without_groups_the_draw_is_that_of_shuffled_lists_of_images():
    source, rng = imagined(60, 30), random.Random(1)
    good, bad = list(range(60)), list(range(60, 90))
    rng.shuffle(good)
    rng.shuffle(bad)
    held = pools(source, 0.4)
    assert (held.test_good, held.test_bad) == (tuple(good[:24]), tuple(bad[:12]))
    good, bad, rng = good[24:], bad[12:], random.Random(7)
    rng.shuffle(good)
    rng.shuffle(bad)
    assert set(draw(source, 0.2, 7, images=40).rows.tolist()) == {*good[:32], *bad[:8]}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 40), min_size=150, max_size=150), st.sampled_from([0.0, 0.1, 0.3, 0.5]), st.integers(0, 5)
)
def test_no_leakage_group_is_ever_on_both_sides_nor_drawn_in_part(groups, share, seed):
    source = replace(imagined(100, 50), groups=tuple(g if g < 20 else 1000 + row for row, g in enumerate(groups)))
    held, drawn = pools(source, 0.4), set(draw(source, share, seed, images=60).rows.tolist())
    test = {*held.test_good, *held.test_bad}
    assert not {source.groups[row] for row in drawn} & {source.groups[row] for row in test}
    assert not (drawn | test) & source.contradictory
    for part in source.parts(range(150)):
        assert len(drawn & set(part)) in {0, len(part)}
        assert len(test & set(part)) in {0, len(part)}


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2, 0.4, 0.5])
def test_whole_groups_keep_the_share_and_the_number_of_images(share):
    source = grouped(imagined(100, 60), *PAIRS)
    assert not source.contradictory
    for seed in range(5):
        drawn = draw(source, share, seed, images=60)
        assert abs(drawn.realised - share) <= 0.02
        assert 54 <= len(drawn.rows) <= 60


def test_draws_by_group_depend_on_the_seed_alone():
    source = grouped(imagined(100, 60), *PAIRS)
    assert pools(source, 0.4) == pools(source, 0.4)
    assert draw(source, 0.2, 1, images=60).names == draw(source, 0.2, 1, images=60).names
    assert draw(source, 0.2, 1, images=60).names != draw(source, 0.2, 2, images=60).names


def test_a_part_that_is_nominal_and_defective_is_drawn_for_neither_side():
    source = grouped(imagined(30, 20), (3, 30), (4, 5))
    assert source.contradictory == {3, 30}
    held = pools(source, 0.4)
    assert not {3, 30} & {*held.test_good, *held.test_bad, *held.good, *held.bad}
    assert len(held.test_good) == int(29 * 0.4)


def test_where_noise_is_a_wrong_label_all_shots_of_a_part_get_the_same_one(tmp_path):
    names = ("bolt", "nut", "washer")
    made(tmp_path, *(f"{name}/{i:02d}.png" for name in names for i in range(30)))
    source = grouped(read_set(tmp_path), *[(row, row + 1) for row in range(0, 90, 2) if row % 30 != 28], (28, 58))
    assert source.contradictory == {28, 58}
    drawn = draw(source, 0.25, 0, images=36)
    label = dict(zip(drawn.rows.tolist(), drawn.labels, strict=True))
    assert drawn.realised > 0
    assert all(len({label.get(row) for row in part}) == 1 for part in source.parts(range(90)) if len(part) > 1)


def test_a_share_that_whole_parts_cannot_give_is_refused_with_the_reason():
    source = grouped(imagined(40, 20), range(40, 60), (0, 1))
    with pytest.raises(
        UsageError,
        match=r"0.2: not possible with set, which has 24 nominal and 20 defective images for training, of 23 and 1 "
        r"parts, whose shots are drawn together; possible: 0",
    ):
        check_shares(source, [0.2], images=20, test_share=0.4, seeds=3)
    with pytest.raises(UsageError, match=r"\(4 images of parts that are both are left out\)"):
        check_shares(grouped(imagined(14, 6), (0, 14), (1, 15)), [0.05], images=20, test_share=0.4)


def test_a_share_that_is_not_possible_is_refused_with_those_that_are():
    with pytest.raises(
        UsageError, match=r"0.05: not possible with set, which has 12 nominal and 3 .* possible: 0, 0.2"
    ):
        check_shares(imagined(20, 5), [0.05], images=20, test_share=0.4)
    with pytest.raises(UsageError, match=r"0.7: shares lie between 0 and 0.5"):
        check_shares(imagined(50, 50), [0.7], images=20, test_share=0.4)
