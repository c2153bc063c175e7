"""Sign agreement, runs of low KL, excess and deficit: cases worked out by hand, and loops in float64."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from overlap.errors import UserError
from overlap.signal import (
    LowKlSettings,
    Verdict,
    equal_bins,
    low_kl_runs,
    set_variation,
    sign_agreement,
    utterance_signal,
    written_variation,
)


def test_sign_agreement_by_hand():
    # a: D −3, −1, −2 has advantages −1, 1, 0; rates 0.4, 0, 0.2 have accuracies −0.2, 0.2, 0: two agree, one ties.
    # b: the teacher prefers the worse one: neither agrees. c: equal rates tie. d is alone. e holds an infinite sum.
    utterances = [*"aaa", *"bb", *"cc", "d", *"ee"]
    ratios = [-3, -1, -2, -5, -4, -1, -2, -9, -math.inf, -1]
    wrong = [2, 0, 1, 0, 1, 1, 1, 0, 3, 0]
    found = sign_agreement(ratios, utterances=utterances, errors=wrong, words=np.full(10, 5))
    assert found.estimate.value == 2 / 4
    assert (found.n_ties, found.n_single, found.n_undefined) == (3, 1, 2)
    assert (found.estimate.n_positions, found.estimate.n_groups, found.estimate.n_undefined) == (4, 2, 6)
    assert found.over == "utterances"


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_sign_agreement_by_a_loop(seed):
    generator = np.random.default_rng(seed)
    own = generator.integers(8, size=30)
    ratios, wrong = generator.integers(-4, 0, 30).astype(float), generator.integers(0, 3, 30)
    agree, tie, alone = [], 0, 0
    for row in range(30):
        mates = np.flatnonzero(own == own[row])
        first = len(mates) * ratios[row] - ratios[mates].sum()  # whole numbers: no rounding decides what is a tie
        second = wrong[mates].sum() - len(mates) * wrong[row]
        if len(mates) < 2:
            alone += 1
        elif first == 0 or second == 0:
            tie += 1
        else:
            agree.append((first > 0) == (second > 0))
    found = sign_agreement(ratios, utterances=own, errors=wrong, words=np.full(30, 7), draws=20)
    assert found.estimate.value == pytest.approx(np.mean(agree) if agree else math.nan, nan_ok=True)
    assert (found.n_ties, found.n_single) == (tie, alone)
    shifted = sign_agreement(ratios - 100 * own, utterances=own, errors=wrong, words=np.full(30, 7), draws=20)
    assert shifted.estimate.value == pytest.approx(found.estimate.value, nan_ok=True)


def test_sign_agreement_of_all_leaves_what_as_many_utterances_do():
    """Both rollouts of an utterance agree together: 20 utterances are worth 20 trials, not 40."""
    own = np.repeat(np.arange(20), 2)
    ratios = np.tile([-1.0, -2.0], 20)
    found = sign_agreement(ratios, utterances=own, errors=np.tile([0, 1], 20), words=np.full(40, 4)).estimate
    exact = stats.binomtest(20, 20).proportion_ci(method="exact")
    assert (found.value, found.low, found.high) == pytest.approx((1.0, exact.low, 1.0))


def test_sign_agreement_refuses_other_lengths():
    with pytest.raises(UserError, match="log_ratios: expected one value for each of the 2 transcripts"):
        sign_agreement([1.0], utterances=["a", "a"], errors=[0, 1], words=[5, 5])


SHORT = LowKlSettings(window=2, share=0.5, patience=2, history=50, least_history=3)


def test_low_kl_by_hand():
    kl = np.array([[4.0, 2.0, 2.0, 4.0, 4.0], [1.0, 1.0, 1.0, 9.0, np.nan], [9.0, np.nan, 1.0, 1.0, 1.0]])
    found = low_kl_runs(kl, SHORT)
    nan = math.nan
    assert np.allclose(found.windowed[0], [nan, 3, 2, 3, 4], equal_nan=True)
    assert np.allclose(found.windowed[2], [nan, nan, 5, 1, 1], equal_nan=True)  # positions without a KL are passed over
    # Row 1 is held against the median of 3, 2, 3, 4; row 2 against that of these with 1, 1, 5.
    assert np.allclose(found.thresholds, [nan, 3.0, 3.0], equal_nan=True)
    assert found.in_run.tolist()[1] == [False, True, True, False, False]
    assert found.starts.tolist() == [-1, 1, 3]
    assert np.allclose(found.share, [nan, 2 / 3, 2 / 3], equal_nan=True)
    assert found.n_positions.tolist() == [5, 4, 4]
    assert found.history.tolist() == [3, 2, 3, 4, 1, 1, 5, 5, 1, 1]


@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_low_kl_by_a_loop(seed, window, patience):
    generator = np.random.default_rng(seed)
    kl = generator.exponential(size=(12, 20))
    kl[np.arange(20) >= generator.integers(0, 21, 12)[:, None]] = np.nan
    chosen = LowKlSettings(window=window, share=0.4, patience=patience, history=40, least_history=10)
    found = low_kl_runs(kl, chosen)
    past: list[float] = []
    for row, values in enumerate(kl):
        values = values[~np.isnan(values)]
        means = [math.fsum(values[i - window + 1 : i + 1]) / window for i in range(window - 1, len(values))]
        if len(past) >= 10:
            low = [mean < np.quantile(past[-40:], 0.4) for mean in means]
            for i in range(len(low)):
                reach = [range(s, s + patience) for s in range(max(0, i - patience + 1), i + 1)]
                inside = any(r.stop <= len(low) and all(low[j] for j in r) for r in reach)
                assert found.in_run[row, i + window - 1] == inside
        else:
            assert not found.in_run[row].any()
        past += means
    halves = low_kl_runs(kl[:5], chosen)
    rest = low_kl_runs(kl[5:], chosen, history=halves.history)
    assert (np.concatenate([halves.in_run, rest.in_run]) == found.in_run).all()
    assert np.allclose(rest.history, found.history)


def test_share_in_low_runs_is_controlled_for_length():
    """KL falls with the position and errors come with length; within a length runs say nothing."""
    generator = np.random.default_rng(0)
    length = generator.integers(16, 60, 400)
    kl = generator.exponential(size=(400, 60)) * np.exp(-np.arange(60) / 20)
    kl[np.arange(60) >= length[:, None]] = np.nan
    runs = low_kl_runs(kl, LowKlSettings(share=0.3))
    wrong = (generator.random(400) < (length - 10) / 55).astype(int)
    columns = {"own.low_kl_share": runs.share}
    given = {"errors": wrong, "words": length, "lower_is_better": ["own.low_kl_share"], "draws": 100}
    plain = utterance_signal(columns, **given)["own.low_kl_share"]
    controlled = utterance_signal(columns, strata=equal_bins(runs.n_positions, 20), **given)["own.low_kl_share"]
    assert plain.verdict is Verdict.CARRIES_SIGNAL
    assert controlled.verdict is Verdict.NO_USEFUL_SIGNAL


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window": 0}, "LowKlSettings: expected window, patience and least_history of at least 1"),
        ({"history": 10}, "a history of at least least_history"),
        ({"share": 1.0}, "share: expected a quantile between 0 and 1, received 1.0"),
    ],
)
def test_settings_of_low_kl(change, message):
    with pytest.raises(UserError, match=message):
        LowKlSettings(**change)


def test_low_kl_needs_two_axes():
    with pytest.raises(UserError, match="kl: expected rollouts × positions"):
        low_kl_runs(np.zeros(4))


def softmax(row):
    largest = max(row)
    powers = [math.exp(value - largest) for value in row]
    return [power / math.fsum(powers) for power in powers]


@given(st.integers(0, 10_000), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_excess_and_deficit_by_a_loop(seed, k):
    generator = np.random.default_rng(seed)
    student, teacher = 3 * generator.normal(size=(2, 5, 8))
    written = generator.integers(8, size=5)
    log_p, log_q = (torch.tensor(scores).log_softmax(-1) for scores in (student, teacher))
    at = torch.tensor(written)[:, None]
    found = written_variation(log_p.gather(1, at)[:, 0].numpy(), log_q.gather(1, at)[:, 0].numpy())
    of_student, of_teacher = log_p.topk(k).indices, log_q.topk(k).indices
    valid = generator.random((5, k)) < 0.8
    on_sets = set_variation(
        log_p.gather(1, of_student).numpy(),
        log_q.gather(1, of_student).numpy(),
        log_p.gather(1, of_teacher).numpy(),
        log_q.gather(1, of_teacher).numpy(),
        student_valid=valid,
    )
    for row in range(5):
        p, q = softmax(student[row]), softmax(teacher[row])
        y = written[row]
        assert found.excess[row] == pytest.approx(max(p[y] - q[y], 0), abs=1e-14)
        assert found.deficit[row] == pytest.approx(max(q[y] - p[y], 0), abs=1e-14)
        best_p, best_q = (sorted(range(8), key=lambda i: -side[i])[:k] for side in (p, q))
        kept = [v for v, there in zip(best_p, valid[row], strict=True) if there]
        assert on_sets.excess[row] == pytest.approx(math.fsum(max(p[v] - q[v], 0) for v in kept), abs=1e-14)
        assert on_sets.deficit[row] == pytest.approx(math.fsum(max(q[v] - p[v], 0) for v in best_q), abs=1e-14)
        distance = math.fsum(abs(a - b) for a, b in zip(p, q, strict=True)) / 2
        assert on_sets.excess[row] <= distance + 1e-14


def test_nearly_equal_probabilities_and_zeros():
    found = written_variation(
        np.array([-0.5, -math.inf, -math.inf, math.nan]), np.array([-0.5 - 1e-12, -1, -math.inf, -1])
    )
    assert found.excess[0] == pytest.approx(math.exp(-0.5) * 1e-12, rel=1e-3)
    assert found.deficit.tolist()[:3] == pytest.approx([0.0, math.exp(-1), 0.0])
    assert found.excess.tolist()[1:3] == [0.0, 0.0]
    assert math.isnan(found.excess[3])
    assert math.isnan(found.deficit[3])


def test_messages_of_variation():
    with pytest.raises(UserError, match=r"logprobs: expected one shape .* received \[2\], \[3\]"):
        written_variation(np.zeros(2), np.zeros(3))
    with pytest.raises(UserError, match="logprobs: expected logarithms of probabilities, at most 0"):
        written_variation(np.array([0.5]), np.array([-1.0]))
    with pytest.raises(UserError, match=r"and \[3\]"):
        set_variation(*[np.full((1, 2), -1.0)] * 4, student_valid=np.ones(3, bool))
