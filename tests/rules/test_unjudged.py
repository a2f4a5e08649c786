"""Images that were not judged: no rule on verdicts passes because of them, and a rule may ask for them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from curate.audit.parquet import Audit, read_audit, write_audit
from curate.audit.schema import SCHEMA_VERSION
from curate.errors import InputError
from curate.rules.evaluate import evaluate
from curate.rules.packs import load_pack
from curate.rules.results import RuleResult, RuleStatus
from curate.rules.rule import Rule
from tests.rules.audits import make_audit

UNJUDGED = {"verdict": "not_judged", "reasons": ["SET001"]}
BAD = {"verdict": "mislabelled", "reasons": ["LBL001"], "anomaly_score": 5.0}


def rule(**keys: Any) -> Rule:
    texts = {"code": "LBL901", "title": "T", "why": "W", "cure": "C", "severity": "error", "kept": {}, "broken": {}}
    return Rule.model_validate(texts | keys)


def judge(images: list[dict[str, Any]], asked: Rule, **tables: list[dict[str, Any]]) -> RuleResult:
    """Return the result of a rule beside one that always has a row to judge."""
    pack = load_pack("default")
    sound = [one for one in pack.rules if one.code == "IMG101"]
    return evaluate(make_audit(images=images, **tables), pack, [asked, *sound]).results[0]


def shipped(images: list[dict[str, Any]], code: str, pack: str = "default") -> RuleResult:
    return judge(images, next(one for one in load_pack(pack).rules if one.code == code))


@pytest.mark.parametrize("code", ["LBL101", "LBL102", "OOD101", "OOD102", "SET103", "SET104"])
def test_no_rule_on_verdicts_passes_where_no_image_was_judged(code: str):
    result = shipped([UNJUDGED | {"times": 20, "group": "A"}], code)
    assert result.status is RuleStatus.SKIPPED
    assert result.sentence == "20 of 20 images were not judged (SET001)"


def test_a_whole_set_that_was_not_judged_fails_the_default_check():
    result = shipped([UNJUDGED | {"times": 7}], "SET106")
    assert result.status is RuleStatus.BROKEN
    assert "100 % (7 of 7)" in result.sentence


@pytest.mark.parametrize(
    ("judged", "bad", "unjudged", "status"),
    [
        (100, 0, 2, RuleStatus.KEPT),  # kept whatever the two are
        (100, 0, 5, RuleStatus.SKIPPED),
        (100, 9, 5, RuleStatus.BROKEN),  # broken whatever the five are
    ],
)
def test_a_share_is_kept_or_broken_only_if_it_is_whatever_the_unjudged_images_are(
    judged: int, bad: int, unjudged: int, status: RuleStatus
):
    rows = [{"times": judged}, BAD | {"times": bad}, UNJUDGED | {"times": unjudged}]
    assert shipped(rows, "LBL101").status is status


def test_a_floor_is_not_broken_by_images_that_were_not_judged():
    assert shipped([{"times": 75}, BAD | {"times": 5}, UNJUDGED | {"times": 20}], "SET103").status is RuleStatus.SKIPPED
    assert shipped([{"times": 60}, BAD | {"times": 35}, UNJUDGED | {"times": 5}], "SET103").status is RuleStatus.BROKEN


def test_one_class_that_was_not_judged_keeps_a_rule_per_class_from_passing():
    rows = [{"label": "a", "times": 30}, UNJUDGED | {"label": "b", "times": 5}]
    result = shipped(rows, "LBL102")
    assert result.status is RuleStatus.SKIPPED
    assert result.sentence == "5 of 35 images were not judged (SET001)"
    assert {group.name: group.value for group in result.groups} == {"label=a": 0.0, "label=b": None}


@pytest.mark.parametrize(
    "keys",
    [
        {"fact": "count", "of": "verdict <> 'keep'", "keep": "== 0"},
        {"fact": "count", "of": "effective_verdict = 'near_ood'", "keep": "== 0"},
        {"fact": "max", "of": "contamination_undecided", "in": "run", "keep": "<= 1"},
        {"fact": "count", "of": "list_contains(reasons, 'LBL001')", "keep": "== 0"},
        {"fact": "count", "where": "anomaly_score > 1", "keep": "<= 0"},
        {"fact": "max", "of": "score_neighbours", "keep": "<= 9"},
        {"fact": "mean", "of": "confidence", "keep": ">= 0.1"},
        {"fact": "distinct", "of": "verdict", "keep": "<= 1"},
        {"fact": "count", "of": "code = 'LBL001'", "in": "findings", "keep": "== 0"},
        {"fact": "count", "of": "starts_with(code, 'OOD')", "in": "findings", "keep": "== 0"},
        {"fact": "max", "of": "score", "in": "findings", "keep": "<= 3"},
        {"fact": "max", "of": "contamination_high", "in": "rounds", "keep": "<= 1"},
    ],
)
def test_whatever_reads_what_judging_fills_is_skipped(keys: dict[str, Any]):
    rounds = [{"label": "", "round": 1, "contamination_high": 0.0}]
    findings = [{"path": "000.png", "code": "SET001", "score": None}]
    rows = [{"times": 9, "score_neighbours": 0.1, "confidence": 1.0}, UNJUDGED]
    result = judge(rows, rule(**keys), rounds=rounds, findings=findings)
    assert result.status is RuleStatus.SKIPPED
    assert result.sentence in ("1 of 10 images was not judged (SET001)", "1 of 1 image was not judged (SET001)")


@pytest.mark.parametrize(
    ("keys", "status"),
    [
        ({"fact": "count", "of": "verdict = 'not_judged'", "keep": "== 1"}, RuleStatus.KEPT),
        ({"fact": "share", "of": "verdict IN ('keep', 'not_judged')", "keep": ">= 1"}, RuleStatus.KEPT),
        (
            {"fact": "share", "of": "verdict = 'keep'", "where": "verdict <> 'not_judged'", "keep": ">= 1"},
            RuleStatus.KEPT,
        ),
        ({"fact": "count", "of": "list_contains(reasons, 'IMG023')", "keep": "== 0"}, RuleStatus.KEPT),
        ({"fact": "max", "of": "width_px", "keep": "<= 640"}, RuleStatus.KEPT),
        ({"fact": "max", "of": "anomaly_score", "keep": "<= 3"}, RuleStatus.SKIPPED),
    ],
)
def test_a_rule_may_ask_for_images_that_were_not_judged(keys: dict[str, Any], status: RuleStatus):
    assert judge([{"times": 9}, UNJUDGED], rule(**keys)).status is status


def test_a_maximum_above_its_limit_breaks_the_rule_whatever_was_not_judged():
    result = shipped([{"times": 9}, BAD, UNJUDGED], "OOD102")
    assert result.status is RuleStatus.BROKEN
    assert [one.path for one in result.offenders] == ["009.png"]


@pytest.mark.parametrize("code", ["LBL101", "LBL102", "LBL103", "OOD101", "OOD102", "SET103", "SET106"])
def test_what_a_person_decided_on_is_known_although_it_was_not_judged(code: str):
    rows = [{"times": 9, "label": "a"}, {"label": "b"}, UNJUDGED | {"label": "a", "decision": "keep", "times": 10}]
    assert shipped(rows, code).status is RuleStatus.KEPT
    assert shipped([*rows, UNJUDGED | {"decision": "unsure", "times": 9}], code).status is not RuleStatus.KEPT


@pytest.mark.parametrize(("decision", "status"), [("keep", RuleStatus.KEPT), ("unsure", RuleStatus.SKIPPED)])
def test_the_contamination_that_is_left_is_known_once_all_unjudged_images_are_decided(
    decision: str, status: RuleStatus
):
    rows = [{"times": 9}, UNJUDGED | {"decision": decision}]
    audit = replace(make_audit(images=rows), run={"contamination": {"estimate": 0.05, "low": 0.01, "high": 0.2}})
    pack = load_pack("default")
    assert evaluate(audit, pack, [pack.rule("IMG101"), pack.rule("SET104")]).results[1].status is status


def test_a_decision_gives_no_score():
    of_scores = {"fact": "count", "of": "effective_verdict = 'keep' AND anomaly_score > 1", "keep": "== 0"}
    rows = [{"times": 9}, UNJUDGED | {"decision": "keep"}]
    assert judge(rows, rule(**of_scores)).status is RuleStatus.SKIPPED
    assert judge(rows, rule(fact="count", of="verdict = 'near_ood'", keep="== 0")).status is RuleStatus.SKIPPED


def test_an_earlier_audit_of_images_that_could_not_be_judged_is_read_as_such(tmp_path: Path):
    audit = make_audit(images=[{"verdict": "keep", "reasons": ["SET001"]}, {"verdict": "keep"}])
    write_audit(Audit(tables=audit.tables, run={**audit.run, "schema_version": SCHEMA_VERSION - 1}), tmp_path)
    assert read_audit(tmp_path).tables["images"]["verdict"].to_pylist() == ["not_judged", "keep"]


def test_a_verdict_of_a_newer_curate_is_one_sentence_that_says_to_upgrade(tmp_path: Path):
    audit = make_audit(images=[{"verdict": "undecided"}])
    write_audit(audit, tmp_path)
    with pytest.raises(InputError, match=r"the verdict 'undecided' is none of .*upgrade curate"):
        read_audit(tmp_path)


def test_a_newer_audit_whose_tables_have_other_names_says_to_upgrade(tmp_path: Path):
    (tmp_path / "run.json").write_text(f'{{"schema_version": {SCHEMA_VERSION + 1}}}')
    with pytest.raises(InputError, match=r"newer curate .*upgrade curate"):
        read_audit(tmp_path)


def test_the_table_keeps_its_columns_when_an_earlier_audit_is_read(tmp_path: Path):
    audit = make_audit(images=[{}])
    write_audit(audit, tmp_path)
    table: pa.Table = read_audit(tmp_path).tables["images"]
    assert table.schema.equals(audit.tables["images"].schema)
