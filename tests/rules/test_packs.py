from __future__ import annotations

import time
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from curate.errors import CouldNotFinish, CurateError, InputError, UsageError
from curate.findings import area_of, catalogue, packs_folder
from curate.rules import engine as engine_module
from curate.rules.engine import empty_audit, engine, fetch
from curate.rules.evaluate import evaluate
from curate.rules.explain import prove
from curate.rules.packs import load_pack, select, shipped_packs
from curate.rules.results import RuleStatus
from tests.rules.audits import PACK, flagged, make_audit

RULES = [(name, rule.code) for name in shipped_packs() for rule in load_pack(name).rules]


@pytest.mark.parametrize(("name", "code"), RULES)
@pytest.mark.parametrize("case", ["kept", "broken"])
def test_every_rule_keeps_its_kept_case_and_breaks_on_its_broken_one(name: str, code: str, case: str):
    pack = load_pack(name)
    assert prove(pack, pack.rule(code), case) == case


def test_the_shipped_packs_explain_themselves_and_share_no_code_with_a_finding():
    assert shipped_packs() == ("default", "smoke", "strict")
    for name in shipped_packs():
        for rule in load_pack(name).rules:
            assert rule.why.endswith(".")
            assert rule.cure.endswith(".")
            assert rule.code not in catalogue()


def changed(old: str, new: str) -> str:
    assert old in PACK
    return PACK.replace(old, new)


CONDITION = "verdict = 'mislabelled'"
WRONG = {
    "not TOML": ('title = "Own', 1, "not TOML"),
    "no title": (changed('title = "Own"\n', ""), 1, "'title' is missing"),
    "unknown key of the pack": ("titel = 'x'\n" + PACK, 1, "did you mean 'title'"),
    "unknown key of a rule": (changed("severity =", "severety ="), 2, "severity"),
    "no severity": (changed('severity = "error"\n', ""), 2, "'severity' is missing"),
    "wrong severity": (changed('"error"', '"fatal"'), 6, "'error', 'warning' or 'note'"),
    "unknown fact": (changed('"count"', '"shares"'), 7, "'share'"),
    "unknown column": (changed("verdict = 'mis", "verdikt = 'mis"), 8, "did you mean 'verdict'"),
    "unknown table": (changed('keep = "== 0"', 'keep = "== 0"\nin = "image"'), 10, "did you mean 'images'"),
    "not a comparison": (changed('"== 0"', '"zero"'), 9, "not a comparison"),
    "a number to keep": (changed('"== 0"', "0"), 9, "valid string"),
    "no condition": (changed("verdict = 'mislabelled'", "width_px"), 8, "write a condition"),
    "text where a number is due": (changed('"count"', '"max"').replace(CONDITION, "path"), 8, "numbers"),
    "types that do not compare": (changed("verdict = 'mislabelled'", "verdict > 5"), 8, "ompare"),
    "a broken expression": (changed("verdict = 'mislabelled'", "verdict = "), 8, "syntax error"),
    "an empty expression": (changed("verdict = 'mislabelled'", " "), 8, "is empty"),
    "a code without digits": (changed("LBL901", "LABELS"), 2, "three digits"),
    "the code of a finding": (changed("LBL901", "LBL001"), 2, "LBL901"),
    "an unknown class": (changed('keep = "== 0"', 'keep = "== 0"\nper = ["lable"]'), 10, "did you mean 'label'"),
    "a case of an unknown column": (changed("images = [{}]", "images = [{ verdikt = 'x' }]"), 10, "'verdict'"),
    "a case of an unknown table": (changed("kept = { images", "kept = { pictures"), 10, "pictures"),
    "no case": (changed('kept = { images = [{}] }\n', ""), 2, "'kept' is missing"),
    "disables what is not there": ('disable = ["LBL777"]\n' + PACK, 1, "LBL777"),
    "extends what is not there": ('extends = "defualt"\n' + PACK, 1, "did you mean 'default'"),
    "extends itself": ('extends = "wrong.toml"\n' + PACK, 1, "extends itself"),
    "a verdict without a backbone": ('needs = "integrity"\n' + PACK, 9, "no column 'verdict'"),
    "light without a backbone": ('needs = "integrity"\n' + changed(CONDITION, "red > 2"), 9, "no column 'red'"),
    "rounds without a backbone": ('needs = "integrity"\n' + changed("keep = ", 'in = "rounds"\nkeep = '), 10, "rounds"),
    "not UTF-8": (b'title = "\xff"', 1, "UTF-8"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_pack_is_one_sentence_with_file_and_line(tmp_path: Path, name: str):
    text, line, says = WRONG[name]
    file = tmp_path / "wrong.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError if "extends what" not in name else UsageError) as refused:
        load_pack(file)
    assert f"wrong.toml:{line}: " in str(refused.value)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


HOSTILE = (
    "(SELECT count(*) FROM range(1000000000000)) > 1",
    "EXISTS (SELECT 1 FROM read_csv('/etc/passwd'))",
    "path IN (SELECT content FROM read_text('/etc/passwd'))",
    "true) FROM images; COPY images TO 'stolen.csv'; SELECT (true",
    "true; ATTACH 'x.db'",
    "true UNION SELECT true",
    "getenv('HOME') <> ''",
    "current_setting('home_directory') <> ''",
    "length(repeat(path, 1000000000)) > 1",
    "list_sum(range(1000000000)) > 1",
    "regexp_replace(path, '.', repeat('x', 99999)) = ''",
    "row_number() OVER () > 1",
    "list_filter(reasons, x -> true) = []",
    "COLUMNS('.*') IS NULL",
    "count(*) > 1",
    "query('SELECT 1') = 1",
    "$1 = 1",
    "path = 'a' LIMIT 5",
    "DISTINCT path = 'a'",
    "images.path = 'a'",
    "NOT " * 490 + "true",
    "path = '" + "x" * 3000 + "'",
)


@pytest.mark.parametrize("of", HOSTILE)
def test_a_hostile_expression_is_refused_before_it_is_asked(tmp_path: Path, of: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "hostile.toml"
    file.write_text(PACK.replace("\"verdict = 'mislabelled'\"", f"'''{of}'''"))
    start = time.perf_counter()
    with pytest.raises(InputError, match=r"hostile\.toml:8: rule LBL901"):
        load_pack(file)
    assert time.perf_counter() - start < 5
    assert [p.name for p in tmp_path.iterdir()] == ["hostile.toml"]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/*')",
        "COPY images TO 'stolen.csv'",
        "ATTACH 'x.db'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SELECT * FROM RULES",  # a variable of Python
    ],
)
def test_the_engine_itself_reads_and_writes_nothing(query: str):
    import duckdb

    with engine(empty_audit()) as con, pytest.raises(duckdb.Error):
        fetch(con, query)


def test_rules_that_run_long_are_stopped(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine_module, "SECONDS", 0.3)
    start = time.perf_counter()
    with pytest.raises(CouldNotFinish, match="took longer"), engine(empty_audit()) as con:
        fetch(con, "SELECT count(*) FROM range(1000000000000) a, range(1000) b")
    assert time.perf_counter() - start < 20


def test_a_pack_changes_single_keys_of_the_one_it_extends(tmp_path: Path):
    file = tmp_path / "own.toml"
    file.write_text('title = "x"\nextends = "default"\ndisable = ["DUP103"]\n[rules.LBL101]\nkeep = "<= 0.5"\n')
    pack, base = load_pack(file), load_pack("default")
    assert str(pack.rule("LBL101").comparison) == "<= 0.5"
    assert pack.rule("LBL101").title == base.rule("LBL101").title
    assert pack.rule("DUP103") is None
    assert len(pack.rules) == len(base.rules) - 1


def test_select_and_ignore_take_beginnings_of_codes_and_name_the_nearest_of_a_wrong_one():
    pack = load_pack("default")
    assert {area_of(rule.code) for rule in select(pack, ["LBL", "OOD101"], [])} == {"LBL", "OOD"}
    assert "LBL101" not in {rule.code for rule in select(pack, [], ["LBL101"])}
    with pytest.raises(UsageError, match="--select LBL110: no rule of default has that code; did you mean"):
        select(pack, ["LBL110"], [])
    with pytest.raises(CouldNotFinish, match="no rule"):
        select(pack, ["LBL"], ["LBL"])


def test_an_audit_without_images_and_a_pack_without_rules_could_not_finish(tmp_path: Path):
    pack = load_pack("default")
    with pytest.raises(CouldNotFinish, match="no image"):
        evaluate(make_audit(), pack, pack.rules)
    (tmp_path / "empty.toml").write_text('title = "x"\n')
    with pytest.raises(CouldNotFinish, match=r"empty\.toml:1: the pack holds no rule"):
        load_pack(tmp_path / "empty.toml")


def test_a_rule_without_a_row_to_judge_is_skipped_and_no_pass():
    pack = load_pack("default")
    audit = make_audit(images=[{"anomaly_score": None, "times": 3}])
    report = evaluate(audit, pack, [pack.rule("OOD102"), pack.rule("IMG101")])
    assert [result.status for result in report.results] == [RuleStatus.SKIPPED, RuleStatus.KEPT]
    with pytest.raises(CouldNotFinish, match="has a row"):
        evaluate(audit, pack, [pack.rule("OOD102")])


def test_a_column_that_an_audit_lacks_is_an_error_and_no_pass():
    pack = load_pack("default")
    audit = make_audit(images=flagged(1))
    audit = replace(audit, tables={**audit.tables, "images": audit.tables["images"].drop_columns(["verdict"])})
    with pytest.raises(CurateError, match="verdict"):
        evaluate(audit, pack, [pack.rule("LBL101")])


def test_a_broken_rule_names_its_class_and_the_images_of_that_class_alone():
    pack = load_pack("default")
    bad = {"verdict": "mislabelled", "reasons": ["LBL001"]}
    rows = [{"label": "a", "times": 99}, {"label": "a"} | bad, {"label": "b", "times": 3}, {"label": "b"} | bad]
    audit = make_audit(images=rows, findings=[{"path": "103.png", "code": "LBL001", "message": "a scratch"}])
    result = evaluate(audit, pack, [pack.rule("LBL102")]).results[0]
    assert [group.name for group in result.broken_groups] == ["label=b"]
    assert [(o.path, o.message) for o in result.offenders] == [("103.png", "a scratch")]
    assert "25 % (1 of 4) for label=b; the limit is 10 %" in result.sentence


def test_a_new_rule_of_a_shipped_pack_has_a_code_that_no_pack_below_has():
    """A table with a code of the pack below changes that rule: a new rule under it would vanish."""
    below: dict[str, str] = {}
    for name in ("smoke", "default", "strict"):
        rules = tomllib.loads((packs_folder() / f"{name}.toml").read_text(encoding="utf-8"))["rules"]
        taken = [code for code, table in rules.items() if code in below and "title" in table]
        assert not taken, f"{name}.toml: {taken[0]} is a rule of {below[taken[0]]}.toml: take a code that is free"
        below |= dict.fromkeys(rules.keys() - below.keys(), name)
