"""Averages and intervals from sums, and the summary that holds them."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from overlap.definitions import Ranges, by_canonical_name, canonical, label_of, unit_of
from overlap.definitions.names import check_states
from overlap.errors import UserError
from overlap.estimates.bootstrap import DRAWS, studentized, unseen_share
from overlap.estimates.estimate import RECORDED, Estimate
from overlap.estimates.group_sums import GroupSums
from overlap.estimates.number_formatting import significant, span
from overlap.estimates.table_formatting import TitledTable
from overlap.plain_json import number, plain


@dataclass(frozen=True, eq=False, repr=False)
class OverlapSummary(TitledTable, Mapping[str, Estimate]):
    """Estimates by statistic, with the settings under which they were taken.

    Behaves as a read-only mapping from name to `Estimate`; a statistic is also found by its alias
    (``summary["vuss"]``). Prints as a table.

    Attributes:
        estimates: by name, or by alias, which then becomes the name; no statistic twice.
        k: size of the supports, None for statistics that have none.
        temperature: of the probabilities, None for statistics that have none.
        states: whose states these are (``"student"``, ``"teacher"``, ``"reference"``, ``"fixed"``), None if not stated.
        level: coverage of the intervals.
    """

    estimates: Mapping[str, Estimate]
    k: int | None = None
    temperature: float | None = None
    states: str | None = None
    level: float = 0.95

    def __post_init__(self) -> None:
        check_states(self.states)
        object.__setattr__(self, "estimates", by_canonical_name(self.estimates, "summary"))

    @classmethod
    def from_group_sums(
        cls,
        sums: GroupSums,
        *,
        k: int | None = None,
        temperature: float | None = None,
        states: str | None = None,
        ranges: Ranges | None = None,
        level: float = 0.95,
        draws: int = DRAWS,
        seed: int = 0,
    ) -> "OverlapSummary":
        """Average over positions and bootstrap over groups, see `estimate`; without ranges, limits follow from k
        alone."""
        return cls(
            estimate(sums, ranges=ranges or Ranges(k), level=level, draws=draws, seed=seed),
            k=k,
            temperature=temperature,
            states=states,
            level=level,
        )

    def __getitem__(self, name: str) -> Estimate:
        try:
            return self.estimates[canonical(name)]
        except KeyError:
            raise KeyError(
                f"{name!r} is not in this summary; it has {', '.join(self.estimates) or 'nothing'}"
            ) from None

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and canonical(name) in self.estimates

    def __iter__(self) -> Iterator[str]:
        return iter(self.estimates)

    def __len__(self) -> int:
        return len(self.estimates)

    def __eq__(self, other: object) -> bool:
        # Compared by content, NaN equal to NaN: a summary that is read back equals the one that was written.
        return self.to_dict() == other.to_dict() if isinstance(other, OverlapSummary) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def extended(self, more: Mapping[str, Estimate]) -> "OverlapSummary":
        """Return the same summary with further estimates at its end, such as those of `overlap.estimates.sequences`.

        Raises:
            UserError: if a name is there already.
        """
        twice = [name for name in more if name in self]
        if twice:
            raise UserError(f"summary: {twice} are there already; rename the estimates that you add")
        return replace(self, estimates={**self.estimates, **more})

    def to_dict(self) -> dict[str, Any]:
        """Return a tree that JSON can hold: NaN becomes None, infinities the strings "inf" and "-inf"."""
        tree = {"states": self.states, "k": self.k, "temperature": self.temperature, "level": self.level}
        return plain(tree | {"estimates": {name: item.to_dict() for name, item in self.estimates.items()}})

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> "OverlapSummary":
        """Return the inverse of `to_dict`.

        Raises:
            UserError: naming the field that is missing or unknown.
        """
        expected = {"states", "k", "temperature", "level", "estimates"}
        _check_fields(tree, expected, "summary")
        estimates = {}
        for name, item in tree["estimates"].items():
            _check_fields(item, set(RECORDED), f"estimate {name!r}")
            numbers = {field: number(value) for field, value in item.items()}
            estimates[name] = Estimate.from_dict(numbers, tree["level"])
        return cls(estimates, k=tree["k"], temperature=tree["temperature"], states=tree["states"], level=tree["level"])

    def _title(self) -> str:
        parts = [f"states: {self.states or 'not stated'}"]
        if self.k is not None:
            parts.append(f"k = {self.k}")
        if self.temperature is not None:
            parts.append(f"temperature = {self.temperature:g}")
        return ", ".join(parts)

    def _rows(self) -> tuple[list[str], list[list[str]]]:
        header = ["statistic", "value", "unit", "standard error", f"{100 * self.level:g}% interval"]
        header += ["positions", "utterances", "undefined"]
        rows = [
            [
                label_of(name),
                significant(item.value),
                unit_of(name),
                significant(item.standard_error),
                span(item.low, item.high),
                f"{item.n_positions:,}",
                f"{item.n_groups:,}",
                f"{item.n_undefined:,}",
            ]
            for name, item in self.estimates.items()
        ]
        return header, rows


def estimate(
    sums: GroupSums,
    *,
    ranges: Ranges | None = None,
    limits: tuple[float, float] | None = None,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Return the ratio of sums over all positions, with an interval from a bootstrap of the groups.

    The interval is that of `overlap.estimates.bootstrap.studentized`, cut off at the statistic's limits; all statistics
    share the resamples. If all groups are equal, resampling gives no width. For a statistic between two finite limits,
    the interval then extends as far as the deviating positions that could have remained unobserved
    (`overlap.estimates.bootstrap.unseen_share`) would move it. For other statistics, and for those that are constant by
    definition, both bounds equal the value. If a group's sum is infinite, there is no interval.

    Args:
        sums: per-group sufficient statistics.
        ranges: limits of the statistics of `overlap.definitions`; by default those that hold for any k and vocabulary.
        limits: least and largest value of each of the statistics instead.
        level: coverage, between 0 and 1.
        draws: number of resamples, at least 2.
        seed: of the resampling; the same sums and seed give the same interval.

    Raises:
        UserError: if level or draws is out of range.
    """
    ranges = ranges or Ranges()
    found = studentized(sums.sums[:, :, None], sums.counts[:, :, None], level=level, draws=draws, seed=seed)
    n_positions, n_groups = sums.counts.sum(0), (sums.counts > 0).sum(0)
    result = {}
    for column, (name, one) in enumerate(zip(sums.names, found, strict=True)):
        between, certain = limits or ranges.limits(name), ranges.certain(name)
        low, high = ends_between(between, one, n_groups[column], n_positions[column], certain=certain)
        result[name] = Estimate(
            one.value,
            one.standard_error,
            low,
            high,
            int(n_positions[column]),
            int(n_groups[column]),
            int(sums.undefined[:, column].sum()),
            level,
        )
    return result


def ends_between(
    limits: tuple[float, float], one: Estimate, n_groups: int, n_positions: int, *, certain: bool
) -> tuple[float, float]:
    """Ends of an interval within a statistic's limits; where no group deviates, as `estimate` says.

    Args:
        limits: least and largest value.
        one: from `overlap.estimates.bootstrap.studentized`.
        n_groups: groups that it rests on.
        n_positions: positions that it rests on.
        certain: whether the statistic is constant by definition.
    """
    (least, most), low, high = limits, one.low, one.high
    if one.standard_error == 0:
        low = high = one.value
        if math.isfinite(most - least) and not certain:
            share = unseen_share(n_groups, n_positions, one.level)
            low, high = one.value - share * (one.value - least), one.value + share * (most - one.value)
    return max(low, least), min(high, most)


def _check_fields(tree: Mapping[str, Any], expected: set[str], what: str) -> None:
    if set(tree) != expected:
        raise UserError(
            f"{what}: expected the fields {sorted(expected)}; missing {sorted(expected - set(tree))}, "
            f"unknown {sorted(set(tree) - expected)}"
        )
