"""What the scores of one set say about who is nominal: a mixture of two kinds of images, weighed by how likely it is.

Nobody knows which of a set's images are nominal, so their scores are taken as a mixture: a share pi is anomalous, and
an anomalous image scores what a nominal one scores *plus* an effect above 0. Nominal scores follow a normal curve or
one with a longer tail above (an exponentially modified normal curve, its median and the quantile below it held), or,
half as likely a priori, the square of a normal deviation (chi-square of one degree of freedom, blurred): that is what
images score that differ by degrees in one thing, such as the light, and its tail is longer than any other.
Effects follow a gamma distribution that keeps away from 0, since an effect near 0 cannot be distinguished from a tail.
Where the nominal bulk lies is read from the lower scores, which an anomaly cannot lower: so it holds up to half of a
set.

No single fit is trusted. All combinations on a grid are weighed by their likelihood and a prior (two in three sets have
nothing wrong; otherwise small shares are likelier than large ones; a user who expects a range of shares gives nine
tenths of that prior to it), and what is asked for is the mean over them. Since
an anomaly adds to a nominal score, the confidence falls as the score rises. Where defects were planted in the set's
images, effects are expected where theirs are.

Source: ours; see docs/experiments. Meta-IR (arXiv 2503.01569) rejects above Q3 + k (Q3 - Q1), which is masked once a
quarter of the set is anomalous; that rule is `ThresholdMethod.IQR`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import logsumexp

Doubles = NDArray[np.float64]

TAILS = (0.0, 0.7, 1.4, 2.5)
"""Nominal shapes: the exponential part's length, in standard deviations of the normal part; 0 is a normal curve.

One more stands behind them: `_by_degrees`.
"""

BY_DEGREES_PRIOR, BLUR = 0.5, 0.3
"""How likely that shape is beside each of the others, a priori; and the standard deviation of its blur, in spreads."""

EFFECTS = tuple((shape, float(mean)) for shape in (3.0, 8.0) for mean in np.geomspace(0.8, 40, 14))
"""Shape and mean of each gamma distribution of effects, means in nominal standard deviations.

The spread of effects is their mean over the root of the shape.
"""

LEAST_MEANS, LARGEST_MEANS = {3.0: 2.0, 8.0: 5.0}, {3.0: 40.0, 8.0: 25.0}
"""Means of effects that are considered, by shape, where no defect was planted: effects below 2 cannot be distinguished
from a tail, and a narrow bunch of effects below 5 not from a shoulder of a clean set's scores."""

OF_LIFT, LIFT_DEVIATION = 1.6, 0.5
"""Where defects were planted: the mean effect that is expected, in lifts (`threshold.defect_lift`), and the standard
deviation of its logarithm, a priori. Effects are not expected below one nominal standard deviation."""

BULK_LEVELS = (0.22, 0.26, 0.30, 0.34, 0.38, 0.42, 0.46, 0.50)
"""Where the nominal median may lie, as quantiles of all scores: 0.5 in a clean set, 0.25 if half are anomalous."""

SPREAD_FACTORS = (0.7, 0.85, 1.0, 1.2, 1.45)
"""By how much the nominal spread may differ from what the scores below the median show."""

SPREAD_DEVIATION = 0.25
"""Standard deviation of the logarithm of that factor, a priori."""

SHARES = (0.0, *np.geomspace(0.005, 0.6, 24).tolist())
"""Shares of anomalous images."""

CLEAN_PRIOR, SHARE_PRIOR = 2 / 3, (1.0, 6.0)
"""How likely a set is clean, a priori; and the beta distribution of the share if it is not (mean 1 in 7)."""

EXPECTED_MASS = 0.9
"""How much of the prior lies, evenly, within the range of shares that the user expects; the rest is as without one."""

POINTS = 256
"""Scores that are weighed; a larger set is represented by as many of its quantiles."""

LEAST_WEIGHT = 1e-3
"""Models less likely than this share of the likeliest are left out."""

BELOW_ONE_SIGMA = float(2 * stats.norm.cdf(-1))
"""Twice the share of a normal curve that lies more than a standard deviation below its median."""

STEP, LOWEST, HIGHEST = 0.05, -6.0, 90.0
"""The grid of scores on which densities are tabulated, in nominal standard deviations from the nominal median."""

FLOOR = 1e-12
"""Densities below this are not distinguished."""


@dataclass(frozen=True)
class _Tables:
    """On the grid, by shape: the nominal density (T, G), its upper tail (T, G), the anomalous density (T, E, G) and its
    ratio to the nominal one, which never falls.
    """

    nominal: Doubles
    above: Doubles
    anomalous: Doubles
    ratio: Doubles


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """The likely models of one set's scores.

    Attributes:
        weight: (M,) posterior probabilities, adding up to 1.
        share: (M,) of anomalous images.
        middle, spread: (M,) median and standard deviation of the nominal scores.
        tail, effect: (M,) which nominal shape, and which distribution of effects.
        contamination: the expected share of anomalous images, 0-1.
        contamination_low, contamination_high: its interval of 90 %, with the steps of `SHARES` around it.
        images: how many images it was fitted to.
    """

    weight: Doubles
    share: Doubles
    middle: Doubles
    spread: Doubles
    tail: NDArray[np.int64]
    effect: NDArray[np.int64]
    contamination: float
    contamination_low: float
    contamination_high: float
    images: int

    @property
    def nominal_middle(self) -> float:
        """The expected median of the nominal scores."""
        return float(self.weight @ self.middle)

    @property
    def nominal_spread(self) -> float:
        """Their expected standard deviation."""
        return float(self.weight @ self.spread)

    def likely_below(self, share: float) -> float:
        """Return how likely it is, 0-1, that less than a share of the set is anomalous."""
        return float(self.weight[self.share < share].sum())

    def confidence(self, values: Doubles) -> Doubles:
        """Return (N,) the probability, 0-1, that an image of each score is nominal."""
        ratio = _tables().ratio[self.tail[:, None], self.effect[:, None], self._places(values)]
        nominal, anomalous = 1 - self.share[:, None], self.share[:, None] * ratio
        return np.asarray(self.weight @ (nominal / (nominal + anomalous)), dtype=np.float64)

    def p_value(self, values: Doubles) -> Doubles:
        """Return (N,) how often, 0-1, a nominal image scores at least as high as each score."""
        return np.asarray(self.weight @ _tables().above[self.tail[:, None], self._places(values)], dtype=np.float64)

    def _places(self, values: Doubles) -> NDArray[np.int64]:
        return _place((values[None, :] - self.middle[:, None]) / self.spread[:, None])


def fit_mixture(
    values: Doubles, least_spread: float, lift: float | None = None, *, expected: tuple[float, float] | None = None
) -> Mixture:
    """Weigh all models of one set's scores.

    Args:
        values: (N,) finite, ascending, N at least 2.
        least_spread: a nominal spread below this, above 0, is rounding.
        lift: what a planted defect adds to a score, see `threshold.defect_lift`; None where none were planted.
        expected: the contamination that the user expects, 0-1, from and to; None for no opinion.
    """
    points = values if len(values) <= POINTS else np.quantile(values, (np.arange(POINTS) + 0.5) / POINTS)
    bulks = [
        _bulk(values, level, factor=factor, least=least_spread)
        for level, factor in product(BULK_LEVELS, SPREAD_FACTORS)
    ]
    logs = np.stack([_log_posterior(points, bulk, lift) for bulk in bulks]) + _log_prior(expected)  # (B, T, E, S)
    posterior = np.exp(logs - logs.max())
    total = posterior.sum(axis=(0, 1, 2)) / posterior.sum()
    bulk, tail, effect, share = np.nonzero(posterior > LEAST_WEIGHT * posterior.max())
    weight = posterior[bulk, tail, effect, share]
    places = np.array(bulks)
    cumulated = np.cumsum(total)
    low, high = (int(np.searchsorted(cumulated, end)) for end in (0.05, 0.95))
    low, high = max(low - 1, 0), min(high + 1, len(SHARES) - 1)
    return Mixture(
        weight=weight / weight.sum(),
        share=np.array(SHARES)[share],
        middle=places[bulk, 0],
        spread=places[bulk, 1],
        tail=tail,
        effect=effect,
        contamination=float(total @ SHARES),
        contamination_low=SHARES[low],
        contamination_high=SHARES[high],
        images=len(values),
    )


def _bulk(values: Doubles, level: float, *, factor: float, least: float) -> tuple[float, float, float]:
    """Return the nominal median at a quantile of all scores, the spread below it times `factor`, and `factor`."""
    middle, below = (float(q) for q in np.quantile(values, (level, level * BELOW_ONE_SIGMA)))
    return middle, factor * max(middle - below, least), factor


def _log_posterior(points: Doubles, bulk: tuple[float, float, float], lift: float | None) -> Doubles:
    """Return (T, E, S) the log of likelihood times prior, for one nominal bulk: median, spread and spread factor.

    The prior of the shares is left out.
    """
    tables, (middle, spread, factor) = _tables(), bulk
    places = _place((points - middle) / spread)
    nominal, anomalous = tables.nominal[:, places] / spread, tables.anomalous[:, :, places] / spread
    shapes = np.log([1.0] * len(TAILS) + [BY_DEGREES_PRIOR])[:, None, None]
    effects = _log_effect_prior(lift if lift is None else max(1.0, OF_LIFT * lift / spread))
    prior = shapes + effects[:, None] - 0.5 * (np.log(factor) / SPREAD_DEVIATION) ** 2
    likelihood = [np.log((1 - s) * nominal[:, None] + s * anomalous).sum(axis=2) for s in SHARES]
    return np.asarray(np.stack(likelihood, axis=-1) + prior, dtype=np.float64)


def _log_effect_prior(expected: float | None) -> Doubles:
    """Return (E,) the log of the prior of each distribution of effects: around an expected mean, or even without."""
    shapes, means = np.array(EFFECTS).T
    if expected is None:
        least, largest = (np.array([by_shape[shape] for shape in shapes]) for by_shape in (LEAST_MEANS, LARGEST_MEANS))
        with np.errstate(divide="ignore"):
            logs = np.log(((means >= least) & (means <= largest)).astype(np.float64))
    else:
        logs = -0.5 * (np.log(means / expected) / LIFT_DEVIATION) ** 2
    return np.asarray(logs - logsumexp(logs), dtype=np.float64)


@cache
def _log_prior(expected: tuple[float, float] | None = None) -> Doubles:
    """Return (S,) the log of the prior of each share: its part of the beta distribution, cut off at the last share.

    Args:
        expected: the range, 0-1, in which `EXPECTED_MASS` lies evenly; None for no such range.
    """
    edges = np.concatenate([[0.0], np.sqrt(np.array(SHARES[1:-1]) * SHARES[2:]), [SHARES[-1]]])
    mass = np.diff(stats.beta.cdf(edges, *SHARE_PRIOR))
    prior = np.array([CLEAN_PRIOR, *((1 - CLEAN_PRIOR) * mass / mass.sum())])
    if expected is not None:
        edges = np.concatenate([[0.0, SHARES[1] / 2], edges[1:]])  # up to half of the first share, a set is clean
        within = np.diff(np.clip(edges, *expected))
        prior = EXPECTED_MASS * within / within.sum() + (1 - EXPECTED_MASS) * prior
    return np.asarray(np.log(prior), dtype=np.float64)


def _place(standard: Doubles) -> NDArray[np.int64]:
    """Return the places of standardised scores on the grid; what lies beyond its ends is at its ends."""
    last = round((HIGHEST - LOWEST) / STEP) - 1
    return np.clip(np.rint((standard - LOWEST) / STEP), 0, last).astype(np.int64)


@cache
def _tables() -> _Tables:
    grid = LOWEST + STEP * np.arange(round((HIGHEST - LOWEST) / STEP), dtype=np.float64)
    nominal = np.stack([*(_nominal_density(grid, tail) for tail in TAILS), _by_degrees(grid)])
    effects = [_effect_mass(len(grid), shape, mean) for shape, mean in EFFECTS]
    size = 2 * len(grid)  # room for the whole convolution
    spectra = np.fft.rfft(nominal, size)[:, None] * np.fft.rfft(np.stack(effects), size)
    anomalous = np.fft.irfft(spectra, size)[..., : len(grid)]
    above = nominal[:, ::-1].cumsum(axis=1)[:, ::-1] * STEP
    nominal, anomalous = np.maximum(nominal, FLOOR), np.maximum(anomalous, FLOOR)
    ratio = np.where(grid < 0, anomalous - FLOOR, anomalous) / nominal[:, None]  # far below, nothing is anomalous
    ratio = np.maximum.accumulate(ratio, axis=-1)  # it falls only where floors are compared
    return _Tables(nominal, np.minimum(above, 1.0), anomalous, ratio)


def _nominal_density(grid: Doubles, tail: float) -> Doubles:
    """Return a nominal density whose median is 0 and whose quantile of 15.9 % is -1, as a normal curve's."""
    if tail == 0:
        return np.asarray(stats.norm.pdf(grid), dtype=np.float64)
    shape = stats.exponnorm(tail)
    median, below = shape.ppf((0.5, BELOW_ONE_SIGMA / 2))
    return np.asarray(shape.pdf(grid * (median - below) + median) * (median - below), dtype=np.float64)


def _by_degrees(grid: Doubles) -> Doubles:
    """Return the density of a squared normal deviation, blurred, placed and scaled as `_nominal_density` is."""
    squares = stats.chi2(1)
    median, below = squares.ppf((0.5, BELOW_ONE_SIGMA / 2))
    fine = np.arange(LOWEST, 1.2 * HIGHEST, STEP)
    mass = np.diff(squares.cdf(np.append(fine, fine[-1] + STEP) * (median - below) + median))
    around = stats.norm.pdf(np.arange(-5 * BLUR, 5 * BLUR + STEP, STEP), scale=BLUR)
    mass = np.convolve(mass, around / around.sum(), "same")
    median, below = np.interp((0.5, BELOW_ONE_SIGMA / 2), mass.cumsum(), fine)
    return np.asarray(np.interp(grid * (median - below) + median, fine, mass / STEP) * (median - below))


def _effect_mass(count: int, shape: float, mean: float) -> Doubles:
    """Return (count,) the probability of effects around 0, 1, 2, ... grid steps."""
    edges = STEP * (np.arange(count + 1) - 0.5)
    return np.diff(stats.gamma.cdf(np.maximum(edges, 0), shape, scale=mean / shape))
