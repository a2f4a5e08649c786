"""What is exported: the images of an audit, what becomes of each, and where its file is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from curate.audit.parquet import Audit
from curate.errors import InputError
from curate.images.names import unicode_name
from curate.progress import Silent, Stages
from curate.splits.files import locate
from curate.splits.lists import clean_images
from curate.splits.plan import PlanRow, is_sidecar, judged_rows
from curate.splits.prune import plan_rows
from curate.splits.verify import check_originals


@dataclass(frozen=True, kw_only=True)
class ExportSource:
    """The images of an audit, verified.

    Attributes:
        audit: as read.
        name: of the dataset, for the libraries that want one.
        root: the dataset's folder, resolved.
        rows: what becomes of each image and mask: verdicts, and decisions before them.
        files: of the images and masks, by path.
    """

    audit: Audit
    name: str
    root: Path
    rows: tuple[PlanRow, ...]
    files: Mapping[str, Path]

    @cached_property
    def clean(self) -> list[PlanRow]:
        """The images of the clean set, those of splits that were not judged included."""
        return clean_images(self.rows)

    @cached_property
    def judged(self) -> list[dict[str, Any]]:
        """The rows of images.parquet whose files could be read, with the decisions."""
        rows: list[dict[str, Any]] = self.audit.tables["images"].to_pylist()
        return [row for row in rows if row["sha256"]]


def read_source(
    audit: Audit, dataset: Path | None = None, *, follow_links: bool = False, stages: Stages | None = None
) -> ExportSource:
    """Find the images of an audit and verify that they are what was judged.

    Args:
        audit: as read; not trusted.
        dataset: the dataset's present location; None for where it was scanned.
        follow_links: an image may be a link that leads out of the dataset.
        stages: where progress is shown.

    Raises:
        UsageError: the dataset does not exist.
        InputError: the audit cannot be used, leads out of the dataset, or an image's name is not UTF-8.
        CouldNotFinish: the dataset changed since the audit.
    """
    located = locate(audit, dataset)
    planned = plan_rows(judged_rows(audit), located)
    rows = tuple(row for row in planned if not (row.mask_of and is_sidecar(row.path)))
    with (stages or Silent()).stage("verify", len(rows)) as progress:
        check_originals(rows, located.files, located.root, follow_links=follow_links, progress=progress)
    files = {row.path: Path(os.path.abspath(located.files[row.path])) for row in rows}  # noqa: PTH100  keeps links
    other = next((file for file in files.values() if unicode_name(str(file)) != str(file)), None)
    if other is not None:
        raise InputError(
            f"{unicode_name(str(other))}: its name is not UTF-8, so no list can name it; rename it, scan again"
        )
    name = located.root.name or "dataset"
    return ExportSource(audit=audit, name=name, root=located.root, rows=rows, files=files)
