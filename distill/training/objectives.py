"""Training losses: cross-entropy on given transcripts, and on-policy objectives on both models' logits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

import overlap
from overlap.core.topk import Support
from overlap.errors import UserError
from overlap.losses.divergence_on_set import set_mass

from ..recipe import DivergenceObjective, Objective, PolicyGradientObjective
from ..scoring.local import Comparison
from ..scoring.pair import Pair
from ..scoring.served import ListedComparison


def cross_entropy(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    """Summed negative log-likelihood of the real tokens, in nats.

    Args:
        logits: [batch, length, vocabulary]; position t predicts `ids[:, t]`.
        ids: [batch, length] target tokens.
        mask: [batch, length] bool, True at real positions.
    """
    return F.cross_entropy(logits[mask].float(), ids[mask], reduction="sum")


ROUNDING = 1e-7
"""Least mass of a served teacher's tail: that of float32 sums."""


@dataclass(frozen=True, eq=False)
class ObjectiveValue:
    """An objective at the positions of a comparison that count, n of them.

    Attributes:
        loss: Scalar in nats with the student's graph, summed over positions (0 where none counts).
        positions: n.
        student_mass: [n] what the student puts on the tokens that the objective looks at; what it puts elsewhere is
            one bucket with a tail, and unseen without.
        teacher_mass: [n] likewise.
    """

    loss: Tensor
    positions: int
    student_mass: Tensor
    teacher_mass: Tensor


def on_policy_objective(comparison: Comparison, objective: Objective) -> ObjectiveValue:
    """The objective of an on-policy stage, τ² times the divergence at every used position.

    =================  ==============================================  =====================================
    objective          tokens looked at                                probabilities normalized over
    =================  ==============================================  =====================================
    union (default)    both top-k sets; forward KL without a tail      with `tail` (default) the whole
                       is Eq. 1 of arXiv 2605.28139, "paper"           vocabulary, the rest as one token;
                                                                       without, those tokens
    teacher, student   one model's top-k set                           as above
    vocabulary         every token that both models have               those tokens
    policy_gradient    the token drawn                                 the whole vocabulary
    =================  ==============================================  =====================================

    Blocked tokens are in no set and in no normalization. Gradients reach the student only. A policy gradient takes
    τ as that of the draw, without the factor τ².

    Args:
        comparison: Both models at the same positions, with the student's graph.
        objective: Which.
    """
    if isinstance(objective, DivergenceObjective) and objective.support == "vocabulary":
        return _whole_vocabulary(comparison, objective)
    # Select the counted rows first: masked positions must not enter the arithmetic, not even multiplied by zero.
    rows, pair, temperature = comparison.used, comparison.pair, comparison.support.temperature
    student, teacher = comparison.student_logits[rows], comparison.teacher_logits[rows]
    looked_at = _tokens(comparison, objective)
    theirs = Support(pair.teacher_ids(looked_at.ids), looked_at.valid)
    sides = ((student, looked_at, ~pair.blocked), (teacher, theirs, ~pair.teacher_blocked))
    masses = [
        set_mass(logits, chosen.ids, chosen.valid, temperature=temperature, admissible=admissible)
        for logits, chosen, admissible in sides
    ]
    tail = isinstance(objective, PolicyGradientObjective) or objective.tail
    log_p, log_q = (
        overlap.set_logprobs(
            logits, chosen.ids, chosen.valid, tail=tail, temperature=temperature, admissible=admissible
        )
        for logits, chosen, admissible in sides
    )
    if isinstance(objective, PolicyGradientObjective):
        drawn = looked_at.valid.squeeze(-1)
        each = overlap.sampled_reverse_kl(log_p[drawn, 0], log_q[drawn, 0], estimator=objective.estimator)
        return ObjectiveValue(each.sum(), int(drawn.sum()), masses[0][drawn], masses[1][drawn])
    valid = torch.cat([looked_at.valid, looked_at.valid.any(-1, keepdim=True)], -1) if tail else looked_at.valid
    each = overlap.set_divergence(log_p, log_q, valid, kind=objective.divergence, beta=objective.beta)
    return ObjectiveValue(temperature**2 * each.sum(), len(each), *masses)


def listed_objective(comparison: ListedComparison, objective: DivergenceObjective) -> ObjectiveValue:
    """A divergence on the top-k set of a served teacher, the only one of which its lists tell.

    With `tail` the teacher's probabilities are over what its list does not show to be blocked: blocked tokens that are
    not listed stay in the tail.

    Args:
        comparison: The student's logits, with its graph, and the teacher's lists.
        objective: One with `support = "teacher"`.

    Raises:
        UserError: Another support.
    """
    if objective.support != "teacher":
        raise UserError(f"objective: a served teacher has no support {objective.support!r}, only its own (teacher)")
    rows, pair, teachers = comparison.used, comparison.pair, comparison.sets[1]
    student, ids, valid = comparison.student_logits[rows], teachers.ids[rows], teachers.valid[rows]
    log_p = overlap.set_logprobs(student, ids, valid, tail=objective.tail, admissible=~pair.blocked)
    listed = comparison.teacher_ids[rows]
    blocked = (listed >= 0) & pair.teacher_blocked[listed.clamp_min(0)]
    outside = torch.where(blocked, comparison.teacher_logprobs[rows].exp(), 0.0).sum(-1, keepdim=True)
    own = comparison.teacher_logprobs_of(teachers.ids)[rows] - torch.log1p(-outside)
    own = own.masked_fill(~valid, torch.finfo(torch.float32).min)
    mass = torch.where(valid, own.exp(), 0.0).sum(-1)
    if objective.tail:
        rest = (1 - mass).clamp_min(ROUNDING).log()
        log_q = torch.cat([own, rest[:, None]], -1)
        counted = torch.cat([valid, valid.any(-1, keepdim=True)], -1)
    else:
        log_q, counted = own.log_softmax(-1), valid
    each = overlap.set_divergence(log_p, log_q.to(log_p.dtype), counted, kind=objective.divergence, beta=objective.beta)
    student_mass = set_mass(student, ids, valid, admissible=~pair.blocked)
    return ObjectiveValue(each.sum(), len(each), student_mass, mass)


def _tokens(comparison: Comparison, objective: Objective) -> Support:
    """[n, m] what the objective looks at, in the student's ids."""
    rows, pair = comparison.used, comparison.pair
    if isinstance(objective, DivergenceObjective):
        assert objective.support != "vocabulary"
        chosen = {"union": comparison.union, "student": comparison.sets[0], "teacher": comparison.sets[1]}
        return Support(chosen[objective.support].ids[rows], chosen[objective.support].valid[rows])
    drawn = comparison.transcripts.ids[rows][:, None]
    return Support(drawn, _of_both(pair)[drawn])


def _of_both(pair: Pair) -> Tensor:
    """[student's vocabulary] bool, tokens that both models may write."""
    return ~pair.blocked if pair.vocabulary is None else ~pair.blocked & (pair.vocabulary.student_to_teacher >= 0)


def _whole_vocabulary(comparison: Comparison, objective: DivergenceObjective) -> ObjectiveValue:
    """The divergence on every token that both models have, in few passes over the logits."""
    rows, pair, temperature = comparison.used, comparison.pair, comparison.support.temperature
    exists = _of_both(pair)
    ids = None
    if not bool(exists.all()) or pair.vocabulary is not None:
        chosen = exists.nonzero().squeeze(-1)
        ids = chosen, pair.teacher_ids(chosen)
    each = overlap.full_vocabulary_divergence(
        comparison.student_logits,
        comparison.teacher_logits,
        rows,
        kind=objective.divergence,
        beta=objective.beta,
        temperature=temperature,
        ids=ids,
    )
    masses = [torch.ones_like(each), torch.ones_like(each)]
    if ids is not None and pair.vocabulary is not None:
        sides = (comparison.student_logits, pair.blocked), (comparison.teacher_logits, pair.teacher_blocked)
        masses = [
            set_mass(
                logits.detach()[rows],
                chosen.expand(len(each), -1),
                torch.ones(len(each), len(chosen), dtype=torch.bool, device=each.device),
                temperature=temperature,
                admissible=~blocked,
            )
            for (logits, blocked), chosen in zip(sides, ids, strict=True)
        ]
    return ObjectiveValue(temperature**2 * each.sum(), len(each), *masses)
