"""What a run's records advise: a finding with its number, how urgent it is, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from overlap import Estimate
from overlap.estimates.table_formatting import html_table

from ..run.load import Run


class Severity(StrEnum):
    """How urgent an advisory is, worst first."""

    CRITICAL = "act now"
    WARNING = "look at this"
    NOTE = "note"

    @property
    def rank(self) -> int:
        """0 for the worst."""
        return list(Severity).index(self)


@dataclass(frozen=True)
class Advisory:
    """One finding of a rule.

    Attributes:
        rule: Name of the rule.
        severity: How urgent it is.
        title: What is wrong, in a few words.
        where: Stage and step.
        number: The number behind it with its interval, counts and level, in words.
        advice: What to do, in sentences.
        estimate: The number itself; None where it is a count.
    """

    rule: str
    severity: Severity
    title: str
    where: str
    number: str
    advice: str
    estimate: Estimate | None = None

    def __str__(self) -> str:
        return f"{self.severity.upper()}: {self.title} ({self.where}). {self.number}. {self.advice}"


@dataclass(frozen=True)
class Rule:
    """One question to the records of a run.

    Attributes:
        name: Of the rule.
        checks: What it looks at, in words that complete "Checked: …".
        judge: Returns its findings, or None where the run has no record to judge by.
    """

    name: str
    checks: str
    judge: Callable[[Run], Sequence[Advisory] | None]


@dataclass(frozen=True)
class Advisories:
    """All findings on a run, worst first; prints as a list.

    Attributes:
        found: The findings.
        checked: What was looked at, whether or not something was found.
        unmeasured: What was not looked at, because the run has no record of it.
    """

    found: tuple[Advisory, ...]
    checked: tuple[str, ...]
    unmeasured: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Advisory]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)

    @property
    def coverage(self) -> str:
        """What was checked and what could not be, in sentences."""
        said = [f"Checked: {', '.join(self.checked)}."] if self.checked else []
        said += [f"Not measured in this run: {', '.join(self.unmeasured)}."] if self.unmeasured else []
        return " ".join(said)

    @property
    def headline(self) -> str:
        """`Nothing to advise.`, or how many findings there are by severity."""
        if not self.checked:
            return "Nothing can be advised yet."
        if not self.found:
            return "Nothing to advise."
        numbers = {severity: sum(one.severity is severity for one in self.found) for severity in Severity}
        parts = [f"{n} × {severity.value}" for severity, n in numbers.items() if n]
        return f"Advisories, worst first: {', '.join(parts)}."

    def __str__(self) -> str:
        return "\n".join([self.headline, *(f"- {one}" for one in self.found), self.coverage])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = [[one.severity.value, one.title, one.where, one.number, one.advice] for one in self.found]
        heading = ["severity", "what", "where", "number [95 %]", "what to do"]
        return html_table(heading, rows, left=(0, 1, 2, 3, 4), caption=f"{self.headline} {self.coverage}")


def judged(run: Run, rules: Sequence[Rule]) -> Advisories:
    """Return the findings of some rules on a run, the worst first; equally urgent ones in the order of the rules.

    Args:
        run: A run, finished or not, or the trace of a probe.
        rules: The most basic first.
    """
    found: list[Advisory] = []
    checked, unmeasured = [], []
    for rule in rules:
        findings = rule.judge(run)
        (unmeasured if findings is None else checked).append(rule.checks)
        found += findings or ()
    return Advisories(tuple(sorted(found, key=lambda one: one.severity.rank)), tuple(checked), tuple(unmeasured))
