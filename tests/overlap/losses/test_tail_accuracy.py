"""Divergence with a tail keeps three digits down to 1e-6 nats, and is never above the divergence on all tokens."""

import numpy as np
import pytest
import torch

from overlap import VocabularyMap, measure

LEAST = 1e-6


def by_definition(student, teacher, k):
    """KL over the members of the union and one token for the rest, in extended precision."""
    p, q = (np.exp(z.astype(np.longdouble) - z.max()) for z in (student, teacher))
    p, q = p / p.sum(), q / q.sum()
    best = [np.argsort(-z, kind="stable")[:k] for z in (student, teacher)]
    inside = np.isin(np.arange(len(p)), np.concatenate(best))
    p, q = np.append(p[inside], p[~inside].sum()), np.append(q[inside], q[~inside].sum())
    return float((q * np.log(q / p)).sum())


def close_models(spread, noise, size, rows=8):
    generator = torch.Generator().manual_seed(0)
    student = spread * torch.randn(rows, size, generator=generator)
    return student, student + noise * torch.randn(rows, size, generator=generator)


@pytest.mark.parametrize("size", [1000, 5000, 150_000])
@pytest.mark.parametrize("spread", [1, 3, 5, 8])
def test_three_digits_where_the_models_nearly_agree(size, spread):
    checked = 0
    for noise in (0.003, 0.005, 0.01, 0.02):
        student, teacher = close_models(spread, noise, size, 8 if size < 10_000 else 1)
        for k in (8, 32):
            received = measure(student, teacher, k=k)
            for row in range(len(student)):
                expected = by_definition(student[row].numpy(), teacher[row].numpy(), k)
                assert received.union_kl_tail[row] <= received.forward_kl[row] * 1.0005 + 1e-9
                if expected >= LEAST:
                    checked += 1
                    assert received.union_kl_tail[row].item() == pytest.approx(expected, rel=1e-3), (noise, k, row)
    assert checked


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_at_other_temperatures_and_between_vocabularies(temperature):
    student, teacher = close_models(3, 0.01, 5000)
    order = torch.randperm(5000, generator=torch.Generator().manual_seed(1))
    table = VocabularyMap.from_pairs(torch.stack([order, torch.arange(5000)], 1), student_size=5000, teacher_size=5000)
    same = measure(student, teacher, k=8, temperature=temperature)
    mapped = measure(student, teacher[:, order], k=8, temperature=temperature, vocabulary=table)
    for row in range(len(student)):
        expected = by_definition(student[row].numpy() / temperature, teacher[row].numpy() / temperature, 8)
        for received in (same, mapped):
            assert received.union_kl_tail[row].item() == pytest.approx(expected, rel=1e-3, abs=1e-9)


def test_a_sure_student_beside_a_sure_teacher():
    """The rest is far below what 1 − Σ p can show, in both models."""
    student, teacher = close_models(1, 0.05, 5000)
    student[:, 17], teacher[:, 17] = 25.0, 24.0
    for row, value in enumerate(measure(student, teacher, k=4).union_kl_tail.tolist()):
        assert value == pytest.approx(by_definition(student[row].numpy(), teacher[row].numpy(), 4), rel=1e-3, abs=1e-9)
