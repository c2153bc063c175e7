"""How many rows of ``[positions × vocabulary]`` are worked on at once, and how they are cut.

Whatever is as wide as a vocabulary goes through here, so that the float32 copies made on the way stay small however
long the batch is. Each budget is a number of elements of one temporary; a part is never less than one row.
"""

from collections.abc import Iterator

from torch import Tensor

CHUNK_ELEMENTS = 2**22
"""Of logits that exist: 16 MiB in float32."""

ROW_ELEMENTS = 5 * 2**16
"""Of rows that are read several times on a CPU: the float32 temporaries of both models stay in its cache."""

HEAD_ELEMENTS = 5 * 2**23
"""Of logits that an output layer makes of hidden states to be measured: one wide product is faster than many."""

SET_ELEMENTS = 2**24
"""Of logits that an output layer makes to choose top-k sets: 64 MiB in float32."""

TAIL_ELEMENTS = 2**22
"""Of logits that an output layer makes, forward and backward, for the mass outside a set."""

SLOTS = 2**14
"""Of the top-k sets of all positions that are measured at once: their unions and ranks take dozens of temporaries."""

Index = tuple[Tensor, ...]
"""Where positions are: one tensor of indices an axis."""


def even_parts(n: int, most: int) -> list[slice]:
    """Cut n rows into as few parts as hold at most so many each, of nearly one size: a short last part is slow."""
    parts = -(-n // most)
    return [slice(n * part // parts, n * (part + 1) // parts) for part in range(parts)]


def parts_of(n: int, width: int, elements: int, start: int = 0) -> list[slice]:
    """Cut n rows of so many columns, from `start` on, into parts of at most so many elements each, or of one row."""
    parts = even_parts(n, max(1, elements // width))
    return [slice(start + part.start, start + part.stop) for part in parts]


def chunks(mask: Tensor, vocabulary: int) -> Iterator[Index]:
    """Walk over the True positions of a mask, a bounded number at a time.

    Args:
        mask: bool with at least one axis.
        vocabulary: V; a chunk holds at most max(1, `CHUNK_ELEMENTS` // V) positions.

    Yields:
        Index tensors, one an axis, that select ``[chunk, V]`` from logits of shape ``[*mask.shape, V]``.
    """
    where = mask.nonzero(as_tuple=True)
    for part in parts_of(where[0].numel(), vocabulary, CHUNK_ELEMENTS):
        yield tuple(axis[part] for axis in where)
