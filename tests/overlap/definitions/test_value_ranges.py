"""No interval leaves what its statistic can be, and what is true by definition has none."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from overlap import OverlapMeter, VocabularyMap, fixed_context_gain, measure, strata, sweep
from overlap.definitions import TOKEN_STATISTICS, Ranges
from overlap.estimates.bootstrap import unseen_errors, unseen_share
from overlap.estimates.group_sums import GroupSums
from overlap.estimates.summary import estimate


def logits(seed, *shape, spread=3.0):
    return spread * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def within(summary, ranges):
    for name, item in summary.items():
        least, most = ranges.limits(name)
        for end in (item.low, item.high):
            assert math.isnan(end) or least - 1e-6 <= end <= most + 1e-6, (name, item)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.integers(2, 4), st.integers(1, 5), st.sampled_from([0.1, 3.0, 30.0]))
def test_ends_stay_within_what_k_and_the_vocabulary_allow(seed, n, k, spread):
    student, teacher = logits(seed, n, 3, 11, spread=spread), logits(seed + 1, n, 3, 11, spread=spread)
    within(measure(student, teacher, k=k).summary(draws=200), Ranges(k, 11, True))
    meter = OverlapMeter(k=k, draws=200)
    meter.update(measure(student, teacher, k=k))
    within(meter.compute(), Ranges(k, 11, True))


def test_few_utterances_that_differ_much():
    # two utterances, one in full agreement and one in none: Student's t over them reaches far beyond what can be
    student = logits(1, 2, 4, 12)
    teacher = torch.stack([student[0], -student[1]])
    size = measure(student, teacher, k=4).summary()["union_size"]
    assert (size.low, size.high) == (4.0, 8.0)
    flat = torch.stack([torch.zeros(4, 12), 60 * torch.eye(4, 12)])
    entropy = measure(flat, teacher, k=4).summary()["student_entropy"]
    assert entropy.low == 0.0
    assert entropy.high == pytest.approx(math.log(12))


def test_blocked_tokens_are_in_no_entropy():
    flat = torch.stack([torch.zeros(4, 12), 60 * torch.eye(4, 12)])
    entropy = measure(flat, flat, k=4, blocked=[10, 11]).summary()["student_entropy"]
    assert entropy.high == pytest.approx(math.log(10))


def test_what_holds_by_definition_is_certain():
    scores = logits(2, 3, 4, 12)
    summary = measure(scores, logits(3, 3, 4, 12), k=4).summary()
    for name, value in (
        ("student_size", 4),
        ("teacher_size", 4),
        ("student_mapped_mass", 1),
        ("teacher_mapped_mass", 1),
    ):
        assert (summary[name].low, summary[name].value, summary[name].high) == (value,) * 3


def test_between_two_vocabularies_it_is_measured():
    vocabulary = VocabularyMap(torch.arange(12), torch.tensor([*range(12), -1]))
    summary = measure(logits(2, 3, 4, 12), logits(3, 3, 4, 13), k=4, vocabulary=vocabulary).summary()
    mass = summary["student_mapped_mass"]
    assert mass.low < mass.value == mass.high == 1  # nothing was lost here, which does not say that nothing ever is
    assert summary["student_size"].low < 4 == summary["student_size"].high


def test_every_way_to_a_summary_knows_the_ranges():
    student = logits(1, 2, 4, 12)
    teacher = torch.stack([student[0], -student[1]])
    statistics = measure(student, teacher, k=4)
    for (k, _), swept in sweep(student, teacher, ks=(2, 4), temperatures=(1.0, 2.0)).items():
        assert swept.ranges == Ranges(k, 12, True)
    meters = [OverlapMeter(k=4) for _ in range(3)]
    for row, meter in enumerate(meters[:2]):
        meter.update(measure(student[row : row + 1], teacher[row : row + 1], k=4))
    meters[0].merge(meters[1])
    meters[2].load_state_dict(meters[0].state_dict())
    for meter in (meters[0], meters[2], meters[2].reduce()):
        assert meter.compute()["union_size"] == statistics.summary()["union_size"]
    everywhere = strata.Labels("place", ("all",), np.zeros((2, 4), dtype=int))
    frame = strata.by(statistics, everywhere).set_index("statistic")
    assert frame.loc["union_size", "high"] == 8.0
    gain = fixed_context_gain(statistics, statistics, statistic="total_variation", same_teacher=None)
    assert 0 <= gain.before.low <= gain.before.high <= 1
    kl = fixed_context_gain(statistics, statistics, statistic="forward_kl", same_teacher=None)
    assert kl.before.low >= 0


def test_different_measurements_share_only_what_both_allow():
    assert Ranges(4, 12, True).joined(Ranges(4, 20, True)) == Ranges(4, 20, True)
    assert Ranges(4, 12, True).joined(Ranges(5, 12, False)) == Ranges(None, 12, False)
    assert Ranges(4, None, True).joined(Ranges(4, 12, True)) == Ranges(4, None, True)
    assert set(TOKEN_STATISTICS) >= {name for name in TOKEN_STATISTICS if Ranges(4, 12, True).certain(name)}


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0, 2.0])
def test_an_error_rate_that_never_varies_leaves_open_what_could_have_escaped(value):
    low, high = unseen_errors(value, 20, 200, 0.95)
    share = unseen_share(20, 200, 0.95)
    assert (low, high) == (max(0.0, value - share), value + share)
    assert 0 < share < 0.05


def test_absolute_differences_are_not_negative():
    sums = GroupSums.from_values({"difference": torch.tensor([0.0, 0.0, 0.04, 0.0])}, ["a", "b", "c", "d"])
    assert estimate(sums, limits=(0.0, math.inf))["difference"].low == 0.0
