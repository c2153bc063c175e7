"""Labels with control tokens in recipes, evaluations and teacher data: what is learned and scored is the text."""

import json
from dataclasses import replace

import pytest
import soundfile

from distill import Utterance, read_manifest, train, write_manifest
from distill.cli import main
from distill.data.audio import AudioCache
from distill.data.batch import AudioSource
from distill.data.line_findings import words
from distill.data.manifest import ManifestError
from distill.evaluation.evaluation import evaluate
from distill.models import ModelError, load_recognizer
from distill.recipe import Decoding, Filters, Recipe, Transcription
from distill.teacher_data.making import transcribe_manifest
from distill.training.setup import prepare_run
from tests.distill.small_models import save_whisper
from tests.distill.taught import LANGUAGES, SAID, WAVEFORMS, official


@pytest.fixture(scope="module")
def taught(taught_path):
    return taught_path


@pytest.fixture(scope="module")
def official_manifest(tmp_path_factory):
    """Audio that the taught model knows, labels of the official form, no language beside them."""
    folder, lines = tmp_path_factory.mktemp("official"), []
    for i, (waveform, *label) in enumerate(zip(WAVEFORMS, LANGUAGES, SAID, strict=True)):
        soundfile.write(folder / f"{i}.wav", waveform, 16_000, subtype="FLOAT")
        lines.append(Utterance(f"u{i}", folder / f"{i}.wav", official(*label)))
    write_manifest(folder / "official.jsonl", lines)
    return folder / "official.jsonl"


def rewritten(mini, manifests, folder, change, stage=0):
    """The recipe with other labels in one stage."""
    lines = [change(u) for u in read_manifest(manifests["train"])]
    write_manifest(folder / "train.jsonl", lines)
    mini["stages"][stage]["manifest"] = str(folder / "train.jsonl")
    return Recipe.model_validate(mini)


def test_labels_of_the_official_form_train_as_text(mini, manifests, tmp_path):
    expected = prepare_run(Recipe.model_validate(mini), device="cpu").stages[0]
    recipe = rewritten(mini, manifests, tmp_path, lambda u: replace(u, text=official("English", u.text), language=None))
    found = prepare_run(recipe, device="cpu").stages[0]
    assert [(u.text, u.language) for u in found] == [(u.text, u.language) for u in expected]


def test_other_control_tokens_stop_a_run_before_it_begins(mini, manifests, tmp_path):
    recipe = rewritten(mini, manifests, tmp_path, lambda u: replace(u, text=f"{u.text}<|endoftext|>x"))
    with pytest.raises(ManifestError, match=r"24 lines of the data cannot be used .*:\n  .*train.jsonl:1: utterance "):
        train(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_labels_that_no_stage_reads_stop_nothing(mini, manifests, tmp_path):
    prepare_run(rewritten(mini, manifests, tmp_path, lambda u: replace(u, text="x<|endoftext|>y"), 2), device="cpu")


def test_timestamps_for_a_model_without_are_said_once(mini, manifests, tmp_path):
    recipe = rewritten(mini, manifests, tmp_path, lambda u: replace(u, text=f"<|0.00|> {u.text}<|1.00|>"))
    setup = prepare_run(recipe, device="cpu")
    assert "<|" not in setup.stages[0][0].text
    assert len(setup.findings) == 24
    assert words(setup.findings).startswith("24 lines of the data may not be meant so:")
    assert "timestamps; they are left out" in str(setup.findings[0])


def test_markers_are_no_errors_of_the_model(taught, official_manifest, tmp_path, capsys):
    words = ["--model", str(taught), "--manifest", str(official_manifest), "--max-new-tokens", "100", "--json"]
    with pytest.raises(SystemExit) as end:
        main(["evaluate", *words])
    assert not end.value.code
    assert json.loads(capsys.readouterr().out)["wer"]["errors"] == 0
    utterances = read_manifest(official_manifest)
    recognizer, source = load_recognizer(str(taught)), AudioSource(AudioCache())
    with pytest.raises(ManifestError, match=r"utterance 'u0': field \"text\": holds '<\|im_start\|>'"):
        evaluate(
            recognizer,
            source,
            [replace(utterances[0], text="<|im_start|>call")],
            normalizer="basic",
            decoding=Decoding(max_new_tokens=4),
        )


def test_nor_of_a_teacher(taught, official_manifest, tmp_path):
    open_ = Filters(max_compression=None, max_repeats=None, max_characters_per_second=None, min_logprob=None)
    transcription = Transcription(max_new_tokens=100)
    data = transcribe_manifest(
        str(taught), official_manifest, tmp_path / "taught.jsonl", transcription=transcription, filters=open_
    )
    assert data.summary.scores["all"].wer.errors == 0
    assert [u.text for u in data.kept] == SAID
    assert [u.extra["reference"] for u in data.kept] == SAID


def timed(mini, manifests, tmp_path, *, teacher=True, stages=(0, 2)):
    paths = [save_whisper(tmp_path / name, seed=seed) for seed, name in enumerate(("student", "teacher"))]
    mini["student"] = {"model": str(paths[0]), "timestamps": True}
    mini["teacher"] = {"model": str(paths[1])} | ({"timestamps": True} if teacher else {})
    mini["evaluation"] = mini["evaluation"] | {"max_new_tokens": 4}
    recipe = rewritten(mini, manifests, tmp_path, lambda u: replace(u, text=f"<|0.00|> {u.text}<|1.00|>"))
    return recipe.model_copy(update={"stages": tuple(recipe.stages[i] for i in stages)})


def test_whisper_learns_times_and_is_scored_without(mini, manifests, tmp_path):
    result = train(timed(mini, manifests, tmp_path), tmp_path / "run")
    assert result.outcome == "finished"
    again = load_recognizer(str(result.model), options={"timestamps": True})
    assert again.tokens.times
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["funnel"]["blocked"] == 0


def test_times_on_one_side_alone_are_refused(mini, manifests, tmp_path):
    with pytest.raises(ModelError, match=r"student.timestamps is set and teacher.timestamps is not.*set it in both"):
        prepare_run(timed(mini, manifests, tmp_path, teacher=False), device="cpu")


def test_a_teachers_text_has_no_times_to_learn(mini, manifests, tmp_path):
    with pytest.raises(ModelError, match=r"stages.1 \('teacher data'\) is trained on the teacher's text, which has"):
        prepare_run(timed(mini, manifests, tmp_path, stages=(0, 1, 2)), device="cpu")
