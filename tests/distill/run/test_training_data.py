"""What a model was trained on is known by the contents of audio files and by time, whatever they are called."""

import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given
from hypothesis import strategies as st

from distill import Utterance
from distill.data.audio import AudioError
from distill.data.stored_audio import StoredAudio
from distill.run.training_data import BLOCK_BYTES, FILE, AudioIdentities, TrainingData, read_training_data

SOURCE = {"recipe": "r"}


def wav(path: Path, seed: int, seconds: float = 2.0) -> Path:
    sf.write(path, np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * 16_000)), 16_000)
    return path


def trained_on(*utterances: Utterance) -> TrainingData:
    return TrainingData().plus(utterances, AudioIdentities(), SOURCE)


def test_copies_links_other_names_and_stored_audio_are_the_same(tmp_path):
    original = wav(tmp_path / "a.wav", 0)
    (tmp_path / "deeper").mkdir()
    copy = Path(shutil.copy(original, tmp_path / "deeper" / "b.wav"))
    (tmp_path / "link.wav").symlink_to(original)
    os.link(original, tmp_path / "hard.wav")
    stored = StoredAudio("table:0", original.stat().st_size, lambda: io.BytesIO(original.read_bytes()))
    places = [
        original,
        copy,
        tmp_path / "link.wav",
        tmp_path / "hard.wav",
        tmp_path / "deeper" / ".." / "a.wav",
        stored,
    ]
    data = trained_on(Utterance("x", original))
    copies = [Utterance(f"{i}", place) for i, place in enumerate(places)]
    assert data.count_seen(copies, AudioIdentities()) == len(places)
    assert data.count_seen([Utterance("x", wav(tmp_path / "c.wav", 1))], AudioIdentities()) == 0


@pytest.mark.parametrize("place", [0.0, 0.5, 0.999])
def test_long_files_that_differ_in_one_of_the_hashed_blocks_are_different(tmp_path, place):
    content = bytearray(np.random.default_rng(0).bytes(10 * BLOCK_BYTES))
    (tmp_path / "a").write_bytes(content)
    content[int(place * len(content))] ^= 1
    (tmp_path / "b").write_bytes(content)
    (tmp_path / "c").write_bytes(content + b"\0")
    identities = AudioIdentities()
    assert len({identities(tmp_path / name) for name in "abc"}) == 3


@pytest.mark.parametrize(
    ("begin", "end", "heard"),
    [
        (1.0, 2.0, 1),  # the same cut
        (1.4, 1.6, 1),  # inside
        (0.0, -1, 1),  # the whole file, in which it lies
        (1.9, 2.5, 1),  # a tenth of a second of it
        (2.0, 2.9, 0),  # the next
        (1.98, 2.9, 0),  # the next, by rounded times
        (0.0, 1.0, 0),  # the one before
        (2.9, 3.2, 1),  # begins before the second stretch
        (4.0, -1, 0),
    ],
)
def test_other_cuts_of_the_same_file_are_told_by_time(tmp_path, begin, end, heard):
    path = wav(tmp_path / "a.wav", 0, 5.0)
    data = trained_on(
        Utterance("a", path, begin_time=1.0, end_time=2.0), Utterance("b", path, begin_time=3, end_time=4)
    )
    assert data.count_seen([Utterance("q", path, begin_time=begin, end_time=end)], AudioIdentities()) == heard


stretches = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 10)).map(lambda s: (s[0] / 2, (s[0] + s[1]) / 2)),
    min_size=1,
    max_size=8,
)


@given(stretches, stretches)
def test_counts_are_those_of_comparing_every_pair(known, asked):
    def identity(audio):
        return "one"

    def utterances(cuts):
        return [Utterance(f"{i}", Path("f"), begin_time=b, end_time=e) for i, (b, e) in enumerate(cuts)]

    data = TrainingData().plus(utterances(known), identity, SOURCE)
    expected = sum(any(min(e, f) > max(b, c) for c, f in known) for b, e in asked)
    assert data.count_seen(utterances(asked), identity) == expected


def test_the_file_gives_back_what_was_written(tmp_path):
    path, other = wav(tmp_path / "a.wav", 0), wav(tmp_path / "b.wav", 1)
    data = trained_on(
        Utterance("a", path, begin_time=0.25, end_time=1.0), Utterance("b", other), Utterance("c", prompt="no audio")
    )
    data.write(tmp_path)
    assert read_training_data(tmp_path) == data
    assert str(tmp_path) not in (tmp_path / FILE).read_text()
    assert read_training_data(tmp_path / "nowhere") is None
    more = data.plus([Utterance("d", path, begin_time=0.5, end_time=1.5)], AudioIdentities(), {"recipe": "second"})
    assert more.sources == (SOURCE, {"recipe": "second"})
    assert more.audio[AudioIdentities()(path)] == ((0.25, 1.5),)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "sources": [], "audio": {"a": [[]]}}']
)
def test_a_damaged_file_is_named_with_the_remedy(tmp_path, content):
    (tmp_path / FILE).write_text(content)
    with pytest.raises(ValueError, match=rf"{FILE}: cannot be read as a model's training data.*restore the file"):
        read_training_data(tmp_path)


def test_audio_that_is_gone_is_named(tmp_path):
    with pytest.raises(AudioError, match=r"gone\.wav: cannot be read.*check that the file is there"):
        AudioIdentities()(tmp_path / "gone.wav")
