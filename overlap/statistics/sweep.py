"""How overlap depends on the size of the sets and on the temperature."""

from collections.abc import Sequence

from torch import Tensor

from overlap.core.checks import TensorLike
from overlap.errors import UserError
from overlap.statistics.chunk import Setting
from overlap.statistics.measure import TOP_P, TokenStatistics
from overlap.statistics.plan import of_logits
from overlap.vocab.vocabulary_map import VocabularyMap

KS = (1, 2, 4, 8, 16, 32, 64)
"""Sizes that show where overlap begins and where the tail takes over."""


def sweep(
    student_logits: TensorLike,
    teacher_logits: TensorLike,
    *,
    ks: Sequence[int] = KS,
    temperatures: Sequence[float] = (1.0,),
    mask: TensorLike | None = None,
    vocabulary: VocabularyMap | None = None,
    tokens: TensorLike | None = None,
    blocked: Tensor | Sequence[int] | None = None,
    teacher_blocked: Tensor | Sequence[int] | None = None,
    top_p: float = TOP_P,
) -> dict[Setting, TokenStatistics]:
    """Measure at every k and temperature from one pass over the logits.

    The tokens are ranked once for the largest k, and the statistics of the whole vocabulary are computed once a
    temperature, so seven sizes cost little more than one.

    Args:
        student_logits: ``[..., V]`` raw scores, as for `overlap.measure`.
        teacher_logits: ``[..., V_teacher]`` raw scores at the same positions.
        ks: sizes of the sets.
        temperatures: dividing both sides' logits.
        mask: as for `overlap.measure`, and so are the rest.
        vocabulary: the map between the vocabularies.
        tokens: the generated ids.
        blocked: the student's ids to take out.
        teacher_blocked: the teacher's.
        top_p: mass of the sets of ``nucleus_overlap``.

    Returns:
        By ``(k, temperature)``, what `overlap.measure` gives there; ks ascending within each temperature.

    Raises:
        UserError: as `overlap.measure`, and if ``ks`` or ``temperatures`` is empty.

    Example:
        >>> import torch
        >>> student, teacher = torch.randn(2, 5, 100), torch.randn(2, 5, 100)
        >>> {k: s.summary()["overlap_ratio"].value for (k, _), s in sweep(student, teacher, ks=(1, 100)).items()}[100]
        1.0
    """
    if not ks or not temperatures:
        raise UserError(f"ks, temperatures: expected at least one of each, received {ks!r} and {temperatures!r}")
    measurement, rows = of_logits(
        student_logits,
        teacher_logits,
        ks=ks,
        temperatures=temperatures,
        mask=mask,
        vocabulary=vocabulary,
        tokens=tokens,
        blocked=blocked,
        teacher_blocked=teacher_blocked,
        top_p=top_p,
    )
    return TokenStatistics.from_measurement(measurement, [(measurement.where, rows)])
