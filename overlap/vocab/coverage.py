"""Coverage of two vocabularies by a map: ids by kind, probability mass, and ids without counterpart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from overlap.errors import UserError
from overlap.estimates.estimate import Estimate
from overlap.estimates.table_formatting import html_table, text_table
from overlap.vocab.vocabulary_map import VocabularyMap

KINDS = ("text", "special", "padding")
"""Kinds of ids: with bytes; without bytes (control and unknown tokens, holes); logits beyond the table."""
_MASSES = {"student": "student_mapped_mass", "teacher": "teacher_mapped_mass"}


@dataclass(frozen=True)
class SideCoverage:
    """One side of a map.

    Attributes:
        ids: number of ids by kind.
        mapped: number of ids with a counterpart, by kind.
        examples: (id, bytes) of the first text ids without a counterpart.
        mass: mean probability of the mapped ids over positions; None where no measurement was given.
    """

    ids: dict[str, int]
    mapped: dict[str, int]
    examples: tuple[tuple[int, bytes], ...]
    mass: Estimate | None


@dataclass(frozen=True)
class Coverage:
    """Coverage of both sides; prints as a table."""

    student: SideCoverage
    teacher: SideCoverage

    def _rows(self) -> tuple[list[str], list[list[str]]]:
        rows = []
        for name, side in (("student", self.student), ("teacher", self.teacher)):
            for kind in KINDS:
                n, mapped = side.ids[kind], side.mapped[kind]
                rows.append([name, f"{kind} ids", f"{n:,}", f"{mapped:,}", f"{mapped / n:.2%}" if n else "–", "–"])
            if side.mass is not None:
                interval = f"{side.mass.low:.2%} … {side.mass.high:.2%}"
                rows.append(
                    [name, "probability", f"{side.mass.n_positions:,}", "–", f"{side.mass.value:.2%}", interval]
                )
        return ["side", "of", "n", "mapped", "share", "interval"], rows

    def _examples(self) -> list[str]:
        return [
            f"{name} text without counterpart: "
            + ", ".join(f"{i} {_readable(spelled)}" for i, spelled in side.examples)
            for name, side in (("student", self.student), ("teacher", self.teacher))
            if side.examples
        ]

    def __str__(self) -> str:
        return "\n".join([text_table(*self._rows(), left=(0, 1)), *self._examples()])

    def _repr_html_(self) -> str:
        return html_table(*self._rows(), left=(0, 1), caption="; ".join(self._examples()))


def coverage(
    vocabulary: VocabularyMap,
    student: Sequence[bytes | None],
    teacher: Sequence[bytes | None],
    *,
    masses: Mapping[str, Estimate] | None = None,
    n_examples: int = 8,
) -> Coverage:
    """Count what a map covers.

    The share of ids alone says little, because most ids are rare; the share of probability is what a comparison of
    distributions covers.

    Args:
        vocabulary: the map.
        student: bytes by student id, those from which the map was made.
        teacher: bytes by teacher id.
        masses: estimates of ``student_mapped_mass`` and ``teacher_mapped_mass``, as a summary of
            `overlap.measure` under this map holds them.
        n_examples: how many ids without counterpart to name on each side, lowest first.

    Raises:
        UserError: if a table is wider than the map, or the masses lack one of the two.
    """
    missing = [name for name in _MASSES.values() if masses is not None and name not in masses]
    if missing:
        raise UserError(f"masses: {', '.join(missing)} is missing; pass the summary of measure(…, vocabulary=map)")
    mapped = {"student": vocabulary.student_to_teacher >= 0, "teacher": vocabulary.teacher_to_student >= 0}
    sides = {
        name: _side(name, table, mapped[name], None if masses is None else masses[_MASSES[name]], n_examples)
        for name, table in (("student", student), ("teacher", teacher))
    }
    return Coverage(**sides)


def _side(
    name: str, table: Sequence[bytes | None], mapped: Tensor, mass: Estimate | None, n_examples: int
) -> SideCoverage:
    if len(table) > mapped.numel():
        raise UserError(
            f"{name}: the table has {len(table)} ids, the map {mapped.numel()}; pass the table that the map was built "
            "from"
        )
    mapped = mapped.cpu()
    text = torch.zeros(mapped.numel(), dtype=torch.bool)
    text[: len(table)] = torch.tensor([spelled is not None for spelled in table], dtype=torch.bool)
    padding = torch.arange(mapped.numel()) >= len(table)
    masks = dict(zip(KINDS, (text, ~text & ~padding, padding), strict=True))
    without = (text & ~mapped).nonzero().flatten()[:n_examples].tolist()
    return SideCoverage(
        {kind: int(mask.sum()) for kind, mask in masks.items()},
        {kind: int((mask & mapped).sum()) for kind, mask in masks.items()},
        tuple((i, table[i] or b"") for i in without),
        mass,
    )


def _readable(spelled: bytes) -> str:
    """Return text where the bytes are text, escaped bytes where they are not."""
    return repr(spelled.decode(errors="backslashreplace"))
