"""What a design has to say: to clients, to peers, and as time passes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from .wire import Key, Message, Micro, Value, unsupported

if TYPE_CHECKING:
    from .node import Server


class Mode(ABC):
    """One design: what a node does with operations, with what peers send, and with time."""

    name: ClassVar[str]

    def __init__(self, server: Server) -> None:
        self.server = server

    async def operate(self, request: Message) -> Message:
        """The answer to a client's request. Raises `Failure`."""
        key = request.get("key", "")
        match request["op"]:
            case "read":
                return {"ok": True, "value": await self.read(key)}
            case "write":
                await self.write(key, request["value"])
            case "cas":
                done, seen = await self.cas(key, request.get("expected"), request["new"])
                return {"ok": True} if done else {"ok": False, "seen": seen}
            case "siblings":
                return {"ok": True, "elements": self.siblings(key)}
            case "compensated":
                return {"ok": True, "elements": self.compensated(key)}
            case "add":
                await self.add(key, request["element"])
            case "remove":
                await self.remove(key, request["element"])
            case "elements":
                return {"ok": True, "elements": await self.elements(key)}
            case "increment":
                await self.increment(key, request["amount"])
            case "count":
                return {"ok": True, "value": await self.count(key)}
            case "deposit":
                await self.deposit(key, request["amount"])
            case "transfer":
                done, balance = await self.transfer(request["source"], request["target"], request["amount"])
                return {"ok": True} if done else {"ok": False, "seen": balance}
            case "balances":
                return {"ok": True, "balances": await self.balances(request["keys"])}
            case "txn":
                return {"ok": True, "micros": await self.transact(request["micros"])}
            case "local-read":
                return {"ok": True, "value": self.local_read(key)}
            case "local-elements":
                return {"ok": True, "elements": self.local_elements(key)}
            case "local-count":
                return {"ok": True, "value": self.local_count(key)}
            case "local-balances":
                return {"ok": True, "balances": self.local_balances(request["keys"])}
            case "local-txn":
                return {"ok": True, "micros": self.local_transact(request["micros"])}
            case _:
                return await self.structure(request)
        return {"ok": True}

    async def structure(self, request: Message) -> Message:
        """The answer to a request of a queue, a lock, an identifier or a watch (`FIELDS`)."""
        raise unsupported()

    # Registers.

    async def read(self, key: Key) -> Value:
        """What the register holds."""
        raise unsupported()

    async def write(self, key: Key, value: Value) -> None:
        """Set the register."""
        raise unsupported()

    async def cas(self, key: Key, expected: Value, new: Value) -> tuple[bool, Value]:
        """Set the register if it holds `expected`; whether it did, and what it held."""
        raise unsupported()

    def siblings(self, key: Key) -> list[Value]:
        """The values, written beside each other, that the register holds together."""
        raise unsupported()

    def compensated(self, key: Key) -> list[Value]:
        """The values that were acknowledged and taken back."""
        raise unsupported()

    def local_read(self, key: Key) -> Value:
        """What this node's copy of the register holds."""
        raise unsupported()

    # Sets.

    async def add(self, key: Key, element: Value) -> None:
        """Add an element to the set."""
        raise unsupported()

    async def remove(self, key: Key, element: Value) -> None:
        """Remove an element from the set."""
        raise unsupported()

    async def elements(self, key: Key) -> list[Value]:
        """The elements of the set."""
        raise unsupported()

    def local_elements(self, key: Key) -> list[Value]:
        """The elements of this node's copy of the set."""
        raise unsupported()

    # Counters.

    async def increment(self, key: Key, amount: int) -> None:
        """Add to the counter."""
        raise unsupported()

    async def count(self, key: Key) -> int:
        """What the counter has come to."""
        raise unsupported()

    def local_count(self, key: Key) -> int:
        """What this node's copy of the counter has come to."""
        raise unsupported()

    # Accounts.

    async def deposit(self, key: Key, amount: int) -> None:
        """Put money into the account from outside."""
        raise unsupported()

    async def transfer(self, source: Key, target: Key, amount: int) -> tuple[bool, int]:
        """Move money if the source has it; whether it had, and its balance before."""
        raise unsupported()

    async def balances(self, keys: list[Key]) -> list[int]:
        """What the accounts hold, all at one moment."""
        raise unsupported()

    def local_balances(self, keys: list[Key]) -> list[int]:
        """What this node's copies of the accounts hold."""
        raise unsupported()

    # Transactions.

    async def transact(self, micros: list[Micro]) -> list[Micro]:
        """Do a transaction; its micro-operations with what its reads returned."""
        raise unsupported()

    def local_transact(self, micros: list[Micro]) -> list[Micro]:
        """Micro-operations that only read, with what this node's own copy holds."""
        raise unsupported()

    # What peers and time ask for.

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
