"""Recipes that ask for what never comes: gates that cannot open are refused, the rest is said as they are read."""

import re
import warnings
from pathlib import Path

import pytest

from distill.recipe import RecipeError, load_recipe
from distill.recipe.gate_statistics import range_of
from distill.recipe.paths import shipped_recipes
from distill.recipe.without_effect import RecipeWarning
from overlap import Estimate

BASE = """
[student]
model = "demo:student"
[teacher]
model = "demo:teacher"
[support]
k = 8
[probe]
manifest = "demo:corpus/probe.jsonl"
every = 100
[evaluation]
manifest = "demo:corpus/test.jsonl"
[[stages]]
type = "sft"
name = "base"
manifest = "demo:corpus/base.jsonl"
steps = 300
[[stages]]
type = "opd"
name = "on-policy"
manifest = "demo:corpus/pool.jsonl"
steps = 250
"""


@pytest.fixture
def recipe(tmp_path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(BASE)
    return path


def threshold(**settings: object) -> str:
    own = "".join(f", {name} = {value}" for name, value in settings.items())
    return f'{{ type = "threshold", statistic = "top1_agreement", at_least = 0.5{own} }}'


def saturation(**settings: object) -> str:
    own = "".join(f", {name} = {value}" for name, value in ({"min_delta": 0.01} | settings).items())
    return f'{{ type = "saturation", statistic = "fixed.total_variation"{own} }}'


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        (
            saturation(min_steps=251),
            "stages.1.gate.min_steps = 251: the stage has 250 steps, so this gate never opens",
        ),
        (
            threshold(min_steps=251),
            "stages.1.gate.min_steps = 251: the stage has 250 steps, so this gate never opens; lo",
        ),
        (
            '{ type = "fixed_steps", steps = 300 }',
            "stages.1.gate.steps = 300: the stage has 250 steps, so this gate nev",
        ),
        (
            '{ type = "plateau", statistic = "union_size", min_steps = 900 }',
            "stages.1.gate.min_steps = 900: the stage has 250 steps",
        ),
        (
            f'{{ type = "any", gates = [{threshold()}, {{ type = "fixed_steps", steps = 251 }}] }}',
            "stages.1.gate.gates.1.steps = 251: the stage has 250 steps, so this gate never opens; lower it, or",
        ),
    ],
)
def test_gates_that_wait_for_longer_than_their_stage_are_refused(recipe, gate, message):
    with pytest.raises(RecipeError, match=re.escape(message)):
        load_recipe(recipe, [f"stages.1.gate={gate}"])


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        (
            f"stages.1.gate={threshold(patience=4)}",
            "stages.1.gate.patience = 4 takes 4 readings, and probe.every = 100 gives 3 in the 250 steps of the stage, "
            "so this gate never acts; lower patience or probe.every",
        ),
        (
            'stages.1.gate={ type = "plateau", statistic = "union_size", patience = 3 }',
            "stages.1.gate.patience = 3 takes 4 readings, and probe.every = 100 gives 3 in",
        ),
        (
            f"stages.1.gate={saturation(patience=4)}",
            "stages.1.gate.patience = 4 takes 4 readings, and probe.every = 100 gives 3 changes in the 250 steps",
        ),
        (
            f"stages.1.gate={saturation(min_delta=1.0)}",
            "stages.1.gate.min_delta: all changes lie between -1 and 1, so every reading passes; lower it",
        ),
        (
            f"""stages.1.gate={saturation(mode='"min"', min_delta=7)}""",
            "stages.1.gate.min_delta: all changes lie between -1 and 1, so every reading passes; lower it",
        ),
        (
            'stages.1.gate={ type = "collapse", limits = { top1_agreement = [0.4, "off"] }, patience = 9 }',
            "stages.1.gate.patience = 9 takes 9 readings",
        ),
        (
            'stages.1.gate={ type = "collapse", limits = { top1_agreement = [0.4, 1.01] } }',
            "stages.1.gate.limits.top1_agreement: 1.01 is never crossed, because all values lie between 0 and 1; "
            'write "off',
        ),
        (
            'stages.1.gate={ type = "collapse", limits = { repetition = [0.0, 3.0] } }',
            "stages.1.gate.limits.repetition: 0 is never crossed, because all values lie between 0 and ",
        ),
        (
            "stages.0.warmup_steps=300",
            "stages.0.warmup_steps = 300: the stage has 300, so its learning rate never reach",
        ),
        (
            "stages.0.curriculum={ steps = 301 }",
            "stages.0.curriculum.steps = 301: the stage has 300, so its longest utt",
        ),
        ("checkpoint.every=551", "checkpoint.every = 551: the stages have 550 steps, so only their entries"),
        ("total_steps=1101", "total_steps = 1101: the stages have 550, so it is never reached; lower or remove it"),
        ("total_steps=300", "stages.1 (on-policy) never begins: those before it take 300 steps and total_steps is 300"),
    ],
)
def test_what_never_comes_is_said_with_its_key(recipe, assignment, message):
    with pytest.warns(RecipeWarning, match=f"^{re.escape(f'{recipe}: {message}')}") as said:
        load_recipe(recipe, [assignment])
    assert len(said) == 1


@pytest.mark.parametrize(
    "assignment",
    [
        f"stages.1.gate={threshold(patience=3, min_steps=250)}",
        'stages.1.gate={ type = "fixed_steps", steps = 250 }',
        'stages.1.gate={ type = "plateau", statistic = "union_size", patience = 2 }',
        f"stages.1.gate={saturation(patience=3, min_steps=250)}",
        'stages.1.gate={ type = "collapse", limits = { repetition = ["off", 3.0], top1_agreement = [0.4, "off"] } }',
        "stages.0.warmup_steps=299",
        "evaluation.every=1000",
        "checkpoint.every=550",
        "total_steps=1100",
        "total_steps=301",
    ],
)
def test_what_comes_just_in_time_passes_without_a_word(recipe, assignment):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_recipe(recipe, [assignment])


def test_a_stage_that_is_only_guarded_is_over_after_its_steps_whatever_is_asked(recipe):
    guard = 'stages.0.gate={ type = "collapse", limits = { end_of_text = [0.9, "off"] } }'
    with pytest.warns(
        RecipeWarning, match="stages.0.when_exhausted: the stage's gate only guards, so the stage is over"
    ):
        load_recipe(recipe, [guard, 'stages.0.when_exhausted="stop"'])


def test_a_reading_before_the_first_step_counts(recipe):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_recipe(recipe, [f"stages.1.gate={threshold(patience=4)}", "stages.1.gate_at_entry=true"])


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_ask_for_nothing_in_vain(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_recipe(name)


def test_an_open_side_decides_as_a_limit_beyond_every_value_does(recipe):
    def decisions(limits: str) -> list[str]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RecipeWarning)
            read = load_recipe(recipe, [f'stages.1.gate={{ type = "collapse", limits = {limits} }}'])
        gate = read.stages[1].effective_gate.build()
        return [
            str(gate.read({"top1_agreement": _around(share), "repetition": _around(loops)}, step).action)
            for step, (share, loops) in enumerate([(0.0, 0.0), (1.0, 0.0), (0.5, 9.0), (0.5, 1.0), (0.3, 2.9)])
        ]

    with_off = decisions('{ repetition = ["off", 3.0], top1_agreement = [0.4, "off"] }')
    assert with_off == decisions("{ repetition = [0.0, 3.0], top1_agreement = [0.4, 1.01] }")
    assert set(with_off) == {"stay", "fall_back"}
    assert range_of("top1_agreement", 8) == (0, 1)


def _around(value: float) -> Estimate:
    return Estimate(value, 0.01, value - 0.02, value + 0.02, 400, 20, 0)
