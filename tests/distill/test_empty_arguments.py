"""Empty texts where a path or a name is expected: as a path, one would be the current folder."""

import pytest

import distill
from distill.cli import main
from distill.locations import located
from overlap.errors import UserError

RECEIVED = "received an empty text"


def refused(call, words):
    with pytest.raises((UserError, FileNotFoundError), match=words) as error:
        call()
    assert "\n" not in str(error.value)


def test_functions():
    refused(lambda: distill.load_pair("", "demo:teacher"), f"student: expected .*, {RECEIVED}")
    refused(lambda: distill.evaluate("", "demo:corpus/test.jsonl"), f"model: expected .*, {RECEIVED}")
    refused(lambda: distill.evaluate("demo:student", ""), f"manifest: expected .*, {RECEIVED}")
    refused(lambda: distill.train("demo", ""), f"output: expected a string or a path, {RECEIVED}")
    refused(lambda: distill.resume(""), f"output: expected a string or a path, {RECEIVED}")
    refused(lambda: distill.load_recipe(""), f"path: expected a string or a path, {RECEIVED}")
    refused(lambda: distill.read_manifest(""), "the location is an empty text; give a path")
    refused(lambda: distill.read_utterances(""), "the location is an empty text; give a path")
    refused(lambda: located(""), "the location is an empty text; give a path")
    names = ("demo:student", "demo:teacher", "demo:corpus/base.jsonl", "demo:corpus/test.jsonl")
    for place, key in enumerate(("student", "teacher", "train", "test")):
        given = [*names[:place], "", *names[place + 1 :]]
        refused(
            lambda given=given: distill.draft_recipe(*given), f"^{key}: the (model|manifest) is an empty text; give"
        )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train", "demo", "--output", ""), "--output is an empty text; give its value"),
        (("evaluate", "--model", "", "--manifest", "x"), "--model is an empty text; give its value"),
        (("report", ""), "an argument is an empty text; give its value"),
    ],
)
def test_commands(capsys, words, said):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 1
    assert said in capsys.readouterr().err
