import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.inference import contrast
from overlap.estimates.group_sums import GroupSums
from overlap.estimates.summary import estimate
from tests.analysis.inference.samples import errors, expected_rate, lengths, two_systems
from tests.overlap import bootstrap_t


@pytest.fixture
def paired():
    words, first, second = two_systems(np.random.default_rng(1), 40)
    return np.stack([first, second], 1), np.stack([words, words], 1)


def ratio_difference(x1, n1, x2, n2, axis=-1):
    return x2.sum(axis) / n2.sum(axis) - x1.sum(axis) / n1.sum(axis)


def columns(sums, counts):
    return sums[:, 0], counts[:, 0], sums[:, 1], counts[:, 1]


def test_value_and_standard_error_of_a_difference(paired):
    found = contrast(*paired, (-1, 1))
    assert found.value == pytest.approx(ratio_difference(*columns(*paired)))
    # The delta method by numerical derivatives with respect to each cluster's weight.
    sums, counts = paired
    n, moved = len(sums), []
    for i in range(n):
        weights = np.ones(n)
        ends = []
        for step in (1e-5, -1e-5):
            weights[i] = 1 + step
            ends.append(ratio_difference(*(weights * column for column in columns(sums, counts))))
        moved.append((ends[0] - ends[1]) / 2e-5)
    assert found.standard_error == pytest.approx(math.sqrt((np.square(moved)).sum() * n / (n - 1)), rel=1e-6)


def test_the_interval_against_the_bootstrap_written_out(paired):
    found = contrast(*paired, (-1, 1), draws=20_000)
    theirs = bootstrap_t.interval(*paired, (-1, 1), draws=4000, rng=3)
    assert (found.low, found.high) == pytest.approx(theirs, abs=0.25 * found.standard_error)
    assert found.n_groups == 40


def test_the_interval_is_near_scipys_bca(paired):
    theirs = stats.bootstrap(
        columns(*paired),
        ratio_difference,
        paired=True,
        vectorized=True,
        method="BCa",
        n_resamples=20_000,
        rng=np.random.default_rng(0),
    )
    ours = contrast(*paired, (-1, 1), draws=20_000)
    # Two second-order corrections of the same thing.
    assert (ours.low, ours.high) == pytest.approx(theirs.confidence_interval, abs=0.25 * theirs.standard_error)
    assert ours.standard_error == pytest.approx(theirs.standard_error, rel=0.05)


def test_probes_and_evaluations_have_the_same_interval():
    generator = np.random.default_rng(0)
    words = lengths(generator, 80)
    wrong = errors(generator, words).astype(float)
    sums = GroupSums(("wer",), tuple(range(80)), wrong[:, None], words[:, None].astype(int), np.zeros((80, 1), int))
    theirs = estimate(sums)["wer"]
    ours = contrast(wrong[:, None], words[:, None])
    assert (ours.value, ours.low, ours.high) == pytest.approx((theirs.value, theirs.low, theirs.high))


def coverage(n: int, runs: int, draw) -> float:
    """Share of intervals that hold the truth, which `draw` returns beside sums, counts and weights."""
    held = 0
    for seed in range(runs):
        sums, counts, weights, truth = draw(np.random.default_rng(seed), n)
        found = contrast(sums, counts, weights, draws=400, seed=seed)
        held += found.low <= truth <= found.high
    return held / runs


def skewed_rate(generator, n):
    words = lengths(generator, n)
    wrong = errors(generator, words)
    # E[errors] / E[words]: 0.2 of the words, and a burst of 6 in 3 % of the utterances.
    return wrong[:, None], words[:, None], (1.0,), 0.2 + 0.03 * 6 / MEAN_WORDS


MEAN_WORDS = float(lengths(np.random.default_rng(0), 2_000_000).mean())


def test_studentized_intervals_hold_their_coverage_on_skewed_counts():
    # 500 runs: a standard deviation of 1 point. tests/studies/test_coverage.py is the long version.
    assert 0.92 <= coverage(60, 500, skewed_rate) <= 0.98


def test_paired_differences_hold_their_coverage():
    def difference(generator, n):
        words, first, second = two_systems(generator, n)
        return np.stack([first, second], 1), np.stack([words, words], 1), (-1, 1), truth

    truth = expected_rate(-1.6, 1.2, 0.8) - expected_rate(-1.2, 1.2, 0.8)
    assert 0.92 <= coverage(60, 500, difference) <= 0.98


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_order_of_clusters_does_not_move_value_or_error(seed):
    generator = np.random.default_rng(seed)
    words, first, second = two_systems(generator, 15)
    sums, counts, order = np.stack([first, second], 1), np.stack([words, words], 1), generator.permutation(15)
    one, two = contrast(sums, counts, (-1, 1), draws=50), contrast(sums[order], counts[order], (-1, 1), draws=50)
    assert (one.value, one.standard_error) == pytest.approx((two.value, two.standard_error), nan_ok=True)


def test_where_there_is_no_interval():
    alone = contrast(np.array([[1.0]]), np.array([[4.0]]))
    assert (alone.value, alone.n_groups) == (0.25, 1)
    assert math.isnan(alone.low)
    same = contrast(np.array([[1.0], [2.0], [4.0]]), np.array([[2.0], [4.0], [8.0]]))
    assert (same.value, same.standard_error) == (0.5, 0.0)
    assert math.isnan(same.low)
    for nothing in (np.zeros((5, 1)), np.zeros((0, 1))):
        found = contrast(nothing, nothing)
        assert math.isnan(found.value)
        assert math.isnan(found.low)
    infinite = contrast(np.array([[np.inf], [1.0]]), np.ones((2, 1)))
    assert math.isnan(infinite.low)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": 95}, "level: expected a coverage between 0 and 1"),
        ({"draws": 1}, "draws: expected at least 2"),
        ({"weights": (1, 2)}, r"one weight for each ratio, received \[3, 1\], \[3, 1\] and \[2\]"),
    ],
)
def test_wrong_settings(options, message):
    with pytest.raises(ValueError, match=message):
        contrast(np.ones((3, 1)), np.ones((3, 1)), **options)


def test_shown():
    found = contrast(np.array([[1.0], [2.0], [4.0]]), np.array([[2.0], [4.0], [8.0]]))
    assert found.shown(1, 100) == "50.0 –"
    assert contrast(np.zeros((0, 1)), np.zeros((0, 1))).shown() == "–"
