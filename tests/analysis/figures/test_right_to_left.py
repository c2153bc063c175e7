"""Arabic and Hebrew in figures: letters joined and from right to left, which matplotlib does from 3.11 on."""

import tomllib
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from analysis.figures.fonts import legible
from analysis.figures.panels import text_width

GREETING = "سلام"
AS_FORMS = "\ufeb3\ufefc\ufee1"
"""The same in Unicode's presentation forms: seen at its beginning, the ligature of lam and alef, meem alone."""
APART = "\u200c".join(GREETING)
"""The same with a sign between letters that keeps them from joining."""


def drawn(text: str) -> np.ndarray:
    """Pixels of a text in a figure of ours."""

    @legible
    def panel(words: str):
        axes = plt.figure(figsize=(3, 1), dpi=100).add_subplot()
        axes.axis("off")
        axes.text(0.5, 0.5, words, size=30, ha="center", va="center")
        return axes

    figure = panel(text).figure
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., 0] < 128


def test_letters_are_joined_in_their_order():
    assert drawn(GREETING).sum() > 100
    np.testing.assert_array_equal(drawn(GREETING), drawn(AS_FORMS))
    assert (drawn(GREETING) != drawn(APART)).any()
    assert text_width(GREETING, 20) == pytest.approx(text_width(AS_FORMS, 20))
    assert text_width(GREETING, 20) < 0.8 * text_width(APART, 20)


def test_the_first_letter_stands_on_the_right():
    def words(text: str) -> list[int]:
        """Widths of what is drawn, parted at gaps as wide as two spaces, from left to right."""
        columns = drawn(text).any(0).nonzero()[0]
        return [len(word) for word in np.split(columns, np.flatnonzero(np.diff(columns) > 12) + 1)]

    narrow, wide = words("ו  אאא")[::-1]
    assert narrow < 20 < wide
    assert words("ו  אאא") == words("אאא  ו")[::-1]


def test_no_older_matplotlib_is_allowed():
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))
    (needed,) = (one for one in project["project"]["dependencies"] if one.startswith("matplotlib"))
    assert needed == "matplotlib>=3.11"
