"""Text in scripts that the default font does not have, such as Mandarin tokens."""

from __future__ import annotations

from functools import lru_cache

import matplotlib as mpl
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

FALLBACKS = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "PingFang SC",
    "Microsoft YaHei",
    "SimHei",
    "WenQuanYi Zen Hei",
    "Arial Unicode MS",
)
"""Families with many scripts, taken where they are installed."""


def families() -> list[str]:
    """The families in use, and after them the first of `FALLBACKS` that is installed."""
    installed = {font.name for font in fontManager.ttflist}
    return [*mpl.rcParams["font.family"], *[name for name in FALLBACKS if name in installed][:1]]


def drawable(text: str) -> str:
    """The text with characters that no font in use has as their code points, such as `U+56DB`."""
    names = tuple(families())
    return "".join(letter if letter.isspace() or _has(letter, names) else f"U+{ord(letter):04X}" for letter in text)


@lru_cache(maxsize=4096)
def _has(letter: str, names: tuple[str, ...]) -> bool:
    fonts = (get_font(findfont(FontProperties(family=[name]))) for name in names)
    return any(font.get_char_index(ord(letter)) != 0 for font in fonts)
