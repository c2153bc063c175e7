"""Rollouts are drawn from the distribution that is measured, whatever a checkpoint's generation settings say."""

import json

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from distill.models import load_recognizer
from tests.distill.small_models import save_glm_asr, save_gpt2, save_moonshine, save_qwen3, save_voxtral, save_whisper

RNG = np.random.default_rng(0)
WAVEFORMS = [RNG.standard_normal(n).astype(np.float32) * 0.1 for n in (9_000, 30_000)]

SETTINGS = {
    "penalties": {"repetition_penalty": 5.0, "no_repeat_ngram_size": 1, "encoder_repetition_penalty": 3.0},
    "beams": {"num_beams": 3, "length_penalty": 5.0, "early_stopping": True},
    "draws": {"do_sample": True, "temperature": 3.0, "top_k": 2, "top_p": 0.2, "min_p": 0.3, "typical_p": 0.3},
    "lengths": {
        "min_new_tokens": 4,
        "min_length": 9,
        "max_new_tokens": 2,
        "exponential_decay_length_penalty": (1, 4.0),
    },
    "forced": {"forced_bos_token_id": 3, "forced_eos_token_id": 4, "suppress_tokens": [5, 6], "bad_words_ids": [[7]]},
    "begun": {"begin_suppress_tokens": list(range(40)), "sequence_bias": [[[8], 9.0]]},
}
SAVERS = [save_whisper, save_moonshine, save_glm_asr, save_voxtral, save_qwen3, save_gpt2]


def greedy(model, prompt, n):
    """The likeliest token that is not blocked, one after the other, from our scores alone."""
    rows = [[] for _ in range(prompt.batch_size)]
    ended = [False] * len(rows)
    for _ in range(n):
        length = max(map(len, rows)) + 1
        ids = torch.tensor([[*row, *[model.tokens.end_of_text] * (length - len(row))] for row in rows])
        mask = torch.ones_like(ids, dtype=torch.bool)
        scores = model.score(prompt, type(model.encode(["a"]))(ids, mask, torch.zeros(len(rows), dtype=torch.bool)))
        best = scores[:, -1].masked_fill(model.tokens.blocked, -torch.inf).argmax(-1).tolist()
        for i, token in enumerate(best):
            if ended[i]:
                rows[i].append(model.tokens.end_of_text)
                continue
            rows[i].append(token)
            ended[i] = token == model.tokens.end_of_text
    return rows


@pytest.mark.parametrize("save", SAVERS)
def test_none_of_them_reaches_a_rollout(save, tmp_path):
    path = save(tmp_path / "model")
    model = load_recognizer(str(path))
    given = ["say one", "say two"] if model.reads == "prompt" else WAVEFORMS
    prompt = model.prepare(given, ["English"] * 2)
    with torch.no_grad():
        expected = greedy(model, prompt, 6)
    for settings in SETTINGS.values():
        model.generator.generation_config = GenerationConfig(**settings)
        before = model.generator.generation_config.to_dict()
        torch.manual_seed(0)
        written = model.rollout(prompt, max_new_tokens=6)
        rows = [row[keep].tolist() for row, keep in zip(written.ids, written.mask, strict=True)]
        assert rows == [row[: len(mine)] for row, mine in zip(expected, rows, strict=True)]
        assert all(len(row) == 6 or row[-1] == model.tokens.end_of_text for row in rows)
        assert model.generator.generation_config.to_dict() == before


@pytest.mark.parametrize("save", [save_whisper, save_qwen3])
def test_nor_do_those_that_stand_in_the_configuration(save, tmp_path):
    path = save(tmp_path / "model")
    given = ["say one", "say two"] if save is save_qwen3 else WAVEFORMS
    plain = load_recognizer(str(path))
    expected = plain.rollout(plain.prepare(given, ["English"] * 2), max_new_tokens=6)
    config = json.loads((path / "config.json").read_text())
    config |= {"repetition_penalty": 5.0, "num_beams": 3, "no_repeat_ngram_size": 1}
    (path / "config.json").write_text(json.dumps(config))
    (path / "generation_config.json").unlink()
    old = load_recognizer(str(path))
    old.tokens = plain.tokens  # Whisper's suppressed tokens stand in the file that is gone
    written = old.rollout(old.prepare(given, ["English"] * 2), max_new_tokens=6)
    assert torch.equal(written.ids, expected.ids)


@pytest.mark.parametrize("save", SAVERS)
def test_draws_follow_the_scores(save, tmp_path):
    """First tokens of many draws against the softmax of our scores, whose settings would narrow them."""
    model = load_recognizer(str(save(tmp_path / "model")))
    n, given = 600, "say one" if model.reads == "prompt" else WAVEFORMS[0]
    model.generator.generation_config = GenerationConfig(**SETTINGS["draws"])
    prompt = model.prepare([given] * n, ["English"] * n)
    torch.manual_seed(0)
    written = model.rollout(prompt, max_new_tokens=1, sample=True, temperature=1.0)
    with torch.no_grad():
        scores = model.score(
            model.prepare([given], ["English"]),
            written.__class__(written.ids[:1, :1], written.mask[:1, :1], written.finished[:1]),
        )
    chances = scores[0, 0].masked_fill(model.tokens.blocked, -torch.inf).softmax(-1)
    counts = torch.bincount(written.ids[:, 0], minlength=len(chances)).double()
    assert counts[model.tokens.blocked].sum() == 0
    # Each share within five standard errors of its chance.
    error = (chances * (1 - chances) / n).sqrt().double()
    assert ((counts / n - chances).abs() <= 5 * error + 2 / n).all()
