"""Progress of a scorer that trains: whole images, N in all, and it moves while the scorer trains."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.scores.training_progress import TrainingProgress


@given(
    images=st.integers(1, 60),
    expected_steps=st.integers(0, 80),
    calls=st.lists(st.tuples(st.sampled_from(["trained", "judged"]), st.integers(1, 9)), max_size=40),
)
def test_whatever_is_trained_and_judged_it_reports_whole_images_and_all_of_them_at_the_end(
    images: int, expected_steps: int, calls: list[tuple[str, int]]
):
    reports: list[int] = []
    progress, left = TrainingProgress(reports.append, images, expected_steps), images
    for call, count in calls:
        if call == "trained":
            progress.trained(count)
        elif left:
            progress.judged(min(left, count))
            left -= min(left, count)
        assert sum(reports) < images or not left or images == 1
    progress.judged(left)
    assert sum(reports) == images
    assert all(count >= 1 for count in reports)


@pytest.mark.parametrize("images", [1, 2, 3, 40])
@pytest.mark.parametrize("steps", [1, 7, 100])
def test_half_of_the_images_are_reported_evenly_while_it_trains(images: int, steps: int):
    reports: list[int] = []
    progress = TrainingProgress(reports.append, images, steps)
    for step in range(1, steps + 1):
        progress.trained()
        assert sum(reports) == (images + 1) // 2 * step // steps
    assert sum(reports) == (images + 1) // 2


def test_no_image_is_reported_twice_when_folds_train_and_judge_in_threads_of_their_own():
    reports: list[int] = []
    progress = TrainingProgress(reports.append, 1000, 8 * 300)

    def fold(_: int) -> None:
        for _ in range(300):
            progress.trained()
        for _ in range(125):
            progress.judged()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(fold, range(8)))
    assert sum(reports) == 1000
