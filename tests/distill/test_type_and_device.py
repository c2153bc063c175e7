"""Type and device of the weights, wherever a model is loaded by name: functions and verbs do the same."""

import re

import pytest
import torch

import distill
from distill.api import usable_device
from distill.models import load_recognizer
from distill.probing import preflight as preflights
from distill.recipe import Server
from overlap.errors import UserError
from tests.distill.test_api import printed
from tests.distill.test_cli import run


@pytest.fixture
def nothing_loads(monkeypatch):
    monkeypatch.setattr("distill.models.load_recognizer", lambda *_, **__: pytest.fail("a model was loaded"))


@pytest.fixture
def half(student_path, teacher_path):
    return distill.load_pair(student_path, teacher_path, k=4, dtype="bfloat16", device="cpu")


def test_a_pair_in_bfloat16(half, student_path, teacher_path, manifests, capsys):
    for model in (half.student, half.teacher):
        assert next(model.model.parameters()).dtype == torch.bfloat16
    words = ("--student", student_path, "--teacher", teacher_path, "--manifest", manifests["probe"], "--k", 4)
    words = (*words, "--max-new-tokens", 4, "--dtype", "bfloat16", "--device", "cpu", "--json")
    probed = distill.probe(half, manifests["probe"], max_new_tokens=4, quiet=True)
    assert probed.to_dict() == printed(capsys, "probe", *words)
    assert probed.summary["forward_kl"].value > 0
    view = distill.show(half, manifests["probe"], max_new_tokens=4)
    assert view.to_dict() == printed(capsys, "show", *words)
    scores = distill.score(half, manifests["probe"], max_new_tokens=4, max_utterances=2)
    assert scores.student_logits.dtype == scores.teacher_logits.dtype == torch.bfloat16


def test_an_evaluation_in_bfloat16(student_path, manifests, capsys):
    how = {"dtype": "bfloat16", "device": torch.device("cpu")}
    found = distill.evaluate(student_path, manifests["test"], max_new_tokens=4, quiet=True, **how)
    words = ("--model", student_path, "--manifest", manifests["test"], "--max-new-tokens", 4)
    shown = printed(capsys, "evaluate", *words, "--dtype", "bfloat16", "--device", "cpu", "--json")
    assert found.score.to_dict().items() <= shown.items()


def test_a_preflight_compares_weights_of_this_type(server, served_models, manifests, monkeypatch, capsys):
    heard = []

    def load(name, **how):
        heard.append(how)
        return load_recognizer(name, **how)

    monkeypatch.setattr(preflights, "load_recognizer", load)
    teacher, url = served_models["trained"], server.url
    few = {"k": 4, "max_utterances": 1, "quiet": True, "server": Server(served_name="trained")}
    distill.preflight(teacher, manifests["probe"], teacher_url=url, dtype="bfloat16", device="cpu", **few)
    words = ("probe", "--preflight", "--teacher", teacher, "--teacher-url", url, "--served-name", "trained")
    words = (*words, "--manifest", manifests["probe"], "--k", 4, "--max-utterances", 1)
    printed(capsys, *words, "--dtype", "bfloat16", "--device", "cpu", "--json")
    assert heard == [{"dtype": "bfloat16", "device": torch.device("cpu")}] * 2


@pytest.mark.parametrize("device", ["nowhere", "meta"])
def test_devices_and_types_that_are_not_there(nothing_loads, manifests, capsys, device):
    demo = ("demo:student", "demo:teacher")
    calls = (
        lambda **how: distill.load_pair(*demo, **how),
        lambda **how: distill.evaluate("demo:student", manifests["test"], **how),
        lambda **how: distill.preflight("demo:teacher", manifests["probe"], teacher_url="http://[::1]:9", **how),
    )
    for call in calls:
        with pytest.raises(UserError, match=f"^device {device} cannot be used: .+$"):
            call(device=device)
        with pytest.raises(UserError, match=r"^dtype: expected .*'bfloat1'; did you mean \"bfloat16\"\?$"):
            call(dtype="bfloat1")
    pairs = ("--student", demo[0], "--teacher", demo[1], "--manifest", manifests["probe"])
    for words in (
        ("probe", *pairs),
        ("show", *pairs),
        ("probe", *pairs, "--preflight", "--teacher-url", "http://[::1]:9"),
        ("evaluate", "--model", demo[0], "--manifest", manifests["test"]),
    ):
        code, _, err = run(*words, "--device", device, capsys=capsys)
        assert code == 1
        assert re.fullmatch(rf"error: --device {device} cannot be used: .+\n", err)
        code, _, err = run(*words, "--dtype", "bfloat1", capsys=capsys)
        assert code == 2
        assert 'Did you mean "bfloat16"?' in err


@pytest.mark.parametrize(("current", "chosen"), [("cuda", "cuda"), ("mps", "cpu"), (None, "cpu")])
def test_an_accelerator_with_float64_is_taken(monkeypatch, current, chosen):
    found = None if current is None else torch.device(current)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: found)
    assert usable_device(None) == torch.device(chosen)
