import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from overlap.estimates.bootstrap import studentized, unseen_share
from tests.overlap import bootstrap_t


def ends(sums, counts, weights=(1.0,), **options):
    """Value, standard error, low and high of one estimate from `[G, K]`."""
    (found,) = studentized(np.asarray(sums)[:, None], np.asarray(counts)[:, None], weights, **options)
    return found.value, found.standard_error, found.low, found.high


def clusters(n=40, ratios=2, seed=1):
    generator = np.random.default_rng(seed)
    counts = generator.integers(3, 30, (n, ratios)).astype(float)
    hard = generator.gamma(1.0, 0.2, (n, 1))
    return generator.poisson(counts * hard).astype(float), counts


@pytest.mark.parametrize("weights", [(1.0,), (-1.0, 1.0), (0.5, 0.25, 0.25)])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_against_the_bootstrap_written_out(weights, level):
    sums, counts = clusters(ratios=len(weights))
    value, error, low, high = ends(sums, counts, weights, level=level, draws=20_000)
    assert (value, error) == pytest.approx(bootstrap_t.estimate_and_error(sums, counts, weights))
    theirs = bootstrap_t.interval(sums, counts, weights, level=level, draws=4000, rng=9)
    # A tail quantile of 4,000 draws is known to some 0.06 standard errors.
    assert (low, high) == pytest.approx(theirs, abs=0.25 * error)
    assert low < value < high


def test_the_interval_of_many_equal_normal_clusters_is_students():
    values = np.random.default_rng(0).normal(size=400)
    _, _, low, high = ends(values[:, None], np.ones((400, 1)), draws=20_000)
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=0.05 * values.std() / 20)


def test_it_leans_to_where_the_tail_is():
    """Second-order correct, as BCa is: percentiles of skewed clusters reach too little up and too far down."""
    values = np.random.default_rng(3).lognormal(0, 1, size=60)
    theirs = stats.bootstrap((values,), np.mean, method="BCa", n_resamples=20_000, rng=np.random.default_rng(1))
    plain = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(1))
    _, _, low, high = ends(values[:, None], np.ones((60, 1)), draws=20_000)
    assert low > plain.confidence_interval.low
    assert high > theirs.confidence_interval.high > plain.confidence_interval.high


@pytest.mark.parametrize("events", [1, 2, 3])
def test_few_deviating_clusters_leave_open_what_as_many_events_do(events):
    """Errors among 2,000: the upper end of a Poisson variable that was seen to be so much, in scipy's reckoning."""
    sums = np.zeros((2000, 1))
    sums[:events] = 1
    for level in (0.95, 0.99):
        _, _, _, high = ends(sums, np.ones((2000, 1)), level=level, draws=4000)
        assert 2000 * high == pytest.approx(stats.chi2.ppf((1 + level) / 2, 2 * events + 2) / 2, rel=0.04)


@pytest.mark.parametrize("n", [16, 60])
def test_shares_of_utterances_are_near_the_exact_interval(n):
    """Of yes and no, one an utterance: near Clopper and Pearson, and never falling as more say yes."""
    highs = []
    for yes in range(1, n // 2 + 1):
        sums = (np.arange(n) < yes).astype(float)[:, None]
        _, _, low, high = ends(sums, np.ones((n, 1)), draws=8000)
        exact = stats.binomtest(yes, n).proportion_ci(method="exact")
        assert max(low, 0) == pytest.approx(exact.low, abs=0.08)
        assert high == pytest.approx(exact.high, abs=0.14)
        highs.append(high)
    assert min(np.diff(highs)) > -0.03


@pytest.mark.parametrize("n", [2, 3, 5])
def test_a_handful_of_clusters_is_held_as_by_students_t(n):
    """Of normal clusters, whose mean resamples alone would hold 70 times of 100 with two of them."""
    values = np.random.default_rng(0).normal(size=(n, 400))
    found = studentized(values[:, :, None], np.ones((n, 400, 1)), draws=500)
    assert np.mean([one.low <= 0 <= one.high for one in found]) > 0.88


def test_without_deviation_the_end_is_that_of_clopper_and_pearson():
    for n, level in ((5, 0.95), (60, 0.95), (60, 0.8)):
        theirs = stats.binomtest(0, n).proportion_ci(level, method="exact")
        assert unseen_share(n, n, level) == pytest.approx(theirs.high)


def test_few_clusters_know_less_than_as_many_positions():
    shares = [unseen_share(n, 600, 0.95) for n in (2, 5, 20, 600)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.2  # two utterances that agree say little
    assert shares[-1] == pytest.approx(0.0061, abs=1e-4)
    assert unseen_share(60, 6000, 0.95) < unseen_share(60, 600, 0.95)


@given(st.integers(0, 10_000), st.integers(2, 30))
@settings(max_examples=40, deadline=None)
def test_scale_shift_and_sign(seed, n):
    sums, counts = clusters(n, 1, seed)
    plain = ends(sums, counts, draws=100)
    scaled = ends(3 * sums + 2 * counts, counts, draws=100)
    assert (scaled[0], scaled[2], scaled[3]) == pytest.approx([3 * x + 2 for x in (plain[0], *plain[2:])], nan_ok=True)
    negative = ends(sums, counts, (-1.0,), draws=100)
    assert (negative[2], negative[3]) == pytest.approx((-plain[3], -plain[2]), nan_ok=True)
    assert ends(sums, counts, draws=100) == pytest.approx(plain, nan_ok=True, rel=0, abs=0)
    assert math.isnan(plain[2]) or plain[2] <= plain[0] <= plain[3]


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_estimates_beside_others_are_what_they_are_alone(seed):
    sums, counts = clusters(12, 3, seed)
    counts[0, 1] = sums[0, 1] = 0
    together = studentized(sums[:, :, None], counts[:, :, None], draws=50, seed=4)
    for column in range(3):
        alone = studentized(sums[:, column, None, None], counts[:, column, None, None], draws=50, seed=4)
        for name in ("value", "standard_error", "low", "high"):
            assert getattr(together[column], name) == pytest.approx(getattr(alone[0], name), nan_ok=True)
        assert together[column].n_groups == alone[0].n_groups


def test_pieces_are_the_whole(monkeypatch):
    sums, counts = clusters()
    whole = ends(sums, counts, (-1.0, 1.0), draws=300)
    monkeypatch.setattr("overlap.estimates.bootstrap._DRAWS_AT_ONCE", 40 * 7)
    assert ends(sums, counts, (-1.0, 1.0), draws=300) == pytest.approx(whole)


def test_where_there_is_no_interval():
    value, error, low, _ = ends([[1.0]], [[4.0]])
    assert value == 0.25
    assert math.isnan(error)
    assert math.isnan(low)
    value, error, low, _ = ends([[1.0], [2.0], [4.0]], [[2.0], [4.0], [8.0]])
    assert (value, error) == (0.5, 0.0)
    assert math.isnan(low)
    for nothing in (np.zeros((5, 1)), np.zeros((0, 1))):
        assert all(math.isnan(part) for part in ends(nothing, nothing))
    value, error, low, _ = ends([[math.inf], [1.0]], np.ones((2, 1)))
    assert value == math.inf
    assert math.isnan(error)
    assert math.isnan(low)
    assert math.isnan(ends([[math.inf], [-math.inf]], np.ones((2, 1)))[0])


def test_an_infinite_estimate_does_not_touch_its_neighbors():
    sums, counts = clusters(20, 2)
    alone = ends(sums[:, :1], counts[:, :1])
    sums[3, 1] = math.inf
    found = studentized(sums[:, :, None], counts[:, :, None])
    assert (found[0].value, found[0].low, found[0].high) == pytest.approx((alone[0], *alone[2:]))
    assert found[1].value == math.inf
    assert math.isnan(found[1].high)


def test_resamples_without_a_denominator_are_left_out():
    sums, counts = np.array([[3.0], [1.0], [0.0], [0.0]]), np.array([[10.0], [8.0], [0.0], [0.0]])
    (found,) = studentized(sums[:, None], counts[:, None])
    assert (found.n_groups, found.n_positions) == (2, 18)
    assert found.low < found.value < found.high
    many = np.zeros((40, 1))
    rest = np.concatenate([sums[:2], many]), np.concatenate([counts[:2], many])
    assert math.isfinite(ends(*rest)[2])  # 13 % of the resamples have neither


def test_errors():
    with pytest.raises(ValueError, match=r"level: expected a coverage between 0 and 1, such as 0.95, received 95"):
        ends(*clusters(), (1, 1), level=95)
    with pytest.raises(ValueError, match="draws: expected at least 2 resamples, received 1"):
        ends(*clusters(), (1, 1), draws=1)
    with pytest.raises(ValueError, match=r"one weight for each ratio, received \[40, 1, 2\], \[40, 1, 2\] and \[1\]"):
        ends(*clusters())
