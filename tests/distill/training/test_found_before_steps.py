"""Whatever makes a line unusable is found before the first step, all of it at once, and can be dropped."""

import json
import shutil

import numpy as np
import pytest
import soundfile

from distill import ManifestError, train
from distill.data.checks import Use, check_audio, check_models
from distill.data.manifest import read_manifest
from distill.models import load_recognizer
from distill.recipe import Recipe
from distill.recipe.augmentation import Noise
from distill.recipe.paths import packaged
from distill.training.augmentation import Augmentation, AugmentationError
from distill.training.setup import prepare_run
from tests.distill.test_cli import run
from tests.distill.training.test_unusable_lines import Listener, lines, supervised, written

__all__ = ["lines"]
CONTROL = "a<|im_end|>b"


@pytest.fixture
def damaged(tmp_path) -> dict[str, str]:
    """Audio whose header is whole: a sample that is not a number, and a FLAC with noise in its middle."""
    noise = np.random.default_rng(0)
    samples = noise.normal(0, 0.1, 32000).astype(np.float32)
    soundfile.write(tmp_path / "whole.flac", samples, 16000)
    content = bytearray((tmp_path / "whole.flac").read_bytes())
    middle = slice(len(content) // 2, len(content) // 2 + 2000)
    content[middle] = noise.bytes(2000)
    (tmp_path / "noise.flac").write_bytes(content)
    samples[1000] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "whole.wav", samples[2000:], 16000)
    return {name: str(tmp_path / name) for name in ("noise.flac", "nan.wav", "whole.wav", "whole.flac")}


def test_audio_is_decoded_where_headers_tell_nothing(damaged, tmp_path):
    names = ["whole.wav", "noise.flac", "nan.wav", "whole.flac"]
    # Of the second of noise before and after the fault, each stretch stands for itself.
    rows = [*({"audio": damaged[name]} for name in names), {"audio": damaged["nan.wav"], "begin_time": 1.0}]
    utterances = read_manifest(written(tmp_path / "set.jsonl", rows))
    assert check_audio(utterances, 30.0) == []
    found = check_audio(utterances, 30.0, decode=True)
    assert [(one.line, one.field) for one in found] == [(2, "audio"), (3, "audio")]
    assert "has 1 samples that are NaN or infinite" in found[1].message


@pytest.mark.parametrize("wrong", ["noise.flac", "nan.wav", "context", "long context"])
def test_a_line_is_refused_before_the_first_step_or_dropped(wrong, mini, lines, damaged, tmp_path):
    where = {"context": {"context": CONTROL}, "long context": {"context": "names " * 2000}}
    bad = where.get(wrong) or {"audio": damaged.get(wrong), "begin_time": 0, "end_time": -1}
    manifest, listener = written(tmp_path / "set.jsonl", [*lines[:5], lines[5] | bad, *lines[6:]]), Listener()
    with pytest.raises(ManifestError, match=rf"1 line of the data cannot be used (?s:.)*{manifest}:6: utterance"):
        train(supervised(mini, manifest), tmp_path / "refused", observer=listener)
    assert listener.steps == 0
    assert train(supervised(mini, manifest, unusable="drop"), tmp_path / "run", observer=listener).outcome == "finished"
    assert [one.line for one in listener.said] == [6]


def test_opening_alone_can_be_asked_for(mini, lines, damaged, tmp_path):
    bad = {"audio": damaged["nan.wav"], "begin_time": 0, "end_time": -1}
    listener = Listener()
    manifest = written(tmp_path / "set.jsonl", [lines[0] | bad, *lines[1:]])
    with pytest.raises(ValueError, match="NaN or infinite"):
        train(supervised(mini, manifest, check="open"), tmp_path / "run", observer=listener)
    assert (tmp_path / "run").exists()


def test_everything_is_said_at_once(mini, lines, tmp_path):
    wrong = {
        1: {"audio": "/nowhere.wav"},
        2: {"language": "Klingon"},
        3: {"text": "one " * 3000},
        4: {"context": CONTROL},
        5: {"text": CONTROL},
        6: {"end_time": 1e4},
        7: {"text": None},
    }
    manifest = written(tmp_path / "set.jsonl", [line | wrong.get(n, {}) for n, line in enumerate(lines, 1)])
    with pytest.raises(ManifestError) as refused:
        train(supervised(mini, manifest), tmp_path / "run")
    said = str(refused.value)
    assert said.startswith("7 lines of the data cannot be used")
    assert all(f"{manifest}:{n}: " in said for n in wrong)


def test_a_text_that_is_missing_is_named_and_dropped_only_where_it_is_needed(mini, lines, tmp_path):
    manifest = written(tmp_path / "set.jsonl", [lines[0], lines[1] | {"text": None}, *lines[2:]])
    for section in (*mini["stages"][:2], mini["evaluation"]):
        section["manifest"] = str(manifest)
    with pytest.raises(ManifestError) as refused:
        prepare_run(Recipe.model_validate(mini), device="cpu")
    head, *said = str(refused.value).splitlines()
    assert head.startswith("1 line of the data cannot be used")
    missing = f'  {manifest}:2: utterance {lines[1]["id"]!r}: field "text": is missing, and '
    remedy = " needs it; add it, empty where nothing is said, or leave the line out"
    assert said == [f"{missing}{what}{remedy}" for what in ("supervised training (stage 'base')", "evaluation 'test'")]
    setup = prepare_run(Recipe.model_validate(mini | {"audio": {"unusable": "drop"}}), device="cpu")
    base, taught, _ = setup.stages
    assert len(taught) == len(base) + 1 == len(setup.evaluations[0]) + 1 == len(lines)
    assert [(one.line, one.field) for one in setup.findings] == [(2, "text"), (2, "text")]


@pytest.mark.parametrize("verb", ["evaluate", "transcribe", "probe"])
def test_commands_find_a_context_with_control_tokens_before_they_work(verb, lines, student_path, tmp_path, capsys):
    manifest = written(tmp_path / "set.jsonl", [lines[0], lines[1] | {"context": CONTROL}])
    models = {"transcribe": ["--teacher"], "probe": ["--student", "--teacher"], "evaluate": ["--model"]}[verb]
    arguments = [word for role in models for word in (role, student_path)]
    code, out, err = run(
        verb,
        *arguments,
        "--manifest",
        manifest,
        "--output",
        tmp_path / "out.jsonl",
        "--max-new-tokens",
        "4",
        capsys=capsys,
    )
    assert (code, out) == (1, "")
    assert f"{manifest}:2: utterance" in err
    assert 'field "context": ' in err
    assert "control token '<|im_end|>', which would end the turn; remove it" in err


@pytest.mark.parametrize("verb", ["evaluate", "probe"])
def test_commands_find_what_cannot_be_decoded_before_models(verb, damaged, lines, tmp_path, capsys, monkeypatch):
    def fail(*_, **__):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("distill.models.load_recognizer", fail)
    rows = [lines[0], {"id": "bad", "audio": damaged["nan.wav"], "text": "one"}]
    manifest = written(tmp_path / "set.jsonl", rows)
    models = {"probe": ["--student", "--teacher"], "evaluate": ["--model"]}[verb]
    arguments = [word for role in models for word in (role, "demo:student")]
    code, _, err = run(verb, *arguments, "--manifest", manifest, capsys=capsys)
    assert code == 1
    assert f"{manifest}:2: utterance 'bad': field \"audio\": " in err


@pytest.mark.parametrize(
    ("name", "why"), [("noise.flac", "cannot be used"), ("nan.wav", "not finite"), ("empty.wav", "no samples")]
)
def test_background_noise_is_decoded_too(name, why, mini, damaged, tmp_path):
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16000)
    shutil.copy(damaged["whole.wav"], sounds)
    augment = [{"type": "noise", "background": str(sounds), "min_snr_db": 5.0, "max_snr_db": 9.0}]
    assert Augmentation.from_sections([Noise.model_validate(one) for one in augment]) is not None
    shutil.copy(tmp_path / name, sounds)
    mini["stages"][0]["augment"] = augment
    with pytest.raises(AugmentationError, match=rf"stages.0.augment.0.background: {sounds / name} .*{why}"):
        train(Recipe.model_validate(mini), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def student():
    return load_recognizer(str(packaged("student")))


class TestRoomOfSpeechModels:
    """The packaged student has 1,024 positions, for instructions, context, audio and text together."""

    def one(self, tmp_path, samples: int, **line):
        soundfile.write(tmp_path / "a.wav", np.zeros(samples, dtype=np.float32), 16000)
        (tmp_path / "set.jsonl").write_text(json.dumps({"audio": "a.wav"} | line) + "\n")
        return read_manifest(tmp_path / "set.jsonl")

    @pytest.mark.parametrize("samples", [16000, 52345])
    def test_a_label_has_what_prompt_and_audio_leave(self, student, samples, tmp_path):
        waveform = np.zeros(samples, dtype=np.float32)
        before = int(student.prepare([waveform], ["English"], ["names"]).inputs["attention_mask"].sum())
        per_word = student.encode(["x x x"]).lengths.item() - student.encode(["x x"]).lengths.item()
        assert per_word == 2
        room = student.limits.label_tokens - before - 1  # one is the end of text
        for tokens, fits in ((room, True), (room + 1, False)):
            text = " ".join(["x"] * ((tokens + 1) // 2)) + ("" if tokens % 2 else " ")
            assert student.encode([text]).lengths.item() == tokens
            (utterance,) = self.one(tmp_path, samples, language="English", context="names", text=text)
            found = check_models(Use([utterance], (student,), student))
            assert [one.field for one in found] == ([] if fits else ["text"])
        assert f"and what stands before it {before}, " in found[0].message

    def test_a_context_leaves_room_for_audio_and_a_token(self, student, tmp_path):
        (utterance,) = self.one(tmp_path, 16000, context="names " * 2000, text="one")
        (found,) = check_models(Use([utterance], (student,), student))
        assert found.field == "context"
        assert "has room for 1024, including the transcript" in found.message

    def test_an_unknown_language_is_said_once(self, student, tmp_path):
        (utterance,) = self.one(tmp_path, 16000, language="Klingon", context="names", text="one")
        (found,) = check_models(Use([utterance], (student,), student))
        assert found.field == "language"
