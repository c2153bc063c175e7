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
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

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
from .cost import BRIEF, DryRun, StageCost
from .launch import accelerator_for
from .setup import Setup, prepare_run, with_evaluations
from .stage_data import teacher_section, transcripts_of
from .trainer import Trainer

STEPS = 2
"""The second step is the first that has the optimizer's state in memory."""

EVERYTHING = Filters(
    empty="keep",
    unfinished="keep",
    max_compression=None,
    max_repeats=None,
    min_characters_per_second=None,
    max_characters_per_second=None,
    max_tokens_per_second=None,
    min_logprob=None,
    min_script_share=None,
)
"""Filters that drop nothing: only the size of the utterances matters."""


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
    with warn_in_first_process_only():
        accelerator = accelerator_for(recipe)
        setup = prepare_run(_short(recipe), device=accelerator.device)
        return rehearse(recipe, setup, accelerator, observer or Observer())


def rehearse(recipe: Recipe, setup: Setup, accelerator: Accelerator, observer: Observer) -> DryRun:
    """Take the steps of a dry run with a setup, whose student they train.

    Args:
        recipe: With absolute paths.
        setup: Of this recipe, or of the short form of it.
        accelerator: Of the run.
        observer: Is told what happens.

    Raises:
        AudioError, ModelError, TrainingError: As `train`.
    """
    full = replace(setup, recipe=_short(setup.recipe))
    short = _longest_first(full)
    listener = _Listener(observer, accelerator.device)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(broadcast_object_list([folder])[0]) / "run"  # the first process's, for all
        if accelerator.is_main_process:
            RunDirectory.create(path, resolved_configuration(recipe))
        accelerator.wait_for_everyone()
        run = RunDirectory.open(path, writer=accelerator.is_main_process)
        trainer = Trainer(short, run, accelerator, listener, TrainingState())
        trainer.monitor.decoding = Decoding(max_new_tokens=BRIEF)
        trainer.run()
        kept = [_filtered(stage, short, index, run) for index, stage in enumerate(recipe.stages)]
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


def _short(recipe: Recipe) -> Recipe:
    """Return the recipe with few steps in every stage, and without gates and filters."""
    return recipe.model_copy(update={"stages": tuple(map(_shortened, recipe.stages)), "total_steps": None})


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
    changed = {"recipe": recipe, "stages": stages, "probe": probe, "evaluations": evaluations, "least_group": 1}
    return replace(setup, **changed, no_speech=setup.no_speech[-1:])
