"""Whisper with points in time: in prompts, labels and transcripts, and nowhere in what is scored."""

import numpy as np
import pytest
import torch
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from distill import Utterance
from distill.data.labels import checked_labels
from distill.data.manifest import ManifestError
from distill.models import ModelError, load_recognizer
from distill.models.base import pack
from distill.models.labels import read_labels
from tests.distill.small_models import WINDOW_SECONDS, save_glm_asr, save_whisper

WAVEFORMS = [np.random.default_rng(0).standard_normal(n).astype(np.float32) * 0.1 for n in (9_000, 16_000)]
LABEL = "<|0.00|> call four<|1.36|><|1.36|> five<|2.00|>"


def load(path, **options):
    return load_recognizer(str(path), options=options)


@pytest.fixture(scope="module", params=[False, True], ids=["English", "multilingual"])
def path(request, tmp_path_factory):
    return save_whisper(tmp_path_factory.mktemp("whisper") / "model", multilingual=request.param)


@pytest.fixture(scope="module")
def timed(path):
    return load(path, timestamps=True)


def test_the_prompt_does_not_forbid_them(path, timed):
    def prompt(model):
        return model.prompt_text(model.prepare(WAVEFORMS, ["en", "en"]), 0)

    assert prompt(load(path)) == prompt(timed) + "<|notimestamps|>"
    assert load(path).prompt_key != timed.prompt_key


def test_labels_become_the_ids_behind_notimestamps_and_come_back_without(timed):
    ids = timed.encode([LABEL]).ids[0].tolist()
    first = timed.tokenizer.convert_tokens_to_ids("<|notimestamps|>") + 1
    assert ids[0] == first
    assert [i for i in ids if i >= first] == [first, first + 68, first + 68, first + 100]
    plain = [i for i in ids if i < first]
    assert plain == load(timed.name).encode(["call four five"]).ids[0].tolist()
    assert timed.decode(timed.encode([LABEL])) == ["call four five"]
    assert torch.equal(timed.encode(["<|0.00|>call four<|1.36|> <|1.36|>five<|2.00|>"]).ids, timed.encode([LABEL]).ids)


def test_transformers_reads_the_saved_tokenizers_times_alike(timed, tmp_path):
    timed.save(tmp_path / "saved")
    processor = WhisperProcessor.from_pretrained(tmp_path / "saved")
    ids = timed.encode([LABEL]).ids[0].tolist()
    assert processor.tokenizer.decode(ids, decode_with_timestamps=True, skip_special_tokens=True) == LABEL
    again = load(tmp_path / "saved", timestamps=True)
    assert torch.equal(again.encode([LABEL]).ids, timed.encode([LABEL]).ids)
    assert load(tmp_path / "saved").tokens.blocked[ids[0]]  # and where it is not asked for, they stay blocked


def test_times_are_written_scored_and_learned_like_other_tokens(path, timed):
    times = torch.zeros(timed.tokens.size, dtype=torch.bool)
    times[timed.tokens.times] = True
    assert not timed.tokens.blocked[times].any()
    assert timed.tokens.blocked[timed.tokenizer.convert_tokens_to_ids("<|notimestamps|>")]
    prompt = timed.prepare(WAVEFORMS, ["en", "en"])
    torch.manual_seed(0)
    written = timed.rollout(prompt, max_new_tokens=30, sample=True, temperature=3.0)
    assert times[written.ids[written.mask]].any()
    assert all("<|" not in text for text in timed.decode(written))
    target = timed.encode([LABEL] * 2)
    scores = timed.score(prompt, target)
    model = WhisperForConditionalGeneration.from_pretrained(path)
    ids = torch.cat([prompt.inputs["decoder_input_ids"], target.ids], dim=1)
    own = model(input_features=prompt.inputs["input_features"], decoder_input_ids=ids).logits
    start = prompt.inputs["decoder_input_ids"].shape[1] - 1
    torch.testing.assert_close(scores, own[:, start:-1, : timed.tokens.size], atol=1e-4, rtol=1e-4)


def test_labels_that_are_learned_keep_their_times_and_those_that_are_scored_do_not(timed):
    line = Utterance("a", prompt="-", text=LABEL)
    assert checked_labels([line], timed, learned=True) == [line]
    assert not read_labels([LABEL], timed, timestamps=True)[0].control
    with pytest.warns(UserWarning, match="1 with timestamps"):
        assert checked_labels([line], timed)[0].text == "call four five"


def test_a_label_without_times_is_refused_where_they_are_learned(timed):
    lines = [Utterance("a", prompt="-", text=LABEL), Utterance("b", prompt="-", text="call")]
    with pytest.raises(ManifestError, match=r"utterance 'b': field \"text\": has no timestamps, .*<\|0.00\|> call"):
        checked_labels(lines, timed, learned=True)


def test_a_time_beyond_the_window_is_refused(timed):
    line = Utterance("a", prompt="-", text=f"<|0.00|> call<|{WINDOW_SECONDS + 1:.2f}|>")
    with pytest.raises(ManifestError, match=r"holds '<\|5.00\|>'"):
        checked_labels([line], timed, learned=True)


def test_other_families_have_no_such_setting(tmp_path):
    with pytest.raises(ModelError, match="a 'glmasr' model has no setting timestamps"):
        load(save_glm_asr(tmp_path / "glm"), timestamps=True)


def test_a_vocabulary_without_room_for_them_is_refused(path):
    model = load(path)
    model.tokenizer.add_tokens(["<|odd|>"])
    with pytest.raises(ModelError, match="its tokenizer lacks the timestamps, from"):
        type(model)(name="x", model=model.model, generator=model.generator, processor=model.processor, timestamps=True)


def test_decoding_without_times_is_as_before(path):
    model = load(path)
    ids = model.encode(["call"]).ids[0].tolist()
    assert model.decode(pack([ids], model.tokens.end_of_text)) == ["call"]
