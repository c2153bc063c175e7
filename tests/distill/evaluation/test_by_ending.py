"""Error rates of transcripts that ended and of those that did not, apart, against counts by hand."""

import math

import pytest

from distill.evaluation.by_ending import by_ending
from distill.evaluation.scoring import score_transcripts

REFERENCES = {"a": "one two three four", "b": "five six", "c": "seven", "d": "eight nine ten"}
TEXTS = {"a": "one two three", "b": "five five five six", "c": "seven", "d": "eight nine ten"}


@pytest.fixture(scope="module")
def score():
    return score_transcripts(REFERENCES, TEXTS, normalizer="basic", draws=50)


def test_parts_are_counted_by_hand_and_add_up_to_the_set(score):
    found = by_ending(score, {"a": True, "b": False, "c": True, "d": True}, {}, draws=50)
    ended, cut = found["finished"], found["unfinished"]
    assert (ended.main.errors, ended.main.total, ended.n_utterances) == (1, 8, 3)
    assert (cut.main.errors, cut.main.total, cut.n_utterances) == (2, 2, 1)
    assert (cut.main.value, cut.main.insertions) == (1.0, 2)
    assert ended.main.errors + cut.main.errors == score.wer.errors
    assert ended.cer.total + cut.cer.total == score.cer.total
    assert ended.main.low <= 1 / 8 <= ended.main.high
    assert ended.to_dict()["wer"]["value"] == 1 / 8
    assert str(cut).startswith("WER 100.00")


def test_without_any_the_rate_is_undefined_over_none(score):
    cut = by_ending(score, dict.fromkeys(REFERENCES, True), {}, draws=50)["unfinished"]
    assert math.isnan(cut.main.value)
    assert (cut.n_utterances, cut.main.total) == (0, 0)
    assert cut.to_dict()["wer"] == {
        **dict.fromkeys(("value", "low", "high")),
        **dict.fromkeys(("errors", "total", "substitutions", "deletions", "insertions"), 0),
    }
    assert str(cut) == "no utterances"


def test_intervals_are_over_what_those_of_the_set_are_over():
    ids = [f"u{i:02d}" for i in range(40)]
    speakers = {name: f"s{i % 10}" for i, name in enumerate(ids)}
    texts = {name: "a b c" if i % 3 else "a x c" for i, name in enumerate(ids)}
    score = score_transcripts(dict.fromkeys(ids, "a b c"), texts, normalizer="none", speakers=speakers, draws=100)
    found = by_ending(score, {name: i % 10 < 9 for i, name in enumerate(ids)}, speakers, draws=100)
    assert score.over == "speakers"
    assert (found["finished"].main.n_groups, found["unfinished"].main.n_groups) == (9, 1)
    assert math.isnan(found["unfinished"].main.low)  # one speaker gives no interval
