"""What the recipe knows of gates and soft switches without knowing their kinds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeVar

import overlap
from overlap.gates.opening import fewest_utterances
from overlap.gates.reader import Reader

if TYPE_CHECKING:
    from .stages import StageConfig

R = TypeVar("R", bound=Reader)


def readers_of(stage: StageConfig, where: str) -> Iterator[tuple[str, Reader]]:
    """Yield what reads probes in a stage, by its key: the gate, and the rule of an off-policy share.

    Args:
        stage: Any.
        where: Key of the stage.
    """
    yield f"{where}.gate", stage.effective_gate.build()
    if stage.type == "opd" and stage.off_policy is not None and (rule := stage.off_policy.rule) is not None:
        yield f"{where}.off_policy.fraction", rule


def leaves(reader: R) -> Iterator[R]:
    """Yield the gates that a combination is made of; a simple gate or a soft switch alone."""
    for _, leaf in keyed(reader, ""):
        yield leaf


def keyed(reader: R, where: str) -> Iterator[tuple[str, R]]:
    """Yield the simple gates that a gate is made of, by their keys; a soft switch alone."""
    members = reader.members if isinstance(reader, overlap.Gate) else ()
    if not members:
        yield where, reader
        return
    assert isinstance(reader, overlap.Gate)
    for key, member in zip(reader.member_keys, members, strict=True):
        yield from keyed(member, f"{where}.{key}")  # pyright: ignore[reportReturnType]  # members of a gate are gates


def lacks_intervals(reader: Reader) -> bool:
    """Return whether a probe of one utterance, which gives no intervals, is too small."""
    works = reader.opens_without_intervals if isinstance(reader, overlap.Gate) else reader.works_without_intervals
    return bool(reader.statistics) and not works


def needs_intervals(reader: Reader) -> str:
    """Return what a probe of one utterance means for something that needs intervals."""
    return (
        f"needs intervals, which one utterance does not give, so it would never {_goal(reader)[0]}; probe two "
        'utterances or more (25 for intervals with the stated coverage), or write on = "value"'
    )


def too_small(reader: Reader, utterances: int, where: str) -> list[str]:
    """Return which gates cannot open, or which share cannot fall to 0, with a probe of so many utterances, however
    good the student is; in words.

    Args:
        reader: Of the stage.
        utterances: Number of probed utterances.
        where: Its key.
    """
    found = []
    for key, leaf in keyed(reader, where):
        needed = fewest_utterances(leaf)
        if leaf.statistics and needed > max(utterances, 2):
            enough = "no probe is large enough" if needed == math.inf else f"it takes {needed:g} utterances"
            found.append(
                f"{key} on {leaf.statistics[0]} never {_goal(leaf)[1]} with {utterances} utterances, even if all of "
                f"them are as good as can be: {enough}; probe more, or lower its level"
            )
    return found


def _goal(reader: Reader) -> tuple[str, str]:
    """Return what a reader is for, as in "it would never …" and "it never …"."""
    return ("open", "opens") if isinstance(reader, overlap.Gate) else ("fall to 0", "falls to 0")
