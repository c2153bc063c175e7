"""Names that files are called after, and recipes as editors save them."""

import pytest

from distill import train
from distill.recipe import Recipe, RecipeError, load_recipe

RECIPE = """
[student]
model = "demo:student"
[evaluation]
manifest = "demo:corpus/test.jsonl"
name = {set}
[[stages]]
type = "sft"
name = {stage}
manifest = "demo:corpus/base.jsonl"
steps = 1
"""


def read(tmp_path, stage='"base"', set_='"test"', encoding="utf-8"):
    path = tmp_path / "recipe.toml"
    path.write_bytes(RECIPE.format(stage=stage, set=set_).encode(encoding))
    return load_recipe(path)


BAD = {
    "a/b": r"stages\.0\.name: 'a/b' has '/'; it is part of file names, so leave out control characters and any of /",
    r"a\\b": r"stages\.0\.name: .*has",
    "..": r"stages\.0\.name: '\.\.' is empty, or begins or ends with a blank or a dot",
    "../up": r"stages\.0\.name: ",
    "": r"stages\.0\.name: must be a string of 1 or more",
    " base": r"stages\.0\.name: ' base' .* begins or ends with a blank",
    "[bold]base[/bold]": r"stages\.0\.name: '\[bold\]base\[/bold\]' has '\['",
    r"a\nb": r"stages\.0\.name: .* has the control character U\+000A",
    r"a\u001Bb": r"stages\.0\.name: .* has the control character U\+001B",
    r"a\u202Eb": r"stages\.0\.name: .* has the control character U\+202E",
    "C:": r"stages\.0\.name: 'C:' has ':'",
    "what?": r"stages\.0\.name: 'what\?' has '\?'",
    "x" * 101: r"stages\.0\.name: 'x{20}'… is longer than 100 bytes",
    "語" * 34: r"stages\.0\.name: '語{20}'… is longer than 100 bytes",
}


@pytest.mark.parametrize("name", BAD)
def test_names_that_no_file_can_have_are_refused_when_the_recipe_is_read(tmp_path, name):
    with pytest.raises(RecipeError, match=BAD[name]):
        read(tmp_path, stage=f'"{name}"')
    with pytest.raises(RecipeError, match=BAD[name].replace(r"stages\.0", "evaluation")):
        read(tmp_path, set_=f'"{name}"')


@pytest.mark.parametrize(
    "name", ["教師データ", "البيانات", "क्‍ष", "teacher data (2nd) + more, v1.5_x-y", "Überprüfung", "語" * 33]
)
def test_names_in_any_script_are_taken(tmp_path, name):
    recipe = read(tmp_path, f'"{name}"', f'"{name}"')
    assert (recipe.stages[0].name, recipe.evaluation.name) == (name, name)


def test_the_longest_names_name_files(mini, tmp_path):
    name = "語" * 33 + "x"
    mini["stages"] = [mini["stages"][0] | {"name": name, "steps": 1}]
    mini["evaluation"]["name"] = name
    result = train(Recipe.model_validate(mini), tmp_path / "run")
    assert [path.name for path in (result.path / "transcripts").glob("*student*")] == [
        f"step-000001-visit-000-{name}-student.parquet"
    ]


@pytest.mark.parametrize(("one", "other"), [("Base", "base"), ("é", "e\u0301")])
def test_stages_that_some_file_systems_do_not_tell_apart(mini, one, other):
    mini["stages"] = [mini["stages"][0] | {"name": name} for name in (one, other)]
    with pytest.raises(ValueError, match="must differ in more than capital letters"):
        Recipe.model_validate(mini)


def test_a_recipe_with_a_mark_at_its_beginning_is_read(tmp_path):
    assert read(tmp_path, encoding="utf-8-sig").stages[0].name == "base"


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_recipe_of_another_encoding_is_refused_in_plain_words(tmp_path, encoding):
    with pytest.raises(RecipeError, match=r"recipe\.toml: not UTF-8 \(byte \d+\); save it as UTF-8"):
        read(tmp_path, stage='"é"', encoding=encoding)
