"""A nominal set keeps most of its images, whatever the scores say."""

import numpy as np

from curate.verdicts.rejection_cap import RejectionCap


def test_the_most_anomalous_images_are_rejected_up_to_the_share_of_the_set():
    relative = np.linspace(0, 0.9, 20)
    relative[:6] = np.arange(2, 8)
    rejected, note = RejectionCap(max_share=0.2, min_keep=1).reject(relative)
    assert np.flatnonzero(rejected).tolist() == [2, 3, 4, 5]
    assert note == "6 of 20 images are above the threshold; the 4 most anomalous are rejected"


def test_a_set_below_the_cap_is_rejected_as_the_threshold_says():
    relative = np.linspace(0, 0.9, 20)
    relative[10] = 3
    rejected, note = RejectionCap(max_share=0.2, min_keep=1).reject(relative)
    assert (np.flatnonzero(rejected).tolist(), note) == ([10], "")


def test_a_set_that_would_keep_too_few_images_is_left_alone():
    relative = np.linspace(0, 0.9, 20)
    relative[[0, 1]] = 3
    rejected, note = RejectionCap(max_share=0.5, min_keep=19).reject(relative)
    assert not rejected.any()
    assert note == "fewer than 19 images would be left, so none is rejected"


def test_images_with_another_reason_are_rejected_clearest_first_but_a_set_keeps_its_least():
    reasons = {0: 0.6, 1: 0.9, 2: 0.8, 3: 0.7}
    rejected = np.zeros(10, dtype=np.bool_)
    rejected[9] = True
    now, note = RejectionCap(max_share=0.5, min_keep=7).reject_also(
        reasons, "in different lighting", rejected=rejected, note=""
    )
    assert np.flatnonzero(now).tolist() == [1, 2, 9]
    assert note == "of 4 images in different lighting, 2 are rejected"
    assert rejected.sum() == 1


def test_where_the_cap_is_reached_no_image_is_rejected_for_another_reason():
    rejected = np.zeros(20, dtype=np.bool_)
    now, note = RejectionCap(max_share=0.5, min_keep=1).reject_also(
        {3: 1.0}, "in different lighting", rejected=rejected, note="none is rejected"
    )
    assert not now.any()
    assert note == "none is rejected; of 1 image in different lighting, 0 are rejected"
