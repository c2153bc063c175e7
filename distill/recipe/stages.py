"""The stages of a recipe, one section a type, each with data, optimisation settings and a gate of its own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from .gates import FixedStepsGate, GateConfig
from .section import Count, NonNegative, Positive, Probability, Section


class Decoding(Section):
    """How a model writes a transcript."""

    sample: bool = False
    temperature: Positive = 1.0
    max_new_tokens: PositiveInt = 256


class Curriculum(Section):
    """Begin with the shortest utterances and admit longer ones linearly over `steps`."""

    steps: PositiveInt
    start_fraction: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1


class StageBase(Section):
    """What every stage has."""

    name: str
    manifest: str
    steps: PositiveInt
    """Most steps the stage may take."""
    batch_size: PositiveInt = 16
    """Utterances a step, over all processes together."""
    lr: Positive = 1e-5
    schedule: Literal["constant", "cosine", "linear"] = "cosine"
    warmup_steps: Count = 0
    weight_decay: NonNegative = 0.0
    betas: tuple[Probability, Probability] = (0.9, 0.95)
    clip: Positive = 1.0
    gate: GateConfig | None = None
    """None is a fixed-steps gate at `steps`."""
    when_exhausted: Literal["advance", "stop"] = "stop"
    """What to do when `steps` are spent and the gate has not advanced: go on all the same, or end the run there."""

    @property
    def effective_gate(self) -> GateConfig:
        """The stage's gate, or the one that stands for none."""
        return self.gate or FixedStepsGate(type="fixed_steps", steps=self.steps)


class SupervisedStage(StageBase):
    """Cross-entropy on reference transcripts (Base)."""

    type: Literal["sft"]
    curriculum: Curriculum | None = None


class TeacherDataStage(StageBase):
    """Cross-entropy on the teacher's transcripts of the stage's audio."""

    type: Literal["td"]
    transcription: Decoding = Decoding()


class OnPolicyStage(StageBase):
    """KL on the union support at the states of the student's own rollouts."""

    type: Literal["opd"]
    rollout: Decoding = Decoding()
    empty_rollout: Literal["score", "drop"] = "score"
    """An empty rollout has one position, the immediate end of text: score it (the teacher can object) or drop it."""
    mask_truncated: bool = False
    """Leave out every position of a rollout that ran into `max_new_tokens`."""


StageConfig = Annotated[SupervisedStage | TeacherDataStage | OnPolicyStage, Field(discriminator="type")]
