"""From a judged dataset to the tables of its audit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curate.audit.file_tables import (
    Columns,
    duplicates_table,
    file_findings,
    finding_row,
    findings_table,
    image_columns,
)
from curate.audit.judged_dataset import JudgedDataset
from curate.audit.leakage_tables import copy_leaks, part_leaks
from curate.audit.maps import hot_box, mask_at_overlay
from curate.audit.same_part_tables import copies_of, same_part_findings, same_part_pairs, same_part_rows
from curate.audit.schema import IMAGES, MAPS, META_SET, ROUNDS, VIEWS
from curate.findings import Code
from curate.images.masks import defect_pixels
from curate.partition.nominal_sets import NominalSet, names_of
from curate.records import CLEAN, Finding, FloatArray, IntArray, Verdict
from curate.scorers import HYBRID, SCORERS
from curate.verdicts.judged_set import JudgedSet
from curate.verdicts.significance import expected_precision

NEAREST_NAMED = 3


def audit_tables(dataset: JudgedDataset, maps: Mapping[int, str]) -> dict[str, pa.Table]:
    """Join what each stage found into the tables of `curate.audit.schema`.

    Args:
        dataset: of N files; the tables' rows are in the order of its listing.
        maps: the pictures that were drawn, by row of the listing.
    """
    findings = file_findings(dataset.listing, dataset.facts, dataset.duplicates)
    leaks = (*copy_leaks(dataset.listing, copies_of(dataset)), *part_leaks(dataset.listing, same_part_pairs(dataset)))
    for image, finding in (*same_part_findings(dataset), *leaks):
        findings[image].append(finding)
    for index, image in enumerate(dataset.embeddings.images.tolist()):
        findings[image].extend(dataset.verdicts.findings[index])
    images = image_columns(dataset.listing, dataset.facts, findings) | _judgement(dataset)
    return {
        "images": pa.table({name: images[name] for name in IMAGES.names}, schema=IMAGES),
        "findings": findings_table(_finding_rows(dataset, findings, maps)),
        "duplicates": duplicates_table(dataset.listing, dataset.duplicates, same_part_rows(dataset)),
        "rounds": pa.Table.from_pylist(list(_rounds(dataset)), schema=ROUNDS),
        "views": pa.Table.from_pylist(list(_views(dataset)), schema=VIEWS),
        "meta_set": pa.table(_meta_set(dataset), schema=META_SET),
        "maps": pa.table(_maps(dataset, maps), schema=MAPS),
    }


def _judgement(dataset: JudgedDataset) -> Columns:
    """Return the columns of `images` that say how each file was judged; null where it could not be read."""
    verdicts, images = dataset.verdicts, dataset.images
    sure = verdicts.significance
    verdict = _by_file(dataset, verdicts.verdict, Verdict.UNREADABLE)
    rejected = dataset.together((one.round_rejected.tolist() for one in images.judged), 0)
    trusted = dataset.together(((~one.may_be_flagged).tolist() for one in images.judged), False)
    nearest = [[dataset.path(n) for n in dataset.nearest_kept(i)[:NEAREST_NAMED]] for i in range(len(verdicts.verdict))]
    components = principal_components(dataset.embeddings.pooled)
    precision = expected_precision(verdicts.anomaly_score, sure.confidence)
    return {
        "nominal_set": _by_file(dataset, names_of(images.sets), ""),
        **{entry.column: _by_file(dataset, _scores_of(dataset, name), None) for name, entry in SCORERS.items()},
        "anomaly_score": _by_file(dataset, verdicts.anomaly_score.tolist(), None),
        "confidence": _by_file(dataset, sure.confidence.tolist(), None),
        "p_value": _by_file(dataset, sure.p_value.tolist(), None),
        "q_value": _by_file(dataset, sure.q_value.tolist(), None),
        "fdr_bound": _by_file(dataset, [bound if bound <= 1 else None for bound in sure.fdr_bound.tolist()], None),
        "expected_precision": _by_file(dataset, precision.tolist(), None),
        "trusted": _by_file(dataset, trusted, False),
        "uncertain": _by_file(dataset, verdicts.uncertain.tolist(), None),
        "verdict": [one.value for one in mark_duplicates(verdict, dataset.duplicates)],
        "suggested_label": _by_file(dataset, verdicts.suggested_label, ""),
        "round_rejected": _by_file(dataset, [round_ or None for round_ in rejected], None),
        "nearest": _by_file(dataset, nearest, []),
        "pca_1": _by_file(dataset, components[:, 0].tolist(), None),
        "pca_2": _by_file(dataset, components[:, 1].tolist(), None),
    }


def _scores_of(dataset: JudgedDataset, scorer: str) -> Sequence[float | None]:
    """Return the scores of one view, by readable image; null throughout if it did not run."""
    missing: list[float | None] = [None] * len(dataset.embeddings)
    views = [next((view for view in one.views if view.scorer == scorer), None) for one in dataset.images.judged]
    ran = [view.values.tolist() for view in views if view is not None]
    return dataset.together(ran, None) if len(ran) == len(views) else missing


def principal_components(vectors: FloatArray) -> FloatArray:
    """Return the first two principal components of N vectors, (N, 2); 0 where there is no second.

    The sign is such that the largest loading of each is positive.
    """
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    _, axes = np.linalg.eigh(centred.T @ centred)  # ascending
    axes = axes[:, ::-1][:, :2]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    components = np.zeros((len(vectors), 2), dtype=np.float32)
    components[:, : axes.shape[1]] = centred @ axes
    return components


def mark_duplicates(verdicts: Sequence[Verdict], duplicates: IntArray) -> list[Verdict]:
    """Turn `keep` into `duplicate` where an earlier image of the same pixels is kept: each content is kept once.

    `not_judged` is kept, too.

    Args:
        verdicts: of N images.
        duplicates: (N,) equal for images of the same pixels.
    """
    marked, kept = list(verdicts), set[int]()
    for image, content in enumerate(duplicates.tolist()):
        if marked[image] not in CLEAN:
            continue
        if content in kept:
            marked[image] = Verdict.DUPLICATE
        kept.add(content)
    return marked


def _by_file(dataset: JudgedDataset, values: Sequence[Any], missing: Any) -> list[Any]:
    """Place the values of the readable images among all files."""
    column = [missing] * len(dataset.listing)
    for image, value in zip(dataset.embeddings.images.tolist(), values, strict=True):
        column[image] = value
    return column


def _finding_rows(
    dataset: JudgedDataset, findings: Sequence[Sequence[Finding]], maps: Mapping[int, str]
) -> Iterator[dict[str, Any]]:
    verdicts = dataset.verdicts
    flagged = {image: i for i, image in enumerate(dataset.embeddings.images.tolist()) if verdicts.flagged[i]}
    for image, of_file in enumerate(findings):
        why = verdicts.findings[flagged[image]][:1] if image in flagged else ()  # the others are notes
        evidence = _evidence(dataset, flagged[image]) | {"map": maps.get(image)} if image in flagged else {}
        if any(finding.code == Code.ACQUISITION_OUTLIER for finding in why):
            evidence["box"] = None
        for finding in of_file:
            row = finding_row(dataset.listing.paths[image], finding)
            yield row | evidence if finding in why else row


def _evidence(dataset: JudgedDataset, index: int) -> dict[str, Any]:
    """Return what stands behind a finding that flags a readable image."""
    facts = dataset.facts[dataset.embeddings.images[index]]
    score = float(dataset.verdicts.anomaly_score[index])
    return {
        "score": score,
        "fence": 1.0,
        "margin": score - 1.0,
        "neighbours": [dataset.path(n) for n in dataset.neighbours[index]],
        "box": hot_box(dataset.maps[index], dataset.nominal_level, width_px=facts.width_px, height_px=facts.height_px),
    }


def _rounds(dataset: JudgedDataset) -> Iterator[dict[str, Any]]:
    for one, result in _by_set(dataset):
        for round_ in result.rounds:
            threshold = round_.threshold
            yield {
                "label": one.label,
                "nominal_set": one.name,
                "round": round_.number,
                "images": round_.images,
                "fence": threshold.value,
                "q1": threshold.q1,
                "q3": threshold.q3,
                "kept": round_.kept,
                "rejected": round_.rejected,
                "reinstated": round_.reinstated,
                "contamination": threshold.contamination,
                "contamination_low": threshold.contamination_low,
                "contamination_high": threshold.contamination_high,
            }


def _views(dataset: JudgedDataset) -> Iterator[dict[str, Any]]:
    for one, result in _by_set(dataset):
        joined = {"view": HYBRID, "threshold": result.threshold.value, "reason": result.threshold.note}
        yield {"nominal_set": one.name, "abstains": False, **joined}
        for view in result.views:
            threshold = result.view_thresholds.get(view.scorer)
            yield {
                "nominal_set": one.name,
                "view": view.scorer,
                "threshold": threshold.value if threshold else None,
                "weight": result.weights.get(view.scorer),
                "abstains": threshold is None,
                "reason": view.abstains or (threshold.note if threshold else ""),
            }


def _by_set(dataset: JudgedDataset) -> Iterator[tuple[NominalSet, JudgedSet]]:
    return zip(dataset.images.sets, dataset.images.judged, strict=True)


def _meta_set(dataset: JudgedDataset) -> Columns:
    evolved = dataset.meta_set
    pairs = [] if evolved is None else list(zip(evolved.epochs, evolved.members, strict=True))
    return {
        "path": [dataset.path(int(i)) for _, members in pairs for i in members],
        "epoch": [epoch for epoch, members in pairs for _ in members],
    }


def _maps(dataset: JudgedDataset, drawn: Mapping[int, str]) -> Columns:
    rows = {image: i for i, image in enumerate(dataset.embeddings.images.tolist())}
    shown = [*(rows[image] for image in drawn), *dataset.kept_to_review]
    maps = [dataset.maps[index] for index in shown]
    masks: dict[str, list[Path]] = {}
    for file, image in dataset.listing.masks.values():
        masks.setdefault(image, []).append(file)
    files = [masks.get(dataset.path(index), []) for index in shown]
    return {
        "path": [dataset.path(index) for index in shown],
        "rows": [anomaly_map.shape[0] for anomaly_map in maps],
        "columns": [anomaly_map.shape[1] for anomaly_map in maps],
        "values": [anomaly_map.ravel().tolist() for anomaly_map in maps],
        "mask": [_mask(some, anomaly_map.shape) for some, anomaly_map in zip(files, maps, strict=True)],
    }


def _mask(files: Sequence[Path], shape: tuple[int, ...]) -> list[bool] | None:
    """Return where any of an image's masks shows a defect, on the grid of the overlay; None without a mask."""
    grids = [mask_at_overlay(defect_pixels(file), shape[0], shape[1]) for file in files]
    return np.logical_or.reduce(grids).ravel().tolist() if grids else None
