"""A class keeps most of its images, whatever the scores say."""

import numpy as np

from curate.verdicts.fence import Fence, fence
from curate.verdicts.guard import also_flagged, guarded

LABELS = ["a"] * 20 + ["b"] * 20


def fences_of(height: np.ndarray) -> dict[str, Fence]:
    return {"a": fence(height[:20].astype(np.float32)), "b": fence(height[20:].astype(np.float32))}


def test_the_worst_of_a_class_are_rejected_up_to_its_share_and_other_classes_are_not_touched():
    height = np.linspace(0, 0.9, 40)
    height[:6], height[30] = np.arange(2, 8), 3
    flagged, held_back = guarded(height, LABELS, fences_of(height), max_share=0.2, min_keep=1)
    assert np.flatnonzero(flagged).tolist() == [2, 3, 4, 5, 30]
    assert held_back == {"a": "6 of 20 images lie above the fence; the worst 4 are rejected"}


def test_a_class_that_would_keep_too_few_images_is_left_alone():
    height = np.linspace(0, 0.9, 40)
    height[[0, 1, 30]] = 3
    flagged, held_back = guarded(height, LABELS, fences_of(height), max_share=0.5, min_keep=19)
    assert np.flatnonzero(flagged).tolist() == [30]
    assert held_back == {"a": "fewer than 19 images would be left, so none is rejected"}


def test_images_with_another_reason_are_flagged_clearest_first_but_a_class_keeps_its_least():
    labels = ["a"] * 20 + ["b"] * 10
    found = {20: 0.6, 21: 0.9, 22: 0.8, 23: 0.7}
    flagged, held_back = np.zeros(30, dtype=np.bool_), dict[str, str]()
    flagged[29] = True
    now = also_flagged(found, "are odd", labels, flagged, held_back, max_share=0.5, min_keep=7)
    assert np.flatnonzero(now).tolist() == [21, 22, 29]
    assert held_back == {"b": "4 images are odd; 2 of them are rejected"}
    assert flagged.sum() == 1


def test_where_images_above_the_fence_were_held_back_none_is_flagged_for_another_reason():
    flagged, held_back = np.zeros(20, dtype=np.bool_), {"a": "none is rejected"}
    now = also_flagged({3: 1.0}, "are odd", ["a"] * 20, flagged, held_back, max_share=0.5, min_keep=1)
    assert not now.any()
    assert held_back == {"a": "none is rejected; 1 images are odd; 0 of them are rejected"}
