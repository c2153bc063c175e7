"""What rules read at every position of a batch of rollouts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from overlap.errors import UserError

SET_SIZE = 16
"""k of Prune-OPD's overlap ratio."""
ACCEPTED_RANK = 5
"""SelecTKD accepts the student's best token if it is among as many of the teacher's best."""
NUCLEUS_MASS = 0.9
"""Mass of the teacher's nucleus in the second version of Prune-OPD; ours, the source's is not known here."""


@dataclass(frozen=True, eq=False)
class RuleInputs:
    """Values at every position of B rollouts of at most L tokens; those that are not known are None.

    p is the student's distribution, q the teacher's, y the written token. Values are ``[B, L]`` of any floating type,
    NaN where undefined; outside the mask they may hold anything.

    Attributes:
        mask: ``[B, L]`` bool, True at the positions to weight; a rollout's positions stand in its order.
        overlap_ratio: |S ∩ T| / k of both top-k sets, k = `SET_SIZE` (fewer in a smaller vocabulary).
        best_in_teachers: 1 where argmax p is among the `ACCEPTED_RANK` best tokens of q, else 0.
        outside_nucleus: 1 where y is outside q's smallest set of best tokens with mass `NUCLEUS_MASS`, else 0.
        student_logprob: log p(y), in nats.
        teacher_logprob: log q(y), in nats.
        student_entropy: entropy of p, in nats.
        teacher_entropy: entropy of q, in nats.
        reverse_kl: KL(p‖q), in nats.
    """

    mask: Tensor
    overlap_ratio: Tensor | None = None
    best_in_teachers: Tensor | None = None
    outside_nucleus: Tensor | None = None
    student_logprob: Tensor | None = None
    teacher_logprob: Tensor | None = None
    student_entropy: Tensor | None = None
    teacher_entropy: Tensor | None = None
    reverse_kl: Tensor | None = None

    def __post_init__(self) -> None:
        check_mask(self.mask)
        for name, value in self._values().items():
            check_values(name, value, self.mask)

    @property
    def known(self) -> frozenset[str]:
        """Names of the values that are there."""
        return frozenset(self._values())

    @classmethod
    def joined(cls, parts: Sequence[RuleInputs]) -> RuleInputs:
        """The rollouts of several batches as one, padded to the longest.

        Args:
            parts: at least one; all with the same values.

        Raises:
            UserError: the values differ, or there is no part.
        """
        if not parts or any(part.known != parts[0].known for part in parts):
            raise UserError("RuleInputs: expected at least one batch, and the same values in all of them")
        length = max(part.mask.shape[1] for part in parts)

        def padded(name: str) -> Tensor:
            tensors = (getattr(part, name) for part in parts)
            return torch.cat([torch.nn.functional.pad(one, (0, length - one.shape[1])) for one in tensors])

        return cls(**{name: padded(name) for name in ("mask", *sorted(parts[0].known))})

    def _values(self) -> dict[str, Tensor]:
        found = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "mask"}
        return {name: value for name, value in found.items() if value is not None}


def check_mask(mask: Tensor) -> None:
    """Refuse a mask that is not a bool tensor ``[B, L]``.

    Raises:
        UserError: naming what was received.
    """
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.ndim != 2:
        raise UserError(f"mask: expected a bool tensor [rollouts, positions], received {_described(mask)}")


def check_values(name: str, value: Tensor, mask: Tensor) -> None:
    """Refuse values that are not a floating tensor of the mask's shape.

    Raises:
        UserError: naming the value and what was received.
    """
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.shape != mask.shape:
        raise UserError(
            f"{name}: expected a floating tensor {list(mask.shape)}, as the mask, received {_described(value)}"
        )


def _described(value: object) -> str:
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
