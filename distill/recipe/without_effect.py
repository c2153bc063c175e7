"""Settings of a recipe that are valid one by one but have no effect together."""

from __future__ import annotations

from collections.abc import Iterator

import overlap
from overlap.definitions.names import OWN, is_change
from overlap.soft_switches import LinearShare

from .gate_statistics import range_of
from .gates import GateConfig, fixed_steps
from .readers import keyed
from .schema import Recipe
from .stages import OnPolicyStage, StageConfig


class RecipeWarning(UserWarning):
    """A recipe that can be run but has settings without effect."""


def settings_without_effect(recipe: Recipe) -> list[str]:
    """Return settings without effect, a sentence each, with key and remedy."""
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
        if "when_exhausted" in stage.model_fields_set and not stage.effective_gate.build().can_advance:
            yield (
                f"{where}.when_exhausted: the stage's gate only guards, so the stage is over after its {steps} steps "
                "whatever this says; remove it"
            )
        if stage.type == "opd":
            yield from _of_soft_switches(recipe, stage, where)
        if stage.gate is not None:
            yield from _of_gate(recipe, stage, stage.gate, f"{where}.gate")


def _of_soft_switches(recipe: Recipe, stage: OnPolicyStage, where: str) -> Iterator[str]:
    region = stage.rollout.trust_region
    if region is not None and (region.steps or 0) > stage.steps:
        yield (
            f"{where}.rollout.trust_region.steps = {region.steps}: the stage has {stage.steps}, so the radius never "
            "reaches 0 and no step is on-policy; lower it"
        )
    rule = stage.off_policy and stage.off_policy.rule
    if isinstance(rule, LinearShare) and rule.steps > stage.steps:
        yield (
            f"{where}.off_policy.fraction.steps = {rule.steps}: the stage has {stage.steps}, so the share never "
            f"reaches {rule.end:g}; lower it"
        )
    if rule and rule.statistics and recipe.probe is not None and recipe.probe.every >= stage.steps:
        yield (
            f"{where}.off_policy.fraction: probe.every = {recipe.probe.every} and the stage has {stage.steps} steps, "
            "so the share is that of the reading at entry throughout; lower probe.every"
        )


def _of_gate(recipe: Recipe, stage: StageConfig, gate: GateConfig, where: str) -> Iterator[str]:
    readings = _readings(recipe, stage, gate)
    for key, leaf in keyed(gate.build(), where):
        yield from _always_passed(key, leaf, recipe.support.k)
        yield from _never_crossed(key, leaf, recipe.support.k)
        yield from _of_error_rates(key, leaf)
        needed, setting = leaf.first_reading.count, leaf.first_reading.setting
        # The reading at entry has no change, because it is the first of its visit.
        changes = bool(leaf.statistics) and all(map(is_change, leaf.statistics))
        have = readings - (stage.gate_at_entry and changes)
        if needed > have:
            yield (
                f"{key}.{setting} = {leaf.parameters()[setting]} takes {needed} readings, and probe.every = "
                f"{recipe.probe.every if recipe.probe else stage.steps} gives {have}{' changes' if changes else ''} in "
                f"the {stage.steps} steps of the stage, so this gate never acts; lower {setting} or probe.every"
            )


def _always_passed(key: str, leaf: overlap.Gate, k: int) -> Iterator[str]:
    """Levels of changes that every possible change is within."""
    for criterion in leaf.criteria:
        least, most = range_of(criterion.statistic, k)
        for amount in criterion.amounts if is_change(criterion.statistic) else ():
            if (amount.side == "at_most" and amount.value >= most) or (
                amount.side == "at_least" and amount.value <= least
            ):
                yield (
                    f"{key}.{'.'.join(amount.key)}: all changes lie between {least:g} and {most:g}, so every reading "
                    "passes; lower it"
                )


def _never_crossed(key: str, leaf: overlap.Gate, k: int) -> Iterator[str]:
    """Yield healthy limits that all values are within."""
    for criterion in leaf.criteria:
        least, most = range_of(criterion.statistic, k)
        for amount in criterion.amounts:
            level = amount.value
            if (amount.side == "lowest" and level <= least) or (amount.side == "highest" and level >= most):
                yield (
                    f"{key}.{'.'.join(amount.key)}: {level:g} is never crossed, because all values lie between "
                    f'{least:g} and {most:g}; write "off" instead'
                )


_PROBABLY_PERCENT = {"at_most": 1.0, "highest": 2.0}
"""Error rates that hardly anyone means as a proportion, by the side of the level."""


def _of_error_rates(key: str, leaf: overlap.Gate) -> Iterator[str]:
    """Yield levels of error rates that are probably percent; even higher ones of thresholds are refused."""
    for criterion in leaf.criteria:
        for amount in criterion.amounts if criterion.statistic.startswith(OWN) else ():
            level = amount.value
            if amount.side in _PROBABLY_PERCENT and level >= _PROBABLY_PERCENT[amount.side]:
                is_proportion = f"{level:g} is {level:.0%}, since error rates are proportions"
                yield f"{key}.{'.'.join(amount.key)}: {is_proportion}; for {level:g} % write {level / 100:g}"


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
