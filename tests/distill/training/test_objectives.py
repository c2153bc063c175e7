"""On-policy objectives against autograd through full-vocabulary softmaxes in float64."""

from types import SimpleNamespace

import pytest
import torch

from distill.models.base import Transcripts
from distill.recipe import DivergenceObjective, OnPolicyStage, PolicyGradientObjective, SupportSettings
from distill.scoring.local import LogitsScores
from distill.scoring.pair import Pair
from distill.scoring.positions import Positions
from distill.training.objectives import cross_entropy, on_policy_objective

V = 11


def comparison(student, teacher, k, *, temperature=1.0, mask=None, blocked=(), ids=None) -> LogitsScores:
    """Both models' logits [batch, length, V] as `compare` hands them on, in one vocabulary."""
    shape = student.shape[:-1]
    mask = torch.ones(shape, dtype=torch.bool) if mask is None else mask
    shut = torch.zeros(V, dtype=torch.bool)
    shut[list(blocked)] = True
    end = torch.zeros(shape[0], dtype=torch.bool)
    transcripts = Transcripts(torch.zeros(shape, dtype=torch.long) if ids is None else ids, mask, end)
    pair = Pair(SimpleNamespace(), SimpleNamespace(), None, shut, shut, None)
    support = SupportSettings(k=k, temperature=temperature)
    return LogitsScores.from_answer(Positions(pair, transcripts, student, ~mask, support), [teacher])


def top(scores: list[float], k: int, shut=()) -> set[int]:
    return set(sorted((v for v in range(len(scores)) if v not in shut), key=lambda v: (-scores[v], v))[:k])


def kl(a, b):
    return (a * (a.log() - b.log())).sum()


def oracle(student, teacher, k, temperature, used, support, kind, tail, beta, shut):
    """τ² divergence and the masses, from whole-vocabulary softmaxes; sets made by Python's sort."""
    total, masses = torch.zeros((), dtype=torch.float64), []
    exists = torch.tensor([v not in shut for v in range(V)])
    for index in used.nonzero().tolist():
        z_s, z_t = student[tuple(index)], teacher[tuple(index)]
        sets = {"student": top(z_s.tolist(), k, shut), "teacher": top(z_t.tolist(), k, shut)}
        sets |= {"union": sets["student"] | sets["teacher"], "vocabulary": set(range(V)) - set(shut)}
        keep = torch.tensor([v in sets[support] for v in range(V)])
        p, q = (torch.softmax((z.double() / temperature).masked_fill(~exists, -torch.inf), -1) for z in (z_s, z_t))
        masses.append((float(p.detach()[keep].sum()), float(q[keep].sum())))
        if tail:
            p, q = (torch.cat([x[keep], x[~keep].sum(0, keepdim=True)]) for x in (p, q))
        else:
            p, q = (x[keep] / x[keep].sum() for x in (p, q))
        m = beta * q + (1 - beta) * p
        value = {
            "forward_kl": lambda p=p, q=q: kl(q, p),
            "reverse_kl": lambda p=p, q=q: kl(p, q),
            "jensen_shannon": lambda p=p, q=q, m=m: beta * kl(q, m) + (1 - beta) * kl(p, m),
        }[kind]()
        total = total + temperature**2 * value
    return total, torch.tensor(masses)


OBJECTIVES = [
    (support, kind, tail)
    for support in ("union", "teacher", "student", "vocabulary")
    for kind in ("forward_kl", "reverse_kl", "jensen_shannon")
    for tail in (False, True)
    if not (tail and support == "vocabulary")
]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(("support", "kind", "tail"), OBJECTIVES)
def test_value_gradient_and_masses_equal_the_full_vocabulary_oracle(support, kind, tail, temperature):
    generator = torch.Generator().manual_seed(7)
    student = (3 * torch.randn(3, 5, V, generator=generator)).requires_grad_()
    teacher = 3 * torch.randn(3, 5, V, generator=generator)
    mask = torch.rand(3, 5, generator=generator) < 0.8
    compared = comparison(student, teacher, 3, temperature=temperature, mask=mask, blocked=(2, 9))
    objective = DivergenceObjective(type="divergence", support=support, divergence=kind, tail=tail, beta=0.3)
    result = on_policy_objective(compared, objective)
    (gradient,) = torch.autograd.grad(result.loss, student)
    expected, masses = oracle(student, teacher, 3, temperature, compared.used, support, kind, tail, 0.3, (2, 9))
    (expected_gradient,) = torch.autograd.grad(expected, student)
    torch.testing.assert_close(result.loss.double(), expected, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(gradient, expected_gradient, atol=2e-5, rtol=1e-5)
    assert result.positions == int(compared.used.sum())
    torch.testing.assert_close(torch.stack([result.student_mass, result.teacher_mass], -1), masses.float())


@pytest.mark.parametrize("k", [1, 4, V])
@pytest.mark.parametrize("name", ["paper", None])
def test_the_papers_form_is_there_by_name_and_the_default_counts_the_rest(name, k):
    """Union of the top-k sets, forward KL times τ²: renormalized, or with the rest as one more token."""
    student, teacher = torch.randn(2, 4, V, requires_grad=True), torch.randn(2, 4, V)
    compared = comparison(student, teacher, k, temperature=2.0)
    section = {"type": "opd", "name": "s", "manifest": "m", "steps": 1} | ({} if name is None else {"objective": name})
    result = on_policy_objective(compared, OnPolicyStage.model_validate(section).objective)
    tail = name is None and k < V  # nothing lies outside a union of everything
    expected, _ = oracle(student, teacher, k, 2.0, compared.used, "union", "forward_kl", tail, 0.5, ())
    torch.testing.assert_close(result.loss.double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_a_policy_gradient_is_the_reverse_kls_on_average(estimator):
    """Over every token that could be drawn at one state, each with its probability."""
    student, teacher = torch.randn(1, 1, V, requires_grad=True), torch.randn(1, 1, V)
    shut = (0, 5)
    exists = torch.tensor([v not in shut for v in range(V)])
    p, q = (torch.softmax(x[0, 0].double().masked_fill(~exists, -torch.inf), -1) for x in (student, teacher))
    total, gradient = 0.0, torch.zeros(1, 1, V)
    for token in exists.nonzero().flatten():
        compared = comparison(student, teacher, 3, blocked=shut, ids=token.reshape(1, 1))
        result = on_policy_objective(compared, PolicyGradientObjective(type="policy_gradient", estimator=estimator))
        assert result.student_mass.item() == pytest.approx(p[token].item(), rel=1e-5)
        total += p[token].item() * result.loss.item()
        gradient += p[token].item() * torch.autograd.grad(result.loss, student)[0]
    exact = kl(p[exists], q[exists])
    assert total == pytest.approx(exact.item(), rel=1e-5)
    torch.testing.assert_close(gradient, torch.autograd.grad(exact, student)[0], atol=1e-6, rtol=1e-5)


ALL = [DivergenceObjective(type="divergence", support=s, divergence=d, tail=t) for s, d, t in OBJECTIVES]
ALL += [PolicyGradientObjective(type="policy_gradient", estimator=e) for e in ("k1", "k3")]


@pytest.mark.parametrize("objective", [o for o in ALL if "k1" not in repr(o)])  # single draws of k1 have a gradient
def test_loss_and_gradient_vanish_where_student_is_teacher(objective):
    logits = torch.randn(1, 4, V, requires_grad=True)
    result = on_policy_objective(comparison(logits, logits.detach(), 3), objective)
    (gradient,) = torch.autograd.grad(result.loss, logits)
    assert result.loss.item() == pytest.approx(0.0, abs=1e-6)
    assert gradient.abs().max() < 1e-6


@pytest.mark.parametrize("objective", ALL)
def test_masked_positions_may_hold_anything(objective):
    student, teacher = torch.randn(1, 2, V), torch.randn(1, 2, V)
    student[0, 1] = torch.nan
    student.requires_grad_()
    compared = comparison(student, teacher, 2, mask=torch.tensor([[True, False]]))
    (gradient,) = torch.autograd.grad(on_policy_objective(compared, objective).loss, student)
    assert torch.isfinite(gradient).all()
    assert (gradient[0, 1] == 0).all()


@pytest.mark.parametrize("objective", ALL)
def test_no_counted_position_gives_zero_with_a_graph(objective):
    student = torch.randn(1, 2, V, requires_grad=True)
    compared = comparison(student, student.detach(), 2, mask=torch.zeros(1, 2, dtype=torch.bool))
    result = on_policy_objective(compared, objective)
    result.loss.backward()
    assert result.loss.item() == 0.0
    assert result.positions == 0
    assert result.student_mass.shape == (0,)


def test_cross_entropy_is_the_negative_log_likelihood_of_real_tokens():
    logits, ids = torch.randn(2, 3, 5), torch.randint(5, (2, 3))
    mask = torch.tensor([[True, True, False], [True, False, False]])
    log_p = torch.log_softmax(logits.double(), -1)
    expected = -sum(log_p[b, t, ids[b, t]] for b in range(2) for t in range(3) if mask[b, t])
    torch.testing.assert_close(cross_entropy(logits, ids, mask).double(), expected, atol=1e-5, rtol=1e-5)
