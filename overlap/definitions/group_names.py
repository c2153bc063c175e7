"""Names of readings over the utterances of one group, such as one language: ``language=de/top1_agreement``.

A group is a value of a field that every utterance of a set may have: its language, its accent, its speaker. A reading
of a group is named by field and value, a slash, and the statistic with its states, form and change as everywhere else:
``language=de/fixed.top1_agreement.without_repeats``. A value may hold any character, a field all but ``=``.
"""

from collections.abc import Mapping
from typing import TypeVar

from overlap.errors import UserError

T = TypeVar("T")
IS, IN = "=", "/"
LEAST = 20
"""Fewest utterances of a group with readings of its own: with fewer, intervals say little. If all transcripts of 20
utterances end, the lower end of ``end_of_text`` is 0.83, see `overlap.gates.opening.fewest_utterances`."""


def check_field(field: str, what: str) -> str:
    """Return the name of a field; refuse what no reading can name.

    Args:
        field: such as ``language``.
        what: of the setting, for messages.

    Raises:
        UserError: if it is no text, empty, or has an equals sign.
    """
    if not isinstance(field, str) or not field or IS in field:
        raise UserError(f'{what}: expected the name of a field without "{IS}", such as "language", received {field!r}')
    return field


def group_name(field: str, group: str) -> str:
    """Return what readings and reasons call a group.

    Example:
        >>> group_name("language", "de")
        'language=de'
    """
    return f"{field}{IS}{group}"


def in_group(field: str, group: str, reading: str) -> str:
    """Return the name of a reading over the utterances of a group.

    Example:
        >>> in_group("language", "de", "fixed.total_variation")
        'language=de/fixed.total_variation'
    """
    return f"{group_name(field, group)}{IN}{reading}"


def named_by_group(readings: Mapping[str, Mapping[str, T]], field: str) -> dict[str, T]:
    """Return readings of several groups in one mapping, as `overlap.EveryGroup` reads them.

    Args:
        readings: by group, each by name.
        field: whose values the groups are.

    Raises:
        UserError: if the field cannot be named, or a reading's name holds a slash.

    Example:
        >>> named_by_group({"de": {"end_of_text": 0.9}, "en": {"end_of_text": 1.0}}, "language")
        {'language=de/end_of_text': 0.9, 'language=en/end_of_text': 1.0}
    """
    check_field(field, "field")
    if wrong := [name for of in readings.values() for name in of if IN in name]:
        raise UserError(f'readings: "{wrong[0]}" holds a slash, which ends the name of a group; give it another name')
    return {in_group(field, group, name): value for group, of in readings.items() for name, value in of.items()}


def by_group(readings: Mapping[str, T], field: str) -> dict[str, dict[str, T]]:
    """Return the readings of every group of a field by their own names; the inverse of `named_by_group`.

    Readings of whole sets and of other fields are left out.

    Args:
        readings: by name.
        field: whose values the groups are.

    Example:
        >>> by_group({"end_of_text": 0.95, "language=de/end_of_text": 0.9, "age=60/end_of_text": 0.8}, "language")
        {'de': {'end_of_text': 0.9}}
    """
    found: dict[str, dict[str, T]] = {}
    for name, value in readings.items():
        if name.startswith(f"{field}{IS}") and IN in name:
            group, _, own = name.removeprefix(f"{field}{IS}").rpartition(IN)
            found.setdefault(group, {})[own] = value
    return found
