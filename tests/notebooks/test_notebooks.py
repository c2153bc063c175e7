"""The worked studies run from their sources without error or noise, and what is committed is what the sources say."""

import re

import jupytext
import nbformat
import pytest

from tests.notebooks.executed import SOURCES, WIDGET, executed

LARGEST = 1.5e6  # bytes of a committed notebook
FACES = {"distill", "overlap", "overlap.definitions", "overlap.gates"}
FACES |= {"analysis", "analysis.figures", "analysis.inference", "analysis.report"}
PARTS = {"distill.data.audio", "distill.data.batch", "distill.locations"}
"""What a trainer of one's own needs to make batches of the demo's audio, which no function does."""

by_name = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)


def outputs(notebook):
    return [(cell, output) for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


OF_THE_DISK = "mtime may not be reliable on this filesystem"
"""What transformers says where two checkpoints of a Trainer are written within the resolution of file times."""


def noise(notebook):
    """What a reader should not find: errors, warnings, anything on standard error."""
    return [
        (cell.source[:200], output.get("text", output.get("traceback")))
        for cell, output in outputs(notebook)
        if output.output_type == "error" or (output.get("name") == "stderr" and OF_THE_DISK not in output["text"])
    ]


def test_there_are_four():
    assert len(SOURCES) == 4


@by_name
def test_committed_pair_agrees(source):
    written = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    nbformat.validate(written)
    said = [(cell.cell_type, cell.source) for cell in jupytext.read(source).cells]
    assert [(cell.cell_type, cell.source) for cell in written.cells] == said
    assert all(cell.execution_count for cell in written.cells if cell.cell_type == "code")
    assert sum("image/png" in o.get("data", {}) or "text/html" in o.get("data", {}) for _, o in outputs(written)) >= 3
    assert not noise(written)
    assert not any(WIDGET in output.get("data", {}) for _, output in outputs(written))
    assert source.with_suffix(".ipynb").stat().st_size < LARGEST


@by_name
def test_imports_are_those_of_users(source):
    found = set(re.findall(r"^(?:from|import) ((?:distill|overlap|analysis)[.\w]*)", source.read_text("utf-8"), re.M))
    assert found <= FACES | (PARTS if source.stem == "gates_in_your_trainer" else set())


@by_name
def test_runs(source, tmp_path):
    found = executed(source, tmp_path)
    assert not noise(found)
    committed = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    kinds = [[(cell.source, output.output_type) for cell, output in outputs(book)] for book in (found, committed)]
    assert kinds[0] == kinds[1]
