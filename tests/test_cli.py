from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.plates import ROOT, draw_plates


def curate(*words: str | Path, cwd: Path | None = None, **more: object) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does, in a process of its own."""
    call = [sys.executable, "-m", "curate", *map(str, words)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "160"}
    return subprocess.run(
        call, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False, **more
    )


def test_scan_says_what_it_found_where_the_audit_is_and_what_to_do(plates: Path, tmp_path: Path):
    (plates / "cut.png").write_bytes((plates / "00.png").read_bytes()[:200])
    done = curate("scan", plates, "-o", tmp_path / "audit")
    assert done.returncode == 0, done.stderr
    assert "layout flat" in done.stderr
    assert re.search(r"1\s+unreadable", done.stdout)
    assert "03.png" in done.stdout
    assert f"Audit: {tmp_path / 'audit'}" in re.sub(r"\n", "", done.stdout)
    assert "\x1b" not in done.stdout + done.stderr


def test_json_on_stdout_is_all_of_stdout(plates: Path, tmp_path: Path):
    done = curate("scan", plates, "-o", tmp_path / "audit", "--format", "json", "--quiet")
    result = json.loads(done.stdout)
    assert result["images"] == 24
    assert {row["path"] for row in result["worst"]} >= {"03.png", "11.png"}
    assert done.stderr == ""


def test_a_list_of_files_comes_on_stdin(plates: Path, tmp_path: Path):
    names = "\n".join(str(p) for p in sorted(plates.iterdir()))
    done = curate("scan", "-", "-o", tmp_path / "audit", "--format", "json", input=names)
    assert json.loads(done.stdout)["images"] == 24, done.stderr


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("scan", "nowhere"), 2, "nowhere"),
        (("scan", "empty"), 3, "empty"),
        (("scan", "note.txt"), 2, "note.txt"),
        (("scan", "plates", "--layout", "imagefolder"), 2, "imagefolder"),
        (("scan", "plates", "--layout", "mvtec"), 2, "mvtec"),
        (("scan", "plates", "--split", "holdout"), 2, "holdout"),
        (("scan", "plates", "--devise", "cpu"), 2, "--devise"),
        (("scan", "plates", "--image-size", "large"), 2, "image-size"),
        (("scan", "plates", "-o", "plates/audit"), 2, "inside the dataset"),
        (("scan", "plates", "-o", "note.txt"), 2, "not a folder"),
        (("scan", "plates", "--backbone", "resnot18"), 2, "did you mean"),
        (("scan", "plates", "--backbone", "resnet18", "--offline"), 3, "--weights FILE"),
        (("scan", "plates", "--device", "cuda"), 2, "--device cuda"),
        (("scan", "wrong.csv"), 2, "path"),
        (("skan",), 2, "skan"),
    ],
)
def test_bad_input_is_one_sentence_an_exit_code_and_nothing_written(
    tmp_path: Path, words: tuple[str, ...], code: int, says: str
):
    draw_plates(tmp_path / "plates", 3)
    (tmp_path / "empty").mkdir()
    (tmp_path / "note.txt").write_text("hello")
    (tmp_path / "wrong.csv").write_text("file,label\na.png,good\n")
    before = sorted(tmp_path.rglob("*"))
    done = curate(*words, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert says in re.sub(r"[\s│]+", " ", done.stderr)
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/usr/bin/setpriv").exists(), reason="root may write everywhere")
def test_no_permission_to_write_is_one_sentence(tmp_path: Path):
    draw_plates(tmp_path / "plates", 3)
    done = curate("scan", tmp_path / "plates", "-o", "/proc/audit")
    assert done.returncode == 3
    assert "/proc/audit: the audit cannot be written" in done.stderr


def test_hostile_names_reach_the_terminal_harmless(plates: Path, tmp_path: Path):
    hostile = "[red]\x1b[31m\nwow\u202e.png"
    (plates / "03.png").rename(plates / hostile)
    done = curate("scan", plates, "-o", tmp_path / "audit")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout
    assert "[red]\\x1b[31m\\nwow\\u202e.png" in done.stdout


def test_help_comes_in_half_a_second_and_without_torch():
    program = "import sys, curate.cli; sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "scan" in curate("--help").stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (
        after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5
    )  # CPU time: the machine may be busy


def test_every_command_has_help_with_its_options_explained():
    listed = re.findall(r"^  (\w+) ", curate("--help").stdout.split("Commands")[1], re.MULTILINE)
    assert {"scan", "doctor"} <= set(listed)
    assert "Examples:" in curate("scan", "--help").stdout


def test_doctor_names_versions_devices_cache_and_backbone():
    done = curate("doctor", "--format", "json")
    facts = json.loads(done.stdout)
    assert facts["versions"]["torch"] != "not installed"
    assert facts["faiss"]["state"] == "good"
    assert "curate_s" in facts["backbones"]["packaged"]
    assert "cpu cores" in facts["devices"]


def test_an_interrupted_scan_leaves_no_audit_and_goes_on_from_its_cache(tmp_path: Path):
    draw_plates(tmp_path / "plates", 3)
    program = (
        "import sys, curate.cli, curate.embeddings.engines.local as local\n"
        "def stop(*a, **k): raise KeyboardInterrupt\n"
        "local._Batches.finish = stop\n"
        f"sys.argv = ['curate', 'scan', {str(tmp_path / 'plates')!r}, '-o', {str(tmp_path / 'audit')!r}]\n"
        "curate.cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 130
    assert "goes on from there" in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["plates"]
