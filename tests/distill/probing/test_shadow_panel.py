"""The shadow panel of a probe: on the student's states, from the same comparison, and in the run's files."""

import json

import pandas as pd
import pytest

from distill import read_manifest, train
from distill.data.audio import AudioCache
from distill.data.batch import AudioSource
from distill.models import load_recognizer
from distill.probing.probe import probe
from distill.recipe import Decoding, Recipe, SupportSettings
from distill.run.run_directory import RunDirectory
from distill.scoring.pair import Pair
from overlap.weights import RULES
from tests.distill.test_cli import run

SOURCE = AudioSource(AudioCache())
SUPPORT = SupportSettings(k=5)
SHORT = Decoding(max_new_tokens=6)


@pytest.fixture(scope="module")
def pair(student_path, teacher_path):
    return Pair.from_models(load_recognizer(str(student_path)), load_recognizer(str(teacher_path)), SUPPORT.k)


@pytest.fixture(scope="module")
def utterances(manifests):
    return read_manifest(manifests["probe"])


def test_it_covers_the_used_positions_of_all_batches(pair, utterances):
    found = probe(pair, SOURCE, utterances, SUPPORT, SHORT, batch_size=3)
    assert tuple(found.panel.rules) == tuple(RULES)
    for name, rule in found.panel.rules.items():
        assert rule.kept.n_positions == found.funnel["used"], name
        assert rule.kept.n_groups == len(utterances)
        assert rule.kept.n_undefined == 0
    assert len(found.panel.pairs) == len(RULES) * (len(RULES) - 1) // 2
    assert found.panel.rules["tip"].kept.value >= 0.5


def test_a_model_beside_itself_keeps_every_position(pair, utterances):
    same = Pair.from_models(pair.student, pair.student, SUPPORT.k)
    rules = probe(same, SOURCE, utterances, SUPPORT, SHORT).panel.rules
    for name in ("prune", "prune_nucleus", "prune_scaled", "selectkd", "tropd"):
        assert rules[name].weight.value == 1.0, name
    assert rules["iw"].weight.value == 1.5


@pytest.mark.parametrize("states", ["teacher", "reference"])
def test_other_states_have_none(pair, utterances, states):
    assert probe(pair, SOURCE, utterances, SUPPORT, SHORT, states=states).panel is None


def test_recorded_states_have_none(pair, utterances):
    first = probe(pair, SOURCE, utterances, SUPPORT, SHORT)
    again = probe(pair, SOURCE, utterances, SUPPORT, SHORT, states="fixed", recorded=first.rollouts)
    assert again.panel is None


def test_a_run_keeps_the_panels_of_its_probes_and_cuts_them_back(mini, tmp_path):
    mini["stages"] = mini["stages"][:1]
    result = train(Recipe.model_validate(mini), tmp_path / "run")
    folder = result.path / "token_rules"
    assert {path.name for path in folder.iterdir()} == {path.name for path in (result.path / "probes").iterdir()}
    frame = pd.read_parquet(sorted(folder.iterdir())[-1])
    alone = frame[frame["other"].isna()]
    assert set(alone["rule"]) == set(RULES)
    assert set(alone["quantity"]) == {"kept", "weight"}
    assert set(frame[frame["other"].notna()]["quantity"]) == {"jaccard", "spearman"}
    assert set(frame["states"]) == {"student"}
    assert (alone["low"] <= alone["high"]).all()
    probed = pd.read_parquet(result.path / "probes")
    first = RunDirectory.open(result.path)
    early = probed[probed["step"] == probed["step"].min()]
    later = probed[probed["step"] > probed["step"].min()].iloc[0]
    first.rewind(first.rows | {"probes": len(early)}, until=(int(later["visit"]), int(later["step"])))
    assert {path.name for path in folder.iterdir()} == {path.name for path in (result.path / "probes").iterdir()}
    assert len(list(folder.iterdir())) == 1


def test_the_command_prints_the_panel_when_asked(student_path, teacher_path, manifests, capsys):
    arguments = ("--student", student_path, "--teacher", teacher_path, "--manifest", manifests["probe"])
    arguments = ("probe", *arguments, "--max-new-tokens", "6", "--max-utterances", "4")
    assert "shadow panel" not in run(*arguments, capsys=capsys)[1]
    assert "shadow panel" in run(*arguments, "--panel", capsys=capsys)[1]
    tree = json.loads(run(*arguments, "--json", capsys=capsys)[1])
    assert set(tree["shadow_panel"]["rules"]) == set(RULES)
    code, _, err = run(*arguments, "--panel", "--teacher-url", "http://127.0.0.1:1", capsys=capsys)
    assert code == 1
    assert "--panel: rules read more of a teacher than a server shows; leave it out" in err
