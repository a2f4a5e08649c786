"""Groups that names propose, where they agree with the pairs found."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.images.name_groups import captured
from curate.same_part.name_patterns import MOST_PATTERNS, patterns
from curate.same_part.names import ProposedGroup, propose_group


def propose(
    parts: Sequence[Sequence[str]], *, found: float = 1.0, wrong: int = 0
) -> tuple[ProposedGroup | None, list[str]]:
    """Propose from the shots of each part, a share of whose pairs is found, and some wrong pairs beside them."""
    paths = sorted(path for part in parts for path in part)
    row = {path: index for index, path in enumerate(paths)}
    rng = random.Random(0)
    pairs = [(row[a], row[b]) for part in parts for i, a in enumerate(part) for b in part[:i] if rng.random() < found]
    pairs += [(a, b) for a, b in (rng.sample(range(len(paths)), 2) for _ in range(wrong))]
    return propose_group(paths, np.array(pairs, np.int64).reshape(-1, 2), np.ones(len(paths), bool)), paths


def same(parts: Sequence[Sequence[str]], regex: str) -> bool:
    """Return whether an expression makes the groups that the parts are."""
    groups = [captured(part, regex) for part in parts]
    return all(len(set(one)) == 1 and one[0] for one in groups) and len({one[0] for one in groups}) == len(parts)


SERIES = {
    "part and shot": [[f"part{p:04d}_shot{s}.png" for s in range(2)] for p in range(30)],
    "a label above": [[f"{('good', 'hole/x')[s % 2]}/exp{s}_num_{p * 77}.jpg" for s in range(3)] for p in range(30)],
    "date and serial": [[f"2024-01-{p % 28 + 1:02d}_SN{p * 17 + 1000}_{c}.png" for c in "abc"] for p in range(25)],
    "a folder": [[f"SN{p * 17 + 1000}/cam{c}.png" for c in range(3)] for p in range(25)],
    "a folder for each camera": [[f"cam{c}/{p:05d}.png" for c in range(3)] for p in range(25)],
    "numbers again in each lot": [[f"lot{n}/p{p}_{c}.png" for c in "ab"] for n in range(6) for p in range(10)],
    "some with a suffix": [[f"img_{p * 31}.png", f"img_{p * 31}_retest.png"] for p in range(25)],
    "a number in series": [[f"{p * 10 + s:04d}.png" for s in range(3)] for p in range(40)],
    "letters of any script": [[f"Prüfling {p} Höhe {s}.png" for s in range(2)] for p in range(30)],
    "markup": [[f"<b>'\"$({p})\u202e_{s}.png" for s in range(2)] for p in range(30)],
}  # fmt: skip


@pytest.mark.parametrize("name", SERIES)
def test_a_series_that_agrees_with_the_pairs_is_proposed(name: str):
    proposed, _ = propose(SERIES[name])
    assert proposed is not None
    assert same(SERIES[name], proposed.regex)
    assert proposed.agree == proposed.found == proposed.named


def test_pairs_that_are_missing_or_wrong_are_counted_and_do_not_hide_a_series():
    proposed, _ = propose(SERIES["date and serial"], found=0.6, wrong=5)
    assert proposed is not None
    assert same(SERIES["date and serial"], proposed.regex)
    assert proposed.named == 75
    assert 30 <= proposed.agree < proposed.found <= proposed.agree + 5


@pytest.mark.parametrize(
    "parts",
    [
        [[f"{p * 2:03d}.png", f"{p * 2 + 101:03d}.png"] for p in range(20)],  # numbers say nothing
        [[f"cam{s}_{random.Random(2 * p + s).random()}.png" for s in range(2)] for p in range(30)],
        [[f"lot{p % 3}/{random.Random(2 * p + s).getrandbits(60):x}.png" for s in range(2)] for p in range(30)],
        [[f"part1_shot{s}.png" for s in range(20)]],  # everything is one part
        [[f"part{p}_{s}.png" for s in range(2)] for p in range(4)],  # too few pairs
        [[f"part{p}.png"] for p in range(30)],
        [],
    ],
)
def test_names_that_say_no_more_than_chance_propose_nothing(parts: list[list[str]]):
    assert propose(parts)[0] is None


def test_images_that_could_not_be_compared_do_not_count():
    parts = SERIES["part and shot"]
    paths = sorted(path for part in parts for path in part)
    comparable = np.arange(len(paths)) < 20
    pairs = np.arange(len(paths)).reshape(-1, 2)
    proposed = propose_group(paths, pairs, comparable)
    assert proposed is not None
    assert (proposed.agree, proposed.found, proposed.named) == (10, 10, 10)


def test_a_folder_that_the_name_does_not_need_is_left_out():
    parts = [[f"{'good' if p % 2 else 'hole'}/p{p}_{s}.png" for s in range(2)] for p in range(20)]
    parts[0][1] = "good/p0_1.png"  # one part under two labels, and its pair was not found
    paths = sorted(path for part in parts for path in part)
    pairs = [[paths.index(path) for path in part] for part in parts[1:]]
    proposed = propose_group(paths, np.array(pairs), np.ones(len(paths), bool))
    assert proposed is not None
    assert same(parts, proposed.regex)


def test_the_same_names_and_pairs_propose_the_same():
    assert propose(SERIES["a folder"], found=0.7) == propose(SERIES["a folder"], found=0.7)


def test_the_index_is_one_where_all_agrees_and_none_as_by_chance():
    assert ProposedGroup(regex="", agree=10, found=10, named=10).index(20) == 1
    assert ProposedGroup(regex="", agree=10, found=19, named=100).index(20) == 0
    assert ProposedGroup(regex="", agree=1, found=1, named=1).index(2) == 0  # a pair of two images


@settings(max_examples=50)
@given(st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=8))
def test_whatever_the_names_every_pattern_can_be_read(names: list[str]):
    for regex in patterns(names)[::20]:
        captured(names, regex)


def test_long_names_of_many_shapes_cost_little():
    rng = random.Random(0)
    names = ["".join(rng.choice("a1_") for _ in range(250)) + f"{p}.png" for p in range(100)]
    start = time.perf_counter()
    assert len(patterns(names)) <= MOST_PATTERNS
    propose([names[i : i + 2] for i in range(0, 100, 2)])
    assert time.perf_counter() - start < 60
