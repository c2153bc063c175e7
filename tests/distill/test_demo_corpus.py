"""The committed demonstration corpus, its tokenizer and model folders, and the code that made them."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig, AutoProcessor, Qwen3ASRForConditionalGeneration, Qwen3ASRProcessor

import distill.demo
from distill.demo import make_corpus, synthesis
from distill.demo.make_models import make_models
from distill.demo.sentences import DIGITS, WORDS, base_form, draw_pools

DEMO = Path(distill.demo.__path__[0])
CORPUS = DEMO / "corpus"
SPLITS = ("train", "probe", "test")
MANIFESTS = (*SPLITS, "pretraining", "base", "base_matched", "pool")
FIELDS = {"id", "audio", "text", "begin_time", "end_time", "language", "voice", "snr_db"}
words = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6)


def read(name: str) -> list[dict]:
    return [json.loads(line) for line in (CORPUS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def spell_out(text: str) -> str:
    """Undo the base form without the code that made it."""
    return " ".join("".join(f" {DIGITS[int(c)]} " if c.isdigit() else c.lower() for c in text).split())


@pytest.mark.parametrize("name", MANIFESTS)
def test_rows_are_complete_and_lie_inside_their_files(name):
    rows = read(name)
    durations = {audio: sf.info(CORPUS / audio) for audio in {row["audio"] for row in rows}}
    assert len({row["id"] for row in rows}) == len(rows)
    for row in rows:
        assert set(row) == (FIELDS - {"text"} if name == "pool" else FIELDS)
        assert row["language"] == "English"
        assert Path(row["audio"]).stem == row["voice"]
        assert 0 <= row["begin_time"] < row["end_time"] <= durations[row["audio"]].duration
        assert 0.3 <= row["end_time"] - row["begin_time"] <= 4.0
        assert make_corpus.SNR_DB[0] <= row["snr_db"] <= make_corpus.SNR_DB[1]
    assert all((info.samplerate, info.channels) == (16_000, 1) for info in durations.values())


@pytest.mark.parametrize("name", SPLITS)
def test_utterances_of_a_file_do_not_overlap(name):
    last: dict[str, float] = {}
    for row in read(name):
        if row["audio"] in last:
            assert row["begin_time"] >= last[row["audio"]] + 0.099
        last[row["audio"]] = row["end_time"]


def test_voices_and_sentences_are_disjoint():
    for field in ("voice", "audio", "id", "text"):
        values = {name: {row[field] for row in read(name)} for name in SPLITS}
        for i, first in enumerate(SPLITS):
            for second in SPLITS[i + 1 :]:
                assert not values[first] & values[second], f"{field} shared by {first} and {second}"
    for name in ("probe", "test"):
        assert all(" " in row["text"] for row in read(name)), f"single words in {name}"


def test_every_word_is_trained_and_every_digit_is_tested():
    spoken = {name: {word for row in read(name) for word in row["text"].split()} for name in SPLITS}
    assert spoken["train"] == set(WORDS)
    assert all(set(DIGITS) <= words <= set(WORDS) for words in spoken.values())


def test_labelled_and_unlabelled_parts_make_up_the_training_set():
    train = {row["id"]: row for row in read("train")}
    matched, base, pool = read("base_matched"), read("base"), read("pool")
    assert [row["id"] for row in base] == [row["id"] for row in matched]
    for labelled, other in zip(base, matched, strict=True):
        assert other == train[other["id"]]
        assert labelled == {**other, "text": labelled["text"]}
        assert labelled["text"] == labelled["text"].upper() != other["text"]
        assert spell_out(labelled["text"]) == other["text"]
    assert {row["id"] for row in matched} | {row["id"] for row in pool} == set(train)
    assert len(matched) + len(pool) == len(train)
    for row in pool:
        assert {**row, "text": train[row["id"]]["text"]} == train[row["id"]]


def test_audio_is_audible_and_not_clipped():
    for path in sorted((CORPUS / "audio").iterdir()):
        samples, _ = sf.read(path)
        assert np.isfinite(samples).all()
        assert np.abs(samples).max() < 1.0, f"{path.name} is clipped"
        assert -32 < 10 * math.log10(np.square(samples).mean()) < -18


def test_corpus_is_small():
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) <= 12_000_000


def test_segments_read_alone_equal_segments_of_the_whole_file():
    row = read("test")[-1]
    start, stop = (round(row[key] * 16_000) for key in ("begin_time", "end_time"))
    whole, _ = sf.read(CORPUS / row["audio"])
    part, _ = sf.read(CORPUS / row["audio"], start=start, stop=stop)
    # Opus restarts its decoder a little before the place sought, which leaves differences far below the noise.
    np.testing.assert_allclose(part, whole[start:stop], atol=1e-3)


@given(words)
def test_base_form_can_be_undone(sentence):
    text = " ".join(sentence)
    assert spell_out(base_form(text)) == text


def test_pools_share_no_sentence():
    pools = draw_pools(np.random.default_rng(5), n_train=60, n_probe=20, n_test=30)
    assert (len(pools.train), len(pools.probe), len(pools.test)) == (60, 20, 30)
    assert len({*pools.probe, *pools.test}) == 50
    assert not {*pools.train} & {*pools.probe, *pools.test}


@given(st.floats(-5, 30), st.integers(0, 500), st.integers(0, 2**32 - 1))
def test_mix_reaches_the_ratio_it_states(snr_db, start, seed):
    rng = np.random.default_rng(seed)
    speech, noise = rng.standard_normal(800) * 3, rng.standard_normal(1300)
    added = make_corpus.mix(speech, noise, snr_db=snr_db, start=start)
    added[start : start + 800] -= speech
    measured = 10 * np.log10(np.mean(speech**2) / np.mean(added[start : start + 800] ** 2))
    assert measured == pytest.approx(snr_db, abs=1e-6)
    np.testing.assert_allclose(added / added[0], noise / noise[0], rtol=1e-6, atol=1e-6)


def test_pink_noise_falls_three_decibels_an_octave():
    noise = make_corpus.pink_noise(2**18, np.random.default_rng(0))
    assert np.mean(noise**2) == pytest.approx(1.0)
    power = np.abs(np.fft.rfft(noise)) ** 2
    octaves = [10 * np.log10(power[2**k : 2 ** (k + 1)].mean()) for k in range(8, 16)]
    np.testing.assert_allclose(np.diff(octaves), -3.0, atol=0.6)


def test_silence_is_trimmed():
    tone = np.sin(np.arange(1600))
    samples = np.concatenate([np.zeros(4000), tone, np.zeros(3200)])
    trimmed = synthesis.trim_silence(samples, keep_s=0.0)
    np.testing.assert_array_equal(trimmed, tone)


def test_no_speaker_serves_two_splits():
    speakers = [{v.speaker.split("+")[-1] for v in synthesis.voices(split)} for split in SPLITS]
    assert len(set.union(*speakers)) == sum(len(names) for names in speakers)


def test_missing_engines_are_named(monkeypatch):
    monkeypatch.setattr(synthesis.shutil, "which", lambda engine: None)
    with pytest.raises(FileNotFoundError, match=r"espeak-ng and flite not found.*apt install espeak-ng flite"):
        synthesis.require_engines()


@pytest.fixture(params=["student", "teacher"])
def folder(request) -> Path:
    return DEMO / request.param


def test_processor_loads_and_round_trips_text(folder):
    processor = AutoProcessor.from_pretrained(folder)
    assert isinstance(processor, Qwen3ASRProcessor)
    tokenizer = processor.tokenizer
    assert tokenizer.pad_token == "<|endoftext|>"
    assert tokenizer.eos_token == "<|im_end|>"
    for row in [*read("base"), *read("train"), *read("test")]:
        ids = tokenizer(row["text"]).input_ids
        assert len(ids) == len(row["text"])
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids) == row["text"]
        assert processor.decode(ids, skip_special_tokens=True) == row["text"]


def test_transcription_request_has_the_family_s_layout(folder):
    processor = AutoProcessor.from_pretrained(folder)
    audio = np.random.default_rng(0).standard_normal(16_000 * 3 // 2).astype(np.float32)
    batch = processor.apply_transcription_request(
        audio=[audio], language=["English"], processor_kwargs={"audio_kwargs": {"sampling_rate": 16_000}}
    )
    pads = "<|audio_pad|>" * 20  # 13 for the first second, 7 for the half second left
    assert processor.tokenizer.decode(batch["input_ids"][0]) == (
        "<|im_start|>system\n<|im_end|>\n<|im_start|>user\n<|audio_start|>" + pads + "<|audio_end|><|im_end|>\n"
        "<|im_start|>assistant\nlanguage English<asr_text>"
    )
    assert batch["input_ids"].shape == (1, 13 + 1 + 20)
    (prompt,) = processor.apply_transcription_request(audio=[audio], language=["en"], prompt="set", tokenize=False)
    assert prompt.startswith("<|im_start|>system\nset<|im_end|>\n<|im_start|>user\n")
    answered = processor.apply_chat_template(
        [
            {"role": "user", "content": [{"type": "audio", "path": "a.wav"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "language English<asr_text>stop"}]},
        ],
        tokenize=False,
    )
    assert answered.endswith("<|im_start|>assistant\nlanguage English<asr_text>stop<|im_end|>\n")


def test_model_runs_on_what_the_processor_makes(folder):
    processor = AutoProcessor.from_pretrained(folder)
    config = AutoConfig.from_pretrained(folder)
    assert config.text_config.vocab_size == len(processor.tokenizer)
    assert config.audio_config.num_mel_bins == processor.feature_extractor.feature_size
    model = Qwen3ASRForConditionalGeneration(config).eval()
    rng = np.random.default_rng(1)
    batch = processor.apply_transcription_request(
        audio=[rng.standard_normal(n).astype(np.float32) for n in (9_000, 30_000)],
        language=["English"] * 2,
        processor_kwargs={"audio_kwargs": {"sampling_rate": 16_000}},
    )
    written = model.generate(**batch, max_new_tokens=3)
    assert written.shape[0] == 2
    assert batch["input_ids"].shape[1] < written.shape[1] <= batch["input_ids"].shape[1] + 3


def test_model_folders_are_what_the_script_writes(tmp_path):
    make_models(tmp_path)
    for path in sorted(p for p in tmp_path.rglob("*") if p.is_file()):
        written, shipped = (
            re.sub(r'"transformers_version": "[^"]*"', "", file.read_text(encoding="utf-8"))
            for file in (path, DEMO / path.relative_to(tmp_path))
        )
        assert written == shipped
