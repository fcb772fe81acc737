"""What happens while a cluster is upgraded: its servers are ended in an orderly way and started again as another version, one
after the other, so that for a while two versions work together.

At the end every server runs the new version, for a database seldom goes back: its heal is not the state of before, but all
servers of one version, and serving. It comes once in a run.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

from splitbrain.harness.databases.database import Database, Program
from splitbrain.harness.history.fault import Other, Proof, Spec
from splitbrain.harness.history.variant import Variant
from splitbrain.harness.plan import OptionTable
from splitbrain.harness.servers import find_program
from splitbrain.harness.settings import Setting
from splitbrain.harness.testbeds.testbed import Ability
from splitbrain.nemeses.asking import answer
from splitbrain.nemeses.cluster import POLL, Cluster
from splitbrain.nemeses.injectors.injector import RETURN, Injector
from splitbrain.nemeses.nemesis import Nemesis, Outlook

CONTAINERS = "docker"
"""The testbed whose servers' versions are those of images."""
HERE = "namespaces"
"""The testbed whose servers' programs are those of this machine."""
ASK = 5.0
"""Seconds that the servers are given to tell their versions."""


class Upgrade(Nemesis):
    """Followers first and the primary last, as handbooks say; `primary-first` the other way round."""

    name: ClassVar[str] = "upgrade"
    summary: ClassVar[str] = "a rolling restart into another version, once in a run; at the end all servers run the new one"
    needs: ClassVar[frozenset[Ability]] = frozenset({"end", "exchange"})

    class Options(OptionTable, frozen=True):
        """Into what."""

        binary: Annotated[str, Setting(
            "The server's program in the other version; empty: the one that can be fetched. Over SSH a path there, or a name."
        )] = ""
        image: Annotated[str, Setting("In containers: the image of the other version.")] = ""

    options: Options

    def scenarios(self, nodes: int) -> Sequence[str]:
        """One."""
        return ("rolling",)

    def known(self, nodes: int) -> Sequence[str]:
        """Both orders."""
        return ("rolling", "primary-first")

    def aim(self, scenario: str, view: Outlook, rng: random.Random) -> tuple[Spec, ...]:
        """Raises `NoTarget`."""
        primary = view.first(rng)
        turns = [name for name in view.names if name != primary]
        turns.insert(0 if scenario == "primary-first" else len(turns), primary)
        return (Other(nodes=view.names, name=self.name, does="upgrade, one after the other,", undoing="all upgraded",
                      options={"turns": turns, "binary": self.options.binary, "image": self.options.image}),)

    def injector(self, spec: Spec) -> Injector[Any]:
        return UpgradeInjector()

    def refusal(self, database: type[Database], variant: Variant) -> str:
        """Where there is one version only."""
        if database.newer is None and not self.options.binary and not self.options.image:
            return "cannot be upgraded: only one version can be had, unless [options.upgrade] names another"
        return ""

    def unfit(self, database: type[Database], testbed: str) -> str:
        """Where the other version is not here, or is named as another testbed has it."""
        binary, image = self.options.binary, self.options.image
        if testbed == CONTAINERS and not image:
            return "cannot be upgraded in containers: [options.upgrade] image has to name the image of the other version"
        if testbed == CONTAINERS and binary:
            return "cannot be upgraded in containers by a program: [options.upgrade] binary is for other testbeds"
        if testbed != CONTAINERS and image:
            return "cannot be upgraded by an image: [options.upgrade] image is for --testbed docker"
        if testbed == HERE and binary and not Path(binary).is_file():
            return f"cannot be upgraded: {binary}, which [options.upgrade] names, is no file"
        if testbed == HERE and not binary and database.newer is not None and find_program(database.newer.name) is None:
            return f"cannot be upgraded: only one version is here, and the other is got by '{database.newer.mend}'"
        return ""

    def programs(self, database: type[Database]) -> Sequence[Program]:
        """The other version, on machines: by its path there, or by a name, which the inventory gives a path."""
        called = self.options.binary or (database.newer.name if database.newer is not None else "")
        mend = f'name its path there in the inventory: programs = {{"{called}" = "/path"}}'
        return [Program(called, mend)] if called and not self.options.image else []


class UpgradeInjector(Injector[Other]):
    """Exchanges servers' programs. Proven by asking each server for its version, before and after. One that another fault has
    down is started with the new program, whenever it is; while such a fault keeps it from answering, it is not asked."""

    def __init__(self) -> None:
        self._before: dict[str, str] = {}
        self._exchanged: dict[str, None] = {}
        self._begun = False

    async def start(self, spec: Other, cluster: Cluster) -> Proof:
        """Upgrade the first, and as many more as it takes until one can be asked: another fault may keep the first away."""
        began = cluster.clock()
        self._before = await _versions(cluster)
        self._begun = True
        for name in spec.options["turns"]:
            await self._upgrade(name, spec, cluster)
            now = await _versions(cluster)
            if name in now or not cluster.troubled(name):
                break
        holds = name in now and name in self._before and now[name] != self._before[name]
        at = cluster.clock()
        return Proof(holds=holds, acted=at, at=at, spread=at - began, wrong=() if holds else (name,),
                     measured=(name,) if holds else (), detail=f"{_told(now)}, before {_told(self._before)}")

    async def during(self, spec: Other, cluster: Cluster) -> None:
        """Upgrade the others, each as soon as the one before serves."""
        for name in spec.options["turns"]:
            if name not in self._exchanged:
                await self._upgrade(name, spec, cluster)

    async def still(self, spec: Other, cluster: Cluster) -> Proof:
        """Whether all are upgraded: it lasts as long as that takes."""
        await self.during(spec, cluster)
        now = await _versions(cluster)
        wrong = self._old(spec, cluster, now)
        at = cluster.clock()
        return Proof(holds=not wrong, acted=at, at=at, wrong=wrong, measured=tuple(now))

    async def undo(self, spec: Other, cluster: Cluster) -> Proof:
        """Once it was begun, bring it to its end: all servers are of one version, the new one, and serve."""
        began = cluster.clock()
        await cluster.start(self, spec.nodes)
        if self._begun:
            await self.during(spec, cluster)
        silent = await cluster.serving(spec.nodes, timeout=RETURN)
        now = await _versions(cluster)
        wrong = tuple(dict.fromkeys([*silent, *(self._old(spec, cluster, now) if self._begun else ())]))
        kept = [name for name in spec.nodes if name in cluster.out()]
        at = cluster.clock()
        told = [_told(now), f"not serving {' '.join(silent)}" if silent else "",
                f"another fault keeps {' '.join(kept)}" if kept else ""]
        return Proof(holds=not wrong, acted=at, at=at, spread=at - began, wrong=wrong, detail=", ".join(filter(None, told)),
                     measured=tuple(name for name in spec.nodes if name in now and name not in wrong))

    async def _upgrade(self, name: str, spec: Other, cluster: Cluster) -> None:
        database = _database(cluster)
        image = spec.options.get("image", "")
        other = spec.options["binary"] or (database.newer.name if database.newer is not None else "")
        if cluster.testbed.name == HERE:
            other = find_program(other) or other
        if image or other:
            how = {"image": image} if image else {"other": other}
            await cluster.exchange(self, name, database.programs[0].name, **how)
            self._exchanged[name] = None
            with contextlib.suppress(TimeoutError):  # it may serve only when another fault is over: that is asked at the end
                async with asyncio.timeout(ASK if cluster.troubled(name) else RETURN):
                    await cluster.serving([name], timeout=RETURN)

    def _old(self, spec: Other, cluster: Cluster, now: Mapping[str, str]) -> tuple[str, ...]:
        """The nodes that do not tell another version than before, but for those that another fault keeps from telling."""
        def old(name: str) -> bool:
            if name not in now:
                return not (name in self._exchanged and cluster.troubled(name))
            return now[name] == self._before[name] if name in self._before else now[name] in self._before.values()

        return tuple(filter(old, spec.nodes))


def _database(cluster: Cluster) -> Database:
    if cluster.database is None:
        raise TypeError("an upgrade needs to know the database")
    return cluster.database


async def _versions(cluster: Cluster) -> dict[str, str]:
    """Node → version, as each server tells it by itself; without those that are meant to be down or to stand still, and those
    that do not answer for a while."""
    loop = asyncio.get_running_loop()
    end = loop.time() + ASK
    told: dict[str, str] = {}
    while True:
        names = [name for name in cluster.names if name not in cluster.out()]
        for one in await asyncio.gather(*(_version(name, cluster) for name in names if name not in told)):
            told |= one
        if set(names) <= told.keys() or loop.time() >= end:
            return {name: told[name] for name in names if name in told}
        await asyncio.sleep(POLL)


async def _version(name: str, cluster: Cluster) -> dict[str, str]:
    """What one server tells, asked as if it were the only node."""
    alone = copy.copy(_database(cluster))
    alone.nodes = {name: alone.nodes[name]}
    (told,) = await answer(alone.versions(), ASK) or ({},)
    return {name: told[name]} if name in told else {}


def _told(versions: Mapping[str, str]) -> str:
    """`3.4.23: n1 n2, 3.5.1: n3`."""
    named: dict[str, list[str]] = {}
    for name, version in versions.items():
        named.setdefault(version, []).append(name)
    if len(named) == 1:
        return f"all {next(iter(named))}"
    return ", ".join(f"{version}: {' '.join(names)}" for version, names in sorted(named.items())) or "versions not told"
