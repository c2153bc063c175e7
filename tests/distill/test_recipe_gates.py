"""Recipes have every setting of every gate of `overlap`, as the gates have it."""

import dataclasses
import typing

import pytest

import overlap
from distill.recipe import load_recipe
from distill.recipe.gates import GateConfig
from tests.distill.test_recipe import STAGED, write
from tests.distill.test_recipe_words import said

SECTIONS = {section.builds: section for section in typing.get_args(typing.get_args(GateConfig)[0])}
KINDS = [kind for kind in SECTIONS if dataclasses.is_dataclass(kind)]
LEAST = {"fixed_steps": {"steps": 1}, "collapse": {"limits": {"union_size": [1.0, "off"]}}}


def small(kind: type[overlap.Gate]) -> dict:
    """The smallest table of a kind."""
    level = {overlap.Threshold: {"at_least": 0.5}, overlap.Saturation: {"min_delta": 0.01}}.get(kind, {})
    return {"type": kind.kind} | LEAST.get(kind.kind, {"statistic": "union_size"} | level)


def test_every_gate_has_a_section():
    public = [getattr(overlap, name) for name in overlap.__all__]
    assert set(SECTIONS) == {
        one for one in public if isinstance(one, type) and issubclass(one, overlap.Gate) and one is not overlap.Gate
    }


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_every_setting_is_a_key_with_the_gates_default(kind):
    keys = SECTIONS[kind].model_fields
    settings = [item for item in dataclasses.fields(kind) if item.init]
    assert list(keys) == ["type", *(item.name for item in settings)]
    for item in settings:
        assert keys[item.name].is_required() == (item.default is dataclasses.MISSING)
        assert keys[item.name].is_required() or keys[item.name].default == item.default
        assert keys[item.name].description
    built = SECTIONS[kind].model_validate(small(kind)).build()
    assert isinstance(built, kind)
    given = {name: getattr(built, name) for name in small(kind) if name != "type"}
    assert built == kind(**given)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_bounds_are_the_gates(kind):
    """What the gate refuses as too low is refused under its key, and the least is taken by both."""
    for item in dataclasses.fields(kind):
        if (least := item.metadata.get("ge")) is None:
            continue
        section = SECTIONS[kind].model_validate(small(kind) | {item.name: least})
        assert getattr(section.build(), item.name) == least
        with pytest.raises(ValueError, match=f"{item.name}\n.* greater than or equal to {least}"):
            SECTIONS[kind].model_validate(small(kind) | {item.name: least - 1})
        values = {name: value for name, value in vars(section.build()).items() if name in kind.__dataclass_fields__}
        settings = {one.name: values[one.name] for one in dataclasses.fields(kind) if one.init}
        with pytest.raises(ValueError, match=f"{item.name}: expected .* at least {least}"):
            kind(**settings | {item.name: least - 1})


@pytest.mark.parametrize(
    "gate",
    [
        "{type='threshold', statistic='union_size', at_least=4.0, on='value'}",
        "{type='plateau', statistic='union_size', patience=1, on='value'}",
        "{type='any', gates=[{type='collapse', limits={repetition=['off', 3.0]}, on='value'}, "
        "{type='plateau', statistic='union_size', patience=1, on='value'}]}",
    ],
)
def test_a_gate_may_judge_on_the_value(tmp_path, gate):
    recipe = load_recipe(write(tmp_path, STAGED), [f"stages.1.gate={gate}", "probe.max_utterances=1", "probe.every=5"])
    section = recipe.stages[1].gate
    assert section is not None
    for one in getattr(section, "gates", [section]):
        assert one.build().parameters()["on"] == "value"


def test_what_a_gate_judges_on_is_told(tmp_path):
    (line,) = said(tmp_path, STAGED, "stages.1.gate={type='plateau', statistic='union_size', on='values'}")
    assert line == 'stages.1.gate.on: must be one of "bound", "value", not "values"; did you mean "value"?'


@pytest.mark.parametrize("ends", ["type='threshold', at_least=0.9, release=0.3", "type='plateau'"])
def test_a_condition_that_may_hold_on_bad_ends_is_refused_in_a_file(tmp_path, ends):
    then = "{type='threshold', statistic='top1_agreement', at_least=0.5}"
    gate = "stages.1.gate={type='precondition', conditions=[{statistic='end_of_text', %s}], then=%s}"
    (line,) = said(tmp_path, STAGED, gate % (ends, then))
    assert line.startswith("stages.1.gate: precondition: ")
    assert line.endswith("so it is no condition; write a threshold without release")
