"""The statistics are those of SciPy's paired t test, and the words follow them."""

import math

import numpy as np
import pytest
from kept_results import EQUAL, NONE, WORSE
from scipy import stats

from mmela.analysis.compare.statistics import compare, decimals_of, seeds_needed


@pytest.mark.parametrize('entry', [WORSE, EQUAL])
def test_the_interval_is_that_of_a_paired_t_test(entry):
    found = compare(entry, NONE)
    test = stats.ttest_rel(list(entry.values()), list(NONE.values()))
    interval = test.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.is_shown == (test.pvalue < 0.05)


def test_the_words_say_what_the_interval_shows():
    # by hand: the differences have a mean of -0.0208 and a standard deviation of 0.00335
    half = 2.776 * 0.00335 / math.sqrt(5)
    interval = f'(interval {-0.0208 - half:.4f} to {-0.0208 + half:.4f})'
    assert compare(WORSE, NONE).sentence(True, 4) == f'worse than the reference {interval}'
    assert compare(WORSE, NONE).sentence(False, 4) == f'better than the reference {interval}'
    assert compare(EQUAL, NONE).sentence(True, 1).startswith('no difference could be shown')
    assert compare({0: 1.0}, {0: 2.0}).sentence(True, 4) == 'one seed shows nothing'


def test_a_table_has_two_digits_of_its_smallest_deviation():
    wide = {seed: 70 + 3 * value for seed, value in NONE.items()}  # deviations of .0028 and .0084
    assert decimals_of([compare(NONE, NONE), compare(wide, wide), None]) == 4
    assert decimals_of([compare(wide, wide)]) == 4
    assert decimals_of([compare({0: 71.2}, {0: 70.1})]) == 2 and decimals_of([None]) == 0
    assert decimals_of([compare({0: 10.0, 1: 50.0}, {0: 0.0, 1: 0.0})]) == 0


def test_only_seeds_that_both_have_are_compared():
    found = compare({0: 1.0, 1: 2.0, 7: 99.0}, {0: 0.5, 1: 1.0, 2: -9.0})
    assert found.seeds == 2 and found.difference == pytest.approx(0.75)
    assert compare({3: 1.0}, {4: 1.0}) is None


@pytest.mark.parametrize('difference, spread', [(0.01, 0.01), (-0.02, 0.02), (0.005, 0.01)])
def test_the_seeds_that_are_needed_show_the_difference_in_four_of_five(difference, spread):
    """Simulated: 20,000 comparisons with that many seeds, and with one less."""
    n = seeds_needed(difference, spread)
    rng = np.random.default_rng(0)

    def shown(n):
        pairs = rng.normal(difference, spread, (20_000, n))
        tests = stats.ttest_1samp(pairs, 0, axis=1)
        return np.mean((tests.pvalue < 0.05) & (np.sign(tests.statistic) == np.sign(difference)))

    assert shown(n) > 0.79 and shown(n - 1) < 0.81


def test_seeds_needed_at_the_ends():
    assert seeds_needed(1.0, 1e-3) == 2 and seeds_needed(1e-6, 1.0) is None


def test_equal_differences_of_rounded_numbers_are_no_proof():
    found = compare({0: 0.602, 1: 0.618}, {0: 0.601, 1: 0.617})
    assert not found.is_shown and found.interval(4) == '' and found.seeds_needed is None
    said = found.sentence(True, 4)
    assert said == 'the same difference in all 2 seeds, which gives no interval'
    same = compare(dict.fromkeys(range(3), 0.1), dict.fromkeys(range(3), 0.1))
    assert same.deviation == 0 and decimals_of([same]) == 4  # NumPy has a deviation of 1.7e-17
