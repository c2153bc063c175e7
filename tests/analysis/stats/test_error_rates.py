import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.inference import error_rate, error_rate_difference, gap_recovery
from tests.analysis.conftest import transcript_rows
from tests.analysis.inference.samples import expected_rate, lengths, two_systems

N = 60


def transcripts(errors, words, speakers=None):
    """What an evaluation wrote, characters four to a word and as many of them wrong as words."""
    names = [f"u{i:03d}" for i in range(len(errors))]
    frame = pd.DataFrame(transcript_rows(dict.fromkeys(names, 0)))
    return frame.assign(
        speaker=speakers,
        **{"words.errors": errors, "words.total": words, "characters.errors": errors, "characters.total": 4 * words},
    )


@pytest.fixture
def systems():
    words, first, second = two_systems(np.random.default_rng(4), N)
    speakers = [f"s{i // 5}" for i in range(N)]
    return transcripts(first, words, speakers), transcripts(second, words, speakers)


def test_rates_difference_and_reduction(systems):
    found = error_rate_difference(*systems)
    e1, e2, n = (systems[0]["words.errors"], systems[1]["words.errors"], systems[0]["words.total"])
    assert found.first.value == pytest.approx(e1.sum() / n.sum())
    assert found.second.value == pytest.approx(e2.sum() / n.sum())
    assert found.difference.value == pytest.approx((e2.sum() - e1.sum()) / n.sum())
    assert found.reduction.value == pytest.approx((e1.sum() - e2.sum()) / e1.sum())
    assert (found.effect.lower, found.effect.higher) == ((e2 < e1).sum(), (e2 > e1).sum())
    assert (found.n_utterances, found.total, found.cluster) == (N, n.sum(), "utterance")
    assert found.mapsswe.z == pytest.approx(stats.ttest_rel(e2, e1).statistic)


def test_pairing_takes_out_what_both_find_hard(systems):
    found = error_rate_difference(*systems)
    apart = math.hypot(found.first.standard_error, found.second.standard_error)
    assert found.difference.standard_error < 0.75 * apart


def test_order_of_rows_does_not_matter(systems):
    one, two = systems
    assert error_rate_difference(one, two.sample(frac=1, random_state=1)) == error_rate_difference(one, two)


def test_sides_swapped(systems):
    one, two = error_rate_difference(*systems), error_rate_difference(*reversed(systems))
    assert two.difference.value == -one.difference.value
    assert (two.difference.low, two.difference.high) == pytest.approx((-one.difference.high, -one.difference.low))
    assert two.p_value == pytest.approx(one.p_value, abs=0.02)


def test_characters(systems):
    found = error_rate_difference(*systems, "characters")
    assert found.first.value == pytest.approx(error_rate_difference(*systems).first.value / 4)
    assert found.total == 4 * systems[0]["words.total"].sum()
    assert str(found).startswith("CER of the first")


def test_by_speaker_is_the_same_with_speakers_as_utterances(systems):
    found = error_rate_difference(*systems, by="speaker")
    merged = [frame.groupby("speaker").sum(numeric_only=True).reset_index(names="id") for frame in systems]
    by_hand = error_rate_difference(*merged)
    assert found.difference == by_hand.difference
    assert found.p_value == by_hand.p_value
    assert found.difference.n_groups == N // 5
    assert found.n_utterances == N
    assert "over 12 speakers" in str(found)


def test_intervals_widen_where_a_speaker_is_alike():
    generator = np.random.default_rng(0)
    words = lengths(generator, 300)
    speaker = np.repeat(np.arange(15), 20)
    rate = np.clip(0.3 + generator.normal(0, 0.15, 15)[speaker], 0, 1)
    frame = transcripts(generator.binomial(words.astype(int), rate), words, [f"s{s}" for s in speaker])
    plain, clustered = error_rate(frame), error_rate(frame, by="speaker")
    assert clustered.value == pytest.approx(plain.value)
    assert clustered.standard_error > 2 * plain.standard_error


def test_identical_systems(systems):
    found = error_rate_difference(systems[0], systems[0])
    assert found.difference.value == 0
    assert math.isnan(found.difference.low)
    assert found.p_value == 1
    assert "nan" not in str(found)


def test_what_is_printed(systems):
    text = str(error_rate_difference(*systems))
    assert max(map(len, text.splitlines())) <= 110
    for part in ("second − first: −", "] points, p =", "Hedges' g −", f"of {N} utterances", "studentized"):
        assert part in text


def test_gap_recovery(systems):
    before, after = systems
    teacher = after.assign(**{"words.errors": np.floor(after["words.errors"] / 3)})
    e1, e2, e3 = (frame["words.errors"].sum() for frame in (before, after, teacher))
    found = gap_recovery(before, after, teacher)
    assert found.value == pytest.approx((e1 - e2) / (e1 - e3))
    assert found.low < found.value < found.high
    nothing = gap_recovery(before, before, teacher)
    assert nothing.value == 0
    everything = gap_recovery(before, teacher, teacher)
    assert everything.value == 1


def test_gap_recovery_where_there_is_no_gap(systems):
    before, after = systems
    worse = gap_recovery(after, before, before)
    assert math.isnan(worse.value)
    assert worse.shown() == "–"
    near = before.assign(**{"words.errors": before["words.errors"].where(before.index != 7, 0)})
    assert before.loc[7, "words.errors"] > 0
    unclear = gap_recovery(before, after, near)
    assert unclear.value > 0
    assert math.isnan(unclear.low)


def test_the_interval_of_a_recovery_covers_it():
    """Words, before, after and teacher share the difficulty of an utterance; 200 runs, so 1.5 points of luck."""

    levels = (-0.5, -1.2, -2.0)
    rates = [expected_rate(level, 1.0, 0.5) for level in levels]
    truth, held = (rates[0] - rates[1]) / (rates[0] - rates[2]), 0
    for seed in range(200):
        generator = np.random.default_rng(seed)
        words, hard = lengths(generator, 80), generator.normal(0, 1.0, 80)
        odds = (level + hard + generator.normal(0, 0.5, 80) for level in levels)
        wrong = [generator.binomial(words.astype(int), 1 / (1 + np.exp(-x))).astype(float) for x in odds]
        found = gap_recovery(*(transcripts(errors, words) for errors in wrong), draws=300)
        held += found.low <= truth <= found.high
    assert 0.91 <= held / 200 <= 0.985


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (
            lambda f: f.iloc[1:],
            {},
            r"utterances differ: 1 are in the first alone \('u000'\); compare evaluations of the",
        ),
        (
            lambda f: f.assign(id="x" + f["id"]),
            {},
            r"60 are in the first alone \('u000', 'u001', 'u002', …\) and 60 are",
        ),
        (lambda f: pd.concat([f, f]), {}, "second: utterance 'u000' occurs more than once; choose one evaluation"),
        (
            lambda f: f.assign(**{"words.total": f["words.total"] + 1}),
            {},
            "utterance 'u000': its reference has .* words",
        ),
        (lambda f: f.drop(columns="id"), {}, "second: there is no column 'id'"),
        (lambda f: f, {"unit": "letters"}, "unit: expected one of words, tokens, characters, received 'letters'"),
        (lambda f: f, {"by": "room"}, "first: there is no column 'room'"),
    ],
)
def test_what_cannot_be_compared(systems, change, options, message):
    with pytest.raises(ValueError, match=message):
        error_rate_difference(systems[0], change(systems[1]), **options)


def test_an_utterance_without_a_speaker_is_named(systems):
    frame = systems[0].assign(speaker=[None] + ["s"] * (N - 1))
    with pytest.raises(ValueError, match="utterance 'u000' has no speaker; give every line of the manifest one"):
        error_rate(frame, by="speaker")


def test_a_unit_that_was_not_counted(systems):
    with pytest.raises(ValueError, match=r"unit: these transcripts do not count tokens; they count words, characters"):
        error_rate_difference(*systems, "tokens")
    with pytest.raises(ValueError, match=r"do not count words; they count characters$"):
        error_rate(systems[0].drop(columns=["words.errors", "words.total"]))


def test_an_interval_is_printed_with_its_n(systems):
    found = error_rate(systems[0])
    assert str(found) == f"{found.shown(3)}, 95 % interval over {N} clusters"
