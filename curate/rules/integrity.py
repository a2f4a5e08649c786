"""An audit without a backbone: every file listed, read and decoded, copies found. For packs that ask for no more.

It is never written, and lacks the columns that only a backbone fills: a rule that asks for them is an error.
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

from curate.config import ScanConfig
from curate.errors import UsageError
from curate.findings import catalogue
from curate.images.decode import DecodeConfig, read_image
from curate.images.duplicates import confirmed_keys, duplicate_groups, duplicate_pairs
from curate.images.fingerprint import fingerprint
from curate.images.levels import Levels, find_levels
from curate.images.names import unicode_name
from curate.images.sources import list_images
from curate.records import DecodedImage, Finding, ImageFacts, Listing, Progress, no_progress
from curate.reports.parquet import Audit
from curate.reports.schema import SCHEMA_VERSION, TABLES
from curate.rules.engine import without_judgement

LONG_PX = 256
"""Large JPEGs are decoded at reduced scale, as a scan does; whether a file is sound shows all the same."""
COPY, CONFLICTING_COPY = "DUP001", "DUP002"


def integrity_audit(
    datasets: Sequence[str | Path], config: ScanConfig, *, stdin: Any = None, progress: Progress = no_progress
) -> Audit:
    """Read every image of a dataset and say what its files are worth.

    Args:
        datasets: one dataset in any layout, or several files.
        config: layout, split, max_pixels and white_level count.
        stdin: where a list of files comes from for "-"; None for the process's own.
        progress: called with the number of images just read.

    Raises:
        UsageError: no such path, or a layout that does not fit.
        InputError: a manifest that cannot be used.
        NothingToAudit: not one image.
    """
    listing = _listing(datasets, config, stdin)
    decode = DecodeConfig(max_pixels=config.max_pixels, white_level=config.white_level)
    levels = find_levels(listing.files, decode)
    facts = _read(listing.files, levels, decode, progress)
    keys = confirmed_keys(listing.files, facts, levels=levels, config=decode)
    pairs = tuple(duplicate_pairs(duplicate_groups(keys)))
    found = [[*listing.findings[row], *known.findings] for row, known in enumerate(facts)]
    for first, other in pairs:
        found[other].append(_copy(listing, first, other))
    tables = {
        "images": without_judgement(_images(listing, facts, found)),
        "findings": _findings(listing, found),
        "duplicates": _duplicates(listing, pairs),
    }
    return Audit(tables=tables, run=_run(listing, facts))


def _listing(datasets: Sequence[str | Path], config: ScanConfig, stdin: Any) -> Listing:
    if len(datasets) == 1 and (str(datasets[0]) == "-" or not _is_image(Path(datasets[0]))):
        return list_images(datasets[0], layout=config.layout, split=config.split, stdin=stdin)
    folders = [str(path) for path in datasets if Path(path).is_dir()]
    if folders:
        raise UsageError(f"{folders[0]}: a folder among several files; check one dataset, or files alone")
    return list_images("-", stdin=BytesIO(b"\0".join([*(os.fsencode(path) for path in datasets), b""])))


def _is_image(path: Path) -> bool:
    from curate.images.decode import KNOWN_SUFFIXES

    return path.suffix.lower() in KNOWN_SUFFIXES and not path.is_dir()


def _read(files: Sequence[Path], levels: Levels, decode: DecodeConfig, progress: Progress) -> list[ImageFacts]:
    """Read and decode the files in threads; the facts come in their order."""

    def read(file: Path) -> ImageFacts:
        image = read_image(file, size=_small, levels=levels, config=decode)
        return image.facts if isinstance(image, DecodedImage) else image

    facts: list[ImageFacts] = []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="read") as pool:
        for known in pool.map(read, files):
            facts.append(known)
            progress(1)
    return facts


def _small(width: int, height: int) -> tuple[int, int]:
    scale = min(1.0, LONG_PX / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _copy(listing: Listing, first: int, other: int) -> Finding:
    same = listing.labels[first] == listing.labels[other]
    more = "" if same else f", which is labelled {listing.labels[first]!r}, not {listing.labels[other]!r}"
    code = COPY if same else CONFLICTING_COPY
    return Finding(code=code, message=f"the same pixels as {listing.paths[first]}{more}")


def _images(listing: Listing, facts: Sequence[ImageFacts], found: Sequence[Sequence[Finding]]) -> pa.Table:
    schema, rows = TABLES["images"], len(listing)
    columns: dict[str, Sequence[Any]] = {
        "path": listing.paths,
        "sha256": [known.sha256 for known in facts],
        "split": listing.splits,
        "label": listing.labels,
        "group": listing.groups,
        "width_px": [known.width_px or None for known in facts],
        "height_px": [known.height_px or None for known in facts],
        "mode": [known.mode for known in facts],
        "bit_depth": [known.bit_depth or None for known in facts],
        "skip_reason": [known.skip_reason for known in facts],
        "reasons": [sorted({finding.code for finding in one}) for one in found],
    }
    return pa.table({name: columns.get(name, [None] * rows) for name in schema.names}, schema=schema)


def _findings(listing: Listing, found: Sequence[Sequence[Finding]]) -> pa.Table:
    rows = [
        {"path": path, "code": f.code, "severity": catalogue()[f.code].severity, "message": f.message}
        for path, one in zip(listing.paths, found, strict=True)
        for f in one
    ]
    return pa.Table.from_pylist(rows, schema=TABLES["findings"])


def _duplicates(listing: Listing, pairs: Sequence[tuple[int, int]]) -> pa.Table:
    rows = [
        {
            "path": listing.paths[other],
            "duplicate_of": listing.paths[first],
            "kind": "exact",
            "same_label": listing.labels[first] == listing.labels[other],
        }
        for first, other in pairs
    ]
    return pa.Table.from_pylist(rows, schema=TABLES["duplicates"])


def _run(listing: Listing, facts: Sequence[ImageFacts]) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "dataset": unicode_name(str(listing.root)),
        "layout": listing.layout.value,
        "ignored": dict(Counter(listing.ignored)),
        "fingerprint": fingerprint(listing, facts),
    }
