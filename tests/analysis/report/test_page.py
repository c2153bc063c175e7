"""The page in a browser: it needs Chromium, which the environment variable CI_BROWSER=1 makes a must."""

import math

import pytest
from matplotlib.figure import Figure

from analysis.report import write_report
from analysis.report.pictures import Picture, data_uri
from tests.analysis.report.conftest import SCRIPT, trace_frame, write_traced
from tests.analysis.report.test_audio import tones


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("reports")


@pytest.fixture(scope="module")
def report(folder):
    figure = Figure(figsize=(2, 1))  # the true ones take most of the time
    figure.subplots().plot([0, 1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("analysis.report.html.pictures", lambda run: [Picture("A line", "It rises.", data_uri(figure))])
        write_report(write_traced(folder / "run", states=("student", "fixed")), folder / "report.html", clips=tones)
    return folder / "report.html"


def select(page, control, **choice):
    page.select_option(control, **choice)
    page.wait_for_selector("#list:not([aria-busy])")


def names(page):
    return page.locator(".row .head b").all_inner_texts()


def frame(step=300, states=0):
    return trace_frame(step, "on-policy", "student" if not states else "fixed", 12, 6, 4, seed=step + states)


def by_mean(statistic, ascending=True, **which):
    rows = frame(**which)
    means = rows[statistic].map(lambda values: float(values.mean()))
    return rows.assign(mean=means).sort_values("mean", ascending=ascending, kind="stable")["id"].tolist()


def test_sorting(view, report):
    page = view(report)
    page.set_viewport_size({"width": 1280, "height": 1200})
    assert page.locator("#checkpoint").input_value() == '[300,"on-policy"]'
    page.select_option("#sort", "overlap")
    assert names(page)[:8] == by_mean("overlap_ratio")[:8]
    page.select_option("#sort", "kl")
    assert names(page)[:8] == by_mean("forward_kl", ascending=False)[:8]
    page.select_option("#sort", "mass")
    assert names(page)[:8] == by_mean("student_mass")[:8]
    select(page, "#what", value="fixed")
    assert names(page)[:8] == by_mean("student_mass", states=1)[:8]
    select(page, "#checkpoint", value='[200,"on-policy"]')
    assert names(page)[:8] == by_mean("student_mass", step=200, states=1)[:8]


def test_worst_error_rates_of_an_evaluation(view, report):
    page = view(report)
    select(page, "#what", value="test/student")
    page.select_option("#sort", "errors")
    wrong = [3 - i % 4 for i in range(12)]
    worst = sorted(range(12), key=lambda i: (-wrong[i], i))
    assert names(page)[:6] == [f"u{i:04d}" for i in worst[:6]]
    assert "12 of 12 utterances; 18 errors in 120 words, normalizer basic 1: 15.0 %" in page.inner_text("#status")
    assert page.locator("#sort option").all_inner_texts() == [
        "order of the files", "worst error rate", "longest transcript",
    ]  # fmt: skip
    assert page.locator("#detail .token").count() == 0
    assert page.locator("#detail mark").all_inner_texts() == ["some"]  # of "some words", where "words" was written


def test_filtering(view, report):
    page = view(report)
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "filter"
    page.keyboard.type("WORD11 ")
    assert names(page) == ["u0011"]
    assert page.inner_text("#status").startswith("1 of 12 utterances")
    page.fill("#filter", "nothing of the kind")
    assert names(page) == []
    assert page.inner_text("#detail") == "No utterance matches."
    page.keyboard.press("Escape")
    assert page.input_value("#filter") == ""
    assert len(names(page)) > 5
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "list"


def test_keys_move_through_utterances_and_tokens(view, report):
    page = view(report)
    page.select_option("#sort", "order")
    page.focus("#list")
    for key, expected in (("j", 1), ("ArrowDown", 2), ("k", 1), ("End", 11), ("Home", 0), ("ArrowUp", 0), ("j", 1)):
        page.keyboard.press(key)
        assert page.locator("#detail h3").first.inner_text() == f"u{expected:04d}", key
        assert page.get_attribute("#list", "aria-activedescendant") == f"row-{expected}"
        assert page.get_attribute(f"#row-{expected}", "aria-selected") == "true"
    page.keyboard.press("Enter")
    tokens = frame()["tokens"][1]
    assert page.evaluate("document.activeElement.textContent") == tokens[0]
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.textContent") == tokens[2]
    assert page.locator("#panel h3").inner_text() == f"Token 3 of 6: {tokens[2]}"
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("j")
    assert page.locator("#detail h3").first.inner_text() == "u0002"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "list"


@pytest.mark.parametrize("way", ["hover", "focus"])
def test_a_token_shows_both_models_candidates_and_which_are_shared(view, report, way):
    page = view(report)
    page.select_option("#sort", "order")
    token = page.locator("#detail .token").nth(4)
    getattr(token, way)()
    truth = frame().iloc[0]
    assert page.locator("#panel h3").inner_text() == f"Token 5 of 6: {truth['tokens'][4]}"
    rows = page.locator(".candidates tbody tr")
    union = truth["union_tokens"][4]
    assert rows.count() == len(union)
    shown = {tuple(row.locator("td").all_inner_texts()) for row in rows.all()}
    written = truth["tokens"][4]
    where = {(True, True): "shared", (True, False): "student's alone", (False, True): "teacher's alone"}

    def probability(log):
        p = math.exp(log)
        return "< 0.0001" if p < 0.0001 else f"{p:.4f}"

    columns = ("student_logprobs", "teacher_logprobs", "in_student", "in_teacher")
    expected = {
        (t + (" ◂" if t == written else ""), probability(p), probability(q), where[bool(a), bool(b)])
        for t, p, q, a, b in zip(union, *(truth[name][4] for name in columns), strict=True)
    }
    assert shown == expected
    assert f"overlap |I|/k {truth['overlap_ratio'][4]:.3f}" in page.inner_text("#panel")
    assert f"teacher's rank of it {truth['teacher_rank'][4]:.0f}" in page.inner_text("#panel")


def test_colors_follow_the_chosen_statistic(view, report):
    page = view(report)
    page.select_option("#sort", "order")
    truth = frame().iloc[0]

    def heats():
        return [
            float(t.evaluate("e => e.style.getPropertyValue('--heat')")) for t in page.locator("#detail .token").all()
        ]

    assert heats() == pytest.approx((1 - truth["overlap_ratio"]).tolist(), abs=2e-3)
    page.select_option("#color", "kl")
    assert heats() == pytest.approx(((truth["forward_kl"] / 4) ** 0.5).tolist(), abs=2e-3)
    assert "forward KL" in page.inner_text("#legend")


def test_light_and_dark(view, report):
    """Figures keep their colors, on a light ground of their own in the dark."""

    def ground(page):
        color = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in color.strip("rgb()").split(",")) / 3

    dark, light = view(report, color_scheme="dark"), view(report, color_scheme="light")
    assert ground(dark) < 60 < 200 < ground(light)
    look = "(() => [document.images[0].naturalWidth > 0, getComputedStyle(document.images[0]).filter, "
    look += "getComputedStyle(document.images[0]).backgroundColor])()"
    drawn = [page.evaluate(look) for page in (dark, light)]
    assert drawn == [[True, "none", "rgb(236, 236, 231)"], [True, "none", "rgba(0, 0, 0, 0)"]]
    for page, before in ((dark, "dark"), (light, "light")):
        page.click("#theme")
        assert (ground(page) > 200) == (before == "dark")
        page.click("#theme")
        assert (ground(page) > 200) == (before == "light")


def test_a_narrow_window_does_not_scroll_sideways(view, report):
    page = view(report, viewport={"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_audio_plays_from_the_page(view, report):
    page = view(report)
    page.wait_for_function("document.querySelector('#detail audio').readyState >= 1")
    assert page.evaluate("document.querySelector('#detail audio').duration") == pytest.approx(1.0, abs=0.1)


def test_nothing_from_a_run_becomes_markup(view, nasty, tmp_path, no_pictures):
    write_report(nasty, tmp_path / "report.html")
    page = view(tmp_path / "report.html")
    page.focus("#list")
    page.keyboard.press("Enter")
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    assert SCRIPT in page.inner_text("#detail")
    assert page.evaluate("window.pwned") is None
    assert page.locator("#utterances img").count() == 0


def test_a_run_without_utterances(view, tmp_path, straight, no_pictures):
    write_report(straight, tmp_path / "report.html")
    page = view(tmp_path / "report.html")
    assert page.is_visible("#empty")
    assert not page.is_visible("#browser")


def test_several_runs_are_chosen_by_name(view, folder, no_pictures):
    paths = [write_traced(folder / f"seed-{i}", n=3 + i, length=2) for i in (0, 1)]
    write_report(paths, folder / "several.html")
    page = view(folder / "several.html")
    assert page.inner_text("#status").startswith("3 of 3")
    select(page, "#run", label="seed-1")
    assert page.inner_text("#status").startswith("4 of 4")


def test_a_thousand_utterances(view, folder, no_pictures, capsys):
    """The file stays below 15 MB; how soon it is ready is printed, since it depends on the machine."""
    size = write_report(write_traced(folder / "large", n=1000, length=8, k=32), folder / "large.html").size
    assert size < 15_000_000
    page = view(folder / "large.html")
    with capsys.disabled():
        print(f"\n1,000 utterances: {size / 1e6:.1f} MB, ready after {page.get_attribute('html', 'data-ready')} ms")
    assert page.locator(".row").count() < 60  # rows out of view do not exist
    page.focus("#list")
    page.keyboard.press("End")
    assert page.get_attribute("#list", "aria-activedescendant") == "row-999"
    assert page.is_visible("#row-999")
    assert page.get_attribute("#row-999", "aria-posinset") == "1000"


def test_captions_keep_to_a_narrow_window(view, report):
    page = view(report, viewport={"width": 400, "height": 800})
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    wide = page.evaluate("[...document.querySelectorAll('.scroll')].some((one) => one.scrollWidth > 400)")
    ends = page.evaluate(
        "[...document.querySelectorAll('caption')].map((one) => { const range = document.createRange();"
        " range.selectNodeContents(one); return range.getBoundingClientRect().right; })"
    )
    assert wide
    assert len(ends) >= 2
    assert max(ends) <= 400
    assert page.evaluate("document.documentElement.scrollWidth") == 400
