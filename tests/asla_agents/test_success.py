"""Success curves against textbook data, by hand, and under censoring."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from asla_agents.success import log_rank, n50, success_curve

NAN = float("nan")
# Remission of 21 patients under 6-MP (Freireich et al., Blood 21, 699 (1963)); nan: in remission at the last visit
WEEKS = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
RELAPSE = [6, 6, 6, NAN, 7, NAN, 10, NAN, NAN, 13, 16, NAN, NAN, NAN, 22, 23, NAN, NAN, NAN, NAN, NAN]
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]


def test_the_curve_of_a_textbook():
    curve = success_curve(RELAPSE, WEEKS)
    assert curve.episodes.tolist() == [6, 7, 10, 13, 16, 22, 23]
    np.testing.assert_allclose(1 - curve.probability, [0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448], atol=5e-4)
    assert n50(RELAPSE, WEEKS).value == 23
    assert n50(PLACEBO, PLACEBO).value == 8


def test_the_log_rank_test_of_a_textbook():
    assert log_rank(RELAPSE, WEEKS, PLACEBO, PLACEBO) == pytest.approx(stats_p(16.79), rel=2e-2)
    assert log_rank(RELAPSE, WEEKS, RELAPSE, WEEKS) == pytest.approx(1)


def test_without_any_success_nothing_tells_two_groups_apart():
    assert log_rank([NAN, NAN], [9, 9], [NAN], [5]) == 1
    assert log_rank([NAN, NAN], [9, 9], [12, NAN], [12, 20]) == 1  # one had ended before the other found anything
    assert log_rank([3, 3], [3, 3], [3], [3]) == 1


def stats_p(chi_square: float) -> float:
    """Of one degree of freedom."""
    return float(chi2.sf(chi_square, 1))


def test_without_censoring_the_curve_is_the_fraction_that_is_done():
    found = [5, 2, 9, 2]
    curve = success_curve(found, [10, 10, 10, 10])
    assert curve.episodes.tolist() == [2, 5, 9]
    np.testing.assert_allclose(curve.probability, [0.5, 0.75, 1.0])
    assert n50(found, [10] * 4).value == 2


def test_each_restart_is_censored_at_its_own_end():
    found, ran = [3, NAN, 8], [10, 4, 10]
    curve = success_curve(found, ran)  # by hand: 1/3, then the one left of one
    np.testing.assert_allclose(curve.probability, [1 / 3, 1])
    naive = 2 / 3  # what leaving out the end of a restart would give
    assert curve.probability[-1] != naive


def test_the_band_holds_the_curve_and_narrows_with_the_restarts():
    rng = np.random.default_rng(0)
    widths = []
    for n in (20, 200):
        curve = success_curve(rng.permutation(np.arange(1, n + 1)), [n] * n)
        inside = slice(0, -1)  # the last step has no band
        assert np.all(curve.low[inside] <= curve.probability[inside])
        assert np.all(curve.high[inside] >= curve.probability[inside])
        middle = len(curve.episodes) // 2
        widths.append(curve.high[middle] - curve.low[middle])
    assert widths[1] < 0.5 * widths[0]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 30), st.booleans()), min_size=1, max_size=30))
def test_n50_is_where_the_curve_reaches_one_half(restarts):
    found = [time if known else NAN for time, known in restarts]
    ran = [time for time, _ in restarts]
    curve = success_curve(found, ran)
    reached = curve.episodes[curve.probability >= 0.5 - 1e-9]
    assert n50(found, ran).value == (reached[0] if len(reached) else np.inf)


def test_where_half_never_know_it_n50_is_infinite():
    interval = n50([3, NAN, NAN, NAN, NAN], [50] * 5)
    assert (interval.value, interval.high) == (np.inf, np.inf)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    truth = np.ceil(400 * np.log(2))  # of exponential times, mean 400
    covered = 0
    for seed in range(60):
        times = np.ceil(rng.exponential(400, size=60))
        found = np.where(times > 1000, NAN, times)
        interval = n50(found, np.minimum(times, 1000), seed=seed)
        covered += interval.low <= truth <= interval.high
    assert 50 <= covered <= 60


def test_the_same_seed_gives_the_same_interval():
    assert n50(RELAPSE, WEEKS) == n50(RELAPSE, WEEKS)
    assert n50(PLACEBO, PLACEBO, seed=1).value == n50(PLACEBO, PLACEBO, seed=2).value


@pytest.mark.parametrize(
    ("found", "ran", "message"),
    [
        ([], [], "must have one entry for each of at least one restart"),
        ([1, 2], [3], r"have shapes \(2,\) and \(1,\)"),
        ([5], [4], "must be nan or lie in the episodes of its restart"),
        ([0], [4], "must be nan or lie in the episodes of its restart"),
        ([NAN], [0], "`episodes` is .* must be at least 1"),
        ([NAN], [NAN], "`episodes` is .* must be at least 1"),
    ],
)
def test_impossible_restarts_are_refused(found, ran, message):
    for function in (success_curve, n50):
        with pytest.raises(ValueError, match=message):
            function(found, ran)


@pytest.mark.parametrize("confidence", [-0.2, 0, 1, 1.5, np.nan, "x"])
def test_a_confidence_that_is_none_is_refused(confidence):
    for function in (success_curve, n50):
        with pytest.raises(ValueError, match=rf"`confidence` is {confidence!r} but must lie between 0 and 1"):
            function([3, np.nan], [5, 5], confidence=confidence)
