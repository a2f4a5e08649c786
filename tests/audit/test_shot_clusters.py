"""Which images of an audit show the same part."""

from __future__ import annotations

import time
from typing import Any

import pyarrow as pa
import pytest

from curate.audit.parquet import Audit
from curate.audit.schema import DUPLICATES, EXACT, IMAGES, SAME_PART, SAME_PART_DIFFERS
from curate.audit.shot_clusters import shot_clusters
from curate.errors import InputError


def audit_of(count: int, *pairs: tuple[int, int, str, float | None], run: dict[str, Any] | None = None) -> Audit:
    """Return an audit of images 0.png, 1.png, ... with pairs (first, other, kind, similarity)."""
    paths = [f"{row}.png" for row in range(count)]
    rows = [
        {"duplicate_of": f"{first}.png", "path": f"{other}.png", "kind": kind, "similarity": similarity}
        for first, other, kind, similarity in pairs
    ]
    tables = {
        "images": pa.Table.from_pylist([{"path": path} for path in paths], schema=IMAGES),
        "duplicates": pa.Table.from_pylist(rows, schema=DUPLICATES),
    }
    return Audit(tables=tables, run={"same_part": {}} if run is None else run)


def clusters(count: int, *pairs: tuple[int, int, str, float | None]) -> list[int]:
    return shot_clusters(audit_of(count, *pairs)).tolist()


def test_images_that_are_all_paired_are_one_part_and_a_chain_is_cut_at_its_weakest_pair():
    assert clusters(4, (0, 1, SAME_PART, 9), (0, 2, SAME_PART, 8), (1, 2, SAME_PART, 7)) == [0, 0, 0, 3]
    assert clusters(3, (0, 1, SAME_PART, 7), (1, 2, SAME_PART, 8)) == [0, 1, 1]
    assert clusters(3, (0, 1, SAME_PART, None), (1, 2, SAME_PART, float("nan"))) == [0, 0, 2]


def test_a_pair_that_differs_in_one_place_is_not_one_part():
    assert clusters(2, (0, 1, SAME_PART_DIFFERS, 9)) == [0, 1]


def test_copies_of_equal_pixels_stand_for_one_another():
    assert clusters(4, (0, 1, EXACT, None), (1, 3, SAME_PART, 9)) == [0, 0, 2, 0]
    assert clusters(3, (0, 1, EXACT, None), (0, 1, SAME_PART, 9)) == [0, 0, 2]


def test_an_audit_without_the_search_is_refused_in_one_sentence():
    with pytest.raises(
        InputError, match="without the search for shots of the same part; scan again without --no-same-part"
    ):
        shot_clusters(audit_of(2, run={}))


def test_a_pair_of_an_image_that_is_not_in_the_audit_is_refused():
    with pytest.raises(InputError, match=r"duplicates.parquet names '7.png', which images.parquet lacks"):
        clusters(2, (0, 7, SAME_PART, 9))


def test_a_hostile_number_of_pairs_costs_little():
    side = 100
    pairs = [(a, b, SAME_PART, 1.0) for a in range(2 * side) for b in range(a + 1, 2 * side) if (a, b) != (0, side)]
    start = time.perf_counter()
    assert len(set(clusters(2 * side, *pairs))) == 2
    assert time.perf_counter() - start < 20
