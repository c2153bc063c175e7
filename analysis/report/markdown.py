"""The report as Markdown, for pull requests."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..advising import Advisories
from ..formatting import count, markdown
from ..run.runs import Runs
from ..tables.comparison import compare
from ..tables.mended_words import between
from .section import Section
from .thresholds import Thresholds
from .verdict_types import StageVerdict

CODE = re.compile(r"(?<!`)`([^`\s](?:[^`\n]*[^`\s])?)`(?!`)")
"""Code inside sentences."""


def document(runs: Runs, sections: Sequence[Section], thresholds: Thresholds) -> str:
    """Return verdicts with their evidence, and the tables; figures and the utterance browser are in the HTML."""
    parts = ["# Support overlap"]
    if len(runs) > 1:
        parts += ["## Comparison", _cells(compare(runs).to_markdown())]
        for other, table in between(runs):
            heading = f"### Words in which {escaped(other)} differs from {escaped(sections[0].name)}"
            parts += [heading, _cells(table.to_markdown())]
    for one in sections:
        parts += [f"## {escaped(one.name)}", *_advice(one.advice)]
        parts.append(f"**{escaped(one.headline)}** ({escaped(one.state)})")
        parts += [f"_{_prose(text)}_" for text in one.missing]
        for verdict in one.verdicts:
            parts += _verdict(verdict)
        if one.reading is None:
            parts += ["### Stages", _cells(one.stages.to_markdown())]
        else:
            parts += ["### Five numbers to read first", _cells(one.reading.to_markdown())]
        if one.words is not None:
            parts += ["### Words that each stage mended and broke", _cells(one.words.to_markdown())]
        for table in one.groups:
            parts += [f"### {escaped(table.title)}", _cells(table.to_markdown())]
        for part in one.references:
            parts += [f"### {part.title}", _prose(part.sentence), _cells(part.table.to_markdown())]
            if part.more is not None:
                parts.append(_folded(part.more[0], _cells(part.more[1].to_markdown())))
        if one.no_references:
            parts.append(f"_{_prose(one.no_references)}_")
        if one.no_speech is not None:
            parts += ["### Without speech", _cells(one.no_speech.to_markdown())]
        if len(one.outside.frame):
            parts += ["### Tokens outside the teacher's set", _cells(one.outside.to_markdown())]
        if one.changes is not None:
            table = _cells(one.changes.to_markdown())
            parts.append(_folded("Change of overlap over each stage on the same rollouts", table))
        rows = [list(row) for row in one.decisions]
        decisions = _cells(markdown(["step", "stage", "gate", "decision", "reason"], rows, left=5))
        parts.append(_folded("Every gate reading", decisions))
        about = _cells(markdown(["", ""], [list(row) for row in one.about], left=2))
        parts.append(_folded("Recipe, versions, hashes", f"{about}\n\n{_fenced(one.recipe)}"))
    values = ", ".join(f"{name} {value:g}" for name, value in vars(thresholds).items())
    parts.append(f"Thresholds are heuristics: {values}. [ ]: 95 % intervals, of one run each.")
    return "\n\n".join(parts) + "\n"


def _advice(advice: Advisories) -> list[str]:
    """Return advisories as a list, worst first, or that there are none, with what was checked."""
    lines = [
        f"- **{escaped(one.severity.capitalize())}: {escaped(one.title)}** ({escaped(one.where)}). "
        f"{_prose(one.number)}. {_prose(one.advice)}"
        for one in advice
    ]
    headline = f"**{escaped(advice.headline)}**"
    if not lines:
        return [f"{headline} {_prose(advice.coverage)}".rstrip()]
    return [headline, "\n".join(lines), _folded("What was checked", _prose(advice.coverage))]


def _verdict(verdict: StageVerdict) -> list[str]:
    steps = f"steps {count(verdict.first_step)} to {count(verdict.last_step)}"
    so_far = ", so far" if verdict.ongoing else ""
    heading = f"### {escaped(verdict.stage)} ({steps}{so_far}): {escaped(verdict.headline)}"
    reasons = "\n".join(f"- {_prose(reason)}" for reason in verdict.reasons)
    rows = [[row.name, row.states, row.shown, row.counted, row.threshold, row.standing] for row in verdict.evidence]
    evidence = _cells(markdown(["evidence", "states", "value [95 %]", "n", "threshold", ""], rows, left=2))
    moved = [f"Over this stage: {verdict.moved}."] if verdict.moved else []
    return [heading, *moved, verdict.question, reasons, f"{escaped(verdict.gate)}.", _folded("Evidence", evidence)]


def escaped(text: str) -> str:
    """Return text on one line, escaped for Markdown and the HTML in it."""
    return _escaped(" ".join(text.split()))


def _prose(text: str) -> str:
    """Return a sentence, with text in backticks as code."""
    parts = CODE.split(" ".join(text.split()))
    return "".join(f"`{part}`" if i % 2 else _escaped(part) for i, part in enumerate(parts))


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", text)


def _cells(table: str) -> str:
    """Return a pipe table whose cells hold no HTML: tokens may look like it."""
    return table.replace("&", "&amp;").replace("<", "&lt;")


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>"


def _fenced(text: str) -> str:
    ticks = "```"
    while ticks in text:
        ticks += "`"
    return f"{ticks}json\n{text}\n{ticks}"
