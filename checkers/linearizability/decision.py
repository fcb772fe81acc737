"""Decision: what one way of deciding linearizability says of the history of one key."""

from __future__ import annotations

import msgspec


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """`valid` is None where a budget ran out before an answer (`limit` names it). An invalid decision carries its proof:
    `rows` are positions in the given history that alone are not linearizable (of a counter's read, the read alone where more
    than a few additions make its bound), `identifier` one of `checkers.anomalies.ANOMALIES`, `sentence` the reason in words;
    `accused` is the row that was answered wrongly, None for the last. `linearized` is the longest partial linearization that
    a search found, as positions in the order in which they take effect, and `stuck` the position that cannot be placed.
    `method` names the way it was decided: `zones`, `chains`, `queue`, `search`, ...
    """

    method: str
    valid: bool | None
    rows: tuple[int, ...] = ()
    identifier: str = ""
    sentence: str = ""
    limit: str = ""
    accused: int | None = None
    linearized: tuple[int, ...] = ()
    stuck: int | None = None
    steps: int = 0

