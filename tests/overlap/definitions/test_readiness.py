"""There is one table of readiness levels; whatever else names a level has it from there."""

import csv
import re
import tomllib
from pathlib import Path

import pytest

from analysis.report import Thresholds
from overlap.definitions import PROBE_STATISTICS, SEQUENCE_STATISTICS, TOKEN_STATISTICS
from overlap.definitions.names import statistic_of
from overlap.definitions.page import page
from overlap.errors import UserError
from overlap.estimates.first_reading import NUMBERS
from overlap.gates import READINESS, Question

ROOT = Path(__file__).parents[3]
RECIPES = sorted((ROOT / "distill" / "recipes").glob("*.toml"))
STUDY = ROOT / "tests" / "studies" / "results" / "staging.csv"
ROW = re.compile(r"\b\w+/(?:switch|collapse|least|comparable)/[\w.]+")

NAMES = r"(?:agreement|student_mass|teacher_mass|(?:student|teacher)'s mass)"
SIDES = r"(?:at_least\W{1,3}|at_most\W{1,3}|float\W{1,3}|above |below |of at least |[≥≤=:(\[,]\s*)"
TYPED = re.compile(rf"{NAMES}\W{{0,6}}{SIDES}+0?\.\d", re.IGNORECASE)
"""A level of agreement or mass, such as `Threshold("top1_agreement", at_least=0.8`."""


def test_rows_have_names_and_evidence():
    assert len({row.name for row in READINESS}) == len(READINESS)
    for row in READINESS:
        assert READINESS[row.name] is row
        assert row.evidence
        assert row.source
        assert (row.n > 0) <= (row.source != "convention")
        statistic = statistic_of(row.statistic.removesuffix(".fall").removesuffix(".fold"))
        assert statistic in TOKEN_STATISTICS or statistic in SEQUENCE_STATISTICS or statistic in PROBE_STATISTICS
    with pytest.raises(UserError, match="received 'any/switch/vuss'"):
        READINESS["any/switch/vuss"]
    for wrong, words in (
        (("top1_agrement",), "received 'any/switch/top1_agrement'; did you mean 'any/switch/top1_agreement'?"),
        (("top1_agreement", "swich"), "did you mean 'any/switch/top1_agreement'?"),
        (("zzz", "zzz", "zzz"), "received 'zzz/zzz/zzz'; print(READINESS) shows all"),
    ):
        with pytest.raises(UserError, match=re.escape(words)) as error:
            READINESS.level(*wrong)
        assert len(str(error.value)) < 150


OPEN = re.compile(r".*\b(?:a|also|an|and|as|at|below|but|by|for|from|in|no|not|of|on|or|than|that|the|their|to|with)")
"""Words that no sentence and no phrase of the table ends in."""


def test_evidence_is_not_cut_short():
    for row in READINESS:
        assert row.evidence == " ".join(row.evidence.split()), row.name
        assert re.fullmatch(r".*[\w%)]", row.evidence), row.name
        assert not OPEN.fullmatch(row.evidence), row.name
    assert READINESS["demo/switch/top1_agreement"].evidence.endswith("Levels in between were not tried")
    assert READINESS["whisper_tiny_en/switch/top1_agreement"].evidence.endswith("slightly above this level")


def test_one_level_for_one_question():
    assert READINESS.level("top1_agreement") == READINESS["any/switch/top1_agreement"].level
    assert READINESS.level("top1_agreement", "least") < READINESS.level("top1_agreement")
    assert READINESS.level("top1_agreement", setting="demo") == READINESS["demo/switch/top1_agreement"].level


def test_the_first_reading_asks_what_the_table_says():
    wanted = {one.statistic: one for number in NUMBERS for one in number.wanted}
    for statistic, one in wanted.items():
        rows = [row for row in READINESS if row.setting == "any" and row.reading == statistic]
        rows = [row for row in rows if row.question in (Question.comparable, Question.switch)]
        levels = [(row.level, None) if row.side == "at_least" else (None, row.level) for row in rows]
        assert [(one.at_least, one.at_most)] == (levels or [(None, None)])


def test_the_report_asks_what_the_table_says():
    asked = Thresholds()
    for name in ("top1_agreement", "student_mass", "teacher_mass"):
        assert getattr(asked, name) == READINESS.level(name, Question.least)
    assert asked.mapped_mass == READINESS.level("student_mapped_mass", Question.comparable)
    assert asked.mapped_mass == READINESS.level("teacher_mapped_mass", Question.comparable)
    assert asked.mass_loss == READINESS.level("student_mass.fall", Question.collapse)
    assert (asked.repetition, asked.end_of_text) == tuple(
        READINESS.level(name, Question.collapse) for name in ("repetition", "end_of_text")
    )


def levels(gate):
    """The levels of a recipe's gate and of its members: statistic, side, level."""
    for member in (*gate.get("gates", ()), *gate.get("conditions", ()), *([gate["then"]] if "then" in gate else ())):
        yield from levels(member)
    for side in ("at_least", "at_most"):
        if side in gate:
            yield statistic_of(gate["statistic"]), side, gate[side]
    for statistic, limits in gate.get("limits", {}).items():
        for side, level in zip(("at_least", "at_most"), limits, strict=True):
            if level != "off":
                yield statistic_of(statistic), side, level


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_names_the_rows_of_its_levels(path):
    text = path.read_text(encoding="utf-8")
    gates = [stage["gate"] for stage in tomllib.loads(text)["stages"] if "gate" in stage]
    found = {
        (statistic_of(row.statistic), row.side, row.level) for row in map(READINESS.__getitem__, ROW.findall(text))
    }
    assert found == {one for gate in gates for one in levels(gate)}


def test_rows_of_the_demo_are_those_of_its_study():
    with STUDY.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["arm"] == "gated"]
    demo, advised = READINESS["demo/switch/top1_agreement"], READINESS["any/switch/top1_agreement"]
    assert demo.n == advised.n == len(rows)
    assert all(float(row["top-1 at switch"]) >= demo.level for row in rows)
    assert all(float(row["WER"]) < float(row["WER Base"]) for row in rows)
    assert all(float(row["TV at switch"]) <= READINESS.level("total_variation") for row in rows)


def test_the_page_has_the_table():
    assert READINESS.to_markdown() in page()


def test_patterns_find_what_is_typed():
    for text in (
        'Threshold("top1_agreement", at_least=0.5)',
        "top1_agreement: float = 0.45",
        '_Wanted("teacher_mass", 0.9)',
        "AGREEMENT = 0.85",
        "agreement above 0.85",
        '{"student_mass": (0.4, None)}',
        "student_mass = [0.4,",
    ):
        assert TYPED.search(text), text
    for text in ("top-1 agreement 0.84 on seed 0", "agreement went\n0.00 → 0.91"):
        assert not TYPED.search(text), text


def sources():
    for folder in ("overlap", "distill", "analysis", "notebooks"):
        yield from sorted(path for path in (ROOT / folder).rglob("*.py") if path.name != "readiness.py")
    yield from sorted((ROOT / "overlap" / "definitions").glob("*.md"))


def test_no_second_level_is_typed():
    for path in sources():
        text = path.read_text(encoding="utf-8")
        assert not [found[0] for found in TYPED.finditer(text)], path.relative_to(ROOT)
