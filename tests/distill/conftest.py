"""A miniature run: two small Qwen3-ASR models with random weights and a handful of utterances of the demo's corpus."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from distill import Utterance, read_manifest, write_manifest
from distill.models import load_recognizer
from distill.recipe import Recipe
from distill.recipe.paths import packaged
from distill.teacher import json_client
from tests.distill.served import TeacherServer
from tests.distill.small_models import save_glm_asr, save_qwen3
from tests.distill.taught import save_taught

ONLY_EMPTY = {
    "unfinished": "keep",
    "max_compression": "off",
    "max_repeats": "off",
    "min_characters_per_second": "off",
    "max_characters_per_second": "off",
    "min_logprob": "off",
    "min_script_share": "off",
}
"""Filters that let pass what a teacher with random weights writes."""

SIZES = {"train": 24, "pool": 24, "probe": 8, "test": 10}


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _no_check_before_training():
    """Miniature runs have teachers with random weights, which a check refuses; tests of the check bring it back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("distill.training.launch.quick_findings", lambda *_: [])
        yield


@pytest.fixture(autouse=True, scope="session")
def _remote_code(tmp_path_factory):
    """Code that checkpoints bring is imported from a folder of this session's, not from the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("remote code")
        patch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(folder))
        patch.syspath_prepend(folder)
        yield


@pytest.fixture(scope="session")
def manifests(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("mini corpus")
    paths = {}
    for name, n in SIZES.items():
        source = "base" if name == "train" else name
        utterances = sorted(read_manifest(packaged(f"corpus/{source}.jsonl")), key=lambda u: u.end_time - u.begin_time)
        paths[name] = folder / f"{name}.jsonl"
        write_manifest(paths[name], utterances[:n])
    return paths


@pytest.fixture(scope="session")
def student_path(tmp_path_factory) -> Path:
    return _saved(tmp_path_factory.mktemp("models") / "student", seed=1)


@pytest.fixture(scope="session")
def teacher_path(tmp_path_factory) -> Path:
    return _saved(tmp_path_factory.mktemp("models") / "teacher", seed=2)


@pytest.fixture(scope="session")
def taught_path(tmp_path_factory) -> Path:
    """A Qwen3-ASR that names languages itself."""
    return save_taught(tmp_path_factory.mktemp("taught") / "model")


def _saved(path: Path, seed: int) -> Path:
    load_recognizer(str(packaged("student")), from_scratch=True, seed=seed).save(path)
    return path


@pytest.fixture(scope="session")
def served_models(student_path, teacher_path, tmp_path_factory) -> dict[str, Path]:
    """Served, by name: `padded` is the teacher with logits past its tokens, `shuffled` has its ids mixed."""
    from tests.distill.scoring.test_pair import shuffled  # here, so that pytest rewrites its assertions first

    folder = tmp_path_factory.mktemp("served")
    model = load_recognizer(str(teacher_path)).generator
    padded = shutil.copytree(teacher_path, folder / "padded")
    model.resize_token_embeddings(model.config.text_config.vocab_size + 7, mean_resizing=False)
    with torch.no_grad():
        model.get_output_embeddings().weight[-7:].normal_(std=0.05, generator=torch.Generator().manual_seed(0))
    model.save_pretrained(padded)
    return {
        "teacher": teacher_path,
        "student": student_path,
        "padded": padded,
        "shuffled": shuffled(teacher_path, folder / "shuffled"),
        "glm": save_glm_asr(folder / "glm"),
        "trained": packaged("teacher"),
    }


@pytest.fixture(scope="session")
def teacher_server(served_models) -> Iterator[TeacherServer]:
    """A server in a process of its own."""
    server = TeacherServer(served_models)
    yield server
    server.stop()


@pytest.fixture
def server(teacher_server, monkeypatch) -> TeacherServer:
    """The server of small models as new, and retries without long waits."""
    monkeypatch.setattr(json_client, "FIRST_WAIT_SECONDS", 0.01)
    teacher_server.control(max_logprobs=100)
    return teacher_server


@pytest.fixture
def mini(manifests, student_path, teacher_path) -> dict:
    """A recipe of three short stages, as plain data to be changed and validated by the test."""
    common = {"batch_size": 4, "lr": 1e-3}
    gate = {"type": "threshold", "statistic": "top1_agreement", "at_least": 1.0}
    return {
        "name": "mini",
        "threads": 1,
        "student": {"model": str(student_path), "from_scratch": True},
        "teacher": {"model": str(teacher_path)},
        "support": {"k": 4},
        "probe": {"manifest": str(manifests["probe"]), "every": 3, "trace_utterances": 2},
        "evaluation": {"manifest": str(manifests["test"]), "max_new_tokens": 8, "normalizer": "spoken_digits"},
        "checkpoint": {"every": 2},
        "stages": [
            {"type": "sft", "name": "base", "manifest": str(manifests["train"]), "steps": 4, **common},
            {
                "type": "td",
                "name": "teacher data",
                "manifest": str(manifests["pool"]),
                "steps": 4,
                "transcription": {"max_new_tokens": 8},
                "filters": ONLY_EMPTY,
                "when_exhausted": "advance",
                "gate": gate,
                **common,
            },
            {
                "type": "opd",
                "name": "on-policy",
                "manifest": str(manifests["pool"]),
                "steps": 4,
                "rollout": {"max_new_tokens": 8},
                **common,
            },
        ],
    }


@pytest.fixture(scope="session")
def text_manifests(tmp_path_factory) -> dict[str, Path]:
    """Prompts and completions in the place of audio and transcripts."""
    folder = tmp_path_factory.mktemp("mini text")
    paths, words = {}, ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    for name, n in SIZES.items():
        paths[name] = folder / f"{name}.jsonl"
        utterances = []
        for i in range(n):
            said = " ".join(words[(i * 7 + j) % 10] for j in range(1 + i % 3))
            utterances.append(Utterance(f"{name}-{i}", prompt=f"repeat {said}", text=said))
        write_manifest(paths[name], utterances)
    return paths


@pytest.fixture
def mini_text(mini, text_manifests) -> dict:
    """The miniature recipe on prompts."""

    def on(section, name):
        return section | {"manifest": str(text_manifests[name])}

    stages = [on(stage, name) for stage, name in zip(mini["stages"], ("train", "pool", "pool"), strict=True)]
    sections = {"probe": on(mini["probe"], "probe"), "evaluation": on(mini["evaluation"], "test"), "stages": stages}
    return mini | sections


@pytest.fixture
def recipe(mini) -> Recipe:
    return Recipe.model_validate(mini)


@pytest.fixture
def texts(mini_text, tmp_path):
    """The miniature recipe on prompts, without probes, and with completions of one to three words."""
    models = {"student": {"model": str(save_qwen3(tmp_path / "student", seed=1))}}
    models["teacher"] = {"model": str(save_qwen3(tmp_path / "teacher", seed=2))}
    recipe = mini_text | models | {"probe": None, "evaluation": None}
    recipe["stages"] = [stage | {"gate": None} for stage in recipe["stages"]]
    return recipe
