"""Levels of gates are finite numbers, whoever's numbers they are, and what gates say of them can be kept as JSON."""

import json
import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from overlap import Collapse, Estimate, Plateau, Threshold

GATES = {
    "at_least": lambda level: Threshold("overlap_ratio", at_least=level),
    "at_most": lambda level: Threshold("overlap_ratio", at_most=level),
    "release": lambda level: Threshold("overlap_ratio", at_least=0.9, release=level),
    "limits: overlap_ratio": lambda level: Collapse({"overlap_ratio": (level, None)}),
    "limits: vuss": lambda level: Collapse({"top1_agreement": (0, 1), "union_size": (None, level)}),
    "min_delta": lambda level: Plateau("overlap_ratio", min_delta=level),
}
HIGH = Estimate(0.9, 0.01, 0.88, 0.92, 400, 20, 0)


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize(
    "wrong",
    [
        *(math.nan, math.inf, -math.inf, np.float32("nan"), torch.tensor(math.inf), "0.4", True, np.bool_(True)),
        *([0.4], torch.ones(2), 1j, 10**400),
    ],
)
def test_what_no_reading_can_be_compared_with_is_refused(name, wrong):
    what = name.replace("vuss", "union_size")
    with pytest.raises(ValueError, match=rf"{what}: expected a (finite number|number of at least 0), received "):
        GATES[name](wrong)


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize(
    "number",
    [
        *(0.5, 0, np.float32(0.5), np.float64(0.5), np.float16(0.5), np.int64(0), Fraction(1, 2)),
        *(np.array(0.5), torch.tensor(0.5), torch.tensor(0), torch.tensor(0.5, dtype=torch.bfloat16)),
    ],
)
def test_any_number_is_taken_and_kept_as_json(name, number):
    gate, plain = GATES[name](number), GATES[name](float(number))
    gate.read({"overlap_ratio": HIGH, "top1_agreement": HIGH, "union_size": HIGH}, 3)
    state = json.loads(json.dumps(gate.state_dict(), allow_nan=False))
    plain.load_state_dict(state)
    assert plain.state_dict() == state


@pytest.mark.parametrize("make", [np.float32, np.float64, np.float16, torch.tensor, float])
@pytest.mark.parametrize("count", [int, np.int64, torch.tensor])
def test_an_estimate_of_any_numbers_is_read_and_kept_as_json(make, count):
    estimate = Estimate(*(make(x) for x in (0.5, 0.125, 0.25, 0.75)), count(3), count(2), count(0))
    for gate in (
        Threshold("overlap_ratio", at_least=0.25),
        Plateau("overlap_ratio", patience=1),
        Collapse({"overlap_ratio": (0.9, None)}),
    ):
        decision = gate.read({"overlap_ratio": estimate}, 3)
        json.dumps([decision.numbers, gate.state_dict()], allow_nan=False)
        assert "overlap_ratio 0.5 [0.25, 0.75] over 2 utterances, 3 positions" in decision.reason


@pytest.mark.parametrize("wrong", [None, "0.5", True])
def test_an_estimate_without_numbers_is_refused(wrong):
    with pytest.raises(ValueError, match="overlap_ratio: expected a number as its Estimate's low, received "):
        Threshold("overlap_ratio", at_least=0.4).read({"overlap_ratio": Estimate(0.5, 0.1, wrong, 0.6, 3, 2, 0)}, 3)


def test_limits_on_one_statistic_under_two_names_are_refused():
    with pytest.raises(ValueError, match='limits: "vuss" and "union_size" are one statistic, union_size; give it once'):
        Collapse({"vuss": (None, 14), "union_size": (None, 3)})
    with pytest.raises(ValueError, match=r'limits: "fixed.VUSS" and "fixed.vuss" are one statistic'):
        Collapse({"fixed.VUSS": (None, 14), "fixed.vuss": (None, 3)})
    assert Collapse({"fixed.vuss": (None, 14), "vuss": (None, 3)}).parameters()["limits"] == {
        "fixed.union_size": [None, 14],
        "union_size": [None, 3],
    }


@pytest.mark.parametrize("limits", [0.4, (0.4,), (0.1, 0.2, 0.3), None, "ab"])
def test_limits_that_are_no_pair_are_refused(limits):
    with pytest.raises(ValueError, match=r"limits: union_size expects \(low, high\), received"):
        Collapse({"vuss": limits})
