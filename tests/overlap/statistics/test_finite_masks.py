"""Scores that a mask put far down with a finite number weigh nothing, as those of −inf, in every statistic."""

import math

import numpy as np
import pytest
import torch

from overlap import VocabularyMap, measure
from overlap.statistics import full_vocabulary, full_vocabulary_gpu

LOWEST = float(torch.finfo(torch.float32).min)
STATISTICS = ("student_entropy", "teacher_entropy", "entropy_gap", "forward_kl", "reverse_kl", "jensen_shannon")


def by_definition(student, teacher, temperature):
    """Of one position in float64, from scores whose least exponential is a zero there."""
    z = [scores.astype(np.float64) / temperature for scores in (student, teacher)]
    log_p, log_q = (one - one.max() - math.log(math.fsum(np.exp(one - one.max()))) for one in z)
    p, q = np.exp(log_p), np.exp(log_q)

    def mean(weights, values):
        return math.fsum(weights[weights > 0] * values[weights > 0])

    log_m = np.logaddexp(log_p, log_q) - math.log(2)
    entropies = -mean(p, log_p), -mean(q, log_q)
    values = (
        *entropies,
        abs(entropies[0] - entropies[1]),
        mean(q, log_q - log_p),
        mean(p, log_p - log_q),
        (mean(p, log_p - log_m) + mean(q, log_q - log_m)) / 2,
    )
    return dict(zip(STATISTICS, values, strict=True))


def pair_of_models(value, masked, dtype=torch.float32, size=3000):
    generator = torch.Generator().manual_seed(0)
    student = 3 * torch.randn(4, size, generator=generator)
    teacher = student + 0.5 * torch.randn(4, size, generator=generator)
    for scores, side in ((student, "student"), (teacher, "teacher")):
        if masked in (side, "both"):
            scores[:, :1500] = value
    return student.to(dtype), teacher.to(dtype)


def assert_right(received, student, teacher, temperature):
    for row in range(len(student)):
        expected = by_definition(student[row].float().numpy(), teacher[row].float().numpy(), temperature)
        for name, value in expected.items():
            value = torch.tensor(value).item()  # infinite where float32 is, in which statistics are
            assert getattr(received, name)[row].item() == pytest.approx(value, rel=1e-3, abs=1e-4), (name, row)


@pytest.mark.parametrize("temperature", [0.01, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("value", [-1e4, -1e20, -1e25, -1e30, LOWEST])
@pytest.mark.parametrize("masked", ["both", "student", "teacher"])
@pytest.mark.parametrize("way", ["processor", "accelerator"])
def test_a_finite_mask_weighs_nothing(monkeypatch, temperature, value, masked, way):
    if way == "accelerator":
        monkeypatch.setattr(
            full_vocabulary,
            "_sums",
            lambda p, q, maxima, pair, t, scratch: full_vocabulary_gpu.sums(
                p, q, maxima, pair, t, kernel=full_vocabulary_gpu.steps
            ).unbind(),
        )
    student, teacher = pair_of_models(value, masked)
    assert_right(measure(student, teacher, k=8, temperature=temperature), student, teacher, temperature)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_lowest_number_of_half_precision(dtype):
    student, teacher = pair_of_models(torch.finfo(dtype).min, "both", dtype)
    assert_right(measure(student, teacher, k=8, temperature=2.0), student, teacher, 2.0)


@pytest.mark.parametrize("value", [-1e30, LOWEST])
def test_a_mask_on_tokens_that_one_vocabulary_alone_has(value):
    """And with blocked ones among them: as if the masked tokens were not there."""
    student, teacher = pair_of_models(value, "both", size=1600)
    table = VocabularyMap.from_pairs([(i, i) for i in range(1400, 1600)], student_size=1600, teacher_size=1600)
    received = measure(student, teacher, k=8, temperature=1.5, vocabulary=table, blocked=[3, 1402])
    kept = [*range(1500, 1600)]
    assert_right(received, student[:, kept], teacher[:, kept], 1.5)
    torch.testing.assert_close(received.student_mapped_mass, torch.ones(4))


def test_tokens_far_below_the_best_count_where_the_other_model_has_them():
    """Forward KL is what the student's distance costs, though its own probability of the token is none."""
    student = torch.tensor([[0.0, -200.0, -1e30], [0.0, -1e30, -1e30]])
    teacher = torch.tensor([[0.0, 0.0, -1e30], [0.0, 0.0, -1e30]])
    received = measure(student, teacher, k=1)
    torch.testing.assert_close(received.forward_kl, torch.tensor([100.0 - math.log(2), 5e29]))
    torch.testing.assert_close(received.reverse_kl, torch.full((2,), math.log(2)))
    torch.testing.assert_close(received.total_variation, torch.full((2,), 0.5))
