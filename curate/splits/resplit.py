"""A proposed split that does not leak: whole leakage groups, stratified by label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from curate.audit.leakage_groups import audit_leakage_groups, unfound_parts
from curate.audit.parquet import Audit
from curate.errors import UsageError
from curate.records import IntArray, Layout
from curate.splits.files import UnjudgedImage, plural
from curate.splits.group_split import split_groups
from curate.splits.lists import CLEAN
from curate.splits.modes import Mode
from curate.splits.plan import PlanRow
from curate.splits.shares import wanted_counts

LABELS_SHOWN = 20
INTO_DATA = frozenset((Mode.COPY, Mode.HARDLINK, Mode.SYMLINK))


@dataclass(frozen=True, kw_only=True)
class ResplitSettings:
    """How splits are proposed.

    Attributes:
        shares: of each split, which add up to 1; None for those that each label has now.
        seed: of the order of groups of equal size.
    """

    shares: Mapping[str, float] | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Resplit:
    """What a proposed split changes, of the images of the clean set.

    Attributes:
        seed: as chosen.
        images: number of images.
        groups: number of leakage groups.
        images_moved: images that change their split.
        groups_moved: leakage groups with such an image.
        counts: images by label and split.
        wanted: those that the shares ask for.
        leaked_before, leaked_after: the share of images with one of their leakage group in another split, 0-1.
        warnings: sentences about what the split cannot give.
    """

    seed: int
    images: int
    groups: int
    images_moved: int
    groups_moved: int
    counts: dict[str, dict[str, int]]
    wanted: dict[str, dict[str, float]]
    leaked_before: float
    leaked_after: float
    warnings: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return the result in lines for the terminal."""
        lines = [
            f"Proposed splits: {plural(self.images, 'image')} in {plural(self.groups, 'leakage group')}; "
            f"{plural(self.images_moved, 'image')} of {plural(self.groups_moved, 'group')} moved, seed {self.seed}."
        ]
        for label, counts in list(self.counts.items())[:LABELS_SHOWN]:
            total = sum(counts.values())
            shares = (
                f"{split} {n} ({_percent(n / total)}, wanted {_percent(self.wanted[label][split] / total)})"
                for split, n in counts.items()
            )
            lines.append(f"  {label or '(no label)'}: {', '.join(shares)}")
        more = len(self.counts) - LABELS_SHOWN
        lines += [f"  and {plural(more, 'more label')}; --format json has all"] if more > 0 else []
        leaked = f"{_percent(self.leaked_before)} of the images before, {_percent(self.leaked_after)} after"
        return [*lines, f"In another split, too (pixels, group or part): {leaked}."]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def refuse_apply(mode: Mode | None, layout: str) -> None:
    """Refuse to carry a proposed split out where the clean folder would not say it.

    Only a manifest says it. Folders that are splits cannot be filled anew: files of two splits may have one name.

    Raises:
        UsageError: the layout is no manifest, or the mode makes no folder with one.
    """
    if mode is None or (mode in INTO_DATA and layout == Layout.MANIFEST):
        return
    if layout == Layout.MANIFEST:
        raise UsageError(
            f"--apply {mode}: with --resplit only copy, hardlink and symlink write a manifest; use one of them"
        )
    raise UsageError(
        f"--apply {mode}: folders cannot say the splits of --resplit; leave --apply out, and use the lists that can: "
        "clean.csv, metadata.csv, anomalib.csv"
    )


def refuse_unjudged(others: Sequence[UnjudgedImage]) -> None:
    """Refuse to propose splits where images were not judged: what they share with the others is not known.

    Raises:
        UsageError: there are such images.
    """
    if others:
        splits = ", ".join(sorted({repr(other.split) for other in others}))
        raise UsageError(
            f"--resplit: {plural(len(others), 'image')} (split {splits}) not in the audit, so what they share with the "
            "others is unknown; scan with --split all"
        )


def resplit_rows(audit: Audit, rows: Sequence[PlanRow], settings: ResplitSettings) -> tuple[list[PlanRow], Resplit]:
    """Return a plan whose clean images have proposed splits, and what changes.

    Args:
        audit: the rows' images, in its order.
        rows: the plan of the judged images.
        settings: shares and seed.

    Raises:
        UsageError: no shares are given, and the kept images have fewer than two splits.
        InputError: the audit's duplicates are not among its images.
    """
    kept = sorted((row for row in range(len(rows)) if rows[row].action in CLEAN), key=lambda row: rows[row].path)
    groups = audit_leakage_groups(audit)[kept]
    before = [rows[row].split for row in kept]
    labels = [rows[row].label for row in kept]
    names, wanted = wanted_counts(labels, before, settings.shares)
    codes = {label: code for code, label in enumerate(wanted)}
    numbers = split_groups(
        groups,
        np.array([codes[label] for label in labels], np.int64),
        np.stack(list(wanted.values())),
        generator=np.random.default_rng(settings.seed),
    )
    after = [names[number] for number in numbers.tolist()]
    proposed = list(rows)
    for row, split in zip(kept, after, strict=True):
        proposed[row] = replace(rows[row], split=split, former_split=rows[row].split)
    return proposed, Resplit(
        seed=settings.seed,
        images=len(kept),
        groups=len(np.unique(groups)),
        images_moved=sum(old != new for old, new in zip(before, after, strict=True)),
        groups_moved=len({g for g, old, new in zip(groups.tolist(), before, after, strict=True) if old != new}),
        counts=_counts(labels, after, names),
        wanted={label: dict(zip(names, counts.tolist(), strict=True)) for label, counts in wanted.items()},
        leaked_before=leaked_share(groups, before),
        leaked_after=leaked_share(groups, after),
        warnings=(*_unfound(audit), *_empty(names, after)),
    )


def leaked_share(groups: IntArray, splits: Sequence[str]) -> float:
    """Return the share of images with one of their leakage group in another split; a split "" is none.

    Args:
        groups: (N,) leakage groups.
        splits: (N,)
    """
    there: dict[int, set[str]] = {}
    for group, split in zip(groups.tolist(), splits, strict=True):
        there.setdefault(group, set()).update({split} - {""})
    leaked = sum(len(there[group]) > 1 and split != "" for group, split in zip(groups.tolist(), splits, strict=True))
    return leaked / len(splits)


def _counts(labels: Sequence[str], splits: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, int]]:
    pairs = Counter(zip(labels, splits, strict=True))
    return {label: {name: pairs[label, name] for name in names} for label in sorted(set(labels))}


def _unfound(audit: Audit) -> list[str]:
    reason = unfound_parts(audit.run)
    return [f"Parts may still leak: {reason}"] if reason else []


def _empty(names: Sequence[str], splits: Sequence[str]) -> list[str]:
    return [
        f"The split {name!r} has no image: the leakage groups are too large for its share"
        for name in names
        if name not in splits
    ]
