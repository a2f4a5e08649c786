"""The whole road on one page: images -> embeddings -> scores -> verdicts -> audit.

Each step takes the value that the step before it gave, and hands its own on; nothing is shared.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, BinaryIO, Protocol

import torch
from pydantic import ValidationError

from curate import __version__
from curate.config import ScanConfig
from curate.embeddings.backbones import Backbone, load_backbone
from curate.embeddings.engines.local import Cache, EmbedReport, EmbedSettings, embed
from curate.embeddings.frame import auto_long_px
from curate.embeddings.runtimes import Precision, Runtime
from curate.errors import NothingToAudit, UsageError
from curate.images.decode import DecodeConfig
from curate.images.duplicates import duplicate_groups, kin, needs_full_hash
from curate.images.levels import find_levels
from curate.images.sizes import native_sizes
from curate.images.sources import list_images
from curate.offline import network
from curate.records import ImageFacts, Listing, Progress, Scores, no_progress
from curate.reports.parquet import Audit, check_output, write_audit
from curate.reports.pictures import draw_flagged
from curate.reports.schema import SCHEMA_VERSION
from curate.reports.tables import audit_tables
from curate.scores.by_label import score_by_label
from curate.scores.neighbours import Neighbours, NeighboursConfig
from curate.verdicts.judge import Verdicts, judge

SIZES_PEEKED = 64


class Stages(Protocol):
    """Where a run shows its stages; `curate.screen.Screen` is one."""

    def say(self, message: str) -> None: ...

    def stage(self, title: str, total: int) -> AbstractContextManager[Progress]: ...


class Silent:
    """Shows nothing."""

    def say(self, message: str) -> None: ...

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Progress]:
        yield no_progress


def scan(
    dataset: str | Path,
    output: str | Path | None = None,
    *,
    force: bool = False,
    screen: Stages | None = None,
    stdin: BinaryIO | None = None,
    **settings: Any,
) -> Audit:
    """Audit a dataset: find what does not belong, and write an audit folder.

    Args:
        dataset: a folder in any layout, a manifest (csv, jsonl, parquet), or "-" for a list of files on `stdin`.
        output: the audit's folder; None for `<dataset>-audit` in the working folder.
        force: replace an audit that is there.
        screen: where the stages are shown; None for nowhere.
        stdin: where a list of files comes from; None for the process's own.
        settings: see `ScanConfig`; "auto" for a size or a batch size is the same as leaving it out.

    Returns:
        The audit as written. `audit.images` has one row per file found, also the unreadable ones; higher
        `anomaly_score` is more anomalous, 1 is the fence.

    Raises:
        UsageError: the call is wrong: a path, an option, the output's place.
        InputError: a manifest or weights file cannot be used.
        NothingToAudit: there is no image, or none that can be read.
        CouldNotFinish: weights cannot be had, faiss is missing.
        WriteError: the audit or the cache cannot be written.
    """
    config = configure(settings)
    with network(refused=config.offline):
        return _scan(dataset, output, config, force=force, screen=screen or Silent(), stdin=stdin)


def _scan(
    dataset: str | Path,
    output: str | Path | None,
    config: ScanConfig,
    *,
    force: bool,
    screen: Stages,
    stdin: BinaryIO | None,
) -> Audit:
    clock = _Clock()
    target = Path(output) if output is not None else default_output(dataset)
    check_output(target, _folder_of(dataset), force=force)

    listing = list_images(dataset, layout=config.layout, split=config.split, stdin=stdin)
    screen.say(recognised(listing))
    clock.mark("list_s")
    backbone = load_backbone(config.backbone, weights=config.weights, offline=config.offline)
    embedding = embed_settings(listing, config)
    cache = Cache(config.cache, backbone, embedding)
    clock.mark("load_s")
    with screen.stage("embed", len(listing)) as progress:
        facts, embeddings, report = embed(listing, backbone, embedding, cache, progress=progress)
    _refuse_nothing(listing, facts)
    clock.mark("embed_s")

    duplicates = duplicate_groups([known.duplicate_key for known in facts])
    relatives = kin(duplicates, listing.groups)[embeddings.images]
    labels = [listing.labels[i] for i in embeddings.images]
    scorer = Neighbours(config=NeighboursConfig(images=config.neighbours, seed=config.seed))
    with screen.stage("score", len(embeddings)) as progress:
        scores = score_by_label(scorer, embeddings, relatives, labels, progress=progress)
    clock.mark("score_s")

    verdicts = judge(scores, embeddings, labels, duplicates[embeddings.images])
    tables = audit_tables(listing, facts, embeddings, scores, verdicts, duplicates)
    run = _run(listing, config, backbone, embedding, report, scores, verdicts, facts)
    clock.mark("judge_s")
    audit = Audit(tables=tables, run=run | {"seconds": clock.seconds | report.seconds})
    flagged = draw_flagged(listing, embeddings, scores, verdicts, embedding.decode, embedding.levels)
    return write_audit(audit, target, flagged)


def configure(settings: dict[str, Any]) -> ScanConfig:
    """Check the settings of a scan.

    Raises:
        UsageError: an unknown name, or a value out of range.
    """
    given = {name: value for name, value in settings.items() if value != "auto" or name == "device"}
    try:
        config = ScanConfig(**given)
    except ValidationError as error:
        raise UsageError(_first_fault(error)) from error
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "--device cuda: torch sees no CUDA device on this machine; leave it at auto, or install a CUDA build"
        )
    return config


def _first_fault(error: ValidationError) -> str:
    fault = error.errors()[0]
    name = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"{name}: no such setting; the settings are {', '.join(ScanConfig.model_fields)}"
    return f"--{name.replace('_', '-')} {fault['input']!r}: {fault['msg'].lower()}"


def default_output(dataset: str | Path) -> Path:
    """Return where an audit goes when nobody says: `<dataset>-audit` in the working folder."""
    name = "stdin" if str(dataset) == "-" else Path(dataset).resolve().name.split(".")[0]
    return Path(f"{name or 'dataset'}-audit")


def _folder_of(dataset: str | Path) -> Path | None:
    return Path(dataset) if str(dataset) != "-" and Path(dataset).is_dir() else None


def recognised(listing: Listing) -> str:
    """Say in one line how a dataset was read and what was passed over."""
    labels, splits = len(set(listing.labels)), sorted(set(listing.splits) - {""})
    parts = [f"{len(listing)} images", f"layout {listing.layout.value}"]
    parts += [f"{labels} classes"] if labels > 1 else []
    parts += [f"split {', '.join(splits)}"] if splits else []
    parts += [f"passed over: {count} {reason}" for reason, count in sorted(listing.ignored.items()) if count]
    return f"{listing.root}: {'; '.join(parts)}"


def embed_settings(listing: Listing, config: ScanConfig) -> EmbedSettings:
    """Decide what the set itself decides: the input size, the white level, how duplicates are compared."""
    decode = DecodeConfig(max_pixels=config.max_pixels, white_level=config.white_level)
    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    long_px = config.image_size
    if long_px is None:
        long_px = auto_long_px([max(size) for size in native_sizes(listing.files, SIZES_PEEKED, decode)])
    return EmbedSettings(
        long_px=long_px,
        decode=decode,
        levels=find_levels(listing.files, decode),
        full_hash=needs_full_hash(listing.paths),
        seed=config.seed,
        device=device,
        runtime=Runtime(config.runtime),
        precision=Precision(config.precision),
        batch_size=config.batch_size,
    )


def _refuse_nothing(listing: Listing, facts: Sequence[ImageFacts]) -> None:
    if all(known.skip_reason for known in facts):
        raise NothingToAudit(
            f"{listing.root}: none of the {len(listing)} images can be read, the first because: {facts[0].skip_reason}"
        )


@dataclass
class _Clock:
    """Seconds of wall time by step."""

    seconds: dict[str, float] = field(default_factory=dict)
    last: float = field(default_factory=perf_counter)

    def mark(self, step: str) -> None:
        now = perf_counter()
        self.seconds[step], self.last = round(now - self.last, 3), now


def _run(
    listing: Listing,
    config: ScanConfig,
    backbone: Backbone,
    embedding: EmbedSettings,
    report: EmbedReport,
    scores: Scores,
    verdicts: Verdicts,
    facts: Sequence[ImageFacts],
) -> dict[str, Any]:
    """Return what `run.json` says of how the audit came about."""
    return {
        "schema_version": SCHEMA_VERSION,
        "curate": __version__,
        "dataset": str(listing.root),
        "layout": listing.layout.value,
        "recognised": recognised(listing).removeprefix(f"{listing.root}: "),
        "ignored": listing.ignored,
        "fingerprint": fingerprint(listing, facts),
        "settings": config.model_dump(mode="json"),
        "long_px": embedding.long_px,
        "levels": embedding.levels.as_json(),
        "backbone": {k: getattr(backbone, k) for k in ("name", "sha256", "licence", "source", "strides", "channels")},
        "embedding": {"embedded": report.embedded, "from_cache": report.from_cache, "batch_size": report.batch_size},
        "scorers": {scores.scorer: scores.facts},
        "fences": verdicts.facts,
        "machine": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "device": embedding.device,
            "cpu_cores": os.cpu_count(),
        },
    }


def fingerprint(listing: Listing, facts: Sequence[ImageFacts]) -> str:
    """Return the sha256 of all paths, labels, splits, groups and file hashes: equal for an unchanged dataset."""
    digest = hashlib.sha256()
    for row in zip(
        listing.paths, listing.labels, listing.splits, listing.groups, (f.sha256 for f in facts), strict=True
    ):
        digest.update(repr(row).encode())
    return digest.hexdigest()
