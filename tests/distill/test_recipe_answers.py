"""Answers to wrong recipes are true: keys that there are, in the table that was written, with values that TOML has."""

import ast
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from distill.locations import packaged
from distill.models import load_recognizer
from distill.normalize import NORMALIZERS
from distill.recipe import RecipeError, load_recipe
from distill.recipe.loading import REFERENCE
from distill.recipe.reference import page
from distill.recipe.schema_walk import places
from distill.scoring.pair import Pair, PairError
from tests.distill.test_recipe import STAGED, write

TEXT = STAGED + '[evaluation]\nmanifest = "test.jsonl"\n'
THRESHOLD = "stages.1.gate={type='threshold', statistic='top1_agreement'%s}"
LIMITS = "stages.2.gate={type='collapse', limits={%s}}"


def said(tmp_path, *overrides, text=TEXT) -> str:
    path = write(tmp_path, text)
    with pytest.raises(RecipeError) as raised:
        load_recipe(path, overrides)
    message = str(raised.value)
    assert message.startswith(f"{path}: ")
    blamed = f"--set {', --set '.join(overrides)}: "  # an override that is what is wrong
    return message.removeprefix(f"{path}: ").removeprefix(blamed).partition("\n  all fields")[0]


@pytest.mark.parametrize(
    ("key", "answer"),
    [
        ("evaluation.max_tokens", "write evaluation.max_new_tokens"),
        ("stages.1.transcription.max_tokens", "write stages.1.transcription.max_new_tokens"),
        ("stages.1.max_tokens", "write stages.1.transcription.max_new_tokens"),
        ("stages.2.max_tokens", "write stages.2.rollout.max_new_tokens"),
        ("stages.1.transcription.do_sample", "write stages.1.transcription.sample"),
        ("teacher.model_name_or_path", "write teacher.model"),
        ("student.model_name_or_path", "write student.model"),
        ("probe.dataset", "write probe.manifest"),
        ("evaluation.bs", "write evaluation.batch_size"),
        ("evaluation.eval_steps", "write evaluation.every"),
        ("checkpoint.eval_steps", "write evaluation.every"),
        ("stages.2.lora_dropout", "write student.lora.dropout"),
        ("stages.0.rollout", 'only type = "opd" has it'),
        ("stages.2.curriculum", 'only type = "sft" has it'),
        ("stages.0.filters", 'only type = "td" has it'),
        ("stages.1.gate.min_delta", 'only type = "plateau" or "saturation" has it'),
        ("stages.1.gate.gates", 'only type = "all" or "any" has it'),
    ],
)
def test_an_unknown_key_is_answered_for_its_table(tmp_path, key, answer):
    assert said(tmp_path, f"{key}=1") == f"unknown key {key}; {answer}"


def test_in_an_array_of_other_tables_no_stage_is_guessed(tmp_path):
    (line,) = said(tmp_path, "further_evaluations=[{name='b', manifest='b.jsonl', learning_rate=1}]").splitlines()
    assert line == "unknown key further_evaluations.0.learning_rate; write stages.N.lr"
    nested = "stages.1.gate={type='any', gates=[{type='fixed_steps', steps=1, learning_rate=1}]}"
    assert said(tmp_path, nested) == "unknown key stages.1.gate.gates.0.learning_rate; write stages.1.lr"


def test_no_unknown_key_is_answered_with_itself(tmp_path):
    tables = ("evaluation", "probe", "checkpoint", "student", "teacher", "stages.0", "stages.1", "stages.2")
    inner = ("stages.1.gate", "stages.1.filters", "stages.1.transcription", "stages.2.rollout", "stages.2.objective")
    known = sorted({place.rpartition(".")[2] for place in places()} - {"type"})
    path = write(tmp_path, TEXT)
    answers = {}
    for key in (f"{table}.{name}" for table in (*tables, *inner) for name in known):
        kind = ["stages.2.objective.type=divergence"] if "objective" in key else []
        try:
            load_recipe(path, [*kind, f"{key}=1"])
        except RecipeError as error:
            answers.update((key, line) for line in str(error).splitlines() if "unknown key" in line)
    assert len(answers) > 500
    circular = [key for key, line in answers.items() if line.endswith((f"; write {key}", f"mean {key}?"))]
    assert not circular


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (THRESHOLD % "", "stages.1.gate: a threshold needs a level; write at_least, or at_most where less is better"),
        (
            THRESHOLD % ", at_least=0.5, at_most=0.9",
            "stages.1.gate: at_least = 0.5 and at_most = 0.9: a threshold has one level; remove one of them, or for a "
            'value between the two write type = "all" with a threshold for each in gates',
        ),
        (
            THRESHOLD % ", at_least=0.5, release=0.6",
            "stages.1.gate: release = 0.6 is above at_least = 0.5; it is the looser level, so lower it",
        ),
        (
            THRESHOLD % ", at_most=0.5, release=0.4",
            "stages.1.gate: release = 0.4 is below at_most = 0.5; it is the looser level, so raise it",
        ),
        (
            "stages.1.gate={type='all', gates=[{type='threshold', statistic='vuss'}]}",
            "stages.1.gate.gates.0: a threshold needs a level; write at_least, or at_most where less is better",
        ),
        ("stages.1.gate={type='any', gates=[]}", "stages.1.gate.gates: must be an array of 1 or more, not []"),
        (
            LIMITS % "repetition=[3, 1]",
            "stages.2.gate: limits.repetition = [3, 1]: the lowest healthy value comes first, and the highest is above "
            "it; write [1, 3]",
        ),
        (
            LIMITS % "repetition=[2, 2]",
            "stages.2.gate: limits.repetition = [2, 2]: the lowest healthy value comes first, and the highest is above "
            'it; write "off" for one of them',
        ),
        (
            LIMITS % "repetition=['off', 'off']",
            'stages.2.gate: limits.repetition = ["off", "off"] guards nothing; write a number, or leave it out',
        ),
        (
            LIMITS % "",
            'stages.2.gate: limits is empty; write a statistic with its limits, as { repetition = ["off", 3.0] }',
        ),
        (
            LIMITS % "repetition=['none', 3.0]",
            'stages.2.gate.limits.repetition.0: must be a number or "off", not "none"',
        ),
        (LIMITS % "repetition=[1, true]", 'stages.2.gate.limits.repetition.1: must be a number or "off", not true'),
        (
            LIMITS % "repetition=['1', 3]",
            'stages.2.gate.limits.repetition.0: must be a number, not "1"; write 1 without quotes',
        ),
        ("stages.1.filters.max_repeats=0", 'stages.1.filters.max_repeats: must be at least 1 or "off", not 0'),
        (
            "stages.1.filters.max_compression=none",
            'stages.1.filters.max_compression: must be a number or "off", not "none"',
        ),
        (
            "stages.1.transcription.batch_seconds=0",
            'stages.1.transcription.batch_seconds: must be above 0 or "off", not 0',
        ),
    ],
)
def test_gates_and_limits_are_told_in_words_of_the_file(tmp_path, change, message):
    assert said(tmp_path, change) == message


def test_a_corridor_as_the_message_says(tmp_path):
    one = "{type='threshold', statistic='overlap_ratio', %s}"
    gates = f"[{one % 'at_least=0.5'}, {one % 'at_most=0.9'}]"
    gate = load_recipe(write(tmp_path, TEXT), [f"stages.1.gate={{type='all', gates={gates}}}"]).stages[1].gate
    assert gate is not None
    assert gate.build().can_advance


@pytest.mark.parametrize(
    "change",
    [
        "evaluation.normalizer=basix",
        "further_evaluations=[{name='b', manifest='b.jsonl', normalizer='basix'}]",
    ],
)
def test_an_unknown_normalizer(tmp_path, change):
    message = said(tmp_path, change)
    assert message.startswith(("evaluation.normalizer: must be one of ", "further_evaluations.0.normalizer: must be "))
    assert message.endswith('not "basix"; did you mean "basic"?')
    assert all(f'"{name}"' in message for name in NORMALIZERS)


def test_every_normalizer_is_taken_and_stands_on_the_page(tmp_path):
    row = next(line for line in page().splitlines() if line.startswith("| `normalizer`"))
    for name in NORMALIZERS:
        recipe = load_recipe(write(tmp_path, TEXT), [f"evaluation.normalizer={name}"])
        assert recipe.evaluation is not None
        assert recipe.evaluation.normalizer == name
        assert name in row.replace(",", " ").replace(".", " ").split()


@pytest.mark.parametrize("path", sorted(REFERENCE.parent.glob("*.py")), ids=lambda path: path.stem)
def test_every_field_is_written_once_with_its_meaning_below(path):
    for section in (node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.ClassDef)):
        fields = [node.target.id for node in section.body if isinstance(node, ast.AnnAssign)]
        assert len(fields) == len(set(fields)), section.name
        for before, node in itertools.pairwise(section.body):
            assert not isinstance(node, ast.Expr) or isinstance(before, ast.AnnAssign), (section.name, node.lineno)


@pytest.mark.parametrize("who", ["student", "teacher"])
def test_sets_larger_than_a_vocabulary(tmp_path, who):
    for model, tree in (
        ("student", {"vocab_size": 90 if who == "student" else 900}),
        ("teacher", {"text_config": {"vocab_size": 90 if who == "teacher" else 900}, "audio_config": {}}),
    ):
        (tmp_path / model).mkdir()
        (tmp_path / model / "config.json").write_text(json.dumps(tree))
    text = TEXT.replace("some/hub-name", "teacher")
    assert said(tmp_path, "support.k=91", text=text) == (
        f"support.k = 91: {tmp_path / who} has a vocabulary of 90 tokens; lower it"
    )
    assert load_recipe(write(tmp_path, text), ["support.k=90"]).support.k == 90
    (tmp_path / who / "config.json").write_text("{")  # whoever loads the model will say so
    assert load_recipe(write(tmp_path, text), ["support.k=91"]).support.k == 91


def test_sets_larger_than_what_transcripts_hold(student_path):
    student = load_recognizer(str(student_path))
    writable = int((~student.tokens.blocked).sum())
    assert writable < student.tokens.size
    words = rf"k = {writable + 1} \(support\.k of .* than the {writable} tokens .* of {student.tokens.size} in the voc"
    with pytest.raises(PairError, match=words):
        Pair.from_models(student, student, writable + 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("evaluation.normalizer=basix", 'evaluation.normalizer: must be one of "none", "basic"'),
        ("support.k=800", "support.k = 800: "),
    ],
)
def test_both_are_told_before_pytorch_is_loaded(change, words, tmp_path):
    code = (
        "import sys\nfrom distill.cli import main\n"
        f"try:\n    main(['train', 'demo', '--output', {str(tmp_path / 'run')!r}, '--set', {change!r}])\n"
        "finally:\n    print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "400"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout) == (1, "[]\n")
    assert words in done.stderr
    assert str(packaged("").with_name("recipes") / "demo.toml") in done.stderr
    assert not (tmp_path / "run").exists()
