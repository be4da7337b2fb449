"""What paired numbers over seeds show, and what they do not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

#: Beyond so many seeds nobody settles anything.
MOST_SEEDS = 1000


@dataclass(frozen=True)
class Comparison:
    """An entry beside the reference, over the seeds that both have.

    Attributes:
        seeds: How many.
        mean: Of the entry.
        deviation: Its standard deviation over seeds; NaN for a single one.
        difference: Mean of entry minus reference, seed by seed.
        low: Lower end of the 95 % interval of the difference.
        high: Its upper end; both are NaN for a single seed.
        seeds_needed: How many seeds would settle a difference of this size with this scatter;
            None where more than :data:`MOST_SEEDS` would be needed.
    """

    seeds: int
    mean: float
    deviation: float
    difference: float
    low: float
    high: float
    seeds_needed: int | None

    @property
    def is_shown(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0

    def interval(self, decimals: int) -> str:
        """The interval with so many decimals; empty for a single seed."""
        if math.isnan(self.low):
            return ''
        return f'{self.low:+.{decimals}f} to {self.high:+.{decimals}f}'

    def sentence(self, higher_is_better: bool, decimals: int) -> str:
        """What the numbers show, in words."""
        if math.isnan(self.low):
            return 'one seed shows nothing'
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
    pairs = values - np.array([reference[seed] for seed in shared], float)
    n, difference = len(shared), float(pairs.mean())
    if n == 1:
        nan = math.nan
        return Comparison(1, float(values[0]), nan, difference, nan, nan, None)
    spread = float(pairs.std(ddof=1))
    half = float(stats.t.ppf(0.975, n - 1)) * spread / math.sqrt(n)
    return Comparison(
        seeds=n,
        mean=float(values.mean()),
        deviation=float(values.std(ddof=1)),
        difference=difference,
        low=difference - half,
        high=difference + half,
        seeds_needed=seeds_needed(difference, spread),
    )


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


def seeds_needed(difference: float, spread: float) -> int | None:
    """How many seeds make the 95 % interval of a difference exclude zero.

    Args:
        difference: The mean of the paired differences.
        spread: Their standard deviation.

    Returns:
        The smallest number of at least two; None beyond :data:`MOST_SEEDS`.
    """
    for n in range(2, MOST_SEEDS + 1):
        if float(stats.t.ppf(0.975, n - 1)) * spread / math.sqrt(n) < abs(difference):
            return n
    return None
