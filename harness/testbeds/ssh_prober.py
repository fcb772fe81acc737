"""Probes between machines: the same three kinds as in prober.py, sent and received by the helpers there.

A link counts as lost only if its sender has said that it sent often enough, and its receiver, asked after that, has heard a
packet that it sent to itself behind them: a slow machine is not a cut network.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import time
from collections.abc import Collection, Mapping, Sequence
from statistics import median
from typing import Any

from splitbrain.harness.errors import SetupError
from splitbrain.harness.history.fault import Link
from splitbrain.harness.testbeds.commands import together
from splitbrain.harness.testbeds.prober import SETTLE, Prober, Site
from splitbrain.harness.testbeds.spawner import SocketAt
from splitbrain.harness.testbeds.ssh_node import SshNode
from splitbrain.harness.testbeds.testbed import Connectivity, Reach, Train
from splitbrain.harness.testbeds.trains import GAP, IN_BURST, LARGE, Arrivals, at_once, length

ENOUGH = 4
"""Packets that are sent over a link before it may count as lost."""
DEAF = 5.0
"""Seconds in which a machine must hear a packet of its own."""
FLIGHT = 0.02
"""Seconds, at least, that a packet may be on its way."""


class RemoteProber(Prober):
    """Sends probes between machines. Whether a server takes connections is tried from here, as in `Prober`."""

    def __init__(self, nodes: Sequence[SshNode], port: int) -> None:
        async def none(wanted: Sequence[SocketAt]) -> list[socket.socket]:
            raise AssertionError("a machine makes its own sockets")

        async def ours(wanted: Sequence[SocketAt]) -> list[socket.socket]:
            made = [socket.socket(at.family, at.kind) for at in wanted]
            for one in made:
                one.setblocking(False)
            return made

        sites = {node.name: Site(node.address, node.address6, none) for node in nodes}
        super().__init__(sites, Site("", "", ours), port, {node.name: node.connections for node in nodes})
        self._machines = {node.name: node for node in nodes}
        self._news6: set[Link] = set()
        self._news4: set[Link] = set()
        self._fresh: set[Link] = set()
        self._usual: dict[Link, tuple[float, int]] = {}

    async def open(self) -> None:
        """Open the sockets, and the standing connections over every link; all links must be up. Raises `SetupError`."""
        await self._listen(self._machines)
        every = [(a, b) for a in self._machines for b in self._machines if a != b]
        missing = await self._stands_over(every, 5.0)
        if missing:
            links = ", ".join(f"{a} to {b}" for a, b in missing)
            raise SetupError(
                f"the machines cannot reach each other on port 9, by which links are probed, though nothing is cut ({links}): "
                "let it through between them, TCP and UDP."
            )
        await self._learn(every)

    async def rejoin(self, name: str) -> None:
        """Open the sockets of a machine anew, whose network is another one. Raises `SetupError`."""
        await self._listen([name])
        await self._each([other for other in self._machines if other != name], "part", lambda other: {"peer": name})

    async def _listen(self, names: Collection[str]) -> None:
        addresses = {name: (node.address, node.address6) for name, node in self._machines.items()}
        await self._each(names, "listen", lambda name: {"own": name, "addresses": addresses, "port": self._port})

    def hear(self, name: str, message: dict[str, Any]) -> None:
        """What a helper says of its probes."""
        match message["event"]:
            case "heard":
                found = self._news6 if message["family"] == socket.AF_INET6 else self._news4
                found.add((message["peer"], name))
            case "fresh":
                self._fresh.add((name, message["peer"]))
            case "bytes":
                self._bytes.add((message["peer"], name))
        self._news.set()

    async def probe(self, intended: Connectivity, *, timeout: float, late: float = 0.0) -> Reach:
        """Probe every link between the machines that are in the graph; see `Prober.probe`. Raises `SetupError` where one is
        lost, or does not hear itself."""
        names = [name for name in self._machines if name in intended]
        links = [(a, b) for a in names for b in names if a != b]
        up = {link for link in links if intended.has_edge(*link)}
        round_trip = {(a, b) for a, b in links if (a, b) in up and (b, a) in up}
        if round_trip:
            await self._stands_over(sorted(round_trip), timeout + late)
        for heard in (self._news4, self._news6, self._fresh, self._bytes):
            heard.clear()
        nonce = secrets.token_hex(8)
        began = await self._each(names, "aim", lambda name: {"nonce": nonce})
        await self._each(names, "probe", lambda name: {})
        standing = {(a, b) for a, reply in began.items() for b in reply["standing"]}
        six = all(node.address6 for node in self._machines.values())
        start = time.monotonic()
        while True:
            missing = (up - self._news4) | (round_trip - self._fresh) | ((up & standing) - self._bytes)
            missing |= (up - self._news6) if six else set()
            whole = not missing and len(up) == len(links)
            left = start + (max(timeout, SETTLE) if missing else SETTLE) + late - time.monotonic()
            if whole or left <= 0:
                break
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._news.wait()
        # A machine that is slow goes on until it has sent enough.
        await self._each(names, "hush", lambda name: {"enough": 0 if whole else ENOUGH})
        await asyncio.sleep(max(FLIGHT, *(4 * node.link.error / 1e9 for node in self._machines.values())))
        try:
            await self._each(names, "collect", lambda name: {}, DEAF)
        except SetupError as error:
            raise SetupError(f"packets of a machine to itself do not arrive there: {error}") from error
        await asyncio.sleep(0)
        unanswered = sorted({b for _, b in round_trip - self._fresh})
        stuck = await asyncio.gather(*(self._nobody_accepts(name) for name in unanswered))
        untaken = {name for name, is_stuck in zip(unanswered, stuck, strict=True) if is_stuck}
        return Reach(
            datagrams={link: link in self._news4 for link in links},
            datagrams6={link: link in self._news6 for link in links} if six else {},
            fresh={link: link in self._fresh for link in links if link in self._fresh or link[1] not in untaken},
            standing={link: link in self._bytes for link in links if link in standing},
        )

    def close(self) -> None:
        """Nothing is open here; the sockets there end with the helpers."""

    async def _stands_over(self, links: Sequence[Link], timeout: float) -> list[Link]:
        """Give these links two connections that are idle; those that did not get them."""
        peers: Mapping[str, list[str]] = {name: [b for a, b in links if a == name] for name in self._machines}
        names = [name for name in peers if peers[name]]
        replies = await self._each(names, "stand", lambda name: {"peers": peers[name], "timeout": timeout}, timeout + DEAF)
        return [(name, peer) for name, reply in replies.items() for peer in reply["missing"]]

    async def measure(self, links: Sequence[Link], *, late: float, rate: float = 0.0) -> dict[Link, Train]:
        """See `Prober.measure`. What a link takes by itself, which is known from before all faults, is taken off."""
        arrivals, errors = await self._trains_over(links, late, rate)
        trains = {}
        for a, b in links:
            usual, inexact = self._usual.get((a, b), (0.0, self._machines[a].link.error + self._machines[b].link.error))
            busy = median(arrivals[b, b].late.values() or (0.0,))
            inexact += errors[a] + errors[b]
            trains[a, b] = arrivals[a, b].train(length(links), busy, usual=usual, inexact=inexact / 1e6)
        return trains

    async def _learn(self, links: Sequence[Link]) -> None:
        """What each link takes by itself, and by how much that may be wrong, nanoseconds."""
        arrivals, errors = await self._trains_over(links, 0.0, 0.0)
        self._usual = {
            (a, b): (median(arrivals[a, b].late.values()), errors[a] + errors[b]) for a, b in links if arrivals[a, b].late
        }

    async def _trains_over(
        self, links: Sequence[Link], late: float, rate: float
    ) -> tuple[Mapping[Link, Arrivals], Mapping[str, int]]:
        """What came of trains over these links, and of those of each machine to itself, by our clock; and by how much each
        machine's may be wrong, nanoseconds."""
        names = sorted({name for link in links for name in link})
        times = dict(zip(names, await together(self._machines[name].link.time() for name in names), strict=True))
        peers = {name: [*(b for a, b in links if a == name), name] for name in names}
        nonce = secrets.token_hex(8)
        await self._each(names, "tune", lambda name: {"nonce": nonce})

        async def send(number: int, count: int, gap: float, size: int) -> None:
            what = {"number": number, "count": count, "gap": gap, "size": size}
            await self._each(names, "train", lambda name: {"peers": peers[name], **what})
            await asyncio.sleep(late + SETTLE)

        await send(0, length(links), GAP, 0)
        if burst := at_once(rate):
            await send(IN_BURST, burst, 0.0, LARGE)
            await asyncio.sleep(1)
        arrivals = {link: Arrivals() for link in (*links, *((name, name) for name in names))}
        for name, reply in (await self._each(names, "arrivals", lambda name: {})).items():
            for sender, number, sent, at, size in reply["late"]:
                if (sender, name) in arrivals:
                    under_way = (at + times[name].offset) - (sent + times[sender].offset)
                    arrivals[sender, name].add(number, under_way / 1e6, size, at / 1e9)
        return arrivals, {name: time.error for name, time in times.items()}

    async def _each(self, names: Any, op: str, fields: Any, timeout: float = 10.0) -> dict[str, dict[str, Any]]:
        found = await together(self._machines[name].link.ask(op, timeout, **fields(name)) for name in names)
        return dict(zip(names, found, strict=True))
