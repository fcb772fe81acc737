"""Data folders of nodes that the harness has before it as their servers have them."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from pathlib import Path

from splitbrain.harness.errors import SetupError
from splitbrain.harness.testbeds import folders, kernel


class AtHand(ABC):
    """What a testbed with such folders does to what lies in them. Every method raises `SetupError`."""

    @abstractmethod
    def data(self, name: str) -> Path:
        """The node's data folder."""

    async def full(self, name: str) -> bool:
        """Try it from here."""
        with at_hand(self.data(name)):
            return folders.is_full(self.data(name))

    async def timed_sync(self, name: str) -> float:
        """Time it from here."""
        with at_hand(self.data(name)):
            return await asyncio.to_thread(folders.timed_sync, self.data(name))

    async def last_written(self, name: str, given: Collection[str]) -> str:
        """Look from here."""
        with at_hand(self.data(name)):
            return folders.last_written(self.data(name), given)

    async def read(self, name: str, file: str) -> bytes | None:
        """Read it from here."""
        path = self.data(name) / file
        with at_hand(path), contextlib.suppress(FileNotFoundError):
            return folders.content(folders.opened(path))
        return None

    async def rewrite(self, name: str, file: str, content: bytes) -> None:
        """Write it from here."""
        path = self.data(name) / file
        with at_hand(path):
            folders.rewrite(folders.opened(path), content)


@contextlib.contextmanager
def at_hand(path: Path) -> Iterator[None]:
    """What goes wrong with that file or folder meanwhile is a `SetupError` that names it."""
    try:
        yield
    except OSError as error:
        raise SetupError(f"{path}: {kernel.reason(error)}") from error
