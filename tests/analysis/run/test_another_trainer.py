"""A run directory written by hand, as a trainer of another kind would from RUN_DIRECTORY.md alone."""

import json
import math

import pandas as pd
import pytest

from analysis import compare, gate_readings, load, load_many, stage_table
from analysis.figures import overlap_over_training, strata, wer_against_overlap
from analysis.inference import stage_changes
from analysis.report import write_report
from overlap.errors import UserError
from overlap.version import SCHEMA, __version__

UTTERANCES = {f"call-{i}": ("call two five", "call two five" if i % 3 else "call two nine") for i in range(8)}
SPELLED = [b"call", b" two", b" five", None]


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def probe(step, visit, stage, value):
    counts = {"n_positions": 32, "n_groups": 8, "n_undefined": 0}
    row = {"step": step, "visit": visit, "stage": stage, "states": "student", "standard_error": 0.01}
    values = {"union_size": 8 - 4 * value, "top1_agreement": value}
    return [
        row | {"statistic": name, "value": v, "low": v - 0.02, "high": v + 0.02} | counts for name, v in values.items()
    ]


def trace(step, visit, stage, value):
    for name, (reference, text) in UTTERANCES.items():
        row = {"step": step, "visit": visit, "stage": stage, "id": name, "states": "fixed", "k": 4, "temperature": 1.0}
        row |= {"text": text, "reference": reference, "finished": True, "used": [True] * 4, "token_ids": [5, 6, 7, 1]}
        row |= {"tokens": ["w5", "w6", "w7", "END"], "token_bytes": SPELLED}
        yield row | {"union_size": [value + i / 10 for i in range(4)], "total_variation": [value / 10] * 4}


def transcript(wrong):
    for number, (name, (reference, text)) in enumerate(UTTERANCES.items()):
        row = {"id": name, "reference": reference, "text": text, "seconds": 1.5, "language": None, "speaker": None}
        errors = int(number < wrong)
        yield row | {"words.errors": errors, "words.total": 3, "characters.errors": errors, "characters.total": 12}


@pytest.fixture
def foreign(tmp_path):
    """Two stages of a trainer that switches by the clock."""
    path = tmp_path / "theirs"
    for folder in ("probes", "traces", "transcripts"):
        (path / folder).mkdir(parents=True)
    stages = [{"name": "labels", "type": "sft"}, {"name": "rollouts", "type": "opd"}]
    recipe = {"name": "theirs", "stages": stages, "support": {"k": 4, "temperature": 1.0}}
    (path / "resolved.json").write_text(json.dumps({"schema": SCHEMA, "recipe": recipe}), encoding="utf-8")
    first = {"visit": 0, "stage": "labels", "type": "sft", "first_step": 0, "started_from": "model"}
    second = {"visit": 1, "stage": "rollouts", "type": "opd", "first_step": 20, "started_from": "previous"}
    none, before = {"source_visit": None, "source_step": None}, {"source_visit": 0, "source_step": 20}
    lines(path / "visits.jsonl", [first | none, second | before])
    places = [(20, 0, "labels", 20, "advance", None), (50, 1, "rollouts", 30, "end", "finished")]
    names = ("step", "visit", "stage", "stage_step", "decision", "outcome")
    more = {"gate": "clock", "reason": "its time is over", "levels": []}
    lines(path / "decisions.jsonl", [dict(zip(names, place, strict=True)) | more for place in places])
    evaluations = []
    for number, (step, visit, stage, wrong) in enumerate(
        [(0, 0, "labels", 7), (20, 0, "labels", 5), (50, 1, "rollouts", 2)]
    ):
        file = f"transcripts/{number}.parquet"
        pd.DataFrame(list(transcript(wrong))).to_parquet(path / file)
        rate = {"value": wrong / 24, "low": 0.0, "high": 1.0, "errors": wrong, "total": 24}
        row = {"step": step, "visit": visit, "stage": stage, "set": "calls", "model": "student", "wer": rate}
        about = {"normalizer": "lower", "normalizer_version": "7", "n_utterances": 8, "transcripts": file}
        evaluations.append(row | about)
    lines(path / "evaluations.jsonl", evaluations)
    for number, place in enumerate([(0, 0, "labels", 0.2), (20, 0, "labels", 0.6), (50, 1, "rollouts", 0.9)]):
        pd.DataFrame(probe(*place)).to_parquet(path / "probes" / f"{number}.parquet")
        pd.DataFrame(list(trace(*place))).to_parquet(path / "traces" / f"{number}.parquet")
    return path


def drawn(panels):
    """All points of the lines on panels."""
    return {(step, round(value, 6)) for panel in panels for line in panel.lines for step, value in line.get_xydata()}


def test_tables_know_its_stages(foreign):
    run = load(foreign)
    assert [(visit.stage, visit.kind, visit.first_step, visit.last_step) for visit in run.visits] == [
        ("labels", "sft", 0, 20),
        ("rollouts", "opd", 20, 50),
    ]
    frame = stage_table(run).frame
    assert frame["wer"].tolist() == [5 / 24, 2 / 24]
    assert frame["top1_agreement"].tolist() == [0.6, 0.9]
    assert "rollouts, steps 20 to 50, finished: its time is over" in stage_table(run).to_text()
    assert compare(load_many([foreign])).frame["outcome"].tolist() == ["finished"]
    assert gate_readings(run).empty


def test_the_report_has_verdicts_figures_and_tokens(foreign, tmp_path):
    report = write_report(foreign, tmp_path / "report.html")
    (section,) = report.sections
    assert [one.stage for one in section.verdicts] == ["labels", "rollouts"]
    assert section.verdicts[1].errors.paired
    assert section.state == "finished: its time is over"
    assert (tmp_path / "report.html").read_text(encoding="utf-8").count("data:image") >= 3
    write_report(foreign, tmp_path / "report.md")
    page = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "5 of 24" in page or "20.8" in page


def test_figures_and_inference_take_it(foreign):
    run = load(foreign)
    assert drawn(overlap_over_training(run)) >= {(0, 0.2), (20, 0.6), (50, 0.9)}
    assert wer_against_overlap(run).lines
    changes = stage_changes(run, statistics=["union_size"]).frame
    assert changes["change"].tolist() == pytest.approx([0.4, 0.3])  # traced at the start of the run and at both ends
    labels = [label.get_text() for label in strata(run, statistic="union_size", states="fixed").get_yticklabels()]
    assert "end of text" in labels


def test_a_run_that_does_not_know_its_stages_is_drawn_all_the_same(foreign, tmp_path):
    (foreign / "visits.jsonl").unlink()
    (foreign / "decisions.jsonl").unlink()
    run = load(foreign)
    assert run.visits == ()
    assert wer_against_overlap(run).lines
    assert drawn(overlap_over_training(run)) >= {(0, 0.2), (20, 0.6), (50, 0.9)}
    write_report(foreign, tmp_path / "report.md")
    assert "No stage can be judged yet" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_it_may_hold_its_overlap_alone(foreign):
    for name in ("metrics", "evaluations"):
        (foreign / f"{name}.jsonl").unlink(missing_ok=True)
    frame = stage_table(load(foreign)).frame
    assert frame["wer"].map(math.isnan).all()
    assert frame["union_size"].tolist() == pytest.approx([8 - 4 * 0.6, 8 - 4 * 0.9])


@pytest.mark.parametrize(
    ("change", "said", "remedy"),
    [
        ({"schema": None}, "of an unknown version before files had a schema version", "the commit that wrote it"),
        ({"versions": {"support-overlap": __version__}, "schema": 1}, "in schema 1", "the commit that wrote it"),
        ({"schema": 9, "versions": {"support-overlap": "7.1"}}, "7.1 in schema 9", "use support-overlap 7.1"),
    ],
)
def test_another_schema_is_refused_in_one_line(foreign, change, said, remedy):
    tree = json.loads((foreign / "resolved.json").read_text()) | change
    tree = {key: value for key, value in tree.items() if value is not None}
    (foreign / "resolved.json").write_text(json.dumps(tree))
    for read in (load, lambda path: load_many([path]), lambda path: write_report(path, foreign.parent / "report.md")):
        with pytest.raises(ValueError, match=said) as error:
            read(foreign)
        assert str(error.value).startswith(f"{foreign}: written by support-overlap ")
        assert "this version reads schema 3. Make the run again, or " in str(error.value)
        assert remedy in str(error.value)


@pytest.mark.parametrize("support", [None, {}, {"temperature": 1.0}])
def test_a_recipe_without_the_size_of_the_sets_is_refused_in_one_line(foreign, support):
    resolved = json.loads((foreign / "resolved.json").read_text(encoding="utf-8"))
    resolved["recipe"].pop("support")
    if support is not None:
        resolved["recipe"]["support"] = support
    (foreign / "resolved.json").write_text(json.dumps(resolved), encoding="utf-8")
    with pytest.raises(UserError, match=r"resolved\.json: field `recipe\.support(\.k)?` is missing; write it"):
        load(foreign)


def test_a_report_needs_no_more_than_a_resolved_recipe(foreign, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "resolved.json").write_bytes((foreign / "resolved.json").read_bytes())
    report = write_report([bare], tmp_path / "report.md")
    assert "No stage can be judged yet" in str(report)
    said = report.path.read_text(encoding="utf-8")
    assert all(words in said for words in ("No probes", "decisions.jsonl"))


def test_a_stage_without_a_gate_was_not_left_with_its_gate_shut(foreign, tmp_path):
    """As the page says that a trainer without gates writes it: `exhausted` where no gate was read."""
    rows = [json.loads(line) for line in (foreign / "decisions.jsonl").read_text("utf-8").splitlines()]
    lines(foreign / "decisions.jsonl", [rows[0] | {"gate": "exhausted"}, rows[1] | {"gate": "run"}])
    assert "labels, steps 0 to 20, left: its time is over" in stage_table(load(foreign)).to_text()
    report = write_report(foreign, tmp_path / "report.md")
    assert report.sections[0].verdicts[0].gate == "The stage was left at step 20: its time is over"
    said = report.path.read_text("utf-8")
    assert "gate shut" not in said
    assert "The gate advanced" not in said
