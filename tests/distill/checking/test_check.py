"""Recipes as a whole: what is in order passes, everything wrong is told at once, and runs begin with the same check."""

import json
from pathlib import Path

import pytest

import distill
from distill import Recipe, read_manifest, resume, train, write_manifest
from distill.checking.finding import CheckError
from distill.progress.observer import Observer
from distill.training import launch
from tests.distill.test_cli import as_toml, run
from tests.distill.training.test_trainer import _Interrupt


class Notices(Observer):
    def __init__(self):
        self.said = []

    def notice(self, text):
        self.said.append(text)


@pytest.fixture
def bad(sound, manifests, tmp_path) -> dict:
    """The recipe with a broken file, an id that occurs twice, and a probe of the pool's audio."""
    lines = [json.loads(line) for line in Path(manifests["train"]).read_text().splitlines()]
    for line in lines:
        line["audio"] = str((Path(manifests["train"]).parent / line["audio"]).resolve())
    (tmp_path / "broken.ogg").write_bytes(b"no audio")
    lines[1]["id"] = lines[0]["id"]
    lines[2] |= {"audio": str(tmp_path / "broken.ogg")}
    path = tmp_path / "bad.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    stages = [sound["stages"][0] | {"manifest": str(path)}, *sound["stages"][1:]]
    return sound | {"stages": stages, "probe": sound["probe"] | {"manifest": str(manifests["pool"])}}


def test_a_sound_recipe_passes_with_a_row_for_everything(sound, tmp_path):
    found = distill.check(Recipe.model_validate(sound), output=tmp_path / "run", quiet=True)
    assert found.errors == ()
    assert {one.check for one in found.findings} == {
        "lines and audio",
        "audio shared between sets",
        "texts shared between sets",
        "empty references",
        "characters that tokenizers lose",
        "end of text",
        "prompts",
        "the teacher's transcripts end",
        "positions of the teacher's transcripts",
        "p(end) of the student at the teacher's ends",
        "written form of labels and teacher",
        "free disk",
        "memory of the largest batch",
        "2 steps of a stage",
        "filters of teacher data",
    }
    steps = [one.finding for one in found.findings if one.check == "2 steps of a stage"]
    assert [name in step for name, step in zip(("base", "teacher data", "on-policy"), steps, strict=True)] == [True] * 3
    (memory,) = (one for one in found.findings if one.check == "memory of the largest batch")
    assert memory.finding.startswith("measured: ")
    assert found.dry_run is not None
    assert not (tmp_path / "run").exists()
    assert str(found).splitlines()[-1].startswith("2 warnings, ")  # case and numerals of the labels


def test_everything_wrong_is_told_at_once_by_the_command(bad, tmp_path, capsys):
    toml = tmp_path / "recipe.toml"
    toml.write_text(as_toml(bad))
    code, out, _ = run("check", toml, "--no-dry-run", "--json", capsys=capsys)
    tree = json.loads(out)
    wrong = [f"{one['check']}: {one['finding']}" for one in tree["findings"] if one["severity"] == "error"]
    assert (code, tree["errors"], tree["dry_run"]) == (1, 3, None)
    assert [one["severity"] for one in tree["findings"][:3]] == ["error"] * 3
    assert any("already used on line 1" in one for one in wrong)
    assert any("broken.ogg" in one for one in wrong)
    assert any(
        "24 of 24 (100.0 %) utterances of probe share audio with stage 'teacher data' and stage" in one for one in wrong
    )
    # The other checks were made all the same.
    assert any("estimated roughly" in one["finding"] for one in tree["findings"])
    code, out, _ = run("check", toml, "--no-dry-run", capsys=capsys)
    assert code == 1
    assert "3 errors, " in out
    assert "what to do" in out


def test_data_are_checked_where_no_model_loads(bad, tmp_path):
    (tmp_path / "empty").mkdir()
    bad |= {"teacher": {"model": str(tmp_path / "empty")}, "student": {"model": str(tmp_path / "empty")}}
    found = distill.check(Recipe.model_validate(bad), quiet=True)
    wrong = [one.check for one in found.errors]
    assert sorted(set(wrong)) == ["audio shared between sets", "lines and audio", "student", "teacher"]
    assert all(str(tmp_path / "empty") in one.finding for one in found.errors if one.check in ("student", "teacher"))


def test_models_are_checked_where_no_manifest_is_there(supervised, tmp_path):
    supervised["stages"][0] |= {"manifest": str(tmp_path / "gone.jsonl")}
    found = distill.check(Recipe.model_validate(supervised), quiet=True)
    (wrong,) = found.errors
    assert wrong.check == "manifests"
    assert "stages.0.manifest" in wrong.finding
    assert sum(one.check == "end of text" for one in found.findings) == 2


def test_a_recipe_without_a_teacher(supervised):
    found = distill.check(Recipe.model_validate(supervised | {"teacher": None}), dry_run=False, quiet=True)
    assert found.errors == ()
    assert {one.check for one in found.findings} == {
        "lines and audio",
        "characters that tokenizers lose",
        "end of text",
        "free disk",
        "memory of the largest batch",
    }


def test_limits_of_the_run_that_cut_the_teacher_are_found(sound):
    """Probes have the limit of rollouts, and teacher data its own."""
    base, td, opd = sound["stages"]
    stages = [base, td | {"transcription": {"max_new_tokens": 2}}, opd | {"rollout": {"max_new_tokens": 4}}]
    found = distill.check(Recipe.model_validate(sound | {"stages": stages}), dry_run=False, quiet=True)
    rows = [one for one in found.findings if one.check == "the teacher's transcripts end"]
    assert [(one.severity, one.finding) for one in rows] == [
        ("error", "0 of 8 of the teacher's transcripts end by themselves within rollout.max_new_tokens = 4"),
        (
            "warning",  # its filters keep what does not end
            "stage 'teacher data': 0 of 16 of the teacher's transcripts end by themselves within "
            "transcription.max_new_tokens = 2",
        ),
    ]


@pytest.mark.filterwarnings("ignore::distill.drafting.SmallProbeWarning")
def test_a_drafted_recipe_passes(manifests, tmp_path, capsys):
    output = tmp_path / "mine.toml"
    words = ("--student", "demo:student", "--teacher", "demo:teacher", "--train", manifests["train"])
    code, _, err = run("new", *words, "--test", manifests["test"], "--output", output, capsys=capsys)
    assert code == 0, err
    code, out, err = run("check", output, "--json", capsys=capsys)
    assert code == 0, out + err
    findings = json.loads(out)["findings"]
    assert any("of evaluation 'test' share audio with probe" in one["finding"] for one in findings)  # a note


class TestBeforeTraining:
    def test_errors_stop_a_run_before_it_begins(self, supervised, tmp_path):
        supervised["probe"] = {"manifest": supervised["stages"][0]["manifest"]}
        recipe = Recipe.model_validate(supervised)
        with pytest.raises(CheckError, match=r"1 error before training .*\n  audio shared between sets: 24 of 24"):
            train(recipe, tmp_path / "run", quiet=True)
        assert not (tmp_path / "run").exists()

    def test_the_command_says_how_to_start_all_the_same(self, supervised, tmp_path, capsys):
        supervised["probe"] = {"manifest": supervised["stages"][0]["manifest"]}
        (tmp_path / "r.toml").write_text(as_toml(supervised))
        code, _, err = run("train", tmp_path / "r.toml", "--output", tmp_path / "run", capsys=capsys)
        assert code == 1
        assert "--no-check starts all the same" in err
        code, _, err = run("train", tmp_path / "r.toml", "--dry-run", "--no-check", capsys=capsys)
        assert (code, "--no-check: a dry run" in err) == (1, True)

    def test_warnings_are_told_and_the_run_is_the_same_without_it(self, supervised, tmp_path):
        watcher, recipe = Notices(), Recipe.model_validate(supervised)
        weights = []
        for check in (True, False):
            made = train(recipe, tmp_path / str(check), check=check, observer=watcher)
            weights.append((made.model / "model.safetensors").read_bytes())
        assert weights[0] == weights[1]
        assert sum("warning: written form of labels and teacher: different case" in one for one in watcher.said) == 1
        assert sum(one.startswith("checked before training: 2 warnings, ") for one in watcher.said) == 1

    def test_a_resumed_run_is_not_checked_again(self, supervised, tmp_path, monkeypatch):
        checked = []
        monkeypatch.setattr(launch, "quick_findings", lambda *_: checked.append("once") or [])
        recipe = Recipe.model_validate(supervised | {"checkpoint": {"every": 1}})
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "run", observer=_Interrupt(1))
        assert resume(tmp_path / "run", quiet=True).outcome == "finished"
        assert checked == ["once"]


def test_a_shared_text_and_a_manifest_written_again(sound, manifests, tmp_path):
    """Notes do not stop anything: every text of the test set is also a label."""
    labels = read_manifest(manifests["train"])
    texts = [u.text for u in read_manifest(manifests["test"])]
    write_manifest(
        tmp_path / "same.jsonl",
        [type(u)(u.id, u.audio, t, u.begin_time, u.end_time) for u, t in zip(labels, texts, strict=False)],
    )
    sound["stages"][0] |= {"manifest": str(tmp_path / "same.jsonl")}
    found = distill.check(Recipe.model_validate(sound), dry_run=False, quiet=True)
    shared = [one for one in found.findings if one.check == "texts shared between sets" and one.severity == "note"]
    assert any("10 of 10 (100.0 %) texts of evaluation 'test'" in one.finding for one in shared)
    assert found.errors == ()
