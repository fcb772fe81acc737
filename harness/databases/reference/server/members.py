"""Who is a member of the cluster, and how that is changed: one node at a time, by the members' own votes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .peers import Link
from .wire import BEAT, PATIENCE, Ballot, Failure, Key, Message, as_ballot, no_quorum, unsupported

if TYPE_CHECKING:
    from .modes.majority import Majority

EPOCH = 1 << 32
"""Ballots of an epoch are above all of the epochs before."""
CHUNK = 200
"""States of keys that are sent at once."""
ELEMENTS = 20_000
"""Elements of sets that are sent at once, unless one set alone has more."""


class Config(NamedTuple):
    """The members of an epoch, and those of the epoch before. Before it is `active` a node does not vote in it."""

    epoch: int
    names: tuple[str, ...]
    active: bool
    before: tuple[str, ...] = ()


class Members:
    """The members as one node knows them.

    Each set of members has an epoch. Every question of a proposer carries its epoch, and an acceptor answers those of its own
    alone, so that votes of two epochs are never counted together. From one epoch to the next:

    1. The members of the old epoch decide, once and for all, who those of the next one are: a register of the old epoch's,
       which is set from nothing by the same votes as any other.
    2. A majority of the old members is sealed: they take the next epoch for theirs, and vote in the old one no more. So nothing
       is decided in the old epoch any more.
    3. Whoever leads the change takes the newest state of every key from those whom it sealed. What the old epoch decided is
       among that, since its majority and theirs have a member in common. It then votes in the new epoch.
    4. Every other member is given what it lacks by one that votes already, and then votes too.

    A member whose disk was wiped joins with an epoch of its own, so that it votes again only after step 4, and what it had
    promised in epochs before binds nobody: their ballots are below all new ones. A change that nobody leads any more is
    brought to its end by any of the new members. (The steps are those of Lamport, Malkhi and Zhou, Reconfiguring a state
    machine, 2010: stop the old one, transfer, start the new one.)
    """

    PATIENT = 8
    """Beats for which a member waits to be let vote before it leads the change itself."""

    def __init__(self, mode: Majority) -> None:
        self._mode = mode
        self._server = mode.server
        names = tuple(mode.server.names)
        self.config = Config(-1, (), False) if mode.server.joins else Config(0, names, True)
        self._bringing: set[str] = set()
        self._waited = 0
        self._leading = False

    # What the mode asks.

    @property
    def majority(self) -> int:
        """So many votes decide."""
        return len(self.config.names) // 2 + 1

    def votes(self) -> bool:
        """Whether this node votes."""
        return self.config.active and self._server.name in self.config.names

    def peers(self) -> list[Link]:
        """The links to other members that are up; none where this node does not vote."""
        return [link for link in self._server.up() if link.name in self.config.names] if self.votes() else []

    def quorum(self) -> bool:
        """Whether this node and the members that it reaches decide."""
        return self.votes() and len(self.peers()) + 1 >= self.majority

    def fences(self, message: Message) -> bool:
        """Whether a proposer's question is of another epoch than this node votes in."""
        return not self.votes() or message["c"] != self.config.epoch

    def restore(self, record: Sequence[Any]) -> None:
        """As it was told its journal."""
        epoch, names, active, before = record
        self.config = Config(epoch, tuple(names), active, tuple(before))

    def heard(self, peer: str, beat: Message) -> None:
        """Bring a peer that is behind here: a member that does not vote yet, or whoever does not know that it is none."""
        epoch, member = self.config.epoch, peer in self.config.names
        behind = beat["e"] < epoch or (beat["e"] == epoch and member and not beat["a"])
        link = self._server.links[peer]
        if self.votes() and behind and link.up and peer not in self._bringing:
            self._bringing.add(peer)
            self._server.spawn(self._bring(link))

    def tick(self) -> None:
        """Lead a change that nobody leads to its end."""
        waits = self._server.name in self.config.names and not self.config.active and not self._leading
        self._waited = self._waited + 1 if waits else 0
        if self._waited > self.PATIENT:
            self._waited = 0
            self._server.spawn(self._lead())

    # Changes.

    async def change(self, member: str, *, leaves: bool) -> None:
        """Make a node no member any more, or one. Raises `Failure`."""
        server, config = self._server, self.config
        if member not in server.names or (leaves and member == server.name):
            raise unsupported()
        names = tuple(name for name in server.names if name in config.names or name == member)
        names = tuple(name for name in names if not (leaves and name == member))
        up = {server.name, *(link.name for link in server.up())}
        if not self.quorum() or len(up.intersection(names)) < len(names) // 2 + 1:
            raise no_quorum()
        if names == config.names:
            return
        deadline = server.now() + 2 * PATIENCE
        decided = await self._mode.propose(f"splitbrain-members/{config.epoch}", "cas", [None, " ".join(names)], deadline)
        chosen = names if decided["ok"] else tuple(str(decided["seen"]).split())
        if self.config.epoch == config.epoch:
            self._adopt(Config(config.epoch + 1, chosen, False, config.names))
            await self._lead()
        if chosen != names or not self.votes():
            raise Failure("timeout", definite=False)

    def peer(self, message: Message) -> Message:
        """The reply to who leads a change, or brings this node up to date."""
        epoch = message["e"]
        if epoch > self.config.epoch:
            self._adopt(Config(epoch, tuple(message["names"]), False, tuple(message["before"])))
        if epoch < self.config.epoch:
            return {"e": self.config.epoch}
        match message["t"]:
            case "seal":
                ballots = [[key, ballot] for key, ballot in self._mode.ballots()] if not self.config.active else []
                return {"active": self.config.active, "ballots": ballots}
            case "copy":
                return {"states": [{"k": key, **self._mode.whole(key)} for key in message["keys"]]}
            case _:
                if not self.config.active:
                    for state in message["states"]:
                        self._mode.install(state)
                    if message["last"]:
                        self._activate()
                return {}

    def _adopt(self, config: Config) -> None:
        self.config = config
        self._mode.keep(config)
        self._server.log(f"epoch {config.epoch}, members {' '.join(config.names)}")
        if not self._mode.TRANSFERS and self._server.name in config.names:
            self._activate()

    def _activate(self) -> None:
        self.config = self.config._replace(active=True)
        self._mode.keep(self.config)
        self._server.log(f"votes in epoch {self.config.epoch}")

    def _seal(self) -> Message:
        return {"t": "seal", "e": self.config.epoch, "names": self.config.names, "before": self.config.before}

    async def _lead(self) -> None:
        """Steps 2 and 3 of the change to this node's own epoch, which it takes no part in yet."""
        if self._leading or self.config.active:
            return
        self._leading = True
        try:
            await self._seal_and_take()
        finally:
            self._leading = False
        for link in self.peers():
            if link.name not in self._bringing:
                self._bringing.add(link.name)
                self._server.spawn(self._bring(link))

    async def _seal_and_take(self) -> None:
        server, config = self._server, self.config
        sealed: dict[str, list[Any]] = {server.name: []}
        led = False

        def judge(peer: str, reply: Message | None) -> bool:
            nonlocal led
            if reply is not None and "active" in reply:
                led = led or reply["active"]
                sealed[peer] = reply["ballots"]
            return led or len(sealed.keys() & set(config.before)) >= len(config.before) // 2 + 1

        await server.ask(server.up(), self._seal(), judge, server.now() + PATIENCE)
        if led or len(sealed.keys() & set(config.before)) < len(config.before) // 2 + 1:
            return  # One that votes already brings this node; or it is tried again.
        for peer, ballots in sealed.items():
            newer = [key for key, ballot in ballots if as_ballot(ballot) > self._mode.ballot(key)]
            for keys in (newer[at : at + CHUNK] for at in range(0, len(newer), CHUNK)):
                reply = await self._told(server.links[peer], {"t": "copy", "e": config.epoch, "keys": keys})
                if reply is None or "states" not in reply or self.config != config:
                    return
                for state in reply["states"]:
                    self._mode.install(state)
        if self.config == config:
            self._activate()

    async def _bring(self, link: Link) -> None:
        """Step 4 for one node: tell it the epoch and, where it is a member that does not vote, what it lacks."""
        try:
            config = self.config
            reply = await self._told(link, self._seal())
            if reply is None or reply.get("active", True) or link.name not in config.names:
                return
            had = {key: as_ballot(ballot) for key, ballot in reply["ballots"]}
            for states, last in self._lacking(had):
                message = {"t": "install", "e": config.epoch, "states": states, "last": last}
                if await self._told(link, message) is None or self.config != config:
                    return
        finally:
            self._bringing.discard(link.name)

    def _lacking(self, had: dict[Key, Ballot]) -> Iterator[tuple[list[Message], bool]]:
        """The states that are newer here, in pieces, and which piece is the last."""
        piece: list[Message] = []
        size = 0
        for key, ballot in list(self._mode.ballots()):
            if ballot > had.get(key, (0, "")):
                state = {"k": key, **self._mode.whole(key)}
                if len(piece) >= CHUNK or (piece and size + len(state["e"]) > ELEMENTS):
                    yield piece, False
                    piece, size = [], 0
                piece.append(state)
                size += len(state["e"])
        yield piece, True

    async def _told(self, link: Link, message: Message) -> Message | None:
        replies: list[Message | None] = []

        def judge(peer: str, reply: Message | None) -> bool:
            replies.append(reply)
            return True

        await self._server.ask([link], message, judge, self._server.now() + 4 * BEAT + PATIENCE)
        return replies[0] if replies else None
