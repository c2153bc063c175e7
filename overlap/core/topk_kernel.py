"""The m best-scored tokens of every row in order, without sorting the vocabulary.

The vocabulary is cut into blocks and only the m blocks with the largest maxima are searched. Let e be among the m best
tokens, equal scores ordered by id, and B its block. Each block that stands before B in the same order of (maximum,
position) holds a token that stands before e: its maximum is larger than e, or equal and of a lower id. So fewer than m
blocks stand before B, and the m first blocks hold the m best tokens. One pass over the scores finds the maxima.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

NONE = float("-inf")
"""A score that loses every comparison; it is only compared, never added or multiplied."""
BLOCK = 64
"""Tokens of a block. V / BLOCK maxima and m · BLOCK candidates are ranked. Their sum is smallest at BLOCK = √(V / m):
68 for V = 151,936 and m = 33."""


def touched_blocks(admissible: Tensor | None) -> list[int]:
    """Return the blocks that hold a blocked token, for `block_maxima`."""
    return [] if admissible is None else ((~admissible).nonzero()[:, 0] // BLOCK).unique().tolist()


def block_maxima(scores: Tensor, admissible: Tensor | None, touched: Sequence[int]) -> Tensor:
    """Return the largest admissible score of every block of a row, for `ranked`.

    Args:
        scores: ``[n, V]`` float32.
        admissible: ``[V]`` bool, or None when nothing is blocked.
        touched: `touched_blocks` of it.

    Returns:
        ``[n, ceil(V / block)]``; NaN where a block holds one.
    """
    n, vocabulary = scores.shape
    n_full = vocabulary // BLOCK
    maxima = scores.new_empty(n, -(-vocabulary // BLOCK))
    if n_full:
        torch.amax(scores[:, : n_full * BLOCK].unflatten(1, (n_full, BLOCK)), -1, out=maxima[:, :n_full])
    if n_full * BLOCK < vocabulary:
        maxima[:, n_full] = scores[:, n_full * BLOCK :].amax(-1)
    if admissible is not None:
        # Blocked tokens are few and lie close together: only their blocks are copied to be masked, not the scores.
        for block in touched:
            here = slice(block * BLOCK, (block + 1) * BLOCK)
            maxima[:, block] = scores[:, here].masked_fill(~admissible[here], NONE).amax(-1)
    return maxima


def ranked(scores: Tensor, maxima: Tensor, m: int, admissible: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the m best admissible tokens of every row, best first, equal scores by ascending id.

    Args:
        scores: ``[n, V]``, float32 or half precision (which is ordered as its float32 is).
        maxima: ``[n, blocks]`` from `block_maxima`.
        m: how many, at most V; where fewer are admissible, the rest have a score of −inf.
        admissible: ``[V]`` bool, or None when nothing is blocked.

    Returns:
        Scores (float32) and ids, ``[n, m]`` each. NaN stands above everything.
    """
    n, vocabulary = scores.shape
    if m * BLOCK < vocabulary:
        # Ascending, to keep the candidates in the order of their ids.
        chosen = stable_topk(maxima, m).sort(dim=-1).values
        ids = (chosen[:, :, None] * BLOCK + torch.arange(BLOCK, device=scores.device)).reshape(n, -1)
        beyond = ids >= vocabulary
        ids.clamp_max_(vocabulary - 1)
        candidates = scores.gather(-1, ids).float()  # only these: half-precision scores are not converted in full
        lost = beyond if admissible is None else beyond | ~admissible[ids]
        candidates.masked_fill_(lost, NONE)
        slots = stable_topk(candidates, m)
        return candidates.gather(-1, slots), ids.gather(-1, slots)
    scores = scores.float()
    if admissible is not None:
        scores = scores.masked_fill(~admissible, NONE)
    ids = stable_topk(scores, m)
    return scores.gather(-1, ids), ids


def stable_topk(scores: Tensor, m: int) -> Tensor:
    """Return indices ``[n, m]`` of the m largest of ``[n, width]`` float32 scores, in order, the lower first among
    equals.

    Each score and its index become one integer with the same order, because `torch.topk` leaves the order of equals
    open.
    """
    width = scores.shape[-1]
    bits = (scores + 0.0).view(torch.int32)  # adding zero makes -0.0 and 0.0 one
    # A negative float's bits grow with its magnitude. With all bits but the sign inverted, integers sort as floats do.
    bits = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    bits = bits.masked_fill(scores.isnan(), 0x7FFFFFFF)
    backwards = torch.arange(width - 1, -1, -1, device=scores.device)
    # The lower half is the reversed index: among equal scores, the lower id then has the larger key.
    keys = (bits.long() << 32) | backwards
    return width - 1 - (keys.topk(m, dim=-1).values & 0xFFFFFFFF)
