"""Teacher transcripts: a cache that survives any interruption and serves one teacher and one set of utterances."""

import json
from dataclasses import replace

import pytest

from distill import TrainingError, read_manifest, train
from distill.audio import AudioCache
from distill.data import AudioSource
from distill.models import load_recogniser
from distill.models.speech_lm import SpeechLM
from distill.recipe import Decoding, Recipe
from distill.transcribe import teacher_transcripts, transcribe

BATCH = 4
DECODING = Decoding(max_new_tokens=6)


@pytest.fixture(scope="module")
def teacher(teacher_path):
    return load_recogniser(str(teacher_path))


@pytest.fixture(scope="module")
def source():
    return AudioSource(AudioCache())


@pytest.fixture(scope="module")
def utterances(manifests):
    """Ten: two whole batches and a short one."""
    return read_manifest(manifests["pool"])[:10]


@pytest.fixture
def write(teacher, source, utterances, tmp_path):
    """Write or resume the cache; anything may be replaced."""

    def call(**changes):
        arguments = {"teacher": teacher, "source": source, "utterances": utterances, "decoding": DECODING}
        return teacher_transcripts(tmp_path / "cache.jsonl", **arguments | {"batch_size": BATCH} | changes)

    return call


@pytest.fixture(scope="module")
def whole(teacher, source, utterances, tmp_path_factory):
    """The bytes of a cache written without interruption."""
    path = tmp_path_factory.mktemp("whole") / "cache.jsonl"
    teacher_transcripts(path, teacher, source, utterances, DECODING, batch_size=BATCH)
    return path.read_bytes()


def test_the_utterances_come_back_with_the_teachers_text_and_the_cache_says_whose(write, whole, teacher, utterances):
    written = write()
    expected = transcribe(teacher, AudioSource(AudioCache()), utterances, DECODING, batch_size=BATCH)
    assert written == [replace(utterance, text=expected[utterance.id]) for utterance in utterances]
    rows = [json.loads(line) for line in whole.splitlines()]
    assert [(row["id"], row["text"]) for row in rows] == list(expected.items())
    assert all(row["teacher"] == teacher.name and row["decoding"] == DECODING.model_dump() for row in rows)


@pytest.mark.parametrize(
    ("lines", "extra", "batches_kept"),
    [
        (0, 0, 0),  # created, nothing written
        (0, 9, 0),  # torn in the first line
        (3, 0, 0),  # part of a batch
        (4, 0, 1),
        (4, 12, 1),  # a whole batch and a torn line
        (6, 5, 1),
        (8, 0, 2),
        (9, 0, 2),  # the last, short batch half written
        (9, -1, 2),  # the last line without its line end
    ],
)
def test_an_interrupted_cache_is_completed_to_the_same_bytes(
    write, whole, tmp_path, utterances, lines, extra, batches_kept
):
    split = whole.splitlines(keepends=True)
    torn = split[lines][:extra] if extra else b""
    (tmp_path / "cache.jsonl").write_bytes(b"".join(split[:lines]) + torn)
    calls = []
    written = write(progress=lambda done, total: calls.append((done, total)))
    assert (tmp_path / "cache.jsonl").read_bytes() == whole
    assert [u.text for u in written] == [json.loads(line)["text"] for line in split]
    ends = [4, 8, 10][batches_kept:]
    assert calls == [(done, len(utterances)) for done in ends], "only the batches that were missing are written"


def test_a_complete_cache_does_not_ask_the_teacher(write, whole, tmp_path, monkeypatch):
    (tmp_path / "cache.jsonl").write_bytes(whole)
    monkeypatch.setattr(SpeechLM, "rollout", None)
    assert [u.text for u in write()] == [json.loads(line)["text"] for line in whole.splitlines()]


class TestRefused:
    """Another's transcripts are never taken for the teacher's, and never destroyed."""

    @pytest.fixture(autouse=True)
    def _cache(self, whole, tmp_path):
        path = tmp_path / "cache.jsonl"
        path.write_bytes(whole)
        yield
        assert path.read_bytes() == whole

    def test_another_teacher(self, write, teacher, monkeypatch):
        monkeypatch.setattr(teacher, "name", "someone/else")
        with pytest.raises(ValueError, match=r"cache\.jsonl:1: .*teacher is '.*', not 'someone/else'; delete the file"):
            write()

    def test_other_decoding(self, write):
        with pytest.raises(ValueError, match=r"cache\.jsonl:1: .*decoding is .*'max_new_tokens': 6.*, not .*: 7"):
            write(decoding=Decoding(max_new_tokens=7))

    def test_other_utterances(self, write, utterances):
        swapped = [*utterances[:5], utterances[6], utterances[5], *utterances[7:]]
        with pytest.raises(
            ValueError, match=rf"cache\.jsonl:6: .*id is '{utterances[5].id}', not '{utterances[6].id}'"
        ):
            write(utterances=swapped)

    def test_fewer_utterances(self, write, utterances):
        with pytest.raises(ValueError, match="holds 10 transcripts for 7 utterances; delete it"):
            write(utterances=utterances[:7])


def test_a_line_that_is_no_json_is_named(write, whole, tmp_path):
    lines = whole.splitlines(keepends=True)
    (tmp_path / "cache.jsonl").write_bytes(b"".join([*lines[:2], b"{oops\n", *lines[3:]]))
    with pytest.raises(ValueError, match=r"cache\.jsonl:3: not a line of JSON .*delete the file"):
        write()


def test_an_empty_transcript_is_kept_as_empty(write, utterances, monkeypatch):
    original = SpeechLM.decode
    monkeypatch.setattr(SpeechLM, "decode", lambda self, written: ["", *original(self, written)[1:]])
    texts = [u.text for u in write()]
    assert {0, 4, 8} <= {i for i, text in enumerate(texts) if text == ""}
    assert write() == [replace(u, text=text) for u, text in zip(utterances, texts, strict=True)]


class TestTeacherDataStage:
    """What a stage makes of empty transcripts."""

    @pytest.fixture
    def recipe(self, mini):
        del mini["stages"][2], mini["stages"][0], mini["probe"], mini["evaluation"], mini["stages"][0]["gate"]
        mini["stages"][0]["steps"] = 2
        return Recipe.model_validate(mini)

    def test_they_are_not_trained_on(self, recipe, tmp_path, monkeypatch):
        monkeypatch.setattr(SpeechLM, "decode", lambda self, written: ["one"] * (len(written.ids) - 1) + [""])
        result = train(recipe, tmp_path / "run")
        assert result.outcome == "finished"
        rows = [json.loads(line) for line in (result.path / "metrics.jsonl").read_text().splitlines()]
        # "one" is three characters and an end of text; an empty transcript would bring one position.
        assert [row["n_positions"] for row in rows] == [16, 16]

    def test_a_teacher_that_writes_nothing_stops_the_run(self, recipe, tmp_path, monkeypatch):
        monkeypatch.setattr(SpeechLM, "decode", lambda self, written: [""] * len(written.ids))
        with pytest.raises(TrainingError, match="wrote nothing for all 24 utterances of stage 'teacher data'"):
            train(recipe, tmp_path / "run")
