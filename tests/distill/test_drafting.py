"""A recipe for two models and two manifests validates, passes a dry run, and takes its sizes from what it was given."""

import json
import math
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
import soundfile

import distill
from distill.cli import main
from distill.data.manifest import Utterance
from distill.drafting import SmallProbeWarning, _largest_micro_batch
from distill.limits import SPARE_TOKENS, WITHOUT_AUDIO, token_limit, with_token_limit
from distill.models.model_size import Shape, shape_of
from distill.recipe import Decoding, load_recipe
from overlap import Action
from overlap.estimates.sequences import utterance_estimates
from overlap.gates import READINESS
from tests.distill.test_cli import run

pytestmark = pytest.mark.filterwarnings("ignore::distill.drafting.SmallProbeWarning")  # small sets are read faster

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


def drafted(tmp_path, n_train: int, n_test: int) -> dict:
    """A recipe for so many utterances of two seconds, whose audio is never read."""
    (tmp_path / "a.wav").touch()
    places = {}
    for name, n in (("train", n_train), ("test", n_test)):
        lines = (json.dumps({"id": f"{i}", "audio": "a.wav", "end_time": 2.0, "text": "one"}) for i in range(n))
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
        places[name] = str(tmp_path / f"{name}.jsonl")
    return tomllib.loads(distill.draft_recipe(**PAIR, **places, folder=tmp_path))


def precondition(recipe: dict) -> dict:
    return recipe["stages"][1]["gate"]["gates"][0]


@pytest.mark.parametrize(("n", "ends_are_read"), [(55, False), (56, True), (240, True)])
def test_the_end_at_the_teacher_s_ends_is_a_condition_where_the_probe_is_large_enough(tmp_path, n, ends_are_read):
    conditions = precondition(drafted(tmp_path, 20, n))["conditions"]
    assert conditions[0] == {"type": "threshold", "statistic": "end_of_text", "at_least": 0.9}
    least = READINESS["any/comparable/used"].level
    assert conditions[1] == {"type": "threshold", "statistic": "used", "at_least": least, "on": "value"}
    level = READINESS["any/switch/student_end_likely.at_end"].level
    read = {"type": "threshold", "statistic": "teacher.student_end_likely.at_end", "at_least": level}
    assert conditions[2:] == ([read | {"on": "value", "min_utterances": 50}] if ends_are_read else [])


@pytest.mark.parametrize("n", [2, 12, 35, 36])
def test_a_small_probe_opens_only_where_all_end_and_says_how_little_that_shows(tmp_path, n):
    drafted(tmp_path, 20, n)
    paths = {name: str(tmp_path / f"{name}.jsonl") for name in ("train", "test")}
    with pytest.warns(SmallProbeWarning, match="is not read; it takes 50 ends") as warned:
        text = distill.draft_recipe(**PAIR, **paths)
    (tmp_path / "r.toml").write_text(text)
    gate = load_recipe(tmp_path / "r.toml").stages[1].effective_gate.build()
    ends = gate.members[0].members[0]
    actions = []
    for missing in (0, 1):
        reading = utterance_estimates({"end_of_text": [1.0] * (n - missing) + [0.0] * missing})
        actions.append(ends.read(reading, 10).action)
    assert actions == [Action.advance, Action.stay]
    least = utterance_estimates({"end_of_text": [1.0] * n})["end_of_text"].low
    doubt = (
        f"{n} utterances cannot show that 90 % of transcripts end: even if all do, the interval begins at {least:.2f}."
    )
    comments = " ".join(line.removeprefix("# ") for line in text.splitlines() if line.startswith("#"))
    assert (doubt in comments, doubt in str(warned[0].message)) == (n < 36, n < 36)


def test_the_command_says_that_the_probe_is_small(manifests, tmp_path, capsys):
    with pytest.warns(SmallProbeWarning, match=r"test.jsonl: 6 utterances cannot show .* probe 36\. Whether"):
        run("new", *words(manifests, output=tmp_path / "mine.toml"), capsys=capsys)


def test_every_stage_has_a_guard_against_collapse_also_to_nothing(tmp_path):
    base, td, opd = drafted(tmp_path, 20, 60)["stages"]
    ends, loops, empty = [0.9, "off"], ["off", 3.0], ["off", 0.1]
    guard = {"type": "collapse", "limits": {"end_of_text": ends, "empty": empty}, "action": "abort", "patience": 3}
    assert base["gate"] == guard
    both = {"type": "collapse", "limits": {"end_of_text": ends, "repetition": loops, "empty": empty}}
    # While the form changes, a student may not end for a while: the guard of teacher data is patient.
    assert [td["gate"]["gates"][1], opd["gate"]] == [both | {"patience": 5}, both]
    (tmp_path / "r.toml").write_text(
        distill.draft_recipe(**PAIR, **{n: str(tmp_path / f"{n}.jsonl") for n in ("train", "test")})
    )
    gate = load_recipe(tmp_path / "r.toml").stages[2].effective_gate.build()
    nothing = utterance_estimates({"end_of_text": [1.0] * 50, "empty": [1.0] * 50, "repetition": [math.nan] * 50})
    assert gate.read(nothing, 20).action is Action.fall_back


@pytest.mark.parametrize("n", [1, 130, 400, 410, 720, 1_111, 5_000, 15_999, 40_000])
def test_checkpoints_are_at_probes_in_every_stage(tmp_path, n):
    recipe = drafted(tmp_path, n, 2)
    every, saved = recipe["probe"]["every"], recipe["checkpoint"]["every"]
    base, td, opd = recipe["stages"]
    assert 50 <= base["steps"] <= td["steps"] == opd["steps"] <= 4000
    assert 5 <= td["steps"] / every <= 14
    for readings in (1, 4):  # of teacher data, which a gate leaves at a reading
        for start in (base["steps"], base["steps"] + readings * every):
            at_probes = {start + every * i for i in range(1, td["steps"] // every + 1)}
            kept = {step for step in range(start + 1, start + td["steps"] + 1) if step % saved == 0}
            assert kept <= at_probes
            assert len(kept) >= 2


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
