"""Fixed-context gain against plain NumPy, its rank correlations against scipy on the resamples themselves."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from overlap import measure
from overlap.statistics.gain import FixedContextGain, fixed_context_gain, position_gain_correlations


def checkpoints(shape=(7, 5), seed=0, mask=None, step=0.6):
    generator = torch.Generator().manual_seed(seed)
    teacher = torch.randn(*shape, 12, generator=generator)
    away = torch.randn(*shape, 12, generator=generator)
    before = measure(teacher + away, teacher, k=3, mask=mask)
    return before, measure(teacher + (1 - step) * away, teacher, k=3, mask=mask)


def test_gain_is_the_paired_fall_over_positions():
    mask = torch.rand(7, 5, generator=torch.Generator().manual_seed(1)) < 0.8
    before, after = checkpoints(mask=mask)
    gain = fixed_context_gain(before, after)
    fall = (before.forward_kl - after.forward_kl)[mask].double()
    assert gain.estimate.value == pytest.approx(fall.mean().item(), rel=1e-6)
    assert 0 < gain.estimate.low < gain.estimate.value < gain.estimate.high
    assert (gain.estimate.n_positions, gain.estimate.n_groups) == (int(mask.sum()), int(mask.any(-1).sum()))
    assert gain.before.value - gain.after.value == pytest.approx(gain.estimate.value, rel=1e-6)
    assert gain.values.isnan().equal(~mask)
    back = fixed_context_gain(after, before)
    assert back.estimate.value == pytest.approx(-gain.estimate.value)
    assert fixed_context_gain(before, before).estimate.value == 0.0


def test_groups_are_resampled_as_wholes():
    before, after = checkpoints((8, 5))
    by_row = fixed_context_gain(before, after).estimate
    halves = fixed_context_gain(before, after, groups=["a"] * 4 + ["b"] * 4).estimate
    assert (by_row.n_groups, halves.n_groups) == (8, 2)
    assert halves.value == by_row.value


def test_undefined_in_either_or_infinite_in_both_is_counted():
    before, after = checkpoints((1, 6))
    inf, nan = math.inf, math.nan
    before = replace(before, union_kl=torch.tensor([[1.0, nan, 2.0, inf, inf, 3.0]]))
    after = replace(after, union_kl=torch.tensor([[0.5, 1.0, nan, inf, 1.0, 1.0]]))
    gain = fixed_context_gain(before, after, statistic="union_kl", groups=torch.arange(6)[None])
    torch.testing.assert_close(gain.values, torch.tensor([[0.5, nan, nan, nan, inf, 2.0]]), equal_nan=True)
    assert (gain.estimate.n_positions, gain.estimate.n_undefined) == (3, 3)
    assert gain.estimate.value == inf
    assert gain.before.n_positions == gain.after.n_positions == 3


def test_refusals():
    before, after = checkpoints()
    with pytest.raises(
        ValueError, match=r"after: expected shape \(7, 5\) like before, received \(7, 4\); measure both"
    ):
        fixed_context_gain(before, checkpoints((7, 4))[1])
    with pytest.raises(ValueError, match="after: expected k 3 like before, received 2"):
        fixed_context_gain(before, replace(after, k=2))
    with pytest.raises(ValueError, match=r"after: expected temperature 1.0 like before, received 2.0"):
        fixed_context_gain(before, replace(after, temperature=2.0))
    mask = after.mask.clone()
    mask[0, 0] = False
    with pytest.raises(ValueError, match="after: its mask differs from before's at 1 of 35 positions"):
        fixed_context_gain(before, replace(after, mask=mask))
    elsewhere = checkpoints(seed=9)[1]
    with pytest.raises(ValueError, match=r"teacher_entropy differs from before's by .* nats at the median position"):
        fixed_context_gain(before, elsewhere)
    assert math.isfinite(fixed_context_gain(before, elsewhere, same_teacher=None).estimate.value)
    with pytest.raises(ValueError, match="statistic: 'kl' is unknown; there are student_size, "):
        fixed_context_gain(before, after, statistic="kl")


def test_correlation_against_scipy():
    mask = torch.rand(30, 6, generator=torch.Generator().manual_seed(1)) < 0.8
    before, after = checkpoints((30, 6), mask=mask)
    gain = fixed_context_gain(before, after)
    found = position_gain_correlations(before, gain, draws=50)
    assert list(found) == list(before.values())
    outcome = gain.values[mask].numpy()
    for name in ("forward_kl", "teacher_mass", "intersection_size", "overlap_advantage"):
        score = before.values()[name][mask].numpy()
        both = ~np.isnan(score)
        assert found[name].value == pytest.approx(spearmanr(score[both], outcome[both]).statistic, abs=1e-12)
        assert found[name].n_positions == both.sum()
        assert found[name].n_undefined == mask.sum() - both.sum()
    assert found["overlap_advantage"].n_undefined > 0
    assert found["forward_kl"].low <= found["forward_kl"].value <= found["forward_kl"].high
    assert math.isnan(found["student_size"].value)  # always k, so there is nothing to correlate
    assert math.isnan(found["student_logprob"].value)
    assert found["student_logprob"].n_positions == 0


@given(seed=st.integers(0, 2**16), n=st.integers(2, 12), distinct=st.integers(1, 6))
@settings(deadline=None, max_examples=50)
def test_interval_is_scipys_correlation_on_each_resample(seed, n, distinct):
    rng = np.random.default_rng(seed)
    member = np.sort(rng.integers(n, size=4 * n))
    score, outcome = rng.integers(distinct, size=(2, 4 * n)).astype(np.float32)
    before = replace(checkpoints((4 * n,))[0], jaccard=torch.tensor(score))
    whole = fixed_context_gain(before, before)
    gain = replace(whole, values=torch.tensor(outcome))
    found = position_gain_correlations(before, gain, statistics=["jaccard"], groups=member, draws=20, seed=seed)[
        "jaccard"
    ]
    keys, number = np.unique(member, return_inverse=True)
    again = np.random.default_rng(seed)
    drawn = []
    for _ in range(20):
        positions = np.concatenate([np.flatnonzero(number == g) for g in again.integers(len(keys), size=len(keys))])
        if len(set(score[positions])) > 1 and len(set(outcome[positions])) > 1:
            drawn.append(spearmanr(score[positions], outcome[positions]).statistic)
    if len(keys) > 1 and len(drawn) > 1:
        assert found.standard_error == pytest.approx(np.std(drawn, ddof=1), abs=1e-12)
        assert (found.low, found.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=1e-12)
    else:
        assert math.isnan(found.low)


def test_interval_covers_the_true_correlation():
    rng = np.random.default_rng(4)
    template = checkpoints((150,))[0]
    truth = 6 / math.pi * math.asin(0.5 / 2)  # Spearman's ρ of a normal pair whose Pearson correlation is 0.5
    groups = np.repeat(np.arange(30), 5)
    covered = 0
    for trial in range(150):
        shared = rng.normal(size=(30, 2))[groups] * math.sqrt(0.4) + rng.normal(size=(150, 2)) * math.sqrt(0.6)
        x, y = shared[:, 0], 0.5 * shared[:, 0] + math.sqrt(0.75) * shared[:, 1]
        before = replace(template, jaccard=torch.tensor(x))
        gain = replace(fixed_context_gain(before, before), values=torch.tensor(y))
        item = position_gain_correlations(
            before, gain, statistics=["jaccard"], groups=groups, draws=200, level=0.9, seed=trial
        )["jaccard"]
        covered += item.low <= truth <= item.high
    assert 0.82 <= covered / 150 <= 0.96


def test_correlation_refusals():
    before, after = checkpoints()
    gain = fixed_context_gain(before, after)
    assert isinstance(gain, FixedContextGain)
    with pytest.raises(ValueError, match="before: has other positions than the gain"):
        position_gain_correlations(checkpoints((7, 4))[0], gain)
    with pytest.raises(ValueError, match="statistic: 'x' is unknown"):
        position_gain_correlations(before, gain, statistics=["x"])
    with pytest.raises(ValueError, match="level: expected a coverage between 0 and 1"):
        position_gain_correlations(before, gain, level=95)
    with pytest.raises(ValueError, match="draws: expected at least 2 resamples, received 1"):
        position_gain_correlations(before, gain, draws=1)
