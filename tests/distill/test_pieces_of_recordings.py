"""What `--long` counts: intervals over recordings, references that pieces lack, and damaged recordings."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import soundfile

import distill
from analysis import load, overlap_by_group
from analysis.report import write_report
from analysis.run.against_references import calibration_readings, signal_readings
from analysis.tables.by_window import overlap_by_window
from distill import Utterance, read_manifest, write_manifest
from distill.data import long_recordings
from distill.data.audio import AudioError, load_audio
from distill.progress.observer import Observer
from distill.recipe import Filters, NoSpeech
from distill.recipe.paths import packaged
from overlap import Estimate
from tests.distill.conftest import ONLY_EMPTY

WINDOW = 4.0
N, CUT = 20, 3
"""Recordings, and those of them that are cut, into two to four pieces."""


class Seen(Observer):
    def __init__(self):
        self.done = []

    def work(self, what, done, total):
        self.done.append((what, done, total))


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """The shortest of the demo's utterances, of which the first three are followed by others in their recording."""
    folder = tmp_path_factory.mktemp("recordings")
    some = sorted(read_manifest(packaged("corpus/test.jsonl")), key=lambda one: one.end_time - one.begin_time)[:N]
    waves = [load_audio(one) for one in some]
    made = [replace(one, id=f"r{i:02d}", language="English") for i, one in enumerate(some)]
    for i, seconds in enumerate((5.5, 9.0, 13.0)):
        wave = np.concatenate(waves[i:] + waves)[: int(seconds * 16_000)]
        soundfile.write(folder / f"{i}.wav", wave, 16_000)
        made[i] = Utterance(id=f"r{i:02d}", audio=folder / f"{i}.wav", text=some[i].text, language="English")
    return made


@pytest.fixture(autouse=True)
def speech_without_end(monkeypatch):
    """Nobody pauses, so that every window is cut where it ends."""
    monkeypatch.setattr(long_recordings, "speech_in", lambda wave: [(0.0, len(wave) / 16_000)])


@pytest.fixture(scope="module")
def pair():
    return distill.load_pair("demo:student", "demo:teacher", k=8)


def probed(pair, utterances, **more):
    asked = {"long": True, "max_seconds": WINDOW, "max_new_tokens": 8, "quiet": True, "traced": 0}
    return distill.probe(pair, utterances, **asked | more)


def by_recording(sums, name):
    """Number of recordings with a statistic, its average, and its standard error over recordings."""
    column, found = sums.names.index(name), {}
    for key, x, n in zip(sums.keys, sums.sums[:, column], sums.counts[:, column], strict=True):
        before = found.get(key.split("#")[0], (0.0, 0))
        found[key.split("#")[0]] = before[0] + x, before[1] + n
    found = {key: pair for key, pair in found.items() if pair[1]}
    total = sum(n for _, n in found.values())
    value = sum(x for x, _ in found.values()) / total
    squares = sum((x - value * n) ** 2 for x, n in found.values())
    return len(found), value, math.sqrt(squares * len(found) / (len(found) - 1)) / total


def test_intervals_are_over_recordings(pair, recordings):
    seen = Seen()
    found = probed(pair, recordings, groups=["language"], observer=seen)
    pieces = found.windows.pieces
    n_read = len(pieces.utterances)
    assert (pieces.n_cut, pieces.n_pieces, n_read) == (CUT, 9, N - CUT + 9)
    assert [one for one in seen.done if one[0] == "finding pauses"] == [
        ("finding pauses", i + 1, CUT) for i in range(CUT)
    ]
    names = ("top1_agreement", "end_of_text", "stop_density", "n_tokens", "top1_agreement.without_repeats")
    [by_language] = found.groups
    assert dict(by_language.sizes) == {"English": N}
    for name in names:
        one = found.readings[name]
        n, value, error = by_recording(found.probed.sums, name)
        assert n == N
        assert (one.n_groups, one.value, one.standard_error) == (n, pytest.approx(value), pytest.approx(error))
        # Of all recordings, the group has the same.
        assert vars(by_language.groups["English"][name]) == pytest.approx(vars(one))
    assert found.readings["end_of_text"].n_positions == n_read
    assert found.panel.pairs[0].jaccard.n_groups <= N
    said = f"{N} recordings in {n_read} pieces, on the student's rollouts; intervals are over recordings"
    assert said in str(found)
    frame = found.windows.frame
    ends = frame[frame["statistic"] == "end_of_text"].astype({"window": str}).set_index("window")
    assert ends["n_groups"].to_dict() == {"whole": N - CUT, "first": CUT, "middle": 2, "last": CUT}
    assert ends["n_positions"].to_dict() == {"whole": N - CUT, "first": CUT, "middle": 3, "last": CUT}


def test_its_file_has_all_that_it_printed(pair, recordings, tmp_path):
    found = probed(pair, recordings, groups=["language"], no_speech=NoSpeech(silence=2, noise=1), traced=None)
    found.write(tmp_path / "long.parquet")
    read = load(tmp_path / "long.parquet")
    probes = read.probes[read.probes["states"] == "student"].set_index("statistic")
    teachers = read.probes[read.probes["states"] == "teacher"].set_index("statistic")
    for name, one in found.readings.items():
        row = teachers.loc[name.removeprefix("teacher.")] if name.startswith("teacher.") else probes.loc[name]
        assert vars(Estimate.from_dict(row.to_dict())) == pytest.approx(vars(one), nan_ok=True)
    assert len(probes) + len(teachers) == len(read.probes)
    assert probes.loc["funnel.used", "value"] == found.funnel["used"]
    assert read.traces.groupby("recording").size().loc["r01"] == len(found.windows.pieces.names["r01"])
    ends = found.windows.frame.loc[found.windows.frame["statistic"] == "end_of_text", "value"]
    windows = overlap_by_window(read).frame
    assert windows["end_of_text"].tolist() == pytest.approx(ends.tolist())
    assert windows["n_recordings"].tolist() == [N - CUT, CUT, 2, CUT]
    [group] = overlap_by_group(read).frame.to_dict("records")
    assert (group["group"], group["n_utterances"]) == ("English", N)
    assert read.no_speech_clips["text"].tolist() == [row["text"] for row in found.no_speech.rows]
    assert str(signal_readings(read.signal)) == str(found.signal)
    assert str(calibration_readings(read.calibration)) == str(found.calibration)
    assert len(read.token_rules) == sum(1 for _ in found.panel.estimates())
    page = write_report(tmp_path / "long.parquet", tmp_path / "long.md")
    assert page.sections[0].state.startswith("one probe of 26 pieces of 20 recordings, which intervals are over")
    text = (tmp_path / "long.md").read_text(encoding="utf-8")
    for heading in ("### Overlap by window", "### Overlap by group", "### Without speech", "### Signal"):
        assert heading in text


def test_what_has_no_reference_is_counted(pair, recordings):
    found = probed(pair, recordings[2:5])
    said = "signal and calibration leave out recordings: 1 of 3 recordings with a text were cut, and pieces have no "
    assert said + "reference text" in str(found)
    assert said in found._repr_html_()
    assert found.to_dict()["windows"]["n_without_reference"] == 1
    every = probed(pair, recordings[:2])
    assert every.signal is None
    said = (
        "signal and calibration: not measured, for 2 of 2 recordings with a text were cut, and pieces have no reference"
    )
    assert said in str(every)
    assert "the manifest has no texts" not in str(every)
    none = probed(pair, [replace(recordings[0], text=None)])
    assert "the manifest has no texts" in str(none)


def test_a_damaged_long_recording_is_dropped_where_that_is_wanted(pair, recordings, tmp_path, monkeypatch):
    wave = load_audio(recordings[1])
    wave[500:600] = np.nan
    soundfile.write(tmp_path / "nan.wav", np.tile(wave, 3), 16_000, subtype="FLOAT")
    broken = Utterance(id="broken", audio=tmp_path / "nan.wav", text="hi", language="English")
    write_manifest(tmp_path / "set.jsonl", [broken, recordings[0]])
    with pytest.raises(AudioError, match=r"has 300 samples .* \(--unusable-audio drop\)"):
        distill.transcribe("demo:student", tmp_path / "set.jsonl", tmp_path / "no.jsonl", long=True, max_seconds=WINDOW)
    seen, filters = Seen(), Filters(**ONLY_EMPTY | {"empty": "keep", "unusable_audio": "drop"})
    made = distill.transcribe(
        *("demo:student", tmp_path / "set.jsonl", tmp_path / "out.jsonl"),
        **{"long": True, "max_seconds": WINDOW, "filters": filters, "observer": seen},
    )
    assert ("finding pauses", 2, 2) in seen.done
    assert [one.id for one in made.kept] == ["r00#000", "r00#001"]
    assert [one.id for one in made.dropped] == ["broken"]
    assert "unusable_audio" in made.dropped[0].extra["transcript"]["dropped_by"]
    # The longest piece, not the damaged recording, sets the longest transcript.
    assert made.kept[0].extra["transcript"]["decoding"]["max_new_tokens"] == 16 + 20 * 4
    tree = json.loads((tmp_path / "out.summary.json").read_text())["long_recordings"]
    assert (tree["n_cut"], tree["n_pieces"], tree["n_pause"], tree["n_window"]) == (1, 2, 0, 1)
    assert [bool(one.text) for one in made.stitched] == [False, True]
    # A teacher's own window, which the damaged recording need not fit.
    limits = replace(pair.student.limits, window_seconds=WINDOW)
    monkeypatch.setattr(type(pair.student), "limits", property(lambda _: limits))
    asked = {"long": True, "filters": filters, "quiet": True}
    windowed = distill.transcribe(pair.student, tmp_path / "set.jsonl", tmp_path / "window.jsonl", **asked)
    assert [one.text for one in windowed.kept] == [one.text for one in made.kept]
    with pytest.raises(distill.TeacherDataError, match=r"nothing is left: 0 of 1 .*unusable_audio 1"):
        distill.transcribe(pair.student, [broken], tmp_path / "none.jsonl", **asked)
