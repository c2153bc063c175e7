"""Chat templates that are damaged: the file is named as the model is loaded, and no line of the data is blamed."""

import json
import shutil

import numpy as np
import pytest

from distill.data.checks import Use, check_models
from distill.data.manifest import Utterance
from distill.models import ModelError, load_recognizer
from distill.teacher.local_tokenizer import load_reader
from tests.distill.small_models import save_ark_asr, save_glm_asr, save_qwen3
from tests.distill.test_cli import run

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 697560\n"
TEMPLATE = "chat_template.jinja"


@pytest.fixture(scope="module")
def whole(tmp_path_factory, student_path):
    folder = tmp_path_factory.mktemp("whole")
    saved = {"glm": save_glm_asr, "ark": save_ark_asr, "text": save_qwen3}
    return {"qwen3_asr": student_path} | {name: save(folder / name) for name, save in saved.items()}


@pytest.fixture(params=["qwen3_asr", "glm", "text"])
def copy(request, whole, tmp_path):
    return shutil.copytree(whole[request.param], tmp_path / "model")


def refused(folder, match):
    with pytest.raises(ModelError, match=match) as error:
        load_recognizer(str(folder), trust_remote_code=True)
    assert str(folder) in str(error.value)


def test_one_that_was_cut(copy):
    text = (copy / TEMPLATE).read_text()
    cut = text[: text.rindex("{%- endif") + 6]
    (copy / TEMPLATE).write_text(cut)
    line = cut.count("\n") + 1
    refused(copy, rf"{TEMPLATE} is cut short or damaged in line {line} \(.*\); download or copy it again")


def test_a_pointer_in_its_place(copy):
    (copy / TEMPLATE).write_text(POINTER)
    refused(copy, rf"{TEMPLATE} is a pointer of Git LFS in place of the file; run `git lfs pull`")


def test_an_empty_one(copy):
    (copy / TEMPLATE).write_text("")
    refused(copy, rf"{TEMPLATE} is empty; download or copy it again")


def test_a_link_to_nowhere(copy):
    (copy / TEMPLATE).unlink()
    (copy / TEMPLATE).symlink_to("../blobs/gone")
    refused(copy, rf"{TEMPLATE} is a link to \.\./blobs/gone, where there is nothing; fetch that")


@pytest.mark.parametrize("name", ["qwen3_asr", "glm"])
def test_one_that_is_missing(whole, tmp_path, name):
    folder = shutil.copytree(whole[name], tmp_path / "model")
    (folder / TEMPLATE).unlink()
    refused(folder, rf"has no chat template; copy {TEMPLATE} again from the model that it was made from")


@pytest.mark.parametrize("name", ["glm", "text"])
def test_one_that_was_cut_where_it_still_is_a_template(whole, tmp_path, name):
    folder = shutil.copytree(whole[name], tmp_path / "model")
    (folder / TEMPLATE).write_text("{%- for message in messages -%}<|im_start|>{{ message.role }}{% endfor %}")
    if name == "glm":
        refused(
            folder,
            rf"its processor and chat template cannot make a request \(.*\); copy {TEMPLATE} again from the model that",
        )
    else:
        refused(folder, rf"omits the user's message in '.*'; it is cut short or another model's: copy {TEMPLATE}")


def test_one_for_chats_of_another_shape_passes(whole, tmp_path):
    folder = shutil.copytree(whole["text"], tmp_path / "model")
    template = "{{ raise_exception('no') if messages[0].role != 'system' else messages[1].content }}"
    (folder / TEMPLATE).write_text(template)
    load_recognizer(str(folder))


def test_the_local_half_of_a_served_teacher(whole, tmp_path):
    folder = shutil.copytree(whole["qwen3_asr"], tmp_path / "model")
    text = (folder / TEMPLATE).read_text()
    for content, match in ((POINTER, "is a pointer of Git LFS"), (text[: len(text) // 2], "is cut short or damaged")):
        (folder / TEMPLATE).write_text(content)
        with pytest.raises(ModelError, match=rf"{TEMPLATE} {match}"):
            load_reader(str(folder))
    (folder / TEMPLATE).unlink()
    with pytest.raises(ModelError, match="has no chat template"):
        load_reader(str(folder))


def test_the_command_line(whole, manifests, tmp_path, capsys):
    folder = shutil.copytree(whole["qwen3_asr"], tmp_path / "model")
    (folder / TEMPLATE).unlink()
    code, out, err = run("evaluate", "--model", folder, "--manifest", manifests["test"], capsys=capsys)
    assert (code, out) == (1, "")
    assert "has no chat template" in err
    assert "field" not in err


def test_a_request_that_fails_whatever_the_language_is_no_fault_of_the_lines(whole):
    model = load_recognizer(str(whole["glm"]))
    utterances = [Utterance(str(i), prompt="p", language=language) for i, language in enumerate(("English", "German"))]
    assert check_models(Use(utterances, readers=(model,))) == []
    model.processor.chat_template = "{{ nothing"

    def broken(*arguments):
        raise ValueError("no request can be made")

    model.kind = type(model.kind)("glmasr", None, broken, model.kind.read)
    with pytest.raises(ModelError, match="glm': no request can be made"):
        check_models(Use(utterances, readers=(model,)))


def test_a_language_that_is_not_known_is_one(whole):
    model = load_recognizer(str(whole["qwen3_asr"]))
    utterances = [Utterance(str(i), prompt="p", language=language) for i, language in enumerate(("English", "Klingon"))]
    (finding,) = check_models(Use(utterances, readers=(model,)))
    assert (finding.field, finding.id) == ("language", "1")


def test_whole_ones_load(whole):
    for folder in whole.values():
        model = load_recognizer(str(folder), trust_remote_code=True)
        given = "say one" if model.reads == "prompt" else np.zeros(8000, np.float32)
        assert model.prepare([given], [None]).batch_size == 1
    assert json.loads((whole["glm"] / "config.json").read_text())["model_type"] == "glmasr"
