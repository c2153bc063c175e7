"""Features of Qwen3-ASR: transformers' depend on the longest utterance of a batch, the adapter's do not."""

import numpy as np
import pytest
import torch
from transformers import Qwen3ASRFeatureExtractor

from distill.models import load_recognizer

RNG = np.random.default_rng(0)
LANGUAGES = ["English"] * 4


def noise(samples):
    return (RNG.standard_normal(samples) * 0.1).astype(np.float32)


WAVEFORMS = [noise(n) for n in (9_000, 3_000, 9_120, 30_000)]


@pytest.fixture(scope="module")
def recognizer(student_path):
    return load_recognizer(str(student_path))


def features(*waveforms):
    """[mel bins, frames] of the first, and how many of the frames its mask counts; by transformers alone."""
    extractor = Qwen3ASRFeatureExtractor(feature_size=16)
    made = extractor(
        list(waveforms), sampling_rate=16_000, padding="longest", return_attention_mask=True, return_tensors="np"
    )
    return made["input_features"][0], int(made["attention_mask"][0].sum())


@pytest.mark.parametrize(("samples", "alone", "together"), [(9_000, 56, 57), (9_120, 57, 57)])
def test_transformers_counts_a_part_of_a_frame_beside_a_longer_utterance_and_silence_follows(samples, alone, together):
    """Should this fail one day, the adapter has no need to extract features one by one."""
    waveform = noise(samples)
    (own, counted), (padded, beside) = features(waveform), features(waveform, noise(16_000))
    assert (counted, beside) == (alone, together)
    assert not own[:, together:].any()
    assert padded[:, together:100].any()


@pytest.mark.parametrize("row", range(len(WAVEFORMS)))
def test_in_a_batch_features_are_the_extractors_of_the_utterance_alone(recognizer, row):
    extractor = recognizer.processor.feature_extractor
    own = extractor(WAVEFORMS[row], sampling_rate=16_000, padding=True, return_attention_mask=True)
    batch = recognizer.prepare(WAVEFORMS, LANGUAGES).inputs
    n = own["input_features"].shape[-1]
    assert torch.equal(batch["input_features"][row, :, :n], own["input_features"][0])
    assert torch.equal(batch["input_features_mask"][row, :n], own["attention_mask"][0])
    assert batch["input_features"].shape[-1] == batch["input_features_mask"].shape[-1] == 200
    assert not batch["input_features"][row, :, n:].any()
    assert not batch["input_features_mask"][row, n:].any()


def test_in_a_batch_a_transcript_has_the_log_probabilities_that_it_has_alone(recognizer):
    texts = ["CALL 351", "8", "STOP", "THE TRAIN"]
    batch = recognizer.score(recognizer.prepare(WAVEFORMS, LANGUAGES), recognizer.encode(texts)).log_softmax(-1)
    for row, text in enumerate(texts):
        prompt = recognizer.prepare(WAVEFORMS[row : row + 1], LANGUAGES[:1])
        alone = recognizer.score(prompt, recognizer.encode([text])).log_softmax(-1)[0]
        torch.testing.assert_close(batch[row, : len(alone)], alone, atol=1e-5, rtol=1e-5)


def test_what_it_saves_is_transformers_own_extractor(recognizer, tmp_path):
    recognizer.prepare(WAVEFORMS, LANGUAGES)
    recognizer.save(tmp_path / "model")
    again = load_recognizer(str(tmp_path / "model"))
    assert type(again.processor.feature_extractor) is Qwen3ASRFeatureExtractor
    assert again.prompt_key == recognizer.prompt_key
