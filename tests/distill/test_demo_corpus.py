"""The committed demonstration corpus, its tokenizer and model folders, and the code that made them."""

import dataclasses
import itertools
import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig, AutoProcessor, Qwen3ASRForConditionalGeneration, Qwen3ASRProcessor

import distill.demo
from distill.demo import make_corpus, noise, sentences, synthesis, voices
from distill.demo.make_models import make_models
from distill.demo.sentences import DIGITS, PATTERNS, SPLITS, WORDS, base_form

DEMO = Path(distill.demo.__path__[0])
CORPUS = DEMO / "corpus"
SHIPPED = ("base_matched", "pool_references", "probe", "test")
MANIFESTS = (*SHIPPED, "base", "pool")
FIELDS = {"id", "audio", "text", "begin_time", "end_time", "language", "speaker", "snr_db"}
words = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6)


def read(name: str) -> list[dict]:
    return [json.loads(line) for line in (CORPUS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def planned(split: sentences.Split, seed: int = 0) -> list[make_corpus.Utterance]:
    """What the generator means a split of the demo's size to be, without its speech."""
    return make_corpus.plan(
        split, n_utterances=make_corpus.UTTERANCES[split], n_voices=make_corpus.VOICES[split], seed=seed
    )


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
        assert Path(row["audio"]).stem == row["speaker"]
        assert 0 <= row["begin_time"] < row["end_time"] <= durations[row["audio"]].duration
        assert 0.3 <= row["end_time"] - row["begin_time"] <= 4.0
        assert noise.SNR_DB[0] <= row["snr_db"] <= noise.SNR_DB[1]
    assert all((info.samplerate, info.channels) == (16_000, 1) for info in durations.values())


@pytest.mark.parametrize("name", SHIPPED)
def test_utterances_of_a_file_do_not_overlap(name):
    last: dict[str, float] = {}
    for row in read(name):
        if row["audio"] in last:
            assert row["begin_time"] >= last[row["audio"]] + 0.099
        last[row["audio"]] = row["end_time"]


def test_no_two_splits_share_a_voice_or_a_sentence():
    shipped = dict(zip(("base", "pool", "probe", "test"), SHIPPED, strict=True))
    spoken: dict[str, list[str]] = {}
    cast: dict[str, set[str]] = {}
    for split in SPLITS:  # those that ship as they lie there, the others as the documented command makes them
        rows = read(shipped[split]) if split in shipped else [vars(one) for one in planned(split)]
        spoken[split] = [row["text"] for row in rows]
        cast[split] = {row["speaker"] if split in shipped else row["voice"].name for row in rows}
    for i, first in enumerate(SPLITS):
        for second in SPLITS[i + 1 :]:
            assert not cast[first] & cast[second]
            shared = set(spoken[first]) & set(spoken[second])
            assert not {text for text in shared if " " in text}, f"shared by {first} and {second}"
    for split in ("pool", "probe", "test"):
        assert all(" " in text for text in spoken[split]), f"single words in {split}"
    assert all(set(WORDS) == {word for text in spoken[split] for word in text.split()} for split in SPLITS)


def test_what_ships_is_what_the_generator_means():
    for split, name in zip(("base", "pool", "probe", "test"), SHIPPED, strict=True):
        assert [(one.id, one.voice.name, one.text) for one in planned(split)] == [
            (row["id"], row["speaker"], row["text"]) for row in read(name)
        ]


def test_seeds_share_no_voice_and_keep_the_splits_apart():
    casts = [{one.voice.variant for one in planned(split, seed)} for seed in (0, 1) for split in SPLITS]
    assert len(set.union(*casts)) == sum(map(len, casts)) == 2 * sum(make_corpus.VOICES.values())
    first, second = ({split: {one.text for one in planned(split, seed)} for split in SPLITS} for seed in (0, 1))
    for split in SPLITS:
        assert first[split] != second[split] or split in ("probe", "test")
        others = set.union(*(second[other] for other in SPLITS if other != split))
        assert not {text for text in first[split] & others if " " in text}


def test_every_split_has_sentences_of_every_pattern_and_they_make_up_all():
    for pattern, (leading, n_digits, _) in enumerate(PATTERNS):
        parts = [sentences.sentences_of(split, pattern) for split in SPLITS]
        assert all(parts)
        whole = {" ".join([*leading.split(), *digits]) for digits in itertools.product(DIGITS, repeat=n_digits)}
        assert sorted(text for part in parts for text in part) == sorted(whole)


def test_splits_are_alike_in_patterns_and_voices():
    lengths = {split: [one.text.count(" ") + 1 for one in planned(split) if " " in one.text] for split in SPLITS}
    means = [float(np.mean(values)) for values in lengths.values()]
    assert max(means) - min(means) < 0.05
    for attribute in ("tract", "rate"):
        drawn = [np.mean([getattr(v, attribute) for v in voices.draw_voices(split, 24, 3)]) for split in SPLITS]
        assert max(drawn) - min(drawn) < 0.02  # 24 independent draws would differ by about 0.04


def test_labeled_and_unlabeled_forms_are_of_the_same_utterances():
    matched, base, pool, references = read("base_matched"), read("base"), read("pool"), read("pool_references")
    for labeled, other in zip(base, matched, strict=True):
        assert labeled == {**other, "text": labeled["text"]}
        assert labeled["text"] == labeled["text"].upper() != other["text"]
        assert spell_out(labeled["text"]) == other["text"]
    for row, reference in zip(pool, references, strict=True):
        assert {**row, "text": reference["text"]} == reference


def test_no_recipe_reads_the_texts_of_the_pool():
    recipes = list((Path(distill.__file__).parent / "recipes").glob("*.toml"))
    assert recipes
    assert not any("pool_references" in path.read_text(encoding="utf-8") for path in recipes)


def test_audio_is_audible_and_not_clipped():
    for path in sorted((CORPUS / "audio").iterdir()):
        samples, _ = sf.read(path)
        assert np.isfinite(samples).all()
        assert np.abs(samples).max() < 1.0, f"{path.name} is clipped"
        assert -32 < 10 * math.log10(np.square(samples).mean()) < -18


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


@given(st.floats(-5, 30), st.integers(0, 500), st.integers(0, 2**32 - 1))
def test_mix_reaches_the_ratio_it_states(snr_db, start, seed):
    rng = np.random.default_rng(seed)
    speech, hiss = rng.standard_normal(800) * 3, rng.standard_normal(1300)
    added = noise.mix(speech, hiss, snr_db=snr_db, start=start)
    added[start : start + 800] -= speech
    measured = 10 * np.log10(np.mean(speech**2) / np.mean(added[start : start + 800] ** 2))
    assert measured == pytest.approx(snr_db, abs=1e-6)
    np.testing.assert_allclose(added / added[0], hiss / hiss[0], rtol=1e-6, atol=1e-6)


def test_pink_noise_falls_three_decibels_an_octave():
    drawn = noise.pink_noise(2**18, np.random.default_rng(0))
    assert np.mean(drawn**2) == pytest.approx(1.0)
    power = np.abs(np.fft.rfft(drawn)) ** 2
    octaves = [10 * np.log10(power[2**k : 2 ** (k + 1)].mean()) for k in range(8, 16)]
    np.testing.assert_allclose(np.diff(octaves), -3.0, atol=0.6)


def test_silence_is_trimmed():
    tone = np.sin(np.arange(1600))
    samples = np.concatenate([np.zeros(4000), tone, np.zeros(3200)])
    trimmed = synthesis.trim_silence(samples, keep_s=0.0)
    np.testing.assert_array_equal(trimmed, tone)


def test_a_missing_engine_is_named(monkeypatch):
    monkeypatch.setattr(synthesis.shutil, "which", lambda engine: None)
    with pytest.raises(FileNotFoundError, match=r"espeak-ng not found.*apt install espeak-ng"):
        synthesis.require_engine()


def test_a_voice_that_the_synthesizer_would_replace_by_its_own_is_refused(tmp_path):
    (voice,) = voices.draw_voices("probe", 1, 0)
    with pytest.raises(FileNotFoundError, match="does not hold the voice probe-000"):
        synthesis.speak(voice, "one", tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"utterances": {"pol": 3}}, "numbers for pol, but the splits made are base, pool, probe, test"),
        ({"splits": ("test",), "voices": {"pool": 3}}, "numbers for pool, but the splits made are test; add it"),
        ({"splits": ("test",), "voices": {"test": 241}}, "test: 240 utterances for 241 voices; give at least one"),
        ({"splits": ("test",), "voices": {"test": 0}}, "240 utterances for 0 voices"),
    ],
)
def test_sizes_that_cannot_be_are_refused_before_anything_is_deleted(options, message, tmp_path, monkeypatch):
    monkeypatch.setattr(make_corpus, "require_engine", lambda: None)
    (tmp_path / "test.jsonl").write_text("kept")
    with pytest.raises(ValueError, match=message):
        make_corpus.make_corpus(tmp_path, **options)
    assert (tmp_path / "test.jsonl").read_text() == "kept"


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="speaks with eSpeak NG")
def test_small_splits_are_generated_again_as_they_were(tmp_path):
    sizes = {"utterances": {"probe": 4, "pretraining": 8}, "voices": {"probe": 2, "pretraining": 4}}
    for name in ("a", "b"):
        make_corpus.make_corpus(tmp_path / name, splits=("pretraining", "probe"), seed=9, **sizes)
    alone = {kind: {"probe": n["probe"]} for kind, n in sizes.items()}
    make_corpus.make_corpus(tmp_path / "c", splits=("probe",), seed=9, **alone)
    for name in ("pretraining.jsonl", "probe.jsonl", "README.md"):
        assert (tmp_path / "a" / name).read_text() == (tmp_path / "b" / name).read_text()
    assert (tmp_path / "a" / "probe.jsonl").read_text() == (tmp_path / "c" / "probe.jsonl").read_text()
    tracks = [sf.read(tmp_path / folder / "audio" / "probe-001.ogg")[0] for folder in "abc"]
    np.testing.assert_array_equal(tracks[0], tracks[1])
    np.testing.assert_array_equal(tracks[0], tracks[2])
    rows = [json.loads(line) for line in (tmp_path / "a" / "pretraining.jsonl").read_text().splitlines()]
    assert all(row["text"] == row["text"].upper() for row in rows)
    assert "--splits pretraining probe --seed 9 --utterances.probe 4" in (tmp_path / "a" / "README.md").read_text()


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="speaks with eSpeak NG")
def test_every_voice_sounds_different():
    cast = voices.draw_voices("test", 12, 4)
    with synthesis.data_with_voices(cast) as data:
        heard = {synthesis.speak(voice, "seven", data).tobytes() for voice in cast}
        plain = dataclasses.replace(cast[0], tract=1.0, rate=1.0, accent="en-us")
        same = dataclasses.replace(plain, name=cast[1].name)
        assert synthesis.speak(plain, "two", data).tobytes() != synthesis.speak(same, "two", data).tobytes()
    assert len(heard) == 12


@pytest.fixture(params=["student", "teacher"])
def folder(request) -> Path:
    return DEMO / request.param


def test_processor_loads_and_round_trips_text(folder):
    processor = AutoProcessor.from_pretrained(folder)
    assert isinstance(processor, Qwen3ASRProcessor)
    tokenizer = processor.tokenizer
    assert tokenizer.pad_token == "<|endoftext|>"
    assert tokenizer.eos_token == "<|im_end|>"
    for row in [*read("base"), *read("pool_references"), *read("test")]:
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
