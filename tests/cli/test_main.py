from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.cli.main import _answer
from curate.cli.screen import Screen
from curate.errors import InputError, Interrupted
from curate.pipeline import default_output
from tests.plates import ROOT, draw_plates

QUICK = {"CURATE_SCORERS": "neighbours", "CURATE_ROUNDS": "1"}


def curate(
    *words: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None, **more: object
) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does, in a process of its own.

    A scan is kept off the network, and is quick, with one view in a single pass, unless `env` is given.
    """
    scans = words[0] == "scan" and "--show-settings" not in words
    offline = ["--offline"] * (words[0] == "scan" and "--offline" not in words)
    call = [sys.executable, "-m", "curate", *map(str, words), *offline]
    settings = QUICK if scans and env is None else env or {}
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "40"} | settings
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more
    return subprocess.run(call, cwd=cwd, env=environment, text=True, timeout=120, check=False, **streams)


def run_program(program: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a program that calls the command line."""
    call = [sys.executable, "-c", f"import sys\nsys.argv[0] = 'curate'\n{program}\ncurate.cli.main()", *words]
    return subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


def test_scan_says_what_it_found_where_the_audit_is_and_what_to_do(plates: Path, tmp_path: Path):
    (plates / "cut.png").write_bytes((plates / "00.png").read_bytes()[:200])
    done = curate("scan", plates, "-o", tmp_path / "audit", env={})  # with all views and rounds
    assert done.returncode == 0, done.stderr
    assert "layout flat" in done.stderr
    assert re.search(r"1\s+unreadable", done.stdout)
    assert "03.png" in done.stdout
    assert f"Audit: {tmp_path / 'audit'}" in done.stdout.splitlines()  # whole, however narrow: not a terminal
    assert "\x1b" not in done.stdout + done.stderr


def test_a_scan_anew_counts_what_people_decided_on_the_audit_that_it_replaces(plates: Path, tmp_path: Path):
    assert curate("scan", plates, "-o", tmp_path / "audit", "--quiet").returncode == 0
    by_hand = pa.table({"path": ["03.png", "11.png", "05.png"], "decision": ["reject", "keep", "reject"]})
    pq.write_table(by_hand, tmp_path / "audit" / "decisions.parquet")
    (plates / "05.png").write_bytes((plates / "06.png").read_bytes())  # its decision ends: it was made on another file
    done = curate("scan", plates, "-o", tmp_path / "audit", "--quiet", "--force")
    assert done.returncode == 0, done.stderr
    assert "review: 1 confirmed, 1 overruled" in done.stdout
    assert "Review: 1 confirmed, 1 overruled" in (tmp_path / "audit/report.html").read_text()


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
        (("scan", "plates", "--device", "cuda", "--runtime", "openvino"), 2, "openvino runs on the CPU"),
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


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or (os.geteuid() == 0 and not Path("/usr/bin/setpriv").exists()),
    reason="root may write everywhere",
)
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
    resource = pytest.importorskip("resource", reason="POSIX only")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "scan" in curate("--help").stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (
        after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5
    )  # CPU time: the machine may be busy


def test_help_shows_scan_first_and_descriptions_whole_and_answers_to_h():
    for words in (("--help",), ("-h",)):
        shown = curate(*words).stdout
        names = re.findall(r"^  (\w+)  ", shown.split("Commands")[1], re.MULTILINE)
        assert names[0] == "scan"
        flat = " ".join(shown.split())
        assert "Audit a dataset: find what does not belong, show why, write an audit folder." in flat
        assert "Decisions are saved in decisions.parquet." in flat
        assert "..." not in shown.split("Commands")[1]
    assert curate("models", "list", "-h").returncode == 0


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("a/train", "a-train-audit"),
        ("b/train", "b-train-audit"),
        ("b/train/good", "b-train-good-audit"),
        ("b", "b-audit"),
        ("lot.2024", "lot-audit"),
    ],
)
def test_an_audit_is_named_by_the_part_of_the_path_that_tells_datasets_apart(tmp_path: Path, folder: str, name: str):
    (tmp_path / folder).mkdir(parents=True)
    assert default_output(tmp_path / folder) == Path(name)


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
        "import curate.cli, curate.embeddings.engines.local as local\n"
        "def stop(*a, **k): raise KeyboardInterrupt\n"
        "local._Batches.finish = stop"
    )
    done = run_program(program, "scan", str(tmp_path / "plates"), "-o", str(tmp_path / "audit"), "--offline")
    assert done.returncode == 130
    assert "goes on from there" in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["plates"]


def test_ctrl_c_while_a_command_still_imports_its_libraries_is_the_same_interruption():
    program = (
        "import curate.cli\n"
        "class Stop:\n"
        "    def find_spec(self, name, *more):\n"
        "        if name == 'curate.pipeline': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Stop())"
    )
    done = run_program(program, "scan", "plates")
    assert (done.returncode, done.stdout) == (130, "")
    assert re.fullmatch("curate: interrupted; .*\n", done.stderr)


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (InputError("images.csv: wrong"), 2, "images.csv: wrong"),
        (KeyboardInterrupt(), 130, "interrupted; "),
        (Interrupted("stopped"), 130, "stopped"),
        (BrokenPipeError(32, "Broken pipe"), 3, ""),
        (PermissionError(13, "Permission denied", "/models"), 3, "/models: Permission denied; "),
        (OSError("no more"), 3, "no more; "),
        (MemoryError(), 3, "memory ran out; "),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't"), 3, "memory ran out; "),
        (KeyError("x\ny"), 3, "internal error (KeyError: 'x"),
        (ValueError(), 3, "internal error (ValueError: )"),
    ],
)
def test_whatever_goes_wrong_is_an_exit_code_and_one_sentence(error: BaseException, code: int, says: str):
    answered, sentence = _answer(error)
    assert answered == code
    assert sentence.startswith(says)
    assert bool(sentence) == bool(says)
    assert "\n" not in sentence


@pytest.mark.parametrize("verbose", [True, False])
def test_a_fault_of_ours_shows_its_traceback_only_when_asked(verbose: bool):
    program = (
        "import types, curate.cli\n"
        "sys.modules['curate.cli.doctor'] = broken = types.ModuleType('broken')\n"
        "def examine(): raise ValueError('first\\nsecond')\n"
        "broken.examine = examine"
    )
    done = run_program(program, *["--verbose"] * verbose, "doctor")
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].startswith(
        "curate: internal error (ValueError: first); run again with --verbose"
    )
    assert ("Traceback" in done.stderr) == verbose
    assert len(done.stderr.splitlines()) == 1 or verbose


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("words", [("--help",), ("models", "list"), ("models", "list", "--format", "json")])
def test_a_result_that_finds_no_room_is_one_sentence(words: tuple[str, ...]):
    with Path("/dev/full").open("w") as full:
        done = curate(*words, stdout=full)
    assert done.returncode == 3
    assert re.fullmatch("curate: No space left on device; .*\n", done.stderr)


@pytest.mark.parametrize("words", [("--help",), ("models", "list")])
def test_a_reader_that_is_gone_is_no_noise(words: tuple[str, ...]):
    reading, writing = os.pipe()
    os.close(reading)
    done = curate(*words, stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (3, "")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_letters_that_the_terminal_lacks_are_escaped(tmp_path: Path, encoding: str):
    draw_plates(tmp_path / "plates", 3)
    done = curate("scan", "plates", "-o", "检", cwd=tmp_path, env=QUICK | {"PYTHONIOENCODING": encoding})
    assert done.returncode == 0, done.stderr
    assert "Audit: \\u68c0" in done.stdout.splitlines()


def test_a_hostile_split_forges_no_line(plates: Path, tmp_path: Path):
    (plates / "list.csv").write_text('path,split\n00.png,"tr\x1b[31mRED\nain"\n', newline="")
    done = curate("scan", plates / "list.csv", "-o", tmp_path / "audit")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stderr
    assert "split tr\\x1b[31mRED\\nain" in done.stderr


def test_verbose_says_what_was_decided_and_only_curate_speaks(tmp_path: Path):
    draw_plates(tmp_path / "plates", 3)
    done = curate("scan", tmp_path / "plates", "-o", tmp_path / "audit", "--verbose")
    for words in (
        "layout flat",
        "sha256",
        "longest side",
        "levels",
        "device",
        "cache",
        "embedded 3",
        "threshold",
        "seconds",
    ):
        assert words in done.stderr
    lines = done.stderr.splitlines()
    assert [line for line in lines[1:] if not line.startswith("curate: ")] == []
    assert "faiss" not in done.stderr


@pytest.mark.parametrize(
    ("options", "setting", "warning"),
    [
        (("--fence", "iqr"), "threshold .* iqr .* option", "warning: --fence is deprecated; write --threshold"),
        (("--no-kinds",), "subpopulations .* False .* option", "warning: --no-kinds is deprecated; write --no-subpop"),
        (("--threshold", "iqr", "--fence", "mixture"), "threshold .* iqr .* option", "warning: --fence is deprecated"),
    ],
)
def test_a_renamed_option_is_still_read_with_a_warning(options: tuple[str, ...], setting: str, warning: str):
    done = curate("scan", "--show-settings", *options)
    assert done.returncode == 0
    assert re.search(setting, done.stdout)
    assert warning in done.stderr


@pytest.mark.parametrize(("total", "shown"), [(None, "list"), (3, "0/3"), (0, "")])
def test_a_terminal_shows_every_stage_also_one_of_unknown_length(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], total: int | None, shown: str
):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Screen().stage("list", total) as progress:
        progress(0)
    told = capsys.readouterr().err
    assert shown in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", told)
    assert bool(told) == bool(shown)


def test_images_that_were_held_back_are_not_passed_over_in_silence(tmp_path: Path):
    draw_plates(tmp_path / "plates", 12, holes=(1, 5))
    done = curate("scan", tmp_path / "plates", "-o", tmp_path / "audit", "--offline", "--min-keep", "12")
    assert "No image is flagged. The rejection cap kept images above the threshold (see SET002)." in done.stdout
