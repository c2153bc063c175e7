"""How the command line ends, and that its help says so."""

import pytest

from distill.cli.exit_codes import ExitCode
from distill.recipe import Recipe
from distill.training.launch import train
from tests.distill.test_cli import as_toml, run


@pytest.mark.parametrize("verb", [(), ("train",), ("resume",), ("demo",), ("evaluate",), ("probe",)])
def test_every_help_lists_every_code(verb, capsys):
    _, out, _ = run(*verb, "--help", capsys=capsys)
    words = " ".join(out.split())
    for code in ExitCode:
        assert f"{code.value}: {code.meaning}" in words


def test_a_gate_that_never_opened_ends_a_run_with_a_code_of_its_own(texts, text_manifests, tmp_path, capsys):
    probe = {"manifest": str(text_manifests["probe"]), "every": 2, "states": ["student"], "trace_utterances": 0}
    gate = {"type": "threshold", "statistic": "top1_agreement", "at_least": 1.0}
    # For the command line's TOML, which knows no null.
    stages = [{k: v for k, v in stage.items() if k != "gate"} | {"steps": 2} for stage in texts["stages"]]
    mini = {k: v for k, v in texts.items() if k != "evaluation"} | {"probe": probe, "stages": stages}
    stages[1] |= {"gate": gate, "when_exhausted": "stop"}
    path = tmp_path / "recipe.toml"
    path.write_text(as_toml(mini))
    code, out, _ = run("train", path, "--output", tmp_path / "run", capsys=capsys)
    assert code == ExitCode.STOPPED == 4
    assert "stopped: the 2 steps of stage 'teacher data' are spent and its gate has not advanced" in out
    code, _, _ = run("resume", tmp_path / "run", capsys=capsys)  # and again, of the run that has ended
    assert code == 4
    code, _, _ = run("train", path, "--output", tmp_path / "budget", "--set", "total_steps=3", capsys=capsys)
    assert code == 4
    stages[1]["when_exhausted"] = "advance"
    path.write_text(as_toml(mini))
    code, out, _ = run("train", path, "--output", tmp_path / "on", capsys=capsys)
    assert code == ExitCode.DONE
    assert "finished" in out


def test_a_last_stage_whose_gate_never_opened_has_stopped(texts, text_manifests, tmp_path):
    probe = {"manifest": str(text_manifests["probe"]), "every": 2, "states": ["student"], "trace_utterances": 0}
    gate = {"type": "threshold", "statistic": "top1_agreement", "at_least": 1.0}
    stages = [texts["stages"][1] | {"gate": gate, "when_exhausted": "stop", "steps": 2}]
    result = train(Recipe.model_validate(texts | {"probe": probe, "stages": stages}), tmp_path / "run", quiet=True)
    assert (result.stopped, result.aborted) == (True, False)
