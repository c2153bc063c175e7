import base64
import io
import json
import math
import os
import re
import stat
from html.parser import HTMLParser

import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis import load, load_many
from analysis.report import Thresholds, write_report
from analysis.report.pictures import data_uri
from analysis.report.section import section
from analysis.report.staging_study import results_by_start
from tests.analysis.conftest import resolve, write_traces
from tests.analysis.report.conftest import IMAGE, SCRIPT, set_probe, trace_frame, write_traced


class Page(HTMLParser):
    """Tags with their attributes, and the text outside scripts and styles."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.text, self._inside = [], [], []
        self.feed(source)
        self.words = " ".join(" ".join(self.text).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside.append(tag)

    def handle_endtag(self, tag):
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_data(self, data):
        if not self._inside:
            self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(autouse=True)
def no_pictures(request, monkeypatch):
    """Figures take most of the time; those tests that look at them say so."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr("analysis.report.html.pictures", lambda run: [])


@pytest.fixture
def drawn():
    """Figures are drawn."""


@pytest.fixture
def page(tmp_path):
    def write(*runs, **options):
        write_report(list(runs), tmp_path / "report.html", **options)
        return Page((tmp_path / "report.html").read_text(encoding="utf-8"))

    return write


def test_the_page_holds_verdicts_evidence_figures_tables_recipe_and_browser(traced, page):
    for name, value in (("top1_agreement", 0.9), ("student_mass", 0.9), ("teacher_mass", 0.95)):
        set_probe(traced, name, value, step=200)
    found = page(traced)
    assert "Go: ready for OPD" in found.words
    assert "Top-1 agreement" in found.words
    assert "0.900 [0.890, 0.910]" in found.words
    assert "≥ 0.75" in found.words
    assert "paired, 12 utterances" in found.words
    assert results_by_start("top-1") in found.words
    assert "Tokens outside the teacher's set" in found.words
    assert "reading 8" in found.words
    assert '"name": "made up"' in found.words
    assert "seed 3" in found.words
    assert {"list", "detail", "filter", "sort", "color", "checkpoint", "what"} <= {a.get("id") for _, a in found.tags}


def test_the_same_run_gives_the_same_page(traced, tmp_path):
    for name in ("a.html", "b.html"):
        write_report(traced, tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_figures_are_in_the_page(traced, page, drawn):
    found = page(traced)
    images = found.all("img")
    assert len(images) == 9
    assert all(image["src"].startswith("data:image/") and image["alt"] for image in images)
    for title in ("Overlap and error rate through the stages", "VUSS and its parts", "By class of token"):
        assert title in found.words


def test_figures_of_a_run_of_which_little_is_known(traced, page, drawn):
    for file in ("metrics.jsonl", "decisions.jsonl", "evaluations.jsonl", "probes/all.parquet"):
        (traced / file).unlink()
    assert len(page(traced).all("img")) == 1


def test_large_figures_are_stored_as_pixels(monkeypatch):
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([0, 1])
    assert data_uri(figure).startswith("data:image/svg+xml;base64,")
    monkeypatch.setattr("analysis.report.pictures.LARGEST_SVG", 10)
    assert base64.b64decode(data_uri(figure).split(",")[1]).startswith(b"\x89PNG")


def test_the_page_asks_nobody_for_anything(traced, page):
    found = page(traced)
    for tag, attributes in found.tags:
        for name in ("src", "href", "srcset", "data", "action"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:")), (tag, name, value[:60])
    (policy,) = (meta["content"] for meta in found.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_everything_that_comes_from_a_run_is_escaped(nasty, tmp_path):
    write_report(nasty, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "window.pwned" in text
    assert "<script>window" not in text
    assert "<img src=x" not in text
    assert not any(attributes.get("src") == "x" for attributes in Page(text).all("img"))
    closing = len(re.findall("</script", text))
    assert closing == len(re.findall(r"<script[ >]", text))


def test_escaping_in_markdown(nasty, tmp_path):
    write_report(nasty, tmp_path / "report.md")
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    outside = re.sub(r"(`{3,})json.*?\1", "", text, flags=re.S)
    assert not re.search(r"(?<!\\)<(?!/?(details|summary)>)", outside)


def test_markdown_for_pull_requests(traced, tmp_path):
    report = write_report([traced], tmp_path / "report.md")
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert text.startswith("# Support overlap\n\n## traced\n\n**Nothing to advise.** Checked: positions lost, ")
    assert "\n\n**The pair was not ready for OPD after teacher data" in text
    assert "WER fell 50.0 → 15.0 % during on-policy training (on-policy, steps 200 to 300)" in text
    assert "needs a control run without it. Soundness not measured" in text
    assert "| stage | steps | WER % [95 %] |" in text
    assert "<details><summary>Evidence</summary>\n\n| evidence |" in text
    assert "Thresholds are heuristics: top1_agreement 0.45" in text
    assert len(text.encode()) == report.size < 100_000


def test_several_runs(tmp_path, page):
    paths = [write_traced(tmp_path / f"seed-{i}") for i in (0, 1)]
    found = page(*paths)
    assert "2 runs side by side" in found.words
    assert {"run-0", "run-1", "comparison"} <= {attributes.get("id") for attributes in found.all("section")}
    write_report(load_many(paths), tmp_path / "report.md")
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert text.index("## Comparison") < text.index("## seed-0") < text.index("## seed-1")


def test_mixed_error_rates(mixed, page):
    found = page(mixed)
    assert "MER" in found.words
    assert "WER" not in found.words.replace("MER or WER", "")


def test_a_run_that_has_only_begun(make_run, page):
    path = make_run([("base", (0,), "stay")], evaluated=False)
    with (path / "metrics.jsonl").open("a", encoding="utf-8") as log:
        log.write('{"step": 1, "sta')
    found = page(path)
    assert "still running" in found.words
    assert "so far" in found.words
    assert "No evaluations" in found.words
    assert "No traces" in found.words


@pytest.mark.parametrize("file", ["metrics.jsonl", "decisions.jsonl", "evaluations.jsonl", "probes/all.parquet"])
def test_runs_without_a_file(traced, tmp_path, file):
    (traced / file).unlink()
    assert write_report(traced, tmp_path / "report.md").size
    assert write_report(traced, tmp_path / "report.html").size


def test_a_run_of_nothing_but_its_recipe(traced, page):
    for file in ("metrics.jsonl", "decisions.jsonl", "evaluations.jsonl", "probes/all.parquet"):
        (traced / file).unlink()
    found = page(traced)
    assert "No stage can be judged yet: decisions.jsonl has no gate readings." in found.words
    assert "No gate has read anything yet." in found.words


def missing(path):
    return section("run", load(path), Thresholds()).missing


def test_what_is_missing_is_named_with_its_remedy(traced):
    assert missing(traced) == ()
    probes = traced / "probes/all.parquet"
    kept = probes.read_bytes()
    probes.unlink()
    (note,) = missing(traced)
    assert note.startswith("No probes: probes/ is missing or empty, although the run was probed")
    assert "copy it from where the run was made" in note
    once = pd.read_parquet(io.BytesIO(kept)).drop_duplicates(["visit", "states", "statistic"])
    once.assign(step=7).to_parquet(probes)
    (note,) = missing(traced)
    assert note.startswith("No traces: traces/ does not belong to the probes in probes/; copy both")
    probes.write_bytes(kept)
    for file in (traced / "traces").glob("*.parquet"):
        file.unlink()
    assert missing(traced) == (
        "No traces: set trace_utterances above 0 in the recipe's [probe] to browse utterances token by token.",
    )
    resolve(traced, probe={"trace_utterances": 16})
    (note,) = missing(traced)
    assert "traces/ is missing or empty, but the recipe has trace_utterances = 16; copy it" in note
    (traced / "decisions.jsonl").unlink()
    probes.unlink()
    assert "No traces yet: they are written with the first probe of a stage." in missing(traced)
    assert "No probes yet: overlap is measured at the first step of a stage." in missing(traced)


@pytest.mark.filterwarnings("error")
def test_infinite_ends(traced, page, drawn):
    for name, value in (("top1_agreement", 0.9), ("student_mass", 0.9), ("teacher_mass", 0.9)):
        set_probe(traced, name, value, half=math.inf)
    for file in (traced / "transcripts").glob("*"):
        file.unlink()
    log = traced / "evaluations.jsonl"
    log.write_text(re.sub(r'"high": [0-9.]+', '"high": Infinity', log.read_text()))
    found = page(traced)
    assert "0.900 [−∞, ∞]" in found.words
    assert "40.0 % [38.0, ∞], 95 % over 120 utterances" in found.words
    assert not re.search(r"\binf\b|nan", found.words)
    report = write_report(traced, traced / "report.md")
    tree = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert tree["runs"][0]["stages"][1]["errors"]["after"]["high"] == "inf"


def test_one_utterance(tmp_path, page):
    assert "n utterances" in page(write_traced(tmp_path / "one", n=1, length=1)).words


def test_traces_without_candidates(straight, page):
    write_traces(straight, 300, "on-policy", {"a": 3})
    assert page(straight).all("script")


def test_an_output_that_is_there_is_replaced_whole(traced, tmp_path, monkeypatch):
    output = tmp_path / "report.md"
    output.write_text("old")
    monkeypatch.setattr("pathlib.Path.write_bytes", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_report(traced, output)
    assert output.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["report.md"]
    monkeypatch.undo()
    write_report(traced, output)
    assert output.read_text().startswith("# Support overlap")
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(output.stat().st_mode) == 0o666 & ~mask


def test_wrong_outputs(traced, tmp_path):
    with pytest.raises(ValueError, match=r"report\.pdf: a report is HTML or Markdown; .*ends in \.html or \.md"):
        write_report(traced, tmp_path / "report.pdf")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(ValueError, match="is a directory; give a file"):
        write_report(traced, tmp_path / "folder.html")
    with pytest.raises(FileNotFoundError, match="does not exist; create it"):
        write_report(traced, tmp_path / "nowhere" / "report.html")
    with pytest.raises(FileNotFoundError, match="holds no run"):
        write_report(tmp_path, tmp_path / "report.html")
    with pytest.raises(ValueError, match="no runs to load"):
        write_report([], tmp_path / "report.html")


def test_what_machines_read(traced, tmp_path):
    set_probe(traced, "top1_agreement", math.nan, step=200, half=math.nan)
    report = write_report(traced, tmp_path / "report.md", thresholds=Thresholds(repetition=2.5))
    tree = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert tree["output"] == str(tmp_path / "report.md")
    stages = tree["runs"][0]["stages"]
    assert [stage["recommendation"] for stage in stages][:2] == ["wait", "unknown"]
    assert any(row["threshold"] == "≤ 2.50" for row in stages[0]["evidence"])
    assert str(report).endswith("MB)")


def test_names_of_manifests_and_models_are_there(traced, page):
    resolve(traced, manifest_sha256={"probe.jsonl": "ab" * 32}, student={"model": IMAGE}, name=SCRIPT)
    words = page(traced).words
    assert "SHA-256 of probe.jsonl" in words
    assert "ab" * 32 in words


def test_what_stages_did_on_the_same_rollouts(tmp_path):
    path = write_traced(tmp_path / "run", states=("fixed",))
    write_report(path, tmp_path / "report.md")
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "Change of overlap over each stage on the same rollouts" in text
    before, after = (
        trace_frame(step, "on-policy", "fixed", 12, 6, 4, seed=step)["student_mass"] for step in (200, 300)
    )
    change = pd.concat(map(pd.Series, after)).mean() - pd.concat(map(pd.Series, before)).mean()
    (row,) = (line for line in text.splitlines() if line.split("|")[3:4] == [" student_mass "])
    assert float(row.split("|")[6].split()[0].replace("−", "-")) == pytest.approx(change, abs=5e-3)


def test_tokens_outside_the_teachers_set(traced, page):
    words = page(traced).words
    frame = trace_frame(300, "on-policy", "student", 12, 6, 4, seed=300)
    outside = pd.concat([pd.Series(rank > 4) for rank in frame["teacher_rank"]])
    assert f"{100 * outside.mean():.1f} [" in words
