"""What an utterance may be about, from the manifest into the prompts of student and teacher."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from distill import read_manifest, write_manifest
from distill.data.audio import AudioCache
from distill.data.batch import AudioSource, check_inputs
from distill.data.manifest import ManifestError
from distill.models import InputError, ModelError, load_recognizer
from distill.probing.show import show
from distill.recipe import Decoding, Recipe, SupportSettings, Transcription
from distill.scoring.pair import Pair
from distill.teacher.api import Question
from distill.teacher.conversation import conversation
from distill.teacher.local_tokenizer import load_reader
from distill.teacher.vllm import _body
from distill.teacher_data.job import run_job
from distill.training.setup import prepare_run
from tests.distill.small_models import save_glm_asr, save_moonshine, save_qwen3, save_voxtral, save_whisper

SOURCE = AudioSource(AudioCache())
NAMES = "Boris Anika"


@pytest.fixture(scope="module")
def utterances(manifests):
    first, second, *_ = read_manifest(manifests["probe"])
    return [replace(first, context=NAMES), second]


@pytest.fixture(scope="module")
def models(student_path, teacher_path):
    return [load_recognizer(str(path)) for path in (student_path, teacher_path)]


def system_turn(text):
    return text.split("<|im_start|>system\n")[1].split("<|im_end|>")[0]


def test_manifests_keep_it(utterances, tmp_path):
    write_manifest(tmp_path / "m.jsonl", utterances)
    assert read_manifest(tmp_path / "m.jsonl") == utterances
    rows = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    assert [row.get("context") for row in rows] == [NAMES, None]


@pytest.mark.parametrize(("value", "kind"), [(3, "number"), (["a"], "list")])
def test_what_is_no_string_is_refused(value, kind, tmp_path):
    (tmp_path / "a.wav").touch()
    (tmp_path / "m.jsonl").write_text(json.dumps({"audio": "a.wav", "context": value}) + "\n")
    with pytest.raises(ManifestError, match=f'm.jsonl:1: field "context" is a {kind}, not a string; write it as text'):
        read_manifest(tmp_path / "m.jsonl")


def test_an_empty_one_says_nothing(tmp_path):
    (tmp_path / "a.wav").touch()
    (tmp_path / "m.jsonl").write_text('{"audio": "a.wav", "context": ""}\n')
    assert read_manifest(tmp_path / "m.jsonl")[0].context is None


def test_it_is_the_system_turn_of_both_models_prompts(models, utterances):
    batch = SOURCE.batch(utterances)
    for model in models:
        prompt = batch.prompt(model)
        assert [system_turn(model.prompt_text(prompt, row)) for row in (0, 1)] == [NAMES, ""]


def test_it_is_what_the_processor_makes_of_a_prompt(models, utterances):
    batch, processor = SOURCE.batch(utterances[:1]), models[0].processor
    own = processor.apply_transcription_request(
        audio=list(batch.waveforms), language=["English"], prompt=[NAMES], sampling_rate=16_000
    )
    assert torch.equal(batch.prompt(models[0]).inputs["input_ids"], own["input_ids"])


def test_show_says_it(models, utterances):
    view = show(Pair.from_models(*models, 4), SOURCE, utterances[0], SupportSettings(k=4), Decoding(max_new_tokens=4))
    assert [system_turn(prompt) for prompt in view.prompts] == [NAMES, NAMES]


def test_a_served_teacher_is_told(teacher_path):
    reader = load_reader(str(teacher_path))
    asked = conversation(reader, "English", NAMES)
    assert (asked.context, asked.prefill) == (NAMES, "language English<asr_text>")
    assert system_turn(asked.rendered(reader.processor, "x")) == NAMES

    question = Question("u", np.zeros(10, np.float32), asked)
    assert _body("m", question, "x")["messages"][0] == {"role": "system", "content": NAMES}


def test_transcripts_under_another_context_are_another_job(models, utterances, tmp_path):
    def job(some):
        settings = Transcription(max_new_tokens=2)
        return run_job(tmp_path / "journal.jsonl", models[1], SOURCE, some, settings, "weights")

    job(utterances)
    job(utterances)
    with pytest.raises(ValueError, match=r"journal.jsonl:1: written by .* under other settings: utterances is"):
        job([replace(utterances[0], context="Boris"), utterances[1]])


def test_control_tokens_in_it_are_refused(models, utterances):
    batch = SOURCE.batch([utterances[1], replace(utterances[0], context="Boris<|im_end|>")])
    with pytest.raises(
        ModelError,
        match=r"utterance '.*': .*context contains the control token '<\|im_end\|>', which would end the turn",
    ):
        batch.prompt(models[0])


OTHERS = {"whisper": save_whisper, "glm": save_glm_asr, "moonshine": save_moonshine, "voxtral": save_voxtral}
OTHERS |= {"text": save_qwen3}


@pytest.mark.parametrize("family", OTHERS)
def test_other_families_refuse_it_in_words(family, utterances, tmp_path):
    model = load_recognizer(str(OTHERS[family](tmp_path / family)))
    given = [replace(u, prompt="x") for u in utterances]
    message = r"takes no context and 1 utterances have one; remove the field .*\n  .*\.jsonl:1: utterance .*Boris"
    with pytest.raises(ManifestError, match=message):
        check_inputs(given, model)
    inputs = ["x", "y"] if model.reads == "prompt" else list(SOURCE.batch(utterances).waveforms)
    with pytest.raises(InputError, match='takes no context; remove the field "context"') as error:
        model.prepare(inputs, ["en", "en"], [None, NAMES])
    assert error.value.row == 1


def test_a_run_refuses_it_before_it_begins(mini, tmp_path, manifests):
    first, *others = read_manifest(manifests["train"])
    write_manifest(tmp_path / "train.jsonl", [replace(first, context=NAMES), *others])
    mini["stages"][0]["manifest"] = str(tmp_path / "train.jsonl")
    assert prepare_run(Recipe.model_validate(mini), device="cpu").stages[0][0].context == NAMES
    mini["student"] = {"model": str(save_whisper(tmp_path / "whisper"))}
    with pytest.raises(ManifestError, match="takes no context"):
        prepare_run(Recipe.model_validate(mini), device="cpu")
