"""What is loaded when: names of the package on demand, and no heavy library for verbs that have no use for one."""

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import distill
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
