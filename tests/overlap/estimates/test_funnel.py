import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from overlap import Funnel, account
from overlap.estimates.funnel import BINS, assign_bins

masks = st.lists(st.booleans(), min_size=12, max_size=12).map(lambda bits: torch.tensor(bits).reshape(3, 4))


@given(masks, st.dictionaries(st.sampled_from(BINS[:-1]), masks))
@settings(deadline=None)
def test_every_position_is_in_the_first_bin_that_applies(positions, reasons):
    bins, (funnel, used) = assign_bins(positions, reasons), account(positions, reasons)
    counts = dict.fromkeys(BINS, 0)
    for where in [(r, c) for r in range(3) for c in range(4)]:
        if not positions[where]:
            assert bins[where] == -1
            assert not used[where]
            continue
        first = next((name for name in BINS[:-1] if name in reasons and reasons[name][where]), "used")
        assert BINS[bins[where]] == first
        assert used[where] == (first == "used")
        counts[first] += 1
    assert funnel.counts == counts
    assert funnel.total == int(positions.sum()) == sum(funnel.counts.values())
    assert account(positions, {**reasons, "used": used})[0] == funnel


@given(st.lists(st.dictionaries(st.sampled_from(BINS), st.integers(0, 10**12))))
@settings(deadline=None)
def test_addition_keeps_the_total(tables):
    funnels = [Funnel(table) for table in tables]
    total = sum(funnels, Funnel.empty())
    assert total.total == sum(funnel.total for funnel in funnels)
    for name in BINS:
        assert total[name] == sum(table.get(name, 0) for table in tables)
    assert Funnel.from_dict(json.loads(json.dumps(total.to_dict()))) == total


def test_masks_broadcast():
    positions = torch.ones(2, 3, dtype=torch.bool)
    funnel, used = account(positions, {"truncated": torch.tensor([[True], [False]]), "blocked": torch.tensor(False)})
    assert (funnel["truncated"], funnel["used"]) == (3, 3)
    assert used.tolist() == [[False] * 3, [True] * 3]


def test_used_positions_of_unfinished_rollouts_are_counted():
    positions, unfinished = torch.ones(2, 3, dtype=torch.bool), torch.tensor([[True], [False]])
    blocked = torch.tensor([[True, False, False], [False, False, False]])
    funnel, used = account(positions, {"blocked": blocked}, unfinished=unfinished)
    assert (funnel["used"], funnel.used_unfinished, int(used.sum())) == (5, 2, 5)
    assert funnel.unfinished_share == 0.4
    assert (funnel + funnel).used_unfinished == 4
    assert Funnel.from_dict(json.loads(json.dumps(funnel.to_dict()))) == funnel
    assert math.isnan(Funnel({"blocked": 3}).unfinished_share)


@pytest.mark.parametrize("wrong", [-1, 3])
def test_no_more_unfinished_than_used(wrong):
    with pytest.raises(ValueError, match=f"as many unfinished as used positions, received {wrong} of 2"):
        Funnel({"used": 2, "blocked": 5}, used_unfinished=wrong)


def test_printing():
    funnel = Funnel({"used": 1999, "blocked": 1}, used_unfinished=200)
    assert str(funnel).splitlines()[0].split() == ["bin", "positions", "share"]
    assert [line.split() for line in str(funnel).splitlines()[2:]] == [
        ["blocked", "1", "0.05%"],
        ["misaligned", "0", "0.00%"],
        ["low_support", "0", "0.00%"],
        ["used", "1,999", "99.95%"],
        ["unfinished", "200", "10.01%", "of", "used"],
        ["total", "2,000", "100.00%"],
    ]
    assert "1,999" in funnel._repr_html_()
    assert "truncated" not in funnel._repr_html_()
    assert "\nempty_rollout          2" in str(Funnel({"used": 1, "empty_rollout": 2}))
    assert "\ntruncated             3" in str(Funnel({"used": 1, "truncated": 3}))
    assert math.isnan(Funnel.empty().share("used"))
    assert "–" in str(Funnel.empty())


ALL = torch.ones(4, dtype=torch.bool)


@pytest.mark.parametrize(
    ("positions", "reasons", "message"),
    [
        (ALL, {"lost": ALL}, r"reasons: unknown bins \['lost'\]; the bins are empty_rollout, blocked"),
        (ALL, {"blocked": ALL.long()}, "blocked: expected a torch.bool mask, received torch.int64"),
        (ALL, {"blocked": ALL[:3]}, r"blocked: expected a mask that broadcasts to \[4\], received \[3\]"),
        (ALL, {"blocked": ALL[None]}, r"broadcasts to \[4\], received \[1, 4\]"),
        (ALL.int(), {}, "positions: expected a torch.bool mask, received torch.int32"),
        (ALL, {"used": ~ALL}, "bins do not add up to the 4 positions: 4 have no reason and are not used, 0 are used"),
        (ALL, {"used": ALL, "blocked": ALL}, "0 have no reason and are not used, 4 are used but have a reason"),
        (
            ~ALL,
            {"used": ALL},
            "add up to the 0 positions: 0 have no reason .* 4 are used but have a reason or are no position",
        ),
    ],
)
def test_errors(positions, reasons, message):
    with pytest.raises(ValueError, match=message):
        account(positions, reasons)


@pytest.mark.parametrize("counts", [{"used": -1}, {"used": 1.0}, {"used": True}])
def test_counts_are_whole_numbers(counts):
    with pytest.raises(ValueError, match="funnel: expected whole numbers of at least 0, received"):
        Funnel(counts)


def test_unknown_bins():
    with pytest.raises(ValueError, match=r"funnel: unknown bins \['dropped'\]"):
        Funnel({"dropped": 1})
