"""Why one image was judged as it was: all that an audit holds about it, in one place."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from PIL import Image

from curate.atomic_files import replacing_file
from curate.audit.decisions import Decided, Decision
from curate.audit.folder import OWN_MAP
from curate.audit.maps import FLAGGED_MAPS, KEPT_MAPS, blend_heat_map
from curate.audit.parquet import Audit
from curate.audit.reviewed import decisions_of
from curate.audit.schema import EXACT
from curate.errors import CouldNotFinish, InputError, WriteError
from curate.findings import catalogue, with_audit
from curate.images.decode import DecodeConfig, read_image
from curate.images.levels import Levels
from curate.images.names import unicode_name
from curate.records import DecodedImage, FloatArray, Verdict
from curate.reports.audit_rows import nominal_set, p_values
from curate.reports.scored_views import ScoredView, scored_views
from curate.reports.shots import KINDS

LEAST_PROBABILITY = 0.001
"""Probabilities below this are read off a curve, not off images, and shown as "under 0.001"."""

NEAR = 0.75
"""Share of letters that a path must have in common with a name to be suggested for it; difflib's ratio, 0-1."""

COPIED_COLUMNS = (
    *("path", "label", "split", "verdict", "effective_verdict", "decision", "suggested_label", "skip_reason"),
    *("anomaly_score", "confidence", "p_value", "q_value", "fdr_bound", "trusted", "round_rejected"),
)


@dataclass(frozen=True, kw_only=True)
class Reason:
    """One finding in words."""

    code: str
    title: str
    message: str
    cure: str
    box: list[int] | None


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What an audit holds about one image.

    Attributes:
        path, label, split, verdict, suggested_label, skip_reason: as in images.parquet.
        effective_verdict, decision: what a person decided, see `curate.audit.effective_verdicts`.
        note: of the decision; "" for none.
        nominal_set: what it was judged among: its label, or a subpopulation within it.
        anomaly_score: 0 is the median of its nominal set, 1 the threshold; of an image flagged by OOD003, the score of
            its lighting and focus; None if it was not judged.
        confidence, p_value, q_value, fdr_bound, trusted: as in images.parquet.
        p_values: what p and q rest on: conformal or model-based.
        round_rejected: None if no round rejected it.
        views: each view that scored it.
        rounds: rows of rounds.parquet of its nominal set.
        findings: in words.
        nearest: paths of the most similar kept images, nearest first.
        duplicate_of: path of the image whose pixels it repeats; "" for none.
        shots: paths of other shots of its part and of copies, and what joins them: `kind` in duplicates.parquet.
        map: file of its heat map; "" where none was drawn.
    """

    path: str
    label: str
    nominal_set: str
    split: str
    verdict: str
    effective_verdict: str
    decision: str
    note: str
    suggested_label: str
    skip_reason: str
    anomaly_score: float | None
    confidence: float | None
    p_value: float | None
    q_value: float | None
    fdr_bound: float | None
    trusted: bool | None
    p_values: str
    round_rejected: int | None
    views: tuple[ScoredView, ...]
    rounds: tuple[dict[str, Any], ...]
    findings: tuple[Reason, ...]
    nearest: tuple[str, ...]
    duplicate_of: str
    shots: tuple[tuple[str, str], ...]
    map: str

    def as_json(self) -> dict[str, Any]:
        """Return plain values for `--format json`."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return the explanation in words, a line each."""
        return [
            f"{self.path}: {self.verdict}" + (f", looks like {self.suggested_label!r}" if self.suggested_label else ""),
            *([self._decision_line()] if self.decision else []),
            *([f"not judged: {self.skip_reason}"] if self.skip_reason else []),
            *self._score_lines(),
            *(f"{reason.code} {reason.title}{self._details(reason)}" for reason in self.findings),
            *(_round_line(row, self.round_rejected) for row in self.rounds),
            *([f"same pixels as {self.duplicate_of}"] if self.duplicate_of else []),
            *(f"{KINDS[kind]}: {path}" for path, kind in self.shots),
            *(f"nearest kept image {number}: {path}" for number, path in enumerate(self.nearest, 1)),
            *([f"heat map: {self.map}"] if self.map else []),
        ]

    def _decision_line(self) -> str:
        """Return the decision, what it makes of the image, and its note."""
        note = f": {self.note}" if self.note else ""
        if self.decision == Decision.UNSURE:
            return f"a person is unsure{note}"
        if self.verdict == Verdict.NOT_JUDGED:
            return f"a person says {self.decision}{note}"
        agrees = (self.effective_verdict == Verdict.KEEP) == (self.verdict == Verdict.KEEP)
        return f"{'confirmed' if agrees else 'overruled'} by a person, who says {self.decision}{note}"

    def _details(self, reason: Reason) -> str:
        """Return a reason's message and cure, unless `skip_reason`, which has both, was printed already."""
        return "" if reason.message == self.skip_reason else f": {reason.message}. {reason.cure}"

    def _score_lines(self) -> list[str]:
        if self.anomaly_score is None:
            return []
        name = f" of {self.nominal_set!r}" if self.nominal_set else ""
        weighted = sum(view.weight is not None for view in self.views) > 1
        rests = f" ({self.p_values})"
        probabilities = (("confidence", self.confidence, ""), ("p", self.p_value, rests), ("q", self.q_value, rests))
        parts = [f"{what} {_probability(value)}{how}" for what, value, how in probabilities if value is not None]
        among = f" among {self.nominal_set!r}" if self.nominal_set else ""
        return [
            f"anomaly score {self.anomaly_score:.2f} (median{name} 0, threshold 1)",
            *(_view_line(view, weighted=weighted) for view in self.views),
            *([f"nominal{among}: {', '.join(parts)}"] if parts else []),
            *(["trusted: known to be nominal, learnt from, never flagged"] if self.trusted else []),
            *([f"of all images that score as high, at most {self.fdr_bound:.0%} are nominal"] if self._bounded else []),
        ]

    @property
    def _bounded(self) -> bool:
        """Whether there is a bound that says something."""
        return self.fdr_bound is not None and self.fdr_bound < 1


def _view_line(view: ScoredView, *, weighted: bool) -> str:
    """Return a view's score and threshold, and its weight where several views have one."""
    if view.abstains:
        judged = f"abstains: {view.reason}" if view.reason else "abstains"
    elif view.threshold is None:
        judged = "no threshold"
    else:
        judged = f"{'above its ' if view.above_threshold else ''}threshold {view.threshold:.4g}"
    weight = f", weight {view.weight:.2g}" if weighted and view.weight is not None and not view.abstains else ""
    return f"  {view.name:<10} {view.score:.4g}, {judged}{weight}"


def _probability(value: float) -> str:
    return f"under {LEAST_PROBABILITY:g}" if value < LEAST_PROBABILITY else f"{value:.3g}"


def _round_line(row: Mapping[str, Any], rejected: int | None) -> str:
    contamination = "" if row["contamination"] is None else f", contamination {row['contamination']:.1%}"
    threshold = "no threshold" if row["fence"] is None else f"threshold {row['fence']:.4g}"
    here = "; this image was rejected" if rejected == row["round"] else ""
    counts = f"{row['kept']} kept, {row['rejected']} rejected, {row['reinstated']} reinstated"
    return f"round {row['round']}: {threshold}, {counts}{contamination}{here}"


def explain(audit: Audit, image: str) -> Explanation:
    """Gather what an audit holds about an image.

    Args:
        audit: as read.
        image: its path in the dataset, absolute, or a unique end of it, with or without the suffix of the file.

    Raises:
        InputError: the audit has no such image, or several.
    """
    path = find_path(audit, image)
    row = _rows(audit, "images", path)[0]
    duplicates, findings = _rows(audit, "duplicates", path), _rows(audit, "findings", path)
    judged, decided = row["anomaly_score"] is not None, decisions_of(audit).get(path, Decided())
    return Explanation(
        **{name: row[name] for name in COPIED_COLUMNS},
        note=decided.note,
        nominal_set=nominal_set(row),
        p_values=p_values(audit, nominal_set(row)),
        views=scored_views(audit, row),
        rounds=tuple(_rows(audit, "rounds", nominal_set(row), key="nominal_set")) if judged else (),
        findings=tuple(_reason(finding, unicode_name(str(audit.path or ""))) for finding in findings),
        nearest=tuple(row["nearest"] or ()),
        duplicate_of=next((pair["duplicate_of"] for pair in duplicates if pair["kind"] == EXACT), ""),
        shots=_shots(audit, path),
        map=next((file for finding in findings if (file := _map_file(audit, finding["map"]))), ""),
    )


def _shots(audit: Audit, path: str) -> tuple[tuple[str, str], ...]:
    """Return the other image of each pair of one part, or of copies, that an image is in, and the kind of the pair."""
    sides = (("path", "duplicate_of"), ("duplicate_of", "path"))
    pairs = [(row[other], row["kind"]) for one, other in sides for row in _rows(audit, "duplicates", path, key=one)]
    return tuple((other, kind) for other, kind in pairs if kind in KINDS)


def find_path(audit: Audit, image: str) -> str:
    """Return the path of the image that is meant; see `explain`."""
    paths: list[str] = audit.tables["images"]["path"].to_pylist()
    root = str(audit.run.get("dataset", "")).rstrip("/")
    asked = unicode_name(image)
    for candidate in (asked, asked.removeprefix(f"{root}/")):
        if candidate in set(paths):
            return candidate
    ends = _ends_so(asked.removeprefix("./"), paths)
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise InputError(
            f"{asked}: {len(ends)} images have paths that end so, such as {ends[0]} and {ends[1]}; "
            "give more of the path"
        )
    close = _near(asked, paths)
    hint = f"; did you mean {close}?" if close else ""
    raise InputError(f"{asked}: not an image of the audit {unicode_name(str(audit.path))}{hint}")


def _ends_so(asked: str, paths: Sequence[str]) -> list[str]:
    """Return the paths whose last parts are as asked, else those without suffix, else those that end in the letters."""
    stems = [re.sub(r"\.[^./]+$", "", path) for path in paths]
    whole = [path for path in paths if f"/{path}".endswith(f"/{asked}")]
    by_stem = [path for path, stem in zip(paths, stems, strict=True) if f"/{stem}".endswith(f"/{asked}")]
    by_letters = [
        p for p, stem in zip(paths, stems, strict=True) if asked and (p.endswith(asked) or stem.endswith(asked))
    ]
    return whole or by_stem or by_letters


def _near(asked: str, paths: Sequence[str]) -> str:
    """Return the path that is most like what was asked, by its last parts; "" where none is like it."""
    parts = asked.count("/") + 1
    ends = {"/".join(path.split("/")[-parts:]): path for path in reversed(paths)}
    close = difflib.get_close_matches(asked, ends, 1, NEAR)
    return ends[close[0]] if close else ""


def _rows(audit: Audit, table: str, value: str, *, key: str = "path") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = audit.tables[table].filter(pc.equal(audit.tables[table][key], value)).to_pylist()
    return rows


def _reason(finding: Mapping[str, Any], audit: str) -> Reason:
    text = catalogue().get(finding["code"])
    return Reason(
        code=finding["code"],
        title=text.title if text else "",
        message=finding["message"].rstrip("."),
        cure=with_audit(text.cure, audit) if text else "",
        box=finding["box"],
    )


def _map_file(audit: Audit, name: str | None) -> str:
    """Return the file of a heat map; an audit may name no file but its own."""
    folder, _, file_name = (name or "").rpartition("/")
    if audit.path is None or folder != "maps" or not OWN_MAP.fullmatch(file_name):
        return ""
    file = audit.path / folder / file_name
    return unicode_name(str(file)) if file.is_file() else ""


def draw_map(audit: Audit, path: str, image: Path, *, target: Path) -> None:
    """Draw an image's anomaly map over it, at the image's own size, into a PNG.

    Args:
        audit: as read.
        path: of the image in the audit.
        image: its file.
        target: the PNG.

    Raises:
        InputError: the audit holds no map of this image.
        CouldNotFinish: the image cannot be read any more.
        WriteError: the PNG cannot be written.
    """
    anomaly_map = _anomaly_map(audit, path)
    settings, scale = audit.run.get("settings") or {}, audit.run.get("map_scale") or {}
    config = DecodeConfig(
        max_pixels=settings.get("max_pixels", DecodeConfig().max_pixels), bands=tuple(settings.get("bands", ()))
    )
    levels = _levels(audit.run.get("levels"))
    decoded = read_image(image, size=lambda width, height: (width, height), levels=levels, config=config)
    if not isinstance(decoded, DecodedImage):
        raise CouldNotFinish(f"{path}: cannot be drawn: {decoded.skip_reason}")
    low, high = float(scale.get("low", anomaly_map.min())), float(scale.get("high", anomaly_map.max()))
    picture = np.rint(decoded.pixels).astype(np.uint8)
    drawn = Image.fromarray(blend_heat_map(picture, anomaly_map, low=low, high=high))
    try:
        with replacing_file(target) as file:
            drawn.save(file, format="PNG")
    except OSError as error:
        raise WriteError(f"{target}: the map cannot be written ({error.strerror or error})") from error


def _anomaly_map(audit: Audit, path: str) -> FloatArray:
    """Return the anomaly map of an image, (rows, columns)."""
    maps = _rows(audit, "maps", path)
    if not maps or len(maps[0]["values"]) != maps[0]["rows"] * maps[0]["columns"]:
        raise InputError(
            f"{path}: the audit holds no anomaly map of this image. It stores maps of the {FLAGGED_MAPS} most "
            f"anomalous flagged images, of the {KEPT_MAPS} kept images with the highest scores, and of {KEPT_MAPS} in "
            "small groups apart (SET004)"
        )
    return np.array(maps[0]["values"], dtype=np.float32).reshape(maps[0]["rows"], maps[0]["columns"])


def _levels(fields: Any) -> Levels:
    try:
        return Levels(**fields)
    except TypeError:  # not what this version wrote: images of 8 bits need none
        return Levels()
