"""Top-k log-probabilities of a teacher's server, checked and mapped to the student's ids."""

from dataclasses import dataclass

import torch
from torch import Tensor

from overlap.errors import UserError
from overlap.vocab.vocabulary_map import VocabularyMap

_SLACK = 1e-6
"""Rounding of the sums: allowed error of the mass beyond the stated tolerance."""


@dataclass(frozen=True, eq=False)
class TopkLogprobs:
    """The most probable tokens of N positions, best first, equal ones by the teacher's id.

    Attributes:
        ids: ``[N, m]`` long, in the student's ids; 0 where the student does not have the token or the slot is empty.
        log_q: ``[N, m]`` float64, −inf where the slot is empty.
        given: ``[N, m]`` bool, the slot holds a token.
        own: ``[N, m]`` bool, the token is not blocked.
        shared: ``[N, m]`` bool, the token is not blocked and the student has it.
    """

    ids: Tensor
    log_q: Tensor
    given: Tensor
    own: Tensor
    shared: Tensor

    @classmethod
    def from_ids(
        cls,
        ids: Tensor,
        log_q: Tensor,
        vocabulary: VocabularyMap | None,
        admissible: Tensor | None,
        teacher_admissible: Tensor | None,
    ) -> "TopkLogprobs":
        """Sort the slots and map their ids.

        Args:
            ids: ``[N, m]`` teacher ids, negative where the slot is empty.
            log_q: ``[N, m]`` log-probabilities.
            vocabulary: the map between the two vocabularies, None when ids agree.
            admissible: ``[V]`` bool over the student's ids, None when nothing is blocked.
            teacher_admissible: bool over the teacher's ids, likewise.
        """
        given = ids >= 0
        log_q = torch.where(given, log_q.double(), -torch.inf)
        order = ids.sort(dim=-1).indices
        order = order.gather(-1, log_q.gather(-1, order).sort(dim=-1, descending=True, stable=True).indices)
        # A token of probability zero must be sorted before the empty slots.
        order = order.gather(-1, (~given.gather(-1, order)).to(torch.uint8).sort(dim=-1, stable=True).indices)
        ids, log_q, given = ids.gather(-1, order), log_q.gather(-1, order), given.gather(-1, order)
        own_ids = ids.clamp_min(0)
        mapped = ids if vocabulary is None else vocabulary.to_student(ids)
        known = given & (mapped >= 0)
        ids = torch.where(known, mapped, 0)
        blocked = torch.zeros_like(known) if admissible is None else known & ~admissible[ids]
        if teacher_admissible is not None:
            blocked = blocked | (given & ~teacher_admissible[own_ids])
        return cls(ids, log_q, given, given & ~blocked, known & ~blocked)

    def __getitem__(self, rows: slice) -> "TopkLogprobs":
        return TopkLogprobs(self.ids[rows], self.log_q[rows], self.given[rows], self.own[rows], self.shared[rows])


def check_topk_logprobs(
    ids: Tensor, log_q: Tensor, shape: torch.Size, n_teacher: int, tolerance: float, mask: Tensor
) -> None:
    """Refuse values that cannot be top-k log-probabilities of a distribution.

    Raises:
        UserError: naming what was received, the first position concerned and the remedy.
    """
    for name, tensor, kind in (("teacher_ids", ids, "torch.int64"), ("teacher_logprobs", log_q, "floating-point")):
        fits = isinstance(tensor, Tensor) and (
            tensor.dtype == torch.long if ids is tensor else tensor.is_floating_point()
        )
        if not fits or tensor.ndim == 0 or tensor.shape[:-1] != shape or tensor.shape[-1] == 0:
            received = f"{tensor.dtype} {list(tensor.shape)}" if isinstance(tensor, Tensor) else type(tensor).__name__
            raise UserError(
                f"{name}: expected a {kind} tensor of shape {[*shape, 'm']} with m >= 1 slots for each position, "
                f"received {received}; pad shorter ones with id -1"
            )
    if ids.shape != log_q.shape:
        raise UserError(
            f"teacher_logprobs: expected the shape of teacher_ids {list(ids.shape)}, received {list(log_q.shape)}"
        )
    if not 0 <= tolerance < 1:
        raise UserError(f"tolerance: expected nats from 0 to below 1, received {tolerance!r}")
    given = (ids >= 0) & mask[..., None]
    log_q = torch.where(given, log_q.double(), -torch.inf)
    _refuse(
        given & (ids >= n_teacher), f"teacher_ids: ids must be below {n_teacher}, the width of the teacher's vocabulary"
    )
    ordered = torch.where(given, ids, -1).sort(dim=-1).values
    twice = (ordered[..., 1:] == ordered[..., :-1]) & (ordered[..., 1:] >= 0)
    _refuse(twice, "teacher_ids: a token is there twice; keep it once")
    _refuse(
        log_q.isnan() | (log_q > tolerance + _SLACK), "teacher_logprobs: NaN or above 0; pass natural log-probabilities"
    )
    low, high = (log_q - tolerance).exp().sum(-1), (log_q + tolerance).exp().sum(-1)
    _refuse(
        (low > 1 + _SLACK)[..., None],
        f"teacher_logprobs: the probabilities add up to more than 1 (tolerance {tolerance:g} nats); pass "
        "log-probabilities over the full vocabulary at temperature 1, or state how coarsely the server rounds",
    )
    least = torch.where(given, log_q + tolerance, torch.inf).amin(-1).clamp_max(0.0).exp()
    room = least * (n_teacher - given.sum(-1))
    _refuse(
        (mask & (1 - high > room + _SLACK))[..., None],
        "teacher_logprobs: the hidden tokens cannot have the missing mass if each is at most as likely as the least "
        "likely given one; pass only the server's top-k log-probabilities (no additional sampled token), normalized "
        "over the full vocabulary",
    )


def _refuse(bad: Tensor, message: str) -> None:
    """Raise where any slot is bad, naming the first position."""
    if bad.any():
        first = tuple(int(i) for i in bad.any(-1).nonzero()[0])
        raise UserError(f"{message}; {int(bad.any(-1).sum())} positions, the first at index {first}")
