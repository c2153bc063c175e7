"""Gates may read the changes that probes give; for all others the recipe says why there are none."""

import pytest

from distill.recipe import RecipeError, load_recipe
from distill.recipe.gate_statistics import readings_of
from distill.recipe.without_effect import RecipeWarning
from tests.distill.test_pointless_recipes import recipe

__all__ = ["recipe"]

SERVED = (
    "teacher.url=http://localhost:1",
    "teacher.server.top_logprobs=8",
    'stages.1.objective={ type = "divergence", support = "teacher" }',
)


def saturation(statistic: str) -> str:
    return f'stages.1.gate={{ type = "saturation", statistic = "{statistic}", min_delta = 0.01 }}'


@pytest.mark.parametrize(
    "statistic",
    ["fixed.vuss", "top1_agreement.without_repeats", "end_of_text", "student_end_mass.at_end", "fixed.forward_kl"],
)
def test_changes_on_the_students_and_on_fixed_states(recipe, statistic):
    gate = load_recipe(recipe, [saturation(statistic)]).stages[1].gate
    assert gate.build().statistics == (f"{statistic.replace('vuss', 'union_size')}.change",)


def test_a_threshold_may_read_a_change_too(recipe):
    gate = 'stages.1.gate={ type = "threshold", statistic = "fixed.vuss.change", at_least = -0.5 }'
    assert load_recipe(recipe, [gate]).stages[1].gate.build().statistics == ("fixed.union_size.change",)
    with pytest.raises(RecipeError, match=r"at_least = 17: fixed.union_size.change lies between -16 and 16"):
        load_recipe(recipe, [gate.replace("-0.5", "17")])


@pytest.mark.parametrize(
    ("statistic", "more", "message"),
    [
        ("teacher.vuss", (), r'"teacher.union_size.change" .* gates read changes on the states \["student", "fixed"\]'),
        ("fixed.end_of_text", (), "on recorded transcripts it is always 0; read it on the student's own"),
        ("fixed.teacher_end_mass.at_end", (), "on recorded transcripts it is always 0"),
        ("own.test.error_rate", (), 'no changes of error rates; use type = "plateau" for own.test.error_rate'),
        ("total_variaton", (), 'did you mean "total_variation"'),
        (
            "fixed.vuss",
            ('probe.states=["student"]',),
            'probe has no statistic "fixed.union_size.change" on its',
        ),
        ("forward_kl", SERVED, "bounds of a statistic say nothing certain of its change"),
        ("forward_kl.lower", SERVED, "bounds of a statistic say nothing certain of its change"),
        ("fixed.vuss.change", (), 'not its change, received "fixed.union_size.change"; write "fixed.union_size"'),
    ],
)
def test_changes_that_are_not_given(recipe, statistic, more, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe(recipe, [saturation(statistic), *more])


def test_a_served_teacher_gives_changes_of_what_is_exact(recipe):
    gate = load_recipe(recipe, [saturation("overlap_ratio"), *SERVED]).stages[1].gate
    assert gate.build().statistics == ("overlap_ratio.change",)


def test_one_utterance_has_no_interval_of_its_change(recipe):
    with pytest.raises(RecipeError, match=r"max_utterances = 1: stages\.1\.gate needs intervals"):
        load_recipe(recipe, [saturation("fixed.vuss"), "probe.max_utterances=1"])


def test_the_reading_at_entry_has_no_change_to_count(recipe):
    gate = saturation("fixed.vuss").replace("0.01", "0.01, patience = 4")
    for at_entry in ("false", "true"):
        with pytest.warns(RecipeWarning, match=r"patience = 4 takes 4 readings, .* gives 3 changes in the 250"):
            load_recipe(recipe, [gate, f"stages.1.gate_at_entry={at_entry}"])


def test_every_reading_has_a_change_or_a_reason():
    student, fixed = (set(readings_of(states, served=False)) for states in ("student", "fixed"))
    plain = {name for name in student if not name.endswith(".change")}
    assert student == plain | {f"{name}.change" for name in plain}
    lacking = {name for name in plain if f"{name}.change" not in fixed}
    assert {"teacher_logprob", "teacher_entropy", "end_of_text", "repetition", "teacher_end_mass.at_end"} <= lacking
    assert not lacking & {"teacher_mass", "top1_agreement", "student_end_mass.at_end", "reverse_kl_k1"}
    assert not any(name.endswith(".change") for name in readings_of("teacher", served=False))
