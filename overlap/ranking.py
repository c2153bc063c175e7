"""Statistics of order: the rank of a token, overlap of top-p sets, rank-biased overlap."""

from collections.abc import Iterator

import torch
from torch import Tensor

from overlap.pair import Pair, Side
from overlap.support import Support, intersection

PERSISTENCE = 0.9
"""Of `rank_biased_overlap`: the chance of a reader to go on to the next rank."""

_SORTED = 4096
"""A top-p set is cut by sorting when this many tokens or fewer are in doubt."""


def rank_of(tokens: Tensor, scores: Tensor, ranked_ids: Tensor, side: Side) -> Tensor:
    """Place of a token in a model's order of all admissible tokens, 1 for the best, equal scores by ascending id.

    Args:
        tokens: ``[n]`` ids, negative where there is none.
        scores: ``[n, V]`` raw scores of any floating type.
        ranked_ids: ``[n, m]`` the model's best ids in order.
        side: its vocabulary.

    Returns:
        ``[n]`` float32, NaN where the token is negative or blocked.
    """
    known = tokens >= 0
    if side.admissible is not None:
        known = known & side.admissible[tokens.clamp_min(0)]
    hit = ranked_ids == tokens[:, None]
    rank = torch.where(hit.any(-1), hit.float().argmax(-1) + 1.0, 0.0)
    for row in (known & (rank == 0)).nonzero()[:, 0].tolist():  # a row at a time, so that memory stays that of one
        token, values = int(tokens[row]), scores[row].float()
        before = (values > values[token]).float()
        before[:token] += (values[:token] == values[token]).float()
        before[side.blocked] = 0.0
        rank[row] = before.sum() + 1.0
    return torch.where(known, rank, torch.nan)


def nucleus_overlap(
    scores: tuple[Tensor, Tensor],
    ranked: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]],
    log_z: tuple[Tensor, Tensor],
    pair: Pair,
    temperature: float,
    p: float,
) -> Tensor:
    """Jaccard index of both models' top-p sets: the smallest sets of most probable tokens whose mass reaches p.

    Tokens that the other vocabulary does not have are dropped from a set once it is chosen, as from the supports.

    Args:
        scores: the student's and the teacher's raw scores, ``[n, V]`` of any floating type.
        ranked: of each, the best scores and ids in order, ``[n, m]``.
        log_z: of each, ``[n]`` float64, the logarithm of the partition function at ``temperature``.
        pair: the vocabularies.
        temperature: divides the scores.
        p: mass to reach, equal scores by ascending id.

    Returns:
        ``[n]``, NaN where both sets are empty.
    """
    supports, narrow = [], torch.ones_like(log_z[0], dtype=torch.bool)
    for (values, ids), z in zip(ranked, log_z, strict=True):
        mass = (values.double() / temperature - z[:, None]).exp()
        before = mass.cumsum(-1) - mass
        member = before < p
        supports.append(Support(ids.masked_fill(~member, 0), member))
        reached = mass.sum(-1) >= p
        narrow &= reached
    student, teacher = pair.student_support(supports[0]), pair.teacher_support(supports[1])
    shared = intersection(student, teacher).size
    result = shared / (student.size + teacher.size - shared)
    for row in (~narrow).nonzero()[:, 0].tolist():
        student = _nucleus(scores[0][row], log_z[0][row], pair.student, temperature, p)
        teacher = _nucleus(scores[1][row], log_z[1][row], pair.teacher, temperature, p)
        if pair.shared is not None:
            student, teacher = student[pair.shared[0]], teacher[pair.shared[1]]
        both = (student & teacher).float().sum()
        result[row] = both / (student.float().sum() + teacher.float().sum() - both)
    return result


def _nucleus(scores: Tensor, log_z: Tensor, side: Side, temperature: float, p: float) -> Tensor:
    """The top-p set of one row as ``[V]`` bool, by bisection on the least probability in it."""
    mass = (scores.float() / temperature - log_z.float()).exp_()
    mass[side.blocked] = 0.0
    low, high = 0.0, float(mass.max())  # all above `low` reach p, all above `high` do not
    above = torch.empty_like(mass)
    n_low, n_high, mass_high = mass.numel(), 0, 0.0
    guesses = _guesses(mass, p)
    while n_low - n_high > _SORTED and low < high * (1 - 1e-6):
        middle = next(guesses, (max(low, high * 1e-9) * high) ** 0.5)
        torch.gt(mass, middle, out=above)
        n, reached = int(above.sum()), float(torch.dot(above, mass))
        if reached >= p:
            low, n_low = max(low, middle), min(n_low, n)
        elif middle < high:
            high, n_high, mass_high = middle, n, reached
    doubtful = torch.gt(mass, low, out=above).mul_(mass <= high).nonzero()[:, 0]
    ordered, order = mass[doubtful].sort(descending=True, stable=True)
    before = ordered.double().cumsum(0) - ordered.double() + mass_high
    member = mass > high
    member[doubtful[order[before < p]]] = True
    return member


def _guesses(mass: Tensor, p: float) -> Iterator[float]:
    """Two probabilities between which the least one of the top-p set probably lies, from a sample of the tokens."""
    sample = mass[:: max(1, mass.numel() // _SORTED)].sort(descending=True).values
    cut = int(torch.searchsorted(sample.cumsum(0), p * sample.sum()))
    margin = sample.numel() // 32
    yield float(sample[max(cut - margin, 0)])
    yield float(sample[min(cut + margin, sample.numel() - 1)])


def rank_biased_overlap(student: Support, teacher: Support, persistence: float = PERSISTENCE) -> Tensor:
    """Extrapolated rank-biased overlap of two ranked lists (Webber, Moffat and Zobel 2010, equation 32).

    Args:
        student: ``[n, k]``, best first; invalid slots are dropped and the rest move up.
        teacher: likewise, in the same ids.
        persistence: weight of a rank over that of the rank before it.

    Returns:
        ``[n]``, 1 for equal lists, 0 for disjoint ones, NaN where either list is empty.
    """
    n, k = student.ids.shape
    lists = torch.cat([student.ids, teacher.ids], -1)
    valid = torch.cat([student.valid, teacher.valid], -1)
    depth = torch.cat([student.valid.cumsum(-1), teacher.valid.cumsum(-1)], -1)
    ordered, order = lists.masked_fill(~valid, -1).sort(dim=-1, stable=True)
    depth = depth.gather(-1, order)
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    deeper = torch.maximum(depth[:, 1:], depth[:, :-1])
    common = torch.zeros(n, k + 1, dtype=torch.float64, device=lists.device)
    common.scatter_add_(1, torch.where(twice, deeper, 0), twice.double())
    common = common[:, 1:].cumsum(-1)  # X_d, the tokens that both lists have within their first d
    d = torch.arange(1, k + 1, dtype=torch.float64, device=lists.device)
    short = torch.minimum(student.size, teacher.size).double()[:, None]
    long = torch.maximum(student.size, teacher.size).double()[:, None]
    at_short = common.gather(-1, (short.long() - 1).clamp_min(0))
    at_long = common.gather(-1, (long.long() - 1).clamp_min(0))
    agreement = common / d + torch.where(d > short, at_short * (d - short) / (short * d), 0.0)
    within = torch.where(d <= long, agreement * persistence**d, 0.0).sum(-1, keepdim=True)
    tail = ((at_long - at_short) / long + at_short / short) * persistence**long
    result = (1 - persistence) / persistence * within + tail
    return torch.where(short > 0, result, torch.nan)[:, 0].clamp(0.0, 1.0).float()
