"""Voxtral: prompts as mistral-common asks for transcripts, windows, languages, and what is saved."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoProcessor, WhisperFeatureExtractor

import overlap
from distill import Utterance
from distill.data.batch import Batch
from distill.models import ModelError, load_recogniser
from tests.distill.small_models import WINDOW_SECONDS, save_voxtral

WINDOW = 16_000 * WINDOW_SECONDS
RNG = np.random.default_rng(0)


def noise(samples):
    return RNG.standard_normal(samples).astype(np.float32) * 0.1


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return save_voxtral(tmp_path_factory.mktemp("voxtral"))


@pytest.fixture(scope="module")
def voxtral(path):
    return load_recogniser(str(path))


@pytest.mark.parametrize(
    ("samples", "language", "named"),
    [
        (9_000, "en", "lang:en"),
        (WINDOW, "German", "lang:de"),
        (WINDOW + 1, None, ""),
        (2 * WINDOW, "zh", "lang:zh"),
    ],
)
def test_prompts_are_those_of_mistral_common(voxtral, samples, language, named):
    """The ids are what `encode_transcription` of mistral-common 1.13.1 gives for this tokenizer."""
    inputs = voxtral.prepare([noise(samples)], [language]).inputs
    windows = -(-samples // WINDOW)
    spelled = [40 + byte for byte in named.encode()]
    expected = [1, 3, 25] + [24] * (50 * windows) + [4, *spelled, 34]
    assert inputs["input_ids"].tolist() == [expected]
    assert inputs["input_features"].shape == (windows, 16, 100 * WINDOW_SECONDS)


def test_features_are_those_of_the_padded_audio_cut_into_windows(voxtral):
    waveform = noise(WINDOW + 5_000)
    padded = np.pad(waveform, (0, 2 * WINDOW - len(waveform)))
    extractor = WhisperFeatureExtractor(feature_size=16, chunk_length=2 * WINDOW_SECONDS)
    whole = extractor(padded, sampling_rate=16_000, return_tensors="pt").input_features[0]
    windows = voxtral.prepare([waveform], ["en"]).inputs["input_features"]
    torch.testing.assert_close(torch.cat(list(windows), dim=-1), whole)


def test_audio_of_several_windows_beside_that_of_one(voxtral):
    waveforms, texts = [noise(3_000), noise(WINDOW + 500)], ["call", "stop the train"]
    together = voxtral.score(voxtral.prepare(waveforms, ["en", None]), voxtral.encode(texts))
    for row, language in enumerate(["en", None]):
        alone = voxtral.score(
            voxtral.prepare(waveforms[row : row + 1], [language]), voxtral.encode(texts[row : row + 1])
        )
        torch.testing.assert_close(together[row, : alone.shape[1]], alone[0], atol=2e-4, rtol=2e-4)


def test_marks_are_blocked_and_the_end_of_text_is_not(voxtral):
    assert voxtral.tokens.end_of_text == 2
    assert voxtral.tokens.blocked.nonzero().squeeze(-1).tolist() == [i for i in range(40) if i != 2]
    assert voxtral.tokens.size == 300


def test_tokens_spell_bytes(voxtral):
    table = overlap.token_bytes(voxtral.tokenizer)
    assert table[34] is None
    assert table[40 + ord("c")] == b"c"
    assert table[297] == b" th"


def test_a_language_that_the_model_names_is_no_part_of_the_text(voxtral):
    assert voxtral.decode(voxtral.encode(["lang:fr bonjour", "a lang:fr"])) == ["bonjour", "a lang:fr"]


SAID = {9_000: "lang:fr bonjour", WINDOW + 500: "lang:de halt", 12_000: "call four"}
"""What a taught model writes by samples of audio where no language is named; the last names none."""


@pytest.fixture(scope="module")
def taught(path):
    """Taught by transformers' own forward pass, behind the prompt that mistral-common writes."""
    model = load_recogniser(str(path))
    generator = np.random.default_rng(1)
    audio = {samples: generator.standard_normal(samples).astype(np.float32) * 0.1 for samples in SAID}
    lines = [(model.request([audio[n]], [None]).inputs, model.encode([text]).ids) for n, text in SAID.items()]
    optimizer, loss = torch.optim.Adam(model.generator.parameters(), lr=1e-2), torch.ones(())
    for _ in range(500):
        if loss < 0.15:
            break
        loss = torch.zeros(())
        for inputs, said in lines:
            ids = torch.cat([inputs["input_ids"], said], dim=1)
            features = {"input_features": inputs["input_features"], "attention_mask": torch.ones_like(ids)}
            logits = model.generator(input_ids=ids, **features).logits[0, -said.shape[1] - 1 : -1]
            loss = loss + torch.nn.functional.cross_entropy(logits, said[0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.generator.eval()
    assert loss < 0.15
    return model, list(audio.values())


def test_a_language_that_the_model_names_before_the_text_is_part_of_the_prompt(taught):
    model, audio = taught
    prompt = model.prepare(audio, [None] * 3)
    ends = [model.prompt_text(prompt, row).partition("[TRANSCRIBE]")[2] for row in range(3)]
    assert ends == ["lang:fr", "lang:de", ""]
    written = model.rollout(prompt, max_new_tokens=30)
    texts = model.decode(written)
    assert texts == ["bonjour", "halt", "call four"]
    spelled = [model.tokenizer.decode(ids) for ids in written.text_ids]
    assert [text.strip() for text in spelled] == texts  # the ids as labels are the text as a label
    own = model.score(prompt, written).log_softmax(-1).gather(-1, written.ids[..., None])[..., 0]
    assert own[written.mask].exp().min() > 0.3


def test_named_utterances_beside_unnamed_ones_keep_their_prompts(taught):
    model, audio = taught
    prompt = model.prepare(audio, [None, "en", None])
    texts = [model.prompt_text(prompt, row) for row in range(3)]
    assert texts[0].endswith("[TRANSCRIBE]lang:fr")
    assert texts[1] == model.prompt_text(model.prepare(audio[1:2], ["en"]), 0)
    assert texts[2].endswith("[TRANSCRIBE]")


def test_models_of_the_family_each_name_the_language_themselves(taught, voxtral):
    model, audio = taught
    assert model.prompt_key == voxtral.prompt_key
    of = Batch((Utterance("u", Path("not-read.wav"), language="auto"),), (audio[0],))
    prompts = [one.prompt_text(of.prompt(one), 0).partition("[TRANSCRIBE]")[2] for one in (voxtral, model)]
    assert prompts[1] == "lang:fr"
    assert prompts[0] != "lang:fr"


@pytest.mark.parametrize(
    ("language", "message"),
    [("Klingon", "Voxtral has no language 'Klingon'; give a name"), ("Cantonese", "by two letters, and 'Cantonese'")],
)
def test_languages_without_a_code(voxtral, language, message):
    with pytest.raises(ModelError, match=message):
        voxtral.prepare([noise(2_000)], [language])


def test_what_is_saved_is_read_by_transformers_and_by_us(voxtral, tmp_path):
    voxtral.save(tmp_path)
    tokenizer = AutoProcessor.from_pretrained(tmp_path).tokenizer
    again, waveform = load_recogniser(str(tmp_path)), noise(4_000)
    assert tokenizer.get_vocab() == voxtral.tokenizer.get_vocab()
    assert (again.family, again.prompt_key) == ("voxtral", voxtral.prompt_key)
    before, after = (one.prepare([waveform], ["en"]).inputs for one in (voxtral, again))
    assert all(torch.equal(before[name], after[name]) for name in before)
