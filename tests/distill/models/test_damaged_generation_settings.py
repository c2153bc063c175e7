"""Generation settings that are damaged: transformers loads without them, and with them go a model's blocked tokens."""

import json
import shutil

import pytest

from distill.models import ModelError, load_recogniser
from tests.distill.small_models import save_gpt2, save_moonshine, save_whisper
from tests.distill.test_cli import run

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 697560\n"
SETTINGS = "generation_config.json"
SAVED = {"whisper": save_whisper, "moonshine": save_moonshine, "gpt2": save_gpt2}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return {name: save(folder / name) for name, save in SAVED.items()}


@pytest.fixture(params=SAVED)
def copy(request, whole, tmp_path):
    return shutil.copytree(whole[request.param], tmp_path / "model")


def refused(folder, match):
    with pytest.raises(ModelError, match=match) as error:
        load_recogniser(str(folder))
    assert f"{folder / SETTINGS} is " in str(error.value)


def test_a_pointer_in_their_place(copy):
    (copy / SETTINGS).write_text(POINTER)
    refused(copy, "is a pointer of Git LFS in place of the file; run `git lfs pull`")


@pytest.mark.parametrize("keep", [0.5, 0.0])
def test_settings_that_were_cut(copy, keep):
    content = (copy / SETTINGS).read_bytes()
    (copy / SETTINGS).write_bytes(content[: int(keep * len(content))])
    refused(copy, f"is {'cut short or damaged' if keep else 'empty'}.*; download or copy it again")


def test_a_link_to_nowhere(copy):
    (copy / SETTINGS).unlink()
    (copy / SETTINGS).symlink_to("../blobs/gone")
    refused(copy, r"is a link to \.\./blobs/gone, where there is nothing; fetch that")


def test_a_checkpoint_without_any_loads(whole, tmp_path):
    folder = shutil.copytree(whole["gpt2"], tmp_path / "model")
    (folder / SETTINGS).unlink()
    load_recogniser(str(folder))


def test_whole_ones_say_what_whisper_does_not_write(whole):
    written = json.loads((whole["whisper"] / SETTINGS).read_text())["suppress_tokens"]
    assert load_recogniser(str(whole["whisper"])).tokens.blocked[written].all()


def test_the_command_line(whole, manifests, tmp_path, capsys):
    folder = shutil.copytree(whole["whisper"], tmp_path / "model")
    (folder / SETTINGS).write_text(POINTER)
    code, out, err = run("evaluate", "--model", folder, "--manifest", manifests["test"], capsys=capsys)
    assert (code, out) == (1, "")
    assert f"{folder / SETTINGS} is a pointer of Git LFS" in err
