"""What a design has to say: to clients, to peers, and as time passes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from .wire import Key, Message, Value

if TYPE_CHECKING:
    from .node import Server


class Mode(ABC):
    """One design: what a node does with operations, with what peers send, and with time."""

    name: ClassVar[str]

    def __init__(self, server: Server) -> None:
        self.server = server

    async def operate(self, request: Message) -> Message:
        """The answer to a client's request. Raises `Failure`."""
        match request["op"]:
            case "read":
                return {"ok": True, "value": await self.read(request["key"])}
            case "write":
                await self.write(request["key"], request["value"])
                return {"ok": True}
            case "cas":
                done, seen = await self.cas(request["key"], request.get("expected"), request["new"])
                return {"ok": True} if done else {"ok": False, "seen": seen}
            case "add":
                await self.add(request["key"], request["element"])
                return {"ok": True}
            case "elements":
                return {"ok": True, "elements": await self.elements(request["key"])}
            case "local-read":
                return {"ok": True, "value": self.local_read(request["key"])}
            case _:
                return {"ok": True, "elements": self.local_elements(request["key"])}

    @abstractmethod
    async def read(self, key: Key) -> Value:
        """What the register holds."""

    @abstractmethod
    async def write(self, key: Key, value: Value) -> None:
        """Set the register."""

    @abstractmethod
    async def cas(self, key: Key, expected: Value, new: Value) -> tuple[bool, Value]:
        """Set the register if it holds `expected`; whether it did, and what it held."""

    @abstractmethod
    async def add(self, key: Key, element: Value) -> None:
        """Add an element to the set."""

    @abstractmethod
    async def elements(self, key: Key) -> list[Value]:
        """The elements of the set."""

    @abstractmethod
    def local_read(self, key: Key) -> Value:
        """What this node's copy of the register holds."""

    @abstractmethod
    def local_elements(self, key: Key) -> list[Value]:
        """The elements of this node's copy of the set."""

    @abstractmethod
    def peer(self, peer: str, message: Message) -> Message | None:
        """The reply to a peer's request; None where `taken_over` has it."""

    async def taken_over(self, message: Message) -> Message:
        """The reply to a peer's request that takes time. Raises `Failure`."""
        raise NotImplementedError

    def role(self) -> str:
        """`primary` or `replica`."""
        return "replica"

    def primary(self) -> str | None:
        """Whom this node believes to be primary."""
        return None

    def ready(self) -> bool:
        """Whether operations can be served."""
        return self.server.quorum()

    def counters(self) -> tuple[int, int]:
        """Generation and version."""
        raise NotImplementedError

    def status(self) -> Message:
        """What `status` answers."""
        generation, version = self.counters()
        return {"name": self.server.name, "mode": self.name, "role": self.role(), "primary": self.primary(),
                "generation": generation, "version": version, "ready": self.ready()}

    def beat(self) -> Message:
        """What every sign of life tells the peers."""
        return {}

    def heard(self, peer: str, beat: Message) -> None:
        """A sign of life came."""

    def joined(self, peer: str) -> None:
        """The link to a peer is up."""

    def lost(self, peer: str) -> None:
        """The link to a peer is down."""

    def tick(self) -> None:
        """`BEAT` has passed."""

    def before_flush(self) -> None:
        """The turn ends: what was gathered in it may be sent."""


Ballot = tuple[int, str]
