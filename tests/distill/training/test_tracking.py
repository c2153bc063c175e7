"""Copies of a run, read back without our code and compared with the run directory."""

import json
import math
import sqlite3
import struct
import sys
from collections.abc import Iterator

import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from distill import Observer, resume, train
from distill.recipe import Recipe, RecipeError, load_recipe
from distill.training import tracking
from overlap.extras import MissingExtraError
from tests.distill.test_cli import as_toml
from tests.distill.test_cli import run as command

TRACKERS = ("tensorboard", "wandb", "trackio")
Points = dict[str, list[tuple[int, float]]]
"""(step, number) by name, in order."""


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    for name, value in {"MODE": "offline", "SILENT": "true", "ERROR_REPORTING": "false"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)


class _Interrupt(Observer):
    def step(self, row) -> None:
        if row["step"] == 7:
            raise KeyboardInterrupt


def logged(run, log) -> list[dict]:
    return [json.loads(line) for line in (run / f"{log}.jsonl").read_text().splitlines()]


def expected(run) -> Points:
    """Some names of every log, put together from the files."""
    points: Points = {}

    def add(name, row, number):
        if number is not None and not math.isnan(number):
            points.setdefault(name, []).append((row["step"], pytest.approx(number, rel=1e-5)))

    for row in logged(run, "metrics"):
        for name in ("loss", "lr", "gradient_norm"):
            add(f"train/{name}", row, row[name])
        add("train/overlap/union_size", row, row.get("overlap", {}).get("union_size"))
        add("train/funnel/used", row, row.get("funnel", {}).get("used"))
    for row in pd.read_parquet(run / "probes").to_dict("records"):
        if row["statistic"] in ("union_size", "funnel.used"):
            for end in ("value", "low", "high"):
                add(f"probe/{row['states']}/{row['statistic']}/{end}", row, row[end])
    for row in logged(run, "evaluations"):
        for end in ("value", "low", "high"):
            add(f"evaluation/test/{row['model']}/wer/{end}", row, row["wer"][end])
    return points


def expected_words(run) -> set[tuple[str, int, str]]:
    return {
        (
            f"decisions/{row['stage']}/{row['decision']}",
            row["step"],
            ": ".join(filter(None, (row["gate"], row["outcome"], row["reason"]))),
        )
        for row in logged(run, "decisions")
    }


def of_tensorboard(run) -> tuple[Points, set]:
    """With TensorBoard's own reader, which forgets what a restart makes obsolete."""
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0, "tensors": 0}).Reload()
    tags = events.Tags()
    numbers = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags["scalars"]}
    words = {
        (tag.removesuffix("/text_summary"), event.step, event.tensor_proto.string_val[0].decode())
        for tag in tags["tensors"]
        for event in events.Tensors(tag)
    }
    return numbers, words


def of_rows(rows) -> tuple[Points, set]:
    numbers: Points = {}
    words = set()
    for step, values in rows:
        for name, value in values.items():
            if isinstance(value, str):
                words.add((name, step, value))
            else:
                numbers.setdefault(name, []).append((step, value))
    return numbers, words


def of_trackio(id_) -> tuple[Points, set]:
    from trackio.utils import TRACKIO_DIR

    with sqlite3.connect(TRACKIO_DIR / "support-overlap.db") as database:
        rows = database.execute("SELECT step, metrics FROM metrics WHERE run_name = ? ORDER BY id", [f"mini-{id_}"])
        return of_rows([(step, json.loads(metrics)) for step, metrics in rows])


def wandb_records(path) -> Iterator:
    """Of an offline run: a log in LevelDB's format (blocks of 32 KiB, records in pieces) after a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, record = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield Record.FromString(record)
            record = b""


def of_wandb(run, id_) -> tuple[Points, set]:
    rows = []
    for path in sorted(run.glob(f"wandb/offline-run-*-{id_}/run-{id_}.wandb")):
        for record in wandb_records(path):
            if record.HasField("history"):
                items = {"/".join([i.key] if i.key else i.nested_key): i.value_json for i in record.history.item}
                values = {name: json.loads(text) for name, text in items.items() if not name.startswith("_")}
                rows.append((record.history.step.num, values))
    return of_rows(rows)


def last_at_each_step(points: Points) -> Points:
    return {name: sorted(dict(numbers).items()) for name, numbers in points.items()}


def test_every_tracker_holds_what_the_run_directory_holds_over_an_interruption(mini, tmp_path, capsys):
    path, recipe = tmp_path / "run", Recipe.model_validate(mini | {"tracking": {"trackers": TRACKERS}})
    with pytest.raises(KeyboardInterrupt):
        train(recipe, path, observer=_Interrupt())
    half = logged(path, "metrics")
    assert resume(path).outcome == "finished"
    assert [row["step"] for row in logged(path, "metrics")] == list(range(1, 13))
    assert len(half) == 7
    id_ = json.loads((path / "trackers.json").read_text())["id"]
    points, words = expected(path), expected_words(path)
    assert len(points) == 5 + 3 * (3 + 1) + 2 * 3

    numbers, texts = of_tensorboard(path)
    assert {name: numbers[name] for name in points} == points
    assert {text for text in texts if text[0] != "recipe"} == words
    assert '"name": "mini"' in next(text for name, _, text in texts if name == "recipe")

    numbers, texts = of_trackio(id_)
    assert {name: numbers[name] for name in points} == points
    assert texts == words

    # W&B has one row a step: of two probes at the end of a stage and the start of the next, the later one stays.
    numbers, texts = of_wandb(path, id_)
    assert {name: numbers[name] for name in points} == last_at_each_step(points)
    assert texts == words

    out, err = capsys.readouterr()
    assert out == ""  # the run's own, and here it has nothing to say
    assert "Trackio project initialized" in err


def test_a_tracker_may_join_a_run_that_has_ended_and_gets_it_whole(mini, tmp_path, capsys):
    (tmp_path / "recipe.toml").write_text(as_toml(mini))
    assert command("train", tmp_path / "recipe.toml", "--output", tmp_path / "run", capsys=capsys)[0] == 0
    assert not (tmp_path / "run" / "tensorboard").exists()
    for _ in range(2):  # a second time adds nothing
        assert command("resume", tmp_path / "run", "--track", "tensorboard", capsys=capsys)[0] == 0
        points, (numbers, texts) = expected(tmp_path / "run"), of_tensorboard(tmp_path / "run")
        assert {name: numbers[name] for name in points} == points
        assert expected_words(tmp_path / "run") < texts


class _Broken:
    def __init__(self, *_, **__) -> None:
        self.rows = 0

    def start(self) -> None:
        pass

    def log(self, values, step=None) -> None:
        self.rows += 1
        if self.rows == 3:
            raise ConnectionError("the server is gone")

    def finish(self) -> None:
        pass


class _Unstartable(_Broken):
    def start(self) -> None:
        raise PermissionError("no key")


@pytest.mark.parametrize(
    ("broken", "message"), [(_Broken, "ConnectionError: the server is gone"), (_Unstartable, "PermissionError: no key")]
)
def test_a_tracker_that_fails_is_spoken_of_once_and_training_goes_on(
    mini, tmp_path, monkeypatch, capsys, broken, message
):
    monkeypatch.setattr(tracking, "TensorBoardTracker", broken)
    recipe = Recipe.model_validate(mini | {"tracking": {"trackers": ["tensorboard"]}, "total_steps": 2})
    assert train(recipe, tmp_path / "run").step == 2
    assert len(logged(tmp_path / "run", "metrics")) == 2
    err = capsys.readouterr().err
    assert err.count("tensorboard gets no more copies of this run") == 1
    assert message in err


def test_a_tracker_that_hangs_does_not_hold_up_the_end(mini, tmp_path, monkeypatch, capsys):
    import threading

    gate = threading.Event()
    monkeypatch.setattr(_Broken, "log", lambda self, values, step=None: gate.wait())
    monkeypatch.setattr(tracking, "TensorBoardTracker", _Broken)
    monkeypatch.setattr(tracking, "PATIENCE_SECONDS", 0.1)
    recipe = Recipe.model_validate(mini | {"tracking": {"trackers": ["tensorboard"]}, "total_steps": 2})
    assert train(recipe, tmp_path / "run").step == 2
    assert "still behind after 0.1 s" in capsys.readouterr().err
    gate.set()


def test_an_unknown_tracker_is_refused_with_the_names_there_are(mini, tmp_path, capsys):
    (tmp_path / "recipe.toml").write_text(as_toml(mini) + '[tracking]\ntrackers = ["tensorbord"]\n')
    with pytest.raises(RecipeError, match=r'tracking\.trackers\.0: must be one of "tensorboard", "wandb", "trackio"'):
        load_recipe(tmp_path / "recipe.toml")
    code, out, err = command("demo", "--output", tmp_path / "run", "--track", "tensorbord", capsys=capsys)
    assert code != 0
    assert "tensorboard" in out + err


def test_a_missing_extra_is_named_before_anything_is_done(mini, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "trackio", None)
    recipe = Recipe.model_validate(mini | {"tracking": {"trackers": ["trackio"]}})
    with pytest.raises(MissingExtraError, match=r"'trackio' needs .*support-overlap\[trackio\]"):
        train(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()
