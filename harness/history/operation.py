"""Operation: one call by one client, from its invocation to its outcome."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Key = str | int | None
Outcome = Literal["ok", "fail", "info"]

Kind = Literal["read", "write"]
"""A `read` changes nothing, so that one which was not answered may be forgotten; every other call is a `write`."""

KINDS: tuple[Kind, ...] = ("read", "write")

MISMATCH = "mismatch"
"""The `error` of a compare-and-set that was decided and refused, because the value it expected was not there."""


class Operation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call by one client.

    `f` is the function's name (`read`, `write`, `cas`, `add`, ...). `value` is the argument, and for an operation that
    returns something (`read`, `dequeue`) what it returned; a `cas` has `(expected, new)`. `outcome` is `ok` (it happened),
    `fail` (it certainly did not) or `info` (it may have happened, now or later). `invoked` and `completed` are nanoseconds
    from the start of the run, or positions in a file that tells no times; `completed` is None where no answer ever came.
    `error` is the reason of a `fail` or `info`, a short stable word, and `detail` what the server or the system said in its own
    words, in one line. `kind` is None where nobody told it: then a `read` is one, and a transaction that writes nothing.
    `seen` is a one-element tuple with the value that a refused `cas` reported.
    `node` is the home of the worker and `server` the node it spoke to. `scheduled` (nanoseconds) is when an open loop
    meant to start the call.
    """

    process: int
    f: str
    value: Any = None
    key: Key = None
    outcome: Outcome = "ok"
    invoked: int
    completed: int | None = None
    error: str | None = None
    detail: str | None = None
    kind: Kind | None = None
    seen: tuple[Any, ...] = ()
    node: str | None = None
    server: str | None = None
    scheduled: int | None = None
    index: int = -1

    @property
    def ended(self) -> int:
        """When it was answered; where it never was, when it was invoked: no later moment of it is known."""
        return self.invoked if self.completed is None else self.completed

    @property
    def answered(self) -> bool:
        """Whether the database decided it: `ok`, or a refusal that belongs to the operation's meaning."""
        return self.outcome == "ok" or (self.outcome == "fail" and self.error == MISMATCH)
