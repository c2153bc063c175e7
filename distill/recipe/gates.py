"""Gates as recipes write them: a section for each gate of `overlap`, derived from its dataclass."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

import overlap
from overlap.definitions import by_canonical_name, canonical
from overlap.errors import UserError
from overlap.gates.settings import RefusedSettingsError

from .derived import derived
from .filters import Limit
from .readers import keyed
from .section import Section, Text

Statistic = Annotated[Text, AfterValidator(canonical)]
"""A statistic's name or its alias."""

WRITTEN: dict[str, tuple[Any, str]] = {
    "statistic": (
        Statistic,
        "A name of `overlap/STATISTICS.md`, read on the states `student`; with `fixed.` before it, on the states "
        "`fixed`. The error rate on an evaluation set is `own.NAME.error_rate`, with the set's name, as a proportion: "
        "0.2 is 20 %; the set is evaluated whenever the gate reads.",
    ),
    "limits": (
        dict[Text, tuple[Limit[float], Limit[float]]],
        'Lowest and highest healthy value of each statistic, "off" for an open side: `{ repetition = ["off", 3.0] }`.',
    ),
}
"""Settings that a file writes otherwise than Python: annotation and description."""


class GateSection(Section):
    """A gate as a file has it; what it reads and needs, its gate object says."""

    builds: ClassVar[type[overlap.Gate]]

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """A setting, which type checkers cannot see."""

    def build(self) -> overlap.Gate:
        """Return the gate object.

        Raises:
            UserError: A statistic that does not exist (`UnknownStatisticError`), or settings that the gate refuses.
        """
        return self.builds(**self.model_dump(exclude={"type"}))

    @model_validator(mode="after")
    def _settings_go_together(self) -> GateSection:
        try:
            self.build()
        except RefusedSettingsError as refused:
            raise UserError(_in_a_file(self, refused)) from refused
        except UserError:
            pass  # a statistic that does not exist: the recipe knows which the probe has
        return self


def section_of(gate: type[overlap.Gate], base: type[GateSection] = GateSection) -> type[GateSection]:
    """Return the section of a gate: names, types, defaults, bounds and descriptions of its settings.

    Args:
        gate: A dataclass.
        base: Section with checks of its own, in the words of a file.
    """
    made = derived(gate, base, f"{gate.__name__}Gate", WRITTEN)
    made.builds = gate
    return made


class _Collapse(GateSection):
    @field_validator("limits", check_fields=False)  # the field comes with the gate's settings
    @classmethod
    def _once(cls, limits: dict[str, Any]) -> dict[str, Any]:
        return by_canonical_name(limits, "limits")


def _in_a_file(gate: GateSection, refused: RefusedSettingsError) -> str:
    """What a gate refuses, with the keys and the values of a file."""
    match refused.rule:
        case "no level":
            return "a threshold needs a level; write at_least, or at_most where less is better"
        case "two levels":
            return (
                f"at_least = {gate.at_least:g} and at_most = {gate.at_most:g}: a threshold has one level; remove one "
                'of them, or for a value between the two write type = "all" with a threshold for each in gates'
            )
        case "release":
            rising = gate.at_least is not None
            level = f"above at_least = {gate.at_least:g}" if rising else f"below at_most = {gate.at_most:g}"
            remedy = "lower" if rising else "raise"
            return f"release = {gate.release:g} is {level}; it is the looser level, so {remedy} it"
        case "no limits":
            return 'limits is empty; write a statistic with its limits, as { repetition = ["off", 3.0] }'
    name, (low, high) = refused.statistic, gate.limits[refused.statistic]
    if refused.rule == "open limits":
        return f'limits.{name} = ["off", "off"] guards nothing; write a number, or leave it out'
    remedy = f"write [{high:g}, {low:g}]" if low > high else 'write "off" for one of them'
    return (
        f"limits.{name} = [{low:g}, {high:g}]: the lowest healthy value comes first, and the highest is above it; "
        f"{remedy}"
    )


Members = Annotated[tuple["GateConfig", ...], Field(min_length=1, description="The members, a table each.")]


class _Combination(GateSection):
    def build(self) -> overlap.Gate:
        """Return the gate object."""
        return self.builds(*(gate.build() for gate in self.gates))


class AllGate(_Combination):
    """Advance when every member advances."""

    builds: ClassVar[type[overlap.Gate]] = overlap.AllOf
    type: Literal["all"]
    gates: Members


class AnyGate(_Combination):
    """Advance when one member advances."""

    builds: ClassVar[type[overlap.Gate]] = overlap.AnyOf
    type: Literal["any"]
    gates: Members


class PreconditionGate(GateSection):
    """Advance when the gate does, at readings where all conditions advance; the gate is not read at others. A condition
    is a threshold without `release`, or made of such."""

    builds: ClassVar[type[overlap.Gate]] = overlap.Precondition
    type: Literal["precondition"]
    conditions: Members
    then: GateConfig
    """The gate."""

    def build(self) -> overlap.Gate:
        """The gate object."""
        return overlap.Precondition(*(gate.build() for gate in self.conditions), then=self.then.build())


class EveryGroupGate(GateSection):
    """Advance when the gate does for every group of utterances, such as every language, at the same reading. An alarm
    of one group is an alarm."""

    builds: ClassVar[type[overlap.Gate]] = overlap.EveryGroup
    type: Literal["every_group"]
    of: Text
    """Field of the probe's manifest whose values are the groups; one of `probe.groups`. A value with fewer than 20
    utterances has no readings and is left out."""
    gate: GateConfig
    """Read for each group by itself, with a state of its own; error rates cannot be read by group."""

    def build(self) -> overlap.Gate:
        """The gate object."""
        return overlap.EveryGroup(self.of, self.gate.build())


FixedStepsGate = section_of(overlap.FixedSteps)

SECTIONS: tuple[type[GateSection], ...] = (
    FixedStepsGate,
    section_of(overlap.Threshold),
    section_of(overlap.Plateau),
    section_of(overlap.Saturation),
    section_of(overlap.Collapse, _Collapse),
    AllGate,
    AnyGate,
    PreconditionGate,
    EveryGroupGate,
)
"""Every kind of gate, in the order of the page of fields."""
globals().update({section.__name__: section for section in SECTIONS})  # where pickle looks for classes

if TYPE_CHECKING:
    GateConfig = GateSection
else:
    GateConfig = Annotated[reduce(or_, SECTIONS), Field(discriminator="type")]

AllGate.model_rebuild()  # of their members' types, until here, the fields know the name alone
AnyGate.model_rebuild()
PreconditionGate.model_rebuild()
EveryGroupGate.model_rebuild()


def fixed_steps(gate: GateConfig) -> frozenset[int]:
    """Return steps of a stage at which its gate must be read, whenever probes are due."""
    return gate.build().due_steps


def too_late(gate: overlap.Gate, steps: int, where: str) -> list[str]:
    """Return which gates wait for more steps than their stage may take, so that they never open; in words.

    Args:
        gate: Of the stage.
        steps: Most that the stage may take.
        where: Key of the gate.
    """
    waits = [(key, leaf.first_step) for key, leaf in keyed(gate, where)]
    has = f"the stage has {steps} step{'s' if steps > 1 else ''}"
    return [
        f"{key}.{wait.setting} = {wait.count}: {has}, so this gate never opens"
        for key, wait in waits
        if wait.count > steps
    ]
