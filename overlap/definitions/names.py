"""Names of statistics as gates, recipes and tables take them."""

import difflib
from collections.abc import Mapping
from typing import Any, Literal, get_args

from overlap.arguments import require_kind
from overlap.definitions.checkpoint_statistics import CHECKPOINT_STATISTICS
from overlap.definitions.forms import FORMS
from overlap.definitions.probe_statistics import PROBE_STATISTICS
from overlap.definitions.sequence_statistics import SEQUENCE_STATISTICS
from overlap.definitions.token_statistics import TOKEN_STATISTICS
from overlap.errors import UserError

States = Literal["student", "teacher", "reference", "fixed"]
STATES: tuple[str, ...] = get_args(States)
"""Whose states a reading may name before the statistic, as in ``fixed.union_size``."""
ENDS = ("lower", "upper")
"""Ends of a bound that a reading may name behind it, as in ``forward_kl.lower``."""
CHANGE = "change"
"""Last part of a reading that is a change since the reading before, as in ``fixed.total_variation.change``."""
OWN = "own."
"""Prefix of names for a user's own numbers, such as ``own.wer``."""

ALL = TOKEN_STATISTICS | SEQUENCE_STATISTICS | PROBE_STATISTICS | CHECKPOINT_STATISTICS
_BY_ALIAS = {one.alias.lower(): name for name, one in ALL.items() if one.alias}


def canonical(name: str) -> str:
    """Return the canonical name of a statistic; resolves aliases from the literature, in upper or lower case.

    Args:
        name: a statistic, optionally with states before it, and after it a form of `FORMS`, the end of a bound, and
            ``change``.

    Returns:
        The name with its alias replaced; an unknown name is returned unchanged.

    Example:
        >>> canonical("VUSS"), canonical("fixed.vuss"), canonical("top1_agreement")
        ('union_size', 'fixed.union_size', 'top1_agreement')
    """
    before, base, behind = _parts(name)
    return f"{before}{_BY_ALIAS.get(base.lower(), base)}{behind}"


def statistic_of(name: str) -> str:
    """Return the canonical name of the statistic, without states before it and form, bound and change after it.

    Example:
        >>> statistic_of("fixed.vuss.at_end.change"), statistic_of("own.dev.error_rate")
        ('union_size', 'own.dev.error_rate')
    """
    return name if name.startswith(OWN) else _parts(canonical(name))[1]


def by_canonical_name(values: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Return the mapping with canonical names of statistics, in the same order.

    Args:
        values: by name, as in `canonical`.
        what: name of the mapping, for messages.

    Raises:
        UserError: if two of the names mean one statistic; names both.
    """
    spelled: dict[str, str] = {}
    for name in values:
        one = canonical(name)
        if one in spelled:
            raise UserError(f'{what}: "{spelled[one]}" and "{name}" are one statistic, {one}; give it once')
        spelled[one] = name
    return {one: values[name] for one, name in spelled.items()}


class UnknownStatisticError(UserError):
    """A statistic that this library does not have."""

    def __init__(self, message: str, statistic: str) -> None:
        super().__init__(message)
        self.statistic = statistic


def checked(name: str) -> str:
    """Return the canonical name of a statistic that exists.

    Args:
        name: as in `canonical`, or ``own.`` and any name for a user's own number.

    Raises:
        UnknownStatisticError: if this library has no such statistic; names those that are spelled alike.
    """
    if not isinstance(name, str):
        raise UserError(f"statistic: expected a name, received {name!r}")
    if name.startswith(OWN) and len(name) > len(OWN):
        return name
    found = canonical(name)
    base = _parts(found)[1]
    if base not in ALL:
        alike = difflib.get_close_matches(base.lower(), [*ALL, *_BY_ALIAS], n=1)
        hint = f'did you mean "{alike[0]}"?' if alike else "overlap/STATISTICS.md lists them."
        raise UnknownStatisticError(
            f'statistic: there is no "{name}"; {hint} A number of your own is named "{OWN}{base or "name"}", here and '
            "in what the gate reads",
            found,
        )
    if (form := form_of(found)) and base not in FORMS[form]:
        raise UnknownStatisticError(
            f'statistic: {base} has no form "{form}"; it has {", ".join(have) if (have := forms_of(base)) else "none"}',
            found,
        )
    return found


def form_of(name: str) -> str:
    """Return the form that a name restricts its statistic to; empty if it names none.

    Example:
        >>> form_of("teacher.student_end_mass.at_end"), form_of("forward_kl.lower")
        ('at_end', '')
    """
    behind = "" if name.startswith(OWN) else _parts(name)[2]
    return next((part for part in behind.split(".") if part in FORMS), "")


def change_of(name: str) -> str:
    """What a reading calls the change of a statistic since the reading before.

    Example:
        >>> change_of("fixed.total_variation"), change_of("top1_agreement.without_repeats")
        ('fixed.total_variation.change', 'top1_agreement.without_repeats.change')
    """
    return f"{name}.{CHANGE}"


def is_change(name: str) -> bool:
    """Whether a name is that of a change.

    Example:
        >>> is_change("fixed.total_variation.change"), is_change("fixed.total_variation")
        (True, False)
    """
    return name.endswith(f".{CHANGE}")


def changed_by(name: str) -> str:
    """What a change is a change of; any other name as it is.

    Example:
        >>> changed_by("fixed.total_variation.change"), changed_by("forward_kl.lower")
        ('fixed.total_variation', 'forward_kl.lower')
    """
    return name.removesuffix(f".{CHANGE}")


def forms_of(statistic: str) -> tuple[str, ...]:
    """Return the forms that a statistic has."""
    return tuple(form for form, statistics in FORMS.items() if statistic in statistics)


def states_of(name: str) -> tuple[str | None, str]:
    """Return the states of a reading, and the name of the statistic without them.

    Args:
        name: as gates read it; without states before it, they are the student's. A user's own number has no states.

    Example:
        >>> states_of("union_size"), states_of("fixed.forward_kl.lower"), states_of("own.dev.error_rate")
        (('student', 'union_size'), ('fixed', 'forward_kl.lower'), (None, 'own.dev.error_rate'))
    """
    if name.startswith(OWN):
        return None, name
    before, base, behind = _parts(name)
    return before.rstrip(".") or "student", f"{base}{behind}"


def check_states(states: str | None) -> None:
    """Refuse a word for whose states these are that no reading may name; None stands for not stated.

    Raises:
        UserError: names the words that there are.
    """
    require_kind("states", states, States | None)


def _parts(name: str) -> tuple[str, str, str]:
    """Return states, statistic, and form, bound and change, with their dots; the first and the last may be empty."""
    before, _, base = name.partition(".")
    if before not in STATES or not base:
        before, base = "", name
    behind = ""
    for known in ((CHANGE,), ENDS, FORMS):
        rest, _, last = base.rpartition(".")
        if last in known and rest:
            base, behind = rest, f".{last}{behind}"
    return before and f"{before}.", base, behind
