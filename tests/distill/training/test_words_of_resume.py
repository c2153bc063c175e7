"""What a resumed run says of its data can be entered as it stands, and is then right."""

import json
import shlex
import shutil

import pytest

from distill import TrainingError, resume, train
from distill.recipe import Recipe
from tests.distill.test_cli import run as command
from tests.distill.training.test_unusable_lines import Listener


@pytest.fixture
def apart(mini, manifests, tmp_path):
    """An interrupted run of two supervised stages, each with a manifest of its own; both manifests were moved."""
    for name in ("first", "second"):
        lines = manifests["train"].read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        rows = [row | {"audio": str((manifests["train"].parent / row["audio"]).resolve())} for row in rows]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    stages = [
        mini["stages"][0] | {"name": name, "manifest": str(tmp_path / f"{name}.jsonl"), "steps": 2}
        for name in ("first", "second")
    ]
    plain = {key: mini[key] for key in ("name", "threads", "student", "checkpoint")}
    run = tmp_path / "my run"
    with pytest.raises(KeyboardInterrupt):
        train(Recipe.model_validate(plain | {"stages": stages}), run, observer=Listener(stop=3))
    (tmp_path / "new place").mkdir()
    for name in ("first", "second"):
        shutil.move(tmp_path / f"{name}.jsonl", tmp_path / "new place")
    return run, tmp_path / "new place"


def refused(run, **how) -> str:
    with pytest.raises(TrainingError) as error:
        resume(run, quiet=True, **how)
    return str(error.value)


def advised(said: str) -> list[str]:
    """The words of the command that a message ends in."""
    return shlex.split(said[said.rindex("distill resume ") :])[1:]


def test_what_was_said_right_stays_in_the_command(apart, capsys):
    run, new = apart
    given = f"stages.1.manifest={new / 'second.jsonl'}"
    said = refused(run, moved=[given], trackers=["tensorboard"], accept_changed_data=True)
    assert f"stages.0.manifest was {new.parent / 'first.jsonl'}, where nothing is now" in said
    assert "stages.1.manifest was" not in said
    words = advised(said)
    options = ["--track", "tensorboard", "--set", given, "--accept-changed-data", "--set", "stages.0.manifest=PATH"]
    assert words == ["resume", str(run), *options]
    there = str(new / "first.jsonl")
    filled = [word.replace("PATH", there) for word in words if word not in ("--track", "tensorboard")]
    assert command(*filled, capsys=capsys)[0] == 0


@pytest.mark.parametrize(("place", "words"), [("nope.jsonl", "nothing is there"), (".", "a folder is there")])
def test_a_new_place_that_is_wrong_is_told_as_one(apart, place, words):
    run, new = apart
    right = f"stages.0.manifest={new / 'first.jsonl'}"
    said = refused(run, moved=[right, f"stages.1.manifest={new / place}"])
    assert f"--set stages.1.manifest={(new / place).resolve()}: {words}" in said
    assert "was" not in said.splitlines()[1]
    assert advised(said) == ["resume", str(run), "--set", right, "--set", "stages.1.manifest=PATH"]


def test_a_folder_where_a_manifest_was(apart):
    run, new = apart
    (new.parent / "first.jsonl").mkdir()
    said = refused(run, moved=[f"stages.1.manifest={new / 'second.jsonl'}"])
    assert f"stages.0.manifest was {new.parent / 'first.jsonl'}, where a folder is now" in said


def test_data_that_moved_and_changed(apart, capsys):
    run, new = apart
    lines = (new / "second.jsonl").read_text().splitlines(keepends=True)
    (new / "second.jsonl").write_text("".join(lines[1:]))
    moved = [f"stages.{i}.manifest={new / name}" for i, name in enumerate(("first.jsonl", "second.jsonl"))]
    said = refused(run, moved=moved)
    assert "(stages.1.manifest) changed since the run began: line 1 was removed" in said
    words = advised(said)
    assert words == ["resume", str(run), "--set", moved[0], "--set", moved[1], "--accept-changed-data"]
    assert command(*words, capsys=capsys)[0] == 0
