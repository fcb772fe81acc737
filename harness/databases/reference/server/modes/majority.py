"""`majority`: consensus for every key."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from itertools import count
from typing import Any, ClassVar, NamedTuple
from zlib import crc32

from ..members import EPOCH, Config, Members
from ..mode import Mode
from ..node import Server
from ..peers import Link, Round
from ..wire import PATIENCE, Ballot, Failure, Key, Message, Value, as_ballot, fingerprint, no_quorum, timed_out


class Version(NamedTuple):
    """What an acceptor accepted for a key: at `ballot`, the register's `value`, the first `size` of `elements` (a list that
    only ever grows at its end), and per proposer the last change of its that is in here (`marks`)."""

    ballot: Ballot
    value: Value
    elements: list[Value]
    size: int
    marks: dict[str, list[int]]

    def whole(self) -> Message:
        """As a peer is told it."""
        return {"b": self.ballot, "v": self.value, "e": self.elements[: self.size], "m": self.marks}


def as_version(message: Message) -> Version:
    """The version that a peer was told as `Version.whole`."""
    return Version(as_ballot(message["b"]), message["v"], message["e"], len(message["e"]), message["m"])


class Slot:
    """One key: what this acceptor promised and accepted, and the changes that this proposer has still to make."""

    def __init__(self) -> None:
        self.promised: Ballot = (0, "")
        self.seen = 0
        """The highest number of a ballot that refused this proposer."""
        self.accepted = Version((0, ""), None, [], 0, {})
        self.members: set[Value] = set()
        self.queue: list[Call] = []
        self.running = False
        self.prepared: Ballot | None = None
        """A ballot that a majority promised when it accepted what is accepted here: no need to prepare."""


class Call:
    """A client's operation in the hands of its proposer. `proposed` from the moment that a change of it may be found."""

    def __init__(self, op: str, arguments: list[Value]) -> None:
        self.op = op
        self.arguments = arguments
        self.proposed = False
        self.answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

    def expire(self) -> None:
        """The deadline passed."""
        if not self.answer.done():
            self.answer.set_exception(timed_out() if self.proposed else no_quorum())


class Majority(Mode):
    """`majority`: every key is a register of its own under CASPaxos (Rystsov 2018): a change is a function of the state that a
    majority promised, and happens when a majority accepted its result.

    Reads ask everybody; if a majority has accepted the same ballot, that is the answer. It is sound: the state was chosen, and
    any other change that was confirmed before the read began, or seen by an earlier read, sits at a ballot that some member
    of that majority had accepted by then, and acceptors only go up. Else the read becomes a change that changes nothing, and
    so writes back what it answers. Ballots are unique, each carries one state, and the chosen states form a chain, so writes,
    CAS and reads are linearizable by ballot.

    A proposer that is refused tries again with a new ballot; lest a change happen twice, the state carries for each proposer
    the batch and attempt that it last made (a proposer makes one batch for a key at a time): where a retry finds its
    own mark, it answers what that attempt answered. An attempt that nobody retries can only be completed by others, once.

    To spare proposers the duel, a change goes to a proposer that the key and the reachable nodes decide; that is a matter of
    speed, everybody may propose. It gathers what waits for a key into one batch, and a ballot promised together with an
    acceptance saves the next batch its first round. An acceptor that has the set already is sent only the new elements.

    Its members can be changed, one at a time: see `Members`.

    Known answer: linearizable; a side without a majority is blocked.
    """

    name = "majority"
    COMPARE = 10
    """Beats between two comparisons with one peer after the other, for replicas that missed something."""
    BATCH = 256
    DELTA = 16
    """Sets with more elements are sent as what is new."""
    TRANSFERS: ClassVar[bool] = True
    """Whether who becomes a member votes only once it has what was decided before."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._slots: dict[Key, Slot] = {}
        self._versions = 0
        self._checksum = 0
        self._beats = 0
        self._batches = count(time.time_ns())
        self._journal = server.durable()
        self.members = Members(self)
        for record in self._journal.replay():
            if "c" in record:
                self.members.restore(record["c"])
                continue
            slot = self._slot(record["k"])
            if "b" in record:
                self._store(record["k"], slot, record)
            else:
                slot.promised = as_ballot(record["p"])

    def _slot(self, key: Key) -> Slot:
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = Slot()
        return slot

    # The acceptor.

    def peer(self, peer: str, message: Message) -> Message | None:
        if message["t"] == "do":
            return None
        if message["t"] in ("seal", "copy", "install"):
            return self.members.peer(message)
        if self.members.fences(message):
            return {"c": self.members.config.epoch}
        if message["t"] == "ballots":
            if message["checksum"] == self._checksum:
                return {"ballots": []}
            return {"ballots": list(self.ballots())}
        slot = self._slot(message["k"])
        match message["t"]:
            case "get":
                return self._tell(slot, message)
            case "prepare":
                if not self._promise(message["k"], slot, as_ballot(message["b"])):
                    return {"p": slot.promised}
                return self._tell(slot, message)
            case _:
                return self._accept(slot, message)

    def _tell(self, slot: Slot, message: Message) -> Message:
        if slot.accepted.ballot == as_ballot(message["h"]):
            return {"b": slot.accepted.ballot}
        return slot.accepted.whole()

    def _promise(self, key: Key, slot: Slot, ballot: Ballot) -> bool:
        if ballot <= slot.promised:
            return False
        slot.promised = ballot
        self._journal.append({"k": key, "p": ballot})
        return True

    def _accept(self, slot: Slot, message: Message) -> Message:
        if as_ballot(message["b"]) < slot.promised:
            return {"p": slot.promised}
        if "a" in message and as_ballot(message["o"]) != slot.accepted.ballot:
            return {"need": True}
        self._store(message["k"], slot, message)
        self._journal.append({name: message[name] for name in "kbnvmea" if name in message})
        return {}

    def _store(self, key: Key, slot: Slot, message: Message) -> None:
        if "a" in message:
            elements = slot.accepted.elements
            elements.extend(message["a"])
            slot.members.update(message["a"])
        else:
            elements = message["e"]
            slot.members = set(elements)
        if slot.accepted.ballot[0]:
            self._checksum ^= fingerprint(f"{key!r} {slot.accepted.ballot}")
        slot.accepted = Version(as_ballot(message["b"]), message["v"], elements, len(elements), message["m"])
        self._checksum ^= fingerprint(f"{key!r} {slot.accepted.ballot}")
        slot.promised = as_ballot(message["n"])
        self._versions += 1

    # The members.

    def ballots(self) -> Iterator[tuple[Key, Ballot]]:
        """The keys, and at which ballot the state of each was accepted here."""
        return ((key, slot.accepted.ballot) for key, slot in self._slots.items())

    def ballot(self, key: Key) -> Ballot:
        """That of one key."""
        return self._slot(key).accepted.ballot

    def whole(self, key: Key) -> Message:
        """The state of a key, as it was accepted here."""
        return self._slot(key).accepted.whole()

    def install(self, state: Message) -> None:
        """Take a state that was accepted elsewhere in an epoch before, unless this one is newer."""
        slot = self._slot(state["k"])
        if as_ballot(state["b"]) > slot.accepted.ballot:
            state = {**state, "n": max(slot.promised, as_ballot(state["b"]))}
            self._store(state["k"], slot, state)
            self._journal.append({name: state[name] for name in "kbnvme"})

    def keep(self, config: Config) -> None:
        """Remember the members over the end of the process."""
        self._journal.append({"c": config})
        self.server.soon()

    async def structure(self, request: Message) -> Message:
        """A node leaves, or joins."""
        if request["op"] not in ("add-member", "remove-member"):
            return await super().structure(request)
        await self.members.change(request["member"], leaves=request["op"] == "remove-member")
        return {"ok": True}

    def status(self) -> Message:
        return {**super().status(), "members": self.members.config.names}

    def ready(self) -> bool:
        return self.members.quorum()

    def beat(self) -> Message:
        return {"e": self.members.config.epoch, "a": self.members.config.active}

    def heard(self, peer: str, beat: Message) -> None:
        self.members.heard(peer, beat)

    # The proposer.

    async def _change(self, key: Key, op: str, arguments: list[Value]) -> Message:
        server = self.server
        deadline = server.now() + PATIENCE
        while self.members.quorum():
            near = [server.name, *(link.name for link in self.members.peers())]
            name = max(near, key=lambda name: crc32(f"{key!r} {name}".encode()))
            if name == server.name:
                break
            replies: list[Message | None] = []

            def judge(peer: str, reply: Message | None, replies: list[Message | None] = replies) -> bool:
                replies.append(reply)
                return True

            message = {"t": "do", "k": key, "f": op, "x": arguments, "s": deadline - server.now() - 0.05}
            await server.ask([server.links[name]], message, judge, deadline)
            if replies and replies[0] is not None:
                reply = replies[0]
                if "error" not in reply:
                    return reply
                if not reply["definite"]:
                    raise Failure(reply["error"], definite=False)
                break  # That node lacks a majority; this one has it.
            if not replies:
                raise timed_out()
            if op not in ("read", "elements"):
                raise Failure("peer-lost", definite=False)
        return await self.propose(key, op, arguments, deadline)

    async def taken_over(self, message: Message) -> Message:
        return await self.propose(message["k"], message["f"], message["x"], self.server.now() + message["s"])

    async def propose(self, key: Key, op: str, arguments: list[Value], deadline: float) -> Message:
        """Have a change made by this node itself. Raises `Failure`."""
        if not self.members.quorum():
            raise no_quorum()
        slot = self._slot(key)
        call = Call(op, arguments)
        slot.queue.append(call)
        if not slot.running:
            slot.running = True
            self.server.spawn(self._work(key, slot))
        timer = asyncio.get_running_loop().call_at(deadline, call.expire)
        try:
            return await call.answer
        finally:
            timer.cancel()

    async def _work(self, key: Key, slot: Slot) -> None:
        while slot.queue:
            batch = slot.queue[: self.BATCH]
            del slot.queue[: self.BATCH]
            await self._make(key, slot, batch)
        slot.running = False

    async def _make(self, key: Key, slot: Slot, batch: list[Call]) -> None:
        """Make one batch, in as many attempts as its calls have patience for."""
        me, number = self.server.name, next(self._batches)
        attempts: list[list[Message | None]] = []
        pause = 0.002
        while any(not call.answer.done() for call in batch):
            found: tuple[Ballot, Version] | None
            if slot.prepared is not None and slot.prepared == slot.promised and self._is_of_today(slot.prepared):
                found = slot.prepared, slot.accepted
            else:
                found = await self._prepare(key, slot)
            slot.prepared = None
            if found is not None:
                ballot, base = found
                mark = base.marks.get(me)
                value, marks = base.value, base.marks
                added: list[Value] = []
                if mark is not None and mark[0] == number:
                    answers = attempts[mark[1]]
                else:
                    answers, value, added, changed = _apply(slot, base, batch)
                    if changed:
                        marks = {**marks, me: [number, len(attempts)]}
                    attempts.append(answers)
                if await self._spread(key, slot, ballot, base, value, added, marks, batch):
                    for call, answer in zip(batch, answers, strict=True):
                        if answer is not None and not call.answer.done():
                            call.answer.set_result(answer)
                    return
            await asyncio.sleep(random.uniform(0, pause))
            pause = min(0.05, 2 * pause)

    def _is_of_today(self, ballot: Ballot) -> bool:
        """Whether a ballot is of the epoch in which this node votes."""
        return self.members.votes() and ballot[0] // EPOCH == self.members.config.epoch

    async def _prepare(self, key: Key, slot: Slot) -> tuple[Ballot, Version] | None:
        """The promise of a majority: a ballot and the newest state that it accepted."""
        if not self.members.votes():
            return None
        need, peers, epoch = self.members.majority - 1, self.members.peers(), self.members.config.epoch
        ballot = max(slot.promised[0], slot.seen, epoch * EPOCH) + 1, self.server.name
        self._promise(key, slot, ballot)
        mine = newest = slot.accepted
        yes = no = 0

        def judge(peer: str, reply: Message | None) -> bool:
            nonlocal newest, yes, no
            if reply is None or reply.keys() & {"p", "c"}:
                no += 1
                if reply is not None and "p" in reply:
                    slot.seen = max(slot.seen, reply["p"][0])
            else:
                yes += 1
                if "v" in reply and as_ballot(reply["b"]) > newest.ballot:
                    newest = as_version(reply)
            return yes >= need or no > len(peers) - need

        message = {"t": "prepare", "c": epoch, "k": key, "b": ballot, "h": mine.ballot}
        if need and not (await self.server.ask(peers, message, judge, self.server.now() + PATIENCE) and yes >= need):
            return None
        return ballot, newest

    async def _spread(self, key: Key, slot: Slot, ballot: Ballot, base: Version, value: Value, added: list[Value],
                      marks: dict[str, list[int]], batch: list[Call]) -> bool:
        """Have a majority, this node first, accept a state at a prepared ballot; whether it did."""
        if not self._is_of_today(ballot):
            return False
        need, peers, epoch = self.members.majority - 1, self.members.peers(), self.members.config.epoch
        following = ballot[0] + 1, self.server.name
        message: Message = {"t": "accept", "c": epoch, "k": key, "b": ballot, "n": following, "o": base.ballot, "v": value,
                            "m": marks}
        if base.size > self.DELTA:
            message["a"] = added
        else:
            message["e"] = [*base.elements[: base.size], *added]
        mine = message
        if "a" in message and base.ballot != slot.accepted.ballot:
            mine = {**message, "e": [*base.elements[: base.size], *added]}
            del mine["a"]
        if "p" in self._accept(slot, mine):
            return False
        for call in batch:
            call.proposed = True
        yes = no = 0

        def judge(peer: str, reply: Message | None) -> bool:
            nonlocal yes, no
            if reply is not None and "need" in reply and slot.accepted.ballot == ballot:
                whole = {**message, "e": slot.accepted.whole()["e"]}
                del whole["a"]
                round_.ask([self.server.links[peer]], whole)
            elif reply is None or reply.keys() & {"need", "p", "c"}:
                no += 1
                if reply is not None and "p" in reply:
                    slot.seen = max(slot.seen, reply["p"][0])
            else:
                yes += 1
            return yes >= need or no > len(peers) - need

        round_ = Round(self.server, judge)
        round_.ask(peers, message)
        if need and not (await round_.end(self.server.now() + PATIENCE) and yes >= need):
            return False
        slot.prepared = following
        return True

    # What clients ask for.

    async def read(self, key: Key) -> Value:
        version = await self._fetch(key)
        return version.value if version else (await self._change(key, "read", []))["value"]

    async def elements(self, key: Key) -> list[Value]:
        version = await self._fetch(key)
        return version.elements[: version.size] if version else (await self._change(key, "elements", []))["elements"]

    async def _fetch(self, key: Key) -> Version | None:
        """The state that a majority holds at the same ballot, None where none does."""
        if not self.members.quorum():
            raise no_quorum()
        slot, peers, majority = self._slot(key), self.members.peers(), self.members.majority
        mine = slot.accepted
        versions = {mine.ballot: mine}
        tally = {mine.ballot: 1}
        left = len(peers)

        def judge(peer: str, reply: Message | None) -> bool:
            nonlocal left
            left -= 1
            if reply is not None and "c" not in reply:
                ballot = as_ballot(reply["b"])
                tally[ballot] = tally.get(ballot, 0) + 1
                if ballot not in versions:
                    versions[ballot] = as_version(reply)
            most = max(tally.values())
            return most >= majority or most + left < majority

        if majority > 1:
            message = {"t": "get", "c": self.members.config.epoch, "k": key, "h": mine.ballot}
            await self.server.ask(peers, message, judge, self.server.now() + PATIENCE / 2)
        return next((versions[ballot] for ballot, votes in tally.items() if votes >= majority), None)

    async def write(self, key: Key, value: Value) -> None:
        await self._change(key, "write", [value])

    async def cas(self, key: Key, expected: Value, new: Value) -> tuple[bool, Value]:
        answer = await self._change(key, "cas", [expected, new])
        return answer["ok"], answer.get("seen")

    async def add(self, key: Key, element: Value) -> None:
        await self._change(key, "add", [element])

    def local_read(self, key: Key) -> Value:
        slot = self._slots.get(key)
        return slot.accepted.value if slot else None

    def local_elements(self, key: Key) -> list[Value]:
        slot = self._slots.get(key)
        return slot.accepted.elements[: slot.accepted.size] if slot else []

    def counters(self) -> tuple[int, int]:
        return 0, self._versions

    # Replicas that missed something.

    def joined(self, peer: str) -> None:
        if self.TRANSFERS:
            self.server.spawn(self._catch_up(self.server.links[peer]))

    def tick(self) -> None:
        self._beats += 1
        self.members.tick()
        if self.TRANSFERS and self._beats % self.COMPARE == 0 and (peers := self.members.peers()):
            self.server.spawn(self._catch_up(peers[self._beats // self.COMPARE % len(peers)]))

    async def _catch_up(self, link: Link) -> None:
        """Have everything written anew that the peer has a newer state of."""
        ballots: list[Any] = []

        def judge(peer: str, reply: Message | None) -> bool:
            ballots.extend(reply.get("ballots", ()) if reply else ())
            return True

        message = {"t": "ballots", "c": self.members.config.epoch, "checksum": self._checksum}
        await self.server.ask([link], message, judge, self.server.now() + PATIENCE)
        for key, ballot in ballots:
            if self._slot(key).accepted.ballot < as_ballot(ballot):
                try:
                    await self._change(key, "read", [])
                except Failure:
                    return


class MajorityAmnesia(Majority):
    """`majority-amnesia`: `majority` with a planted fault. Who becomes a member votes at once, though its disk was wiped, as if
    it still had what it had accepted; and nobody gives it back what it lost.

    Known answer: where members are replaced one after the other, acknowledged writes are lost.
    """

    name = "majority-amnesia"
    TRANSFERS = False


def _apply(slot: Slot, base: Version, batch: list[Call]) -> tuple[list[Message | None], Value, list[Value], bool]:
    """What the calls of a batch that still wait answer, one after the other, from `base` on; the new value, the new elements,
    and whether anything changed."""
    members = slot.members if base.ballot == slot.accepted.ballot else set(base.elements[: base.size])
    value = base.value
    added: dict[Value, None] = {}
    answers: list[Message | None] = []
    changed = False
    for call in batch:
        answer: Message | None = {"ok": True}
        if call.answer.done():
            answer = None
        elif call.op == "read":
            answer = {"ok": True, "value": value}
        elif call.op == "elements":
            answer = {"ok": True, "elements": [*base.elements[: base.size], *added]}
        elif call.op == "add":
            if call.arguments[0] not in members:
                added[call.arguments[0]] = None
        elif call.op == "cas" and value != call.arguments[0]:
            answer = {"ok": False, "seen": value}
        else:
            value, changed = call.arguments[-1], True
        answers.append(answer)
    return answers, value, list(added), changed or bool(added)
