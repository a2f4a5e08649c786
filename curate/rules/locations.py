"""Where an image lies in the repository that CI checks: what SARIF, GitLab, GitHub and JUnit name a file by."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CHECKOUTS = ("GITHUB_WORKSPACE", "CI_PROJECT_DIR")
"""Variables in which CI servers name the root of the checkout."""


def repository() -> Path:
    """Return the root of the checkout around the working folder, links resolved; the working folder if there is none.

    That is the folder that CI names, else the nearest one with `.git`.
    """
    here = Path(os.path.realpath(Path.cwd()))
    named = [Path(os.path.realpath(os.environ[name])) for name in CHECKOUTS if os.environ.get(name)]
    with_git = [folder for folder in (here, *here.parents) if (folder / ".git").exists()]
    return next((folder for folder in (*named, *with_git) if here.is_relative_to(folder)), here)


def prefix_below(base: Path, run: Mapping[str, Any]) -> str | None:
    """Return the path of an audit's dataset below a folder, as the user named it; None if it lies elsewhere.

    Args:
        base: with links resolved.
        run: of the audit. `dataset_as_named` is absolute, links kept: a link below `base` to a dataset outside counts
            as its place. Audits before it have `dataset` alone, links resolved.
    """
    for name in ("dataset_as_named", "dataset"):
        root = run.get(name)
        if isinstance(root, str) and root and "\0" not in root:
            prefix = _below(base, Path(os.path.normpath(root)))
            if prefix is not None:
                return prefix
    return None


def _below(base: Path, root: Path) -> str | None:
    """Return the rest of a path behind `base`, which may be reached through links; "" if it is `base`."""
    for folder in (root, *root.parents):
        if folder == base or os.path.realpath(folder) == os.fspath(base):
            rest = root.relative_to(folder).as_posix()
            return "" if rest == "." else rest
    return None


def joined(prefix: str | None, path: str) -> str:
    """Return the path of an image below a prefix; as it is in its dataset where there is none."""
    return f"{prefix}/{path}" if prefix else path
