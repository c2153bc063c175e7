"""Labels by window: which part of a recording an utterance is, if the recording was cut to fit a model."""

from collections.abc import Sequence

import numpy as np

from overlap.errors import UserError
from overlap.strata.labels import Labels

WINDOWS = ("whole", "first", "middle", "last")
"""An utterance that was not cut; the first, an inner and the last piece of a recording."""


def windows(places: Sequence[tuple[int, int]]) -> Labels:
    """Return the part of its recording that each utterance is.

    A model that reads a window without what was said before it may do worse at its begin, and one that is cut off in
    the middle of speech at its end: the first piece lacks only the latter, the last only the former.

    Args:
        places: ``[B]`` number, from 0, and count of the pieces of each one's recording.

    Returns:
        Labels named ``window``, of shape ``[B]``.

    Raises:
        UserError: if a number is not below its count.

    Example:
        >>> windows([(0, 1), (0, 3), (1, 3), (2, 3)]).codes.tolist()
        [0, 1, 2, 3]
    """
    codes = []
    for number, count in places:
        if not 0 <= number < count:
            raise UserError(f"places: expected a number from 0 to {count - 1} of {count} pieces, received {number}")
        codes.append(0 if count == 1 else 1 if number == 0 else 3 if number == count - 1 else 2)
    return Labels("window", WINDOWS, np.asarray(codes, dtype=np.int32))
