"""What the formats of Jepsen's family share: an event is a map, errors are of any shape, keys hide in values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from splitbrain.harness.errors import HistoryError
from splitbrain.harness.history.builder import Builder, Event
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import MISMATCH
from splitbrain.harness.history.values import packed

_SHAPES = {tuple: "a vector", list: "a list", str: "a word", int: "a number", float: "a number", type(None): "nil"}
_LENGTH = 200


def event(form: Any, fail: Callable[[str], HistoryError]) -> Event | None:
    """The event that a map tells, None for one of the nemesis. Raises what `fail` makes of a sentence."""
    if type(form) is not dict:
        raise fail(f"expected the map of an operation, found {_SHAPES.get(type(form), 'something else')}")
    process, kind, f, key = form.get("process"), form.get("type"), form.get("f"), form.get("key")
    if type(process) is str and process.startswith("nemesis"):
        return None
    if kind not in ("invoke", "ok", "fail", "info"):
        raise fail(f"expected type invoke, ok, fail or info, found {_short(kind)}")
    if process is not None and type(process) is not int:
        raise fail(f"expected a number as process, found {_short(process)}")
    if key is not None and type(key) is not int and type(key) is not str:
        raise fail(f"expected a number or a word as key, found {_short(key)}")
    value = form.get("value", msgspec.UNSET)
    if f is None and kind == "invoke" and _transaction(value):
        f = "txn"
    elif type(f) is not str and (f is not None or kind == "invoke"):
        raise fail(f"expected a word as f, the function, found {_short(f)}")
    time, index = form.get("time"), form.get("index")
    return Event(
        type=kind,
        process=process,
        f=f,
        value=value,
        key=key,
        time=time if type(time) is int else None,
        error=reason(form.get("error")),
        index=index if type(index) is int and index >= 0 else None,
    )


def reason(error: Any) -> str | None:
    """The reason of a failure in one line, None where none is told.

    These formats know no decided refusal: a failed `cas` did not happen, whatever the reason says, so that a reason
    `mismatch` is not taken for ours.
    """
    if error is None:
        return None
    told = ": ".join(_words(error))[:_LENGTH] if type(error) in (tuple, list) else str(error)[:_LENGTH]
    return f":{told}" if told == MISMATCH else " ".join(told.split())


def history(builder: Builder, notes: list[str]) -> History:
    """The history that was built, with its independent keys taken out of the values. What was decided goes to `notes`.

    Jepsen prints an independent key as `[key value]`, which looks like the value of a `cas`. They are keys where no event
    tells a key, every invocation has such a pair (a read `[key nil]`), and a `cas` one whose second part is a pair again.
    """
    built = builder.history()
    if builder.clock == "file" and builder.timed and not builder.rising:
        notes.append("times do not rise with every event: the order of the file counts")
    values = list(built.values)
    if not values or built.keys or not builder.pairs or not all(map(_pair, values)):
        return built
    fs = [built.fs[code] for code in built.f.tolist()]
    if "txn" in built.fs or not all(_couple(value[1]) for f, value in zip(fs, values, strict=True) if f == "cas"):
        return built
    codes: dict[Any, int] = {}
    built.key = np.array([codes.setdefault(value[0], len(codes)) for value in values], np.int32)
    built.keys = tuple(codes)
    built.values = packed(value[1] for value in values)
    notes.append(f"values are [key value] pairs: {len(codes)} independent keys")
    return built


def _couple(value: Any) -> bool:
    return type(value) is tuple and len(value) == 2


def _pair(value: Any) -> bool:
    return _couple(value) and type(value[0]) in (int, str)


def _transaction(value: Any) -> bool:
    return type(value) in (tuple, list) and all(type(part) in (tuple, list) for part in value)


def _words(parts: Any) -> list[str]:
    return [str(part) for part in parts if part is not None and type(part) not in (tuple, list, dict)]


def _short(told: Any) -> str:
    return "none" if told is None else repr(told)[:40]
