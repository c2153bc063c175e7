"""Probes account for every position, on each kind of states, and agree with a direct measurement."""

import math

import pytest
import torch

import overlap
from distill import read_manifest
from distill.data.audio import AudioCache
from distill.data.batch import AudioSource
from distill.models import load_recognizer
from distill.models.base import pack
from distill.probing.probe import probe
from distill.probing.rows import probe_tables
from distill.recipe import Decoding, SupportSettings
from distill.scoring.local_or_served import compare
from distill.scoring.pair import Pair


@pytest.fixture(scope="module")
def pair(student_path, teacher_path):
    return Pair.from_models(load_recognizer(str(student_path)), load_recognizer(str(teacher_path)), SUPPORT.k)


@pytest.fixture(scope="module")
def utterances(manifests):
    return read_manifest(manifests["probe"])


SOURCE = AudioSource(AudioCache())
SUPPORT = SupportSettings(k=5)
SHORT = Decoding(max_new_tokens=6)


@pytest.mark.parametrize("states", ["student", "teacher", "reference"])
def test_bins_add_up_to_the_positions_written(pair, utterances, states):
    result = probe(pair, SOURCE, utterances, SUPPORT, SHORT, states=states, batch_size=3)
    positions = sum(len(ids) for ids, _ in result.rollouts.values())
    assert sum(result.funnel.counts.values()) == result.funnel.total == positions
    assert result.estimates["union_size"].n_positions == result.funnel["used"]
    assert result.estimates["union_size"].n_groups <= len(utterances) == len(result.rollouts)
    cut_off = sum(len(ids) for ids, finished in result.rollouts.values() if not finished)
    assert result.funnel.used_unfinished == cut_off


def test_rollouts_that_ran_into_the_limit_are_used_and_counted(pair, utterances):
    result = probe(pair, SOURCE, utterances, SUPPORT, Decoding(max_new_tokens=1), batch_size=3)
    cut_off = sum(len(ids) for ids, finished in result.rollouts.values() if not finished)
    assert result.funnel == overlap.Funnel({"used": len(utterances)}, used_unfinished=cut_off)
    assert cut_off > 0
    rows = {row["statistic"]: row for row in probe_tables(result)["probes"]}
    assert rows["funnel.used_unfinished"]["value"] == cut_off


def test_union_and_intersection_partition_both_sets(pair, utterances):
    estimates = probe(pair, SOURCE, utterances, SUPPORT, SHORT).estimates
    value = {name: estimate.value for name, estimate in estimates.items()}
    total = value["student_size"] + value["teacher_size"]
    assert math.isclose(value["union_size"] + value["intersection_size"], total, rel_tol=1e-12)


def test_a_model_overlaps_fully_with_itself(pair, utterances):
    student = pair.student
    estimates = probe(Pair.from_models(student, student, SUPPORT.k), SOURCE, utterances, SUPPORT, SHORT).estimates
    assert estimates["overlap_ratio"].value == estimates["top1_agreement"].value == 1.0
    assert estimates["forward_kl"].value == estimates["total_variation"].value == 0.0


def test_recorded_rollouts_are_scored_again_and_not_written_anew(pair, utterances):
    first = probe(pair, SOURCE, utterances, SUPPORT, SHORT, batch_size=8)
    again = probe(pair, SOURCE, utterances, SUPPORT, SHORT, states="fixed", recorded=first.rollouts, batch_size=8)
    assert again.rollouts == {id_: (list(ids), end) for id_, (ids, end) in first.rollouts.items()}
    for name in ("union_size", "forward_kl", "teacher_logprob"):
        assert math.isclose(again.estimates[name].value, first.estimates[name].value, rel_tol=1e-5)


def test_traces_hold_both_models_view_of_every_position(pair, utterances):
    result = probe(pair, SOURCE, utterances, SUPPORT, SHORT, traced=2, batch_size=8)
    assert [row["id"] for row in result.traces] == [utterance.id for utterance in utterances[:2]]
    row = result.traces[0]
    n = len(row["token_ids"])
    assert n == len(result.rollouts[row["id"]][0])
    assert all(len(row[column]) == n for column in ("used", "union_ids", "student_logprobs", "union_size"))
    for t in range(n):
        assert row["union_size"][t] == len(row["union_ids"][t]) == len(row["teacher_logprobs"][t])
        assert sum(row["in_student"][t]) == sum(row["in_teacher"][t]) == SUPPORT.k
        both = sum(a and b for a, b in zip(row["in_student"][t], row["in_teacher"][t], strict=True))
        assert both == row["intersection_size"][t]
        # The generated token's log-probability stands in the union's columns too, where it is in the union.
        if row["token_ids"][t] in row["union_ids"][t]:
            place = row["union_ids"][t].index(row["token_ids"][t])
            assert math.isclose(row["student_logprobs"][t][place], row["student_logprob"][t], rel_tol=1e-4)


class TestAccounting:
    @pytest.fixture
    def batch(self, utterances):
        return SOURCE.batch(utterances[:3])

    @pytest.fixture
    def transcripts(self, pair):
        end = pair.student.tokens.end_of_text
        return pack([[end], [1, 2, end], [3, 4]], end)

    def test_an_empty_rollout_is_scored_or_dropped_and_always_counted(self, pair, batch, transcripts):
        scored = compare(pair, batch, transcripts, SUPPORT)
        assert scored.funnel == overlap.Funnel({"used": 6}, used_unfinished=2)
        dropped = compare(pair, batch, transcripts, SUPPORT, drop_empty=True)
        assert dropped.funnel == overlap.Funnel({"empty_rollout": 1, "used": 5}, used_unfinished=2)
        assert not dropped.used[0].any()

    def test_truncated_rollouts_can_be_left_out(self, pair, batch, transcripts):
        comparison = compare(pair, batch, transcripts, SUPPORT, drop_truncated=True)
        assert comparison.funnel == overlap.Funnel({"truncated": 2, "used": 4})

    def test_a_blocked_token_in_a_given_transcript_is_left_out(self, pair, batch):
        student = pair.student
        control = int(student.tokens.blocked.nonzero()[0])
        comparison = compare(pair, batch, pack([[1], [control, 2], [3]], student.tokens.end_of_text), SUPPORT)
        assert comparison.funnel == overlap.Funnel({"blocked": 1, "used": 3}, used_unfinished=3)

    def test_k_of_one_with_full_agreement_is_too_thin_a_support(self, pair, batch, transcripts):
        student = pair.student
        comparison = compare(Pair.from_models(student, student, 1), batch, transcripts, SupportSettings(k=1))
        assert comparison.funnel == overlap.Funnel({"low_support": 6})

    def test_blocked_tokens_are_in_neither_set(self, pair, batch, transcripts):
        comparison = compare(pair, batch, transcripts, SUPPORT)
        assert not pair.student.tokens.blocked[comparison.union.ids[comparison.union.valid]].any()

    def test_only_the_student_has_gradients(self, pair, batch, transcripts):
        comparison = compare(pair, batch, transcripts, SUPPORT, gradients=True)
        assert comparison.student_logits.requires_grad
        assert not comparison.teacher_logits.requires_grad
        assert comparison.sums().counts.max() == comparison.used.sum()
        assert torch.is_grad_enabled()
