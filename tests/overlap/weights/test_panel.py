"""The shadow panel against counts by hand and plain loops, its counts, tables and messages."""

import json
import math

import numpy as np
import pytest
import torch

from overlap.errors import UserError
from overlap.weights import RULES, shadow_panel

NAN = math.nan


def small():
    """Two utterances of three and two positions, and an empty one."""
    mask = torch.tensor([[True, True, True], [True, True, False], [False, False, False]])
    weights = {
        "selectkd": torch.tensor([[1.0, 0.01, 1.0], [1.0, 0.01, NAN], [NAN] * 3]),
        "tropd": torch.tensor([[0.5, 0.4, 0.2], [1.0, NAN, NAN], [NAN] * 3]),
        "iw": torch.tensor([[1.5, 1.2, 1.0], [1.5, 1.1, NAN], [NAN] * 3]),
    }
    return weights, ["a", "b", "c"], mask


def test_shares_means_and_pairs_by_hand():
    """SelecTKD keeps positions 1, 3 and 4, TrOPD 1, where it is just a half, and 4, the fifth being undefined."""
    panel = shadow_panel(*small())
    kept = {name: rule.kept.value for name, rule in panel.rules.items()}
    assert kept == {"selectkd": 0.6, "tropd": 0.5, "iw": 1.0}
    assert panel.rules["selectkd"].weight.value == pytest.approx(3.02 / 5)
    assert panel.rules["tropd"].weight.value == pytest.approx(2.1 / 4)
    assert panel.rules["iw"].weight.value == pytest.approx(6.3 / 5)
    assert panel.rules["tropd"].weight.n_positions == 4
    assert panel.rules["tropd"].weight.n_undefined == panel.rules["tropd"].kept.n_undefined == 1
    assert panel.rules["selectkd"].kept.n_groups == 2
    first, second, third = panel.pairs
    assert (first.first, first.second) == ("selectkd", "tropd")
    assert (first.jaccard.value, first.jaccard.n_positions) == (pytest.approx(2 / 3), 3)
    assert (second.jaccard.value, second.jaccard.n_positions) == (pytest.approx(3 / 5), 5)
    assert (third.jaccard.value, third.jaccard.n_positions) == (pytest.approx(2 / 4), 4)
    assert first.spearman.n_positions == 4
    assert second.spearman.n_positions == 5


def test_random_weights_against_loops():
    rng = np.random.default_rng(2)
    mask = np.arange(9)[None] < rng.integers(0, 10, 30)[:, None]
    weights = {name: np.where(mask, rng.random((30, 9)) * RULES[name].largest, NAN) for name in ("prune", "iw", "tip")}
    panel = shadow_panel(weights, [f"u{b:02}" for b in range(30)], mask)
    where = list(zip(*mask.nonzero(), strict=True))
    kept = {name: {at for at in where if value[at] >= RULES[name].largest / 2} for name, value in weights.items()}
    for name, rule in panel.rules.items():
        if name != "iw":  # which cannot have such weights
            assert rule.kept.low <= rule.kept.value <= rule.kept.high
        assert rule.kept.value == pytest.approx(len(kept[name]) / len(where))
        assert rule.weight.value == pytest.approx(sum(weights[name][at] for at in where) / len(where))
        assert rule.weight.low < rule.weight.value < rule.weight.high <= RULES[name].largest
        assert rule.kept.n_positions == len(where)
        assert rule.kept.n_groups == mask.any(1).sum()
    for pair in panel.pairs:
        one, other = kept[pair.first], kept[pair.second]
        assert pair.jaccard.value == pytest.approx(len(one & other) / len(one | other))
        assert pair.jaccard.n_positions == len(one | other)
        assert pair.jaccard.low < pair.jaccard.value < pair.jaccard.high
        assert pair.spearman.low < pair.spearman.value < pair.spearman.high


def test_a_rule_beside_itself_is_alike_and_rules_that_keep_nothing_have_no_jaccard():
    mask = torch.ones(4, 3, dtype=torch.bool)
    some = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
    [pair] = shadow_panel({"tropd": some, "prune": some}, list("abcd"), mask).pairs
    assert pair.jaccard.value == pair.spearman.value == 1.0
    [pair] = shadow_panel({"tropd": 0.1 * some, "prune": 0.0 * some}, list("abcd"), mask).pairs
    assert math.isnan(pair.jaccard.value)
    assert pair.jaccard.n_positions == 0
    assert math.isnan(pair.spearman.value)  # prune gives all the same


def test_where_all_is_kept_only_a_rule_that_must_keep_all_has_no_width():
    mask = torch.ones(20, 3, dtype=torch.bool)
    panel = shadow_panel({name: torch.ones(20, 3) for name in ("iw", "prune")}, list(range(20)), mask)
    assert (panel.rules["iw"].kept.low, panel.rules["iw"].kept.high) == (1.0, 1.0)
    assert panel.rules["prune"].kept.low < panel.rules["prune"].kept.value == 1.0


def test_no_positions():
    mask = torch.zeros(2, 3, dtype=torch.bool)
    panel = shadow_panel({name: torch.full((2, 3), NAN) for name in RULES}, ["a", "b"], mask)
    assert all(math.isnan(found.value) and found.n_positions == 0 for *_, found in panel.estimates())
    assert "–" in str(panel)


def test_order_of_utterances_and_padding_change_nothing():
    weights, names, mask = small()
    turned = {name: value.flip(0) for name, value in weights.items()}, names[::-1], mask.flip(0)
    wide = {name: torch.nn.functional.pad(value, (0, 2), value=NAN) for name, value in weights.items()}
    padded = wide, names, torch.nn.functional.pad(mask, (0, 2))
    for other in (turned, padded):
        rows = zip(shadow_panel(*other).estimates(), shadow_panel(weights, names, mask).estimates(), strict=True)
        for (*one, found), (*same, expected) in rows:
            assert one == same
            assert found.to_dict() == pytest.approx(expected.to_dict(), nan_ok=True)


def test_tables_and_records():
    panel = shadow_panel(*small())
    text = str(panel)
    assert text.splitlines()[0].startswith("shadow panel: what each rule would keep")
    for rule in ("SelecTKD", "TrOPD", "IW-OPD"):
        assert rule in text
        assert rule in panel._repr_html_()
    assert panel._repr_html_().count("<table>") == 2
    assert "Jaccard of the kept" in text
    tree = json.loads(json.dumps(panel.to_dict(), allow_nan=False))
    assert tree["rules"]["selectkd"]["kept"]["value"] == 0.6
    assert [pair["rules"] for pair in tree["pairs"]] == [["selectkd", "tropd"], ["selectkd", "iw"], ["tropd", "iw"]]
    rows = panel.estimates()
    assert len(rows) == 2 * 3 + 2 * 3
    assert rows[0][:3] == ("selectkd", None, "kept")
    assert rows[-1][:3] == ("tropd", "iw", "spearman")
    assert len(shadow_panel({"iw": small()[0]["iw"]}, *small()[1:]).pairs) == 0


def test_wrong_arguments_are_named():
    weights, names, mask = small()
    with pytest.raises(UserError, match="no rule is named 'best'; there are prune, prune_nucleus"):
        shadow_panel({"best": weights["iw"]}, names, mask)
    with pytest.raises(UserError, match=r"iw: expected shape \[3, 3\] as the mask, received \[3, 2\]"):
        shadow_panel({"iw": weights["iw"][:, :2]}, names, mask)
    with pytest.raises(UserError, match=r"mask: expected bool \[rollouts, positions\], received float32"):
        shadow_panel(weights, names, mask.float().numpy())
    with pytest.raises(UserError, match=r"groups: expected the leading shape \[3, 3\]"):
        shadow_panel(weights, names[:2], mask)
