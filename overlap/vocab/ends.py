"""The end of a text as one event, whichever of a checkpoint's ids writes it."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from overlap.arguments import whole_number
from overlap.errors import UserError

Ids = Sequence[int] | Tensor | np.ndarray
"""Token ids, in any of the usual containers."""


def merge_ends(logits: Tensor, ends: Ids) -> Tensor:
    """Return logits in which the first end id stands for all of them.

    A checkpoint may stop at several ids, such as ``<|im_end|>`` and ``<|endoftext|>``. Their probabilities add up: the
    first id gets the log-sum-exp of their scores, the others the least finite score. A temperature is applied to the
    event afterwards.

    Args:
        logits: ``[..., V]`` raw scores.
        ends: ids that end a text, the one of labels first.

    Returns:
        ``[..., V]``, with the graph of the logits; the same tensor if there are fewer than two ids.

    Raises:
        UserError: if the ends are not different ids of the vocabulary.

    Example:
        >>> merge_ends(torch.tensor([0.0, 0.0, 1.0]), [0, 1])
        tensor([ 6.9315e-01, -3.4028e+38,  1.0000e+00])
    """
    ends = check_ends(ends, logits.shape[-1], "ends")
    if len(ends) < 2:
        return logits
    ids = torch.tensor(ends, device=logits.device)
    together = logits[..., ids].float().logsumexp(-1, keepdim=True).to(logits.dtype)
    # Finite, so that differences of scores are numbers.
    least = torch.finfo(logits.dtype).min
    rest = torch.full_like(together, least).expand(*together.shape[:-1], len(ids) - 1)
    return logits.index_copy(-1, ids, torch.cat([together, rest], -1))


def check_ends(ends: Ids, vocabulary: int, name: str) -> tuple[int, ...]:
    """Return the end ids as a tuple.

    Args:
        ends: ids that end a text.
        vocabulary: V, width of the logits.
        name: of the argument, for messages.

    Raises:
        UserError: if they are not different ids of the vocabulary.
    """
    if whole_number(ends) is not None:
        raise UserError(f"{name}: expected a list of token ids, received the id {ends}; write [{ends}]")
    listed = ends.tolist() if isinstance(ends, Tensor | np.ndarray) else ends
    ids = tuple(map(whole_number, listed)) if isinstance(listed, Iterable) else (None,)
    if None in ids or len(set(ids)) < len(ids):
        raise UserError(f"{name}: expected different token ids, received {listed!r}")
    found = tuple(i for i in ids if i is not None)
    if outside := [i for i in found if not 0 <= i < vocabulary]:
        raise UserError(
            f"{name}: id {outside[0]} is outside the vocabulary of {vocabulary} (valid: 0 to {vocabulary - 1})"
        )
    return found
