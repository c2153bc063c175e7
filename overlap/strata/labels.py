"""The label of every position: which stratum it belongs to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from overlap.errors import UserError

UNLABELED = "unlabeled"
"""The stratum of positions without a label."""
NO_LABEL = -1
"""Its code."""


@dataclass(frozen=True, eq=False)
class Labels:
    """One label for each position, as indices into a list of levels.

    Attributes:
        name: of the column that holds the labels in a frame.
        levels: the labels in the order in which they are shown.
        codes: integers that index the levels, −1 where there is no label: of the leading shape ``[...]`` of the
            statistics, or of its first axes (``[B]`` for ``[B, L]``), or with axes of length 1.
    """

    name: str
    levels: tuple[str, ...]
    codes: np.ndarray

    def __post_init__(self) -> None:
        if len(set(self.levels)) < len(self.levels) or UNLABELED in self.levels:
            raise UserError(
                f"{self.name}: expected distinct levels other than {UNLABELED!r}, received {list(self.levels)}"
            )
        if self.codes.dtype.kind not in "iu":
            raise UserError(f"{self.name}: expected integer codes, received {self.codes.dtype}; see Labels.from_values")
        if self.codes.size and not (self.codes.min() >= NO_LABEL and self.codes.max() < len(self.levels)):
            raise UserError(
                f"{self.name}: expected codes of -1 (no label) to {len(self.levels) - 1}, received "
                f"{int(self.codes.min())} to {int(self.codes.max())}"
            )

    @classmethod
    def from_values(cls, name: str, values: Any, levels: Sequence[str] | None = None) -> "Labels":
        """Return labels from names, such as the language of each utterance.

        Args:
            name: of the column.
            values: nested sequence or array of strings or whole numbers; None and NaN mean no label.
            levels: all levels in order; default: those that occur, sorted (numbers by value).

        Raises:
            UserError: if a value is not among the levels.
        """
        table = np.asarray(values, dtype=object)
        flat = [None if value is None or value != value else value for value in table.ravel().tolist()]
        if levels is None:
            present = sorted({value for value in flat if value is not None}, key=lambda v: (isinstance(v, str), v))
            levels = [str(value) for value in present]
        row = {level: code for code, level in enumerate(levels)}
        unknown = sorted({str(value) for value in flat if value is not None} - set(row))
        if unknown:
            raise UserError(f"{name}: {unknown[0]!r} is not among the levels {list(levels)}; add it to them")
        codes = np.array([NO_LABEL if value is None else row[str(value)] for value in flat], dtype=np.int32)
        return cls(name, tuple(levels), codes.reshape(table.shape))

    def spread(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return codes of every position of a leading shape, as a read-only view.

        Raises:
            UserError: if the labels do not fit the shape.
        """
        codes = self.codes
        fits = codes.ndim <= len(shape) and all(
            mine in (1, wanted) for mine, wanted in zip(codes.shape, shape, strict=False)
        )
        if not fits:
            raise UserError(
                f"{self.name}: expected the leading shape {list(shape)} or its first axes, received "
                f"{list(codes.shape)}; give one label for each row ([B] for [B, L]) or for each position"
            )
        return np.broadcast_to(codes.reshape(*codes.shape, *(1,) * (len(shape) - codes.ndim)), shape)
