"""What the clients of the built-in databases share: a connection ends with the call whose outcome nobody knows."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

from splitbrain.harness.errors import Indeterminate


class Connection(ABC):
    """One connection to one server. What it answers late would be taken for the answer to a later call: so it is closed where a
    call's outcome is not known."""

    @abstractmethod
    async def close(self) -> None:
        """Close the connection without waiting for the server."""

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether it is closed, by `close` or because a call's outcome is not known."""

    async def _lost(self, reason: str, detail: str = "") -> Indeterminate:
        await self.close()
        return Indeterminate(reason, detail)


class Stream(Connection):
    """One that is a stream of bytes each way, on which one call is made after another."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._turn = asyncio.Lock()
        self._closed = False

    async def close(self) -> None:
        """Close the connection without waiting for the server."""
        self._closed = True
        self._writer.transport.abort()

    @property
    def closed(self) -> bool:
        """Whether it is closed, by `close` or because a call's outcome is not known."""
        return self._closed
