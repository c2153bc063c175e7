"""Recipes: every shipped one validates, and each mistake gets a message with the remedy."""

from pathlib import Path

import pytest

from distill.recipe import RecipeError, load_recipe
from distill.recipe.paths import shipped_recipes

MINIMAL = """
[student]
model = "student"
[[stages]]
type = "sft"
name = "base"
manifest = "train.jsonl"
steps = 10
"""

STAGED = (
    MINIMAL
    + """
[[stages]]
type = "td"
name = "teacher data"
manifest = "pool.jsonl"
steps = 20
[stages.gate]
type = "threshold"
statistic = "top1_agreement"
at_least = 0.7
[[stages]]
type = "opd"
name = "on-policy"
manifest = "pool.jsonl"
steps = 30
[teacher]
model = "some/hub-name"
[probe]
manifest = "probe.jsonl"
"""
)


OBJECTIVE = "stages.2.objective={type = %s}"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_validates_and_its_files_exist(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(name)
    manifests = [stage.manifest for stage in recipe.stages]
    manifests += [section.manifest for section in (recipe.probe, recipe.evaluation) if section]
    if name.startswith("demo"):
        generated = {str(tmp_path / "demo_training" / f"{split}.jsonl") for split in ("teacher", "pretraining")}
        assert all(Path(manifest).is_file() for manifest in set(manifests) - generated)
        assert (Path(recipe.student.model) / "config.json").is_file()
    else:  # the user's own data, where the user is
        assert all(Path(manifest).parent == tmp_path / "data" for manifest in manifests)
    for stage in recipe.stages:
        if stage.gate:
            stage.gate.build()


def test_paths_are_relative_to_the_recipe_and_hub_names_stay(tmp_path):
    recipe = load_recipe(write(tmp_path, STAGED))
    assert recipe.stages[0].manifest == str(tmp_path / "train.jsonl")
    assert recipe.teacher is not None
    assert recipe.teacher.model == "some/hub-name"
    (tmp_path / "student").mkdir()
    assert load_recipe(write(tmp_path, STAGED)).student.model == str(tmp_path / "student")


def test_overrides_reach_into_lists_and_new_tables(tmp_path):
    path = write(tmp_path, STAGED)
    recipe = load_recipe(path, ["stages.1.lr=1e-6", "support.k=4", "name=try", "stages.1.gate.at_least=0.5"])
    assert (recipe.stages[1].lr, recipe.support.k, recipe.name) == (1e-6, 4, "try")
    assert recipe.stages[1].gate.at_least == 0.5


def test_recipe_survives_json(tmp_path):
    recipe = load_recipe(write(tmp_path, STAGED))
    assert type(recipe).model_validate_json(recipe.model_dump_json()) == recipe


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        (MINIMAL + "step = 3", (), r"unknown key stages\.0\.step; did you mean stages\.0\.steps\?"),
        ("sed = 1\n" + MINIMAL, (), r"unknown key sed; did you mean seed\?"),
        (STAGED, ["stages.1.gate.patiance=2"], r"unknown key stages\.1\.gate\.patiance; did you mean .*patience\?"),
        (STAGED, ["probe.evry=2"], r"unknown key probe\.evry; did you mean probe\.every\?"),
        (MINIMAL, ["stages.0.lr=-1"], r"stages\.0\.lr: must be above 0, not -1$"),
        (MINIMAL, ["stages.3.lr=1"], r"stages has items 0 to 0, not '3'"),
        (MINIMAL, ["seed.x=1"], "seed: must be a whole number, not { x = 1 }"),
        (MINIMAL, ["student.model.x=1"], "student.model is a value, not a table"),
        (MINIMAL, ["lr"], r"expected dotted\.key=value"),
        (MINIMAL.replace('"sft"', '"rl"'), (), r'stages\.0\.type = "rl" is unknown; write one of .*"sft"'),
        (
            MINIMAL.replace('type = "sft"', 'typ = "sft"'),
            (),
            r"0\.type is missing; write one of .*type where you wrote typ",
        ),
        (STAGED, ["stages.1.gate={at_least=0.5}"], r'gate\.type is missing; write one of "all", .*, "threshold"$'),
        (
            STAGED,
            ['stages.1.gate={type="all", gates=[{type="treshold"}]}'],
            r'gates\.0\.type = .*did you mean "threshold"\?',
        ),
        (STAGED, ['stages.1.gate={type="all", gates=[{type="plateau", patiance=2}]}'], r"mean .*gates\.0\.patience\?"),
        (MINIMAL.replace('type = "sft"', 'type = "td"'), (), r"stages\.0 \(td\) needs a teacher"),
        (
            STAGED.replace("[probe]\n", "").replace('manifest = "probe.jsonl"\n', ""),
            (),
            r"stages\.1\.gate reads probes",
        ),
        (MINIMAL + '[probe]\nmanifest = "p.jsonl"', (), r"\[probe\] measures overlap with a teacher"),
        (STAGED, ["stages.1.gate.statistic=top1_agrement"], r'stages\.1\.gate: .*did you mean "top1_agreement"\?'),
        (
            STAGED,
            ["stages.1.gate.statistic=reference.vuss"],
            r'no statistic "reference\.union_size" on its states \["student"',
        ),
        (
            STAGED,
            ["stages.1.gate.at_most=0.9"],
            r"stages\.1\.gate: at_least = 0\.7 and at_most = 0\.9: .* has one level",
        ),
        (STAGED, ["probe.states=['fixed']"], 'probe: .*add "student"'),
        (STAGED, ["probe.states=[]"], r"probe\.states: must be an array of 1 or more, not \[\]"),
        (STAGED.replace('"on-policy"', '"base"'), (), "names of stages must differ"),
        (
            STAGED,
            [OBJECTIVE % '"divergence", tial = true'],
            r"unknown key stages\.2\.objective\.tial; .*objective\.tail\?",
        ),
        (
            STAGED,
            [OBJECTIVE % '"divergence", support = "vocabulary", tail = true'],
            "has no tokens outside the set",
        ),
        (STAGED, [OBJECTIVE % '"policy_gradient"'], "an average over drawn tokens; set rollout.sample = true"),
        (
            STAGED,
            [
                OBJECTIVE % '"policy_gradient"',
                "stages.2.rollout.sample=true",
                "stages.2.off_policy={fraction=0.5, states='reference'}",
            ],
            r"needs tokens that the student drew; leave off_policy out",
        ),
        (
            STAGED,
            [OBJECTIVE % '"policy_gradient"', "stages.2.rollout={sample=true, temperature=0.7}"],
            r"stages\.2\.rollout\.temperature = 0\.7, support\.temperature = 1: .*make them equal",
        ),
        ("stages = [", (), "not valid TOML"),
        ('[student]\nmodel = "x"', (), "stages is missing: "),
    ],
)
def test_mistakes_are_named(tmp_path, text, overrides, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe(write(tmp_path, text), overrides)


def test_missing_recipe():
    with pytest.raises(RecipeError, match=r"recipe not found: nowhere\.toml.*demo_matched, demo_student, demo_teacher"):
        load_recipe("nowhere.toml")
