"""Training losses: cross-entropy on transcripts, and the KL on the union of both models' top-k sets."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

import overlap


def cross_entropy(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    """Summed negative log-likelihood of the real tokens, in nats.

    Args:
        logits: [batch, length, vocabulary]; position t predicts `ids[:, t]`.
        ids: [batch, length] target tokens.
        mask: [batch, length] bool, True at real positions.
    """
    return F.cross_entropy(logits[mask].float(), ids[mask], reduction="sum")


def union_support_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    union: overlap.Support,
    mask: Tensor,
    *,
    temperature: float = 1.0,
    vocabulary: overlap.VocabularyMap | None = None,
) -> Tensor:
    """Summed τ² · KL(softmax(z_T/τ on U) ‖ softmax(z_S/τ on U)), Eq. 1 of arXiv 2605.28139.

    On a renormalised subset the partition function cancels, so the raw logits of both models, gathered on the union,
    give the loss exactly, both sides on one scale. Gradients reach the student only.

    Args:
        student_logits: [..., vocabulary], raw.
        teacher_logits: [..., teacher's vocabulary], raw, at the student's positions.
        union: Union of both top-k sets at each position, `ids` and `valid` [..., 2k], in the student's ids.
        mask: [...] bool, positions that count; each must hold at least 2 union tokens.
        temperature: τ.
        vocabulary: The map between the two vocabularies; None when ids agree.

    Returns:
        A scalar in nats, the sum over counted positions (0 where none counts).
    """
    # Select the counted rows first: masked positions must not enter the arithmetic, not even multiplied by zero.
    ids, valid = union.ids[mask], union.valid[mask]
    teacher_ids = ids if vocabulary is None else vocabulary.to_teacher(ids).clamp_min(0)
    student, teacher = student_logits[mask].gather(-1, ids), teacher_logits[mask].gather(-1, teacher_ids)
    return overlap.support_kl(student, teacher, valid, temperature=temperature).sum()
