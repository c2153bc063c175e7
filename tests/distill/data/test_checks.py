"""Every line is held against the models that read it, before any of them does."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from distill.data.checks import Use, check_audio, check_models
from distill.data.line_findings import Finding, errors, refuse, words
from distill.data.manifest import ManifestError, read_manifest
from distill.models import load_recognizer
from distill.models.languages import spoken
from distill.recipe.paths import packaged
from tests.distill.small_models import save_gpt2, save_whisper


def manifest(folder: Path, *lines: dict) -> Path:
    soundfile.write(folder / "a.wav", np.zeros(32000, dtype=np.float32), 16000)
    path = folder / "set.jsonl"
    path.write_text("".join(json.dumps({"audio": "a.wav"} | line) + "\n" for line in lines))
    return path


@pytest.fixture(scope="module")
def qwen():
    return load_recognizer(str(packaged("student")))


@pytest.fixture(scope="module")
def whispers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whispers")
    kinds = {"english": False, "multilingual": True}
    return {name: load_recognizer(str(save_whisper(folder / name, multilingual=many))) for name, many in kinds.items()}


def found(path: Path, max_seconds: float = 30.0) -> list[tuple[int | None, str | None]]:
    return [(one.line, one.field) for one in check_audio(read_manifest(path, check_audio=False), max_seconds)]


def test_what_is_wrong_with_audio_is_found_in_every_line(tmp_path):
    soundfile.write(tmp_path / "cut.wav", np.zeros(32000), 16000)
    content = (tmp_path / "cut.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(content[:30000])
    (tmp_path / "text.wav").write_text("no audio")
    lines = [{}, {"end_time": 2.5}, {"begin_time": 3.0}, {"audio": "none.wav"}, {"audio": "cut.wav"}]
    lines += [{"audio": "text.wav"}, {"end_time": 1.0}, {"audio": "cut.wav", "end_time": 0.5}]
    path = manifest(tmp_path, *lines)
    assert found(path) == [(2, "end_time"), (3, "begin_time"), (4, "audio"), (5, "audio"), (6, "audio")]
    assert found(path, max_seconds=1.5)[:2] == [(1, "audio"), (2, "end_time")]


def test_a_finding_names_file_line_id_field_and_remedy(tmp_path):
    path = manifest(tmp_path, {"id": "u7", "end_time": 2.5})
    (finding,) = check_audio(read_manifest(path), 30.0)
    assert finding.to_dict() == {
        "severity": "error",
        "file": str(path),
        "line": 1,
        "id": "u7",
        "field": "end_time",
        "message": f"{tmp_path}/a.wav: ends at 2.500 s, but the file ends at 2.000 s",
        "remedy": "correct end_time in the manifest (−1 means the end of the file)",
    }
    assert str(finding).startswith(f"{path}:1: utterance 'u7': field \"end_time\": {tmp_path}/a.wav: ends at 2.500 s")


def test_twenty_are_shown_and_all_are_counted():
    many = [Finding("error", "m.jsonl", n, f"u{n}", None, "is wrong", "mend it") for n in range(1, 33)]
    doubt = Finding("warning", "m.jsonl", 40, "u40", None, "is odd", "look at it")
    with pytest.raises(ManifestError) as refused:
        refuse([*many, doubt], "or else")
    lines = str(refused.value).splitlines()
    assert lines[0] == "32 lines of the data cannot be used (or else):"
    assert (len(lines), lines[-2], lines[-1]) == (
        22,
        "  m.jsonl:20: utterance 'u20': is wrong; mend it",
        "  … and 12 more",
    )
    refuse([doubt])
    assert words([many[0], doubt]).count("\n") == 3
    assert errors([doubt]) == []


def test_languages_that_a_family_does_not_know_are_found_once_a_line(tmp_path, qwen, whispers):
    known = ["English", "en", "en-US", "zh-CN", "zh_cn", "German"]
    path = manifest(tmp_path, *({"language": name} for name in [*known, "Klingon", "English", "tlh-KX"]))
    lines = read_manifest(path)
    for model in (qwen, whispers["multilingual"]):
        findings = check_models(Use(lines, (model,)))
        assert [(one.line, one.field, one.severity) for one in findings] == [
            (7, "language", "error"),
            (9, "language", "error"),
        ]
        assert "Klingon" in findings[0].message
    english = check_models(Use(lines, (whispers["english"],)))
    assert [one.line for one in english] == [4, 5, 6, 7, 9]


def test_what_is_not_known_is_no_language(tmp_path, qwen):
    path = manifest(tmp_path, *({"language": name} for name in ["auto", "", "und", "und-Latn", " Auto ", None]))
    assert check_models(Use(read_manifest(path), (qwen,))) == []


@pytest.mark.parametrize(
    ("language", "expected"),
    [("pt-BR", "pt"), ("yue-Hant-HK", "yue"), ("zh-yue", "yue"), ("nb-NO", "no"), ("cmn", "zh"), ("sr-Latn", "sr")],
)
def test_tags_are_read_as_the_codes_of_prompts(language, expected):
    assert spoken(language) == expected


def test_lines_that_cannot_share_a_batch_are_found(tmp_path, qwen):
    lines = read_manifest(manifest(tmp_path, {"language": "English"}, {}, {"language": "en"}, {"language": "auto"}))
    try:
        qwen.check_languages(["English", None])
    except ValueError:
        assert [one.line for one in check_models(Use(lines, (qwen,)))] == [2, 4]
    else:
        assert check_models(Use(lines, (qwen,))) == []


def test_audio_beyond_the_window_is_found(tmp_path, whispers):
    path = manifest(tmp_path, {}, {"audio": "long.wav"}, {"audio": "long.wav", "end_time": 5.0})
    soundfile.write(tmp_path / "long.wav", np.zeros(31 * 16000), 16000)
    model = whispers["english"]
    window = model.limits.window_seconds
    findings = check_models(Use(read_manifest(path), (model,)))
    assert [one.line for one in findings] == ([2] if window == 30 else [2, 3])
    assert f"lasts 31.000 s, the window of {model.name!r} is {window:g} s" in findings[0].message


def test_the_longest_label_that_is_taken_can_be_scored_and_a_longer_one_cannot(tmp_path, whispers):
    for model in whispers.values():
        room = model.limits.label_tokens
        written = ["x" * n for n in range(1, room + 2)]
        lengths = dict(zip(model.encode(written).mask.sum(-1).tolist(), written, strict=True))
        texts = [lengths[room], lengths[room + 1]]
        assert model.encode(texts).mask.sum(-1).tolist() == [room, room + 1]
        lines = read_manifest(manifest(tmp_path, *({"text": text} for text in texts)))
        (finding,) = check_models(Use(lines, (model,), model))
        assert (finding.line, finding.field) == (2, "text")
        assert f"is {room + 1} tokens, {model.name!r} has room for {room}" in finding.message
        prompt = model.prepare([np.zeros(1600, dtype=np.float32)], ["English"])
        model.score(prompt, model.encode(texts[:1]))
        with pytest.raises(IndexError):
            model.score(prompt, model.encode(texts[1:]))


def test_prompts_and_completions_beyond_the_context_are_found(tmp_path):
    model = load_recognizer(str(save_gpt2(tmp_path / "gpt2")))
    room = model.limits.label_tokens
    path = tmp_path / "texts.jsonl"
    prompts = ["one", "one " * room, "one"]
    rows = zip(prompts, ("two", "two", "two " * room), strict=True)
    path.write_text("".join(json.dumps({"prompt": p, "text": t}) + "\n" for p, t in rows))
    findings = check_models(Use(read_manifest(path), (model,), model))
    assert [(one.line, one.field) for one in findings] == [(2, "prompt"), (3, "text")]


def test_empty_labels_are_doubted_where_they_are_taught(tmp_path, qwen):
    lines = read_manifest(manifest(tmp_path, {"text": "one"}, {"text": " "}, {"text": ""}))
    assert [(one.line, one.severity) for one in check_models(Use(lines, (qwen,), qwen, trained_on=True))] == [
        (2, "warning"),
        (3, "warning"),
    ]
    assert check_models(Use(lines, (qwen,), qwen)) == []
