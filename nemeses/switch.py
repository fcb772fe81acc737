"""What an operator does in the middle of a partition: a side that is blocked is switched by hand from consistency to
availability, serves reads and writes without a quorum, and is put back after the heal.

It is a change of the servers and none of the network. It costs what the database makes of the writes of such a side, so what a
run with it shows is the price of the switch, not of the database alone.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from splitbrain.harness.databases.database import Database
from splitbrain.harness.databases.switchable import Switchable
from splitbrain.harness.history.fault import Other, Proof, Spec
from splitbrain.harness.history.sides import natural
from splitbrain.harness.history.variant import Variant
from splitbrain.nemeses.asking import answer, until
from splitbrain.nemeses.cluster import Cluster
from splitbrain.nemeses.injectors.injector import RETURN, Injector
from splitbrain.nemeses.nemesis import Nemesis, NoTarget, Outlook
from splitbrain.nemeses.roles import majority

ASK = 2.0
"""Seconds that one server is given to take the switch, or to tell how it is set."""


class Switch(Nemesis):
    """Every node of a side without a quorum may serve without one. It has no target while every side has one, so it comes in a
    script, some time after the cut, or with one in staggered order (`--nemesis halves+switch --pace staggered`)."""

    name: ClassVar[str] = "switch"
    summary: ClassVar[str] = "an operator lets the sides that a partition left without a quorum serve alone, and puts them back"

    def scenarios(self, nodes: int) -> Sequence[str]:
        """The sides that a partition left without a quorum."""
        return ("minority",)

    def aim(self, scenario: str, view: Outlook, rng: random.Random) -> tuple[Spec, ...]:
        """Raises `NoTarget`."""
        least = majority(len(view.names))
        chosen = {name for side in view.sides if len(side) < least for name in side} - set(view.out)
        if not chosen:
            raise NoTarget("no side is without a quorum")
        return (Other(nodes=tuple(sorted(chosen, key=natural)), name=self.name,
                      does="operator's switch: serve without a quorum at", undoing="operator's switch back"),)

    def injector(self, spec: Spec) -> Injector[Any]:
        return SwitchInjector()

    def refusal(self, database: type[Database], variant: Variant) -> str:
        """Where the database has no such switch."""
        if reason := database.unswitchable(variant):
            return f"cannot be switched by hand: {reason}"
        return ""

    def minimum_nodes(self) -> int:
        """So many that a side can have a quorum and another one none."""
        return 3


class SwitchInjector(Injector[Other]):
    """Lets nodes serve without a quorum. Proven by asking every node how it is set: these must be switched, and all others not,
    unless another fault switched them."""

    async def start(self, spec: Other, cluster: Cluster) -> Proof:
        """Switch each of the nodes."""
        async with cluster.reconfiguring:
            began = cluster.clock()
            for name in spec.nodes:
                cluster.switched[name].add(self)
            await _set(spec.nodes, cluster, ASK)
            return await _proof(_asked(spec, cluster), cluster, began)

    async def still(self, spec: Other, cluster: Cluster) -> Proof:
        """Whether all are set as before: a server that was started anew has forgotten it."""
        async with cluster.reconfiguring:
            return await _proof(_asked(spec, cluster), cluster, cluster.clock())

    async def undo(self, spec: Other, cluster: Cluster) -> Proof:
        """Put back the nodes that nobody else switches, and ask every node. One that does not answer is waited for."""
        async with cluster.reconfiguring:
            began = cluster.clock()
            begun = [name for name in spec.nodes if self in cluster.switched[name]]
            for name in begun:
                cluster.switched[name].discard(self)
            await _set(begun, cluster, RETURN)
            return await _proof(spec.nodes, cluster, began)


def _asked(spec: Other, cluster: Cluster) -> list[str]:
    """All nodes, but others than its own that another fault has down."""
    return [name for name in cluster.names if name in spec.nodes or name not in cluster.out()]


def _database(cluster: Cluster) -> Switchable:
    if not isinstance(cluster.database, Switchable):
        raise TypeError("a switch is refused where a database has none")
    return cluster.database


async def _set(names: Iterable[str], cluster: Cluster, patience: float) -> None:
    """Have these nodes as they are meant to be, all at once; each is told again, for so many seconds, until it says so."""
    await asyncio.gather(*(_set_one(name, cluster, patience) for name in names))


async def _set_one(name: str, cluster: Cluster, patience: float) -> None:
    database = _database(cluster)
    change = database.allow_minority if cluster.switched[name] else database.forbid_minority
    await until(lambda: answer(change(database.nodes[name]), ASK), patience)


async def _proof(names: Sequence[str], cluster: Cluster, began: int) -> Proof:
    """Whether these nodes are set as they are meant to be, as each of them says."""
    acted = cluster.clock()
    told = dict(zip(names, await asyncio.gather(*(_allowed(name, cluster) for name in names)), strict=True))
    wrong = tuple(name for name in names if told[name] is not bool(cluster.switched[name]))
    measured = tuple(name for name in names if name not in wrong)
    return Proof(holds=not wrong, acted=acted, at=cluster.clock(), spread=acted - began, wrong=wrong, measured=measured,
                 detail=_told(told))


async def _allowed(name: str, cluster: Cluster) -> bool | None:
    """How one node says that it is set; None where it does not answer."""
    database = _database(cluster)
    told = await answer(database.minority_allowed(database.nodes[name]), ASK)
    return told[0] if told is not None else None


def _told(told: Mapping[str, bool | None]) -> str:
    """`n1 n2 need no quorum, n3 n4 n5 need a quorum`."""
    said = []
    for how, words in ((True, "no quorum"), (False, "a quorum"), (None, "")):
        names = [name for name, answer in told.items() if answer is how]
        if names:
            verb = "needs" if len(names) == 1 else "need"
            said.append(f"{' '.join(names)} {f'{verb} {words}' if words else 'not answering'}")
    return ", ".join(said)
