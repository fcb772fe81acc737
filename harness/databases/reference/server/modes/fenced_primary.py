"""`fenced-primary`: a replicated log under one primary with a lease."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from ..election import Election
from ..node import Server
from ..peers import Link, Round
from ..primary import Primary
from ..wire import PATIENCE, Failure, Message, timed_out


class FencedPrimary(Primary):
    """`fenced-primary`: one log, replicated as in Raft (Ongaro & Ousterhout 2014), and reads under a lease.

    A primary is elected by a majority for a generation, and has at least the log of every voter (the last generation, then
    the length). Replicas refuse what an older generation appends. A change is answered when a majority stored it in this
    generation, an entry of an earlier one only behind an entry of this one. So every answered change is in the log of every
    later primary, in the same place, which makes changes, a CAS too, linearizable by their place in the log.

    Whoever takes an append grants its sender `GRANT`: until that is over it neither votes for another nor stands itself
    (a restarted node, which has forgotten its grants, waits as long). The primary's lease ends `HOLD` after it *sent* the
    newest appends that a majority confirmed, on its own monotonic clock. Every majority that elects another holds one of
    these grants, which began later and last longer; so while the lease is in force nobody else has answered anything, and
    what is committed here is all there is to read. A primary whose lease ended shuts itself down as one; one that was
    stopped and goes on looks at the clock before it answers. It serves once an entry of its own generation is committed.

    Where the count of nodes is even, the first by name is the witness as well: it has a second vote, so that of two halves
    one goes on.

    Known answer: linearizable; a side without a majority is blocked.
    """

    name = "fenced-primary"
    HOLD = 0.6
    GRANT = 0.8
    ENTRIES = 500
    """The most entries of one append."""
    WINDOW = 2000
    """The most entries that a replica has been sent and not confirmed."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._weights = dict.fromkeys(server.names, 1)
        if len(server.names) % 2 == 0:
            self._weights[server.names[0]] = 2
        self._election = Election(server, self, self._weights, server.now())
        self.log: list[tuple[int, list[Any]]] = []
        self._committed = 0
        self._applied = 0
        self._leader: str | None = None
        self._serves_from = 0
        self._elected = 0.0
        self._stored: dict[str, int] = {}
        self._sent: dict[str, int] = {}
        self._confirmed: dict[str, float] = {}
        """The primary's: up to where each replica stored its log, was sent it; when the last confirmed append was sent."""
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._journal = server.durable()
        records = self._journal.replay()
        for record in records:
            if "i" in record:
                self.log[record["i"] :] = [(record["g"], record["c"])]
            else:
                self.generation = record["g"]
                self._election.restore(record["g"], record["w"])
        self._granted = server.now() + (self.GRANT if records else 0)
        self._election.due = self._granted + random.uniform(0.05, 0.15)

    def _shared(self, own: float, others: dict[str, float]) -> float:
        """The greatest number that a majority, with this node's own, is not below."""
        votes = 0
        for number, name in sorted([(own, self.server.name), *zip(others.values(), others, strict=True)], reverse=True):
            votes += self._weights[name]
            if self._election.majority(votes):
                return number
        return -1.0

    def _leased(self) -> bool:
        now = self.server.now()
        return self.is_primary and now < self._shared(now, self._confirmed) + self.HOLD

    def _serving(self) -> bool:
        return self._leased() and self._committed >= self._serves_from

    def held(self) -> list[int]:
        """The last entry's generation, and the length of the log."""
        return [self.log[-1][0] if self.log else 0, len(self.log)]

    # What clients ask for.

    def admit(self) -> None:
        if not self.is_primary:
            raise Failure("not-primary", definite=True)
        if not self._serving():
            raise Failure("no-lease", definite=True)

    async def change(self, change: list[Any]) -> Message:
        self.admit()
        self.append(change)
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[len(self.log)] = answer
        timer = asyncio.get_running_loop().call_later(PATIENCE, _fail, answer, timed_out())
        try:
            return await answer
        finally:
            timer.cancel()

    def primary(self) -> str | None:
        if self.is_primary:
            return self.server.name if self._leased() else None
        return self._leader if self.server.now() < self._granted else None

    def ready(self) -> bool:
        return self._election.quorum() and self.primary() is not None and (not self.is_primary or self._serving())

    def counters(self) -> tuple[int, int]:
        return self.generation, self._committed

    # The primary.

    def append(self, change: list[Any]) -> None:
        """Put a change at the end of the log, as the primary."""
        self._store(len(self.log), [(self.generation, change)])
        self.server.soon()

    def _store(self, at: int, entries: list[tuple[int, list[Any]]]) -> None:
        self.log[at:] = entries
        for i, (generation, change) in enumerate(entries, at):
            self._journal.append({"i": i, "g": generation, "c": change})

    def before_flush(self) -> None:
        if self.is_primary:
            for link in self.server.up():
                if self._sent[link.name] < len(self.log):
                    self._replicate(link)
            self._commit()

    def _replicate(self, link: Link) -> None:
        """Send what the replica was not sent yet, if only the grant that it asks for."""
        sent = self._sent[link.name]
        room = min(self.ENTRIES, self._stored[link.name] + self.WINDOW - sent)
        entries = self.log[sent : sent + room] if room > 0 else []
        self._sent[link.name] = sent + len(entries)
        generation, at = self.generation, self.server.now()
        message = {"t": "append", "g": generation, "i": sent, "p": self.log[sent - 1][0] if sent else 0, "e": entries,
                   "c": self._committed}

        def judge(peer: str, reply: Message | None) -> bool:
            if reply is not None:
                self._confirm(peer, generation, at, reply)
            return True

        Round(self.server, judge).ask([link], message)

    def _confirm(self, peer: str, generation: int, at: float, reply: Message) -> None:
        if reply["g"] > self.generation:
            self._election.learn(reply["g"])
        if not self.is_primary or self.generation != generation or reply["g"] != generation:
            return
        self._confirmed[peer] = max(at, self._confirmed.get(peer, 0.0))
        if reply["ok"]:
            self._stored[peer] = max(self._stored[peer], reply["n"])
            self._commit()
        else:
            self._sent[peer] = max(self._stored[peer], min(self._sent[peer], reply["n"]))
        if self._sent[peer] < len(self.log):
            self.server.soon()

    def _commit(self) -> None:
        shared = int(self._shared(len(self.log), dict(self._stored)))
        if shared > self._committed and self.log[shared - 1][0] == self.generation:
            self._committed = shared
            self._apply()

    def _apply(self) -> None:
        while self._applied < self._committed:
            change = self.log[self._applied][1]
            self._applied += 1
            answer = self.store.apply(change) if change else {}
            waiting = self._waiting.pop(self._applied, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)

    def lead(self, generation: int) -> None:
        now = self.server.now()
        self.server.log(f"primary, generation {generation}, from entry {len(self.log)}")
        self.is_primary, self._leader, self._elected = True, None, now
        self._stored = dict.fromkeys(self.server.links, 0)
        self._sent = dict.fromkeys(self.server.links, len(self.log))
        self._confirmed = {}
        self.append([])
        self._serves_from = len(self.log)
        for link in self.server.up():
            self._replicate(link)

    def _resign(self, why: str) -> None:
        self.server.log(f"shuts itself down as primary of generation {self.generation}: {why}")
        self.is_primary = False
        self._election.due = self.server.now() + random.uniform(0.1, 0.3)
        for answer in self._waiting.values():
            _fail(answer, Failure("demoted", definite=False))
        self._waiting = {}

    def undecided(self) -> bool:
        return not self.is_primary and self.server.now() >= self._granted

    def adopt(self, generation: int, voted: str | None) -> None:
        if self.is_primary:
            self._resign(f"generation {generation} has begun")
        self.generation = generation
        self._journal.append({"g": generation, "w": voted})

    def lost(self, peer: str) -> None:
        self._election.lost(peer)
        if self.is_primary:
            self._sent[peer] = self._stored[peer]

    def joined(self, peer: str) -> None:
        if self.is_primary:
            self._replicate(self.server.links[peer])

    def tick(self) -> None:
        now = self.server.now()
        if self.is_primary:
            if not self._leased() and now - self._elected > self.HOLD:
                self._resign("its lease has ended")
            for link in self.server.up() if self.is_primary else ():
                self._replicate(link)
        else:
            self._election.tick()

    # The replicas.

    def peer(self, peer: str, message: Message) -> Message | None:
        if message["t"] in ("vote", "withdraw"):
            return self._election.answer(peer, message)
        return self._take(peer, message)

    def _take(self, peer: str, message: Message) -> Message:
        if message["g"] < self.generation:
            return {"g": self.generation, "ok": False, "n": 0}
        if message["g"] > self.generation:
            self._election.learn(message["g"])
        if self._leader != peer or self.server.now() >= self._granted:
            self.server.log(f"follows {peer}, generation {self.generation}")
        self._leader = peer
        self._granted = self.server.now() + self.GRANT
        self._election.due = self._granted + random.uniform(0, 0.15)
        at, log = message["i"], self.log
        if at > len(log) or (at and log[at - 1][0] != message["p"]):
            hint = min(at, len(log))
            # Back over the whole generation that differs; what is committed cannot differ.
            while at <= len(log) and hint > self._committed and log[hint - 1][0] == log[at - 1][0]:
                hint -= 1
            return {"g": self.generation, "ok": False, "n": hint}
        entries = [(generation, change) for generation, change in message["e"]]
        same = 0
        while same < len(entries) and at + same < len(log) and log[at + same][0] == entries[same][0]:
            same += 1
        if same < len(entries):
            self._store(at + same, entries[same:])
        stored = at + len(entries)
        if min(message["c"], stored) > self._committed:
            self._committed = min(message["c"], stored)
            self._apply()
        return {"g": self.generation, "ok": True, "n": stored}


def _fail(answer: asyncio.Future[Message], failure: Failure) -> None:
    if not answer.done():
        answer.set_exception(failure)
