from __future__ import annotations

import os
from pathlib import Path

import pytest

from curate.cli.settings import layered
from curate.config import RENAMED_SETTINGS, ScanConfig
from curate.errors import InputError, UsageError
from tests.cli.test_main import curate
from tests.rules.audits import flagged, save_audit


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("CURATE_")]:
        monkeypatch.delenv(name)


def test_options_win_over_variables_over_the_nearest_file_over_defaults(tmp_path: Path):
    (tmp_path / "curate.toml").write_text('seed = 1\nneighbours = 7\nrounds = 3\n[check]\nfail_on = "warning"\n')
    settings = layered(
        {"seed": 3}, environment={"CURATE_SEED": "2", "CURATE_ROUNDS": "5", "CURATE_CHECK_SELECT": "LBL,OOD"}
    )
    scan = settings.scan
    assert (scan.seed, scan.rounds, scan.neighbours, scan.max_share) == (3, 5, 7, 0.5)
    assert (settings.check.fail_on, settings.check.select) == ("warning", ("LBL", "OOD"))
    origins = {name: one.origin for name, one in settings.sections[""].items()}
    assert [origins[name] for name in ("seed", "rounds", "neighbours", "max_share")] == [
        "option",
        "CURATE_ROUNDS",
        "curate.toml:2",
        "default",
    ]


def test_the_nearest_file_counts_alone_and_its_paths_start_at_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "curate.toml").write_text("seed = 1\nneighbours = 7\n")
    (tmp_path / "near" / "deep").mkdir(parents=True)
    text = '[tool.other]\nx = 1\n[tool.curate]\nseed = 5\ncache = "c"\n[tool.curate.check]\nrules = "own.toml"\n'
    (tmp_path / "near" / "pyproject.toml").write_text(text)
    monkeypatch.chdir(tmp_path / "near" / "deep")
    settings = layered(environment={})
    assert (settings.scan.seed, settings.scan.neighbours) == (5, None)
    assert settings.scan.cache == tmp_path / "near" / "c"
    assert Path(settings.check.rules) == tmp_path / "near" / "own.toml"
    (tmp_path / "near" / "pyproject.toml").write_text("[tool.other]\nx = 1\n")
    assert layered(environment={}).scan.seed == 1


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("seed = 1\nneighbors = 3\n", 2, "did you mean 'neighbours'"),
        ("[chek]\nrules = 'x'\n", 1, "did you mean 'check'"),
        ("[check]\nfail-on = 'error'\n", 2, "did you mean 'fail_on'"),
        ("\n\nseed = -1\n", 3, "greater than or equal to 0"),
        ("seed = 'many'\n", 1, "integer"),
        ("device = 'tpu'\n", 1, "'auto', 'cpu' or 'cuda'"),
        ("[check]\nformat = 'html'\n", 2, "'text'"),
        ("check = 3\n", 1, "not a table"),
        ("seed = 1\nseed = 2\n", 2, "not TOML"),
        ('scorers = ["flow", "views"]\n', 1, "scorers"),
    ],
)
def test_a_wrong_file_is_one_sentence_with_file_line_and_the_nearest_key(
    tmp_path: Path, text: str, line: int, says: str
):
    (tmp_path / "curate.toml").write_text(text)
    with pytest.raises(InputError) as refused:
        layered(environment={})
    assert str(refused.value).startswith(f"curate.toml:{line}: ")
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_wrong_key_of_pyproject_is_named_with_its_line(tmp_path: Path):
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n\n[tool.curate]\nbackbonne = 'x'\n")
    with pytest.raises(InputError, match=r"^pyproject\.toml:5: unknown key 'backbonne'; did you mean 'backbone'\?$"):
        layered(environment={})


def test_an_unknown_or_wrong_variable_is_named():
    with pytest.raises(UsageError, match=r"CURATE_SEDE: no such variable; did you mean 'CURATE_SEED'\?"):
        layered(environment={"CURATE_SEDE": "1"})
    with pytest.raises(UsageError, match="CURATE_SEED: seed = 'x'"):
        layered(environment={"CURATE_SEED": "x"})
    assert layered(environment={"CURATE_MODELS": "m", "CURATE_SEED": ""}).scan.seed == 0


def test_every_renamed_setting_is_one_of_a_scan_and_its_former_name_is_not():
    assert RENAMED_SETTINGS
    for former, present in RENAMED_SETTINGS.items():
        assert present in ScanConfig.model_fields
        assert former not in ScanConfig.model_fields


def test_former_names_of_settings_are_read_with_a_warning_that_names_the_present_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "curate.toml").write_text('fence = "iqr"\nkinds = false\n')
    scan = layered(environment={}).scan
    assert (scan.threshold, scan.subpopulations) == ("iqr", False)
    assert capsys.readouterr().err.splitlines() == [
        "warning: curate.toml:1: 'fence' is deprecated; write 'threshold'",
        "warning: curate.toml:2: 'kinds' is deprecated; write 'subpopulations'",
    ]
    scan = layered(environment={"CURATE_FENCE": "mixture", "CURATE_KINDS": "true"}).scan
    assert (scan.threshold, scan.subpopulations) == ("mixture", True)
    assert "warning: CURATE_FENCE is deprecated; set CURATE_THRESHOLD\n" in capsys.readouterr().err


def test_the_present_name_of_a_setting_wins_over_its_former_one_in_the_same_layer(tmp_path: Path):
    (tmp_path / "curate.toml").write_text('threshold = "iqr"\nfence = "mixture"\n')
    assert layered(environment={}).scan.threshold == "iqr"
    variables = {"CURATE_SUBPOPULATIONS": "false", "CURATE_KINDS": "true"}
    assert layered(environment=variables).scan.subpopulations is False


def test_a_wrong_value_under_a_former_name_is_named_with_its_line(tmp_path: Path):
    (tmp_path / "curate.toml").write_text('seed = 1\nfence = "tall"\n')
    with pytest.raises(InputError, match=r"^curate\.toml:2: threshold = 'tall'"):
        layered(environment={})


def test_show_settings_tells_each_value_and_where_it_comes_from(tmp_path: Path):
    (tmp_path / "curate.toml").write_text("seed = 4\n")
    for words in (("scan", "--show-settings"), ("check", "--show-settings", "--fail-on", "never")):
        done = curate(*words, cwd=tmp_path, env={"CURATE_ROUNDS": "2"})
        assert done.returncode == 0, done.stderr
        rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
        assert rows["seed"] == ["4", "curate.toml:1"]
        assert rows["rounds"] == ["2", "CURATE_ROUNDS"]
        assert rows["neighbours"] == ["-", "default"]
    assert rows["check.fail_on"] == ["never", "option"]


def test_a_file_decides_for_scan_and_check_and_an_option_that_equals_its_default_still_wins(tmp_path: Path):
    (tmp_path / "curate.toml").write_text('device = "tpu"\n')
    done = curate("scan", "nowhere", cwd=tmp_path)
    assert done.returncode == 2
    assert "curate.toml:1: device" in done.stderr
    (tmp_path / "curate.toml").write_text("seed = 9\n[check]\nfail_on = 'never'\n")
    save_audit(tmp_path / "audit", images=flagged(3))
    assert curate("check", "audit", cwd=tmp_path).returncode == 0
    assert curate("check", "audit", "--fail-on", "error", cwd=tmp_path).returncode == 1
    shown = curate("scan", "--seed", "0", "--show-settings", cwd=tmp_path).stdout
    assert [line.split()[1:] for line in shown.splitlines() if line.startswith("seed ")] == [["0", "option"]]


@pytest.mark.parametrize(
    ("named", "stays"), [("./golden", False), ("golden/", False), ("list.csv", False), ("val", True)]
)
def test_trusted_images_that_a_file_names_by_a_path_lie_beside_it_and_a_split_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, stays: bool
):
    (tmp_path / "curate.toml").write_text(f'trusted = "{named}"\n')
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    trusted = layered(environment={}).scan.trusted
    assert trusted == (named if stays else str(tmp_path / named))
    assert layered({"trusted": "./here"}, environment={}).scan.trusted == "./here"
