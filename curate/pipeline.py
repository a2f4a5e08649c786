"""The whole road on one page: list -> embed -> partition -> judge each nominal set -> label checks -> audit.

Each step takes the value that the step before it gave, and hands its own on; nothing is shared.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any, BinaryIO

import numpy as np
import torch
from pydantic import ValidationError

from curate.audit.decisions import settle_decisions
from curate.audit.folder import check_output, claiming, replacing
from curate.audit.judged_dataset import JudgedDataset
from curate.audit.map_renderer import draw_flagged, map_renderer, to_draw
from curate.audit.parquet import Audit, decided_images, write_audit
from curate.audit.tables import audit_tables
from curate.choices import Device, Runtime, StudentKind
from curate.config import ScanConfig
from curate.embeddings.backbones import Backbone, load_backbone
from curate.embeddings.engines.local import Cache, EmbedSettings, embed
from curate.embeddings.frame import auto_long_px
from curate.embeddings.planted_images import Images, embed_planted, planted_count
from curate.errors import NothingToAudit, UsageError
from curate.images.decode import DecodeConfig
from curate.images.duplicates import confirmed_keys, duplicate_groups, leakage_groups
from curate.images.levels import find_levels
from curate.images.sizes import native_sizes
from curate.images.sources import list_images
from curate.images.trusted import find_trusted
from curate.offline import network
from curate.progress import Silent, Stages
from curate.records import BoolArray, EmbeddedImages, Embeddings, ImageFacts, IntArray, Listing
from curate.refinement.judge_dataset import judge_dataset, progress_total
from curate.reports.html import thumbnail_count, write_report
from curate.run_facts import recognised, run_facts, trusted_facts
from curate.same_part.find import SamePart
from curate.scores.base import ScorerContext, make_scorers
from curate.shots import find_shots, joined_rows, pixels_of
from curate.toml_files import first_fault
from curate.verdicts.acquisition import as_table
from curate.verdicts.judge import JudgedImages

log = logging.getLogger(__name__)

SIZES_PEEKED = 64
SHARED_NAMES = frozenset(("train", "training", "val", "valid", "validation", "test", "good", "ok", "images", "data"))
"""Names of folders that say nothing of the dataset."""


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
        `anomaly_score` is more anomalous, 1 is the threshold.

    Raises:
        UsageError: the call is wrong: a path, an option, the output's place.
        InputError: a manifest or weights file cannot be used.
        NothingToAudit: there is no image, or none that can be read.
        CouldNotFinish: weights cannot be had, faiss is missing, another scan writes into the same output.
        WriteError: the audit or the cache cannot be written.

    Examples:
        A single pass with one view, in place of the audit that is there:

        >>> audit = curate.scan("parts/", "parts-audit", force=True, scorers=["neighbours"], rounds=1)
        >>> audit.images.nlargest(2, "anomaly_score")["path"].tolist()
        ['11.png', '03.png']
        >>> audit.run["settings"]["rounds"]
        1
    """
    config = configure(settings)
    target = Path(output) if output is not None else default_output(dataset)
    with network(refused=config.offline), claiming(target):
        return _scan(dataset, target, config, force=force, screen=screen or Silent(), stdin=stdin)


def _scan(
    dataset: str | Path,
    target: Path,
    config: ScanConfig,
    *,
    force: bool,
    screen: Stages,
    stdin: BinaryIO | None,
) -> Audit:
    clock = _Clock()
    check_output(target, _sources(dataset, config), force=force)
    settle_decisions(target)

    with screen.stage("list", None):
        listing = list_images(
            dataset,
            layout=config.layout,
            split=config.split,
            group_from=config.group_from,
            root=config.root,
            stdin=stdin,
        )
    screen.say(recognised(listing))
    files = find_trusted(listing, config.trusted, dataset, layout=config.layout, root=config.root)
    clock.mark("list_s")
    backbone = load_backbone(config.backbone, weights=config.weights, offline=config.offline)
    with screen.stage("read headers", None):
        settings = embed_settings(listing, config)
    _log_settings(backbone, settings, config)
    clock.mark("load_s")
    listing = files.listing  # from here on with the trusted images outside the dataset
    with screen.stage("embed", len(listing)) as progress:
        cache = Cache(config.cache, backbone, settings)
        facts, embeddings, report = embed(listing, backbone, settings, cache=cache, progress=progress)
    _refuse_nothing(listing, facts)
    log.info("embedded %d images, %d came from the cache", report.embedded, report.from_cache)
    clock.mark("embed_s")
    clock.seconds |= report.seconds

    keys = confirmed_keys(listing.files, facts, config=settings.decode)
    duplicates = duplicate_groups(keys)
    clock.mark("copies_s")
    same_part = None
    if config.same_part:
        with screen.stage("same part", 2 * len(embeddings)) as progress:
            same_part = find_shots(
                listing, facts, embeddings, duplicates=duplicates, settings=settings, progress=progress
            )
        clock.mark("same_part_s")
    images = embedded_images(listing, facts, duplicates, embeddings=embeddings, config=config, same_part=same_part)
    pixels = pixels_of(listing, settings, facts=facts)
    images = with_planted(images, facts, config, pixels=pixels, network=(backbone, settings, cache), screen=screen)
    clock.mark("plant_s")
    scorers = make_scorers(ScorerContext(config=config, images=pixels_of(listing, settings), teacher=backbone))
    with screen.stage("score", progress_total(images, scorers, config)) as progress:
        judged = judge_dataset(images, scorers, config, progress=progress)
    clock.mark("score_s")
    _log_judged(judged)
    judged_dataset = _without_outside(
        JudgedDataset(
            listing=listing,
            facts=facts,
            duplicates=duplicates,
            embeddings=embeddings,
            images=judged,
            same_part=same_part,
        )
    )
    run = run_facts(judged_dataset, config, backbone, settings=settings, report=report)
    run["trusted"] = trusted_facts(files, facts, judged)
    return _write(judged_dataset, run, target, settings=settings, screen=screen, clock=clock)


def _without_outside(dataset: JudgedDataset) -> JudgedDataset:
    """Return what is said of the dataset's own images; the judged images are those already."""
    listing = dataset.listing.without_outside()
    readable = int((dataset.embeddings.images < len(listing)).sum())
    return replace(
        dataset,
        listing=listing,
        facts=dataset.facts[: len(listing)],
        duplicates=dataset.duplicates[: len(listing)],
        embeddings=dataset.embeddings.subset(np.arange(readable, dtype=np.int64)),
        same_part=None if dataset.same_part is None else dataset.same_part.of_first(readable),
    )


def _write(
    dataset: JudgedDataset,
    run: dict[str, Any],
    target: Path,
    *,
    settings: EmbedSettings,
    screen: Stages,
    clock: _Clock,
) -> Audit:
    """Draw the maps, and write the audit with its report, whole or not at all."""
    with replacing(target) as folder:
        renderer = map_renderer(dataset, settings.decode, settings.levels)
        with screen.stage("draw", len(to_draw(dataset))) as progress:
            maps = draw_flagged(folder, renderer, progress=progress)
        clock.mark("draw_s")
        run = run | {"map_scale": {"low": renderer.low, "high": renderer.high}, "seconds": clock.seconds}
        tables = audit_tables(dataset, maps)
        images = decided_images(tables["images"], target)  # an audit that is replaced leaves its decisions
        audit = Audit(tables=tables | {"images": images}, run=run, path=target)
        write_audit(audit, folder)
        with screen.stage("report", thumbnail_count(audit)) as progress:
            write_report(folder, audit, dataset=dataset.listing.root, progress=progress)
    log.info("seconds: %s", json.dumps(audit.run["seconds"]))
    return audit


def embedded_images(
    listing: Listing,
    facts: Sequence[ImageFacts],
    duplicates: IntArray,
    *,
    embeddings: Embeddings,
    config: ScanConfig,
    same_part: SamePart | None = None,
) -> EmbeddedImages:
    """Return the M images that could be read, ready to be judged.

    Args:
        listing: of N files; `trusted` and `outside` count.
        facts: of the N files.
        duplicates: (N,) see `duplicate_groups`.
        embeddings: of the M images.
        config: `optics` counts.
        same_part: which of the M images show the same part; None if it was not looked for.
    """
    readable = embeddings.images
    measured = [optics for i in readable.tolist() if (optics := facts[i].optics) is not None]
    if config.optics and len(measured) < len(readable):
        raise ValueError("an image was embedded, but not measured")
    return EmbeddedImages(
        embeddings=embeddings,
        groups=leakage_groups(duplicates, listing.groups, *joined_rows(readable, len(listing), same_part))[readable],
        duplicates=duplicates[readable],
        labels=tuple(listing.labels[i] for i in readable),
        optics=as_table(measured) if config.optics else None,
        trusted=_trusted(listing, duplicates, readable),
        outside=int((readable >= len(listing) - listing.outside).sum()),
    )


def _trusted(listing: Listing, duplicates: IntArray, readable: IntArray) -> BoolArray | None:
    """Return (M,) whether an image, or one with the same pixels and label, is known to be nominal; None if none is."""
    contents = list(zip(duplicates.tolist(), listing.labels, strict=True))
    known = {content for content, mark in zip(contents, listing.trusted, strict=True) if mark}
    return np.array([contents[row] in known for row in readable.tolist()], dtype=np.bool_) if known else None


def with_planted(
    images: EmbeddedImages,
    facts: Sequence[ImageFacts],
    config: ScanConfig,
    *,
    pixels: Images,
    network: tuple[Backbone, EmbedSettings, Cache],
    screen: Stages,
) -> EmbeddedImages:
    """Return the images with copies of some of them that hold planted defects.

    None are planted without `config.planted`, nor where a student learns from files, which planted images are not.

    Args:
        images: the M images that could be read.
        facts: of the N files.
        config: `planted`, `scorers` and `student` count.
        pixels, network: see `embed_planted`.
        screen: where the stage is shown.
    """
    if not config.planted or ("student" in config.scorers and config.student is StudentKind.STPM):
        return images
    with screen.stage("plant", planted_count(len(images))) as progress:
        planted = embed_planted(pixels, facts, images.embeddings.images, network=network, progress=progress)
    return replace(images, planted=planted)


def _log_judged(judged: JudgedImages) -> None:
    for one, result in zip(judged.sets, judged.judged, strict=True):
        for view in result.views:
            log.info("%s, %s: %s", one.name or "all images", view.scorer, json.dumps(view.facts))
        log.info("%s, threshold: %s", one.name or "all images", json.dumps(result.threshold.as_json()))


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
    chosen = {name: value for name, value in settings.items() if (name, value) != ("image_size", "auto")}
    try:
        config = ScanConfig(**chosen)
    except ValidationError as error:
        raise UsageError(_first_fault(error)) from error
    if config.device is Device.CUDA and config.runtime is Runtime.OPENVINO:
        raise UsageError("--device cuda: openvino runs on the CPU; leave one of --device and --runtime out")
    if config.device is Device.CUDA and not torch.cuda.is_available():
        raise UsageError(
            "--device cuda: torch sees no CUDA device on this machine; leave it at auto, or install a CUDA build"
        )
    return config


def _first_fault(error: ValidationError) -> str:
    where, what = first_fault(error, ScanConfig.model_fields)
    name, shown = str(where[0]), what.removeprefix(f"{where[0]} = ")
    return what if shown == what else f"--{name.replace('_', '-')} {shown}"


def default_output(dataset: str | Path) -> Path:
    """Return where an audit goes when nobody says: `<dataset>-audit` in the working folder.

    A folder whose name many datasets share is named with those above it: a/train gives a-train-audit.
    """
    if str(dataset) == "-":
        return Path("stdin-audit")
    path = Path(os.path.realpath(dataset))
    names = list(path.relative_to(path.anchor).parts) or ["dataset"]
    above = (at for at, name in reversed(list(enumerate(names))) if name.lower() not in SHARED_NAMES)
    own = next(above, len(names) - 1) if path.is_dir() else len(names) - 1
    shown = [*names[own:-1], names[-1].split(".")[0] or "dataset"]
    return Path(f"{'-'.join(shown)}-audit")


def _sources(dataset: str | Path, config: ScanConfig) -> dict[str, Path]:
    """Return what must not lie in the output, by what it is.

    Raises:
        UsageError: the system cannot even look for the dataset: a name that is too long, say.
    """
    sources = {"the cache": config.cache}
    if config.root is not None:
        sources["the folder of --root,"] = config.root
    if config.trusted is not None and os.path.exists(config.trusted):  # noqa: PTH110  False for what cannot be a path
        sources["the trusted set"] = Path(config.trusted)
    if str(dataset) != "-":
        sources["the dataset"] = Path(dataset)
        try:
            Path(dataset).exists()
        except OSError as error:
            raise UsageError(f"{dataset}: {error.strerror or error}; check the path") from error
    return sources


def embed_settings(listing: Listing, config: ScanConfig) -> EmbedSettings:
    """Decide what the set itself decides: the input size and the white level."""
    decode = DecodeConfig(max_pixels=config.max_pixels, white_level=config.white_level, bands=config.bands)
    device = config.device
    if device is Device.AUTO:
        on_cuda = torch.cuda.is_available() and config.runtime is Runtime.TORCH
        device = Device.CUDA if on_cuda else Device.CPU
    long_px = config.image_size
    if long_px is None:
        long_px = auto_long_px(native_sizes(listing.files, SIZES_PEEKED, decode))
    return EmbedSettings(
        long_px=long_px,
        decode=decode,
        levels=find_levels(listing.files, decode),
        seed=config.seed,
        device=device,
        runtime=config.runtime,
        precision=config.precision,
        batch_size=config.batch_size,
    )


def _refuse_nothing(listing: Listing, facts: Sequence[ImageFacts]) -> None:
    own = facts[: len(listing) - listing.outside]
    if all(one.skip_reason for one in own):
        raise NothingToAudit(
            f"{listing.root}: none of the {len(own)} images can be read, the first because: {own[0].skip_reason}"
        )


@dataclass
class _Clock:
    """Seconds of wall time by step."""

    seconds: dict[str, float] = field(default_factory=dict)
    last: float = field(default_factory=perf_counter)

    def mark(self, step: str) -> None:
        now = perf_counter()
        self.seconds[step], self.last = round(now - self.last, 3), now
