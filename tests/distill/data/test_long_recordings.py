"""Recordings longer than a window: where they are cut, what is left out, and how transcripts are joined again."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import soundfile

from distill.data import long_recordings
from distill.data.audio import AudioError, duration, load_audio
from distill.data.long_recordings import PIECE, cuts, in_pieces, longest_piece
from distill.data.manifest import Utterance, read_manifest, write_manifest
from distill.recipe.paths import packaged
from overlap.errors import UserError

PAUSE = 0.8


def ends(found):
    return [(cut.end, cut.ends) for cut in found]


def test_the_longest_pause_of_the_second_half_is_taken():
    speech = [(0.0, 6.0), (6.2, 8.0), (9.0, 9.5), (9.6, 14.0)]
    assert ends(cuts(14.0, speech, 10.0)) == [(8.5, "pause"), (14.0, "end")]


def test_an_earlier_pause_is_taken_if_the_second_half_has_none():
    assert ends(cuts(14.0, [(0.0, 2.0), (2.4, 14.0)], 10.0))[0] == (2.2, "pause")


def test_without_a_pause_the_window_is_cut_where_it_ends():
    assert ends(cuts(25.0, [(0.0, 25.0)], 10.0)) == [(10.0, "window"), (20.0, "window"), (25.0, "end")]


def test_a_pause_longer_than_the_window_makes_pieces_without_speech():
    found = cuts(60.0, [(0.0, 5.0), (50.0, 60.0)], 10.0)
    assert [cut.has_speech for cut in found][1:-2] == [False] * (len(found) - 3)
    assert found[0].has_speech
    assert sum(cut.end - cut.begin for cut in found if cut.has_speech) < 26.0


def test_pieces_leave_nothing_out_and_fit_the_window():
    """Of 200 random recordings: contiguous, within the window, and cut inside speech only where the window is full."""
    generator = np.random.default_rng(0)
    kinds = set()
    for _ in range(200):
        edges = np.cumsum(generator.exponential(generator.choice([0.3, 3.0, 30.0]), 2 * generator.integers(1, 40)))
        speech = [(float(low), float(high)) for low, high in zip(edges[::2], edges[1::2], strict=True)]
        seconds = float(edges[-1] + generator.exponential(2.0))
        found = cuts(seconds, speech, 10.0)
        assert (found[0].begin, found[-1].end) == (0.0, seconds)
        assert all(one.end == other.begin for one, other in pairwise(found))
        assert all(0 < cut.end - cut.begin <= 10.0 + 1e-9 for cut in found)
        for cut in found:
            kinds.add(cut.ends)
            inside = [span for span in speech if span[0] < cut.end < span[1]]
            assert bool(inside) <= (cut.ends == "window"), (cut, inside)
            assert cut.has_speech == any(low < cut.end and high > cut.begin for low, high in speech)
    assert kinds == {"pause", "window", "end"}


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """The demo's utterances of one speaker after another, with pauses of noise between; and where each stands."""
    folder = tmp_path_factory.mktemp("long")
    generator = np.random.default_rng(0)
    some = read_manifest(packaged("corpus/test.jsonl"))[:12]
    parts, spans, at = [], [], 0.0
    for utterance in some:
        wave = load_audio(utterance)
        parts += [wave, generator.normal(0, 1e-3, int(PAUSE * 16_000)).astype(np.float32)]
        spans.append((at, at + len(wave) / 16_000))
        at += (len(wave) + int(PAUSE * 16_000)) / 16_000
    soundfile.write(folder / "long.wav", np.concatenate(parts), 16_000)
    text = " ".join(utterance.text for utterance in some)
    return Utterance(id="long", audio=folder / "long.wav", text=text, language="English"), spans, some


def test_speech_is_cut_in_its_pauses(recording):
    long, spans, _ = recording
    short = replace(long, id="short", end_time=3.0, text="hi")
    done = []
    found = in_pieces([short, long], 6.0, progress=lambda *seen: done.append(seen))
    assert done == [(1, 1)]
    assert found.utterances[0] == short
    pieces = found.utterances[1:]
    assert found.n_cut == 1
    assert found.n_pieces == len(pieces) >= duration(long) / 6
    assert found.n_window == found.n_silent == 0
    borders = [piece.end_time for piece in pieces[:-1]]
    assert borders == [piece.begin_time for piece in pieces[1:]]
    for border in borders:
        assert not any(low + 0.1 < border < high - 0.1 for low, high in spans), border
    assert all(duration(piece) <= 6.0 for piece in pieces)
    assert sum(map(duration, pieces)) == pytest.approx(duration(long), abs=1e-6)
    assert [piece.extra[PIECE]["number"] for piece in pieces] == list(range(len(pieces)))
    assert {piece.text for piece in pieces} == {None}
    assert {piece.language for piece in pieces} == {"English"}
    assert found.n_pause == len(pieces) - 1
    assert found.line == (
        f"1 of 2 recordings are longer than 6 s and were cut into {len(pieces)} pieces: {found.n_pause} cuts at pauses"
    )
    assert found.recording_of == {piece.id: "long" for piece in pieces}
    assert (found.n_with_text, found.n_without_reference) == (2, 1)
    again = in_pieces([long], 6.0)
    assert again.utterances == pieces


def test_pieces_of_a_segment_stay_within_it(recording, monkeypatch):
    long, _, _ = recording
    monkeypatch.setattr(long_recordings, "speech_in", lambda wave: [(0.0, 4.0), (5.0, len(wave) / 16_000)])
    inner = replace(long, begin_time=2.0, end_time=11.0)
    found = in_pieces([inner], 6.0)
    times = [(piece.begin_time, piece.end_time) for piece in found.utterances]
    assert times == [(2.0, 6.5), (6.5, 11.0)]


def test_pieces_in_a_manifest_are_read_again(recording, monkeypatch, tmp_path):
    long, _, _ = recording
    monkeypatch.setattr(long_recordings, "speech_in", lambda wave: [(0.0, len(wave) / 16_000)])
    found = in_pieces([long], 6.0)
    assert found.n_window == found.n_pieces - 1
    assert found.n_pause == 0
    assert found.line == (
        f"1 of 1 recordings are longer than 6 s and were cut into {found.n_pieces} pieces: 0 cuts at pauses, "
        f"{found.n_pieces - 1} in the middle of speech without a pause, where a word may be lost"
    )
    write_manifest(tmp_path / "pieces.jsonl", found.utterances)
    assert tuple(read_manifest(tmp_path / "pieces.jsonl")) == found.utterances


def test_what_has_no_speech_is_left_out_and_counted(recording, monkeypatch):
    long, _, _ = recording
    monkeypatch.setattr(long_recordings, "speech_in", lambda wave: [(1.0, 3.0)])
    found = in_pieces([long], 6.0)
    assert found.n_pieces == 1
    assert found.silent_seconds == pytest.approx(duration(long) - duration(found.utterances[0]), abs=0.01)
    assert f"{found.n_silent} more without speech, {found.silent_seconds:.1f} s, were left out" in found.line
    monkeypatch.setattr(long_recordings, "speech_in", lambda wave: [])
    with pytest.raises(UserError, match="no recording has speech, so nothing is left to transcribe; check the audio"):
        in_pieces([long], 6.0)


def test_transcripts_are_joined_in_order(recording, monkeypatch):
    long, _, _ = recording
    monkeypatch.setattr(long_recordings, "speech_in", lambda wave: [(0.0, len(wave) / 16_000)])
    short = replace(long, id="short", end_time=3.0)
    found = in_pieces([short, long], 10.0)
    names = found.names["long"]
    assert len(names) > 2
    texts = {name: f" word{i} " for i, name in enumerate(names)} | {names[1]: "  ", "short": " as it is "}
    joined = found.stitched(texts)
    assert joined["short"] == " as it is "
    assert joined["long"] == " ".join(f"word{i}" for i in range(len(names)) if i != 1)
    assert found.places["short"] == (0, 1)
    assert [found.places[name] for name in names] == [(i, len(names)) for i in range(len(names))]


def test_the_narrowest_window_counts(recording):
    class Model:
        def __init__(self, window):
            self.limits = type("Limits", (), {"window_seconds": window})()

    assert longest_piece([Model(None), Model(20.0), Model(30.0)], 25.0) == 20.0
    assert longest_piece([Model(None)], 25.0) == 25.0
    with pytest.raises(UserError, match=r"max_seconds = 0\.5: pieces of recordings take more than 1 s; raise it"):
        in_pieces([recording[0]], 0.5)


def test_a_recording_that_cannot_be_decoded_is_left_whole_where_that_is_wanted(recording, monkeypatch, tmp_path):
    long, _, _ = recording
    monkeypatch.setattr(long_recordings, "speech_in", lambda wave: [(0.0, 4.0), (5.0, len(wave) / 16_000)])
    wave = load_audio(replace(long, end_time=11.0))
    wave[500:600] = np.nan
    soundfile.write(tmp_path / "nan.wav", wave, 16_000, subtype="FLOAT")
    broken = replace(long, id="broken", audio=tmp_path / "nan.wav")
    inner = replace(long, end_time=10.0)
    with pytest.raises(AudioError, match="has 100 samples that are NaN or infinite"):
        in_pieces([broken, inner], 6.0)
    done = []
    found = in_pieces([broken, inner], 6.0, keep_unreadable=True, progress=lambda *seen: done.append(seen))
    assert found.utterances[0] == broken
    assert found.names == {"broken": ("broken",), "long": ("long#000", "long#001")}
    assert (found.n_cut, found.n_pieces, found.unreadable, done) == (1, 2, {"broken"}, [(1, 2), (2, 2)])
    assert found.line.endswith("2 pieces: 1 cut at pauses; 1 more cannot be decoded and were not cut")


def test_utterances_without_audio_stay(recording):
    prompt = Utterance(id="p", prompt="hello")
    assert in_pieces([prompt], math.inf).utterances == (prompt,)
