"""What paired numbers over seeds show, and what they do not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

#: Beyond so many seeds nobody settles anything.
MOST_SEEDS = 1000
#: How often a new comparison over :attr:`Comparison.seeds_needed` seeds shows the difference.
POWER = 0.8


@dataclass(frozen=True)
class Comparison:
    """An entry beside the reference, over the seeds that both have.

    Attributes:
        seeds: How many.
        mean: Of the entry.
        deviation: Its standard deviation over seeds; NaN for a single one.
        reference_mean: Of the reference over the same seeds.
        difference: Mean of entry minus reference, seed by seed.
        spread: Standard deviation of these differences; NaN for a single seed.
        low: Lower end of the 95 % interval of the difference.
        high: Its upper end; both are NaN for a single seed, and where all seeds have the same
            difference: the scatter of rounded numbers is not zero.
    """

    seeds: int
    mean: float
    deviation: float
    reference_mean: float
    difference: float
    spread: float
    low: float
    high: float

    @property
    def is_shown(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0

    @property
    def seeds_needed(self) -> int | None:
        """How many seeds would settle a difference of this size, see :func:`seeds_needed`."""
        return None if math.isnan(self.low) else seeds_needed(self.difference, self.spread)

    def interval(self, decimals: int) -> str:
        """The interval with so many decimals; empty where there is none."""
        if math.isnan(self.low):
            return ''
        return f'{self.low:+.{decimals}f} to {self.high:+.{decimals}f}'

    def sentence(self, higher_is_better: bool, decimals: int) -> str:
        """What the numbers show, in words."""
        if self.seeds == 1:
            return 'one seed shows nothing'
        if math.isnan(self.low):
            return f'the same difference in all {self.seeds} seeds, which gives no interval'
        interval = f'interval {self.interval(decimals)}'
        if not self.is_shown:
            return f'no difference could be shown ({interval})'
        is_better = (self.difference > 0) == higher_is_better
        return f'{"better" if is_better else "worse"} than the reference ({interval})'


def compare(entry: Mapping[int, float], reference: Mapping[int, float]) -> Comparison | None:
    """Compares two entries, seed by seed.

    The interval is that of a paired t test.

    Args:
        entry: The metric by seed.
        reference: The reference's.

    Returns:
        The comparison over the seeds that both have; None where there is none.
    """
    shared = sorted(set(entry) & set(reference))
    if not shared:
        return None
    values = np.array([entry[seed] for seed in shared], float)
    others = np.array([reference[seed] for seed in shared], float)
    n, difference = len(shared), float((values - others).mean())
    spread = _deviation(values - others, np.abs(values).max())
    half = math.nan
    if n > 1 and spread > 0:
        half = float(stats.t.ppf(0.975, n - 1)) * spread / math.sqrt(n)
    return Comparison(
        seeds=n,
        mean=float(values.mean()),
        deviation=_deviation(values, np.abs(values).max()),
        reference_mean=float(others.mean()),
        difference=difference,
        spread=spread,
        low=difference - half,
        high=difference + half,
    )


def seeds_needed(difference: float, spread: float) -> int | None:
    """How many seeds make the 95 % interval exclude zero in four of five comparisons.

    If mean and scatter of the paired differences are the true ones (noncentral t distribution).

    Args:
        difference: The mean of the paired differences.
        spread: Their standard deviation.

    Returns:
        The smallest number of at least two; None beyond :data:`MOST_SEEDS`.
    """
    n = np.arange(2, MOST_SEEDS + 1)
    limit = stats.t.ppf(0.975, n - 1)
    power = stats.nct.sf(limit, n - 1, abs(difference) / spread * np.sqrt(n))
    enough = n[power >= POWER]
    return int(enough[0]) if len(enough) else None


def decimals_of(found: Iterable[Comparison | None]) -> int:
    """How many decimals a table needs: two digits of its smallest standard deviation.

    Where no entry has one, four digits of the largest mean.
    """
    there = [c for c in found if c is not None]
    deviations = [c.deviation for c in there if c.deviation > 0]
    digits, number = 2, min(deviations, default=0.0)
    if not deviations:
        digits, number = 4, max((abs(c.mean) for c in there), default=0.0)
    return max(0, digits - 1 - math.floor(math.log10(number))) if number else 0


def _deviation(values: np.ndarray, size: float) -> float:
    """The standard deviation, without what the rounding of float32 adds to zero."""
    if len(values) == 1:
        return math.nan
    deviation = float(values.std(ddof=1))
    return deviation if deviation > 1e-6 * size else 0.0
