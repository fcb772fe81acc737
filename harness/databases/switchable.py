"""Switchable: what a database has whose nodes an operator can let serve without a quorum."""

from __future__ import annotations

from abc import abstractmethod

from splitbrain.harness.databases.database import Database
from splitbrain.harness.history.variant import Variant
from splitbrain.harness.testbeds.testbed import Node


class Switchable(Database):
    """A database whose nodes can be switched by hand from consistency to availability, and back. `Database.unswitchable` names
    the variants for which that is not so.

    Each method asks one node, which is meant itself; what is so already is no error, for an answer may have been lost and the
    call is made again. They raise `Refused` where the node certainly did nothing, `Indeterminate` where its answer was lost.
    """

    @classmethod
    def unswitchable(cls, variant: Variant) -> str:
        """By default every variant can be switched."""
        return ""

    @abstractmethod
    async def allow_minority(self, node: Node) -> None:
        """Let that node answer reads and writes though it reaches no quorum, until it is forbidden."""

    @abstractmethod
    async def forbid_minority(self, node: Node) -> None:
        """Have that node need a quorum again. What becomes of the writes that it acknowledged without one is the database's."""

    @abstractmethod
    async def minority_allowed(self, node: Node) -> bool:
        """Whether that node may answer without a quorum at this moment, as it says itself."""
