"""Problems of manifest lines, found before work starts and reported together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from .utterance import ManifestError, Problem, Utterance

SHOWN = 20
"""Maximum number of findings in a message; the others are counted."""
_ROWS_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem of a line of a manifest.

    Attributes:
        severity: `error` if the line cannot be used, `warning` if it may be a mistake.
        file: The manifest, or the data set.
        line: Of the manifest, from 1, or row of the data set, from 0; None if not known, or if the finding is about the
            entire file.
        id: The utterance's; None if it cannot be read.
        field: Of the line; None if several fields or the entire line are concerned.
        message: What is wrong.
        remedy: What to do.
    """

    severity: Literal["error", "warning"]
    file: str
    line: int | None
    id: str | None
    field: str | None
    message: str
    remedy: str

    @classmethod
    def about(
        cls, utterance: Utterance, field: str | None, message: str, remedy: str, *, warn: bool = False
    ) -> Finding:
        """Return a finding about an utterance, at its place."""
        file, line = utterance.place or ("", None)
        return cls("warning" if warn else "error", file, line, utterance.id, field, message, remedy)

    @classmethod
    def of_line(cls, place: tuple[str, int | None], name: str | None, problem: Problem) -> Finding:
        """Return a finding about a line or file that is not an utterance.

        Args:
            place: File and line.
            name: The utterance's id, if known.
            problem: Why it cannot be used.
        """
        return cls("error", *place, name, problem.field, problem.message, problem.remedy)

    @property
    def problem(self) -> Problem:
        """The problem, without its place."""
        return Problem(self.field, self.message, self.remedy)

    def to_dict(self) -> dict[str, Any]:
        """Return a tree that JSON can hold."""
        return asdict(self)

    def __str__(self) -> str:
        whole = f"{self.file}: " if self.id is None else ""
        place = f"{self.file}:{self.line}: " if self.line is not None else whole
        utterance = f"utterance {self.id!r}: " if self.id is not None else ""
        field = f'field "{self.field}": ' if self.field else ""
        return f"{place}{utterance}{field}{self.message}; {self.remedy}"


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings with severity `error`."""
    return [finding for finding in findings if finding.severity == "error"]


def first_lines(findings: Sequence[Finding]) -> str:
    """Return the first findings, one per line, and the number of others."""
    more = [f"… and {len(findings) - SHOWN} more"] if len(findings) > SHOWN else []
    return "\n  ".join([*map(str, findings[:SHOWN]), *more])


def lines_of(findings: Iterable[Finding]) -> int:
    """Return the number of lines with findings."""
    return len({(finding.file, finding.line, finding.id) for finding in findings})


def words(findings: Sequence[Finding]) -> str:
    """Return numbers of lines that are left out and that may be mistakes, with the first of them."""
    wrong = errors(findings)
    doubtful = [finding for finding in findings if finding.severity == "warning"]
    parts = [
        f"{lines_of(some)} line{'s' if lines_of(some) > 1 else ''} of the data {what}:\n  {first_lines(some)}"
        for some, what in ((wrong, "left out"), (doubtful, "may not be meant so"))
        if some
    ]
    return "\n".join(parts)


def refuse(findings: Iterable[Finding], remedy: str = "") -> None:
    """Refuse unusable lines.

    Args:
        findings: Of any severity.
        remedy: A further remedy for all of them.

    Raises:
        ManifestError: There are errors among them; lists the first.
    """
    wrong = errors(findings)
    if wrong:
        lines = lines_of(wrong)
        head = f"{lines} line{'s' if lines > 1 else ''} of the data cannot be used" + (f" ({remedy})" if remedy else "")
        raise ManifestError(f"{head}:\n  {first_lines(wrong)}")


def refuse_rows(findings: Sequence[Finding]) -> None:
    """Refuse rows of a data set.

    Args:
        findings: Errors alone.

    Raises:
        ManifestError: There are any; lists the first, by row and column.
    """
    shown = [
        f"{one.file}, row {one.line}: {str(one.problem).replace('field', 'column', 1) if one.field else one.problem}"
        for one in findings[:_ROWS_SHOWN]
    ]
    if shown:
        more = [f"… and {len(findings) - len(shown)} more"] if len(findings) > len(shown) else []
        raise ManifestError("\n  ".join([*shown, *more]))
