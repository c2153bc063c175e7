"""The Qwen3-ASR adapter on the real architecture at small size, saved and loaded by path as a checkpoint is."""

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoProcessor, Qwen3ASRForConditionalGeneration

from distill import read_manifest
from distill.data.audio import AudioCache
from distill.data.batch import AudioSource
from distill.models import ModelError, Transcripts, load_recognizer
from distill.models.base import cut_at_end, pack
from distill.recipe.paths import packaged

RNG = np.random.default_rng(0)
WAVEFORMS = [RNG.standard_normal(n).astype(np.float32) * 0.1 for n in (9_000, 16_000, 30_000)]
LANGUAGES = ["English"] * 3


@pytest.fixture(scope="module")
def recognizer(student_path):
    return load_recognizer(str(student_path))


@pytest.fixture(scope="module")
def prompt(recognizer):
    return recognizer.prepare(WAVEFORMS, LANGUAGES)


def test_the_prompt_is_the_processors_transcription_request(recognizer, prompt):
    text = recognizer.processor.tokenizer.decode(prompt.inputs["input_ids"][2])
    assert text.endswith("<|im_end|>\n<|im_start|>assistant\nlanguage English<asr_text>")
    assert text.count("<|audio_pad|>") == prompt.inputs["input_ids"][2].eq(recognizer.processor.audio_token_id).sum()


@pytest.mark.parametrize("sample", [False, True])
def test_rollouts_hold_no_blocked_token_and_nothing_after_the_end(recognizer, prompt, sample):
    torch.manual_seed(0)
    written = recognizer.rollout(prompt, max_new_tokens=30, sample=sample, temperature=2.0)
    assert not recognizer.tokens.blocked[written.ids[written.mask]].any()
    for ids, mask, finished in zip(written.ids, written.mask, written.finished, strict=True):
        row = ids[mask].tolist()
        assert row.count(recognizer.tokens.end_of_text) == int(finished)
        assert not finished or row[-1] == recognizer.tokens.end_of_text


def test_scores_of_a_greedy_rollout_have_their_maximum_at_its_tokens(recognizer, prompt):
    """Teacher-forced positions, left padding and position ids agree with incremental decoding."""
    written = recognizer.rollout(prompt, max_new_tokens=20)
    scores = recognizer.score(prompt, written).masked_fill(recognizer.tokens.blocked, -torch.inf)
    assert (scores.argmax(-1) == written.ids)[written.mask].all()


def test_scores_equal_the_models_own_forward_pass(recognizer, prompt):
    """Independent path: an unpadded sequence straight into the transformers model."""
    targets = recognizer.encode(["CALL 351", "8", "STOP"])
    scores = recognizer.score(prompt, targets)
    single = recognizer.prepare(WAVEFORMS[2:], LANGUAGES[2:])
    ids = torch.cat([single.inputs["input_ids"], targets.ids[2:, : int(targets.mask[2].sum())]], dim=1)
    features = {k: v for k, v in single.inputs.items() if k.startswith("input_features")}
    logits = recognizer.generator(input_ids=ids, **features, use_cache=False).logits[0]
    start = single.inputs["input_ids"].shape[1] - 1
    n = int(targets.mask[2].sum())
    merged = recognizer.tokens.merged(logits)[start : start + n]
    torch.testing.assert_close(scores[2, :n], merged, atol=1e-4, rtol=1e-4)


def test_encode_and_decode_round_trip_and_close_with_end_of_text(recognizer):
    texts = ["CALL 351", "call three five one", "0"]
    targets = recognizer.encode(texts)
    assert targets.finished.all()
    assert targets.lengths.tolist() == [len(text) for text in texts]
    assert recognizer.decode(targets) == texts


def test_saved_weights_load_with_from_pretrained(recognizer, prompt, tmp_path):
    recognizer.save(tmp_path / "model with a space")
    model = Qwen3ASRForConditionalGeneration.from_pretrained(tmp_path / "model with a space")
    AutoProcessor.from_pretrained(tmp_path / "model with a space")
    again = load_recognizer(str(tmp_path / "model with a space"))
    written = recognizer.encode(["8"] * 3)
    assert torch.equal(again.score(prompt, written), recognizer.score(prompt, written))
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in recognizer.generator.parameters())


def test_logits_padded_past_the_tokenizer_are_no_tokens(recognizer, tmp_path):
    """Real checkpoints have 151,936 rows for fewer tokens."""
    config = AutoConfig.from_pretrained(packaged("student"))
    tokens = len(recognizer.tokens.strings)
    config.text_config.vocab_size = tokens + 20
    torch.manual_seed(0)
    Qwen3ASRForConditionalGeneration(config).save_pretrained(tmp_path)
    recognizer.processor.save_pretrained(tmp_path)
    padded = load_recognizer(str(tmp_path))
    prompt = padded.prepare(WAVEFORMS, LANGUAGES)
    torch.manual_seed(0)
    written = padded.rollout(prompt, max_new_tokens=20, sample=True, temperature=5.0)
    assert written.ids.max() < tokens
    assert padded.score(prompt, written).shape[-1] == tokens == len(padded.tokens.blocked)


def test_random_weights_follow_the_seed():
    def first(seed):
        model = load_recognizer(str(packaged("student")), from_scratch=True, seed=seed).generator
        return next(model.parameters()).flatten()[:5].tolist()

    assert first(0) == first(0) != first(1)


def test_without_a_language_the_model_is_asked_to_name_it(recognizer):
    prompt = recognizer.prepare(WAVEFORMS[:1], [None])
    assert recognizer.processor.tokenizer.decode(prompt.inputs["input_ids"][0]).endswith("<|im_start|>assistant\n")


def test_nothing_to_load(tmp_path):
    with pytest.raises(ModelError, match=r"cannot load .*Give a directory with config.json"):
        load_recognizer(str(tmp_path / "nowhere"))


def test_weights_missing(tmp_path):
    for file in packaged("student").iterdir():
        if file.is_file() and file.name != "model.safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ModelError, match="cannot load the weights"):
        load_recognizer(str(tmp_path))


def test_a_family_without_adapter_is_named(student_path):
    with pytest.raises(ModelError, match=r"'parakeet' model; there are adapters for .*'qwen3_asr'"):
        load_recognizer(str(student_path), family="parakeet")


def test_recognizers_of_one_processor_share_a_batchs_prompt_and_others_do_not(student_path, teacher_path, tmp_path):
    batch = AudioSource(AudioCache()).batch(read_manifest(packaged("corpus/probe.jsonl"))[:2])
    student, teacher = load_recognizer(str(student_path)), load_recognizer(str(teacher_path))
    prompt = batch.prompt(student)
    assert batch.prompt(teacher) is prompt
    assert all(torch.equal(prompt.inputs[name], value) for name, value in _fresh(teacher, batch).inputs.items())
    teacher.processor.feature_extractor.hop_length = 80
    teacher.save(tmp_path / "other")
    other = load_recognizer(str(tmp_path / "other"))
    assert batch.prompt(other).inputs["input_features"].shape != prompt.inputs["input_features"].shape


def _fresh(recognizer, batch):
    return recognizer.prepare(batch.waveforms, [utterance.language for utterance in batch.utterances])


def test_pack_and_cut():
    packed = pack([[5, 6, 9], [9], [5]], end_of_text=9)
    assert packed.ids.tolist() == [[5, 6, 9], [9, 9, 9], [5, 9, 9]]
    assert packed.mask.sum(-1).tolist() == [3, 1, 1]
    assert packed.finished.tolist() == [True, True, False]
    assert packed.lengths.tolist() == [2, 0, 1]
    cut = cut_at_end(torch.tensor([[5, 9, 7, 9], [9, 9, 9, 9], [5, 6, 7, 8]]), 9)
    assert cut.mask.sum(-1).tolist() == [2, 1, 4]
    assert cut.finished.tolist() == [True, True, False]
    assert isinstance(cut, Transcripts)
