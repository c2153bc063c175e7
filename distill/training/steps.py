"""One training step of each kind of stage: SFT and TD train on given transcripts, OPD on the student's rollouts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import overlap
from overlap.estimates.distributed import gathered
from overlap.estimates.group_sums import GroupSums

from ..data.batch import Batch
from ..models import Recognizer, Transcripts
from ..recipe import OnPolicyStage, StageConfig, SupportSettings
from ..scoring.local_or_served import compare
from ..scoring.pair import Pair
from ..teacher_data.labels import labels
from ..timing import Stopwatch
from .objectives import cross_entropy, on_policy_objective
from .soft_switches import Mixture
from .trust_region import blended_rollout

STUDENT_ALONE = Mixture()
BLEND = "blend"
"""Whose states transcripts are that both models wrote together."""


@dataclass(frozen=True)
class StepOutcome:
    """Loss of this process's share of a batch.

    Attributes:
        loss: Scalar with a graph, in nats, summed over positions.
        positions: Number of positions in the sum.
        seen: What was measured; None if nothing was.
    """

    loss: Tensor
    positions: int
    seen: Seen | None = None


@dataclass(frozen=True)
class Seen:
    """What an on-policy step measured on a process's share of a batch, or on a part of it.

    Attributes:
        states: Whose transcripts were scored.
        sums: Sums of the token statistics.
        funnel: Position funnel.
        lengths: [rollouts] tokens of text.
        finished: [rollouts] bool.
        masses: [positions, 2] probability of student and teacher on the tokens of the objective.
        weights: [positions] of the loss's terms, NaN where undefined; None if they have none.
        blend: [written tokens, 2] see `Written`; None if the student wrote alone.
    """

    states: str
    sums: GroupSums
    funnel: overlap.Funnel
    lengths: Tensor
    finished: Tensor
    masses: Tensor
    weights: Tensor | None = None
    blend: Tensor | None = None


def training_step(
    stage: StageConfig,
    student: Recognizer,
    pair: Pair | None,
    batch: Batch,
    support: SupportSettings,
    clock: Stopwatch,
    mixture: Mixture = STUDENT_ALONE,
    clean: Batch | None = None,
    written: Written | None = None,
) -> StepOutcome:
    """Return the step of a stage of any type.

    Args:
        stage: Its configuration.
        student: The model that is trained.
        pair: The student with its teacher; needed on-policy only.
        batch: This process's share of the batch or a part of it, with text unless on-policy.
        support: k and temperature.
        clock: Takes the seconds by phase.
        mixture: On-policy, how much of the teacher is in the transcripts.
        clean: The same utterances before the stage's augmentation, if it has one.
        written: On-policy, the transcripts of the step, if they are already written.
    """
    if stage.type == "opd":
        assert pair is not None
        teachers = clean if stage.teacher_audio == "clean" else None
        written = written or write(pair, batch, stage, clock, mixture, teachers)
        return on_policy_step(pair, batch, stage, support, clock, written, teachers)
    return supervised_step(student, batch, clock)


def supervised_step(student: Recognizer, batch: Batch, clock: Stopwatch) -> StepOutcome:
    """Return cross-entropy on the labels of a batch: references in SFT, teacher transcripts in TD.

    The student remains in training mode, which recomputation in the backward pass needs.
    """
    with clock("student"):
        targets, prompt = labels(student, batch.utterances), batch.prompt(student)
        student.model.train()
        logits = student.score(prompt, targets)
        loss = cross_entropy(logits, targets.ids, targets.mask)
    return StepOutcome(loss, int(targets.mask.sum()))


def on_policy_step(
    pair: Pair,
    batch: Batch,
    stage: OnPolicyStage,
    support: SupportSettings,
    clock: Stopwatch,
    written: Written,
    teachers_batch: Batch | None = None,
) -> StepOutcome:
    """Score transcripts with both models, and compute the stage's objective at the positions that count.

    The student is scored in evaluation mode, as it wrote, unless the stage asks for dropout; it then remains
    in training mode, as after `supervised_step`.

    Args:
        pair: The two models.
        batch: The student's audio.
        stage: Rollouts and objective.
        support: k and temperature.
        clock: Takes the seconds by phase.
        written: The transcripts.
        teachers_batch: The teacher's audio, if it differs.
    """
    with clock("student"):
        batch.prompt(pair.student)  # made in evaluation mode: Whisper may detect the language
        pair.student.model.train(stage.dropout)
    scores = compare(
        pair,
        batch,
        written.transcripts,
        support,
        gradients=True,
        drop_empty=stage.empty_rollout == "drop",
        drop_truncated=stage.mask_truncated,
        refused=written.refused,
        teachers_batch=teachers_batch,
        clock=clock,
    )
    with clock("student"):
        own = written.states == "student"  # rules weight what the student wrote
        asked = stage.objective if own else stage.objective.model_copy(update={"weights": None})
        objective = on_policy_objective(scores, asked)
    with clock("measure"):
        seen = Seen(
            written.states,
            scores.sums(),
            scores.funnel,
            written.transcripts.lengths.cpu(),
            written.transcripts.finished.cpu(),
            torch.stack([objective.student_mass, objective.teacher_mass], -1).double().cpu(),
            None if objective.weights is None else objective.weights.cpu(),
            written.blend,
        )
    return StepOutcome(objective.loss, objective.positions, seen)


def step_metrics(seen: Sequence[Seen]) -> dict[str, Any]:
    """Return measured fields of a step's row in `metrics.jsonl`, over all processes; each process must call it.

    Args:
        seen: Measurements of this process, one for each part of its share; empty if nothing is measured.
    """
    parts = [part for share in gathered(tuple(seen)) for part in share]
    if not parts:
        return {}
    student_mass, teacher_mass = torch.cat([part.masses for part in parts]).mean(0).tolist()
    rollouts = batch_summary(torch.cat([part.lengths for part in parts]), torch.cat([part.finished for part in parts]))
    weights = [part.weights for part in parts if part.weights is not None]
    blends = [part.blend for part in parts if part.blend is not None]
    return {
        "overlap": means(GroupSums.merged([part.sums for part in parts])),
        "objective": {"student_mass": student_mass, "teacher_mass": teacher_mass},
        "funnel": sum((part.funnel for part in parts), overlap.Funnel.empty()).to_dict(),
        "rollouts": {"states": "+".join(sorted({part.states for part in parts}))} | rollouts,
        **({"weights": weight_summary(torch.cat(weights))} if weights else {}),
        **({"trust_region": blend_summary(torch.cat(blends))} if blends else {}),
    }


def weight_summary(weights: Tensor) -> dict[str, float]:
    """Number of positions with a defined weight, and their mean weight, NaN without any."""
    defined = weights[~weights.isnan()]
    return {"n": len(defined), "mean": float(defined.mean())}


def blend_summary(blend: Tensor) -> dict[str, float]:
    """Return the number of tokens that both models wrote together, the mean weight of the teacher and the mean KL from
    the student in nats, and the share of tokens for which the teacher was inside the trust region; means are NaN
    without a token."""
    beta, divergence = blend.double().unbind(-1)
    inside = float((beta == 1).double().mean())
    return {"n": len(blend), "beta": float(beta.mean()), "divergence": float(divergence.mean()), "inside": inside}


@dataclass(frozen=True, eq=False)
class Written:
    """Transcripts of a part of an on-policy step.

    Attributes:
        states: Whose they are.
        transcripts: In the student's ids.
        refused: [rollouts] bool, those that the step does not train on; None refuses none.
        blend: [tokens, 2] the teacher's weight and the KL from the student at each token that both wrote together; None
            if one of them wrote alone.
    """

    states: str
    transcripts: Transcripts
    refused: Tensor | None = None
    blend: Tensor | None = None

    @property
    def is_rollout(self) -> bool:
        """Whether they were written in this step, by the student or by both."""
        return self.states in ("student", BLEND)


def write(
    pair: Pair,
    batch: Batch,
    stage: OnPolicyStage,
    clock: Stopwatch,
    mixture: Mixture,
    teachers_batch: Batch | None = None,
) -> Written:
    """Return the transcripts of a part of a step: rollouts of the student, those of both models within the stage's
    trust region, or those of its off-policy share.

    Args:
        pair: The two models.
        batch: The student's audio.
        stage: Rollouts and off-policy share.
        clock: Takes the seconds by phase.
        mixture: Which of them.
        teachers_batch: The teacher's audio, if it differs.
    """
    student, rollout = pair.student, stage.rollout
    with clock("rollout"):
        if mixture.off_policy:
            assert stage.off_policy is not None
            return Written(stage.off_policy.states, labels(student, batch.utterances))
        if mixture.radius > 0:
            transcripts, blended = blended_rollout(pair, batch, rollout, mixture.radius, teachers_batch)
            return Written(BLEND, transcripts, blend=blended)
        written = student.rollout(
            batch.prompt(student),
            max_new_tokens=rollout.limit,
            sample=rollout.sample,
            temperature=rollout.temperature,
        )
        return Written("student", written)


def means(sums: GroupSums) -> dict[str, float]:
    """Return means over all positions; NaN if a statistic is defined at none."""
    totals, counts = sums.sums.sum(0), sums.counts.sum(0)
    return {
        name: float(total / n) if n else math.nan for name, total, n in zip(sums.names, totals, counts, strict=True)
    }


def batch_summary(lengths: Tensor, finished: Tensor) -> dict[str, float]:
    """Return counts of a batch of rollouts: all, empty, not ended, and text tokens per rollout."""
    return {
        "n": len(lengths),
        "n_empty": int(((lengths == 0) & finished).sum()),
        "n_truncated": int((~finished).sum()),
        "mean_tokens": float(lengths.float().mean()),
    }
