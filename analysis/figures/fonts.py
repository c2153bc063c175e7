"""Fonts for scripts that the default font lacks: names and transcripts in Chinese, Japanese, Korean, Arabic …

Joined letters and right-to-left text are handled by matplotlib itself from 3.11 on.
"""

from __future__ import annotations

import functools
import inspect
import logging
import unicodedata
import warnings
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator

from ..run.checks import want_run, want_run_or_several

P = ParamSpec("P")
R = TypeVar("R")
PREFERRED = (
    *("Noto Sans CJK", "Noto Sans SC", "Noto Sans JP", "Noto Sans KR", "Source Han Sans", "PingFang", "Hiragino Sans"),
    *("Apple SD Gothic", "Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "SimHei", "WenQuanYi", "Droid Sans Fallback"),
    *("Noto Sans", "Noto Naskh", "Arial Unicode MS"),
)
"""First words of families with many characters; other installed ones are tried after them."""
WIDE, OTHERS = "fonts-noto-cjk", "fonts-noto-core"
"""Debian and Ubuntu packages: for Chinese, Japanese and Korean characters, which are wide, and for other scripts."""

OF_SEVERAL = ("overlap_over_training", "wer_against_overlap")
"""Figures that take several runs by name as well."""

_log = logging.getLogger(__name__)
_said: set[str] = set()


def families(text: str = "") -> list[str]:
    """Return the families in use, followed by installed ones with characters of the text that those lack."""
    found = list(mpl.rcParams["font.family"])
    for letter in dict.fromkeys(text):
        if (family := _family(letter, tuple(mpl.rcParams["font.family"]))) is not None and family not in found:
            found.append(family)
    return found


def drawable(text: str) -> str:
    """Return the text, with characters that no installed font has replaced by code points, such as `U+56DB`.

    The package to install is logged, once for each.
    """
    base = tuple(mpl.rcParams["font.family"])
    missing = {letter for letter in text if not letter.isspace() and _family(letter, base) is None}
    for package in sorted({_package(letter) for letter in missing} - _said):
        _said.add(package)
        example = next(letter for letter in text if letter in missing and _package(letter) == package)
        _log.warning(
            "no font here has %s (U+%04X): figures show such signs as code points; install a font that has them, on "
            "Debian and Ubuntu the package %s",
            *(example, ord(example), package),
        )
    return "".join(f"U+{ord(letter):04X}" if letter in missing else letter for letter in text)


def legible(draw: Callable[P, R]) -> Callable[P, R]:
    """Wrap a figure's function: its text gets fonts that have all characters.

    A function that draws one run refuses anything else.
    """
    parameters = inspect.signature(draw).parameters
    of_run = next(iter(parameters)) == "run"
    place = next((f", each with its own {name}=…" for name in ("ax", "axes") if name in parameters), "")
    each = f"; {draw.__name__} draws one run: call it once a run{place}"

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        run = args[0] if args else kwargs.get("run")
        if of_run and draw.__name__ in OF_SEVERAL:
            want_run_or_several(run, draw.__name__)
        elif of_run:
            want_run(run, remedy=each)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"Glyph \d+ .*missing")  # until the fonts are chosen, below
            made = draw(*args, **kwargs)
            for figure in {id(one): one for one in _figures(made)}.values():
                _choose_fonts(figure)
        return made

    return drawn


def _figures(made: Any) -> list[Figure]:
    if isinstance(made, Figure):
        return [made]
    panels = [made] if isinstance(made, Axes) else np.asarray(made, dtype=object).ravel()
    return [figure for panel in panels if (figure := panel.get_figure(root=True)) is not None]


def _choose_fonts(figure: Figure) -> None:
    for panel in figure.axes:
        for axis in (panel.xaxis, panel.yaxis):
            if not isinstance(axis.get_major_locator(), FixedLocator):
                continue  # numbers, whose ticks are not placed yet
            labels = [label.get_text() for label in axis.get_ticklabels()]
            if any(drawable(label) != label for label in labels):
                axis.set_ticks(axis.get_ticklocs(), list(map(drawable, labels)))
    for item in figure.findobj(Text):
        text = item.get_text() if isinstance(item, Text) else ""
        if isinstance(item, Text) and not text.isascii():
            item.set_fontfamily(families(text))
            item.set_text(drawable(text))


@functools.lru_cache(maxsize=4096)
def _family(letter: str, base: tuple[str, ...]) -> str | None:
    """Return the first family with a character: of those in use, of the preferred ones, or of all installed ones."""
    if any(ord(letter) in _characters(findfont(FontProperties(family=[name]))) for name in base):
        return base[0]
    upright = (
        font for font in fontManager.ttflist if font.style == "normal" and not font.name.startswith("Last Resort")
    )
    fonts = {font.name: font.fname for font in upright}

    def rank(name: str) -> tuple[int, str]:
        return next((i for i, start in enumerate(PREFERRED) if name.startswith(start)), len(PREFERRED)), name

    return next((name for name in sorted(fonts, key=rank) if ord(letter) in _characters(fonts[name])), None)


@functools.lru_cache(maxsize=256)
def _characters(path: str) -> frozenset[int]:
    try:
        return frozenset(get_font(path).get_charmap())
    except (OSError, RuntimeError):  # a font that FreeType cannot read has none
        return frozenset()


def _package(letter: str) -> str:
    return WIDE if unicodedata.east_asian_width(letter) in "WF" else OTHERS
