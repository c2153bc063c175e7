"""On-policy steps score the student as it wrote, without what training mode adds, unless a stage asks for dropout."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.testing import assert_close

from distill import Utterance, train
from distill.data.batch import Batch
from distill.models import ModelError, load_recognizer
from distill.models.surgery import checkpoint_gradients
from distill.recipe import Recipe, Student, SupportSettings
from distill.scoring.loading import load_student
from distill.scoring.pair import Pair
from distill.timing import Stopwatch
from distill.training.soft_switches import Mixture
from distill.training.steps import training_step
from tests.distill.small_models import (
    save_glm_asr,
    save_gpt2,
    save_moonshine,
    save_qwen3,
    save_voxtral,
    save_whisper,
)

RNG = np.random.default_rng(0)
WAVEFORMS = tuple(RNG.standard_normal(n).astype(np.float32) * 0.1 for n in (9_000, 30_000))

DROPOUT = {"dropout": 0.3, "attention_dropout": 0.3, "activation_dropout": 0.3}
SPEC_AUGMENT = {"apply_spec_augment": True, "mask_time_prob": 0.4, "mask_time_length": 4}
SPEC_AUGMENT |= {"mask_feature_prob": 0.4, "mask_feature_length": 4}
LAYER_DROP = {"encoder_layerdrop": 0.5, "decoder_layerdrop": 0.5}
NOISY = {
    "whisper with dropout": (save_whisper, {"": DROPOUT}),
    "whisper with SpecAugment": (save_whisper, {"": SPEC_AUGMENT}),
    "whisper with layer drop": (save_whisper, {"": LAYER_DROP}),
    "moonshine": (save_moonshine, {"": {"attention_dropout": 0.3}}),
    "glm_asr": (save_glm_asr, {"audio_config": DROPOUT, "text_config": {"attention_dropout": 0.3}}),
    "voxtral": (save_voxtral, {"audio_config": DROPOUT, "text_config": {"attention_dropout": 0.3}}),
    "qwen3": (save_qwen3, {"": {"attention_dropout": 0.3}}),
    "gpt2": (save_gpt2, {"": {"resid_pdrop": 0.3, "embd_pdrop": 0.3, "attn_pdrop": 0.3}}),
}


def save_noisy(kind, path):
    """A checkpoint whose configuration has something random in training mode."""
    save, changes = NOISY[kind]
    save(path)
    config = json.loads((path / "config.json").read_text())
    for part, values in changes.items():
        (config[part] if part else config).update(values)
    (path / "config.json").write_text(json.dumps(config))
    return path


def stage(**changes):
    """An on-policy stage."""
    section = {"type": "opd", "name": "s", "manifest": "m", "steps": 1, "rollout": {"max_new_tokens": 6}} | changes
    models = {"student": {"model": "m"}, "teacher": {"model": "m"}}
    return Recipe.model_validate(models | {"stages": [section]}).stages[0]


def step(student, teacher, **changes):
    """An on-policy step of two utterances; outcome and total variation."""
    if student.reads == "prompt":
        batch = Batch(tuple(Utterance(str(i), prompt="say one", text="one") for i in range(2)), (None, None))
    else:
        heard = (Utterance(str(i), audio="unread.wav", text="one", language="English") for i in range(2))
        batch = Batch(tuple(heard), WAVEFORMS)
    outcome = training_step(
        stage(**changes),
        student,
        Pair.from_models(student, teacher, 4),
        batch,
        SupportSettings(k=4),
        Stopwatch(),
        Mixture(off_policy="off_policy" in changes),
    )
    seen = outcome.seen
    variation = dict(zip(seen.sums.names, seen.sums.sums.sum(0).tolist(), strict=True))["total_variation"]
    return outcome, variation


SAMPLED = {"objective": {"type": "policy_gradient", "estimator": "k3"}}
SAMPLED |= {"rollout": {"max_new_tokens": 6, "sample": True}}
OFF_POLICY = {"off_policy": {"fraction": 1.0, "states": "reference"}}


@pytest.mark.parametrize("kind", NOISY)
def test_identical_weights_differ_in_nothing(kind, tmp_path):
    student, teacher = (load_recognizer(str(save_noisy(kind, tmp_path / name))) for name in ("student", "teacher"))
    for changes in ({}, SAMPLED, OFF_POLICY):
        outcome, variation = step(student, teacher, **changes)
        assert abs(float(outcome.loss.detach())) < 1e-4
        assert variation < 1e-4
        assert outcome.loss.requires_grad
        assert not student.model.training
    noised = [step(student, teacher, dropout=True)[1] for _ in range(4)]  # layer drop may spare all layers once
    assert max(noised) > 1e-3
    assert student.model.training  # until the backward pass is over, in which layers may be computed again


def test_dropout_of_adapters_is_left_out_as_well(tmp_path):
    path = str(save_qwen3(tmp_path / "model"))
    student = load_student(Student.model_validate({"model": path, "lora": {"rank": 2, "alpha": 4.0, "dropout": 0.5}}))
    with torch.no_grad():
        for name, parameter in student.generator.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    prompt, target = student.prepare(["say one"], [None]), student.encode(["one"])
    clean = student.score(prompt, target)
    batch = Batch((Utterance("0", prompt="say one", text="one"),), (None,))
    pair = Pair.from_models(student, load_recognizer(path), 4)
    found = {}
    forward = student.score
    student.score = lambda *given: found.setdefault("scored", forward(*given))
    student.model.train()  # as a supervised step leaves it
    training_step(
        stage(**OFF_POLICY), student, pair, batch, SupportSettings(k=4), Stopwatch(), Mixture(off_policy=True)
    )
    assert torch.equal(found["scored"], clean)


def test_batch_norms_keep_their_averages_on_policy(tmp_path):
    student, teacher = (load_recognizer(str(save_qwen3(tmp_path / name))) for name in ("student", "teacher"))
    norm = nn.BatchNorm1d(student.generator.config.hidden_size)
    student.generator.model.norm.register_forward_hook(lambda _, __, out: norm(out.transpose(1, 2)).transpose(1, 2))
    student.generator.further = norm
    before = norm.running_mean.clone()
    step(student, teacher)
    assert torch.equal(norm.running_mean, before)
    step(student, teacher, dropout=True)
    assert not torch.equal(norm.running_mean, before)


@pytest.mark.parametrize("save", [save_whisper, save_moonshine, save_glm_asr, save_voxtral, save_qwen3, save_gpt2])
@pytest.mark.parametrize("training", [False, True])
def test_layers_are_computed_again_in_either_mode_and_keep_less(save, training, tmp_path):
    path, found, kept, calls = str(save(tmp_path / "model")), [], [], []
    for again in (False, True):
        student, count, held = load_student(Student(model=path, gradient_checkpointing=again)), [0], [0]
        layer = max((module for module in student.generator.modules() if isinstance(module, nn.ModuleList)), key=len)[0]
        next(layer.children()).register_forward_hook(lambda *_, count=count: count.__setitem__(0, count[0] + 1))
        given = ["say one", "say two"] if student.reads == "prompt" else WAVEFORMS
        prompt = student.prepare(given, ["English"] * 2)
        student.model.train(training)
        torch.manual_seed(1)

        def keep(tensor, held=held):
            held[0] += tensor.nbytes
            return tensor

        with saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = student.score(prompt, student.encode(["call", "stop"])).square().mean()
        kept += held
        loss.backward()
        calls.append(count[0])
        found.append({n: p.grad for n, p in student.generator.named_parameters() if p.grad is not None})
        with torch.no_grad():  # nothing to compute again
            once = calls[0]  # Moonshine's encoder listens to one utterance after the other
            student.score(prompt, student.encode(["call", "stop"]))
            assert count[0] == calls[-1] + once
    assert calls[0] > 0
    assert calls[1] == 2 * calls[0]
    assert kept[1] < kept[0]
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        assert_close(found[1][name], gradient, atol=1e-6, rtol=1e-4, msg=name)


@pytest.mark.parametrize("dropout", [False, True])
def test_gradients_of_a_noisy_student_whose_layers_are_computed_again_are_those_of_the_loss(dropout, tmp_path):
    student_path, teacher_path = (save_noisy("whisper with dropout", tmp_path / name) for name in "ab")
    teacher, found = load_recognizer(str(teacher_path)), []
    for again in (False, True):
        student = load_student(Student(model=str(student_path), gradient_checkpointing=again))
        with torch.no_grad():
            student.generator.proj_out.weight.add_(0.1)
        torch.manual_seed(3)
        outcome, _ = step(student, teacher, dropout=dropout, **OFF_POLICY)
        outcome.loss.backward()
        found.append({n: p.grad for n, p in student.generator.named_parameters() if p.grad is not None})
    for name, gradient in found[0].items():
        assert_close(found[1][name], gradient, atol=1e-6, rtol=1e-4, msg=name)


def test_code_of_a_checkpoint_that_calls_on_transformers_own_switch_is_refused(tmp_path):
    network = load_recognizer(str(save_qwen3(tmp_path / "model"))).generator

    class HouseStack(nn.Module):
        gradient_checkpointing = False

    network.house = HouseStack()
    with pytest.raises(ModelError, match=r"which a qwen3 model does not support \(HouseStack\); remove it and lower"):
        checkpoint_gradients(network, "mine")


def test_a_run_measures_what_wrote_and_trains_supervised_with_dropout(texts, text_manifests, tmp_path, monkeypatch):
    student = save_noisy("qwen3", tmp_path / "noisy")
    probe = {"manifest": str(text_manifests["probe"]), "every": 1, "states": ["student"], "trace_utterances": 0}
    still = {"lr": 1e-12, "steps": 2, "gate": None}  # weights stay those of the teacher
    recipe = texts | {"student": {"model": str(student)}, "teacher": {"model": str(student)}, "probe": probe}
    recipe["stages"] = [stage | still for stage in (texts["stages"][0], texts["stages"][2])]
    modes, original = [], nn.Module.__call__

    def spy(self, *inputs, **options):
        if type(self).__name__ == "Qwen3ForCausalLM":
            modes.append((self.training, torch.is_grad_enabled()))
        return original(self, *inputs, **options)

    monkeypatch.setattr(nn.Module, "__call__", spy)
    result = train(Recipe.model_validate(recipe), tmp_path / "run")
    monkeypatch.undo()
    assert set(modes) == {(True, True), (False, True), (False, False)}
    rows = [json.loads(line) for line in (result.path / "metrics.jsonl").read_text().splitlines()]
    assert [row["loss"] for row in rows[2:]] == pytest.approx([0, 0], abs=1e-5)
    probes = pd.read_parquet(result.path / "probes")
    variation = probes[probes["statistic"] == "total_variation"]
    assert set(variation["step"]) == {0, 1, 2, 3, 4}  # after supervised steps, too
    assert variation["value"].max() < 1e-5
    resolved = json.loads((result.path / "resolved.json").read_text())
    assert resolved["recipe"]["stages"][1]["dropout"] is False
