"""Averages within strata, with a cluster bootstrap over utterances in each, as tidy frames."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from overlap.definitions import Ranges, unit_of
from overlap.definitions.names import check_states
from overlap.errors import UserError
from overlap.estimates.bootstrap import DRAWS
from overlap.estimates.estimate import RECORDED
from overlap.estimates.group_sums import Groups, GroupSums, array_of, members_of
from overlap.estimates.summary import estimate
from overlap.extras import require
from overlap.statistics.measure import TokenStatistics
from overlap.strata.labels import UNLABELED, Labels

if TYPE_CHECKING:
    import pandas as pd

Cell = tuple[int, ...]
Values = Mapping[str, Tensor | np.ndarray]

_COLUMNS = ("statistic", "unit", *RECORDED, "states")


def by(
    statistics: TokenStatistics | Values,
    labels: Labels | Sequence[Labels],
    groups: Groups | None = None,
    *,
    mask: Tensor | np.ndarray | None = None,
    states: str | None = None,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> "pd.DataFrame":
    """Average every statistic within every stratum.

    Args:
        statistics: of leading shape ``[...]``, from `measure`; or any values by name, such as
            `FixedContextGain.values` or `sequence_values`, NaN where undefined.
        labels: one set of labels, or several to be crossed.
        groups: the utterance of each position, as in `TokenStatistics.summary`.
        mask: ``[...]`` bool, positions to use, within the statistics' own mask (the default).
        states: whose states these are, for the column of that name.
        level: coverage of the intervals.
        draws: bootstrap resamples in each stratum; utterances without a position in it are not resampled.
        seed: of the resampling.

    Returns:
        One row for each stratum and statistic: a column for each set of labels (categorical, in the order of its
        levels, "unlabeled" last), ``statistic``, ``unit``, the numbers of `Estimate`, and ``states``. Strata without
        any position have no row.

    Raises:
        UserError: if shapes do not fit, or labels share a name or take that of another column.
        MissingExtraError: without pandas.
    """
    return StratumSums.from_values(statistics, labels, groups, mask=mask).frame(
        states=states, level=level, draws=draws, seed=seed
    )


@dataclass(frozen=True, eq=False)
class StratumSums:
    """Per-utterance sums in every stratum: the input of `by`; they can be added over batches and ranks.

    Attributes:
        names: of the sets of labels.
        levels: of each set.
        cells: sums by stratum; a stratum is one code for each set of labels, len(levels) for "unlabeled".
        ranges: limits of each statistic.
    """

    names: tuple[str, ...]
    levels: tuple[tuple[str, ...], ...]
    cells: dict[Cell, GroupSums]
    ranges: Ranges

    @classmethod
    def from_values(
        cls,
        statistics: TokenStatistics | Values,
        labels: Labels | Sequence[Labels],
        groups: Groups | None = None,
        *,
        mask: Tensor | np.ndarray | None = None,
    ) -> "StratumSums":
        """Sum by stratum and utterance; memory is linear in the number of positions. Arguments as in `by`.

        Raises:
            UserError: as `by`.
        """
        labels = (labels,) if isinstance(labels, Labels) else tuple(labels)
        names, levels = tuple(one.name for one in labels), tuple(one.levels for one in labels)
        _check_names(names)
        values = statistics.values() if isinstance(statistics, TokenStatistics) else statistics
        arrays = {name: array_of(value) for name, value in values.items()}
        if not arrays:
            raise UserError("statistics: expected at least one statistic, received none")
        shape = next(iter(arrays.values())).shape
        for name, array in arrays.items():
            if array.shape != shape:
                raise UserError(f"{name}: expected shape {list(shape)} like the rest, received {list(array.shape)}")
        keep = _combined_mask(statistics, mask, shape)
        if groups is None:
            groups = np.arange(shape[0] if shape else 1)
        keys, member = members_of(groups, shape, keep)

        sizes = tuple(len(one) + 1 for one in levels)
        codes = [one.spread(shape)[keep] for one in labels]
        own = [np.where(code < 0, size - 1, code) for code, size in zip(codes, sizes, strict=True)]
        numbers, stratum = np.unique(np.ravel_multi_index(own, sizes), return_inverse=True)
        # One pass sums every pair of stratum and utterance; the strata are then selected from it.
        sums = GroupSums.from_values(
            {name: array[keep] for name, array in arrays.items()}, stratum * max(1, len(keys)) + member
        )
        pair = np.array(sums.keys, dtype=np.int64)
        first = np.searchsorted(pair, np.arange(len(numbers) + 1) * len(keys))
        cells = {}
        for row, cell in enumerate(zip(*np.unravel_index(numbers, sizes), strict=True)):
            cut = slice(first[row], first[row + 1])
            inside = tuple(keys[number] for number in pair[cut] - row * len(keys))
            cells[tuple(int(code) for code in cell)] = GroupSums(
                sums.names, inside, sums.sums[cut], sums.counts[cut], sums.undefined[cut]
            )
        ranges = statistics.ranges if isinstance(statistics, TokenStatistics) else Ranges()
        return cls(names, levels, cells, ranges)

    @classmethod
    def from_group_sums(cls, sums: GroupSums, labels: Labels, *, ranges: Ranges | None = None) -> "StratumSums":
        """Split sums by utterance, such as those of a probe, by a label of the utterances.

        Args:
            sums: of every utterance.
            labels: ``[G]`` one label for each group, in the order of ``sums.keys``.
            ranges: limits of the statistics.

        Raises:
            UserError: if there is not one label for each group, or the labels take the name of another column.
        """
        _check_names((labels.name,))
        if labels.codes.shape != (len(sums.keys),):
            raise UserError(
                f"{labels.name}: expected one label for each of the {len(sums.keys)} groups, received "
                f"{list(labels.codes.shape)}"
            )
        own = np.where(labels.codes < 0, len(labels.levels), labels.codes)
        cells = {}
        for code in np.unique(own).tolist():
            rows = np.flatnonzero(own == code)
            tables = (table[rows] for table in (sums.sums, sums.counts, sums.undefined))
            cells[(code,)] = GroupSums(sums.names, tuple(sums.keys[row] for row in rows), *tables)
        return cls((labels.name,), (labels.levels,), cells, ranges or Ranges())

    @classmethod
    def merged(cls, parts: Sequence["StratumSums"]) -> "StratumSums":
        """Add up parts with the same labels.

        Raises:
            UserError: if names, levels or statistics differ.
        """
        first = parts[0]
        for part in parts:
            if (part.names, part.levels) != (first.names, first.levels):
                raise UserError(
                    f"strata: expected the labels {_described(first)}, received {_described(part)}; give all batches "
                    "the same levels (and bins the same edges)"
                )
        cells = sorted({cell for part in parts for cell in part.cells})
        return cls(
            first.names,
            first.levels,
            {cell: GroupSums.merged([part.cells[cell] for part in parts if cell in part.cells]) for cell in cells},
            functools.reduce(Ranges.joined, (part.ranges for part in parts)),
        )

    def frame(
        self, *, states: str | None = None, level: float = 0.95, draws: int = DRAWS, seed: int = 0
    ) -> "pd.DataFrame":
        """Return the frame of `by`.

        Raises:
            UserError: if level or draws is out of range, or the states are none that there are.
            MissingExtraError: without pandas.
        """
        check_states(states)
        pd: Any = require("pandas", purpose="a frame of strata")
        cells, rows = [], []
        for cell in sorted(self.cells):
            found = estimate(self.cells[cell], ranges=self.ranges, level=level, draws=draws, seed=seed)
            for name, item in found.items():
                cells.append(cell)
                rows.append({"statistic": name, "unit": unit_of(name), **item.to_dict(), "states": states})
        frame = pd.DataFrame(rows, columns=list(_COLUMNS))
        for column, (name, levels) in enumerate(zip(self.names, self.levels, strict=True)):
            codes = [cell[column] for cell in cells]
            labeled = pd.Categorical.from_codes(codes, categories=[*levels, UNLABELED], ordered=True)
            frame.insert(column, name, labeled)
        return frame


def _check_names(names: tuple[str, ...]) -> None:
    wrong = [name for name in names if names.count(name) > 1 or name in _COLUMNS]
    if wrong or not names:
        raise UserError(
            f"labels: expected at least one set of labels, with distinct names other than {', '.join(_COLUMNS)}, "
            f"received {list(names)}"
        )


def _combined_mask(
    statistics: TokenStatistics | Values, mask: Tensor | np.ndarray | None, shape: tuple[int, ...]
) -> np.ndarray:
    keep = array_of(statistics.mask) if isinstance(statistics, TokenStatistics) else np.ones(shape, dtype=bool)
    if mask is None:
        return keep
    more = array_of(mask)
    if more.dtype != np.bool_ or more.shape != shape:
        raise UserError(
            f"mask: expected a bool mask of shape {list(shape)}, received {more.dtype} of shape {list(more.shape)}"
        )
    return keep & more


def _described(sums: StratumSums) -> str:
    return "; ".join(f"{name}: {', '.join(levels)}" for name, levels in zip(sums.names, sums.levels, strict=True))
