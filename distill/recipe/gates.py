"""Gates as recipes write them, one section a kind; each builds its gate of `overlap`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveInt

import overlap
from overlap.definitions import canonical

from .section import Count, NonNegative, Section

Statistic = Annotated[str, AfterValidator(canonical)]
"""A statistic's name or its alias."""


class FixedStepsGate(Section):
    """Advance after a fixed number of steps, whatever the overlap (the way of arXiv 2605.28139)."""

    type: Literal["fixed_steps"]
    steps: PositiveInt

    def build(self) -> overlap.Gate:
        """The gate object."""
        return overlap.FixedSteps(self.steps)


class ThresholdGate(Section):
    """Advance when the conservative end of a statistic's interval has passed a level."""

    type: Literal["threshold"]
    statistic: Statistic
    at_least: float | None = None
    at_most: float | None = None
    on: Literal["bound", "value"] = "bound"
    patience: PositiveInt = 1
    release: float | None = None
    min_steps: Count = 0

    def build(self) -> overlap.Gate:
        """The gate object."""
        return overlap.Threshold(**self.model_dump(exclude={"type"}))


class PlateauGate(Section):
    """Advance when a statistic has stopped improving."""

    type: Literal["plateau"]
    statistic: Statistic
    min_delta: NonNegative = 0.0
    patience: PositiveInt = 3
    mode: Literal["max", "min"] = "max"
    min_steps: Count = 0

    def build(self) -> overlap.Gate:
        """The gate object."""
        return overlap.Plateau(**self.model_dump(exclude={"type"}))


class CollapseGate(Section):
    """Fall back or abort when a statistic has certainly left its healthy range."""

    type: Literal["collapse"]
    limits: dict[Statistic, tuple[float | None, float | None]]
    patience: PositiveInt = 1
    action: Literal["fall_back", "abort"] = "fall_back"

    def build(self) -> overlap.Gate:
        """The gate object."""
        return overlap.Collapse(**self.model_dump(exclude={"type"}))


class AllGate(Section):
    """Advance when every member advances."""

    type: Literal["all"]
    gates: tuple[GateConfig, ...]

    def build(self) -> overlap.Gate:
        """The gate object."""
        return overlap.All(*(gate.build() for gate in self.gates))


class AnyGate(Section):
    """Advance when one member advances."""

    type: Literal["any"]
    gates: tuple[GateConfig, ...]

    def build(self) -> overlap.Gate:
        """The gate object."""
        return overlap.Any(*(gate.build() for gate in self.gates))


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
    if isinstance(gate, AllGate | AnyGate):
        for member in gate.gates:
            yield from leaves(member)
    else:
        yield gate
