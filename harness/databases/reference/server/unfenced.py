"""What modes share whose primary answers first and replicates behind."""

from __future__ import annotations

from typing import Any

from .node import Server
from .peers import Link
from .primary import Primary
from .wire import BEAT, Failure, Message, encode_line


class Unfenced(Primary):
    """A primary that answers first and replicates behind, and never asks whether it still is the primary.

    It streams its changes to the replicas that hold its lineage (its generation, up to the change before); every other one
    is sent the whole store first, and so loses what it had. Subclasses say how a primary comes to be and when it yields.
    """

    PATIENCE_WITH_PRIMARY = 0.6

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self.leader: str | None = None
        self.heard_leader = 0.0
        self.views: dict[str, Message] = {}
        """What each peer said last of itself."""
        self.version = 0
        self.lineage = 0
        """The generation whose primary the store was copied from."""
        self._fresh: list[list[Any]] = []
        self._following: set[str] = set()
        self._wanted = 0.0

    async def change(self, change: list[Any]) -> Message:
        self.admit()
        answer = self.store.apply(change)
        if answer["ok"]:
            self.version += 1
            self._fresh.append(change)
        return answer

    def admit(self) -> None:
        if not self.is_primary:
            raise Failure("not-primary", definite=True)

    def primary(self) -> str | None:
        if self.is_primary:
            return self.server.name
        return self.leader if self.server.now() - self.heard_leader < self.PATIENCE_WITH_PRIMARY else None

    def ready(self) -> bool:
        return super().ready() and self.lineage == self.generation

    def counters(self) -> tuple[int, int]:
        return self.generation, self.version

    def beat(self) -> Message:
        return {"primary": self.is_primary, "names": self.primary(), "generation": self.generation}

    def heard(self, peer: str, beat: Message) -> None:
        self.views[peer] = beat
        if peer == self.leader:
            if beat["primary"]:
                self.heard_leader = self.server.now()
                if self.lineage != self.generation:
                    self._want(peer)  # An earlier wish, or its answer, was lost with a connection.
            else:
                self.leader = None

    def lead(self, generation: int) -> None:
        """Become primary."""
        self.server.log(f"primary, generation {generation}, from version {self.version}")
        self.is_primary, self.leader = True, None
        self.generation = self.lineage = generation
        self._following.clear()
        for link in self.server.up():
            self._send_all(link)

    def follow(self, peer: str, generation: int) -> None:
        """Become a replica of a primary."""
        if self.is_primary:
            self.server.log(f"demoted at version {self.version}: discards what it accepted since it was cut off")
        self.server.log(f"follows {peer}, generation {generation}")
        self.is_primary, self.leader, self.generation = False, peer, generation
        self.heard_leader = self.server.now()
        self._fresh.clear()
        self._want(peer)

    def _want(self, peer: str) -> None:
        if self.server.now() - self._wanted > 2 * BEAT and self.server.links[peer].up:
            self._wanted = self.server.now()
            self.server.links[peer].tell({"t": "want"})

    def _send_all(self, link: Link) -> None:
        self.before_flush()
        self._following.add(link.name)
        whole = self.store.whole()
        link.tell({"t": "all", "generation": self.generation, "version": self.version, **whole})

    def before_flush(self) -> None:
        if self._fresh:
            line = encode_line({"t": "more", "generation": self.generation, "after": self.version - len(self._fresh),
                          "changes": self._fresh})
            self._fresh = []
            for name in self._following:
                self.server.links[name].send(line)

    def joined(self, peer: str) -> None:
        if self.is_primary:
            self._send_all(self.server.links[peer])
        elif peer == self.leader:
            self._want(peer)

    def lost(self, peer: str) -> None:
        self._following.discard(peer)

    def peer(self, peer: str, message: Message) -> Message | None:
        match message["t"]:
            case "want":
                if self.is_primary and self.server.links[peer].up:
                    self._send_all(self.server.links[peer])
            case "all" if peer == self.leader and message["generation"] == self.generation:
                self.store.restore(message)
                self.lineage, self.version = self.generation, message["version"]
                self.server.log(f"copied version {self.version} of generation {self.generation} from {peer}")
            case "more" if peer == self.leader and message["generation"] == self.generation == self.lineage:
                if message["after"] == self.version:
                    for change in message["changes"]:
                        self.store.apply(change)
                    self.version += len(message["changes"])
                elif message["after"] > self.version:
                    self._want(peer)
            case "more" if peer == self.leader:
                self._want(peer)
        return None
