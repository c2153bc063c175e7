import base64
import io

import numpy as np
import pytest
import soundfile

from analysis.report import write_report
from analysis.report.audio import RATE, collect, encoded

TONE = 0.3 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE).astype(np.float32)


def tones(manifest, ids):
    for name in ids:
        if name != "silent":
            yield name, TONE


def decoded(clip):
    return soundfile.read(io.BytesIO(base64.b64decode(clip)))


def test_a_clip_sounds_as_before():
    samples, rate = soundfile.read(io.BytesIO(encoded(TONE)))
    assert (rate, samples.ndim) == (RATE, 1)
    assert len(samples) == pytest.approx(RATE, abs=RATE // 50)
    spectrum = np.abs(np.fft.rfft(samples[: RATE // 2]))
    assert spectrum.argmax() * 2 == pytest.approx(440, abs=4)
    assert len(encoded(TONE)) < 8_000


def test_clips_are_collected_by_manifest_until_the_budget_is_spent():
    one = len(base64.b64encode(encoded(TONE)))
    whole = collect(tones, {"probe": ["a", "silent", "b"], "test": ["b", "c"]}, 10**6)
    assert list(whole.clips) == ["a", "b", "c"]
    assert whole.notes == ("1 of 4 utterances have no audio here, to limit the size of the page.",)
    part = collect(tones, {"probe": ["a", "b", "c"]}, 2 * one + 10)
    assert list(part.clips) == ["a", "b"]
    assert part.notes == ("1 of 3 utterances have no audio here, to limit the size of the page.",)
    assert decoded(part.clips["a"])[1] == RATE


def test_the_page_asks_for_what_it_shows(traced, tmp_path, monkeypatch):
    monkeypatch.setattr("analysis.report.html.pictures", lambda run: [])
    asked = []

    def clips(manifest, ids):
        asked.append((manifest, list(ids)))
        return tones(manifest, asked[-1][1])

    write_report(traced, tmp_path / "report.html", clips=clips)
    names = [f"u{i:04d}" for i in range(12)]
    assert asked == [("probe.jsonl", names), ("test.jsonl", [])] or asked == [("probe.jsonl", names)]
    assert 'id="audio-0"' in (tmp_path / "report.html").read_text(encoding="utf-8")
