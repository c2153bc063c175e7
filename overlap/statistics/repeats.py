"""Which positions of a rollout repeat what it wrote before: statistics without them cannot be flattered by loops.

In a loop both models agree on nearly every token, so a mean over all positions rises with the length of the loop. Two
restrictions leave the loop out:

* *before repeats*: positions before the first sequence of n tokens that the rollout writes again;
* *without repeats*: positions outside every such sequence. What follows a loop counts again.

A sequence counts from its first occurrence on, so a loop contributes nothing, whatever its period. Ordinary text
repeats a few phrases as well: it loses some positions, which makes an estimate less certain, not biased towards
agreement.
"""

import torch
from torch import Tensor

from overlap.errors import UserError

N = 4
"""Tokens of a sequence that counts as repeated, unless said otherwise. Shorter ones are common in ordinary text."""


def without_repeats(tokens: Tensor, mask: Tensor, n: int = N) -> Tensor:
    """Return the positions outside every sequence of n tokens that the rollout holds more than once.

    Args:
        tokens: ``[B, L]`` ids as written.
        mask: ``[B, L]`` bool, True at real positions; they are the first of each row.
        n: tokens of a sequence, at least 1.

    Returns:
        ``[B, L]`` bool, False at padding.

    Raises:
        UserError: if the shapes differ or n is below 1.

    Example:
        >>> tokens = torch.tensor([[1, 2, 3, 4, 5, 9, 9, 9, 9, 9]])
        >>> without_repeats(tokens, tokens > 0).int()
        tensor([[1, 1, 1, 1, 1, 0, 0, 0, 0, 0]], dtype=torch.int32)
    """
    return mask & ~_repeated(tokens, mask, n)


def before_repeats(tokens: Tensor, mask: Tensor, n: int = N) -> Tensor:
    """Return the positions before the first sequence of n tokens that the rollout holds more than once.

    Arguments, result and errors are those of `without_repeats`.

    Example:
        >>> tokens = torch.tensor([[1, 9, 9, 9, 2, 3], [1, 2, 9, 1, 2, 7]])
        >>> before_repeats(tokens, tokens > 0, n=2).int()
        tensor([[1, 0, 0, 0, 0, 0],
                [0, 0, 0, 0, 0, 0]], dtype=torch.int32)
    """
    return mask & (_repeated(tokens, mask, n).cumsum(-1) == 0)


def _repeated(tokens: Tensor, mask: Tensor, n: int) -> Tensor:
    """Return ``[B, L]`` bool, positions in a sequence of n tokens that the row holds more than once."""
    if tokens.ndim != 2 or tokens.shape != mask.shape:
        raise UserError(f"tokens: expected [B, L] ids and a mask alike, received {[*tokens.shape]} and {[*mask.shape]}")
    if n < 1:
        raise UserError(f"n: expected at least 1 token, received {n}")
    found = torch.zeros_like(mask)
    for row, (ids, length) in enumerate(zip(tokens.tolist(), mask.sum(-1).tolist(), strict=True)):
        starts: dict[tuple[int, ...], list[int]] = {}
        for start in range(length - n + 1):
            starts.setdefault(tuple(ids[start : start + n]), []).append(start)
        for places in starts.values():
            if len(places) > 1:
                for start in places:
                    found[row, start : start + n] = True
    return found
