"""Findings of the checks before training, and their table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from overlap.errors import UserError
from overlap.estimates.number_formatting import count, plural

Severity = Literal["error", "warning", "note", "ok"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note", "ok")
"""From the worst on: what stops a run, what may be a mistake, what is good to know, and what is in order."""


class CheckError(UserError):
    """A recipe that must not be trained; the message lists every error with its remedy."""


@dataclass(frozen=True, slots=True)
class CheckFinding:
    """One row of the table.

    Attributes:
        severity: See `SEVERITIES`.
        check: What was checked, in a few words.
        finding: What was found, with numbers and how many things were looked at.
        remedy: What to do; empty if there is nothing to do.
    """

    severity: Severity
    check: str
    finding: str
    remedy: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return a tree that JSON can hold."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.severity}: {self.check}: {self.finding}" + (f"; {self.remedy}" if self.remedy else "")


def worst_first(findings: Iterable[CheckFinding]) -> tuple[CheckFinding, ...]:
    """Return findings by severity; equally severe ones keep their order."""
    return tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))


def of_severity(findings: Iterable[CheckFinding], *severities: Severity) -> list[CheckFinding]:
    """Return the findings with one of some severities."""
    return [finding for finding in findings if finding.severity in severities]


def counted(findings: Sequence[CheckFinding]) -> str:
    """Return how many findings there are of each severity: `1 error, 2 warnings, 9 ok`."""
    numbers = {severity: len(of_severity(findings, severity)) for severity in SEVERITIES}
    said = [
        f"{count(n)} {severity if severity == 'ok' else plural(severity, n)}" for severity, n in numbers.items() if n
    ]
    return ", ".join(said) or "nothing was checked"


def refuse_errors(findings: Sequence[CheckFinding]) -> None:
    """Refuse a recipe with errors.

    Raises:
        CheckError: Lists all of them.
    """
    if wrong := of_severity(findings, "error"):
        lines = [f"{one.check}: {one.finding}" + (f"; {one.remedy}" if one.remedy else "") for one in wrong]
        head = f"{len(wrong)} {plural('error', len(wrong))} before training (--no-check starts all the same)"
        raise CheckError("\n  ".join([f"{head}:", *lines]))
