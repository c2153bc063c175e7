"""Statistics that loops cannot flatter: restricted to what a rollout does not repeat, against a search by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from overlap import measure
from overlap.definitions.forms import FORMS
from overlap.errors import UserError
from overlap.statistics.forms import form_estimates, form_masks, form_sums
from overlap.statistics.repeats import before_repeats, without_repeats


def repeated_by_hand(tokens, n):
    """Positions in a sequence of n tokens that also begins elsewhere, by comparing every pair of places."""
    places = range(len(tokens) - n + 1)
    starts = [i for i in places if any(i != j and tokens[i : i + n] == tokens[j : j + n] for j in places)]
    return {position for start in starts for position in range(start, start + n)}


@given(rows=st.lists(st.lists(st.integers(0, 3), min_size=0, max_size=14), min_size=1, max_size=4), n=st.integers(1, 5))
def test_every_position_in_a_repeated_sequence_is_found(rows, n):
    length = max(map(len, rows)) + 1
    tokens = torch.tensor([row + [3] * (length - len(row)) for row in rows])
    mask = torch.arange(length) < torch.tensor([len(row) for row in rows])[:, None]
    outside, before = without_repeats(tokens, mask, n), before_repeats(tokens, mask, n)
    for row, ids in enumerate(rows):
        found = repeated_by_hand(ids, n)
        first = min(found, default=len(ids))
        assert outside[row].nonzero().flatten().tolist() == [i for i in range(len(ids)) if i not in found]
        assert before[row].nonzero().flatten().tolist() == list(range(first))
    assert not (before & ~outside).any()


@pytest.mark.parametrize("period", range(1, 12))
def test_a_loop_adds_nothing(period):
    """Eight honest positions at agreement 0.5 and two hundred looping ones at 1: the plain mean says 0.98."""
    honest, loop = list(range(100, 108)), [i % period for i in range(200)]
    tokens = torch.tensor([honest + loop])
    mask = torch.ones_like(tokens, dtype=torch.bool)
    agreement = torch.tensor([[0.0, 1.0] * 4 + [1.0] * 200])
    masks = form_masks(tokens, mask, torch.tensor([False]))
    sums = form_sums({"top1_agreement": agreement}, masks, ["one"], used=mask)
    found = form_estimates([sums])
    assert agreement.mean() > 0.98
    for form in ("before_repeats", "without_repeats"):
        assert found[f"top1_agreement.{form}"].value == 0.5
        assert found[f"top1_agreement.{form}"].n_positions == 8


def test_what_follows_a_loop_counts_again():
    tokens = torch.tensor([[1, 2, 9, 9, 9, 9, 9, 9, 3, 4]])
    mask = torch.ones_like(tokens, dtype=torch.bool)
    assert without_repeats(tokens, mask).int().tolist() == [[1, 1, 0, 0, 0, 0, 0, 0, 1, 1]]
    assert before_repeats(tokens, mask).int().tolist() == [[1, 1, 0, 0, 0, 0, 0, 0, 0, 0]]


def test_forms_are_means_over_their_positions():
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(3, 7, 20, generator=generator) for _ in range(2))
    tokens = torch.randint(0, 2, (3, 7), generator=generator)
    lengths = torch.tensor([7, 5, 2])
    mask = torch.arange(7) < lengths[:, None]
    finished, teacher_lengths = torch.tensor([True, False, True]), torch.tensor([4, -1, 9])
    statistics = measure(student, teacher, k=3, mask=mask, ends=[0])
    used = mask & (torch.arange(7) != 1)
    masks = form_masks(tokens, mask, finished, teacher_lengths=teacher_lengths, n=2)
    sums = form_sums(statistics.values(), masks, ["a", "b", "c"], used=used)
    found = form_estimates([sums])
    assert set(found) == {f"{name}.{form}" for form, names in FORMS.items() for name in names}
    p = student.softmax(-1)[..., 0]
    assert found["student_end_mass.at_end"].value == pytest.approx(
        float((p[0, 6] + p[2, 1] * 0) / 1)
    )  # c's is not used
    past = p[0, 4:7]  # b's teacher did not end, c is shorter than its teacher's
    assert found["student_end_mass.past_teacher"].value == pytest.approx(float(past.mean()))
    kept = used & without_repeats(tokens, mask, 2)
    expected = statistics.jensen_shannon[kept].double().mean()
    assert found["jensen_shannon.without_repeats"].value == pytest.approx(float(expected), nan_ok=True)


def test_measured_statistics_give_their_forms():
    generator = torch.Generator().manual_seed(1)
    student, teacher = (torch.randn(2, 9, 20, generator=generator) for _ in range(2))
    tokens = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8, 0], [9, 9, 9, 9, 9, 9, 9, 9, 9]])
    statistics = measure(student, teacher, k=3, ends=[0])
    found = statistics.forms(tokens, torch.tensor([True, False]), teacher_lengths=torch.tensor([9, 4]))
    assert set(found) == {f"{name}.{form}" for form, names in FORMS.items() for name in names}
    expected = statistics.total_variation[0].double().mean()
    assert found["total_variation.without_repeats"].value == pytest.approx(float(expected))
    past = student[1, 4:].softmax(-1)[:, 0].double().mean()
    assert found["student_end_mass.past_teacher"].value == pytest.approx(float(past))
    message = r"expected tokens \[2, 9\] as measured and finished \[2\], received \[2, 8\] and \[2\]"
    with pytest.raises(UserError, match=message):
        statistics.forms(tokens[:, 1:], torch.tensor([True, False]))


def test_sums_of_batches_add_up_and_a_form_without_positions_is_undefined():
    tokens = torch.tensor([[1, 2, 3, 4]])
    mask = torch.ones_like(tokens, dtype=torch.bool)
    parts = []
    for name, value in (("a", 0.2), ("b", 0.6)):
        masks = form_masks(tokens, mask, torch.tensor([False]))
        values = {"student_end_mass": torch.full((1, 4), value), "total_variation": torch.full((1, 4), value)}
        parts.append(form_sums(values, masks, [name], used=mask))
    found = form_estimates(parts)
    assert found["total_variation.without_repeats"].value == pytest.approx(0.4)
    assert found["total_variation.without_repeats"].n_groups == 2
    assert math.isnan(found["student_end_mass.at_end"].value)
    assert found["student_end_mass.at_end"].n_positions == 0


def test_what_does_not_fit_is_refused():
    ids = torch.zeros(2, 3, dtype=torch.long)
    with pytest.raises(UserError, match=r"expected \[B, L\] ids and a mask alike, received \[2, 3\] and \[2, 4\]"):
        without_repeats(ids, torch.ones(2, 4, dtype=torch.bool))
    with pytest.raises(UserError, match="n: expected at least 1 token, received 0"):
        before_repeats(ids, torch.ones(2, 3, dtype=torch.bool), 0)
