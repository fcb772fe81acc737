"""Shapes: what the values of invocations look like, by which keys and versions inside values are told from the values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

Shape = str | tuple[Any, ...]
"""`nil`, `integer`, `word`, `other` (a map, a set, a boolean, ...), `untold`; of a list the tuple of its parts' shapes."""

_LONGEST = 3
_DEEPEST = 3
_NAMES: dict[type, Shape] = {type(None): "nil", int: "integer", str: "word"}
MANY: tuple[str, ...] = ("many",)
"""Stands for a list of more than three parts."""
MICROS = "micros"
"""A list of micro-operations: `("r", key, value)`, `("w", key, value)`, `("append", key, value)`."""
_KEYS = frozenset((int, str, tuple, list, bool, float, frozenset))
_MICROS = frozenset(("r", "read", "w", "write", "append", ":r", ":w", ":append", ":read", ":write"))


def shape(value: Any, deepest: int = _DEEPEST) -> Shape:
    """The shape of one value."""
    kind = type(value)
    if kind is not list and kind is not tuple:
        return _NAMES.get(kind, "other")
    if value and all(map(is_micro, value)):
        return MICROS
    if len(value) > _LONGEST or not deepest:
        return MANY
    return tuple([shape(part, deepest - 1) for part in value])


def shapes_of(values: Sequence[Any], deepest: int = _DEEPEST) -> set[Shape]:
    """The shapes of many values; those that differ from part to part in nothing are told at once."""
    kinds = set(map(type, values))
    if len(kinds) == 1 and not kinds & {list, tuple}:
        return {shape(values[0])}
    if kinds <= {list, tuple} and len(set(map(len, values))) == 1 and 0 < len(values[0]) <= _LONGEST and deepest:
        first = set(map(type, map(itemgetter(0), values)))
        if not first & {list, tuple}:  # No micro-operations.
            parts = [shapes_of(list(map(itemgetter(at), values)), deepest - 1) for at in range(len(values[0]))]
            if all(len(found) == 1 for found in parts):
                return {tuple([one for found in parts for one in found])}
    return {shape(value, deepest) for value in values}


def is_micro(part: Any) -> bool:
    """Whether a part of a list is a micro-operation of a transaction."""
    return (
        (type(part) is list or type(part) is tuple) and len(part) in (2, 3) and type(part[0]) is str and part[0] in _MICROS
        and type(part[1]) in _KEYS
    )


class Shapes:
    """The shapes of all invocations' values, by the name of their function."""

    def __init__(self) -> None:
        self._found: dict[str, set[Shape]] = {}

    def add(self, f: str, shapes: Iterable[Shape]) -> None:
        """Take more shapes of the invocations of `f`."""
        self._found.setdefault(f, set()).update(shapes)

    @property
    def of(self) -> Mapping[str, set[Shape]]:
        """Every function with the shapes of its invocations' values."""
        return self._found
