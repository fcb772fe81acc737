"""What happens to the members of a cluster: a node is removed, its data is wiped, and it joins again as a new and empty one.

A database is expected to survive this one node at a time: what it acknowledged is held by a majority of the members that are
left, and who joins is counted only once it holds it too. What an administrator does so every day is replacing a machine.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar, TypeVar

from splitbrain.harness.databases.database import Database
from splitbrain.harness.databases.membership import Membership
from splitbrain.harness.errors import Refused
from splitbrain.harness.history.fault import Nodes, Other, Proof, Spec
from splitbrain.harness.history.sides import natural
from splitbrain.harness.history.variant import Variant
from splitbrain.harness.testbeds.testbed import Ability, Node
from splitbrain.nemeses.asking import answer, until
from splitbrain.nemeses.cluster import Cluster
from splitbrain.nemeses.injectors.injector import RETURN, Injector
from splitbrain.nemeses.nemesis import Outlook
from splitbrain.nemeses.processes import Processes
from splitbrain.nemeses.roles import each, majority

ASK = 2.0
"""Seconds that one server is given to tell the members. What a change may take is the database's own: see `Membership`."""

T = TypeVar("T")


class ReplaceMembers(Processes):
    """A node is made no member, its server is ended and its data wiped; at the end it joins as a new member and catches up.
    With the role `rolling` every node is replaced so, one after the other, followers first."""

    name: ClassVar[str] = "membership"
    summary: ClassVar[str] = "a node removed from the members, wiped, later added anew, by role; rolling: every node in turn"
    needs: ClassVar[frozenset[Ability]] = frozenset({"end", "wipe"})
    usual: ClassVar[tuple[str, ...]] = ("follower", "primary", "rolling")

    def known(self, nodes: int) -> Sequence[str]:
        """One node at a time."""
        return (*self.usual, "any", "last-primary", *each(nodes))

    def beside(self, nodes: int) -> Sequence[str]:
        """Not every node in turn: each waits for all others, whom another fault may keep away."""
        return tuple(scenario for scenario in self.scenarios(nodes) if scenario != "rolling")

    def spec(self, nodes: Nodes) -> Spec:
        return Other(nodes=nodes, name=self.name, does="remove from the members and wipe", undoing="add to the members",
                     like="had been taken out of the cluster, with all data wiped")

    def aim(self, scenario: str, view: Outlook, rng: random.Random) -> tuple[Spec, ...]:
        """Raises `NoTarget`."""
        if scenario != "rolling":
            return super().aim(scenario, view, rng)
        primary = view.first(rng)
        turns = [*(name for name in view.names if name != primary), primary]
        return (Other(nodes=view.names, name=self.name, does="replace and wipe, one after the other,",
                      undoing="all replaced", options={"turns": turns}),)

    def injector(self, spec: Spec) -> Injector[Any]:
        return MembershipInjector()

    def refusal(self, database: type[Database], variant: Variant) -> str:
        """Where the database has no members that can be changed."""
        if reason := database.fixed(variant):
            return f"cannot change its members: {reason}"
        return ""

    def too_few(self, database: type[Database], variant: Variant, nodes: int) -> str:
        """Where the database lets none of so few nodes leave."""
        if issubclass(database, Membership) and nodes < database.least:
            return f"needs {database.least} nodes for one to leave, the plan has {nodes}"
        return ""

    def minimum_nodes(self) -> int:
        """Two that are left."""
        return 3


class MembershipInjector(Injector[Other]):
    """Removes members and adds them again. Proven by the list of members that the others have: without the node meanwhile, and
    with all nodes before and afterwards."""

    def __init__(self) -> None:
        self._begun: dict[str, None] = {}
        """The nodes whose removal was tried, and may have been done."""
        self._before: frozenset[str] = frozenset()
        self._replaced: list[str] = []
        self._working: asyncio.Future[None] | None = None
        """The replacing of all in turn, which goes on though the time of the fault is over: who is just joining must not be
        removed and added once more, for the others know a node at its address."""
        self._refused = ""
        """Why a server last refused to let a member go that is one still."""

    async def start(self, spec: Other, cluster: Cluster) -> Proof:
        """Remove the node, or the first of them, end its server and wipe it. Where another fault has made a node no member, it
        is waited for: never more than one at a time."""
        name = _turns(spec)[0]
        began = cluster.clock()
        gone = await self._remove(name, cluster)
        return await self._proof((name,), cluster, began, gone=gone)

    async def during(self, spec: Other, cluster: Cluster) -> None:
        """Add the first again, and replace all others, each as soon as the one before serves."""
        if self._working is None:
            self._working = asyncio.ensure_future(self._replace(spec.options.get("turns", ()), cluster))
        await asyncio.shield(self._working)

    async def _replace(self, turns: Sequence[str], cluster: Cluster) -> None:
        for name in turns:
            if name not in self._replaced:
                if not (await self._remove(name, cluster) and await self._add(name, cluster)):
                    return
                self._replaced.append(name)

    async def still(self, spec: Other, cluster: Cluster) -> Proof:
        """Whether it is no member still; in turn, whether all nodes were replaced: it lasts as long as that takes."""
        if "turns" not in spec.options:
            return await self._proof(spec.nodes, cluster, cluster.clock(), gone=True)
        if self._begun:
            await self.during(spec, cluster)
        at = cluster.clock()
        wrong = tuple(name for name in spec.nodes if name not in self._replaced)
        return Proof(holds=not wrong, acted=at, at=at, wrong=wrong, measured=tuple(self._replaced))

    async def undo(self, spec: Other, cluster: Cluster) -> Proof:
        """Add who is no member, and wait until all are members and serve. What was begun is brought to its end first: a removal
        whose answer was lost may be done yet."""
        began = cluster.clock()
        if self._working is not None and not self._working.done():
            self._working.cancel()
            await asyncio.wait([self._working])
        for name in list(self._begun):
            if name not in self._replaced and await self._remove(name, cluster):
                await self._add(name, cluster)
        await cluster.start(self, spec.nodes)
        silent = await cluster.serving(spec.nodes, timeout=RETURN)
        members = await until(lambda: _members(cluster), ASK) or frozenset()
        wrong = tuple(name for name in spec.nodes if name not in members or name in silent)
        told = f"members {_told(members)}"
        return Proof(holds=not wrong, acted=cluster.clock(), at=cluster.clock(), spread=cluster.clock() - began, wrong=wrong,
                     measured=tuple(name for name in spec.nodes if name not in wrong),
                     detail=told + (f", not serving {' '.join(silent)}" if silent else ""))

    async def _remove(self, name: str, cluster: Cluster) -> bool:
        """Whether the others have it as a member no more, and its data is gone."""
        cluster.watch(name)
        if not await until(lambda: self._removed(name, cluster), _database(cluster).leaving):
            return False
        await cluster.end(self, [name])
        return await cluster.wipe(name)

    async def _removed(self, name: str, cluster: Cluster) -> bool:
        """Whether the others do not list it, once it was asked for. Not while another fault has a node that is no member."""
        async with cluster.reconfiguring:
            members = await _members(cluster)
            if not members.issuperset(set(cluster.names) - {name}):
                return False
            if not self._begun:
                self._before = members
            self._begun[name] = None
            if name in members:
                await _ask(name, cluster, lambda database, asked: self._let_go(name, database, asked))
                members = await _members(cluster)
            if not members or name in members:
                return False
            self._refused = ""
            return True

    async def _let_go(self, name: str, database: Membership, asked: Node) -> None:
        try:
            await database.remove_member(name, asked)
        except Refused as error:
            self._refused = f"{error.reason} ({error.detail})" if error.detail else error.reason
            raise

    async def _add(self, name: str, cluster: Cluster) -> bool:
        """Whether it is a member that serves. What it has is what the others gave it."""
        async with cluster.reconfiguring:
            joins = await until(lambda: _added(name, cluster), _database(cluster).joining)
            if joins is None:
                return False
            await cluster.replace(name, joins)
            await cluster.start(self, [name])
            return bool(await until(lambda: _joined(name, cluster), _database(cluster).joining))

    async def _proof(self, nodes: Nodes, cluster: Cluster, began: int, *, gone: bool) -> Proof:
        members = await until(lambda: _members(cluster), _database(cluster).leaving) or frozenset()
        at = cluster.clock()
        holds = gone and bool(members) and members == self._before - set(nodes) == set(cluster.names) - set(nodes)
        detail = f"members {_told(members)}, before {_told(self._before)}"
        if not holds and self._refused:
            detail += f", refused: {self._refused}"
        return Proof(holds=holds, acted=at, at=at, spread=at - began, wrong=() if holds else nodes,
                     measured=nodes if holds else (), detail=detail)


def _turns(spec: Other) -> Sequence[str]:
    return tuple(spec.options.get("turns", spec.nodes))


def _told(members: frozenset[str]) -> str:
    return " ".join(sorted(members, key=natural)) or "not told"


def _database(cluster: Cluster) -> Membership:
    if not isinstance(cluster.database, Membership):
        raise TypeError("a nemesis of members is refused where a database has none")
    return cluster.database


async def _members(cluster: Cluster) -> frozenset[str]:
    """The members that a majority of these members agrees on; none where there is no such list. No two lists that differ by one
    member can have one."""
    told = await asyncio.gather(*(_list(name, cluster) for name in cluster.names))
    lists = dict(zip(cluster.names, told, strict=True))
    agreed = [one for one in told if one and sum(lists[name] == one for name in one) >= majority(len(one))]
    return agreed[0] if agreed else frozenset()


async def _list(name: str, cluster: Cluster) -> frozenset[str]:
    """The members that one node names; none where it does not answer."""
    database = _database(cluster)
    (told,) = await answer(database.members(database.nodes[name]), ASK) or (frozenset(),)
    return told


async def _ask(name: str, cluster: Cluster, request: Callable[[Membership, Node], Awaitable[T]]) -> T | None:
    """The answer of the first that has one, of all nodes but that."""
    database = _database(cluster)
    for other in cluster.names:
        if other == name or other in cluster.out():
            continue
        if (told := await answer(request(database, database.nodes[other]), database.changing)) is not None:
            return told[0]
    return None


async def _added(name: str, cluster: Cluster) -> Any:
    """What it is to be started with."""
    return await _ask(name, cluster, lambda database, asked: database.add_member(name, asked))


async def _joined(name: str, cluster: Cluster) -> bool:
    """Whether it serves as one of the members that all have, once it was let in."""
    await _ask(name, cluster, lambda database, asked: database.join_member(name, asked))
    own, members = await _list(name, cluster), await _members(cluster)
    return name in own and own == members
