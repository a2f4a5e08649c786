from __future__ import annotations

import pytest

from curate.reports.numbers import counted, finite, percent


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 classes"), (1, "1 class"), (2, "2 classes"), (1200, "1,200 classes")]
)
def test_a_noun_agrees_with_its_number(number: int, words: str):
    assert counted(number, "class", "classes") == words


def test_the_plural_is_regular_unless_given():
    assert (counted(1, "image"), counted(2, "image")) == ("1 image", "2 images")


@pytest.mark.parametrize(
    ("share", "words"), [(0.0, "0 %"), (0.061, "6.1 %"), (0.05, "5 %"), (0.07, "7 %"), (0.104, "10 %"), (0.99, "99 %")]
)
def test_a_share_has_one_decimal_below_ten_per_cent(share: float, words: str):
    assert percent(share) == words


@pytest.mark.parametrize("value", ["1", True, None, float("nan"), float("inf"), 10**400, [1]])
def test_what_is_no_finite_number_is_none(value: object):
    assert finite(value) is None
    assert finite(2) == 2.0
