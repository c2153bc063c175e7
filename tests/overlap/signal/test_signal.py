"""Readings and verdicts of signal, against loops, scipy and cases worked out by hand."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score
from statsmodels.stats.multitest import multipletests

from overlap.errors import UserError
from overlap.estimates.estimate import Estimate
from overlap.signal import Verdict, equal_bins, rollout_signal, utterance_signal
from overlap.signal.correlation import rank_correlation_within
from overlap.signal.verdict import holm, verdict_of
from tests.overlap.signal.samples import errors, rollouts


def signal(values, wrong, words=None, **options):
    words = np.full(len(wrong), 10) if words is None else words
    return utterance_signal({"s": values}, errors=wrong, words=words, draws=200, **options)["s"]


def test_by_hand():
    found = signal([-0.1, -0.3, -0.5, -0.4, -0.9], [0, 0, 1, 2, 4], [5, 5, 10, 5, 5])
    assert found.informativeness.value == pytest.approx(-0.2 + 0.6)
    assert found.auroc.value == 1.0
    # Ranks of values 5 4 2 3 1, of error rates (0, 0, 0.1, 0.4, 0.8) 1.5 1.5 3 4 5.
    a, b = np.array([2, 1, -1, 0, -2]), np.array([-1.5, -1.5, 0, 1, 2])
    assert found.spearman.value == pytest.approx((a @ b) / math.sqrt((a @ a) * (b @ b)))
    assert (found.n_right, found.n_wrong, found.auroc.n_positions, found.auroc.n_groups) == (2, 3, 5, 5)


@given(st.integers(0, 10_000), st.integers(6, 60))
@settings(max_examples=12, deadline=None)
def test_against_scipy_and_scikit_learn(seed, n):
    values, wrong, words, _ = errors(np.random.default_rng(seed), n, 0.5, -2.5)
    found = signal(values, wrong, words)
    right = wrong == 0
    if 0 < right.sum() < n:
        assert found.auroc.value == pytest.approx(roc_auc_score(right, values))
        assert found.informativeness.value == pytest.approx(values[right].mean() - values[~right].mean())
    if len(set(wrong / words)) > 1:
        assert found.spearman.value == pytest.approx(stats.spearmanr(values, wrong / words).statistic)
    order = np.random.default_rng(seed).permutation(n)
    other = signal(values[order], wrong[order], words[order])
    assert vars(other.auroc) == pytest.approx(vars(found.auroc), nan_ok=True)
    assert vars(other.spearman) == pytest.approx(vars(found.spearman), nan_ok=True)
    assert other.verdict == found.verdict


def test_lower_is_better_turns_the_area_around_and_nothing_else():
    values, wrong, words, _ = errors(np.random.default_rng(3), 60, 0.6, -2.5)
    columns = {"reverse_kl": -values, "own.same": values, "fixed.reverse_kl": -values}
    found = utterance_signal(columns, errors=wrong, words=words)
    assert [one.better for one in found.values()] == ["lower", "higher", "lower"]
    assert found["reverse_kl"].auroc == found["own.same"].auroc == found["fixed.reverse_kl"].auroc
    assert found["reverse_kl"].informativeness.value == pytest.approx(-found["own.same"].informativeness.value)
    assert found["reverse_kl"].spearman.value == pytest.approx(-found["own.same"].spearman.value)


def test_undefined_values_are_left_out_and_counted():
    values, wrong, words, _ = errors(np.random.default_rng(1), 40, 0.6, -2.5)
    wrong, words = wrong.astype(float), words.astype(float)
    values[3], wrong[7], words[11], wrong[11] = np.nan, np.nan, 0, 0
    found = signal(values, wrong, words)
    keep = np.delete(np.arange(40), [3, 7])
    assert found.auroc.value == pytest.approx(roc_auc_score(wrong[keep] == 0, values[keep]))
    assert (found.auroc.n_undefined, found.spearman.n_undefined, found.spearman.n_positions) == (2, 3, 37)
    assert found.n_right + found.n_wrong == 38
    infinite = signal(np.where(wrong > 2, -math.inf, values), wrong, words)
    assert infinite.informativeness.value == math.inf
    assert 0 < infinite.auroc.low < infinite.auroc.value


@pytest.mark.parametrize("wrong", [np.zeros(12), np.ones(12)])
def test_undefined_where_all_are_right_or_all_are_wrong(wrong):
    found = signal(np.arange(12.0), wrong)
    assert found.verdict is Verdict.UNDEFINED
    assert all(math.isnan(one.value) for one in (found.auroc, found.informativeness))
    assert found.needed is None
    assert "undefined, no right transcript to compare with a wrong one" in str(found)
    assert (found.n_right, found.n_wrong) == ((12, 0) if not wrong.any() else (0, 12))


def one(value, low, high):
    return Estimate(value, 0.1, low, high, 40, 40)


@pytest.mark.parametrize(
    ("value", "p_chance", "p_useful", "verdict"),
    [
        (0.8, 0.01, 0.2, "carries signal"),
        (0.5, 1.0, 0.01, "no useful signal"),
        (0.58, 0.01, 0.01, "no useful signal"),  # certainly some, certainly too little
        (0.6, 0.2, 0.2, "undecided"),
        (0.2, 0.001, 0.001, "no useful signal"),
        (0.9, 0.001, 0.001, "carries signal"),
    ],
)
def test_verdicts(value, p_chance, p_useful, verdict):
    assert verdict_of(one(value, 0.0, 1.0), p_chance, p_useful) == verdict


def test_verdict_of_one_statistic_is_that_of_its_interval():
    for seed in range(25):
        generator = np.random.default_rng(seed)
        values, wrong, words, _ = errors(generator, int(generator.integers(20, 300)), generator.uniform(0, 0.9), -2.5)
        found = signal(values, wrong, words)
        auroc = found.auroc
        expected = (
            Verdict.NO_USEFUL_SIGNAL
            if auroc.high < 0.65
            else Verdict.CARRIES_SIGNAL
            if auroc.low > 0.5
            else Verdict.UNDECIDED
        )
        assert found.verdict is expected
        assert (found.needed is not None) == (expected is Verdict.UNDECIDED)


def test_several_statistics_are_corrected_by_holm():
    assert holm({"a": 0.01, "b": 0.04, "c": math.nan, "d": 0.03}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": math.nan, "d": 0.06}, nan_ok=True
    )
    assert list(holm({"x": math.nan})) == ["x"]
    p = np.random.default_rng(0).random(30) ** 3
    theirs = multipletests(p, method="holm")[1]
    assert list(holm({str(i): float(one) for i, one in enumerate(p)}).values()) == pytest.approx(theirs)
    values, wrong, words, _ = errors(np.random.default_rng(6), 40, 0.6, -2.5)
    generator = np.random.default_rng(0)
    noise = {f"own.noise{i}": generator.normal(size=40) for i in range(19)}
    while utterance_signal({"s": values}, errors=wrong, words=words, draws=2)["s"].verdict != "carries signal":
        values = values - 0.1 * wrong  # until it just does
    many = utterance_signal({"s": values, **noise}, errors=wrong, words=words, draws=50)
    alone = utterance_signal({"s": values}, errors=wrong, words=words, draws=50)["s"]
    assert alone.verdict is Verdict.CARRIES_SIGNAL
    assert alone.p_chance == pytest.approx(many["s"].p_chance / 20)
    assert many["s"].verdict is Verdict.UNDECIDED
    assert many["s"].auroc == alone.auroc


def test_speakers_are_clusters_where_all_are_named_and_enough():
    values, wrong, words, own = errors(np.random.default_rng(4), 120, 0.6, -2.5, speakers=12)
    names = [f"speaker {i}" for i in own]
    by_speaker = signal(values, wrong, words, speakers=names)
    assert (by_speaker.over, by_speaker.auroc.n_groups, by_speaker.spearman.n_groups) == ("speakers", 12, 12)
    assert by_speaker.informativeness.n_groups == 12
    for few in ([None, *names[1:]], [name[:8] for name in names]):
        assert signal(values, wrong, words, speakers=few).over == "utterances"


def test_strata_compare_like_with_like():
    """Longer transcripts have more errors and lower values; within a length the value says nothing."""
    generator = np.random.default_rng(0)
    length = generator.integers(2, 60, size=600)
    wrong = generator.poisson(length * 0.05)
    values = -length / 60 + 0.2 * generator.normal(size=600)
    plain = signal(values, wrong, length)
    controlled = signal(values, wrong, length, strata=equal_bins(length, 40))
    assert plain.verdict is Verdict.CARRIES_SIGNAL
    assert controlled.verdict is Verdict.NO_USEFUL_SIGNAL


def test_equal_bins():
    assert equal_bins([1, 2, 2, 2, 3, 9], 3).tolist() == [0, 0, 0, 0, 2, 2]
    assert len(equal_bins([], 3)) == 0
    with pytest.raises(UserError, match="equal_bins: expected defined values and at least 1 bin, received 0"):
        equal_bins([1.0], 0)


@given(st.integers(0, 10_000), st.integers(3, 15), st.integers(2, 5))
@settings(max_examples=25, deadline=None)
def test_within_utterances_by_loops(seed, utterances, each):
    generator = np.random.default_rng(seed)
    values, good, own = rollouts(generator, utterances, each, 1.0)
    wrong, words = np.where(good, 0, generator.integers(1, 4, size=len(good))), np.full(len(good), 7)
    found = rollout_signal({"s": values}, utterances=own, errors=wrong, words=words, draws=20)["s"]
    differences, won, weighted, pairs = [], [], 0.0, 0
    for utterance in range(utterances):
        rows = np.flatnonzero(own == utterance)
        for i, j in itertools.product(rows[good[rows]], rows[~good[rows]]):
            differences.append(values[i] - values[j])
            won.append(values[i] > values[j])
        rates = wrong[rows] / 7
        informative = sum(a != b for a, b in itertools.combinations(rates, 2))
        if informative:
            weighted += informative * stats.spearmanr(values[rows], rates).statistic
            pairs += informative
    if won:
        assert found.auroc.value == pytest.approx(np.mean(won))
        assert found.informativeness.value == pytest.approx(np.mean(differences))
    else:
        assert found.verdict is Verdict.UNDEFINED
    assert found.spearman.value == pytest.approx(weighted / pairs if pairs else math.nan, nan_ok=True)


def test_within_utterances_difficulty_does_not_confound():
    """Easy utterances have higher values and fewer errors; among rollouts of one, the value says nothing."""
    generator = np.random.default_rng(2)
    hard = np.repeat(generator.random(150), 4)
    wrong = (generator.random(600) < hard).astype(int)
    values = -3 * hard + generator.normal(size=600)
    words = np.full(600, 10)
    assert signal(values, wrong, words).verdict is Verdict.CARRIES_SIGNAL
    own = np.repeat(np.arange(150), 4)
    within = rollout_signal({"s": values}, utterances=own, errors=wrong, words=words)["s"]
    assert within.verdict is Verdict.NO_USEFUL_SIGNAL
    assert within.over == "utterances"
    assert within.auroc.n_groups < 150


def test_jackknife_written_out():
    values, wrong, words, own = errors(np.random.default_rng(9), 40, 0.6, -1.5, speakers=8)
    rate, level = wrong / words, 0.9
    found = rank_correlation_within(values, rate, own, np.zeros(40, int), level=level)
    n = len(set(own))
    left_out = np.arctanh([stats.spearmanr(values[own != k], rate[own != k]).statistic for k in range(n)])
    error = math.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum())
    middle, reach = np.arctanh(stats.spearmanr(values, rate).statistic), stats.t.ppf(0.95, n - 2) * error
    assert (found.low, found.high) == pytest.approx(tuple(np.tanh([middle - reach, middle + reach])))


def test_many_clusters_are_left_out_in_groups(monkeypatch):
    values, wrong, words, own = errors(np.random.default_rng(9), 150, 0.6, -1.5)
    arguments = values, wrong / words, own, np.zeros(150, int)
    each = rank_correlation_within(*arguments, level=0.95)
    monkeypatch.setattr("overlap.signal.correlation.MOST_GROUPS", 50)
    grouped = rank_correlation_within(*arguments, level=0.95)
    assert grouped.value == each.value
    assert grouped.high - grouped.low == pytest.approx(each.high - each.low, rel=0.35)


def test_rank_correlation_without_interval():
    few = rank_correlation_within(np.arange(2.0), np.arange(2.0), np.arange(2), np.zeros(2, int), level=0.95)
    assert few.value == 1.0
    assert math.isnan(few.low)
    constant = rank_correlation_within(np.ones(9), np.arange(9.0), np.arange(9), np.zeros(9, int), level=0.95)
    assert math.isnan(constant.value)
    assert constant.n_positions == 0
    decided_by_one = rank_correlation_within(np.arange(9.0), np.eye(9)[4], np.arange(9), np.zeros(9, int), level=0.95)
    assert math.isfinite(decided_by_one.value)
    assert math.isnan(decided_by_one.low)


def test_words_of_a_reading():
    values, wrong, words, _ = errors(np.random.default_rng(6), 30, 0.45, -2.5)
    assert str(signal(values, wrong, words)).startswith("s: undecided, AUROC 0.")
    assert "would decide)" in str(signal(values, wrong, words))
    wrong_way = signal(np.arange(60.0), np.arange(60) // 30)
    assert "it points the other way" in str(wrong_way)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"words": np.ones(3)}, "words: expected one value for each of the 4 transcripts, received shape \\[3\\]"),
        ({"values": {"s": np.ones(5)}}, "s: expected one value for each of the 4 transcripts, received shape \\[5\\]"),
        ({"errors": [0, 1, -1, 0]}, "errors: expected counts of at least 0, or NaN where they are not known"),
        ({"speakers": ["a"]}, "speakers: expected one for each of the 4 transcripts, received 1"),
        ({"strata": [1, 2]}, "strata: expected one for each of the 4 transcripts, received 2"),
        ({"level": 2}, "level: expected a coverage between 0 and 1"),
        ({"draws": 1}, "draws: expected at least 2 resamples"),
    ],
)
def test_messages(change, message):
    arguments = {"values": {"s": np.arange(4.0)}, "errors": [0, 1, 0, 1], "words": np.full(4, 5)} | change
    with pytest.raises(UserError, match=message):
        utterance_signal(arguments.pop("values"), **arguments)


def test_rollouts_need_utterances():
    with pytest.raises(UserError, match="utterances: expected one for each of the 2 transcripts, received 1"):
        rollout_signal({"s": [1.0, 2.0]}, utterances=["a"], errors=[0, 1], words=[5, 5])
