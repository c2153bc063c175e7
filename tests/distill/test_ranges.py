"""Values out of range in flags, and what only data show: refused at the start, by name."""

import pytest

import distill
from distill.data.manifest import ManifestError
from distill.recipe import Recipe
from distill.training.setup import prepare_run
from tests.distill.test_cli import run

MODEL = ("--model", "m", "--manifest", "x.jsonl")
PAIR = ("--student", "s", "--teacher", "t", "--manifest", "x.jsonl")
JOB = ("--teacher", "t", "--manifest", "x.jsonl", "--output", "y.jsonl")


@pytest.mark.parametrize(
    ("words", "flag", "said"),
    [
        (("evaluate", *MODEL, "--batch-size", "-4"), "--batch-size", "Must be at least 1"),
        (("evaluate", *MODEL, "--batch-size", "0"), "--batch-size", "Must be at least 1"),
        (("evaluate", *MODEL, "--max-new-tokens", "0"), "--max-new-tokens", "Must be at least 1"),
        (("evaluate", *MODEL, "--max-seconds", "nan"), "--max-seconds", "Must be a number above 0"),
        (("evaluate", *MODEL, "--max-seconds", "-1"), "--max-seconds", "Must be a number above 0"),
        (("probe", *PAIR, "--k", "0"), "--k", "Must be at least 1"),
        (("probe", *PAIR, "--temperature", "inf"), "--temperature", "Must be a number above 0"),
        (("probe", *PAIR, "--max-utterances", "0"), "--max-utterances", "Must be at least 1"),
        (("probe", *PAIR, "--concurrency", "0"), "--concurrency", "must be at least 1"),
        (("show", *PAIR, "--k", "-1"), "--k", "Must be at least 1"),
        (("transcribe", *JOB, "--batch-size", "-3"), "--batch-size", "must be at least 1"),
        (("transcribe", *JOB, "--seed", "-1"), "--seed", "must be at least 0"),
        (("transcribe", *JOB, "--max-compression", "nan"), "--max-compression", "must be a finite number"),
        (("transcribe", *JOB, "--max-repeats", "often"), "--max-repeats", 'must be a number or "off"'),
        (("transcribe", *JOB, "--temperature", "0"), "--temperature", "must be above 0"),
        (("demo", "--output", "r", "--seed", "-1"), "--seed", "Must be at least 0"),
        (("watch", "r", "--every", "0"), "--every", "Must be a number above 0"),
    ],
)
def test_a_flag_out_of_range_is_named(words, flag, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(*words, capsys=capsys)
    text = " ".join(err.replace("│", " ").split())
    assert code == 2
    assert flag in text
    assert said in text
    assert "pydantic" not in text
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def single(mini, tmp_path):
    """The miniature recipe with one utterance in its probe set."""
    manifest = tmp_path / "one.jsonl"
    distill.write_manifest(manifest, distill.read_manifest(mini["probe"]["manifest"])[:1])
    mini["probe"]["manifest"] = str(manifest)
    return mini


def test_one_probed_utterance_is_refused_where_a_gate_needs_intervals(single, monkeypatch):
    monkeypatch.setattr("distill.training.setup.load_student", lambda *_: pytest.fail("a model was loaded"))
    with pytest.raises(ManifestError, match=r"one\.jsonl has one utterance: stages\.1\.gate needs intervals"):
        prepare_run(Recipe.model_validate(single), device="cpu")


def test_one_probed_utterance_is_taken_where_a_gate_reads_the_value(single):
    single["stages"][1]["gate"]["on"] = "value"
    assert len(prepare_run(Recipe.model_validate(single), device="cpu").probe) == 1


def test_the_setup_says_how_long_transcripts_may_be(mini):
    del mini["evaluation"]["max_new_tokens"], mini["stages"][1]["transcription"], mini["stages"][2]["rollout"]
    mini["stages"][2]["off_policy"] = {"fraction": 0.5, "states": "teacher"}
    setup = prepare_run(Recipe.model_validate(mini), device="cpu")
    _, taught, on_policy = setup.recipe.stages
    longest = max(u.end_time - u.begin_time for u in setup.stages[2])
    assert 16 + 20 * longest <= on_policy.rollout.limit < 17 + 20 * longest
    assert taught.transcription.limit == on_policy.rollout.limit == on_policy.off_policy.transcription.limit
    assert setup.recipe.evaluation is not None
    assert setup.recipe.evaluation.max_new_tokens not in (None, 256)
