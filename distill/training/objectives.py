"""Training losses: cross-entropy on given transcripts, and on-policy objectives on both models' scores."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

import overlap
from overlap.core.topk import Support
from overlap.weights import RULES

from ..recipe import DivergenceObjective, Objective, PolicyGradientObjective
from ..scoring.rule_inputs import rule_inputs
from ..scoring.scores import Scores


def cross_entropy(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    """Return summed negative log-likelihood of the real tokens, in nats.

    Args:
        logits: [batch, length, vocabulary]; position t predicts `ids[:, t]`.
        ids: [batch, length] target tokens.
        mask: [batch, length] bool, True at real positions.
    """
    return F.cross_entropy(logits[mask].float(), ids[mask], reduction="sum")


@dataclass(frozen=True, eq=False)
class ObjectiveValue:
    """An objective at the n counted positions.

    Attributes:
        loss: Scalar in nats with the student's graph, summed over positions (0 if none counts), weighted if there are
            weights. Divided by n, not by the sum of weights, it is the mean loss, as in TRL.
        positions: n.
        student_mass: [n] the student's probability on the tokens of the objective. With a tail, the rest is one more
            token; without, it is ignored.
        teacher_mass: [n] the teacher's.
        weights: [n] float64, by which the loss's terms are multiplied, NaN where undefined: such terms are as without
            weights. None if the objective has none.
    """

    loss: Tensor
    positions: int
    student_mass: Tensor
    teacher_mass: Tensor
    weights: Tensor | None = None


def on_policy_objective(scores: Scores, objective: Objective) -> ObjectiveValue:
    """Return the objective of an on-policy stage, τ² times the divergence at every used position.

    =================  ==============================================  =====================================
    objective          tokens                                          probabilities normalized over
    =================  ==============================================  =====================================
    union (default)    both supports; forward KL without a tail        with `tail` (default) the full
                       is Eq. 1 of arXiv 2605.28139, "paper"           vocabulary, the rest as one token;
                                                                       without, those tokens
    teacher, student   one model's support                             as above
    vocabulary         every token that both models have               those tokens
    policy_gradient    the sampled token                               the full vocabulary
    =================  ==============================================  =====================================

    Blocked tokens are in no set and in no normalization, as far as the teacher's scores include them. Only the student
    receives gradients. For a policy gradient, τ is the temperature of sampling, and there is no factor τ². With
    `objective.weights`, the term of each position is multiplied by its weight, which has no gradient.

    Args:
        scores: Both models at the same positions, with the student's graph.
        objective: The objective.

    Raises:
        UserError: The teacher's scores are not sufficient for it.
    """
    scores.check_objective(objective)
    if isinstance(objective, DivergenceObjective) and objective.support == "vocabulary":
        return _full_vocabulary(scores, objective)
    # Select the counted rows: masked positions must not enter the arithmetic, not even multiplied by zero.
    looked_at = _tokens(scores, objective)
    tail = isinstance(objective, PolicyGradientObjective) or objective.tail
    log_p, student_mass = scores.student_on_set(looked_at, tail=tail)
    log_q, teacher_mass = scores.teacher_on_set(looked_at, tail=tail)
    if isinstance(objective, PolicyGradientObjective):
        drawn = looked_at.valid.squeeze(-1)
        each = overlap.sampled_reverse_kl(log_p[drawn, 0], log_q[drawn, 0], estimator=objective.estimator)
        weights = _weights(scores, objective)
        weights = None if weights is None else weights[drawn]
        return _summed(each, 1.0, student_mass[drawn], teacher_mass[drawn], weights)
    valid = torch.cat([looked_at.valid, looked_at.valid.any(-1, keepdim=True)], -1) if tail else looked_at.valid
    each = overlap.set_divergence(log_p, log_q.to(log_p.dtype), valid, kind=objective.divergence, beta=objective.beta)
    return _summed(each, scores.support.temperature**2, student_mass, teacher_mass, _weights(scores, objective))


def _summed(
    each: Tensor, factor: float, student_mass: Tensor, teacher_mass: Tensor, weights: Tensor | None
) -> ObjectiveValue:
    """The objective from its terms [n] before a factor, weighted or not."""
    weighted = each if weights is None else each * weights.nan_to_num(nan=1.0).to(each.dtype)
    return ObjectiveValue(factor * weighted.sum(), len(each), student_mass, teacher_mass, weights)


def _weights(scores: Scores, objective: Objective) -> Tensor | None:
    """[n] of the used positions; None if the objective has no weights."""
    if objective.weights is None:
        return None
    rule = RULES[objective.weights]
    return rule.weights(rule_inputs(scores, rule.needs))[scores.used]


def _tokens(scores: Scores, objective: Objective) -> Support:
    """Return [n, m] tokens of the objective, in the student's ids."""
    rows = scores.used
    if isinstance(objective, DivergenceObjective):
        assert objective.support != "vocabulary"
        chosen = {"union": scores.union, "student": scores.sets[0], "teacher": scores.sets[1]}[objective.support]
        return Support(chosen.ids[rows], chosen.valid[rows])
    drawn = scores.transcripts.ids[rows][:, None]
    return Support(drawn, scores.pair.shared_tokens[drawn])


def _full_vocabulary(scores: Scores, objective: DivergenceObjective) -> ObjectiveValue:
    """Return the divergence on all tokens that both models have; their probability is the mapped mass."""
    each, measured = scores.full_vocabulary_divergence(objective), scores.statistics()
    student_mass, teacher_mass = (measured[f"{side}_mapped_mass"][scores.used] for side in ("student", "teacher"))
    return _summed(each, scores.support.temperature**2, student_mass, teacher_mass, _weights(scores, objective))
