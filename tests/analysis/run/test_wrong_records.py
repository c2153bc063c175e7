"""Run directories with as little as RUN_DIRECTORY.md asks for, and with records that it does not allow."""

import contextlib
import json
import math
import re

import pandas as pd
import pytest

from analysis import compare, load, load_many, stage_table
from analysis.report import write_report
from distill.cli import main
from overlap.errors import UserError
from overlap.version import SCHEMA
from tests.analysis.run.test_probe_output import readings

RATE = {"value": 0.25, "low": 0.1, "high": 0.4, "errors": 6, "total": 24}


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def rows_of(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def evaluation(step, visit, stage, model="student", **rates):
    row = {"step": step, "visit": visit, "stage": stage, "set": "calls", "model": model}
    return row | {"normalizer": "lower", "normalizer_version": "7", "n_utterances": 8, "transcripts": None} | rates


def write_run(path, **rates):
    """A run of two stages, with the fields that the page requires and no others."""
    (path / "probes").mkdir(parents=True)
    stages = [{"name": "labels", "type": "sft"}, {"name": "rollouts", "type": "opd"}]
    recipe = {"name": "theirs", "stages": stages, "support": {"k": 4, "temperature": 1.0}}
    (path / "resolved.json").write_text(json.dumps({"schema": SCHEMA, "recipe": recipe}), encoding="utf-8")
    first = {"visit": 0, "stage": "labels", "type": "sft", "first_step": 0, "started_from": "model"}
    second = {"visit": 1, "stage": "rollouts", "type": "opd", "first_step": 2, "started_from": "previous"}
    none, before = {"source_visit": None, "source_step": None}, {"source_visit": 0, "source_step": 2}
    lines(path / "visits.jsonl", [first | none, second | before])
    level = {"statistic": "top1_agreement", "states": "student", "side": "at_least", "level": 0.5, "bound": 0.4}
    names = ("step", "visit", "stage", "stage_step", "gate", "decision", "outcome", "reason", "levels")
    left = (2, 0, "labels", 2, "threshold", "advance", None, "reached", [level | {"satisfied": True}])
    end = (4, 1, "rollouts", 2, "run", "end", "finished", "its time is over", [])
    lines(path / "decisions.jsonl", [dict(zip(names, row, strict=True)) for row in (left, end)])
    places = [(1, 0, "labels", 1), (2, 0, "labels", 2), (3, 1, "rollouts", 1), (4, 1, "rollouts", 2)]
    lines(
        path / "metrics.jsonl",
        [dict(zip(names[:4], place, strict=True)) | {"loss": 3.0 / place[0]} for place in places],
    )
    rates = rates or {"wer": RATE}
    ends = [(0, 0, "labels"), (2, 0, "labels"), (4, 1, "rollouts")]
    evaluations = [evaluation(*place, **rates) for place in ends]
    lines(path / "evaluations.jsonl", [evaluation(0, 0, "labels", "teacher", **rates), *evaluations])
    about = {"standard_error": 0.01, "low": 0.4, "high": 0.6, "n_positions": 32, "n_groups": 8, "n_undefined": 0}
    for number, place in enumerate(ends):
        row = dict(zip(names[:3], place, strict=True)) | {"states": "student", "statistic": "top1_agreement"}
        pd.DataFrame([row | {"value": 0.5} | about]).to_parquet(path / "probes" / f"{number}.parquet")
    return path


@pytest.fixture
def small(tmp_path):
    return write_run(tmp_path / "small")


def change(path, at, **fields):
    """Fields of a row of a log, from 0."""
    rows = rows_of(path)
    rows[at] |= fields
    lines(path, rows)


def shown(capsys, *arguments):
    """What a command prints; it must not fail."""
    with contextlib.suppress(SystemExit):
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert not err
    return out


def test_character_errors_may_be_absent(small, tmp_path):
    """As the page says: an evaluation has `wer` or `mer`, and `cer` is optional."""
    other = write_run(tmp_path / "other")
    table = compare(load_many([small, other])).error_rates.frame
    assert table.loc[table["model"] == "teacher", "value"].tolist() == [0.25]
    write_report([small, other], tmp_path / "report.md")
    tree = json.loads((other / "resolved.json").read_text("utf-8"))
    (other / "resolved.json").write_text(json.dumps(tree | {"recipe": tree["recipe"] | {"name": "ours"}}), "utf-8")
    worse = evaluation(0, 0, "labels", "teacher", wer=RATE | {"errors": 12, "value": 0.5})
    lines(other / "evaluations.jsonl", [worse, *rows_of(other / "evaluations.jsonl")[1:]])
    table = compare(load_many([small, other])).error_rates.frame
    assert table.loc[table["model"] == "teacher", "value"].tolist() == [0.25, 0.5]


def test_stages_may_have_their_names_and_types_alone(small, capsys):
    out = shown(capsys, "watch", small, "--once")
    assert "stage 2 of 2" in out
    assert "2 · run 4 steps" in out


@pytest.mark.parametrize("steps", [0, 4], ids=["between steps", "after a step"])
def test_the_view_takes_stages_that_the_recipe_lacks(small, capsys, steps):
    """Only `visits.jsonl` must name the recipe's stages; its visit says where a row belongs."""
    for at, log in ((1, "decisions"), (3, "metrics")):
        change(small / f"{log}.jsonl", at, stage="theirs")
    if not steps:
        (small / "metrics.jsonl").unlink()
    else:
        lines(small / "decisions.jsonl", rows_of(small / "decisions.jsonl")[:1])
    assert "stage 2 of 2" in shown(capsys, "watch", small, "--once")
    (small / "visits.jsonl").unlink()
    assert "stage 1 of 2" in shown(capsys, "watch", small, "--once")


def test_the_view_needs_a_stage(small, capsys):
    (small / "visits.jsonl").unlink()
    resolved(lambda tree: tree["recipe"].update(stages=[]))(small)
    with pytest.raises(SystemExit):
        main(["watch", str(small), "--once"])
    assert "field `recipe.stages` is empty; write it as" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    "rates",
    [
        {"wer": {"value": 0.25, "errors": 6, "total": 24}},
        {"wer": {"value": 0.25, "low": None, "high": None, "errors": 6, "total": 24}},
        {"mer": {"value": 0.25, "errors": 6, "total": 24}},
        {"wer": None, "cer": RATE},
    ],
    ids=["no interval", "undefined interval", "mixed", "no words"],
)
def test_an_error_rate_may_lack_its_interval_or_not_be_measured(tmp_path, capsys, rates):
    path = write_run(tmp_path / "run", **rates)
    run = load(path)
    value = run.main_evaluations[f"{run.error_rate}.value"].tolist()
    assert value == [0.25] * 4 if "cer" not in rates else all(map(math.isnan, value))
    stage_table(run).to_text()
    for arguments in (["report", path, "--output", tmp_path / "r.md"], ["watch", path, "--once"], ["compare", path]):
        shown(capsys, *arguments)


def resolved(edit):
    def apply(path):
        tree = json.loads((path / "resolved.json").read_text("utf-8"))
        edit(tree)
        (path / "resolved.json").write_text(json.dumps(tree), "utf-8")

    return apply


def log(name, at, **fields):
    return lambda path: change(path / f"{name}.jsonl", at, **fields)


def level(**fields):
    whole = {"statistic": "x", "states": None, "side": "at_least", "level": 1.0, "bound": None, "satisfied": True}
    return {name: value for name, value in (whole | fields).items() if value != "gone"}


def table(pattern, **columns):
    def apply(path):
        (file, *_) = sorted(path.glob(pattern))
        pd.read_parquet(file).assign(**columns).to_parquet(file)

    return apply


WRONG = [
    (resolved(lambda tree: tree["recipe"].pop("name")), "resolved.json: field `recipe.name` is missing"),
    (resolved(lambda tree: tree["recipe"].pop("support")), "resolved.json: field `recipe.support` is missing"),
    (resolved(lambda tree: tree["recipe"]["support"].pop("temperature")), "`recipe.support.temperature` is missing"),
    (resolved(lambda tree: tree["recipe"]["support"].update(k="8")), "`recipe.support.k` is the text '8'; expected an"),
    (
        resolved(lambda tree: tree["recipe"].update(stages=["a"])),
        "`recipe.stages` is a list with the text 'a' as item 0",
    ),
    (resolved(lambda tree: tree["recipe"]["stages"][1].pop("type")), "field `recipe.stages[1].type` is missing"),
    (resolved(lambda tree: tree["recipe"]["stages"][0].pop("name")), "field `recipe.stages[0].name` is missing"),
    (resolved(lambda tree: tree.update(recipe=None)), "field `recipe` is null; expected an object"),
    (resolved(lambda tree: tree.update(seed="abc")), "field `seed` is the text 'abc'; expected an integer"),
    (resolved(lambda tree: tree.update(versions=["x"])), "field `versions` is a list; expected an object"),
    (resolved(lambda tree: tree.update(schema="2")), "its schema is the text '2'; expected the number 3"),
    (log("visits", 0, visit="zero"), "visits.jsonl, line 1: field `visit` is the text 'zero'; expected an integer"),
    (log("visits", 1, first_step=None), "visits.jsonl, line 2: field `first_step` is null; expected an integer"),
    (log("visits", 0, type="rlhf"), "field `type` is the text 'rlhf'; expected one of `sft`, `td`, `opd`"),
    (log("visits", 0, type="td"), "field `type` is `td`, but stage 'labels' of the recipe is `sft`"),
    (
        log("visits", 0, stage="elsewhere"),
        "line 1: field `stage` is 'elsewhere'; the recipe's stages are 'labels', 'ro",
    ),
    (log("visits", 1, started_from="moon"), "field `started_from` is the text 'moon'; expected one of `model`"),
    (log("visits", 1, visit=0), "visits.jsonl, line 2: field `visit` is 0, as of an earlier line"),
    (log("visits", 1, source_visit="a"), "field `source_visit` is the text 'a'; expected an integer or null"),
    (log("visits", 1, source_visit=99), "line 2: field `source_visit` is 99, which is no earlier visit"),
    (log("decisions", 0, step="four"), "decisions.jsonl, line 1: field `step` is the text 'four'; expected an integer"),
    (log("decisions", 0, levels=None), "field `levels` is null; expected a list of objects"),
    (log("decisions", 0, levels=["x"]), "field `levels` is a list with the text 'x' as item 0; expected a list of obj"),
    (log("decisions", 0, levels=[level(level="gone")]), "field `levels[0].level` is missing"),
    (log("decisions", 0, levels=[level(bound="x")]), "field `levels[0].bound` is the text 'x'; expected a number or"),
    (log("decisions", 0, levels=[level(side="near")]), "field `levels[0].side` is the text 'near'; expected one of"),
    (log("decisions", 0, decision="leave"), "field `decision` is the text 'leave'; expected one of `stay`, `advance`"),
    (log("decisions", 0, reason=["x"]), "field `reason` is a list; expected a text"),
    (
        log("decisions", 1, outcome="crashed"),
        "line 2: field `outcome` is the text 'crashed'; expected one of `finished`",
    ),
    (log("decisions", 1, outcome=None), "line 2: field `outcome` is null; an `end` says how the run ended"),
    (log("evaluations", 1, wer=0.3), "evaluations.jsonl, line 2: field `wer` is 0.3; expected an object"),
    (log("evaluations", 1, wer=RATE | {"value": "bad"}), "field `wer.value` is the text 'bad'; expected a number or"),
    (log("evaluations", 1, wer={"value": 0.3}), "field `wer.errors` is missing; a rate has `value`, `errors`, `total`"),
    (log("evaluations", 1, model="pupil"), "field `model` is the text 'pupil'; expected one of `student`, `teacher`"),
    (log("evaluations", 1, transcripts=3), "field `transcripts` is 3; expected a text or null"),
    (log("metrics", 2, loss="bad"), "metrics.jsonl, line 3: field `loss` is the text 'bad'; expected a number or null"),
    (log("metrics", 2, loss={"a": 1}), "metrics.jsonl, line 3: field `loss` is an object; expected a number or null"),
    (log("metrics", 2, overlap="x"), "metrics.jsonl, line 3: field `overlap` is the text 'x'; expected an object"),
    (log("metrics", 2, overlap={"a": "x"}), "metrics.jsonl, line 3: field `overlap.a` is the text 'x'; expected a num"),
    (table("probes/*", value="x"), "probes/0.parquet, row 1: field `value` is the text 'x'; expected a number"),
    (table("probes/*", step="x"), "probes/0.parquet, row 1: field `step` is the text 'x'; expected an integer"),
    (table("probes/*", n_groups=None), "probes/0.parquet, row 1: field `n_groups` is null; expected an integer"),
    (log("metrics", 3, visit=7), "metrics.jsonl, line 4: field `visit` is 7; the visits in visits.jsonl are 0, 1"),
    (log("decisions", 1, visit=2), "decisions.jsonl, line 2: field `visit` is 2; the visits in visits.jsonl are 0, 1"),
    (log("evaluations", 3, visit=2), "evaluations.jsonl, line 4: field `visit` is 2; the visits in visits.jsonl are"),
    (table("probes/*", visit=5), "probes/0.parquet, row 1: field `visit` is 5; the visits in visits.jsonl are 0, 1"),
]


@pytest.mark.parametrize(("edit", "said"), WRONG, ids=[said for _, said in WRONG])
def test_wrong_records_are_refused_where_they_are_read(small, edit, said):
    edit(small)
    with pytest.raises(UserError, match=re.escape(said)) as error:
        load(small)
    assert str(small) in str(error.value)
    assert "\n" not in str(error.value)
    assert "write it as RUN_DIRECTORY.md says, or restore the file from a copy" in str(error.value)


@pytest.mark.parametrize("log", ["visits", "metrics", "decisions", "evaluations"])
def test_a_log_that_is_a_folder(small, log):
    (small / f"{log}.jsonl").unlink()
    (small / f"{log}.jsonl").mkdir()
    said = rf"{log}\.jsonl: is a folder; write it as RUN_DIRECTORY\.md says, or restore the file from a copy$"
    with pytest.raises(UserError, match=said):
        load(small)


def test_every_command_refuses_them(small, capsys):
    change(small / "decisions.jsonl", 0, levels=None)
    for arguments in (["report", small, "--output", small / "r.md"], ["watch", small, "--once"], ["compare", small]):
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        assert ended.value.code == 1
        assert "decisions.jsonl, line 1: field `levels` is null" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("\n", "decisions.jsonl, line 2: the line is empty; delete it"),
        ("{\n", "decisions.jsonl, line 2: not JSON ("),
        ("{\n", "; restore the file from a copy, or delete the line"),
    ],
)
def test_a_line_that_is_none_is_named(small, line, said):
    log = small / "decisions.jsonl"
    rows = log.read_text("utf-8").splitlines(keepends=True)
    log.write_text("".join([rows[0], line, *rows[1:]]), "utf-8")
    with pytest.raises(UserError, match=re.escape(said)):
        load(small)


def test_missing_visits_are_said_to_be_missing(small, tmp_path):
    (small / "visits.jsonl").unlink()
    report = write_report(small, tmp_path / "report.md")
    assert "visits.jsonl is missing" in report.sections[0].headline
    assert "no gate readings" not in (tmp_path / "report.md").read_text("utf-8")


def test_an_open_visit_may_have_no_rows_yet_and_an_opening_evaluation_no_visit(small):
    lines(small / "visits.jsonl", rows_of(small / "visits.jsonl")[:1])
    for name in ("metrics", "decisions", "evaluations"):
        lines(small / f"{name}.jsonl", [row for row in rows_of(small / f"{name}.jsonl") if row["visit"] == 0])
    (small / "probes/2.parquet").unlink()
    load(small)
    with (small / "visits.jsonl").open("w") as file:
        file.write('{"visit": 0, "sta')  # being written
    load(small)


def test_the_steps_of_on_policy_stages_are_known_without_visits(small):
    for step in range(4):
        sizes = {"union_size": 5.0 + step, "student_size": 4.0, "teacher_size": 4.0, "intersection_size": 2.0}
        change(small / "metrics.jsonl", step, overlap=sizes)
    before = compare(load_many([small])).vuss.frame
    assert before["vuss"].tolist() == [7.5]
    (small / "visits.jsonl").unlink()
    pd.testing.assert_frame_equal(compare(load_many([small])).vuss.frame, before)


@pytest.mark.parametrize("steps", [[0], [0, 1, 2, 3]], ids=["first", "all"])
def test_an_infinite_loss_is_a_number(small, capsys, steps):
    for step in steps:
        change(small / "metrics.jsonl", step, loss="inf")
    loss = load(small).metrics["loss"]
    assert loss.dtype == "float64"
    assert loss[0] == math.inf
    (line,) = [line for line in shown(capsys, "watch", small, "--once").splitlines() if line.startswith("loss")]
    assert "█" in line
    assert "∞" in line or "inf" in line


def test_a_trace_of_a_run_is_not_a_probe(small, capsys):
    (small / "traces").mkdir()
    file = small / "traces" / "0.parquet"
    row = {"step": 0, "visit": 0, "stage": "labels", "id": "a", "states": "fixed", "k": 4, "temperature": 1.0}
    row |= {"text": "two", "reference": "two", "token_ids": [1], "tokens": ["two"], "token_bytes": [b"two"]}
    pd.DataFrame([row | {"used": [True], "finished": True}]).to_parquet(file)
    for arguments in (["report", file, "--output", small / "r.md"], ["watch", file, "--once"], ["compare", file]):
        with pytest.raises(SystemExit):
            main([str(argument) for argument in arguments])
        assert f"0.parquet: a trace of a run; give the run, {small}" in " ".join(capsys.readouterr().err.split("\n"))
    probe = small.parent / "probe.parquet"
    traces = pd.read_parquet(file).drop(columns=["step", "visit", "stage"])
    traces.attrs["probe"] = {"schema": SCHEMA, "n_utterances": 1, "tables": {"probes": readings(1)}}
    traces.to_parquet(probe)
    words = compare(load_many([small, probe])).to_text()
    assert "Still running" not in words
    assert "Probes, which have no error rates: probe.parquet." in words


def test_counts_are_of_the_transcripts_wherever_they_are_shown(small, capsys):
    """An evaluation says 6 of 24; its transcripts hold 8 of 16."""
    (small / "transcripts").mkdir()
    about = {"reference": "two five", "text": "two nine", "seconds": 1.0, "language": None, "speaker": None}
    counted = {"words.errors": 1, "words.total": 2, "characters.errors": 3, "characters.total": 7}
    rows = [{"id": f"call-{i}"} | about | counted for i in range(8)]
    for at in range(4):
        pd.DataFrame(rows).to_parquet(small / "transcripts" / f"{at}.parquet")
        change(small / "evaluations.jsonl", at, transcripts=f"transcripts/{at}.parquet")
    out = shown(capsys, "watch", small, "--once")
    assert "8/16 words" in out
    assert "6/24" not in out
    assert "50.0 → 50.0 %" in out
