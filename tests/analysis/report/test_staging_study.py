"""What the product says of this project's studies is what their results say."""

import csv
import re
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.report import Recommendation, verdict
from analysis.report.staging_study import gated_improvement, results_by_start, staging
from analysis.report.thresholds import SOURCES
from tests.analysis.report.test_verdict import change, warm
from tests.studies.shipped import RESULTS, SHIPPED

ROOT = Path(__file__).parents[3]
STALE = re.compile(r"5 to 16 points|0\.20 and 0\.49|rose from 0\.20|from 0\.88|an eighth of the demo")
"""Results of an earlier corpus."""


@pytest.fixture(scope="module")
def rows():
    with RESULTS.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def points(rows, arm):
    return sorted(100 * (float(row["WER"]) - float(row["WER Base"])) for row in rows if row["arm"] == arm)


def test_the_package_holds_the_study():
    assert SHIPPED.read_bytes() == RESULTS.read_bytes(), "run `python -m tests.studies.shipped`"
    assert len(staging()) == 12


@pytest.mark.parametrize("column", ["top-1", "mass"])
def test_levels_and_what_came_of_them(rows, column):
    said = results_by_start(column)
    for arm in ("gated", "early", "direct"):
        ends, level = points(rows, arm), sorted(float(row[f"{column} at switch"]) for row in rows if row["arm"] == arm)
        levels = list(dict.fromkeys((f"{level[0]:.2f}", f"{level[-1]:.2f}")))
        assert f"{ends[0]:+.1f} to {ends[-1]:+.1f} from {' to '.join(levels)}".replace("-", "−") in said
    assert said.endswith("(demo, 3 seeds)")
    assert said in SOURCES[{"top-1": "top1_agreement", "mass": "student_mass"}[column]]


def test_a_warm_stage_that_raised_the_error_rate_is_held_against_the_study(rows):
    found = verdict(replace(warm(), errors=change(0.05, 0.09)))
    assert found.recommendation is Recommendation.GO
    high, _, low = (-end for end in points(rows, "gated"))
    assert gated_improvement() == f"{low:.1f} to {high:.1f} points below Base on 3 seeds"
    assert gated_improvement() in found.reasons[-1]


def test_no_result_of_an_earlier_corpus_is_left():
    sources = [file for folder in ("analysis", "overlap", "distill") for file in (ROOT / folder).rglob("*.py")]
    sources += [
        *(ROOT / "notebooks").glob("*.py"),
        *(ROOT / "overlap").rglob("*.md"),
        *(ROOT / "distill").rglob("*.md"),
    ]
    for file in sources:
        text = " ".join(file.read_text(encoding="utf-8").replace("#", " ").split())
        assert not STALE.search(text), file


def test_what_the_definitions_say_of_the_demo_is_in_the_study(rows):
    (row,) = [row for row in rows if row["arm"] == "gated" and row["seed"] == "0"]
    (base,) = [row for row in rows if row["arm"] == "direct" and row["seed"] == "0"]
    text = " ".join((ROOT / "overlap/definitions/introduction.md").read_text(encoding="utf-8").split())
    levels = {
        name: [float(one[f"{name} at {when}"]) for one, when in ((base, "switch"), (row, "switch"), (row, "end"))]
        for name in ("VUSS", "top-1", "TV")
    }
    for name, digits in (("VUSS", 1), ("top-1", 2), ("TV", 3)):
        assert " → ".join(f"{value:.{digits}f}" for value in levels[name]) in text
