"""The report as one HTML page, from the templates and assets beside this file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from ..run.runs import Runs
from ..tables.comparison import compare
from ..tables.mended_words import between
from .audio import Audio
from .markdown import CODE
from .payload import Payload
from .pictures import pictures
from .section import Section
from .thresholds import SOURCES, Thresholds
from .word_rows import word_view

ASSETS = resources.files("analysis.report") / "assets"
SCRIPTS = ("theme.js", "data.js", "list.js", "heat.js", "detail.js", "browser.js", "words.js")


@cache
def _environment() -> Environment:
    found = Environment(
        loader=FunctionLoader(_asset), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    found.filters["together"] = _bind_units
    found.filters["prose"] = _prose
    return found


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def page(
    runs: Runs,
    sections: Sequence[Section],
    payloads: Mapping[str, Payload],
    audio: Mapping[str, Audio],
    thresholds: Thresholds,
) -> str:
    """Return the page as text. All content of runs is escaped; styles and scripts are from this package."""
    names = list(runs)
    return (
        _environment()
        .get_template("report.html.jinja")
        .render(
            title=f"Support overlap: {', '.join(names)}",
            style=Markup("\n".join(map(_asset, ("report.css", "views.css")))),
            scripts=[Markup(_asset(name)) for name in SCRIPTS],
            sections=sections,
            comparison=compare(runs) if len(runs) > 1 else None,
            between=between(runs),
            words=word_view(runs),
            pictures={name: pictures(run) for name, run in runs.items()},
            payloads=payloads,
            audio=audio,
            browser=_browser(payloads, audio),
            thresholds=[
                (field.name, getattr(thresholds, field.name), SOURCES.get(field.name, ""))
                for field in fields(thresholds)
            ],
            table=_table,
        )
    )


def _table(table: Any) -> Markup:
    """Return a table as HTML; `html_table` escapes its cells."""
    return Markup(_bind_units(table._repr_html_()))


def _bind_units(text: str) -> str:
    """Return text with non-breaking spaces between numbers and units."""
    return text.replace("[ ]", "[\u00a0]").replace(" %", "\u00a0%")


def _prose(text: str) -> Markup:
    """Return a sentence, with text in backticks as code."""
    parts = CODE.split(_bind_units(text))
    return Markup("").join(Markup("<code>{}</code>").format(one) if i % 2 else one for i, one in enumerate(parts))


def _browser(payloads: Mapping[str, Payload], audio: Mapping[str, Audio]) -> list[dict[str, Any]]:
    """Return the browser's index of groups."""
    return [
        {
            "run": name,
            "groups": [chunk.about for chunk in found.chunks],
            "candidates": found.candidates,
            "clips": len(audio[name].clips),
        }
        for name, found in payloads.items()
    ]
