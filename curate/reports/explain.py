"""Why one image was judged as it was: what an audit says of it, in one place."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from PIL import Image

from curate.errors import CouldNotFinish, InputError
from curate.findings import catalogue
from curate.images.decode import DecodeConfig, read_image
from curate.images.levels import Levels
from curate.images.names import unicode_name
from curate.records import DecodedImage
from curate.reports.cards import nominal_set, votes_of, why_mute
from curate.reports.maps import KEPT_MAPS, overlay
from curate.reports.parquet import Audit
from curate.reports.place import OWN_MAP

VIEWS = ("flow", "student", "neighbours")
CANDIDATES = 3

LEAST_TOLD = 0.001
"""Probabilities below this are not told apart in words."""


@dataclass(frozen=True, kw_only=True)
class View:
    """One view's score against the fence of the image's label, on the view's own scale; None where unknown.

    `votes` are those that the view has in the hybrid; `mute` says why it has no say in the image's class, "" where it
    has.
    """

    name: str
    score: float | None
    fence: float | None
    votes: float | None
    mute: str


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
    """What an audit says of one image.

    Attributes:
        path, label, split, verdict, suggested_label, skip_reason: as in images.parquet.
        nominal_set: what it was judged among: its label, or a kind of images within it.
        anomaly_score: 0 is the median of its nominal set, 1 the fence; of an image flagged by OOD003, how far out its
            light is; None if it was not judged.
        confidence, p_value, q_value: as in images.parquet.
        round_rejected: None if no round rejected it.
        views: each view that scored it.
        rounds: rows of rounds.parquet of its nominal set.
        findings: in words.
        nearest: paths of the kept images most like it, nearest first.
        duplicate_of: path of the image whose pixels it repeats; "" for none.
        map: file of its anomaly map; "" where none was drawn.
    """

    path: str
    label: str
    nominal_set: str
    split: str
    verdict: str
    suggested_label: str
    skip_reason: str
    anomaly_score: float | None
    confidence: float | None
    p_value: float | None
    q_value: float | None
    round_rejected: int | None
    views: tuple[View, ...]
    rounds: tuple[dict[str, Any], ...]
    findings: tuple[Reason, ...]
    nearest: tuple[str, ...]
    duplicate_of: str
    map: str

    def as_json(self) -> dict[str, Any]:
        """Return plain values for `--format json`."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Say it in words, a line each."""
        return [
            f"{self.path}: {self.verdict}" + (f", looks like {self.suggested_label!r}" if self.suggested_label else ""),
            *([f"not judged: {self.skip_reason}"] if self.skip_reason else []),
            *self._figures(),
            *(f"{reason.code} {reason.title}{self._told(reason)}" for reason in self.findings),
            *(_round_line(row, self.round_rejected) for row in self.rounds),
            *([f"the same pixels as {self.duplicate_of}"] if self.duplicate_of else []),
            *(f"nearest kept image {number}: {path}" for number, path in enumerate(self.nearest, 1)),
            *([f"where it is odd: {self.map}"] if self.map else []),
        ]

    def _told(self, reason: Reason) -> str:
        """Return a reason's message and cure, unless they are said already: why an image was not judged says both."""
        return "" if reason.message == self.skip_reason else f": {reason.message}. {reason.cure}"

    def _figures(self) -> list[str]:
        if self.anomaly_score is None:
            return []
        name = f" of {self.nominal_set!r}" if self.nominal_set else ""
        lines = [f"score {self.anomaly_score:.2f} (0 is the median{name}, 1 the fence)"]
        for view in self.views:
            score = "none" if view.score is None else f"{view.score:.4g}"
            fence = "none" if view.fence is None else f"{view.fence:.4g}"
            judged = f"no say, {view.mute}" if view.mute else f"its fence {fence}{_beyond(view)}{self._votes(view)}"
            lines.append(f"  {view.name:<10} {score}, {judged}")
        told = (("confidence", self.confidence), ("p", self.p_value), ("q", self.q_value))
        known = [f"{what} {_chance(value)}" for what, value in told if value is not None]
        among = f" among {self.nominal_set!r}" if self.nominal_set else ""
        return lines + ([f"nominal{among}: {', '.join(known)}"] if known else [])

    def _votes(self, view: View) -> str:
        """Return a view's votes in words, unless it decides alone."""
        several = sum(other.votes is not None for other in self.views) > 1
        return f", {view.votes:.2g} votes in the hybrid" if several and view.votes is not None else ""


def _chance(value: float) -> str:
    """Return a probability in words; one that small is read off a curve, not off images."""
    return f"under {LEAST_TOLD:g}" if value < LEAST_TOLD else f"{value:.3g}"


def _beyond(view: View) -> str:
    return ", above" if view.score is not None and view.fence is not None and view.score > view.fence else ""


def _round_line(row: Mapping[str, Any], rejected: int | None) -> str:
    share = "" if row["contamination"] is None else f", contamination {row['contamination']:.1%}"
    fence = "no fence" if row["fence"] is None else f"fence {row['fence']:.4g}"
    here = ": rejected here" if rejected == row["round"] else ""
    counts = f"{row['kept']} kept, {row['rejected']} rejected, {row['reinstated']} reinstated"
    return f"round {row['round']}: {fence}, {counts}{share}{here}"


def explain(audit: Audit, image: str) -> Explanation:
    """Gather what an audit says of an image.

    Args:
        audit: as read.
        image: its path in the dataset, absolute, or the end of it if that is unique.

    Raises:
        InputError: no image of the audit is meant, or several are.
    """
    path = find_path(audit, image)
    row = _rows(audit, "images", path)[0]
    scores = {name: row[f"score_{name}"] for name in VIEWS}
    among = nominal_set(row)
    fences = _fences(audit, among)
    copies = _rows(audit, "duplicates", path)
    same = ("path", "label", "split", "verdict", "suggested_label", "skip_reason", "anomaly_score")
    more = ("confidence", "p_value", "q_value", "round_rejected")
    found = _rows(audit, "findings", path)
    return Explanation(
        **{name: row[name] for name in same + more},
        nominal_set=among,
        views=tuple(
            View(
                name=n,
                score=s,
                fence=fences.get(n),
                votes=votes_of(audit.run, among, n),
                mute=why_mute(audit.run, among, n),
            )
            for n, s in scores.items()
            if s is not None
        ),
        rounds=tuple(_rows(audit, "rounds", among, key="nominal_set")) if row["anomaly_score"] is not None else (),
        findings=tuple(_reason(finding) for finding in found),
        nearest=tuple(row["nearest"] or ()),
        duplicate_of=copies[0]["duplicate_of"] if copies else "",
        map=next((shown for finding in found if (shown := _map_file(audit, finding["map"]))), ""),
    )


def find_path(audit: Audit, image: str) -> str:
    """Return the path of the image that is meant; see `explain`."""
    paths: list[str] = audit.tables["images"]["path"].to_pylist()
    root = str(audit.run.get("dataset", "")).rstrip("/")
    asked = unicode_name(image)
    for told in (asked, asked.removeprefix(f"{root}/")):
        if told in set(paths):
            return told
    ends = [path for path in paths if path.endswith("/" + asked.removeprefix("./"))]
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise InputError(f"{asked}: {len(ends)} images end so, such as {ends[0]} and {ends[1]}: give more of the path")
    close = difflib.get_close_matches(asked, paths, 1, 0) if paths else []
    told = f"; the closest is {close[0]}" if close else ""
    raise InputError(f"{asked}: not an image of the audit {unicode_name(str(audit.path))}{told}")


def _rows(audit: Audit, table: str, value: str, *, key: str = "path") -> list[dict[str, Any]]:
    there = audit.tables[table]
    rows: list[dict[str, Any]] = there.filter(pc.equal(there[key], value)).to_pylist()
    return rows


def _fences(audit: Audit, label: str) -> dict[str, float]:
    told = (audit.run.get("fences") or {}).get(label) or {}
    return {n: float(f["value"]) for n, f in told.items() if isinstance(f, dict) and isinstance(f.get("value"), float)}


def _reason(finding: Mapping[str, Any]) -> Reason:
    text = catalogue().get(finding["code"])
    return Reason(
        code=finding["code"],
        title=text.title if text else "",
        message=finding["message"].rstrip("."),
        cure=text.cure if text else "",
        box=finding["box"],
    )


def _map_file(audit: Audit, told: str | None) -> str:
    """Return the file of a map; an audit may name no other."""
    folder, _, name = (told or "").rpartition("/")
    if audit.path is None or folder != "maps" or not OWN_MAP.fullmatch(name):
        return ""
    file = audit.path / folder / name
    return unicode_name(str(file)) if file.is_file() else ""


def _levels(told: Any) -> Levels:
    try:
        return Levels(**told)
    except TypeError:  # not what this version wrote: what is not deep needs none
        return Levels()


def draw_map(audit: Audit, path: str, image: Path, target: Path) -> None:
    """Draw an image's anomaly map over it, at the image's own size, into a PNG.

    Raises:
        InputError: the audit holds no map of this image.
        CouldNotFinish: the image cannot be read any more.
    """
    maps = _rows(audit, "maps", path)
    if not maps or len(maps[0]["values"]) != maps[0]["rows"] * maps[0]["columns"]:
        raise InputError(
            f"{path}: the audit holds no anomaly map of it: maps are of the 200 worst flagged "
            f"images, of the {KEPT_MAPS} kept ones with the highest scores and {KEPT_MAPS} of groups apart (SET004)"
        )
    anomaly_map = np.array(maps[0]["values"], dtype=np.float32).reshape(maps[0]["rows"], maps[0]["columns"])
    settings, scale = audit.run.get("settings") or {}, audit.run.get("map_scale") or {}
    config = DecodeConfig(max_pixels=settings.get("max_pixels", DecodeConfig().max_pixels))
    levels = _levels(audit.run.get("levels"))
    decoded = read_image(image, size=lambda width, height: (width, height), levels=levels, config=config)
    if not isinstance(decoded, DecodedImage):
        raise CouldNotFinish(f"{path}: cannot be drawn: {decoded.skip_reason}")
    low, high = float(scale.get("low", anomaly_map.min())), float(scale.get("high", anomaly_map.max()))
    picture = np.rint(decoded.pixels).astype(np.uint8)
    with target.open("wb") as file:
        Image.fromarray(overlay(picture, anomaly_map, low, high)).save(file, format="PNG")
