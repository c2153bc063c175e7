"""Averages of both bounds."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from overlap.definitions import Ranges, label_of, unit_of
from overlap.definitions.names import check_states
from overlap.estimates.bootstrap import DRAWS
from overlap.estimates.group_sums import Groups, GroupSums
from overlap.estimates.number_formatting import significant, span
from overlap.estimates.summary import Estimate, OverlapSummary, estimate
from overlap.estimates.table_formatting import TitledTable


@dataclass(frozen=True, eq=False, repr=False)
class BoundsSummary(TitledTable, Mapping[str, tuple[Estimate, Estimate]]):
    """Averages of the lower and the upper bounds by statistic; prints as a table.

    ``[lower, upper]`` are bounds, not a confidence interval: the average over these positions lies between them
    whatever the teacher's hidden tail is, and more utterances do not narrow them. The bootstrap interval also covers
    the variation between utterances; it runs from the lower limit of the lower bound to the upper limit of the upper
    bound.

    Attributes:
        estimates: by statistic, of the lower and of the upper bound.
        k: size of the supports.
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
        """Average both bounds over positions and bootstrap over groups, see `overlap.estimates.summary.estimate`."""
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
        """Return the same from the sums of both bounds, which can be added over batches; without ranges, limits follow
        from k alone."""
        ranges = ranges or Ranges(k)
        low, high = (estimate(sums, ranges=ranges, level=level, draws=draws, seed=seed) for sums in (lower, upper))
        return cls({name: (low[name], high[name]) for name in low}, k=k, states=states, level=level)

    def ends(self) -> dict[str, Estimate]:
        """Return both bounds as separate estimates, ``name.lower`` and ``name.upper``."""
        return {
            f"{name}.{end}": item
            for name, pair in self.estimates.items()
            for end, item in zip(("lower", "upper"), pair, strict=True)
        }

    def to_summary(self) -> OverlapSummary:
        """Return `ends` with the settings of the measurement; its `to_dict` can be written as JSON."""
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
                f"[{significant(low.value)}, {significant(high.value)}]",
                unit_of(name),
                span(low.low, high.high),
                f"{low.n_positions:,}",
                f"{low.n_groups:,}",
                f"{low.n_undefined:,}",
            ]
            for name, (low, high) in self.estimates.items()
        ]
        return header, rows
