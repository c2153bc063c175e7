"""Lines that a run goes without: those that cannot be read among them, and others than before when it is resumed."""

import json
import shutil
from pathlib import Path

import pytest

from distill import ManifestError, Observer, TrainingError, resume, train
from distill.recipe import Recipe


class Stop(Observer):
    def __init__(self) -> None:
        self.steps = 0

    def step(self, row):
        self.steps += 1
        if self.steps == 3:
            raise KeyboardInterrupt


@pytest.fixture
def lines(manifests, tmp_path) -> list[dict]:
    """Of a manifest with its own copy of the audio."""
    rows = [json.loads(line) for line in manifests["train"].read_text().splitlines()]
    for i, row in enumerate(rows):
        copy = tmp_path / f"{i}.wav"
        shutil.copy(manifests["train"].parent / row["audio"], copy)
        row["audio"] = str(copy)
    return rows


def recipe(mini: dict, manifest: Path, unusable: str = "drop") -> Recipe:
    stage = mini["stages"][0] | {"manifest": str(manifest), "steps": 6}
    plain = {key: mini[key] for key in ("name", "threads", "student", "checkpoint")}
    return Recipe.model_validate(plain | {"stages": [stage], "audio": {"unusable": unusable}})


def written(path: Path, lines: list) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def unreadable(lines: list[dict]) -> list:
    wrong = {3: '{"id": "cut", "au', 5: lines[4] | {"text": 5}, 7: lines[6] | {"id": lines[0]["id"]}}
    return [wrong.get(number, line) for number, line in enumerate(lines, 1)]


def test_lines_that_cannot_be_read_are_refused_with_all_others(mini, lines, tmp_path):
    bad = unreadable(lines)
    bad[8] = lines[8] | {"audio": "/nowhere.wav"}
    manifest = written(tmp_path / "set.jsonl", bad)
    with pytest.raises(ManifestError) as refused:
        train(recipe(mini, manifest, "fail"), tmp_path / "run", quiet=True)
    head, *said = str(refused.value).split("\n  ")
    assert head == '4 lines of the data cannot be used (or run without them: unusable = "drop" in [audio]):'
    assert [one.removeprefix(f"{manifest}:").split(":")[0] for one in said] == ["3", "5", "7", "9"]


def test_lines_that_cannot_be_read_are_dropped_when_asked(mini, lines, tmp_path):
    manifest = written(tmp_path / "set.jsonl", unreadable(lines))
    run = train(recipe(mini, manifest), tmp_path / "run", quiet=True)
    listed = [json.loads(line)["line"] for line in (run.path / "unusable.jsonl").read_text().splitlines()]
    assert listed == [3, 5, 7]
    assert json.loads((run.path / "resolved.json").read_text())["unusable_lines"] == 3
    clean = [line for number, line in enumerate(lines, 1) if number not in listed]
    other = train(recipe(mini, written(tmp_path / "clean.jsonl", clean)), tmp_path / "clean", quiet=True)
    rows = [(r.path / "metrics.jsonl").read_text().splitlines() for r in (run, other)]
    losses = [[json.loads(row)["loss"] for row in some] for some in rows]
    assert losses[0] == losses[1]


def test_nothing_readable_is_an_error(mini, tmp_path):
    manifest = written(tmp_path / "set.jsonl", ["{", "["])
    with pytest.raises(ManifestError, match=r"2 lines .* \(and nothing is left without them\)"):
        train(recipe(mini, manifest), tmp_path / "run", quiet=True)


def test_resuming_without_other_lines_than_at_the_start_is_refused_unless_accepted(mini, lines, tmp_path):
    manifest = written(tmp_path / "set.jsonl", lines)
    first, second, third = (Path(lines[i]["audio"]) for i in (2, 3, 10))
    first.rename(first.with_suffix(".away"))
    with pytest.raises(KeyboardInterrupt):
        train(recipe(mini, manifest), tmp_path / "run", observer=Stop())
    run = tmp_path / "run"

    first.with_suffix(".away").rename(first)
    second.unlink()
    third.unlink()
    before = (run / "resolved.json").read_bytes(), (run / "unusable.jsonl").read_bytes()
    with pytest.raises(TrainingError) as refused:
        resume(run, quiet=True)
    said = str(refused.value).splitlines()
    assert said[1].startswith(
        f"  {manifest} (stages.0.manifest) changed since the run began: lines 4, 11 can no longer be used, "
        'line 3 can be used now (field "audio"'
    )
    assert f"distill resume {run} --accept-changed-data" in said[2]
    assert before == ((run / "resolved.json").read_bytes(), (run / "unusable.jsonl").read_bytes())

    assert resume(run, accept_changed_data=True, quiet=True).outcome == "finished"
    (change,) = [json.loads(line) for line in (run / "data_changes.jsonl").read_text().splitlines()]
    assert (change["key"], change["step"]) == ("stages.0.manifest", 2)
    assert [json.loads(line)["line"] for line in (run / "unusable.jsonl").read_text().splitlines()] == [4, 11]
    assert json.loads((run / "resolved.json").read_text())["unusable_lines"] == 2
    assert resume(run, quiet=True).outcome == "finished"


def test_resuming_with_the_same_lines_left_out_goes_on_even_from_another_place(mini, lines, tmp_path):
    manifest = written(tmp_path / "set.jsonl", unreadable(lines))
    with pytest.raises(KeyboardInterrupt):
        train(recipe(mini, manifest), tmp_path / "run", observer=Stop())
    moved = manifest.rename(tmp_path / "moved.jsonl")
    assert resume(tmp_path / "run", moved=[f"stages.0.manifest={moved}"], quiet=True).outcome == "finished"
    assert json.loads((tmp_path / "run" / "unusable.jsonl").read_text().splitlines()[0])["file"] == str(moved)


def test_a_damaged_list_is_named(mini, lines, tmp_path):
    manifest = written(tmp_path / "set.jsonl", unreadable(lines))
    with pytest.raises(KeyboardInterrupt):
        train(recipe(mini, manifest), tmp_path / "run", observer=Stop())
    (tmp_path / "run" / "unusable.jsonl").write_text('{"line": 3')
    with pytest.raises(ValueError, match=r"unusable\.jsonl: cannot be read as a list of findings .*; restore the file"):
        resume(tmp_path / "run", quiet=True)
