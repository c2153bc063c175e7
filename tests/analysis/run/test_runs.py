import pandas as pd
import pytest

from analysis import load, load_many
from tests.analysis.conftest import resolve, write_run, write_traces, write_transcripts

STAYS = [("base", (0, 50), "end")]


@pytest.fixture
def seeds(make_run):
    return [resolve(make_run(STAYS, f"arm-{seed}"), name="arm", seed=seed) for seed in (3, 4)]


def test_frames_say_which_run_recipe_and_seed(seeds):
    runs = load_many(seeds)
    assert list(runs) == ["arm-3", "arm-4"]
    assert runs["arm-4"].seed == 4
    for name in ("metrics", "probes", "decisions", "evaluations"):
        frame, alone = getattr(runs, name), getattr(load(seeds[1]), name)
        assert list(frame.columns[:3]) == ["run", "recipe", "seed"]
        assert set(frame["recipe"]) == {"arm"}
        own = frame[frame["seed"] == 4].drop(columns=["run", "recipe", "seed"]).reset_index(drop=True)
        pd.testing.assert_frame_equal(own, alone)


def test_transcripts_and_positions_of_several_runs(seeds):
    write_transcripts(seeds[0], 50, "base", {"u1": 1, "u2": 0})
    for path in seeds:
        write_traces(path, 50, "base", {"u1": 3, "u2": 2})
    runs = load_many(seeds)
    assert runs.transcripts[["run", "id"]].to_numpy().tolist() == [["arm-3", "u1"], ["arm-3", "u2"]]
    assert runs.positions.groupby("run").size().to_dict() == {"arm-3": 5, "arm-4": 5}
    assert len(runs.traces) == 4


def test_runs_without_any_rows_keep_their_columns(seeds):
    frame = load_many(seeds).transcripts
    assert frame.empty
    assert {"run", "recipe", "seed", "id", "words.errors"} <= set(frame.columns)


def test_recipes_of_one_name_that_differ_are_told_apart(make_run):
    first, again, wide, other = (make_run(STAYS, name) for name in ("a-0", "a-1", "b-0", "c-0"))
    for path in (first, again):
        resolve(path, probe={"manifest": str(path)})  # where a file lies does not matter
    resolve(wide, probe={"manifest": "x", "k": 64})
    resolve(other, name="other")
    assert load_many([first, again, other]).recipes == {"a-0": "made up", "a-1": "made up", "c-0": "other"}
    assert load_many([first, again, wide]).recipes == {
        "a-0": "made up (a-0)",
        "a-1": "made up (a-0)",
        "b-0": "made up (b-0)",
    }
    resolve(again, manifest_sha256={"there": "1"})
    assert load_many([first, again]).recipes["a-1"] == "made up (a-1)"
    for path, digest in ((first, "1"), (again, "2")):
        noise = {"type": "noise", "background": f"of {path}"}
        resolve(path, probe={"augment": noise}, manifest_sha256={}, background_sha256={f"of {path}": digest})
    assert load_many([first, again]).recipes["a-1"] == "made up (a-1)"
    resolve(again, background_sha256={"elsewhere": "1"})
    assert load_many([first, again]).recipes["a-1"] == "made up"


def test_recipes_as_they_are_given(seeds):
    runs = load_many({"one": seeds[0], "two": [seeds[1]]})
    assert runs.recipes == {"arm-3": "one", "arm-4": "two"}
    assert list(runs.of_recipe("two")) == ["arm-4"]
    with pytest.raises(KeyError, match="no run is of recipe 'three'; there are one, two"):
        runs.of_recipe("three")
    with pytest.raises(KeyError, match="no run is called 'x'; there are arm-3, arm-4"):
        runs["x"]


def test_directories_of_one_name_are_told_apart(tmp_path):
    paths = []
    for parent in ("first", "second"):
        (tmp_path / parent).mkdir()
        paths.append(write_run(tmp_path / parent / "run"))
    assert list(load_many(paths)) == ["first/run", "second/run"]


def test_what_cannot_be_loaded(seeds, tmp_path):
    with pytest.raises(ValueError, match="no runs to load"):
        load_many([])
    with pytest.raises(ValueError, match=r"arm-3 is given more than once"):
        load_many([*seeds, seeds[0]])
    with pytest.raises(
        ValueError, match=r"expected several run directories, such as load_many\(\['runs/a'\]\), or a pat"
    ):
        load_many("runs/a")
    with pytest.raises(ValueError, match=r"nothing matches; give a pattern of run directories, such as runs/\*"):
        load_many(tmp_path / "gone-*")
    (tmp_path / "notes").mkdir()
    with pytest.raises(ValueError, match="1 matches hold no run"):
        load_many(str(tmp_path / "note*"))
    with pytest.raises(FileNotFoundError, match="holds no run"):
        load_many([tmp_path])


def test_what_a_console_shows_of_runs(seeds):
    runs = load_many(seeds)
    said = repr(runs["arm-3"])
    assert said.endswith(", recipe 'arm', seed 3: rows of 50 metrics, 28 probes, 3 decisions, 2 evaluations")
    assert str(seeds[0]) in said
    first, *lines = repr(runs).splitlines()
    assert first == "Runs, 2:"
    assert [line.split(": ")[0] for line in lines] == ["  arm-3 (of arm)", "  arm-4 (of arm)"]


def test_runs_that_go_on(seeds):
    assert load_many(seeds).running == []
    (seeds[1] / "decisions.jsonl").write_text("")
    assert load_many(seeds).running == ["arm-4"]


def test_a_pattern_takes_what_holds_a_run(make_run, tmp_path):
    for name in ("seed-0", "seed-1"):
        make_run([("base", (0, 50), "end")], name=name)
    (tmp_path / "notes.txt").write_text("none")
    (tmp_path / "empty").mkdir()
    assert list(load_many(f"{tmp_path}/*")) == list(load_many(tmp_path / "seed-*")) == ["seed-0", "seed-1"]
