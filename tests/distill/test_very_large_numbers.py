"""Numbers that a machine cannot serve are refused as the recipe is read; large budgets cost nothing to check."""

import tracemalloc

import pytest

from distill.recipe import Recipe, RecipeError, load_recipe
from distill.recipe.gates import fixed_steps
from distill.recipe.without_effect import _readings, settings_without_effect
from tests.distill.test_cli import run
from tests.distill.test_pointless_recipes import recipe

__all__ = ["recipe"]


@pytest.mark.parametrize("value", [0, -1, 1025, 100_000, 10**30])
def test_threads_are_as_many_as_a_machine_can_have(recipe, value):
    with pytest.raises(RecipeError, match=rf"threads: must be at (least 1|most 1024), not {value}"):
        load_recipe(recipe, [f"threads={value}"])
    with pytest.raises(
        RecipeError, match=rf"teacher\.server\.concurrency: must be at (least 1|most 1024), not {value}"
    ):
        load_recipe(recipe, ["teacher.url=http://localhost:1", f"teacher.server.concurrency={value}"])


def test_as_flags(capsys):
    pair = ("--student", "demo:student", "--teacher", "demo:teacher", "--manifest", "demo:corpus/probe.jsonl")
    code, _, err = run("probe", *pair, "--concurrency", "100000", capsys=capsys)
    assert code == 2
    assert '--concurrency: must be at most 1024, not "100000"' in " ".join(err.replace("│", " ").split())


def test_as_many_as_are_allowed(recipe):
    assert load_recipe(recipe, ["threads=1024"]).threads == 1024


def test_a_budget_without_an_end_is_checked_in_no_time(recipe):
    gate = '{ type = "threshold", statistic = "top1_agreement", at_least = 0.5 }'
    tracemalloc.start()
    try:
        read = load_recipe(recipe, ["stages.1.steps=1000000000", "probe.every=1", f"stages.1.gate={gate}"])
        assert settings_without_effect(read) == []
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("steps", [1, 2, 7, 12])
@pytest.mark.parametrize("every", [1, 3, 5, 20])
@pytest.mark.parametrize("fixed", [1, 3, 6, 7])
@pytest.mark.parametrize("at_entry", [False, True])
def test_readings_are_counted_as_the_trainer_takes_them(mini, steps, every, fixed, at_entry):
    gate = {"type": "any", "gates": [{"type": "fixed_steps", "steps": min(fixed, steps)}]}
    mini["probe"]["every"] = every
    mini["stages"] = [mini["stages"][0] | {"steps": steps, "gate": gate, "gate_at_entry": at_entry}]
    whole = Recipe.model_validate(mini)
    (stage,) = whole.stages
    assert stage.gate is not None
    due = [n for n in range(steps + 1) if n % every == 0 or n in fixed_steps(stage.gate) or n == steps]
    assert _readings(whole, stage, stage.gate) == len(due) - (not at_entry)
