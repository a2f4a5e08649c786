"""Which images are nominal, and which a draw takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from curate.bench.draws import check_shares, counts, draw, pools
from curate.bench.sets import LabelledSet, read_set
from curate.errors import InputError, UsageError


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
        masks=(None,) * (good + bad),
    )


def test_good_and_defect_folders_are_read_and_others_left_out(tmp_path):
    found = read_set(
        made(tmp_path, "good/1.png", "good/2.png", "defect/hole/1.png", "unsure/3.png", "masks/hole/1.png")
    )
    assert [found.relative(row) for row in range(len(found))] == ["good/1.png", "good/2.png", "defect/hole/1.png"]
    assert found.nominal == (True, True, False)
    assert found.masks == (None, None, tmp_path / "masks/hole/1.png")


def test_mvtec_layout_takes_the_good_of_both_splits_and_its_masks(tmp_path):
    names = ("train/good/1.png", "test/good/2.png", "test/cut/3.png", "ground_truth/cut/3_mask.png")
    found = read_set(made(tmp_path, *names))
    assert found.nominal == (True, True, False)
    assert found.masks[2] == tmp_path / "ground_truth/cut/3_mask.png"


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


def test_a_share_that_is_not_possible_is_refused_with_those_that_are():
    with pytest.raises(
        UsageError, match=r"0.05: not possible with set, which has 12 nominal and 3 .* possible: 0, 0.2"
    ):
        check_shares(imagined(20, 5), [0.05], images=20, test_share=0.4)
    with pytest.raises(UsageError, match=r"0.7: shares lie between 0 and 0.5"):
        check_shares(imagined(50, 50), [0.7], images=20, test_share=0.4)
