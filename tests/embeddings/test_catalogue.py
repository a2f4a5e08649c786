from __future__ import annotations

import pytest
import timm

from curate.embeddings.catalogue import SHORT_NAMES, full_name, good_for, licence_note, short_name
from curate.embeddings.footprint import footprint
from curate.embeddings.packaged import PACKAGED_NAME, CompactPyramid
from curate.embeddings.timm_pyramids import check_timm_name
from curate.errors import UsageError


@pytest.mark.parametrize("short", SHORT_NAMES)
def test_each_short_name_stands_for_published_weights_of_timm(short: str):
    settings = timm.get_pretrained_cfg(full_name(short), allow_unregistered=False)
    assert settings is not None
    assert settings.hf_hub_id
    assert settings.license
    assert good_for(short)
    assert short_name(full_name(short)) == short
    assert short == full_name(short) or not timm.is_model(short)


def test_a_name_that_is_not_short_stays_as_it_is():
    assert full_name("resnet34.a1_in1k") == short_name("resnet34.a1_in1k") == "resnet34.a1_in1k"
    assert not good_for("resnet34.a1_in1k")


@pytest.mark.parametrize("short", ["dinov3-small", "dinov3-base", "dinov3-convnext-tiny"])
def test_the_licence_of_dinov3_is_marked_as_not_free_for_all(short: str):
    assert "not free for all" in licence_note(timm.get_pretrained_cfg(full_name(short)).license)
    assert licence_note("apache-2.0") == "apache-2.0"


@pytest.mark.parametrize(("misspelt", "meant"), [("dinov2_small", "dinov2-small"), ("efficientnetlite0", "lite0")])
def test_a_misspelt_short_name_is_answered_with_the_nearest(misspelt: str, meant: str):
    with pytest.raises(UsageError, match=f"did you mean .*{meant}"):
        check_timm_name(misspelt)


def test_the_cost_of_a_backbone_is_measured_without_its_weights():
    cost = footprint(PACKAGED_NAME)
    assert cost is not None
    assert 0 < cost.seconds_an_image < 10
    assert cost.parameters == sum(weight.numel() for weight in CompactPyramid().parameters())


def test_a_backbone_that_cannot_be_built_has_no_cost():
    assert footprint("no_such_model") is None
