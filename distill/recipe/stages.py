"""The stages of a recipe, one section a type, each with data, optimisation settings and a gate of its own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from .augmentation import AugmentationConfig
from .filters import Filters, Limit
from .gates import FixedStepsGate, GateConfig
from .section import Count, FileName, NonNegative, Positive, Probability, Section


class Decoding(Section):
    """How a model writes a transcript."""

    sample: bool = False
    """Draw from the distribution instead of taking the likeliest token."""
    temperature: Positive = 1.0
    """Of the draw."""
    max_new_tokens: PositiveInt = 256
    """Longest transcript, in tokens."""


class Transcription(Decoding):
    """How a teacher writes transcripts: its decoding, and the batches, on which their last bits depend."""

    seed: Count = 0
    """Of the draws."""
    batch_size: PositiveInt = 32
    """Most utterances at once."""
    batch_seconds: Limit[Positive] = 120.0
    """Most seconds of audio at once, what is padded included, or "off"."""


class Curriculum(Section):
    """Begin with the shortest utterances and admit longer ones linearly over `steps`."""

    steps: PositiveInt
    start_fraction: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1


class StageBase(Section):
    """What every stage has."""

    name: FileName
    manifest: str
    steps: PositiveInt
    """Most steps the stage may take."""
    batch_size: PositiveInt = 16
    """Utterances a step, over all processes together."""
    micro_batch_size: PositiveInt | None = None
    """Most utterances at once in a process, whose gradients add up to the step's; None takes its whole share. Saves
    memory and nothing else: the batch and its mean over positions stay the same."""
    bucket_batches: Count = 0
    """Group utterances by duration within so many batches of an epoch, so that less is padded; 0 does not group."""
    augment: tuple[AugmentationConfig, ...] = ()
    """Noise or masks in the audio of training batches, in this order. Probes, evaluations and the teacher's transcripts
    are always of the audio as it is. What a frozen encoder makes of such audio is new at every step and fills its cache
    in vain."""
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
    transcription: Transcription = Transcription()
    filters: Filters = Filters()


class DivergenceObjective(Section):
    """A divergence of the two models on a set of tokens at each position."""

    type: Literal["divergence"]
    support: Literal["union", "teacher", "student", "vocabulary"] = "union"
    """The set: the two top-k sets together, one of them, or every token (those that both models have)."""
    divergence: Literal["forward_kl", "reverse_kl", "jensen_shannon"] = "forward_kl"
    """KL of the teacher's distribution from the student's, of the student's from the teacher's, or the generalised
    Jensen-Shannon divergence of GKD (arXiv 2306.13649)."""
    beta: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    """Of `jensen_shannon`: towards 0 it acts as the forward KL, towards 1 as the reverse."""
    tail: bool = False
    """Count what lies outside the set as one more token. Without it both models are renormalised on the set, and mass
    that the student moves out of it costs nothing: in a vocabulary of tens of thousands, it goes."""

    @model_validator(mode="after")
    def _something_lies_outside(self) -> DivergenceObjective:
        if self.tail and self.support == "vocabulary":
            raise ValueError('tail: nothing lies outside support = "vocabulary"; leave tail out')
        return self


class PolicyGradientObjective(Section):
    """The reverse KL over the whole vocabulary, estimated from the token that the student drew at each position."""

    type: Literal["policy_gradient"]
    estimator: Literal["k1", "k3"] = "k1"
    """−log r, or r − 1 − log r, with r the teacher's probability of the token over the student's."""


Objective = Annotated[DivergenceObjective | PolicyGradientObjective, Field(discriminator="type")]


class OffPolicy(Section):
    """Steps taken on transcripts that the student did not write, as GKD's 1 − λ (arXiv 2306.13649)."""

    fraction: Annotated[float, Field(gt=0.0, le=1.0)]
    """Probability of such a step, drawn anew at each (at each micro-batch, where there are some)."""
    states: Literal["reference", "teacher"]
    """Whose transcripts: the manifest's, or the teacher's, written once before the stage begins."""
    transcription: Transcription = Transcription()
    """How the teacher writes them."""
    filters: Filters = Filters()
    """Which of them are left out, and with them their audio."""


class OnPolicyStage(StageBase):
    """The teacher's judgement of the student's own transcripts; by default the KL on the union of both top-k sets."""

    type: Literal["opd"]
    rollout: Decoding = Decoding()
    objective: Objective = DivergenceObjective(type="divergence")
    off_policy: OffPolicy | None = None
    empty_rollout: Literal["score", "drop"] = "score"
    """An empty rollout has one position, the immediate end of text: score it (the teacher can object) or drop it."""
    mask_truncated: bool = False
    """Leave out every position of a rollout that ran into `max_new_tokens`."""
    teacher_hears: Literal["clean", "augmented"] = "clean"
    """With `augment`: which audio the teacher judges by. The student always writes and learns on the augmented; a
    teacher that hears the clean audio tells it what it would have understood."""

    @model_validator(mode="after")
    def _there_is_other_audio_to_hear(self) -> OnPolicyStage:
        if self.teacher_hears == "augmented" and not self.augment:
            raise ValueError('teacher_hears = "augmented": the stage augments nothing; add [[stages.augment]]')
        return self

    @model_validator(mode="after")
    def _tokens_are_drawn_where_they_are_estimates(self) -> OnPolicyStage:
        if self.objective.type != "policy_gradient":
            return self
        if not self.rollout.sample:
            raise ValueError(
                'objective: "policy_gradient" is an average over drawn tokens; set rollout.sample = true, or choose a '
                '"divergence"'
            )
        if self.off_policy:
            raise ValueError(
                'off_policy: "policy_gradient" needs tokens that the student drew; leave off_policy out, or choose a '
                '"divergence"'
            )
        return self


StageConfig = Annotated[SupervisedStage | TeacherDataStage | OnPolicyStage, Field(discriminator="type")]
