"""Readings of groups of utterances are those of the groups alone."""

import numpy as np
import pytest

from overlap.definitions.group_names import LEAST
from overlap.errors import UserError
from overlap.estimates.group_readings import estimates, group_readings
from overlap.estimates.group_sums import GroupSums
from overlap.estimates.summary import estimate


def sums_of(n=70, seed=0):
    """Sums of n utterances: one statistic at every position, one of which a third of the utterances has none."""
    generator = np.random.default_rng(seed)
    counts = np.stack([generator.integers(1, 9, n), np.where(np.arange(n) % 3, 2, 0)], 1)
    sums = generator.random((n, 2)) * counts
    return GroupSums(("union_size", "end_gap.at_end"), tuple(f"u{i:02}" for i in range(n)), sums, counts, 0 * counts)


LANGUAGES = {f"u{i:02}": "de" if i < 25 else "en" if i < 60 else None if i == 69 else "cy" for i in range(70)}


def test_a_group_reads_as_a_set_of_its_utterances_alone():
    whole = sums_of()
    found = group_readings(whole, LANGUAGES, "language")
    assert list(found.groups) == ["en", "de"]  # the largest first
    for group, rows in {"de": slice(0, 25), "en": slice(25, 60)}.items():
        for column, name in enumerate(whole.names):
            kept = [i for i in range(70)[rows] if whole.counts[i, column]]
            alone = GroupSums(
                (name,),
                tuple(whole.keys[i] for i in kept),
                *(getattr(whole, of)[kept][:, [column]] for of in ("sums", "counts", "undefined")),
            )
            assert found.groups[group][name] == estimate(alone)[name]
            total = whole.sums[rows, column].sum() / whole.counts[rows, column].sum()
            assert found.groups[group][name].value == pytest.approx(total, rel=1e-12)
            assert found.readings[f"language={group}/{name}"] == found.groups[group][name]


def test_small_groups_and_utterances_without_a_value_are_counted():
    found = group_readings(sums_of(), LANGUAGES, "language")
    assert (dict(found.sizes), found.small, found.unnamed) == ({"en": 35, "de": 25, "cy": 9}, {"cy": 9}, 1)
    assert LEAST == found.least == 20
    assert group_readings(sums_of(), LANGUAGES, "language", least=9).small == {}


def test_a_statistic_without_any_position_is_undefined():
    none = GroupSums(("end_gap.at_end",), ("a", "b"), *(np.zeros((2, 1)), *(np.zeros((2, 1), np.int64),) * 2))
    found = estimates(none)["end_gap.at_end"]
    assert np.isnan(found.value)
    assert (found.n_positions, found.n_groups) == (0, 0)


def test_utterances_without_an_entry_and_fields_without_a_name_are_refused():
    with pytest.raises(UserError, match="values: utterance 'u69' of the sums has none; give every utterance its lang"):
        group_readings(sums_of(), {key: "de" for key in list(LANGUAGES)[:-1]}, "language")
    with pytest.raises(UserError, match='field: expected the name of a field without "="'):
        group_readings(sums_of(), LANGUAGES, "a=b")


def test_some_of_the_groups():
    whole = sums_of(6)
    part = whole.of(["u04", "u01", "nobody"])
    assert part.keys == ("u01", "u04")
    assert np.array_equal(part.sums, whole.sums[[1, 4]])
    assert np.array_equal(part.counts, whole.counts[[1, 4]])
