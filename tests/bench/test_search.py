"""`curate bench --search`, on drawn plates, from a start that is quickly trained."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from curate.bench import run, search
from curate.bench.call import Call, make_plan, run_bench
from curate.bench.cells import CELLS, Store
from curate.bench.draws import draw
from curate.bench.road import DrawnSet, Road, judge_draw
from curate.bench.sets import read_set
from curate.bench.variants import Variant
from curate.cli import app
from curate.config import ScanConfig
from curate.errors import UsageError
from curate.scores.flow import RAD, Flow
from curate.screen import Screen
from tests.bench.labelled import draw_labelled

START = replace(RAD, folds=3, blocks=1, steps=4, batch=32, hidden=8, outer_rate=1e-4)
"""Quickly trained, and so slowly learning that it is beaten."""

ALONE: dict[str, Any] = {"scorers": "none", "baselines": "none", "detectors": "none", "search": 3}
QUICK: dict[str, Any] = {"images": 30, "shares": "0,0.2", "seeds": 2, "test_share": 0.3, **ALONE}


@pytest.fixture(scope="module", autouse=True)
def quick_start() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "RAD", START)
        yield


@pytest.fixture(scope="module")
def plates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_labelled(tmp_path_factory.mktemp("sets") / "plates", 44, 16)


@pytest.fixture(scope="module")
def two_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Plain plates in one folder, plates with a hole in the other: noise is a wrong label."""
    root = draw_labelled(tmp_path_factory.mktemp("sets") / "classes", 24, 24)
    (root / "good").rename(root / "plain")
    (root / "defect" / "hole").rename(root / "drilled")
    (root / "defect").rmdir()
    return root


@pytest.fixture(scope="module")
def searched(plates: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A bench of searches alone, and its summary."""
    folder = tmp_path_factory.mktemp("bench") / "out"
    return folder, run_bench(Call(datasets=(plates,), **QUICK), folder, screen=Screen(quiet=True))


def embedded(root: Path) -> DrawnSet:
    source = read_set(root)
    return Road(source=source, config=ScanConfig()).drawn(draw(source, 0.2, 0, images=30, test_share=0.3))


def row_of(text: str, share: str) -> list[str]:
    """Return the cells of the row of one share in a table of searches."""
    rows = [[part.strip() for part in line.strip("|").split("|")] for line in text.splitlines() if "plates" in line]
    (row,) = [row for row in rows if row[:2] == ["plates", share]]
    return row


def test_start_and_best_stand_side_by_side_and_the_best_is_no_less_likely(searched):
    folder, summary = searched
    rows = pq.read_table(folder / "figures.parquet").to_pylist()
    found = {(row["share"], row["view"], row["figure"]): row["value"] for row in rows}
    assert {(row["question"], row["kind"], row["method"], row["reason"]) for row in rows} == {
        ("searches", "search", "search", "")
    }
    for share in (0.0, 0.2):
        assert {name: found[share, "start", name] for name in search.SEARCHED} == {
            name: getattr(START, name) for name in search.SEARCHED
        }
        assert found[share, "best", "held_back_nats_per_dim"] <= found[share, "start", "held_back_nats_per_dim"]
    assert found[0.2, "best", "outer_rate"] > START.outer_rate
    for text in (summary, (folder / "tables.md").read_text(encoding="utf-8")):
        assert "What a search over the flow's settings found" in text
        _, _, trials, inner_rate, *_, auroc, ap = row_of(text, "20%")
        assert trials == "3"
        assert inner_rate == f"0.05 → {found[0.2, 'best', 'inner_rate']:.3g}"
        assert auroc == f"{found[0.2, 'start', 'auroc']:.1%} → {found[0.2, 'best', 'auroc']:.1%}"
        assert ap == f"{found[0.2, 'start', 'ap']:.1%} → {found[0.2, 'best', 'ap']:.1%}"
        assert row_of(text, "0%")[-2:] == ["-", "-"]  # without a defect there is nothing to find
        assert "Does it find the noise?" not in text


def test_the_truth_is_measured_against_and_never_searched_by(plates):
    drawn = embedded(plates)
    turned = replace(drawn, draw=replace(drawn.draw, wrong=~drawn.draw.wrong))
    told, other = (search.run_search(one, START, 3) for one in (drawn, turned))
    for view in ("start", "best"):
        assert told[view]["auroc"] == pytest.approx(1 - other[view]["auroc"])
        for name in (*search.SEARCHED, "held_back_nats_per_dim"):
            assert told[view][name] == other[view][name]


@pytest.mark.parametrize("name", ["plates", "two_classes"])
def test_the_start_ranks_as_a_scan_with_its_settings_does(name, request):
    drawn = embedded(request.getfixturevalue(name))
    flow = Variant(about="", scorers=lambda *_, **__: [Flow(config=START)])
    scanned = run.scorer_figures(
        drawn, judge_draw(drawn, ScanConfig(rounds=1), flow), read_set(request.getfixturevalue(name))
    )
    found = search.run_search(drawn, START, 2)["start"]
    assert {figure: found[figure] for figure in ("auroc", "ap")} == {
        figure: scanned["score_flow"][figure] for figure in ("auroc", "ap")
    }


def test_one_draw_of_each_share_is_searched(plates):
    plan = make_plan(Call(datasets=(plates,), **{**QUICK, "seeds": 5}))
    cells = [
        cell for share in plan.shares for seed in range(plan.seeds) for cell in plan.of_draw(*plan.sources, share, seed)
    ]
    assert [(cell.share, cell.seed) for cell in cells] == [(0.0, 0), (0.2, 0)]


def test_a_finished_search_is_not_computed_again_unless_asked_or_with_other_trials(searched, plates):
    folder, _ = searched

    def to_compute(**changed: Any) -> int:
        plan = make_plan(Call(datasets=(plates,), **{**QUICK, **changed}))
        return len(run.to_do(plan, Store(folder, run.shared_settings(plan)))[0])

    assert to_compute() == 0
    assert to_compute(redo="search") == 2
    assert to_compute(search=4) == 2
    assert to_compute(search=0, scorers="flow") == 4  # of two shares and two draws: the flow itself, and no search


def test_a_search_that_fails_is_a_cell_with_its_reason_and_is_tried_again(plates, tmp_path):
    chosen = Call(datasets=(plates,), **{**QUICK, "images": 8, "shares": "0.25"})
    summary = run_bench(chosen, tmp_path / "out", screen=Screen(quiet=True))
    assert "- search: flow: nothing was trained: the set is too small" in summary
    assert "What a search" not in summary
    assert len(run.to_do(make_plan(chosen), Store(tmp_path / "out", {}))[0]) == 1


@pytest.mark.parametrize("trials", [-1, 1])
def test_too_few_trials_are_refused_in_one_sentence(plates, trials):
    with pytest.raises(UsageError, match=f"--search {trials}: a search takes 2 trials or more"):
        make_plan(Call(datasets=(plates,), **{**QUICK, "search": trials}))


def test_without_optuna_a_search_is_refused_before_anything_runs(plates, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)  # as where it is not installed
    with pytest.raises(UsageError, match=r"--search: optuna is not installed: pip install 'curate\[bench\]'"):
        run_bench(Call(datasets=(plates,), **QUICK), tmp_path / "out", screen=Screen(quiet=True))
    assert not (tmp_path / "out").exists()
    assert make_plan(Call(datasets=(plates,), **{**QUICK, "search": 0, "scorers": "flow"})).search == 0


def test_a_search_is_called_from_the_command_line(plates, tmp_path):
    words = [
        "bench",
        str(plates),
        "-o",
        str(tmp_path / "out"),
        "--search",
        "2",
        "--shares",
        "0.2",
        "--images",
        "30",
        "-q",
    ]
    nothing_else = ["--test-share", "0.3", "--scorers", "none", "--baselines", "none", "--detectors", "none"]
    result = CliRunner().invoke(app, [*words, *nothing_else], catch_exceptions=False)
    assert result.exit_code == 0
    assert row_of(result.stdout, "20%")[2] == "2"
    assert [file.name for file in (tmp_path / "out" / CELLS).rglob("*.json")] == ["searches-search.json"]
