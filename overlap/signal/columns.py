"""Columns with one value for each transcript: errors, speakers, names."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from overlap.errors import UserError
from overlap.estimates.clusters import Over, resampled

Column = Sequence[float] | np.ndarray
Names = Sequence[Any] | np.ndarray


def column_of(name: str, values: Column, n: int) -> np.ndarray:
    """The values as float64 ``[n]``.

    Raises:
        UserError: if there is not one for each transcript.
    """
    column = np.asarray(values, dtype=np.float64)
    if column.shape != (n,):
        raise UserError(f"{name}: expected one value for each of the {n} transcripts, received shape {[*column.shape]}")
    return column


def error_rates(errors: Column, words: Column) -> tuple[np.ndarray, np.ndarray]:
    """Errors and errors per word ``[n]``; the rate is NaN where the reference has no word.

    Raises:
        UserError: if there are not as many words as errors, or counts are negative or infinite.
    """
    wrong = np.asarray(errors, dtype=np.float64)
    total = column_of("words", words, len(wrong))
    for name, column in (("errors", wrong), ("words", total)):
        if (column < 0).any() or np.isinf(column).any():
            raise UserError(f"{name}: expected counts of at least 0, or NaN where they are not known")
    return wrong, np.divide(wrong, total, out=np.full(len(wrong), np.nan), where=total > 0)


def numbered(what: str, names: Names, n: int) -> np.ndarray:
    """Numbers from 0 for names, ``[n]``.

    Raises:
        UserError: if there is not one for each transcript.
    """
    if len(names) != n:
        raise UserError(f"{what}: expected one for each of the {n} transcripts, received {len(names)}")
    return np.unique(np.asarray([str(name) for name in names]), return_inverse=True)[1]


def clusters_of(speakers: Names | None, own: np.ndarray) -> tuple[Over, np.ndarray]:
    """What intervals are over, and the number of the cluster of each transcript ``[n]``.

    Args:
        speakers: of each transcript, None or NaN where not named.
        own: ``[n]`` the number of its utterance.

    Raises:
        UserError: if there is not one speaker for each transcript.
    """
    if speakers is None:
        return "utterances", own
    speaking = numbered("speakers", speakers, len(own))
    return ("speakers", speaking) if resampled(list(speakers)) == "speakers" else ("utterances", own)
