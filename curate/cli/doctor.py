"""The state of this machine, for `curate doctor` and for bug reports."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from curate.config import DEFAULT_BACKBONE, default_cache, default_models
from curate.version import __version__

LIBRARIES = ("torch", "torchvision", "timm", "numpy", "pandas", "pyarrow", "pillow", "tifffile", "safetensors")
FAISS = ("faiss-cpu", "faiss-gpu-cu12", "faiss-gpu-cu11", "faiss-gpu")


def examine() -> dict[str, dict[str, Any]]:
    """Return versions, devices, cache, backbones and the network settings, by section."""
    return {
        "versions": {"curate": __version__, "python": sys.version.split()[0], "system": platform.platform()}
        | {name: _version(name) for name in LIBRARIES},
        "faiss": _faiss(),
        "devices": _devices(),
        "cache": _folder(default_cache()),
        "backbones": _backbones(),
        "network": _network(),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _faiss() -> dict[str, str]:
    installed = {name: _version(name) for name in FAISS if _version(name) != "not installed"}
    if not installed:
        return {"state": "missing: install exactly one of curate-vision[cpu] and curate-vision[gpu]"}
    if len(installed) > 1:
        return installed | {"state": "several packages share one module: uninstall all, then install one"}
    return installed | {"state": "good"}


def _devices() -> dict[str, Any]:
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "cpu cores": os.cpu_count(),
        "torch threads": torch.get_num_threads(),
        "cuda": ", ".join(gpus) if gpus else "none; the CPU is used",
    }


def _folder(folder: Path) -> dict[str, Any]:
    files = [f for f in folder.rglob("*") if f.is_file()] if folder.is_dir() else []
    return {
        "folder": str(folder),
        "files": len(files),
        "megabytes": round(sum(f.stat().st_size for f in files) / 1e6, 1),
    }


def _backbones() -> dict[str, Any]:
    from curate.embeddings.backbones import load_backbone
    from curate.embeddings.models import FINISHED
    from curate.embeddings.packaged import PACKAGED_NAME

    packaged = load_backbone(PACKAGED_NAME)
    imported = sorted(f.stem for f in default_models().glob(FINISHED))
    return {
        "default": DEFAULT_BACKBONE,
        "packaged": f"{packaged.name} (sha256 {packaged.sha256[:16]}, {packaged.licence})",
        "installed package": _weights_packages() or "none",
        "imported": ", ".join(imported) if imported else "none",
        "folder of imported models": str(default_models()),
    }


def _weights_packages() -> str:
    """Name the networks whose weights an installed package holds, and the package."""
    from curate.embeddings.weight_packages import WEIGHTS_PACKAGES, installed_weights

    found = (installed_weights(package.network) for package in WEIGHTS_PACKAGES)
    return ", ".join(f"{weights.package.network} ({weights.source})" for weights in found if weights)


def _network() -> dict[str, str]:
    forced = os.environ.get("HF_HUB_OFFLINE", "") in ("1", "ON", "YES", "TRUE")
    return {
        "needed": "only by --backbone with a timm model that is not on this machine",
        "HF_HUB_OFFLINE": "set: the hub is never asked"
        if forced
        else "not set; --offline does the same for one command",
    }
