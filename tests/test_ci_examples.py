"""The hook and the CI examples, run as far as that goes without the service."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.test_main import curate
from tests.plates import ROOT, draw_plates

HOOKS = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))


def example(name: str) -> Any:
    return yaml.safe_load((ROOT / "examples" / "ci" / name).read_text(encoding="utf-8"))


def run(line: str, folder: Path, **env: str) -> int:
    """Run a line of an example, offline, and return its exit code."""
    words = shlex.split(line)
    assert words[0] == "curate"
    done = curate(*words[1:], "--offline", "--quiet", cwd=folder, env=env)
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1), done.stderr
    return done.returncode


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """A working folder with a dataset `parts` of 24 images, two of them with a hole."""
    draw_plates(tmp_path / "parts", 24, holes=(3, 11))
    return tmp_path


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook["id"])
def test_the_hooks_pass_sound_files_and_stop_a_commit_of_broken_ones(hook: dict[str, Any], tmp_path: Path):
    assert {"id", "name", "entry", "language", "types_or"} <= set(hook)
    files = sorted(draw_plates(tmp_path / "plates", 4).iterdir())
    words = shlex.split(hook["entry"])[1:]
    assert curate(*words, *files, cwd=tmp_path).returncode == 0
    files[2].write_bytes(files[2].read_bytes()[:200])
    done = curate(*words, *files, cwd=tmp_path)
    assert done.returncode == 1
    assert "plates/02.png" in done.stdout


def test_the_github_workflow_annotates_and_uploads_sarif(parts: Path):
    workflow = example("github.yml")
    steps = workflow["jobs"]["check"]["steps"]
    commands = [step["run"] for step in steps if step.get("run", "").startswith("curate")]
    summary = parts / "summary.md"
    assert [run(line, parts, GITHUB_STEP_SUMMARY=str(summary)) for line in commands] == [1, 0]
    assert "curate check failed" in summary.read_text(encoding="utf-8")
    upload = next(step for step in steps if "upload-sarif" in step.get("uses", ""))
    log = json.loads((parts / upload["with"]["sarif_file"]).read_text(encoding="utf-8"))
    assert "LBL101" in {result["ruleId"] for result in log["runs"][0]["results"]}
    assert workflow["permissions"]["security-events"] == "write"


def test_the_gitlab_job_writes_the_reports_that_it_names(parts: Path):
    job = example("gitlab.yml")["data-check"]
    assert [run(line, parts) for line in job["script"]] == [0, 1]
    reports = job["artifacts"]["reports"]
    assert json.loads((parts / reports["codequality"]).read_text(encoding="utf-8"))
    assert "<testsuites" in (parts / reports["junit"]).read_text(encoding="utf-8")
    assert all((parts / path).is_dir() for path in job["artifacts"]["paths"])


def test_the_dvc_stage_makes_its_outs_and_metrics(parts: Path):
    stage = example("dvc.yaml")["stages"]["check-data"]
    assert run(stage["cmd"], parts) == 1
    assert all((parts / path).exists() for path in stage["outs"])
    metrics = json.loads((parts / next(iter(stage["metrics"][0]))).read_text(encoding="utf-8"))
    assert metrics["facts"]["LBL101"] > 0.02
