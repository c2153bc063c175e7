"""Changes between two readings of the same utterances: value, interval, and what is no change at all."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from overlap.definitions import Ranges
from overlap.estimates.group_sums import GroupSums
from overlap.estimates.paired_change import paired_change
from overlap.estimates.summary import estimate
from tests.overlap import bootstrap_t

Reading = tuple[np.ndarray, np.ndarray]
"""Sums and counts of each utterance."""


def sums_of(reading: Reading, name: str = "own.x", keys=None) -> GroupSums:
    sums, counts = (np.asarray(part)[:, None] for part in reading)
    names = tuple(f"u{i:04d}" for i in range(len(sums))) if keys is None else tuple(keys)
    return GroupSums((name,), names, sums.astype(float), counts.astype(np.int64), np.zeros(counts.shape, np.int64))


def change(before: Reading, after: Reading, name: str = "own.x", **options):
    (found,) = paired_change(sums_of(before, name), sums_of(after, name), **options).values()
    return found


def readings(n: int, seed: int, *, same_positions: bool, shift: float = -0.02, hard: float = 0.3):
    """Two readings of n utterances that are hard or easy in both, with a true change of their values."""
    generator = np.random.default_rng(seed)
    level = generator.gamma(1.0, hard, n)
    before, after = [], []
    lengths = generator.integers(4, 20, n)
    others = lengths if same_positions else np.maximum(2, lengths + generator.integers(-2, 3, n))
    for center, length, other in zip(level, lengths, others, strict=True):
        before.append(float(generator.normal(center, 0.05, length).sum()))
        after.append(float(generator.normal(center + shift, 0.05, other).sum()))
    return (np.array(before), lengths), (np.array(after), others)


@pytest.mark.parametrize("same_positions", [True, False])
def test_against_the_bootstrap_written_out(same_positions):
    before, after = readings(30, 1, same_positions=same_positions)
    sums, counts = (np.stack([after[i], before[i]], axis=1).astype(float) for i in (0, 1))
    found = change(before, after, draws=20_000)
    value, error = bootstrap_t.estimate_and_error(sums, counts, (1.0, -1.0))
    assert (found.value, found.standard_error) == pytest.approx((value, error))
    assert found.value == pytest.approx(after[0].sum() / after[1].sum() - before[0].sum() / before[1].sum())
    theirs = bootstrap_t.interval(sums, counts, (1.0, -1.0), draws=4000, rng=9)
    assert (found.low, found.high) == pytest.approx(theirs, abs=0.25 * error)


@pytest.mark.parametrize("same_positions", [True, False])
def test_the_standard_error_is_the_jackknifes(same_positions):
    before, after = readings(200, 2, same_positions=same_positions)
    without = []
    for i in range(200):
        kept = np.arange(200) != i
        without.append(after[0][kept].sum() / after[1][kept].sum() - before[0][kept].sum() / before[1][kept].sum())
    theirs = math.sqrt(199 / 200 * np.square(np.array(without) - np.mean(without)).sum())
    assert change(before, after).standard_error == pytest.approx(theirs, rel=0.03)


def test_on_the_same_positions_it_is_the_mean_of_the_differences():
    before, after = readings(25, 3, same_positions=True)
    (theirs,) = estimate(sums_of((after[0] - before[0], before[1]))).values()
    found = change(before, after)
    for name in ("value", "standard_error", "low", "high", "n_positions", "n_groups"):
        assert getattr(found, name) == pytest.approx(getattr(theirs, name))


def test_by_hand():
    """Of two utterances with 2 and 4 positions, sums 1 and 3 become 2 and 3: from 4/6 to 5/6."""
    found = change((np.array([1.0, 3.0]), np.array([2, 4])), (np.array([2.0, 3.0]), np.array([2, 4])))
    assert found.value == pytest.approx(1 / 6)
    # Influences: the first gains 1 − 2/6 over 6, the second 0 − 4/6 over 6, and the factor is √(2 / 1).
    assert found.standard_error == pytest.approx(math.sqrt(2 * ((2 / 3 / 6) ** 2 + (2 / 3 / 6) ** 2)))
    assert (found.n_positions, found.n_groups, found.n_undefined) == (6, 2, 0)


def test_hard_utterances_do_not_hide_a_change_that_all_share():
    before, after = readings(60, 4, same_positions=True, hard=1.0)
    found = change(before, after)
    margins = [next(iter(estimate(sums_of(one)).values())) for one in (before, after)]
    assert margins[0].low < margins[1].value < margins[0].high
    assert found.high < 0
    assert found.high - found.low < 0.1 * (margins[0].high - margins[0].low)


UNSEEN = stats.binomtest(0, 60).proportion_ci(0.95, method="exact").high
"""The share of 60 utterances with one position each that may deviate although none did."""


@pytest.mark.parametrize(
    ("name", "ranges", "width"),
    [
        ("top1_agreement", Ranges(), UNSEEN),
        ("union_size", Ranges(4), 8 * UNSEEN),
        ("union_size", Ranges(4, one_vocabulary=True), 4 * UNSEEN),  # between k and 2k
        ("forward_kl", Ranges(), 0.0),
        ("own.x", Ranges(), 0.0),
        ("student_size", Ranges(4, one_vocabulary=True), 0.0),
    ],
)
def test_where_nothing_changed_it_may_have_gone_unobserved(name, ranges, width):
    same = np.full(60, 0.5), np.ones(60, int)
    found = change(same, same, name, ranges=ranges)
    assert (found.value, found.standard_error) == (0.0, 0.0)
    # Each of the positions could have moved from one end of the range to the other, up or down.
    assert (found.low, found.high) == pytest.approx((-width, width))


def test_ends_stay_within_the_largest_change():
    before = np.array([0.0, 0.0, 1.0, 0.0]), np.ones(4, int)
    after = np.array([1.0, 1.0, 1.0, 0.0]), np.ones(4, int)
    found = change(before, after, "top1_agreement")
    assert -1.0 <= found.low < found.value < found.high <= 1.0
    assert change(before, after).high > 1.0  # without a known range


def test_utterances_without_a_position_stay_paired():
    """As of a form ``at_end``: some end in one of the readings only, and some in none."""
    before = np.array([0.9, 0.0, 0.8, 0.0, 0.7]), np.array([1, 0, 1, 0, 1])
    after = np.array([0.8, 0.9, 0.9, 0.0, 0.0]), np.array([1, 1, 1, 0, 0])
    found = change(before, after)
    assert found.value == pytest.approx(2.6 / 3 - 2.4 / 3)
    assert (found.n_positions, found.n_groups) == (3, 4)
    assert found.low < found.value < found.high


def test_other_utterances_are_no_change_and_counted():
    before, after = readings(4, 5, same_positions=True)
    these, those = sums_of(before, keys="abcd"), sums_of(after, keys="abcx")
    (found,) = paired_change(these, those).values()
    assert all(map(math.isnan, (found.value, found.standard_error, found.low, found.high)))
    assert (found.n_positions, found.n_groups) == (0, 0)
    assert found.n_undefined == before[1][3] + after[1][3]
    assert list(paired_change(these, those)) == ["own.x.change"]
    (found,) = paired_change(GroupSums.empty(("own.x",)), those).values()
    assert found.n_undefined == after[1].sum()


def test_a_statistic_without_positions_or_without_an_end():
    nothing = np.zeros(3), np.zeros(3, int)
    some = np.array([1.0, 2.0, 4.0]), np.array([2, 3, 4])
    for pair in ((nothing, some), (some, nothing), (nothing, nothing)):
        found = change(*pair)
        assert math.isnan(found.value)
        assert math.isnan(found.low)
    endless = np.array([1.0, math.inf, 4.0]), np.array([2, 3, 4])
    assert change(some, endless).value == math.inf
    assert math.isnan(change(some, endless).high)
    assert math.isnan(change(endless, endless).value)
    assert math.isnan(change((some[0][:1], some[1][:1]), (some[0][1:2], some[1][1:2])).low)  # one utterance


def test_undefined_positions_of_both_are_counted():
    before = GroupSums(("own.x",), ("a", "b"), np.ones((2, 1)), np.ones((2, 1), int), np.array([[1], [0]]))
    after = GroupSums(("own.x",), ("a", "b"), np.zeros((2, 1)), np.ones((2, 1), int), np.array([[2], [4]]))
    assert paired_change(before, after)["own.x.change"].n_undefined == 7


def test_other_statistics_are_refused():
    before, after = readings(4, 5, same_positions=True)
    with pytest.raises(ValueError, match=r"expected the statistics \['own.x'\] after as before, received \['own.y'\]"):
        paired_change(sums_of(before), sums_of(after, "own.y"))
    with pytest.raises(ValueError, match="level: expected a coverage between 0 and 1"):
        change(before, after, level=95)


@given(st.integers(0, 10_000), st.integers(3, 30), st.booleans())
@settings(max_examples=30, deadline=None)
def test_back_is_the_negative_of_there(seed, n, same):
    before, after = readings(n, seed, same_positions=same)
    there, back = change(before, after, draws=200), change(after, before, draws=200)
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low))
    assert there.low <= there.value <= there.high
    assert change(before, after, draws=200) == there


@given(st.integers(0, 10_000), st.integers(3, 20), st.floats(0.1, 10), st.floats(-5, 5))
@settings(max_examples=30, deadline=None)
def test_a_level_that_both_share_makes_no_difference(seed, n, scale, level):
    before, after = readings(n, seed, same_positions=True)
    plain = change(before, after, draws=100)
    moved = [(scale * sums + level * counts, counts) for sums, counts in (before, after)]
    found = change(moved[0], moved[1], draws=100)
    theirs = [scale * part for part in (plain.value, plain.low, plain.high)]
    assert (found.value, found.low, found.high) == pytest.approx(theirs, rel=1e-6, abs=1e-9)


@given(st.integers(0, 10_000), st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_the_order_of_positions_makes_no_difference(seed, order):
    before, after = readings(8, seed, same_positions=True)
    names = np.repeat([f"u{i}" for i in range(8)], before[1])
    values = [np.repeat(sums / counts, counts) for sums, counts in (before, after)]
    mixed = np.random.default_rng(order).permutation(len(names))
    ours, theirs = (
        paired_change(*(GroupSums.from_values({"own.x": one[rows]}, names[rows]) for one in values), draws=50)
        for rows in (np.arange(len(names)), mixed)
    )
    (one,), (other,) = ours.values(), theirs.values()
    assert (one.low, one.value, one.high) == pytest.approx((other.low, other.value, other.high))


def agreement(n: int, generator: np.random.Generator) -> tuple[Reading, Reading, float]:
    """Top-1 agreement on the same positions: 5 % of them come to agree, 2 % cease to."""
    lengths = generator.integers(4, 20, n)
    easy = generator.beta(4, 1, n)
    before, after = [], []
    for p, length in zip(easy, lengths, strict=True):
        had = generator.random(length) < p
        moved = np.where(had, generator.random(length) > 0.02, generator.random(length) < 0.2)
        before.append(had.sum())
        after.append(moved.sum())
    # E beta(4, 1) = 0.8: 0.2 of the rest is won, 0.02 of the agreeing is lost.
    return (np.array(before), lengths), (np.array(after), lengths), 0.2 * 0.2 - 0.8 * 0.02


def variation(n: int, generator: np.random.Generator) -> tuple[Reading, Reading, float]:
    """Total variation on rollouts whose lengths change, with hard and easy utterances and bursts of change."""
    level, drift = generator.gamma(1.0, 0.15, n), -0.01 * generator.exponential(1.0, n)
    lengths = generator.integers(4, 20, n)
    others = np.maximum(2, lengths + generator.integers(-2, 3, n))
    before = [generator.normal(x, 0.1, m).sum() for x, m in zip(level, lengths, strict=True)]
    after = [generator.normal(x + d, 0.1, m).sum() for x, d, m in zip(level, drift, others, strict=True)]
    return (np.array(before), lengths), (np.array(after), others), -0.01


def endings(n: int, generator: np.random.Generator) -> tuple[Reading, Reading, float]:
    """End of text: of the 70 % that end, 5 % cease to; of the rest, 30 % come to."""
    had = generator.random(n) < 0.7
    has = np.where(had, generator.random(n) > 0.05, generator.random(n) < 0.3)
    ones = np.ones(n, int)
    return (had.astype(float), ones), (has.astype(float), ones), 0.3 * 0.3 - 0.7 * 0.05


KINDS: dict[Callable, str] = {agreement: "top1_agreement", variation: "own.x", endings: "end_of_text"}


def coverage(kind: Callable, n: int, repeats: int, draws: int) -> float:
    inside = 0
    for seed in range(repeats):
        before, after, truth = kind(n, np.random.default_rng([seed, n]))
        found = change(before, after, KINDS[kind], draws=draws)
        inside += found.low <= truth <= found.high
    return inside / repeats


def ended(n: int, came: int, ceased: int):
    """The change of the share that ends where so many utterances came to end and so many ceased to."""
    before, after = np.zeros(n), np.zeros(n)
    before[:ceased] = after[ceased : ceased + came] = 1
    ones = np.ones(n, int)
    return change((before, ones), (after, ones), "end_of_text", draws=500)


def test_the_direction_that_no_utterance_took_stays_open():
    """One of 20 ceased to end and none came to: so few do not exclude that one in twenty comes to."""
    fell, rose = ended(20, 0, 1), ended(20, 1, 0)
    assert fell.value == pytest.approx(-0.05)
    unseen = stats.binomtest(0, 20).proportion_ci(0.95, method="exact").high
    assert fell.value + unseen < fell.high < fell.value + 1.2 * unseen
    assert (rose.low, rose.high) == pytest.approx((-fell.high, -fell.low))
    # Without limits, and where most utterances changed, the resamples decide alone.
    before, after = np.arange(20) / 40, np.arange(20) / 40 - 0.2 / (1 + np.arange(20))
    ones = np.ones(20, int)
    assert change((before, ones), (after, ones), "total_variation").high < 0
    assert change((np.eye(1, 20)[0], ones), (np.zeros(20), ones)).high < fell.high


@pytest.mark.parametrize(("n", "came", "ceased"), [(20, 0.09, 0.035), (40, 0.09, 0.035), (40, 0.03, 0.03)])
def test_intervals_of_shares_cover_by_all_that_can_happen(n, came, ceased):
    """Coverage without simulation: the probability of all outcomes whose interval has the true change."""
    covered = total = 0.0
    for won in range(n):
        for lost in range(n - won):
            p = stats.multinomial.pmf([won, lost, n - won - lost], n, [came, ceased, 1 - came - ceased])
            if p > 1e-3:
                found, total = ended(n, won, lost), total + p
                covered += p * (found.low <= came - ceased <= found.high)
    assert covered / total > 0.93


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_intervals_cover(kind):
    assert 0.88 <= coverage(kind, 40, 250, 400) <= 1.0


@pytest.mark.slow
@pytest.mark.parametrize("n", [20, 40, 80])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_intervals_cover_slowly(kind, n):
    """`pytest -m slow tests/overlap/estimates/test_paired_change.py -s` prints the coverage."""
    found = coverage(kind, n, 2000, 1000)
    print(f"{kind.__name__}, {n} utterances: {100 * found:.1f} %")
    assert 0.92 <= found <= 0.99
