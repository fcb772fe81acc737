"""What happens to disks: the data folder of a server is full; a file of it is damaged while the server is down.

A database is expected to survive a full disk at a minority: what it acknowledged stays, and it serves again once there is
room.

What one makes of damage is said by its variants (`Variant.damage`): sums alone save nothing, for who drops the records whose
sum is wrong has forgotten what it had promised (R. Alagappan et al., Protocol-aware recovery for consensus-based storage, FAST
2018).
"""

from __future__ import annotations

import asyncio
import random
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar

import msgspec

from splitbrain.harness.history.fault import DAMAGED, Nodes, Other, Proof, Spec
from splitbrain.harness.plan import OptionTable
from splitbrain.harness.settings import Setting
from splitbrain.harness.testbeds.testbed import Ability
from splitbrain.nemeses.cluster import Changed, Cluster
from splitbrain.nemeses.injectors.injector import RETURN, Injector
from splitbrain.nemeses.nemesis import Outlook
from splitbrain.nemeses.processes import Processes
from splitbrain.nemeses.roles import each, nodes_of, played

AGAIN = 0.1
"""Seconds between two looks whether a full disk has got room, as by a file that was removed."""
PATIENCE = 5.0
"""Seconds that a server which runs may need until it serves with a damaged file."""
BLOCK = 4096
"""Bytes that are compared at once."""
SHOWN = 8
"""Places in a damaged file that are told."""


class FullDisk(Processes):
    """No room in the data folder: every write that needs some fails. Servers that end of it are started again at the end."""

    name: ClassVar[str] = "full-disk"
    summary: ClassVar[str] = "no room on the disk of the data folder, by role (primary, follower, minority, majority, all)"
    needs: ClassVar[frozenset[Ability]] = frozenset({"fill"})

    def spec(self, nodes: Nodes) -> Spec:
        return Other(nodes=nodes, name=self.name, does="fill the disk of", undoing="make room", like="had no room on disk")

    def injector(self, spec: Spec) -> Injector[Any]:
        return FillInjector()


class FillInjector(Injector[Other]):
    """Leaves no room on disks. Proven by a write of the harness' own into the folder, which fails, and later does not."""

    async def start(self, spec: Other, cluster: Cluster) -> Proof:
        """Fill, and try to write."""
        return await _filled(spec, cluster, await cluster.fill(self, spec.nodes))

    async def during(self, spec: Other, cluster: Cluster) -> None:
        """A server that removes a file has no room of it."""
        while True:
            await asyncio.sleep(AGAIN)
            await cluster.fill(self, spec.nodes)

    async def still(self, spec: Other, cluster: Cluster) -> Proof:
        """Try again."""
        return await _filled(spec, cluster, Changed(cluster.clock(), 0))

    async def undo(self, spec: Other, cluster: Cluster) -> Proof:
        """Make room, start who ended of it, and write."""
        changed = await cluster.make_room(self, spec.nodes)
        revived = await cluster.revive(spec.nodes)
        silent = await cluster.serving(spec.nodes, timeout=RETURN)
        full = await cluster.full(spec.nodes)
        told = "written again" if not full else f"no room at {' '.join(full)}"
        if ended := [name for name in spec.nodes if name not in revived.idle]:
            told += f", started again {' '.join(ended)}"
        wrong = tuple(name for name in spec.nodes if name in full or name in silent)
        return Proof(holds=not wrong, acted=changed.at, at=cluster.clock(), spread=changed.spread, wrong=wrong,
                     measured=spec.nodes, detail=told + (f", not serving {' '.join(silent)}" if silent else ""))


async def _filled(spec: Other, cluster: Cluster, changed: Changed) -> Proof:
    full = await cluster.full(spec.nodes)
    wrong = tuple(name for name in spec.nodes if name not in full)
    return Proof(holds=not wrong, acted=changed.at, at=cluster.clock(), spread=changed.spread, wrong=wrong, measured=full,
                 detail=f"{len(full)}/{len(spec.nodes)} without room (ENOSPC)")


class Damage(Processes):
    """A server is killed, the file that it wrote last is damaged, and it is started again. One that cannot live with it gets
    the file back at the end, unless somebody has written to it since. Never more nodes than a minority: what a majority has
    lost is lost."""

    needs: ClassVar[frozenset[Ability]] = frozenset({"end", "damage"})
    usual: ClassVar[tuple[str, ...]] = ("primary", "follower", "minority")

    def known(self, nodes: int) -> Sequence[str]:
        """The roles that are a minority at most."""
        few = {*self.usual, "any", "last-primary", *each(nodes)}
        return tuple(role for role in played(nodes) if role in few)

    def minimum_nodes(self) -> int:
        """Another that has what is damaged."""
        return 2

    @abstractmethod
    def does(self) -> tuple[str, dict[str, int]]:
        """What is done to a file, in words and in numbers."""

    def spec(self, nodes: Nodes) -> Other:
        does, numbers = self.does()
        return Other(nodes=nodes, name=self.name, does=does, undoing="mend", options={DAMAGED: True, **numbers})

    def aim(self, scenario: str, view: Outlook, rng: random.Random) -> tuple[Spec, ...]:
        """Raises `NoTarget`."""
        spec = self.spec(nodes_of(scenario, view, rng))
        return (msgspec.structs.replace(spec, options={**spec.options, "seed": rng.randrange(1 << 32)}),)

    def injector(self, spec: Spec) -> Injector[Any]:
        return DamageInjector()


class BitFlips(Damage):
    """Bits of a file that have turned round."""

    name: ClassVar[str] = "bit-flips"
    summary: ClassVar[str] = "bits turned round in the file that a server wrote last, while it is down, by role"

    class Options(OptionTable, frozen=True):
        """How many."""

        bits: Annotated[int, Setting("How many bits of what was written are turned round.", low=1, high=100_000)] = 8

    options: Options

    def does(self) -> tuple[str, dict[str, int]]:
        return f"turn {self.options.bits} bits round in a file of", {"bits": self.options.bits}


class Truncation(Damage):
    """A file that has lost its end."""

    name: ClassVar[str] = "truncate"
    summary: ClassVar[str] = "the end cut off the file that a server wrote last, while it is down, by role"

    class Options(OptionTable, frozen=True):
        """How much."""

        percent: Annotated[int, Setting("How much of what was written is cut off.", unit="%", low=1, high=100)] = 25

    options: Options

    def does(self) -> tuple[str, dict[str, int]]:
        return f"cut {self.options.percent}% off a file of", {"percent": self.options.percent}


class DamageInjector(Injector[Other]):
    """Damages files of servers that are down. Proven by reading them: their bytes differ."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[str, bytes, bytes]] = {}
        """Node → its file, what was in it, and what was made of it."""

    async def start(self, spec: Other, cluster: Cluster) -> Proof:
        """End the servers, damage a file of each, and start them. A node without a file is wrong, or one that did not run."""
        ended = await cluster.end(self, spec.nodes)
        testbed = cluster.testbed
        differ = []
        for name in spec.nodes:
            file = "" if name in ended.idle else await cluster.last_written(name)
            if content := await testbed.read(name, file) if file else None:
                self._before[name] = file, content, damaged(content, spec.options)
                await testbed.rewrite(name, file, self._before[name][2])
                if await testbed.read(name, file) not in (None, content):
                    differ.append(name)
        changed = await cluster.start(self, spec.nodes)
        wrong = tuple(name for name in spec.nodes if name not in differ)
        told = [f"{name}: {self._changed(name)}" for name in differ]
        told += [expected(cluster)] if differ and cluster.database is not None else []
        return Proof(holds=not wrong, acted=changed.at, at=cluster.clock(), spread=changed.spread, wrong=wrong,
                     measured=tuple(differ), detail=", ".join(told) or "no file to damage")

    async def undo(self, spec: Other, cluster: Cluster) -> Proof:
        """Who serves is left alone, who does not gets the file back and is started."""
        changed = await cluster.start(self, spec.nodes)
        told = []
        run = [name for name in spec.nodes if not cluster.gone(name)]
        silent = await cluster.serving(run, timeout=PATIENCE)
        for name in spec.nodes:
            if name in run and name not in silent:
                told.append(f"{name} serves")
            elif name in self._before:
                changed = await cluster.end(self, [name])
                file, content, made = self._before[name]
                if back := await cluster.testbed.read(name, file) == made:
                    await cluster.testbed.rewrite(name, file, content)
                told.append(f"{name} did not, {'its file was put back' if back else 'its file was written to since'}")
                await cluster.start(self, [name])
                await cluster.revive([name])
        silent = await cluster.serving(spec.nodes, timeout=RETURN)
        # Some listen before they read what they have, and end of it.
        wrong = tuple(name for name in spec.nodes if name in silent or (cluster.gone(name) and name not in cluster.out()))
        return Proof(holds=not wrong, acted=changed.at, at=cluster.clock(), spread=changed.spread, wrong=wrong,
                     measured=spec.nodes, detail=", ".join(told))

    def _changed(self, name: str) -> str:
        """`8 of 1000 bytes of data/store differ (at 12 97 ...)`."""
        file, content, made = self._before[name]
        if len(made) < len(content):
            full = written(content)
            room = ", with the room behind them" if full < len(content) else ""
            return f"{full - len(made)} of {full} bytes of {file} gone{room}"
        places = list(differences(content, made))
        shown = " ".join(map(str, places[:SHOWN])) + (" ..." if len(places) > SHOWN else "")
        return f"{len(places)} of {len(content)} bytes of {file} differ (at {shown})"


def expected(cluster: Cluster) -> str:
    """What is expected of its database then."""
    database = cluster.database
    damage = database.variant.damage if database is not None else None
    return f"expected: {damage.text} ({damage.source})" if damage else "what is expected then the database's file does not say"


def differences(one: bytes, other: bytes) -> Iterator[int]:
    """The places of the bytes that differ in two files of one length."""
    for begin in range(0, len(one), BLOCK):
        a, b = one[begin : begin + BLOCK], other[begin : begin + BLOCK]
        if a != b:
            yield from (begin + at for at in range(len(a)) if a[at] != b[at])


def written(content: bytes) -> int:
    """How many bytes of a file are of what a server wrote. Zeros at its end are room that it took beforehand (etcd's log is
    64 MB from its first entry on), and whatever happens to them harms nobody."""
    return len(content.rstrip(b"\0")) or len(content)


def damaged(content: bytes, how: dict[str, Any]) -> bytes:
    """What damage makes of a file: of what was written into it so many bits turned round, no bit twice, or so many percent cut
    off, with all that lies behind. `seed` says where."""
    full = written(content)
    if percent := how.get("percent"):
        return content[: full - -(-full * percent // 100)]
    made = bytearray(content)
    rng = random.Random(how["seed"])
    for bit in rng.sample(range(8 * full), min(how["bits"], 8 * full)):
        made[bit // 8] ^= 1 << bit % 8
    return bytes(made)
