"""Data laid out as links: every path leads where the system itself would go."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from distill.data.audio import load_audio
from distill.data.manifest import ManifestError, read_manifest, write_manifest
from distill.locations import require_places
from distill.recipe.paths import resolve
from tests.distill.test_cli import run


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


class TestLinksToLinks:
    @pytest.fixture
    def chain(self, tmp_path) -> Path:
        """chain.jsonl is latest/train.jsonl, which is a file of a store."""
        lines(tmp_path / "store/ab/0a1b", "one.wav")
        (tmp_path / "latest").mkdir()
        (tmp_path / "latest/train.jsonl").symlink_to("../store/ab/0a1b")
        (tmp_path / "chain.jsonl").symlink_to("latest/train.jsonl")
        return tmp_path

    @pytest.mark.parametrize("where", [".", "latest", "store/ab"])
    def test_audio_beside_any_of_them(self, chain, where):
        tone(chain / where / "one.wav", 0.5)
        assert level(chain / "chain.jsonl") == 0.5
        assert read_manifest(chain / "chain.jsonl")[0].audio == chain / where / "one.wav"

    def test_the_first_that_has_it(self, chain):
        tone(chain / "store/ab/one.wav", 0.25)
        tone(chain / "latest/one.wav", 0.5)
        assert level(chain / "chain.jsonl") == 0.5
        tone(chain / "one.wav", 0.75)
        assert level(chain / "chain.jsonl") == 0.75

    def test_where_a_folder_is_a_link_as_well(self, chain):
        (chain / "latest").rename(chain / "v3")
        (chain / "latest").symlink_to("v3")
        tone(chain / "v3/one.wav", 0.5)
        assert level(chain / "chain.jsonl") == 0.5

    def test_one_more_and_an_absolute_one(self, chain):
        (chain / "far").mkdir()
        (chain / "far/m.jsonl").symlink_to(chain / "chain.jsonl")
        tone(chain / "latest/one.wav", 0.5)
        assert level(chain / "far/m.jsonl") == 0.5

    def test_where_it_is_beside_none_the_first_is_named(self, chain):
        with pytest.raises(ManifestError, match=rf"is {chain}/one\.wav, a file that does not exist"):
            read_manifest(chain / "chain.jsonl")


class TestLinksToNowhere:
    MESSAGE = r"is a link to latest/train\.jsonl, which does not exist; get its content, as with .*, or renew the link"

    @pytest.fixture
    def broken(self, tmp_path) -> Path:
        path = tmp_path / "train.jsonl"
        path.symlink_to("latest/train.jsonl")
        return path

    def test_a_manifest(self, broken):
        with pytest.raises(FileNotFoundError, match=f"the manifest {self.MESSAGE}"):
            read_manifest(broken)

    def test_the_command_line(self, broken, capsys):
        code, _, err = run("evaluate", "--model", "demo:student", "--manifest", broken, capsys=capsys)
        assert code != 0
        assert f"the manifest {broken} is a link to latest/train.jsonl, which does not exist" in err

    def test_one_that_leads_to_itself(self, tmp_path):
        (tmp_path / "a.jsonl").symlink_to("b.jsonl")
        (tmp_path / "b.jsonl").symlink_to("a.jsonl")
        with pytest.raises(FileNotFoundError, match=r"is a link to b\.jsonl, which does not exist"):
            read_manifest(tmp_path / "a.jsonl")

    def test_a_model_of_a_recipe(self, tmp_path):
        (tmp_path / "student").symlink_to("checkpoints/last")
        place = resolve("student", tmp_path, must_exist=False)
        with pytest.raises(
            FileNotFoundError, match=r"student\.model: the model .* is a link to checkpoints/last, which"
        ):
            require_places(manifests={}, models={"student.model": place})
