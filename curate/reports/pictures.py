"""The flagged images of an audit, decoded once more to be looked at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from curate.images.decode import DecodeConfig, read_image
from curate.images.levels import Levels
from curate.records import DecodedImage, Embeddings, IntArray, Listing, Scores
from curate.reports.maps import SHOWN_PX, Flagged, Picture, draw_maps
from curate.reports.tables import nominal_level
from curate.verdicts.judge import Verdicts

MAPS_AT_MOST = 200
"""Pictures that an audit holds; the worst come first."""


def draw_flagged(
    listing: Listing, embeddings: Embeddings, scores: Scores, verdicts: Verdicts, config: DecodeConfig, levels: Levels
) -> Callable[[Path], None]:
    """Return what draws the maps of the flagged images, worst first, into an audit's folder."""
    worst = worst_first(verdicts)[:MAPS_AT_MOST]

    def shown(index: int) -> Picture | None:
        return _picture(listing.files[int(embeddings.images[index])], config, levels)

    def draw(folder: Path) -> None:
        flagged = []
        for index in worst:
            picture = shown(int(index))
            if picture is not None:  # a file that vanished since it was embedded
                flagged.append(_flagged(int(index), picture, listing, embeddings, scores, verdicts, shown))
        draw_maps(folder, flagged, *colour_range(scores, verdicts, worst))

    return draw


def worst_first(verdicts: Verdicts) -> IntArray:
    """Return the flagged images, the highest anomaly score first."""
    flagged = np.flatnonzero(verdicts.flagged)
    return flagged[np.argsort(-verdicts.anomaly_score[flagged], kind="stable")]


def colour_range(scores: Scores, verdicts: Verdicts, shown: IntArray) -> tuple[float, float]:
    """Return the map values without colour and with full colour: the median kept patch, the highest shown one."""
    low = nominal_level(scores, verdicts)
    high = max((float(scores.maps[i].max()) for i in shown), default=low)
    return low, high


def _flagged(
    index: int,
    picture: Picture,
    listing: Listing,
    embeddings: Embeddings,
    scores: Scores,
    verdicts: Verdicts,
    shown: Callable[[int], Picture | None],
) -> Flagged:
    kept = [int(n) for n in scores.neighbours[index] if n >= 0 and not verdicts.flagged[n]]
    reason = verdicts.findings[index][0].message if verdicts.findings[index] else ""
    return Flagged(
        path=listing.paths[embeddings.images[index]],
        picture=picture,
        anomaly_map=scores.maps[index],
        neighbour=shown(kept[0]) if kept else None,
        neighbour_path=listing.paths[embeddings.images[kept[0]]] if kept else "",
        caption=f"score {verdicts.anomaly_score[index]:.2f} (fence 1): {reason}",
        name=f"{int(embeddings.images[index]):07d}.png",
    )


def _picture(file: Path, config: DecodeConfig, levels: Levels) -> Picture | None:
    image = read_image(file, size=_shown_size, levels=levels, config=config, full_hash=False)
    return np.rint(image.pixels).astype(np.uint8) if isinstance(image, DecodedImage) else None


def _shown_size(width: int, height: int) -> tuple[int, int]:
    scale = min(1.0, SHOWN_PX / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))
