"""What training reports where the models nearly agree: three digits from 1e-6 nats on, and the gradients as ever."""

import pytest
import torch

from overlap import full_vocabulary_divergence, set_divergence, set_logprobs, top_k, union, union_kl

KINDS = [("forward_kl", 0.5), ("reverse_kl", 0.5), ("jensen_shannon", 0.5), ("jensen_shannon", 0.1)]


def by_definition(log_p, log_q, kind, beta):
    """From float64 log-probabilities."""
    p, q = log_p.exp(), log_q.exp()

    def kl(weights, first, second):
        return torch.where(weights > 0, weights * (first - second), 0.0).sum(-1)

    if kind == "forward_kl":
        return kl(q, log_q, log_p)
    if kind == "reverse_kl":
        return kl(p, log_p, log_q)
    log_m = (beta * q + (1 - beta) * p).log()
    return beta * kl(q, log_q, log_m) + (1 - beta) * kl(p, log_p, log_m)


def nearly_agreeing(spread, noise, sure, size=3000):
    generator = torch.Generator().manual_seed(0)
    student = spread * torch.randn(6, size, generator=generator)
    if sure:
        student[:, 3] = student.max() + 15.0
    return student, student + noise * torch.randn(6, size, generator=generator)


def assert_three_digits(received, expected):
    assert (received >= 0).all()
    counted = expected >= 1e-6
    torch.testing.assert_close(received[counted].double(), expected[counted], rtol=1e-3, atol=0.0)
    torch.testing.assert_close(received[~counted].double(), expected[~counted], rtol=0.0, atol=1e-8)


@pytest.mark.parametrize(("kind", "beta"), KINDS)
@pytest.mark.parametrize("sure", [False, True])
@pytest.mark.parametrize("spread", [1, 3, 8])
@pytest.mark.parametrize("noise", [0.002, 0.01, 0.05])
def test_values(kind, beta, spread, noise, sure):
    student, teacher = nearly_agreeing(spread, noise, sure)
    expected = by_definition(student.double().log_softmax(-1), teacher.double().log_softmax(-1), kind, beta)
    received = full_vocabulary_divergence(student, teacher, torch.ones(6, dtype=torch.bool), kind=kind, beta=beta)
    assert_three_digits(received, expected)
    chosen = union(top_k(student, 8), top_k(teacher, 8))
    for tail in (False, True):
        counted = torch.nn.functional.pad(chosen.valid, (0, int(tail)), value=True)
        sides = [[set_logprobs(z, chosen.ids, chosen.valid, tail=tail) for z in (student.to(d), teacher.to(d))]
                 for d in (torch.float32, torch.float64)]  # fmt: skip
        expected = by_definition(*(x.masked_fill(~counted, -torch.inf) for x in sides[1]), kind, beta)
        assert_three_digits(set_divergence(*sides[0], counted, kind=kind, beta=beta), expected)


@pytest.mark.parametrize("tail", [False, True])
def test_the_objective_from_hidden_states(tail):
    generator = torch.Generator().manual_seed(0)
    hidden, weight = torch.randn(6, 16, generator=generator), torch.randn(3000, 16, generator=generator)
    other = hidden + 1e-3 * torch.randn(6, 16, generator=generator)
    received = union_kl(hidden, weight, other, weight, k=8, tail=tail, reduction="none").loss
    exact = union_kl(*(x.double() for x in (hidden, weight, other, weight)), k=8, tail=tail, reduction="none").loss
    assert (exact > 1e-8).all()
    torch.testing.assert_close(received.double(), exact, rtol=1e-2, atol=1e-9)  # the scores are float32 products


@pytest.mark.parametrize("kind", ["forward_kl", "reverse_kl"])
def test_tokens_that_a_model_excludes(kind):
    """Excluded by both they are nowhere; by the one whose mean it is not, they cost what they weigh."""
    student, teacher = nearly_agreeing(3, 0.01, sure=False, size=50)
    for scores in (student, teacher):
        scores[:, 7] = -torch.inf
    bounded, weighs = (teacher, student) if kind == "forward_kl" else (student, teacher)
    bounded[:, 9] = -torch.inf
    weighs[:, 9] = weighs.max(-1).values - 9.0
    expected = by_definition(student.double().log_softmax(-1), teacher.double().log_softmax(-1), kind, 0.5)
    assert (expected < 2e-3).all()
    received = full_vocabulary_divergence(student, teacher, torch.ones(6, dtype=torch.bool), kind=kind)
    assert_three_digits(received, expected)
    ids = torch.arange(50).expand(6, 50)
    sides = (set_logprobs(z, ids, torch.ones(6, 50, dtype=torch.bool), tail=False) for z in (student, teacher))
    assert_three_digits(set_divergence(*sides, torch.ones(6, 50, dtype=torch.bool), kind=kind), expected)


def test_an_infinite_row_beside_a_near_one():
    student, teacher = nearly_agreeing(3, 0.01, sure=False, size=50)
    student[0, 4] = -torch.inf
    student.requires_grad_()
    each = full_vocabulary_divergence(student, teacher, torch.ones(6, dtype=torch.bool))
    ids, every = torch.arange(50).expand(6, 50), torch.ones(6, 50, dtype=torch.bool)
    of_set = set_divergence(*(set_logprobs(z, ids, every, tail=False) for z in (student, teacher)), every)
    for values in (each, of_set):
        assert values[0] == torch.inf
        assert (values[1:] < 2e-3).all()
    (gradient,) = torch.autograd.grad(of_set[1:].sum(), student)
    assert gradient.isfinite().all()


@pytest.mark.parametrize(("kind", "beta"), KINDS)
def test_gradients_are_those_of_the_plain_sum(kind, beta):
    """To the bit, so that no training changes; of the vocabulary, those that autograd finds in float64."""
    student, teacher = nearly_agreeing(3, 0.01, sure=False)
    chosen = union(top_k(student, 8), top_k(teacher, 8))
    log_q = set_logprobs(teacher, chosen.ids, chosen.valid, tail=False)
    found = []
    for plain in (False, True):
        leaf = student.clone().requires_grad_()
        log_p = set_logprobs(leaf, chosen.ids, chosen.valid, tail=False)
        if plain:
            p, q = (x.masked_fill(~chosen.valid, 0.0) for x in (log_p, log_q))
            w = torch.tensor([beta, 1 - beta]).log()
            m = torch.logaddexp(log_q + w[0], log_p + w[1]).masked_fill(~chosen.valid, 0.0)
            ends = {"forward_kl": [(1.0, q, p)], "reverse_kl": [(1.0, p, q)]}
            parts = ends.get(kind, [(beta, q, m), (1 - beta, p, m)])
            each = sum(c * (a.exp() * (a - b)).masked_fill(~chosen.valid, 0.0).sum(-1) for c, a, b in parts)
        else:
            each = set_divergence(log_p, log_q, chosen.valid, kind=kind, beta=beta)
        found.append(torch.autograd.grad(each.sum(), leaf)[0])
    assert torch.equal(*found)
    leaf, exact = student.clone().requires_grad_(), student.double().requires_grad_()
    each = full_vocabulary_divergence(leaf, teacher, torch.ones(6, dtype=torch.bool), kind=kind, beta=beta)
    expected = by_definition(exact.log_softmax(-1), teacher.double().log_softmax(-1), kind, beta)
    (gradient,), (right,) = torch.autograd.grad(each.sum(), leaf), torch.autograd.grad(expected.sum(), exact)
    torch.testing.assert_close(gradient.double(), right, rtol=1e-3, atol=2e-7)
