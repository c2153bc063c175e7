"""The recipe: what to train, on what, through which stages, under which gates. Defaults are vetted choices."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from overlap.definitions.forms import PAST_TEACHER
from overlap.definitions.names import form_of
from overlap.errors import UserError

from .gate_statistics import readings_of
from .group_gates import Fields
from .models import Student, Teacher
from .no_speech import NoSpeech
from .normalizers import NormalizerName
from .readings_exist import check_gate, check_share
from .section import Count, FileName, NonNegative, Positive, Section, Seed, Text, Threads, same_file
from .server import Server
from .stages import StageConfig
from .toml import in_toml

States = Literal["student", "fixed", "teacher", "reference"]


class Audio(Section):
    """How audio is read."""

    max_seconds: Positive = 30.0
    """Longer utterances are refused, never cut."""
    unusable: Literal["fail", "drop"] = "fail"
    """Lines that cannot be used (not JSON, wrong types, repeated ids, missing, broken, truncated or too long audio,
    times beyond its end, contexts and labels that are too long or contain control tokens, unknown languages): refuse
    them all before the first step, or run without them. Dropped lines are counted and written to the run's
    `unusable.jsonl`, and a resumed run must drop the same ones."""
    check: Literal["decode", "open"] = "decode"
    """How audio is checked before the first step: `decode` decodes all of it once, in four threads; `open` reads only
    the files' headers, which is faster for thousands of hours. With `open`, a damaged part of a file or a sample that
    is not finite ends the run when it is read, whatever `unusable` is."""
    cache_mib: NonNegative = 512.0
    """Memory for cached decoded audio."""


class SupportSettings(Section):
    """The supports that statistics and objective compare."""

    k: PositiveInt = 32
    """Tokens in a set."""
    temperature: Positive = 1.0
    """Temperature of the probabilities in statistics and objective."""


class Probe(Section):
    """Overlap on a fixed held-out set during training."""

    manifest: Text
    """The set, held out of training; only the states "reference" need text."""
    every: PositiveInt = 50
    """Steps between probes; gates are read at each."""
    batch_size: PositiveInt = 32
    """Utterances at once."""
    max_utterances: PositiveInt | None = None
    """Use only the first ones; None uses all."""
    states: Annotated[tuple[States, ...], Field(min_length=1)] = ("student", "fixed", "teacher")
    """Whose transcripts are measured; `fixed` are the rollouts recorded when supervised training ended."""
    trace_utterances: Count = 16
    """Utterances whose positions are written to `traces/` at the end of each stage."""
    no_speech: NoSpeech | None = None
    """Clips of silence and noise that both models transcribe at each probe; None reads none. Gates do not read it."""
    groups: Fields = ()
    """Fields of the manifest's lines whose values are groups: `language`, or fields of your own such as `accent` and
    `speaker`. Every value with at least 20 probed utterances gets all readings of its own, on all states, which
    `probe_groups/` of the run and gates of type "every_group" have; smaller ones are counted."""

    def readings(self, *, served: bool) -> tuple[str, ...]:
        """Return what gates can read: statistics of the states `student` by name, of others as `fixed.union_size`, and
        changes since the probe before as `fixed.union_size.change`. Positions past the teacher's transcript are known
        where its states are probed, on the others.

        Args:
            served: Whether the teacher is behind a server.
        """
        found = []
        for states in self.states:
            prefix = "" if states == "student" else f"{states}."
            lengths = states != "teacher" and "teacher" in self.states
            names = readings_of(states, served=served)
            found += [f"{prefix}{name}" for name in names if lengths or form_of(name) != PAST_TEACHER]
        return tuple(found)

    @model_validator(mode="after")
    def _check_states(self) -> Probe:
        if "fixed" in self.states and "student" not in self.states:
            raise UserError('states: "fixed" are recorded when the states "student" are probed; add "student"')
        return self


class Evaluation(Section):
    """Word and character error rates at the end of each stage."""

    manifest: Text
    """The set, with reference texts."""
    name: FileName = "test"
    """Name of the set in tables and files."""
    normalizer: NormalizerName = "basic"
    """Text normalizer of reference and hypothesis: none (no change), basic, spoken_digits, whisper_basic,
    whisper_basic_letters, and with the extra `text` whisper_english and mandarin."""
    batch_size: PositiveInt = 32
    """Utterances at once."""
    max_new_tokens: PositiveInt | None = None
    """Longest transcript, in tokens; None computes it from the longest audio of the set, 20 tokens a second."""
    every: PositiveInt | None = None
    """Also evaluate at this interval, in steps; None evaluates only at the end of each stage."""


class Checkpoints(Section):
    """When the run is saved. Checkpoints of stage entries are always saved and kept."""

    every: PositiveInt = 500
    """Steps between checkpoints; a run is resumed from the newest."""
    keep: PositiveInt = 2
    """Number of newest checkpoints to keep, besides the stages' entries."""
    best: Text | None = None
    """Name of an evaluation set: the weights with the lowest error rate on it are kept in `best/` of the run. Do not
    report results on the same set. None keeps no best weights."""


TrackerName = Literal["tensorboard", "wandb", "trackio"]


class Tracking(Section):
    """Trackers mirror the run directory, which remains the source of truth."""

    trackers: tuple[TrackerName, ...] = ()
    """Each needs the extra of its name. TensorBoard and W&B write into the run directory, trackio to its own folder."""
    project: str = "support-overlap"
    """Project of the run in W&B and trackio."""
    run_name: str | None = None
    """Name of the run there; None uses the recipe's name."""


class Recipe(Section):
    """An entire run."""

    name: Text = "run"
    """Name of the recipe in tables; runs of the same name are seeds of one recipe."""
    seed: Seed = 0
    """Seed of random weights, of the order of the data, and of the intervals."""
    student: Student
    """The model that is trained."""
    teacher: Teacher | None = None
    """The model that it learns from; only stages of type "sft" need none."""
    audio: Audio = Audio()
    """How audio is read."""
    support: SupportSettings = SupportSettings()
    """The supports that are compared."""
    probe: Probe | None = None
    """Overlap during training; None measures it only on training batches, which gates cannot read."""
    evaluation: Evaluation | None = None
    """Error rates during training; None measures none. Tables, figures and verdicts use this set."""
    further_evaluations: tuple[Evaluation, ...] = ()
    """More sets, each with its own name and normalizer: one `[[further_evaluations]]` table per set."""
    checkpoint: Checkpoints = Checkpoints()
    """When the run is saved."""
    tracking: Tracking = Tracking()
    """Mirrors of the run directory in trackers."""
    stages: Annotated[tuple[StageConfig, ...], Field(min_length=1)]
    """The stages in order: one `[[stages]]` table per stage."""
    total_steps: PositiveInt | None = None
    """End the run after this many steps, even if stages remain: equal budgets for compared recipes."""
    max_fallbacks: Count = 1
    """How often gates may send the run back to teacher data; the next such decision ends the run."""
    precision: Literal["no", "bf16"] = "no"
    """Arithmetic: in the type of the weights, or in bfloat16 with float32 weights."""
    threads: Threads | None = None
    """CPU threads of torch; None leaves the default. Bit-exact resumption needs the same number."""

    @model_validator(mode="after")
    def _check_sections(self) -> Recipe:
        names = [stage.name for stage in self.stages]
        if len(set(map(same_file, names))) != len(names):
            raise UserError(
                f"names of stages must differ in more than capital letters; the stages are {in_toml(names)}"
            )
        for i, stage in enumerate(self.stages):
            if stage.type in ("td", "opd") and self.teacher is None:
                raise UserError(f"stages.{i} ({stage.type}) needs a teacher: add a [teacher] table with its model")
            if stage.type == "opd" and stage.objective.type == "policy_gradient":
                drawn, read = stage.rollout.temperature, self.support.temperature
                if drawn != read:
                    raise UserError(
                        f"stages.{i}.rollout.temperature = {drawn:g}, support.temperature = {read:g}: tokens of a "
                        '"policy_gradient" objective must be drawn from the compared distribution; make them equal'
                    )
            if stage.gate is not None:
                check_gate(self, stage.gate, stage.steps, f"stages.{i}.gate")
            if stage.type == "opd" and stage.off_policy is not None:
                check_share(self, stage.off_policy.fraction, f"stages.{i}.off_policy.fraction")
        self._check_evaluations()
        if self.teacher is not None and self.teacher.url is not None:
            self._check_server(self.teacher.server)
        if self.probe is not None and self.teacher is None:
            raise UserError("[probe] measures overlap with a teacher: add a [teacher] table, or remove [probe]")
        return self

    @property
    def evaluations(self) -> tuple[Evaluation, ...]:
        """All evaluation sets, that of `[evaluation]` first."""
        return () if self.evaluation is None else (self.evaluation, *self.further_evaluations)

    @property
    def probe_normalizer(self) -> NormalizerName:
        """Under which transcripts of probes are read: that of `[evaluation]`, or the default one."""
        return Evaluation.model_fields["normalizer"].default if self.evaluation is None else self.evaluation.normalizer

    def _check_evaluations(self) -> None:
        if self.further_evaluations and self.evaluation is None:
            raise UserError("further_evaluations: make one of these sets the main one, as [evaluation]")
        names = [section.name for section in self.evaluations]
        if len(set(map(same_file, names))) != len(names):
            raise UserError(
                f"names of evaluation sets must differ in more than capital letters; the sets are {in_toml(names)}"
            )
        best = self.checkpoint.best
        if best is not None and best not in names:
            there = f"there are {in_toml(names)}" if names else "add an [evaluation]"
            raise UserError(f"checkpoint.best: no evaluation set is named {in_toml(best)}; {there}")

    def _check_server(self, server: Server) -> None:
        """Refuse settings that a server's top-k log-probabilities do not support."""
        k, temperature, m = self.support.k, self.support.temperature, server.top_logprobs
        if temperature != 1.0:
            raise UserError(
                f"support.temperature = {temperature:g}: a server's log-probabilities are at temperature 1; remove it, "
                "or use a local teacher (remove teacher.url)"
            )
        if m is not None and m < k:
            raise UserError(f"teacher.server.top_logprobs = {m} is fewer than support.k = {k}; raise it, or lower k")
        for i, stage in enumerate(self.stages):
            if stage.type == "opd" and (stage.objective.type, getattr(stage.objective, "support", "")) != (
                "divergence",
                "teacher",
            ):
                raise UserError(
                    f"stages.{i}.objective: a server returns top-k log-probabilities, not those of the student's "
                    'tokens. Set type = "divergence" and support = "teacher" there, or use a local teacher '
                    "(remove teacher.url)"
                )
            if stage.type == "opd" and stage.rollout.trust_region is not None:
                raise UserError(
                    f"stages.{i}.rollout.trust_region: the teacher's probabilities of all tokens are needed at each "
                    "token that is written, and a server does not return them; remove it, or use a local teacher "
                    "(remove teacher.url)"
                )
            if stage.type == "opd" and stage.objective.weights is not None:
                self._check_served_weights(
                    stage.objective.weights, f"stages.{i}.objective.weights", k if m is None else m
                )

    def _check_served_weights(self, name: str, where: str, listed: int) -> None:
        """Refuse a rule that reads more of the teacher than the best tokens that a server lists."""
        from overlap.weights import ACCEPTED_RANK, OFFERED, RULES, SET_SIZE  # here: they need PyTorch, recipes do not

        # What a server's best tokens determine, by how many of them it takes.
        taken = {"overlap_ratio": SET_SIZE, "best_in_teachers": ACCEPTED_RANK}
        needs = [taken.get(value) for value in RULES[name].needs]
        able = [f'"{rule}"' for rule in OFFERED if all(value in taken for value in RULES[rule].needs)]
        tokens = max((n for n in needs if n is not None), default=0)
        if None in needs:
            raise UserError(
                f'{where} = "{name}": it reads {" and ".join(RULES[name].needs)} at every position, and a server shows '
                f"only its best tokens. Remove it, set {' or '.join(able)}, or use a local teacher (remove teacher.url)"
            )
        if listed < tokens:
            raise UserError(
                f'{where} = "{name}": it compares the {tokens} best tokens, and {listed} are requested; raise '
                f"teacher.server.top_logprobs to at least {tokens}, or remove it"
            )
