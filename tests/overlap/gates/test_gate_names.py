"""Gates are made of names that exist, say what a reading lacks, and take plain numbers where these suffice."""

import json
import math
import warnings

import numpy as np
import pytest
import torch

from overlap import Action, AllOf, AnyOf, Collapse, Estimate, Plateau, Threshold, measure
from overlap.definitions import CHECKPOINT_STATISTICS, SEQUENCE_STATISTICS, TOKEN_STATISTICS, canonical

HIGH = Estimate(0.9, 0.01, 0.88, 0.92, 400, 20, 0)


@pytest.mark.parametrize("make", [lambda name: Threshold(name, at_least=0.5), Plateau, lambda n: Collapse({n: (0, 1)})])
@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("top1_agrement", 'did you mean "top1_agreement"'),
        ("fixed.top1_agrement", 'did you mean "top1_agreement"'),
        ("forwardkl", 'did you mean "forward_kl"'),
        ("vus", 'did you mean "vuss"'),
        ("teacher", 'there is no "teacher"'),
        ("zzz", r"STATISTICS\.md lists them\. A number of your own"),
        ("own.", 'there is no "own."'),
        (3, "expected a name, received 3"),
    ],
)
def test_a_gate_refuses_a_name_that_does_not_exist(make, name, hint):
    with pytest.raises(ValueError, match=hint):
        make(name)


@pytest.mark.parametrize("name", [*TOKEN_STATISTICS, *SEQUENCE_STATISTICS, *CHECKPOINT_STATISTICS])
def test_every_statistic_is_a_name_with_its_states_and_ends(name):
    for spelled in (name, f"fixed.{name}", f"teacher.{name}", f"{name}.lower", f"fixed.{name}.upper"):
        assert Threshold(spelled, at_least=0).statistic == spelled


@pytest.mark.parametrize("alias", ["vuss", "VUSS", "Vuss"])
def test_an_alias_reads_the_statistic(alias):
    gate = Threshold(alias, at_most=40.0)
    assert gate.read({"union_size": Estimate(30, 1, 28, 32, 400, 20, 0)}, 5).action is Action.advance
    assert gate.parameters()["statistic"] == "union_size"
    assert Collapse({f"fixed.{alias}": (0, 9)}).name == "collapse(fixed.union_size)"
    scores = torch.randn(3, 4, 8)
    summary = measure(scores, scores, k=2).summary()
    assert summary[alias] == summary["union_size"]
    assert alias in summary
    assert len(summary) == len(set(summary))


def test_only_aliases_are_replaced():
    assert canonical("fixed.VUSS.lower") == "fixed.union_size.lower"
    assert canonical("vuss_of_mine") == "vuss_of_mine"
    assert canonical("own.vuss") == "own.vuss"


def test_a_statistic_that_the_reading_lacks_is_said_once():
    gate = AllOf(Threshold("top1_agreement", at_least=0.5), Collapse({"repetition": (None, 3.0)}))
    with pytest.warns(UserWarning, match=r"collapse\(repetition\): repetition is missing .* holds top1_agreement"):
        gate.read({"top1_agreement": HIGH}, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decision = gate.read({"top1_agreement": HIGH}, 2)
    assert "not judged: repetition is missing from the reading" in decision.reason
    with pytest.warns(UserWarning, match="which holds nothing"):
        Plateau("own.wer").read({}, 1)


def test_the_warning_is_no_part_of_the_state():
    gate, other = (Threshold("repetition", at_most=2.0) for _ in range(2))
    with pytest.warns(UserWarning, match="missing"):
        gate.read({}, 1)
    other.load_state_dict(json.loads(json.dumps(gate.state_dict())))
    assert other.state_dict() == gate.state_dict()


NUMBERS = (
    0.75,
    1,
    np.float32(0.75),
    np.float64(0.75),
    np.int64(1),
    np.array(0.75),
    torch.tensor(0.75),
    torch.tensor(1),
)


@pytest.mark.parametrize("number", NUMBERS)
def test_plain_numbers_are_taken_on_the_value(number):
    decision = Threshold("own.wer", at_least=0.5, on="value").read({"own.wer": number}, 3)
    assert decision.action is Action.advance
    assert decision.reason == f"own.wer {float(number):.5g} satisfies at least 0.5 (1 reading of 1 needed)"
    assert decision.numbers["n_positions"] is None  # of a plain number, nothing is known of what it rests on
    json.dumps(decision.numbers, allow_nan=False)
    assert Plateau("own.wer", on="value", patience=1).read({"own.wer": number}, 1).action is Action.stay
    assert Collapse({"own.wer": (2, None)}, on="value").read({"own.wer": number}, 1).action is Action.fall_back


@pytest.mark.parametrize("number", NUMBERS)
def test_plain_numbers_have_no_bound(number):
    with pytest.raises(ValueError, match=r'own\.wer: received the plain number .* on="value"'):
        Threshold("own.wer", at_least=0.5).read({"own.wer": number}, 3)


@pytest.mark.parametrize("wrong", [True, np.bool_(True), "0.9", None, [0.9], np.array([0.9, 0.8]), torch.ones(2), {}])
def test_what_is_no_number_is_refused_in_words(wrong):
    with pytest.raises(ValueError, match=r"own\.wer: expected an Estimate or a number, received"):
        AnyOf(Threshold("own.wer", at_least=0.5, on="value")).read({"own.wer": wrong}, 3)


def test_a_plain_nan_is_no_evidence():
    decision = Threshold("own.wer", at_most=0.5, on="value").read({"own.wer": math.nan}, 3)
    assert (decision.action, decision.reason) == (Action.stay, "own.wer is undefined")
