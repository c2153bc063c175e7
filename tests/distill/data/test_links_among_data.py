"""Data laid out as links: every path leads where the system itself would go."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from distill.data.audio import load_audio
from distill.data.manifest import read_manifest, write_manifest


def tone(path: Path, level: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.full(1600, level, np.float32), 16000, subtype="FLOAT", format="WAV")


def lines(path: Path, *audio: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"audio": name}) + "\n" for name in audio))
    return path


def level(manifest: Path) -> float:
    """Which of the files is heard."""
    (utterance,) = read_manifest(manifest)
    return round(float(load_audio(utterance)[0]), 3)


class TestTheFolderAbove:
    @pytest.fixture
    def linked(self, tmp_path) -> Path:
        """snap/lnk is deep/er, and each of snap and deep has a file of the same name."""
        tone(tmp_path / "deep/one.wav", 0.25)
        tone(tmp_path / "snap/one.wav", 0.75)
        (tmp_path / "deep/er").mkdir()
        (tmp_path / "snap/lnk").symlink_to("../deep/er")
        return tmp_path

    def test_of_a_manifest_in_a_linked_folder(self, linked):
        assert level(lines(linked / "snap/lnk/m.jsonl", "../one.wav")) == 0.25
        (linked / "snap/one.wav").unlink()
        assert level(linked / "snap/lnk/m.jsonl") == 0.25

    def test_of_a_linked_folder_that_the_line_names(self, linked):
        manifest = lines(linked / "snap/m.jsonl", "lnk/../one.wav")
        assert level(manifest) == 0.25
        assert (linked / "deep/one.wav").samefile(read_manifest(manifest)[0].audio)

    def test_of_a_linked_folder_in_an_absolute_path(self, linked):
        assert level(lines(linked / "m.jsonl", f"{linked}/snap/lnk/../one.wav")) == 0.25

    def test_of_a_linked_folder_that_the_manifests_own_path_goes_through(self, linked):
        lines(linked / "deep/m.jsonl", "one.wav")
        lines(linked / "snap/m.jsonl", "one.wav")
        assert level(linked / "snap/lnk/../m.jsonl") == 0.25

    def test_twice(self, linked):
        tone(linked / "three.wav", 0.5)
        assert level(lines(linked / "snap/lnk/m.jsonl", "../../three.wav")) == 0.5
        assert level(lines(linked / "snap/lnk/m.jsonl", "x/../../one.wav")) == 0.25

    def test_written_anew(self, linked):
        utterances = read_manifest(lines(linked / "snap/lnk/m.jsonl", "../one.wav"))
        for path in (linked / "out/m.jsonl", linked / "snap/out.jsonl"):
            write_manifest(path, utterances)
            assert level(path) == 0.25

    def test_where_nothing_is_a_link_names_are_short(self, linked):
        (utterance,) = read_manifest(lines(linked / "snap/sub/m.jsonl", "./../../snap/one.wav"))
        assert utterance.audio == linked / "snap/one.wav"

    def test_above_the_root(self, linked):
        (utterance,) = read_manifest(lines(linked / "m.jsonl", "../" * 40 + str(linked / "deep/one.wav").lstrip("/")))
        assert utterance.audio == linked / "deep/one.wav"
