import errno
import sys

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

import analysis
import distill
import overlap
from distill.cli import main
from distill.models.base import ModelError
from distill.recipe import Filters
from overlap.errors import UserError

RAISED = {
    "a mistake": UserError("field x: expected 1, received 2"),
    "a mistake of one kind": ModelError("field x: expected 1, received 2"),
    "the system's": FileNotFoundError(errno.ENOENT, "No such file or directory", "there/x.jsonl"),
    "ours": ValueError("something that nobody foresaw"),
}


def said(monkeypatch, capsys, error, *words):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("distill.cli.training.shipped_recipes", fail)
    with pytest.raises(SystemExit) as ended:
        main(["recipes", *words])
    return ended.value.code, capsys.readouterr().err


@pytest.mark.parametrize("kind", ["a mistake", "a mistake of one kind"])
def test_a_users_mistake_is_one_line(monkeypatch, capsys, kind):
    code, words = said(monkeypatch, capsys, RAISED[kind])
    assert (code, words) == (1, "error: field x: expected 1, received 2\n")


def test_what_the_system_refuses_begins_with_the_file(monkeypatch, capsys):
    code, words = said(monkeypatch, capsys, RAISED["the system's"])
    assert (code, words) == (1, "error: there/x.jsonl: No such file or directory\n")


def test_anything_else_is_not_taken_for_a_users_mistake(monkeypatch, capsys):
    with pytest.raises(ValueError, match="nobody foresaw"):
        said(monkeypatch, capsys, RAISED["ours"])


class _Own(BaseModel):
    number: int


@pytest.mark.parametrize("check", [lambda: TypeAdapter(int).validate_python("x"), lambda: _Own.model_validate({})])
def test_another_models_error_is_not_taken_for_a_recipes(monkeypatch, capsys, check):
    with pytest.raises(ValidationError) as error:
        check()
    with pytest.raises(ValidationError) as passed:
        said(monkeypatch, capsys, error.value)
    assert passed.value is error.value


def test_a_recipes_error_is_explained(monkeypatch, capsys):
    with pytest.raises(ValidationError) as error:
        Filters.model_validate({"novelty": 1})
    code, words = said(monkeypatch, capsys, error.value)
    assert code == 1
    assert words.startswith("error: unknown key novelty; ")


def test_out_of_memory_has_the_verbs_own_remedy(monkeypatch, capsys):
    assert said(monkeypatch, capsys, MemoryError()) == (1, "error: out of memory\n")
    for verb, remedy in (("resume", "lower the stage's micro_batch_size"), ("evaluate", "lower --batch-size")):
        monkeypatch.setattr(sys.modules["distill.cli.app"], "app", raising(MemoryError("8 GiB")))
        with pytest.raises(SystemExit):
            main([verb])
        assert f"error: out of memory: 8 GiB\n{remedy}" in capsys.readouterr().err


def raising(error):
    def fail(*_, **__):
        raise error

    return fail


def test_debug_shows_the_traceback_as_well(monkeypatch, capsys):
    code, words = said(monkeypatch, capsys, RAISED["a mistake"], "--debug")
    assert code == 1
    assert "Traceback (most recent call last)" in words
    assert words.endswith("error: field x: expected 1, received 2\n")


def test_one_of_several_processes_speaks(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    assert said(monkeypatch, capsys, RAISED["a mistake"]) == (1, "")


@pytest.mark.parametrize(
    "error",
    [
        distill.LogitsError,
        distill.ManifestError,
        distill.RecipeError,
        distill.TeacherDataError,
        distill.TrainingError,
        ModelError,
    ],
)
def test_errors_that_a_user_can_mend_have_one_base(error):
    assert issubclass(error, UserError)
    assert issubclass(UserError, ValueError)


def test_the_library_and_the_analysis_raise_it_too(tmp_path):
    with pytest.raises(UserError, match="at_least"):
        overlap.Threshold("top1_agreement")
    (tmp_path / "resolved.json").write_text("{}")
    with pytest.raises(UserError, match="recipe"):
        analysis.load(tmp_path)
