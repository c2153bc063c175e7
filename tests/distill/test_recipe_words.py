"""What is said of a wrong recipe: every mistake once, in TOML's words, with the key to write and the page of fields."""

import math
import re

import pytest

from distill.recipe import Recipe, RecipeError, load_recipe
from distill.recipe.hints import ASIDE, USUAL
from distill.recipe.loading import REFERENCE
from distill.recipe.reference import page
from distill.recipe.schema_walk import places
from distill.recipe.toml import in_toml
from tests.distill.test_recipe import MINIMAL, STAGED, write


def said(tmp_path, text, *overrides) -> list[str]:
    """The lines of what is said, without what is blamed (the file or the assignments) and the page's name, which is
    said of unknown keys alone."""
    path = write(tmp_path, text)
    with pytest.raises(RecipeError) as raised:
        load_recipe(path, overrides)
    assigned = ", ".join(f"--set {one}" for one in overrides)
    lines = str(raised.value).removeprefix(f"{path}: ").removeprefix(f"{assigned}: ").split("\n  ")
    if any(line.startswith("unknown key ") for line in lines):
        assert lines.pop() == f"all fields: {REFERENCE}"
    assert "all fields" not in "".join(lines)
    return lines


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("stages.0.lr=fast", 'stages.0.lr: must be a number, not "fast"'),
        ("stages.0.lr='1e-4'", 'stages.0.lr: must be a number, not "1e-4"'),
        ("stages.0.lr=true", "stages.0.lr: must be a number, not true"),
        ("stages.0.lr=0.0", "stages.0.lr: must be above 0, not 0.0"),
        ("stages.0.lr=nan", "stages.0.lr: must be a finite number, not nan"),
        ("stages.0.clip=inf", "stages.0.clip: must be a finite number, not inf"),
        ("stages.0.weight_decay=-0.1", "stages.0.weight_decay: must be at least 0, not -0.1"),
        ("stages.0.steps=0", "stages.0.steps: must be at least 1, not 0"),
        ("stages.0.steps=-5", "stages.0.steps: must be at least 1, not -5"),
        ("stages.0.steps=2.5", "stages.0.steps: must be a whole number, not 2.5"),
        ("stages.0.steps=true", "stages.0.steps: must be a whole number, not true"),
        ('stages.0.steps="10"', 'stages.0.steps: must be a whole number, not "10"; write 10 without quotes'),
        ("stages.0.batch_size=-4", "stages.0.batch_size: must be at least 1, not -4"),
        ("stages.0.micro_batch_size=0", "stages.0.micro_batch_size: must be at least 1, not 0"),
        ("stages.0.warmup_steps=-1", "stages.0.warmup_steps: must be at least 0, not -1"),
        ("stages.0.betas=[0.9, 1.0]", "stages.0.betas.1: must be below 1, not 1.0"),
        ("stages.0.betas=[0.9]", "stages.0.betas: must have 2 items or more, not [0.9]"),
        ("stages.0.betas=[0.9, 0.9, 0.9]", "stages.0.betas: must be an array of at most 2, not [0.9, 0.9, 0.9]"),
        ("stages.0.betas=0.9", "stages.0.betas: must be an array, not 0.9"),
        ("stages.0.name=3", 'stages.0.name: must be a string, not 3; write "3"'),
        ('stages.0.name=""', 'stages.0.name: must be a string of 1 or more letters, not ""'),
        ('stages.0.manifest=""', 'stages.0.manifest: must be a string of 1 or more letters, not ""'),
        (
            "stages.0.schedule=cosin",
            'stages.0.schedule: must be one of "constant", "cosine", "linear", not "cosin"; did you mean "cosine"?',
        ),
        ("stages.0.curriculum=3", "stages.0.curriculum: must be a table, not 3"),
        (
            'stages.0.augment={type="noise"}',
            'stages.0.augment: must be an array, not { type = "noise" }; '
            "write its header in double brackets, such as [[stages]]",
        ),
        ("stages=[]", "stages: must be an array of 1 or more, not []"),
        (
            "student.from_scratch=yes",
            'student.from_scratch: must be true or false, not "yes"; write true without quotes',
        ),
        ('student.model=""', 'student.model: must be a string of 1 or more letters, not ""'),
        ("probe.every=0", "probe.every: must be at least 1, not 0"),
        ("probe.states=student", 'probe.states: must be an array, not "student"; write ["student"]'),
        ("support.k=0", "support.k: must be at least 1, not 0"),
        ("support.temperature=0", "support.temperature: must be above 0, not 0"),
        ("stages.2.rollout.temperature=-1", "stages.2.rollout.temperature: must be above 0, not -1"),
        ("stages.2.rollout.max_new_tokens=0", "stages.2.rollout.max_new_tokens: must be at least 1, not 0"),
        ("stages.1.transcription.seed=-1", "stages.1.transcription.seed: must be at least 0, not -1"),
        ("stages.1.gate.patience=0", "stages.1.gate.patience: must be at least 1, not 0"),
        ("stages.1.gate.at_least=nan", "stages.1.gate.at_least: must be a finite number, not nan"),
        ("seed=-1", "seed: must be at least 0, not -1"),
        ("seed=9223372036854775808", "seed: must be at most 9223372036854775807, not 9223372036854775808"),
        ("total_steps=0", "total_steps: must be at least 1, not 0"),
        ("audio.max_seconds=nan", "audio.max_seconds: must be a finite number, not nan"),
    ],
)
def test_a_wrong_value_is_one_line(tmp_path, change, line):
    assert said(tmp_path, STAGED, change) == [line]


def test_what_is_missing_is_said_with_its_meaning(tmp_path):
    assert said(tmp_path, MINIMAL.replace("steps = 10", "")) == [
        "stages.0.steps is missing: Largest number of steps of the stage."
    ]


def test_a_wrong_assignment_is_blamed_and_not_the_file(tmp_path):
    path = write(tmp_path, MINIMAL)
    for text, overrides, words in (
        (MINIMAL, ["seed=1", "stages.0.lr=abc"], f"{path}: --set stages.0.lr=abc: stages.0.lr: must be a number, not "),
        (MINIMAL, ["student={modle=1}"], f"{path}: --set student={{modle=1}}: student.model is missing: "),
        ("sed = 1\n" + MINIMAL, ["stages.0.lr=abc"], f"{path}: --set stages.0.lr=abc: "),
        ("sed = 1\n" + MINIMAL, ["seed=1"], f"{path}: unknown key sed; "),
    ):
        with pytest.raises(RecipeError) as error:
            load_recipe(write(tmp_path, text), overrides)
        assert str(error.value).startswith(words)


def test_a_gate_without_a_statistic(tmp_path):
    with pytest.raises(RecipeError, match=r"stages\.1\.gate\.statistic is missing: A name of `overlap/STATISTICS"):
        load_recipe(write(tmp_path, STAGED), ['stages.1.gate={type="threshold", at_least=0.5}'])


def test_two_mistakes_are_two_lines(tmp_path):
    assert len(said(tmp_path, STAGED, "stages.0.lr=-1", "stages.2.steps=0", "seed=-1")) == 3


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("stages.0.learning_rate=1e-4", "write stages.0.lr"),
        ("learning_rate=1e-4", "write stages.N.lr"),
        ("k=16", "write support.k"),
        ("stages.1.k=16", "write support.k"),
        ("top_k=16", "write support.k"),
        ("stages.2.max_new_tokens=9", "write stages.2.rollout.max_new_tokens"),
        ("stages.1.max_new_tokens=9", "write stages.1.transcription.max_new_tokens"),
        ("stages.2.temperature=0.7", "write stages.2.rollout.temperature"),
        ("stages.2.tail=true", "write stages.2.objective.tail"),
        ("stages.2.lmbda=0.5", "write stages.2.off_policy.fraction (off-policy share = 1 − lmbda)"),
        ("stages.0.per_device_train_batch_size=8", "write stages.0.batch_size"),
        (
            "stages.0.num_train_epochs=3",
            "write stages.0.steps (in steps: epochs × utterances / batch_size)",
        ),
        ("stages.0.max_grad_norm=1.0", "write stages.0.clip"),
        ("stages.0.lr_scheduler_type=linear", "write stages.0.schedule"),
        ("report_to=wandb", "write tracking.trackers"),
        ("save_steps=10", "write checkpoint.every"),
        ("model_name_or_path=x", "write student.model"),
        ("bf16=true", 'write precision ("bf16" or "no")'),
        ("student.lora_r=8", "write student.lora.rank"),
        ("model=x", "write student.model or teacher.model"),
        ("probe.evry=2", "did you mean probe.every?"),
        ("stages.0.leraning_rate=2", "remove it"),
        ("audio.sampling=16000", "the keys of audio are cache_mib, check, max_seconds, unusable"),
    ],
)
def test_an_unknown_key_is_answered_with_the_right_one(tmp_path, change, line):
    assert said(tmp_path, STAGED, change) == [f"unknown key {change.partition('=')[0]}; {line}"]


def test_hints_name_keys_that_there_are():
    assert set(USUAL) <= set(places())
    assert set(ASIDE) <= {name for names in USUAL.values() for name in names}
    ours = {place.rpartition(".")[2] for place in places()}
    assert not {name for names in USUAL.values() for name in names} & ours


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        ("statistic='top1_agreement', at_least=1.5", "at_least = 1.5: top1_agreement lies between 0 and 1"),
        ("statistic='top1_agreement', at_least=85", "at_least = 85: "),
        ("statistic='overlap_ratio', at_most=-0.1", "at_most = -0.1: overlap_ratio lies between 0 and 1"),
        ("statistic='union_size', at_least=65", "at_least = 65: union_size lies between 0 and 64"),
        ("statistic='fixed.intersection_size', at_least=33", "fixed.intersection_size lies between 0 and 32"),
        ("statistic='jensen_shannon', at_least=0.7", "jensen_shannon lies between 0 and 0.693"),
    ],
)
def test_a_level_that_no_reading_can_meet_is_refused(tmp_path, gate, message):
    (line,) = said(tmp_path, STAGED, f"stages.1.gate={{type='threshold', {gate}}}")
    assert line.startswith("stages.1.gate: ")
    assert message in line


@pytest.mark.parametrize("gate", ["statistic='top1_agreement', at_least=1.0", "statistic='union_size', at_most=64"])
def test_a_level_at_the_end_of_the_range_is_taken(tmp_path, gate):
    load_recipe(write(tmp_path, STAGED), [f"stages.1.gate={{type='threshold', {gate}}}"])


def test_one_probed_utterance_under_a_gate_that_needs_intervals(tmp_path):
    (line,) = said(tmp_path, STAGED, "probe.max_utterances=1")
    assert line.startswith("probe.max_utterances = 1: stages.1.gate needs intervals")
    load_recipe(write(tmp_path, STAGED), ["probe.max_utterances=1", "stages.1.gate.on=value"])
    either = "{type='any', gates=[{type='fixed_steps', steps=5}, {type='plateau', statistic='union_size', patience=1}]}"
    load_recipe(write(tmp_path, STAGED), ["probe.max_utterances=1", f"stages.1.gate={either}"])


def test_an_open_side_of_a_limit_can_be_written(tmp_path):
    limits = "{type='collapse', limits={repetition=['off', 3.0]}}"
    gate = load_recipe(write(tmp_path, STAGED), [f"stages.2.gate={limits}"]).stages[2].gate
    assert gate is not None
    assert gate.build().parameters()["limits"] == {"repetition": [None, 3.0]}


@pytest.mark.parametrize("text", ["stages = [", "\x00", STAGED.replace("= 30", "= -30")])
def test_other_errors_than_unknown_keys_are_one_line(tmp_path, text):
    assert len(said(tmp_path, text)) == 1
    with pytest.raises(RecipeError, match=r"^recipe not found: nowhere\.toml.*$"):
        load_recipe("nowhere.toml")


def test_an_unknown_key_names_the_page_of_fields(tmp_path):
    with pytest.raises(
        RecipeError, match=rf"unknown key stages\.0\.lrr; .*\n  all fields: {re.escape(str(REFERENCE))}$"
    ):
        load_recipe(write(tmp_path, STAGED), ["stages.0.lrr=1"])


def test_the_page_of_fields_is_up_to_date():
    assert REFERENCE.read_text("utf-8") == page(), "run `python -m distill.recipe > distill/recipe/RECIPES.md`"


def test_the_page_has_every_field_with_a_meaning():
    rows = [line for line in page().splitlines() if line.startswith("| `")]
    keys = {line.split("`")[1] for line in rows}
    assert keys >= {place.rpartition(".")[2] for place in places()}
    assert all(line.rsplit("|", 2)[1].strip() for line in rows if not line.startswith("| `type`"))
    assert "None" not in page()


def test_the_smallest_recipe_of_the_page_is_one(tmp_path):
    text = page().partition("```toml\n")[2].partition("```")[0]
    assert isinstance(load_recipe(write(tmp_path, text)), Recipe)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        ('a"b', '"a\\"b"'),
        ([1, 2.5, "x"], '[1, 2.5, "x"]'),
        ({"a": [False]}, "{ a = [false] }"),
        ({}, "{}"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
    ],
)
def test_values_are_written_as_toml_writes_them(value, text):
    import tomllib

    assert in_toml(value) == text
    back = tomllib.loads(f"value = {text}")["value"]
    assert back == value or (math.isnan(back) and math.isnan(value))
