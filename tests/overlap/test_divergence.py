import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax as reference_log_softmax
from scipy.special import rel_entr
from scipy.stats import entropy as reference_entropy

from overlap.core.divergence import (
    entropy,
    jensen_shannon,
    kl_divergence,
    kl_terms,
    log_softmax,
    renormalized_kl,
    total_variation,
)

LN2 = math.log(2.0)
rows = arrays(np.float32, (2, 9), elements=st.floats(-30, 30, width=32))


def reference_jensen_shannon(p, q):
    """scipy's own `jensenshannon` takes the root, also of what rounding leaves below zero, and warns."""
    middle = (np.asarray(p) + np.asarray(q)) / 2
    return (rel_entr(p, middle).sum() + rel_entr(q, middle).sum()) / 2


@given(rows, st.sampled_from([0.1, 0.5, 1.0, 2.0]))
@settings(deadline=None)
def test_against_scipy(logits, temperature):
    log_p, log_q = log_softmax(torch.from_numpy(logits), temperature=temperature)
    p, q = np.exp(reference_log_softmax(logits.astype(np.float64) / temperature, axis=-1))
    close = {"rtol": 1e-5, "atol": 1e-5}
    np.testing.assert_allclose(entropy(log_p), reference_entropy(p), **close)
    np.testing.assert_allclose(jensen_shannon(log_p, log_q), reference_jensen_shannon(p, q), **close)
    np.testing.assert_allclose(total_variation(log_p, log_q), np.abs(p - q).sum() / 2, **close)
    if p.min() > 1e-30 and q.min() > 1e-30:  # beyond, float32 holds no probability at all
        np.testing.assert_allclose(kl_divergence(log_p, log_q), reference_entropy(p, q), **close)


@given(rows, st.floats(-100, 100, width=32))
@settings(deadline=None)
def test_bounds_symmetry_and_shift(logits, constant):
    log_p, log_q = log_softmax(torch.from_numpy(logits))
    js, tv, kl = jensen_shannon(log_p, log_q), total_variation(log_p, log_q), kl_divergence(log_p, log_q)
    assert 0 <= js <= np.float32(LN2)
    assert 0 <= tv <= 1
    assert kl >= 0
    assert 0 <= entropy(log_p) <= math.log(9) + 1e-5
    assert tv <= math.sqrt(kl / 2) + 1e-4  # Pinsker
    assert js == jensen_shannon(log_q, log_p)
    assert tv == total_variation(log_q, log_p)
    shifted = log_softmax(torch.from_numpy(logits) + constant)
    np.testing.assert_allclose(kl_divergence(*shifted), kl, rtol=1e-4, atol=1e-4)


@given(rows)
@settings(deadline=None)
def test_identical_distributions_are_exactly_zero(logits):
    log_p = log_softmax(torch.from_numpy(logits))
    for divergence in (kl_divergence, jensen_shannon, total_variation):
        assert divergence(log_p, log_p.clone()).tolist() == [0.0, 0.0]


@given(rows, st.sets(st.integers(0, 8), min_size=1))
@settings(deadline=None)
def test_mask_equals_removal(logits, kept):
    admissible = torch.zeros(9, dtype=torch.bool)
    admissible[list(kept)] = True
    masked = log_softmax(torch.from_numpy(logits), admissible)
    removed = log_softmax(torch.from_numpy(logits[:, sorted(kept)]))
    assert masked.isfinite().all()
    for divergence in (kl_divergence, jensen_shannon, total_variation):
        np.testing.assert_allclose(divergence(*masked, admissible), divergence(*removed), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(entropy(masked[0], admissible), entropy(removed[0]), rtol=1e-5, atol=1e-6)


def test_zero_probabilities():
    inf = math.inf
    log_p, log_q = log_softmax(torch.tensor([[0.0, 0.0, -inf], [0.0, -inf, -inf]]))
    assert kl_divergence(log_q, log_p).item() == pytest.approx(LN2)
    assert kl_divergence(log_p, log_q).item() == inf
    assert jensen_shannon(log_p, log_q).item() == pytest.approx(reference_jensen_shannon([0.5, 0.5, 0], [1, 0, 0]))
    assert total_variation(log_p, log_q).item() == 0.5
    assert entropy(log_q).item() == 0.0
    assert math.copysign(1.0, entropy(log_q).item()) == 1.0  # 0, not -0


def test_disjoint_and_denormal():
    log_p, log_q = log_softmax(torch.tensor([[0.0, -200.0], [-200.0, 0.0]]))
    assert jensen_shannon(log_p, log_q).item() == pytest.approx(LN2)
    assert total_variation(log_p, log_q).item() == 1.0
    smallest = torch.tensor([0.0, math.log(1.4e-45)])  # half of it is no float32
    assert torch.tensor(1.4e-45) > 0
    assert jensen_shannon(smallest, torch.tensor([0.0, -math.inf])).item() == 0.0


def test_small_temperatures_keep_their_precision():
    logits = torch.tensor([30.0, 30.01, 12.0], dtype=torch.float32)
    expected = reference_log_softmax(logits.double().numpy() / 0.001)
    np.testing.assert_allclose(log_softmax(logits, temperature=0.001), expected, rtol=1e-6, atol=1e-6)


def test_terms_of_tokens_without_probability_leave_the_gradient_alone():
    inf = math.inf
    log_p = torch.tensor([0.5, 0.5, 0.0, 0.0]).log().requires_grad_()
    log_q = torch.tensor([0.25, 0.5, 0.25, 0.0]).log().requires_grad_()
    terms = kl_terms(log_p.exp(), log_p, log_q)
    assert terms.tolist() == pytest.approx([0.5 * LN2, 0.0, 0.0, 0.0])
    to_p, to_q = torch.autograd.grad(terms.sum(), (log_p, log_q))
    assert to_p.tolist() == pytest.approx([0.5 * LN2 + 0.5, 0.5, 0.0, 0.0])
    assert to_q.tolist() == [-0.5, -0.5, 0.0, 0.0]
    assert kl_terms(torch.tensor([1.0]), torch.tensor([0.0]), torch.tensor([-inf])).tolist() == [inf]


def test_renormalized_on_a_set():
    scores = torch.tensor([[1.0, 2.0, 7.0], [0.0, -math.inf, 0.0], [0.0, 1.0, 2.0]], dtype=torch.float64)
    other = torch.tensor([[2.0, 2.0, -9.0], [0.0, 1.0, 0.0], [-math.inf, 1.0, 2.0]], dtype=torch.float64)
    valid = torch.tensor([[True, True, False], [False, True, False], [True, True, True]])
    p, q = np.exp([1.0, 2.0]), np.ones(2)
    expected = [reference_entropy(p, q), math.nan, math.inf]
    np.testing.assert_allclose(renormalized_kl(scores, other, valid), expected, rtol=1e-12)
    assert renormalized_kl(scores, other, torch.zeros_like(valid)).isnan().all()
