"""Ark-ASR's way: code of the checkpoint's own, run when it is trusted and never otherwise."""

import json

import numpy as np
import pytest
import torch

from distill import train
from distill.data.batch import Batch
from distill.data.manifest import Utterance
from distill.models import ModelError, load_recognizer
from distill.recipe import Recipe
from tests.distill.small_models import WINDOW_SECONDS, save_ark_asr
from tests.distill.test_cli import as_toml, run

# Code that a checkpoint brings is as old as the checkpoint.
pytestmark = pytest.mark.filterwarnings("ignore:.*`past_key_values`:FutureWarning")

REFUSED = "contains Python code, which would run with your permissions. Read it; then set trust_remote_code"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return save_ark_asr(tmp_path_factory.mktemp("ark") / "student")


@pytest.fixture(scope="module")
def marked(tmp_path_factory):
    """A checkpoint whose code leaves a file behind when it is run."""
    folder = save_ark_asr(tmp_path_factory.mktemp("marked") / "model")
    mark = folder.parent / "was run"
    for file in folder.glob("*.py"):
        file.write_text(f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n{file.read_text()}")
    return folder, mark


def test_code_is_not_run_unless_trusted(marked, manifests, mini, tmp_path, capsys):
    folder, mark = marked
    with pytest.raises(ModelError, match=f"{folder.name}' {REFUSED} = true in the model's section of the recipe"):
        load_recognizer(str(folder))
    mini["teacher"] = {"model": str(folder)}
    with pytest.raises(ModelError, match=REFUSED):
        train(Recipe.model_validate(mini), tmp_path / "run")
    code, _, err = run("evaluate", "--model", folder, "--manifest", manifests["test"], capsys=capsys)
    assert code == 1
    assert "or give --trust-remote-code" in err
    assert not mark.exists()
    load_recognizer(str(folder), trust_remote_code=True)
    assert mark.exists()


def test_the_prompt_is_the_published_one(path):
    recognizer = load_recognizer(str(path), trust_remote_code=True)
    waveforms = [np.zeros(n, np.float32) for n in (16_000, 4_000)]
    prompt = recognizer.prepare(waveforms, ["English", None])
    # 100 mel frames, halved by the encoder, merged by four.
    assert recognizer.prompt_text(prompt, 0) == (
        "<|user|><|begin_of_audio|><|audio|>×12<|end_of_audio|>Please transcribe this audio.<|assistant|>"
    )
    assert "<|audio|><|audio|><|audio|><|end_of_audio|>" in recognizer.prompt_text(prompt, 1)
    assert recognizer.tokens.strings[recognizer.tokens.end_of_text] == "<|im_end|>"


def test_scores_equal_the_models_own_forward_pass(path):
    recognizer = load_recognizer(str(path), trust_remote_code=True)
    waveforms = [np.random.default_rng(n).standard_normal(n).astype(np.float32) * 0.1 for n in (20_000, 9_000)]
    targets = recognizer.encode(["call three", "x"])
    scores = recognizer.score(recognizer.prepare(waveforms, [None] * 2), targets)
    for row, waveform in enumerate(waveforms):
        features = recognizer.processor.feature_extractor(waveform, sampling_rate=16_000, return_tensors="pt")
        n = (len(waveform) // 160 + 1) // 2 // 4
        text = f"<|user|><|begin_of_audio|>{'<|audio|>' * n}<|end_of_audio|>Please transcribe this audio.<|assistant|>"
        before = recognizer.tokenizer(text, add_special_tokens=False)["input_ids"]
        after = targets.ids[row][targets.mask[row]].tolist()
        logits = recognizer.generator(torch.tensor([before + after]), audios=features.input_features).logits[0]
        expected = logits[len(before) - 1 : -1, : recognizer.tokens.size]
        torch.testing.assert_close(scores[row, : len(after)], expected, atol=1e-4, rtol=1e-4)


def test_audio_beyond_the_window_is_named(path):
    recognizer = load_recognizer(str(path), trust_remote_code=True)
    long = np.zeros(int(16_000 * (WINDOW_SECONDS + 0.5)), np.float32)
    batch = Batch((Utterance("u7", path / "x.wav"),), (long,))
    with pytest.raises(ModelError, match=r"^utterance 'u7': .*audio of 4\.50 s, its window is 4 s\. Split the utter"):
        batch.prompt(recognizer)


@pytest.mark.filterwarnings("ignore:.*never begins")  # of a run that is cut short on purpose
def test_the_verbs_when_it_is_trusted(path, teacher_path, manifests, mini, tmp_path, capsys):
    arguments = ("--student", path, "--teacher", teacher_path, "--manifest", manifests["probe"], "--k", 4)
    short = ("--max-new-tokens", 4, "--trust-remote-code", "--json")
    code, out, _ = run("probe", *arguments, *short, capsys=capsys)
    assert code == 0
    assert json.loads(out)["funnel"]["used"] > 0
    code, out, _ = run("show", *arguments, *short, capsys=capsys)
    assert code == 0
    assert "<|begin_of_audio|><|audio|>×" in json.loads(out)["student_prompt"]
    mini |= {"student": {"model": str(path), "trust_remote_code": True}, "total_steps": 2}
    (tmp_path / "recipe.toml").write_text(as_toml(mini))
    code, _, _ = run("train", tmp_path / "recipe.toml", "--output", tmp_path / "run", capsys=capsys)
    assert code == 4  # its budget was spent before its last stage
