"""Audio that could not be used is tried again once it was mended, and nothing is written a second time."""

import json
import shutil

import numpy as np
import pytest
import soundfile

from distill import Filters, write_manifest
from distill.data.audio import AudioError
from distill.data.manifest import Utterance
from distill.files import WriteError
from distill.models import load_recognizer
from distill.recipe import Transcription
from distill.run.process_lock import AtWorkError, at_work
from distill.teacher_data.making import _lock_and_record, journal_of, transcribe_manifest
from tests.distill.conftest import ONLY_EMPTY

TRANSCRIPTION = Transcription(max_new_tokens=4, batch_size=2)
SKIP = Filters(**ONLY_EMPTY | {"empty": "keep", "unusable_audio": "drop"})
STOP = SKIP.model_copy(update={"unusable_audio": "fail"})
RNG = np.random.default_rng(0)
RATE = 16_000


@pytest.fixture(scope="module")
def teacher(teacher_path):
    return load_recognizer(str(teacher_path))


@pytest.fixture
def audio(tmp_path):
    """Six recordings of different lengths, and whole copies of them."""
    for i in range(6):
        samples = RNG.standard_normal(RATE // 4 + 1000 * i) * 0.1
        soundfile.write(tmp_path / f"{i}.wav", samples, RATE, subtype="FLOAT")
        shutil.copy(tmp_path / f"{i}.wav", tmp_path / f"{i}.whole")
    write_manifest(tmp_path / "in.jsonl", [Utterance(f"u{i}", audio=tmp_path / f"{i}.wav") for i in range(6)])
    return tmp_path


def spoil(audio, i):
    """Samples that can be opened and not be used."""
    samples, _ = soundfile.read(audio / f"{i}.wav")
    samples[5] = np.nan
    soundfile.write(audio / f"{i}.wav", samples, RATE, subtype="FLOAT")


def shorten(audio, i):
    """A file that cannot even be opened."""
    (audio / f"{i}.wav").write_bytes((audio / f"{i}.whole").read_bytes()[:20])


def mend(audio, i):
    shutil.copy(audio / f"{i}.whole", audio / f"{i}.wav")


def write(audio, teacher, filters=SKIP):
    return transcribe_manifest(
        teacher, audio / "in.jsonl", audio / "out.jsonl", transcription=TRANSCRIPTION, filters=filters
    )


def texts(data):
    return {u.id: u.text for u in data.kept}


@pytest.mark.parametrize("damage", [spoil, shorten])
def test_what_was_mended_is_written_and_nothing_else_again(audio, teacher, damage, monkeypatch):
    damage(audio, 1)
    damage(audio, 4)
    first = write(audio, teacher)
    assert set(texts(first)) == {"u0", "u2", "u3", "u5"}
    before = journal_of(audio / "out.jsonl").read_bytes()
    mend(audio, 4)
    asked = []
    original = teacher.rollout
    monkeypatch.setattr(
        teacher, "rollout", lambda prompt, **how: asked.append(prompt.batch_size) or original(prompt, **how)
    )
    second = write(audio, teacher)
    assert set(texts(second)) == {"u0", "u2", "u3", "u4", "u5"}
    assert sum(asked) == 1
    after = journal_of(audio / "out.jsonl").read_bytes()
    assert after.startswith(before)
    assert [row["id"] for row in json.loads(after[len(before) :])] == ["u4"]
    assert texts(first).items() < texts(second).items()
    assert texts(write(audio, teacher)) == texts(second)  # a third time, nothing is asked
    mend(audio, 1)
    assert set(texts(write(audio, teacher, STOP))) == {f"u{i}" for i in range(6)}
    assert sum(asked) == 2


def test_one_that_is_still_damaged_stops_a_job_that_does_not_skip(audio, teacher):
    spoil(audio, 1)
    write(audio, teacher)
    with pytest.raises(AudioError, match=r"1\.wav.*\(--unusable-audio drop\)"):
        write(audio, teacher, STOP)


def test_one_that_was_whole_when_the_job_began_is_named(audio, teacher):
    write(audio, teacher)
    shorten(audio, 2)
    with pytest.raises(AudioError, match=r"2\.wav.*it could be read when .*out\.journal\.jsonl was begun: restore it"):
        write(audio, teacher)


def test_two_jobs_for_one_output(audio, teacher):
    lock, record = _lock_and_record(audio / "out.jsonl")
    with at_work(lock, record, "the first"):
        with pytest.raises(AtWorkError, match=r"is working on .*out\.jsonl; nothing was changed"):
            write(audio, teacher)
        assert not journal_of(audio / "out.jsonl").exists()
    write(audio, teacher)
    assert sorted(path.name for path in audio.glob("out*")) == ["out.journal.jsonl", "out.jsonl", "out.summary.json"]


def test_a_full_disk_names_the_journal_and_what_is_safe(audio, teacher):
    journal = journal_of(audio / "out.jsonl")
    write(audio, teacher)
    whole = journal.read_bytes()
    lines = whole.splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:2]))
    original = teacher.rollout

    def fill(prompt, **how):
        shutil.move(journal, audio / "kept")
        journal.symlink_to("/dev/full")
        return original(prompt, **how)

    teacher.rollout = fill
    try:
        with pytest.raises(
            WriteError, match=r"cannot write .*out\.journal\.jsonl: the disk is full; make room"
        ) as error:
            write(audio, teacher)
    finally:
        teacher.rollout = original
    assert error.value.__notes__ == [
        f"Finished batches are saved in {journal}; the same command again continues after them"
    ]
    journal.unlink()
    shutil.move(audio / "kept", journal)
    write(audio, teacher)
    assert journal.read_bytes() == whole
