"""Objectives on sets of tokens against whole-vocabulary softmaxes and autograd in float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import rel_entr
from torch.autograd.graph import saved_tensors_hooks

import overlap.core.chunking
from overlap import sampled_reverse_kl, set_divergence, set_logprobs

V, N = 13, 4


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    """Several chunks even at these sizes."""
    monkeypatch.setattr(overlap.core.chunking, "CHUNK_ELEMENTS", 2 * V)


def case(seed, m, blocked=()):
    """Logits of both models, a set of tokens with holes at every position, and what is admissible."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (3 * torch.randn(N, V, generator=generator, dtype=torch.float64) for _ in range(2))
    admissible = torch.ones(V, dtype=torch.bool)
    admissible[list(blocked)] = False
    allowed = admissible.nonzero().squeeze(-1)
    ids = torch.stack([allowed[torch.randperm(len(allowed), generator=generator)[:m]] for _ in range(N)])
    valid = torch.rand(N, m, generator=generator) < 0.7
    valid[:, 0] = True
    return student.requires_grad_(), teacher, ids, valid, admissible


def grouped(logits, ids, valid, admissible, tail, temperature):
    """Probabilities of the set's tokens and, with a tail, of all others together; rows as lists."""
    p = torch.softmax((logits / temperature).masked_fill(~admissible, -torch.inf), -1)
    rows = []
    for n in range(len(logits)):
        inside = p[n, ids[n][valid[n]]]
        rows.append(torch.cat([inside, 1 - inside.sum(0, keepdim=True)]) if tail else inside / inside.sum())
    return rows


def oracle(p, q, kind, beta):
    def kl(a, b):
        return sum((x * (x / y).log() for x, y in zip(a, b, strict=True) if x > 0), a.new_zeros(()))

    if kind == "forward_kl":
        return kl(q, p)
    if kind == "reverse_kl":
        return kl(p, q)
    m = beta * q + (1 - beta) * p
    return beta * kl(q, m) + (1 - beta) * kl(p, m)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**16),
    m=st.integers(1, 8),
    tail=st.booleans(),
    temperature=st.sampled_from([0.5, 1.0, 2.0]),
    blocked=st.sets(st.integers(0, V - 1), max_size=4),
    kind=st.sampled_from(["forward_kl", "reverse_kl", "jensen_shannon"]),
    beta=st.sampled_from([0.1, 0.5, 0.8]),
)
def test_value_and_gradient_equal_the_full_vocabulary_oracle(seed, m, tail, temperature, blocked, kind, beta):
    student, teacher, ids, valid, admissible = case(seed, m, blocked)
    settings_ = {"tail": tail, "temperature": temperature, "admissible": admissible}
    log_p, log_q = (set_logprobs(x, ids, valid, **settings_) for x in (student, teacher))
    counts = torch.cat([valid, torch.ones(N, 1, dtype=torch.bool)], -1) if tail else valid
    weights = torch.arange(1.0, N + 1)  # positions must not mix
    loss = (weights * set_divergence(log_p, log_q, counts, kind=kind, beta=beta)).sum()
    (gradient,) = torch.autograd.grad(loss, student)

    p, q = (grouped(x, ids, valid, admissible, tail, temperature) for x in (student, teacher))
    expected = sum(w * oracle(a, b, kind, beta) for w, a, b in zip(weights, p, q, strict=True))
    torch.testing.assert_close(loss, expected, atol=1e-9, rtol=1e-9)
    if expected.requires_grad:
        (expected_gradient,) = torch.autograd.grad(expected, student)
        torch.testing.assert_close(gradient, expected_gradient, atol=1e-8, rtol=1e-6)


def test_gradients_by_finite_differences():
    student, _, ids, valid, admissible = case(3, 5, {2, 7})

    def kept(logits):
        logprobs = set_logprobs(logits, ids, valid, tail=True, temperature=1.5, admissible=admissible)
        return logprobs[torch.cat([valid, torch.ones(N, 1, dtype=torch.bool)], -1)]

    assert torch.autograd.gradcheck(kept, student)


def test_a_tail_is_the_mass_outside_however_small():
    """In float32, where 1 − Σ p would be 0."""
    logits = torch.zeros(1, V)
    logits[0, 0] = 60.0
    logits.requires_grad_()
    logprobs = set_logprobs(logits, torch.tensor([[0, 1]]), torch.ones(1, 2, dtype=torch.bool), tail=True)
    assert logprobs[0, 2].item() == pytest.approx(math.log(V - 2) - 60, rel=1e-5)
    (gradient,) = torch.autograd.grad(logprobs[0, 2], logits)
    torch.testing.assert_close(gradient[0, 2:], torch.full((V - 2,), 1 / (V - 2)))
    assert gradient[0, 0] == pytest.approx(-1.0)


def test_a_set_of_everything_has_no_tail():
    student, teacher, _, _, _ = case(0, 1)
    ids, valid = torch.arange(V).expand(N, V), torch.ones(N, V, dtype=torch.bool)
    log_p, log_q = (set_logprobs(x, ids, valid, tail=True) for x in (student, teacher))
    assert (log_p[:, -1].exp() == 0).all()
    counts = torch.ones(N, V + 1, dtype=torch.bool)
    value = set_divergence(log_p, log_q, counts)
    p, q = (torch.softmax(x.detach(), -1).numpy() for x in (student, teacher))
    torch.testing.assert_close(value.detach(), torch.from_numpy(rel_entr(q, p).sum(-1)))
    (gradient,) = torch.autograd.grad(value.sum(), student)
    torch.testing.assert_close(gradient, torch.from_numpy(p - q))


def test_with_a_tail_mass_that_leaves_the_set_costs():
    """Where the student's probability drains out of the set, the renormalized loss sees nothing."""
    teacher = torch.tensor([[4.0, 3.0, 0.0, 0.0, 0.0]])
    student = teacher + torch.tensor([[0.0, 0.0, 9.0, 9.0, 9.0]])
    ids, valid = torch.tensor([[0, 1]]), torch.ones(1, 2, dtype=torch.bool)
    without, with_tail = (
        set_divergence(
            *(set_logprobs(x, ids, valid, tail=tail) for x in (student, teacher)),
            torch.ones(1, 2 + tail, dtype=torch.bool),
        ).item()
        for tail in (False, True)
    )
    assert without == 0.0
    assert with_tail > 5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_read_in_float32(dtype):
    student, _, ids, valid, _ = case(1, 4)
    half = student.detach().to(dtype).requires_grad_()
    exact = half.detach().double()
    logprobs = set_logprobs(half, ids, valid, tail=True)
    assert logprobs.dtype == torch.float32
    expected = set_logprobs(exact, ids, valid, tail=True).float()
    keep = torch.cat([valid, torch.ones(N, 1, dtype=torch.bool)], -1)
    torch.testing.assert_close(logprobs[keep], expected[keep], atol=1e-5, rtol=1e-5)
    logprobs[keep].sum().backward()
    assert half.grad.dtype == dtype


def test_a_tail_saves_no_copy_of_the_logits():
    logits = torch.randn(64, 512, requires_grad=True)
    ids, valid = torch.arange(4).expand(64, 4), torch.ones(64, 4, dtype=torch.bool)
    saved = []
    with saved_tensors_hooks(lambda x: saved.append(x) or x, lambda x: x):
        set_logprobs(logits, ids, valid, tail=True)
    large = [x for x in saved if x.numel() > 64 * 5]
    assert all(x.data_ptr() == logits.data_ptr() for x in large)


def test_tokens_that_a_model_excludes():
    student = torch.tensor([[1.0, -torch.inf, 2.0, 0.0]], requires_grad=True)
    teacher = torch.tensor([[1.0, 1.0, -torch.inf, 0.0]])
    ids, valid = torch.tensor([[0, 1]]), torch.ones(1, 2, dtype=torch.bool)
    counts = torch.ones(1, 3, dtype=torch.bool)
    log_p, log_q = (set_logprobs(x, ids, valid, tail=True) for x in (student, teacher))
    assert set_divergence(log_p, log_q, counts).item() == math.inf
    reverse = set_divergence(log_p, log_q, counts, kind="reverse_kl")
    p = torch.softmax(student.detach()[0].double(), 0)
    q = torch.softmax(teacher[0].double(), 0)
    parts = [(p[0], q[0]), (p[2] + p[3], q[2] + q[3])]
    assert reverse.item() == pytest.approx(sum(float(a * (a / b).log()) for a, b in parts), rel=1e-5)
    (gradient,) = torch.autograd.grad(reverse.sum(), student)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_sampled_estimates_have_the_reverse_kl_and_its_gradient_as_expectation(estimator):
    """Summed over every token that could have been drawn, with its probability: no sampling error."""
    student, teacher, _, _, _ = case(5, 1)
    ids, valid = torch.arange(V).expand(N, V), torch.ones(N, V, dtype=torch.bool)
    log_p, log_q = (set_logprobs(x, ids, valid, tail=False) for x in (student, teacher))
    estimates = sampled_reverse_kl(log_p, log_q, estimator=estimator)
    expected_value = (log_p.exp() * estimates).detach().sum(-1)
    p, q = (torch.softmax(x.detach(), -1).numpy() for x in (student, teacher))
    torch.testing.assert_close(expected_value, torch.from_numpy(rel_entr(p, q).sum(-1)))
    (gradient,) = torch.autograd.grad((log_p.detach().exp() * estimates).sum(), student, retain_graph=True)
    exact = set_divergence(log_p, log_q, valid, kind="reverse_kl").sum()
    (expected,) = torch.autograd.grad(exact, student)
    torch.testing.assert_close(gradient, expected, atol=1e-9, rtol=1e-9)
    if estimator == "k3":
        assert (estimates >= 0).all()


def test_the_generalized_divergence_is_scipys_at_a_half():
    from scipy.spatial.distance import jensenshannon

    student, teacher, ids, valid, _ = case(2, 6)
    valid[:] = True
    log_p, log_q = (set_logprobs(x, ids, valid, tail=True) for x in (student, teacher))
    value = set_divergence(log_p, log_q, torch.ones(N, 7, dtype=torch.bool), kind="jensen_shannon")
    expected = jensenshannon(log_p.detach().exp().numpy(), log_q.exp().numpy(), axis=-1) ** 2
    torch.testing.assert_close(value.detach(), torch.from_numpy(expected))


def test_refusals():
    x, valid = torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"kind: expected .forward_kl., .* received 'kl'"):
        set_divergence(x, x, valid, kind="kl")
    with pytest.raises(ValueError, match=r"beta: expected a number within \(0, 1\), received 1"):
        set_divergence(x, x, valid, kind="jensen_shannon", beta=1)
    with pytest.raises(ValueError, match='estimator: expected "k1" or "k3", received \'k2\''):
        sampled_reverse_kl(x, x, estimator="k2")
