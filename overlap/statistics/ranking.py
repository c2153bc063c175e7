"""Statistics of order: the rank of a token, rank-biased overlap."""

import torch
from torch import Tensor

from overlap.core.topk import Support
from overlap.vocab.vocab_pair import Side

PERSISTENCE = 0.9
"""Persistence of `rank_biased_overlap`: the probability that a reader continues to the next rank."""


def rank_of(tokens: Tensor, scores: Tensor, ranked: tuple[Tensor, Tensor], side: Side) -> Tensor:
    """Return the rank of a token among all admissible tokens of a model, 1 for the best, equal scores by ascending id.

    Args:
        tokens: ``[n]`` ids, negative where there is none.
        scores: ``[n, V]`` raw scores of any floating type.
        ranked: the model's best scores and ids in order, ``[n, m]`` each.
        side: its vocabulary.

    Returns:
        ``[n]`` float32, NaN where the token is negative or blocked.
    """
    known = tokens >= 0
    if side.admissible is not None:
        known = known & side.admissible[tokens.clamp_min(0)]
    # Among scores of −inf the ranking does not distinguish blocked tokens from others.
    hit = (ranked[1] == tokens[:, None]) & (ranked[0] > -torch.inf)
    rank = torch.where(hit.any(-1), hit.float().argmax(-1) + 1.0, 0.0)
    for row in (known & (rank == 0)).nonzero()[:, 0].tolist():  # one row at a time, to limit memory
        token, values = int(tokens[row]), scores[row].float()
        before = (values > values[token]).float()
        before[:token] += (values[:token] == values[token]).float()
        before[side.blocked] = 0.0
        rank[row] = before.sum() + 1.0
    return torch.where(known, rank, torch.nan)


def rank_biased_overlap(student: Support, teacher: Support, persistence: float = PERSISTENCE) -> Tensor:
    """Return extrapolated rank-biased overlap of two ranked lists (Webber, Moffat and Zobel 2010, equation 32).

    Args:
        student: ``[n, k]``, best first; invalid slots are dropped and the rest move up.
        teacher: likewise, in the same ids.
        persistence: weight of a rank over that of the rank before it.

    Returns:
        ``[n]``, 1 for equal lists, 0 for disjoint ones, NaN where either list is empty.
    """
    n, k = student.ids.shape
    ids = torch.cat([student.ids, teacher.ids], -1)
    valid = torch.cat([student.valid, teacher.valid], -1)
    depth = torch.cat([student.valid.cumsum(-1), teacher.valid.cumsum(-1)], -1)
    ordered, order = ids.masked_fill(~valid, -1).sort(dim=-1, stable=True)
    depth = depth.gather(-1, order)
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    deeper = torch.maximum(depth[:, 1:], depth[:, :-1])
    common = torch.zeros(n, k + 1, dtype=torch.float64, device=ids.device)
    common.scatter_add_(1, torch.where(twice, deeper, 0), twice.double())
    common = common[:, 1:].cumsum(-1)  # X_d, the number of tokens that both rankings share in their first d
    d = torch.arange(1, k + 1, dtype=torch.float64, device=ids.device)
    short = torch.minimum(student.size, teacher.size).double()[:, None]
    long = torch.maximum(student.size, teacher.size).double()[:, None]
    at_short = common.gather(-1, (short.long() - 1).clamp_min(0))
    at_long = common.gather(-1, (long.long() - 1).clamp_min(0))
    agreement = common / d + torch.where(d > short, at_short * (d - short) / (short * d), 0.0)
    within = torch.where(d <= long, agreement * persistence**d, 0.0).sum(-1, keepdim=True)
    tail = ((at_long - at_short) / long + at_short / short) * persistence**long
    result = (1 - persistence) / persistence * within + tail
    return result[:, 0].float()  # 0/0 if a ranking is empty
