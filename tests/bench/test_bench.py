"""The bench from its call to its files, on drawn plates."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import curate
from curate.bench import call, measures, plan
from curate.bench.baselines.registry import BASELINES
from curate.bench.call import Call, make_plan, run_bench
from curate.bench.cells import CELLS, Cell, CellResult, CellStore, Question
from curate.bench.detectors import anomalib_models
from curate.bench.detectors.base import DetectorTask
from curate.bench.detectors.registry import DETECTORS, run_detector
from curate.bench.detectors.views import view_detector
from curate.bench.draws import draw, pools
from curate.bench.embedder import LabelledSetEmbedder
from curate.bench.judge_draw import judge_draw
from curate.bench.patch_distances import PatchDistances
from curate.bench.plan import cells_to_compute, scan_settings, shared_settings
from curate.bench.run import run
from curate.bench.sets import read_set
from curate.bench.variants import Variant, scan_variants, student_maker
from curate.cli.screen import Screen
from curate.config import ScanConfig
from curate.errors import CouldNotFinish, UsageError
from curate.records import Scores
from curate.scores.published.stpm import StpmConfig
from curate.scores.student_config import ABLATIONS as STUDENTS
from tests.bench.labelled import draw_labelled
from tests.plates import ROOT

SHARED = ROOT.parent / "shared" / "bench"
ONCE = {"rounds": 1, "backbone": "curate_s"}
QUICK: dict[str, Any] = {"images": 30, "shares": "0,0.2", "seeds": 1, "test_share": 0.3, "settings": ONCE}


@pytest.fixture(scope="module")
def plates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_labelled(tmp_path_factory.mktemp("sets") / "plates", 44, 16, masks=True)


@pytest.fixture(scope="module")
def first(plates: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A bench of everything that is quick, and its summary."""
    folder = tmp_path_factory.mktemp("bench")
    quick = QUICK | {"settings": ONCE | {"cache": folder / "cache"}}
    chosen = Call(datasets=(plates,), ablate="fence-iqr", detectors="neighbours,softpatch", **quick)
    return folder / "out", run_bench(chosen, folder / "out", screen=Screen(quiet=True))


@pytest.fixture
def finished(first: tuple[Path, str], tmp_path: Path) -> tuple[Path, str]:
    """A copy of it that a test may change."""
    shutil.copytree(first[0], tmp_path / "out")
    return tmp_path / "out", first[1]


def table(folder: Path) -> list[dict[str, Any]]:
    return list(pq.read_table(folder / "figures.parquet").to_pylist())


def value(rows: list[dict[str, Any]], figure: str, **wanted: Any) -> float:
    found = [r["value"] for r in rows if r["figure"] == figure and all(r[k] == v for k, v in wanted.items())]
    assert len(found) == 1, (figure, wanted, found)
    return float(found[0])


def load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/bench is not on this machine")
@pytest.mark.parametrize(("share", "seed", "rounds"), [(0.0, 0, 1), (0.1, 1, 1), (0.2, 0, 2)])
def test_a_cell_is_to_the_last_digit_what_a_scan_of_the_written_folder_gives(tmp_path, share, seed, rounds):
    source = draw_labelled(tmp_path / "set", 40, 20)
    noisy, audit = tmp_path / "noisy", tmp_path / "audit"
    words = [str(source), str(noisy), "--share", str(share), "--seed", str(seed), "--images", "30"]
    subprocess.run([sys.executable, str(SHARED / "make_noisy.py"), *words], check=True, capture_output=True)
    truth = [line.split(",") for line in (noisy / "truth.csv").read_text().split()[1:]]
    drawn = draw(read_set(source), share, seed, images=30)
    assert [name for name, _, _ in truth] == [name.removeprefix("good/") for name in drawn.names]
    assert [wrong == "1" for _, wrong, _ in truth] == drawn.wrong.tolist()

    curate.scan(noisy / "train", audit, rounds=rounds)
    expected = load(SHARED / "score_audit.py").figures(audit / "images.parquet", noisy / "truth.csv")
    protocol = Call(datasets=(source,), shares=str(share), seeds=seed + 1, images=30, baselines="none")
    chosen_plan = make_plan(replace(protocol, settings={"rounds": rounds}))
    store = run(chosen_plan, tmp_path / "out")
    cell = Cell(dataset="set", share=share, seed=seed, question=Question.FINDS, method="default")
    result = store.read(cell)
    assert result is not None
    found = result.figures[""] | result.counts
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)


def test_every_method_has_its_figures_and_the_holes_are_found(finished):
    folder, summary = finished
    rows = table(folder)
    assert {row["reason"] for row in rows} == {""}
    for method in ("default", "patch-nn"):
        assert value(rows, "auroc", method=method, share=0.2, view="") > 0.95
    assert value(rows, "contamination_error", method="default", share=0.2, view="") < 0.2
    assert value(rows, "power_real", method="default", share=0.2, view="") > 0.5
    assert not [
        row for row in rows if row["figure"] == "power_real" and row["share"] == 0
    ]  # no defect, no share of them
    for share in (0, 0.2):
        assert 0 <= value(rows, "power_planted", method="default", share=share, view="") <= 1
        for budget in measures.BUDGETS:
            figure = f"expected_precision_at_{budget}"
            assert 0 <= value(rows, figure, method="default", share=share, view="") <= 1
    assert "expected P@10%" in (folder / "tables.md").read_text()
    assert value(rows, "image_auroc", method="neighbours", trained="clean", share=0.2) > 0.95
    assert value(rows, "pixel_auroc", method="neighbours", trained="clean", share=0.2) > 0.8
    assert "| default |" in summary
    text = (folder / "tables.md").read_text()
    assert "neighbours, cleaned by default" in text
    assert "| 20% | 6/30 | default |" in text


def test_the_published_student_learns_from_the_pixels_of_the_draw(plates, tmp_path):
    source, config = read_set(plates), ScanConfig(cache=tmp_path, image_size=64)
    drawn = LabelledSetEmbedder(source=source, config=config).embed_draw(
        draw(source, 0.2, 0, images=12, test_share=0.3)
    )
    for row in (0, len(drawn.draw.rows) - 1):
        shown = drawn.pixels(row)
        file = Image.open(drawn.listing.files[row]).convert("RGB").resize(shown.shape[1::-1], Image.Resampling.BOX)
        assert np.abs(shown - np.asarray(file, dtype=np.float32)).mean() < 3
    few = replace(STUDENTS["mlg-stpm"], stpm=StpmConfig(epochs=2, warm_up=1, every=1, learning_rate=0.01))
    judged = judge_draw(drawn, config, Variant(about="", scorers=student_maker(few)))
    maps = judged.maps["score_student"]
    assert [m.shape for m in maps] == [tuple(grid) for grid in drawn.embeddings.grids]
    assert np.ptp(np.concatenate([m.ravel() for m in maps])) > 0


def test_figures_of_pictures_and_tables_are_equal_for_equal_cells(finished):
    folder, _ = finished
    names = ("figures.parquet", "tables.md", "curves-finds.svg", "curves-finds.png", "curves-cleans.svg")
    names += ("curves-reliability.svg", "curves-reliability.png")
    before = {name: (folder / name).read_bytes() for name in names}
    shared = json.loads((folder / "bench.json").read_text())
    call.write_results(CellStore(folder, shared))
    assert {name: (folder / name).read_bytes() for name in names} == before


def test_finished_cells_are_not_computed_again_and_new_ones_are_added(finished, plates):
    folder, _ = finished
    before = {file: file.stat().st_mtime_ns for file in (folder / CELLS).rglob("*.json")}
    chosen = Call(datasets=(plates,), scorers="default,neighbours", detectors="none", **QUICK)
    run_bench(chosen, folder, screen=Screen(quiet=True))
    after = {file: file.stat().st_mtime_ns for file in (folder / CELLS).rglob("*.json")}
    assert {file: after[file] for file in before} == before
    assert {file.name for file in after.keys() - before.keys()} == {"finds-neighbours.json"}


def test_a_method_can_be_computed_again(finished, plates):
    folder, _ = finished
    chosen_plan = make_plan(Call(datasets=(plates,), redo="ecod", detectors="none", **QUICK))
    work, done = cells_to_compute(chosen_plan, CellStore(folder, shared_settings(chosen_plan)))
    assert {cell.method for part in work for cell in part.cells} == {"ecod"}
    assert done > 0


def test_a_failing_baseline_is_a_cell_with_its_reason_and_is_tried_again(plates, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyod.models.ecod", None)  # as where it is not installed
    chosen = Call(datasets=(plates,), scorers="none", baselines="ecod,pooled-knn", detectors="none", **QUICK)
    summary = run_bench(chosen, tmp_path / "out", screen=Screen(quiet=True))
    reasons = {row["method"]: row["reason"] for row in table(tmp_path / "out")}
    assert reasons["ecod"] == "pyod.models.ecod is not installed: pip install 'curate-vision[bench]'"
    assert reasons["pooled-knn"] == ""
    assert "- ecod: pyod.models.ecod is not installed" in summary
    work, _ = cells_to_compute(make_plan(chosen), CellStore(tmp_path / "out", {}))
    assert {cell.method for part in work for cell in part.cells} == {"ecod"}


def test_a_bench_of_which_every_cell_failed_could_not_finish_and_keeps_the_reasons(plates, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyod.models.ecod", None)  # as where it is not installed
    chosen = Call(datasets=(plates,), scorers="none", baselines="ecod", detectors="none", **QUICK)
    with pytest.raises(
        CouldNotFinish, match=r"all 2 cells failed; ecod: pyod.models.ecod is not installed: .*tables.md"
    ):
        run_bench(chosen, tmp_path / "out", screen=Screen(quiet=True))
    assert {row["reason"] != "" for row in table(tmp_path / "out")} == {True}


def test_without_the_extra_the_own_scorers_and_detectors_are_measured(plates, tmp_path, monkeypatch):
    for name in ("sklearn", "sklearn.metrics", "cleanlab", "pyod", "pyod.models.ecod"):
        monkeypatch.setitem(sys.modules, name, None)  # as where it is not installed
    chosen = Call(datasets=(plates,), scorers="neighbours", baselines="ecod", **QUICK)
    run_bench(chosen, tmp_path / "out", screen=Screen(quiet=True))
    rows = table(tmp_path / "out")
    assert {row["method"] for row in rows if row["reason"]} == {"ecod"}
    assert value(rows, "auroc", method="neighbours", share=0.2, view="") > 0.9
    assert value(rows, "image_auroc", method="neighbours", trained="clean", share=0.2) > 0.9


def test_a_folder_of_another_bench_is_refused(finished, plates, tmp_path):
    folder, _ = finished
    chosen_plan = make_plan(Call(datasets=(plates,), **{**QUICK, "images": 20}))
    with pytest.raises(UsageError, match="its cells were made with images 30, not 20: choose another folder with -o"):
        run(chosen_plan, folder)
    other = tmp_path / "else"
    other.mkdir()
    (other / "thesis.tex").touch()
    with pytest.raises(UsageError, match="not empty, and not a bench"):
        CellStore(other, {})


def test_a_cell_made_with_other_settings_of_the_scan_or_by_another_version_is_computed_again(
    plates, tmp_path, monkeypatch
):
    store = CellStore(tmp_path / "out", {})
    chosen_plan = make_plan(Call(datasets=(plates,), baselines="none", detectors="none", **QUICK))
    for part in cells_to_compute(chosen_plan, store)[0]:
        for cell in part.cells:
            store.write(cell, CellResult(scan=scan_settings(cell, chosen_plan)))
    assert cells_to_compute(chosen_plan, store) == ([], 2)
    other = make_plan(
        Call(datasets=(plates,), baselines="none", detectors="none", **QUICK | {"settings": {"rounds": 7}})
    )
    assert len(cells_to_compute(other, store)[0]) == 2
    monkeypatch.setattr(plan, "__version__", "0.0.1")
    assert len(cells_to_compute(chosen_plan, store)[0]) == 2


def test_a_damaged_cell_counts_as_absent(tmp_path):
    cell = Cell(dataset="a", share=0.1, seed=0, question=Question.FINDS, method="default")
    store = CellStore(tmp_path / "out", {})
    store.write(cell, CellResult(figures={"": {"auroc": 1.0}}))
    assert store.done(cell)
    (tmp_path / "out" / CELLS / cell.path).write_text('{"cell":')
    assert not store.done(cell)
    assert store.all() == {}


def test_cells_of_earlier_versions_with_a_question_that_is_gone_are_ignored(tmp_path):
    cell = Cell(dataset="a", share=0.1, seed=0, question=Question.FINDS, method="default")
    store = CellStore(tmp_path / "out", {"test_share": 0.4})
    store.write(cell, CellResult(figures={"": {"auroc": 1.0}}))
    older = {"dataset": "a", "share": 0.1, "seed": 0, "question": "searches", "method": "search", "trained": ""}
    result = {"figures": {"": {"trials": 10}, "start": {"l2": 0.1}, "best": {"l2": 0.2}}, "reason": ""}
    file = (tmp_path / "out" / CELLS / cell.path).with_name("searches-search.json")
    file.write_text(json.dumps({"cell": older, "result": result}))
    assert list(store.all()) == [cell]
    assert "| default |" in call.write_results(CellStore(tmp_path / "out", {"test_share": 0.4}))
    assert {row["question"] for row in table(tmp_path / "out")} == {"finds"}


def test_every_method_says_what_it_is():
    assert all(entry.about for entry in {**scan_variants(), **BASELINES, **DETECTORS}.values())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"scorers": "magic"}, "--scorers magic: no such name; choose from default"),
        ({"ablate": "magic"}, "--ablate magic: no such name"),
        ({"baselines": "magic"}, "--baselines magic: no such name; choose from datalab"),
        ({"detectors": "magic"}, "--detectors magic: no such name; choose from neighbours"),
        ({"shares": "0,often"}, "--shares '0,often': numbers separated by commas"),
        ({"shares": ","}, "no share in it"),
        ({"scorers": "none", "baselines": "none", "detectors": "none"}, "nothing to measure"),
    ],
)
def test_bad_words_are_answered_in_one_sentence(plates, words, sentence):
    with pytest.raises(UsageError, match=sentence):
        make_plan(Call(datasets=(plates,), **{**QUICK, **words}))


@pytest.mark.skipif(importlib.util.find_spec("anomalib") is not None, reason="anomalib is installed")
def test_a_detector_that_is_not_installed_says_what_to_install(plates):
    with pytest.raises(
        UsageError, match=r"--detectors patchcore: anomalib is not installed: pip install 'curate-vision\[bench\]'"
    ):
        make_plan(Call(datasets=(plates,), detectors="patchcore"))


class FirstNumber:
    """A scorer whose scores are the first numbers of the pooled vectors; it keeps which images it may learn from."""

    name = "first"

    def score(self, embeddings, groups, *, guide, progress=None):
        self.nominal = guide.nominal
        return Scores(
            scorer=self.name,
            values=embeddings.pooled[:, 0],
            maps=[np.full((1, 1), v) for v in embeddings.pooled[:, 0]],
            neighbours=np.zeros((len(groups), 0), dtype=np.int64),
        )


def test_a_view_as_a_detector_learns_from_the_training_images_alone_and_detects(plates, tmp_path):
    source = read_set(plates)
    embedder = LabelledSetEmbedder(source=source, config=ScanConfig(cache=tmp_path))
    drawn = embedder.embed_draw(draw(source, 0, 0, images=30, test_share=0.3))
    held = pools(source, 0.3)
    test = np.array(held.test_good + held.test_bad)
    assert not set(test) & set(drawn.draw.rows)
    task = DetectorTask(
        source=source,
        whole=drawn.whole,
        distances=PatchDistances(drawn.whole.embeddings),
        training=drawn.draw.rows,
        test=test,
        seed=0,
    )
    assert run_detector("flow-default", task)["image_auroc"] > 0.9
    scorer = FirstNumber()
    output = view_detector(lambda *_, **__: [scorer])(task)
    assert scorer.nominal.tolist() == [True] * len(task.training) + [False] * len(test)
    expected = drawn.whole.embeddings.pooled[drawn.whole.embedding_rows[test], 0]
    assert output.scores.tolist() == pytest.approx(expected.tolist())
    assert [m[0, 0] for m in output.maps] == pytest.approx(expected.tolist())


def test_two_sets_of_one_name_are_refused(plates):
    with pytest.raises(UsageError, match="plates: two of the sets have this name"):
        make_plan(Call(datasets=(plates, plates)))


def test_several_processes_give_the_same_figures(finished, plates, tmp_path):
    folder, _ = finished
    chosen_plan = make_plan(Call(datasets=(plates,), jobs=2, baselines="pooled-knn", detectors="none", **QUICK))
    several = run(chosen_plan, tmp_path / "several")
    one = CellStore(folder, {})
    for cell, result in several.all().items():
        known = one.read(cell)
        assert known is not None
        times = {name for name in result.figures[""] if name.endswith("_s")}
        for view, figures in result.figures.items():
            assert {k: v for k, v in figures.items() if k not in times} == {
                k: v for k, v in known.figures[view].items() if k not in times
            }


def test_predictions_of_anomalib_come_back_in_the_order_of_the_files():
    class Batch:
        image_path = ("a/000001.png", "a/000000.png")
        pred_score = (np.float32(0.9), np.float32(0.1))

        @property
        def anomaly_map(self):
            import torch

            return torch.stack([torch.full((1, 2, 2), 9.0), torch.full((1, 2, 2), 1.0)])

    scores, maps = anomalib_models._in_order([Batch()], 2)
    assert scores.tolist() == pytest.approx([0.1, 0.9])
    assert [float(m.max()) for m in maps] == [1.0, 9.0]
    with pytest.raises(ValueError, match="no score for 1 of 3 images"):
        anomalib_models._in_order([Batch()], 3)
