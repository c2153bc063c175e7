"""How overlap depends on the size of the sets and on the temperature."""

from collections.abc import Sequence
from typing import TypeVar, Unpack

from overlap.core.checks import TensorLike
from overlap.errors import UserError
from overlap.statistics.chunk_statistics import Setting
from overlap.statistics.measure import TokenStatistics
from overlap.statistics.plan import of_logits
from overlap.vocab.settings import TOP_P, ComparisonSettings, VocabularyKeywords

T = TypeVar("T")

KS = (1, 2, 4, 8, 16, 32, 64)
"""Sizes that show where overlap begins and where the tail dominates."""


def sweep(
    student_logits: TensorLike,
    teacher_logits: TensorLike,
    *,
    ks: Sequence[int] = KS,
    temperatures: Sequence[float] = (1.0,),
    mask: TensorLike | None = None,
    tokens: TensorLike | None = None,
    top_p: float = TOP_P,
    **vocabularies: Unpack[VocabularyKeywords],
) -> dict[Setting, TokenStatistics]:
    """Measure at every k and temperature from one pass over the logits.

    The tokens are ranked once for the largest k, and the statistics of the full vocabulary are computed once for each
    temperature; seven sizes cost little more than one.

    Args:
        student_logits: ``[..., V]`` raw scores, as for `overlap.measure`.
        teacher_logits: ``[..., V_teacher]`` raw scores at the same positions.
        ks: sizes of the sets.
        temperatures: dividing both sides' logits.
        mask: as for `overlap.measure`, and so are the rest.
        tokens: the generated ids.
        top_p: mass of the sets of ``nucleus_overlap``.
        vocabularies: ``vocabulary``, ``blocked`` and ``teacher_blocked``.

    Returns:
        By ``(k, temperature)``, the result of `overlap.measure`; ks ascending within each temperature.

    Raises:
        UserError: as `overlap.measure`, and if ``ks`` or ``temperatures`` is empty.

    Example:
        >>> import torch
        >>> student, teacher = torch.randn(2, 5, 100), torch.randn(2, 5, 100)
        >>> {k: s.summary()["overlap_ratio"].value for (k, _), s in sweep(student, teacher, ks=(1, 100)).items()}[100]
        1.0
    """
    sizes, divisors = _several(ks, "ks"), _several(temperatures, "temperatures")
    points = [ComparisonSettings(k=k, temperature=t, top_p=top_p, **vocabularies) for t in divisors for k in sizes]
    measurement, rows = of_logits(student_logits, teacher_logits, points, mask, tokens)
    return TokenStatistics.from_measurement(measurement, [(measurement.where, rows)])


def _several(values: Sequence[T], name: str) -> tuple[T, ...]:
    """Return the values of a list or an array; refuse a single number, and none at all."""
    try:
        found = tuple(values)
    except TypeError:
        found = ()
    if not found:
        raise UserError(f"{name}: expected a list of at least one number, such as {name}=[8], received {values!r}")
    return found
