"""What is loaded when: names of the package on demand, and no heavy library for verbs that have no use for one."""

import ast
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import distill
import overlap
from tests.analysis.conftest import write_run

TREE = Path(distill.__file__).parents[1]
LOADED = """
import json, sys
from distill.cli import main
try:
    main(json.loads(sys.argv[1]))
except SystemExit as end:
    assert not end.code, end.code
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def loaded(*words) -> set[str]:
    """Libraries that a process has loaded after a verb."""
    command = [sys.executable, "-c", LOADED, json.dumps([str(word) for word in words])]
    done = subprocess.run(command, capture_output=True, text=True, cwd=TREE, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("words", [["--help"], ["report", "--help"]])
def test_help_loads_no_model_library_and_no_table(words):
    assert not loaded(*words) & {"transformers", "accelerate", "pandas", "matplotlib"}


WRONG_RECIPE = """
[student]
model = "demo:student"
[[stages]]
type = "sft"
name = "base"
manifest = "demo:corpus/base.jsonl"
steps = 1
learning_rate = 1e-4
"""
PAIR = ("--student", "demo:student", "--teacher", "demo:teacher", "--manifest", "gone.jsonl")
REPORTING = """
import resource, sys
from distill.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    heavy = {"torch", "transformers", "accelerate"} & set(sys.modules)
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(end.code or 0, sorted(heavy), used.ru_utime + used.ru_stime, file=sys.stderr)
"""


def without_torch(words, cwd) -> tuple[int, float, str]:
    """Exit code, seconds of CPU and what was said by a command that must not load PyTorch."""
    command = [sys.executable, "-c", REPORTING, *map(str, words)]
    environment = os.environ | {"PYTHONPATH": str(TREE), "COLUMNS": "300"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=False)
    *said, report = done.stderr.splitlines()
    code, loaded, seconds = report.replace(", ", ",").split()
    assert loaded == "[]", f"loaded {loaded}: {said}"
    return int(code), float(seconds), done.stdout + "\n".join(said)


VERBS = ("demo", "check", "train", "resume", "recipes", "probe", "show", "evaluate", "transcribe", "report", "watch")
VERBS += ("compare",)


@pytest.mark.parametrize(
    "words", [(), ("--help",), ("--version",), ("recipes",), *((verb, "--help") for verb in VERBS)]
)
def test_what_needs_no_model_takes_no_time(words, tmp_path):
    code, seconds, said = without_torch(words, tmp_path)
    assert code == 0
    assert said.strip()
    assert seconds < 1.5  # half a second, with room for a machine that does other work


@pytest.mark.parametrize("verb", VERBS)
def test_a_wrong_option_is_told_at_once(verb, tmp_path):
    code, _, said = without_torch([verb, "--manifset", "x"], tmp_path)
    assert code != 0
    assert "Error" in said


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("train", "recipe.toml", "--output", "run"), "unknown key stages.0.learning_rate"),
        (("train", "recipe.toml", "--dry-run"), "unknown key stages.0.learning_rate"),
        (("train", "gone.toml", "--output", "run"), "recipe not found: gone.toml"),
        (("check", "gone.toml"), "recipe not found: gone.toml"),
        (("train", "demo", "--output", "run", "--set", "stages.1.manifest=gone.jsonl"), "stages.1.manifest: "),
        (("train", "demo", "--dry-run", "--set", "probe.manifest=gone.jsonl"), "probe.manifest: "),
        (("train", "demo", "--output", "run", "--set", "teacher.model=./gone"), "teacher.model: "),
        (("demo", "--output", "run", "--recipe", "whisper_tiny_en"), "evaluation.manifest: "),
        (("probe", *PAIR), "--manifest: the manifest gone.jsonl does not exist"),
        (("show", *PAIR), "--manifest: the manifest gone.jsonl does not exist"),
        (("evaluate", "--model", "demo:student", "--manifest", "gone.jsonl"), "--manifest: "),
        (("evaluate", "--model", "demo:studnet", "--manifest", "demo:corpus/test.jsonl"), "did you mean demo:student?"),
        (
            ("transcribe", "--teacher", "demo:teacher", "--manifest", "gone.jsonl", "--output", "out.jsonl"),
            "--manifest",
        ),
        (("resume", "gone"), "gone holds no run"),
        (("compare", "gone"), "gone does not exist. Give the --output of `distill train`"),
        (("compare", "gone", "."), ". holds no run: resolved.json is missing. Give the --output of `distill train`"),
        (("report", "gone", "--output", "page.html"), "gone does not exist. Give the --output of `distill train`"),
        (("report", "recipe.tml", "--output", "page.html"), "recipe.tml does not exist (did you mean recipe.toml?)"),
        (("report", "recipe.toml", "--output", "gone/page.html"), "--output: there is no folder"),
        (("watch", "gone"), "gone does not exist. Give the --output of `distill train`"),
    ],
)
def test_what_is_missing_is_told_before_pytorch_is_loaded(words, expected, tmp_path):
    (tmp_path / "recipe.toml").write_text(WRONG_RECIPE)
    code, _, said = without_torch(words, tmp_path)
    assert code == 1
    assert expected in said
    assert not (tmp_path / "run").exists()


def test_the_gates_and_the_definitions_load_no_library_of_numbers():
    code = (
        "import sys, overlap, overlap.gates, overlap.definitions.page\n"
        "gate = overlap.Threshold('union_size', at_most=1.0)\n"
        "gate.read({'union_size': overlap.Estimate(2.0, 0.1, 1.8, 2.2, 10, 5, 0)}, 0)\n"
        "sys.exit(bool({'torch', 'numpy', 'scipy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=TREE, check=False).returncode == 0


def test_functions_are_not_hidden_by_the_files_that_hold_them():
    code = (
        "import overlap, overlap.vocab.coverage, overlap.statistics.sweep, overlap.statistics.measure\n"
        "from overlap import coverage, measure, sweep\n"
        "functions = overlap.coverage, overlap.sweep, overlap.measure, coverage, sweep, measure\n"
        "assert all(map(callable, functions))\n"
        "assert overlap.strata.by and overlap.other_trainers.paper and overlap.estimates.table_formatting.text_table"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=TREE, check=False).returncode == 0


def test_names_of_overlap_are_the_same_for_type_checkers_and_at_run_time():
    tree = ast.parse(Path(overlap.__file__).read_text(encoding="utf-8"))
    checked = next(node for node in tree.body if isinstance(node, ast.If))
    declared = {alias.name: node.module for node in checked.body for alias in node.names}
    assert sorted(declared) == sorted([*overlap.__all__, "__version__"])
    assert {name: f"overlap.{module}" for name, module in overlap._HOMES.items()} == {
        name: module.replace("overlap.bounds.", "overlap.") for name, module in declared.items() if module != "overlap"
    }
    assert set(overlap.__all__) <= set(dir(overlap))
    with pytest.raises(AttributeError, match="module 'overlap' has no attribute 'mesure'"):
        _ = overlap.mesure


def test_a_verb_that_reads_runs_loads_no_model_library(tmp_path):
    path = write_run(tmp_path / "run")
    assert not loaded("compare", path) & {"transformers", "accelerate", "matplotlib"}
    assert not loaded("report", path, "--output", tmp_path / "report.md") & {"transformers", "accelerate"}


def test_the_package_itself_loads_nothing():
    code = "import sys, distill; sys.exit(bool({'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=TREE, check=False).returncode == 0


def test_names_are_the_same_for_readers_type_checkers_and_at_run_time():
    tree = ast.parse(Path(distill.__file__).read_text(encoding="utf-8"))
    (checked,) = (node for node in tree.body if isinstance(node, ast.If))
    declared = {alias.name: node.module for node in checked.body for alias in node.names}
    assert sorted(declared) == sorted(distill.__all__) == sorted(distill._HOMES)
    for name, module in declared.items():
        assert getattr(distill, name) is getattr(importlib.import_module(f"distill.{module}"), name)
    assert set(distill.__all__) <= set(dir(distill))


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'distill' has no attribute 'trian'"):
        _ = distill.trian


@pytest.mark.parametrize(
    "words", [("compare", "--as", "html", "run"), ("report", "run"), ("compare",), ("watch", "run", "--every", "0")]
)
def test_wrong_values_of_options_are_told_at_once(words, tmp_path):
    code, _, said = without_torch(words, tmp_path)
    assert code == 2
    assert "Error" in said
