"""The Whisper adapter on the real architecture at small size, and on a published checkpoint where there is one."""

import numpy as np
import pytest
import torch
from transformers import WhisperForConditionalGeneration

from distill.models import ModelError, load_recognizer
from distill.models.encodings import EncoderCache
from tests.distill.small_models import WINDOW_SECONDS, save_glm_asr, save_whisper

RNG = np.random.default_rng(0)
WAVEFORMS = [RNG.standard_normal(n).astype(np.float32) * 0.1 for n in (9_000, 16_000, 30_000)]


@pytest.fixture(scope="module", params=[False, True], ids=["English", "multilingual"])
def recognizer(request, tmp_path_factory):
    return load_recognizer(str(save_whisper(tmp_path_factory.mktemp("whisper") / "m", multilingual=request.param)))


@pytest.fixture(scope="module")
def prompt(recognizer):
    return recognizer.prepare(WAVEFORMS, ["English", "en", "English"])


def test_the_decoders_prompt(recognizer, prompt):
    words = recognizer.tokenizer.convert_ids_to_tokens(prompt.inputs["decoder_input_ids"][0].tolist())
    language = ["<|en|>", "<|transcribe|>"] if len(words) == 4 else []
    assert words == ["<|startoftranscript|>", *language, "<|notimestamps|>"]


@pytest.mark.parametrize("sample", [False, True])
def test_rollouts_hold_no_blocked_token_and_nothing_after_the_end(recognizer, prompt, sample):
    torch.manual_seed(0)
    written = recognizer.rollout(prompt, max_new_tokens=30, sample=sample, temperature=2.0)
    assert not recognizer.tokens.blocked[written.ids[written.mask]].any()
    for ids, mask, finished in zip(written.ids, written.mask, written.finished, strict=True):
        row = ids[mask].tolist()
        assert row.count(recognizer.tokens.end_of_text) == int(finished)
        assert not finished or row[-1] == recognizer.tokens.end_of_text


def test_rollouts_follow_the_distribution_that_is_scored(recognizer, prompt):
    """At the first position too, where Whisper's own generation forbids the end of text."""
    written = recognizer.rollout(prompt, max_new_tokens=20)
    scores = recognizer.score(prompt, written).masked_fill(recognizer.tokens.blocked, -torch.inf)
    assert (scores.argmax(-1) == written.ids)[written.mask].all()


def test_scores_equal_the_models_own_forward_pass(recognizer, prompt):
    targets = recognizer.encode(["call three", "x", "stop the train"])
    scores = recognizer.score(prompt, targets)
    single = recognizer.prepare(WAVEFORMS[:1], ["English"])
    before, n = single.inputs["decoder_input_ids"], int(targets.mask[0].sum())
    ids = torch.cat([before, targets.ids[:1, :n]], dim=1)
    logits = recognizer.generator(
        input_features=single.inputs["input_features"], decoder_input_ids=ids, use_cache=False
    ).logits[0]
    start = before.shape[1] - 1
    torch.testing.assert_close(scores[0, :n], logits[start : start + n, : recognizer.tokens.size], atol=1e-4, rtol=1e-4)


def test_transcripts_begin_with_a_space_that_decoding_takes_away(recognizer):
    written = recognizer.encode(["the cat", " the cat ", ""])
    assert recognizer.tokenizer.convert_ids_to_tokens(written.ids[0].tolist())[0] == "Ġth"
    assert torch.equal(written.ids[0], written.ids[1])
    assert recognizer.decode(written) == ["the cat", "the cat", ""]
    assert written.lengths[2] == 0


def test_a_frozen_encoder_runs_once_an_utterance(recognizer, tmp_path, monkeypatch):
    recognizer.save(tmp_path / "frozen")
    frozen = load_recognizer(str(tmp_path / "frozen"))
    expected = recognizer.prepare(WAVEFORMS, ["English"] * 3)
    targets = recognizer.encode(["a", "b", "c"])
    frozen.generator.get_encoder().requires_grad_(False)
    frozen.encodings = EncoderCache(10.0)
    encoded = frozen.prepare(WAVEFORMS, ["English"] * 3)
    assert "input_features" not in encoded.inputs
    torch.testing.assert_close(frozen.score(encoded, targets), recognizer.score(expected, targets))
    assert torch.equal(
        frozen.rollout(encoded, max_new_tokens=9).ids, recognizer.rollout(expected, max_new_tokens=9).ids
    )
    calls = []
    monkeypatch.setattr(frozen, "_encode", lambda waveforms: calls.append(len(waveforms)) or torch.zeros(1, 200, 32))
    frozen.prepare([*WAVEFORMS[::-1], WAVEFORMS[0][:8000]], ["English"] * 4)
    assert calls == [1]


def test_the_cache_forgets_the_least_recently_used():
    hidden = torch.ones(2**18)  # one MiB
    cache, calls = EncoderCache(max_mib=2.0), []

    def encode(waveforms):
        calls.append([float(w[0]) for w in waveforms])
        return torch.stack([hidden * float(w[0]) for w in waveforms])

    def ask(*values):
        return [float(row[0]) for row in cache.encoded([np.array([v], np.float32) for v in values], encode)]

    assert ask(1, 2) == [1, 2]
    assert ask(1, 3) == [1, 3]  # 2 is the oldest and goes
    assert ask(3, 2, 1) == [3, 2, 1]
    assert calls == [[1, 2], [3], [2]]
    assert EncoderCache().encoded([np.array([5.0], np.float32)], encode)[0][0] == 5


def test_recognizers_share_prompts_only_with_the_same_frozen_encoder(tmp_path):
    paths = [save_whisper(tmp_path / str(seed), seed=seed) for seed in (0, 1)]
    first, again, other = (load_recognizer(str(paths[i])) for i in (0, 0, 1))
    assert first.prompt_key == again.prompt_key == other.prompt_key  # features only
    for model in (first, again, other):
        model.generator.get_encoder().requires_grad_(False)
    assert first.prompt_key == again.prompt_key != other.prompt_key


def test_audio_beyond_the_window_is_refused(recognizer):
    with pytest.raises(ModelError, match=r"audio of 4\.50 s, its window is 4 s\. Split the utterance"):
        recognizer.prepare([np.zeros(int(16_000 * (WINDOW_SECONDS + 0.5)), np.float32)], ["English"])


def test_languages(tmp_path):
    english = load_recognizer(str(save_whisper(tmp_path / "en")))
    multilingual = load_recognizer(str(save_whisper(tmp_path / "multi", multilingual=True)))
    with pytest.raises(ModelError, match=r"knows English only; the manifest has utterances in \['German'\]"):
        english.prepare(WAVEFORMS[:2], [None, "German"])
    with pytest.raises(ModelError, match="Whisper has no language 'Klingon'; give a name such as 'English'"):
        multilingual.prepare(WAVEFORMS[:1], ["Klingon"])
    prompt = multilingual.prepare(WAVEFORMS, ["German", None, "zh"])
    words = [multilingual.tokenizer.convert_ids_to_tokens(int(i)) for i in prompt.inputs["decoder_input_ids"][:, 1]]
    assert words[0] == "<|de|>"
    assert words[1] in ("<|en|>", "<|zh|>", "<|de|>")
    assert words[2] == "<|zh|>"


def test_saved_weights_load_with_from_pretrained(recognizer, prompt, tmp_path):
    recognizer.save(tmp_path / "model with a space")
    WhisperForConditionalGeneration.from_pretrained(tmp_path / "model with a space")
    again = load_recognizer(str(tmp_path / "model with a space"))
    written = recognizer.encode(["8"] * 3)
    assert torch.equal(again.score(prompt, written), recognizer.score(prompt, written))
    assert torch.equal(again.tokens.blocked, recognizer.tokens.blocked)


def test_a_shorter_window_hears_the_same(tmp_path):
    """Its features and positions are the first of the whole window's."""
    path = save_whisper(tmp_path / "whole")
    short = load_recognizer(str(path), window_seconds=2)
    assert short.prepare(WAVEFORMS, ["en"] * 3).inputs["input_features"].shape == (3, 16, 200)
    hidden = [model.generator.get_encoder().embed_positions.weight for model in (load_recognizer(str(path)), short)]
    assert torch.equal(hidden[0][:100], hidden[1])
    short.save(tmp_path / "short")
    again = load_recognizer(str(tmp_path / "short"))
    prompt, targets = again.prepare(WAVEFORMS, ["en"] * 3), again.encode(["a", "b", "c"])
    assert torch.equal(again.score(prompt, targets), short.score(short.prepare(WAVEFORMS, ["en"] * 3), targets))
    with pytest.raises(ModelError, match=r"audio of 2\.50 s, its window is 2 s"):
        again.prepare([np.zeros(40_000, np.float32)], ["en"])
    with pytest.raises(ModelError, match="window_seconds = 4; its window is 4 s, give less"):
        load_recognizer(str(path), window_seconds=4)


@pytest.mark.parametrize("save", [save_whisper, save_glm_asr])
def test_fewer_decoder_layers(save, tmp_path):
    path = save(tmp_path / "whole", layers=3)
    cut = load_recognizer(str(path), keep_decoder_layers=[0, 2])
    whole = load_recognizer(str(path))
    layers = whole.generator.get_decoder().layers
    layers[1].register_forward_hook(lambda module, arguments, output: arguments[0])  # as if it were not there
    prompts = [model.prepare(WAVEFORMS, ["en"] * 3) for model in (cut, whole)]
    targets = cut.encode(["the cat", "b", ""])
    torch.testing.assert_close(cut.score(prompts[0], targets), whole.score(prompts[1], targets))
    cut.save(tmp_path / "cut")
    again = load_recognizer(str(tmp_path / "cut"))
    assert torch.equal(again.score(prompts[0], targets), cut.score(prompts[0], targets))
    written = [model.rollout(prompts[0], max_new_tokens=9) for model in (cut, again)]
    scores = cut.score(prompts[0], written[0]).masked_fill(cut.tokens.blocked, -torch.inf)
    assert torch.equal(written[0].ids, written[1].ids)
    assert (scores.argmax(-1) == written[0].ids)[written[0].mask].all()
    with pytest.raises(ModelError, match=r"keep_decoder_layers = \[3\]; its decoder has layers 0 to 2"):
        load_recognizer(str(path), keep_decoder_layers=[3])


def test_a_window_of_a_family_that_has_none(tmp_path):
    with pytest.raises(ModelError, match="window_seconds shortens Whisper's window; a glmasr has none"):
        load_recognizer(str(save_glm_asr(tmp_path / "glm")), window_seconds=2)
