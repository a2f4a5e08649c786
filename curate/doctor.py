"""What this machine offers, for `curate doctor` and for a report of a fault."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from curate.config import DEFAULT_BACKBONE, default_cache, default_models

LIBRARIES = ("torch", "torchvision", "timm", "numpy", "pandas", "pyarrow", "pillow", "tifffile", "safetensors")
FAISS = ("faiss-cpu", "faiss-gpu-cu12", "faiss-gpu-cu11", "faiss-gpu")


def examine() -> dict[str, dict[str, Any]]:
    """Return versions, devices, cache, backbones and the offline state, by section."""
    return {
        "versions": {"curate": _version("curate"), "python": sys.version.split()[0], "system": platform.platform()}
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
    there = {name: _version(name) for name in FAISS if _version(name) != "not installed"}
    if not there:
        return {"state": "missing: install exactly one of curate[cpu] and curate[gpu]"}
    if len(there) > 1:
        return there | {"state": "two packages share one module: uninstall both, then install one"}
    return there | {"state": "good"}


def _devices() -> dict[str, Any]:
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "cpu cores": os.cpu_count(),
        "torch threads": torch.get_num_threads(),
        "cuda": ", ".join(gpus) if gpus else "none; the cpu is used",
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

    packaged = load_backbone(DEFAULT_BACKBONE)
    imported = sorted(f.stem for f in default_models().glob("*.safetensors"))
    return {
        "packaged": f"{packaged.name} (sha256 {packaged.sha256[:16]}, {packaged.licence})",
        "imported": ", ".join(imported) if imported else "none",
        "imported models lie in": str(default_models()),
    }


def _network() -> dict[str, str]:
    forced = os.environ.get("HF_HUB_OFFLINE", "") in ("1", "ON", "YES", "TRUE")
    return {
        "needed": "no; only --backbone with a timm model that is not on this machine asks the hub",
        "HF_HUB_OFFLINE": "set: the hub is never asked"
        if forced
        else "not set; --offline does the same for one command",
    }
