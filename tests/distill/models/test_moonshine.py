"""Moonshine: raw waveforms, one by one through the encoder, against the model's own forward pass."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoProcessor, MoonshineForConditionalGeneration

from distill import read_manifest
from distill.data.audio import AudioCache
from distill.data.batch import AudioSource
from distill.models import load_recognizer
from distill.models.moonshine import SHORTEST
from distill.probing.probe import probe
from distill.recipe import Decoding, SupportSettings
from distill.scoring.pair import Pair
from tests.distill.small_models import save_moonshine, save_whisper
from tests.distill.test_cli import run

RNG = np.random.default_rng(0)
WAVEFORMS = [RNG.standard_normal(n).astype(np.float32) * 0.1 for n in (9_000, 30_000)]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return save_moonshine(tmp_path_factory.mktemp("moonshine") / "student")


@pytest.mark.parametrize("frozen", [False, True])
def test_scores_equal_the_models_own_forward_pass(path, frozen):
    """Each utterance alone through transformers' own processor and model."""
    recognizer = load_recognizer(str(path))
    if frozen:
        recognizer.freeze_encoder(10.0)
    model, processor = MoonshineForConditionalGeneration.from_pretrained(path), AutoProcessor.from_pretrained(path)
    targets = recognizer.encode(["call the", "x"])
    scores = recognizer.score(recognizer.prepare(WAVEFORMS, [None] * 2), targets)
    for row, waveform in enumerate(WAVEFORMS):
        inputs = processor(waveform, sampling_rate=16_000, return_tensors="pt")
        after = targets.ids[row][targets.mask[row]]
        before = torch.tensor([[model.config.decoder_start_token_id, *after[:-1].tolist()]])
        logits = model(input_values=inputs.input_values, decoder_input_ids=before).logits[0]
        expected = logits[:, : recognizer.tokens.size]
        torch.testing.assert_close(scores[row, : len(after)], expected, atol=1e-4, rtol=1e-4)


def test_an_encoder_that_is_trained_learns(path):
    recognizer = load_recognizer(str(path))
    prompt = recognizer.prepare(WAVEFORMS, [None] * 2)
    assert recognizer.rollout(prompt, max_new_tokens=4).ids.requires_grad is False
    recognizer.score(prompt, recognizer.encode(["a", "b"])).sum().backward()
    assert recognizer.generator.get_encoder().conv1.weight.grad.abs().sum() > 0


def test_the_shortest_audio_is_heard(path):
    recognizer = load_recognizer(str(path))
    encoder = recognizer.generator.get_encoder()
    assert encoder(torch.zeros(1, SHORTEST)).last_hidden_state.shape[1] == 1
    with pytest.raises(RuntimeError):
        encoder(torch.zeros(1, SHORTEST - 1))
    prompt = recognizer.prepare([WAVEFORMS[0][:100]], [None])
    assert recognizer.score(prompt, recognizer.encode(["a"])).isfinite().all()


def test_markers_are_blocked_and_the_tokenizers_space_is_known(path):
    recognizer = load_recognizer(str(path))
    blocked = {recognizer.tokens.strings[i] for i in recognizer.tokens.blocked.nonzero().flatten().tolist()}
    assert blocked == {"<unk>", "<s>", "<<ST_0>>", "<<ST_1>>"}
    assert recognizer.text_prefix == b" "
    assert recognizer.tokens.strings[recognizer.tokens.end_of_text] == "</s>"


def test_probed_against_whisper(path, manifests, tmp_path, capsys):
    """Raw waveforms beside mel features, sentencepiece beside byte-level merges; then the same by the command."""
    teacher = save_whisper(tmp_path / "teacher")
    pair = Pair.from_models(load_recognizer(str(path)), load_recognizer(str(teacher)), 4)
    utterances = read_manifest(manifests["probe"])
    source, decoding = AudioSource(AudioCache()), Decoding(max_new_tokens=5)
    result = probe(pair, source, utterances, SupportSettings(k=4), decoding, batch_size=3, states="reference")
    assert result.funnel["used"] > 0
    assert sum(result.funnel.counts.values()) == result.funnel.total
    arguments = ("--student", path, "--teacher", teacher, "--manifest", manifests["probe"], "--k", 4)
    code, out, _ = run("show", *arguments, "--states", "reference", "--json", capsys=capsys)
    assert code == 0
    assert json.loads(out)["student_prompt"] == "<s>"
