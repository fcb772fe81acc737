"""Decision: what one level's definition says of a history."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

State = Literal["holds", "refuted", "undecided"]
Relation = Literal["wr", "session", "realtime", "ww", "rw", "seen"]
"""Why one transaction comes before another: the second read what the first wrote; it came later in the same session; it
began after the first had ended; the first's version of `key` is the older one; the first read a version of `key` that the
second replaced; somebody (`reader`) saw the first and read the second's version of `key`, so the first's is the older one."""


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """Transaction `source` comes before `target`; both are rows of the history, -1 stands for the initial state."""

    source: int
    target: int
    relation: Relation
    key: Any = None
    reader: int | None = None


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What was found for one level. `refuted` comes with its proof: either `flaw`, one read (`row`, `key`) that is wrong in
    itself, or `cycle`, edges each of which begins where the one before it ends. Where only a search refuted it, what it
    rests on may be no single cycle: `cycle` is then the cheapest of those that it had to avoid, and `alone` is false.
    `undecided` names its `limit`."""

    level: str
    state: State
    flaw: str = ""
    row: int = -1
    key: Any = None
    cycle: tuple[Edge, ...] = ()
    alone: bool = True
    limit: str = ""
