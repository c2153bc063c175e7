"""Calibration of both models together: records and back, the table, and what it means in words."""

import json

import numpy as np
import pandas as pd
import pytest

from overlap.calibration import CalibrationReadings, Outcomes, calibration, token_outcomes
from overlap.errors import UserError
from overlap.strata import CORRECTNESS, Labels


def made(power, n=60, seed=0, known=True):
    """Of tokens that are right with probability s and said to be with s to a power: below 1 is overconfidence."""
    generator = np.random.default_rng(seed)
    skill = generator.beta(4, 2, (n, 12))
    right = generator.random(skill.size) < skill.ravel()
    said = skill.ravel() ** power if known else np.full(skill.size, np.nan)
    return calibration(Outcomes(said, right, np.repeat(np.arange(n), 12)), draws=200)


@pytest.fixture(scope="module")
def both():
    measured = {("student", "token"): made(0.3), ("teacher", "token"): made(1.0, known=False)}
    return CalibrationReadings(measured, "utterances", "basic 2", {("teacher", "token"): "the server did not list it"})


def same(one, other):
    return pd.DataFrame(one.rows()).equals(pd.DataFrame(other.rows())) and str(one) == str(other)


def test_rows_are_the_readings_again_also_from_a_file_and_from_json(both, tmp_path):
    rows = both.rows()
    assert len(rows) == 7 + 10 + 7  # no bin where nothing is known
    assert same(CalibrationReadings.from_rows(rows), both)
    pd.DataFrame(rows).to_parquet(tmp_path / "rows.parquet")
    assert same(CalibrationReadings.from_rows(pd.read_parquet(tmp_path / "rows.parquet").to_dict("records")), both)
    assert same(CalibrationReadings.from_rows(json.loads(json.dumps(both.to_dict()))["rows"]), both)


def test_bins_hold_all_tokens_and_average_to_the_whole(both):
    rows = [row for row in both.rows() if row["quantity"] == "bin"]
    assert [row["bin"] for row in rows] == [*range(10)]
    n, right, said = (np.array([row[name] for row in rows]) for name in ("n_positions", "value", "bin_confidence"))
    whole = {r["quantity"]: r["value"] for r in both.rows() if r["model"] == "student" and r["quantity"] != "bin"}
    assert n.sum() == 720
    assert (n * right).sum() / 720 == pytest.approx(whole["accuracy"])
    assert (n * np.abs(right - said)).sum() / 720 == pytest.approx(whole["ece"])


@pytest.mark.parametrize(
    ("power", "said"),
    [(0.3, "The student is overconfident"), (3.0, "The student is underconfident"), (1.0, "cannot be told from")],
)
def test_the_sentence_says_in_which_direction(power, said):
    assert said in CalibrationReadings({("student", "token"): made(power)}, "utterances", "basic 2").sentence


@pytest.mark.parametrize(("accuracy", "is_form"), [(0.5, True), (0.05, False)])
def test_a_teacher_that_would_never_write_what_is_right_writes_in_another_form(accuracy, is_form):
    """Capital letters: half of the tokens are right, and the teacher gives none of them a probability."""
    generator = np.random.default_rng(0)
    said, right = 1e-4 * generator.random(600), generator.random(600) < accuracy
    found = calibration(Outcomes(said, right, np.repeat(np.arange(60), 10)), draws=200)
    readings = CalibrationReadings(
        {(model, "token"): found for model in ("student", "teacher")}, "utterances", "basic 2"
    )
    student, teacher = readings.sentence.split(" The teacher, ")
    assert "is underconfident: its probability of a token is 0.000 on average" in teacher
    form = (
        "most likely because the two write in different forms, such as capital letters or numerals: compare ten pairs"
    )
    assert (form in teacher) is is_form
    assert "forms" not in student


def test_errors_in_both_directions_are_no_direction():
    said, right = np.tile([0.9, 0.9, 0.31, 0.31], 300), np.tile([1.0, 0.0, 1.0, 0.0], 300)
    right[::20] = 1.0
    found = calibration(Outcomes(said, right, np.repeat(np.arange(60), 20)), draws=200)
    sentence = CalibrationReadings({("student", "token"): found}, "utterances", "basic 2").sentence
    assert sentence.startswith("The student is miscalibrated in both directions: its probability of a token is 0.605")


def test_the_sentence_and_the_table_say_why_nothing_is_known(both):
    assert "The teacher's calibration is undefined: the server did not list it." in both.sentence
    assert "teacher, tokens: the server did not list it" in both.title
    assert "720" in str(both)
    alone = calibration(Outcomes(np.array([0.5, 0.6]), np.array([1.0, 0.0]), np.zeros(2, dtype=int)))
    few = CalibrationReadings({("student", "token"): alone}, "utterances", "basic 2")
    assert "one cluster is too few" in few.sentence


def test_tokens_without_a_confidence_are_counted_where_a_mask_says_that_they_are_there():
    labels = Labels("correctness", CORRECTNESS, np.array([[0, 1, 0, -1]]))
    confidence = np.array([[0.5, np.nan, 0.7, 0.9]])
    mask = np.array([[True, True, False, True]])
    found = calibration(token_outcomes(confidence, labels, mask=mask))
    assert (found.accuracy.n_positions, found.accuracy.n_undefined) == (1, 2)
    assert calibration(token_outcomes(confidence, labels)).accuracy.n_undefined == 1  # the one without a label
    with pytest.raises(UserError, match=r"mask: expected bool \[1, 4\], received bool \[1, 3\]"):
        token_outcomes(confidence, labels, mask=mask[:, :3])
