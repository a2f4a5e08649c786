"""`curate check`, `diff`, `rule` and `init` as a user calls them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from curate.audit.parquet import read_audit
from curate.findings import catalogue
from curate.rules.cases import SEARCHED
from curate.rules.engine import engine, fetch
from curate.rules.evaluate import evaluate
from curate.rules.explain import prove
from curate.rules.packs import load_pack
from curate.rules.results import RuleStatus
from tests.cli.test_main import curate
from tests.plates import ROOT, draw_plates
from tests.rules.audits import flagged, make_audit, save_audit


@pytest.fixture
def audit(tmp_path: Path) -> Path:
    """Twenty images of a set below the working folder, three of them mislabelled."""
    found = [{"path": f"{i:03d}.png", "code": "LBL001", "message": "a scratch"} for i in range(17, 20)]
    return save_audit(tmp_path / "audit", str(tmp_path / "parts"), images=flagged(3), findings=found)


def test_a_broken_rule_is_exit_code_1_with_figures_images_and_cure(audit: Path, tmp_path: Path):
    done = curate("check", "audit", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    line = next(line for line in done.stdout.splitlines() if "LBL101" in line)
    assert line.startswith("FAIL ")
    assert "15 % (3 of 20); the limit is 2 %" in line
    assert "parts/017.png: a scratch" in done.stdout
    assert "curate rule LBL101" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("20 images checked against 23 rules of default: ")


def test_an_image_that_breaks_several_rules_is_listed_once(audit: Path, tmp_path: Path):
    for form in ("text", "markdown"):
        shown = curate("check", "audit", "--format", form, cwd=tmp_path).stdout
        assert shown.count("017.png") == 1
        assert "3 images of LBL101, see there" in shown  # under LBL102


def test_the_lower_bound_of_the_contamination_is_not_taken_for_the_estimate(tmp_path: Path):
    folder = save_audit(tmp_path / "audit", images=[{"times": 20}])
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(
        json.dumps(run | {"contamination": {"estimate": 0.3, "low": 0.2, "high": 0.41}}), encoding="utf-8"
    )
    line = next(line for line in curate("check", folder).stdout.splitlines() if "SET104" in line)
    assert line.startswith("FAIL")
    assert "Lower bound of the estimated contamination, less what was decided on (error): 20 %" in line
    assert "20 % (the estimate is 30 %, 20 % to 41 %);" in line
    assert line.endswith("the limit is 10 %")


def test_a_sound_audit_is_exit_code_0(tmp_path: Path):
    save_audit(tmp_path / "audit", images=[{"times": 20}])
    done = curate("check", "audit", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "FAIL" not in done.stdout
    assert re.search(r": \d+ pass(, \d+ skipped)?\.$", done.stdout.rstrip())


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--fail-on", "never"), 0),
        (("--ignore", "LBL"), 0),
        (("--ignore", "LBL101"), 0),
        (("--ignore", "LBL101", "--fail-on", "warning"), 1),
        (("--select", "LBL"), 1),
        (("--select", "IMG,DUP"), 0),
        (("--select", "ABC"), 2),
        (("--rules", "nowhere"), 2),
        (("--fail-on", "always"), 2),
        (("--format", "html"), 2),
        (("--baseline", "nowhere.toml"), 2),
        (("--update-baseline",), 2),
        (("--select", "LBL101", "--ignore", "LBL101"), 3),
        (("-o", "/proc/nowhere/report"), 3),
    ],
)
def test_options_decide_what_fails_and_the_exit_code_says_it(
    audit: Path, tmp_path: Path, words: tuple[str, ...], code: int
):
    done = curate("check", "audit", *words, cwd=tmp_path)
    assert done.returncode == code, done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    assert bool(done.stderr) == (code > 1)


@pytest.mark.parametrize(
    ("target", "code", "says"),
    [("none", 3, "no image"), ("empty.toml", 3, "no rule"), ("nowhere", 2, "nowhere"), ("damaged", 2, "damaged")],
)
def test_what_cannot_be_checked_is_no_pass(tmp_path: Path, target: str, code: int, says: str):
    save_audit(tmp_path / "none")
    save_audit(tmp_path / "damaged", images=[{}]).joinpath("images.parquet").write_bytes(b"PAR1")
    (tmp_path / "empty.toml").write_text('title = "x"\n')
    words = ("check", "none", "--rules", target) if target.endswith(".toml") else ("check", target, "--rules", "smoke")
    done = curate(*words, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_nothing_of_check_and_diff_imports_torch(audit: Path):
    program = (
        "import sys, pathlib, curate.cli\n"
        "from typer.testing import CliRunner\n"
        "for words in (['--help'], ['check', sys.argv[1]], ['diff', sys.argv[1], sys.argv[1]], ['rule', 'LBL101'],\n"
        "              ['check', sys.argv[2], '--rules', 'smoke']):\n"
        "    print(sorted({'torch', 'timm', 'torchvision'} & set(sys.modules)), end=' ')\n"
        "    print(CliRunner().invoke(curate.cli.app, words).exit_code)\n"
        "sys.exit(bool({'torch', 'timm', 'torchvision'} & set(sys.modules)))"
    )
    draw_plates(audit.parent / "plates", 3)
    call = [sys.executable, "-c", program, str(audit), str(audit.parent / "plates")]
    done = subprocess.run(call, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"\d$", done.stdout, re.MULTILINE) == ["0", "1", "0", "0", "0"], done.stdout


def test_smoke_reads_twenty_files_in_two_seconds_of_the_processor(tmp_path: Path):
    resource = pytest.importorskip("resource", reason="POSIX only")
    files = sorted(draw_plates(tmp_path / "plates", 20).iterdir())
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = curate("check", *files, "--rules", "smoke", "--quiet")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stdout + done.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2  # wall time: others may work here


def test_smoke_finds_what_is_wrong_with_files_without_a_backbone(tmp_path: Path):
    folder = draw_plates(tmp_path / "plates", 4)
    (folder / "copy.png").write_bytes((folder / "00.png").read_bytes())
    (folder / "cut.png").write_bytes((folder / "01.png").read_bytes()[:300])
    (folder / "text.png").write_text("hello")
    done = curate("check", "plates", "--rules", "smoke", "--format", "json", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    broken = {r["code"]: r for r in json.loads(done.stdout)["rules"] if r["outcome"] == "broken"}
    assert set(broken) == {"IMG101", "DUP103"}
    assert [image["path"] for image in broken["IMG101"]["images"]] == ["cut.png", "text.png"]
    assert broken["DUP103"]["images"][0]["file"] == "plates/copy.png"


def test_a_dataset_is_scanned_first_and_its_audit_kept_where_asked(plates: Path, tmp_path: Path):
    done = curate("check", "plates", "--quiet", "--offline", "--audit", "kept", "--format", "json", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    broken = {r["code"]: r for r in json.loads(done.stdout)["rules"] if r["outcome"] == "broken"}
    assert {"plates/03.png", "plates/11.png"} <= {image["file"] for image in broken["LBL101"]["images"]}
    again = curate("check", "kept", "--format", "json", cwd=tmp_path)
    assert json.loads(again.stdout)["facts"] == json.loads(done.stdout)["facts"]


def test_several_files_need_a_pack_that_judges_files_alone(tmp_path: Path):
    files = sorted(draw_plates(tmp_path / "plates", 2).iterdir())
    done = curate("check", *files)
    assert done.returncode == 2
    assert "--rules smoke" in done.stderr


def test_an_accepted_finding_holds_until_it_expires_or_the_image_changes(audit: Path, tmp_path: Path):
    update = ("--baseline", "known.toml", "--update-baseline", "--owner", "ann", "--reason", "old camera")
    done = curate("check", "audit", *update, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.fullmatch(
        r"known\.toml: accepts LBL101 for 3 images, LBL102 for 3 images; until 20\d\d-\d\d-\d\d\n", done.stderr
    )
    known = (tmp_path / "known.toml").read_text()
    assert known.count('owner = "ann"') == known.count("[[accepted]]") == 6  # LBL101 and LBL102, three images each
    assert curate("check", "audit", "--baseline", "known.toml", "--fail-on", "warning", cwd=tmp_path).returncode == 0
    (tmp_path / "old.toml").write_text(re.sub(r"expires = .*", 'expires = "2020-01-01"', known))
    done = curate("check", "audit", "--baseline", "old.toml", cwd=tmp_path)
    assert done.returncode == 1
    assert "old.toml:3: LBL101 for 017.png expired on 2020-01-01; ask ann" in done.stdout
    rows = [row | {"sha256": "f" * 64} if row.get("verdict") else row for row in flagged(1)]
    save_audit(tmp_path / "changed", images=rows)
    done = curate("check", "changed", "--baseline", "known.toml", cwd=tmp_path)
    assert done.returncode == 1
    assert "no longer accepts anything" in done.stdout


def test_updating_a_baseline_keeps_reasons_and_drops_what_is_mended(audit: Path, tmp_path: Path):
    update = ("--baseline", "known.toml", "--update-baseline")
    curate("check", "audit", *update, "--reason", "first", cwd=tmp_path)
    save_audit(tmp_path / "audit", images=[{"times": 18}, *flagged(2, of=2)])
    curate("check", "audit", *update, "--reason", "second", cwd=tmp_path)
    known = (tmp_path / "known.toml").read_text()
    assert (known.count("[[accepted]]"), known.count('"first"'), known.count('"second"')) == (2, 2, 0)


def test_what_is_true_of_the_set_as_a_whole_is_accepted_for_this_content_alone(tmp_path: Path):
    save_audit(tmp_path / "audit", images=[{"label": "a", "times": 3}, {"label": "b", "times": 9}])
    words = ("check", "audit", "--select", "SET102", "--fail-on", "warning", "--baseline", "known.toml")
    assert curate(*words, cwd=tmp_path, env={}).returncode == 2  # no such file yet
    assert curate(*words, "--update-baseline", cwd=tmp_path).returncode == 0
    assert 'group = "label=a"' in (tmp_path / "known.toml").read_text()
    assert curate(*words, cwd=tmp_path).returncode == 0
    run = tmp_path / "audit" / "run.json"
    run.write_text(run.read_text().replace('"f1"', '"f2"'))
    assert curate(*words, cwd=tmp_path).returncode == 1


ENTRY = """\
[[accepted]]
rule = "LBL101"
content = "a"
owner = "ann"
reason = "old camera"
expires = 2099-01-01
"""
WRONG_BASELINES = {
    "no owner": (ENTRY.replace('owner = "ann"\n', ""), 1, "'owner' is missing"),
    "an empty reason": (ENTRY.replace("old camera", ""), 5, "reason"),
    "no day": (ENTRY.replace("2099-01-01", '"soon"'), 6, "expires"),
    "a stranger": (ENTRY.replace("accepted", "acepted"), 1, "acepted"),
    "an unknown key": (ENTRY.replace("content", "contents"), 1, "content"),
}


@pytest.mark.parametrize("name", WRONG_BASELINES)
def test_a_wrong_baseline_is_one_sentence_with_file_and_line(audit: Path, tmp_path: Path, name: str):
    text, line, says = WRONG_BASELINES[name]
    (tmp_path / "known.toml").write_text(text)
    done = curate("check", "audit", "--baseline", "known.toml", cwd=tmp_path)
    assert done.returncode == 2
    assert f"known.toml:{line}: " in done.stderr
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_diff_tells_what_came_went_moved_changed_and_turned(audit: Path, tmp_path: Path):
    rows = [
        {"path": "000.png", "sha256": f"{0:064x}"},
        {"path": "001.png", "sha256": "e" * 64},
        {"path": "moved.png", "sha256": f"{2:064x}"},
        {"path": "new.png", "sha256": "d" * 64},
        {"path": "017.png", "sha256": f"{17:064x}"},
    ]
    save_audit(tmp_path / "later", images=rows)
    done = curate("diff", "audit", "later", "--format", "json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["added"], found["changed"], found["moved"]) == (["new.png"], ["001.png"], [["002.png", "moved.png"]])
    assert len(found["removed"]) == 16
    assert found["verdicts"] == [{"path": "017.png", "old": "mislabelled", "new": "keep"}]
    assert found["facts"]["LBL101"] == [0.15, 0.0]
    text = curate("diff", "audit", "later", cwd=tmp_path).stdout
    assert "removed: 16" in text
    assert re.search(r"LBL101 +0.15 -> 0\n", text)
    assert curate("diff", "audit", "audit", cwd=tmp_path).stdout == "no difference\n"


def test_rule_explains_rules_and_findings_and_names_the_nearest_of_a_wrong_code(tmp_path: Path):
    rule = curate("rule", "lbl101", cwd=tmp_path).stdout
    assert "share(effective_verdict = 'mislabelled') <= 0.02" in rule
    assert "the kept case keeps it, the broken case breaks it" in rule
    assert "(finding, error)" in curate("rule", "IMG003", cwd=tmp_path).stdout
    assert json.loads(curate("rule", "SET104", "--format", "json", cwd=tmp_path).stdout)["cases"]["broken"] == "broken"
    done = curate("rule", "LBL110", cwd=tmp_path)
    assert done.returncode == 2
    assert "LBL10" in done.stderr


def test_rule_alone_lists_every_rule_and_every_finding(tmp_path: Path):
    pack = load_pack("default")
    done = curate("rule", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for code in (*(rule.code for rule in pack.rules), *catalogue()):
        assert re.search(rf"^  {code} +(error|warning|note) +\S", done.stdout, re.MULTILINE), code
    rows = json.loads(curate("rule", "--format", "json", cwd=tmp_path).stdout)
    assert len(rows) == len(pack.rules) + len(catalogue())


def test_init_proposes_what_the_trusted_set_keeps_to_and_every_proposed_rule_is_proved(audit: Path, tmp_path: Path):
    done = curate("init", "audit", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert curate("check", "audit", "--fail-on", "warning", cwd=tmp_path).returncode == 0
    pack = load_pack(tmp_path / "curate-rules.toml")
    for rule in pack.rules:
        assert [prove(pack, rule, case) for case in ("kept", "broken")] == ["kept", "broken"], rule.code
    save_audit(tmp_path / "other", images=[{"label": "new", "mode": "RGB", "width_px": 10, "times": 3}])
    codes = {
        r["code"]
        for r in json.loads(curate("check", "other", "--format", "json", cwd=tmp_path).stdout)["rules"]
        if r["outcome"] == "broken"
    }
    assert {"LBL901", "IMG901", "IMG902", "SET901"} <= codes
    again = curate("init", "audit", cwd=tmp_path)
    assert again.returncode == 2
    assert "--force" in again.stderr


def decide(audit: Path, **decisions: str) -> None:
    pq.write_table(
        pa.table({"path": list(decisions), "decision": list(decisions.values())}), audit / "decisions.parquet"
    )


@pytest.mark.parametrize("name", ["default", "strict"])
def test_a_complete_review_turns_the_check_green_without_a_baseline(tmp_path: Path, name: str):
    far = {"verdict": "near_ood", "anomaly_score": 9.0, "suggested_label": "b", "label": "a"}
    rows = [{"times": 40, "label": "a"}, *[far] * 20]  # a third of the set: no rule on verdicts is kept
    audit = save_audit(tmp_path / "audit", images=rows)
    run = json.loads((audit / "run.json").read_text())
    estimate = {"contamination": {"estimate": 0.4, "low": 0.3, "high": 0.5}, "same_part": SEARCHED}
    (audit / "run.json").write_text(json.dumps(run | estimate))
    paths, pack = [f"{number:03d}.png" for number in range(40, 60)], load_pack(name)

    def broken(**decisions: str) -> set[str]:
        decide(audit, **decisions)
        results = evaluate(read_audit(audit), pack, pack.rules).results
        return {one.rule.code for one in results if one.status is RuleStatus.BROKEN}

    rejected = dict.fromkeys(paths[2:], "reject")
    assert broken() == {"LBL103", "OOD101", "OOD102", "SET103", "SET104"}
    assert {"OOD102"} <= broken(**rejected, **{paths[0]: "keep"})  # one is left
    assert {"OOD102"} <= broken(**rejected, **{paths[0]: "keep", paths[1]: "unsure"})
    decide(audit, **rejected, **dict.fromkeys(paths[:2], "keep"))
    done = curate("check", "audit", "--rules", name, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1].endswith("; review: 18 confirmed, 2 overruled.")
    summary = json.loads(curate("check", "audit", "--format", "json", cwd=tmp_path).stdout)["summary"]
    assert (summary["review"]["confirmed"], summary["review"]["overruled"]) == (18, 2)


def test_a_decision_ends_with_its_file_and_the_rule_is_broken_again(audit: Path, tmp_path: Path):
    images = pq.read_table(audit / "images.parquet")
    flagged_paths = images.filter(pc.equal(images["verdict"], "mislabelled"))["path"].to_pylist()
    decide(audit, **dict.fromkeys(flagged_paths, "reject"))
    assert curate("check", "audit", cwd=tmp_path).returncode == 0
    table = pa.table({"path": flagged_paths, "decision": ["reject"] * len(flagged_paths)})
    other = table.append_column("sha256", pa.array(["another file"] * len(flagged_paths)))
    pq.write_table(other, audit / "decisions.parquet")
    assert curate("check", "audit", cwd=tmp_path).returncode == 1


def test_the_contamination_that_is_left_is_less_by_what_was_decided(tmp_path: Path):
    rows = [{"times": 9}, {"verdict": "mislabelled", "decision": "reject"}]
    judged = replace(make_audit(images=rows), run={"contamination": {"estimate": 0.3, "low": 0.25, "high": 0.4}})
    unjudged = {"verdict": "not_judged", "reasons": ["SET001"], "decision": "keep"}
    for more, left in (
        ([], 0.25 - 1 / 10),
        ([unjudged], 0.25 - 1 / 11),  # the estimate does not count what was not judged
        ([{"decision": "keep", "times": 10}], 0.0),
    ):
        of = replace(make_audit(images=[*rows, *more]), run=judged.run)
        with engine(of) as con:
            assert fetch(con, "SELECT contamination_low, contamination_undecided FROM run")[0] == pytest.approx(
                (0.25, left)
            )


def test_diff_compares_what_counts_and_says_what_people_decided(audit: Path, tmp_path: Path):
    shutil.copytree(audit, tmp_path / "later")
    images = pq.read_table(audit / "images.parquet")
    first, second, *_ = images.filter(pc.equal(images["verdict"], "mislabelled"))["path"].to_pylist()
    decide(tmp_path / "later", **{first: "keep", second: "reject"})
    text = curate("diff", "audit", "later", cwd=tmp_path).stdout
    assert f"  {first}: mislabelled -> keep" in text
    assert f"  {second}: mislabelled -> rejected" in text
    assert "review: nothing decided -> 1 confirmed, 1 overruled" in text
    verdicts = json.loads(curate("diff", "audit", "later", "--format", "json", cwd=tmp_path).stdout)["verdicts"]
    assert {"path": first, "old": "mislabelled", "new": "keep"} in verdicts
