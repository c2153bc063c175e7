"""Rollouts that an on-policy step refuses, and what the step is then taken on; after X-AuT's rule, constants ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from overlap.estimates.distributed import gathered
from overlap.estimates.sequences import repetition, token_rate

from ..data.audio import duration
from ..data.batch import Batch
from ..data.manifest import Utterance
from ..models import Recognizer, Transcripts
from ..recipe import OnPolicyStage, Reject
from ..scoring.pair import Pair
from ..timing import Stopwatch
from .soft_switches import Mixture
from .steps import Written, write

TakenOn = Literal["rollouts", "teacher", "nothing", "off_policy"]


@dataclass(frozen=True, eq=False)
class Refused:
    """Which rollouts of a part of a step are refused.

    Attributes:
        rows: [rollouts] bool, refused for any reason.
        unfinished: Number that reached the limit on their length.
        repetitive: Number that repeat themselves.
        too_long: Number that are too long for their audio.
    """

    rows: Tensor
    unfinished: int
    repetitive: int
    too_long: int


def refused(rule: Reject, student: Recognizer, written: Transcripts, utterances: Sequence[Utterance]) -> Refused:
    """Judge the rollouts of a part of a step.

    Args:
        rule: What is refused.
        student: Wrote them.
        written: The rollouts.
        utterances: Of each.
    """
    nothing = torch.zeros(len(utterances), dtype=torch.bool)
    unfinished = ~written.finished.cpu() if rule.unfinished else nothing
    repetitive = too_long = nothing
    if rule.repetition is not None:
        repetitive = torch.tensor([repetition(text) > rule.repetition for text in student.decode(written)])
    if rule.tokens_per_second is not None:
        rates = [token_rate(int(n), duration(u)) for n, u in zip(written.lengths.cpu(), utterances, strict=True)]
        too_long = torch.tensor([rate > rule.tokens_per_second for rate in rates])
    counts = (int(rows.sum()) for rows in (unfinished, repetitive, too_long))
    return Refused(unfinished | repetitive | too_long, *counts)


@dataclass(frozen=True, eq=False)
class Plan:
    """What a step of a stage with `reject` is taken on.

    Attributes:
        taken_on: Its rollouts without the refused ones; the teacher's transcripts or nothing instead of them; or
            `off_policy`, transcripts of the stage's off-policy share, where the step has no rollout to judge.
        written: Transcripts of each part.
        teachers: Each part with the teacher's texts, without the utterances that have none; None where none has.
        row: Field `rejection` of the step's row in `metrics.jsonl`. A step without rollouts leaves `in_a_row` as it
            was: it says nothing of what the student writes.
    """

    taken_on: TakenOn
    written: Sequence[Written]
    teachers: Sequence[Batch | None]
    row: dict[str, Any]


def planned(
    stage: OnPolicyStage,
    pair: Pair,
    batches: Sequence[Batch],
    mixtures: Sequence[Mixture],
    teacher_texts: Mapping[str, Utterance],
    before: int,
    clock: Stopwatch,
    teachers_batches: Sequence[Batch | None],
) -> Plan:
    """Write the rollouts of a step and decide for all processes together; each must call it.

    Args:
        stage: Has `reject`.
        pair: The two models.
        batches: The parts of this process's share.
        mixtures: Of each part, see `distill.training.steps.write`.
        teacher_texts: Utterances with the teacher's text, by id.
        before: Refused steps in a row before this one.
        clock: Takes the seconds by phase.
        teachers_batches: The teacher's audio of each part; None where it is the student's.
    """
    rule = stage.reject
    assert rule is not None
    parts_of_step = zip(batches, mixtures, teachers_batches, strict=True)
    written = [write(pair, batch, stage, clock, mixture, theirs) for batch, mixture, theirs in parts_of_step]
    with clock("rollout"):
        judged = [
            refused(rule, pair.student, one.transcripts, batch.utterances) if one.is_rollout else None
            for one, batch in zip(written, batches, strict=True)
        ]
    teachers = [_with_teacher_texts(batch, teacher_texts) for batch in batches]
    parts = [part for part in judged if part is not None]
    names = ("unfinished", "repetitive", "too_long")
    counts = [sum(getattr(part, name) for part in parts) for name in names]
    own = (sum(len(part.rows) for part in parts), sum(int(part.rows.sum()) for part in parts), *counts)
    shares = gathered((*own, sum(batch is None for batch in teachers)))
    n, of_them, *reasons, without = (sum(column) for column in zip(*shares, strict=True))
    refuses = n > 0 and of_them >= rule.share * n
    taken_on: TakenOn = ("nothing" if without else "teacher") if refuses else "rollouts" if n else "off_policy"
    in_a_row = before + 1 if refuses else 0 if n else before
    row = {"n": n, "refused": of_them, **dict(zip(names, reasons, strict=True)), "taken_on": taken_on}
    kept = [one if part is None else replace(one, refused=part.rows) for one, part in zip(written, judged, strict=True)]
    return Plan(taken_on, kept, teachers, row | {"in_a_row": in_a_row})


def _with_teacher_texts(batch: Batch, texts: Mapping[str, Utterance]) -> Batch | None:
    pairs = [(texts[u.id], wave) for u, wave in zip(batch.utterances, batch.waveforms, strict=True) if u.id in texts]
    return Batch(tuple(u for u, _ in pairs), tuple(wave for _, wave in pairs)) if pairs else None
