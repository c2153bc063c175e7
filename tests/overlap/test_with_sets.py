"""Statistics with the sets and partition functions that they come from."""

import pytest
import torch

from overlap import VocabularyMap, measure, set_logprobs, top_k
from overlap.losses.divergence_on_set import set_mass
from overlap.statistics.with_sets import measure_with_sets
from overlap.vocab.settings import ComparisonSettings


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("mapped", [False, True])
def test_statistics_are_measures_and_sets_are_those_of_top_k(mapped, temperature):
    generator = torch.Generator().manual_seed(1)
    student = torch.randn(4, 6, 300, generator=generator).round(decimals=1)  # ties
    teacher = torch.randn(4, 6, 310 if mapped else 300, generator=generator)
    table = (
        VocabularyMap.from_pairs([(i, 309 - i) for i in range(0, 300, 2)], student_size=300, teacher_size=310)
        if mapped
        else None
    )
    mask = torch.rand(4, 6, generator=generator) < 0.7
    options = {"k": 5, "temperature": temperature, "blocked": [3, 8], "vocabulary": table}
    teacher_shut = [301, 306] if mapped else [3, 8]
    settings = ComparisonSettings(**options, teacher_blocked=teacher_shut)
    found = measure_with_sets(student, teacher, settings, mask=mask)
    expected = measure(student, teacher, mask=mask, **options, teacher_blocked=teacher_shut)
    for name, value in expected.values().items():
        assert torch.equal(found.statistics.values()[name].nan_to_num(-1), value.nan_to_num(-1))
    sides = [(found.student, student, [3, 8]), (found.teacher, teacher, teacher_shut)]
    for (chosen, logits, shut), log_z in zip(
        sides, (found.student_log_partition, found.teacher_log_partition), strict=True
    ):
        wanted = top_k(logits, 5, blocked=shut, mask=mask)
        assert torch.equal(chosen.ids, wanted.ids)
        assert torch.equal(chosen.valid, wanted.valid)
        open_ = torch.ones(logits.shape[-1], dtype=torch.bool).index_fill_(0, torch.tensor(shut), False)
        exact = (logits.double() / temperature).masked_fill(~open_, -torch.inf).logsumexp(-1)
        torch.testing.assert_close(log_z[mask], exact[mask], atol=3e-7, rtol=0)
        assert log_z[~mask].isnan().all()


@pytest.mark.parametrize("tail", [False, True])
def test_half_the_digits_of_the_scores_are_enough(tail):
    """Scores far from zero take digits from their sums: what is left gives values and gradients to 1e-6."""
    generator = torch.Generator().manual_seed(2)
    logits = (100 + 4 * torch.randn(5, 40, generator=generator)).requires_grad_()
    ids = torch.stack([torch.randperm(40, generator=generator)[:6] for _ in range(5)])
    valid = torch.rand(5, 6, generator=generator) < 0.8
    valid[4] = False
    weights = torch.randn(5, 6 + tail, generator=generator)
    shown = torch.cat([valid, torch.ones(5, 1, dtype=torch.bool)], -1) if tail else valid
    results = []
    for given in (logits, logits.detach().double().requires_grad_()):
        found = set_logprobs(given, ids, valid, tail=tail, temperature=2.0)
        (gradient,) = torch.autograd.grad((found * weights).masked_fill(~shown, 0.0).sum(), given)
        results.append((found.masked_fill(~shown, 0.0).detach(), gradient))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-6, atol=1e-6)


def test_the_mass_of_a_set_from_a_known_partition_function():
    logits = torch.randn(5, 40, generator=torch.Generator().manual_seed(3))
    ids, valid = torch.arange(6).expand(5, 6), torch.ones(5, 6, dtype=torch.bool)
    mass = set_mass(logits, ids, valid, log_partition=logits.double().logsumexp(-1))
    assert mass.dtype == torch.float32
    torch.testing.assert_close(mass, set_mass(logits, ids, valid), rtol=1e-6, atol=0)
