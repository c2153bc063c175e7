"""Checks of gates that read groups of utterances."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

from pydantic import AfterValidator

import overlap
from overlap.definitions.names import OWN

from ..data.groups import check_fields
from .readers import too_small
from .section import Text
from .toml import in_toml

Fields = Annotated[tuple[Text, ...], AfterValidator(check_fields)]
"""Fields of a manifest by which utterances are grouped."""


def gates_of_groups(gate: overlap.Gate, where: str) -> Iterator[tuple[str, overlap.EveryGroup]]:
    """Yield the gates that are read for every group, by their keys.

    Args:
        gate: Of a stage.
        where: Its key.
    """
    if isinstance(gate, overlap.EveryGroup):
        yield where, gate
        return
    for key, member in zip(gate.member_keys, gate.members, strict=True):
        yield from gates_of_groups(member, f"{where}.{key}")


def unread_groups(gate: overlap.Gate, fields: Sequence[str], where: str) -> list[str]:
    """Return what gates read by group and the probe does not have, in words.

    Args:
        gate: Of a stage.
        fields: Those of `probe.groups`.
        where: Key of the gate.
    """
    found = []
    for key, every in gates_of_groups(gate, where):
        if every.of not in fields:
            has = f"probe.groups = {in_toml(list(fields))} does not name it" if fields else "probe.groups is not set"
            found.append(f"{key}.of = {in_toml(every.of)}: {has}; write groups = {in_toml([*fields, every.of])} there")
        if rates := [name for name in every.statistics if name.startswith(OWN)]:
            found.append(
                f"{key}: {rates[0]} is of a whole evaluation set and is not read by group; read it beside this gate, "
                'with type = "all"'
            )
    return found


def too_small_groups(gate: overlap.Gate, sizes: Mapping[str, Mapping[str, int]], where: str) -> list[str]:
    """Return which gates cannot open because a group that they read is too small, in words.

    Args:
        gate: Of a stage.
        sizes: Utterances of every group with readings, by field.
        where: Key of the gate.
    """
    found = []
    for key, every in gates_of_groups(gate, where):
        groups = sizes[every.of]
        smallest = min(groups, key=groups.__getitem__)
        found += [f"{every.of} {smallest!r}: {why}" for why in too_small(every, groups[smallest], key)]
    return found
