import json
import math
import re
import unicodedata

import jiwer
import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from distill.evaluation.scoring import score_transcripts
from distill.normalise import Normaliser, normaliser
from tests.overlap import bootstrap_t

VOCABULARY = ["call", "channel", "room", "one", "two", "three", "four", "five", "stop", "play", "volume"]


def corpus(n: int, seed: int = 0, empty: float = 0.1) -> tuple[dict[str, str], dict[str, str]]:
    rng = np.random.default_rng(seed)
    references, hypotheses = {}, {}
    for i in range(n):
        words = list(rng.choice(VOCABULARY, rng.integers(1, 9))) if rng.random() > empty else []
        written = [w for w in words if rng.random() > 0.1]
        written = [str(rng.choice(VOCABULARY)) if rng.random() < 0.15 else w for w in written]
        written += list(rng.choice(VOCABULARY, rng.integers(0, 3))) if rng.random() < 0.2 else []
        references[f"u{i:04d}"], hypotheses[f"u{i:04d}"] = " ".join(words), " ".join(written)
    return references, hypotheses


def levenshtein(a: list[str] | str, b: list[str] | str) -> int:
    previous = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        row = [i]
        for j, y in enumerate(b, start=1):
            row.append(min(previous[j] + 1, row[-1] + 1, previous[j - 1] + (x != y)))
        previous = row
    return previous[-1]


def test_corpus_rates_are_those_of_jiwer():
    references, hypotheses = corpus(200, empty=0)
    score = score_transcripts(references, hypotheses, normaliser="basic")
    a, b = list(references.values()), list(hypotheses.values())
    assert score.wer.value == pytest.approx(jiwer.wer(a, b), abs=1e-15)
    assert score.cer.value == pytest.approx(jiwer.cer(a, b), abs=1e-15)
    words = jiwer.process_words(a, b)
    assert (words.hits, words.substitutions, words.deletions, words.insertions) == tuple(
        getattr(score.words, name).sum() for name in ("hits", "substitutions", "deletions", "insertions")
    )


def test_the_corpus_rate_is_not_the_mean_of_rates():
    score = score_transcripts(["a b c d", "e"], ["a b c d", "f"], normaliser="none")
    assert score.wer.value == 1 / 5


@settings(deadline=None)
@given(st.lists(st.tuples(st.text("ab c", max_size=8), st.text("ab c", max_size=8)), min_size=1, max_size=5))
def test_counts_are_minimal_edits_of_each_utterance_even_if_empty(pairs):
    references, hypotheses = map(list, zip(*pairs, strict=True))
    score = score_transcripts(references, hypotheses, normaliser="basic", draws=2)
    references, hypotheses = ([" ".join(t.split()) for t in side] for side in (references, hypotheses))
    for i, (r, h) in enumerate(zip(references, hypotheses, strict=True)):
        assert score.words.errors[i] == levenshtein(r.split(), h.split())
        assert score.characters.errors[i] == levenshtein(r, h)
        assert score.words.reference_lengths[i] == len(r.split())
        assert score.characters.reference_lengths[i] == len(r)
    assert score.n_empty_references == references.count("")
    assert score.n_empty_hypotheses == hypotheses.count("")
    total = sum(len(r.split()) for r in references)
    assert score.wer.errors == sum(score.words.errors)
    assert score.wer.total == total
    assert (score.wer.value == score.wer.errors / total) if total else math.isnan(score.wer.value)


def test_an_empty_reference_adds_its_insertions_and_nothing_to_the_total():
    score = score_transcripts(["one two", "...", ""], ["one two", "three four", ""], normaliser="basic")
    assert (score.wer.errors, score.wer.total, score.wer.value) == (2, 2, 1.0)
    assert (score.cer.errors, score.cer.total) == (10, 7)
    assert score.words.insertions.tolist() == [0, 2, 0]
    assert (score.n_empty_references, score.n_empty_hypotheses) == (2, 1)


def test_no_reference_words_at_all_is_undefined_not_zero():
    score = score_transcripts(["", ""], ["one", ""], normaliser="none")
    assert math.isnan(score.wer.value)
    assert math.isnan(score.wer.low)
    assert (score.wer.errors, score.wer.total) == (1, 0)
    edits = {"errors": 1, "total": 0, "substitutions": 0, "deletions": 0, "insertions": 1}
    assert score.to_dict()["wer"] == {"value": None, "low": None, "high": None} | edits
    assert "WER undefined (no 95 % interval: " in str(score)


def test_spaces_count_as_characters():
    assert score_transcripts(["ab cd"], ["abcd"], normaliser="none").cer.value == 1 / 5


def mixed_tokens(text: str) -> list[str]:
    """By the names of characters, not by ranges of code points."""
    marked = (f" {c} " if unicodedata.name(c).startswith(("CJK", "HIRAGANA", "KATAKANA")) else c for c in text)
    return "".join(marked).split()


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.text("中国あカab' é한", max_size=8)] * 2), min_size=1, max_size=5))
def test_mixed_tokens_are_characters_and_words(pairs):
    references, hypotheses = map(list, zip(*pairs, strict=True))
    score = score_transcripts(references, hypotheses, normaliser="none", draws=2)
    tokens = [(mixed_tokens(r), mixed_tokens(h)) for r, h in pairs]
    assert score.mixed.errors.tolist() == [levenshtein(r, h) for r, h in tokens]
    assert score.mixed.reference_lengths.tolist() == [len(r) for r, _ in tokens]
    assert (score.mer.errors, score.mer.total) == (score.mixed.errors.sum(), sum(len(r) for r, _ in tokens))


def test_the_mixed_error_rate_is_that_of_characters_in_mandarin_and_of_words_in_english():
    references = ["今天我们去iPhone店", "好"]
    score = score_transcripts(references, ["今天我门去phone店", "好的"], normaliser="mandarin")
    assert (score.mer.errors, score.mer.total, score.rate) == (3, 8, "mer")
    mandarin = score_transcripts(["今天 我们 去。", "好"], ["今天我门去", "好的"], normaliser="mandarin")
    assert mandarin.mer == mandarin.cer
    references, hypotheses = corpus(50)
    english = score_transcripts(references, hypotheses, normaliser="basic")
    assert english.mer == english.wer


def test_the_rate_of_the_normaliser_is_the_one_reported():
    score = score_transcripts(["2个 apple", "好"], ["两个apple", "坏"], normaliser="mandarin")
    tree = score.to_dict()
    assert tree["mer"] == {"value": 0.25, "low": score.mer.low, "high": score.mer.high, "errors": 1, "total": 4} | {
        "substitutions": 1,
        "deletions": 0,
        "insertions": 0,
    }
    assert tree["normaliser"] == "mandarin"
    assert tree["normaliser_version"] == normaliser("mandarin").version
    assert "wer" not in tree
    assert str(score).startswith("MER 25.00 % (")
    assert "1 errors (1 substitutions, 0 deletions, 0 insertions) in 4 tokens\nCER " in str(score)


def test_both_sides_are_normalised():
    assert score_transcripts(["CALL 351"], ["Call, three five one."], normaliser="spoken_digits").wer.errors == 0
    assert score_transcripts(["CALL 351"], ["call three five one"], normaliser="none").wer.value == 2.0
    vowels = Normaliser("vowels", "7", lambda text: "".join(c for c in text if c in "aeiou "))
    score = score_transcripts(["tone"], ["bore"], normaliser=vowels)
    assert (score.wer.errors, score.normaliser, score.normaliser_version) == (0, "vowels", "7")


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_intervals_agree_with_the_bootstrap_written_out(level):
    references, hypotheses = corpus(100, seed=3)
    score = score_transcripts(references, hypotheses, normaliser="basic", level=level, draws=20000, seed=1)
    for rate, edits in ((score.wer, score.words), (score.mer, score.mixed), (score.cer, score.characters)):
        sums, counts = edits.errors[:, None].astype(float), edits.reference_lengths[:, None].astype(float)
        expected = bootstrap_t.interval(sums, counts, level=level, draws=2000, rng=7)
        # A tail quantile of 2,000 draws is known to some 0.07 standard errors; 0.3 is four of those.
        _, error = bootstrap_t.estimate_and_error(sums, counts, (1.0,))
        assert (rate.low, rate.high) == pytest.approx(expected, abs=0.3 * error)
        assert rate.low < rate.value < rate.high


def test_a_flawless_corpus_is_not_certain_to_be():
    """Against scipy's exact interval for words that stand alone; longer utterances leave nearly as little open."""
    alone = score_transcripts(["a"] * 60, ["a"] * 60, normaliser="none")
    assert (alone.wer.value, alone.wer.low) == (0, 0)
    assert alone.wer.high == pytest.approx(scipy.stats.binomtest(0, 60).proportion_ci(method="exact").high)
    longer = score_transcripts(["a b c d e"] * 60, ["a b c d e"] * 60, normaliser="none")
    assert longer.wer.high == pytest.approx(scipy.stats.binomtest(0, 300).proportion_ci(method="exact").high, rel=0.1)
    assert longer.cer.high < longer.wer.high
    assert math.isnan(score_transcripts(["a"], ["a"], normaliser="none").wer.high)


def test_intervals_cover_the_true_rate():
    # 400 corpora of 40 utterances of 5 words, each word wrong with its utterance's own probability (mean 0.2).
    rng = np.random.default_rng(11)
    covered = 0
    for i in range(400):
        wrong = rng.random((40, 5)) < rng.beta(1, 4, (40, 1))
        hypotheses = [" ".join("x" if w else "a" for w in row) for row in wrong]
        score = score_transcripts(["a a a a a"] * 40, hypotheses, normaliser="none", draws=200, seed=i)
        covered += score.wer.low <= 0.2 <= score.wer.high
    assert 0.91 <= covered / 400 <= 0.98


def test_one_utterance_has_no_interval():
    score = score_transcripts(["one two"], ["one"], normaliser="none")
    assert score.wer.value == 0.5
    assert math.isnan(score.wer.low)
    assert math.isnan(score.wer.high)


def test_the_result_depends_on_ids_and_seed_only():
    references, hypotheses = corpus(60)
    backwards = dict(reversed(references.items()))
    first = score_transcripts(references, hypotheses, normaliser="basic", seed=5)
    assert score_transcripts(backwards, hypotheses, normaliser="basic", seed=5).to_dict() == first.to_dict()
    assert score_transcripts(references, hypotheses, normaliser="basic", seed=6).wer != first.wer
    in_order = score_transcripts(list(references.values()), list(hypotheses.values()), normaliser="basic", seed=5)
    assert in_order.to_dict() == first.to_dict()
    assert first.ids == tuple(sorted(references))


def test_to_dict_is_json_and_complete():
    references, hypotheses = corpus(20)
    score = score_transcripts(references, hypotheses, normaliser=normaliser("basic"))
    tree = json.loads(json.dumps(score.to_dict(), allow_nan=False))
    texts = list(references.values()), list(hypotheses.values())
    for name, output in (("wer", jiwer.process_words(*texts)), ("cer", jiwer.process_characters(*texts))):
        for kind in ("substitutions", "deletions", "insertions"):
            assert tree[name].pop(kind) == getattr(output, kind)
    assert tree == {
        "wer": {k: getattr(score.wer, k) for k in ("value", "low", "high", "errors", "total")},
        "cer": {k: getattr(score.cer, k) for k in ("value", "low", "high", "errors", "total")},
        "normaliser": "basic",
        "normaliser_version": "2",
        "interval": {"over": "utterances", "n": 20},
        "n_utterances": 20,
        "n_empty_references": sum(not r for r in references.values()),
        "n_empty_hypotheses": sum(not h for h in hypotheses.values()),
    }


def test_it_prints_with_counts_interval_and_normaliser():
    text = str(score_transcripts(["one two", "three four"], ["one", "three five six"], normaliser="basic"))
    assert re.match(
        r"WER 75.00 % \(95 % interval over 2 utterances 0.00 to \d+.\d\d %\): 3 errors \(1 substitutions, 1 deletions",
        text,
    )
    assert text.endswith("2 utterances (0 empty references, 0 empty hypotheses), normaliser basic 2")


@settings(deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), min_size=1, max_size=6))
def test_a_transcript_scored_against_itself_has_no_errors(texts):
    score = score_transcripts(texts, texts, normaliser="basic", draws=2)
    assert (score.wer.errors, score.cer.errors) == (0, 0)
    assume(score.n_empty_references == 0 and score.n_utterances > 1)
    assert (score.wer.value, score.wer.low) == (0, 0)
    assert 0 < score.wer.high < 1


@pytest.mark.parametrize(
    ("references", "hypotheses", "message"),
    [
        (
            {"a": "x", "b": "y", "c": "z"},
            {"a": "x", "d": "y"},
            "utterance ids differ: 2 references have no hypothesis ('b', 'c') and 1 hypotheses no reference ('d'); "
            "score exactly the utterances of the references, and give an empty string where the model wrote nothing",
        ),
        (
            {f"u{i}": "x" for i in range(8)},
            {"u7": "x"},
            "utterance ids differ: 7 references have no hypothesis ('u0', 'u1', 'u2', 'u3', 'u4', …); score",
        ),
        (["x", "y"], ["x"], "2 references and 1 hypotheses; give one hypothesis for each"),
        ({"a": "x"}, ["x"], "one side is a mapping and the other is not; give both by utterance id or both in order"),
        ("x", "x", "a single string was given; put transcripts into a mapping from utterance id, or into a list"),
        ({}, {}, "there are no utterances to score; give at least one reference and hypothesis"),
        ({"a": "x"}, {"a": None}, "utterance 'a': its hypothesis is None, not a string; give text, empty if nothing"),
        ([3], ["x"], "utterance '0': its reference is 3, not a string; give text, empty if nothing is said"),
    ],
)
def test_bad_input_is_refused(references, hypotheses, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        score_transcripts(references, hypotheses, normaliser="none")


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="there is no text normaliser 'whisper'; choose one of: basic, mandarin"):
        score_transcripts(["x"], ["x"], normaliser="whisper")
    with pytest.raises(ValueError, match="level"):
        score_transcripts(["x"], ["x"], normaliser="none", level=95)
    with pytest.raises(ValueError, match="draws"):
        score_transcripts(["x"], ["x"], normaliser="none", draws=0)
