"""The stages of a recipe, one section a type, each with data, optimization settings and a gate of its own."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PositiveInt, model_validator

from overlap.errors import UserError

from .augmentation import AugmentationConfig
from .decoding import Rollout, Transcription
from .filters import Filters
from .gates import FixedStepsGate, GateConfig
from .off_policy import OffPolicy, Reject
from .section import Count, FileName, NonNegative, Positive, Section, Text

CROSS_ENTROPY = "cross_entropy"
"""Name of the objective of steps on given transcripts."""
Decay = Annotated[float, Field(ge=0.0, lt=1.0)]


class Curriculum(Section):
    """Begin with the shortest utterances and admit longer ones linearly over `steps`."""

    steps: PositiveInt
    """Steps after which every utterance is admitted."""
    start_fraction: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    """Share of the utterances, the shortest ones, to begin with."""


class StageBase(Section):
    """What every stage has."""

    name: FileName
    """Name of the stage in figures, tables and files; it must be unique."""
    manifest: Text
    """Training data: a JSON Lines file relative to the recipe, `demo:corpus/…`, or a data set such as
    `hf:NAME:CONFIG:SPLIT`."""
    steps: PositiveInt
    """Largest number of steps of the stage."""
    batch_size: PositiveInt = 16
    """Utterances in a step, over all processes."""
    micro_batch_size: PositiveInt | None = None
    """Most utterances in one backward pass of a process; their gradients are summed. None takes the process's entire
    share. It only saves memory: the batch and its mean over positions are the same."""
    bucket_batches: Count = 0
    """Group utterances by duration within this many batches of an epoch, for less padding; 0 does not group."""
    augment: tuple[AugmentationConfig, ...] = ()
    """Noise or masks in the audio of training batches, in this order. Probes, evaluations and the teacher's transcripts
    always use the original audio. A frozen encoder's cache does not help with augmented audio, which is new at every
    step."""
    lr: Annotated[float, Field(gt=0.0, le=1.0)] = 1e-5
    """Peak learning rate of AdamW: a step changes each weight by at most about this much."""
    schedule: Literal["constant", "cosine", "linear"] = "cosine"
    """After the warm-up: `lr` throughout, or a decay from it that would reach 0 one step after the stage's last."""
    warmup_steps: Count = 0
    """Steps of linear warm-up: step n, counted from 1, uses n / (warmup_steps + 1) of `lr`."""
    weight_decay: NonNegative = 0.0
    """Weight decay of matrices; norms, biases and embeddings (and an output layer tied to one) have none. Each step
    reduces a weight by the factor lr × weight_decay, which must be at most 1."""
    betas: tuple[Decay, Decay] = (0.9, 0.95)
    """Decay rates of AdamW's running means of the gradient and the squared gradient."""
    clip: Positive = 1.0
    """Largest norm of the gradient; larger ones are scaled down to it."""
    gate: GateConfig | None = None
    """None is a fixed-steps gate at `steps`."""
    gate_at_entry: bool = False
    """Also read the gate before the stage's first step: a stage whose gate is already satisfied is skipped, and a
    student that has already collapsed is not trained."""
    when_exhausted: Literal["advance", "stop"] = "stop"
    """What happens if the gate has not advanced after `steps`: continue with the next stage, or end the run. A gate
    that only guards, such as `collapse`, never advances: its stage is over after `steps`, whatever this says. Where the
    conditions of a `precondition` do not hold at the last reading, the run ends, whatever this says."""

    @model_validator(mode="after")
    def _check_weight_decay(self) -> Self:
        if self.lr * self.weight_decay > 1:
            raise UserError(
                f"weight_decay = {self.weight_decay:g} with lr = {self.lr:g}: each step subtracts "
                f"{self.lr * self.weight_decay:g} times each weight, which changes its sign; lower weight_decay, "
                "usually 0 to 0.1"
            )
        return self

    @property
    def objective_name(self) -> str:
        """What is trained, as `metrics.jsonl` names it."""
        return CROSS_ENTROPY

    @property
    def effective_gate(self) -> GateConfig:
        """The stage's gate, or the one that stands for none."""
        return self.gate or FixedStepsGate.model_validate({"type": "fixed_steps", "steps": self.steps})


class SupervisedStage(StageBase):
    """Cross-entropy on reference transcripts (Base)."""

    type: Literal["sft"]
    curriculum: Curriculum | None = None
    """Begin with the shortest utterances; None uses all from the first step."""


class TeacherDataStage(StageBase):
    """Cross-entropy on the teacher's transcripts of the stage's audio."""

    type: Literal["td"]
    transcription: Transcription = Transcription()
    """How the teacher writes the transcripts, once, before the stage begins."""
    filters: Filters = Filters()
    """Which transcripts are left out, with their audio."""


Weights = Literal["prune", "selectkd", "iw", "tropd"]
"""Rules that weight single positions, `overlap.weights.OFFERED`."""


class DivergenceObjective(Section):
    """A divergence of the two models on a set of tokens at each position."""

    type: Literal["divergence"] = "divergence"
    support: Literal["union", "teacher", "student", "vocabulary"] = "union"
    """The set: the union of both supports, one of them, or all tokens that both models have."""
    divergence: Literal["forward_kl", "reverse_kl", "jensen_shannon"] = "forward_kl"
    """KL of the teacher's distribution from the student's, of the student's from the teacher's, or the generalized
    Jensen-Shannon divergence of GKD (arXiv 2306.13649)."""
    beta: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    """Weight of `jensen_shannon`: toward 0 it behaves like the forward KL, toward 1 like the reverse KL."""
    tail: bool = True
    """Count everything outside the set as one more token. Without it both models are renormalized on the set, and
    probability outside the set is not penalized: with a vocabulary of tens of thousands, mass leaks out of the set. It
    is false for `support = "vocabulary"`, which has no outside."""
    weights: Weights | None = None
    """Rule that weights the positions of the student's own rollouts: `prune` (Prune-OPD), `selectkd` (SelecTKD), `iw`
    (IW-OPD) or `tropd` (TrOPD), see `overlap.weights`. The loss is the weighted sum over the number of positions, as in
    TRL, not over the sum of weights. Transcripts of `off_policy` are not weighted. None leaves all alike. No rule
    is advised: see first, in a probe's shadow panel, what it would keep."""

    @property
    def name(self) -> str:
        """As `metrics.jsonl` names it, such as `forward_kl(union, tail)`; with weights, `forward_kl(union) × prune`."""
        beta = (f"beta={self.beta:g}",) if self.divergence == "jensen_shannon" else ()
        looked_at = ", ".join((self.support, *beta, *(("tail",) if self.tail else ())))
        return f"{self.divergence}({looked_at}){_times(self.weights)}"

    @model_validator(mode="before")
    @classmethod
    def _default_tail(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("support") == "vocabulary":
            return {"tail": False} | data
        return data

    @model_validator(mode="after")
    def _check_tail(self) -> DivergenceObjective:
        if self.tail and self.support == "vocabulary":
            raise UserError('tail: support = "vocabulary" has no tokens outside the set; leave tail out')
        return self


class PolicyGradientObjective(Section):
    """The reverse KL over the full vocabulary, estimated from the token that the student sampled at each position."""

    type: Literal["policy_gradient"]
    estimator: Literal["k1", "k3"] = "k1"
    """−log r, or r − 1 − log r, with r the teacher's probability of the token over the student's."""
    weights: Weights | None = None
    """As for a divergence; TRL's IW-OPD is `k1` with `iw`."""

    @property
    def name(self) -> str:
        """As `metrics.jsonl` names it, such as `policy_gradient(k1)`, or with weights `policy_gradient(k1) × iw`."""
        return f"{self.type}({self.estimator}){_times(self.weights)}"


def _times(weights: Weights | None) -> str:
    return "" if weights is None else f" × {weights}"


NAMED_OBJECTIVES = {"paper": DivergenceObjective(tail=False)}
"""Objectives by name: `paper` is arXiv 2605.28139, Eq. 1, the forward KL renormalized on the union."""


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


class OnPolicyStage(StageBase):
    """The teacher scores the student's rollouts; the default objective is the forward KL on the union of both
    supports, with everything outside as one more token."""

    type: Literal["opd"]
    rollout: Rollout = Rollout()
    """How the student writes the transcripts that the teacher scores."""
    objective: Objective = DivergenceObjective()
    """The loss: a table (a divergence if it has no type), or `"paper"` for the objective of arXiv 2605.28139: union,
    forward KL, no tail. All divergences are multiplied by τ² (`support.temperature`), as in that paper."""
    off_policy: OffPolicy | None = None
    """Take some steps on transcripts that the student did not write; None takes no such steps."""
    dropout: bool = False
    """Score the student in training mode (dropout, layer drop, SpecAugment of its configuration). Otherwise objective
    and statistics are those of the model that wrote the rollouts. Supervised stages always use training mode."""
    empty_rollout: Literal["score", "drop"] = "score"
    """An empty rollout has one position, its end of text: score it (the teacher can disagree) or drop it."""
    reject: Reject | None = None
    """Refuse rollouts that do not end, repeat themselves or, if `tokens_per_second` is set, are too long for their
    audio; None refuses none."""
    mask_truncated: bool = False
    """Leave out every position of a rollout that reached `max_new_tokens`."""
    teacher_audio: Literal["clean", "augmented"] = "clean"
    """With `augment`: which audio the teacher scores with. The student always uses the augmented audio."""

    @property
    def objective_name(self) -> str:
        """What is trained, as `metrics.jsonl` names it."""
        return self.objective.name

    @model_validator(mode="after")
    def _check_teacher_audio(self) -> OnPolicyStage:
        if self.teacher_audio == "augmented" and not self.augment:
            raise UserError('teacher_audio = "augmented": the stage augments nothing; add [[stages.augment]]')
        return self

    @model_validator(mode="after")
    def _check_policy_gradient(self) -> OnPolicyStage:
        if self.objective.type != "policy_gradient":
            return self
        if not self.rollout.sample:
            raise UserError(
                'objective: "policy_gradient" is an average over drawn tokens; set rollout.sample = true, or choose a '
                '"divergence"'
            )
        for key, other in (("off_policy", self.off_policy), ("rollout.trust_region", self.rollout.trust_region)):
            if other:
                raise UserError(
                    f'{key}: "policy_gradient" needs tokens that the student drew; leave {key} out, or choose a '
                    '"divergence"'
                )
        return self

    @model_validator(mode="after")
    def _check_trust_region(self) -> OnPolicyStage:
        if self.rollout.trust_region is not None and self.objective.weights is not None:
            raise UserError(
                "rollout.trust_region: objective.weights are for transcripts that the student wrote alone; remove one "
                "of them"
            )
        return self


StageConfig = Annotated[SupervisedStage | TeacherDataStage | OnPolicyStage, Field(discriminator="type")]
