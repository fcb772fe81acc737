"""Jepsen's log lines, of every generation, and its `history.txt`: process, type, function, value and error, between tabs or
blanks, after whatever the logger puts before them.

    INFO  jepsen.util - 2	:invoke	:cas	[3 0]
    INFO [2017-03-30 22:26:45,322] jepsen worker 4 - jepsen.util 4	:info	:write	:timed-out
    2022-07-28 07:53:02,859{GMT}	INFO	[jepsen worker 2] jepsen.util: 2	:ok	:write	1
    2	:fail	:write	3	[:refused "no route"]

The other lines of a log, and those of the nemesis, are left out. A `cas` that failed for no reason told was decided, and found
another value (`mismatch`), as Porcupine reads these logs.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import msgspec

from splitbrain.harness.errors import HistoryError
from splitbrain.harness.history.builder import Builder
from splitbrain.harness.history.formats import edn, jepsen
from splitbrain.harness.history.formats.text import Text
from splitbrain.harness.history.operation import MISMATCH

_MARK = re.compile(r"\bjepsen\.[a-z][\w.-]{0,80}+(?:[ \t]{1,80}+-|:)?[ \t]+")
_CLOCK = r"(?:\[[ \t]*+(\d{1,18})[ \t]*+\][ \t]+)?"
_EVENT = re.compile(_CLOCK + r"(\d{1,18}|:?nemesis\S*+)[ \t]+:(\S+)(?:[ \t]+(\S+)(?:[ \t]+([^\n]*))?)?")
_PLAIN = re.compile(r"(?:[^\n]*\n)??\s*+" + _CLOCK + r"(?:\d{1,18}|:?nemesis\S*+)[ \t]+:(?:invoke|ok|fail|info)[ \t]+:")
_WHOLE = re.compile(r"(?:\]|nil|:timed-out)\s*\Z")
_REMEMBERED = 50_000
_EXPECTED = "expected a process, a type, a function and a value"


def begins(head: str) -> bool:
    """Whether a text that begins so is such a log, or a `history.txt`."""
    return bool(_PLAIN.match(head)) or any(
        _EVENT.match(line, mark.end()) is not None or "jepsen.util" in line
        for line in head.splitlines() if (mark := _MARK.search(line)) is not None
    )


def read(text: Text, builder: Builder, *, torn: bool = False) -> list[str]:
    """Hand the events of such a log to `builder`; notes on how it was read. What comes first, a line of a logger or a bare
    event, tells a log from a `history.txt`. A last line without its line break may be cut
    inside a number: it is read only where it ends in a bracket or a word, or dropped with `torn`.

    Raises `HistoryError` for a line that begins like an event and is none, and in a `history.txt` for any other line.
    """
    notes: list[str] = []
    others = 0
    intake = jepsen.Intake(builder)
    told: dict[tuple[str, bool], tuple[Any, Any]] = {}
    logged: bool | None = None  # None: neither a logger nor an event came yet.
    strange: HistoryError | None = None
    for at, line in text.lines():
        mark = _MARK.search(line) if logged is not False else None
        start = mark.end() if mark else len(line) - len(line.lstrip())
        match = _EVENT.match(line, start)
        ended = line.endswith("\n")
        if mark:
            logged, strange = True, None
        elif match is not None and logged is None:
            logged = False
        elif match is None and logged is None and ended:
            others += bool(line.strip())
            if line.strip() and strange is None:
                strange = text.error(at + start, _EXPECTED)
            continue
        if strange is not None:
            raise strange
        if match is None and (ended or not mark) and (logged or not line.strip()):
            others += bool(line.strip())
            continue
        if match is not None and logged and not mark:
            others += 1
            continue
        complete = match is not None and match[5] is not None and match[4].startswith(":") and len(match[4]) > 1
        if match is None or not complete or not (ended or _WHOLE.search(match[5])):
            if torn and not ended:
                notes.append("the last line is cut short: left out")
                continue
            expected = "expected a line break after the value" if complete else _EXPECTED
            mend = "" if ended else ": --torn judges what came before"
            raise text.error(at + (len(line) if complete else start), expected + mend)
        clock, process, kind, f, rest = match.groups()
        if process.lstrip(":").startswith("nemesis"):
            others += 1
            continue
        free = kind in ("fail", "info")
        answer = told.get((rest, free))
        if answer is None:
            answer = _answer(text, at + match.start(5), at + match.end(5), free)
            if len(told) < _REMEMBERED:
                told[rest, free] = answer
        value, error = answer
        if kind == "fail" and f == ":cas" and error is None:
            error = MISMATCH
        event = {"process": process, "type": kind, "f": f[1:], "error": error}
        if value is not msgspec.UNSET:
            event["value"] = value
        if clock is not None:
            event["time"] = int(clock)
        intake.take(event, text.place(at), partial(text.error, at + start))
    if strange is not None:
        raise strange
    if others:
        notes.append(f"{others} other lines of the log left out")
    return notes + intake.notes()


def _answer(text: Text, start: int, end: int, free: bool) -> tuple[Any, Any]:
    """The value and the reason that the end of a line tells. `free`: what is no EDN there is a reason in plain words."""
    found = edn.forms(text, [], start, end, unwrap=False)
    try:
        value, _ = next(found, (msgspec.UNSET, 0))
    except HistoryError:
        if not free:
            raise
        return msgspec.UNSET, text.text[start:end].strip()
    if value is msgspec.UNSET:
        raise text.error(start, "expected a value")
    try:
        parts = [form for form, _ in found]
    except HistoryError:
        if not free:
            raise
        parts = ["", text.text[start:end].strip()]
    if free and not parts and text.text.startswith(":", start):
        return msgspec.UNSET, value
    if len(parts) > 1:
        return value, text.text[start:end].strip()
    return value, parts[0] if parts else None
