"""Uncertainty-guided L2: the penalty on a flow's weights grows while support and query losses vary from task to task.

Source: RAD (arXiv 2508.17789) names it; the formula is that of the same authors' CoMet code: with the (support,
query) losses of the last few tasks, z-scored, and Sigma their 2 x 2 covariance, d = log1p(clip(det Sigma, 1e-6, 100)) /
log1p(100) and lambda = lambda_0 (1 + gamma d). Differs: the z-scores are taken against all tasks so far (against the
window itself, Sigma would be a correlation matrix and d at most a fifth); the penalty is the *mean* of squares, since a
sum over all weights swamps a likelihood in nats per dimension.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

MIN_DETERMINANT, MAX_DETERMINANT = 1e-6, 100.0


def mean_square(params: Mapping[str, Tensor]) -> Tensor:
    """Return the mean of the squares of all weights, a scalar."""
    return torch.stack([p.square().sum() for p in params.values()]).sum() / sum(p.numel() for p in params.values())


def uncertainty(losses: np.ndarray[tuple[int, int], np.dtype[np.float64]], window: int) -> float:
    """Return d, 0-1: how much the last losses vary, beside all so far.

    Args:
        losses: (T, 2) support and query losses of all tasks so far, oldest first.
        window: the number of tasks, the latest, in the covariance.
    """
    if len(losses) < 2:
        return 0.0
    spread = losses.std(axis=0)
    standard = (losses - losses.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    covariance = np.cov(standard[-window:], rowvar=False)
    clipped = np.clip(np.linalg.det(covariance), MIN_DETERMINANT, MAX_DETERMINANT)
    return float(np.log1p(clipped) / np.log1p(MAX_DETERMINANT))


@dataclass
class AdaptiveL2:
    """The weight of the penalty over the course of training.

    Attributes:
        base: lambda_0.
        gain: gamma; 0 for a constant penalty.
        window: tasks in the covariance.
        trajectory: lambda before each task.
    """

    base: float
    gain: float
    window: int = 5
    trajectory: list[float] = field(default_factory=list)
    _losses: list[tuple[float, float]] = field(default_factory=list)

    def next_weight(self) -> float:
        """Return lambda for the next task, and append it to the trajectory."""
        losses = np.array(self._losses, dtype=np.float64).reshape(-1, 2)
        self.trajectory.append(self.base * (1 + self.gain * (uncertainty(losses, self.window) if self.gain else 0.0)))
        return self.trajectory[-1]

    def observe(self, support_loss: float, query_loss: float) -> None:
        """Record the losses of a task."""
        self._losses.append((support_loss, query_loss))
