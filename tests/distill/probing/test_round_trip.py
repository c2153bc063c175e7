"""The share of a model's own transcripts that come back in other tokens: counted, written beside a run, reported."""

import dataclasses
import json
import math

import pytest

from analysis import load
from analysis.report.section import section
from analysis.report.thresholds import Thresholds
from analysis.report.write import write_report
from distill import Utterance, train
from distill.cli.app import main
from distill.data.audio import AudioCache
from distill.data.batch import AudioSource
from distill.models import load_recognizer
from distill.models.base import pack
from distill.models.text_lm import TextLM
from distill.models.tokenizer_fits_model import TokenizerWarning
from distill.probing.round_trip import LIMIT, round_trip
from distill.progress.observer import Observer
from distill.recipe import Decoding, Recipe
from tests.distill.models.test_tokenizer_fits_model import faulty
from tests.distill.small_models import save_qwen3

SOURCE = AudioSource(AudioCache())
UTTERANCES = [Utterance(f"u{i}", prompt=f"say {i}") for i in range(6)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_recognizer(str(save_qwen3(tmp_path_factory.mktemp("round trip") / "model", seed=2)))


def written(model, rows, **changes):
    """A writer of given transcripts, whatever it hears; `.` closes one."""
    end, convert = model.tokens.end_of_text, model.tokenizer.convert_tokens_to_ids
    ids = [[*convert([t for t in row if t != "."]), *([end] if row[-1] == "." else [])] for row in rows]

    class Writer:
        def __getattr__(self, name):
            return getattr(model, name)

        def rollout(self, prompt, **_):
            at = [int(name[1:]) for name in prompt.utterances]
            return dataclasses.replace(pack([ids[i % len(ids)] for i in at], end), **changes)

    return Writer()


ROWS = [
    ["Ġth", "e", "."],
    ["Ġ", "t", "h", "e", "."],  # its tokenizer would write Ġth
    ["."],
    ["Ġth"],  # cut off between two tokens
    ["Ġ", "Ã"],  # cut off inside a character: not judged
    ["Ġs", "Ġ", "th", "."],
]


def test_counts_by_hand(model):
    found = round_trip(written(model, ROWS), SOURCE, UTTERANCES, Decoding(), batch_size=4)
    assert (found.n, found.n_judged, found.n_recut) == (6, 5, 2)
    assert found.share.value == pytest.approx(0.4)
    assert found.example == ("u1", "Ġ", "Ġth")
    assert found.line.startswith("2 of 5 of its own transcripts are encoded to other tokens by its tokenizer (40% [")
    assert found.line.endswith("first of 'u1': 'Ġ' as 'Ġth'")
    tree = found.to_dict()
    assert (tree["n"], tree["n_judged"], tree["n_recut"], tree["share"]) == (6, 5, 2, 0.4)
    assert json.loads(json.dumps(tree, allow_nan=False)) == tree


def test_none_and_not_known(model):
    clean = round_trip(written(model, ROWS[:1]), SOURCE, UTTERANCES, Decoding())
    assert (clean.n_recut, clean.share.value, clean.example) == (0, 0.0, None)
    assert clean.line == "0 of 6 of its own transcripts are encoded to other tokens by its tokenizer"
    hidden = round_trip(written(model, ROWS, is_encoded=True), SOURCE, UTTERANCES, Decoding())
    assert (hidden.n_judged, hidden.n_recut) == (0, 0)
    assert math.isnan(hidden.share.value)
    assert hidden.line == "the tokens of its 6 own transcripts are not known"
    assert hidden.to_dict()["share"] is None


def test_some_utterances_are_enough(model):
    many = [Utterance(f"u{i}", prompt="say") for i in range(LIMIT + 5)]
    assert round_trip(written(model, ROWS), SOURCE, many, Decoding(), batch_size=7).n == LIMIT


@pytest.fixture
def wild(monkeypatch):
    """Whatever text models write, they write it in tokens that their tokenizer would not."""

    def rollout(self, prompt, **_):
        end = self.tokens.end_of_text
        return pack([[*self.tokenizer.convert_tokens_to_ids(["Ġ", "t", "h"]), end]] * prompt.batch_size, end)

    monkeypatch.setattr(TextLM, "rollout", rollout)


def test_a_run_says_it_at_its_start_and_in_its_report(texts, text_manifests, tmp_path, wild):
    said = []

    class Heard(Observer):
        def notice(self, text):
            said.append(text)

    probe = {"manifest": str(text_manifests["probe"]), "every": 4, "trace_utterances": 0}
    recipe = texts | {"stages": texts["stages"][:1], "probe": probe}
    train(Recipe.model_validate(recipe), tmp_path / "run", observer=Heard())
    teacher = recipe["teacher"]["model"]
    assert said[0].startswith(f"teacher {teacher!r}: 8 of 8 of its own transcripts are encoded to other tokens")
    kept = json.loads((tmp_path / "run" / "round_trip.json").read_text(encoding="utf-8"))
    assert (kept["teacher"]["n_judged"], kept["teacher"]["n_recut"]) == (8, 8)
    run = load(tmp_path / "run")
    rows = run.probes.loc[(run.probes["statistic"] == "recut") & (run.probes["states"] == "student")]
    assert rows["value"].tolist() == pytest.approx([3 / 4] * len(rows))  # behind Ġ, t and h
    about = dict(section("run", run, Thresholds()).about)
    assert about["teacher's own transcripts that its tokenizer splits differently"] == "8 of 8 (100 %)"
    assert about["teacher's tokenizer"] == about["student's tokenizer"] == "0 of 260 text tokens never encoded to"
    for name in ("report.md", "report.html"):
        write_report(tmp_path / "run", tmp_path / name)
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "8 of 8 (100" in text
        assert "are encoded into other tokens than the teacher wrote" in text


def test_resolved_json_says_what_was_mended(texts, tmp_path):
    merges = [("Ġ", "t"), ("Ġt", "h"), ("Ġth", "e"), ("e", "r")]
    models = {name: faulty(save_qwen3(tmp_path / f"faulty-{name}", merges=merges)) for name in ("student", "teacher")}
    recipe = texts | {"stages": texts["stages"][:1]} | {name: {"model": str(path)} for name, path in models.items()}
    with pytest.warns(TokenizerWarning, match="were put back"):
        result = train(Recipe.model_validate(recipe), tmp_path / "run")
    run = load(tmp_path / "run")
    for role in ("student", "teacher"):
        found = dict(run.resolved["tokenizers"][role])
        assert len(found.pop("vocabulary")) == 32
        assert found == {
            "text_tokens": 260,
            "unreachable": 0,
            "share_unreachable": 0.0,
            "merges_put_back": [["Ġ", "t"]],
        }
    assert load_recognizer(str(result.model)).tokens.check.merges == ()  # warnings are errors here
    one = section("run", run, Thresholds())
    assert "The student's tokenizer lacked merges, now restored: Ġ t. Checkpoints save them." in one.missing
    assert dict(one.about)["student's tokenizer"].endswith("never encoded to, 1 missing merges restored")


def test_probe_prints_it(tmp_path, text_manifests, wild, capsys):
    paths = [str(save_qwen3(tmp_path / name, seed=seed)) for name, seed in (("student", 1), ("teacher", 2))]
    arguments = ["probe", "--student", paths[0], "--teacher", paths[1], "--manifest", str(text_manifests["probe"])]
    arguments += ["--k", "4", "--max-new-tokens", "4"]
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    assert "teacher: 8 of 8 of its own transcripts are encoded to other tokens" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--json"])
    assert ended.value.code == 0
    tree = json.loads(capsys.readouterr().out)
    assert tree["teacher_round_trip"]["n_recut"] == 8
    assert tree["summary"]["estimates"]["recut"]["value"] == 0.75


def test_a_damaged_file_is_named(texts, tmp_path):
    train(Recipe.model_validate(texts | {"stages": texts["stages"][:1]}), tmp_path / "run")
    (tmp_path / "run" / "round_trip.json").write_text("{")
    with pytest.raises(ValueError, match=r"round_trip\.json: not JSON"):
        write_report(tmp_path / "run", tmp_path / "report.md")
