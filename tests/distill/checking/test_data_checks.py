"""Findings about data, each provoked once on small files."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from distill import Utterance
from distill.checking.finding import CheckError, CheckFinding, counted, refuse_errors, worst_first
from distill.checking.held_out import check_shared_inputs, check_shared_texts
from distill.checking.lines import check_lines
from distill.checking.references import check_empty, check_lost_characters
from distill.checking.sets import NamedSet, spread
from distill.checking.written_forms import case_of, check_written_forms, numerals_of, punctuation_of
from distill.data.checks import check_source
from distill.models import load_recognizer
from distill.normalize import normalizer

BASIC = normalizer("basic").apply


def clip(folder: Path, name: str, seed: int, seconds: float = 1.0) -> Path:
    path = folder / f"{name}.wav"
    soundfile.write(path, 0.1 * np.random.default_rng(seed).standard_normal(int(16000 * seconds)), 16000)
    return path


def training(*utterances: Utterance, **options) -> NamedSet:
    return NamedSet("stage 'base'", "training", "base.jsonl", utterances, **options)


def probe(*utterances: Utterance) -> NamedSet:
    return NamedSet("probe", "probe", "probe.jsonl", utterances)


def evaluation(*utterances: Utterance, normalize=BASIC) -> NamedSet:
    return NamedSet("evaluation 'test'", "evaluation", "test.jsonl", utterances, normalize=normalize)


def only(findings: list[CheckFinding]) -> CheckFinding:
    (found,) = findings
    return found


@pytest.fixture(scope="module")
def student():
    return load_recognizer("demo:student")


class TestLines:
    @pytest.fixture
    def manifest(self, tmp_path):
        clip(tmp_path, "a", 0)
        (tmp_path / "broken.wav").write_bytes(b"RIFF no audio at all")
        clip(tmp_path, "long", 1, seconds=3.0)
        lines = [
            {"id": "good", "audio": "a.wav", "langauge": "English"},
            {"id": "good", "audio": "a.wav"},
            {"id": "broken", "audio": "broken.wav"},
            {"id": "long", "audio": "long.wav"},
        ]
        path = tmp_path / "set.jsonl"
        path.write_text("\n".join(map(json.dumps, lines)))
        return path

    def rows(self, manifest, *, dropped):
        utterances, found = check_source(manifest, 2.0)
        return check_lines(found, [training(*utterances)], dropped=dropped)

    def test_a_row_for_each_field_with_lines_and_remedies(self, manifest):
        found = self.rows(manifest, dropped=False)
        rows = {row.finding.partition('field "')[2].partition('"')[0]: row for row in found}
        assert len(rows) == len(found) == 3
        assert rows["id"] == CheckFinding(
            "error",
            "lines and audio",
            f"{manifest}, field \"id\": 1 line cannot be used: line 2: is 'good', already used on line 1",
            "give each utterance its own id",
        )
        assert rows["audio"].severity == "error"
        assert rows["audio"].finding.startswith(f'{manifest}, field "audio": 2 lines cannot be used: line 3: ')
        assert "line 4: 'long'" in rows["audio"].finding
        assert "3.000 s" in rows["audio"].finding
        assert rows["langauge"].severity == "warning"
        assert "1 line may be a mistake: line 1: 'good' is not read" in rows["langauge"].finding
        assert rows["langauge"].remedy == 'is "language" meant?'

    def test_lines_that_a_run_leaves_out_are_warnings(self, manifest):
        rows = self.rows(manifest, dropped=True)
        assert {row.severity for row in rows} == {"warning"}
        assert any("2 lines are left out" in row.finding for row in rows)

    def test_what_is_in_order(self, tmp_path):
        sets = [training(Utterance("a", clip(tmp_path, "a", 0))), probe(Utterance("b", clip(tmp_path, "b", 1)))]
        found = only(check_lines([], sets, dropped=False))
        assert found.severity == "ok"
        assert found.finding.startswith("all 2 lines of 2 manifests can be used")


class TestSharedData:
    def test_a_copy_under_another_name_is_an_error(self, tmp_path):
        audio = clip(tmp_path, "a", 0)
        copy = shutil.copy(audio, tmp_path / "copy.wav")
        other = Utterance("new", clip(tmp_path, "b", 1))
        found = only(check_shared_inputs([training(Utterance("a", audio)), probe(Utterance("x", copy), other)]))
        assert (found.severity, found.check) == ("error", "audio shared between sets")
        assert found.finding == "1 of 2 (50.0 %) utterances of probe share audio with stage 'base' (base.jsonl)"
        assert found.remedy.startswith("remove them from either set")

    def test_segments_of_one_file_are_shared_where_they_overlap(self, tmp_path):
        audio = clip(tmp_path, "a", 0, seconds=3.0)
        first, second, across = (
            Utterance(name, audio, begin_time=begin, end_time=end)
            for name, begin, end in (("first", 0.0, 1.0), ("second", 1.0, 2.0), ("across", 0.5, 1.5))
        )
        assert only(check_shared_inputs([training(first), evaluation(second)])).severity == "ok"
        found = only(check_shared_inputs([training(first), evaluation(second, across)]))
        assert "1 of 2 (50.0 %) utterances of evaluation 'test' share audio" in found.finding

    def test_probing_what_is_reported_is_a_note(self, tmp_path):
        one, other = (Utterance(name, clip(tmp_path, name, seed)) for seed, name in enumerate("ab"))
        note, ok = check_shared_inputs([training(other), probe(one), evaluation(one)])
        assert (note.severity, ok.severity) == ("note", "ok")
        assert note.finding == "1 of 1 (100.0 %) utterances of evaluation 'test' share audio with probe (probe.jsonl)"
        assert ok.finding == "probe (n = 1) and evaluation 'test' (n = 1): none of it is among 1 training utterances"

    def test_prompts_take_the_place_of_audio(self):
        found = only(
            check_shared_inputs(
                [
                    training(Utterance("a", prompt="say one")),
                    probe(*(Utterance(p, prompt=p) for p in ("say one", "say 2"))),
                ]
            )
        )
        assert found.severity == "error"
        assert "1 of 2 (50.0 %) utterances of probe have the prompt of one of stage 'base'" in found.finding

    def test_the_same_words_of_other_speakers_are_a_note(self, tmp_path):
        audio = clip(tmp_path, "a", 0)
        labeled = [Utterance("a", audio, "CALL  Four", extra={"speaker": "x"}), Utterance("b", audio, "stop")]
        held_out = [
            Utterance("c", audio, "call four", extra={"speaker": "y"}),
            Utterance("d", audio, "call four", extra={"speaker": "x"}),
            Utterance("e", audio, "go"),
            Utterance("f", audio, ""),
        ]
        found = only(check_shared_texts([training(*labeled, learned=True), evaluation(*held_out)]))
        assert found.severity == "note"
        assert found.finding == (
            "2 of 3 (66.7 %) texts of evaluation 'test' are also labels of training, 1 of them by the same speaker"
        )
        assert check_shared_texts([training(*labeled), evaluation(*held_out)]) == []  # no stage learns these texts
        assert only(check_shared_texts([training(*labeled, learned=True), evaluation(held_out[2])])).severity == "ok"


class TestReferences:
    @pytest.mark.parametrize(
        ("texts", "severity", "words"),
        [
            (("one", "two"), "ok", "0 of 2 references of evaluation 'test' are empty after normalization"),
            (("one", "…"), "note", "1 of 2 references of evaluation 'test' are empty after normalization"),
            (("", " ? "), "error", "2 of 2 references of evaluation 'test' are empty after normalization"),
        ],
    )
    def test_empty_ones_are_counted_under_the_normalizer(self, texts, severity, words):
        found = only(check_empty([evaluation(*(Utterance(t or "none", prompt="p", text=t) for t in texts))]))
        assert (found.severity, found.finding) == (severity, words)

    def test_characters_that_a_tokenizer_lacks(self, student):
        """The demo's tokenizer has the letters of English alone: É and the euro sign are lost, 3 of 14 characters."""
        texts = ["CAFÉ ONE", "É 5 € OK ME"]
        sets = [training(*(Utterance(t, prompt="p", text=t) for t in texts), learned=True)]
        found = only(check_lost_characters(sets, {"student": student}))
        assert found.severity == "error"
        assert found.finding == (
            "the student's tokenizer loses 21.43 % of 14 characters of 2 texts of stage 'base': 'É' 2 ×, '€' 1 ×"
        )
        assert found.remedy.startswith("write the texts in characters that it has")

    def test_a_few_are_a_warning_and_none_are_in_order(self, student):
        texts = ["ABCDEFGHIJKLMNOPQRS É"]
        sets = [training(*(Utterance(t, prompt="p", text=t) for t in texts), learned=True)]
        found = only(check_lost_characters(sets, {"student": student}))
        assert (found.severity, "loses 5.00 % of 20 characters" in found.finding) == ("warning", True)
        sets = [training(Utterance("a", prompt="p", text="CALL 351"), learned=True)]
        found = only(check_lost_characters(sets, {"student": student, "teacher": student}))
        assert found.severity == "ok"
        assert found.finding == "both tokenizers lose none of 7 characters of 1 texts of stage 'base'"

    def test_what_a_normalizer_removes_is_not_lost(self, student):
        euro = Utterance("a", prompt="p", text="five €")
        assert only(check_lost_characters([evaluation(euro)], {"student": student})).severity == "ok"
        found = only(check_lost_characters([evaluation(euro, normalize=str)], {"student": student}))
        assert found.severity == "error"

    def test_large_sets_are_sampled_and_say_so(self, student, monkeypatch):
        monkeypatch.setattr("distill.checking.references.MOST_TEXTS", 4)
        texts = [f"ABCDEFGHIJKLMNOPQR{'É' if i % 4 == 0 else 'S'}" for i in range(8)]
        sets = [training(*(Utterance(str(i), prompt="p", text=t) for i, t in enumerate(texts)), learned=True)]
        found = only(check_lost_characters(sets, {"student": student}))
        assert "loses 2.63 [" in found.finding  # 2 of 4 texts with 19 characters each
        assert "76 characters of 4 texts of stage 'base' (evenly spaced, of 8)" in found.finding
        assert spread(range(8), 4) == [0, 2, 4, 6]


class TestWrittenForms:
    def test_forms(self):
        assert [case_of(t) for t in ("CALL 3", "call", "Call", "351", "")] == [
            "upper case",
            "lower case",
            "both cases",
            "",
            "",
        ]
        assert [numerals_of(t) for t in ("call 3", "call three", "½")] == ["numerals", "no numerals", "numerals"]
        assert [punctuation_of(t) for t in ("it's", "Stop.", "twenty-one")] == [
            "no punctuation",
            "punctuation",
            "no punctuation",
        ]

    def test_labels_in_another_form_are_a_warning(self):
        n = 12
        case, numerals = check_written_forms(["CALL 35"] * n, ["call three five"] * n, "stage 'base'")
        assert (case.severity, numerals.severity) == ("warning", "warning")
        assert case.finding.startswith("different case in 12 of 12 utterances of stage 'base' (100 [")
        assert "such as 'CALL 35' (upper case) and the teacher's 'call three five' (lower case)" in case.finding
        assert numerals.finding.startswith("different numerals in 12 of 12")
        assert "write the labels as the teacher writes" in case.remedy

    def test_a_single_difference_is_a_note(self):
        labels = ["call three"] * 15 + ["call 3"]
        found = only(check_written_forms(labels, ["call three"] * 16, "stage 'base'"))
        assert found.severity == "note"
        assert found.finding.startswith("different numerals in 1 of 16 utterances")

    def test_the_same_form(self):
        found = only(check_written_forms(["call three"] * 3, ["stop it"] * 3, "stage 'base'"))
        assert found.finding == (
            "case, numerals and punctuation of labels and transcripts are alike in 3 utterances of stage 'base'"
        )


def test_the_worst_stands_first_and_errors_are_refused_together():
    ok, error = CheckFinding("ok", "a", "fine"), CheckFinding("error", "b", "broken", "mend it")
    findings = [ok, error, replace(error, check="c", remedy="")]
    assert [one.severity for one in worst_first(findings)] == ["error", "error", "ok"]
    assert counted(findings) == "2 errors, 1 ok"
    refuse_errors([ok])
    with pytest.raises(CheckError) as refused:
        refuse_errors(findings)
    assert str(refused.value) == (
        "2 errors before training (--no-check starts all the same):\n  b: broken; mend it\n  c: broken"
    )
