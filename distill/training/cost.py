"""Time and memory of stages, as a dry run measures them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import overlap.estimates.table_formatting

from ..teacher_data.summary import TeacherDataSummary
from .seen_in_training import SeenInTraining, resolved

BRIEF = 8
"""Length of transcripts in probes and evaluations, to save time. Rollouts of training steps have their full length."""


@dataclass(frozen=True)
class StageCost:
    """Time and memory of a stage.

    Attributes:
        stage: Its name.
        kind: Its type.
        batch_size: Utterances per step.
        longest: Length of its longest utterance, in `unit`.
        unit: Seconds of audio (`s`), or `characters` of prompt and text.
        steps: Its largest number of steps; the recipe's `total_steps` may end the run earlier.
        seconds: Seconds of its second step, by phase.
        peak_gib: Peak memory: of the accelerator, or of the process on a CPU.
        teacher_data: Result of the stage's filters on these utterances, if the teacher transcribes them.
    """

    stage: str
    kind: str
    batch_size: int
    longest: float
    unit: str
    steps: int
    seconds: Mapping[str, float]
    peak_gib: float
    teacher_data: TeacherDataSummary | None = None

    @property
    def seconds_a_step(self) -> float:
        """All phases together."""
        return sum(self.seconds.values())


@dataclass(frozen=True)
class DryRun:
    """Upper bounds of a run's time and memory by stage, and the data that its models were trained on before."""

    stages: tuple[StageCost, ...]
    device: str
    seen_in_training: tuple[SeenInTraining, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return a tree that JSON can hold."""
        return {
            "device": self.device,
            "stages": [
                {name: getattr(cost, name) for name in StageCost.__dataclass_fields__}
                | {"seconds_a_step": cost.seconds_a_step}
                | {"teacher_data": None if cost.teacher_data is None else cost.teacher_data.to_dict()}
                for cost in self.stages
            ],
            **resolved(self.seen_in_training),
        }

    def __str__(self) -> str:
        header = [
            "stage",
            "type",
            "batch",
            "longest",
            "seconds per step",
            "slowest phase",
            "steps",
            "hours",
            "peak GiB",
        ]
        rows = []
        for cost in self.stages:
            phase = max(cost.seconds, key=lambda name: cost.seconds[name])
            hours = cost.steps * cost.seconds_a_step / 3600
            row = [
                cost.stage,
                cost.kind,
                str(cost.batch_size),
                f"{cost.longest:.4g} {cost.unit}",
                f"{cost.seconds_a_step:.3g}",
            ]
            row += [f"{phase} {cost.seconds[phase]:.3g}", f"{cost.steps:,}", f"{hours:.2f}", f"{cost.peak_gib:.2f}"]
            rows.append(row)
        table = overlap.estimates.table_formatting.text_table(header, rows, left=(0, 1))
        filtered = "".join(
            f"\n{cost.stage}: of these, {cost.teacher_data.line}"
            for cost in self.stages
            if cost.teacher_data is not None
        )
        return (
            f"{table}\n\nOne step on the longest utterances of each stage (n = 1), on {self.device}: upper bounds on "
            "an idle machine.\nProbes, evaluations and teacher transcripts take additional time; the memory includes "
            f"them, with texts of {BRIEF} tokens in probes and evaluations.{filtered}"
            + "".join(f"\n\nWarning: {one}" for one in self.seen_in_training if one.seen)
        )
