"""The blended policy against a loop in float64 with scipy's root finder, and its properties."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import logsumexp, rel_entr

from overlap.errors import UserError
from overlap.soft_switches.trust_region import blend


def by_hand(p, q, beta):
    """[vocabulary] the geometric mean of two distributions, and its KL from the first, from the definitions."""
    mean = p ** (1 - beta) * q**beta
    mean = mean / mean.sum()
    return mean, rel_entr(mean, p).sum()


def largest_by_hand(p, q, radius):
    if by_hand(p, q, 1.0)[1] <= radius:
        return 1.0
    return brentq(lambda beta: by_hand(p, q, beta)[1] - radius, 0.0, 1.0, xtol=1e-14)


def probabilities(logits):
    return np.exp(logits - logsumexp(logits, axis=-1, keepdims=True))


def pairs(rows, vocabulary, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(rows, vocabulary, generator=generator) for _ in range(2)]


@pytest.mark.parametrize("radius", [1e-6, 0.01, 0.3, 1.0, 4.0])
@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_against_scipy(radius, scale):
    student, teacher = pairs(12, 9, scale, seed=1)
    found = blend(student, teacher, radius)
    for row in range(12):
        p, q = (probabilities(side[row].double().numpy()) for side in (student, teacher))
        beta = largest_by_hand(p, q, radius)
        policy, divergence = by_hand(p, q, beta)
        assert float(found.beta[row]) == pytest.approx(beta, rel=1e-7, abs=1e-9)
        assert float(found.divergence[row]) == pytest.approx(divergence, rel=1e-6, abs=1e-12)
        np.testing.assert_allclose(found.logprobs[row].exp().numpy(), policy, atol=1e-7)


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(0, 4),
    vocabulary=st.integers(2, 30),
    scale=st.floats(0.01, 20),
    radii=st.tuples(st.floats(0, 10), st.floats(0, 10)).map(sorted),
    seed=st.integers(0, 2**31),
)
def test_properties(rows, vocabulary, scale, radii, seed):
    student, teacher = pairs(rows, vocabulary, scale, seed)
    small, large = (blend(student, teacher, radius) for radius in radii)
    for radius, found in zip(radii, (small, large), strict=True):
        assert torch.allclose(found.logprobs.exp().sum(-1), torch.ones(rows, dtype=torch.float64))
        measured = torch.nn.functional.kl_div(
            student.double().log_softmax(-1), found.logprobs, log_target=True, reduction="none"
        ).sum(-1)
        assert (measured <= radius + 1e-9).all()
        assert torch.allclose(measured, found.divergence, atol=1e-9)
        inside = found.beta == 1
        assert (measured[~inside] >= radius * (1 - 1e-5) - 1e-9).all()  # the ball is used up where β < 1
        assert torch.allclose(found.logprobs[inside], teacher.double().log_softmax(-1)[inside])
    assert (small.beta <= large.beta).all()


def test_radius_0_is_the_student_and_a_teacher_in_the_ball_is_the_teacher():
    student, teacher = pairs(5, 7, 2.0, seed=3)
    plain = blend(student, teacher, 0.0)
    assert plain.beta.tolist() == [0.0] * 5
    assert torch.equal(plain.logprobs, student.double().log_softmax(-1))
    assert plain.divergence.tolist() == [0.0] * 5
    whole = blend(student, teacher, 1e6)
    assert whole.beta.tolist() == [1.0] * 5
    assert torch.allclose(whole.logprobs, teacher.double().log_softmax(-1))
    same = blend(student, student + 3.0, 0.0)
    assert torch.allclose(same.logprobs, plain.logprobs)


def test_two_tokens_on_paper():
    """p = (1/2, 1/2) and q = (4/5, 1/5): at β = 1/2 the odds are 2 to 1, and KL = ln 2 − H(2/3, 1/3) nats."""
    radius = math.log(2) + 2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3)
    found = blend(torch.tensor([0.5, 0.5]).log(), torch.tensor([0.8, 0.2]).log(), radius)
    assert float(found.beta) == pytest.approx(0.5, abs=1e-6)
    assert found.logprobs.exp().tolist() == pytest.approx([2 / 3, 1 / 3], abs=1e-6)


def test_tokens_that_one_side_never_writes():
    nothing = -math.inf
    student = torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [1.0, 0.0, 0.0]]).log()
    teacher = torch.tensor([[0.2, 0.2, 0.6], [0.5, 0.5, 0.0], [0.0, 1.0, 0.0]]).log()
    found = blend(student, teacher, 0.1)
    # the teacher renormalized on the student's tokens is the student: inside
    assert float(found.beta[0]) == 1.0
    assert found.logprobs[0].exp().tolist() == pytest.approx([0.5, 0.5, 0.0])
    # its tokens leave out half of the student's probability, ln 2 nats, and in the last row all of it
    assert found.beta[1:].tolist() == pytest.approx([0.0, 0.0], abs=1e-9)
    assert found.logprobs[1].exp().tolist() == [0.5, 0.0, 0.5]
    assert found.logprobs[2].tolist() == [0.0, nothing, nothing]
    assert float(blend(student, teacher, 0.7).beta[1]) == 1.0
    assert blend(student, teacher, 0.7).divergence[1].item() == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    ("student", "teacher", "radius", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(2, 4), 0.1, r"expected scores of one shape, received \[2, 3\] and \[2, 4\]"),
        (torch.zeros(3), torch.zeros(3), -0.1, "radius: expected a finite number of nats of at least 0, received -0.1"),
        (torch.zeros(3), torch.zeros(3), math.nan, "radius: expected a finite number"),
        (torch.tensor([0.0, math.nan]), torch.zeros(2), 0.1, "the student's scores at a position are NaN"),
        (torch.zeros(2), torch.full((2,), -math.inf), 0.1, "the teacher's scores .* rule out every token"),
    ],
)
def test_errors(student, teacher, radius, message):
    with pytest.raises(UserError, match=message):
        blend(student, teacher, radius)
