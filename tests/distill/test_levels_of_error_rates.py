"""Levels of gates on error rates are proportions: what reads like percent is refused or said before the run."""

import warnings

import pytest

from distill.recipe import RecipeError, load_recipe
from distill.recipe.gate_statistics import range_of
from distill.recipe.without_effect import RecipeWarning
from tests.distill.test_pointless_recipes import recipe

__all__ = ["recipe"]


def threshold(level: str) -> str:
    return f'{{ type = "threshold", statistic = "own.test.error_rate", {level}, on = "value" }}'


def any_of(gate: str) -> str:
    return f'{{ type = "any", gates = [{{ type = "fixed_steps", steps = 9 }}, {gate}] }}'


@pytest.mark.parametrize("wrapped", [str, any_of])
@pytest.mark.parametrize(
    ("gate", "words"),
    [
        (
            threshold("at_most = 20"),
            r"at_most = 20 of own\.test\.error_rate: .* is 2000%; write 0\.2 for 20 %",
        ),
        (threshold("at_least = 2.5"), r"at_least = 2\.5 .* this is 250%; write 0\.025 for 2\.5 %"),
        (threshold("at_most = 0.2, release = 25"), r"release = 25 .* write 0\.25 for 25 %"),
        (
            threshold("at_most = -1"),
            r"at_most = -1: own\.test\.error_rate lies between 0 .* no reading reaches it",
        ),
        (
            '{ type = "plateau", statistic = "own.test.error_rate", mode = "min", min_delta = 5 }',
            r"min_delta = 5 of own\.test\.error_rate: .* write 0\.05 for 5 %",
        ),
    ],
)
def test_percent_is_refused(recipe, wrapped, gate, words):
    with pytest.raises(RecipeError, match=rf"stages\.1\.gate: {words}"):
        load_recipe(recipe, [f"stages.1.gate={wrapped(gate)}"])


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        (threshold("at_most = 1.0"), r"stages\.1\.gate\.at_most: 1 is 100%, .*; for 1 % write 0\.01"),
        (
            '{ type = "collapse", limits = { "own.test.error_rate" = ["off", 60] } }',
            r"stages\.1\.gate\.limits\.own\.test\.error_rate: 60 is 6000%, .*; for 60 % write 0\.6",
        ),
        (
            '{ type = "collapse", limits = { "own.test.error_rate" = [0, "off"] } }',
            r"limits\.own\.test\.error_rate: 0 is never crossed",
        ),
    ],
)
def test_what_may_be_percent_is_said(recipe, gate, words):
    with pytest.warns(RecipeWarning, match=words):
        load_recipe(recipe, [f"stages.1.gate={gate}"])


@pytest.mark.parametrize(
    "gate",
    [
        threshold("at_most = 0.2"),
        threshold("at_least = 1.5"),
        '{ type = "collapse", limits = { "own.test.error_rate" = ["off", 1.5] } }',
        '{ type = "threshold", statistic = "union_size", at_most = 12 }',
        '{ type = "plateau", statistic = "union_size", mode = "min", min_delta = 5, patience = 1 }',
    ],
)
def test_proportions_and_other_statistics_are_taken(recipe, gate):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_recipe(recipe, [f"stages.1.gate={gate}"])


@pytest.mark.parametrize("statistic", ["end_of_text", "fixed.end_of_text", "teacher.recut"])
def test_statistics_of_sequences_have_their_ranges_on_all_states(statistic, recipe):
    assert range_of(statistic, 8) == (0.0, 1.0)
    gate = f'{{ type = "threshold", statistic = "{statistic}", at_least = 1.2 }}'
    with pytest.raises(RecipeError, match=rf"at_least = 1\.2: {statistic} lies between 0 and 1, so no reading"):
        load_recipe(recipe, [f"stages.1.gate={gate}"])
