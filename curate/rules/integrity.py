"""An audit without a backbone, for packs like `smoke`: every file is listed, read and decoded; duplicates are found.

It is never written to disk. The columns that only a backbone fills are missing: a rule that reads them is an error.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.audit.file_tables import (
    Columns,
    duplicates_table,
    file_findings,
    finding_row,
    findings_table,
    image_columns,
)
from curate.audit.parquet import Audit
from curate.audit.schema import IMAGES, SCHEMA_VERSION
from curate.config import ScanConfig
from curate.errors import UsageError
from curate.images.decode import KNOWN_SUFFIXES, DecodeConfig, read_image
from curate.images.duplicates import confirmed_keys, duplicate_groups
from curate.images.fingerprint import fingerprint
from curate.images.levels import Levels, find_levels
from curate.images.names import unicode_name
from curate.images.scale import fit_longest_side
from curate.images.sources import list_images
from curate.progress import Progress, no_progress
from curate.records import DecodedImage, ImageFacts, Listing
from curate.rules.engine import without_judgement

LONG_PX = 256
"""Longest side of a decoded image: large JPEGs are decoded at reduced scale, which still reads the whole file."""


def integrity_audit(
    datasets: Sequence[str | Path], config: ScanConfig, *, stdin: Any = None, progress: Progress = no_progress
) -> Audit:
    """Read every image of a dataset and return what its files show.

    Args:
        datasets: one dataset in any layout, or several files.
        config: its layout, split, group_from (of a dataset, not of single files), max_pixels, white_level and bands
            are used.
        stdin: where a list of files comes from for "-"; None for the process's own.
        progress: called with the number of images just read.

    Raises:
        UsageError: no such path, or a layout that does not fit.
        InputError: a manifest that cannot be used.
        NothingToAudit: not one image.
    """
    listing = _listing(datasets, config, stdin)
    decode = DecodeConfig(max_pixels=config.max_pixels, white_level=config.white_level, bands=config.bands)
    levels = find_levels(listing.files, decode)
    facts = _read(listing.files, levels, decode, progress=progress)
    duplicates = duplicate_groups(confirmed_keys(listing.files, facts, config=decode))
    findings = file_findings(listing, facts, duplicates)
    rows = (finding_row(path, one) for path, some in zip(listing.paths, findings, strict=True) for one in some)
    tables = {
        "images": without_judgement(_images_table(image_columns(listing, facts, findings))),
        "findings": findings_table(rows),
        "duplicates": duplicates_table(listing, duplicates),
    }
    return Audit(tables=tables, run=_run(listing, facts))


def _listing(datasets: Sequence[str | Path], config: ScanConfig, stdin: Any) -> Listing:
    if len(datasets) == 1 and (str(datasets[0]) == "-" or not _is_image(Path(datasets[0]))):
        return list_images(
            datasets[0],
            layout=config.layout,
            split=config.split,
            group_from=config.group_from,
            root=config.root,
            stdin=stdin,
        )
    folders = [str(path) for path in datasets if Path(path).is_dir()]
    if folders:
        raise UsageError(f"{folders[0]}: a folder among several files; check one dataset, or files alone")
    return list_images("-", stdin=BytesIO(b"\0".join([*(os.fsencode(path) for path in datasets), b""])))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in KNOWN_SUFFIXES and not path.is_dir()


def _read(files: Sequence[Path], levels: Levels, decode: DecodeConfig, *, progress: Progress) -> list[ImageFacts]:
    """Read and decode the files in threads; the facts come in their order."""

    def read(file: Path) -> ImageFacts:
        image = read_image(file, size=_checked_size, levels=levels, config=decode)
        return image.facts if isinstance(image, DecodedImage) else image

    facts: list[ImageFacts] = []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="read") as pool:
        for one in pool.map(read, files):
            facts.append(one)
            progress(1)
    return facts


def _checked_size(width: int, height: int) -> tuple[int, int]:
    return fit_longest_side(width, height, LONG_PX)


def _images_table(columns: Columns) -> pa.Table:
    """Return `images` with null in every column that only a scan fills."""
    nulls = [None] * len(columns["path"])
    return pa.table({name: columns.get(name, nulls) for name in IMAGES.names}, schema=IMAGES)


def _run(listing: Listing, facts: Sequence[ImageFacts]) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "dataset": unicode_name(str(listing.root)),
        "dataset_as_named": unicode_name(str(listing.named)),
        "layout": listing.layout.value,
        "ignored": dict(Counter(listing.ignored)),
        "fingerprint": fingerprint(listing, facts),
    }
