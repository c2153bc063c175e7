"""Rules of an off-policy share as recipes write them: a section for each, derived from its dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Discriminator, Field, Tag, model_validator

from overlap.errors import UserError
from overlap.gates.settings import RefusedSettingsError
from overlap.soft_switches import LinearShare, OverlapShare, ShareRule

from .derived import derived
from .gates import WRITTEN
from .section import NUMBER, Section

KEYS = {"start": "from", "end": "to"}
"""Keys of a file for settings that Python cannot call so."""


class ShareSection(Section):
    """A rule as a file has it."""

    rule: ClassVar[type[ShareRule]]

    def build(self) -> ShareRule:
        """Return the rule.

        Raises:
            UserError: A statistic that does not exist (`UnknownStatisticError`), or settings that the rule refuses.
        """
        settings = self.model_dump(exclude={"type"})
        return self.rule(**{name: settings.pop(key) for name, key in KEYS.items() if key in settings}, **settings)

    @model_validator(mode="after")
    def _settings_go_together(self) -> ShareSection:
        try:
            self.build()
        except RefusedSettingsError as refused:
            raise UserError(_in_a_file(self.model_dump(), refused)) from refused
        except UserError:
            pass  # a statistic that does not exist: the recipe knows which the probe has
        return self


def _in_a_file(section: Mapping[str, Any], refused: RefusedSettingsError) -> str:
    """Return what a rule refuses, with the keys and the values of a file."""
    if refused.rule == "constant":
        value = section["from"]
        instead = f"write fraction = {value:g}" if value else "leave off_policy out"
        return f"from = {value:g} and to = {value:g}: the share never changes; {instead}"
    return (
        f"low = {section['low']:g} and high = {section['high']:g}: low must be below high; where smaller is better, "
        'write mode = "min" and keep low below high'
    )


def _section_of(rule: type[ShareRule]) -> type[ShareSection]:
    made = derived(rule, ShareSection, f"{rule.__name__}Section", WRITTEN, KEYS)
    made.rule = rule
    return made


LinearShareSection, OverlapShareSection = _section_of(LinearShare), _section_of(OverlapShare)


def _tag(value: Any) -> Any:
    """Return what tells numbers and the kinds of tables apart."""
    if isinstance(value, Mapping):
        return value.get("type")
    return getattr(value, "type", NUMBER)


Constant = Annotated[float, Field(gt=0.0, le=1.0)]

if TYPE_CHECKING:
    Fraction = float | ShareSection
else:
    Fraction = Annotated[
        Annotated[Constant, Tag(NUMBER)]
        | Annotated[LinearShareSection, Tag(LinearShare.kind)]
        | Annotated[OverlapShareSection, Tag(OverlapShare.kind)],
        Discriminator(_tag),
    ]
