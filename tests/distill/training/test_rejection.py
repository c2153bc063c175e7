"""Rollouts that a step refuses: judged one by one, decided for the step, counted, and the same after a resume."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from distill import Utterance, resume, train
from distill.models.base import Transcripts
from distill.recipe import Recipe, Reject
from distill.training import rejection
from distill.training.rejection import Refused, refused


def rows(run, log):
    return [json.loads(line) for line in (run / f"{log}.jsonl").read_text().splitlines()]


def written(lengths, finished):
    length = max(lengths) + 1
    ends = torch.tensor(finished)
    positions = torch.tensor(lengths) + ends.long()
    return Transcripts(
        torch.ones(len(lengths), length, dtype=torch.long), torch.arange(length) < positions[:, None], ends
    )


def test_rollouts_are_refused_for_what_they_are():
    """Unfinished, repetitive, too long for two seconds of audio, and sound."""
    texts = ["call six", "the " * 200, "a b c d e f g h", "room nine"]
    student = SimpleNamespace(decode=lambda _: texts)
    transcripts = written([2, 200, 40, 2], [False, True, True, True])
    utterances = [Utterance(str(i), Path("a.wav"), begin_time=0.0, end_time=2.0) for i in range(4)]
    found = refused(Reject(tokens_per_second=15.0), student, transcripts, utterances)
    assert found.rows.tolist() == [True, True, True, False]
    assert (found.unfinished, found.repetitive, found.too_long) == (1, 1, 2)
    lenient = Reject(unfinished=False, repetition=None, tokens_per_second=None)
    assert not refused(lenient, student, transcripts, utterances).rows.any()


@pytest.fixture
def looping(mini, monkeypatch):
    """Every rollout is refused."""

    def all_of_them(rule, student, written, utterances):
        n = len(utterances)
        return Refused(torch.ones(n, dtype=torch.bool), n, 0, 0)

    monkeypatch.setattr(rejection, "refused", all_of_them)
    mini["stages"][2]["reject"] = {"patience": 2}
    mini["stages"][2]["steps"] = 6
    mini["stages"][2]["gate"] = {"type": "collapse", "limits": {"end_of_text": [0.99, None]}, "action": "abort"}
    mini["probe"]["every"] = 100
    return mini


def test_a_step_whose_rollouts_are_refused_is_taken_on_the_teachers_transcripts(looping, tmp_path):
    looping["stages"][2]["reject"] = {"patience": 100}
    result = train(Recipe.model_validate(looping), tmp_path / "run")
    taken = [row for row in rows(result.path, "metrics") if row["stage"] == "on-policy"]
    assert {row["rejection"]["taken_on"] for row in taken} == {"teacher"}
    assert [row["rejection"]["in_a_row"] for row in taken] == list(range(1, 7))
    assert all(row["rejection"]["n"] == row["rejection"]["refused"] == 4 for row in taken)
    assert all(row["n_positions"] > 0 and row["loss"] > 0 for row in taken)
    assert "rejection" not in rows(result.path, "metrics")[0]


def test_the_gate_reads_at_once_after_refused_steps_in_a_row(looping, tmp_path):
    result = train(Recipe.model_validate(looping), tmp_path / "run")
    assert result.aborted
    assert "end_of_text" in result.reason
    assert result.step == 10  # 4 of base, 4 of teacher data, 2 refused ones; the next probe is due at the stage's end
    read = [row for row in rows(result.path, "decisions") if row["stage"] == "on-policy" and row["stage_step"]]
    assert [row["stage_step"] for row in read if row["gate"] != "run"] == [2]


def with_off_policy_steps(recipe, **stage):
    """The recipe with half of its on-policy steps on the teacher's transcripts."""
    share = {"fraction": 0.5, "states": "teacher", "transcription": {"max_new_tokens": 8}}
    recipe["stages"][2] |= {"off_policy": share | {"filters": recipe["stages"][1]["filters"]}} | stage
    return recipe


def test_steps_without_rollouts_neither_count_as_refused_nor_end_a_row_of_refused_ones(looping, tmp_path):
    with_off_policy_steps(looping, reject={"patience": 3}, steps=16)
    result = train(Recipe.model_validate(looping), tmp_path / "run")
    taken = [row for row in rows(result.path, "metrics") if row["stage"] == "on-policy"]
    found = [row["rejection"] for row in taken]
    assert {(row["n"], row["taken_on"]) for row in found} == {(0, "off_policy"), (4, "teacher")}
    refused_so_far = [sum(row["n"] > 0 for row in found[: at + 1]) for at in range(len(found))]
    assert [row["in_a_row"] for row in found] == refused_so_far
    assert not all(row["n"] for row in found[refused_so_far.index(1) :])  # one lies between refused ones
    read = [row["stage_step"] for row in rows(result.path, "decisions") if row["gate"] not in ("run", "entry")][-1]
    assert read == refused_so_far.index(3) + 1 == len(found) < 16
    names = {row["rejection"]["taken_on"]: row["objective"]["name"] for row in taken}
    assert names == {"teacher": "cross_entropy", "off_policy": "forward_kl(union, tail)"}


def test_without_teacher_transcripts_the_step_is_skipped(looping, tmp_path):
    del looping["stages"][1]
    looping["stages"][1]["reject"] = {"patience": 100}
    result = train(Recipe.model_validate(looping), tmp_path / "run")
    taken = [row for row in rows(result.path, "metrics") if row["stage"] == "on-policy"]
    assert {row["rejection"]["taken_on"] for row in taken} == {"nothing"}
    assert all(row["n_positions"] == 0 and row["loss"] is None for row in taken)
    before, after = sorted((result.path / "checkpoints").iterdir())[-2:]
    assert (before / "model.safetensors").read_bytes() == (after / "model.safetensors").read_bytes()


def test_refusals_survive_a_resume(looping, tmp_path):
    looping["stages"][2]["reject"] = {"patience": 4}
    whole = train(Recipe.model_validate(looping), tmp_path / "whole")
    cut = train(Recipe.model_validate(looping | {"total_steps": 10}), tmp_path / "cut")
    assert cut.step == 10
    state = json.loads((cut.path / "checkpoints" / "step-000010" / "state.json").read_text())
    assert state["refused_steps"] in (0, 2)
    kept = [row["rejection"] for row in rows(whole.path, "metrics") if row["stage"] == "on-policy"][:2]
    assert kept == [row["rejection"] for row in rows(cut.path, "metrics") if row["stage"] == "on-policy"]


@pytest.mark.parametrize("off_policy", [False, True])
def test_an_interrupted_run_decides_as_an_uninterrupted_one(looping, tmp_path, monkeypatch, off_policy):
    looping["stages"][2]["reject"] = {"patience": 3}
    if off_policy:
        with_off_policy_steps(looping, steps=16)
        looping["checkpoint"] = {"every": 1}
    whole = train(Recipe.model_validate(looping), tmp_path / "whole")
    original = rejection.planned

    def stopped(*arguments):
        stopped.calls += 1
        if stopped.calls == 3:
            raise KeyboardInterrupt
        return original(*arguments)

    stopped.calls = 0
    with monkeypatch.context() as patch:
        patch.setattr("distill.training.whole_step.planned", stopped)
        with pytest.raises(KeyboardInterrupt):
            train(Recipe.model_validate(looping), tmp_path / "cut")
    again = resume(tmp_path / "cut")
    assert (again.step, again.reason) == (whole.step, whole.reason)
    strip = lambda row: {name: value for name, value in row.items() if name != "seconds"}  # noqa: E731
    assert list(map(strip, rows(again.path, "metrics"))) == list(map(strip, rows(whole.path, "metrics")))


def test_a_sound_step_is_the_step_without_the_rule(mini, tmp_path):
    """Nothing is refused where all is allowed: same weights, to the bit."""
    plain = train(Recipe.model_validate(mini), tmp_path / "plain")
    mini["stages"][2]["reject"] = {"unfinished": False, "repetition": None}
    judged = train(Recipe.model_validate(mini), tmp_path / "judged")
    one, other = (run.model / "model.safetensors" for run in (plain, judged))
    assert one.read_bytes() == other.read_bytes()
    taken = [row["rejection"] for row in rows(judged.path, "metrics") if row["stage"] == "on-policy"]
    assert {(row["refused"], row["taken_on"]) for row in taken} == {(0, "rollouts")}


def test_refused_rollouts_of_a_step_that_is_taken_have_a_bin_of_their_own(mini, tmp_path):
    """The rule refuses all rollouts and the step needs more than all: it trains on none of their positions."""
    mini["stages"][2]["reject"] = {"share": 1.0, "repetition": None}
    mini["stages"][2]["rollout"] = {"max_new_tokens": 8, "sample": True, "temperature": 30.0}
    result = train(Recipe.model_validate(mini), tmp_path / "run")
    for row in rows(result.path, "metrics"):
        if row["stage"] == "on-policy" and row["rejection"]["taken_on"] == "rollouts":
            assert (row["funnel"]["refused"] > 0) is (row["rejection"]["refused"] > 0)
            assert row["n_positions"] == row["funnel"]["used"]


@pytest.mark.parametrize("value", [{"share": 0.0}, {"share": 1.5}, {"patience": 0}, {"repetition": -1.0}, {"nope": 1}])
def test_settings_out_of_range_are_refused(mini, value):
    mini["stages"][2]["reject"] = value
    with pytest.raises(ValueError, match=next(iter(value))):
        Recipe.model_validate(mini)
