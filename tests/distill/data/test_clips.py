import numpy as np
import pytest
import soundfile

from distill import ManifestError
from distill.data.clips import manifest_clips


def test_clips_are_cut_by_begin_and_end(tmp_path):
    tone = 0.2 * np.sin(2 * np.pi * 200 * np.arange(8000) / 8000)
    soundfile.write(tmp_path / "a.wav", np.stack([tone, tone], 1), 8000)
    (tmp_path / "manifest.jsonl").write_text(
        '{"id": "whole", "audio": "a.wav"}\n'
        '{"id": "part", "audio": "a.wav", "begin_time": 0.25, "end_time": 0.75}\n'
        '{"id": "text", "prompt": "say"}\n'
    )
    found = dict(manifest_clips(str(tmp_path / "manifest.jsonl"), ["part", "nobody", "text", "whole"]))
    assert list(found) == ["part", "whole"]
    assert [samples.shape for samples in found.values()] == [(8000,), (16000,)]
    assert np.abs(np.fft.rfft(found["whole"])).argmax() == 200


def test_missing_audio_names_its_place(tmp_path):
    (tmp_path / "manifest.jsonl").write_text('{"id": "a", "audio": "gone.wav"}\n')
    with pytest.raises(ManifestError, match=r"gone\.wav"):
        list(manifest_clips(str(tmp_path / "manifest.jsonl"), ["a"]))
