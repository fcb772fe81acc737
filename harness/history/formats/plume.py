"""The text of Plume, PolySI and IsoVista: one operation a line, `r(key,value,session,transaction)` or `w(...)`.

Transaction -1 marks what aborted transactions did. Value 0 of a key is its initial state, unless the file writes it.
"""

from __future__ import annotations

import re

from splitbrain.harness.history.formats.sessions import Sessions
from splitbrain.harness.history.formats.text import Text
from splitbrain.harness.history.history import FAIL, OK, History

LINE = re.compile(r"\s*([rw])\(\s*(-?\d{1,4000})\s*,\s*(-?\d{1,4000})\s*,\s*(-?\d{1,4000})\s*,\s*(-?\d{1,4000})\s*\)\s*\Z")


def read(text: Text, *, torn: bool = False) -> tuple[History, list[str]]:
    """The history in such a file, and notes. With `torn`, a last line that is cut short is left out.

    Raises `HistoryError` with line and column, and what was expected there.
    """
    notes: list[str] = []
    sessions, numbers = Sessions(), dict[tuple[int, int], int]()
    for at, line in text.lines():
        if not line.strip():
            continue
        match = LINE.match(line)
        if match is None:
            if torn and not line.endswith("\n"):
                notes.append("the last line is cut short: left out")
                break
            raise text.error(at, f"expected r(key,value,session,transaction) or w(...), found {line.strip()[:40]!r}")
        key, value, session, number = map(int, match.groups()[1:])
        if abs(session) >= 1 << 63 or number < -1:
            what = "a session of at most 64 bits and a transaction from -1 on"
            raise text.error(at, f"expected {what}, found {line.strip()[:40]!r}")
        # All that aborted in a session is one transaction.
        name = (number, session if number == -1 else 0)
        one = numbers.get(name)
        if one is None:
            one = numbers[name] = sessions.begin(session, FAIL if number == -1 else OK)
        if sessions.sessions[one] != session:
            told = sessions.sessions[one]
            raise text.error(at, f"transaction {number} belongs to session {told}, and here to session {session}")
        sessions.add(one, match[1], key, value)
    return sessions.history(notes, initial=0), notes
