"""The five numbers of the page and what they come to."""

import json
import math
import re
from pathlib import Path

import pytest

import overlap
from overlap import Estimate, Funnel, first_reading
from overlap.estimates.first_reading import NUMBERS, Standing

GOOD = {
    "student_size": 8.0,
    "teacher_size": 8.0,
    "top1_agreement": 0.9,
    "total_variation": 0.1,
    "teacher_mass": 0.97,
    "student_mass": 0.95,
    "overlap_ratio": 0.7,
    "end_of_text": 0.98,
    "repetition": 0.9,
    "empty": 0.01,
    "teacher.student_end_likely.at_end": 0.97,
}
LIKELY = "teacher.student_end_likely.at_end"
USED = Funnel({"used": 990, "misaligned": 10})


def estimates(half=0.01, **values):
    return {name: Estimate(v, half / 2, v - half, v + half, 1000, 60, 0) for name, v in (GOOD | values).items()}


def reading(half=0.01, funnel=USED, **values):
    return first_reading(estimates(half, **values), funnel, 8)


def test_in_order():
    found = reading()
    assert found.ready
    assert found.verdict.startswith("In order")
    assert [n.standing for n in found.numbers if n.standing is not Standing.IN_ORDER] == [Standing.TREND]


@pytest.mark.parametrize(
    ("values", "place", "words"),
    [
        ({"student_size": 7.0}, 2, "Repair this first; the numbers below mean nothing yet"),
        ({"top1_agreement": 0.5}, 3, "Not yet: the student does not transcribe like"),
        ({"total_variation": 0.5}, 3, "Not yet: the student does not transcribe like"),
        ({"teacher_mass": 0.5}, 4, "Not yet: too much probability"),
        ({"student_mass": 0.5}, 4, "Not yet: too much probability"),
        ({"end_of_text": 0.5}, 1, "Collapse"),
        ({"repetition": 9.0}, 1, "Collapse"),
        ({"empty": 0.5}, 1, "Collapse"),
    ],
)
def test_the_first_that_is_not_in_order_is_the_verdict(values, place, words):
    found = reading(**values)
    assert not found.ready
    assert found.verdict.startswith(words)
    assert f"(number {place}: {next(iter(values))} " in found.verdict
    assert found.advice == NUMBERS[place - 1].advice


@pytest.mark.parametrize(
    ("value", "low", "high", "n", "standing"),
    [
        (1.0, 0.94, 1.0, 60, Standing.IN_ORDER),  # no interval of 60 is above 0.95
        (1.0, 0.91, 1.0, 40, Standing.NOT_CERTAIN),
        (0.9, 0.8, 0.96, 60, Standing.NOT_CERTAIN),
        (0.7, 0.6, 0.8, 60, Standing.NOT_IN_ORDER),
    ],
)
def test_the_share_of_likely_ends_is_judged_by_its_value_where_there_are_enough(value, low, high, n, standing):
    found = first_reading(estimates() | {LIKELY: Estimate(value, 0.02, low, high, n, n, 0)}, USED, 8)
    [row] = [one for one in found.numbers if one.statistic == LIKELY]
    assert (row.place, row.standing) == (1, standing)
    assert found.ready == (standing is Standing.IN_ORDER)


def test_ends_that_are_not_likely_are_the_verdict_only_where_all_else_is_in_order():
    alone = reading(**{LIKELY: 0.5})
    assert alone.verdict.startswith("Not yet: the student does not find the ends of the teacher's transcripts likely")
    assert "(number 1: teacher.student_end_likely.at_end 0.500" in alone.verdict
    assert alone.advice.startswith("Train on whole transcripts")
    other_form = reading(**{LIKELY: 0.5, "top1_agreement": 0.0})
    assert other_form.verdict.startswith("Not yet: the student does not transcribe like the teacher (number 3: top1")
    assert other_form.verdict.endswith("Nor is number 1.")
    loops = reading(**{LIKELY: 0.5, "end_of_text": 0.3})
    assert loops.verdict.startswith("Collapse")


def test_positions_that_are_not_used_come_before_what_is_read_there_and_the_others_are_named():
    found = reading(funnel=Funnel({"used": 50, "misaligned": 50}), top1_agreement=0.1, teacher_mass=0.1)
    assert found.verdict.startswith(
        "Repair this first; the numbers below mean nothing yet (number 2: used 0.500 [0.500, 0.500], wanted"
    )
    assert "Nor are numbers 3 and 4." in found.verdict


def test_an_interval_that_holds_the_bound_is_not_certain():
    found = reading(half=0.05, top1_agreement=0.87)
    assert found.verdict.startswith("Not certain: top1_agreement 0.870 [0.820, 0.920], wanted ≥ 0.85")
    assert "Probe more utterances" in found.advice


def test_without_an_interval_nothing_is_certain():
    found = first_reading({n: Estimate(v, *(3 * (math.nan,)), 9, 1, 0) for n, v in GOOD.items()}, USED, 8)
    assert {n.standing for n in found.numbers if n.statistic == "top1_agreement"} == {Standing.NOT_CERTAIN}
    json.dumps(found.to_dict(), allow_nan=False)


def test_what_was_not_measured_is_said():
    found = first_reading({n: e for n, e in estimates().items() if n != "total_variation"}, None, 8)
    assert found.verdict == "In order as far as it was measured; not measured: used, total_variation."
    assert not found.ready


@pytest.mark.parametrize(
    ("lower", "upper", "standing"),
    [(0.05, 0.1, Standing.IN_ORDER), (0.05, 0.5, Standing.NOT_CERTAIN), (0.4, 0.5, Standing.NOT_IN_ORDER)],
)
def test_what_a_servers_lists_leave_open_is_judged_by_both_ends(lower, upper, standing):
    ends = estimates(**{"total_variation.lower": lower, "total_variation.upper": upper})
    del ends["total_variation"]
    row = next(n for n in first_reading(ends, USED, 8).numbers if n.statistic == "total_variation")
    assert row.standing is standing
    assert row.shown == f"[{lower - 0.01:.3f}, {upper + 0.01:.3f}]"


def test_bounds_and_names_are_those_of_the_page():
    page = Path(overlap.__file__).with_name("STATISTICS.md").read_text(encoding="utf-8")
    section = page[page.index("## Five numbers") : page.index("## What VUSS alone hides")]
    rows = re.findall(r"^\| ([1-5]) \|(.*)$", section, flags=re.M)
    assert [int(place) for place, _ in rows] == [1, 2, 3, 4, 5]
    for number, (_, row) in zip(NUMBERS, rows, strict=True):
        for wanted in number.wanted:
            assert f"`{wanted.statistic}`" in row
            for bound in (wanted.at_least, wanted.at_most):
                assert bound is None or f"{bound:g}" in row


def test_prints_with_the_verdict_last():
    found = reading(top1_agreement=0.5)
    assert str(found).splitlines()[-2:] == [found.verdict, found.advice]
    assert found.verdict.split(".")[0] in found._repr_html_()


def test_loops_that_agree_are_a_collapse_first_of_all():
    """A recognizer that loops agrees with its teacher: the verdict is about the end, not about readiness."""
    found = reading(end_of_text=0.4, top1_agreement=0.96, repetition=9.0)
    assert found.verdict.startswith("Collapse: transcripts loop, do not end, or are empty (number 1: end_of_text 0.400")
    assert found.numbers[0].statistic == "end_of_text"


def test_the_form_that_loops_cannot_flatter_is_read_where_it_is_there():
    found = reading(top1_agreement=0.97, **{"top1_agreement.without_repeats": 0.5})
    assert "number 3: top1_agreement.without_repeats 0.500" in found.verdict
    assert "top1_agreement" not in [n.statistic for n in found.numbers]
    bounds = {"total_variation.without_repeats.lower": 0.4, "total_variation.without_repeats.upper": 0.5}
    assert "number 3: total_variation.without_repeats [0.390, 0.510]" in reading(**bounds).verdict
