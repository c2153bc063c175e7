"""LoRA students: what is trained, what a checkpoint holds, and runs that are cut, resumed and sent back."""

import json
import sys

import numpy as np
import pytest
import torch
from peft import PeftModel
from pydantic import ValidationError
from safetensors.torch import load_file

from distill import resume, train
from distill.models import ModelError, load_recognizer
from distill.models.lora import add_adapters, load_adapters
from distill.recipe import Recipe
from distill.run import checkpoint
from distill.run.checkpoint import TrainingState
from overlap.extras import MissingExtraError
from tests.distill.small_models import save_glm_asr, save_gpt2, save_moonshine, save_qwen3, save_whisper
from tests.distill.test_cli import run as run_cli
from tests.distill.training.test_trainer import _Interrupt, rows

RNG = np.random.default_rng(0)
INPUTS = {
    "audio": [RNG.standard_normal(n).astype(np.float32) * 0.1 for n in (9_000, 30_000)],
    "prompt": ["call", "stop the train, please"],
}
FAMILIES = {
    "whisper": save_whisper,
    "moonshine": save_moonshine,
    "glm-asr": save_glm_asr,
    "qwen3": save_qwen3,
    "gpt2": save_gpt2,
}
PROBE = {"every": 2, "states": ["student"], "max_utterances": 4, "trace_utterances": 0}


def scores(recognizer):
    inputs = INPUTS[recognizer.reads]
    prompt = recognizer.prepare(inputs, ["English"] * len(inputs))
    with torch.no_grad():
        return recognizer.score(prompt, recognizer.encode(["stop the train", "call"]))


@pytest.fixture(params=FAMILIES)
def adapted(request, tmp_path):
    """A student with a frozen encoder and adapters that do something, and its scores before it got them."""
    path = FAMILIES[request.param](tmp_path / "base")
    student = load_recognizer(str(path))
    student.freeze_encoder(0.0)
    before = scores(student)
    add_adapters(student, rank=4, alpha=8.0, seed=3)
    torch.testing.assert_close(scores(student), before, atol=0, rtol=0)
    factors = [p for name, p in student.generator.named_parameters() if ".lora_B." in name]
    with torch.no_grad():
        for factor in factors:
            factor.normal_(std=0.1)
    assert (scores(student) - before).abs().max() > 0.01
    return path, student


def test_adapters_alone_are_trained_and_none_is_in_a_frozen_encoder(adapted):
    _, student = adapted
    scores_of = student.score(
        student.prepare(INPUTS[student.reads], ["English"] * 2), student.encode(["stop the train", "call"])
    )
    scores_of.square().mean().backward()
    for name, parameter in student.generator.named_parameters():
        assert (parameter.grad is not None) == (".lora_" in name), name
        assert not (".lora_" in name and ("encoder." in name or "audio_tower" in name)), name


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks by the older name
def test_a_checkpoint_is_a_model_with_the_same_scores_and_an_adapter_for_peft(adapted, tmp_path):
    path, student = adapted
    saved = checkpoint.save(tmp_path, student, TrainingState(), student.generator.state_dict(), None)
    expected = scores(student)
    alone = load_recognizer(str(saved))
    assert type(alone.generator) is type(student.generator)
    assert not [name for name in load_file(saved / "model.safetensors") if "lora" in name or "base_layer" in name]
    torch.testing.assert_close(scores(alone), expected, atol=1e-4, rtol=1e-4)
    with_peft = load_recognizer(str(path))
    with_peft.model = with_peft.generator = PeftModel.from_pretrained(with_peft.generator, saved / "adapter")
    torch.testing.assert_close(scores(with_peft), expected, atol=1e-5, rtol=1e-5)
    again = load_recognizer(str(path))
    again.freeze_encoder(0.0)
    add_adapters(again, rank=4, alpha=8.0, seed=5)
    load_adapters(again.generator, saved / "adapter")
    torch.testing.assert_close(scores(again), expected, atol=0, rtol=0)


@pytest.fixture
def lora(mini, tmp_path):
    """The miniature recipe on Whispers: adapters on the decoder, steps in parts, layers computed twice, a fall back."""
    student = {"model": str(save_whisper(tmp_path / "student", seed=1)), "freeze_encoder": True}
    student |= {"gradient_checkpointing": True, "lora": {"rank": 2, "alpha": 4.0, "dropout": 0.1}}
    mini |= {"student": student, "teacher": {"model": str(save_whisper(tmp_path / "teacher", seed=2))}}
    mini["stages"] = [stage | {"batch_size": 3, "micro_batch_size": 2, "steps": 2} for stage in mini["stages"][1:]]
    mini["stages"][1]["gate"] = {"type": "collapse", "limits": {"student_logprob": [0.0, None]}}
    return Recipe.model_validate(
        mini | {"evaluation": None, "checkpoint": {"every": 1}, "probe": mini["probe"] | PROBE}
    )


def test_a_run_falls_back_to_earlier_adapters_and_ends_the_same_when_cut(lora, tmp_path, manifests, capsys):
    whole = train(lora, tmp_path / "whole")
    assert [row["stage"] for row in rows(whole.path, "metrics")].count("teacher data") == 4
    assert "1 fallbacks already" in whole.reason
    with pytest.raises(KeyboardInterrupt):
        train(lora, tmp_path / "cut", observer=_Interrupt(4))
    again = resume(tmp_path / "cut")
    for file in ("model.safetensors", "adapter/adapter_model.safetensors"):
        assert (again.model / file).read_bytes() == (whole.model / file).read_bytes()
    first, last = (load_file(f"{folder}/model.safetensors") for folder in (lora.student.model, whole.model))
    changed = {name for name, weight in last.items() if not torch.equal(weight, first[name])}
    assert changed
    assert all(name.startswith("model.decoder.layers.") for name in changed)
    code, out, _ = run_cli(
        *("evaluate", "--model", whole.model, "--manifest", manifests["test"], "--max-new-tokens", 4, "--json"),
        capsys=capsys,
    )
    assert code == 0
    assert json.loads(out)["n_utterances"] == 10


class TestMistakes:
    def test_peft_is_an_extra(self, tmp_path, monkeypatch):
        student = load_recognizer(str(save_gpt2(tmp_path / "gpt2")))
        monkeypatch.setitem(sys.modules, "peft", None)
        with pytest.raises(MissingExtraError, match=r"student\.lora needs .* peft; .*support-overlap\[lora\]"):
            add_adapters(student, rank=1, alpha=1.0)

    def test_layers_that_are_not_there(self, tmp_path):
        student = load_recognizer(str(save_gpt2(tmp_path / "gpt2")))
        with pytest.raises(ModelError, match=r"target_modules has 'q_proj'.*; they end in c_attn, c_fc, c_proj"):
            add_adapters(student, rank=1, alpha=1.0, target_modules=("c_attn", "q_proj"))

    def test_layers_of_a_frozen_encoder_alone(self, tmp_path):
        student = load_recognizer(str(save_whisper(tmp_path / "whisper")))
        student.freeze_encoder(0.0)
        with pytest.raises(ModelError, match=r"only layers of the encoder, .* or remove freeze_encoder"):
            add_adapters(student, rank=1, alpha=1.0, target_modules=("model.encoder.layers.0.fc1",))

    def test_random_weights_and_coarse_weights(self, mini):
        student = {"model": "x", "from_scratch": True, "lora": {}}
        with pytest.raises(ValidationError, match="adapters need trained weights"):
            Recipe.model_validate(mini | {"student": student})
        with pytest.raises(ValidationError, match=r'updates .* rounded away.*precision = "bf16"'):
            Recipe.model_validate(mini | {"student": {"model": "x", "dtype": "bfloat16"}})

    def test_a_checkpoint_without_its_factors_or_with_others(self, tmp_path):
        student = load_recognizer(str(save_gpt2(tmp_path / "gpt2")))
        add_adapters(student, rank=1, alpha=1.0, target_modules=("c_attn",))
        with pytest.raises(ModelError, match=r"adapter_model\.safetensors is missing"):
            load_adapters(student.generator, tmp_path)
        saved = checkpoint.save(tmp_path, student, TrainingState(), student.generator.state_dict(), None)
        other = load_recognizer(str(tmp_path / "gpt2"))
        add_adapters(other, rank=1, alpha=1.0, target_modules=("c_fc",))
        with pytest.raises(ModelError, match="adapters of other layers"):
            load_adapters(other.generator, saved / "adapter")
