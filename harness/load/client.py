"""The Client protocol: one connection of one worker to one server, one call at a time, one request for each call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from splitbrain.harness.history.operation import Key


class Client(Protocol):
    """A connection to one server. It never retries, redirects, discovers or fails over.

    A call returns when the database acknowledged it; else it raises `Refused` (it certainly did not happen), `Mismatch`
    (a CAS that found another value) or `Indeterminate` (it may have happened). A client that raised anything but `Refused`
    is closed and not used again. The worker bounds every call in time and cancels it: cancellation closes the connection.

    A database offers the methods that its variant names in `Variant.methods`; the others may be left out.
    """

    async def read(self, key: Key) -> Any:
        """The value of a register, None where there is none."""
        ...

    async def write(self, key: Key, value: int) -> None:
        """Set a register."""
        ...

    async def cas(self, key: Key, expected: int | None, new: int) -> None:
        """Set a register to `new` if it holds `expected` (None: nothing yet); else `Mismatch`."""
        ...

    async def add(self, key: Key, element: int) -> None:
        """Add an element to a set."""
        ...

    async def elements(self, key: Key) -> Sequence[int]:
        """The elements of a set, as the database returns them (duplicates and all)."""
        ...

    async def close(self) -> None:
        """Give the connection back; never raises, never waits for the server."""
        ...
