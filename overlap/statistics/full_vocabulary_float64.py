"""Full-vocabulary statistics of a few rows in float64, for scores that float32 sums cannot hold."""

import torch
from torch import Tensor

from overlap.core.divergence import entropy, jensen_shannon, kl_divergence, total_variation
from overlap.vocab.vocab_pair import Side, VocabularyPair


def exact_columns(student: Tensor, teacher: Tensor, pair: VocabularyPair, temperature: float) -> dict[str, Tensor]:
    """Return the columns of `full_vocabulary.measure_full_vocabulary`, by the definitions of `overlap.core.divergence`.

    On the shared ids both sides are renormalized from their scores, even if they have little probability there.

    Args:
        student: ``[n, V]`` raw scores of any floating type.
        teacher: ``[n, V_teacher]`` the teacher's.
        pair: the vocabularies.
        temperature: divides the scores.

    Returns:
        ``[n]`` float64 each. Divergences are NaN where a side gives 0 to every shared id.
    """
    z_s, z_t = _scores(student, pair.student, temperature), _scores(teacher, pair.teacher, temperature)
    log_z_s, log_z_t = z_s.logsumexp(-1), z_t.logsumexp(-1)
    columns = {
        "student_entropy": entropy(z_s - log_z_s[:, None]),
        "teacher_entropy": entropy(z_t - log_z_t[:, None]),
        "student_log_z": log_z_s,
        "teacher_log_z": log_z_t,
        "student_mapped_mass": torch.ones_like(log_z_s),
        "teacher_mapped_mass": torch.ones_like(log_z_t),
    }
    if pair.shared is not None:
        z_s, z_t = z_s[:, pair.shared[0]], z_t[:, pair.shared[1]]
        shared_s, shared_t = z_s.logsumexp(-1), z_t.logsumexp(-1)
        columns["student_mapped_mass"] = (shared_s - log_z_s).exp().clamp_max(1.0)
        columns["teacher_mapped_mass"] = (shared_t - log_z_t).exp().clamp_max(1.0)
        log_z_s, log_z_t = shared_s, shared_t
    log_p, log_q = z_s - log_z_s[:, None], z_t - log_z_t[:, None]
    empty = (log_z_s == -torch.inf) | (log_z_t == -torch.inf)
    divergences = {
        "forward_kl": kl_divergence(log_q, log_p),
        "reverse_kl": kl_divergence(log_p, log_q),
        "jensen_shannon": jensen_shannon(log_p, log_q),
        "total_variation": total_variation(log_p, log_q),
    }
    # If a side has no mass on the shared ids, it cannot be renormalized.
    return columns | {name: value.masked_fill(empty, torch.nan) for name, value in divergences.items()}


def _scores(scores: Tensor, side: Side, temperature: float) -> Tensor:
    """Return scores over the temperature in float64, as far as float32 tells them apart; −inf where a token is
    blocked."""
    scores = scores.float().double() / temperature
    return scores if side.admissible is None else scores.masked_fill(~side.admissible, -torch.inf)
