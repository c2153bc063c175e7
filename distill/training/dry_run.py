"""Dry run: every stage takes two steps on its longest utterances, and time and memory are reported."""

from __future__ import annotations

import resource
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list

import overlap.estimates.table_formatting
from overlap.arguments import checked_arguments

from ..data.batch import length, length_unit
from ..data.manifest import Utterance
from ..process_rank import warn_in_first_process_only
from ..progress.observer import Observer
from ..recipe import Decoding, Filters, Recipe, StageConfig
from ..run.checkpoint import TrainingState
from ..run.provenance import resolved_configuration
from ..run.run_directory import RunDirectory
from ..teacher_data.making import teacher_data
from ..teacher_data.summary import TeacherDataSummary
from .launch import accelerator_for
from .seen_in_training import SeenInTraining, resolved
from .setup import Setup, prepare_run, with_evaluations
from .stage_data import teacher_section, transcripts_of
from .trainer import Trainer

STEPS = 2
"""The second step is the first that has the optimizer's state in memory."""

BRIEF = 8
"""Length of transcripts in probes and evaluations, to save time. Rollouts of training steps have their full length."""

EVERYTHING = Filters(
    empty="keep",
    unfinished="keep",
    max_compression=None,
    max_repeats=None,
    min_characters_per_second=None,
    max_characters_per_second=None,
    min_logprob=None,
    min_script_share=None,
)
"""Filters that drop nothing: only the size of the utterances matters."""


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


@dataclass
class _Listener(Observer):
    """Records time and memory of steps, and passes everything on."""

    inner: Observer
    device: torch.device
    seconds: dict[str, dict[str, float]] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)
    current: str | None = None

    def stage(self, name: str, kind: str, step: int, steps: int) -> None:
        if self.device.type == "cuda" and self.current is not None:
            torch.cuda.reset_peak_memory_stats(self.device)
        self.current = name
        self._note(name)
        self.inner.stage(name, kind, step, steps)

    def step(self, row: Mapping[str, Any]) -> None:
        self.seconds[row["stage"]] = dict(row["seconds"])
        self._note(row["stage"])
        self.inner.step(row)

    def evaluation(self, row: Mapping[str, Any]) -> None:
        self._note(row["stage"])
        self.inner.evaluation(row)

    def decision(self, row: Mapping[str, Any]) -> None:
        self._note(row["stage"])
        self.inner.decision(row)

    def teacher_data(self, stage: str, summary: Any) -> None:
        self._note(stage)  # not passed on: a dry run keeps every transcript, unlike the recipe's filters

    def notice(self, text: str) -> None:
        self.inner.notice(text)

    def work(self, what: str, done: int, total: int) -> None:
        self.inner.work(what, done, total)

    def _note(self, stage: str) -> None:
        self.peaks[stage] = max(self.peaks.get(stage, 0.0), self._peak())

    def _peak(self) -> float:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 2**30
        unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


@checked_arguments
def dry_run(recipe: Recipe, *, observer: Observer | None = None) -> DryRun:
    """Take two steps of every stage on its longest utterances, with probe, evaluation and checkpoint, and keep nothing.

    It runs the code of a real run, except gates, so errors of later stages appear here. On a CPU, memory is the
    process's own peak so far, which never falls from stage to stage.

    Args:
        recipe: With absolute paths.
        observer: Is told what happens; None is silent.

    Raises:
        RecipeError, ManifestError, AudioError, ModelError, PairError, TrainingError: As `train`.
    """
    stages = tuple(_shortened(stage) for stage in recipe.stages)
    short = recipe.model_copy(update={"stages": stages, "total_steps": None})
    with warn_in_first_process_only():
        accelerator = accelerator_for(short)
        full = prepare_run(short, device=accelerator.device)
        setup = _longest_first(full)
        listener = _Listener(observer or Observer(), accelerator.device)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(broadcast_object_list([folder])[0]) / "run"  # the first process's, for all
            if accelerator.is_main_process:
                RunDirectory.create(path, resolved_configuration(recipe))
            accelerator.wait_for_everyone()
            run = RunDirectory.open(path, writer=accelerator.is_main_process)
            trainer = Trainer(setup, run, accelerator, listener, TrainingState())
            trainer.monitor.decoding = Decoding(max_new_tokens=BRIEF)
            trainer.run()
            kept = [_filtered(stage, setup, index, run) for index, stage in enumerate(recipe.stages)]
            accelerator.wait_for_everyone()
    costs = [
        StageCost(
            stage.name,
            stage.type,
            stage.batch_size,
            max(map(length, utterances)),
            length_unit(utterances[0]),
            stage.steps,
            listener.seconds[stage.name],
            listener.peaks[stage.name],
            summary,
        )
        for stage, utterances, summary in zip(recipe.stages, full.stages, kept, strict=True)
    ]
    return DryRun(tuple(costs), str(accelerator.device), full.seen_in_training)


def _shortened(stage: StageConfig) -> StageConfig:
    update: dict[str, Any] = {"steps": STEPS, "gate": None}
    if stage.type == "td":
        update["filters"] = EVERYTHING
    elif stage.type == "sft":
        update["curriculum"] = None
    elif stage.off_policy:
        update["off_policy"] = stage.off_policy.model_copy(update={"filters": EVERYTHING, "fraction": 0.0})
    return stage.model_copy(update=update)


def _filtered(stage: StageConfig, setup: Setup, index: int, run: RunDirectory) -> TeacherDataSummary | None:
    """Return the result of a stage's filters on the transcripts of its dry run."""
    section = teacher_section(stage)
    if section is None:
        return None
    assert setup.teacher is not None
    return teacher_data(
        transcripts_of(run, stage),
        setup.teacher,
        setup.source,
        setup.stages[index],
        section.transcription,
        section.filters,
    ).summary


def _longest_first(setup: Setup) -> Setup:
    """Return the setup with one batch of the longest utterances for each purpose, and short transcripts in
    evaluations."""

    def longest(utterances: Sequence[Utterance], batch_size: int) -> tuple[Utterance, ...]:
        return tuple(sorted(utterances, key=length, reverse=True)[:batch_size])

    recipe = setup.recipe
    stages = tuple(longest(u, stage.batch_size) for stage, u in zip(recipe.stages, setup.stages, strict=True))
    probe = longest(setup.probe, recipe.probe.batch_size) if recipe.probe else ()
    sets = zip(recipe.evaluations, setup.evaluations, strict=True)
    evaluations = tuple(longest(utterances, section.batch_size) for section, utterances in sets)
    recipe = with_evaluations(
        recipe,
        [section.model_copy(update={"max_new_tokens": BRIEF, "every": None}) for section in recipe.evaluations],
    )
    return replace(setup, recipe=recipe, stages=stages, probe=probe, evaluations=evaluations, least_group=1)
