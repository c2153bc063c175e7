"""What the features of Qwen3-ASR depend on besides the utterance: the longest of its batch (transformers, not us)."""

import numpy as np
import pytest
from transformers import Qwen3ASRFeatureExtractor

RNG = np.random.default_rng(0)


def features(*waveforms):
    """[mel bins, frames] of the first, and how many of the frames its mask counts."""
    extractor = Qwen3ASRFeatureExtractor(feature_size=16)
    made = extractor(
        list(waveforms), sampling_rate=16_000, padding="longest", return_attention_mask=True, return_tensors="np"
    )
    return made["input_features"][0], int(made["attention_mask"][0].sum())


def noise(samples):
    return (RNG.standard_normal(samples) * 0.1).astype(np.float32)


@pytest.mark.parametrize(("samples", "alone", "together"), [(9_000, 56, 57), (9_120, 57, 57)])
def test_beside_a_longer_utterance_a_part_of_a_frame_counts_and_silence_follows(samples, alone, together):
    waveform = noise(samples)
    (own, counted), (padded, beside) = features(waveform), features(waveform, noise(16_000))
    assert (counted, beside) == (alone, together)
    assert not own[:, together:].any()
    assert padded[:, together:100].any()


def test_utterances_of_one_length_have_the_features_that_they_have_alone():
    waveform = noise(9_000)
    (own, counted), (beside, together) = features(waveform), features(waveform, noise(9_000))
    assert counted == together
    np.testing.assert_allclose(own, beside, atol=1e-5)
