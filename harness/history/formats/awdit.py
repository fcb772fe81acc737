"""AWDIT's own test format: sessions separated by a line of `=`, transactions by a line of `-`, and `r key value` or `w key
value`.

There is no implicit initial state: 0 is a value like others, but for a session that is one transaction which writes 0 only.
"""

from __future__ import annotations

import re

from splitbrain.harness.history.formats.sessions import Sessions
from splitbrain.harness.history.formats.text import Text
from splitbrain.harness.history.history import History

LINE = re.compile(r"\s*([rw])\s+(-?\d{1,4000})\s+(-?\d{1,4000})\s*\Z")
_SESSION, _TRANSACTION = re.compile(r"\s*=+\s*\Z"), re.compile(r"\s*-+\s*\Z")


def read(text: Text, *, torn: bool = False) -> tuple[History, list[str]]:
    """The history in such a file, and notes. With `torn`, a last line that is cut short is left out.

    Raises `HistoryError` with line and column, and what was expected there.
    """
    notes: list[str] = []
    sessions = Sessions()
    session, one = 0, -1  # -1: no operation of the transaction came yet, and one without any is none.
    zeros = dict[int, int]()  # Transactions that write 0 only, of sessions of one, and -1 where a session is another one.
    for at, line in text.lines():
        if not line.strip():
            continue
        if _SESSION.match(line):
            session, one = session + 1, -1
        elif _TRANSACTION.match(line):
            one = -1
        elif match := LINE.match(line):
            if one < 0:
                one = sessions.begin(session)
                zeros[session] = -1 if session in zeros else one
            if match[1] == "r" or int(match[3]) != 0:
                zeros[session] = -1
            sessions.add(one, match[1], int(match[2]), int(match[3]))
        elif torn and not line.endswith("\n"):
            notes.append("the last line is cut short: left out")
        else:
            raise text.error(at, f"expected r key value, w key value, or a line of - or =, found {line.strip()[:40]!r}")
    initial = next((one for one in zeros.values() if one >= 0), None)
    return sessions.history(notes) if initial is None else sessions.history(notes, 0, initial), notes
