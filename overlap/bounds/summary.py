"""Averages of both ends."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from overlap.definitions import Ranges, label_of, unit_of
from overlap.definitions.names import check_states
from overlap.estimates.bootstrap import DRAWS
from overlap.estimates.group_sums import Groups, GroupSums
from overlap.estimates.summary import Estimate, OverlapSummary, estimate
from overlap.estimates.table_formatting import html_table, text_table


@dataclass(frozen=True, eq=False, repr=False)
class BoundsSummary(Mapping[str, tuple[Estimate, Estimate]]):
    """Averages of the lower and the upper ends by statistic; prints as a table.

    ``[lower, upper]`` are bounds, not a confidence interval: the average over these positions lies between them
    whatever the teacher's hidden tail is, and more utterances do not narrow them. The bootstrap interval also covers
    the variation between utterances; it runs from the lower limit of the lower bound to the upper limit of the upper
    bound.

    Attributes:
        estimates: by statistic, of the lower and of the upper end.
        k: size of the top-k sets.
        states: whose states these are, None if not stated.
        level: coverage of the bootstrap intervals.
    """

    estimates: Mapping[str, tuple[Estimate, Estimate]]
    k: int
    states: str | None = None
    level: float = 0.95

    def __post_init__(self) -> None:
        check_states(self.states)

    @classmethod
    def from_ends(
        cls,
        lower: Mapping[str, Tensor],
        upper: Mapping[str, Tensor],
        groups: Groups,
        mask: Tensor,
        *,
        ranges: Ranges,
        k: int,
        states: str | None,
        level: float,
        draws: int,
        seed: int,
    ) -> "BoundsSummary":
        """Average both ends over positions and bootstrap over groups, see `overlap.estimates.summary.estimate`."""
        low, high = (GroupSums.from_values(ends, groups, mask=mask) for ends in (lower, upper))
        return cls.from_group_sums(low, high, k=k, ranges=ranges, states=states, level=level, draws=draws, seed=seed)

    @classmethod
    def from_group_sums(
        cls,
        lower: GroupSums,
        upper: GroupSums,
        *,
        k: int,
        ranges: Ranges | None = None,
        states: str | None = None,
        level: float = 0.95,
        draws: int = DRAWS,
        seed: int = 0,
    ) -> "BoundsSummary":
        """The same from the sums of both ends, which can be added over batches; without ranges, limits follow from k
        alone."""
        ranges = ranges or Ranges(k)
        low, high = (estimate(sums, ranges=ranges, level=level, draws=draws, seed=seed) for sums in (lower, upper))
        return cls({name: (low[name], high[name]) for name in low}, k=k, states=states, level=level)

    def ends(self) -> dict[str, Estimate]:
        """Both ends as separate estimates, ``name.lower`` and ``name.upper``."""
        return {
            f"{name}.{end}": item
            for name, pair in self.estimates.items()
            for end, item in zip(("lower", "upper"), pair, strict=True)
        }

    def to_summary(self) -> OverlapSummary:
        """`ends` with the settings of the measurement; its `to_dict` can be written as JSON."""
        return OverlapSummary(self.ends(), k=self.k, temperature=1.0, states=self.states, level=self.level)

    def __getitem__(self, name: str) -> tuple[Estimate, Estimate]:
        try:
            return self.estimates[name]
        except KeyError:
            raise KeyError(f"{name!r} is not bounded; there are {', '.join(self.estimates)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.estimates)

    def __len__(self) -> int:
        return len(self.estimates)

    def _title(self) -> str:
        return (
            f"states: {self.states or 'not stated'}, k = {self.k}, temperature = 1; "
            "[lower, upper] are bounds over what the teacher does not list, not a confidence interval"
        )

    def _rows(self) -> tuple[list[str], list[list[str]]]:
        header = ["statistic", "[lower, upper]", "unit", f"{100 * self.level:g}% interval around both"]
        header += ["positions", "utterances", "undefined"]
        rows = [
            [
                label_of(name),
                f"[{_number(low.value)}, {_number(high.value)}]",
                unit_of(name),
                "–" if math.isnan(low.low) and math.isnan(high.high) else f"{_number(low.low)} … {_number(high.high)}",
                f"{low.n_positions:,}",
                f"{low.n_groups:,}",
                f"{low.n_undefined:,}",
            ]
            for name, (low, high) in self.estimates.items()
        ]
        return header, rows

    def __str__(self) -> str:
        return f"{self._title()}\n{text_table(*self._rows(), left=(0, 2))}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(*self._rows(), left=(0, 2), caption=self._title())


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.5g}"
