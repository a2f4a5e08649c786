"""Groups of equal keys, stars of pairs, and kin by any chain."""

from __future__ import annotations

import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from curate.images.duplicates import duplicate_groups, duplicate_pairs, kin, needs_full_hash

KEYS = st.lists(st.sampled_from(["", "a", "b", "c", "d"]))


@given(KEYS)
def test_images_share_a_number_exactly_if_they_share_a_key(keys):
    groups = duplicate_groups(keys)
    for row, key in enumerate(keys):
        assert groups[row] == (keys.index(key) if key else row)


@given(KEYS)
def test_pairs_lead_from_the_first_to_each_other_image_once(keys):
    groups = duplicate_groups(keys)
    pairs = list(duplicate_pairs(groups))
    assert len(pairs) == len(keys) - len(set(groups.tolist()))
    assert len({other for _, other in pairs}) == len(pairs)
    assert all(first < other and keys[first] == keys[other] != "" for first, other in pairs)


@given(st.lists(st.tuples(st.sampled_from(["", "a", "b", "c"]), st.sampled_from(["", "1", "2", "3"]))))
def test_kin_is_the_smallest_partition_that_joins_both(rows):
    keys, groups = [key for key, _ in rows], [group for _, group in rows]
    numbers = kin(duplicate_groups(keys), groups)
    joined = [{row} for row in range(len(rows))]
    for row, (key, group) in enumerate(rows):
        for other, (other_key, other_group) in enumerate(rows):
            if (key and key == other_key) or (group and group == other_group):
                merged = joined[row] | joined[other]
                for member in merged:
                    joined[member] = merged
    assert numbers.tolist() == [min(members) for members in joined]


def test_many_equal_images_take_linear_time():
    start = time.perf_counter()
    groups = duplicate_groups(["same"] * 100_000)
    assert sum(1 for _ in duplicate_pairs(groups)) == 99_999
    assert (kin(groups, [""] * 100_000) == 0).all()
    assert time.perf_counter() - start < 3


def test_a_set_without_images_has_no_groups():
    assert kin(duplicate_groups([]), []).dtype == np.int64


def test_the_full_hash_is_needed_where_jpeg_meets_another_format():
    assert needs_full_hash(["a.jpg", "b.PNG"])
    assert not needs_full_hash(["a.jpg", "b.JPEG"])
    assert not needs_full_hash(["a.png", "b.bmp"])
    assert not needs_full_hash([])
