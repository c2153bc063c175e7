"""Gates as recipes write them, one section a kind; each builds its gate of `overlap`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PositiveInt, field_validator, model_validator

import overlap
from overlap.definitions import by_canonical_name, canonical
from overlap.errors import UserError

from .filters import Limit
from .section import Count, NonNegative, Section, Text

Statistic = Annotated[Text, AfterValidator(canonical)]
"""A statistic's name or its alias."""


class FixedStepsGate(Section):
    """Advance after a fixed number of steps, whatever the overlap (as in arXiv 2605.28139)."""

    type: Literal["fixed_steps"]
    steps: PositiveInt
    """Of the stage."""

    def build(self) -> overlap.Gate:
        """The gate object."""
        return overlap.FixedSteps(self.steps)


class ThresholdGate(Section):
    """Advance when the conservative end of a statistic's interval has passed a level."""

    type: Literal["threshold"]
    statistic: Statistic
    """Which: a name of `overlap/STATISTICS.md`, of the student's own states; with `fixed.` before it of those. The
    error rate on an evaluation set is `own.NAME.error_rate`, with the set's name, as a proportion: 0.2 is 20 %; the set
    is evaluated whenever the gate reads."""
    at_least: float | None = None
    """Level that the interval's lower end must reach; give this or at_most."""
    at_most: float | None = None
    """Level that the interval's upper end must not exceed."""
    on: Literal["bound", "value"] = "bound"
    """Judge by the interval's end, or by the value itself."""
    patience: PositiveInt = 1
    """Consecutive readings that must reach the level."""
    release: float | None = None
    """Looser level: readings between the two neither add to the row nor end it; None: the level itself."""
    min_steps: Count = 0
    """Steps that the stage must have had."""

    @model_validator(mode="after")
    def _has_one_level(self) -> ThresholdGate:
        low, high, release = self.at_least, self.at_most, self.release
        if low is None and high is None:
            raise UserError("a threshold needs a level; write at_least, or at_most where less is better")
        if low is not None and high is not None:
            raise UserError(
                f"at_least = {low:g} and at_most = {high:g}: a threshold has one level; remove one of them, or for a "
                'value between the two write type = "all" with a threshold for each in gates'
            )
        if low is not None and release is not None and release > low:
            raise UserError(f"release = {release:g} is above at_least = {low:g}; it is the looser level, so lower it")
        if high is not None and release is not None and release < high:
            raise UserError(f"release = {release:g} is below at_most = {high:g}; it is the looser level, so raise it")
        return self

    def build(self) -> overlap.Gate:
        """The gate object."""
        return overlap.Threshold(**self.model_dump(exclude={"type"}))


class PlateauGate(Section):
    """Advance when a statistic has stopped improving."""

    type: Literal["plateau"]
    statistic: Statistic
    """Which, as of a threshold."""
    min_delta: NonNegative = 0.0
    """Improvement too small to wait for, in the statistic's unit."""
    patience: PositiveInt = 3
    """Readings without improvement before the gate advances."""
    mode: Literal["max", "min"] = "max"
    """Whether more or less of it is better."""
    min_steps: Count = 0
    """Steps that the stage must have had."""

    def build(self) -> overlap.Gate:
        """The gate object."""
        return overlap.Plateau(**self.model_dump(exclude={"type"}))


class CollapseGate(Section):
    """Fall back or abort when a statistic has certainly left its healthy range."""

    type: Literal["collapse"]
    limits: dict[Text, tuple[Limit[float], Limit[float]]]
    """Lowest and highest healthy value of each statistic, "off" for an open side: `{ repetition = ["off", 3.0] }`."""
    patience: PositiveInt = 1
    """Consecutive readings before the gate acts."""
    action: Literal["fall_back", "abort"] = "fall_back"
    """Go back to the teacher data before this stage, or end the run."""

    @field_validator("limits")
    @classmethod
    def _once(cls, limits: dict[str, Any]) -> dict[str, Any]:
        return by_canonical_name(limits, "limits")

    @model_validator(mode="after")
    def _limits_hold_something(self) -> CollapseGate:
        if not self.limits:
            raise UserError('limits is empty; write a statistic with its limits, as { repetition = ["off", 3.0] }')
        for name, (low, high) in self.limits.items():
            if low is None and high is None:
                raise UserError(f'limits.{name} = ["off", "off"] guards nothing; write a number, or leave it out')
            if low is not None and high is not None and low >= high:
                remedy = f"write [{high:g}, {low:g}]" if low > high else 'write "off" for one of them'
                raise UserError(
                    f"limits.{name} = [{low:g}, {high:g}]: the lowest healthy value comes first, and the highest is "
                    f"above it; {remedy}"
                )
        return self

    def build(self) -> overlap.Gate:
        """The gate object."""
        return overlap.Collapse(**self.model_dump(exclude={"type"}))


class AllGate(Section):
    """Advance when every member advances."""

    type: Literal["all"]
    gates: Annotated[tuple[GateConfig, ...], Field(min_length=1)]
    """The members, a table each."""

    def build(self) -> overlap.Gate:
        """The gate object."""
        return overlap.AllOf(*(gate.build() for gate in self.gates))


class AnyGate(Section):
    """Advance when one member advances."""

    type: Literal["any"]
    gates: Annotated[tuple[GateConfig, ...], Field(min_length=1)]
    """The members, a table each."""

    def build(self) -> overlap.Gate:
        """The gate object."""
        return overlap.AnyOf(*(gate.build() for gate in self.gates))


GateConfig = Annotated[
    FixedStepsGate | ThresholdGate | PlateauGate | CollapseGate | AllGate | AnyGate, Field(discriminator="type")
]
AllGate.model_rebuild()  # of their members' types, until here, the fields know the name alone
AnyGate.model_rebuild()


def fixed_steps(gate: GateConfig) -> set[int]:
    """Steps of a stage at which its gate must be read, whenever probes are due: those of fixed-steps gates in it."""
    return {leaf.steps for leaf in leaves(gate) if isinstance(leaf, FixedStepsGate)}


def statistics_read(gate: GateConfig) -> list[str]:
    """Names of the probe statistics that a gate reads, such as `union_size` or `fixed.union_size`."""
    names: list[str] = []
    for leaf in leaves(gate):
        if isinstance(leaf, CollapseGate):
            names += leaf.limits
        elif isinstance(leaf, ThresholdGate | PlateauGate):
            names.append(leaf.statistic)
    return names


def leaves(gate: GateConfig) -> Iterator[GateConfig]:
    """The gates that a combination is made of; a simple gate alone."""
    for _, leaf in keyed(gate, ""):
        yield leaf


def keyed(gate: GateConfig, where: str) -> Iterator[tuple[str, GateConfig]]:
    """The simple gates that a gate is made of, by their keys."""
    if isinstance(gate, AllGate | AnyGate):
        for i, member in enumerate(gate.gates):
            yield from keyed(member, f"{where}.gates.{i}")
    else:
        yield where, gate


def _wait(leaf: GateConfig) -> tuple[str, int]:
    if isinstance(leaf, FixedStepsGate):
        return "steps", leaf.steps
    return "min_steps", leaf.min_steps if isinstance(leaf, ThresholdGate | PlateauGate) else 0


def too_late(gate: GateConfig, steps: int, where: str) -> list[str]:
    """Which gates wait for more steps than their stage may take, so that they never open; in words.

    Args:
        gate: Of the stage.
        steps: Most that the stage may take.
        where: Key of the gate.
    """
    return [
        f"{key}.{name} = {value}: the stage has {steps} step{'s' if steps > 1 else ''}, so this gate never opens"
        for key, leaf in keyed(gate, where)
        for name, value in (_wait(leaf),)
        if value > steps
    ]


NEEDS_INTERVALS = (
    "needs intervals, which one utterance does not give, so it would never open; probe two utterances or more (25 "
    'for intervals with the stated coverage), or write on = "value" for a threshold'
)


def opens_without_intervals(gate: GateConfig) -> bool:
    """Whether a gate's decision can be had from readings without intervals, as those of a single utterance are.

    A gate that only guards, a collapse gate, never opens; without intervals it guards nothing.
    """
    if isinstance(gate, AnyGate):
        return any(opens_without_intervals(member) for member in gate.gates)
    if isinstance(gate, AllGate):
        return all(opens_without_intervals(member) for member in gate.gates)
    return isinstance(gate, FixedStepsGate) or (isinstance(gate, ThresholdGate) and gate.on == "value")
