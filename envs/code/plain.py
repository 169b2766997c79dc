"""Plain Python data as JSON trees, the format in which values are sent between processes.

None, bool, int, float, str and lists represent themselves. Other types are objects with one key: {"tuple": [..]},
{"set": [..]}, {"frozenset": [..]}, {"dict": [[key, value], ..]}, {"bytes": "hex"}, {"complex": [real, imaginary]}.
Trees are compared and displayed without being converted to values, so no method of a candidate's object is called.
"""

import collections
import json
import math
from typing import Any

MAX_DEPTH = 40
SEQUENCES = {"tuple": tuple, "set": set, "frozenset": frozenset}
DICTS = (dict, collections.Counter, collections.OrderedDict, collections.defaultdict)

Tree = Any  # None | bool | int | float | str | list[Tree] | dict[str, Tree]


class PlainError(ValueError):
    """A value is not plain data, or a text is not a tree; the message describes it."""


def encode(value: Any, depth: int = 0) -> Tree:
    """Convert a value to its tree. Instances of subclasses are not plain data.

    Raises:
        PlainError: the value is not plain data, or is nested too deep.
    """
    kind = type(value)
    if depth > MAX_DEPTH:
        raise PlainError(f"nested deeper than {MAX_DEPTH}")
    if value is None or kind in (bool, int, float, str):
        return value
    if kind is list:
        return [encode(item, depth + 1) for item in value]
    for name, sequence in SEQUENCES.items():
        if kind is sequence:
            return {name: [encode(item, depth + 1) for item in value]}
    if kind in DICTS:
        return {"dict": [[encode(k, depth + 1), encode(v, depth + 1)] for k, v in value.items()]}
    if kind is bytes:
        return {"bytes": value.hex()}
    if kind is complex:
        return {"complex": [value.real, value.imag]}
    raise PlainError(f"a value of type {kind.__name__}, not plain data")


def decode(tree: Tree) -> object:
    """Convert a tree to its value.

    Raises:
        PlainError: the tree contains an unknown object.
    """
    if isinstance(tree, list):
        return [decode(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    try:
        ((name, body),) = tree.items()
        if name in SEQUENCES:
            return SEQUENCES[name](decode(item) for item in body)
        if name == "dict":
            return {decode(key): decode(value) for key, value in body}
        if name == "bytes":
            return bytes.fromhex(body)
        if name == "complex":
            return complex(*body)
    except (TypeError, ValueError) as error:
        raise PlainError(f"not plain data: {error}") from None
    raise PlainError(f"not plain data: an object with the key {name!r}")


def read_tree(text: str | bytes) -> Tree:
    """Parse a tree from JSON that a hostile process may have written.

    Raises:
        PlainError: the text is not JSON, or is nested deeper than encoded data can be.
    """
    try:
        tree: Tree = json.loads(text)
    except (ValueError, RecursionError):
        raise PlainError("not JSON") from None
    _check_depth(tree, 0)
    return tree


def same(given: Tree, expected: Tree) -> bool:
    """Whether two trees have the same value and type.

    True differs from 1, 1.0 from 1, and a list from a tuple. Where a float is expected, an int is accepted too, with a
    tolerance of 1e-9. The order of sets and dicts is ignored.
    """
    if isinstance(expected, float):
        return type(given) in (int, float) and _close(given, expected)
    if type(given) is not type(expected):
        return False
    if isinstance(given, list) and isinstance(expected, list):
        return len(given) == len(expected) and all(map(same, given, expected))
    if isinstance(given, dict) and isinstance(expected, dict):
        if given.keys() != expected.keys() or len(given) != 1:
            return False
        ((name, left),), ((_, right),) = given.items(), expected.items()
        if name in ("set", "frozenset", "dict") and isinstance(left, list) and isinstance(right, list):
            return same(sorted(left, key=json.dumps), sorted(right, key=json.dumps))
        return same(left, right)
    return given == expected


def loosened(tree: Tree) -> Tree:
    """Normalize a tree so that `same` agrees with Python's ==: True becomes 1, 2.0 becomes 2, a frozenset a set."""
    if isinstance(tree, bool) or (isinstance(tree, float) and tree.is_integer()):
        return int(tree)
    if isinstance(tree, list):
        return [loosened(item) for item in tree]
    if isinstance(tree, dict):
        return {"set" if name == "frozenset" else name: loosened(body) for name, body in tree.items()}
    return tree


def show(tree: Tree, limit: int = 80) -> str:
    """The value in Python syntax, truncated to `limit` characters."""
    text = _show(tree, limit)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _show(tree: Tree, limit: int) -> str:
    if isinstance(tree, list):
        return "[" + _join(tree, limit) + "]"
    if not isinstance(tree, dict):
        return repr(tree[: limit + 1]) if isinstance(tree, str) else repr(tree)
    name, body = next(iter(tree.items()), ("dict", []))
    if not isinstance(body, list):
        return f"{name}({_show(body, limit)})"
    if name == "tuple":
        return "(" + _join(body, limit) + (",)" if len(body) == 1 else ")")
    if name == "dict" and all(isinstance(pair, list) and len(pair) == 2 for pair in body[:limit]):
        return "{" + ", ".join(f"{_show(k, limit)}: {_show(v, limit)}" for k, v in body[:limit]) + "}"
    if name == "set" and body:
        return "{" + _join(body, limit) + "}"
    return f"{name}({_join(body, limit)})"


def _join(items: list[Tree], limit: int) -> str:
    return ", ".join(_show(item, limit) for item in items[:limit])


def _close(given: float, expected: float) -> bool:
    try:
        return math.isclose(given, expected, rel_tol=1e-9, abs_tol=1e-9) or (given != given and expected != expected)
    except OverflowError:
        return False


def _check_depth(tree: Tree, depth: int) -> None:
    if depth > 3 * MAX_DEPTH:
        raise PlainError("nested too deep")
    if isinstance(tree, (list, dict)):
        for item in tree.values() if isinstance(tree, dict) else tree:
            _check_depth(item, depth + 1)
