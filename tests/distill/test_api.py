"""What verbs do, functions do: each against what its verb prints or writes; and their errors."""

import json
import re
from dataclasses import replace

import pandas as pd
import pytest

import distill
from analysis import load
from distill.data.labels import LabelWarning
from distill.models import load_recognizer
from distill.models.base import ModelError
from distill.progress.observer import Observer
from distill.recipe import Server
from distill.teacher import ServerError
from overlap.errors import UserError
from tests.distill.conftest import ONLY_EMPTY
from tests.distill.test_cli import run


@pytest.fixture(scope="module")
def pair(student_path, teacher_path):
    return distill.load_pair(student_path, teacher_path, k=4)


@pytest.fixture
def nothing_loads(monkeypatch):
    monkeypatch.setattr("distill.models.load_recognizer", lambda *_, **__: pytest.fail("a model was loaded"))


@pytest.fixture
def nothing_is_written(monkeypatch, pair):
    for model in (pair.student, pair.teacher):
        monkeypatch.setattr(model, "rollout", lambda *_, **__: pytest.fail("a transcript was written"))


def printed(capsys, *words):
    code, out, err = run(*words, capsys=capsys)
    assert code == 0, err
    return json.loads(out)


class Listener(Observer):
    def __init__(self):
        self.heard = []

    def work(self, what, done, total):
        self.heard.append((what, done, total))


class TestPair:
    def test_names_paths_and_loaded_models_are_the_same(self, pair, student_path, teacher_path):
        loaded = load_recognizer(str(student_path))
        mixed = distill.load_pair(loaded, str(teacher_path), k=4)
        assert mixed.student is loaded
        assert mixed.k == pair.k == 4
        assert (mixed.blocked == pair.blocked).all()
        assert distill.load_pair("demo:student", "demo:teacher", k=2).teacher.name == "demo:teacher"

    def test_what_is_missing_is_told_before_anything_is_loaded(self, nothing_loads):
        with pytest.raises(FileNotFoundError, match=r"student: the model \./gone .*\n  teacher: the model demo:teachr"):
            distill.load_pair("./gone", "demo:teachr")
        with pytest.raises(UserError, match="k = 0: must be above 0"):
            distill.load_pair("demo:student", "demo:teacher", k=0)

    def test_options_reach_the_models(self):
        with pytest.raises(ModelError, match="a 'qwen3_asr' model has no setting timestamps"):
            distill.load_pair("demo:student", "demo:teacher", timestamps=True)

    def test_a_server_and_its_settings_belong_together(self, student_path, pair):
        with pytest.raises(UserError, match=r"server: these are settings of a server's requests; give teacher\.url"):
            distill.load_pair(student_path, "demo:teacher", server=Server(concurrency=2))
        with pytest.raises(UserError, match="teacher_url: the teacher is loaded"):
            distill.load_pair(pair.student, pair.teacher, teacher_url="http://localhost:1")


class TestProbe:
    def test_finds_what_the_verb_prints_and_writes(self, pair, student_path, teacher_path, manifests, tmp_path, capsys):
        words = ("--student", student_path, "--teacher", teacher_path, "--manifest", manifests["probe"], "--k", 4)
        words = ("probe", *words, "--max-new-tokens", 6)
        listener = Listener()
        result = distill.probe(pair, manifests["probe"], max_new_tokens=6, observer=listener)
        assert result.to_dict() == printed(capsys, *words, "--json")
        code, out, _ = run(*words, "--output", tmp_path / "verb.parquet", capsys=capsys)
        assert code == 0
        assert out == f"{result}\n"
        result.write(tmp_path / "function.parquet")
        ours, theirs = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("function", "verb"))
        pd.testing.assert_frame_equal(ours, theirs)
        assert ours.attrs == theirs.attrs
        assert {what for what, *_ in listener.heard} == {"probing teacher's transcripts", "probing", "teacher's tokens"}
        assert result.summary["top1_agreement"].n_groups == len(result.traces) == 8
        assert result.funnel.total >= result.funnel["used"] > 0

    def test_takes_lists_of_utterances_and_reads_like_a_page(self, pair, manifests):
        utterances = distill.read_manifest(manifests["probe"])
        result = distill.probe(pair, utterances[:3], max_new_tokens=4, traced=1, quiet=True)
        assert [row["id"] for row in result.transcripts] == [u.id for u in utterances[:3]]
        assert [row["reference"] for row in result.transcripts] == [u.text for u in utterances[:3]]
        assert all(isinstance(row["teacher"], str) for row in result.transcripts)
        assert len(result.traces) == 1
        assert result.to_dict()["manifest"] == str(manifests["probe"])
        page = result._repr_html_()
        assert page.count("<table>") == 7  # one vocabulary, no bounds; the panel of rules, signal and calibration
        assert "top1_agreement" in page
        assert str(manifests["probe"]) in page

    def test_a_served_teacher(self, server, served_models, student_path, manifests, capsys, tmp_path):
        words = ("--student", student_path, "--teacher", served_models["teacher"], "--manifest", manifests["probe"])
        words = (*words, "--teacher-url", server.url, "--served-name", "teacher", "--k", 4, "--max-new-tokens", 4)
        about = {"teacher_url": server.url, "server": Server(served_name="teacher"), "k": 4}
        pair = distill.load_pair(student_path, served_models["teacher"], **about)
        result = distill.probe(pair, manifests["probe"], max_new_tokens=4, quiet=True)
        assert result.to_dict() == printed(capsys, "probe", *words, "--json")
        assert result.bounds is not None
        result.write(tmp_path / "served.parquet")
        kept = load(tmp_path / "served.parquet").probes.query("states == 'student'").set_index("statistic")
        assert kept.loc["forward_kl.upper", "value"] == pytest.approx(result.bounds.ends()["forward_kl.upper"].value)
        with pytest.raises(UserError, match="temperature: a server's log-probabilities are at temperature 1"):
            distill.probe(pair, manifests["probe"], temperature=2.0, quiet=True)
        for function in (distill.show, distill.score):
            with pytest.raises(UserError, match="is behind a server, which returns only top-k log-probabilities"):
                function(pair, manifests["probe"])

    def test_mistakes_are_found_before_anything_is_written(self, nothing_is_written, pair, manifests):
        one, *_ = distill.read_manifest(manifests["probe"])
        for wrong, message in (
            ({"batch_size": 0}, "batch_size = 0: must be above 0"),
            ({"max_utterances": 0}, "max_utterances = 0: must be above 0"),
            ({"max_seconds": float("nan")}, "max_seconds = nan: must be above 0"),
            ({"temperature": 0.0}, "temperature: must be above 0, not 0.0"),
            ({"max_new_tokens": 0}, "max_new_tokens: must be at least 1, not 0|max_new_tokens: must be above 0, not 0"),
            ({"max_seconds": 0.1}, "8 lines of the data cannot be used(.|\n)*longer than the limit of 0.1 s"),
        ):
            with pytest.raises(UserError, match=message):
                distill.probe(pair, manifests["probe"], quiet=True, **wrong)
        with pytest.raises(distill.ManifestError, match=r"utterance id .* occurs twice"):
            distill.probe(pair, [one, one], quiet=True)
        with pytest.raises(distill.ManifestError, match="there are no utterances"):
            distill.probe(pair, [], quiet=True)
        with pytest.raises(FileNotFoundError, match="does not exist"):
            distill.probe(pair, "gone.jsonl", quiet=True)

    def test_a_function_that_loads_is_called_once_the_manifest_is_read(self):
        with pytest.raises(FileNotFoundError, match=r"gone\.jsonl"):
            distill.probe(lambda: pytest.fail("a model was loaded"), "gone.jsonl")


class TestShowAndScore:
    def test_show_finds_what_the_verb_prints(self, pair, student_path, teacher_path, manifests, capsys):
        utterances = distill.read_manifest(manifests["probe"])
        words = ("--student", student_path, "--teacher", teacher_path, "--manifest", manifests["probe"], "--k", 4)
        words = ("show", *words, "--utterance", utterances[2].id, "--states", "reference", "--json")
        expected = printed(capsys, *words)
        found = distill.show(pair, manifests["probe"], utterances[2].id, states="reference")
        assert found.to_dict() == expected
        assert distill.show(pair, utterances[2], states="reference").to_dict() == expected
        with pytest.raises(UserError, match="has no utterance 'nobody'; its first is"):
            distill.show(pair, manifests["probe"], "nobody")
        with pytest.raises(distill.ManifestError, match="scoring the reference needs reference text"):
            distill.show(pair, distill.Utterance("a", prompt="-"), states="reference")

    def test_scores_are_those_that_a_probe_summarizes(self, pair, manifests):
        scores = distill.score(pair, manifests["probe"], max_new_tokens=6)
        probed = distill.probe(pair, manifests["probe"], max_new_tokens=6, traced=0, quiet=True)
        assert probed.traces == []
        assert scores.funnel == probed.funnel
        assert scores.student_logits.shape == scores.teacher_logits.shape
        assert scores.student_logits.shape[:2] == scores.used.shape
        agreed = (scores.student_logits.argmax(-1) == scores.teacher_logits.argmax(-1))[scores.used].double().mean()
        assert agreed == pytest.approx(probed.summary["top1_agreement"].value, abs=0.05)  # but for blocked tokens


class TestEvaluate:
    def test_finds_what_the_verb_prints_and_writes(self, pair, student_path, manifests, tmp_path, capsys):
        words = ("evaluate", "--model", student_path, "--manifest", manifests["test"], "--max-new-tokens", 6)
        found = distill.evaluate(pair.student, manifests["test"], max_new_tokens=6, quiet=True)
        named = {"model": str(student_path), "manifest": str(manifests["test"])}
        assert named | found.to_dict() == printed(capsys, *words, "--output", tmp_path / "verb.parquet", "--json")
        found.write(tmp_path / "function.parquet")
        ours, theirs = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("function", "verb"))
        pd.testing.assert_frame_equal(ours, theirs)
        assert str(found).startswith(f"{found.score}\nfinished: ")

    def test_doubtful_labels_are_said_once_and_scored_plain(self, pair, manifests):
        timed = [replace(u, text=f"<|0.00|> {u.text}<|1.00|>") for u in distill.read_manifest(manifests["test"])]
        with pytest.warns(LabelWarning) as said:
            found = distill.evaluate(pair.student, timed, max_new_tokens=2, quiet=True)
        assert len(said) == 1
        assert "of 10 labels, 10 with timestamps: they are left out" in str(said[0].message)
        assert not any("<|" in row["reference"] for row in found.rows)

    def test_mistakes_are_found_before_a_model_is_loaded(self, nothing_loads, manifests):
        bare = [distill.Utterance("a", prompt="-")]
        with pytest.raises(distill.ManifestError, match="evaluation needs reference text and 1 utterances have none"):
            distill.evaluate("demo:student", bare)
        with pytest.raises(UserError, match="no text normalizer 'bassic'"):
            distill.evaluate("demo:student", manifests["test"], normalizer="bassic")
        with pytest.raises(FileNotFoundError, match=r"model: the model demo:studnet .*did you mean demo:student\?"):
            distill.evaluate("demo:studnet", manifests["test"])


class TestTranscribe:
    @pytest.fixture
    def how(self):
        transcription = distill.Transcription(max_new_tokens=4, batch_size=8)
        return {"transcription": transcription, "filters": distill.Filters(**ONLY_EMPTY), "quiet": True}

    def test_writes_what_the_verb_writes(self, how, teacher_path, manifests, tmp_path, capsys):
        data = distill.transcribe(teacher_path, manifests["pool"], tmp_path / "function.jsonl", **how)
        words = ["--max-new-tokens", 4, "--batch-size", 8]
        for name, value in ONLY_EMPTY.items():
            words += [f"--{name.replace('_', '-')}", value]
        words += ["--teacher", teacher_path, "--manifest", manifests["pool"], "--output", tmp_path / "verb.jsonl"]
        shown = printed(capsys, "transcribe", *words, "--json")
        assert data.summary.to_dict().items() <= shown.items()
        for name in ("jsonl", "summary.json", "journal.jsonl"):
            ours, theirs = ((tmp_path / f"{one}.{name}").read_bytes() for one in ("function", "verb"))
            assert ours == theirs

    def test_takes_lists_of_utterances(self, how, pair, manifests, tmp_path):
        few = distill.read_manifest(manifests["pool"])[:3]
        data = distill.transcribe(pair.teacher, few, tmp_path / "out.jsonl", **how)
        assert len(data.kept) + len(data.dropped) == 3

    def test_mistakes_are_found_before_a_model_is_loaded(self, how, nothing_loads, manifests, tmp_path, monkeypatch):
        monkeypatch.setattr("distill.teacher_data.making.load_teacher", lambda *_: pytest.fail("a model was loaded"))
        output = tmp_path / "out.jsonl"
        for wrong, message in (
            ({"device": "nowhere"}, "device nowhere cannot be used"),
            ({"normalizer": "bassic"}, "no text normalizer 'bassic'"),
            ({"server": Server(concurrency=2)}, "server: these are settings of a server's requests"),
            ({"dtype": "bfloat16", "teacher_url": "http://localhost:1"}, "dtype"),
            ({"max_seconds": -1.0}, "max_seconds = -1.0: must be above 0"),
        ):
            with pytest.raises(UserError, match=message):
                distill.transcribe("demo:teacher", manifests["pool"], output, **how | wrong)
        with pytest.raises(FileNotFoundError, match=r"teacher: the model demo:teachr"):
            distill.transcribe("demo:teachr", manifests["pool"], output, **how)
        with pytest.raises(OSError, match=r"output: .* is a folder"):
            distill.transcribe("demo:teacher", manifests["pool"], tmp_path, **how)
        assert list(tmp_path.iterdir()) == []


class TestPreflight:
    def test_finds_what_the_verb_prints(self, server, served_models, manifests, capsys):
        teacher, settings = served_models["trained"], Server(served_name="trained")
        words = ("--teacher", teacher, "--manifest", manifests["probe"], "--k", 4, "--max-utterances", 2)
        words = ("probe", *words, "--teacher-url", server.url, "--served-name", "trained", "--preflight", "--json")
        expected = printed(capsys, *words)
        found = distill.preflight(
            teacher, manifests["probe"], teacher_url=server.url, server=settings, k=4, max_utterances=2, quiet=True
        ).to_dict()
        for tree in (found, expected):
            tree.pop("latency")  # wall clock
        assert json.loads(json.dumps(found)).items() <= expected.items()

    def test_a_server_that_is_not_there(self, manifests):
        with pytest.raises(ServerError, match=re.escape("http://127.0.0.1:9")):
            distill.preflight(
                "demo:teacher",
                manifests["probe"],
                teacher_url="http://127.0.0.1:9",
                server=Server(retries=0, timeout_seconds=1.0),
            )
