"""Splits ``[positions × vocabulary]`` into chunks of rows that are processed one after the other.

All computations over a full vocabulary use these chunks. The size of their float32 temporaries therefore does not grow
with the batch. Each budget below is the number of elements of one temporary; a part has at least one row.
"""

from collections.abc import Iterator

from torch import Tensor

CHUNK_ELEMENTS = 2**22
"""For logits that are given: 16 MiB in float32."""

ROW_ELEMENTS = 5 * 2**16
"""For rows that a CPU reads several times: the float32 temporaries of both models stay in its cache."""

HEAD_ELEMENTS = 5 * 2**23
"""For logits computed from hidden states to be measured: one wide product is faster than many."""

SET_ELEMENTS = 2**24
"""For logits computed from hidden states to choose supports: 64 MiB in float32."""

TAIL_ELEMENTS = 2**22
"""For logits computed from hidden states, forward and backward, for the mass outside a set."""

SLOTS = 2**14
"""For the supports of positions that are measured together: their unions and ranks take dozens of temporaries."""

Index = tuple[Tensor, ...]
"""Indices of positions: one tensor for each axis."""


def even_parts(n: int, most: int) -> list[slice]:
    """Cut n rows into as few parts of at most `most` rows as possible, of nearly equal size: a short last part is
    slow."""
    parts = -(-n // most)
    return [slice(n * part // parts, n * (part + 1) // parts) for part in range(parts)]


def parts_of(n: int, width: int, elements: int, start: int = 0) -> list[slice]:
    """Cut n rows of `width` columns, from `start` on, into parts of at most `elements` elements, but at least one
    row."""
    parts = even_parts(n, max(1, elements // width))
    return [slice(start + part.start, start + part.stop) for part in parts]


def chunks(mask: Tensor, vocabulary: int) -> Iterator[Index]:
    """Walk over the True positions of a mask, a bounded number at a time.

    Args:
        mask: bool with at least one axis.
        vocabulary: V; a chunk holds at most max(1, `CHUNK_ELEMENTS` // V) positions.

    Yields:
        Index tensors, one for each axis, that select ``[chunk, V]`` from logits of shape ``[*mask.shape, V]``.
    """
    where = mask.nonzero(as_tuple=True)
    for part in parts_of(where[0].numel(), vocabulary, CHUNK_ELEMENTS):
        yield tuple(axis[part] for axis in where)
