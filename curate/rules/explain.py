"""`curate rule CODE`: a rule of a pack, or a finding of the catalogue, in words."""

from __future__ import annotations

from typing import Any

from curate.errors import UsageError
from curate.findings import catalogue
from curate.rules.cases import case_audit
from curate.rules.evaluate import evaluate
from curate.rules.packs import Pack, Rule
from curate.toml_files import nearest

CASES = ("kept", "broken")


def explain_code(code: str, pack: Pack) -> dict[str, Any]:
    """Return what a code means, as plain values; a rule's two cases are judged on the way.

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
    known = [*(rule.code for rule in pack.rules), *catalogue()]
    raise UsageError(f"{code}: no rule of {pack.name} and no finding has this code; {nearest(code, known)}")


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
    """Return how a rule's case comes out: "kept", "broken" or "skipped"; it should be the case's name."""
    return evaluate(case_audit(pack, rule, case), pack, [rule]).results[0].outcome.value


def explanation_text(known: dict[str, Any]) -> str:
    """Return an explanation in lines."""
    lines = [f"{known['code']}  {known['title']} ({known['kind']}, {known['severity']})", ""]
    lines += [f"Why:  {known['why']}", f"Cure: {known['cure']}"]
    if known["kind"] == "rule":
        lines += ["", f"Rule: {known['rule']}", f"Pack: {known['pack']}, {known['place']}"]
        wrong = [f"{case} comes out {outcome}" for case, outcome in known["cases"].items() if case != outcome]
        told = "the kept case keeps it, the broken case breaks it" if not wrong else f"WRONG: {'; '.join(wrong)}"
        lines += [f"Its cases: {told}"]
    return "\n".join([*lines, ""])
