"""Jepsen's log lines, as Porcupine keeps them of etcd: process, type, function and value, between tabs or blanks.

    INFO  jepsen.util - 2	:invoke	:cas	[3 0]
    INFO  jepsen.util - 2	:ok	:cas	[3 0]
    INFO  jepsen.util - 4	:info	:write	:timed-out

A failed `cas` was decided and found another value (`mismatch`), a read of nil found no value. The other lines of a log, and
those of the nemesis, are left out.
"""

from __future__ import annotations

import re
from typing import Any, cast

import msgspec

from splitbrain.harness.history.builder import Builder, Event, Kind
from splitbrain.harness.history.formats import edn, jepsen
from splitbrain.harness.history.formats.text import Text
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import MISMATCH

MARK = re.compile(r"jepsen\.util(?:\s+-|:)\s")
_LINE = re.compile(
    r"[^\n]*?jepsen\.util(?:\s+-|:)[ \t]+(\d{1,18}|:\S+)[ \t]+:(invoke|ok|fail|info)[ \t]+:([^\s:]\S*)[ \t]+([^\n]*)"
)
_WHOLE = re.compile(r"(?:\]|nil|:timed-out)\s*\Z")
_ERRORS = (":timed-out", ":timeout")


def read(text: Text, *, torn: bool = False) -> tuple[History, list[str]]:
    """The history in such a log, and notes. A last line without its line break may be cut inside a number: it is read
    only where it ends in a bracket or a word, or dropped with `torn`.

    Raises `HistoryError` for a line of `jepsen.util` that tells no event.
    """
    builder = Builder(text.path, clock="file", where=text.where)
    notes: list[str] = []
    others = 0
    told: dict[str, tuple[Any, str | None]] = {}
    for at, line in text.lines():
        match = _LINE.match(line)
        whole = line.endswith("\n") or (match is not None and _WHOLE.search(match[4]))
        if match is None and whole and not MARK.search(line):
            others += bool(line.strip())
            continue
        if match is None or not whole:
            if torn and not line.endswith("\n"):
                notes.append("the last line is cut short: left out")
                continue
            expected = "a process, a type, a function and a value" if match is None else "a line break after the value"
            mend = "" if line.endswith("\n") else ": --torn judges what came before"
            mark = MARK.search(line)
            raise text.error(at + (mark.end() if mark and match is None else len(line)), f"expected {expected}{mend}")
        process, kind, f, rest = match.groups()
        if process.startswith(":"):
            others += 1
            continue
        answer = told.get(rest)
        if answer is None:
            answer = told[rest] = _answer(text, at + match.start(4), at + match.end(4))
        value, error = answer
        if kind == "fail" and f == "cas" and error is None:
            error = MISMATCH
        builder.add(Event(type=cast(Kind, kind), process=int(process), f=f, value=value, error=error), at)
    if others:
        notes.append(f"{others} other lines of the log left out")
    return builder.history(), notes


def _answer(text: Text, start: int, end: int) -> tuple[Any, str | None]:
    """The value and the reason that the end of a line tells."""
    forms = [form for form, _ in edn.forms(text, [], start, end, unwrap=False)]
    if not forms:
        raise text.error(start, "expected a value")
    if text.text.startswith(_ERRORS, start):
        return msgspec.UNSET, str(forms[0])
    return forms[0], jepsen.reason(forms[1]) if len(forms) > 1 else None
