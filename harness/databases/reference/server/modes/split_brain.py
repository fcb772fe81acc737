"""`split-brain`: every side makes a primary of its own."""

from __future__ import annotations

from ..node import Server
from ..unfenced import Unfenced


class SplitBrain(Unfenced):
    """`split-brain`: on every side the first node by name that hears of no primary makes itself one; nobody is asked, and
    nothing is fenced.

    Two primaries that hear each other again go on for `YIELD`; then the one of the smaller generation (of the same: by name)
    follows the other, and its replicas with it. Its lineage is discarded.

    Known answer: two lineages, acknowledged writes are lost.
    """

    name = "split-brain"
    YIELD = 1.2
    ASSEMBLY = 2.0
    """How long a node that has just started waits for peers that it never heard."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._begun = server.now()
        self._rivalled: float | None = None

    def tick(self) -> None:
        now = self.server.now()
        views = {link.name: self.views[link.name] for link in self.server.up() if link.name in self.views}
        primaries = [(view["generation"], name) for name, view in views.items() if view["primary"]]
        if self.is_primary:
            if not primaries or max(primaries) < (self.generation, self.server.name):
                self._rivalled = None
            elif self._rivalled is None:
                self._rivalled = now
            elif now - self._rivalled > self.YIELD:
                self._rivalled = None
                self.follow(max(primaries)[1], max(primaries)[0])
        elif self.primary() is None:
            started = len(self.views) == len(self.server.links) or now - self._begun > self.ASSEMBLY
            if primaries:
                self.follow(max(primaries)[1], max(primaries)[0])
            elif started and self.server.name <= min([name for name, view in views.items() if not view["names"]], default="~"):
                self.lead(max([self.generation, *(view["generation"] for view in views.values())]) + 1)
