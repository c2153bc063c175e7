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
    (path / "resolved.json").write_text(json.dumps({"schema": 2, "recipe": recipe}), encoding="utf-8")
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


@pytest.mark.parametrize(
    "rates",
    [
        {"wer": {"value": 0.25, "errors": 6, "total": 24}},
        {"wer": {"value": 0.25, "low": None, "high": None, "errors": 6, "total": 24}},
        {"mer": {"value": 0.25, "errors": 6, "total": 24}},
        {"wer": None, "cer": RATE},
        {"cer": RATE},
    ],
    ids=["no interval", "undefined interval", "mixed", "no words", "characters alone"],
)
def test_an_error_rate_may_lack_its_interval_or_not_be_measured(tmp_path, capsys, rates):
    path = write_run(tmp_path / "run", **rates)
    run = load(path)
    value = run.main_evaluations[f"{run.error_rate}.value"].tolist()
    assert value == [0.25] * 4 if "cer" not in rates else all(map(math.isnan, value))
    stage_table(run).to_text()
    for arguments in (["report", path, "--output", tmp_path / "r.md"], ["watch", path, "--once"], ["compare", path]):
        shown(capsys, *arguments)
