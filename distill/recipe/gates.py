"""Gates as recipes write them: a section for each gate of `overlap`, derived from its dataclass."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar, get_type_hints

from docstring_parser import parse
from pydantic import AfterValidator, Field, create_model, field_validator, model_validator

import overlap
from overlap.definitions import by_canonical_name, canonical
from overlap.errors import UserError

from .filters import Limit
from .section import Section, Text

Statistic = Annotated[Text, AfterValidator(canonical)]
"""A statistic's name or its alias."""

WRITTEN: dict[str, tuple[Any, str]] = {
    "statistic": (
        Statistic,
        "Which: a name of `overlap/STATISTICS.md`, of the student's own states; with `fixed.` before it of those. The "
        "error rate on an evaluation set is `own.NAME.error_rate`, with the set's name, as a proportion: 0.2 is 20 %; "
        "the set is evaluated whenever the gate reads.",
    ),
    "limits": (
        dict[Text, tuple[Limit[float], Limit[float]]],
        'Lowest and highest healthy value of each statistic, "off" for an open side: `{ repetition = ["off", 3.0] }`.',
    ),
}
"""Settings that a file writes otherwise than Python: annotation and description."""


class _Gate(Section):
    gate: ClassVar[type[overlap.Gate]]

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """A setting, which type checkers cannot see."""

    def build(self) -> overlap.Gate:
        """The gate object."""
        return self.gate(**self.model_dump(exclude={"type"}))


S = TypeVar("S", bound=_Gate)


def _of(gate: type[overlap.Gate]) -> Callable[[type[S]], type[S]]:
    """Add the settings of a gate to its section: names, types, defaults, bounds and descriptions."""
    about = parse(gate.__doc__ or "")
    meanings = {each.arg_name: each.description or "" for each in about.params}
    types = get_type_hints(gate)
    settings: dict[str, Any] = {"type": (Literal[gate.kind], ...)}
    for item in dataclasses.fields(gate):  # pyright: ignore[reportArgumentType]  # all that have a section are dataclasses
        if item.init:
            annotation, meaning = WRITTEN.get(item.name, (types[item.name], _sentence(meanings[item.name])))
            default = ... if item.default is dataclasses.MISSING else item.default
            settings[item.name] = annotation, Field(default, description=meaning, ge=item.metadata.get("ge"))

    def decorate(section: type[S]) -> type[S]:
        section.gate = gate
        doc = _sentence(about.short_description or "")
        return create_model(section.__name__, __base__=section, __module__=__name__, __doc__=doc, **settings)

    return decorate


def _sentence(text: str) -> str:
    """A description as Markdown has it, from its first letter on."""
    text = text.replace("``", "`")
    return text[:1].upper() + text[1:]


@_of(overlap.FixedSteps)
class FixedStepsGate(_Gate):  # noqa: D101  # described by its gate
    pass


@_of(overlap.Threshold)
class ThresholdGate(_Gate):  # noqa: D101
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


@_of(overlap.Plateau)
class PlateauGate(_Gate):  # noqa: D101
    pass


@_of(overlap.Collapse)
class CollapseGate(_Gate):  # noqa: D101
    @field_validator("limits", check_fields=False)  # the field comes with the gate's settings
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


Members = Annotated[tuple["GateConfig", ...], Field(min_length=1, description="The members, a table each.")]


class _Combination(_Gate):
    def build(self) -> overlap.Gate:
        """The gate object."""
        return self.gate(*(gate.build() for gate in self.gates))


class AllGate(_Combination):
    """Advance when every member advances."""

    gate: ClassVar[type[overlap.Gate]] = overlap.AllOf
    type: Literal["all"]
    gates: Members


class AnyGate(_Combination):
    """Advance when one member advances."""

    gate: ClassVar[type[overlap.Gate]] = overlap.AnyOf
    type: Literal["any"]
    gates: Members


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
    'for intervals with the stated coverage), or write on = "value"'
)


def opens_without_intervals(gate: GateConfig) -> bool:
    """Whether a gate's decision can be had from readings without intervals, as those of a single utterance are.

    A gate that only guards, a collapse gate, never opens; without intervals it guards nothing.
    """
    if isinstance(gate, AnyGate):
        return any(opens_without_intervals(member) for member in gate.gates)
    if isinstance(gate, AllGate):
        return all(opens_without_intervals(member) for member in gate.gates)
    if isinstance(gate, CollapseGate):
        return False
    return isinstance(gate, FixedStepsGate) or gate.on == "value"
