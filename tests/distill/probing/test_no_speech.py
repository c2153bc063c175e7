"""Clips without speech in probes: what is counted, what a run keeps of it, and what is refused before work starts."""

import json

import numpy as np
import pandas as pd
import pytest
import soundfile

from analysis import load
from analysis.report import write_report
from distill import NoSpeech, load_pair, probe, train
from distill.data.audio import load_audio
from distill.data.no_speech import no_speech_clips
from distill.models import load_recognizer
from distill.probing.no_speech import NoSpeechReading, checked_clips
from distill.recipe import Recipe, RecipeError, load_recipe
from distill.recipe.paths import packaged
from distill.run.provenance import resolved_configuration
from distill.training.resume_moved_data import data_paths
from overlap.errors import UserError
from overlap.estimates.no_speech import no_speech_estimates
from tests.distill.small_models import save_gpt2, save_whisper
from tests.distill.test_cli import run

CLIPS = NoSpeech(silence=2, noise=3, clip_seconds=0.5)


def row(text, words, kind="noise", finished=True, model="student"):
    about = {"model": model, "kind": kind, "clip": f"{kind}-{text}", "seconds": 30.0, "normalizer": "basic 2"}
    return about | {"text": text, "words": words, "finished": finished}


def test_words_and_ends_are_those_of_transcripts_written_one_at_a_time():
    pair = load_pair("demo:student", "demo:teacher", k=8)
    manifest = packaged("corpus/probe.jsonl")
    found = probe(pair, manifest, max_utterances=2, no_speech=CLIPS, normalizer="none", quiet=True, traced=0)
    rows = found.no_speech.rows
    assert [(one["model"], one["kind"]) for one in rows] == [
        (model, kind) for model in ("student", "teacher") for kind in ("silence",) * 2 + ("noise",) * 3
    ]
    assert any(one["words"] for one in rows)  # the demo's models were never taught silence
    limit = 16 + 20 * 0.5
    for one in rows:
        model = pair.student if one["model"] == "student" else pair.teacher
        clip = next(clip for clip in no_speech_clips(2, 3, 0.5) if clip.utterance.id == one["clip"])
        prompt = model.prepare([load_audio(clip.utterance)], ["English"])
        written = model.rollout(prompt, max_new_tokens=int(limit))
        text = model.decode(written)[0]
        expected = {"text": text, "words": len(text.split()), "finished": bool(written.finished[0]), "seconds": 0.5}
        assert {name: one[name] for name in expected} == expected
    tree = found.to_dict()["no_speech"]
    assert len(tree) == 2 * 2 * 3
    assert "without speech  model" in str(found)
    assert "invents: “" in str(found)


def test_a_probe_without_clips_has_no_reading(student_path, teacher_path, manifests):
    found = probe(load_pair(student_path, teacher_path, k=4), manifests["probe"], max_utterances=2, quiet=True)
    assert found.no_speech is None
    assert "no_speech" not in found.to_dict()


def test_readings_are_apart_by_model_and_kind():
    rows = (row("", 0), row("a b", 2, finished=False), row("", 0, "silence"), row("", 0, model="teacher"))
    found = NoSpeechReading(rows).estimates()
    assert list(found) == [("student", "noise"), ("student", "silence"), ("teacher", "noise")]
    assert found["student", "noise"]["invented_words"].value == 2.0
    assert found["student", "noise"]["unfinished_clips"].value == 0.5
    assert found["student", "silence"]["clips_with_words"].value == 0.0


def test_a_run_keeps_the_transcripts_of_each_probe(mini, tmp_path):
    mini["stages"] = mini["stages"][:1]
    mini["stages"][0]["steps"] = 1
    mini["probe"]["no_speech"] = {"silence": 1, "noise": 2, "clip_seconds": 6.0}
    mini["audio"] = {"max_seconds": 5.0}  # of recordings, not of clips
    result = train(Recipe.model_validate(mini), tmp_path / "run")
    folder = result.path / "no_speech"
    assert {path.name for path in folder.iterdir()} == {path.name for path in (result.path / "probes").iterdir()}
    read = load(result.path)
    clips = read.no_speech_clips
    probes = len(list(folder.iterdir()))
    assert len(clips) == probes * 2 * 3
    assert set(clips["normalizer"]) == {"spoken_digits 2"}
    teachers = clips[clips["model"] == "teacher"].groupby("clip")["text"].agg(set)
    assert teachers.map(len).tolist() == [1, 1, 1]
    numbers = read.no_speech
    assert len(numbers) == probes * 2 * 2 * 3
    one = numbers.query("model == 'student' and kind == 'noise' and statistic == 'invented_words'").iloc[-1]
    at = clips[(clips["step"] == one["step"]) & (clips["model"] == "student") & (clips["kind"] == "noise")]
    assert one["value"] == at["words"].sum() / (at["seconds"].sum() / 60)
    assert one["n_groups"] == 2
    report = write_report(result.path, tmp_path / "report.md")
    text = report.path.read_text()
    assert "### Without speech" in text
    assert "Clips without speech: every word is invented." in text
    path = sorted(folder.iterdir())[0]
    frame = pd.read_parquet(path)
    pd.concat([frame, frame.head(1)]).to_parquet(path)
    with pytest.raises(UserError, match="model 'student', clip 'silence-000' is also in row"):
        load(result.path).no_speech  # noqa: B018
    frame.drop(columns="words").to_parquet(path)
    with pytest.raises(UserError, match="words"):
        load(result.path).no_speech  # noqa: B018


def test_the_command_reads_them_when_asked(student_path, teacher_path, manifests, capsys):
    arguments = ("--student", student_path, "--teacher", teacher_path, "--manifest", manifests["probe"])
    arguments = ("probe", *arguments, "--max-new-tokens", "6", "--max-utterances", "2")
    asked = ("--silence", "1", "--noise", "2", "--clip-seconds", "0.5")
    code, printed, _ = run(*arguments, *asked, "--json", capsys=capsys)
    tree = json.loads(printed)["no_speech"]
    assert code == 0
    assert {(one["model"], one["kind"], one["n_groups"]) for one in tree} == {
        (model, kind, n) for model in ("student", "teacher") for kind, n in (("silence", 1), ("noise", 2))
    }
    code, _, said = run(*arguments, "--clip-seconds", "0.5", capsys=capsys)
    assert code == 1
    assert "give --silence or --noise, the number of clips" in said
    code, _, said = run(*arguments, *asked, "--teacher-url", "http://localhost:1", "--preflight", capsys=capsys)
    assert "--preflight transcribes no clips without speech" in said


def test_what_the_models_cannot_hear_is_refused_before_work(tmp_path, student_path):
    text = load_recognizer(str(save_gpt2(tmp_path / "text")))
    with pytest.raises(
        UserError, match=r"probe\.no_speech: clips without speech are audio, and '.*text' reads prompts"
    ):
        checked_clips(CLIPS, [], [text], "probe.no_speech")
    whisper = load_recognizer(str(save_whisper(tmp_path / "whisper", multilingual=False)))
    window = whisper.limits.window_seconds
    longer = NoSpeech(silence=1, clip_seconds=window + 1)
    with pytest.raises(UserError, match=f"clip_seconds = {window + 1:g} is longer than the window of '.*whisper'"):
        checked_clips(longer, [], [whisper], "probe.no_speech")
    assert checked_clips(NoSpeech(clip_seconds=99.0), [], [whisper], "probe.no_speech") == ()


def test_recordings_of_noise_are_data_of_a_run(tmp_path):
    """Their digest is kept, and a resumed run asks where they are."""
    soundfile.write(tmp_path / "hum.wav", np.full(8000, 0.1), 16_000)
    settings = ["probe.no_speech.noise=2", f"probe.no_speech.background={tmp_path}"]
    recipe = load_recipe(packaged("").with_name("recipes") / "demo.toml", settings)
    assert data_paths(recipe)["probe.no_speech.background"] == str(tmp_path)
    assert set(resolved_configuration(recipe)["background_sha256"]) == {str(tmp_path)}


def test_mistakes_in_a_recipe_are_named(tmp_path):
    recipe = packaged("").with_name("recipes") / "demo.toml"
    for setting, words in (
        ("background='noise'", "no noise is drawn from it; set noise to 1 or more"),
        ("noise=-1", "probe.no_speech.noise"),
        ("clip_seconds=0", "probe.no_speech.clip_seconds"),
    ):
        with pytest.raises(RecipeError, match=words):
            load_recipe(recipe, [f"probe.no_speech.{setting}"])


def test_estimates_are_those_of_the_library():
    rows = tuple(row(str(i), i % 3, finished=i % 2 == 0) for i in range(9))
    words, finished = [one["words"] for one in rows], [one["finished"] for one in rows]
    assert NoSpeechReading(rows).estimates()["student", "noise"] == no_speech_estimates(
        words=words, seconds=[30.0] * 9, finished=finished
    )
