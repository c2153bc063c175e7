"""The sets of utterances of a recipe, as checks name them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from ..data.manifest import Utterance

T = TypeVar("T")


@dataclass(frozen=True)
class NamedSet:
    """Utterances and their use.

    Attributes:
        name: As in messages: `stage 'base'`, `probe`, `evaluation 'test'`.
        use: Whether the student is trained on them, or they must be new to it.
        manifest: Their source.
        utterances: The utterances.
        learned: Whether the student is trained on their texts.
        normalize: Applied to texts before they are compared; None if their texts are not scored.
    """

    name: str
    use: Literal["training", "probe", "evaluation"]
    manifest: str
    utterances: tuple[Utterance, ...]
    learned: bool = False
    normalize: Callable[[str], str] | None = None

    @property
    def texts(self) -> list[str]:
        """Texts of the utterances that have one."""
        return [utterance.text for utterance in self.utterances if utterance.text is not None]


def spread(items: Sequence[T], most: int) -> list[T]:
    """Return at most so many items, evenly spaced, the first among them.

    >>> spread([0, 1, 2, 3, 4, 5], 3)
    [0, 2, 4]
    """
    if len(items) <= most:
        return list(items)
    return [items[i * len(items) // most] for i in range(most)]
