"""What all formats share: events are maps, errors of any shape, clients may be called by words, the nemesis is no client."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from splitbrain.harness.errors import HistoryError
from splitbrain.harness.history.builder import Builder, Event

KINDS = ("invoke", "ok", "fail", "info")
WORDS_FROM = 1_000_000
"""The number of the first process that a word names."""

_SHAPES = {tuple: "a vector", list: "a list", str: "a word", int: "a number", float: "a number", type(None): "nil"}
_LENGTH = 200


class Intake:
    """Takes events as maps, hands those of clients to `builder` and counts the others."""

    def __init__(self, builder: Builder) -> None:
        self.builder = builder
        self.nemesis = 0
        self._words: dict[str, int] = {}
        self.named: bool | None = None
        """Whether events tell their process, None before the first."""
        self._open = False

    def take(self, form: Any, position: int, fail: Callable[[str], HistoryError]) -> None:
        """Take the map of one event, found at `position`. Raises what `fail` makes of a sentence."""
        if type(form) is not dict:
            raise fail(f"expected the map of an operation, found {_SHAPES.get(type(form), 'something else')}")
        process, kind = self.process(form.get("process"), fail), form.get("type")
        if kind not in KINDS:
            raise fail(f"expected type invoke, ok, fail or info, found {_short(kind)}")
        if process == NEMESIS or (process is None and kind == "info" and (self.named or not self._open)):
            self.nemesis += 1
            return
        if self.named is None:
            self.named = process is not None
        self._open = kind == "invoke"
        self.builder.add(_event(form, kind, process, fail), position)

    def take_clients(self, events: Sequence[Event], positions: Sequence[int]) -> None:
        """Take events of clients that all tell their process, each found at its position."""
        if self.named is None:
            self.named = True
        self._open = events[-1].type == "invoke"
        for event, position in zip(events, positions, strict=True):
            self.builder.add(event, position)

    def process(self, told: Any, fail: Callable[[str], HistoryError]) -> int | None:
        """The number of a process; `NEMESIS` of what is no client."""
        if told is None or type(told) is int:
            return told
        if type(told) is not str:
            raise fail(f"expected a number or a word as process, found {_short(told)}")
        name = told.lstrip(":")
        if name.startswith("nemesis"):
            return NEMESIS
        if name.isascii() and name.isdecimal() and len(name) < 19:
            return int(name)
        return self._words.setdefault(name, WORDS_FROM + len(self._words))

    def notes(self) -> list[str]:
        """What was found beside operations."""
        told = []
        if self.nemesis:
            told.append(f"{self.nemesis} events of the nemesis left out")
        if self.named is False:
            told.append("operations tell no process: each is taken for a client of its own, and sessions are not judged")
        if self._words:
            first, number = next(iter(self._words.items()))
            told.append(f"processes are called by words, and numbered from {number} ({first[:40]})")
        return told


NEMESIS = -(1 << 62)


def _event(form: dict[str, Any], kind: Any, process: int | None, fail: Callable[[str], HistoryError]) -> Event:
    f, key, value = form.get("f"), form.get("key"), form.get("value", msgspec.UNSET)
    if key is not None and type(key) is not int and type(key) is not str:
        raise fail(f"expected a number or a word as key, found {_short(key)}")
    if f is None and kind == "invoke" and transaction(value):
        f = "txn"
    elif type(f) is not str and (f is not None or kind == "invoke"):
        raise fail(f"expected a word as f, the function, found {_short(f)}")
    time, index, seen, scheduled = form.get("time"), form.get("index"), form.get("seen"), form.get("scheduled")
    node, server, error = form.get("node"), form.get("server"), form.get("error")
    return Event(
        type=kind,
        process=process,
        f=f,
        value=value,
        key=key,
        time=time if type(time) is int else None,
        error=reason(error) if error is not None else None,
        seen=tuple(seen) if type(seen) is list or type(seen) is tuple else None,
        node=node if type(node) is str else None,
        server=server if type(server) is str else None,
        scheduled=scheduled if type(scheduled) is int else None,
        index=index if type(index) is int and index >= 0 else None,
    )


def reason(error: Any) -> str | None:
    """The reason of a failure in one line, None where none is told."""
    if error is None:
        return None
    told = ": ".join(_words(error))[:_LENGTH] if type(error) in (tuple, list) else str(error)[:_LENGTH]
    return " ".join(told.split())


def transaction(value: Any) -> bool:
    """Whether a value is the list of a transaction's micro-operations."""
    return type(value) in (tuple, list) and all(type(part) in (tuple, list) for part in value)


def _words(parts: Any) -> list[str]:
    return [str(part) for part in parts if part is not None and type(part) not in (tuple, list, dict)]


def _short(told: Any) -> str:
    return "none" if told is None else repr(told)[:40]
