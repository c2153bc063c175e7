"""Signal of several statistics together: records and back, the table, and the verdict in words."""

import json

import numpy as np
import pandas as pd
import pytest

from overlap.signal import SignalReadings, Verdict, utterance_signal


def readings(noise=0.5, n=60, wrong=None, reasons=None, **columns):
    generator = np.random.default_rng(0)
    wrong = generator.poisson(0.9, n) if wrong is None else np.array(wrong)
    values = {"teacher_logprob": -wrong + noise * generator.normal(size=len(wrong))} | columns
    found = utterance_signal(values, errors=wrong, words=np.full(len(wrong), 5), draws=200)
    return SignalReadings(found, "basic 2", reasons or {})


@pytest.fixture(scope="module")
def three():
    flat = {"top1_agreement": np.random.default_rng(1).random(60), "student_mass": np.full(60, np.nan)}
    return readings(reasons={"student_mass": "only bounds of it are known"}, **flat)


def same(one: SignalReadings, other: SignalReadings) -> bool:
    return pd.DataFrame(one.rows()).equals(pd.DataFrame(other.rows())) and str(one) == str(other)


def test_rows_are_the_readings_again_also_from_a_file_and_from_json(three, tmp_path):
    rows = three.rows()
    assert len(rows) == 3 * len(three)
    assert {row["verdict"] for row in rows if row["statistic"] == "teacher_logprob"} == {"carries signal"}
    assert same(SignalReadings.from_rows(rows), three)
    pd.DataFrame(rows).to_parquet(tmp_path / "rows.parquet")
    assert same(SignalReadings.from_rows(pd.read_parquet(tmp_path / "rows.parquet").to_dict("records")), three)
    assert same(SignalReadings.from_rows(json.loads(json.dumps(three.to_dict()))["rows"]), three)


def test_the_estimates_are_those_of_the_signal(three):
    row = next(r for r in three.rows() if (r["statistic"], r["quantity"]) == ("top1_agreement", "auroc"))
    signal = three["top1_agreement"]
    assert (row["value"], row["low"], row["high"]) == (signal.auroc.value, signal.auroc.low, signal.auroc.high)
    assert (row["n_right"] + row["n_wrong"], row["needed"]) == (60, signal.needed)


def test_the_table_has_a_line_a_statistic_and_says_why_one_is_undefined(three):
    text = str(three)
    assert text.count("carries signal") == 2  # of the table, and of the sentence
    assert "student_mass: only bounds of it are known" in text
    assert "over 60 utterances" in text
    assert "Holm-corrected over 3 statistics" in text
    assert three._repr_html_().count("<tr>") == 4


@pytest.mark.parametrize(
    ("made", "verdict", "said"),
    [
        ({"noise": 0.3}, Verdict.CARRIES_SIGNAL, "The teacher's word carries signal about errors"),
        ({"noise": 1e6, "n": 4000}, Verdict.NO_USEFUL_SIGNAL, "carries no useful signal about errors"),
        ({"noise": 4.0, "n": 12}, Verdict.UNDECIDED, "transcripts would decide)"),
        (
            {"wrong": [0] * 8},
            Verdict.UNDEFINED,
            "no right transcript can be compared with a wrong one (8 right, 0 wrong)",
        ),
    ],
)
def test_the_sentence_gives_the_verdict(made, verdict, said):
    found = readings(**made)
    assert found["teacher_logprob"].verdict is verdict
    assert said in found.sentence


def test_the_table_and_the_sentence_say_where_only_the_correction_leaves_it_open():
    noise = {f"own.noise{i}": np.random.default_rng(i + 1).normal(size=60) for i in range(35)}
    found = readings(noise=2.2, **noise)
    assert found["teacher_logprob"].is_open_by_correction
    assert "; alone it would be decided, among 36 statistics it is not; about " in found.sentence
    assert "undecided (by correction)" in str(found)
    assert "alone it would" not in readings(noise=4.0, n=12).sentence


def test_the_title_names_no_number_where_nothing_is_defined():
    title = readings(wrong=[0] * 8).title
    assert "intervals over" in title
    assert "–" not in title


def test_the_sentence_says_why_the_teachers_word_is_not_known_and_which_statistics_tell():
    generator = np.random.default_rng(0)
    wrong = generator.poisson(0.9, 60)
    values = {"teacher_logprob": np.full(60, np.nan), "top1_agreement": -wrong + 0.1 * generator.normal(size=60)}
    values["student_mass"] = -values["top1_agreement"]
    found = SignalReadings(
        utterance_signal(values, errors=wrong, words=np.full(60, 5)), "basic 2", {"teacher_logprob": "not listed"}
    )
    assert "undefined: not listed." in found.sentence
    assert "Carrying signal as well: `top1_agreement`." in found.sentence
    assert "Pointing the other way, better values where transcripts are wrong: `student_mass`." in found.sentence
