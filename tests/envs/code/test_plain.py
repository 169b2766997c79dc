import collections
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.code.plain import PlainError, decode, encode, loosened, read_tree, same, show

KEYS = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.tuples(st.integers(), st.text(max_size=2))
VALUES = st.recursive(
    KEYS | st.floats(allow_nan=False) | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner) | st.sets(KEYS, max_size=3) | st.dictionaries(KEYS, inner)
    ),
    max_leaves=8,
)


@given(VALUES)
def test_plain_values_survive_a_round_trip(value):
    tree = encode(value)
    assert decode(tree) == value and type(decode(tree)) is type(value)
    assert same(tree, encode(decode(tree)))


@pytest.mark.parametrize(
    ("given", "expected", "strictly", "loosely"),
    [
        (True, 1, False, True),
        (1, True, False, True),
        (1.0, 1, False, True),
        (1, 1.0, True, True),
        (True, 1.0, False, True),
        (0.1 + 0.2, 0.3, True, True),
        (0.31, 0.3, False, False),
        (math.nan, math.nan, True, True),
        (10**400, 1.0, False, False),
        ([1], (1,), False, False),
        ([1, 2], [2, 1], False, False),
        ([1, 2], [1, 2, 3], False, False),
        ({1, 2}, {2, 1}, True, True),
        ({1: "a", 2: "b"}, {2: "b", 1: "a"}, True, True),
        ({1: "a"}, {1: "b"}, False, False),
        ({1}, frozenset({1}), False, True),
        ("1", 1, False, False),
        (None, 0, False, False),
        (b"a", "a", False, False),
        (collections.Counter("aab"), {"a": 2, "b": 1}, True, True),
    ],
)
def test_strict_and_loose_comparison(given, expected, strictly, loosely):
    given, expected = encode(given), encode(expected)
    assert same(given, expected) is strictly
    assert same(loosened(given), loosened(expected)) is loosely


def test_other_values_are_rejected():
    class Always(int):
        def __eq__(self, other):
            return True

        __hash__ = int.__hash__

    endless: list = []
    endless.append(endless)
    for value in (Always(1), object(), (i for i in "ab"), range(3), len, endless, [Always(1)]):
        with pytest.raises(PlainError):
            encode(value)


@pytest.mark.parametrize("text", ["", "{", "[" * 5000, "[" * 300 + "]" * 300, "1" * 5000])
def test_text_that_is_not_a_tree_is_rejected(text):
    with pytest.raises(PlainError):
        read_tree(text)


@pytest.mark.parametrize(
    "tree", [{}, {"x": 1}, {"set": [[1]]}, {"set": 1}, {"dict": [1]}, {"bytes": "x"}, {"a": 1, "b": 2}]
)
def test_unknown_objects_are_rejected_but_can_be_shown_and_compared(tree):
    with pytest.raises(PlainError):
        decode(tree)
    assert isinstance(show(tree), str) and not same(tree, encode({1: 2}))


def test_values_are_shown_in_python_syntax():
    for value in ([1, "a", None], (1,), (1, 2), {1, 2}, {"a": [1.5]}, True, "it's", []):
        assert show(encode(value)) == repr(value)
    assert show(list(range(100)), limit=10) == "[0, 1, ..."
