"""Arguments that the Python functions cannot take: one message names the argument, what is expected, what was given."""

import inspect
import re

import numpy as np
import pandas as pd
import pytest

import distill
from distill.recipe import Server
from overlap.errors import UserError


@pytest.fixture(scope="module")
def pair(student_path, teacher_path):
    return distill.load_pair(student_path, teacher_path, k=np.int64(4))  # NumPy's whole numbers are some as well


MODEL = "a string, a path or Recognizer"
MANIFEST = "a string, a path or a list of utterances"
PAIR = "Pair or a function"
STATES = '"student", "teacher" or "reference"'


def refused(function, *args, words, **kwargs):
    with pytest.raises(UserError, match=re.escape(words)) as error:
        function(*args, **kwargs)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("function", [distill.show, distill.score])
@pytest.mark.parametrize(
    ("states", "words"),
    [
        ("own", f"states: expected {STATES}, received 'own'"),
        ("fixed", f"states: expected {STATES}, received 'fixed'"),
        ("studnet", "received 'studnet'; did you mean \"student\"?"),
    ],
)
def test_states_that_are_none_are_not_the_students(pair, manifests, function, states, words):
    refused(function, pair, manifests["probe"], states=states, words=words)


@pytest.mark.parametrize(
    ("models", "options", "words"),
    [
        ((None, "demo:teacher"), {}, f"student: expected {MODEL}, received None"),
        ((3, "demo:teacher"), {}, f"student: expected {MODEL}, received 3"),
        (("demo:student", None), {}, "teacher: expected a string, a path, Recognizer or ServedTeacher, received None"),
        ((), {"k": "8"}, "k: expected a whole number, received '8'"),
        ((), {"k": None}, "k: expected a whole number, received None"),
        ((), {"k": 2.5}, "k: expected a whole number, received 2.5"),
        ((), {"k": True}, "k: expected a whole number, received True"),
        ((), {"chat_template_kwargs": "x"}, "chat_template_kwargs: expected a dictionary or None, received 'x'"),
        ((), {"prompt_format": "chatt"}, 'prompt_format: expected "auto", "chat", "plain" or None, received'),
        ((), {"teacher_url": 3}, "teacher_url: expected a string or None, received 3"),
        ((), {"server": "x"}, "server: expected Server or None, received 'x'"),
    ],
)
def test_a_pair(models, options, words):
    refused(distill.load_pair, *(models or ("demo:student", "demo:teacher")), **options, words=words)


@pytest.mark.parametrize("function", [distill.probe, distill.show, distill.score])
def test_no_pair(manifests, pair, function):
    place = str(manifests["probe"])
    for wrong in (None, "demo:student", pair.student, 3):
        refused(function, wrong, place, words=f"pair: expected {PAIR}, received ")
    refused(function, lambda: 3, place, words="pair, from the function given: expected Pair, received 3")
    wanted = MANIFEST if function is not distill.show else "Utterance, a string, a path or a list of utterances"
    for wrong in (None, 3, ["a"], [{"audio": "x.wav"}], pair, iter(())):
        refused(function, pair, wrong, words=f"manifest: expected {wanted}, received ")


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"batch_size": 1.5}, "batch_size: expected a whole number, received 1.5"),
        ({"max_utterances": 1.5}, "max_utterances: expected a whole number or None, received 1.5"),
        ({"max_utterances": True}, "max_utterances: expected a whole number or None, received True"),
        ({"max_seconds": "9"}, "max_seconds: expected a number, received '9'"),
        ({"temperature": "1"}, "temperature: expected a number, received '1'"),
        ({"traced": "a"}, "traced: expected a whole number or None, received 'a'"),
        ({"traced": -1}, "traced = -1: must be at least 0; None traces all"),
        ({"observer": 3}, "observer: expected Observer or None, received 3"),
        ({"quiet": "no"}, "quiet: expected True or False, received 'no'"),
    ],
)
def test_options_of_a_probe(pair, manifests, option, words):
    refused(distill.probe, pair, manifests["probe"], **option, words=words)


def test_an_empty_list_to_show(pair):
    refused(distill.show, pair, [], words="the list of utterances holds no utterance; give at least one")


def test_a_list_to_show_is_named_as_one(pair, manifests):
    utterances = distill.read_manifest(manifests["probe"])[:2]
    words = f"the list of utterances has no utterance 'nope'; its first is {utterances[0].id!r}"
    refused(distill.show, pair, utterances, "nope", words=words)
    refused(distill.show, pair, str(manifests["probe"]), "nope", words=f"{manifests['probe']} has no utterance 'nope'")


@pytest.mark.parametrize(
    ("section", "words"),
    [
        (lambda: distill.Filters(nope=1), "unknown key nope; the keys of Filters are empty, max_characters_per_second"),
        (lambda: distill.Filters(max_repeat=1), "unknown key max_repeat; did you mean max_repeats?"),
        (
            lambda: distill.Filters(max_repeats=0, min_logprob="x"),
            'max_repeats: must be at least 1 or "off", not 0; min_logprob: must be a number or "off", not "x"',
        ),
        (lambda: distill.Filters(min_characters_per_second=50), "min_characters_per_second = 50 is above max_charact"),
        (lambda: distill.Transcription(batch_size=0), "batch_size: must be at least 1, not 0"),
        (lambda: distill.Recipe(student={"modl": "x"}, stages=[]), "unknown key student.modl; did you mean student.mo"),
        (lambda: Server(concurency=1), "unknown key concurency; did you mean concurrency?"),
    ],
)
def test_sections_that_are_made_in_python(section, words):
    refused(section, words=words)


def test_numbers_of_numpy_are_some_for_sections():
    assert distill.Transcription(batch_size=np.int64(4)) == distill.Transcription(batch_size=4)


def test_one_model(pair, manifests, tmp_path):
    pool, output = manifests["pool"], tmp_path / "out.jsonl"
    for wrong in (None, pair):
        refused(distill.evaluate, wrong, pool, words="model: expected a string, a path, Recognizer or ServedTeacher, ")
    frame = pd.DataFrame({"audio": ["x.wav"] * 9})
    refused(distill.evaluate, "demo:student", frame, words=f"manifest: expected {MANIFEST}, received a DataFrame")
    refused(distill.evaluate, "demo:student", pool, normalizer=None, words="normalizer: expected a string, received")
    refused(distill.transcribe, "demo:teacher", pool, None, words="output: expected a string or a path, received None")
    refused(distill.transcribe, None, pool, output, words="teacher: expected a string, a path, Recognizer, Teacher or ")
    for option, kind in (("filters", "Filters"), ("transcription", "Transcription")):
        words = f"{option}: expected {kind} or None, received {{'a': 1}}"
        refused(distill.transcribe, "demo:teacher", pool, output, **{option: {"a": 1}}, words=words)
    words = "teacher_url: expected a string, received None"
    refused(distill.preflight, "demo:teacher", pool, teacher_url=None, words=words)
    assert not output.exists()


def test_runs_and_recipes(tmp_path):
    path = tmp_path / "run"
    for wrong in (None, 3):
        refused(distill.train, wrong, path, words=f"recipe: expected Recipe, a string or a path, received {wrong}")
        refused(distill.train, "demo", wrong, words=f"output: expected a string or a path, received {wrong}")
        refused(distill.resume, wrong, words=f"output: expected a string or a path, received {wrong}")
        refused(distill.load_recipe, wrong, words=f"path: expected a string or a path, received {wrong}")
        refused(distill.dry_run, wrong, words=f"recipe: expected Recipe, received {wrong}")
    refused(distill.load_recipe, "demo", "seed=1", words="overrides: expected a list of strings, received 'seed=1'")
    refused(distill.draft_recipe, None, None, None, None, words="student: expected a string, received None")
    assert not path.exists()


def test_a_function_checked_is_the_same_to_its_readers():
    assert next(iter(inspect.signature(distill.probe).parameters)) == "pair"
    assert distill.probe.__doc__.startswith("Measure support overlap")
    with pytest.raises(TypeError, match=r"load_pair\(\) missing 1 required positional argument: 'teacher'"):
        distill.load_pair("demo:student")
