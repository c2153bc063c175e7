"""What is trained by default and by name, and that runs say it."""

import json

import pytest
from pydantic import ValidationError

from distill import load_recipe, train
from distill.recipe import DivergenceObjective, OnPolicyStage, Recipe, RecipeError
from distill.recipe.paths import shipped_recipes
from overlap.definitions import TOKEN_STATISTICS
from tests.distill.test_recipe import STAGED


def objective(given=None):
    section = {"type": "opd", "name": "s", "manifest": "m", "steps": 1} | (
        {} if given is None else {"objective": given}
    )
    return OnPolicyStage.model_validate(section).objective


@pytest.mark.parametrize("support", ["union", "teacher", "student"])
def test_the_tail_is_on_for_every_set(support):
    assert objective({"type": "divergence", "support": support}).tail
    assert objective().tail


def test_a_tail_of_the_whole_vocabulary_is_nothing_and_an_error_only_where_it_is_written():
    whole = objective({"type": "divergence", "support": "vocabulary"})
    assert not whole.tail
    assert objective({"type": "divergence", "support": "vocabulary", "tail": False}) == whole
    assert objective(whole.model_dump()) == whole  # as resolved.json holds it
    with pytest.raises(ValidationError, match='tail: support = "vocabulary" has no tokens outside the set'):
        objective({"type": "divergence", "support": "vocabulary", "tail": True})


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"support": "vocabulary"},
        {"support": "teacher"},
        {"divergence": "reverse_kl"},
        {"divergence": "jensen_shannon", "beta": 0.3},
        {"beta": 0.3},
        {"tail": False},
    ],
)
def test_a_table_without_a_type_is_a_divergence(given):
    assert objective(given) == objective({"type": "divergence"} | given)
    assert objective(given) == DivergenceObjective.model_validate(given)


def test_a_table_without_a_type_in_a_file_and_on_the_command_line(tmp_path):
    text = STAGED.replace("[teacher]", '[stages.objective]\nsupport = "vocabulary"\n[teacher]')
    (tmp_path / "recipe.toml").write_text(text)
    whole = load_recipe(tmp_path / "recipe.toml").stages[2].objective
    assert whole.name == "forward_kl(vocabulary)"
    assert load_recipe("demo", ["stages.2.objective.support=vocabulary"]).stages[2].objective == whole


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "{typ='policy_gradient'}",
            r"unknown key stages\.2\.objective\.typ; did you mean stages\.2\.objective\.type\?",
        ),
        ("{estimator='k1'}", r'unknown key stages\.2\.objective\.estimator; only type = "policy_gradient" has it'),
        ("{type='kl'}", r'stages\.2\.objective\.type = "kl" is unknown; write one of "divergence", "policy_gradient"'),
    ],
)
def test_a_table_that_meant_another_type_is_told_so(given, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe("demo", [f"stages.2.objective={given}"])


def test_the_papers_form_has_a_name():
    paper = objective("paper")
    assert paper.model_dump() == {
        "type": "divergence",
        "support": "union",
        "divergence": "forward_kl",
        "beta": 0.5,
        "tail": False,
        "weights": None,
    }
    assert objective(paper.model_dump()) == paper


def test_an_unknown_name_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(RecipeError, match=r'stages\.2\.objective: "papr" is no objective; write "paper", or a table'):
        load_recipe("demo", ["stages.2.objective=papr"])
    assert not load_recipe("demo", ["stages.2.objective=paper"]).stages[2].objective.tail


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_train_with_the_tail(name):
    assert all(stage.objective.tail for stage in load_recipe(name).stages if stage.type == "opd")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, "forward_kl(union, tail)"),
        ("paper", "forward_kl(union)"),
        ({"type": "divergence", "support": "vocabulary", "divergence": "reverse_kl"}, "reverse_kl(vocabulary)"),
        (
            {"type": "divergence", "support": "teacher", "divergence": "jensen_shannon", "beta": 0.2},
            "jensen_shannon(teacher, beta=0.2, tail)",
        ),
    ],
)
def test_names_tell_objectives_apart(given, expected):
    assert objective(given).name == expected


def test_every_row_of_the_metrics_says_what_was_trained(texts, tmp_path):
    stages = [stage | {"steps": 1} for stage in (texts["stages"][0], texts["stages"][2])]
    result = train(Recipe.model_validate(texts | {"stages": stages}), tmp_path / "run")
    first, second = (json.loads(line)["objective"] for line in (result.path / "metrics.jsonl").read_text().splitlines())
    assert first == {"name": "cross_entropy"}
    assert second["name"] == "forward_kl(union, tail)"
    assert {"student_mass", "teacher_mass"} < second.keys()


def test_the_definition_of_the_papers_form_names_the_form_that_recipes_train():
    reading = TOKEN_STATISTICS["union_kl"].reading
    assert '`objective = "paper"`' in reading
    assert "with a tail" in reading
