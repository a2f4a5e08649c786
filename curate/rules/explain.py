"""`curate rule [CODE]`: the explanation of a rule of a pack, or of a finding; the list of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from curate.errors import UsageError
from curate.findings import catalogue
from curate.rules.cases import case_audit
from curate.rules.evaluate import evaluate
from curate.rules.rule import Pack, Rule
from curate.toml_files import nearest

CASES = ("kept", "broken")


def explain_code(code: str, pack: Pack) -> dict[str, Any]:
    """Return what a code means, as JSON values; the two cases of a rule are evaluated.

    Raises:
        UsageError: neither a rule of the pack nor a finding has this code.
    """
    rule = pack.rule(code)
    if rule is not None:
        return _rule(rule, pack)
    if code in catalogue():
        text = catalogue()[code]
        return {
            "code": code,
            "kind": "finding",
            "title": text.title,
            "severity": text.severity,
            "why": text.why,
            "cure": text.cure,
        }
    codes = [*(rule.code for rule in pack.rules), *catalogue()]
    raise UsageError(f"{code}: no rule of {pack.name} and no finding has this code; {nearest(code, codes)}")


def list_codes(pack: Pack) -> list[dict[str, str]]:
    """Return every rule of a pack, then every finding, as JSON values: code, kind, title, severity."""
    rules = [(rule.code, "rule", rule.title, rule.severity.value) for rule in pack.rules]
    findings = [(str(code), "finding", text.title, text.severity) for code, text in catalogue().items()]
    return [dict(zip(("code", "kind", "title", "severity"), row, strict=True)) for row in (*rules, *findings)]


def list_text(codes: Sequence[Mapping[str, str]], pack: Pack) -> str:
    """Return the rules and the findings in lines."""
    width = max(len(row["code"]) for row in codes)
    lines = list[str]()
    for kind, title in (("rule", f"Rules of {pack.name}"), ("finding", "Findings")):
        own = [row for row in codes if row["kind"] == kind]
        lines += [title, *(f"  {row['code']:<{width}}  {row['severity']:<7}  {row['title']}" for row in own), ""]
    return "\n".join([*lines, "`curate rule CODE` explains one.", ""])


def _rule(rule: Rule, pack: Pack) -> dict[str, Any]:
    return {
        "code": rule.code,
        "kind": "rule",
        "title": rule.title,
        "severity": rule.severity.value,
        "why": rule.why,
        "cure": rule.cure,
        "rule": str(rule),
        "pack": pack.name,
        "place": pack.place(rule.code),
        "cases": {case: prove(pack, rule, case) for case in CASES},
    }


def prove(pack: Pack, rule: Rule, case: str) -> str:
    """Return the status of a rule on one of its cases; it should be the case's name."""
    return evaluate(case_audit(pack, rule, case), pack, [rule]).results[0].status.value


def explanation_text(explanation: Mapping[str, Any]) -> str:
    """Return an explanation in lines."""
    lines = [f"{explanation['code']}  {explanation['title']} ({explanation['kind']}, {explanation['severity']})", ""]
    lines += [f"Why:  {explanation['why']}", f"Cure: {explanation['cure']}"]
    if explanation["kind"] == "rule":
        lines += ["", f"Rule: {explanation['rule']}", f"Pack: {explanation['pack']}, {explanation['place']}"]
        wrong = [f"the {case} case is {status}" for case, status in explanation["cases"].items() if case != status]
        proof = f"WRONG: {'; '.join(wrong)}" if wrong else "the kept case keeps it, the broken case breaks it"
        lines += [f"Its cases: {proof}"]
    return "\n".join([*lines, ""])
