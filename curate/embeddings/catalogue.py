"""The backbones that have a short name: timm's name, and what each is good for.

Licences are not repeated here: timm knows that of each of its published weights. A name that stands for itself is
timm's own, without the tag of its weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_ON_A_GPU = "GPU, or few images"

SHORT_NAMES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        # short name: (timm's name, what it is good for)
        "efficientnet-lite0": ("tf_efficientnet_lite0.in1k", "CPU: ranks as well as resnet18; no download"),
        "efficientnet-lite1": ("tf_efficientnet_lite1.in1k", "CPU: larger than lite0"),
        "efficientnet-lite2": ("tf_efficientnet_lite2.in1k", "CPU: larger than lite1"),
        "mobilenetv2_100": ("mobilenetv2_100", "CPU: small, plain"),
        "efficientnet_b0": ("efficientnet_b0", "CPU: small"),
        "resnet18": ("resnet18", "CPU: plain, what most papers compare with"),
        "resnet50": ("resnet50", "GPU: plain"),
        "wide_resnet50_2": ("wide_resnet50_2", "GPU: what PatchCore was published with"),
        "convnext-tiny": ("convnext_tiny.fb_in22k", f"{_ON_A_GPU}: convolutions, trained on 22,000 classes"),
        "swin-tiny": ("swin_tiny_patch4_window7_224.ms_in22k", f"{_ON_A_GPU}: a transformer with fine stages"),
        "dinov2-small": ("vit_small_patch14_dinov2.lvd142m", f"{_ON_A_GPU}: parts and textures, learnt without labels"),
        "dinov2-base": ("vit_base_patch14_dinov2.lvd142m", "GPU: as dinov2-small, better and slower"),
        "dinov2-large": ("vit_large_patch14_dinov2.lvd142m", "GPU with much memory: as dinov2-base, slower"),
        "dinov2-small-reg": ("vit_small_patch14_reg4_dinov2.lvd142m", f"{_ON_A_GPU}: fewer stray tokens"),
        "dinov2-base-reg": ("vit_base_patch14_reg4_dinov2.lvd142m", "GPU: fewer stray tokens"),
        "dinov2-large-reg": ("vit_large_patch14_reg4_dinov2.lvd142m", "GPU with much memory: fewer stray tokens"),
        "dinov3-small": ("vit_small_patch16_dinov3.lvd1689m", f"{_ON_A_GPU}: fine detail, learnt without labels"),
        "dinov3-base": ("vit_base_patch16_dinov3.lvd1689m", "GPU: as dinov3-small, better and slower"),
        "dinov3-convnext-tiny": ("convnext_tiny.dinov3_lvd1689m", f"{_ON_A_GPU}: convolutions taught by DINOv3"),
        "siglip-base": ("vit_base_patch16_siglip_224.v2_webli", "GPU: learnt from captions: objects, not fine defects"),
        "clip-base": ("vit_base_patch16_clip_224.openai", "GPU: learnt from captions: objects, not fine defects"),
    }
)

RESTRICTED = frozenset(("dinov3-license",))
"""Licences, as timm names them, that are not free for every use and everybody."""


def full_name(name: str) -> str:
    """Return timm's name for a short name; any other name stays as it is."""
    return SHORT_NAMES[name][0] if name in SHORT_NAMES else name


def short_name(name: str) -> str:
    """Return the short name of one of timm's; a name without one stays as it is."""
    return next((short for short, (full, _) in SHORT_NAMES.items() if full == name), name)


def good_for(name: str) -> str:
    """Return what a backbone is good for, by its short name; empty if nothing is known of it."""
    return SHORT_NAMES[name][1] if name in SHORT_NAMES else ""


def licence_note(licence: str) -> str:
    """Return the name of a licence as `curate models list` shows it: marked where it is not free for all."""
    return f"{licence} (not free for all: read it)" if licence in RESTRICTED else licence
