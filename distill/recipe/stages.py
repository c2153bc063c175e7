"""The stages of a recipe, one section a type, each with data, optimization settings and a gate of its own."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PositiveInt, model_validator

from overlap.errors import UserError

from .augmentation import AugmentationConfig
from .filters import Filters, Limit
from .gates import FixedStepsGate, GateConfig
from .section import Count, FileName, NonNegative, Positive, Section, Seed, Text

Decay = Annotated[float, Field(ge=0.0, lt=1.0)]


class Decoding(Section):
    """How a model writes a transcript."""

    sample: bool = False
    """Draw from the distribution instead of taking the likeliest token."""
    temperature: Positive = 1.0
    """Of the draw."""
    max_new_tokens: PositiveInt | None = None
    """Longest transcript, in tokens; None: from the longest audio of the manifest, 20 a second."""

    @property
    def limit(self) -> int:
        """Longest transcript, once it has been settled what the audio says (`distill.limits.settled`)."""
        assert self.max_new_tokens is not None
        return self.max_new_tokens


class Transcription(Decoding):
    """How a teacher writes transcripts: its decoding, and the batches, on which their last bits depend."""

    seed: Seed = 0
    """Of the draws."""
    batch_size: PositiveInt = 32
    """Most utterances at once."""
    batch_seconds: Limit[Positive] = 120.0
    """Most seconds of audio at once, what is padded included, or "off"."""


class Curriculum(Section):
    """Begin with the shortest utterances and admit longer ones linearly over `steps`."""

    steps: PositiveInt
    """Steps after which every utterance is admitted."""
    start_fraction: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    """Share of the utterances, the shortest, that it begins with."""


class StageBase(Section):
    """What every stage has."""

    name: FileName
    """What figures, tables and files call the stage; no other may have it."""
    manifest: Text
    """What it trains on: JSON Lines relative to the recipe, `demo:corpus/…`, or a data set such as
    `hf:NAME:CONFIG:SPLIT`."""
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
    lr: Annotated[float, Field(gt=0.0, le=1.0)] = 1e-5
    """Learning rate of AdamW, the highest of the schedule: about how far a step moves each weight at most."""
    schedule: Literal["constant", "cosine", "linear"] = "cosine"
    """What follows the warm-up: `lr` throughout, or down from it, reaching 0 one step after the stage's last."""
    warmup_steps: Count = 0
    """Steps that lead up to `lr` in equal parts: step n of them, counted from 1, takes n / (warmup_steps + 1) of it."""
    weight_decay: NonNegative = 0.0
    """Of the matrices; norms, biases and embeddings (an output layer tied to one included) have none. Each step takes
    lr × weight_decay of a weight away, so that the two together are at most 1."""
    betas: tuple[Decay, Decay] = (0.9, 0.95)
    """Of AdamW: how much of the running means of gradient and squared gradient each step keeps."""
    clip: Positive = 1.0
    """Largest norm of the gradient; a longer one is scaled down to it."""
    gate: GateConfig | None = None
    """None is a fixed-steps gate at `steps`."""
    gate_at_entry: bool = False
    """Let the gate read before the stage's first step as well, so that a stage which has nothing to do is passed over
    and a student that has collapsed already is not trained on."""
    when_exhausted: Literal["advance", "stop"] = "stop"
    """What to do when `steps` are spent and the gate has not advanced: go on all the same, or end the run there."""

    @model_validator(mode="after")
    def _weights_decay_to_no_less_than_nothing(self) -> Self:
        if self.lr * self.weight_decay > 1:
            raise UserError(
                f"weight_decay = {self.weight_decay:g} with lr = {self.lr:g}: each step takes "
                f"{self.lr * self.weight_decay:g} times each weight away, which leaves the other sign; lower "
                "weight_decay, usually 0 to 0.1"
            )
        return self

    @property
    def objective_name(self) -> str:
        """What is trained, as `metrics.jsonl` names it."""
        return "cross_entropy"

    @property
    def effective_gate(self) -> GateConfig:
        """The stage's gate, or the one that stands for none."""
        return self.gate or FixedStepsGate.model_validate({"type": "fixed_steps", "steps": self.steps})


class SupervisedStage(StageBase):
    """Cross-entropy on reference transcripts (Base)."""

    type: Literal["sft"]
    curriculum: Curriculum | None = None
    """Begin with the shortest utterances; None takes all from the first step."""


class TeacherDataStage(StageBase):
    """Cross-entropy on the teacher's transcripts of the stage's audio."""

    type: Literal["td"]
    transcription: Transcription = Transcription()
    """How the teacher writes them, once, before the stage begins."""
    filters: Filters = Filters()
    """Which of them are left out, and with them their audio."""


class DivergenceObjective(Section):
    """A divergence of the two models on a set of tokens at each position."""

    type: Literal["divergence"] = "divergence"
    support: Literal["union", "teacher", "student", "vocabulary"] = "union"
    """The set: the two top-k sets together, one of them, or every token (those that both models have)."""
    divergence: Literal["forward_kl", "reverse_kl", "jensen_shannon"] = "forward_kl"
    """KL of the teacher's distribution from the student's, of the student's from the teacher's, or the generalized
    Jensen-Shannon divergence of GKD (arXiv 2306.13649)."""
    beta: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    """Of `jensen_shannon`: towards 0 it acts as the forward KL, towards 1 as the reverse."""
    tail: bool = True
    """Count what lies outside the set as one more token. Without it both models are renormalized on the set, and mass
    that the student moves out of it costs nothing: in a vocabulary of tens of thousands, it goes. Nothing lies outside
    `support = "vocabulary"`, where it is false."""

    @property
    def name(self) -> str:
        """As `metrics.jsonl` names it, such as `forward_kl(union, tail)`."""
        beta = (f"beta={self.beta:g}",) if self.divergence == "jensen_shannon" else ()
        return f"{self.divergence}({', '.join((self.support, *beta, *(('tail',) if self.tail else ())))})"

    @model_validator(mode="before")
    @classmethod
    def _nothing_lies_outside_unless_said(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("support") == "vocabulary":
            return {"tail": False} | data
        return data

    @model_validator(mode="after")
    def _something_lies_outside(self) -> DivergenceObjective:
        if self.tail and self.support == "vocabulary":
            raise UserError('tail: nothing lies outside support = "vocabulary"; leave tail out')
        return self


class PolicyGradientObjective(Section):
    """The reverse KL over the whole vocabulary, estimated from the token that the student drew at each position."""

    type: Literal["policy_gradient"]
    estimator: Literal["k1", "k3"] = "k1"
    """−log r, or r − 1 − log r, with r the teacher's probability of the token over the student's."""

    @property
    def name(self) -> str:
        """As `metrics.jsonl` names it, such as `policy_gradient(k1)`."""
        return f"{self.type}({self.estimator})"


NAMED_OBJECTIVES = {"paper": DivergenceObjective(tail=False)}
"""Objectives that one word stands for: that of arXiv 2605.28139, Eq. 1, the forward KL renormalized on the union."""


def _named(value: Any) -> Any:
    if isinstance(value, dict):
        return {"type": DivergenceObjective.model_fields["type"].default} | value
    if not isinstance(value, str):
        return value
    if value not in NAMED_OBJECTIVES:
        names = ", ".join(f'"{name}"' for name in NAMED_OBJECTIVES)
        raise UserError(f'"{value}" is no objective; write {names}, or a table such as {{ support = "teacher" }}')
    return NAMED_OBJECTIVES[value]


Objective = Annotated[
    Annotated[DivergenceObjective | PolicyGradientObjective, Field(discriminator="type")], BeforeValidator(_named)
]


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
    """The teacher's judgment of the student's own transcripts; by default the forward KL on the union of both top-k
    sets, what lies outside counted as one more token."""

    type: Literal["opd"]
    rollout: Decoding = Decoding()
    """How the student writes the transcripts that the teacher judges."""
    objective: Objective = DivergenceObjective()
    """How the teacher judges them: a table, of a divergence where it has no type, or `"paper"` for the objective of
    arXiv 2605.28139: union, forward KL, no tail. All divergences are taken times τ² (`support.temperature`), as there.
    """
    off_policy: OffPolicy | None = None
    """Take some steps on transcripts that the student did not write; None takes none."""
    dropout: bool = False
    """Score the student with what its configuration does in training alone (dropout, layer drop, SpecAugment). Without,
    objective and statistics are of the model that wrote the rollouts; supervised stages always train with it."""
    empty_rollout: Literal["score", "drop"] = "score"
    """An empty rollout has one position, the immediate end of text: score it (the teacher can object) or drop it."""
    mask_truncated: bool = False
    """Leave out every position of a rollout that ran into `max_new_tokens`."""
    teacher_hears: Literal["clean", "augmented"] = "clean"
    """With `augment`: which audio the teacher judges by. The student always writes and learns on the augmented; a
    teacher that hears the clean audio tells it what it would have understood."""

    @property
    def objective_name(self) -> str:
        """What is trained, as `metrics.jsonl` names it."""
        return self.objective.name

    @model_validator(mode="after")
    def _there_is_other_audio_to_hear(self) -> OnPolicyStage:
        if self.teacher_hears == "augmented" and not self.augment:
            raise UserError('teacher_hears = "augmented": the stage augments nothing; add [[stages.augment]]')
        return self

    @model_validator(mode="after")
    def _tokens_are_drawn_where_they_are_estimates(self) -> OnPolicyStage:
        if self.objective.type != "policy_gradient":
            return self
        if not self.rollout.sample:
            raise UserError(
                'objective: "policy_gradient" is an average over drawn tokens; set rollout.sample = true, or choose a '
                '"divergence"'
            )
        if self.off_policy:
            raise UserError(
                'off_policy: "policy_gradient" needs tokens that the student drew; leave off_policy out, or choose a '
                '"divergence"'
            )
        return self


StageConfig = Annotated[SupervisedStage | TeacherDataStage | OnPolicyStage, Field(discriminator="type")]
