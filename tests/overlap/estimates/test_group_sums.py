"""Sums by utterance: put side by side, chosen from, and turned to rows and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlap.estimates.group_sums import GroupSums


def drawn(names, keys, seed) -> GroupSums:
    generator = np.random.default_rng(seed)
    shape = len(keys), len(names)
    counts, undefined = generator.integers(0, 9, (2, *shape))
    return GroupSums(tuple(names), tuple(keys), generator.normal(size=shape), counts, undefined)


def same(one: GroupSums, other: GroupSums) -> bool:
    tables = ("sums", "counts", "undefined")
    return (one.names, one.keys) == (other.names, other.keys) and all(
        np.array_equal(getattr(one, table), getattr(other, table)) for table in tables
    )


KEYS = st.lists(st.one_of(st.integers(-5, 5), st.text(max_size=3)), min_size=1, max_size=6, unique=True)


@given(KEYS, st.integers(0, 99))
def test_rows_are_the_table_in_any_order(keys, seed):
    sums = GroupSums.merged([drawn(("x", "y", "z"), keys, seed)])  # in the order of keys
    columns = sums.to_columns()
    assert same(GroupSums.from_columns(columns), sums)
    mixed = np.random.default_rng(seed).permutation(len(columns["key"]))
    back = GroupSums.from_columns({name: values[mixed] for name, values in columns.items()})
    assert same(back.chosen({name: name for name in sums.names}), sums)


def test_a_row_that_is_missing_has_no_position_and_one_too_many_is_refused():
    sums = drawn(("x", "y"), ("a", "b"), 0)
    columns = {name: values[1:] for name, values in sums.to_columns().items()}
    back = GroupSums.from_columns(columns).chosen({"x": "x"})
    assert (back.sums[0, 0], back.counts[0, 0], back.undefined[0, 0]) == (0.0, 0, 0)
    assert back.counts[1, 0] == sums.counts[1, 0]
    twice = {name: np.concatenate([values, values[:1]]) for name, values in sums.to_columns().items()}
    with pytest.raises(ValueError, match="sums: x of 'a' is there twice; keep one row for each group and statistic"):
        GroupSums.from_columns(twice)
    nothing = GroupSums.from_columns(GroupSums.empty(("x",)).to_columns())
    assert (nothing.names, nothing.keys) == ((), ())


def test_side_by_side_keeps_every_group():
    one, other = drawn(("x", "y"), ("a", "b"), 1), drawn(("z",), ("b", "c"), 2)
    both = GroupSums.side_by_side([one, other])
    assert (both.names, both.keys) == (("x", "y", "z"), ("a", "b", "c"))
    assert np.array_equal(both.sums[:2, :2], one.sums)
    assert np.array_equal(both.counts[1:, 2:], other.counts)
    assert not both.counts[2, :2].any()
    assert not both.undefined[0, 2]
    with pytest.raises(ValueError, match=r"sums: \['y'\] are in two parts; put only different statistics side by side"):
        GroupSums.side_by_side([one, drawn(("y",), ("a",), 3)])


def test_chosen_statistics_get_new_names():
    sums = drawn(("x", "y", "z"), ("a", "b"), 4)
    chosen = sums.chosen({"z": "z.lower", "x": "x"})
    assert chosen.names == ("z.lower", "x")
    assert np.array_equal(chosen.sums, sums.sums[:, [2, 0]])
    assert sums.chosen({}).sums.shape == (2, 0)


def test_groups_that_belong_together_are_added_up():
    sums = drawn(("x", "y"), ("a#0", "a#1", "b", "c#0"), 5)
    found = sums.regrouped({"a#0": "a", "a#1": "a", "c#0": "c"})
    assert (found.names, found.keys) == (("x", "y"), ("a", "b", "c"))
    for table in ("sums", "counts", "undefined"):
        of = getattr(sums, table)
        assert np.array_equal(getattr(found, table), [of[0] + of[1], of[2], of[3]])
    assert same(sums.regrouped({}), sums)
