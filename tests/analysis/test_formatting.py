import math

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.formatting import counts, decimals, interval, latex, latex_escaped, number, p_text, signed


@given(st.text(alphabet="aZ09 .,;:&%$#_{}", max_size=30))
@settings(max_examples=25, deadline=None)
def test_escaping_is_that_of_pandas_where_pandas_escapes(text):
    theirs = pd.DataFrame({"x": [f"a{text}z"]}).to_latex(index=False, header=False, escape=True)
    assert f"a{latex_escaped(text)}z" in theirs


def test_characters_that_the_default_font_encoding_has_elsewhere():
    assert latex_escaped("|S| < 2 ~ 3^4 \\") == (
        r"\textbar{}S\textbar{} \textless{} 2 \textasciitilde{} 3\textasciicircum{}4 \textbackslash{}"
    )
    assert latex_escaped("−0.1 → 2–3, ρ") == r"$-$0.1 $\rightarrow$ 2--3, $\rho$"
    assert latex_escaped("recipe × utterance ≤ 1") == r"recipe $\times$ utterance $\leq$ 1"


def test_a_cell_is_not_the_argument_of_the_line_break_before_it():
    lines = latex(["a", "b"], [["[1, 2]", "x"], ["*", "[y]"]]).splitlines()
    assert lines[0] == r"\begin{tabular}{lr}"
    assert lines[4:6] == [r"{[1, 2]} & x \\", r"{*} & {[y]} \\"]


def test_numbers():
    assert (number(-0.04, 1), number(-1.26, 1), number(math.nan, 1)) == ("0.0", "−1.3", "–")
    assert (signed(0.5, 1), signed(-0.5, 1), signed(-0.001, 1), signed(math.nan, 1)) == ("+0.5", "−0.5", "+0.0", "–")
    assert (interval(-1, 2, 1), interval(math.nan, 2, 1)) == ("[−1.0, 2.0]", "–")


@pytest.mark.parametrize(
    ("error", "digits"), [(0.5, 2), (0.04, 3), (3.0, 1), (12.0, 0), (1e-9, 4), (0.0, 3), (math.nan, 3)]
)
def test_decimals_follow_the_standard_error(error, digits):
    assert decimals(error) == digits


def test_p_values():
    assert [p_text(p) for p in (0.0, 0.00004, 0.0012, 0.03, 1.0, math.nan)] == [
        *("< 0.0001", "< 0.0001", "0.0012", "0.03", "1.00", "–")
    ]
    assert (p_text(0.03, "="), p_text(0.0, "=")) == ("= 0.03", "< 0.0001")


def test_infinite_numbers_are_signs_and_counts_have_a_span():
    assert (number(-math.inf, 2), signed(math.inf, 1), interval(0.1, math.inf, 1)) == ("−∞", "+∞", "[0.1, ∞]")
    assert [counts(values) for values in ([1200, math.nan], [3, 12], [math.nan], [])] == ["1,200", "3–12", "–", "–"]
