"""`curate init`: a pack that a trusted set keeps to, with room, and a curate.toml that names it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pyarrow.compute as pc

from curate.errors import UsageError, WriteError
from curate.reports.parquet import Audit
from curate.rules.baseline import toml_string
from curate.rules.evaluate import evaluate
from curate.rules.expressions import LONGEST
from curate.rules.formats.text import printable
from curate.rules.packs import Fact, Pack, Rule
from curate.rules.results import Outcome, Result

SETTINGS_FILE, PACK_FILE = "curate.toml", "curate-rules.toml"
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
    eased = [_ease(result) for result in report.results if result.outcome is Outcome.BROKEN]
    blocks = [
        f"# Proposed by `curate init` from {printable(source)}: what that set keeps to, with room. Yours to edit.",
        f"title = {toml_string(f'Rules from {source}')}",
        f"extends = {toml_string(pack.name)}",
        *eased,
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
        PACK_FILE: "\n\n".join(["\n".join(blocks[:3]), *blocks[3:]]) + "\n",
    }


def _ease(result: Result) -> str:
    """Return a rule with a limit that the trusted set keeps to; the cases that fit it come with it."""
    rule, comparison = result.rule, result.rule.comparison
    values = [group.value for group in result.groups if group.value is not None]
    limit = _floor(min(values)) if comparison.is_floor else _ceiling(max(values), rule)
    kept = limit - 1 if comparison.sign == "<" else limit
    sign = ">=" if comparison.is_floor else "<="
    lines = [
        f"# the trusted set shows {min(values) if comparison.is_floor else max(values):.4g}, beyond {comparison}",
        f"[rules.{rule.code}]",
        f'keep = "{sign} {kept:.10g}"',
    ]
    return "\n".join(lines)


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
        _among("LBL901", "label", "Labels that the trusted set does not have", labels),
        _among("IMG901", "mode", "Pixel formats that the trusted set does not have", modes),
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
        "IMG902",
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
