"""The whole road on one page: images -> embeddings -> scores -> verdicts -> audit.

Each step takes the value that the step before it gave, and hands its own on; nothing is shared.
"""

from __future__ import annotations

import json
import logging
import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, BinaryIO, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from curate import __version__
from curate.config import ScanConfig
from curate.embeddings.backbones import Backbone, load_backbone
from curate.embeddings.engines.local import Cache, EmbedReport, EmbedSettings, embed
from curate.embeddings.frame import auto_long_px, frame_size
from curate.embeddings.runtimes import Precision, Runtime
from curate.errors import CouldNotFinish, NothingToAudit, UsageError
from curate.images.decode import DecodeConfig, read_image
from curate.images.duplicates import confirmed_keys, duplicate_groups, kin
from curate.images.fingerprint import fingerprint
from curate.images.levels import find_levels
from curate.images.names import unicode_name
from curate.images.sizes import native_sizes
from curate.images.sources import list_images
from curate.offline import network
from curate.records import DecodedImage, Embeddings, ImageFacts, IntArray, Listing, Progress, no_progress
from curate.reports.html import thumbnail_count, write_report
from curate.reports.outcome import Outcome
from curate.reports.parquet import Audit, write_audit
from curate.reports.pictures import draw_flagged, pen, to_draw
from curate.reports.place import check_output, replacing
from curate.reports.schema import SCHEMA_VERSION
from curate.reports.tables import audit_tables
from curate.scores.base import Scorer
from curate.scores.stpm import Images
from curate.scores.views import make_scorers
from curate.toml_files import first_fault
from curate.verdicts.fence import Method
from curate.verdicts.judge import judge
from curate.verdicts.rounds import RefineConfig, Refined, looks, refine
from curate.verdicts.shots import as_table

log = logging.getLogger(__name__)

SIZES_PEEKED, SPLITS_NAMED = 64, 5
BACKBONE_FACTS = ("name", "sha256", "licence", "source", "strides", "channels")


class Stages(Protocol):
    """Where a run shows its stages; `curate.screen.Screen` is one."""

    def say(self, message: str) -> None: ...

    def stage(self, title: str, total: int | None) -> AbstractContextManager[Progress]:
        """Show a stage of `total` images while the block runs; None where nobody knows how many."""
        ...


class Silent:
    """Shows nothing."""

    def say(self, message: str) -> None: ...

    @contextmanager
    def stage(self, title: str, total: int | None) -> Iterator[Progress]:
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
        settings: see `ScanConfig`; `image_size="auto"` is the same as leaving it out.

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
    check_output(target, _sources(dataset, config), force=force)

    with screen.stage("list", None):
        listing = list_images(dataset, layout=config.layout, split=config.split, stdin=stdin)
    screen.say(recognised(listing))
    clock.mark("list_s")
    backbone = load_backbone(config.backbone, weights=config.weights, offline=config.offline)
    with screen.stage("read headers", None):
        settings = embed_settings(listing, config)
    _log_settings(backbone, settings, config)
    clock.mark("load_s")
    with screen.stage("embed", len(listing)) as progress:
        cache = Cache(config.cache, backbone, settings)
        facts, embeddings, report = embed(listing, backbone, settings, cache, progress=progress)
    _refuse_nothing(listing, facts)
    log.info("embedded %d images, %d came from the cache", report.embedded, report.from_cache)
    clock.mark("embed_s")

    keys = confirmed_keys(listing.files, facts, levels=settings.levels, config=settings.decode)
    duplicates = duplicate_groups(keys)
    clock.mark("copies_s")
    scorers = make_scorers(config, images=pixels_of(listing, settings), teacher=backbone)
    outcome = _judge(listing, facts, duplicates, embeddings, scorers, config, screen, clock)
    with replacing(target) as folder:
        ink = pen(outcome, settings.decode, settings.levels)
        with screen.stage("draw", len(to_draw(outcome))) as progress:
            maps = draw_flagged(folder, ink, progress=progress)
        clock.mark("draw_s")
        run = _run(outcome, config, backbone, settings, report)
        run |= {"map_scale": {"low": ink.low, "high": ink.high}, "seconds": clock.seconds | report.seconds}
        audit = Audit(tables=audit_tables(outcome, maps), run=run, path=target)
        write_audit(audit, folder)
        with screen.stage("report", thumbnail_count(audit)) as progress:
            write_report(folder, audit, dataset=listing.root, progress=progress)
    log.info("seconds: %s", json.dumps(audit.run["seconds"]))
    return audit


def _judge(
    listing: Listing,
    facts: Sequence[ImageFacts],
    duplicates: IntArray,
    embeddings: Embeddings,
    scorers: Sequence[Scorer],
    config: ScanConfig,
    screen: Stages,
    clock: _Clock,
) -> Outcome:
    """Score and judge the images that could be embedded."""
    relatives = kin(duplicates, listing.groups)[embeddings.images]
    labels = [listing.labels[i] for i in embeddings.images]
    own = duplicates[embeddings.images]
    rounds = refine_config(config)
    with screen.stage("score", len(embeddings) * looks(scorers, labels, rounds)) as progress:
        optics = optics_of(facts, embeddings) if config.optics else None
        refined = refine(embeddings, relatives, labels, own, scorers, rounds, optics=optics, progress=progress)
    clock.mark("score_s")
    verdicts = judge(refined, labels, own)
    clock.mark("judge_s")
    for view in refined.views:
        log.info("%s: %s", view.scorer, json.dumps(view.facts))
    log.info("fences: %s", json.dumps(_fences(refined)))
    return Outcome(
        listing=listing, facts=facts, duplicates=duplicates, embeddings=embeddings, refined=refined, verdicts=verdicts
    )


def optics_of(facts: Sequence[ImageFacts], embeddings: Embeddings) -> NDArray[np.float64]:
    """Return how the N images that could be read were taken, (N, 5); see `shots.as_table`."""
    measured = [facts[i].optics for i in embeddings.images.tolist()]
    known = [optics for optics in measured if optics is not None]
    if len(known) < len(measured):
        raise ValueError("an image was embedded, but not measured")
    return as_table(known)


def pixels_of(listing: Listing, settings: EmbedSettings) -> Images:
    """Return what gives the pixels of a file of the listing, as they were embedded.

    Raises (when called):
        CouldNotFinish: the file has changed since and can no longer be read.
    """

    def read(row: int) -> NDArray[Any]:
        image = read_image(
            listing.files[row],
            size=lambda width, height: frame_size(width, height, settings.long_px),
            levels=settings.levels,
            config=settings.decode,
        )
        if not isinstance(image, DecodedImage):
            raise CouldNotFinish(f"{listing.paths[row]}: was read before and cannot be read any more; scan again")
        return image.pixels

    return read


def refine_config(config: ScanConfig) -> RefineConfig:
    """Return what a scan's settings say of the rounds."""
    return RefineConfig(
        rounds=config.rounds,
        method=Method(config.fence),
        fdr=config.fdr,
        max_share=config.max_share,
        min_keep=config.min_keep,
        kinds=config.kinds,
    )


def _fences(refined: Refined) -> dict[str, dict[str, Any]]:
    """Return the fence of each label: of the hybrid score, and of each view on its own scale."""
    fences: dict[str, dict[str, Any]] = {label: {"hybrid": found.as_json()} for label, found in refined.fences.items()}
    for name, by_label in refined.view_fences.items():
        for label, found in by_label.items():
            fences[label][name] = found.as_json()
    return fences


def _log_settings(backbone: Backbone, settings: EmbedSettings, config: ScanConfig) -> None:
    log.info("backbone %s, sha256 %s, from %s", backbone.name, backbone.sha256, backbone.source)
    log.info("longest side %d px, levels %s", settings.long_px, json.dumps(settings.levels.as_json()))
    log.info("device %s, %s, %s", settings.device, settings.runtime, settings.precision)
    log.info("cache %s", config.cache)


def configure(settings: dict[str, Any]) -> ScanConfig:
    """Check the settings of a scan.

    Raises:
        UsageError: an unknown name, or a value out of range.
    """
    given = {name: value for name, value in settings.items() if (name, value) != ("image_size", "auto")}
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
    where, what = first_fault(error, ScanConfig.model_fields)
    name, shown = str(where[0]), what.removeprefix(f"{where[0]} = ")
    return what if shown == what else f"--{name.replace('_', '-')} {shown}"


def default_output(dataset: str | Path) -> Path:
    """Return where an audit goes when nobody says: `<dataset>-audit` in the working folder."""
    name = "stdin" if str(dataset) == "-" else Path(os.path.realpath(dataset)).name.split(".")[0]
    return Path(f"{name or 'dataset'}-audit")


def _sources(dataset: str | Path, config: ScanConfig) -> dict[str, Path]:
    """Return what must not lie in the output, by what it is.

    Raises:
        UsageError: the system cannot even look for the dataset: a name that is too long, say.
    """
    sources = {"the cache": config.cache}
    if str(dataset) != "-":
        sources["the dataset"] = Path(dataset)
        try:
            Path(dataset).exists()
        except OSError as error:
            raise UsageError(f"{dataset}: {error.strerror or error}; check the path") from error
    return sources


def recognised(listing: Listing) -> str:
    """Say in one line how a dataset was read and what was passed over."""
    labels, splits = len(set(listing.labels)), sorted(set(listing.splits) - {""})
    parts = [f"{len(listing)} images", f"layout {listing.layout.value}"]
    parts += [f"{labels} classes"] if labels > 1 else []
    more = [f"{len(splits) - SPLITS_NAMED} more"] if len(splits) > SPLITS_NAMED else []
    parts += [f"split {', '.join(splits[:SPLITS_NAMED] + more)}"] if splits else []
    parts += [f"passed over: {count} {reason}" for reason, count in sorted(listing.ignored.items()) if count]
    return f"{unicode_name(str(listing.root))}: {'; '.join(parts)}"


def embed_settings(listing: Listing, config: ScanConfig) -> EmbedSettings:
    """Decide what the set itself decides: the input size and the white level."""
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
    outcome: Outcome, config: ScanConfig, backbone: Backbone, settings: EmbedSettings, report: EmbedReport
) -> dict[str, Any]:
    """Return what `run.json` says of how the audit came about."""
    listing, root = outcome.listing, unicode_name(str(outcome.listing.root))
    return {
        "schema_version": SCHEMA_VERSION,
        "curate": __version__,
        "dataset": root,
        "layout": listing.layout.value,
        "recognised": recognised(listing).removeprefix(f"{root}: "),
        "ignored": listing.ignored,
        "fingerprint": fingerprint(listing, outcome.facts),
        "settings": {name: _plain(value) for name, value in config},
        "long_px": settings.long_px,
        "levels": settings.levels.as_json(),
        "backbone": {k: _plain(getattr(backbone, k)) for k in BACKBONE_FACTS},
        "embedding": {"embedded": report.embedded, "from_cache": report.from_cache, "batch_size": report.batch_size},
        "scorers": {view.scorer: view.facts for view in outcome.refined.views},
        "fences": _fences(outcome.refined),
        "votes": {label: facts["votes"] for label, facts in outcome.refined.hybrid.facts.items()},
        "contamination": outcome.refined.contamination(),
        "rounds_ended": outcome.refined.ended,
        "machine": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "device": settings.device,
            "cpu_cores": os.cpu_count(),
        },
    }


def _plain(value: object) -> object:
    """Return a value fit for JSON; bytes of a path that are not UTF-8 stand escaped."""
    return unicode_name(str(value)) if isinstance(value, str | Path) else value
