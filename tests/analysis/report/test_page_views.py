"""The views of words and of tokens through the stages, in a browser, and the advisories above them."""

import math

import pandas as pd
import pytest

from analysis import load
from analysis.report import write_report
from analysis.report.word_rows import word_view
from tests.analysis.conftest import write_run, write_transcripts
from tests.analysis.report.conftest import SCRIPT, set_probe, trace_frame, write_traced

TEXTS = {
    (100, "base"): ["call two nine", "call two five", "to five"],
    (200, "teacher data"): ["call two five", "call two nine", "two five"],
    (300, "on-policy"): ["call two five", "call two five now", "two five"],
}


def write_spoken(path, texts=TEXTS, **options):
    """Transcripts of three utterances after each stage, all with one reference."""
    for (step, stage), written in texts.items():
        file = write_transcripts(path, step, stage, {f"u{i:04d}": 1 for i in range(3)}, total=3)
        pd.read_parquet(file).assign(reference="call two five", text=written, **options).to_parquet(file, index=False)
    return path


@pytest.fixture(scope="module")
def page_of(tmp_path_factory):
    """A report of two runs, the first with traces on the teacher's transcripts and with a collapse."""
    folder = tmp_path_factory.mktemp("views")
    one = write_spoken(write_traced(folder / "one", n=3, states=("student", "teacher")))
    set_probe(one, "end_of_text", 0.4, half=0.1)
    two = write_spoken(write_run(folder / "two"), {at: texts[::-1] for at, texts in TEXTS.items()})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("analysis.report.html.pictures", lambda run: [])
        write_report([one, two], folder / "report.html")
    return folder / "report.html"


def test_the_report_opens_with_advisories(view, page_of):
    page = view(page_of)
    first, second = page.locator("section.run").all()
    assert first.locator(".advice-head").inner_text() == "Advisories, worst first: 1 × act now."
    item = first.locator(".advisory").first
    assert item.locator("b").inner_text() == "Transcripts do not end"
    assert "0.40 [0.30, 0.50] of the student's transcripts ended by themselves" in item.inner_text()
    above, below = (first.locator(name).first.bounding_box()["y"] for name in (".advisories", ".summary-text"))
    assert above < below
    assert second.locator(".advice-head").inner_text() == "Nothing to advise."
    assert "Not measured in this run: end of text" in second.locator(".advice .note").inner_text()


def test_words_that_a_stage_mended_and_broke(view, page_of):
    page = view(page_of)
    page.wait_for_selector("#words-list li")
    labels = page.locator("#words-pair option").all_inner_texts()
    assert labels[:3] == ["after base: one → two", "after teacher data: one → two", "after on-policy: one → two"]
    assert labels[3] == "one, teacher data: after base, step 100 → 200"
    page.select_option("#words-pair", label=labels[3])
    # u0: five mended; u1: five broken; u2: two mended ("to five" → "two five").
    assert page.inner_text("#words-status") == (
        "2 mended and 1 broken of 9 words; inserted words 0 → 0; 3 of 3 utterances differ"
    )
    item = page.locator("#words-list li", has_text="u0001")
    rows = [row.locator("td").all_inner_texts() for row in item.locator("tr").all()]
    assert rows == [["call", "two", "five"], ["call", "two", "five"], ["call", "two", "✕ nine"]]
    assert item.locator(".w.broken").count() == 1
    item = page.locator("#words-list li", has_text="u0002")
    assert [row.locator("td").all_inner_texts() for row in item.locator("tr").all()][1:] == [
        ["to", "left out", "five"], ["left out", "✓ two", "five"],
    ]  # fmt: skip
    page.select_option("#words-pair", label="one, on-policy: after teacher data, step 200 → 300")
    item = page.locator("#words-list li").first  # mended and inserted: it differs most
    assert item.locator("b").inner_text() == "u0001"
    assert item.locator(".w.extra").inner_text() == "+now"
    assert page.locator("#words-list li").count() == 1
    page.check("#words-all")
    assert item.locator("th").all_inner_texts() == [
        "reference",
        "one: after base, step 100",
        "one: after teacher data, step 200",
        "one: after on-policy, step 300",
    ]
    page.fill("#words-filter", "u0000")
    assert page.inner_text("#words-list") == "No utterance differs."


def test_two_runs_for_one_utterance(view, page_of):
    page = view(page_of)
    page.wait_for_selector("#words-list li")
    assert page.locator("#words-pair option:checked").inner_text() == "after on-policy: one → two"
    page.check("#words-all")
    item = page.locator("#words-list li", has_text="u0000")
    names = item.locator("th").all_inner_texts()
    assert names == [
        "reference",
        *(
            f"{run}: after {stage}, step {n}"
            for run in ("one", "two")
            for stage, n in (("base", 100), ("teacher data", 200), ("on-policy", 300))
        ),
    ]
    assert item.locator(".w.broken").all_inner_texts() == ["✕ left out"]  # "two five" for "call two five"


def test_tokens_through_the_stages(view, page_of):
    page = view(page_of)
    page.select_option("#what", "teacher")
    page.wait_for_selector("#list:not([aria-busy])")
    page.select_option("#sort", "order")
    page.wait_for_selector(".heatmap")
    kl, ratio = page.locator(".heatmap").all()
    assert kl.locator("th").all_inner_texts() == ["step 200, on-policy", "step 300, on-policy"]
    row = trace_frame(300, "on-policy", "teacher", 3, 6, 4, seed=301).iloc[0]
    cell = kl.locator("tr").nth(1).locator("td").nth(2)
    assert f"Forward KL {row['forward_kl'][2]:.3f}" in cell.get_attribute("title")
    assert cell.inner_text() in row["tokens"][2]
    assert f"{row['overlap_ratio'][2]:.3f}" in ratio.locator("tr").nth(1).locator("td").nth(2).get_attribute("title")
    for chosen in (kl, ratio):  # every text is legible on its color: a contrast of at least 4.5, as WCAG asks
        for one in chosen.locator("td").all():
            paper, ink = (one.evaluate(f"e => getComputedStyle(e).{name}") for name in ("backgroundColor", "color"))
            assert contrast(paper, ink) >= 4.5, (paper, ink)


def contrast(one, two):
    """Contrast of two colors after WCAG 2.1: (lighter + 0.05) / (darker + 0.05)."""

    def luminance(color):
        parts = [int(part) / 255 for part in color.removeprefix("rgb(").removesuffix(")").split(",")]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    darker, lighter = sorted((luminance(one), luminance(two)))
    return (lighter + 0.05) / (darker + 0.05)


def test_texts_of_words_are_never_markup(view, tmp_path, no_pictures):
    path = write_spoken(write_run(tmp_path / "run"), **{"compared.reference": SCRIPT, "compared.text": f"{SCRIPT} x"})
    write_report(path, tmp_path / "report.html")
    page = view(tmp_path / "report.html")
    assert page.evaluate("window.pwned") is None
    assert page.locator("#words-status").inner_text().startswith("0 mended and 0 broken")


def test_utterances_that_differ_least_are_left_out_if_the_page_has_no_room(tmp_path):
    run = load(write_spoken(write_run(tmp_path / "run")))
    whole = word_view({"run": run})
    assert not any("left out" in note for note in whole.notes)
    small = word_view({"run": run}, budget=len(whole.data) - 8)
    assert len(small.data) < len(whole.data)
    assert small.notes[-1].endswith("that differ least are left out of the words below.")
    assert not math.isnan(len(small.data))


def test_markdown_has_advisories_and_tables_of_words(tmp_path):
    one = write_spoken(write_run(tmp_path / "one"))
    set_probe(one, "end_of_text", 0.4, half=0.1)
    two = write_spoken(write_run(tmp_path / "two"), {at: texts[::-1] for at, texts in TEXTS.items()})
    report = write_report([one, two], tmp_path / "report.md")
    text = report.path.read_text(encoding="utf-8")
    assert "**Advisories, worst first: 1 × act now.**" in text
    assert "- **Act now: Transcripts do not end** (on-policy, step 300). 0.40 \\[0.30, 0.50\\] of the" in text
    assert "**Nothing to advise.** Checked:" in text
    assert "### Words that each stage mended and broke" in text
    assert "### Words in which two differs from one" in text
    run, _ = report.to_dict()["runs"]
    assert run["advisories"]["found"][0]["severity"] == "act now"
    assert run["advisories"]["found"][0]["estimate"]["value"] == 0.4
