"""The five numbers to read first in a probe, and their verdict. Levels and order are those of the page.

The page is `overlap/definitions/introduction.md`; read a number only if all numbers before it are in order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from overlap.definitions.readiness import READINESS, Question
from overlap.estimates.estimate import Estimate
from overlap.estimates.number_formatting import UNDEFINED, interval, number
from overlap.estimates.table_formatting import html_table, text_table
from overlap.plain_json import plain

if TYPE_CHECKING:
    from overlap.estimates.funnel import Funnel


class Standing(StrEnum):
    """How a number compares with what is wanted, judged by its entire interval."""

    IN_ORDER = "in order"
    NOT_IN_ORDER = "not in order"
    NOT_CERTAIN = "not certain"
    NOT_MEASURED = "not measured"
    TREND = "a trend: compare probes"


@dataclass(frozen=True)
class _Wanted:
    """The level that a statistic should reach: at least or at most; neither if only its trend counts.

    With `value_from`, the value decides where it is of at least so many utterances, and not its interval.
    """

    statistic: str
    at_least: float | None = None
    at_most: float | None = None
    value_from: int | None = None


def _wanted(question: Question, *statistics: str, value_from: int | None = None) -> tuple[_Wanted, ...]:
    rows = [READINESS[f"any/{question}/{statistic}"] for statistic in statistics]
    return tuple(_Wanted(row.reading, **{row.side: row.level}, value_from=value_from) for row in rows)


@dataclass(frozen=True)
class _Number:
    """One of the five."""

    name: str
    wanted: tuple[_Wanted, ...]
    otherwise: str
    """First words of the verdict if the number is not in order."""
    advice: str


_LIKELY = READINESS["any/switch/student_end_likely.at_end"].reading
ENOUGH_ENDS = 50
"""Ends of the teacher's transcripts from which on their share is judged by its value. Shipped gates have the same."""
_UNLIKELY = (
    "Not yet: the student does not find the ends of the teacher's transcripts likely",
    "Train on whole transcripts: those that were cut off at a limit on length unlearn the end. The level is cautious: "
    "sound runs of the demo stayed below it, see its own row in the table of levels.",
)
"""Verdict and advice where the other numbers of its place are in order."""
_PROBE_MORE = (
    "Probe more utterances: intervals narrow with their number. Where all transcripts end, 36 of them are certain of "
    f"{READINESS.level('end_of_text'):g}; the share of likely ends is judged from {ENOUGH_ENDS} on."
)
_LEAST = READINESS["any/least/top1_agreement"]

NUMBERS = (
    _Number(
        "endings",
        (
            *_wanted(Question.switch, "end_of_text", "repetition", "empty"),
            *_wanted(Question.switch, "student_end_likely.at_end", value_from=ENOUGH_ENDS),
        ),
        "Collapse: transcripts loop, do not end, or are empty",
        "Go back to the last good checkpoint, warm up longer, lower the learning rate; do not raise the limit on "
        "length first.",
    ),
    _Number(
        "positions",
        _wanted(Question.comparable, "used", "student_size", "teacher_size"),
        "Repair this first; the numbers below mean nothing yet",
        "Sizes under k: the vocabulary map. Positions misaligned: tokenizers or prompts differ; `distill show` prints "
        "both models' view of one utterance.",
    ),
    _Number(
        "agreement",
        _wanted(Question.switch, "top1_agreement", "total_variation"),
        "Not yet: the student does not transcribe like the teacher",
        "Train longer on teacher transcripts; read ten pairs to check that labels and teacher write in the same form "
        f"(case, numerals, punctuation). The level is cautious: from {_LEAST.level:g} on every run so far "
        f"ended on-policy training with fewer errors than Base ({_LEAST.evidence}). `distill report` asks for no more.",
    ),
    _Number(
        "mass on the other's set",
        _wanted(Question.switch, "teacher_mass", "student_mass"),
        "Not yet: too much probability lies outside the other's set",
        "Low teacher mass: the teacher's likely tokens are not in the student's set; warm up, or use prompts that the "
        "teacher knows. "
        "Low student mass: keep the tail in the objective, or train on the union.",
    ),
    _Number("overlap ratio", (_Wanted("overlap_ratio"),), "", ""),
)


@dataclass(frozen=True)
class ReadNumber:
    """One statistic of the five numbers.

    Attributes:
        place: Which of the five, from 1.
        name: What the number is about.
        statistic: Name of the statistic; `used` is the funnel's share.
        estimate: Its value, NaN if a served teacher gives only bounds or it was not measured, with its 95 % interval;
            for a served teacher's bounds, from the lowest to the highest possible value.
        wanted: The level, in words.
        standing: How the number compares with it.
    """

    place: int
    name: str
    statistic: str
    estimate: Estimate
    wanted: str
    standing: Standing

    @property
    def shown(self) -> str:
        """`0.912 [0.893, 0.929]`; both bounds if only bounds are known."""
        found = self.estimate
        parts = number(found.value, 3), interval(found.low, found.high, 3)
        return " ".join(part for part in parts if part != UNDEFINED) or UNDEFINED

    def to_dict(self) -> dict[str, Any]:
        """Return a field each, in the order of the columns of a report."""
        return {
            **{"place": self.place, "name": self.name, "statistic": self.statistic},
            **{end: getattr(self.estimate, end) for end in ("value", "low", "high")},
            **{"wanted": self.wanted, "standing": self.standing.value},
        }


@dataclass(frozen=True)
class FirstReading:
    """Five numbers and a verdict; prints as a table with the verdict last.

    Attributes:
        numbers: The statistics, in order.
        verdict: The conclusion, in a sentence.
        advice: What to do, in sentences.
    """

    numbers: tuple[ReadNumber, ...]
    verdict: str
    advice: str

    @property
    def ready(self) -> bool:
        """True if all numbers are certainly in order."""
        return {n.standing for n in self.numbers} <= {Standing.IN_ORDER, Standing.TREND}

    def to_dict(self) -> dict[str, Any]:
        """Return a tree that JSON can hold, see `overlap.plain_json`."""
        rows = [n.to_dict() for n in self.numbers]
        return plain({"ready": self.ready, "verdict": self.verdict, "advice": self.advice, "numbers": rows})

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return heading and rows of cells."""
        rows = [
            [f"{n.place} {n.name}" if first else "", n.statistic, n.shown, n.wanted, n.standing.value]
            for n, first in zip(self.numbers, _changes(self.numbers), strict=True)
        ]
        return ["read first", "statistic", "value [95 %]", "wanted", ""], rows

    def __str__(self) -> str:
        table = text_table(*self.table(), left=(0, 1, 2, 3, 4))
        return "\n".join(filter(None, [table, "", self.verdict, self.advice]))

    def _repr_html_(self) -> str:
        return html_table(*self.table(), left=(0, 1, 2, 3, 4), caption=f"{self.verdict} {self.advice}".strip())


def first_reading(estimates: Mapping[str, Estimate], funnel: Funnel | None, k: int) -> FirstReading:
    """Read the five numbers of a probe.

    A number is in order if its entire 95 % interval is, and not in order if no part of it is. Without an interval no
    number is certain, except the funnel's share, which is a count.

    Args:
        estimates: By statistic, of positions and of entire sequences; a form `.without_repeats` is read instead of
            its statistic; for a served teacher, both bounds, `total_variation.lower` and `total_variation.upper`. Of
            the teacher's transcripts, `teacher.student_end_likely.at_end`.
        funnel: Position funnel; None if it is not known.
        k: Size of the supports.
    """
    numbers = tuple(
        _read(place, number.name, wanted, estimates, funnel, k)
        for place, number in enumerate(NUMBERS, start=1)
        for wanted in number.wanted
    )
    verdict, advice = _verdict(numbers)
    return FirstReading(numbers, verdict, advice)


def _read(
    place: int, name: str, wanted: _Wanted, estimates: Mapping[str, Estimate], funnel: Funnel | None, k: int
) -> ReadNumber:
    statistic, scale = _form_read(wanted.statistic, estimates), float(k) if wanted.statistic.endswith("_size") else 1.0
    least = None if wanted.at_least is None else scale * wanted.at_least
    found = _found(statistic, estimates, funnel)
    low, high = found.low, found.high
    if least is not None:
        words = f"≥ {least:g}" + (f" (k = {k})" if scale > 1 else "")
        reached, missed = low >= least, high < least
    elif wanted.at_most is not None:
        words = f"≤ {wanted.at_most:g}"
        reached, missed = high <= wanted.at_most, low > wanted.at_most
    else:
        words, reached, missed = "rising", False, False
    if math.isnan(found.value) and math.isnan(low):
        standing = Standing.NOT_MEASURED
    elif least is None and wanted.at_most is None:
        standing = Standing.TREND
    else:
        if wanted.value_from is not None and least is not None:
            reached = found.value >= least and found.n_groups >= wanted.value_from
        standing = Standing.IN_ORDER if reached else Standing.NOT_IN_ORDER if missed else Standing.NOT_CERTAIN
    return ReadNumber(place, name, statistic, found, words, standing)


def _form_read(statistic: str, estimates: Mapping[str, Estimate]) -> str:
    """Return the form that loops cannot flatter, if it is there; else the statistic."""
    form = f"{statistic}.without_repeats"
    return form if form in estimates or f"{form}.lower" in estimates else statistic


def _found(statistic: str, estimates: Mapping[str, Estimate], funnel: Funnel | None) -> Estimate:
    """Return the estimate, or what a server's bounds or the funnel say: the share of positions used is exact."""
    nothing = Estimate(math.nan, math.nan, math.nan, math.nan, 0, 0)
    if statistic == "used":
        counted = estimates.get("used", nothing).value
        share = counted if funnel is None else funnel.share("used")
        return replace(nothing, value=share, low=share, high=share)
    if (found := estimates.get(statistic)) is not None:
        return found
    lower, upper = (estimates.get(f"{statistic}.{bound}") for bound in ("lower", "upper"))
    if lower is None or upper is None:
        return nothing
    low, high = (end.value if math.isnan(edge) else edge for end, edge in ((lower, lower.low), (upper, upper.high)))
    return replace(nothing, low=low, high=high)


def _verdict(numbers: tuple[ReadNumber, ...]) -> tuple[str, str]:
    wrong = [n for n in numbers if n.standing is Standing.NOT_IN_ORDER]
    if wrong:
        # A student that writes in another form does not know the teacher's ends either: what else is wrong says more.
        telling = [n for n in wrong if n.statistic != _LIKELY]
        place = (telling or wrong)[0].place
        here = [n for n in wrong if n.place == place]
        others = sorted({n.place for n in wrong} - {place})
        nor = "Nor is number" if len(others) == 1 else "Nor are numbers"
        also = f" {nor} {' and '.join(map(str, others))}." if others else ""
        number = NUMBERS[place - 1]
        otherwise, advice = (number.otherwise, number.advice) if telling else _UNLIKELY
        return f"{otherwise} (number {place}: {_named(here)}).{also}", advice
    unsure = [n for n in numbers if n.standing is Standing.NOT_CERTAIN]
    if unsure:
        return f"Not certain: {_named(unsure)}.", _PROBE_MORE
    missing = [n.statistic for n in numbers if n.standing is Standing.NOT_MEASURED]
    if missing:
        return f"In order as far as it was measured; not measured: {', '.join(missing)}.", ""
    return (
        "In order: by these rules of thumb the pair is ready for on-policy training.",
        "Agreement is not accuracy: look at the teacher's own error rate on this audio.",
    )


def _named(numbers: list[ReadNumber]) -> str:
    return "; ".join(f"{n.statistic} {n.shown}, wanted {n.wanted}" for n in numbers)


def _changes(numbers: tuple[ReadNumber, ...]) -> Iterator[bool]:
    """Return for each number whether it is the first with its place."""
    before = 0
    for n in numbers:
        yield n.place != before
        before = n.place
