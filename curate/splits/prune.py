"""From an audit to a split: plan, check, write, and carry out if that is asked."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from curate.errors import UsageError
from curate.images.names import unicode_name
from curate.reports.parquet import Audit, read_audit
from curate.splits.apply import Stages, apply
from curate.splits.files import WALKED, Located, hashes, locate
from curate.splits.folder import AUDIT, Split, is_split, new_folder, read_split, refuse_place, write_split
from curate.splits.journal import DATA, QUARANTINE, Entry
from curate.splits.masks import find_masks
from curate.splits.modes import Mode
from curate.splits.plan import Action, Row, judged_rows, refuse_small_classes
from curate.splits.verify import check_originals


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the user may choose about a split.

    Attributes:
        mode: how the plan is carried out; None to write it only.
        dataset: where the dataset lies now; None for where it was scanned.
        dry_run: decide and check everything, write nothing.
        force: classes may fall below min_keep by decisions.
        follow_links: an image may be a link that leads out of the dataset.
    """

    mode: Mode | None = None
    dataset: Path | None = None
    dry_run: bool = False
    force: bool = False
    follow_links: bool = False


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What came of it.

    Attributes:
        folder: of the split; "" after a dry run.
        dataset: its root.
        images: how many images are kept, rejected, carried along and left, by action.
        masks: files that go with their images.
        mode: how the plan stands carried out; "" if not.
        warnings: sentences on classes that became small.
        next_steps: lines that say where things are and what to do.
    """

    folder: str
    dataset: str
    images: dict[str, int]
    masks: int
    mode: str
    warnings: tuple[str, ...]
    next_steps: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return plain values for `--format json`."""
        return asdict(self)


def plan_rows(judged: Sequence[Row], located: Located) -> tuple[Row, ...]:
    """Return the whole plan: the images that were judged, those that were not, and all masks."""
    others = located.others
    values = hashes(located.files[other.path] for other in others)
    carried = [
        Row(
            path=other.path,
            sha256=value,
            action=Action.CARRY if value else Action.LEAVE,
            reason="of a split that was not judged" if value else "the file could not be read",
            label=other.label,
            split=other.split,
            group=other.group,
        )
        for other, value in zip(others, values, strict=True)
    ]
    return (*judged, *carried, *_masks([*judged, *carried], located))


def _masks(images: Sequence[Row], located: Located) -> list[Row]:
    owners = {row.path: row for row in images}
    values = hashes(located.files[path] for path in located.masks)
    follow = {Action.KEEP: Action.CARRY}
    return [
        Row(
            path=path,
            sha256=value,
            action=follow.get(owners[owner].action, owners[owner].action) if value else Action.LEAVE,
            reason=f"mask of {owner}",
            label=owners[owner].label,
            split=owners[owner].split,
            mask_of=owner,
        )
        for (path, owner), value in zip(located.masks.items(), values, strict=True)
    ]


def locate_all(audit: Audit, dataset: Path | None) -> Located:
    """Find the images of an audit and their masks; errors as for `locate`."""
    located = locate(audit, dataset)
    masks = find_masks(located.root, located.files) if located.layout in WALKED else {}
    return replace(
        located,
        files={**located.files, **{path: file for path, (file, _) in masks.items()}},
        masks={path: owner for path, (_, owner) in masks.items()},
    )


def prune_audit(audit: Audit, output: Path, settings: Settings, stages: Stages) -> Pruned:
    """Write the split of an audit, and carry it out if a mode is given; go on where an earlier call was killed.

    Args:
        audit: as read from its folder.
        output: the split's folder; it is written whole or not at all.
        settings: see there.
        stages: where the steps are shown.

    Raises:
        UsageError: the output's place, another plan there, a dataset that is not there.
        InputError: the audit or its decisions cannot be used, or lead out of the dataset.
        CouldNotFinish: the dataset changed since the audit; nothing was touched.
        WriteError: no room or no permission; nothing is left of what was begun.
    """
    source = audit.path or Path()
    named = settings.dataset or Path(str(audit.run.get("dataset", "")))
    walked = audit.run.get("layout") in WALKED and named.is_dir()
    _refuse_output(output, {"the audit": source} | ({"the dataset": named} if walked else {}))
    if is_split(output):
        return _resume(audit, output, settings, stages)
    return _anew(lambda _: audit, source, output, settings, stages)


def prune_dataset(
    scan: Callable[[Path], Audit],
    dataset: Path,
    output: Path,
    settings: Settings,
    stages: Stages,
    *,
    rounds: int | None = None,
) -> Pruned:
    """Scan a dataset into the split's folder and prune it; errors as for `prune_audit` and those of `scan`.

    Args:
        scan: writes the audit of the dataset into the folder that it is given.
        dataset: a folder or a manifest.
        output, settings, stages: as for `prune_audit`.
        rounds: what was asked for; None for the default.
    """
    _refuse_output(output, {"the dataset": dataset})
    settings = replace(settings, dataset=settings.dataset or dataset)
    if not is_split(output):
        return _anew(scan, dataset, output, settings, stages)
    split = read_split(output)
    if os.path.realpath(split.source) != os.path.realpath(dataset):
        told = unicode_name(str(split.source))
        raise UsageError(f"-o {output}: holds the split of {told}: choose another folder")
    made = (read_audit(output / AUDIT).run.get("settings") or {}).get("rounds")
    if rounds is not None and rounds != made:
        raise UsageError(f"-o {output}: was made with --rounds {made}, not {rounds}: choose another folder")
    return _resume(read_audit(output / AUDIT), output, settings, stages)


def _refuse_output(output: Path, sources: dict[str, Path]) -> None:
    try:
        refuse_place(output, sources)
    except OSError as error:
        raise UsageError(f"-o {output}: {error.strerror or error}; choose another folder") from error


def _anew(
    audit_into: Callable[[Path], Audit], source: Path, output: Path, settings: Settings, stages: Stages
) -> Pruned:
    with _folder(output, settings) as folder:
        audit = audit_into(folder / AUDIT)
        judged = judged_rows(audit)
        warnings = refuse_small_classes(audit, judged, force=settings.force)
        located = locate_all(audit, settings.dataset)
        rows = plan_rows(judged, located)
        with stages.stage("verify", len(rows)) as progress:
            found = check_originals(
                rows, located.files, located.root, follow_links=settings.follow_links, progress=progress
            )
        write_split(folder, audit, rows, source=source, root=located.root)
    split = Split(path=output, rows=rows, source=source, root=located.root, layout=located.layout)
    return _carry_out(split, lambda: (located.root, found), settings, stages, warnings)


def _resume(audit: Audit, output: Path, settings: Settings, stages: Stages) -> Pruned:
    """Go on with the plan that is there, if it is the plan that would be made."""
    split, judged = read_split(output), judged_rows(audit)
    if list(split.rows[: len(judged)]) != judged:
        raise UsageError(
            f"-o {output}: holds another plan, from other verdicts or decisions: `curate restore` it if it is applied, "
            "and choose another folder"
        )
    warnings = refuse_small_classes(audit, judged, force=settings.force)

    def find() -> tuple[Path, dict[str, Entry]]:
        located = locate_all(audit, settings.dataset)
        with stages.stage("verify", len(split.rows)) as progress:
            return located.root, check_originals(
                split.rows, located.files, located.root, follow_links=settings.follow_links, progress=progress
            )

    return _carry_out(split, find, settings, stages, warnings)


def _carry_out(
    split: Split,
    find: Callable[[], tuple[Path, dict[str, Entry]]],
    settings: Settings,
    stages: Stages,
    warnings: tuple[str, ...],
) -> Pruned:
    if settings.mode is not None and not settings.dry_run:
        apply(split, settings.mode, find, stages)
    return _told(split, settings, warnings)


@contextmanager
def _folder(output: Path, settings: Settings) -> Iterator[Path]:
    """Give the folder that a split is made in: one that becomes the output, or is gone after a dry run."""
    if settings.dry_run:
        with TemporaryDirectory(prefix="curate-") as scratch:
            yield Path(scratch)
    else:
        with new_folder(output) as folder:
            yield folder


def _told(split: Split, settings: Settings, warnings: tuple[str, ...]) -> Pruned:
    counts = Counter(row.action for row in split.rows if not row.mask_of)
    return Pruned(
        folder="" if settings.dry_run else unicode_name(str(split.path)),
        dataset=unicode_name(str(split.root)),
        images={action.value: counts[action] for action in Action if counts[action]},
        masks=sum(1 for row in split.rows if row.mask_of),
        mode="" if settings.dry_run or settings.mode is None else settings.mode.value,
        warnings=warnings,
        next_steps=_next_steps(split, settings),
    )


def _next_steps(split: Split, settings: Settings) -> tuple[str, ...]:
    place = unicode_name(str(split.path))
    if settings.dry_run:
        return ("Nothing was written; without --dry-run the same would be.",)
    if settings.mode is None:
        return (
            f"Plan and lists: {place}",
            "Nothing was moved; --apply copy, hardlink, symlink or move carries it out.",
        )
    home = QUARANTINE if settings.mode is Mode.MOVE else DATA
    what = "What is rejected lies in" if settings.mode is Mode.MOVE else "The clean set:"
    return (f"{what} {place}/{home}", f"curate restore {place} undoes it.")
