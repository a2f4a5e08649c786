"""What `run.json` says of how an audit came about."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from curate.audit.judged_dataset import JudgedDataset
from curate.audit.same_part_tables import pairs_across_groups
from curate.audit.schema import SCHEMA_VERSION
from curate.config import ScanConfig
from curate.embeddings.backbones import Backbone
from curate.embeddings.engines.local import EmbedReport, EmbedSettings
from curate.images.fingerprint import fingerprint
from curate.images.names import unicode_name
from curate.images.trusted import TrustedFiles
from curate.records import ImageFacts, Listing
from curate.same_part.copies import Copies
from curate.same_part.find import SamePart
from curate.same_part.names import propose_group
from curate.verdicts.judge import JudgedImages
from curate.verdicts.judged_set import contamination
from curate.verdicts.power import families_like_nominal, power_table
from curate.version import __version__

log = logging.getLogger(__name__)

SPLITS_NAMED = 5
BACKBONE_FACTS = ("name", "sha256", "licence", "source", "strides", "channels")


def run_facts(
    dataset: JudgedDataset, config: ScanConfig, backbone: Backbone, *, settings: EmbedSettings, report: EmbedReport
) -> dict[str, Any]:
    """Return what `run.json` says of how the audit came about."""
    listing, images = dataset.listing, dataset.images
    root = unicode_name(str(listing.root))
    return {
        "schema_version": SCHEMA_VERSION,
        "curate": __version__,
        "dataset": root,
        "dataset_as_named": unicode_name(str(listing.named)),
        "layout": listing.layout.value,
        "recognised": recognised(listing).removeprefix(f"{root}: "),
        "ignored": listing.ignored,
        "fingerprint": fingerprint(listing, dataset.facts),
        "settings": {name: _plain(value) for name, value in config},
        "long_px": settings.long_px,
        "levels": settings.levels.as_json(),
        "backbone": {k: _plain(getattr(backbone, k)) for k in BACKBONE_FACTS},
        "embedding": {"embedded": report.embedded, "from_cache": report.from_cache, "batch_size": report.batch_size},
        "scorers": _scorer_facts(images),
        "same_part": None if dataset.same_part is None else _same_part(dataset, dataset.same_part),
        "contamination": contamination(images.judged),
        "power": _power(images),
        "p_values": {one.name: result.p_values for one, result in zip(images.sets, images.judged, strict=True)},
        "rounds_ended": {one.name: result.ended for one, result in zip(images.sets, images.judged, strict=True)},
        "machine": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "device": settings.device,
            "cpu_cores": os.cpu_count(),
        },
    }


def trusted_facts(files: TrustedFiles, facts: Sequence[ImageFacts], images: JudgedImages) -> dict[str, Any] | None:
    """Return how many images are trusted, and of how many parts the reference of each nominal set is; None if none is.

    Args:
        files: the dataset's, then those outside of it.
        facts: of these files.
        images: what was found about the dataset.
    """
    outside = files.listing.outside
    own = len(files.listing) - outside
    trusted, unreadable = sum(map(bool, files.listing.trusted[:own])), sum(bool(one.skip_reason) for one in facts[own:])
    if not trusted + outside:
        return None
    if unreadable or files.of_no_class:
        log.warning(
            "of the trusted images outside the dataset, %d cannot be read and %d have a label that the dataset has not",
            unreadable,
            files.of_no_class,
        )
    references = (result.threshold.reference for result in images.judged)
    return {
        "images": trusted,
        "outside": outside - unreadable,
        "unreadable": unreadable,
        "of_no_class": files.of_no_class,
        "reference": {one.name: len(known or ()) for one, known in zip(images.sets, references, strict=True)},
    }


def _same_part(dataset: JudgedDataset, found: SamePart) -> dict[str, Any]:
    """Return what the search for shots of the same part was worth, and what it says of the groups."""
    return {
        "threshold": found.threshold if np.isfinite(found.threshold) else None,
        "planted_found": {kind: round(share, 4) for kind, share in found.recall.items()},
        "undecidable": round(found.undecidable, 4),
        "false_rate": found.false_rate,
        "compared": found.compared,
        "unread": found.unread,
        "pairs": int((~found.local).sum()),
        "pairs_that_differ": int(found.local.sum()),
        "pairs_across_groups": sum(1 for _ in pairs_across_groups(dataset)),
        "proposed_group": _proposed_group(dataset, found),
        "copies": None if found.copies is None else _copies(found.copies),
    }


def _power(images: JudgedImages) -> dict[str, Any] | None:
    """Return what of the planted defects is found, and what cannot be told from nominal images; None without any."""
    by_set = {
        one.name: (result, result.power)
        for one, result in zip(images.sets, images.judged, strict=True)
        if result.power is not None
    }
    powers = [power for _, power in by_set.values()]
    if not powers:
        return None
    like_nominal = {
        name: families_like_nominal(power, result.joined.values[~result.rejected])
        for name, (result, power) in by_set.items()
    }
    return {
        "planted": sum(len(power.found) for power in powers),
        "found": sum(int(power.found.sum()) for power in powers),
        "table": power_table(powers),
        "like_nominal": {name: families for name, families in like_nominal.items() if families},
        "cannot_tell": [name for name, (result, _) in by_set.items() if result.threshold.cannot_tell],
    }


def _copies(copies: Copies) -> dict[str, Any]:
    """Return what the search for copies of one file was worth."""
    return {
        "pairs": len(copies.pairs),
        "limit": round(copies.limit, 6),
        "most_own_noise": round(copies.most_own_noise, 4),
        "planted_found": {kind: round(share, 4) for kind, share in copies.recall.items()},
    }


def _proposed_group(dataset: JudgedDataset, found: SamePart) -> dict[str, Any] | None:
    """Return the groups that the names of the files propose; None if none agree, or if there are groups already."""
    if any(dataset.listing.groups):
        return None
    files = dataset.embeddings.images
    copies = np.searchsorted(files, dataset.duplicates[files])  # the first of equal pixels stands for all
    proposed = propose_group(
        [dataset.listing.paths[file] for file in files.tolist()],
        copies[found.pairs[~found.local]],
        found.decidable & (copies == np.arange(len(files))),
    )
    return None if proposed is None else asdict(proposed)


def _scorer_facts(images: JudgedImages) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Return what each scorer recorded of each nominal set, by scorer and set."""
    facts: dict[str, dict[str, Mapping[str, Any]]] = {}
    for one, result in zip(images.sets, images.judged, strict=True):
        for view in result.views:
            facts.setdefault(view.scorer, {})[one.name] = view.facts
    return facts


def _plain(value: object) -> object:
    """Return a value fit for JSON; bytes of a path that are not UTF-8 stand escaped."""
    return unicode_name(str(value)) if isinstance(value, str | Path) else value


def recognised(listing: Listing) -> str:
    """Say in one line how a dataset was read and what was passed over."""
    labels, splits = len(set(listing.labels)), sorted(set(listing.splits) - {""})
    parts = [f"{len(listing)} images", f"layout {listing.layout.value}"]
    parts += [f"{labels} classes"] if labels > 1 else []
    more = [f"{len(splits) - SPLITS_NAMED} more"] if len(splits) > SPLITS_NAMED else []
    groups = set(listing.groups) - {""}
    parts += [f"{len(groups)} groups"] if groups else []
    parts += [f"split {', '.join(splits[:SPLITS_NAMED] + more)}"] if splits else []
    parts += [f"passed over: {count} {reason}" for reason, count in sorted(listing.ignored.items()) if count]
    return f"{unicode_name(str(listing.root))}: {'; '.join(parts)}"
