"""Settings of a recipe that are valid one by one but have no effect together."""

from __future__ import annotations

from collections.abc import Iterator

from overlap.definitions.names import OWN

from .gates import (
    AllGate,
    AnyGate,
    CollapseGate,
    FixedStepsGate,
    GateConfig,
    PlateauGate,
    ThresholdGate,
    fixed_steps,
    keyed,
)
from .readings import range_of
from .schema import Recipe
from .stages import StageConfig


class RecipeWarning(UserWarning):
    """A recipe that can be run but has settings without effect."""


def pointless(recipe: Recipe) -> list[str]:
    """Settings without effect, a sentence each, with key and remedy."""
    return [*_of_stages(recipe), *_of_budgets(recipe)]


def _of_stages(recipe: Recipe) -> Iterator[str]:
    for i, stage in enumerate(recipe.stages):
        where, steps = f"stages.{i}", stage.steps
        if stage.warmup_steps >= steps:
            yield (
                f"{where}.warmup_steps = {stage.warmup_steps}: the stage has {steps}, so its learning rate never "
                "reaches lr; lower it"
            )
        curriculum = getattr(stage, "curriculum", None)
        if curriculum is not None and curriculum.steps > steps:
            yield (
                f"{where}.curriculum.steps = {curriculum.steps}: the stage has {steps}, so its longest utterances are "
                "never trained on; lower it"
            )
        if stage.gate is not None:
            yield from _of_gate(recipe, stage, stage.gate, f"{where}.gate")


def _of_gate(recipe: Recipe, stage: StageConfig, gate: GateConfig, where: str) -> Iterator[str]:
    readings = _readings(recipe, stage, gate)
    for key, leaf in keyed(gate, where):
        if isinstance(leaf, CollapseGate):
            for statistic, (low, high) in leaf.limits.items():
                least, most = range_of(statistic, recipe.support.k)
                for level, beyond in (
                    (low, low is not None and low <= least),
                    (high, high is not None and high >= most),
                ):
                    if beyond:
                        yield (
                            f"{key}.limits.{statistic}: {level:g} is never crossed, because all values lie between "
                            f'{least:g} and {most:g}; write "off" instead'
                        )
        yield from _of_error_rates(key, leaf)
        needed = _needed(leaf)
        if needed > readings:
            yield (
                f"{key}.patience = {getattr(leaf, 'patience', 1)} takes {needed} readings, and probe.every = "
                f"{recipe.probe.every if recipe.probe else stage.steps} gives {readings} in the {stage.steps} steps of "
                "the stage, so this gate never acts; lower patience or probe.every"
            )


def _of_error_rates(key: str, leaf: GateConfig) -> Iterator[str]:
    """Levels of error rates that are probably percent; even higher ones of thresholds are refused."""
    levels: dict[str, float | None] = {}
    if isinstance(leaf, ThresholdGate) and leaf.statistic.startswith(OWN):
        levels = {f"{key}.at_most": leaf.at_most}
    elif isinstance(leaf, CollapseGate):
        rates = {name: limits for name, limits in leaf.limits.items() if name.startswith(OWN)}
        levels = {f"{key}.limits.{name}": high for name, (_, high) in rates.items()}
    for what, level in levels.items():
        if level is not None and level >= (1 if isinstance(leaf, ThresholdGate) else 2):
            is_proportion = f"{level:g} is {level:.0%}, since error rates are proportions"
            yield f"{what}: {is_proportion}; for {level:g} % write {level / 100:g}"


def _needed(leaf: GateConfig) -> int:
    """Readings until a gate can act: the first of a plateau is its mark."""
    if isinstance(leaf, FixedStepsGate | AllGate | AnyGate):
        return 1
    return leaf.patience + isinstance(leaf, PlateauGate)


def _readings(recipe: Recipe, stage: StageConfig, gate: GateConfig) -> int:
    every = recipe.probe.every if recipe.probe else stage.steps
    others = {stage.steps, *(step for step in fixed_steps(gate) if step < stage.steps)}
    return stage.steps // every + sum(step % every > 0 for step in others) + stage.gate_at_entry


def _of_budgets(recipe: Recipe) -> Iterator[str]:
    sum_of_steps = sum(stage.steps for stage in recipe.stages)
    total = recipe.total_steps
    if total is not None:
        most = sum_of_steps * (1 + recipe.max_fallbacks)
        if total > most:
            yield f"total_steps = {total}: the stages have {sum_of_steps}, so it is never reached; lower or remove it"
        before = 0
        for i, stage in enumerate(recipe.stages):
            if before >= total:
                yield (
                    f"stages.{i} ({stage.name}) never begins: those before it take {before} steps and total_steps is "
                    f"{total}; raise that"
                )
            before += stage.steps if stage.gate is None else 0
    # Evaluations beyond the run's end are how an override turns them off, and a budget is cut to try things out.
    if "every" in recipe.checkpoint.model_fields_set and recipe.checkpoint.every > sum_of_steps:
        yield (
            f"checkpoint.every = {recipe.checkpoint.every}: the stages have {sum_of_steps} steps, so only their "
            "entries are saved; lower it"
        )
