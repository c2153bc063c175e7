"""What rules that weight single positions read of a comparison of two models."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from overlap.core import chunking
from overlap.core.topk import Support, intersection, top_k
from overlap.weights import ACCEPTED_RANK, NUCLEUS_MASS, SET_SIZE, RuleInputs

from .local import LogitsScores
from .scores import Scores
from .served import TopkScores, topk_set

_MEASURED = ("student_logprob", "teacher_logprob", "student_entropy", "teacher_entropy", "reverse_kl")
"""Values that are token statistics, at the temperature of the comparison."""


@torch.no_grad()
def rule_inputs(scores: Scores, needs: Collection[str] | None = None) -> RuleInputs:
    """The values at the used positions; of a served teacher, those that its best tokens determine.

    Sets have `overlap.weights.SET_SIZE` tokens whatever k of the comparison is.

    Args:
        scores: The comparison.
        needs: Names of the values to compute; None computes all.
    """

    def wanted(name: str) -> bool:
        return needs is None or name in needs

    found: dict[str, Tensor] = {}
    if wanted("overlap_ratio") or wanted("best_in_teachers"):
        found |= _of_sets(scores)
    if isinstance(scores, LogitsScores):
        if any(map(wanted, _MEASURED)):
            measured = scores.statistics()
            found |= {name: measured[name] for name in _MEASURED}
        if wanted("outside_nucleus"):
            found["outside_nucleus"] = _outside_nucleus(scores)
    return RuleInputs(scores.used, **{name: value for name, value in found.items() if wanted(name)})


def _of_sets(scores: Scores) -> dict[str, Tensor]:
    """The values that are of both models' best tokens; NaN where a server shows too few, absent where it never can."""
    pair, k = scores.pair, set_size(scores)
    accepted = min(ACCEPTED_RANK, k)
    listed = scores.topk_ids.shape[-1] if isinstance(scores, TopkScores) else k
    student, teacher = _best(scores, k)
    # A local teacher's set is smaller than k only where no other token has a probability above 0.
    enough = teacher.size if isinstance(scores, TopkScores) else torch.full_like(teacher.size, k)
    found: dict[str, Tensor] = {}
    if listed >= accepted:
        in_both = intersection(*pair.shared_sets(_first(student, 1), _first(teacher, accepted))).size
        found["best_in_teachers"] = _at(in_both, scores.used & (enough >= accepted))
    if listed >= k:
        in_both = intersection(*pair.shared_sets(student, teacher)).size
        found["overlap_ratio"] = _at(in_both / k, scores.used & (enough >= k))
    return found


def set_size(scores: Scores) -> int:
    """`overlap.weights.SET_SIZE`, or fewer if a model may write fewer tokens."""
    return min(SET_SIZE, *(int((~blocked).sum()) for blocked in (scores.pair.blocked, scores.pair.teacher_blocked)))


def _best(scores: Scores, k: int) -> tuple[Support, Support]:
    """Both models' k best tokens, best first, each in its own ids, at the used positions."""
    pair, used = scores.pair, scores.used
    student = top_k(scores.student_logits, k, blocked=pair.blocked, mask=used)
    if isinstance(scores, TopkScores):
        return student, topk_set(pair, scores.topk_ids, k)
    assert isinstance(scores, LogitsScores)
    return student, top_k(scores.teacher_logits, k, blocked=pair.teacher_blocked, mask=used)


def _first(support: Support, k: int) -> Support:
    return Support(support.ids[..., :k], support.valid[..., :k])


def _outside_nucleus(scores: LogitsScores) -> Tensor:
    """1 where the tokens that the teacher prefers to the written one have the nucleus' mass without it."""
    used, temperature = scores.used, scores.support.temperature
    tokens = scores.pair.teacher_ids(scores.transcripts.ids)[used][:, None]
    logprob = scores.statistics()["teacher_logprob"][used]
    result = torch.zeros_like(logprob, dtype=torch.float64).masked_fill(logprob.isnan(), torch.nan)
    # Tokens with more mass than is left outside are inside: few rows remain to be summed over the vocabulary.
    doubtful = (logprob.exp() <= 1 - NUCLEUS_MASS).nonzero().squeeze(-1)
    rows, log_z = used.nonzero()[doubtful], scores.teacher_log_partition[used][doubtful]
    size = scores.teacher_logits.shape[-1]
    for part in chunking.parts_of(len(doubtful), size, chunking.CHUNK_ELEMENTS):
        b, t = rows[part].unbind(-1)
        logits = scores.teacher_logits[b, t].float().masked_fill(scores.pair.teacher_blocked, -torch.inf)
        token = tokens[doubtful[part]]
        own = logits.gather(-1, token)
        ids = torch.arange(size, device=logits.device)
        ahead = (logits > own) | ((logits == own) & (ids < token))
        mass = (logits.double() / temperature - log_z[part, None]).exp().masked_fill(~ahead, 0.0).sum(-1)
        result[doubtful[part]] = (mass >= NUCLEUS_MASS).double()
    return _at_used(result, used)


def _at(values: Tensor, known: Tensor) -> Tensor:
    return values.double().masked_fill(~known, torch.nan)


def _at_used(values: Tensor, used: Tensor) -> Tensor:
    """Values of the used positions at their places, NaN elsewhere."""
    result = torch.full(used.shape, torch.nan, dtype=values.dtype, device=values.device)
    result[used] = values
    return result
