"""One training step against plain PyTorch in float64, for teachers here and behind a server and every objective."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import overlap
from distill.models.base import Transcripts
from distill.recipe import DivergenceObjective, PolicyGradientObjective, SupportSettings
from distill.scoring.local import LogitsScores
from distill.scoring.pair import Pair
from distill.scoring.positions import Positions
from distill.scoring.served import TopkScores
from distill.training.objectives import on_policy_objective
from overlap.core import topk
from overlap.errors import UserError
from overlap.statistics import chunk_statistics

SIZES = {"one vocabulary": (13, 13), "mapped": (13, 15)}
SHUT = (2, 9)
DIVERGENCES = [
    DivergenceObjective(type="divergence", support=support, divergence=kind, tail=tail, beta=0.3)
    for support in ("union", "teacher", "student", "vocabulary")
    for kind in ("forward_kl", "reverse_kl", "jensen_shannon")
    for tail in (False, True)
    if not (tail and support == "vocabulary")
]
TEACHERS = [one for one in DIVERGENCES if one.support == "teacher"]
"""Those that a server's best tokens decide."""
DRAWN = [PolicyGradientObjective(type="policy_gradient", estimator=estimator) for estimator in ("k1", "k3")]


def counterparts(vocabulary):
    """The teacher's id of every id of the student, None where it has none."""
    n, m = SIZES[vocabulary]
    return list(range(n)) if vocabulary == "one vocabulary" else [None if i == 4 else (2 * i + 1) % m for i in range(n)]


def positions(vocabulary, temperature=1.0, k=3, dtype=torch.float64):
    """The student's side at 3 rollouts of up to 5 tokens, and the teacher's logits; one rollout of each fate."""
    generator = torch.Generator().manual_seed(3)
    n, m = SIZES[vocabulary]
    # Numbers that float32 holds: the sets and partition functions are measured in float32.
    student, teacher = (3 * torch.randn(3, 5, size, generator=generator).to(dtype) for size in (n, m))
    allowed = torch.tensor([i for i in range(n) if i not in SHUT])
    ids = allowed[torch.randint(len(allowed), (3, 5), generator=generator)]
    ids[1, 2] = SHUT[0]
    lengths = torch.tensor([5, 4, 2])
    transcripts = Transcripts(ids, torch.arange(5) < lengths[:, None], torch.tensor([True, False, True]))
    there = counterparts(vocabulary)
    shut, teacher_shut = torch.zeros(n, dtype=torch.bool), torch.zeros(m, dtype=torch.bool)
    shut[list(SHUT)] = teacher_shut[[there[i] for i in SHUT]] = True
    if vocabulary == "mapped":
        teacher_shut[set(range(m)).difference(there).pop()] = True  # a control token of its own
    pairs = [(i, t) for i, t in enumerate(there) if t is not None]
    table = overlap.VocabularyMap.from_pairs(pairs, student_size=n, teacher_size=m) if vocabulary == "mapped" else None
    pair = Pair(SimpleNamespace(), SimpleNamespace(), table, shut, teacher_shut, None)
    misaligned = torch.zeros(3, 5, dtype=torch.bool)
    misaligned[0, 1] = True
    settings = SupportSettings(k=k, temperature=temperature)
    return Positions(pair, transcripts, student.requires_grad_(), misaligned, settings), teacher


def best(scores, k, shut):
    return sorted((i for i in range(len(scores)) if not shut[i]), key=lambda i: (-scores[i], i))[:k]


def oracle(given, teacher, objective, vocabulary, m=None):
    """τ² times the objective, its gradient, and the masses; sets by Python's sort, softmaxes by PyTorch in float64."""
    there, pair, temperature = counterparts(vocabulary), given.pair, given.support.temperature
    here = {t: i for i, t in enumerate(there) if t is not None}
    total, masses = torch.zeros((), dtype=torch.float64), []
    for b, t in given.eligible.nonzero().tolist():
        z, y = given.student_logits[b, t].double() / temperature, teacher[b, t].double() / temperature
        p = torch.softmax(z.masked_fill(pair.blocked, -torch.inf), -1)
        q = torch.softmax(y.masked_fill(pair.teacher_blocked, -torch.inf), -1)
        if m is not None:  # a server's probabilities: only the blocked tokens among its m best are known to be blocked
            q = torch.softmax(y, -1)
            known = sorted(range(len(q)), key=lambda i: -float(q[i]))[:m]
            q = q / (1 - sum(q[i] for i in known if pair.teacher_blocked[i]))
        student = [i for i in best(z.tolist(), given.support.k, pair.blocked) if there[i] is not None]
        teachers = [here[i] for i in best(y.tolist(), given.support.k, pair.teacher_blocked) if i in here]
        common = [i for i in range(len(z)) if there[i] is not None and not pair.blocked[i]]
        if isinstance(objective, PolicyGradientObjective):
            [token] = chosen = [int(given.transcripts.ids[b, t])]
            if token not in common:
                continue
            log_r = q[there[token]].log() - p[token].log()
            value = -log_r if objective.estimator == "k1" else log_r.exp() - 1 - log_r
            slope = value.detach() * p[token].log() + (0 if objective.estimator == "k1" else value)
            total = total + value.detach() + slope - slope.detach()
        else:
            sets = {"student": student, "teacher": teachers, "vocabulary": common}
            chosen = sets.get(objective.support, sorted({*student, *teachers}))
            a, c = p[chosen], q[[there[i] for i in chosen]]
            if objective.tail and objective.support != "vocabulary":
                a, c = (torch.cat([x, 1 - x.sum(0, keepdim=True)]) for x in (a, c))
            else:
                a, c = a / a.sum(), c / c.sum()
            mix = 0.3 * c + 0.7 * a
            total = (
                total
                + temperature**2
                * {
                    "forward_kl": lambda a=a, c=c: kl(c, a),
                    "reverse_kl": lambda a=a, c=c: kl(a, c),
                    "jensen_shannon": lambda a=a, c=c, mix=mix: 0.3 * kl(c, mix) + 0.7 * kl(a, mix),
                }[objective.divergence]()
            )
        masses.append([float(p[chosen].detach().sum()), float(q[[there[i] for i in chosen]].sum())])
    (gradient,) = torch.autograd.grad(total, given.student_logits)
    return total.detach(), gradient, torch.tensor(masses, dtype=torch.float64)


def kl(p, q):
    return (p * (p.log() - q.log())).sum()


def agrees(scores, objective, expected):
    result = on_policy_objective(scores, objective)
    (gradient,) = torch.autograd.grad(result.loss, scores.student_logits)
    loss, slope, masses = expected
    # k3 is the exponential of a log-ratio, whose rounding it multiplies.
    single = gradient.dtype == torch.float32
    near = 1e-5 if single and "k3" in repr(objective) else 2e-6 if single else 1e-6  # CPUs differ in the last bits
    torch.testing.assert_close(result.loss.detach().double(), loss, rtol=near, atol=0)
    assert (gradient.double() - slope.double()).norm() <= near * slope.norm()
    assert result.positions == len(masses)
    found = torch.stack([result.student_mass.double(), result.teacher_mass.double()], -1)
    torch.testing.assert_close(found, masses, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("temperature", "dtype"), [(1.0, torch.float32), (2.0, torch.float32), (2.0, torch.float64)])
@pytest.mark.parametrize("vocabulary", SIZES)
@pytest.mark.parametrize("objective", [*DIVERGENCES, *DRAWN], ids=repr)
def test_a_step_with_a_teacher_here(objective, vocabulary, temperature, dtype):
    given, teacher = positions(vocabulary, temperature, dtype=dtype)
    scores = LogitsScores.from_answer(given, [teacher])
    agrees(scores, objective, oracle(given, teacher, objective, vocabulary))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("m", [7, None])
@pytest.mark.parametrize("vocabulary", SIZES)
@pytest.mark.parametrize("objective", [o for o in DIVERGENCES if o.support == "teacher"], ids=repr)
def test_a_step_with_a_served_teacher(objective, vocabulary, m, dtype):
    given, teacher = positions(vocabulary, dtype=dtype)
    m = m or teacher.shape[-1]
    logprobs, ids = teacher.double().log_softmax(-1).topk(m)
    scores = TopkScores.from_answer(given, [ids, logprobs])
    agrees(scores, objective, oracle(given, teacher, objective, vocabulary, m))


@pytest.mark.parametrize("objective", [o for o in [*DIVERGENCES, *DRAWN] if getattr(o, "support", "") != "teacher"])
def test_a_served_teacher_refuses_what_its_best_tokens_do_not_tell(objective):
    given, teacher = positions("mapped")
    logprobs, ids = teacher.log_softmax(-1).topk(7)
    with pytest.raises(UserError, match="only its own"):
        on_policy_objective(TopkScores.from_answer(given, [ids, logprobs]), objective)


@pytest.mark.parametrize(("served", "rankings"), [(False, 2), (True, 2)])
def test_tokens_are_ranked_once_a_step(served, rankings, monkeypatch):
    """Each model's in the pass that measures; behind a server the student's alone, which is measured against itself."""
    counts = {"measured": 0, "apart": 0}

    def counted(original, where):
        def ranked(*arguments):
            counts[where] += 1
            return original(*arguments)

        return ranked

    monkeypatch.setattr(chunk_statistics, "ranked", counted(chunk_statistics.ranked, "measured"))
    monkeypatch.setattr(topk, "ranked", counted(topk.ranked, "apart"))
    given, teacher = positions("mapped")
    given.transcripts.ids[1, 2] = 0  # what is blocked is ranked for traces, apart
    if served:
        logprobs, ids = teacher.log_softmax(-1).topk(7)
        scores = TopkScores.from_answer(given, [ids, logprobs])
    else:
        scores = LogitsScores.from_answer(given, [teacher])
    on_policy_objective(scores, next(o for o in DIVERGENCES if o.support == "teacher" and o.tail)).loss.backward()
    scores.sums()
    assert counts == {"measured": rankings, "apart": 0}


def test_positions_that_do_not_count_have_sets_and_no_statistics():
    given, teacher = positions("one vocabulary")
    scores = LogitsScores.from_answer(given, [teacher])
    assert not scores.used[1, 2]
    assert scores.sets[0].size[1, 2] == scores.sets[1].size[1, 2] == 3
    assert scores.sets[0].size[0, 1] == 0  # misaligned
    values = scores.values()
    assert all(value[~scores.used].isnan().all() for value in values.values())
    assert values["union_size"][scores.used].isfinite().all()
    assert scores.funnel.counts["blocked"] == scores.funnel.counts["misaligned"] == 1


@pytest.mark.parametrize("vocabulary", SIZES)
@pytest.mark.parametrize(
    ("objective", "served"),
    [(one, served) for one in [*DIVERGENCES, *DRAWN] for served in ((False, True) if one in TEACHERS else (False,))],
)
def test_sets_that_only_a_trace_shows_change_no_bit_of_a_step(objective, served, vocabulary):
    """Training leaves them out: of what is blocked, of rollouts that did not end, of one that is empty."""
    found = []
    for traced in (True, False):
        given, teacher = positions(vocabulary, dtype=torch.float32)
        given.transcripts.mask[2] = False
        given.transcripts.mask[2, 0] = True  # nothing but the end
        given = replace(given, traced=traced, drop_empty=True, drop_truncated=True)
        logprobs, ids = teacher.log_softmax(-1).topk(7)
        scores = (
            TopkScores.from_answer(given, [ids, logprobs]) if served else LogitsScores.from_answer(given, [teacher])
        )
        value = on_policy_objective(scores, objective)
        value.loss.backward()
        found.append((scores, value, given.student_logits.grad))
    (one, first, gradient), (two, second, other) = found
    assert bool((one.sets[0].size != two.sets[0].size).any())
    assert torch.equal(first.loss, second.loss)
    assert torch.equal(gradient, other)
    assert gradient.abs().sum() > 0
    assert one.funnel == two.funnel
    assert np.array_equal(one.sums().sums, two.sums().sums, equal_nan=True)
