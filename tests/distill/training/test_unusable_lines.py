"""Runs and lines that cannot be used, data that changed, data that moved."""

import json
import re
import shutil
from pathlib import Path

import pytest

from distill import ManifestError, Observer, TrainingError, resume, train
from distill.recipe import Recipe


class Listener(Observer):
    def __init__(self, stop: int | None = None) -> None:
        self.stop, self.steps, self.said = stop, 0, []

    def step(self, row):
        self.steps += 1
        if self.steps == self.stop:
            raise KeyboardInterrupt

    def unusable(self, findings):
        self.said += findings


@pytest.fixture
def lines(manifests) -> list[dict]:
    """Of a manifest that can be written anywhere."""
    rows = [json.loads(line) for line in manifests["train"].read_text().splitlines()]
    folder = manifests["train"].parent
    return [row | {"audio": str((folder / row["audio"]).resolve())} for row in rows]


def written(path: Path, lines: list[dict]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def supervised(mini: dict, manifest: Path, **audio) -> Recipe:
    stage = mini["stages"][0] | {"manifest": str(manifest), "steps": 6}
    plain = {key: mini[key] for key in ("name", "threads", "student", "checkpoint")}
    return Recipe.model_validate(plain | {"stages": [stage], "audio": audio})


def broken(lines: list[dict]) -> list[dict]:
    wrong = {3: {"end_time": 1e4}, 5: {"language": "Klingon"}, 7: {"audio": "/nowhere.wav"}, 9: {"text": "one " * 3000}}
    return [line | wrong.get(number, {}) for number, line in enumerate(lines, 1)]


def test_bad_lines_are_refused_before_the_first_step_and_nothing_is_written(mini, lines, tmp_path):
    manifest, listener = written(tmp_path / "set.jsonl", broken(lines)), Listener()
    with pytest.raises(ManifestError) as refused:
        train(supervised(mini, manifest), tmp_path / "run", observer=listener)
    message = str(refused.value)
    assert message.startswith('4 lines of the data cannot be used (or run without them: unusable = "drop" in [audio]):')
    assert f'{manifest}:3: utterance {lines[2]["id"]!r}: field "end_time": ' in message
    assert (
        f'{manifest}:7: utterance {lines[6]["id"]!r}: field "audio": /nowhere.wav: the audio file does not' in message
    )
    assert listener.steps == 0
    assert not (tmp_path / "run").exists()
    assert re.search(rf"(?s){manifest}:5: .*Klingon.*{manifest}:9: .*has room for", message)


def test_bad_lines_are_dropped_counted_and_listed_when_asked(mini, lines, tmp_path):
    manifest, listener = written(tmp_path / "set.jsonl", broken(lines)), Listener()
    run = train(supervised(mini, manifest, unusable="drop"), tmp_path / "run", observer=listener)
    assert [one.line for one in listener.said] == [3, 7, 5, 9]
    listed = [json.loads(line) for line in (run.path / "unusable.jsonl").read_text().splitlines()]
    assert listed == [one.to_dict() for one in listener.said]
    assert json.loads((run.path / "resolved.json").read_text())["unusable_lines"] == 4
    without = [line for number, line in enumerate(lines, 1) if number not in (3, 5, 7, 9)]
    clean = train(supervised(mini, written(tmp_path / "clean.jsonl", without)), tmp_path / "clean")
    losses = [
        [json.loads(row)["loss"] for row in (r.path / "metrics.jsonl").read_text().splitlines()] for r in (run, clean)
    ]
    assert losses[0] == losses[1]
    assert not (clean.path / "unusable.jsonl").exists()


def test_nothing_left_is_an_error(mini, lines, tmp_path):
    manifest = written(tmp_path / "set.jsonl", [line | {"audio": "/nowhere.wav"} for line in lines])
    with pytest.raises(
        ManifestError, match=r"24 lines of the data cannot be used \(and nothing is left without them\)"
    ):
        train(supervised(mini, manifest, unusable="drop"), tmp_path / "run")


@pytest.fixture
def interrupted(mini, lines, tmp_path) -> Path:
    manifest = written(tmp_path / "set.jsonl", lines)
    with pytest.raises(KeyboardInterrupt):
        train(supervised(mini, manifest), tmp_path / "run", observer=Listener(stop=3))
    return tmp_path / "run"


def test_resuming_says_which_lines_changed_and_goes_on_when_asked(interrupted, lines, tmp_path):
    mended = [line | ({"text": "other words"} if number in (4, 5, 11) else {}) for number, line in enumerate(lines, 1)]
    manifest = written(tmp_path / "set.jsonl", mended)
    with pytest.raises(TrainingError) as refused:
        resume(interrupted)
    assert str(refused.value).splitlines()[1] == (
        f"  {manifest} (stages.0.manifest) changed since the run began: lines 4–5, 11 changed"
    )
    assert f"distill resume {interrupted} --accept-changed-data" in str(refused.value)
    assert resume(interrupted, accept_changed_data=True).outcome == "finished"
    (change,) = [json.loads(line) for line in (interrupted / "data_changes.jsonl").read_text().splitlines()]
    assert (change["key"], change["lines"], change["step"]) == ("stages.0.manifest", "lines 4–5, 11 changed", 2)
    assert resume(interrupted).outcome == "finished"  # what was accepted is the run's own
    written(tmp_path / "set.jsonl", lines[1:])
    with pytest.raises(TrainingError, match="line 1 was removed"):
        resume(interrupted)


def test_data_that_moved_is_named_by_its_keys_and_taken_from_its_new_place(interrupted, lines, tmp_path):
    manifest = tmp_path / "set.jsonl"
    (tmp_path / "new").mkdir()
    moved = shutil.move(manifest, tmp_path / "new" / "set.jsonl")
    with pytest.raises(TrainingError, match=re.escape(f"stages.0.manifest was {manifest}, where nothing is now")):
        resume(interrupted)
    with pytest.raises(TrainingError, match=r"set stages\.0\.manifest to a path, or start a new run"):
        resume(interrupted, moved=["stages.0.lr=1"])
    other = written(tmp_path / "other.jsonl", lines[:-1])
    with pytest.raises(TrainingError, match=r"other\.jsonl .*changed since the run began: line 24 was removed"):
        resume(interrupted, moved=[f"stages.0.manifest={other}"])
    assert resume(interrupted, moved=[f"stages.0.manifest={moved}"]).outcome == "finished"
    assert json.loads((interrupted / "resolved.json").read_text())["recipe"]["stages"][0]["manifest"] == str(moved)
    assert resume(interrupted).outcome == "finished"
