"""Estimates with intervals, and the summary that carries them."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from overlap.definitions import label_of, unit_of
from overlap.groups import GroupSums
from overlap.table import html_table, text_table

_DRAWS_AT_ONCE = 2**22  # group indices drawn together: 32 MiB


@dataclass(frozen=True)
class Estimate:
    """A micro-average over positions and what is known about its error.

    Attributes:
        value: sum over defined positions / their number; NaN where there is none.
        standard_error: standard deviation of the bootstrap's averages; NaN with fewer than two groups.
        low: lower end of the percentile interval; NaN with fewer than two groups.
        high: its upper end.
        n_positions: defined positions.
        n_groups: groups (utterances) with at least one defined position.
        n_undefined: positions looked at where the statistic has no value; they are in no average.
    """

    value: float
    standard_error: float
    low: float
    high: float
    n_positions: int
    n_groups: int
    n_undefined: int


@dataclass(frozen=True, eq=False, repr=False)
class OverlapSummary(Mapping[str, Estimate]):
    """Estimates by statistic, with the settings under which they were taken.

    Behaves as a read-only mapping from name to `Estimate`; prints as a table.

    Attributes:
        estimates: by name.
        k: size of the top-k sets, None for statistics that have none.
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
        object.__setattr__(self, "estimates", dict(self.estimates))

    @classmethod
    def from_group_sums(
        cls,
        sums: GroupSums,
        *,
        k: int | None = None,
        temperature: float | None = None,
        states: str | None = None,
        level: float = 0.95,
        draws: int = 1000,
        seed: int = 0,
    ) -> "OverlapSummary":
        """Average over positions and bootstrap over groups, see `estimate`."""
        return cls(
            estimate(sums, level=level, draws=draws, seed=seed),
            k=k,
            temperature=temperature,
            states=states,
            level=level,
        )

    def __getitem__(self, name: str) -> Estimate:
        try:
            return self.estimates[name]
        except KeyError:
            raise KeyError(
                f"{name!r} is not in this summary; it has {', '.join(self.estimates) or 'nothing'}"
            ) from None

    def __contains__(self, name: object) -> bool:
        return name in self.estimates

    def __iter__(self) -> Iterator[str]:
        return iter(self.estimates)

    def __len__(self) -> int:
        return len(self.estimates)

    def __eq__(self, other: object) -> bool:
        # By content and with NaN equal to NaN: a summary read back is the summary that was written.
        return self.to_dict() == other.to_dict() if isinstance(other, OverlapSummary) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def extended(self, more: Mapping[str, Estimate]) -> "OverlapSummary":
        """The same summary with further estimates at its end, such as those of `overlap.sequences`.

        Raises:
            ValueError: if a name is there already.
        """
        twice = [name for name in more if name in self.estimates]
        if twice:
            raise ValueError(f"summary: {twice} are there already; rename the estimates that you add")
        return replace(self, estimates={**self.estimates, **more})

    def to_dict(self) -> dict[str, Any]:
        """A tree that JSON can hold: NaN becomes None, infinities the strings "inf" and "-inf"."""
        return {
            "states": self.states,
            "k": self.k,
            "temperature": self.temperature,
            "level": self.level,
            "estimates": {
                name: {field: _to_json(value) for field, value in asdict(item).items()}
                for name, item in self.estimates.items()
            },
        }

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> "OverlapSummary":
        """The inverse of `to_dict`.

        Raises:
            ValueError: naming the field that is missing or unknown.
        """
        expected = {"states", "k", "temperature", "level", "estimates"}
        _check_fields(tree, expected, "summary")
        known = {field.name for field in fields(Estimate)}
        estimates = {}
        for name, item in tree["estimates"].items():
            _check_fields(item, known, f"estimate {name!r}")
            numbers = {field: _from_json(item[field]) for field in ("value", "standard_error", "low", "high")}
            counts = {field: int(item[field]) for field in ("n_positions", "n_groups", "n_undefined")}
            estimates[name] = Estimate(**numbers, **counts)
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
                _number(item.value),
                unit_of(name),
                _number(item.standard_error),
                "–" if math.isnan(item.low) else f"{_number(item.low)} … {_number(item.high)}",
                f"{item.n_positions:,}",
                f"{item.n_groups:,}",
                f"{item.n_undefined:,}",
            ]
            for name, item in self.estimates.items()
        ]
        return header, rows

    def __str__(self) -> str:
        return f"{self._title()}\n{text_table(*self._rows(), left=(0, 2))}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(*self._rows(), left=(0, 2), caption=self._title())


def estimate(sums: GroupSums, *, level: float = 0.95, draws: int = 1000, seed: int = 0) -> dict[str, Estimate]:
    """Ratio of sums over all positions, with a cluster bootstrap over groups.

    Groups are resampled with replacement, as many as there are, and the ratio of sums is taken again in each resample;
    all statistics share the resamples. The interval runs between the (1 ∓ level)/2 percentiles. With few groups such
    intervals are too short: read them beside the number of utterances. A resample without any defined position is left
    out. Where a group's sum is infinite there is no interval.

    Args:
        sums: per-group sufficient statistics.
        level: coverage, between 0 and 1.
        draws: number of resamples, at least 2.
        seed: of the resampling; the same sums and seed give the same interval.

    Raises:
        ValueError: if level or draws is out of range.
    """
    if not 0 < level < 1:
        raise ValueError(f"level: expected a coverage between 0 and 1, such as 0.95, received {level!r}")
    if draws < 2:
        raise ValueError(f"draws: expected at least 2 resamples, received {draws!r}")
    n_positions, n_groups = sums.counts.sum(0), (sums.counts > 0).sum(0)
    with np.errstate(invalid="ignore"):  # +inf and -inf together have no average
        totals = sums.sums.sum(0)
    averages = _resampled_averages(sums, draws, seed)
    result = {}
    for column, name in enumerate(sums.names):
        value = totals[column] / n_positions[column] if n_positions[column] else math.nan
        error = low = high = math.nan
        drawn = averages[:, column][~np.isnan(averages[:, column])]
        if n_groups[column] >= 2 and len(drawn) >= 2:
            error = drawn.std(ddof=1)
            low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
        result[name] = Estimate(
            float(value),
            float(error),
            float(low),
            float(high),
            int(n_positions[column]),
            int(n_groups[column]),
            int(sums.undefined[:, column].sum()),
        )
    return result


def _resampled_averages(sums: GroupSums, draws: int, seed: int) -> np.ndarray:
    """``[draws, S]`` averages, NaN where a resample has no defined position or a statistic is infinite."""
    n, generator = len(sums.keys), np.random.default_rng(seed)
    if n < 2:
        return np.full((draws, len(sums.names)), np.nan)
    finite = np.isfinite(sums.sums).all(0)
    table = np.concatenate([np.where(finite, sums.sums, 0.0), sums.counts], axis=1)
    at_once = max(1, _DRAWS_AT_ONCE // n)
    parts = []
    for start in range(0, draws, at_once):
        size = min(at_once, draws - start)
        drawn = generator.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)
        parts.append(weights.astype(np.float64) @ table)
    totals, counts = np.split(np.concatenate(parts), 2, axis=1)
    return np.divide(totals, counts, out=np.full_like(totals, np.nan), where=(counts > 0) & finite)


def _number(value: float) -> str:
    """Five significant digits, without an exponent where a reader can do without."""
    if math.isnan(value):
        return "–"
    return f"{value:.5g}"


def _to_json(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    return ("inf" if value > 0 else "-inf") if math.isinf(value) else value


def _from_json(value: float | str | None) -> float:
    return math.nan if value is None else float(value)


def _check_fields(tree: Mapping[str, Any], expected: set[str], what: str) -> None:
    if set(tree) != expected:
        raise ValueError(
            f"{what}: expected the fields {sorted(expected)}; missing {sorted(expected - set(tree))}, "
            f"unknown {sorted(set(tree) - expected)}"
        )
