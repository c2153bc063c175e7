"""Names in any script: drawn in a font that has their signs, or as code points, and never as boxes with warnings."""

import logging
import warnings

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.font_manager import fontManager
from matplotlib.text import Text

from analysis import load
from analysis.figures import dashboard, fonts, funnel, overlap_over_training, vuss_decomposition, wer_against_overlap
from tests.analysis import conftest
from tests.analysis.conftest import Stay, write_run

NAMES = {"zh": "基线", "ja": "蒸留ステージ", "ko": "교사데이터"}
UNASSIGNED = "\U000e1234"
"""No font has it."""


@pytest.fixture
def forget():
    """What was found of fonts is looked for anew, before and after."""

    def clear():
        fonts._family.cache_clear()
        fonts._characters.cache_clear()
        fonts._said.clear()

    clear()
    yield
    clear()


@pytest.fixture
def small_font(tmp_path, forget):
    """A family of squares that has the signs of NAMES and nothing else."""
    signs = sorted({ord(letter) for name in NAMES.values() for letter in name})
    order = [".notdef", *(f"u{sign:04X}" for sign in signs)]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(order)
    builder.setupCharacterMap({sign: f"u{sign:04X}" for sign in signs})
    pen = TTGlyphPen(None)
    pen.moveTo((50, 0))
    for point in ((50, 800), (950, 800), (950, 0)):
        pen.lineTo(point)
    pen.closePath()
    builder.setupGlyf(dict.fromkeys(order, pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys(order, (1000, 0)))
    builder.setupHorizontalHeader(ascent=880, descent=-120)
    builder.setupNameTable({"familyName": "Small Squares", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    path = tmp_path / "squares.ttf"
    builder.save(path)
    before = list(fontManager.ttflist)
    fontManager.ttflist[:] = [font for font in before if "DejaVu" in font.name]
    fontManager.addfont(path)
    yield "Small Squares"
    fontManager.ttflist[:] = before


@pytest.fixture
def no_fonts(forget):
    """A machine that has nothing but matplotlib's own font."""
    before = list(fontManager.ttflist)
    fontManager.ttflist[:] = [font for font in before if "DejaVu" in font.name]
    yield
    fontManager.ttflist[:] = before


@pytest.fixture
def named(tmp_path, monkeypatch):
    """A run whose stages have such names."""
    monkeypatch.setattr(conftest, "KINDS", dict(zip(NAMES.values(), ("sft", "td", "opd"), strict=True)))
    stays = [Stay(name, (0, 50, 100), "end" if name == NAMES["ko"] else "advance") for name in NAMES.values()]
    return load(write_run(tmp_path / "run", stays))


FIGURES = {
    "dashboard": dashboard,
    "overlap_over_training": lambda run: overlap_over_training(run)[0].figure,
    "vuss_decomposition": lambda run: vuss_decomposition(run)[0].figure,
    "wer_against_overlap": lambda run: wer_against_overlap(run).figure,
    "funnel": lambda run: funnel(run).figure,
}


def drawn(name, run, tmp_path):
    """The figure, saved as users save it; any warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = FIGURES[name](run)
        figure.savefig(tmp_path / "figure.png", dpi=40)
        figure.savefig(tmp_path / "figure.svg")
    return " ".join(item.get_text() for item in figure.findobj(Text)), figure


@pytest.mark.parametrize("name", FIGURES)
def test_names_are_drawn_in_a_font_that_has_them(name, named, small_font, tmp_path):
    text, figure = drawn(name, named, tmp_path)
    assert any(stage in text for stage in NAMES.values())
    assert "U+" not in text
    items = [item for item in figure.findobj(Text) if any(stage in item.get_text() for stage in NAMES.values())]
    assert items
    assert all(small_font in item.get_fontfamily() for item in items)


@pytest.mark.parametrize("name", FIGURES)
def test_without_such_a_font_names_are_code_points_and_the_package_is_named_once(
    name, named, no_fonts, tmp_path, caplog
):
    with caplog.at_level(logging.WARNING):
        text, _ = drawn(name, named, tmp_path)
    assert "基" not in text
    assert "U+57FAU+7EBF" in text
    assert [record.message for record in caplog.records if "fonts-noto-cjk" in record.message] == [caplog.messages[0]]
    assert len(caplog.messages) == 1


def test_signs_that_the_default_font_has_stay_in_it(forget):
    assert fonts.families("Ünïcode → Ελλάδα") == fonts.families()
    assert fonts.drawable("|S| − |I| ≥ 0.5") == "|S| − |I| ≥ 0.5"


@pytest.mark.parametrize(
    ("sign", "package"), [("四", "fonts-noto-cjk"), ("한", "fonts-noto-cjk"), ("ប", "fonts-noto-core")]
)
def test_the_package_is_that_of_the_script(sign, package, no_fonts, caplog):
    assert fonts.drawable(f"a{sign}") == f"aU+{ord(sign):04X}"
    assert caplog.messages[0].endswith(package)


def test_a_sign_that_no_font_has(forget):
    assert fonts.drawable(UNASSIGNED) == "U+E1234"
