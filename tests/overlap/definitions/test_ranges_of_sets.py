"""Ranges say what must be: of sets that scores of −inf make smaller, of renamed tokens, of lists of a server."""

import math

import numpy as np
import pytest
import torch

from overlap import OverlapMeter, VocabularyMap, fixed_context_gain, measure, measure_bounds, strata, sweep
from overlap.definitions import Ranges


def logits(seed, *shape, spread=3.0):
    return spread * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def assert_ordered(summary, names):
    for name in names:
        item = summary[name]
        assert item.low <= item.value <= item.high, (name, item)


@pytest.fixture
def few_allowed():
    """Models that allow four tokens of forty, and at one position of the teacher five."""
    student, teacher = (torch.full((6, 5, 40), -math.inf) for _ in "st")
    student[..., :4], teacher[..., :4] = logits(1, 6, 5, 4), logits(2, 6, 5, 4)
    teacher[0, :, 5] = 0.0
    return student, teacher


SIZES = ("union_size", "intersection_size", "student_size", "teacher_size", "overlap_ratio", "jaccard")


def test_sets_that_are_smaller_than_k(few_allowed):
    statistics = measure(*few_allowed, k=8)
    assert not statistics.ranges.full_sets
    summary = statistics.summary()
    assert_ordered(summary, SIZES)
    assert 4 < summary["union_size"].value < summary["union_size"].high < 8
    assert summary["teacher_size"].low < 4 < summary["teacher_size"].value < summary["teacher_size"].high
    assert summary["student_size"].value == 4 < summary["student_size"].high  # not by definition: another row may do so
    assert summary["student_mapped_mass"].low == summary["student_mapped_mass"].high == 1.0


def test_every_way_to_a_summary_knows_that_sets_are_smaller(few_allowed):
    for (k, _), swept in sweep(*few_allowed, ks=(2, 8)).items():
        assert swept.ranges == Ranges(k, 40, True, full_sets=k == 2)
        assert_ordered(swept.summary(), SIZES)
    meters = [OverlapMeter(k=4) for _ in range(3)]
    whole = measure(logits(1, 6, 5, 40), logits(2, 6, 5, 40), k=4)
    student, teacher = (scores.clone() for scores in few_allowed)
    student[2, 3, 2:4] = -math.inf  # in one row alone
    meters[0].update(whole)
    assert meters[0].compute()["student_size"].low == 4.0
    meters[1].update(measure(student, teacher, k=4))
    meters[0].merge(meters[1])
    meters[2].load_state_dict(meters[0].state_dict())
    for meter in meters:
        if meter is not meters[1]:
            assert meter.compute()["student_size"].low < 4.0
        assert_ordered(meter.compute(), SIZES)
    masked = torch.ones(6, 5, dtype=torch.bool)
    masked[2, 3] = False
    assert measure(student, teacher, k=4, mask=masked).ranges.full_sets
    gain = fixed_context_gain(measure(student, teacher, k=8), measure(student, teacher, k=8), statistic="forward_kl")
    assert gain.before.low >= 0.0
    everywhere = strata.Labels("place", ("all",), np.zeros((6, 5), dtype=int))
    frame = strata.by(measure(student, teacher, k=8), everywhere).set_index("statistic")
    sizes = frame.loc[["union_size", "student_size"]]
    assert (sizes["low"] <= sizes["value"]).all()


@pytest.mark.parametrize("blocked", [None, [3]])
def test_the_same_tokens_under_other_ids_are_one_vocabulary(blocked):
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    pairs = torch.stack([torch.arange(20), order], 1)
    table = VocabularyMap.from_pairs(pairs, student_size=20, teacher_size=20)
    statistics = measure(logits(1, 3, 4, 20), logits(2, 3, 4, 20), k=4, vocabulary=table, blocked=blocked)
    assert statistics.ranges == Ranges(4, 20 if blocked is None else 19, True)
    summary = statistics.summary()
    for name, value in (
        ("student_size", 4),
        ("teacher_size", 4),
        ("student_mapped_mass", 1),
        ("teacher_mapped_mass", 1),
    ):
        assert summary[name].low == summary[name].value == summary[name].high == pytest.approx(value, abs=1e-6), name
    assert 4 <= summary["union_size"].low <= summary["union_size"].high <= 8


def test_one_token_that_only_one_of_them_has_makes_two_vocabularies():
    table = VocabularyMap.from_pairs([(i, 19 - i) for i in range(19)], student_size=20, teacher_size=20)
    measured = measure(logits(1, 3, 4, 20), logits(2, 3, 4, 20), k=4, vocabulary=table)
    assert not measured.ranges.one_vocabulary
    shut = measure(logits(1, 3, 4, 20), logits(2, 3, 4, 20), k=4, vocabulary=table, blocked=[19], teacher_blocked=[0])
    assert shut.ranges.one_vocabulary  # of those that take part, all are in both
    student_alone = measure(logits(1, 3, 4, 20), logits(2, 3, 4, 20), k=4, vocabulary=table, teacher_blocked=[0])
    assert not student_alone.ranges.one_vocabulary


@pytest.mark.parametrize("n", [2, 3, 4])
def test_bounds_stay_within_what_k_and_the_vocabulary_allow(n):
    """Few utterances that differ much: Student's t over them reaches far."""
    student, teacher = torch.zeros(n, 3, 60), torch.zeros(n, 3, 60)
    student[..., :4], teacher[..., 10:14] = 5 + logits(1, n, 3, 4).abs(), 5 + logits(2, n, 3, 4).abs()
    student[0] = teacher[0]
    teacher[-1] = 0.0
    listed = teacher.log_softmax(-1).topk(8, -1)
    bounds = measure_bounds(student, listed.indices, listed.values, k=4)
    summary = bounds.summary()
    for name, ends in summary.items():
        least, most = Ranges(4, 60).limits(name)
        for end in ends:
            assert math.isnan(end.low) or least <= end.low <= end.high <= most, (name, end)
    assert summary["union_size"][1].high <= 8.0
    assert summary["teacher_entropy"][1].high <= math.log(60)
    assert bounds.ranges == Ranges(4, 60)


def test_limits_hold_on_all_states_and_at_both_ends():
    ranges = Ranges(4, 60, True)
    for name in ("union_size", "fixed.union_size", "VUSS", "teacher.vuss", "union_size.lower", "fixed.vuss.upper"):
        assert ranges.limits(name) == (4.0, 8.0)
    assert ranges.limits("teacher_entropy.upper") == (0.0, math.log(60))
    assert ranges.limits("own.union_size") == (-math.inf, math.inf)
    assert ranges.certain("fixed.student_size")
    assert not Ranges(4, 60, True, full_sets=False).certain("student_size")
    assert Ranges(4, 60, True, full_sets=False).joined(ranges) == Ranges(4, 60, True, full_sets=False)
    assert Ranges(4, 60, True, full_sets=False).limits("union_size") == (0.0, 8.0)
