"""Histories of transactions as files of every format, written with all the freedom that each leaves.

What a format cannot tell (times, indeterminate transactions, aborted ones) is taken out first: `tellable` has what is left.
"""

from __future__ import annotations

import gzip
import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from splitbrain import Operation

Name = str | int


def tellable(operations: list[Operation], format: str) -> list[Operation]:
    """What a file of that format tells of these."""
    if format in ("edn", "json", "jsonl"):
        return operations
    kept = []
    for one in operations:
        if format == "cobra" and one.outcome == "info":
            kept.append(one)
            continue
        if one.outcome == "info" or (one.outcome == "fail" and format in ("awdit", "cobra")):
            one = msgspec.structs.replace(one, outcome="ok", value=tuple(m for m in one.value if m[0] != "r"))
        kept.append(one)
    return kept


def write(path: Path, operations: list[Operation], format: str, rng: random.Random) -> Path:
    """A file (or, of Cobra's, a folder) at or below `path` that tells these operations in that format."""
    if format == "cobra":
        return _cobra(path, operations, rng)
    if format == "dbcop":
        data = _dbcop(operations, rng)
    else:
        text = _TEXTS[format](operations, rng)
        if rng.random() < 0.3:
            text = text.replace("\n", "\r\n")
        data = text.encode()
        if rng.random() < 0.1:
            data = b"\xef\xbb\xbf" + data
    if rng.random() < 0.2:
        path = path.with_name(path.name + ".gz")
        data = gzip.compress(data)
    path.write_bytes(data)
    return path


def _sessions(operations: list[Operation]) -> list[list[Operation]]:
    by: dict[int, list[Operation]] = {}
    for one in operations:
        by.setdefault(one.process, []).append(one)
    return list(by.values())


def _keys(operations: list[Operation], rng: random.Random) -> dict[Any, int]:
    """Numbers for keys, up to 63 bits."""
    keys = sorted({key for one in operations for _, key, _ in one.value})
    pool = [0, 1, 2, 3, 7, 10**9, 2**31, 2**32 + 5, 2**62 + 1, 2**63 - 2]
    return dict(zip(keys, rng.sample(pool, len(keys)), strict=True))


def _plume(operations: list[Operation], rng: random.Random) -> str:
    keys, wide = _keys(operations, rng), rng.choice((1, 1, 10**12, 2**61))
    explicit = rng.random() < 0.3 and bool(keys)
    queues: list[list[str]] = []
    number = 1
    for session, some in enumerate(_sessions(operations), 1):
        mine = []
        for one in some:
            aborted = one.outcome == "fail"
            name = -1 if aborted else number
            number += 1
            mine.append([
                f"{f}({keys[key]},{0 if value is None else value * wide},{session},{name})"
                for f, key, value in one.value if not (aborted and f == "r")
            ])
        queues.append([line for lines in mine for line in lines])
    lines = [f"w({key},0,0,0)" for key in keys.values()] if explicit else []
    # Transactions need not be adjacent, and sessions are mixed.
    while any(queues):
        queue = rng.choice([one for one in queues if one])
        lines.append(queue.pop(0))
    return "\n".join(lines) + rng.choice(("", "\n", "\n\n"))


def _awdit(operations: list[Operation], rng: random.Random) -> str:
    keys = _keys(operations, rng)
    sessions = [
        [[f"{f} {keys[key]} {0 if value is None else value}" for f, key, value in one.value] for one in some if one.value]
        for some in _sessions(operations)
    ]
    sessions = [some for some in sessions if some]
    sessions.insert(rng.randint(0, len(sessions)), [[f"w {key} 0" for key in keys.values()]])
    return f"\n{'=' * rng.randint(1, 20)}\n".join(
        f"\n{'-' * rng.randint(1, 20)}\n".join("\n".join(lines) for lines in some) for some in sessions
    ) + "\n"


def _dbcop(operations: list[Operation], rng: random.Random) -> bytes:
    def word(*numbers: int) -> bytes:
        return struct.pack(f"<{len(numbers)}Q", *numbers)

    keys = _keys(operations, rng)
    data = word(1, 3, 10, 20, 30)
    for name in ("cockroach", "2019-04-29T00:00:00+02:00", "2019-04-29T00:00:09+02:00"):
        data += word(len(name)) + name.encode()
    sessions = _sessions(operations)
    data += word(len(sessions))
    for some in sessions:
        data += word(len(some))
        for one in some:
            events = [struct.pack("<?QQ?", f == "w", keys[key], value or 0, True) for f, key, value in one.value]
            for _ in range(rng.choice((0, 0, 1))):
                # What did not succeed left nothing behind, whatever it says.
                wrote, other = rng.random() < 0.5, rng.choice((0, 1, 10**6))
                key = rng.choice([*keys.values(), 5])
                events.insert(rng.randint(0, len(events)), struct.pack("<?QQ?", wrote, key, other, False))
            data += word(len(events)) + b"".join(events) + struct.pack("<?", one.outcome == "ok")
    return data


def _cobra(path: Path, operations: list[Operation], rng: random.Random) -> Path:
    path.mkdir()
    keys = {key: name - rng.choice((0, 2**63 - 1)) for key, name in _keys(operations, rng).items()}
    names = {id(one): rng.choice((at + 1, at * 10**12 + 17)) for at, one in enumerate(operations)}
    writer = {(key, value): id(one) for one in operations for f, key, value in one.value if f == "w"}
    for session, some in enumerate(_sessions(operations)):
        data = b""
        for one in some:
            data += b"S" + struct.pack(">q", names[id(one)])
            for f, key, value in one.value:
                if f == "w":
                    data += b"W" + struct.pack(">qqq", value, keys[key], rng.choice((1, value)))
                elif value is None:
                    author, write = rng.choice(((0xBEBEEBEE, 0xBEBEEBEE), (0xDEADBEEF, 0xDEADBEEF), (0, 0xBEBEEBEE)))
                    data += b"R" + struct.pack(">qqqq", author, write, keys[key], 0)
                else:
                    data += b"R" + struct.pack(">qqqq", names[writer[key, value]], value, keys[key], rng.choice((1, value)))
            data += b"C" + struct.pack(">q", names[id(one)]) if one.outcome == "ok" else b""
        (path / f"T{session + rng.choice((0, 10))}.log").write_bytes(data)
    (path / "wo.txt").write_text("not a log")
    return path


def _events(operations: list[Operation], rng: random.Random) -> list[tuple[str, Operation]]:
    """Invocations and completions in the order of time; of one moment invocations come first, for nobody knows better."""
    moments = [(one.invoked, 0, at, "invoke", one) for at, one in enumerate(operations)]
    end = 1 + max(max(one.invoked, one.completed or 0) for one in operations)
    for at, one in enumerate(operations):
        if one.completed is not None:
            moments.append((one.completed, 1, at, one.outcome, one))
        elif rng.random() < 0.6:
            moments.append((rng.randint(one.invoked, end), 1, at, "info", one))
    return [(kind, one) for *_, kind, one in sorted(moments, key=lambda moment: moment[:3])]


def _named(one: Operation, kind: str, names: dict[Any, Name], wide: int) -> list[list[Any]]:
    """Micro-operations as an event of that kind tells them."""

    def told(value: Any) -> Any:
        if type(value) is tuple:
            return [element * wide for element in value]
        return None if value is None else value * wide

    return [[f, names[key], told(value) if f != "r" or kind == "ok" else None] for f, key, value in one.value]


def _names(operations: list[Operation], rng: random.Random) -> dict[Any, Name]:
    keys = sorted({key for one in operations for _, key, _ in one.value})
    pools: tuple[list[Name], ...] = ([0, 1, 2], ["x", "y", "z"], ["ключ", "☃", "a b"], [10**20, -5, 2**63])
    return dict(zip(keys, rng.choice(pools), strict=False))


def _edn_value(value: Any, rng: random.Random) -> str:
    if value is None:
        return "nil"
    if type(value) is str:
        return json.dumps(value, ensure_ascii=False) if value not in "xyz" else f":{value}"
    if type(value) is list:
        inner = rng.choice((" ", ", ")).join(_edn_value(part, rng) for part in value)
        return f"[{inner}]" if rng.random() < 0.9 else f"({inner})"
    return f"{value}N" if abs(value) >= 1 << 63 else str(value)


def _edn(operations: list[Operation], rng: random.Random) -> str:
    names, wide = _names(operations, rng), rng.choice((1, 1, 2**61, 10**25))
    renamed = rng.random() < 0.2
    lines = []
    for kind, one in _events(operations, rng):
        micros = _named(one, kind, names, wide)
        f = "txn" if not renamed else "read" if all(m[0] == "r" for m in micros) else "write"
        told = "[" + " ".join(f"[:{f} {_edn_value(key, rng)} {_edn_value(value, rng)}]" for f, key, value in micros) + "]"
        if kind == "info" and rng.random() < 0.3:
            told = "nil"
        error = ", :error [:timeout \"]\"]" if kind in ("info", "fail") and rng.random() < 0.5 else ""
        lines.append(f"{{:type :{kind}, :f :{f}, :value {told}, :process {one.process}{error}}}")
        if rng.random() < 0.1:
            lines.append("{:type :info, :f :start, :process :nemesis, :value nil}")
    text = "\n".join(lines)
    return f"[{text}]" if rng.random() < 0.5 else text + "\n"


def _objects(operations: list[Operation], rng: random.Random) -> list[dict[str, Any]]:
    names, wide = _names(operations, rng), rng.choice((1, 1, 2**61, 10**25))
    events: list[dict[str, Any]] = []
    for kind, one in _events(operations, rng):
        event = {"type": kind, "f": "txn", "value": _named(one, kind, names, wide), "process": one.process}
        if kind == "info" and rng.random() < 0.3:
            event["value"] = None
        if kind in ("info", "fail") and rng.random() < 0.5:
            event["error"] = "timeout"
        events.append(event)
    return events


def _json(operations: list[Operation], rng: random.Random) -> str:
    return json.dumps(_objects(operations, rng), indent=rng.choice((None, 1)), ensure_ascii=rng.random() < 0.5)


def _jsonl(operations: list[Operation], rng: random.Random) -> str:
    ascii = rng.random() < 0.5
    return "".join(json.dumps(event, ensure_ascii=ascii) + "\n" for event in _objects(operations, rng))


_TEXTS: dict[str, Callable[[list[Operation], random.Random], str]] = {
    "plume": _plume, "awdit": _awdit, "edn": _edn, "json": _json, "jsonl": _jsonl,
}
FORMATS = (*_TEXTS, "dbcop", "cobra")
