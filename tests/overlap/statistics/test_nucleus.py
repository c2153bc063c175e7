"""Top-p sets of large vocabularies, which leave the ranked list: each is checked to be one, in float64."""

import pytest
import torch

from overlap import VocabularyMap, measure
from overlap.core.buffers import Scratch
from overlap.statistics import nucleus
from overlap.vocab.vocab_pair import Side

KINDS = ("wide", "nearly uniform", "uniform", "heavy tail", "one and the rest", "few values")


def scores_of(kind, size):
    generator = torch.Generator().manual_seed(size)
    normal = torch.randn(size, generator=generator)
    return {
        "wide": 2.0 * normal,
        "nearly uniform": 1e-3 * normal,
        "uniform": torch.zeros(size),
        "heavy tail": -1.1 * torch.randperm(size, generator=generator).add(1).log(),
        "one and the rest": normal.index_fill(0, torch.tensor([size // 3]), 9.0),
        "few values": torch.randint(0, 4, (size,), generator=generator).float() - 300.0,
    }[kind]


def check(member, scores, admissible, p):
    """The members stand first in the order of scores, and reach p, and would not without the last of them.

    Scores that differ by less than float32 keeps in their exponentials may change places; equal ones may not.
    """
    order = scores.double().sort(descending=True, stable=True).indices
    order = order[admissible[order]]
    n = int(member.sum())
    ordered = scores.double()[order]
    expected = torch.zeros_like(member)
    expected[order[:n]] = True
    changed = (member != expected).nonzero()[:, 0]
    assert ((scores[changed].double() - ordered[n - 1]).abs() < 2e-7).all()
    assert not len(changed) or ordered[n - 1] != ordered[min(n, len(ordered) - 1)]
    mass = torch.softmax(ordered, 0).cumsum(0)
    assert mass[n - 1] >= p - 1e-6
    assert n == 1 or mass[n - 2] < p + 1e-6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.05, 0.5, 0.95, 0.9999])
@pytest.mark.parametrize(("size", "blocked"), [(20_000, ()), (5003, range(0, 5003, 3))])
def test_it_is_the_smallest_set_that_reaches_p(kind, dtype, p, size, blocked):
    scores = scores_of(kind, size).to(dtype)
    admissible = torch.ones(size, dtype=torch.bool)
    admissible[list(blocked)] = False
    side = Side.from_admissible(size, None if not blocked else admissible)
    log_z = scores.double()[admissible].logsumexp(0)
    member = nucleus._nucleus(scores, log_z, side, 1.0, p, Scratch(torch.device("cpu")), "nucleus")
    assert set(member.unique().tolist()) <= {0.0, 1.0}
    check(member.bool(), scores, admissible, p)


@pytest.mark.parametrize("kind", KINDS)
def test_few_looks_at_the_vocabulary(monkeypatch, kind):
    """Each look is a pass; bisection alone would take some 30 for the last digit."""
    looks = []
    look = nucleus._Bracket.move_end
    monkeypatch.setattr(nucleus._Bracket, "move_end", lambda self, mass: looks.append(mass) or look(self, mass))
    scores = scores_of(kind, 100_000)
    side = Side.from_admissible(scores.numel(), None)
    nucleus._nucleus(scores, scores.double().logsumexp(0), side, 1.0, 0.95, Scratch(torch.device("cpu")), "nucleus")
    assert len(looks) <= 12, len(looks)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_overlap_of_wide_nuclei(temperature):
    student, teacher = scores_of("wide", 9000), scores_of("wide", 9001)[:9000]
    shift = torch.randperm(9000, generator=torch.Generator().manual_seed(1))[:8000]
    table = torch.full((9000,), -1)
    table[shift] = torch.arange(8000)

    def nucleus(scores):
        mass, order = torch.softmax(scores.double() / temperature, 0).sort(descending=True, stable=True)
        return set(order[mass.cumsum(0) - mass < 0.95].tolist())

    own = {int(table[i]) for i in nucleus(student)} - {-1}
    other = {i for i in nucleus(teacher) if i < 8000}
    vocabulary = VocabularyMap.from_pairs(
        zip(shift.tolist(), range(8000), strict=True), student_size=9000, teacher_size=9000
    )
    statistics = measure(student, teacher, k=4, vocabulary=vocabulary, temperature=temperature)
    assert float(statistics.nucleus_overlap) == pytest.approx(len(own & other) / len(own | other), abs=1e-3)
    alike = measure(student, student.flip(0).flip(0), k=4, temperature=temperature)
    assert float(alike.nucleus_overlap) == 1.0


def test_mass_that_is_reached_exactly():
    """Two equal tokens have half of the mass each: the first is a set for p = 0.5 and the second is not needed."""
    statistics = measure(torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 10.0]]), k=1, top_p=0.5)
    assert statistics.nucleus_overlap.item() == 0.0


def test_ranks_beyond_the_list():
    """Tokens that are not among the ranked ones, equal scores by ascending id, blocked ids left out."""
    generator = torch.Generator().manual_seed(4)
    teacher = (10 * torch.randn(40, 9000, generator=generator)).round() / 10
    tokens = torch.randint(0, 9000, (40,), generator=generator)
    blocked = torch.randint(0, 9000, (3000,), generator=generator)
    statistics = measure(teacher, teacher, k=4, tokens=tokens, blocked=blocked)
    admissible = sorted(set(range(9000)) - set(blocked.tolist()))
    for row, token in enumerate(tokens.tolist()):
        if token not in admissible:
            assert statistics.teacher_rank[row].isnan()
            continue
        order = sorted(admissible, key=lambda i, row=row: (-float(teacher[row, i]), i))
        assert statistics.teacher_rank[row] == order.index(token) + 1


@pytest.mark.parametrize("left", [float("nan"), float("inf"), float("-inf"), 1e4])
def test_what_stands_at_a_blocked_id_does_not_matter(left):
    student, teacher = scores_of("wide", 9000), scores_of("nearly uniform", 9000)
    expected = measure(student, teacher, k=4, blocked=[5, 8999]).nucleus_overlap
    for scores in (student, teacher):
        scores[[5, 8999]] = left
    assert measure(student, teacher, k=4, blocked=[5, 8999]).nucleus_overlap == expected
