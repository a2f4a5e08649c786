"""The leakage groups of a labelled set: found in the whole set, kept with the bench, never on both sides."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from curate.bench.call import Call, make_plan, write_results
from curate.bench.cells import Cell, CellResult, CellStore, Question
from curate.bench.draws import draw, pools
from curate.bench.embedder import LabelledSetEmbedder
from curate.bench.groups import named_groups, with_groups
from curate.bench.run import run
from curate.bench.sets import LabelledSet, read_set
from curate.config import ScanConfig
from curate.errors import UsageError
from curate.progress import Silent
from curate.same_part.planted import ALL_TOGETHER, plant
from tests.bench.labelled import draw_labelled

COPY = ["defect/hole/001.png", "defect/hole/100.png"]
SHOT = ["good/003.png", "good/100.png"]
BOTH = ["good/004.png", "defect/hole/101.png"]


@pytest.fixture(scope="module")
def plates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Plates of which one was copied, one photographed twice, and a nominal one copied among the defective ones."""
    root = draw_labelled(tmp_path_factory.mktemp("sets") / "plates", 60, 10, side=128)
    shutil.copy(root / COPY[0], root / COPY[1])
    shutil.copy(root / BOTH[0], root / BOTH[1])
    pixels = np.asarray(Image.open(root / SHOT[0]).convert("RGB"))
    Image.fromarray(plant(pixels, np.random.default_rng(0))[ALL_TOGETHER]).save(root / SHOT[1])
    return root


def settings(folder: Path, *, same_part: bool) -> ScanConfig:
    return ScanConfig(cache=folder / "cache", same_part=same_part, scorers=("neighbours",), rounds=1)


def grouped(plates: Path, folder: Path, *, same_part: bool) -> LabelledSet:
    config = settings(folder, same_part=same_part)
    return with_groups(read_set(plates), config, CellStore(folder / "out", {}), screen=Silent())


def test_copies_and_shots_of_the_whole_set_are_found_and_kept_with_the_bench(plates, tmp_path, monkeypatch):
    source = grouped(plates, tmp_path, same_part=True)
    groups = dict(zip(map(source.relative, range(len(source))), source.groups, strict=True))
    assert all(groups[first] == groups[other] for first, other in (COPY, SHOT, BOTH))
    assert {source.relative(row) for row in source.contradictory} == set(BOTH)
    monkeypatch.setattr(LabelledSetEmbedder, "leakage_groups", lambda self: pytest.fail("they were kept"))
    assert grouped(plates, tmp_path, same_part=True) == source


def test_without_same_part_copies_alone_are_groups(plates, tmp_path):
    source = grouped(plates, tmp_path, same_part=False)
    assert sorted(map(sorted, named_groups(source))) == sorted(map(sorted, (COPY, BOTH)))


def test_a_part_is_in_the_test_set_or_in_a_training_set_as_a_whole(plates, tmp_path):
    source = grouped(plates, tmp_path, same_part=True)
    row_of = {source.relative(row): row for row in range(len(source))}
    held = pools(source, 0.3)
    test = {*held.test_good, *held.test_bad}
    for seed in range(4):
        drawn = set(draw(source, 0.1, seed, images=40, test_share=0.3).rows.tolist())
        for pair in (COPY, SHOT):
            first, other = (row_of[path] for path in pair)
            assert (first in drawn) == (other in drawn)
            assert (first in test) == (other in test)
        assert not {row_of[path] for path in BOTH} & (drawn | test)


def call(plates: Path, cache: Path) -> Call:
    return Call(
        datasets=(plates,),
        images=40,
        shares="0.1",
        seeds=1,
        test_share=0.3,
        baselines="pooled-knn",
        scorers="none",
        detectors="none",
        settings={"cache": cache, "same_part": False},
    )


def test_the_figures_count_parts_and_the_tables_name_the_groups(plates, tmp_path):
    store = run(make_plan(call(plates, tmp_path / "cache")), tmp_path / "out")
    assert store.groups("plates") == [BOTH, COPY]
    (result,) = store.all().values()
    assert result.counts["parts"] in {result.counts["images"], result.counts["images"] - 1}
    write_results(store)
    assert "plates: 4 images are copies or shots of 2 parts, drawn together" in (tmp_path / "out/tables.md").read_text()


def test_cells_that_were_drawn_image_by_image_are_not_mixed_with_others(plates, tmp_path):
    chosen = make_plan(call(plates, tmp_path / "cache"))
    old = Cell(dataset="plates", share=0.1, seed=0, question=Question.FINDS, method="ecod")
    CellStore(tmp_path / "out", {}).write(old, CellResult(figures={"": {"auroc": 1.0}}))
    with pytest.raises(UsageError, match=r"its cells of plates were drawn image by image, .* choose another folder"):
        run(chosen, tmp_path / "out")


def test_a_share_that_whole_parts_cannot_give_is_refused_before_anything_is_measured(tmp_path):
    root = draw_labelled(tmp_path / "copied", 30, 1, side=64)
    for number in range(1, 12):
        shutil.copy(root / "defect/hole/000.png", root / f"defect/hole/{number:03d}.png")
    chosen = replace(call(root, tmp_path / "cache"), shares="0.1")
    with pytest.raises(UsageError, match=r"--shares 0.1: not possible .* of 21 and 1 parts, whose shots are drawn"):
        run(make_plan(chosen), tmp_path / "out")
