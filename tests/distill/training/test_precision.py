"""What saves memory and what it costs: layers computed twice, half precision, and where the teacher is."""

import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from torch.testing import assert_close

from distill import train
from distill.models import ModelError, Prompt, load_recognizer
from distill.recipe import Recipe, Student
from distill.scoring import local
from distill.scoring.loading import load_student, load_teacher
from overlap.extras import MissingExtraError
from tests.distill.small_models import save_glm_asr, save_qwen3, save_whisper

RNG = np.random.default_rng(0)
WAVEFORMS = [RNG.standard_normal(n).astype(np.float32) * 0.1 for n in (9_000, 30_000)]


class TestGradientCheckpointing:
    @pytest.mark.parametrize("frozen", [False, True])
    def test_gradients_are_the_same_and_layers_are_computed_twice(self, frozen, tmp_path):
        path, found, calls = save_whisper(tmp_path / "whisper"), [], []
        for again in (False, True):
            section = Student(model=str(path), gradient_checkpointing=again, freeze_encoder=frozen)
            student, count = load_student(section), [0]
            layer = student.generator.model.decoder.layers[0].fc1
            layer.register_forward_hook(lambda *_, count=count: count.__setitem__(0, count[0] + 1))
            student.model.train()
            prompt = student.prepare(WAVEFORMS, [None, None])
            student.score(prompt, student.encode(["call", "stop"])).square().mean().backward()
            found.append({n: p.grad for n, p in student.generator.named_parameters() if p.grad is not None})
            calls += count
        assert calls == [1, 2]
        assert found[0].keys() == found[1].keys()
        assert any("encoder.layers" in name for name in found[0]) != frozen
        for name, gradient in found[0].items():
            assert_close(found[1][name], gradient, atol=1e-7, rtol=1e-5, msg=name)

    def test_a_model_that_cannot_is_named(self, tmp_path, monkeypatch):
        path = save_qwen3(tmp_path / "qwen3")
        monkeypatch.setattr("transformers.Qwen3ForCausalLM.supports_gradient_checkpointing", False)
        with pytest.raises(ModelError, match=r"gradient_checkpointing = true, which a qwen3 model does not support"):
            load_student(Student(model=str(path), gradient_checkpointing=True))


def test_a_run_in_bfloat16_keeps_float32_weights_and_measures_its_logits_in_float32(
    texts,
    text_manifests,
    tmp_path,
    monkeypatch,
):
    probe = {"manifest": str(text_manifests["probe"]), "every": 2, "states": ["student"], "trace_utterances": 0}
    stage = texts["stages"][2] | {"steps": 2}
    seen = []

    def spy(student, teacher, settings, **options):
        mask, measured = options["mask"], original(student, teacher, settings, **options)
        if len(seen) < 2 and mask.shape[0] == 8:  # the batch of a probe
            seen.append((student.clone(), teacher.clone(), settings, options))
        return measured

    original = local.measure_with_sets
    monkeypatch.setattr(local, "measure_with_sets", spy)
    recipe = texts | {"precision": "bf16", "stages": [stage], "probe": probe}
    result = train(Recipe.model_validate(recipe), tmp_path / "run")
    monkeypatch.undo()
    losses = [json.loads(line)["loss"] for line in (result.path / "metrics.jsonl").read_text().splitlines()]
    assert result.outcome == "finished"
    assert np.isfinite(losses).all()
    assert {p.dtype for p in load_recognizer(str(result.model)).generator.parameters()} == {torch.float32}
    student, teacher, settings, options = seen[0]
    # The end of text is a sum of several ends.
    apart = [i for i in range(student.shape[-1]) if i not in settings.ends and not settings.blocked[i]]
    assert_close(student[..., apart], student[..., apart].bfloat16().float(), atol=0, rtol=0)  # bfloat16 values
    log_p, log_q = (
        x.float().masked_fill(blocked, -torch.inf).log_softmax(-1)
        for x, blocked in ((student, settings.blocked), (teacher, settings.teacher_blocked))
    )
    kl = (log_q.exp() * (log_q - log_p)).nan_to_num(0.0).sum(-1)[options["mask"]]
    probes = pd.read_parquet(result.path / "probes")
    stored = probes[(probes["step"] == 0) & (probes["statistic"] == "forward_kl")]["value"].item()
    assert stored == pytest.approx(float(kl.double().mean()), rel=1e-5)


class TestQuantizedTeacher:
    def test_torchao_is_an_extra(self, mini, tmp_path, monkeypatch):
        path = str(save_qwen3(tmp_path / "teacher"))
        for module in ("torchao", "torchao.quantization"):
            monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(MissingExtraError, match=r'quantize = "int8" needs .*torchao.*support-overlap\[quantized\]'):
            load_teacher(section(mini, path, quantize="int8"), "cpu", k=4)

    def test_random_weights_and_servers_have_none(self, mini):
        with pytest.raises(ValidationError, match="no weights to read with from_scratch"):
            section(mini, "x", quantize="int8", from_scratch=True)
        with pytest.raises(ValidationError, match="device, quantize: the server sets this"):
            section(mini, "x", quantize="int8", device="cpu", url="http://localhost:1/v1")


def section(mini, path, **settings):
    return Recipe.model_validate(mini | {"teacher": {"model": path} | settings, "stages": mini["stages"][:1]}).teacher


class TestPlacement:
    def test_an_absent_device_is_named_with_those_that_are_there(self, mini, teacher_path):
        with pytest.raises(ModelError, match=r"teacher\.device = 'cuda:9': this machine has cpu.*; name one"):
            load_teacher(section(mini, str(teacher_path), device="cuda:9"), "cpu", k=4)

    @pytest.mark.parametrize("save", [save_whisper, save_glm_asr])
    def test_transcripts_follow_the_model_that_scores_them(self, save, tmp_path):
        """To the device `meta`, whose tensors refuse to meet those of another."""
        model = load_recognizer(str(save(tmp_path / "model")))
        prompt, transcripts = model.prepare(WAVEFORMS, ["English"] * 2), model.encode(["call", "stop"])
        model.tokens = replace(model.tokens, blocked=model.tokens.blocked.to("meta"))
        model.generator.to("meta")
        given = {}
        model.model = lambda **passed: given.update(passed) or SimpleNamespace(logits=torch.empty(2, 40, 500))
        model.score(Prompt({name: tensor.to("meta") for name, tensor in prompt.inputs.items()}), transcripts)
        assert {value.device.type for value in given.values() if isinstance(value, torch.Tensor)} == {"meta"}

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device beside the CPU")
    @pytest.mark.parametrize("save", [save_whisper, save_qwen3])
    def test_a_teacher_on_the_cpu_teaches_a_student_on_the_gpu(self, save, texts, mini, tmp_path):
        recipe = texts if save is save_qwen3 else mini | {"probe": mini["probe"] | {"every": 2}, "evaluation": None}
        models = {
            "student": {"model": str(save(tmp_path / "a", seed=1))},
            "teacher": {"model": str(save(tmp_path / "b", seed=2)), "device": "cpu"},
        }
        stages = [stage | {"steps": 2} for stage in recipe["stages"]]
        assert (
            train(Recipe.model_validate(recipe | models | {"stages": stages}), tmp_path / "run").outcome == "finished"
        )
