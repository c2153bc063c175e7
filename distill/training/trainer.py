"""The one training loop: stages in order, probes between steps, gates that advance, fall back or stop."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Literal

from accelerate import Accelerator

import overlap
from overlap.estimates.distributed import gathered
from overlap.gates import Level

from ..progress.observer import Observer
from ..recipe import StageConfig
from ..recipe.gate_statistics import evaluation_reading
from ..run import best, checkpoint
from ..run.checkpoint import Outcome, TrainingState
from ..run.run_directory import RunDirectory
from ..run.training_data import TrainingData
from ..scoring.loading import load_student
from .fall_back import return_of, with_reading
from .optimization import Optimization, full_weights
from .probes_and_evaluations import Monitor, Place, error_rate_read
from .result import RunResult
from .seen_in_training import TrainedOn
from .setup import Setup
from .soft_switches import last_reading, share_rule
from .stage_data import StageData
from .whole_step import take_step

NO_NUMBERS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Start:
    """The weights with which a visit to a stage begins.

    Attributes:
        started_from: `model` of the recipe, `previous` for the end of the visit before, or `entry` after a fall back:
            the weights at the start of the visit that was left; `best_end` after one within teacher data: those of the
            visit that was left whose transcripts ended most often.
        source_visit: The visit that these weights are from; None for the recipe's model.
        source_step: Their training step.
    """

    started_from: Literal["model", "previous", "entry", "best_end"]
    source_visit: int | None
    source_step: int | None


class Trainer:
    """One run. `run()` trains from the given state to the end."""

    def __init__(
        self,
        setup: Setup,
        run: RunDirectory,
        accelerator: Accelerator,
        observer: Observer,
        state: TrainingState,
        optimizer_state: Mapping | None = None,
    ) -> None:
        self.setup, self.recipe, self.student = setup, setup.recipe, setup.student
        self.directory, self.accelerator, self.observer = run, accelerator, observer
        self.state, self._optimizer_state = state, optimizer_state
        self.monitor = Monitor(setup, run, observer)
        self._trained_on = TrainedOn(setup.recipe, setup.stages)
        self.student.model = accelerator.prepare(self.student.model)
        self._resuming = state.step > 0 or bool(state.entries)
        self._evaluated: dict[str, dict[str, Any]] = {}
        self._evaluated_at: Place | None = None
        if self._resuming:  # a gate may ask for what was measured before the checkpoint, and each row is there once
            here = {**asdict(self._place), "model": "student"}.items()
            self._evaluated_at = self._place
            self._evaluated = {row["set"]: row for row in run.rows_of("evaluations") if here <= row.items()}
        self._started_from = Start("model", None, None)

    def run(self) -> RunResult:
        """Train to the end and say how it ended."""
        if not self._resuming:
            self._evaluate_at_start()
        while self.state.outcome is None:
            self._enter_stage()
            while not (self._reading_due() and self._act_on(self._read())):
                if due := self._evaluations_due():
                    self._evaluate(due)
                self._train_step()
                if self.state.step % self.recipe.checkpoint.every == 0:
                    self._save()
        model = checkpoint.latest(self.directory.path)
        assert model is not None
        return RunResult.from_state(self.directory.path, model, self.state)

    @property
    def stage(self) -> StageConfig:
        """Configuration of the current stage."""
        return self.recipe.stages[self.state.stage]

    @property
    def _place(self) -> Place:
        return Place(self.state.step, self.state.visit, self.stage.name)

    @property
    def _in_last_stage(self) -> bool:
        return self.state.stage == len(self.recipe.stages) - 1

    def _evaluate_at_start(self) -> None:
        """Evaluate once: the teacher, and a student that has been trained before."""
        for one in self.setup.groups:
            self.observer.notice(f"probe.groups: {one.line}")
        self.monitor.round_trip()
        if self.setup.teacher is not None:
            self.monitor.evaluate(self._place, self.setup.teacher, model="teacher")
        if not self.recipe.student.from_scratch:
            self._evaluate()

    def _enter_stage(self) -> None:
        stage, state = self.stage, self.state
        fresh = state.stage_step == 0
        if fresh:
            left = (self.recipe.total_steps or state.step + stage.steps) - state.step
            state.horizon = max(1, min(stage.steps, left))
            state.entries[str(state.stage)] = state.step
            if self.directory.rows["visits"] == state.visit:  # a resumed run may have this row
                self.directory.append("visits", self._visit_row())
        # One process runs the teacher; the others wait and read its transcripts.
        with self.accelerator.main_process_first():
            self.data = StageData.of_stage(self.setup, state, self.directory, self.observer)
        saved = None if fresh else self._optimizer_state
        self.optimization = Optimization(self.student.model, stage, state.horizon, self.accelerator, saved)
        self._optimizer_state = None
        self.gate, self.rule = stage.effective_gate.build(), share_rule(stage)
        if state.gate is not None:
            self.gate.load_state_dict(state.gate)
        self.observer.stage(stage.name, stage.type, state.step, state.horizon)
        if fresh:
            self._save()

    def _visit_row(self) -> dict[str, Any]:
        """Return the row of `visits.jsonl` of the current visit."""
        row = {"visit": self.state.visit, "stage": self.stage.name, "type": self.stage.type}
        return row | {"first_step": self.state.step, **asdict(self._started_from)}

    def _reading_due(self) -> bool:
        every = self.recipe.probe.every if self.recipe.probe else self.stage.steps
        step = self.state.stage_step
        regular = step % every == 0 or step in self.gate.due_steps or self._is_out_of_steps()
        return regular or self._is_refused_too_often()

    def _is_refused_too_often(self) -> bool:
        stage = self.stage
        return stage.type == "opd" and stage.reject is not None and self.state.refused_steps >= stage.reject.patience

    def _evaluations_due(self) -> list[str]:
        """Return names of the sets that are due between the ends of stages."""
        step = self.state.step if self.state.stage_step else None
        sets = self.recipe.evaluations
        return [one.name for one in sets if step is not None and one.every is not None and step % one.every == 0]

    def _evaluate(self, due: Collection[str] | None = None) -> None:
        """Evaluate the student, by default on all sets, and keep its weights if they are the best so far.

        A set is evaluated once per step of a stage, even if both a gate and its interval ask for it.
        """
        state, place = self.state, self._place
        names = [one.name for one in self.recipe.evaluations] if due is None else due
        if self._evaluated_at != place:
            self._evaluated, self._evaluated_at = {}, place
        names = [name for name in names if name not in self._evaluated]
        rows = self.monitor.evaluate(place, self.student, due=names)
        self._evaluated |= {row["set"]: row for row in rows}
        if self.recipe.checkpoint.best is None:
            return
        rows = [row for row in rows if row["set"] == self.recipe.checkpoint.best]
        # Measurements of processes may differ in the last bit; decisions must be the same in all of them.
        found = gathered(best.new_best(rows[0], best.best_of(state)) if rows else None)[0]
        if found is None:
            return
        weights = full_weights(self.accelerator.unwrap_model(self.student.model))
        if self.accelerator.is_main_process:
            best.save(self.directory.path, found, self.student, weights, self._student_training_data())
        state.best = asdict(found)
        self.accelerator.wait_for_everyone()

    @property
    def _statistics_read(self) -> tuple[str, ...]:
        return (*self.gate.statistics, *(() if self.rule is None else self.rule.statistics))

    def _error_rates(self) -> dict[str, overlap.Estimate]:
        """Return error rates that the stage's gate or off-policy share reads, by the names that these have for
        them."""
        sets = {evaluation_reading(one.name): one.name for one in self.recipe.evaluations}
        read = {name: sets[name] for name in self._statistics_read if name in sets}
        self._evaluate(read.values())
        return {name: error_rate_read(self._evaluated[of]) for name, of in read.items()}

    def _student_training_data(self) -> TrainingData | None:
        return self._trained_on.stages(sorted(map(int, self.state.entries)))

    def _is_out_of_steps(self) -> bool:
        return self.state.stage_step >= self.stage.steps or self.state.step == self.recipe.total_steps

    def _read(self) -> overlap.Decision:
        """Probe, let the gate read, and log its decision."""
        state, stage = self.state, self.stage
        readings = self.monitor.probe(
            self._place,
            record_fixed=stage.type != "sft",
            trace=state.stage_step == 0 or self._is_out_of_steps(),
            changes=self._statistics_read,
        )
        # Measurements of processes may differ in the last bit; decisions must be the same in all of them.
        readings = gathered(readings | self._error_rates())[0]
        kept = state.stage_step == 0 or state.step % self.recipe.checkpoint.every == 0
        state.best_end = with_reading(state.best_end, readings, state.step, kept)
        if state.stage_step == 0 and not stage.gate_at_entry:
            decision = overlap.Decision(overlap.Action.stay, "its gate reads from the stage's first step on", "entry")
        else:
            decision = self.gate.read(readings, state.stage_step)
        state.refused_steps = 0
        state.last_reading = last_reading(self.rule, readings, state.step)
        self._log(decision.action.value, decision.reason, decision.gate, decision.numbers, decision.levels)
        return decision

    def _act_on(self, decision: overlap.Decision) -> bool:
        """Act on a decision; True when the stage is over."""
        state, action = self.state, decision.action
        if action is overlap.Action.abort:
            self._finish("aborted", decision.reason)
        elif action is overlap.Action.fall_back:
            self._fall_back(decision.reason)
        elif action is overlap.Action.advance:
            self._leave_stage()
        elif state.step == self.recipe.total_steps:
            outcome = "finished" if self._in_last_stage else "stopped"
            self._finish(outcome, f"the run's {state.step} steps are spent in stage {self.stage.name!r}")
        elif self._is_out_of_steps() and self._in_last_stage and not self.gate.can_advance:
            self._finish("finished", f"the {self.stage.steps} steps of stage {self.stage.name!r} are spent")
        elif self._is_out_of_steps() and not self.gate.can_advance:
            only_guards = (
                f"the {self.stage.steps} steps of stage {self.stage.name!r} are spent, and its gate only guards"
            )
            self._log("advance", only_guards, "guarded")
            self._leave_stage()
        elif self._is_out_of_steps():
            reason = (
                f"the {self.stage.steps} steps of stage {self.stage.name!r} are spent and its gate has not advanced"
            )
            advances = self.stage.when_exhausted == "advance"
            if advances and decision.unmet:
                reason += f"; when_exhausted advances only where preconditions hold: {'; '.join(decision.unmet)}"
                advances = False
            self._log("advance" if advances else "stop", reason, "exhausted")
            if advances:
                self._leave_stage()
            else:
                self._finish("stopped", reason)
        else:
            return False
        return True

    def _leave_stage(self) -> None:
        state = self.state
        if self._in_last_stage:
            self._finish("finished", "the last stage is over")
        elif state.step == self.recipe.total_steps:
            self._finish("stopped", f"the run's {state.step} steps are spent")
        else:
            self._evaluate()
            self._move_to(state.stage + 1, Start("previous", state.visit, state.step))

    def _move_to(self, stage: int, started_from: Start) -> None:
        state, self._started_from = self.state, started_from
        state.stage, state.stage_step, state.gate, state.best_end, state.refused_steps = stage, 0, None, None, 0
        state.last_reading = None
        state.visit += 1

    def _fall_back(self, reason: str) -> None:
        """Return to teacher data with earlier weights, see `distill.training.fall_back`, or abort."""
        state, target = self.state, return_of(self.state, self.recipe)
        if isinstance(target, str):
            self._finish("aborted", f"{reason} ({target})")
            return
        self._evaluate()
        source = load_student(self.recipe.student, weights=checkpoint.directory(self.directory.path, target.step))
        self.student.generator.load_state_dict(source.generator.state_dict())
        self._move_to(target.stage, Start(target.started_from, state.visit, target.step))
        state.fallbacks += 1

    def _finish(self, outcome: Outcome, reason: str) -> None:
        self._evaluate()
        self.state.outcome, self.state.reason = outcome, reason
        self._log("end", reason, "run", outcome=outcome)
        self._save()

    def _log(
        self,
        decision: str,
        reason: str,
        gate: str,
        numbers: Mapping[str, Any] = NO_NUMBERS,
        levels: Sequence[Level] = (),
        outcome: Outcome | None = None,
    ) -> None:
        row = {**asdict(self._place), "stage_step": self.state.stage_step, "gate": gate, "decision": decision}
        row |= {"outcome": outcome, "reason": reason, "numbers": dict(numbers), "levels": list(map(asdict, levels))}
        self.directory.append("decisions", row)
        self.observer.decision(row)

    def _train_step(self) -> None:
        state = self.state
        taken = take_step(self.setup, state, self.data, self.optimization, self.accelerator)
        state.refused_steps = taken.refused_in_a_row
        state.step += 1
        state.stage_step += 1
        row = {**asdict(self._place), "stage_step": state.stage_step, **taken.row}
        self.directory.append("metrics", row)
        self.observer.step(row)

    def _save(self) -> None:
        """Checkpoint the run; between stages there is no optimizer state worth keeping."""
        state = self.state
        state.rows = dict(self.directory.rows)
        optimizer = None
        if state.stage_step and state.outcome is None:
            state.gate = self.gate.state_dict()
            optimizer = self.optimization.state_dict()
        weights = full_weights(self.accelerator.unwrap_model(self.student.model))
        if self.accelerator.is_main_process:
            checkpoint.save(self.directory.path, self.student, state, weights, optimizer, self._student_training_data())
            checkpoint.prune(self.directory.path, self.recipe.checkpoint.keep, _protected(state))
            best.prune(self.directory.path)
        self.accelerator.wait_for_everyone()


def _protected(state: TrainingState) -> set[int]:
    """Return the steps of checkpoints to which a fall back may return."""
    return {*state.entries.values(), *([] if state.best_end is None else [state.best_end.step])}
