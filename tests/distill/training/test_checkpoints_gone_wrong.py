"""States that are not a state, weights that are gone, copies under other names: named, with where the run can go on."""

import json
import re
import shutil

import pytest

from distill import resume
from distill.run.checkpoint import CheckpointError
from tests.distill.training.test_resuming import GO_BACK, cut, newest, refused, run, short, weights

__all__ = ["cut", "newest", "run", "short", "weights"]


def changed(newest, **values):
    tree = json.loads((newest / "state.json").read_text()) | values
    tree = {name: value for name, value in tree.items() if value is not ...}
    (newest / "state.json").write_text(json.dumps(tree))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"step": "4"}, "step: Input should be a valid integer"),
        ({"step": 4.0}, "step: Input should be a valid integer"),
        ({"step": True}, "step: Input should be a valid integer"),
        ({"stage_step": -1}, "stage_step: Input should be greater than or equal to 0"),
        ({"rows": {"metrics": None}}, "rows.metrics: Input should be a valid integer"),
        ({"entries": [0]}, "entries: Input should be an object"),
        ({"gate": ..., "rows": ...}, r"\(gate, rows missing\)"),
        ({"rows": {"metrics": 4}}, "rows of decisions, evaluations, probes, visits are missing"),
        ({"stage": 1}, "its stage is 1, counted from 0, and the run has 1"),
        ({"gate": {"a": 1}}, "gate: "),
        ({"gate": None}, "gate is null within a stage; without its state, the gate would begin anew"),
        ({"step": 2}, "is the state of step 2, so the folder is a copy or was renamed"),
    ],
)
def test_a_state_that_is_none(run, newest, values, words):
    changed(newest, **values)
    refused(run, CheckpointError, rf"state\.json.*{words}.*{GO_BACK}")


@pytest.mark.parametrize("content", ["{}", "[]", "null", "3"])
def test_a_state_of_nothing(run, newest, content):
    (newest / "state.json").write_text(content)
    refused(run, CheckpointError, rf"state\.json is cut short or damaged \(.*{GO_BACK}")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_file_of_the_model_that_is_gone(run, newest, weights, name):
    (newest / name).unlink()
    refused(run, CheckpointError, rf"(?s)cannot continue from step-000004: .*{GO_BACK}")
    shutil.rmtree(newest)
    assert (resume(run).model / "model.safetensors").read_bytes() == weights


def test_a_copy_under_the_name_of_a_later_step(run, newest, weights):
    copy = shutil.copytree(newest, newest.with_name("step-000050"))
    words = rf"{re.escape(str(copy))}.*is the state of step 4, so the folder is a copy .*continues from step-000004"
    refused(run, CheckpointError, words)
    shutil.rmtree(copy)
    finished = resume(run)
    assert (finished.model / "model.safetensors").read_bytes() == weights
    shutil.copytree(finished.model, copy)
    refused(run, CheckpointError, words.replace("step 4", "step 6").replace("000004", "000006"))


@pytest.mark.parametrize("folder", ["transcripts", "traces", "data_lines"])
def test_a_folder_that_is_gone_is_made_again(run, weights, folder):
    shutil.rmtree(run / folder)
    assert (resume(run).model / "model.safetensors").read_bytes() == weights
    if folder == "transcripts":
        assert {path.name[:11] for path in (run / folder).iterdir()} == {"step-000004", "step-000006"}
