"""The one training loop: stages in order, probes between steps, gates that decide when to move on, fall back or stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from transformers import get_scheduler

import overlap

from . import checkpoint
from .audio import duration
from .checkpoint import TrainingState
from .data import Batch
from .manifest import Utterance
from .models import load_recogniser
from .monitoring import Monitor
from .observer import Observer
from .provenance import resolved_configuration
from .recipe import Recipe, StageConfig, load_recipe
from .run_directory import RunDirectory
from .sampling import BatchSampler
from .setup import Setup, prepare_run
from .stages import StepOutcome, on_policy_step, supervised_step
from .timing import Stopwatch
from .transcribe import teacher_transcripts

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


class TrainingError(RuntimeError):
    """A run that cannot go on; what it wrote so far stays."""


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Attributes:
        path: The run directory.
        model: The last checkpoint, loadable with `from_pretrained`.
        step: Training steps taken.
        outcome: `finished`, or in words why it ended before its last stage did.
        aborted: Whether a gate aborted it.
    """

    path: Path
    model: Path
    step: int
    outcome: str
    aborted: bool


def train(
    recipe: Recipe | str | Path,
    output: str | Path,
    *,
    overrides: Sequence[str] = (),
    observer: Observer | None = None,
) -> RunResult:
    """Run a recipe into a new run directory.

    Args:
        recipe: A recipe, a TOML file, or the name of a shipped recipe.
        output: Directory to create; an existing run is never overwritten.
        overrides: `dotted.key=value` changes, when the recipe is a file.
        observer: Hears what happens; silent without one.

    Raises:
        RecipeError, ManifestError, AudioError, ModelError, SetupError, RunDirectoryError: Before the first step.
        TrainingError: Loss or gradient stopped being finite.
    """
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe, overrides)
    accelerator = _accelerator(recipe)
    setup = prepare_run(recipe, device=accelerator.device)
    run = RunDirectory.create(output, resolved_configuration(recipe))
    return Trainer(setup, run, accelerator, observer or Observer(), TrainingState()).run()


def resume(output: str | Path, *, observer: Observer | None = None) -> RunResult:
    """Continue a run from its newest checkpoint, with the same result as if it had not been interrupted.

    Raises:
        RunDirectoryError: No run there.
        TrainingError: The recipe's data changed since the run began.
    """
    run = RunDirectory.open(output)
    recipe = Recipe.model_validate(run.resolved["recipe"])
    now = resolved_configuration(recipe)
    changed = [p for p, digest in run.resolved["manifest_sha256"].items() if now["manifest_sha256"][p] != digest]
    if changed:
        raise TrainingError(
            f"cannot resume {output}: {', '.join(changed)} changed since the run began; start a new run"
        )
    newest = checkpoint.latest(run.path)
    state = checkpoint.load_state(newest) if newest else TrainingState(rows=dict.fromkeys(run.rows, 0))
    if newest and state.outcome is not None:
        return RunResult(run.path, newest, state.step, state.outcome, state.outcome.startswith("aborted"))
    run.rewind(state.rows)
    accelerator = _accelerator(recipe)
    setup = prepare_run(recipe, device=accelerator.device, weights=newest)
    optimiser = checkpoint.load_optimiser(newest) if newest else None
    return Trainer(setup, run, accelerator, observer or Observer(), state, optimiser).run()


def _accelerator(recipe: Recipe) -> Accelerator:
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    return Accelerator(mixed_precision=recipe.precision)


class Trainer:
    """One run. `run()` goes from the given state to the end."""

    def __init__(
        self,
        setup: Setup,
        run: RunDirectory,
        accelerator: Accelerator,
        observer: Observer,
        state: TrainingState,
        optimiser_state: Mapping | None = None,
    ) -> None:
        self.setup, self.recipe, self.student = setup, setup.recipe, setup.student
        self.directory, self.accelerator, self.observer = run, accelerator, observer
        self.state, self._optimiser_state = state, optimiser_state
        self.monitor = Monitor(setup, run, observer)
        self.student.model = accelerator.prepare(self.student.model)
        self._resuming = state.step > 0 or bool(state.entries)

    # --- the way of a run ----------------------------------------------------------------------------------------------

    def run(self) -> RunResult:
        """Train to the end and say how it ended."""
        if not self._resuming:
            self._opening()
        while self.state.outcome is None:
            self._enter_stage()
            while not (self._reading_due() and self._moved_on(self._read())):
                self._train_step()
                if self._evaluation_due():
                    self.monitor.evaluate(self.state.step, self.stage.name, self.student)
                if self.state.step % self.recipe.checkpoint.every == 0:
                    self._save()
        model = checkpoint.latest(self.directory.path)
        assert model is not None
        return RunResult(
            self.directory.path, model, self.state.step, self.state.outcome, self.state.outcome.startswith("aborted")
        )

    @property
    def stage(self) -> StageConfig:
        """Configuration of the current stage."""
        return self.recipe.stages[self.state.stage]

    def _opening(self) -> None:
        """What is measured once: the teacher, and a student that has been trained before."""
        if self.setup.teacher is not None:
            self.monitor.evaluate(0, self.stage.name, self.setup.teacher, model="teacher")
        if not self.recipe.student.from_scratch:
            self.monitor.evaluate(0, self.stage.name, self.student)

    def _enter_stage(self) -> None:
        stage, state = self.stage, self.state
        fresh = state.stage_step == 0
        if fresh:
            left = (self.recipe.total_steps or state.step + stage.steps) - state.step
            state.horizon = max(1, min(stage.steps, left))
            state.entries[str(state.stage)] = state.step
        self.utterances = self._stage_utterances(stage)
        curriculum = stage.curriculum if stage.type == "sft" else None
        self.sampler = BatchSampler(
            tuple(duration(utterance) for utterance in self.utterances),
            stage.batch_size,
            (self.recipe.seed, state.stage, state.fallbacks),
            curriculum.steps if curriculum else 0,
            curriculum.start_fraction if curriculum else 1.0,
        )
        optimiser = torch.optim.AdamW(
            [parameter for parameter in self.student.model.parameters() if parameter.requires_grad],
            lr=stage.lr,
            betas=stage.betas,
            weight_decay=stage.weight_decay,
        )
        scheduler = get_scheduler(stage.schedule, optimiser, stage.warmup_steps, state.horizon)
        if self._optimiser_state is not None and not fresh:
            set_optimizer_state_dict(self.student.model, optimiser, self._optimiser_state["optimiser"], options=WHOLE)
            scheduler.load_state_dict(self._optimiser_state["scheduler"])
        self._optimiser_state = None
        self.optimiser, self.scheduler = self.accelerator.prepare_optimizer(optimiser), scheduler
        self.gate = stage.gate.build() if stage.gate else overlap.FixedSteps(stage.steps)
        if state.gate is not None:
            self.gate.load_state_dict(state.gate)
        self.observer.stage(stage.name, stage.type, state.step, state.horizon)
        if fresh:
            self._save()

    def _stage_utterances(self, stage: StageConfig) -> Sequence[Utterance]:
        utterances = self.setup.stages[self.state.stage]
        if stage.type != "td":
            return utterances
        assert self.setup.teacher is not None
        written = teacher_transcripts(
            self.directory.path / f"teacher-transcripts-{stage.name}.jsonl",
            self.setup.teacher,
            self.setup.source,
            utterances,
            stage.transcription,
            progress=lambda done, total: self.observer.work("teacher transcripts", done, total),
        )
        kept = [utterance for utterance in written if utterance.text]
        if not kept:
            raise TrainingError(f"the teacher wrote nothing for all {len(written)} utterances of stage {stage.name!r}")
        return kept

    # --- between steps -------------------------------------------------------------------------------------------------

    def _reading_due(self) -> bool:
        every = self.recipe.probe.every if self.recipe.probe else self.stage.steps
        step = self.state.stage_step
        return step % every == 0 or step in self._fixed_steps(self.stage.gate) or self._spent()

    def _fixed_steps(self, gate: Any) -> set[int]:
        if gate is None:
            return {self.stage.steps}
        if gate.type == "fixed_steps":
            return {gate.steps}
        return {steps for member in getattr(gate, "gates", ()) for steps in self._fixed_steps(member)}

    def _evaluation_due(self) -> bool:
        every = self.recipe.evaluation and self.recipe.evaluation.every
        return bool(every) and self.state.step % every == 0 and not self._spent()

    def _spent(self) -> bool:
        return self.state.stage_step >= self.stage.steps or self.state.step == self.recipe.total_steps

    def _read(self) -> overlap.Decision:
        """Probe, let the gate read, and log its decision."""
        state, stage = self.state, self.stage
        readings = self.monitor.probe(
            state.step, stage.name, record_fixed=stage.type != "sft", trace=state.stage_step == 0 or self._spent()
        )
        decision = self.gate.read(readings, state.stage_step)
        self._log(decision.action.value, decision.reason, decision.gate, decision.numbers)
        return decision

    def _moved_on(self, decision: overlap.Decision) -> bool:
        """Act on a decision; True when the stage is over."""
        state, action = self.state, decision.action
        if action is overlap.Action.abort:
            self._finish(f"aborted: {decision.reason}")
        elif action is overlap.Action.fall_back:
            self._fall_back(decision.reason)
        elif action is overlap.Action.advance:
            self._leave_stage()
        elif state.step == self.recipe.total_steps:
            self._finish(f"stopped: the run's {state.step} steps are spent in stage {self.stage.name!r}")
        elif self._spent():
            reason = (
                f"the {self.stage.steps} steps of stage {self.stage.name!r} are spent and its gate has not advanced"
            )
            self._log("advance" if self.stage.when_exhausted == "advance" else "stop", reason, "exhausted", {})
            if self.stage.when_exhausted == "advance":
                self._leave_stage()
            else:
                self._finish(f"stopped: {reason}")
        else:
            return False
        return True

    def _leave_stage(self) -> None:
        state = self.state
        if state.stage == len(self.recipe.stages) - 1:
            self._finish("finished")
        elif state.step == self.recipe.total_steps:
            self._finish(f"stopped: the run's {state.step} steps are spent")
        else:
            self.monitor.evaluate(state.step, self.stage.name, self.student)
            state.stage, state.stage_step, state.gate = state.stage + 1, 0, None

    def _fall_back(self, reason: str) -> None:
        """Return to the last teacher-data stage with the weights that entered this one."""
        state = self.state
        earlier = [i for i in range(state.stage) if self.recipe.stages[i].type == "td"]
        if not earlier or state.fallbacks >= self.recipe.max_fallbacks:
            why = "no teacher-data stage to return to" if not earlier else f"{state.fallbacks} fall backs already"
            self._finish(f"aborted: {reason} ({why})")
            return
        self.monitor.evaluate(state.step, self.stage.name, self.student)
        entry = checkpoint.directory(self.directory.path, state.entries[str(state.stage)])
        source = load_recogniser(str(entry), dtype=self.recipe.student.dtype, family=self.recipe.student.family)
        self.student.generator.load_state_dict(source.generator.state_dict())
        state.stage, state.stage_step, state.gate = earlier[-1], 0, None
        state.fallbacks += 1

    def _finish(self, outcome: str) -> None:
        self.monitor.evaluate(self.state.step, self.stage.name, self.student)
        self.state.outcome = outcome
        self._log("end", outcome, "run", {})
        self._save()

    def _log(self, decision: str, reason: str, gate: str, numbers: Mapping[str, Any]) -> None:
        row = {"step": self.state.step, "stage": self.stage.name, "stage_step": self.state.stage_step, "gate": gate}
        row |= {"decision": decision, "reason": reason, "numbers": dict(numbers)}
        self.directory.append("decisions", row)
        self.observer.decision(row)

    # --- one step ------------------------------------------------------------------------------------------------------

    def _train_step(self) -> None:
        state, stage, clock = self.state, self.stage, Stopwatch()
        torch.manual_seed(_seed(self.recipe.seed, state.stage, state.step, self.accelerator.process_index))
        with clock("data"):
            indices = self.sampler.batch(state.stage_step)[
                self.accelerator.process_index :: self.accelerator.num_processes
            ]
            batch = self.setup.source.batch([self.utterances[i] for i in indices])
        self.student.model.train()
        outcome = self._step_outcome(stage, batch, clock)
        positions = int(self.accelerator.reduce(torch.tensor(outcome.positions, device=self.accelerator.device)))
        # Ranks average their gradients; scaling by their number makes the loss a mean over all positions of the batch.
        loss = outcome.loss * self.accelerator.num_processes / max(positions, 1)
        with clock("update"):
            self.accelerator.backward(loss)
            norm = self.accelerator.clip_grad_norm_(self.student.model.parameters(), stage.clip)
            mean_loss = float(self.accelerator.reduce(loss.detach(), reduction="mean"))
            if not torch.isfinite(torch.as_tensor([mean_loss, float(norm)])).all():
                raise TrainingError(
                    f"step {state.step} of stage {stage.name!r}: loss {mean_loss}, gradient norm {float(norm)}. Lower "
                    "the stage's lr, or look at the models' logits; the last checkpoint is untouched."
                )
            self.optimiser.step()
            lr = self.scheduler.get_last_lr()[0]
            self.scheduler.step()
            self.optimiser.zero_grad()
        state.step += 1
        state.stage_step += 1
        row = {"step": state.step, "stage": stage.name, "stage_step": state.stage_step, "loss": mean_loss}
        row |= {"n_positions": positions, "gradient_norm": float(norm), "lr": lr, **outcome.metrics}
        row |= {"seconds": {phase: round(seconds, 4) for phase, seconds in clock.seconds.items()}}
        self.directory.append("metrics", row)
        self.observer.step(row)

    def _step_outcome(self, stage: StageConfig, batch: Batch, clock: Stopwatch) -> StepOutcome:
        if stage.type == "opd":
            assert self.setup.teacher is not None
            return on_policy_step(self.student, self.setup.teacher, batch, stage, self.recipe.support, clock)
        return supervised_step(self.student, batch, [utterance.text or "" for utterance in batch.utterances], clock)

    def _save(self) -> None:
        """Checkpoint the run; between stages there is no optimiser state worth keeping."""
        state = self.state
        state.rows = dict(self.directory.rows)
        optimiser = None
        if state.stage_step and state.outcome is None:
            state.gate = self.gate.state_dict()
            tensors = get_optimizer_state_dict(self.student.model, self.optimiser.optimizer, options=WHOLE)
            optimiser = {"optimiser": tensors, "scheduler": self.scheduler.state_dict()}
        weights = get_model_state_dict(self.accelerator.unwrap_model(self.student.model), options=WHOLE)
        if self.accelerator.is_main_process:
            checkpoint.save(self.directory.path, self.student, state, weights, optimiser)
            checkpoint.prune(self.directory.path, self.recipe.checkpoint.keep, set(state.entries.values()))
        self.accelerator.wait_for_everyone()


def _seed(*parts: int) -> int:
    """One 63-bit seed from several integers."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))
