"""Checks that a recipe's probe has what gates and soft switches read, at levels that it can reach."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, TypeVar

from overlap.definitions import Ranges
from overlap.definitions.names import OWN, UnknownStatisticError, is_change, statistic_of
from overlap.errors import UserError
from overlap.gates import READINESS
from overlap.gates.reader import Reader
from overlap.soft_switches import OverlapShare

from .gate_statistics import doubtful_readings, evaluation_reading, no_such_statistic, out_of_reach, percentages
from .gates import GateConfig, too_late
from .group_gates import unread_groups
from .readers import lacks_intervals, needs_intervals, too_small
from .shares import ShareSection
from .toml import in_toml

if TYPE_CHECKING:
    from .schema import Recipe

R = TypeVar("R", bound=Reader)


def check_gate(recipe: Recipe, section: GateConfig, steps: int, where: str) -> None:
    """Refuse a gate that would fail, or never open, hours into the run.

    Args:
        recipe: With the probe.
        section: Of the gate.
        steps: Most that its stage may take.
        where: Its key.

    Raises:
        UserError: Names the key and the remedy.
    """
    gate = _built(recipe, section.build, where)
    _check_readings(recipe, gate, where)
    if recipe.probe is not None and (unread := unread_groups(gate, recipe.probe.groups, where)):
        raise UserError("; ".join(unread))
    if late := too_late(gate, steps, where):
        raise UserError(f"{'; '.join(late)}; lower it, or raise {where.removesuffix('.gate')}.steps")


def check_share(recipe: Recipe, section: float | ShareSection, where: str) -> None:
    """Refuse a rule of an off-policy share that reads what the probe does not have, or that never falls to 0.

    Args:
        recipe: With the probe.
        section: Of the rule, or a constant share.
        where: Its key.

    Raises:
        UserError: Names the key and the remedy.
    """
    if isinstance(section, ShareSection):
        rule = _built(recipe, section.build, where)
        _check_readings(recipe, rule, where)
        if isinstance(rule, OverlapShare) and (better := _better_mode(rule.statistic)) not in (None, rule.mode):
            direction = "smaller" if better == "min" else "larger"
            raise UserError(
                f'{where}.mode = "{rule.mode}": {direction} is better in {rule.statistic}, so the share would rise as '
                f'the student comes nearer; write mode = "{better}"'
            )


def _better_mode(statistic: str) -> Literal["max", "min"] | None:
    """Return which values of a statistic are better, as the table of levels has it; None where it does not say."""
    if statistic.startswith(OWN):
        return "min"  # gates and switches read no other number of a user's own than error rates
    if is_change(statistic):
        return None
    sides = {row.side for row in READINESS if row.statistic == statistic_of(statistic)}
    if len(sides) != 1:
        return None
    return "min" if sides == {"at_most"} else "max"


def _built(recipe: Recipe, build: Callable[[], R], where: str) -> R:
    try:
        return build()
    except UnknownStatisticError as error:
        _check_names(recipe, [error.statistic], where)
        raise UserError(f"{where}: {error}") from error
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error


def _check_readings(recipe: Recipe, reader: Reader, where: str) -> None:
    served = recipe.teacher is not None and recipe.teacher.url is not None
    if reader.statistics and recipe.probe is not None and served and (doubts := doubtful_readings(reader)):
        raise UserError(f"{where}: {'; '.join(doubts)}")
    _check_names(recipe, reader.statistics, where)
    if recipe.probe is None or not reader.statistics:
        return
    if unreachable := [*out_of_reach(reader, Ranges(recipe.support.k)), *percentages(reader)]:
        raise UserError(f"{where}: {'; '.join(unreachable)}")
    most = recipe.probe.max_utterances
    if most == 1 and lacks_intervals(reader):
        raise UserError(f"probe.max_utterances = 1: {where} {needs_intervals(reader)}")
    if most is not None and (small := too_small(reader, most, where)):
        raise UserError(f"probe.max_utterances = {most}: {'; '.join(small)}")


def _check_names(recipe: Recipe, names: Sequence[str], where: str) -> None:
    """Refuse statistics that the probe does not have."""
    if names and recipe.probe is None:
        raise UserError(f"{where} reads probes: add a [probe] table with a manifest")
    if recipe.probe is None:
        return
    served = recipe.teacher is not None and recipe.teacher.url is not None
    sets = [section.name for section in recipe.evaluations]
    readings = recipe.probe.readings(served=served) + tuple(evaluation_reading(one) for one in sets)
    for name in (one for one in names if one not in readings):
        states, instead = in_toml(recipe.probe.states), no_such_statistic(name, sets, readings, served=served)
        raise UserError(f"{where}: the probe has no statistic {in_toml(name)} on its states {states}; {instead}")
