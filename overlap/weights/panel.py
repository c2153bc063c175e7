"""Shadow panel: which positions would each rule keep, and how much do the rules differ?"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from overlap.errors import UserError
from overlap.estimates.bootstrap import DRAWS
from overlap.estimates.estimate import Estimate
from overlap.estimates.group_sums import GroupSums, array_of, members_of
from overlap.estimates.number_formatting import count
from overlap.estimates.summary import estimate
from overlap.estimates.table_formatting import html_table, text_table
from overlap.plain_json import plain
from overlap.weights.rank_correlation import spearman
from overlap.weights.registry import RULES

KEPT_FROM = 0.5
"""A position is kept if its weight is at least this share of the rule's largest possible weight."""


@dataclass(frozen=True)
class RuleShare:
    """What one rule does with the positions.

    Attributes:
        kept: Share of positions that it keeps.
        weight: Mean weight.
    """

    kept: Estimate
    weight: Estimate


@dataclass(frozen=True)
class PairOfRules:
    """How alike two rules choose.

    Attributes:
        first: Name of a rule.
        second: Name of the other.
        jaccard: Positions that both keep, as a share of those that at least one keeps; its n are the latter.
        spearman: Rank correlation of both weights; undefined where one gives all positions the same.
    """

    first: str
    second: str
    jaccard: Estimate
    spearman: Estimate


@dataclass(frozen=True)
class ShadowPanel:
    """Rules side by side on the same positions; training does not use them. Intervals are over utterances.

    Attributes:
        rules: Share and mean weight by rule.
        pairs: Every two rules.
    """

    rules: Mapping[str, RuleShare]
    pairs: tuple[PairOfRules, ...]

    def estimates(self) -> list[tuple[str, str | None, str, Estimate]]:
        """All estimates in rows: a rule, the other rule or None, `kept`, `weight`, `jaccard` or `spearman`, and the
        number."""
        alone = [
            (name, None, what, getattr(one, what)) for name, one in self.rules.items() for what in ("kept", "weight")
        ]
        both = [
            (one.first, one.second, what, getattr(one, what)) for one in self.pairs for what in ("jaccard", "spearman")
        ]
        return [*alone, *both]

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        rules = {name: {"kept": one.kept.to_dict(), "weight": one.weight.to_dict()} for name, one in self.rules.items()}
        pairs = [
            {
                "rules": [one.first, one.second],
                "jaccard": one.jaccard.to_dict(),
                "spearman": one.spearman.to_dict(),
            }
            for one in self.pairs
        ]
        return plain({"rules": rules, "pairs": pairs})

    def _rows(self) -> tuple[list[str], list[list[str]]]:
        header = ["rule", "kept, %", "mean weight", "of at most", "positions", "utterances"]
        rows = [
            [
                RULES[name].title,
                one.kept.shown(1, 100),
                one.weight.shown(3),
                f"{RULES[name].largest:g}",
                count(one.weight.n_positions),
                count(one.weight.n_groups),
            ]
            for name, one in self.rules.items()
        ]
        return header, rows

    def _pair_rows(self) -> tuple[list[str], list[list[str]]]:
        header = ["rules", "", "Jaccard of the kept", "kept by either", "Spearman of weights", "positions"]
        rows = [
            [
                RULES[one.first].title,
                RULES[one.second].title,
                one.jaccard.shown(2),
                count(one.jaccard.n_positions),
                one.spearman.shown(2),
                count(one.spearman.n_positions),
            ]
            for one in self.pairs
        ]
        return header, rows

    def __str__(self) -> str:
        tables = [f"{_TITLE}\n{text_table(*self._rows())}"]
        tables += [text_table(*self._pair_rows(), left=(0, 1))] if self.pairs else []
        return "\n\n".join(tables)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        pairs = html_table(*self._pair_rows(), left=(0, 1)) if self.pairs else ""
        return html_table(*self._rows(), caption=_TITLE) + pairs


_TITLE = "shadow panel: what each rule would keep (weight at least half of its largest), 95 % intervals over utterances"


def shadow_panel(
    weights: Mapping[str, Tensor | np.ndarray],
    utterances: Sequence[str] | Sequence[int],
    mask: Tensor | np.ndarray,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> ShadowPanel:
    """Compare what rules would choose on the same positions.

    Shares, means and Jaccard indices have the interval of `overlap.estimates.summary.estimate`, rank correlations that
    of `overlap.weights.rank_correlation.spearman`, both over utterances. Weights are taken as they are: where a rule
    scales by what is in the batch, as TIP does, an interval does not know of it. A position where a rule's weight is
    undefined is in none of its numbers and counted as such.

    Args:
        weights: ``[B, L]`` by name of a rule in `RULES`, NaN where undefined.
        utterances: ``[B]`` the utterance of each rollout.
        mask: ``[B, L]`` bool, the positions.
        draws: resamples of the bootstrap.
        seed: of the resampling.

    Raises:
        UserError: an unknown rule, or shapes that differ.
    """
    there = array_of(mask)
    if there.dtype != bool or there.ndim != 2:
        raise UserError(f"mask: expected bool [rollouts, positions], received {there.dtype} {list(there.shape)}")
    table: dict[str, np.ndarray] = {}
    for name, value in weights.items():
        if name not in RULES:
            raise UserError(f"weights: no rule is named {name!r}; there are {', '.join(RULES)}")
        array = array_of(value).astype(np.float64)
        if array.shape != there.shape:
            raise UserError(f"{name}: expected shape {list(there.shape)} as the mask, received {list(array.shape)}")
        table[name] = array[there]
    keys, member = members_of(utterances, there.shape, there) if there.any() else ((), np.zeros(0, dtype=np.int64))
    kept = {name: _kept(name, values) for name, values in table.items()}
    couples = list(itertools.combinations(table, 2))
    columns = {("kept", name): values for name, values in kept.items()}
    columns |= {("weight", name): values / RULES[name].largest for name, values in table.items()}
    columns |= {couple: _both(kept[couple[0]], kept[couple[1]]) for couple in couples}
    found = _estimates(columns, np.asarray(keys)[member] if len(member) else member, draws, seed)
    rules = {
        name: RuleShare(_certain(found["kept", name], name), _times(found["weight", name], RULES[name].largest))
        for name in table
    }
    pairs = [
        PairOfRules(first, second, found[first, second], spearman(table[first], table[second], member))
        for first, second in couples
    ]
    return ShadowPanel(rules, tuple(pairs))


def _estimates(
    columns: Mapping[tuple[str, str], np.ndarray], groups: np.ndarray, draws: int, seed: int
) -> dict[tuple[str, str], Estimate]:
    """Means by utterance of columns between 0 and 1, which share their resamples."""
    sums = GroupSums.from_values({f"{a} {b}": values for (a, b), values in columns.items()}, groups)
    return dict(zip(columns, estimate(sums, limits=(0.0, 1.0), draws=draws, seed=seed).values(), strict=True))


def _kept(name: str, values: np.ndarray) -> np.ndarray:
    """1 where a position is kept, else 0; NaN where its weight is undefined."""
    return np.where(np.isnan(values), np.nan, values >= KEPT_FROM * RULES[name].largest)


def _both(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """1 where both keep a position, 0 where one does, NaN elsewhere: the mean is the Jaccard index."""
    sums = first + second  # NaN, which is not above 0, where a weight is undefined
    return np.where(sums > 0, sums == 2, np.nan)


def _certain(found: Estimate, name: str) -> Estimate:
    """Without an interval for what might have been otherwise, where a rule keeps everything by its definition."""
    return replace(found, low=found.value, high=found.value) if RULES[name].keeps_all else found


def _times(found: Estimate, factor: float) -> Estimate:
    numbers = {name: factor * getattr(found, name) for name in ("value", "standard_error", "low", "high")}
    return replace(found, **numbers)
