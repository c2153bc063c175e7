"""Teacher data: a job that survives any interruption, the files it writes, and what the filters leave of it."""

import json
import math
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import jiwer
import numpy as np
import pytest
import soundfile
import torch

import distill.teacher_data.confidence
from distill import (
    Filters,
    ManifestError,
    TeacherDataError,
    Transcription,
    read_manifest,
    train,
    write_manifest,
)
from distill.data.audio import AudioCache, AudioError, duration
from distill.data.batch import AudioSource
from distill.models import ModelError, load_recognizer
from distill.models.speech_lm import SpeechLM
from distill.recipe import Recipe, Server, Teacher
from distill.teacher_data.confidence import Transcript, transcripts
from distill.teacher_data.making import journal_of, teacher_data, transcribe_manifest
from tests.distill.conftest import ONLY_EMPTY

TRANSCRIPTION = Transcription(max_new_tokens=6, batch_size=4)
ALL = Filters(**ONLY_EMPTY | {"empty": "keep"})


@pytest.fixture(scope="module")
def teacher(teacher_path):
    return load_recognizer(str(teacher_path))


@pytest.fixture(scope="module")
def source():
    return AudioSource(AudioCache())


@pytest.fixture(scope="module")
def utterances(manifests):
    """Ten: two whole batches and a short one, in no order of duration."""
    chosen = read_manifest(manifests["pool"])[:10]
    return [chosen[i] for i in (3, 9, 0, 5, 1, 8, 2, 7, 6, 4)]


@pytest.fixture
def write(teacher, source, utterances, tmp_path):
    """Write or resume the data; anything may be replaced."""

    def call(**changes):
        arguments = {"teacher": teacher, "source": source, "utterances": utterances, "filters": ALL}
        arguments |= {"transcription": TRANSCRIPTION} | changes
        return teacher_data(tmp_path / "out.jsonl", **arguments)

    return call


@pytest.fixture(scope="module")
def whole(teacher, source, utterances, tmp_path_factory):
    """The bytes of a journal written without interruption."""
    output = tmp_path_factory.mktemp("whole") / "out.jsonl"
    teacher_data(output, teacher, source, utterances, TRANSCRIPTION, ALL)
    return journal_of(output).read_bytes()


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "out.journal.jsonl"


class TestJob:
    """The journal: batches of similar length, whole or not there."""

    def test_utterances_come_back_in_order_with_what_is_known_of_their_text(self, write, teacher, source, utterances):
        data = write()
        longest_first = sorted(utterances, key=lambda u: -duration(u))
        expected: dict[str, Transcript] = {}
        for start in (0, 4, 8):
            chosen = longest_first[start : start + 4]
            texts = transcripts(teacher, source.batch(chosen), TRANSCRIPTION)
            expected |= dict(zip((u.id for u in chosen), texts, strict=True))
        assert [u.id for u in data.kept] == [u.id for u in utterances]
        for before, after in zip(utterances, data.kept, strict=True):
            result = asdict(expected[before.id])
            assert after.text == result.pop("text")
            about = dict(after.extra["transcript"])
            assert {name: about.pop(name) for name in result} == result
            assert about.pop("tokenizer") == teacher.tokens.digest
            assert len(about.pop("weights")) == len(about.pop("text_hash")) == 32
            decoding = {"sample": False, "temperature": 1.0, "max_new_tokens": 6}
            assert about == {"teacher": teacher.name, "revision": None, "decoding": decoding}
            assert replace(after, text=before.text, extra=before.extra) == before

    @pytest.mark.parametrize(
        ("lines", "extra", "batches_kept"),
        [
            (0, 0, 0),  # created, nothing written
            (0, 9, 0),  # torn in the first line
            (1, 0, 0),
            (1, 12, 0),
            (2, 0, 1),
            (3, 5, 2),
            (3, -1, 2),  # the last line without its line end
        ],
    )
    def test_an_interrupted_one_is_completed_to_the_same_bytes(
        self, write, whole, journal, utterances, lines, extra, batches_kept
    ):
        split = whole.splitlines(keepends=True)
        torn = split[lines][:extra] if extra else b""
        journal.write_bytes(b"".join(split[:lines]) + torn)
        calls = []
        data = write(progress=lambda done, total: calls.append((done, total)))
        assert journal.read_bytes() == whole
        texts = {row["id"]: row["text"] for line in split[1:] for row in json.loads(line)}
        assert {u.id: u.text for u in data.kept} == texts
        assert calls == [(done, 10) for done in [0, 4, 8, 10][batches_kept:]], "only what was missing is written"

    def test_a_complete_one_does_not_ask_the_teacher(self, write, whole, journal, monkeypatch):
        journal.write_bytes(whole)
        monkeypatch.setattr(SpeechLM, "rollout", None)
        assert len(write().kept) == 10

    def test_draws_depend_on_seed_and_batch_alone(self, write, journal):
        sampled = TRANSCRIPTION.model_copy(update={"sample": True})
        torch.manual_seed(0)
        before = torch.get_rng_state()
        write(transcription=sampled)
        assert torch.equal(torch.get_rng_state(), before)
        drawn = journal.read_bytes()
        journal.write_bytes(b"".join(drawn.splitlines(keepends=True)[:2]))
        torch.manual_seed(7)
        write(transcription=sampled)
        assert journal.read_bytes() == drawn
        journal.unlink()
        write(transcription=sampled.model_copy(update={"seed": 1}))
        assert journal.read_bytes().splitlines()[1:] != drawn.splitlines()[1:]


class TestRefused:
    """Another's transcripts are never taken for the teacher's, and never destroyed."""

    @pytest.fixture(autouse=True)
    def _journal(self, whole, journal):
        journal.write_bytes(whole)
        yield
        assert journal.read_bytes() == whole

    def test_another_teacher(self, write, teacher, student_path):
        message = rf"journal\.jsonl:1: written by '{teacher.name}' .* settings: weights is '\w+', not '\w+'; delete it"
        with pytest.raises(ValueError, match=message):
            write(teacher=load_recognizer(str(student_path)))

    def test_another_name_is_no_other_teacher(self, write, teacher, monkeypatch):
        monkeypatch.setattr(teacher, "name", "moved/elsewhere")
        assert write().kept[0].extra["transcript"]["teacher"] == "moved/elsewhere"

    @pytest.mark.parametrize("change", [{"max_new_tokens": 7}, {"batch_size": 5}, {"batch_seconds": 3.0}, {"seed": 4}])
    def test_other_decoding_or_batches(self, write, change):
        (name, value), *_ = change.items()
        with pytest.raises(ValueError, match=rf"other settings: {name} is \S+, not {value}; delete it"):
            write(transcription=TRANSCRIPTION.model_copy(update=change))

    def test_other_utterances(self, write, utterances):
        for others in (utterances[:7], [*utterances[:9], replace(utterances[9], language="German")]):
            with pytest.raises(ValueError, match=r"journal\.jsonl:1: .*utterances is '\w+', not '\w+'"):
                write(utterances=others)

    def test_moved_audio_is_the_same(self, write, utterances, tmp_path):
        moved = [replace(u, audio=tmp_path / u.audio.name) for u in utterances]
        assert [u.text for u in write(utterances=moved).kept] == [u.text for u in write().kept]


def test_a_damaged_journal_is_named(write, whole, journal):
    lines = whole.splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:2], b"{oops\n", *lines[3:]]))
    with pytest.raises(ValueError, match=r"journal\.jsonl:3: not a line of JSON .*delete it"):
        write()
    journal.write_bytes(b"".join([*lines[:3], lines[2], *lines[3:]]))
    with pytest.raises(ValueError, match=r"journal\.jsonl:4: holds utterances \[.*\] \(4\), not \[.*\]; delete"):
        write()
    for damaged, what in (
        (b"3", "valid array"),
        (b"[3]", "0: .*"),
        (b'[{"text": ""}]', "0: id: "),
        (b'[{"id": []}]', ""),
    ):
        journal.write_bytes(b"".join([*lines[:2], damaged, b"\n", *lines[3:]]))
        with pytest.raises(ValueError, match=rf"journal\.jsonl:3: not the rows of a batch \(.*{what}.*\); delete it"):
            write()
    journal.write_bytes(b"[]\n")
    with pytest.raises(ValueError, match=r"journal\.jsonl:1: written by None under other settings: weights is None"):
        write()


class TestUnusableAudio:
    """A file that turns out to be broken in the middle of a job."""

    @pytest.fixture
    def broken(self, utterances, tmp_path):
        """The third has NaNs in it, the sixth is no audio at all."""
        samples = np.zeros(16_000, np.float32)
        samples[500:600] = np.nan
        soundfile.write(tmp_path / "nan.wav", samples, 16_000, subtype="FLOAT")
        (tmp_path / "text.wav").write_text("no audio")
        changed = list(utterances)
        changed[2] = replace(utterances[2], audio=tmp_path / "nan.wav", begin_time=0.0, end_time=1.0)
        changed[5] = replace(utterances[5], audio=tmp_path / "text.wav", begin_time=0.0, end_time=-1)
        return changed

    def test_stops_the_job_and_names_the_way_on(self, write, broken, journal):
        with pytest.raises(AudioError, match=r"text\.wav\): cannot be opened .*; or leave such utterances out"):
            write(utterances=broken)
        with pytest.raises(AudioError, match=r"nan\.wav\): has 100 samples .*\(--unusable-audio drop\)"):
            write(utterances=[*broken[:5], *broken[6:]])

    def test_is_dropped_and_counted_where_that_is_wanted(self, write, broken, journal):
        filters = ALL.model_copy(update={"unusable_audio": "drop"})
        data = write(utterances=broken, filters=filters)
        assert [u.id for u in data.dropped] == [broken[2].id, broken[5].id]
        assert "has 100 samples" in data.dropped[0].extra["transcript"]["error"]
        assert data.dropped[0].text is None
        assert len(data.kept) == 8
        count = next(f for f in data.summary.filters if f.name == "unusable_audio")
        assert count.n_dropped == 2
        assert next(f for f in data.summary.filters if f.name == "min_logprob").n_undefined == 2
        again = write(utterances=broken, filters=filters)
        assert (again.kept, again.dropped) == (data.kept, data.dropped)
        with pytest.raises(AudioError, match=r"cannot be opened"):
            write(utterances=broken)

    def test_one_that_was_skipped_stops_a_job_that_does_not_skip(self, write, broken):
        broken = [*broken[:5], *broken[6:]]
        write(utterances=broken, filters=ALL.model_copy(update={"unusable_audio": "drop"}))
        with pytest.raises(AudioError, match=r"has 100 samples .*or leave such utterances out"):
            write(utterances=broken)


WRITTEN = {
    "good": Transcript("call three five one", -0.1, 19, True),
    "silent": Transcript("", -0.2, 0, True),
    "loop": Transcript("the " * 60, -0.05, 240, False),
    "unsure": Transcript("seven hills", -1.5, 11, True),
    "foreign": Transcript("позвони", -0.2, 7, True),
    "fast": Transcript("call three five one and then stop the train at the station", -0.3, 50, True),
}
REASONS = {
    "silent": {"empty"},
    "loop": {"unfinished", "max_compression", "max_repeats", "max_characters_per_second"},
    "unsure": {"min_logprob"},
    "foreign": {"min_script_share"},
    "fast": {"max_characters_per_second"},
}


@pytest.fixture
def spoken(tmp_path):
    """A manifest of six utterances of a second, the first two with a reference."""
    soundfile.write(tmp_path / "audio.wav", np.zeros(16_000), 16_000)
    lines = [{"id": id_, "audio": "audio.wav", "language": "English", "speaker": "s1"} for id_ in WRITTEN]
    lines[0]["text"], lines[1]["text"] = "call three nine one", "stop"
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path / "in.jsonl"


@pytest.fixture
def scripted(monkeypatch):
    """A teacher that writes what is asked for."""
    calls = []

    def write(recognizer, batch, decoding):
        calls.append(len(batch.utterances))
        return [WRITTEN[utterance.id] for utterance in batch.utterances]

    monkeypatch.setattr("distill.teacher_data.job.transcripts", write)
    return calls


class TestFiles:
    """What stands on disk afterwards."""

    def test_kept_dropped_and_summary(self, spoken, scripted, teacher, tmp_path):
        output = tmp_path / "new" / "out.jsonl"
        data = transcribe_manifest(teacher, spoken, output)
        kept, dropped = read_manifest(output), read_manifest(output.with_name("out.dropped.jsonl"))
        assert [u.id for u in kept] == ["good"]
        assert {u.id: set(u.extra["transcript"]["dropped_by"]) for u in dropped} == REASONS
        assert [u.id for u in dropped] == [id_ for id_ in WRITTEN if id_ in REASONS]
        assert kept[0].text == "call three five one"
        assert kept[0].extra["reference"] == "call three nine one"
        assert kept[0].extra["speaker"] == "s1"
        assert "dropped_by" not in kept[0].extra["transcript"]
        assert "reference" not in dropped[-1].extra

        summary = json.loads(output.with_name("out.summary.json").read_text())
        assert summary == data.summary.to_dict()
        assert (summary["n"], summary["n_kept"], summary["n_dropped"]) == (6, 1, 5)
        assert summary["share_kept"] == pytest.approx(1 / 6)
        assert summary["hours"] == pytest.approx(6 / 3600)
        assert summary["hours_kept"] == pytest.approx(1 / 3600)
        assert summary["padding_share"] == 0.0
        by_filter = {name: row["n_dropped"] for name, row in summary["filters"].items()}
        assert by_filter == {name: sum(name in reasons for reasons in REASONS.values()) for name in by_filter}
        logprobs = [transcript.logprob for transcript in WRITTEN.values()]
        assert summary["filters"]["min_logprob"]["quantiles"] == pytest.approx(
            {f"{q:g}": np.quantile(logprobs, q) for q in (0.05, 0.5, 0.95)}
        )
        assert summary["filters"]["max_compression"]["n_undefined"] == 1
        assert summary["filters"]["min_script_share"]["n_undefined"] == 1
        assert summary["filters"]["min_logprob"]["setting"] == -1.0

    def test_error_rates_against_the_references_there_are(self, spoken, scripted, teacher, tmp_path):
        scores = transcribe_manifest(teacher, spoken, tmp_path / "out.jsonl").summary.scores
        everything = jiwer.wer(["call three nine one", "stop"], ["call three five one", ""])
        assert scores["all"].wer.value == pytest.approx(everything)
        assert scores["kept"].wer.value == pytest.approx(jiwer.wer("call three nine one", "call three five one"))
        assert (scores["all"].n_utterances, scores["kept"].n_utterances) == (2, 1)

    def test_other_filters_ask_the_teacher_nothing(self, spoken, scripted, teacher, tmp_path):
        output = tmp_path / "out.jsonl"
        transcribe_manifest(teacher, spoken, output)
        asked = len(scripted)
        filters = Filters(min_logprob=None, min_script_share=None, empty="keep")
        data = transcribe_manifest(teacher, spoken, output, filters=filters)
        assert len(scripted) == asked
        assert [u.id for u in data.kept] == ["good", "silent", "unsure", "foreign"]
        assert read_manifest(output)[1].text == ""
        loose = Filters(**ONLY_EMPTY | {"empty": "keep"})
        transcribe_manifest(teacher, spoken, output, filters=loose)
        assert len(read_manifest(output)) == 6
        assert not output.with_name("out.dropped.jsonl").exists(), "nothing was dropped, and the old file is gone"

    def test_teacher_data_of_teacher_data_keeps_the_reference(self, spoken, scripted, teacher, tmp_path):
        loose = Filters(**ONLY_EMPTY | {"empty": "keep"})
        transcribe_manifest(teacher, spoken, tmp_path / "first.jsonl", filters=loose)
        second = transcribe_manifest(teacher, tmp_path / "first.jsonl", tmp_path / "second.jsonl", filters=loose)
        references = [u.extra.get("reference") for u in second.kept]
        assert references == ["call three nine one", "stop", None, None, None, None]

    def test_nothing_left(self, spoken, scripted, teacher, tmp_path):
        output = tmp_path / "out.jsonl"
        transcribe_manifest(teacher, spoken, output)
        with pytest.raises(TeacherDataError, match=r"nothing is left: 0 of 6 .*min_logprob 6.*dropped\.jsonl"):
            transcribe_manifest(teacher, spoken, output, filters=Filters(min_logprob=0.0))
        assert not output.exists(), "what other filters kept is not left to be mistaken for this"
        assert len(read_manifest(output.with_name("out.dropped.jsonl"))) == 6

    def test_a_file_of_something_else_is_not_overwritten(self, spoken, teacher):
        before = spoken.read_bytes()
        with pytest.raises(TeacherDataError, match=r"in\.jsonl exists, and no journal .*choose another output"):
            transcribe_manifest(teacher, spoken, spoken)
        assert spoken.read_bytes() == before

    def test_mistakes_surface_before_the_teacher_writes(self, spoken, scripted, teacher, tmp_path):
        output = tmp_path / "out.jsonl"
        with pytest.raises(ValueError, match="no text normalizer 'none such'"):
            transcribe_manifest(teacher, spoken, output, normalizer="none such")
        with pytest.raises(ManifestError, match=r"6 lines of the data cannot be used \(or leave(.|\n)*limit of 0\.5 s"):
            transcribe_manifest(teacher, spoken, output, max_seconds=0.5)
        with pytest.raises(ModelError, match="cannot load"):
            transcribe_manifest(str(tmp_path / "no model"), spoken, tmp_path / "other.jsonl")
        (spoken.parent / "audio.wav").unlink()
        with pytest.raises(ManifestError, match=r"audio\.wav: the audio file does not exist"):
            transcribe_manifest(teacher, spoken, output)
        with pytest.raises(TeacherDataError, match=r"nothing is left: 0 of 6 .*unusable_audio 6"):
            transcribe_manifest(teacher, spoken, output, filters=Filters(unusable_audio="drop"))
        assert not scripted

    def test_the_table(self, spoken, scripted, teacher, tmp_path):
        lines = str(transcribe_manifest(teacher, spoken, tmp_path / "out.jsonl").summary).splitlines()
        assert lines[0].endswith("1 of 6 utterances kept (16.67%), 0.00 of 0.00 hours")
        rows = {line.split()[0]: line.split()[1:] for line in lines if line.startswith(("m", "e", "u"))}
        assert rows["max_characters_per_second"][:5] == ["≤", "40", "2", "33.33%", "1"]
        assert rows["min_logprob"] == ["≥", "-1", "1", "16.67%", "0", "-1.2", "-0.2", "-0.0625"]
        assert rows["empty"] == ["drop", "1", "16.67%", "0"]
        assert next(line for line in lines if line.startswith("any of them")).split()[3:] == ["5", "83.33%"]
        assert any(line.startswith("all with a reference: WER 40.00 %") for line in lines)


def test_the_data_is_a_stages_manifest_at_once(mini, teacher, manifests, tmp_path):
    output = tmp_path / "taught.jsonl"
    filters = Filters(**ONLY_EMPTY)
    data = transcribe_manifest(teacher, manifests["pool"], output, transcription=TRANSCRIPTION, filters=filters)
    assert [u.id for u in data.kept] == [u.id for u in read_manifest(manifests["pool"])]
    stage = mini["stages"][0] | {"manifest": str(output), "steps": 2}
    recipe = Recipe.model_validate(mini | {"stages": [stage], "probe": None})
    assert train(recipe, tmp_path / "run").outcome == "finished"


def test_a_copy_of_the_job_elsewhere_goes_on(write, whole, journal, teacher, utterances, tmp_path):
    """Manifests with paths of their own, and a journal that came along."""
    moved = tmp_path / "moved"
    moved.mkdir()
    for audio in {u.audio for u in utterances}:
        shutil.copy(audio, moved / audio.name)
    write_manifest(moved / "in.jsonl", [replace(u, audio=moved / u.audio.name) for u in utterances])
    (moved / "out.journal.jsonl").write_bytes(b"".join(whole.splitlines(keepends=True)[:2]))
    data = transcribe_manifest(
        teacher, moved / "in.jsonl", moved / "out.jsonl", transcription=TRANSCRIPTION, filters=ALL, max_seconds=math.inf
    )
    assert (moved / "out.journal.jsonl").read_bytes() == whole
    assert [u.audio.parent for u in data.kept] == [moved] * 10
    assert not Path(json.loads((moved / "out.jsonl").read_text().splitlines()[0])["audio"]).is_absolute()


class TestTeacherDataStage:
    """What a stage makes of what its filters drop."""

    @pytest.fixture
    def recipe(self, mini):
        del mini["stages"][2], mini["stages"][0], mini["probe"], mini["evaluation"], mini["stages"][0]["gate"]
        mini["stages"][0]["steps"] = 2
        return Recipe.model_validate(mini)

    def test_they_are_not_trained_on_and_the_run_says_why(self, recipe, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr(SpeechLM, "decode", lambda self, written: ["one"] * (len(written.ids) - 1) + [""])
        # So that labels are the texts, and not the tokens of other texts.
        unknown = distill.teacher_data.confidence.write
        monkeypatch.setattr(
            distill.teacher_data.confidence, "write", lambda *about: replace(unknown(*about), is_encoded=True)
        )
        result = train(recipe, tmp_path / "run")
        assert result.outcome == "finished"
        rows = [json.loads(line) for line in (result.path / "metrics.jsonl").read_text().splitlines()]
        # "one" is three characters, without an end since these were cut off; an empty one would bring one position.
        assert [row["n_positions"] for row in rows] == [12, 12]
        summary = json.loads((result.path / "teacher-transcripts-teacher data.summary.json").read_text())
        assert (summary["n"], summary["n_dropped"]) == (24, 1)
        assert summary["filters"]["empty"]["n_dropped"] == 1
        assert len(read_manifest(result.path / "teacher-transcripts-teacher data.dropped.jsonl")) == 1

    def test_filters_of_the_recipe_are_those_of_the_job(self, recipe, teacher, tmp_path):
        stage = recipe.stages[0]
        alone = transcribe_manifest(
            teacher,
            stage.manifest,
            tmp_path / "out.jsonl",
            transcription=stage.transcription,
            filters=Filters(**ONLY_EMPTY | {"min_logprob": -1000.0}),
        )
        logprobs = sorted(u.extra["transcript"]["logprob"] for u in alone.kept)
        middle = (logprobs[11] + logprobs[12]) / 2
        filters = Filters(**ONLY_EMPTY | {"min_logprob": middle})
        halved = recipe.model_copy(update={"stages": (stage.model_copy(update={"filters": filters}),)})
        run = train(halved, tmp_path / "run").path
        kept = read_manifest(run / "teacher-transcripts-teacher data.jsonl")
        assert [(u.id, u.text) for u in kept] == [
            (u.id, u.text) for u in alone.kept if u.extra["transcript"]["logprob"] >= middle
        ]
        assert len(kept) == 12

    def test_a_teacher_of_whom_nothing_is_left_stops_the_run(self, recipe, tmp_path, monkeypatch):
        monkeypatch.setattr(SpeechLM, "decode", lambda self, written: [""] * len(written.ids))
        with pytest.raises(
            TeacherDataError, match=r"nothing is left: 0 of 24 transcripts of .*; dropped: empty 24 \(100\.0%"
        ):
            train(recipe, tmp_path / "run")

    def test_a_served_teacher_writes_the_same(self, recipe, server, served_models, tmp_path):
        here = Teacher(model=str(served_models["trained"]))
        there = here.model_copy(update={"url": server.url, "server": Server(served_name="trained")})
        written = []
        for name, teacher in (("here", here), ("there", there)):
            run = train(recipe.model_copy(update={"teacher": teacher}), tmp_path / name).path
            written.append(read_manifest(run / "teacher-transcripts-teacher data.jsonl"))
        assert [(u.id, u.text) for u in written[1]] == [(u.id, u.text) for u in written[0]]
        local, served = ([u.extra["transcript"] for u in utterances] for utterances in written)
        assert served[0]["weights"].startswith("served as trained from ")
        # Not quite equal: a server's probabilities are over the tokens that are blocked here as well.
        assert [about["logprob"] for about in served] == pytest.approx([about["logprob"] for about in local], abs=1e-3)
