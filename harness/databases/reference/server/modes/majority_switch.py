"""`majority-switch`: consensus, which an operator may switch off at a node by hand."""

from __future__ import annotations

from ..node import Server
from ..wire import Key, Message, Value, encode
from .lww import LastWriteWins
from .majority import Majority


class MajoritySwitch(Majority):
    """`majority-switch`: `majority`, until an operator lets some nodes serve without a quorum (`allow-minority`).

    Such a node answers reads and writes by itself, from what it had accepted and what was written without a quorum since; the
    last write by wall clock wins, and nodes that are switched tell each other. It votes as before and accepts nothing of this
    as a state of consensus, so what a majority decides meanwhile stands. Once it is switched back (`forbid-minority`) it serves
    as one of the majority again, and every write that it acknowledged without a quorum is thrown away. It stays switched until
    it is told otherwise, also where a majority is in reach again, or until its process ends.

    Known answer: linearizable; a side without a majority is blocked, unless an operator lets it serve: what it acknowledges
    then is discarded, and its reads are stale.
    """

    name = "majority-switch"

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._alone: Alone | None = None

    async def structure(self, request: Message) -> Message:
        """An operator's switch, to and fro. What is so already is no error."""
        if request["op"] not in ("allow-minority", "forbid-minority"):
            return await super().structure(request)
        allow = request["op"] == "allow-minority"
        if allow != (self._alone is not None):
            self._alone = Alone(self) if allow else None
            self.server.log("an operator lets it serve without a quorum" if allow else "an operator has it need a quorum again")
        return {"ok": True}

    def status(self) -> Message:
        return {**super().status(), "alone": self._alone is not None}

    def ready(self) -> bool:
        return self._alone is not None or super().ready()

    def tick(self) -> None:
        super().tick()
        if self._alone is not None:
            self._alone.tick()

    def peer(self, peer: str, message: Message) -> Message | None:
        if message["t"] not in ("tell", "compare"):
            return super().peer(peer, message)
        return {} if self._alone is None else self._alone.peer(peer, message)

    async def read(self, key: Key) -> Value:
        return await (super().read(key) if self._alone is None else self._alone.read(key))

    async def write(self, key: Key, value: Value) -> None:
        await (super().write(key, value) if self._alone is None else self._alone.write(key, value))

    async def cas(self, key: Key, expected: Value, new: Value) -> tuple[bool, Value]:
        return await (super().cas(key, expected, new) if self._alone is None else self._alone.cas(key, expected, new))

    async def add(self, key: Key, element: Value) -> None:
        await (super().add(key, element) if self._alone is None else self._alone.add(key, element))

    async def elements(self, key: Key) -> list[Value]:
        return await (super().elements(key) if self._alone is None else self._alone.elements(key))

    def accepted_read(self, key: Key) -> Value:
        """What this node accepted last as one of the majority."""
        return super().local_read(key)

    def accepted_elements(self, key: Key) -> list[Value]:
        """The same of a set."""
        return super().local_elements(key)

    def local_read(self, key: Key) -> Value:
        return self.accepted_read(key) if self._alone is None else self._alone.local_read(key)

    def local_elements(self, key: Key) -> list[Value]:
        return self.accepted_elements(key) if self._alone is None else self._alone.local_elements(key)


class Alone(LastWriteWins):
    """What is written without a quorum, above what its node had accepted."""

    def __init__(self, mode: MajoritySwitch) -> None:
        super().__init__(mode.server)
        self._below = mode

    def local_read(self, key: Key) -> Value:
        written = encode(["register", key]) in self.entries
        return super().local_read(key) if written else self._below.accepted_read(key)

    def local_elements(self, key: Key) -> list[Value]:
        written = encode(["set", key]) in self.entries
        return super().local_elements(key) if written else self._below.accepted_elements(key)
