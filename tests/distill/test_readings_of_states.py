"""Which readings a probe has depends on its states; what a gate cannot read is answered with what to add."""

import pytest

from distill.recipe import RecipeError, load_recipe
from tests.distill.test_pointless_recipes import recipe

__all__ = ["recipe"]

ONLY_STUDENT = 'probe.states=["student"]'


def threshold(statistic: str) -> str:
    return f'stages.1.gate={{ type = "threshold", statistic = "{statistic}", at_least = 0.5, on = "value" }}'


@pytest.mark.parametrize("statistic", ["used", "fixed.used", "teacher.used", "student_end_mass.past_teacher"])
def test_readings_that_there_are(recipe, statistic):
    gate = load_recipe(recipe, [threshold(statistic), 'probe.states=["student", "fixed", "teacher"]']).stages[1].gate
    assert gate is not None
    assert gate.build().statistics == (statistic,)


@pytest.mark.parametrize(
    ("statistic", "more", "remedy"),
    [
        ("teacher.student_end_likely.at_end", ONLY_STUDENT, 'add "teacher" to probe.states'),
        ("fixed.union_size", ONLY_STUDENT, 'add "fixed" to probe.states'),
        ("reference.used", ONLY_STUDENT, 'add "reference" to probe.states'),
        ("student_end_mass.past_teacher", ONLY_STUDENT, 'add "teacher" to probe.states'),
        (
            "teacher.student_end_mass.past_teacher",
            'probe.states=["student", "teacher"]',
            'are in the transcripts of others; remove "teacher."',
        ),
    ],
)
def test_readings_that_there_are_not(recipe, statistic, more, remedy):
    with pytest.raises(RecipeError) as error:
        load_recipe(recipe, [threshold(statistic), more])
    assert f'the probe has no statistic "{statistic}" on its states' in str(error.value)
    assert remedy in str(error.value)
