"""A pretrained Whisper on recorded voices: its command lines, and a copy with part of its decoder."""

import json

import numpy as np
import pytest
import soundfile

from distill import Utterance, read_manifest, write_manifest
from distill.cli import main
from distill.data.audio import AudioCache, duration, load_audio
from distill.data.batch import AudioSource
from distill.data.long_recordings import in_pieces, longest_piece
from distill.evaluation.evaluation import evaluate
from distill.models import load_recognizer
from distill.probing.probe import probe
from distill.recipe import Decoding, SupportSettings
from distill.scoring.pair import Pair

K = 16


@pytest.fixture(scope="module")
def whisper(recorded_speech) -> str:
    return str(recorded_speech / "models" / "whisper-tiny.en")


@pytest.fixture(scope="module")
def utterances(recorded_speech):
    return [u for u in read_manifest(recorded_speech / "data" / "read" / "test.jsonl") if duration(u) <= 6][:6]


def loaded(path: str, layers=None):
    recognizer = load_recognizer(path, window_seconds=10, keep_decoder_layers=layers)
    recognizer.freeze_encoder(cache_mib=100.0)
    return recognizer


def test_a_pruned_copy_overlaps_in_part(whisper, utterances):
    source, decoding = AudioSource(AudioCache()), Decoding(max_new_tokens=24)
    teacher, student = loaded(whisper), loaded(whisper, layers=(0, 1, 3))
    itself = probe(Pair.from_models(teacher, loaded(whisper), K), source, utterances, SupportSettings(k=K), decoding)
    pruned = probe(Pair.from_models(student, teacher, K), source, utterances, SupportSettings(k=K), decoding)
    assert itself.estimates["union_size"].value == K
    assert itself.estimates["forward_kl"].value == pytest.approx(0.0, abs=1e-5)
    assert K < pruned.estimates["union_size"].low < pruned.estimates["union_size"].high < 2 * K
    assert 0.05 < pruned.estimates["total_variation"].value < 0.95
    score = evaluate(teacher, source, utterances, normalizer="basic", decoding=decoding).score
    assert score.wer.value < 0.7  # speakers are learners, half of them children


def test_probe_and_show_print_a_pair_of_real_models(whisper, utterances, recorded_speech, tmp_path, capsys):
    manifest = tmp_path / "few.jsonl"
    write_manifest(manifest, utterances[:2])
    arguments = ["--student", whisper, "--teacher", whisper, "--manifest", str(manifest), "--max-new-tokens", "16"]
    with pytest.raises(SystemExit) as ended:
        main(["probe", *arguments, "--k", "8", "--json"])
    assert ended.value.code == 0
    result = json.loads(capsys.readouterr().out)
    assert result["funnel"]["used"] == result["summary"]["estimates"]["union_size"]["n_positions"]
    with pytest.raises(SystemExit):
        main(["show", *arguments])
    shown = capsys.readouterr().out
    assert "<|startoftranscript|><|notimestamps|>" in shown


def test_a_long_recording_is_transcribed_as_well_as_its_utterances(whisper, recorded_speech, tmp_path, capsys):
    """Sentences of three speakers with pauses between, more than a minute: cut, decoded and joined again.

    The sentences alone are read with the short window of the other tests, which costs less. With the whole one, and 16
    sentences, their rate was 0.305, joined 0.221: a window then holds several sentences.
    """
    pytest.importorskip("silero_vad")
    every = read_manifest(recorded_speech / "data" / "read" / "test.jsonl")
    few = [u for u in every if u.extra["speaker"] in sorted({u.extra["speaker"] for u in every})[:3]]
    some, seconds = [], 0.0
    while seconds <= 62.0:
        some.append(few[len(some)])
        seconds += duration(some[-1]) + 2.0
    pause = np.random.default_rng(0).normal(0, 3e-4, 32_000).astype(np.float32)
    soundfile.write(tmp_path / "long.wav", np.concatenate([p for u in some for p in (load_audio(u), pause)]), 16_000)
    text = " ".join(u.text or "" for u in some)
    long = [Utterance(id="long", audio=tmp_path / "long.wav", text=text)]
    recognizer, source = load_recognizer(whisper), AudioSource(AudioCache())
    pieces = in_pieces(long, longest_piece([recognizer], 30.0))
    assert pieces.n_window == pieces.n_silent == 0
    assert len(pieces.utterances) == 3
    decoding = Decoding(max_new_tokens=200)
    joined = evaluate(recognizer, source, long, normalizer="basic", decoding=decoding, pieces=pieces).score.wer
    apart = evaluate(loaded(whisper), source, some, normalizer="basic", decoding=Decoding(max_new_tokens=48)).score.wer
    with capsys.disabled():
        rates = f"WER apart {apart.value:.3f}, joined {joined.value:.3f}, of {joined.total} words"
        print(f"\n{seconds:.0f} s, {len(some)} utterances: {rates}; {pieces.line}")
    assert joined.total == apart.total
    assert joined.value <= apart.value + 0.05
