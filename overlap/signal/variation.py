"""Excess and deficit: where the student gives more probability than the teacher, and where less."""

from dataclasses import dataclass

import numpy as np

from overlap.errors import UserError


@dataclass(frozen=True, eq=False)
class Variation:
    """Both one-sided variations at positions ``[...]``, float64, from 0 to 1.

    Loops agree almost perfectly, so low values in a stretch are no comfort.

    Attributes:
        excess: what the student gives beyond the teacher.
        deficit: what the teacher gives beyond the student.
    """

    excess: np.ndarray
    deficit: np.ndarray


def written_variation(student_logprobs: np.ndarray, teacher_logprobs: np.ndarray) -> Variation:
    """(p(y_t) − q(y_t))₊ and (q(y_t) − p(y_t))₊ at the written token.

    After arXiv 2608.09836, from notes.

    Args:
        student_logprobs: ``[...]`` log p(y_t), NaN where there is no token.
        teacher_logprobs: ``[...]`` log q(y_t).

    Returns:
        Both, NaN where either is.

    Raises:
        UserError: if shapes differ or a log-probability is above 0.

    Example:
        >>> found = written_variation(np.log([0.5, 0.1]), np.log([0.2, 0.4]))
        >>> found.excess.round(3).tolist(), found.deficit.round(3).tolist()
        ([0.3, 0.0], [0.0, 0.3])
    """
    excess = _beyond(student_logprobs, teacher_logprobs)
    return Variation(excess, _beyond(teacher_logprobs, student_logprobs))


def set_variation(
    student_on_student: np.ndarray,
    teacher_on_student: np.ndarray,
    student_on_teacher: np.ndarray,
    teacher_on_teacher: np.ndarray,
    *,
    student_valid: np.ndarray | None = None,
    teacher_valid: np.ndarray | None = None,
) -> Variation:
    """Σ_S (p − q)₊ on the student's set and Σ_T (q − p)₊ on the teacher's.

    Over the whole vocabulary each would be the total variation; on the sets each is a lower bound of it. After arXiv
    2608.09836, from notes.

    Args:
        student_on_student: ``[..., k]`` log p of the members of S.
        teacher_on_student: ``[..., k]`` log q of these.
        student_on_teacher: ``[..., k]`` log p of the members of T.
        teacher_on_teacher: ``[..., k]`` log q of these.
        student_valid: ``[..., k]`` bool, False where a slot of S holds no member; default: all hold one.
        teacher_valid: likewise of T.

    Raises:
        UserError: if shapes differ or a log-probability is above 0.
    """
    sides = (
        (_beyond(student_on_student, teacher_on_student, student_valid), student_valid),
        (_beyond(teacher_on_teacher, student_on_teacher, teacher_valid), teacher_valid),
    )
    excess, deficit = (part.sum(-1) if valid is None else part.sum(-1, where=valid) for part, valid in sides)
    return Variation(excess, deficit)


def _beyond(more: np.ndarray, less: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """(exp(more) − exp(less))₊, without cancellation where both are nearly equal."""
    a, b = np.asarray(more, dtype=np.float64), np.asarray(less, dtype=np.float64)
    if a.shape != b.shape or (valid is not None and np.shape(valid) != a.shape):
        raise UserError(
            f"logprobs: expected one shape for both models and their valid members, received {[*a.shape]}, "
            f"{[*b.shape]}{'' if valid is None else f' and {[*np.shape(valid)]}'}"
        )
    if ((a > 1e-6) | (b > 1e-6)).any(where=True if valid is None else valid):
        raise UserError("logprobs: expected logarithms of probabilities, at most 0; apply log_softmax to logits")
    with np.errstate(invalid="ignore"):  # −inf less −inf: both probabilities are 0
        found = np.where(b < a, np.exp(a) * -np.expm1(b - a), 0.0)
    return np.where(np.isnan(a) | np.isnan(b), np.nan, found)
