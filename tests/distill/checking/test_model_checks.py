"""Findings about the two models and about disk and memory, each provoked once."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

import overlap
from distill import read_manifest
from distill.checking.attempts import Attempts
from distill.checking.ends import check_ends, check_paired_ends
from distill.checking.finding import CheckFinding
from distill.checking.memory import MemoryNeed, training_memory
from distill.checking.resources import (
    CheckpointSize,
    check_disk,
    check_estimated_memory,
    check_measured_memory,
    most_bytes,
)
from distill.checking.teacher_states import (
    at_teacher_states,
    check_cut_teacher_data,
    check_prompts,
    check_teacher_states,
)
from distill.data.audio import AudioCache
from distill.data.batch import AudioSource
from distill.locations import packaged
from distill.models import load_recognizer
from distill.models.encodings import without_encoder_cache
from distill.models.model_size import Shape
from distill.recipe import Decoding, SupportSettings, TeacherDataStage
from distill.recipe.schema import Checkpoints
from distill.run import checkpoint
from distill.run.checkpoint import TrainingState
from distill.scoring.pair import Pair
from overlap.errors import UserError
from tests.distill.scoring.test_pair import shuffled
from tests.distill.small_models import save_whisper

MIB = 2**20


@pytest.fixture(scope="module")
def demo() -> Pair:
    return Pair.from_models(load_recognizer("demo:student"), load_recognizer("demo:teacher"), 8)


@pytest.fixture(scope="module")
def mapped(tmp_path_factory) -> Pair:
    """The demo's student, and its teacher with other ids."""
    path = shuffled(packaged("teacher"), tmp_path_factory.mktemp("shuffled") / "teacher")
    return Pair.from_models(load_recognizer("demo:student"), load_recognizer(str(path)), 8)


@pytest.fixture(scope="module")
def probed(demo):
    """Four utterances along the teacher's transcripts."""
    return at_teacher_states(demo, source(), utterances(4), SupportSettings(k=8), Decoding(), 4)


def source() -> AudioSource:
    return AudioSource(AudioCache())


def utterances(n: int):
    return read_manifest("demo:corpus/probe.jsonl")[:n]


def only(findings: list[CheckFinding]) -> CheckFinding:
    (found,) = findings
    return found


class TestEnds:
    @pytest.fixture
    def with_ends(self, tmp_path):
        def load(*ends):
            folder = shutil.copytree(packaged("student"), tmp_path / "student")
            settings = json.loads((folder / "generation_config.json").read_text()) | {"eos_token_id": list(ends)}
            (folder / "generation_config.json").write_text(json.dumps(settings))
            return load_recognizer(str(folder))

        return load

    def test_the_demo_s_are_in_order(self, demo):
        found = check_ends({"student": demo.student, "teacher": demo.teacher})
        assert [one.severity for one in found] == ["ok", "ok"]
        assert found[0].finding == (
            "the student ends texts with '<|im_end|>' (id 64), '<|endoftext|>' (id 65), which count as one event"
        )
        assert only(check_paired_ends(demo)) == CheckFinding(
            "ok", "end of text", "the ends of both models are paired (ids 64 and 64)"
        )

    def test_ends_that_are_text(self, with_ends):
        found = only(check_ends({"student": with_ends(4)}))
        assert found.severity == "error"
        assert "its eos_token_id of generation_config.json names only 'e' (id 4), which is text or no" in found.finding
        assert found.remedy.startswith("give eos_token_id of generation_config.json the id 64")

    def test_an_end_that_is_text_among_others(self, with_ends):
        found = only(check_ends({"teacher": with_ends(64, 65, 4)}))
        assert found.severity == "warning"
        assert "also names 'e' (id 4), which is text or no token and is not read as an end" in found.finding

    def test_labels_are_closed_by_an_end_at_which_generation_does_not_stop(self, with_ends):
        model = with_ends(65)
        found = only(check_ends({"student": model}))
        assert found.severity == "warning"
        assert "labels are closed by '<|im_end|>' (id 64), which its eos_token_id" in found.finding
        assert only(check_ends({"teacher": model})).severity == "ok"  # it is not saved

    def test_ends_of_different_ids_are_paired(self, mapped):
        assert mapped.vocabulary is not None
        assert only(check_paired_ends(mapped)).severity == "ok"

    def test_an_end_without_a_partner(self, mapped):
        assert mapped.spelled is not None
        alone = overlap.VocabularyMap.from_bytes(*mapped.spelled, roles={}, student_size=76, teacher_size=76)
        found = only(check_paired_ends(replace(mapped, vocabulary=alone)))
        assert found.severity == "error"
        assert found.finding == (
            "the student's end '<|im_end|>' (id 64) is paired with no token of the teacher, whose end is '<|im_end|>' "
            "(id 64)"
        )
        assert "end_of_text of both models' sections" in found.remedy

    def test_an_end_that_is_text_of_the_other(self, mapped):
        assert mapped.spelled is not None
        text = next(i for i, blocked in enumerate(mapped.teacher_blocked.tolist()) if not blocked and i < 62)
        roles = {"end_of_text": (64, 64), "further": (65, text)}
        wrong = overlap.VocabularyMap.from_bytes(*mapped.spelled, roles=roles, student_size=76, teacher_size=76)
        found = only(check_paired_ends(replace(mapped, vocabulary=wrong)))
        assert found.severity == "error"
        assert "'<|endoftext|>' (id 65), an end of the student, is a token of the teacher's texts" in found.finding

    def test_an_end_of_one_side_alone_is_a_note(self, demo, with_ends):
        model = with_ends(64)
        model.tokens = replace(model.tokens, further_ends=())
        found = only(check_paired_ends(replace(demo, student=model)))
        assert found.severity == "note"
        assert "only one of the two stops at '<|endoftext|>'" in found.finding


class TestTeacherStates:
    def test_prompts_are_shown_decoded(self, demo, tmp_path):
        one = utterances(1)[0]
        found = only(check_prompts(demo, source(), one))
        assert found.severity == "note"
        assert found.finding.startswith(
            "both models read '<|im_start|>system\\n<|im_end|>\\n<|im_start|>user\\n<|audio_"
        )
        assert f"(utterance {one.id!r})" in found.finding
        other = load_recognizer(str(save_whisper(tmp_path / "whisper")))
        found = only(check_prompts(replace(demo, teacher=other), source(), one))
        assert "the teacher '<|startoftranscript|>" in found.finding

    def test_a_sound_teacher(self, probed):
        rows = {row.check: row for row in check_teacher_states(probed, on_policy_first=False)}
        assert rows["the teacher's transcripts end"].finding == "4 of 4 of the teacher's transcripts end by themselves"
        n = probed.funnel.total
        positions = rows["positions of the teacher's transcripts"]
        assert (positions.severity, positions.finding) == ("ok", f"{n} of {n} can be compared (100.0 %)")
        ends = rows["p(end) of the student at the teacher's ends"]
        likely = probed.forms["student_end_likely.at_end"]
        assert ends.finding.startswith(f"at least a half at {likely.value:.2f} [")
        assert ends.finding.endswith("of 4 of the teacher's transcripts' ends (rule of thumb: 0.95)")

    def test_a_student_that_does_not_end_may_not_begin_on_policy(self, probed):
        none = overlap.Estimate(0.1, 0.05, 0.02, 0.3, 32, 32)
        unready = replace(probed, forms={"student_end_likely.at_end": none})
        found = {
            first: next(r for r in check_teacher_states(unready, on_policy_first=first) if r.check.startswith("p(end)"))
            for first in (True, False)
        }
        assert (found[True].severity, found[False].severity) == ("warning", "note")
        assert "at least a half at 0.10 [0.02, 0.30] of 32 of the teacher's transcripts' ends" in found[True].finding
        assert found[True].remedy.startswith("train on the teacher's transcripts first")

    @pytest.mark.parametrize(
        ("value", "high", "severity", "remedy"),
        [(0.0, 0.11, "error", "a wrong end_of_text"), (0.5, 0.68, "warning", "a sound teacher ends 90 % or more")],
    )
    def test_a_teacher_that_does_not_end(self, probed, value, high, severity, remedy):
        ends = overlap.Estimate(value, 0.1, 0.0, high, 32, 32)
        wrong = replace(probed, estimates=overlap.OverlapSummary({**probed.estimates, "end_of_text": ends}, k=8))
        found = check_teacher_states(wrong, on_policy_first=False)[0]
        assert (found.severity, found.finding) == (
            severity,
            f"{32 * value:.0f} of 32 of the teacher's transcripts end by themselves",
        )
        assert remedy in found.remedy

    def test_a_limit_that_cuts_the_teacher_is_named(self, demo):
        cut = at_teacher_states(demo, source(), utterances(4), SupportSettings(k=8), Decoding(max_new_tokens=4), 4)
        found = check_teacher_states(cut, on_policy_first=False, limit=4)[0]
        ended = "0 of 4 of the teacher's transcripts end by themselves within rollout.max_new_tokens = 4"
        assert (found.severity, found.finding) == ("error", ended)
        assert found.remedy.endswith("; or the limit is too low (rollout.max_new_tokens = 4)")

    @pytest.mark.parametrize(
        ("ended", "unfinished", "severity"),
        [(16, "drop", "ok"), (8, "drop", "warning"), (0, "drop", "error"), (0, "keep", "warning")],
    )
    def test_teacher_data_that_its_limit_cuts(self, ended, unfinished, severity):
        settings = {"name": "td", "manifest": "pool.jsonl", "steps": 1, "batch_size": 1, "lr": 1e-3, "type": "td"}
        limited = {"transcription": {"max_new_tokens": 8}, "filters": {"unfinished": unfinished}}
        stage = TeacherDataStage.model_validate(settings | limited)
        found = check_cut_teacher_data("stage 'td'", stage, [True] * ended + [False] * (16 - ended))
        said = f"stage 'td': {ended} of 16 of the teacher's transcripts end by themselves within "
        assert (found.severity, found.finding) == (severity, f"{said}transcription.max_new_tokens = 8")
        assert ("the limit is too low (transcription.max_new_tokens = 8)" in found.remedy) is (severity != "ok")

    def test_positions_that_are_lost(self, probed):
        wrong = replace(probed, funnel=overlap.Funnel({"used": 80, "misaligned": 15, "blocked": 5}))
        found = check_teacher_states(wrong, on_policy_first=False)[1]
        assert found.severity == "warning"
        assert found.finding == "80 of 100 can be compared (80.0 %); blocked 5, misaligned 15"

    def test_the_vocabulary_map(self, mapped):
        found = at_teacher_states(mapped, source(), utterances(4), SupportSettings(k=8), Decoding(), 4)
        rows = [row for row in check_teacher_states(found, on_policy_first=False) if row.check == "vocabulary map"]
        assert [row.severity for row in rows] == ["ok", "ok"]
        assert rows[0].finding.startswith("68 of 68 text tokens of the student have a counterpart, with ")
        coverage = found.coverage
        low = replace(coverage.student, mass=overlap.Estimate(0.2, 0.05, 0.1, 0.3, 100, 4))
        wrong = replace(found, coverage=replace(coverage, student=low))
        rows = [row for row in check_teacher_states(wrong, on_policy_first=False) if row.check == "vocabulary map"]
        assert rows[0].severity == "warning"
        assert "with 20.0 [10.0, 30.0] % of its probability (n = 100 positions)" in rows[0].finding


class TestResources:
    def test_the_size_of_checkpoints_is_that_of_the_files(self, demo, tmp_path):
        network = demo.student.generator
        size = CheckpointSize.from_network(network)
        optimizer = torch.optim.AdamW(network.parameters())
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        (tmp_path / "checkpoints").mkdir()
        state = {"optimizer": optimizer.state_dict(), "scheduler": {}}
        path = checkpoint.save(tmp_path, demo.student, TrainingState(), None, state)
        assert size.weights == pytest.approx((path / "model.safetensors").stat().st_size, rel=0.05)
        assert size.optimizer == pytest.approx((path / "optimizer.pt").stat().st_size, rel=0.1)

    def test_checkpoints_that_stand_at_once(self):
        """Three entries, two newest ones, one more and the one of teacher data's end; twice the best weights."""
        size = CheckpointSize(weights=10, optimizer=20)
        assert most_bytes(size, Checkpoints(), 3) == 3 * 10 + 4 * 30
        assert most_bytes(size, Checkpoints(best="test", keep=1), 3) == 3 * 10 + 3 * 30 + 20

    def test_a_full_disk(self, tmp_path, monkeypatch):
        monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=50 * MIB))
        found = only(check_disk(tmp_path / "runs" / "mine", 100 * MIB))
        assert found.severity == "error"
        assert found.finding == (f"0.05 GiB are free in {tmp_path}, checkpoints take up to 0.10 GiB at once")
        assert "lower checkpoint.keep" in found.remedy
        assert only(check_disk(tmp_path, 5 * MIB)).severity == "ok"

    def test_memory_says_whether_it_was_measured(self):
        found = only(check_measured_memory({"base": 1.0, "on-policy": 1.9}, 2.0 * 2**30, "cuda:0"))
        assert found.severity == "warning"
        assert found.finding.startswith("measured: at most 1.90 GiB of 2.00 GiB of cuda:0, in stage 'on-policy'")
        needs = {"base": (MemoryNeed(2.0**30, 2.0**28), 4)}
        found = only(check_estimated_memory(needs, 8 * 2.0**30, "cpu"))
        assert found.severity == "ok"
        assert found.finding == (
            "estimated roughly: 2.00 GiB of 8.00 GiB of cpu, in stage 'base' with 4 utterances at once"
        )

    def test_the_estimate_by_hand(self):
        """1,000 weights of 16 bytes and 500 of 4; 10 positions of a vocabulary of 7, and 4·16·(25·2 + 10)·3·2."""
        need = training_memory(Shape("a", 1000, 7, 3, 2), Shape("b", 500, 5, 9, 9), 2.0, 10)
        assert (need.fixed, need.per_utterance) == (18_000.0, 4 * 6 * 10 * 7 + 4 * 16 * 60 * 6)
        assert need.of(2) == 18_000 + 2 * need.per_utterance
        assert training_memory(Shape("a", 1000, 7, 3, 2), None, 2.0, 10).fixed == 16_000


def test_errors_of_users_become_findings_and_others_do_not():
    attempts = Attempts()

    def fail(error):
        raise error

    assert attempts.tried("first", fail, UserError("wrong; mend it")) is None
    attempts.run("second", fail, FileNotFoundError("no such manifest"))
    attempts.run("third", fail, MemoryError("too large"))
    attempts.run("fourth", lambda: [CheckFinding("ok", "fourth", "fine")])
    assert [(one.severity, one.check, one.finding) for one in attempts.findings] == [
        ("error", "first", "wrong; mend it"),
        ("error", "second", "no such manifest"),
        ("error", "third", "out of memory: too large"),
        ("ok", "fourth", "fine"),
    ]
    assert "micro_batch_size" in attempts.findings[2].remedy
    with pytest.raises(ZeroDivisionError):
        attempts.tried("a mistake of ours", lambda: 1 / 0)


def test_what_a_check_encodes_is_not_kept(tmp_path):
    model = load_recognizer(str(save_whisper(tmp_path / "whisper")))
    model.freeze_encoder(64.0)
    cache, batch = model.encodings, source().batch(utterances(1))
    with without_encoder_cache(model, load_recognizer("demo:student")):
        batch.prompt(model)
        assert model.encodings is not cache
    assert model.encodings is cache
    assert len(cache._kept) == 0
