"""A served Qwen3-ASR where no language is named: it is asked how it begins, and scores behind its own words."""

from pathlib import Path

import pytest

from distill import Utterance
from distill.data.batch import Batch
from distill.recipe import Teacher
from distill.teacher import load_served_teacher
from tests.distill.served import TeacherServer
from tests.distill.taught import LANGUAGES, SAID, WAVEFORMS


@pytest.fixture(scope="module")
def own_server(taught_path):
    server = TeacherServer({"taught": taught_path})
    yield server
    server.stop()


def batch(languages):
    lines = [Utterance(f"u{i}", Path("not-read.wav"), language=language) for i, language in enumerate(languages)]
    return Batch(tuple(lines), tuple(WAVEFORMS))


@pytest.mark.parametrize("api", ["vllm", "sglang"])
def test_a_server_is_asked_once_how_it_begins(own_server, taught_path, api):
    own_server.control(max_logprobs=100, native="taught")
    section = Teacher(model=str(taught_path), url=own_server.url, server={"served_name": "taught", "api": api})
    teacher = load_served_teacher(section, 4)
    of = batch([None, "German", None])
    prompt = of.prompt(teacher)
    named = [f"language {language}<asr_text>" for language in LANGUAGES]
    assert [conversation.prefill for conversation in prompt.conversations] == named
    assert teacher.decode(teacher.rollout(prompt, max_new_tokens=100)) == SAID
    read = teacher.encode(SAID)
    ours, theirs = (teacher.topk_logprobs(p, SAID, read) for p in (prompt, batch(LANGUAGES).prompt(teacher)))
    assert (ours[0] == theirs[0]).all()
    before = own_server.seen["requests"]
    batch([None, "German", None]).prompt(teacher)
    assert own_server.seen["requests"] == before
