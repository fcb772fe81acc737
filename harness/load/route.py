"""Routes: which server a worker's operation goes to, decided by its home and by what its home can reach."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from splitbrain.harness.databases.database import Database, copies, shard
from splitbrain.harness.errors import Indeterminate, Refused, defined, returned_by
from splitbrain.harness.history.fault import Link, Nodes
from splitbrain.harness.history.operation import Key
from splitbrain.harness.history.recording import View
from splitbrain.harness.history.variant import Route
from splitbrain.harness.load.problems import Problems, is_cancelled
from splitbrain.harness.testbeds.testbed import Connectivity

POLL = 0.1
"""Seconds between two questions to a node, who is primary."""


class Router:
    """What every home knows of the primary, asked anew all the time, and the links that are in force.

    `links` is the connectivity that workers obey; the run changes it before a cut and after a heal, so that no call slips
    across in the transition.
    """

    def __init__(self, database: Database, links: Connectivity, record: Callable[[View], None],
                 clock: Callable[[], int], problems: Problems) -> None:
        self.links = links
        self._problems = problems
        self._database = database
        self._record = record
        self._clock = clock
        self._views: dict[str, str | None] = {}
        self._shards: dict[str, tuple[str | None, ...]] = {}
        self._late: Mapping[Link, float] = {}
        self._has_primary = "primary" in (database.variant.reads, database.variant.writes)

    def server(self, home: str, route: Route, key: Key) -> str:
        """The node that an operation on this key from this home goes to. Raises `Refused` where no primary is in reach."""
        if route == "home":
            return home
        known = self._shards.get(home)
        primary = known[shard(self._database, key, len(known))] if known else None
        if primary is None or not self.linked(home, primary):
            raise Refused("no-primary-in-reach")
        return primary

    def linked(self, a: str, b: str) -> bool:
        """Whether packets pass between two nodes both ways."""
        return a == b or (self.links.has_edge(a, b) and self.links.has_edge(b, a))

    @property
    def views(self) -> Mapping[str, str | None]:
        """Node → the primary it names, None where it names none or does not answer."""
        return self._views

    def delay(self, links: Mapping[Link, float]) -> None:
        """From now on packets over these links are so many seconds late, over the others not at all."""
        self._late = dict(links)

    @property
    def late(self) -> bool:
        """Whether packets over any link are late."""
        return bool(self._late)

    async def cross(self, a: str, b: str) -> None:
        """Go the way from one node to another as a packet does. Clients are beside their homes, but connect from outside of the
        nodes' network: what delays a link would not delay them."""
        if late := self._late.get((a, b)):
            await asyncio.sleep(late)

    def primary(self) -> str | None:
        """The node that most nodes name as primary at this moment; among equals the one that names itself."""
        named = [primary for primary in self._views.values() if primary is not None]
        if not named:
            return None
        return max(set(named), key=lambda node: (named.count(node), self._views.get(node) == node, node))

    def holders(self, key: Key) -> Nodes:
        """The nodes that hold a key at this moment: the primary of its shard, as most nodes name it; where the database has no
        primary, all that hold it by design; nobody where it should have one and no node names it."""
        if self.leaderless:
            return copies(self._database, key)
        named = [
            primary for known in self._shards.values()
            if known and (primary := known[shard(self._database, key, len(known))]) is not None
        ]
        return (max(set(named), key=lambda node: (named.count(node), node)),) if named else ()

    def maker(self) -> str:
        """The node through which is made what has no key and is there before the load: the primary of its shard, which need not
        be the one that most nodes name; else that one, and where the database has none the first node."""
        primary = self.primary()
        holders = self.holders(None) if primary else ()
        return holders[0] if holders else primary or next(iter(self._database.nodes))

    @property
    def leaderless(self) -> bool:
        """Whether this database has no primary: its variant asks none, and no node ever named one."""
        return not self._has_primary

    async def follow(self) -> None:
        """Ask every node, several times a second, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for name in self._database.nodes:
                group.create_task(self._follow(name))

    async def look(self) -> None:
        """Ask every node once."""
        async with asyncio.TaskGroup() as group:
            for name in self._database.nodes:
                group.create_task(self._look(name))

    async def _follow(self, name: str) -> None:
        while True:
            await self._look(name)
            await asyncio.sleep(POLL)

    async def _look(self, name: str) -> None:
        primaries = await self._named(name)
        self._shards[name] = primaries if any(primaries) else ()
        primary = primaries[0]
        self._has_primary = self._has_primary or primary is not None
        if name not in self._views or self._views[name] != primary:
            self._views[name] = primary
            self._record(View(node=name, primary=primary, time=self._clock()))

    async def _named(self, name: str) -> tuple[str | None, ...]:
        """Whom a node names, for each shard; nobody where it does not answer, or answers what is no node."""
        try:
            async with asyncio.timeout(self._database.plan.timeout):
                told: Any = await self._database.primaries(self._database.nodes[name])
        except (TimeoutError, Refused, Indeterminate):
            return (None,)
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            self._problems.raised("primary()", error)
            return (None,)
        except Exception as error:
            self._problems.raised("primary()", error)
            return (None,)
        if isinstance(told, str) or not isinstance(told, Sequence):
            self._problems.add(str(returned_by(self._database.primaries, told, "no tuple of names of nodes")))
            return (None,)
        primaries, nodes = tuple(told), self._database.nodes
        for primary in primaries:
            if primary is not None and not (isinstance(primary, str) and primary in nodes):
                self._problems.add(f"{defined(self._database.primary)}primary() of {name} names {primary!r:.100}, which is no "
                                   f"node ({', '.join(nodes)})")
        return tuple(primary if isinstance(primary, str) and primary in nodes else None for primary in primaries) or (None,)
