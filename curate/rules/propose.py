"""`curate init`: a pack that a trusted set keeps with some margin, and a curate.toml that names it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from curate.atomic_files import replace_text
from curate.audit.parquet import Audit
from curate.errors import UsageError, WriteError
from curate.images.names import printable
from curate.rules.baseline import toml_string
from curate.rules.check_pack import TIMES
from curate.rules.evaluate import evaluate
from curate.rules.explain import prove
from curate.rules.expressions import LONGEST
from curate.rules.results import RuleResult, RuleStatus
from curate.rules.rule import Fact, Pack, Rule

SETTINGS_FILE, PACK_FILE = "curate.toml", "curate-rules.toml"
NEW_LABEL, NEW_MODE, NEW_SIZE = (f"{area}9{number:02d}" for area, number in (("LBL", 1), ("IMG", 1), ("IMG", 2)))
MARGIN = 1.5
"""A limit that the trusted set breaks is moved to the set's own value, times (or divided by) this."""
LEAST_SHARE = 0.5
"""A class may shrink to this share of its images in the trusted set."""


def propose(audit: Audit, pack: Pack, source: str) -> dict[str, str]:
    """Return the files to write, by name.

    Args:
        audit: of the trusted set.
        pack: the pack to start from.
        source: the trusted set as the user named it, for a comment.
    """
    report = evaluate(audit, pack, pack.rules, source=source)
    broken = [result for result in report.results if result.status is RuleStatus.BROKEN]
    eased = {result.rule.code: _ease(result, pack) for result in broken}
    disabled = [code for code, block in eased.items() if not block]
    blocks = [
        f"# Proposed by `curate init` from {printable(source)}: rules that it keeps, with a margin. Edit as needed.",
        f"title = {toml_string(f'Rules from {source}')}",
        f"extends = {toml_string(pack.name)}",
        f"disable = {_value(disabled)}",
        *filter(None, eased.values()),
        *_own(audit),
    ]
    settings = [
        "# Settings of curate; `curate check --show-settings` lists all of them and where each comes from.",
        "[check]",
        f"rules = {toml_string(PACK_FILE)}",
        'fail_on = "error"',
    ]
    return {
        SETTINGS_FILE: "\n".join([*settings, ""]),
        PACK_FILE: "\n\n".join(["\n".join(blocks[:4]), *blocks[4:]]) + "\n",
    }


def _ease(result: RuleResult, pack: Pack) -> str:
    """Return a rule with a limit that the trusted set keeps, and a broken case for it; "" if none was found."""
    rule, comparison = result.rule, result.rule.comparison
    values = [group.value for group in result.groups if group.value is not None]
    measured = min(values) if comparison.is_floor else max(values)
    limit = _floor(measured) if comparison.is_floor else _ceiling(measured, rule)
    eased = rule.model_copy(update={"keep": f"{'>=' if comparison.is_floor else '<='} {limit:.10g}"})
    for rows in _candidates(eased, limit):
        tried = eased.model_copy(update={"broken": {"images": rows}})
        if prove(pack, tried, "broken") == "broken" and prove(pack, tried, "kept") == "kept":
            return "\n".join(
                [
                    f"# the trusted set has {measured:.4g}, which breaks {comparison}",
                    f"[rules.{rule.code}]",
                    f"keep = {toml_string(eased.keep)}",
                    f"broken = {{ images = [{', '.join(map(_inline, rows))}] }}",
                ]
            )
    return ""


def _candidates(rule: Rule, limit: float) -> Iterator[list[dict[str, Any]]]:
    """Yield rows that may break a rule: its own case, single rows of it repeated, values beyond the limit."""
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
        return min(1.0, math.ceil(value * MARGIN * 1000) / 1000)
    return float(math.ceil(value * MARGIN)) if value > 0 else value


def _floor(value: float) -> float:
    return math.floor(value / MARGIN * 1000) / 1000


def _own(audit: Audit) -> list[str]:
    """Return rules made from the set itself: its labels, pixel formats, image sizes, and images per class."""
    images = audit.tables["images"].filter(pc.equal(audit.tables["images"]["skip_reason"], ""))
    labels, modes = (sorted(set(images[name].to_pylist())) for name in ("label", "mode"))
    sizes = sorted(set(zip(images["width_px"].to_pylist(), images["height_px"].to_pylist(), strict=True)))
    counts = [images.filter(pc.equal(images["label"], label)).num_rows for label in labels]
    fewest = max(1, math.floor(min(counts) * LEAST_SHARE))
    own = [
        _among(NEW_LABEL, "label", labels, title="Labels that the trusted set does not have"),
        _among(NEW_MODE, "mode", modes, title="Pixel formats that the trusted set does not have"),
        _sizes(sizes),
        _fewest(fewest),
    ]
    return [block for block in own if block]


def _among(code: str, column: str, values: Sequence[str], *, title: str) -> str:
    allowed = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
    other = "not " + "-".join(values)[:40]
    return _rule(
        code,
        title,
        f"{column} NOT IN ({allowed})",
        kept=f"{{ {column} = {toml_string(values[0])} }}",
        broken=f"{{ {column} = {toml_string(other)} }}",
        why="A value that the set never had comes from another source, or is a typing error.",
    )


def _sizes(sizes: Sequence[tuple[int, int]]) -> str:
    allowed = " OR ".join(f"(width_px = {width} AND height_px = {height})" for width, height in sizes)
    width, height = sizes[0]
    return _rule(
        NEW_SIZE,
        "Image sizes that the trusted set does not have",
        f"skip_reason = '' AND NOT ({allowed})",
        kept=f"{{ width_px = {width}, height_px = {height} }}",
        broken="{ width_px = 1, height_px = 3 }",
        why="Another size means another camera, crop or export.",
    )


def _rule(code: str, title: str, of: str, *, kept: str, broken: str, why: str) -> str:
    """Return a rule that no image may meet a condition; "" if the condition would be too long."""
    if len(of) > LONGEST:
        return ""
    lines = [
        f"[rules.{code}]",
        f"title = {toml_string(title)}",
        f"why = {toml_string(why)}",
        'cure = "Look at the images; correct them, or add the new values to the rule."',
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
        'why = "A class with less than half of its images has lost them on the way."',
        'cure = "Find out where the images went: a filter, a rename, an incomplete copy."',
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
    """Write the files into a folder, unless one of them is there already.

    Raises:
        UsageError: a file exists and `force` is not set.
        WriteError: the folder cannot be written.
    """
    paths = tuple(folder / name for name in files)
    existing = [path for path in paths if path.exists()]
    if existing and not force:
        raise UsageError(f"{existing[0]}: exists already; add --force to replace it, or choose another folder with -o")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in zip(paths, files.values(), strict=True):
            replace_text(path, text)
    except OSError as error:
        raise WriteError(f"{folder}: cannot be written ({error.strerror or error}); choose another with -o") from error
    return paths
