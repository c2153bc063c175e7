"""Names of the embedded demo, wherever a model or a manifest is taken, and what is said where nothing is."""

import json

import pytest

import distill
from distill.cli import main
from distill.data.sources import identity
from distill.locations import located, packaged, require_places
from distill.models import load_recognizer
from distill.recipe import Student, Teacher, Transcription, load_recipe
from distill.recipe.paths import require_files


def test_a_manifest_of_the_demo_has_a_name_in_every_reader():
    read = distill.read_manifest(packaged("corpus/probe.jsonl"))
    assert distill.read_manifest("demo:corpus/probe.jsonl") == read
    assert distill.read_utterances("demo:corpus/probe.jsonl") == read
    assert identity("demo:corpus/probe.jsonl") == identity(str(packaged("corpus/probe.jsonl")))


def test_a_model_of_the_demo_has_a_name_in_every_loader():
    from distill.scoring.loading import load_student, load_teacher

    assert load_recognizer("demo:student").name == "demo:student"
    assert load_student(Student(model="demo:student")).name == "demo:student"
    assert load_teacher(Teacher(model="demo:teacher"), "cpu", k=8).name == "demo:teacher"


def test_teacher_data_takes_the_names_from_python(tmp_path):
    few = tmp_path / "few.jsonl"
    distill.write_manifest(few, distill.read_manifest("demo:corpus/probe.jsonl")[:2])
    data = distill.transcribe(
        "demo:teacher", few, tmp_path / "out.jsonl", transcription=Transcription(max_new_tokens=48)
    )
    assert len(data.kept) + len(data.dropped) == 2


BRIEFLY = ["--max-new-tokens", "2", "--batch-size", "100", "--batch-seconds", "off"]
BRIEFLY += ["--unfinished", "keep", "--min-logprob", "off"]


@pytest.mark.parametrize("verb", ["probe", "show", "evaluate", "transcribe"])
def test_every_verb_takes_the_names(verb, tmp_path, capsys):
    pair = ["--student", "demo:student", "--teacher", "demo:teacher"]
    words = {
        "probe": [*pair, "--max-utterances", "2", "--k", "4", "--max-new-tokens", "4"],
        "show": [*pair, "--k", "4", "--max-new-tokens", "4"],
        "evaluate": ["--model", "demo:student", "--max-new-tokens", "2", "--batch-size", "100"],
        "transcribe": ["--teacher", "demo:teacher", "--output", str(tmp_path / "out.jsonl"), *BRIEFLY],
    }[verb]
    with pytest.raises(SystemExit) as end:
        main([verb, *words, "--manifest", "demo:corpus/probe.jsonl", "--json"])
    out = capsys.readouterr()
    assert not end.value.code, out.err
    assert json.loads(out.out)


def test_a_wrong_name_of_the_demo_is_answered_with_the_right_one():
    with pytest.raises(FileNotFoundError, match=r"demo:teachr is not in .* demo; did you mean demo:teacher\?"):
        load_recognizer("demo:teachr")
    with pytest.raises(FileNotFoundError, match=r"prob\.jsonl is not .* did you mean demo:corpus/probe\.jsonl\?"):
        distill.read_manifest("demo:corpus/prob.jsonl")
    with pytest.raises(FileNotFoundError, match="there are demo:teacher, demo:student and the manifests"):
        located("demo:nothing-of-the-kind")


def test_other_locations_stay_as_they_are(tmp_path, monkeypatch):
    assert located("openai/whisper-tiny.en") == "openai/whisper-tiny.en"
    assert located(tmp_path) == str(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert located("~/model") == str(tmp_path / "model")


def test_all_that_is_missing_is_told_at_once_with_keys(tmp_path):
    (tmp_path / "train.jsonl").touch()
    path = tmp_path / "recipe.toml"
    path.write_text(
        '[student]\nmodel = "some/name"\n[teacher]\nmodel = "./gone"\n[probe]\nmanifest = "sub/probe.jsonl"\n'
        '[evaluation]\nmanifest = "hf:some/set:test"\n'
        '[[stages]]\ntype = "sft"\nname = "base"\nmanifest = "trian.jsonl"\nsteps = 1\n'
        '[[stages]]\ntype = "sft"\nname = "more"\nmanifest = "."\nsteps = 1\n'
    )
    with pytest.raises(FileNotFoundError) as raised:
        require_files(load_recipe(path))
    lines = str(raised.value).split("\n  ")
    assert [line.partition(":")[0] for line in lines] == [
        "probe.manifest",
        "stages.0.manifest",
        "stages.1.manifest",
        "teacher.model",
    ]
    assert f"there is no folder {tmp_path / 'sub'}" in lines[0]
    assert lines[1].endswith("did you mean train.jsonl?")
    assert "is a folder; give the path of a JSON Lines file" in lines[2]
    assert "give a folder that holds a config.json, or a Hub name" in lines[3]


@pytest.mark.parametrize(
    ("location", "problem"),
    [
        ("openai/whisper-tiny.en", None),
        ("gpt2", None),
        ("some/where/deep", "does not exist"),
        ("/nowhere/model", "there is no folder /nowhere"),
        ("../gone", "does not exist"),
        (__file__, "is a file; give a folder that holds a config.json"),
    ],
)
def test_what_may_be_a_hub_name_is_left_to_the_hub(location, problem):
    if problem is None:
        require_places(manifests={}, models={"--model": location})
    else:
        with pytest.raises(FileNotFoundError, match=f"--model: the model .*{problem}"):
            require_places(manifests={}, models={"--model": location})


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("nosuch.jsonl", "give the path of a JSON Lines file"),
        ("spks.jsonl", "did you mean spk.jsonl?"),
        ("spk.json", "did you mean spk.jsonl?"),
        ("trian.jsonl", "did you mean train.jsonl?"),
        ("train.toml", "did you mean train.jsonl?"),
    ],
)
def test_an_ending_alone_is_no_likeness(written, words, tmp_path):
    for name in ("spk.jsonl", "spk.wav", "train.jsonl"):
        (tmp_path / name).touch()
    with pytest.raises(FileNotFoundError) as raised:
        require_places(manifests={"--train": str(tmp_path / written)}, models={})
    assert words in str(raised.value)
    assert ("did you mean" in words) is ("did you mean" in str(raised.value))


def test_what_was_meant_of_the_demo_can_be_typed():
    with pytest.raises(FileNotFoundError, match=r"^m: the model demo:studnt does .*; did you mean demo:student\?"):
        require_places(manifests={}, models={"m": "demo:studnt"})
    with pytest.raises(FileNotFoundError, match=r"did you mean demo:corpus/base\.jsonl\?"):
        require_places(manifests={"m": "demo:corpus/bse.jsonl"}, models={})
