"""Groups of utterances by the fields of their manifest, such as every language, accent or speaker."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from overlap.definitions.group_names import IS, LEAST, check_field
from overlap.errors import UserError
from overlap.estimates.number_formatting import plural

from .utterance import FIELDS, ManifestError, Utterance

GROUPED = ("language",)
"""Fields of a manifest line with a meaning of their own by which utterances can be grouped; extra fields all can."""
SHOWN = 8
"""Groups or fields named in a message."""


@dataclass(frozen=True)
class FieldGroups:
    """The groups of a set by one field.

    Attributes:
        field: Of a manifest line.
        members: Ids of the utterances with each value; the largest group first.
        without: Ids of those without a value.
        least: Fewest utterances of a group with readings of its own.
    """

    field: str
    members: Mapping[str, tuple[str, ...]]
    without: tuple[str, ...]
    least: int = LEAST

    @property
    def large(self) -> dict[str, tuple[str, ...]]:
        """Groups of enough utterances for readings of their own."""
        return {value: ids for value, ids in self.members.items() if len(ids) >= self.least}

    @property
    def values(self) -> dict[str, str | None]:
        """The value of each utterance by its id."""
        return {id_: value for value, ids in self.members.items() for id_ in ids} | dict.fromkeys(self.without)

    @property
    def line(self) -> str:
        """The groups in words, those without readings as well."""
        small = {value: ids for value, ids in self.members.items() if value not in self.large}
        parts = [f"{self.field}: {_sizes(self.large)}"]
        if small:
            total = sum(map(len, small.values()))
            parts.append(f"without readings, fewer than {self.least} utterances: {_sizes(small)}, {total} in all")
        if self.without:
            parts.append(f"{_named(self.without, 'utterance')} none")
        return "; ".join(parts)


def value_of(utterance: Utterance, field: str) -> str | None:
    """Return what a line says in a field, as text; None if it says nothing.

    A field may be text in some manifests and a number in others; it is a text here, as in tables.

    Args:
        utterance: Of a manifest.
        field: `language`, or an extra field such as `speaker`.
    """
    value = utterance.language if field == "language" else utterance.extra.get(field)
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def groups_by(utterances: Iterable[Utterance], field: str, least: int = LEAST) -> FieldGroups:
    """Return the groups of some utterances by a field.

    Args:
        utterances: Of a set.
        field: As in `value_of`.
        least: Fewest utterances of a group with readings of its own.
    """
    members: dict[str, list[str]] = {}
    without = []
    for utterance in utterances:
        value = value_of(utterance, field)
        (without if value is None else members.setdefault(value, [])).append(utterance.id)
    largest_first = sorted(members.items(), key=lambda item: (-len(item[1]), item[0]))
    return FieldGroups(field, {value: tuple(ids) for value, ids in largest_first}, tuple(without), least)


def check_fields(fields: Sequence[str]) -> tuple[str, ...]:
    """Return fields by which utterances can be grouped.

    Args:
        fields: Of manifest lines.

    Raises:
        UserError: One is different for every utterance, cannot be named, or is there twice; names it.
    """
    for field in fields:
        check_field(field, "groups")
        if field in FIELDS and field not in GROUPED:
            raise UserError(
                f'groups: "{field}" does not group utterances; name a field that many of them share, such as '
                '"language", "speaker", or one of your own'
            )
    if twice := [field for i, field in enumerate(fields) if field in fields[:i]]:
        raise UserError(f'groups: "{twice[0]}" is there twice; name every field once')
    return tuple(fields)


def required_groups(
    utterances: Collection[Utterance], fields: Sequence[str], manifest: str, what: str, left: str = ""
) -> tuple[FieldGroups, ...]:
    """Return the groups of a set by each field; refuses fields that give no group readings of its own.

    Args:
        utterances: The set.
        fields: Checked by `check_fields`.
        manifest: Its name, for messages.
        what: The setting that names the fields, for messages.
        left: To add to the number of utterances in messages, such as how many were dropped.

    Raises:
        ManifestError: No line has the field, or no value has enough utterances; names the manifest and the remedy.
    """
    found = tuple(groups_by(utterances, field) for field in fields)
    for one in found:
        if not one.members:
            instead = _have(utterances, one.field)
            raise ManifestError(f'{manifest}: no line has the field "{one.field}", which {what} names; {instead}')
        if not one.large:
            unnamed = f" ({_named(one.without, 'line')} none)" if one.without else ""
            raise ManifestError(
                f"{manifest}: of its {len(utterances)} utterances{left}, no {one.field} has {LEAST}, which readings of "
                f'a group take: {_sizes(one.members)}{unnamed}; probe more utterances, or remove "{one.field}" from '
                f"{what}"
            )
    return found


def _have(utterances: Iterable[Utterance], field: str) -> str:
    """What to write instead of a field that no line has."""
    names = dict.fromkeys(name for one in utterances for name in ("language", *one.extra) if value_of(one, name))
    usable = [name for name in names if IS not in name]
    if near := difflib.get_close_matches(field, usable, n=1):
        return f'did you mean "{near[0]}"?'
    if not usable:
        return "its lines have no field to group by: add one to them, or remove it there"
    more = f" and {len(usable) - SHOWN} more" if len(usable) > SHOWN else ""
    return f"add it to them, or name one that they have: {', '.join(usable[:SHOWN])}{more}"


def _sizes(members: Mapping[str, Sequence[str]]) -> str:
    shown = [f"{value} ({len(ids)})" for value, ids in list(members.items())[:SHOWN]]
    more = len(members) - SHOWN
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _named(without: Sequence[str], noun: str) -> str:
    """`1 line names`, `2 lines name`."""
    return f"{len(without):,} {plural(noun, len(without))} {'names' if len(without) == 1 else 'name'}"
