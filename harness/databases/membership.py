"""Membership: what a database has whose members can be changed while it serves."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from splitbrain.harness.databases.database import Database
from splitbrain.harness.history.variant import Variant
from splitbrain.harness.testbeds.testbed import Node, Service


class Membership(Database):
    """A database from whose cluster a node can be removed, and to which one can be added. `Database.fixed` names the variants
    for which that is not so.

    Each method asks one server, `asked`, and no other; one that cannot do it raises `Refused`, and the next one is asked. What
    a call before has done already is no error: an answer may have been lost, and the call is made again.
    """

    least: ClassVar[int] = 3
    """The smallest cluster of which a node may leave."""
    changing: ClassVar[float] = 2.0
    """Seconds that a server is given to change the members."""
    leaving: ClassVar[float] = 10.0
    """Seconds that the cluster is given to let a member go: some refuse it for a while after an election."""
    joining: ClassVar[float] = 25.0
    """Seconds that it is given to let one in, and as many again until that one serves."""
    replacing: ClassVar[float] = 0.0
    """Seconds that a member takes to leave and another to join in its place, where that is so long that a plan must leave it
    time after each fault, and all other nodes have to serve meanwhile. On a busy machine it may take twice as long, and the
    load is then over before."""
    changes = False
    """Whether a fault of the plan changes the members, told before `start`: some servers have to be started for it."""

    @classmethod
    def fixed(cls, variant: Variant) -> str:
        """By default the members of every variant can be changed."""
        return ""

    @abstractmethod
    async def members(self, asked: Node) -> frozenset[str]:
        """The nodes that are members, as that server has it. Raises `Refused` where it does not serve as one itself, be it that
        it was removed or that it has not caught up, `Indeterminate` where its answer was lost."""

    @abstractmethod
    async def remove_member(self, name: str, asked: Node) -> None:
        """Make that node no member any more; who asks has it ended and its data wiped afterwards. Returns once the others have
        decided so, else raises `Refused` or `Indeterminate`."""

    @abstractmethod
    async def add_member(self, name: str, asked: Node) -> Service:
        """Make that node a member, whose data folder is empty and on which nothing runs; what it is to be started with then, to
        join the others. Raises as `remove_member` does."""

    async def join_member(self, name: str, asked: Node) -> None:
        """What else it takes once that node's server runs, until it serves as a member; called over and over until then. By
        default nothing: it joins by what it was started with. Raises as `remove_member` does."""
