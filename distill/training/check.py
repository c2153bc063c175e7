"""Checks a recipe before training: its parts one by one, so that all errors are reported, then two steps a stage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checking.attempts import Attempts
from ..checking.finding import CheckFinding, counted, of_severity, worst_first
from ..checking.memory import memory_bytes
from ..checking.resources import MEMORY, check_measured_memory
from ..data.data_sets import DataSets
from ..models import Transcriber
from ..process_rank import warn_in_first_process_only
from ..progress.observer import Observer
from ..recipe import Recipe
from .cost import DryRun
from .dry_run import STEPS, rehearse
from .launch import accelerator_for
from .quick_checks import check_ends, check_sets, quick_findings, sets_of
from .run_data import by_section, read_data
from .setup import Setup, augmentations_of, checked_data, load_student_of, load_teacher_of, paired, settled

STEPS_CHECK = f"{STEPS} steps of a stage"


@dataclass(frozen=True)
class CheckResult:
    """What the checks of a recipe found.

    Attributes:
        findings: The worst first.
        dry_run: Time and memory of each stage; None if no steps were taken.
    """

    findings: tuple[CheckFinding, ...]
    dry_run: DryRun | None = None

    @property
    def errors(self) -> tuple[CheckFinding, ...]:
        """Findings that would stop a run."""
        return tuple(of_severity(self.findings, "error"))

    def to_dict(self) -> dict[str, Any]:
        """Return a tree that JSON can hold."""
        costs = None if self.dry_run is None else self.dry_run.to_dict()
        return {"findings": [one.to_dict() for one in self.findings], "errors": len(self.errors), "dry_run": costs}

    def __str__(self) -> str:
        return "\n".join([*map(str, self.findings), counted(self.findings)])


def check_recipe(recipe: Recipe, output: Path, *, steps: bool = True, observer: Observer | None = None) -> CheckResult:
    """Check data, models and resources of a recipe; nothing is kept.

    Args:
        recipe: With absolute paths.
        output: Where the run would be written.
        steps: Whether to take two steps of every stage, which also measures memory.
        observer: Is told of progress.

    Raises:
        TrainingError: More processes than a stage has utterances a step.
    """
    attempts = Attempts()
    costs = None
    with warn_in_first_process_only():
        accelerator = accelerator_for(recipe)
        setup = _setup(attempts, recipe, accelerator.device)
        if setup is not None:
            found = quick_findings(setup, output, accelerator.device, accelerator.num_processes)
            attempts.findings += found
            attempts.findings += [
                CheckFinding("warning", "audio seen before the run", str(one))
                for one in setup.seen_in_training
                if one.seen
            ]
            if steps:
                watcher = observer or Observer()
                costs = attempts.tried(STEPS_CHECK, rehearse, recipe, setup, accelerator, watcher)
        if costs is not None:
            attempts.findings = [one for one in attempts.findings if one.check != MEMORY]
            peaks = {cost.stage: cost.peak_gib for cost in costs.stages}
            total = memory_bytes(accelerator.device)
            attempts.run("memory", check_measured_memory, peaks, total, str(accelerator.device))
            attempts.findings += _of_steps(costs)
    return CheckResult(worst_first(attempts.findings), costs)


def _setup(attempts: Attempts, recipe: Recipe, device: Any) -> Setup | None:
    """Return the setup, made from its parts as a run makes it; None if one of them is wrong."""
    data = attempts.tried("manifests", read_data, recipe)
    augmentations = attempts.tried("augmentation", augmentations_of, recipe)
    student = attempts.tried("student", load_student_of, recipe, device)
    before = len(attempts.findings)
    teacher = attempts.tried("teacher", load_teacher_of, recipe, device)
    pair, complete = None, len(attempts.findings) == before
    if student is not None and teacher is not None:
        pair = attempts.tried("pair", paired, recipe, student, teacher)
        complete = pair is not None
    checked = None
    if data is not None and student is not None:
        checked = attempts.tried("data for the models", checked_data, recipe, data, student, pair)
    setup = None
    if complete and checked is not None and student is not None and augmentations is not None:
        setup = attempts.tried("data for the models", settled, recipe, checked, student, pair, augmentations)
    if setup is None:
        _without_setup(attempts, recipe, checked or data, {"student": student, "teacher": teacher})
    return setup


def _without_setup(attempts: Attempts, recipe: Recipe, data: DataSets | None, models: dict[str, Any]) -> None:
    """Add what can be said of parts that do not make a setup."""
    loaded: dict[str, Transcriber] = {role: model for role, model in models.items() if model is not None}
    if data is not None:
        check_sets(attempts, recipe, sets_of(recipe, *by_section(recipe, data)), data.all_findings, loaded)
    attempts.run("end of text", check_ends, loaded)


def _of_steps(costs: DryRun) -> Iterator[CheckFinding]:
    for cost in costs.stages:
        found = (
            f"stage {cost.stage!r}: taken on the longest {cost.batch_size} utterances (up to {cost.longest:.4g} "
            f"{cost.unit}), the second in {cost.seconds_a_step:.3g} s (n = 1)"
        )
        yield CheckFinding("ok", STEPS_CHECK, found)
        if (kept := cost.teacher_data) is not None:
            few = kept.n_kept < kept.n / 2
            yield CheckFinding(
                "warning" if few else "note",
                "filters of teacher data",
                f"stage {cost.stage!r}, of its longest utterances: {kept.line}",
                "look at the transcripts with distill transcribe, or at stages.filters" if few else "",
            )
