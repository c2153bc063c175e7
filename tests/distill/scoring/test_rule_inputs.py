"""What rules read of a comparison, against whole softmaxes in float64 and sets made by Python's sort."""

import math
from types import SimpleNamespace

import pytest
import torch

from distill.models.base import Transcripts
from distill.recipe import SupportSettings
from distill.scoring.local import LogitsScores
from distill.scoring.pair import Pair
from distill.scoring.positions import Positions
from distill.scoring.rule_inputs import rule_inputs
from distill.scoring.served import TopkScores
from overlap.errors import UserError
from overlap.weights import RULES

V = 40


def compared(kind, *, k=4, listed=V, temperature=1.0, shut=(), spread=2.0, size=V):
    """Two utterances of five and three positions; a served teacher lists the best `listed` tokens."""
    generator = torch.Generator().manual_seed(1)
    student, teacher = (spread * torch.randn(2, 5, size, generator=generator) for _ in range(2))
    teacher = 0.7 * student + teacher
    ids = torch.randint(size, (2, 5), generator=generator)
    blocked = torch.zeros(size, dtype=torch.bool)
    blocked[list(shut)] = True
    ids = torch.where(blocked[ids], 1, ids)
    mask = torch.tensor([[True] * 5, [True, True, True, False, False]])
    transcripts = Transcripts(ids, mask, torch.tensor([True, True]))
    pair = Pair(SimpleNamespace(), SimpleNamespace(), None, blocked, blocked, None)
    positions = Positions(pair, transcripts, student, ~mask, SupportSettings(k=k, temperature=temperature))
    if kind is LogitsScores:
        return LogitsScores.from_answer(positions, [teacher]), student, teacher
    logprobs, best = teacher.double().log_softmax(-1).topk(listed)
    return TopkScores.from_answer(positions, [best, logprobs]), student, teacher


def oracle(scores, student, teacher, shut, temperature, k=16):
    """All values at every used position, [(b, t): values]."""
    found = {}
    allowed = [v for v in range(student.shape[-1]) if v not in shut]
    for b, t in scores.used.nonzero().tolist():
        z_p, z_q = student[b, t].double().tolist(), teacher[b, t].double().tolist()
        p, q = (softmax(z, allowed, temperature) for z in (z_p, z_q))
        ranked_p, ranked_q = (sorted(allowed, key=lambda v, z=z: (-z[v], v)) for z in (z_p, z_q))
        y = int(scores.transcripts.ids[b, t])
        mass, nucleus = 0.0, set()
        for v in ranked_q:
            if mass >= 0.9:
                break
            nucleus.add(v)
            mass += q[v]
        found[b, t] = {
            "overlap_ratio": len(set(ranked_p[:k]) & set(ranked_q[:k])) / k,
            "best_in_teachers": float(ranked_p[0] in ranked_q[:5]),
            "outside_nucleus": float(y not in nucleus),
            "student_logprob": math.log(p[y]),
            "teacher_logprob": math.log(q[y]),
            "student_entropy": -sum(x * math.log(x) for x in p.values()),
            "teacher_entropy": -sum(x * math.log(x) for x in q.values()),
            "reverse_kl": sum(p[v] * math.log(p[v] / q[v]) for v in allowed),
        }
    return found


def softmax(scores, allowed, temperature):
    top = max(scores[v] for v in allowed)
    each = {v: math.exp((scores[v] - top) / temperature) for v in allowed}
    total = sum(each.values())
    return {v: x / total for v, x in each.items()}


@pytest.mark.parametrize("k", [2, 16, 20])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("spread", [0.3, 3.0])
def test_values_of_a_local_teacher(k, temperature, spread):
    """Whatever k the comparison has, sets have 16 tokens."""
    shut = (0, 7)
    scores, student, teacher = compared(LogitsScores, k=k, temperature=temperature, shut=shut, spread=spread)
    found = rule_inputs(scores)
    assert (found.mask == scores.used).all()
    assert found.known == {name for rule in RULES.values() for name in rule.needs}
    for place, values in oracle(scores, student, teacher, shut, temperature).items():
        for name, value in values.items():
            assert getattr(found, name)[place].item() == pytest.approx(value, rel=1e-4, abs=1e-5), name
    assert all(getattr(found, name)[~scores.used].isnan().all() for name in found.known)


def test_both_answers_occur():
    """Of the tests above: tokens inside and outside the nucleus, accepted and not."""
    found = rule_inputs(compared(LogitsScores, spread=0.3)[0])
    for name in ("outside_nucleus", "best_in_teachers"):
        assert set(getattr(found, name)[found.mask].tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("listed", [V, 24])
def test_a_server_that_lists_enough_gives_the_values_of_its_sets_and_no_others(listed):
    shut = (0, 7)
    (there, *_), (local, *_) = compared(TopkScores, listed=listed, shut=shut), compared(LogitsScores, shut=shut)
    found, expected = rule_inputs(there), rule_inputs(local)
    assert found.known == {"overlap_ratio", "best_in_teachers"}
    for name in found.known:
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), equal_nan=True)
    with pytest.raises(UserError, match=r'weights "tropd": .* use "prune" or "selectkd", or compare with a local'):
        RULES["tropd"].weights(found)


def test_a_server_that_lists_few():
    assert rule_inputs(compared(TopkScores, listed=15)[0]).known == {"best_in_teachers"}
    assert rule_inputs(compared(TopkScores, listed=4)[0]).known == frozenset()
    with pytest.raises(UserError, match=r'weights "prune": overlap_ratio not known .* use "selectkd", or'):
        RULES["prune"].weights(rule_inputs(compared(TopkScores, listed=15)[0]))


def test_where_blocked_tokens_leave_too_few_listed_ones_a_value_is_undefined():
    shut = tuple(range(10))
    scores, _, teacher = compared(TopkScores, listed=18, shut=shut)
    found = rule_inputs(scores)
    best = teacher.topk(18).indices
    enough = (best >= 10).sum(-1) >= 16
    assert (found.overlap_ratio.isnan() == ~(enough & scores.used)).all()
    weights = RULES["prune"].weights(found)
    assert (weights.isnan() == found.overlap_ratio.isnan()).all()


def test_in_a_small_vocabulary_the_sets_are_all_of_it():
    scores, *_ = compared(LogitsScores, size=6, k=2)
    found = rule_inputs(scores)
    assert (found.overlap_ratio[found.mask] == 1).all()


def test_only_what_is_needed_is_computed():
    scores, *_ = compared(LogitsScores)
    for rule in RULES.values():
        assert rule_inputs(scores, rule.needs).known == set(rule.needs)
