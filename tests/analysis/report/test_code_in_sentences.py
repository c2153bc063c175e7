"""Commands and keys in our sentences are set as code, on the page and in Markdown; what comes from a run stays text."""

import re

import pytest
from jinja2 import Environment
from markdown_it import MarkdownIt

from analysis.report import write_report
from analysis.report.html import _prose as on_the_page
from analysis.report.markdown import _prose as in_markdown
from tests.analysis.report.conftest import IMAGE


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr("analysis.report.html.pictures", lambda run: [])


def test_no_backtick_is_left_on_the_page(traced, tmp_path):
    write_report([traced], tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    seen = re.sub(r"<(script|style)\b.*?</\1>", "", text, flags=re.S)
    assert "give both to <code>distill report</code>." in seen
    assert "`" not in seen


def test_a_command_is_code_in_markdown(traced, tmp_path):
    write_report([traced], tmp_path / "report.md")
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "give both to `distill report`." in text
    assert "\\`" not in text


@pytest.mark.parametrize("text", [f"a `{IMAGE}` b", f"{IMAGE} `x", "*a* `b*c*` _d_", "3 % of `every`", "`` and `"])
def test_what_is_set_apart_stays_text(text):
    """Both forms, read by a browser's and a Markdown reader's rules, say the same words."""
    page = str(on_the_page(text))
    assert set(re.findall(r"</?([a-z]+)", page)) <= {"code"}
    read = MarkdownIt().render(in_markdown(text))
    plain = [re.sub(r"<[^>]*>", "", form).replace("\u00a0", " ").replace("&#34;", "&quot;") for form in (page, read)]
    assert plain[0].strip().replace("&#39;", "'") == plain[1].strip()
    assert Environment(autoescape=True).from_string("{{ text }}").render(text=on_the_page(text)) == page
