"""Which images a defect is planted into, and that a planted image is kept like any other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from curate.embeddings.engines.local import Cache
from curate.embeddings.planted_images import FEWEST, MOST, embed_planted, planted_count
from curate.records import ImageFacts, PlantedImages
from tests.embeddings.test_local import SETTINGS, backbone
from tests.plates import draw_plate

COUNT = 40
PIXELS = [
    np.repeat(np.asarray(draw_plate(np.random.default_rng(seed), side=64))[..., None], 3, axis=2)
    for seed in range(COUNT)
]


def planted(
    cache: Path,
    contents: list[int],
    *,
    rows: list[int] | None = None,
    pixels: Callable[[int], np.ndarray] | None = None,
    progress: Callable[[int], object] = lambda images: None,
) -> PlantedImages:
    """Plant into files of known contents, numbers of `PIXELS`."""
    network = backbone()
    return embed_planted(
        pixels or (lambda row: PIXELS[contents[row]]),
        [ImageFacts(pixel_hash=f"{content:064x}") for content in contents],
        np.array(range(len(contents)) if rows is None else rows, dtype=np.int64),
        network=(network, SETTINGS, Cache(cache, network, SETTINGS)),
        progress=progress,
    )


def what(found: PlantedImages, contents: list[int]) -> dict[int, tuple[object, bytes]]:
    """Return what was planted, and the descriptors of it, by the content that it was planted into."""
    return {
        contents[base]: (defect, found.embeddings.patches(i).tobytes())
        for i, (base, defect) in enumerate(zip(found.base.tolist(), found.defects, strict=True))
    }


@pytest.mark.parametrize(("images", "count"), [(0, 0), (10, 10), (24, 24), (100, FEWEST), (500, 100), (10**6, MOST)])
def test_a_fifth_of_the_images_gets_a_defect_within_bounds(images: int, count: int):
    assert planted_count(images) == count


def test_the_same_contents_get_the_same_defects_in_whatever_order_they_are_listed(tmp_path: Path):
    forth, back = list(range(COUNT)), list(range(COUNT))[::-1]
    first, second = planted(tmp_path / "a", forth), planted(tmp_path / "b", back)
    assert len(first) == planted_count(COUNT)
    assert what(first, forth) == what(second, back)
    assert (np.diff(first.base) > 0).all()


def test_copies_count_once_and_the_first_of_them_gets_the_defect(tmp_path: Path):
    contents = [0] * 30 + list(range(1, 11))
    seen = list[int]()
    found = planted(tmp_path, contents, progress=seen.append)
    assert sorted(contents[base] for base in found.base.tolist()) == list(range(11))
    assert found.base.min() == 0
    assert sum(seen) == planted_count(len(contents))  # what is announced to the user is reached


def test_indices_are_those_of_the_readable_images(tmp_path: Path):
    contents = list(range(COUNT))
    rows = contents[5:]
    found = planted(tmp_path, contents, rows=rows)
    assert found.base.max() < len(rows)
    assert found.embeddings.images.tolist() == [rows[base] for base in found.base.tolist()]


def test_planted_images_come_from_the_cache_the_second_time(tmp_path: Path):
    def unread(row: int) -> np.ndarray:
        raise AssertionError("read again")

    contents = list(range(COUNT))
    first = planted(tmp_path, contents)
    assert what(planted(tmp_path, contents, pixels=unread), contents) == what(first, contents)


def test_nothing_is_planted_into_no_images(tmp_path: Path):
    assert len(planted(tmp_path, [0, 1], rows=[])) == 0
