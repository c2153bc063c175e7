"""The objective on every token against autograd through float64 softmaxes."""

import pytest
import torch

import overlap

KINDS = ["forward_kl", "reverse_kl", "jensen_shannon"]


def oracle(log_p, log_q, kind, beta):
    p, q = log_p.exp(), log_q.exp()
    log_m = (beta * q + (1 - beta) * p).log()
    forward, reverse = (q * (log_q - log_p)).sum(-1), (p * (log_p - log_q)).sum(-1)
    mixed = beta * (q * (log_q - log_m)).sum(-1) + (1 - beta) * (p * (log_p - log_m)).sum(-1)
    return {"forward_kl": forward, "reverse_kl": reverse, "jensen_shannon": mixed}[kind]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_value_and_gradient_over_several_chunks(monkeypatch, kind, dtype, shared):
    monkeypatch.setattr("overlap.core.chunking.ROW_ELEMENTS", 100)
    generator = torch.Generator().manual_seed(1)
    student = (2 * torch.randn(2, 4, 50, generator=generator)).to(dtype).requires_grad_()
    teacher = (2 * torch.randn(2, 4, 60 if shared else 50, generator=generator)).to(dtype)
    mask = torch.tensor([[True, True, False, True], [True, False, False, True]])
    ids = tuple(torch.randperm(n, generator=generator)[:40] for n in (50, 60)) if shared else None
    each = overlap.full_vocabulary_divergence(student, teacher, mask, kind=kind, beta=0.3, temperature=2.0, ids=ids)
    weights = torch.randn(5, generator=generator)  # every position has a weight of its own
    (gradient,) = torch.autograd.grad((weights * each).sum(), student)
    own, other = (slice(None), slice(None)) if ids is None else ids
    log_p = torch.log_softmax(student.double()[..., own] / 2, -1)[mask]
    log_q = torch.log_softmax(teacher.double()[..., other] / 2, -1)[mask]
    expected = oracle(log_p, log_q, kind, 0.3)
    (expected_gradient,) = torch.autograd.grad((weights * expected).sum(), student)
    torch.testing.assert_close(each.double(), expected, atol=1e-6, rtol=1e-5)
    assert each.dtype == torch.float32
    torch.testing.assert_close(gradient, expected_gradient)


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_that_neither_model_allows_count_for_nothing(kind):
    student = torch.tensor([[1.0, 2.0, -torch.inf, 0.0]], requires_grad=True)
    teacher = torch.tensor([[1.0, 0.0, -torch.inf, 2.0]])
    each = overlap.full_vocabulary_divergence(student, teacher, torch.ones(1, dtype=torch.bool), kind=kind)
    (gradient,) = torch.autograd.grad(each.sum(), student)
    keep = [0, 1, 3]
    without = student.detach()[:, keep].requires_grad_()
    expected = oracle(without.log_softmax(-1), teacher[:, keep].log_softmax(-1), kind, 0.5)
    torch.testing.assert_close(each, expected)
    torch.testing.assert_close(gradient[:, keep], torch.autograd.grad(expected.sum(), without)[0])
    assert gradient[0, 2] == 0


@pytest.mark.parametrize(("kind", "excluded"), [("forward_kl", "student"), ("reverse_kl", "teacher")])
def test_excluding_what_the_other_allows_costs_infinitely_much(kind, excluded):
    logits = {"student": torch.zeros(1, 3), "teacher": torch.zeros(1, 3)}
    logits[excluded][0, 1] = -torch.inf
    mask = torch.ones(1, dtype=torch.bool)
    assert overlap.full_vocabulary_divergence(*logits.values(), mask, kind=kind).item() == torch.inf


def test_bad_settings_are_named():
    logits, mask = torch.zeros(1, 3), torch.ones(1, dtype=torch.bool)
    with pytest.raises(ValueError, match="'kl'"):
        overlap.full_vocabulary_divergence(logits, logits, mask, kind="kl")
    with pytest.raises(ValueError, match=r"beta: .* received 1\.0"):
        overlap.full_vocabulary_divergence(logits, logits, mask, kind="jensen_shannon", beta=1.0)
