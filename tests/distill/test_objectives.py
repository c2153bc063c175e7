"""The union objective against autograd through a full-vocabulary masked softmax, in float64."""

import pytest
import torch

import overlap
from distill.objectives import cross_entropy, union_support_kl


def top(scores: list[float], k: int) -> set[int]:
    return set(sorted(range(len(scores)), key=lambda v: (-scores[v], v))[:k])


def oracle(
    student: torch.Tensor, teacher: torch.Tensor, k: int, temperature: float, mask: torch.Tensor
) -> torch.Tensor:
    """τ² KL on the union, by −inf masking of whole-vocabulary softmaxes; sets made by Python's sort."""
    total = torch.zeros((), dtype=torch.float64)
    for index in mask.nonzero().tolist():
        z_s, z_t = student[tuple(index)], teacher[tuple(index)]
        union = top(z_s.tolist(), k) | top(z_t.tolist(), k)
        keep = torch.tensor([v in union for v in range(len(z_s))])
        log_p = torch.log_softmax((z_s.double() / temperature).masked_fill(~keep, -torch.inf), -1)
        log_q = torch.log_softmax((z_t.double() / temperature).masked_fill(~keep, -torch.inf), -1)
        total = total + temperature**2 * (log_q.exp() * (log_q - log_p))[keep].sum()
    return total


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("k", [1, 4, 11])
def test_value_and_gradient_equal_the_full_vocabulary_oracle(k, temperature):
    generator = torch.Generator().manual_seed(k)
    student = (3 * torch.randn(3, 5, 11, generator=generator)).requires_grad_()
    teacher = 3 * torch.randn(3, 5, 11, generator=generator)
    mask = torch.rand(3, 5, generator=generator) < 0.8
    union = overlap.union(overlap.top_k(student.detach(), k), overlap.top_k(teacher, k))
    mask &= union.valid.sum(-1) >= 2
    loss = union_support_kl(student, teacher, union, mask, temperature=temperature)
    (gradient,) = torch.autograd.grad(loss, student)
    expected = oracle(student, teacher, k, temperature, mask)
    (expected_gradient,) = torch.autograd.grad(expected, student)
    torch.testing.assert_close(loss.double(), expected.double(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradient, expected_gradient, atol=1e-5, rtol=0)
    assert (gradient[~mask] == 0).all()


def test_loss_and_gradient_vanish_where_student_is_teacher():
    logits = torch.randn(4, 9).requires_grad_()
    support = overlap.top_k(logits.detach(), 3)
    loss = union_support_kl(logits, logits.detach(), overlap.union(support, support), torch.ones(4, dtype=torch.bool))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == 0.0
    assert gradient.abs().max() < 1e-7


def test_masked_positions_may_hold_anything():
    student, teacher = torch.randn(2, 6), torch.randn(2, 6)
    union = overlap.union(overlap.top_k(student, 2), overlap.top_k(teacher, 2))
    student[1] = torch.nan
    student.requires_grad_()
    mask = torch.tensor([True, False])
    (gradient,) = torch.autograd.grad(union_support_kl(student, teacher, union, mask), student)
    assert torch.isfinite(gradient).all()


def test_no_counted_position_gives_zero_with_a_graph():
    student = torch.randn(2, 6, requires_grad=True)
    union = overlap.union(overlap.top_k(student.detach(), 2), overlap.top_k(student.detach(), 2))
    loss = union_support_kl(student, student.detach(), union, torch.zeros(2, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0.0


def test_cross_entropy_is_the_negative_log_likelihood_of_real_tokens():
    logits, ids = torch.randn(2, 3, 5), torch.randint(5, (2, 3))
    mask = torch.tensor([[True, True, False], [True, False, False]])
    log_p = torch.log_softmax(logits.double(), -1)
    expected = -sum(log_p[b, t, ids[b, t]] for b in range(2) for t in range(3) if mask[b, t])
    torch.testing.assert_close(cross_entropy(logits, ids, mask).double(), expected, atol=1e-5, rtol=1e-5)
