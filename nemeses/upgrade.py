"""What happens while a cluster is upgraded: its servers are ended in an orderly way and started again as another version, one
after the other, so that for a while two versions work together.

At the end every server runs the new version, for a database seldom goes back: its heal is not the state of before, but all
servers of one version, and serving. It comes once in a run.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

from splitbrain.harness.databases.database import Database
from splitbrain.harness.history.fault import Other, Proof, Spec
from splitbrain.harness.history.variant import Variant
from splitbrain.harness.plan import OptionTable
from splitbrain.harness.servers import find_program
from splitbrain.harness.settings import Setting
from splitbrain.harness.testbeds.testbed import Ability
from splitbrain.nemeses.asking import answer, until
from splitbrain.nemeses.cluster import Cluster
from splitbrain.nemeses.injectors import RETURN, Injector
from splitbrain.nemeses.nemesis import Nemesis, Outlook

ASK = 5.0
"""Seconds that the servers are given to tell their versions."""


class Upgrade(Nemesis):
    """Followers first and the primary last, as handbooks say; `primary-first` the other way round."""

    name: ClassVar[str] = "upgrade"
    summary: ClassVar[str] = "a rolling restart into another version, once in a run; at the end all servers run the new one"
    needs: ClassVar[frozenset[Ability]] = frozenset({"end", "exchange"})

    class Options(OptionTable, frozen=True):
        """Into what."""

        binary: Annotated[str, Setting("The server's program in the other version; empty: the one that can be fetched.")] = ""

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
                      options={"turns": turns, "binary": self.options.binary}),)

    def injector(self, spec: Spec) -> Injector[Any]:
        return UpgradeInjector()

    def refusal(self, database: type[Database], variant: Variant) -> str:
        """Where there is one version only."""
        if (name := self.options.binary) and (not Path(name).is_file()):
            return f"cannot be upgraded: {name}, which [options.upgrade] names, is no file"
        if name:
            return ""
        if database.newer is None:
            return "cannot be upgraded: only one version can be had, unless [options.upgrade] binary names another"
        if find_program(database.newer.name) is None:
            return f"cannot be upgraded: only one version is here, and the other is got by '{database.newer.mend}'"
        return ""


class UpgradeInjector(Injector[Other]):
    """Exchanges servers' programs. Proven by asking each server for its version, before and after."""

    def __init__(self) -> None:
        self._before: dict[str, str] = {}
        self._begun = False

    async def start(self, spec: Other, cluster: Cluster) -> Proof:
        """Upgrade the first."""
        began = cluster.clock()
        name = spec.options["turns"][0]
        self._before = await _versions(cluster)
        self._begun = True
        await self._upgrade(name, spec, cluster)
        now = await _versions(cluster)
        holds = name in now and name in self._before and now[name] != self._before[name]
        at = cluster.clock()
        return Proof(holds=holds, acted=at, at=at, spread=at - began, wrong=() if holds else (name,),
                     measured=(name,) if holds else (), detail=f"{_told(now)}, before {_told(self._before)}")

    async def during(self, spec: Other, cluster: Cluster) -> None:
        """Upgrade the others, each as soon as the one before serves."""
        for name in spec.options["turns"]:
            if name in await self._old(spec, cluster):
                await self._upgrade(name, spec, cluster)

    async def still(self, spec: Other, cluster: Cluster) -> Proof:
        """Whether all are upgraded: it lasts as long as that takes."""
        await self.during(spec, cluster)
        wrong = await self._old(spec, cluster)
        at = cluster.clock()
        return Proof(holds=not wrong, acted=at, at=at, wrong=wrong, measured=spec.nodes)

    async def undo(self, spec: Other, cluster: Cluster) -> Proof:
        """Once it was begun, bring it to its end: all servers are of one version, the new one, and serve."""
        began = cluster.clock()
        await cluster.start(self, spec.nodes)
        if self._begun:
            await self.during(spec, cluster)
        silent = await cluster.serving(spec.nodes, timeout=RETURN)
        wrong = tuple(dict.fromkeys([*silent, *(await self._old(spec, cluster) if self._begun else ())]))
        at = cluster.clock()
        told = _told(await _versions(cluster)) + (f", not serving {' '.join(silent)}" if silent else "")
        return Proof(holds=not wrong, acted=at, at=at, spread=at - began, wrong=wrong, detail=told,
                     measured=tuple(name for name in spec.nodes if name not in wrong))

    async def _upgrade(self, name: str, spec: Other, cluster: Cluster) -> None:
        database = _database(cluster)
        program = spec.options["binary"] or (find_program(database.newer.name) if database.newer is not None else None)
        if program is not None:
            await cluster.exchange(self, name, database.programs[0].name, program)
            await cluster.serving([name], timeout=RETURN)

    async def _old(self, spec: Other, cluster: Cluster) -> tuple[str, ...]:
        """The nodes that do not tell another version than before."""
        now = await _versions(cluster)
        return tuple(name for name in spec.nodes if now.get(name, "") in ("", self._before.get(name, "")))


def _database(cluster: Cluster) -> Database:
    if cluster.database is None:
        raise TypeError("an upgrade needs to know the database")
    return cluster.database


async def _versions(cluster: Cluster) -> dict[str, str]:
    """Node → version, as the servers tell it; none where one does not for a while."""
    (told,) = await until(lambda: answer(_database(cluster).versions(), ASK), ASK) or ({},)
    return told


def _told(versions: Mapping[str, str]) -> str:
    """`3.4.23: n1 n2, 3.5.1: n3`."""
    named: dict[str, list[str]] = {}
    for name, version in versions.items():
        named.setdefault(version, []).append(name)
    if len(named) == 1:
        return f"all {next(iter(named))}"
    return ", ".join(f"{version}: {' '.join(names)}" for version, names in sorted(named.items())) or "versions not told"
