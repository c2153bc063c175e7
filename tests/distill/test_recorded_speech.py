"""A pretrained Whisper on recorded voices: its command lines, and a copy with part of its decoder."""

import json

import pytest

from distill import read_manifest, write_manifest
from distill.cli import main
from distill.data.audio import AudioCache, duration
from distill.data.batch import AudioSource
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
