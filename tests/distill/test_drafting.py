"""A recipe for two models and two manifests validates, passes a dry run, and takes its sizes from what it was given."""

import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
import soundfile

import distill
from distill.cli import main
from distill.data.manifest import Utterance
from distill.drafting import _largest_micro_batch
from distill.limits import SPARE_TOKENS, WITHOUT_AUDIO, token_limit, with_token_limit
from distill.models.model_size import Shape, shape_of
from distill.recipe import Decoding, load_recipe
from tests.distill.test_cli import run

PAIR = {"student": "demo:student", "teacher": "demo:teacher"}


@pytest.fixture
def manifests(tmp_path) -> dict[str, str]:
    """Twelve utterances to train on, the longest of 1.5 s, and six to test on; all with texts."""
    found = {}
    for name, n, longest in (("train", 12, 1.5), ("test", 6, 1.0)):
        utterances = []
        for i in range(n):
            samples = 0.1 * np.random.default_rng(i).standard_normal(int(16000 * longest * (i + 1) / n))
            soundfile.write(tmp_path / f"{name}-{i}.wav", samples, 16000)
            utterances.append(Utterance(f"{name}-{i}", tmp_path / f"{name}-{i}.wav", "ONE TWO"))
        distill.write_manifest(tmp_path / f"{name}.jsonl", utterances)
        found[name] = str(tmp_path / f"{name}.jsonl")
    return found


def words(manifests, **more) -> list[str]:
    return [word for name, value in (PAIR | manifests | more).items() for word in (f"--{name}", str(value))]


def test_what_it_writes_passes_a_dry_run(manifests, tmp_path, capsys):
    output = tmp_path / "mine.toml"
    code, out, err = run("new", *words(manifests, output=output), capsys=capsys)
    assert code == 0, err
    assert f"distill check {output}" in out
    code, out, err = run("train", output, "--dry-run", "--json", capsys=capsys)
    assert code == 0, err
    assert [stage["stage"] for stage in json.loads(out)["stages"]] == ["base", "teacher data", "on-policy"]


def test_sizes_come_from_audio_and_models(manifests, tmp_path):
    text = distill.draft_recipe(**PAIR, **manifests, folder=tmp_path)
    data = tomllib.loads(text)
    assert data["audio"]["max_seconds"] == 2.0
    assert data["support"]["k"] == 8  # of 76 tokens
    assert data["probe"]["max_utterances"] == 6
    assert data["evaluation"]["manifest"] == "test.jsonl"
    assert data["stages"][0]["lr"] == 1e-3
    assert "the longest utterance has 1.5 s" in text
    assert f"# max_new_tokens = {SPARE_TOKENS + 20}" in text


def test_without_labels_there_is_no_supervised_stage(manifests, tmp_path):
    utterances = distill.read_manifest(manifests["train"])
    unlabeled = [Utterance(u.id, u.audio, None if i == 3 else u.text) for i, u in enumerate(utterances)]
    distill.write_manifest(manifests["train"], unlabeled)
    data = tomllib.loads(distill.draft_recipe(**PAIR, **manifests))
    assert [stage["type"] for stage in data["stages"]] == ["td", "opd"]


def test_paths_are_found_from_where_the_recipe_stands(manifests, tmp_path):
    (tmp_path / "sub").mkdir()
    for folder in (tmp_path, tmp_path / "sub"):
        (folder / "r.toml").write_text(distill.draft_recipe(**PAIR, **manifests, folder=folder))
        assert load_recipe(folder / "r.toml").stages[0].manifest == manifests["train"]


def test_it_is_printed_without_output(manifests, capsys):
    code, out, _ = run("new", *words(manifests), capsys=capsys)
    assert code == 0
    assert tomllib.loads(out)["student"]["model"] == "demo:student"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"output": "taken.toml"}, "--output: taken.toml exists"),
        ({"output": "no/such/place.toml"}, "--output: there is no folder"),
        ({"train": "gone.jsonl"}, "--train: the manifest gone.jsonl does not exist"),
        ({"teacher": "demo:teachr"}, "--teacher: the model demo:teachr does not exist; did you mean demo:teacher?"),
    ],
)
def test_mistakes_are_told(change, message, manifests, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("taken.toml").write_text("mine")
    code, _, err = run("new", *words(manifests | change), capsys=capsys)
    assert code == 1
    assert message in err
    assert Path("taken.toml").read_text() == "mine"


def test_a_test_set_without_texts_is_refused(manifests):
    utterances = distill.read_manifest(manifests["test"])
    distill.write_manifest(manifests["test"], [Utterance(u.id, u.audio) for u in utterances])
    with pytest.raises(distill.ManifestError, match="the test set needs reference text") as error:
        distill.draft_recipe(**PAIR, **manifests)
    _, *lines = str(error.value).split("\n  ")
    assert lines[4].startswith(f"{manifests['test']}:5: utterance 'test-4' ({utterances[4].audio}")


def test_numbers_in_comments_have_no_exponents(tmp_path):
    lines = (json.dumps({"id": str(i), "audio": "a.wav", "end_time": 123456.7, "text": "one"}) for i in range(4))
    (tmp_path / "a.wav").touch()  # of which nothing is read, since the lines say how long it is
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    text = distill.draft_recipe(**PAIR, train=str(tmp_path / "m.jsonl"), test=str(tmp_path / "m.jsonl"))
    assert "steps = 50  # about 200 times through 4 utterances" in text
    assert "# the longest utterance has 123,457 s" in text
    assert not re.search(r"#.*\de[+-]\d", text)


def test_a_shape_is_the_model_s_own():
    from distill.models import load_recognizer

    shape, model = shape_of("demo:student"), load_recognizer("demo:student").model
    assert shape.family == "qwen3_asr"
    assert shape.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert shape.vocabulary == model.config.get_text_config().vocab_size


def test_large_models_get_smaller_parts(monkeypatch):
    monkeypatch.setattr("distill.drafting.memory_bytes", lambda: 64e9)
    small = Shape("qwen3_asr", 200_000, 76, 64, 2)
    large = Shape("qwen3_asr", 600_000_000, 151_936, 1024, 28)
    huge = Shape("qwen3_asr", 8_000_000_000, 151_936, 4096, 36)
    assert _largest_micro_batch(small, small, 5.0, 100) == 16
    assert 1 <= _largest_micro_batch(large, large, 30.0, 600) < 16
    assert _largest_micro_batch(huge, huge, 30.0, 600) == 1


def test_the_longest_transcript_follows_from_the_longest_audio(tmp_path):
    def of(seconds):
        return Utterance(f"{seconds}", tmp_path / "a.wav", begin_time=0.0, end_time=seconds)

    assert token_limit([of(1.0), of(30.0), of(2.0)]) == token_limit([of(30.0)]) == SPARE_TOKENS + 600
    assert token_limit([of(0.01)]) == SPARE_TOKENS + 1
    assert token_limit([Utterance("x", prompt="say it")]) == WITHOUT_AUDIO
    assert token_limit([Utterance("gone", tmp_path / "gone.wav"), of(1.0)]) == SPARE_TOKENS + 20
    assert with_token_limit(Decoding(max_new_tokens=7), [of(30.0)]).limit == 7
    assert with_token_limit(Decoding(sample=True), [of(1.0)]) == Decoding(sample=True, max_new_tokens=SPARE_TOKENS + 20)


def test_english_speech_of_the_demo_is_well_below_the_limit():
    tokenizer_free = [u for u in distill.read_manifest("demo:corpus/test.jsonl")]
    for utterance in tokenizer_free:  # the demo's tokens are letters, more than any other tokenizer needs
        assert len(utterance.text or "") < token_limit([utterance])


def test_the_command_line_is_the_function(manifests, capsys):
    with pytest.raises(SystemExit):
        main(["new", *words(manifests)])
    assert capsys.readouterr().out.strip() == distill.draft_recipe(**PAIR, **manifests).strip()
