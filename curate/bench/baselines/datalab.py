"""cleanlab's Datalab: its outlier check on features, with its own rule for verdicts."""

from __future__ import annotations

import contextlib
import io
import warnings

import numpy as np

from curate.bench.baselines.base import BaselineInput, BaselineOutput


def run(images: BaselineInput) -> BaselineOutput:
    """Score the pooled vectors. Raises ImportError where cleanlab is not installed."""
    from cleanlab import Datalab

    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lab = Datalab(data={"id": list(range(len(images.rows)))}, verbosity=0)
        lab.find_issues(features=images.pooled, issue_types={"outlier": {}})
        issues = lab.get_issues("outlier")
    return BaselineOutput(
        scores=-np.asarray(issues["outlier_score"], dtype=np.float64),
        flagged=np.asarray(issues["is_outlier_issue"], dtype=np.bool_),
    )
