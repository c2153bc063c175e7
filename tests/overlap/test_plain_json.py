import enum
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlap.plain_json import dumps, number, plain

leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
trees = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


class Color(enum.StrEnum):
    RED = "red"


@given(trees)
def test_any_tree_is_strict_json_and_plain_once_is_plain(tree):
    text = dumps(tree)
    assert text == json.dumps(plain(tree), ensure_ascii=False, allow_nan=False)
    assert json.loads(text) == plain(tree) == plain(plain(tree))


@given(st.floats())
def test_every_number_comes_back(value):
    back = number(json.loads(dumps(value)))
    assert back == value or (math.isnan(back) and math.isnan(value))


def test_what_json_has_is_written_as_by_json():
    tree = {"a": [1, 2.5, True, None, "é"], "b": {"c": "inf"}}
    assert plain(tree) == tree
    assert dumps(tree, indent=2) == json.dumps(tree, indent=2, ensure_ascii=False)
    assert dumps(tree, ensure_ascii=True) == json.dumps(tree)


def test_what_json_lacks():
    numbers = dumps({1: (math.nan, math.inf, -math.inf), "color": Color.RED})
    assert numbers == '{"1": [null, "inf", "-inf"], "color": "red"}'
    with pytest.raises(TypeError, match="not JSON serializable"):
        dumps({"where": {1, 2}})
