from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from curate.audit.tables import mark_duplicates
from curate.records import Verdict

KEEP, DUPLICATE, FLAGGED = Verdict.KEEP, Verdict.DUPLICATE, Verdict.MISLABELLED


@given(st.lists(st.tuples(st.sampled_from([KEEP, FLAGGED, Verdict.UNREADABLE]), st.integers(0, 4))))
def test_each_content_is_kept_exactly_once_where_it_is_kept_at_all(images: list[tuple[Verdict, int]]):
    before = [verdict for verdict, _ in images]
    groups = np.array([group for _, group in images], dtype=np.int64)
    after = mark_duplicates(before, groups)
    for group in set(groups.tolist()):
        members = np.flatnonzero(groups == group)
        kept = [i for i in members if before[i] is KEEP]
        assert [i for i in members if after[i] is KEEP] == kept[:1]
        assert [i for i in members if after[i] is DUPLICATE] == kept[1:]
    assert all(b is a for b, a in zip(before, after, strict=True) if b is not KEEP)


def test_a_copy_of_a_flagged_image_that_is_itself_kept_stays_the_one_of_its_content():
    assert mark_duplicates([FLAGGED, KEEP, KEEP], np.array([0, 0, 0])) == [FLAGGED, KEEP, DUPLICATE]
