"""AWDIT's own test format: sessions separated by a line of `=`, transactions by a line of `-`, and `r key value` or `w key
value`.

There is no implicit initial state: 0 is a value like others, but for a session that is one transaction which writes 0 only.
"""

from __future__ import annotations

import re

from splitbrain.harness.history.formats import sessions
from splitbrain.harness.history.formats.sessions import Transaction
from splitbrain.harness.history.formats.text import Text
from splitbrain.harness.history.history import History

LINE = re.compile(r"\s*([rw])\s+(-?\d+)\s+(-?\d+)\s*\Z")
_SESSION, _TRANSACTION = re.compile(r"\s*=+\s*\Z"), re.compile(r"\s*-+\s*\Z")


def read(text: Text, *, torn: bool = False) -> tuple[History, list[str]]:
    """The history in such a file, and notes. With `torn`, a last line that is cut short is left out.

    Raises `HistoryError` with line and column, and what was expected there.
    """
    notes: list[str] = []
    told: list[list[Transaction]] = [[Transaction(0)]]
    for at, line in text.lines():
        if not line.strip():
            continue
        if _SESSION.match(line):
            told.append([Transaction(len(told))])
        elif _TRANSACTION.match(line):
            told[-1].append(Transaction(len(told) - 1))
        elif match := LINE.match(line):
            told[-1][-1].micros.append((match[1], int(match[2]), int(match[3])))
        elif torn and not line.endswith("\n"):
            notes.append("the last line is cut short: left out")
        else:
            raise text.error(at, f"expected r key value, w key value, or a line of - or =, found {line.strip()[:40]!r}")
    transactions = [[one for one in session if one.micros] for session in told]
    initial = next((one[0] for one in transactions if len(one) == 1 and _initial(one[0])), None)
    flat = [one for session in transactions for one in session if one is not initial]
    if initial is None:
        return sessions.history(flat), notes
    return sessions.history(sessions.with_initial_state([initial, *flat], 0, notes)), notes


def _initial(one: Transaction) -> bool:
    return one.writes_only and all(value == 0 for _, _, value in one.micros)
