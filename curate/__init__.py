"""`curate` audits image training sets for industrial inspection.

    >>> import curate
    >>> audit = curate.scan("parts/", "parts-audit")
    >>> audit.images.query("verdict != 'keep'")["path"].tolist()
    ['03.png', '11.png', '12.png']

`scan` makes an audit, `read_audit` reads one back; tables are pandas DataFrames. Heavy libraries are
imported when a function that needs them is first called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from curate.version import __version__

__all__ = ["Audit", "CurateError", "ScanConfig", "__version__", "read_audit", "scan"]

if TYPE_CHECKING:
    from curate.audit.parquet import Audit, read_audit
    from curate.config import ScanConfig
    from curate.errors import CurateError
    from curate.pipeline import scan

_HOMES = {
    "Audit": "curate.audit.parquet",
    "CurateError": "curate.errors",
    "ScanConfig": "curate.config",
    "read_audit": "curate.audit.parquet",
    "scan": "curate.pipeline",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'curate' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
