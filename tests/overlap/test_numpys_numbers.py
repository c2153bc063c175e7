"""NumPy's whole numbers and arrays of them are taken wherever a whole number is, and become Python's own."""

import json

import numpy as np
import pytest
import torch

from overlap import FixedSteps, Funnel, OverlapMeter, Plateau, Threshold, measure, sweep, top_k
from overlap.bounds import measure_bounds
from overlap.errors import UserError
from overlap.strata import by, length_bins, position_bins, relative_position_bins
from overlap.vocab.settings import ComparisonSettings

EIGHT = np.int64(8)


@pytest.fixture
def logits():
    return torch.randn(2, 3, 12, generator=torch.Generator().manual_seed(0))


def test_sizes_of_sets(logits):
    statistics = measure(logits, logits, k=EIGHT)
    assert type(statistics.k) is int
    assert json.dumps(statistics.summary().to_dict())
    assert top_k(logits, EIGHT).ids.shape[-1] == 8
    ids = top_k(logits, 4).ids
    bounds = measure_bounds(logits, ids, logits.log_softmax(-1).gather(-1, ids), k=np.int32(4))
    assert type(bounds.summary().k) is int
    meter = OverlapMeter(k=EIGHT)
    meter.update(statistics)
    assert type(meter.state_dict()["k"]) is int
    assert ComparisonSettings(k=EIGHT) is not None
    for wrong in (True, np.bool_(True), 8.0, np.float64(8), "8", np.int64(0)):
        with pytest.raises(UserError, match="k: expected an integer of at least 1, received"):
            measure(logits, logits, k=wrong)


def test_sweeps_over_an_array(logits):
    found = sweep(logits, logits, ks=np.array([1, 2]), temperatures=np.array([1.0, 2.0]))
    assert set(found) == {(k, t) for k in (1, 2) for t in (1.0, 2.0)}
    assert all(type(k) is int and type(t) is float for k, t in found)
    for wrong in ([], 8, None, np.array([])):
        with pytest.raises(UserError, match=r"ks: expected a list of at least one number, such as ks=\[8\], received"):
            sweep(logits, logits, ks=wrong)


def test_settings_and_steps_of_gates():
    gate = FixedSteps(np.int64(5))
    decision = gate.read({}, np.int64(5))
    assert json.dumps([gate.parameters(), decision.numbers])
    assert decision.action == "advance"
    assert Threshold("vuss", at_most=9, patience=np.int64(2), min_steps=np.int32(3)) == Threshold(
        "vuss", at_most=9, patience=2, min_steps=3
    )
    assert type(Plateau("vuss", patience=np.int64(2)).patience) is int
    for wrong in (True, 2.0, np.float64(2), np.int64(-1), None):
        with pytest.raises(UserError, match="step: expected the whole number of steps"):
            gate.read({}, wrong)
        with pytest.raises(UserError, match="steps: expected a whole number of at least 1, received"):
            FixedSteps(wrong)


def test_bins_and_counts():
    mask = torch.ones(2, 4, dtype=torch.bool)
    assert relative_position_bins(mask, np.int64(2)).levels == relative_position_bins(mask, 2).levels
    assert length_bins([3, 4, 5], np.int64(2)).levels == length_bins([3, 4, 5], 2).levels
    funnel = Funnel({"used": np.int64(3)}, np.int64(1))
    assert json.dumps(funnel.to_dict()) == json.dumps(Funnel({"used": 3}, 1).to_dict())
    for wrong in ({"used": True}, {"used": 2.0}, {"used": np.int64(-1)}):
        with pytest.raises(UserError, match=r"funnel: expected whole numbers of at least 0, received .'used': "):
            Funnel(wrong)
    with pytest.raises(UserError, match=r"received .'used_unfinished': 0"):
        Funnel({"used": 3}, 0.5)


def test_states_are_those_that_there_are(logits):
    statistics = measure(logits, logits, k=4)
    ids = top_k(logits, 4).ids
    bounds = measure_bounds(logits, ids, logits.log_softmax(-1).gather(-1, ids), k=4)
    said = 'states: expected "student", "teacher", "reference", "fixed" or None, received \'studnt\'; did you mean '
    for call in (
        lambda: statistics.summary(states="studnt"),
        lambda: bounds.summary(states="studnt"),
        lambda: OverlapMeter(states="studnt"),
        lambda: by(statistics, position_bins(statistics.mask), states="studnt"),
    ):
        with pytest.raises(UserError, match=said + '"student"'):
            call()
