"""The page of all definitions, with how to read them, in Markdown."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from overlap.definitions import (
    CALIBRATION_READINGS,
    CHECKPOINT_STATISTICS,
    PROBE_STATISTICS,
    SEQUENCE_STATISTICS,
    SIGNAL_READINGS,
    TOKEN_STATISTICS,
    label_of,
)
from overlap.definitions.definition import Definition
from overlap.definitions.no_speech_statistics import NO_SPEECH_STATISTICS
from overlap.definitions.readiness import READINESS

_QUOTED = re.compile(r"\{\{(.+?)\}\}")


def page() -> str:
    """Return the page: how to read the statistics, then each definition."""
    introduction = quoted(Path(__file__).with_name("introduction.md").read_text("utf-8"))
    sections = (
        ("Statistics of one position", "`overlap.measure`", TOKEN_STATISTICS),
        ("Statistics of one sequence", "`overlap.estimates.sequences`", SEQUENCE_STATISTICS),
        ("Statistics of a probe's positions", "`overlap.estimates.funnel`", PROBE_STATISTICS),
        ("Statistics of clips without speech", "`overlap.estimates.no_speech`", NO_SPEECH_STATISTICS),
        ("Statistics between two checkpoints", "`overlap.statistics.gain`", CHECKPOINT_STATISTICS),
        ("Signal: right and wrong transcripts", "`overlap.signal`", SIGNAL_READINGS),
        ("Calibration of tokens and words", "`overlap.calibration`", CALIBRATION_READINGS),
    )
    return "\n".join([introduction, *(line for section in sections for line in _section(*section))])


def quoted(text: str) -> str:
    """Return a text with the level of a row for `{{any/switch/top1_agreement}}`, and for `{{table}}` all rows."""
    return _QUOTED.sub(lambda found: _quoted(found[1]), text)


def _quoted(name: str) -> str:
    return READINESS.to_markdown() if name == "table" else f"{READINESS[name].level:g}"


def _section(title: str, where: str, definitions: Mapping[str, Definition]) -> Iterable[str]:
    yield f"## {title}\n\nSee {where}.\n"
    for name, definition in definitions.items():
        yield (
            f"### {label_of(name)}\n\n"
            f"- Formula: `{definition.formula}`\n"
            f"- Unit and range: {definition.unit}, {definition.range}\n"
            f"- Undefined: {definition.undefined}\n"
            f"- Source: {definition.source}\n"
            f"- Reading: {definition.reading}\n"
        )
