"""Two audits compared: images added, removed, moved and changed, changed verdicts, and the facts of rules."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from curate.audit.effective_verdicts import EFFECTIVE_VERDICT
from curate.audit.parquet import Audit
from curate.audit.reviewed import review_counts
from curate.errors import CurateError
from curate.images.names import printable
from curate.records import Verdict
from curate.rules.evaluate import evaluate
from curate.rules.formats.text import SHOWN
from curate.rules.results import number
from curate.rules.rule import Pack


@dataclass(frozen=True)
class ChangedVerdict:
    """An image whose verdict differs between the two audits."""

    path: str
    old: str
    new: str


@dataclass(frozen=True, kw_only=True)
class Diff:
    """What changed from one audit to another.

    Attributes:
        added, removed: paths that only the new, only the old audit has, and that were not moved.
        moved: (old path, new path) of equal content.
        changed: paths that hold other bytes now.
        verdicts: images in both whose effective verdict differs.
        facts: (old, new) by code and group of the rules, and image counts by verdict; None where there is no row.
        review: (old, new) what people decided, in words.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    moved: tuple[tuple[str, str], ...]
    changed: tuple[str, ...]
    verdicts: tuple[ChangedVerdict, ...]
    facts: dict[str, tuple[float | None, float | None]]
    review: tuple[str, str] = ("", "")

    @property
    def same(self) -> bool:
        """Whether both audits hold the same images with the same verdicts."""
        return not (self.added or self.removed or self.moved or self.changed or self.verdicts)

    def as_json(self) -> str:
        """Return plain values as one JSON object."""
        return json.dumps(asdict(self), indent=2) + "\n"


def compare(old: Audit, new: Audit, pack: Pack) -> Diff:
    """Compare two audits.

    Args:
        pack: the rules whose facts are compared.
    """
    before, after = _images(old), _images(new)
    gone, new_paths = [p for p in before if p not in after], [p for p in after if p not in before]
    moved = _moved({p: before[p][0] for p in gone}, {p: after[p][0] for p in new_paths})
    both = [path for path in before if path in after]
    return Diff(
        added=tuple(path for path in new_paths if path not in {new for _, new in moved}),
        removed=tuple(path for path in gone if path not in {old for old, _ in moved}),
        moved=tuple(moved),
        changed=tuple(path for path in both if before[path][0] != after[path][0]),
        verdicts=tuple(ChangedVerdict(p, before[p][1], after[p][1]) for p in both if before[p][1] != after[p][1]),
        facts=_side_by_side(_facts(old, pack), _facts(new, pack)),
        review=(review_counts(old).words, review_counts(new).words),
    )


def _images(audit: Audit) -> dict[str, tuple[str, str]]:
    """Return content and effective verdict by path."""
    table = audit.tables["images"]
    columns = [table[name].to_pylist() for name in ("path", "sha256", EFFECTIVE_VERDICT)]
    return {path: (sha256, verdict) for path, sha256, verdict in zip(*columns, strict=True)}


def _moved(gone: Mapping[str, str], added: Mapping[str, str]) -> list[tuple[str, str]]:
    """Pair paths of equal content, each used once, in the order of the old paths."""
    places: dict[str, list[str]] = {}
    for path, content in added.items():
        if content:
            places.setdefault(content, []).insert(0, path)
    return [(path, places[content].pop()) for path, content in gone.items() if places.get(content)]


def _facts(audit: Audit, pack: Pack) -> dict[str, float | None]:
    verdicts = audit.tables["images"][EFFECTIVE_VERDICT].to_pylist()
    counts: dict[str, float | None] = {f"images.{name}": float(verdicts.count(name)) for name in Verdict}
    try:
        return {"images": float(len(verdicts))} | counts | evaluate(audit, pack, pack.rules).facts
    except CurateError:  # an audit without images has no facts, but can still be compared
        return {"images": float(len(verdicts))} | counts


def _side_by_side(
    old: Mapping[str, float | None], new: Mapping[str, float | None]
) -> dict[str, tuple[float | None, float | None]]:
    return {name: (old.get(name), new.get(name)) for name in (*old, *(name for name in new if name not in old))}


def diff_text(diff: Diff) -> str:
    """Return the images of each kind of change, and the facts that changed."""
    lines: list[str] = []
    for title, paths in (("added", diff.added), ("removed", diff.removed), ("changed", diff.changed)):
        lines += _some(title, paths)
    lines += _some("moved", [f"{old} -> {new}" for old, new in diff.moved])
    lines += _some("verdict", [f"{one.path}: {one.old} -> {one.new}" for one in diff.verdicts])
    before, after = (words or "nothing decided" for words in diff.review)
    lines += [f"review: {before} -> {after}"] if before != after else []
    facts = {name: pair for name, pair in diff.facts.items() if pair[0] != pair[1]}
    width = max(map(len, facts), default=0)
    lines += ["facts (old -> new)"] if facts else []
    lines += [f"  {printable(name):<{width}}  {_figure(old)} -> {_figure(new)}" for name, (old, new) in facts.items()]
    return "\n".join(lines or ["no difference"]) + "\n"


def _some(title: str, entries: Sequence[str]) -> list[str]:
    more = [f"  and {len(entries) - SHOWN} more"] if len(entries) > SHOWN else []
    return [f"{title}: {len(entries)}", *(f"  {printable(e)}" for e in entries[:SHOWN]), *more] if entries else []


def _figure(value: Any) -> str:
    return "-" if value is None else number(float(value))
