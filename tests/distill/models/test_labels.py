"""Labels with the control tokens that data sets bring: taken off where the form is known, elsewhere refused."""

import json

import pytest

from distill import Utterance, read_manifest
from distill.data.labels import LabelWarning, checked_labels, plain_labels
from distill.data.manifest import ManifestError
from distill.models import load_recogniser
from distill.models.labels import plain, read_labels
from tests.distill.small_models import save_glm_asr, save_qwen3, save_whisper

FORMS = {
    "call four five": ("call four five", None),
    " kept as it is ": (" kept as it is ", None),
    "language English<asr_text>call four five": ("call four five", "English"),
    "language None<asr_text>call": ("call", None),
    "language Chinese<asr_text>": ("", "Chinese"),
    "<asr_text>call": ("call", None),
    "language is what we speak": ("language is what we speak", None),
    "call four<|im_end|>": ("call four", None),
    "call four <|endoftext|> <|endoftext|>\n": ("call four", None),
    "<|startoftranscript|><|en|><|transcribe|><|notimestamps|> call four<|endoftext|>": ("call four", "en"),
    "<|yue|><|transcribe|> x": ("x", "yue"),
    "<|0.00|> call four five<|2.00|>": ("call four five", None),
    "<|de|><|0.00|> halt<|1.02|><|1.02|> den Zug<|29.98|>": ("halt den Zug", "de"),
    "<|0.00|>call<|1.00|><|1.00|>four<|2.00|>": ("call four", None),
    "<|0.00|>\u4f60\u597d<|1.00|><|1.00|>\u4e16\u754c<|2.00|>": ("\u4f60\u597d\u4e16\u754c", None),
}


@pytest.mark.parametrize("text", FORMS)
def test_known_forms(text):
    label = plain(text)
    assert (label.text, label.language) == FORMS[text]
    assert bool(label.removed) == (text != FORMS[text][0])


@pytest.fixture(scope="module")
def models(student_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    paths = {
        "qwen3_asr": student_path,
        "whisper": save_whisper(folder / "whisper"),
        "glm": save_glm_asr(folder / "glm"),
        "text": save_qwen3(folder / "text"),
    }
    return {name: load_recogniser(str(path)) for name, path in paths.items()}


@pytest.mark.parametrize(
    ("model", "text", "left"),
    [
        ("qwen3_asr", "call <|endoftext|> four", ["<|endoftext|>"]),
        ("qwen3_asr", "call <|im_end|> four", ["<|im_end|>"]),
        ("qwen3_asr", "call<|audio_pad|>", ["<|audio_pad|>"]),
        ("whisper", "call <|endoftext|> four", ["<|endoftext|>"]),
        ("whisper", "<|startoftranscript|><|translate|> call", ["<|translate|>"]),
        ("whisper", "a<|im_end|>b", ["<|im_end|>"]),  # no token of its vocabulary: it would learn to spell it
        ("glm", "call<|user|>", ["<|user|>"]),
        ("glm", "a <asr_text>b", ["<asr_text>"]),
        ("text", "a<|im_start|>b", ["<|im_start|>"]),
        ("text", "<think>hm</think> yes", []),  # may be written
        ("text", "language English<asr_text>x", []),  # a completion is what it is
    ],
)
def test_control_tokens_that_are_left(models, model, text, left):
    (label,) = read_labels([text], models[model])
    assert list(label.control) == left


def test_labels_of_the_official_form_name_their_language(models):
    lines = [
        Utterance("a", prompt="-", text="language German<asr_text>halt"),
        Utterance("b", prompt="-", text="language English<asr_text>call", language="en"),
        Utterance("c", prompt="-", text="stop"),
        Utterance("d", prompt="-"),
    ]
    plain_lines, findings = plain_labels(lines, models["qwen3_asr"])
    expected = [("halt", "German"), ("call", "en"), ("stop", None), (None, None)]
    assert [(u.text, u.language) for u in plain_lines] == expected
    assert findings == []
    assert plain_labels(plain_lines, models["qwen3_asr"]) == (plain_lines, [])


ONE_LANGUAGE = [
    ("language Norwegian<asr_text>x", "nb"),
    ("<|no|> x", "nb-NO"),
    ("language Chinese<asr_text>x", "cmn"),
    ("language Chinese<asr_text>x", "cmn-Hans-CN"),
    ("language Mandarin<asr_text>x", "zh-TW"),
    ("language Cantonese<asr_text>x", "zh-yue"),
    ("language Chinese<asr_text>x", "zh-yue"),
    ("<|he|> x", "iw"),
    ("<|tl|> x", "fil"),
    ("language Filipino<asr_text>x", "tl-PH"),
    ("<|tl|> x", "Filipino"),
    ("<|jw|> x", "jv-ID"),
    ("language Dutch<asr_text>x", "Flemish"),
    ("language English<asr_text>x", " EN_us "),
]
OTHERS = [
    ("language Norwegian<asr_text>x", "sv"),
    ("language Chinese<asr_text>x", "yue"),
    ("language English<asr_text>x", "Klingon"),
    ("<|en|> x", "de-AT"),
]


@pytest.mark.parametrize(("text", "language"), ONE_LANGUAGE)
def test_two_names_of_one_language_do_not_contradict_each_other(models, text, language):
    lines, findings = plain_labels([Utterance("a", prompt="-", text=text, language=language)], models["qwen3_asr"])
    assert findings == []
    assert (lines[0].text, lines[0].language) == ("x", language)


@pytest.mark.parametrize(("text", "language"), OTHERS)
def test_two_languages_do(models, text, language):
    _, (finding,) = plain_labels([Utterance("a", prompt="-", text=text, language=language)], models["qwen3_asr"])
    assert f"and the line {language!r}" in finding.message


@pytest.mark.parametrize("language", ["auto", "und", "", "UND-Latn", " Unknown ", "mul", None])
def test_a_field_that_says_that_no_language_is_known_lets_the_label_name_it(models, language):
    for text, named in (("language English<asr_text>call", "English"), ("<|de|> halt", "de")):
        lines, findings = plain_labels([Utterance("a", prompt="-", text=text, language=language)], models["qwen3_asr"])
        assert findings == []
        assert lines[0].language == named


def test_what_cannot_be_used_is_named_with_file_line_field_and_remedy(models, tmp_path):
    manifest = tmp_path / "train.jsonl"
    texts = ("call", "x<|endoftext|>y", "language German<asr_text>halt")
    rows = [{"id": f"u{i}", "prompt": "-", "text": text, "language": "English"} for i, text in enumerate(texts)]
    manifest.write_text("\n" + "".join(json.dumps(row) + "\n" for row in rows))
    lines = read_manifest(manifest)
    with pytest.raises(ManifestError) as error:
        checked_labels(lines, models["qwen3_asr"])
    first, second, third = str(error.value).split("\n  ")
    assert first == "2 lines of the data cannot be used:"
    assert second.startswith(
        f"{manifest}:3: utterance 'u1': field \"text\": holds '<|endoftext|>', which transcripts of"
    )
    assert second.endswith("remove it from the text, or leave the utterance out")
    assert third.startswith(f"{manifest}:4: utterance 'u2': field \"text\": names the language 'German' and")
    assert checked_labels(lines, models["qwen3_asr"], needed=False)[2].text == "halt"


def test_half_a_character_is_refused_before_a_tokenizer_stumbles_over_it(models):
    with pytest.raises(ManifestError, match=r"utterance 'a': field \"text\": holds half of a character .* in UTF-8"):
        checked_labels([Utterance("a", prompt="-", text="x\ud800y")], models["qwen3_asr"])


def test_tokens_that_whisper_suppresses_are_counted_before_training(models):
    """`suppress_tokens` of the small checkpoint is id 1, a quotation mark here."""
    whisper = models["whisper"]
    mark = whisper.tokenizer.decode([1])
    lines = [Utterance(str(i), prompt="-", text=text) for i, text in enumerate((f"a{mark}", "b", f"c{mark}{mark}"))]
    assert [label.barred for label in read_labels([line.text for line in lines], whisper)] == [1, 0, 2]
    with pytest.warns(LabelWarning, match=r"the labels: of 3 labels, 2 with tokens that .* never writes"):
        checked_labels(lines, whisper)


def test_timestamps_are_said_to_be_left_out(models):
    line = Utterance("a", prompt="-", text="<|0.00|> call<|2.00|>")
    with pytest.warns(LabelWarning, match="1 with timestamps: they are left out"):
        assert checked_labels([line], models["whisper"])[0].text == "call"
