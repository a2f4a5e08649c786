"""`curate init`: a pack that a trusted set keeps to, with room, and a curate.toml that names it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from curate.errors import UsageError, WriteError
from curate.reports.parquet import Audit
from curate.rules.baseline import toml_string
from curate.rules.check_pack import TIMES
from curate.rules.evaluate import evaluate
from curate.rules.explain import prove
from curate.rules.expressions import LONGEST
from curate.rules.formats.text import printable
from curate.rules.packs import Fact, Pack, Rule
from curate.rules.results import Outcome, Result

SETTINGS_FILE, PACK_FILE = "curate.toml", "curate-rules.toml"
NEW_LABEL, NEW_MODE, NEW_SIZE = (f"{area}9{number:02d}" for area, number in (("LBL", 1), ("IMG", 1), ("IMG", 2)))
ROOM = 1.5
"""A limit that the trusted set itself breaks is moved to one and a half times what the set shows."""
ROOM_ABOVE = 0.5
"""A class may shrink to this share of its images in the trusted set."""


def propose(audit: Audit, pack: Pack, source: str) -> dict[str, str]:
    """Return the files to write, by name.

    Args:
        audit: of a set that is trusted to be as it should.
        pack: what to start from.
        source: of the trusted set, named in a comment.
    """
    report = evaluate(audit, pack, pack.rules, source=source)
    broken = [result for result in report.results if result.outcome is Outcome.BROKEN]
    eased = {result.rule.code: _ease(result, pack) for result in broken}
    left_out = [code for code, block in eased.items() if not block]
    blocks = [
        f"# Proposed by `curate init` from {printable(source)}: what that set keeps to, with room. Yours to edit.",
        f"title = {toml_string(f'Rules from {source}')}",
        f"extends = {toml_string(pack.name)}",
        f"disable = {_value(left_out)}",
        *filter(None, eased.values()),
        *_own(audit),
    ]
    settings = [
        "# Settings of curate; `curate check --show-settings` tells them all and where each comes from.",
        "[check]",
        f"rules = {toml_string(PACK_FILE)}",
        'fail_on = "error"',
    ]
    return {
        SETTINGS_FILE: "\n".join([*settings, ""]),
        PACK_FILE: "\n\n".join(["\n".join(blocks[:4]), *blocks[4:]]) + "\n",
    }


def _ease(result: Result, pack: Pack) -> str:
    """Return a rule with a limit that the trusted set keeps to, and cases that fit it; "" if none could be made."""
    rule, comparison = result.rule, result.rule.comparison
    values = [group.value for group in result.groups if group.value is not None]
    shown = min(values) if comparison.is_floor else max(values)
    limit = _floor(shown) if comparison.is_floor else _ceiling(shown, rule)
    eased = rule.model_copy(update={"keep": f"{'>=' if comparison.is_floor else '<='} {limit:.10g}"})
    for rows in _candidates(eased, limit):
        tried = eased.model_copy(update={"broken": {"images": rows}})
        if prove(pack, tried, "broken") == "broken" and prove(pack, tried, "kept") == "kept":
            return "\n".join(
                [
                    f"# the trusted set shows {shown:.4g}, beyond {comparison}",
                    f"[rules.{rule.code}]",
                    f"keep = {toml_string(eased.keep)}",
                    f"broken = {{ images = [{', '.join(map(_inline, rows))}] }}",
                ]
            )
    return ""


def _candidates(rule: Rule, limit: float) -> Iterator[list[dict[str, Any]]]:
    """Yield rows that may break a rule: its own case, one row of that repeated, values beyond the limit."""
    own = rule.broken.get("images", [])
    yield own
    few = max(1, math.ceil(limit) - 1)
    for row in own:
        for times in (1, few, math.floor(limit) + 1):
            yield [row | {TIMES: times}]
    beyond = limit - 1 if rule.comparison.is_floor else limit + 1
    yield [{rule.of: beyond}]
    yield [{rule.of: number} for number in range(1, math.floor(limit) + 2)]


def _inline(row: dict[str, Any]) -> str:
    """Return a row of a case as an inline table."""
    return "{ " + ", ".join(f"{name} = {_value(value)}" for name, value in row.items()) + " }"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return toml_string(value) if isinstance(value, str) else str(value)


def _ceiling(value: float, rule: Rule) -> float:
    if rule.fact is Fact.SHARE:
        return min(1.0, math.ceil(value * ROOM * 1000) / 1000)
    return float(math.ceil(value * ROOM)) if value > 0 else value


def _floor(value: float) -> float:
    return math.floor(value / ROOM * 1000) / 1000


def _own(audit: Audit) -> list[str]:
    """Return rules that only this set gives: its labels, pixel formats, sizes, and images a class."""
    images = audit.tables["images"].filter(pc.equal(audit.tables["images"]["skip_reason"], ""))
    labels, modes = (sorted(set(images[name].to_pylist())) for name in ("label", "mode"))
    sizes = sorted(set(zip(images["width_px"].to_pylist(), images["height_px"].to_pylist(), strict=True)))
    counts = [images.filter(pc.equal(images["label"], label)).num_rows for label in labels]
    fewest = max(1, math.floor(min(counts) * ROOM_ABOVE))
    own = [
        _among(NEW_LABEL, "label", "Labels that the trusted set does not have", labels),
        _among(NEW_MODE, "mode", "Pixel formats that the trusted set does not have", modes),
        _sizes(sizes),
        _fewest(fewest),
    ]
    return [block for block in own if block]


def _among(code: str, column: str, title: str, values: Sequence[str]) -> str:
    known = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
    strange = "not " + "-".join(values)[:40]
    return _rule(
        code,
        title,
        f"{column} NOT IN ({known})",
        kept=f"{{ {column} = {toml_string(values[0])} }}",
        broken=f"{{ {column} = {toml_string(strange)} }}",
        why="What the set never had comes from another source, or is a slip of the pen.",
    )


def _sizes(sizes: Sequence[tuple[int, int]]) -> str:
    known = " OR ".join(f"(width_px = {width} AND height_px = {height})" for width, height in sizes)
    width, height = sizes[0]
    return _rule(
        NEW_SIZE,
        "Image sizes that the trusted set does not have",
        f"skip_reason = '' AND NOT ({known})",
        kept=f"{{ width_px = {width}, height_px = {height} }}",
        broken="{ width_px = 1, height_px = 3 }",
        why="Another size means another camera, crop or export.",
    )


def _rule(code: str, title: str, of: str, *, kept: str, broken: str, why: str) -> str:
    """Return a rule that no image may meet a condition; "" for one that would be too long."""
    if len(of) > LONGEST:
        return ""
    lines = [
        f"[rules.{code}]",
        f"title = {toml_string(title)}",
        f"why = {toml_string(why)}",
        'cure = "Look at the images; correct them, or add what is new to the rule."',
        'severity = "error"',
        'fact = "count"',
        f"of = {toml_string(of)}",
        'keep = "== 0"',
        f"kept = {{ images = [{kept}] }}",
        f"broken = {{ images = [{broken}] }}",
    ]
    return "\n".join(lines)


def _fewest(fewest: int) -> str:
    lines = [
        "[rules.SET901]",
        'title = "Classes that shrank"',
        'why = "A class with half the images it had lost them on the way."',
        'cure = "Look at where the images went: a filter, a rename, a broken copy."',
        'severity = "error"',
        'fact = "min"',
        'of = "readable"',
        'in = "classes"',
        'per = "label"',
        f'keep = ">= {fewest}"',
        f'kept = {{ images = [{{ label = "a", times = {fewest} }}] }}',
        f'broken = {{ images = [{{ label = "a", times = {fewest - 1} }}, {{ label = "a", skip_reason = "cut" }}] }}',
    ]
    return "\n".join(lines)


def write_proposal(files: dict[str, str], folder: Path, *, force: bool) -> tuple[Path, ...]:
    """Write the files into a folder; all that stand in the way are named before any is written.

    Raises:
        UsageError: one is there and `force` is not set.
        WriteError: the folder cannot be written.
    """
    paths = tuple(folder / name for name in files)
    there = [path for path in paths if path.exists()]
    if there and not force:
        raise UsageError(f"{there[0]}: is there already; add --force to replace it, or choose another folder with -o")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in zip(paths, files.values(), strict=True):
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise WriteError(f"{folder}: cannot be written ({error.strerror or error}); choose another with -o") from error
    return paths
