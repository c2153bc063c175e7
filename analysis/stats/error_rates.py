"""Word and character error rates of two systems on the same utterances."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from overlap.errors import UserError
from overlap.estimates.bootstrap import DRAWS, unseen_errors
from overlap.estimates.estimate import Estimate

from ..formatting import WIDTH, count, p_text, plural, with_interval
from ..run.checks import want_frame
from .bootstrap import HOW, contrast
from .effects import PairedEffect, paired_effect
from .mapsswe import Mapsswe, mapsswe
from .permutation import swap_test

Unit = Literal["words", "tokens", "characters"]
NAMES = {"words": "WER", "tokens": "MER", "characters": "CER"}


@dataclass(frozen=True)
class ErrorRateDifference:
    """Difference of the error rates of two systems on the same utterances.

    Attributes:
        unit: `words`, `tokens` (of the mixed error rate) or `characters`.
        first: Error rate of the first, as a share.
        second: Of the second.
        difference: Second − first; below 0 the second makes fewer errors.
        reduction: (first − second) / first, the relative error rate reduction.
        p_value: Of `swap_test` over clusters.
        mapsswe: The matched-pairs test by utterance.
        effect: Of the differences in errors by utterance.
        n_utterances: Utterances compared.
        total: Words or characters of the references.
        cluster: What was resampled: `utterance`, or a column such as `speaker`.
    """

    unit: Unit
    first: Estimate
    second: Estimate
    difference: Estimate
    reduction: Estimate
    p_value: float
    mapsswe: Mapsswe
    effect: PairedEffect
    n_utterances: int
    total: int
    cluster: str

    def __str__(self) -> str:
        name, level = NAMES[self.unit], f"{100 * self.difference.level:g} %"
        over, cluster = self.difference, plural(self.cluster, self.difference.n_groups)
        lines = [
            f"{name} of the first {self.first.shown(1, 100)} %, of the second {self.second.shown(1, 100)} %",
            f"second − first: {over.shown(1, 100, sign=True)} points, "
            f"p {p_text(self.p_value, '=')} (swap test over {count(over.n_groups)} {cluster}); "
            f"relative reduction {self.reduction.shown(1, 100)} %",
            str(self.mapsswe),
            f"fewer errors in {count(self.effect.lower)}, more in {count(self.effect.higher)}, as many in "
            f"{count(self.effect.same)} of {count(self.n_utterances)} utterances ({count(self.total)} {self.unit}); "
            f"Hedges' g {with_interval(self.effect.value, self.effect.low, self.effect.high, 2)}",
            f"[ ]: {level} interval, {HOW}, over {plural(self.cluster, 2)}.",
        ]
        return "\n".join(textwrap.fill(line, WIDTH, subsequent_indent="  ") for line in lines)

    __repr__ = __str__


def error_rate(
    transcripts: pd.DataFrame,
    unit: Unit = "words",
    *,
    by: str | None = None,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Estimate:
    """Return the error rate of one evaluation, with an interval; over utterances it is the evaluation's own interval.

    If all have the same rate, the bounds are those for unseen errors (`overlap.estimates.bootstrap.unseen_errors`).

    Args:
        transcripts: One row for each utterance, from `Run.transcripts` or `distill evaluate --output`.
        unit: `words`, `tokens` (of the mixed error rate) or `characters`.
        by: A column whose values are resampled together, such as `speaker`. Without it, utterances.
        level: Coverage.
        draws: Resamples.
        seed: Of the resampling.

    Raises:
        UserError: An utterance occurs twice, or the column is absent or has missing values.
    """
    rows = _checked(transcripts, "transcripts", by)
    errors, totals = _columns(rows, unit)
    settings = {"level": level, "draws": draws, "seed": seed}
    return _rate(*clustered([errors], [totals], rows, by), **settings)


def error_rate_difference(
    first: pd.DataFrame,
    second: pd.DataFrame,
    unit: Unit = "words",
    *,
    by: str | None = None,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> ErrorRateDifference:
    """Compare two systems on the same utterances: difficulty common to both cancels.

    Args:
        first: Transcripts of the first system, one row for each utterance.
        second: Of the second.
        unit: `words`, `tokens` (of the mixed error rate) or `characters`.
        by: A column whose values are resampled together, such as `speaker`: utterances of a speaker are not
            independent, and the question is most often about new speakers. Without it, utterances.
        level: Coverage.
        draws: Resamples.
        seed: Of the resampling.

    Raises:
        UserError: The utterances, a reference or the normalizer differ, or an utterance's reference has another number
            of words; names one.
    """
    one, two = paired(first, second, by)
    e1, e2, n = columns_of(one, two, unit)
    settings = {"level": level, "draws": draws, "seed": seed}
    errors, words = clustered([e1, e2], [n, n], one, by)
    fall = clustered([e1 - e2], [e1], one, by)
    return ErrorRateDifference(
        unit,
        _rate(errors[:, :1], words[:, :1], **settings),
        _rate(errors[:, 1:], words[:, 1:], **settings),
        contrast(errors, words, (-1.0, 1.0), **settings),
        contrast(*fall, **settings),
        swap_test(errors, words, seed=seed),
        mapsswe(e1, e2),
        paired_effect(e2 - e1, level=level),
        len(one),
        int(n.sum()),
        by or "utterance",
    )


def _rate(errors: np.ndarray, totals: np.ndarray, *, level: float, draws: int, seed: int) -> Estimate:
    found = contrast(errors, totals, limits=(0.0, math.inf), level=level, draws=draws, seed=seed)
    if found.standard_error == 0:
        low, high = unseen_errors(found.value, found.n_groups, totals.sum(), level)
        return replace(found, low=low, high=high)
    return found


def gap_recovery(
    before: pd.DataFrame,
    after: pd.DataFrame,
    teacher: pd.DataFrame,
    unit: Unit = "words",
    *,
    by: str | None = None,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Estimate:
    """Return (rate before − rate after) / (rate before − teacher's): the share of the gap to the teacher that a stage
    closed.

    Undefined if the student was no worse than the teacher before. There is no interval if that gap is not significant
    (its own interval includes 0): the quotient is then unbounded (Fieller 1954).

    Args:
        before: Transcripts of the student before.
        after: After.
        teacher: Of the teacher, on the same utterances.
        unit: `words`, `tokens` (of the mixed error rate) or `characters`.
        by: As in `error_rate_difference`.
        level: Coverage.
        draws: Resamples.
        seed: Of the resampling.

    Raises:
        UserError: As `error_rate_difference`.
    """
    one, two = paired(before, after, by)
    _, three = paired(before, teacher, by)
    (e1, e2, n), (_, e3, _) = columns_of(one, two, unit), columns_of(one, three, unit)
    settings = {"level": level, "draws": draws, "seed": seed}
    gap = contrast(*clustered([e1 - e3], [n], one, by), **settings)
    recovery = contrast(*clustered([e1 - e2], [e1 - e3], one, by), **settings)
    nan = float("nan")
    if not gap.value > 0:
        return replace(recovery, value=nan, standard_error=nan, low=nan, high=nan)
    if not gap.low > 0:
        return replace(recovery, standard_error=nan, low=nan, high=nan)
    return recovery


def paired(first: pd.DataFrame, second: pd.DataFrame, by: str | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of two sets of transcripts in the order of their ids, checked to be of the same utterances.

    Raises:
        UserError: They are not (names the utterances missing on each side), or a reference or a known normalizer
            differs.
    """
    one, two = _checked(first, "first", by), _checked(second, "second", None)
    if not one.index.equals(two.index):
        missing = one.index.difference(two.index), two.index.difference(one.index)
        said = [
            f"{len(ids)} are in the {side} alone ({', '.join(map(repr, ids[:3]))}{', …' if len(ids) > 3 else ''})"
            for side, ids in zip(("first", "second"), missing, strict=True)
            if len(ids)
        ]
        raise UserError(f"utterances differ: {' and '.join(said)}; compare evaluations of the same set")
    rules = [sorted(set(side["normalizer"].dropna())) if "normalizer" in side else [] for side in (one, two)]
    if all(rules) and rules[0] != rules[1]:
        raise UserError(
            f"normalizers differ: {', '.join(rules[0])} in the first and {', '.join(rules[1])} in the second, so "
            "errors are not counted alike; evaluate both under one, such as `distill evaluate --normalizer basic`"
        )
    if "reference" in one and "reference" in two:
        texts = [side["reference"].astype(str) for side in (one, two)]
        changed = one.index[(texts[0] != texts[1]).to_numpy()]
        if len(changed):
            text, other = (side[changed[0]] for side in texts)
            raise UserError(
                f"utterance {changed[0]!r}: its reference is {text!r} in the first and {other!r} in the second; "
                "compare evaluations of one manifest"
            )
    return one, two


def _checked(transcripts: pd.DataFrame, name: str, by: str | None) -> pd.DataFrame:
    want_frame(transcripts, name, "transcripts with a row an utterance", "run.transcripts")
    missing = [column for column in ("id", by or "id") if column not in transcripts]
    if missing:
        raise UserError(
            f"{name}: there is no column {missing[0]!r}; expected transcripts with one row for each utterance"
        )
    twice = [str(id_) for id_ in transcripts.loc[transcripts.duplicated("id"), "id"]]
    if twice:
        raise UserError(
            f"{name}: utterance {twice[0]!r} occurs more than once; choose one evaluation, such as "
            "transcripts.query(\"step == 1200 and model == 'student'\")"
        )
    rows = transcripts.set_index("id").sort_index()
    without = [] if by is None else [str(id_) for id_ in rows.index[rows[by].isna().to_numpy()]]
    if without:
        raise UserError(
            f"{name}: utterance {without[0]!r} has no {by}; give every line of the manifest one, or leave out `by`"
        )
    return rows


def columns_of(first: pd.DataFrame, second: pd.DataFrame, unit: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return errors of both, and the lengths of the references, which must agree, of paired rows.

    Raises:
        UserError: They do not; names an utterance.
    """
    (e1, n1), (e2, n2) = (_columns(rows, unit) for rows in (first, second))
    wrong = np.flatnonzero(n1 != n2)
    if len(wrong):
        raise UserError(
            f"utterance {first.index[wrong[0]]!r}: its reference has {n1[wrong[0]]:.0f} {unit} in the first and "
            f"{n2[wrong[0]]:.0f} in the second; compare evaluations with one normalizer and one manifest"
        )
    return e1, e2, n1


def _columns(rows: pd.DataFrame, unit: str) -> tuple[np.ndarray, np.ndarray]:
    if unit not in NAMES:
        raise UserError(f"unit: expected one of {', '.join(NAMES)}, received {unit!r}")
    if f"{unit}.errors" not in rows:
        there = [name for name in NAMES if f"{name}.errors" in rows]
        raise UserError(f"unit: these transcripts do not count {unit}; they count {', '.join(there) or 'nothing'}")
    errors, totals = (rows[f"{unit}.{name}"].to_numpy(dtype=np.float64) for name in ("errors", "total"))
    return errors, totals


def clustered(
    sums: list[np.ndarray], counts: list[np.ndarray], rows: pd.DataFrame, by: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return `[G, K]` sums and counts of the clusters; without a column, each row is a cluster."""
    x, n = np.stack(sums, 1), np.stack(counts, 1)
    if by is None:
        return x, n
    names, member = np.unique(rows[by].astype(str), return_inverse=True)
    found = np.zeros((2, len(names), x.shape[1]))
    np.add.at(found[0], member, x)
    np.add.at(found[1], member, n)
    return found[0], found[1]
