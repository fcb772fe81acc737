"""`ap-ledger`: a bank whose every branch goes on by itself."""

from __future__ import annotations

from typing import Any

from ..mode import Mode
from ..node import Server
from ..peers import Link
from ..wire import PATIENCE, Key, Message

Record = list[Any]
"""When it was written, by the wall clock, the source (null for a deposit), the target, and the amount."""


class ApLedger(Mode):
    """`ap-ledger`: every node appends transfers to its own log, and copies the logs of the others; an account holds what
    all logs together say. A node refuses what its copy does not cover; two sides that spend the same money both find it there.

    A node sends each peer what that has last said to lack, of every node's log, so that entries go by way of third nodes
    too. A node's own log outlives its process.

    Known answer: available everywhere, converges after heal; accounts are overdrawn, what is read was so at no one
    moment, and the total is conserved.
    """

    name = "ap-ledger"
    GOSSIP = 2
    """Beats between two rounds."""
    RECORDS = 500
    """The most records of one log in a message."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._logs: dict[str, list[Record]] = {name: [] for name in server.names}
        self._balances: dict[Key, int] = {}
        self._held: dict[str, dict[str, int]] = {}
        """For each peer, how much of each log it has said to hold."""
        self._beats = 0
        self._journal = server.durable()
        for record in self._journal.replay():
            self._append(server.name, record["r"])

    def counters(self) -> tuple[int, int]:
        return 0, sum(map(len, self._logs.values()))

    async def deposit(self, key: Key, amount: int) -> None:
        self._write([self.server.wall(), None, key, amount])

    async def transfer(self, source: Key, target: Key, amount: int) -> tuple[bool, int]:
        balance = self._balances.get(source, 0)
        if balance >= amount:
            self._write([self.server.wall(), source, target, amount])
        return balance >= amount, balance

    async def balances(self, keys: list[Key]) -> list[int]:
        return self.local_balances(keys)

    def local_balances(self, keys: list[Key]) -> list[int]:
        return [self._balances.get(key, 0) for key in keys]

    def _write(self, record: Record) -> None:
        self._append(self.server.name, record)
        self._journal.append({"r": record})

    def _append(self, name: str, record: Record) -> None:
        self._logs[name].append(record)
        _, source, target, amount = record
        if source is not None:
            self._balances[source] = self._balances.get(source, 0) - amount
        self._balances[target] = self._balances.get(target, 0) + amount

    def _lengths(self) -> dict[str, int]:
        return {name: len(log) for name, log in self._logs.items()}

    def lost(self, peer: str) -> None:
        self._held.pop(peer, None)

    def tick(self) -> None:
        self._beats += 1
        if self._beats % self.GOSSIP == 0:
            for link in self.server.up():
                self.server.spawn(self._tell(link))

    async def _tell(self, link: Link) -> None:
        held = self._held.get(link.name)
        logs: dict[str, Any] = {}
        if held is not None:
            for name, log in self._logs.items():
                if held[name] < len(log):
                    logs[name] = [held[name], log[held[name] : held[name] + self.RECORDS]]

        def judge(peer: str, reply: Message | None) -> bool:
            if reply is not None:
                self._held[peer] = reply["lengths"]
            return True

        await self.server.ask([link], {"t": "logs", "logs": logs}, judge, self.server.now() + PATIENCE)

    def peer(self, peer: str, message: Message) -> Message | None:
        for name, (start, records) in message["logs"].items():
            have = len(self._logs[name])
            if start <= have:
                for record in records[have - start :]:
                    self._append(name, record)
        return {"lengths": self._lengths()}
