"""From an audit to a split: plan, check, write, and carry out if a mode is given."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from curate.audit.parquet import Audit, read_audit
from curate.audit.reviewed import review_counts
from curate.errors import UsageError
from curate.images.names import unicode_name
from curate.progress import Stages
from curate.records import Layout
from curate.splits.apply import Verify, apply
from curate.splits.files import WALKED, Located, hashes, locate, plural
from curate.splits.folder import AUDIT, Split, is_split, new_folder, read_split, refuse_place, write_split
from curate.splits.journal import DATA, QUARANTINE, JournalEntry
from curate.splits.modes import KeepShots, Mode
from curate.splits.plan import Action, PlanRow, is_sidecar, judged_rows, refuse_small_classes, unjudged_words
from curate.splits.resplit import Resplit, ResplitSettings, refuse_apply, refuse_unjudged, resplit_rows
from curate.splits.shots import keep_one_shot
from curate.splits.verify import check_originals


@dataclass(frozen=True, kw_only=True)
class PruneSettings:
    """What the user may choose about a split.

    Attributes:
        mode: how the plan is carried out; None to write the plan only.
        dataset: the dataset's present location; None for where it was scanned.
        dry_run: decide and check everything, write nothing.
        force: decisions and `keep_shots` may leave a class with fewer than min_keep images.
        follow_links: an image may be a link that leads out of the dataset.
        keep_shots: which shots of one part are kept.
        resplit: propose splits that do not leak; None to keep those of the dataset.
    """

    mode: Mode | None = None
    dataset: Path | None = None
    dry_run: bool = False
    force: bool = False
    follow_links: bool = False
    keep_shots: KeepShots = KeepShots.ALL
    resplit: ResplitSettings | None = None


@dataclass(frozen=True)
class RejectedImage:
    """An image that a plan rejects, and why."""

    path: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """The result of a prune.

    Attributes:
        folder: of the split; "" after a dry run.
        dataset: its root.
        images: number of images by action: keep, reject, carry, leave.
        masks: number of masks, which go with their images.
        sidecars: number of sidecar files (.json, .txt, .xml, ...), which go with their images.
        mode: how the plan was carried out; "" if it was not.
        warnings: one sentence for images that were not judged, for each class that became small, and for what proposed
            splits cannot give.
        next_steps: lines that say where the results are and what to do next.
        resplit: what proposed splits change; None without.
        review: what people decided, in words; "" if nothing.
        rejected: of a dry run, the images that would be rejected, in the order of the audit.
    """

    folder: str
    dataset: str
    images: dict[str, int]
    masks: int
    sidecars: int
    mode: str
    warnings: tuple[str, ...]
    next_steps: tuple[str, ...]
    resplit: Resplit | None = None
    review: str = ""
    rejected: tuple[RejectedImage, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return plain values for `--format json`."""
        return asdict(self)


def plan_rows(judged: Sequence[PlanRow], located: Located) -> tuple[PlanRow, ...]:
    """Return the whole plan: judged images, unjudged images, and the masks and sidecar files of all."""
    others = located.others
    values = hashes(located.files[other.path] for other in others)
    carried = [
        PlanRow(
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
    return (*judged, *carried, *_attached([*judged, *carried], located))


def _attached(images: Sequence[PlanRow], located: Located) -> list[PlanRow]:
    owners = {row.path: row for row in images}
    values = hashes(located.files[path] for path in located.attached)
    actions = {Action.KEEP: Action.CARRY}  # else the same as the image's
    return [
        PlanRow(
            path=path,
            sha256=value,
            action=actions.get(owners[owner].action, owners[owner].action) if value else Action.LEAVE,
            reason=f"{'sidecar file' if is_sidecar(path) else 'mask'} of {owner}",
            label=owners[owner].label,
            split=owners[owner].split,
            mask_of=owner,
            former_split=owners[owner].former_split,
        )
        for (path, owner), value in zip(located.attached.items(), values, strict=True)
    ]


def prune_audit(audit: Audit, output: Path, *, settings: PruneSettings, stages: Stages) -> Pruned:
    """Write the split of an audit, and carry it out if a mode is given; resume if an earlier call was killed.

    Args:
        audit: as read from its folder.
        output: the split's folder; it is written whole or not at all.
        settings: see `PruneSettings`.
        stages: where progress is shown.

    Raises:
        UsageError: the output cannot be used or holds another plan, the dataset does not exist, or no splits can be
            proposed.
        InputError: the audit or its decisions cannot be used, or lead out of the dataset.
        CouldNotFinish: the dataset changed since the audit; nothing was touched.
        WriteError: no room or no permission; what was begun is undone.
    """
    if settings.resplit is not None:
        refuse_apply(settings.mode, str(audit.run.get("layout")))
    source = audit.path or Path()
    dataset = settings.dataset or Path(str(audit.run.get("dataset", "")))
    is_walked = audit.run.get("layout") in WALKED and dataset.is_dir()
    _refuse_output(output, {"the audit": source} | ({"the dataset": dataset} if is_walked else {}))
    if is_split(output):
        return _resume(audit, output, settings=settings, stages=stages)
    return _anew(lambda _: audit, source, output, settings=settings, stages=stages)


def prune_dataset(
    scan: Callable[[Path], Audit],
    dataset: Path,
    output: Path,
    *,
    settings: PruneSettings,
    stages: Stages,
    rounds: int | None = None,
) -> Pruned:
    """Scan a dataset into the split's folder and prune it; errors as for `prune_audit` and those of `scan`.

    Args:
        scan: writes the audit of the dataset into a folder, and returns it.
        dataset: a folder or a manifest.
        output, settings, stages: as for `prune_audit`.
        rounds: as the user chose; None for the default.
    """
    if settings.resplit is not None:
        refuse_apply(settings.mode, Layout.MANIFEST if dataset.is_file() else "of folders")
    _refuse_output(output, {"the dataset": dataset})
    settings = replace(settings, dataset=settings.dataset or dataset)
    if not is_split(output):
        return _anew(scan, dataset, output, settings=settings, stages=stages)
    split = read_split(output)
    if os.path.realpath(split.source) != os.path.realpath(dataset):
        source = unicode_name(str(split.source))
        raise UsageError(f"-o {output}: holds the split of {source}; choose another folder")
    audit = read_audit(output / AUDIT)
    earlier = rounds_of(audit)
    if rounds is not None and rounds != earlier:
        raise UsageError(f"-o {output}: was made with --rounds {earlier}, not {rounds}; choose another folder")
    return _resume(audit, output, settings=settings, stages=stages)


def rounds_of(audit: Audit) -> int | None:
    """Return the setting `rounds` that an audit was made with; None if the audit has none."""
    rounds: int | None = (audit.run.get("settings") or {}).get("rounds")
    return rounds


def _refuse_output(output: Path, sources: dict[str, Path]) -> None:
    try:
        refuse_place(output, sources)
    except OSError as error:
        raise UsageError(f"-o {output}: {error.strerror or error}; choose another folder") from error


def _anew(
    make_audit: Callable[[Path], Audit], source: Path, output: Path, *, settings: PruneSettings, stages: Stages
) -> Pruned:
    with _folder(output, settings) as folder:
        audit = make_audit(folder / AUDIT)
        planned = _planned(audit, settings)
        located = locate(audit, settings.dataset)
        planned = replace(planned, warnings=(*planned.warnings, *_left_behind(located, settings)))
        if settings.resplit is not None:
            refuse_unjudged(located.others)
        rows = plan_rows(planned.judged, located)
        originals = _verified(rows, located, settings=settings, stages=stages)
        split = Split(path=output, rows=rows, source=source, root=located.root, layout=located.layout)
        write_split(folder, audit, split, resplit=settings.resplit and asdict(settings.resplit))
    return _carry_out(split, lambda: (located.root, originals), settings=settings, stages=stages, planned=planned)


@dataclass(frozen=True, kw_only=True)
class _Planned:
    """The plan of the images of an audit, what proposed splits change of it, warnings, and what people decided."""

    judged: list[PlanRow]
    resplit: Resplit | None
    warnings: tuple[str, ...]
    review: str


def _planned(audit: Audit, settings: PruneSettings) -> _Planned:
    judged, resplit = keep_one_shot(audit, judged_rows(audit), settings.keep_shots), None
    warnings = (
        *unjudged_words(audit),
        *refuse_small_classes(audit, judged, force=settings.force, keep_shots=settings.keep_shots),
    )
    if settings.resplit is not None:
        judged, resplit = resplit_rows(audit, judged, settings.resplit)
        warnings = (*warnings, *resplit.warnings)
    return _Planned(judged=judged, resplit=resplit, warnings=warnings, review=review_counts(audit).words)


def _left_behind(located: Located, settings: PruneSettings) -> Iterator[str]:
    """Yield a sentence for what may belong to images and does not go with them."""
    if located.unattached:
        yield f"{plural(located.unattached, 'mask')} of no image, or of several: left where they are"
    if settings.mode is not None and located.layout not in WALKED:
        yield f"masks and sidecar files of a {located.layout} are not looked for: they stay where they are"


def _resume(audit: Audit, output: Path, *, settings: PruneSettings, stages: Stages) -> Pruned:
    """Resume with the plan in the output, if it is the plan that the audit would give now."""
    split, planned = read_split(output), _planned(audit, settings)
    if list(split.rows[: len(planned.judged)]) != planned.judged:
        raise UsageError(
            f"-o {output}: holds another plan, from other verdicts, decisions, --keep-shots or splits; "
            "`curate restore` it if it is applied, and choose another folder"
        )

    def verify() -> tuple[Path, dict[str, JournalEntry]]:
        located = locate(audit, settings.dataset)
        return located.root, _verified(split.rows, located, settings=settings, stages=stages)

    return _carry_out(split, verify, settings=settings, stages=stages, planned=planned)


def _verified(
    rows: Sequence[PlanRow], located: Located, *, settings: PruneSettings, stages: Stages
) -> dict[str, JournalEntry]:
    with stages.stage("verify", len(rows)) as progress:
        return check_originals(rows, located.files, located.root, follow_links=settings.follow_links, progress=progress)


def _carry_out(split: Split, verify: Verify, *, settings: PruneSettings, stages: Stages, planned: _Planned) -> Pruned:
    if settings.mode is not None and not settings.dry_run:
        apply(split, settings.mode, verify, stages=stages)
    return _result(split, settings, planned)


@contextmanager
def _folder(output: Path, settings: PruneSettings) -> Iterator[Path]:
    """Give the folder that a split is made in: it becomes the output, or is removed after a dry run."""
    if settings.dry_run:
        with TemporaryDirectory(prefix="curate-") as scratch:
            yield Path(scratch)
    else:
        with new_folder(output) as folder:
            yield folder


def _result(split: Split, settings: PruneSettings, planned: _Planned) -> Pruned:
    counts = Counter(row.action for row in split.rows if not row.mask_of)
    return Pruned(
        folder="" if settings.dry_run else unicode_name(str(split.path)),
        dataset=unicode_name(str(split.root)),
        images={action.value: counts[action] for action in Action if counts[action]},
        masks=sum(1 for row in split.rows if row.mask_of and not is_sidecar(row.path)),
        sidecars=sum(1 for row in split.rows if row.mask_of and is_sidecar(row.path)),
        mode="" if settings.dry_run or settings.mode is None else settings.mode.value,
        warnings=planned.warnings,
        next_steps=_next_steps(split, settings),
        resplit=planned.resplit,
        review=planned.review,
        rejected=_rejected(split) if settings.dry_run else (),
    )


def _rejected(split: Split) -> tuple[RejectedImage, ...]:
    rejected = (row for row in split.rows if row.action is Action.REJECT and not row.mask_of)
    return tuple(RejectedImage(row.path, row.reason) for row in rejected)


def _next_steps(split: Split, settings: PruneSettings) -> tuple[str, ...]:
    folder = unicode_name(str(split.path))
    if settings.dry_run:
        return ("Dry run: nothing was written.",)
    if settings.resplit is not None and settings.mode is None:
        return (f"Plan and lists, with the proposed splits: {folder}", "No file was touched.")
    if settings.mode is None:
        return (
            f"Plan and lists: {folder}",
            "No file was touched; --apply copy, hardlink, symlink or move carries the plan out.",
        )
    undo = f"Undo: curate restore {shlex.quote(folder)}"
    if settings.mode is Mode.MOVE:
        return (f"Rejected images: {folder}/{QUARANTINE}", undo)
    return (f"Clean set: {folder}/{DATA}", undo)
