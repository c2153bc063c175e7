"""Levels that no reading can meet, statistics named twice, and names of error rates are refused, with what to write."""

import pytest

from distill.recipe import Recipe, load_recipe
from distill.recipe.without_effect import RecipeWarning
from distill.scoring.pair import PairError
from distill.training.setup import prepare_run
from tests.distill.test_recipe import STAGED, write
from tests.distill.test_recipe_words import said

THRESHOLD = "stages.1.gate={type='threshold', %s}"
EVALUATION = "evaluation={manifest='train.jsonl'}"
COLLAPSE = "stages.2.gate={type='collapse', limits={%s}}"


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        ("statistic='fixed.end_of_text', at_least=1.2", "fixed.end_of_text lies between 0 and 1, so no reading"),
        ("statistic='end_of_text', at_least=1.2", "end_of_text lies between 0 and 1, so no reading reaches it"),
        ("statistic='fixed.repetition', at_most=-1", "fixed.repetition lies between 0 and inf"),
        ("statistic='fixed.vuss', at_least=65", "fixed.union_size lies between 0 and 64"),
        ("statistic='overlap_ratio', at_least=nan", "must be a finite number"),
        ("statistic='overlap_ratio', at_least=inf", "must be a finite number"),
    ],
)
def test_a_level_beyond_the_range_is_refused_on_all_states(tmp_path, gate, message):
    (line,) = said(tmp_path, STAGED, THRESHOLD % gate)
    assert message in line


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ("end_of_text=[1.2, 'off']", "end_of_text lies between 0 and 1, so every reading is out"),
        ("empty=[-1.0, -0.5]", "limits.empty = [-1.0, -0.5]: empty lies between 0 and 1, so every reading is out"),
        ("vuss=['off', 14.0], union_size=['off', 3.0]", '"vuss" and "union_size" are one statistic, union_size'),
        ("vuss=['off', 14.0], VUSS=['off', 3.0]", '"vuss" and "VUSS" are one statistic, union_size; give it once'),
    ],
)
def test_limits_that_always_act_or_come_twice_are_refused(tmp_path, limits, message):
    (line,) = said(tmp_path, STAGED, COLLAPSE % limits)
    assert line.startswith("stages.2.gate")
    assert message in line


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ("'fixed.end_of_text'=['off', 1.2]", "fixed.end_of_text: 1.2 is never crossed"),
        ("end_of_text=['off', 1.01]", "end_of_text: 1.01 is never crossed"),
        ("vuss=['off', 65.0]", "65 is never crossed, because all values lie between 0 and 64"),
    ],
)
def test_limits_that_guard_nothing_are_said(tmp_path, limits, message):
    with pytest.warns(RecipeWarning, match=message):
        load_recipe(write(tmp_path, STAGED), [COLLAPSE % limits])


def test_limits_within_the_range_are_taken(tmp_path):
    limits = "end_of_text=[0.9, 'off'], 'fixed.vuss'=['off', 60.0], 'own.test.error_rate'=['off', 0.5]"
    gate = load_recipe(write(tmp_path, STAGED), [EVALUATION, COLLAPSE % limits]).stages[2].gate
    assert gate is not None
    assert list(gate.build().parameters()["limits"]) == ["end_of_text", "fixed.union_size", "own.test.error_rate"]


@pytest.mark.parametrize("name", ["wer", "cer", "fixed.wer", "error_rate", "own.wer", "own.tets.error_rate", "own.foo"])
def test_an_error_rate_by_another_name_is_answered_with_one_that_is_taken(tmp_path, name):
    (line,) = said(tmp_path, STAGED, EVALUATION, THRESHOLD % f"statistic='{name}', at_most=0.2")
    assert f'the probe has no statistic "{name}" on its states' in line
    assert line.endswith("; write own.test.error_rate for the error rate on an evaluation set")
    load_recipe(write(tmp_path, STAGED), [EVALUATION, THRESHOLD % "statistic='own.test.error_rate', at_most=0.2"])


def test_without_an_evaluation_the_answer_says_what_to_add(mini):
    mini["evaluation"] = None
    mini["stages"][1]["gate"] = {"type": "threshold", "statistic": "wer", "at_most": 0.2}
    with pytest.raises(ValueError, match=r"own\.NAME\.error_rate after an \[evaluation\] of that name; add one"):
        Recipe.model_validate(mini)


def test_a_typing_error_is_answered_with_the_nearest_name(tmp_path):
    (line,) = said(tmp_path, STAGED, THRESHOLD % "statistic='top1_agrement', at_least=0.2")
    assert line.endswith('did you mean "top1_agreement"?')


@pytest.mark.parametrize(("level", "least", "most"), [(3.9, 4, 8), (4.0, 4, 8)])
def test_a_union_smaller_than_its_sets_is_refused_once_the_pair_is_known(mini, level, least, most):
    """With one vocabulary both sets have k = 4 tokens; a recipe alone cannot tell."""
    mini["stages"][1]["gate"] = {"type": "threshold", "statistic": "vuss", "at_most": level}
    recipe = Recipe.model_validate(mini)
    if level >= least:
        assert prepare_run(recipe, device="cpu").pair is not None
        return
    said = rf"stages.1.gate: at_most = 3.9: union_size lies between {least} and {most}, .* \(the models share one"
    with pytest.raises(PairError, match=said):
        prepare_run(recipe, device="cpu")
