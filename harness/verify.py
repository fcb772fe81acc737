"""Whether a database keeps its contract: what `Database` and its clients owe the history, tried on real nodes, in seconds.

A verdict is as true as the client that asked. One that asks twice where it was told to ask once, that calls an unanswered write
refused, or that is ready before it is, makes anomalies that are none, or hides those that are there. So each promise of the
contract is tried: by real servers on the nodes of a testbed, and by a wire between client and server that hangs up before the
request, hangs up before the answer, says nothing, or talks nonsense. The connection works first, so that a driver's greeting
is over by then.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec
from rich.console import Group
from rich.text import Text

from splitbrain.harness import programs, registry
from splitbrain.harness.databases.database import Database, copies, shard
from splitbrain.harness.errors import (
    Elsewhere,
    Indeterminate,
    Mismatch,
    Refused,
    SetupError,
    SplitbrainError,
    UsageError,
    described,
    ours,
    place,
)
from splitbrain.harness.history.variant import Capability
from splitbrain.harness.load.client import lacking
from splitbrain.harness.plan import Plan
from splitbrain.harness.rehearsal import made
from splitbrain.harness.resolve import check_database, check_machine, resolve
from splitbrain.harness.settings import keys
from splitbrain.harness.testbeds.testbed import Node, Testbed
from splitbrain.reports.wording import printable

LONGEST = 3600.0
"""Seconds that a whole trial may take."""
QUIET = 0.15
"""Seconds after a call in which a request of nobody's asking would show itself: drivers try again within milliseconds."""
WIRE = "127.0.0.77"
"""Where the wire between a client and its server listens."""

Call: TypeAlias = Callable[[Any, int], Awaitable[Any]]
"""One call of a client on a key."""

CALLS: Mapping[Capability, Mapping[str, Call]] = {
    "registers": {"read()": lambda client, key: client.read(key), "write()": lambda client, key: client.write(key, 5)},
    "compare-and-set": {"cas()": lambda client, key: client.cas(key, None, 5)},
    "sets": {"add()": lambda client, key: client.add(key, 5), "elements()": lambda client, key: client.elements(key)},
    "queues": {
        "enqueue()": lambda client, key: client.enqueue(key, 5), "dequeue()": lambda client, key: client.dequeue(key),
        "waiting()": lambda client, key: client.waiting(key),
    },
    "counters": {
        "increment()": lambda client, key: client.increment(key, 5), "count()": lambda client, key: client.count(key),
    },
    "accounts": {
        "deposit()": lambda client, key: client.deposit(key, 5), "balances()": lambda client, key: client.balances([key]),
        "transfer()": lambda client, key: client.transfer(key, key + 1, 0),
    },
    "locks": {
        "acquire()": lambda client, key: client.acquire(key, 5, 5.0), "renew()": lambda client, key: client.renew(key, 5, 5.0),
        "release()": lambda client, key: client.release(key, 5), "holder()": lambda client, key: client.holder(key),
    },
    "fences": {
        "guarded_write()": lambda client, key: client.guarded_write(key, 5, 1), "read()": lambda client, key: client.read(key),
    },
    "ids": {"next_id()": lambda client, key: client.next_id(key)},
    "transactions": {
        "txn() that reads": lambda client, key: client.txn((("r", key, None),)),
        "txn() that appends": lambda client, key: client.txn((("r", key, None), ("append", key, 5))),
        "txn() that writes": lambda client, key: client.txn((("r", key, None), ("w", key, 5))),
    },
    "watches": {"write()": lambda client, key: client.write(key, 5), "watch()": lambda client, key: client.watch(key, 0)},
}
"""Capability → the calls of its protocol by what they are called, each as one that is right on a key that nobody used."""


class Check(msgspec.Struct, frozen=True):
    """One promise of the contract: what it is, whether it was kept, and what was seen where it was not."""

    what: str
    kept: bool
    seen: str = ""


def verify(database: str, *, variant: str = "", nodes: int = 0, testbed: str = "namespaces") -> tuple[Check, ...]:
    """Try whether a database keeps its contract, from a program of one's own or from pytest, from any thread; what `splitbrain
    verify` does, in a process of its own. `database` is a name or the path of a Python file; without `variant` its first
    one, and without `nodes` as many as it has by default.

    Raises `UsageError` for a database that cannot be run, `SetupError` if this machine has no such nodes, servers or driver.
    """
    command = [sys.executable, "-P", "-m", "splitbrain.harness.cli", "verify", database, "--json", f"--testbed={testbed}"]
    command += [f"--{name}={value}" for name, value in (("variant", variant), ("nodes", nodes)) if value]
    path = os.pathsep.join(place or str(Path.cwd()) for place in sys.path)
    ran = programs.run(command, limit=LONGEST, environment={"PYTHONPATH": path})
    if ran.code in (0, 1) and ran.stdout:
        return msgspec.json.decode(ran.stdout, type=tuple[Check, ...])
    kind = UsageError if ran.code == UsageError.exit_code else SetupError
    raise kind(ran.stderr.strip().removeprefix("splitbrain: "))


def planned(flags: Mapping[str, Any]) -> Plan:
    """The plan of a trial: that of a run without faults, of a workload that the variant offers what it needs. `flags` are as
    `resolve` takes them. Raises `UsageError`."""
    name = flags["database"]
    database: type[Database] = registry.look_up("databases", name)
    check_database(database, name)
    wanted = flags.get("variant") or database.variants[0].name
    offers = next((variant.offers for variant in database.variants if variant.name == wanted), frozenset())
    usual: str = keys(Plan)["workload"].default
    every = (usual, *registry.names("workloads"))
    fitting = next((one for one in every if registry.look_up("workloads", one).needs <= offers), usual)
    return resolve({**flags, "nemesis": "none", "workload": fitting})


def try_contract(plan: Plan) -> tuple[Check, ...]:
    """Try the contract of a plan's database on the plan's nodes; nothing stays. To be called as `run.perform` is.

    Raises `SetupError` if this machine has no such nodes, servers or driver.
    """
    check_machine(plan)
    with tempfile.TemporaryDirectory(prefix="splitbrain-") as folder:
        path = Path(folder)
        testbed: Testbed = registry.look_up("testbeds", plan.testbed)(plan, path.name, path)
        kept = path / "checks.json"

        def work() -> int:
            try:
                told: tuple[Check, ...] | str = asyncio.run(_on(testbed, plan))
            except SplitbrainError as error:
                told = str(error)
            kept.write_bytes(msgspec.json.encode(told))
            return 0

        testbed.inside(work)
        told = msgspec.json.decode(kept.read_bytes(), type=tuple[Check, ...] | str) if kept.exists() else "it was ended."
    if isinstance(told, str):
        raise SetupError(told)
    return told


def table(checks: Sequence[Check]) -> Group:
    """The promises, each with what was seen where it was not kept, for people."""
    lines = []
    for check in checks:
        lines.append(Text.assemble(("yes ", "green") if check.kept else ("no  ", "red"), check.what))
        if not check.kept:
            lines.append(Text(f"    {printable(check.seen, 1000)}"))
    kept = sum(check.kept for check in checks)
    may = ": splitbrain test may begin" if kept == len(checks) else ""
    return Group(*lines, Text(f"\n{kept} of {len(checks)} promises kept{may}"))


async def _on(testbed: Testbed, plan: Plan) -> tuple[Check, ...]:
    try:
        await testbed.up(plan.nodes)
        found: type[Database] = registry.look_up("databases", plan.database)
        trial = Trial(made(found, plan, testbed.nodes), plan, testbed)
        await trial.run()
        return tuple(trial.checks)
    finally:
        await testbed.down()


class Wire:
    """A wire to one server, which forwards what it is given until it is told to misbehave."""

    def __init__(self, server: Node, port: int) -> None:
        self.mode: Literal["forward", "hang-up", "swallow", "silence", "nonsense"] = "forward"
        self.asked = 0
        """Connections over which something was asked since it misbehaves."""
        self.ended = 0
        """Of these, the ones that the client has closed."""
        self._server, self._port = server, port

    def misbehave(self, mode: Literal["hang-up", "swallow", "silence", "nonsense"]) -> None:
        """From now on: `hang-up` before the server hears, `swallow` its answer and hang up, `silence`, or `nonsense`."""
        self.mode, self.asked, self.ended = mode, 0, 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a client's."""
        upstream, asked = None, False
        try:
            upstream = await asyncio.open_connection(self._server.address, self._port)
            answers = asyncio.create_task(self._answer(upstream[0], writer))
            while data := await reader.read(65536):
                if self.mode != "forward" and not asked:
                    asked = True
                    self.asked += 1
                if self.mode in ("forward", "swallow"):
                    upstream[1].write(data)
                elif self.mode != "silence":
                    if self.mode == "nonsense":
                        writer.write(b"\x07this is no answer\r\n\r\n\x00\x00\x00\xff\n")
                    break
            answers.cancel()
        except OSError:
            pass  # One of the two is gone, and with it the other.
        finally:
            self.ended += asked
            for one in (writer, *(upstream or ())[1:]):
                one.close()

    async def _answer(self, answers: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await answers.read(65536):
                if self.mode == "swallow":
                    break
                if self.mode == "forward":
                    writer.write(data)
            writer.close()


class _Wired:
    """A node whose address is that of a wire."""

    def __init__(self, node: Node) -> None:
        self.address = self.address6 = WIRE
        self._node = node

    def __getattr__(self, name: str) -> Any:
        return getattr(self._node, name)


class Trial:
    """One trial of a database: its `checks`, in the order in which they are made."""

    def __init__(self, database: Database, plan: Plan, testbed: Testbed) -> None:
        self.checks: list[Check] = []
        self._database = database
        self._plan = plan
        self._testbed = testbed
        self._key = 900_000
        self._primaries: tuple[str | None, ...] = ()
        """The primary of each shard, where calls go to primaries."""

    async def run(self) -> None:
        """Everything, from before the servers run until they are gone."""
        database = self._database
        await self._hold("before it is started, ready() is false", self._not_ready)
        try:
            await self._start()
        except SetupError as error:
            self.checks.append(Check("the cluster gets ready", False, str(error)))
            return
        self.checks.append(Check("the cluster gets ready", True))
        servers = await self._primary()
        for server in servers:
            await self._hold(f"ready() was true: a connection to {server.name} takes every call", self._takes, server)
        await self._hold("versions() names every node's", self._versions)
        tried: set[str] = set()
        for capability in sorted(database.variant.offers & set(CALLS)):
            await self._hold(f"{capability}: answers are right", self._right, servers[0], capability)
            for name, call in CALLS[capability].items():
                if name in tried:
                    continue  # Several capabilities have it.
                tried.add(name)
                for what, check in (
                    ("hung up on at the request, it is undecided and asked once", self._hang_up),
                    ("its answer lost, it is undecided and asked once", self._swallow),
                    ("nonsense is no answer", self._nonsense),
                    ("cancelled, it closes its connection", self._cancel),
                ):
                    await self._hold(f"{name}: {what}", check, servers[0], call)
        if "pause" in self._testbed.abilities and "registers" in database.variant.offers:
            await self._hold("local() reads a node's own copy, also while all others stand still", self._local)
        for node in self._testbed.nodes:
            for service in node.services:
                await node.stop(service.name, kill=True)
        await self._hold("where no server is, connect() raises Refused", self._no_server)
        await self._hold("where no server is, ready() is false", self._not_ready)
        await self._hold("where no server is, primary() names none", self._no_primary)
        await self._hold("close() raises nothing", database.close)

    async def _hold(self, what: str, check: Callable[..., Awaitable[str | None]], *of: Any) -> None:
        """Make one check of this, which returns what is wrong."""
        try:
            async with asyncio.timeout(15 + 3 * self._plan.timeout):
                seen = await check(*of) or ""
        except TimeoutError:
            seen = "it took too long"
        except (Refused, Indeterminate) as error:
            seen = f"it raised {described(error)}"
        except Exception as error:
            seen = f"{place(error)}it raised {described(error)}"
        self.checks.append(Check(what, not seen, seen))

    def _new_key(self, server: str) -> int:
        """A key that nobody used, and that this server takes calls on. Raises `LookupError` if it takes none."""
        for _ in range(1000):
            self._key += 10
            if not self._primaries or self._primaries[shard(self._database, self._key, len(self._primaries))] == server:
                return self._key
        raise LookupError(f"no key's primary is {server}")

    @asynccontextmanager
    async def _connected(self, node: Any) -> AsyncIterator[Any]:
        client = await self._database.connect(node)
        try:
            yield client
        finally:
            await client.close()

    # --- servers

    async def _start(self) -> None:
        database = self._database
        try:
            async with asyncio.timeout(database.starting):
                await database.start()
                while not await database.ready():
                    await asyncio.sleep(0.02)
                    if ended := [f"{node.name}: {death}" for node in self._testbed.nodes for death in node.ended()]:
                        raise SetupError(f"a server ended: {'; '.join(ended)}. {self._last_words()}")
        except TimeoutError as error:
            raise SetupError(f"ready() was not true within {database.starting:g} s. {self._last_words()}") from error
        except SplitbrainError:
            raise
        except Exception as error:
            if (known := ours(error)) is not None:
                raise known from error
            raise SetupError(f"{place(error)}start() or ready() raised {described(error)}. {self._last_words()}") from error

    def _last_words(self) -> str:
        for node in self._testbed.nodes:
            for service in node.services:
                log = node.log(service.name)
                lines = log.read_text(errors="replace").splitlines() if log.exists() else []
                if lines:
                    return f"{node.name} says: {lines[-1][:300]}"
        return "No server has said anything."

    async def _not_ready(self) -> str | None:
        return "it was true" if await self._database.ready() else None

    async def _no_server(self) -> str | None:
        for node in self._database.nodes.values():
            try:
                client = await self._database.connect(node)
            except Refused:
                continue
            except Indeterminate as error:
                return f"it raised Indeterminate({error.reason}), though nothing can have happened"
            await client.close()
            return "it returned a client"
        return None

    async def _no_primary(self) -> str | None:
        named = {name: await self._database.primary(node) for name, node in self._database.nodes.items()}
        return next((f"{name} named {primary}" for name, primary in named.items() if primary is not None), None)

    async def _versions(self) -> str | None:
        told = await self._database.versions()
        missing = [name for name in self._database.nodes if not told.get(name)]
        return f"it tells none of {', '.join(missing)}" if missing else None

    async def _primary(self) -> list[Node]:
        """Check whom the nodes name; the servers that take every call."""
        database, nodes = self._database, self._database.nodes
        by_primary = "primary" in (database.variant.reads, database.variant.writes)
        named: dict[str, str | None] = {}

        async def ask() -> str | None:
            for name, node in nodes.items():
                named[name] = await database.primary(node)
            wrong = [f"{name} named {primary!r}" for name, primary in named.items() if primary not in (None, *nodes)]
            if wrong:
                return f"{wrong[0]}, which is no node: primary() is to return a node's name, or None"
            found = {primary for primary in named.values() if primary is not None}
            if len(found) > 1:
                return f"they named {', '.join(f'{name}: {primary}' for name, primary in named.items())}"
            if not found and by_primary:
                return "nobody named one, though the variant routes calls to the primary"
            return None

        await self._hold("primary() names a node, and all nodes name the same, or none", ask)
        if not by_primary:
            return list(nodes.values())
        with suppress(Refused, Indeterminate):
            self._primaries = await database.primaries(next(iter(nodes.values())))
        return [nodes[name] for name in dict.fromkeys(self._primaries) if name in nodes] or list(nodes.values())

    async def _takes(self, server: Node) -> str | None:
        async with self._connected(server) as client:
            if missing := lacking(client, self._database.variant.offers):
                return missing
            for capability in sorted(self._database.variant.offers & set(CALLS)):
                for call in CALLS[capability].values():
                    with suppress(Mismatch):
                        await call(client, self._new_key(server.name))
        return None

    # --- clients

    async def _right(self, server: Node, capability: str) -> str | None:
        key = self._new_key(server.name)
        got: Any
        wanted: Any
        async with self._connected(server) as client:
            match capability:
                case "registers":
                    before = await client.read(key)
                    await client.write(key, 5)
                    got, wanted = (before, await client.read(key)), (None, 5)
                case "compare-and-set":
                    await client.cas(key, None, 5)
                    try:
                        await client.cas(key, 4, 6)
                        return "cas(key, 4, 6) returned, though the register held 5: it is to raise Mismatch"
                    except Mismatch as mismatch:
                        if mismatch.seen not in ((), (5,)):
                            return f"Mismatch told {mismatch.seen[0]!r}, though the register held 5"
                    await client.cas(key, 5, 7)
                    got, wanted = await client.read(key), 7
                case "sets":
                    before = sorted(await client.elements(key))
                    await client.add(key, 5)
                    await client.add(key, 6)
                    got, wanted = (before, sorted(await client.elements(key))), ([], [5, 6])
                case "queues":
                    await client.enqueue(key, 5)
                    await client.enqueue(key, 6)
                    got = (list(await client.waiting(key)), await client.dequeue(key), list(await client.waiting(key)))
                    wanted = ([5, 6], 5, [6])
                case "counters":
                    before = await client.count(key)
                    await client.increment(key, 2)
                    await client.increment(key, 3)
                    got, wanted = (before, await client.count(key)), (0, 5)
                case "accounts":
                    await client.deposit(key, 5)
                    await client.transfer(key, key + 1, 2)
                    got, wanted = dict(await client.balances([key, key + 1])), {key: 3, key + 1: 2}
                case "locks":
                    await client.acquire(key, 1, 5.0)
                    if (told := await self._not_decided(client.acquire(key, 2, 5.0))) is not None:
                        return f"a second owner acquires a lock that is held: {told}"
                    await client.renew(key, 1, 5.0)
                    held = await client.holder(key)
                    await client.release(key, 1)
                    if (told := await self._not_decided(client.renew(key, 1, 5.0))) is not None:
                        return f"a lock that was given back is renewed: {told}"
                    got, wanted = (held, await client.holder(key)), (1, None)
                case "fences":
                    first = await client.acquire(key, 1, 5.0)
                    await client.guarded_write(key, 5, first)
                    await client.release(key, 1)
                    second = await client.acquire(key, 2, 5.0)
                    if not first < second:
                        return f"the fence of the second holder, {second!r}, is not greater than that of the first, {first!r}"
                    await client.guarded_write(key, 6, second)
                    if (told := await self._not_decided(client.guarded_write(key, 7, first))) is not None:
                        return f"a write with the fence of an earlier holder: {told}"
                    got, wanted = await client.read(key), 6
                case "ids":
                    got, wanted = len({await client.next_id(key) for _ in range(5)}), 5
                case "watches":
                    await client.write(key, 5)
                    await client.write(key, 6)
                    changes = list(await client.watch(key, 0))
                    later = [value for _, value in await client.watch(key, changes[0][0])] if changes else []
                    got, wanted = ([value for _, value in changes], later), ([5, 6], [6])
                case _:
                    other = self._new_key(server.name)
                    got = [await self._done(client, key, "append", 5), await self._done(client, key, "append", 6)]
                    got += [await self._done(client, other, "w", 5), await self._done(client, other, "w", 6)]
                    wanted = [(None, [5]), ([5], [5, 6]), (None, 5), (5, 6)]
        return None if got == wanted else f"it told {got!r}, and {wanted!r} is right"

    async def _done(self, client: Any, key: int, f: str, value: int) -> tuple[Any, Any]:
        """What one transaction read before, and another after, a micro-operation of the first."""
        before = await client.txn((("r", key, None), (f, key, value)))
        after = await client.txn((("r", key, None),))
        plain = [list(read) if isinstance(read, list | tuple) else read for read in (before[0][2], after[0][2])]
        return plain[0], plain[1]

    async def _not_decided(self, call: Awaitable[Any]) -> str | None:
        """What came of a call that is to raise `Mismatch`, if that was not it."""
        try:
            return f"it told {await call!r}, and Mismatch is right"
        except Mismatch:
            return None
        except Refused as refused:
            return f"it raised {type(refused).__name__}, and Mismatch is right"

    @asynccontextmanager
    async def _wired(self, server: Node, call: Call) -> AsyncIterator[tuple[Any, Wire]]:
        """A client behind a wire, whose connection has worked."""
        wire = Wire(server, self._database.port)
        listening = await asyncio.start_server(wire.serve, WIRE, self._database.port)
        try:
            async with self._connected(_Wired(server)) as client:
                with suppress(Refused):
                    await call(client, self._new_key(server.name))
                yield client, wire
        finally:
            listening.close()

    async def _misbehaving(self, server: Node, call: Call, mode: Literal["hang-up", "swallow", "nonsense"]) -> str | None:
        async with self._wired(server, call) as (client, wire):
            wire.misbehave(mode)
            try:
                answer = await call(client, self._new_key(server.name))
            except Indeterminate:
                await asyncio.sleep(QUIET)
                if wire.asked > 1:
                    return f"it was asked {wire.asked} times for one call: switch the driver's retries off"
                return None
            except Refused as refused:
                what = "the server may have done it" if mode == "swallow" else "a client cannot know that it was not heard"
                return f"it raised Refused({refused.reason}), but {what}: Indeterminate"
            asked = f" after {wire.asked} requests" if wire.asked > 1 else ""
            return f"it returned {answer!r}{asked}, though nothing was answered"

    async def _hang_up(self, server: Node, call: Call) -> str | None:
        return await self._misbehaving(server, call, "hang-up")

    async def _swallow(self, server: Node, call: Call) -> str | None:
        return await self._misbehaving(server, call, "swallow")

    async def _nonsense(self, server: Node, call: Call) -> str | None:
        return await self._misbehaving(server, call, "nonsense")

    async def _cancel(self, server: Node, call: Call) -> str | None:
        async with self._wired(server, call) as (client, wire):
            wire.misbehave("silence")
            with suppress(TimeoutError):
                async with asyncio.timeout(QUIET):
                    await call(client, self._new_key(server.name))
                    return "it returned, though nothing was answered"
            await client.close()
            await asyncio.sleep(QUIET)
            if wire.ended < wire.asked:
                return "the connection is open still: what was asked may yet be taken for asked by somebody else"
            return f"it was asked {wire.asked} times for one call" if wire.asked > 1 else None

    async def _local(self) -> str | None:
        nodes = self._database.nodes
        writer = nodes[next((name for name in self._primaries if name in nodes and name is not None), next(iter(nodes)))]
        key = self._new_key(writer.name)
        async with self._connected(writer) as client:
            await client.write(key, 5)
        for name in copies(self._database, key):
            others = [node for node in nodes.values() if node.name != name]
            await self._settled(nodes[name], key)
            for node in others:
                for service in node.services:
                    await node.pause(service.name)
            try:
                async with asyncio.timeout(self._plan.timeout):
                    reader: Any = await self._database.local(nodes[name])
                    got = await reader.read(key)
            except Elsewhere:
                continue
            except TimeoutError:
                return f"{name} did not answer: it asked another node"
            except (Refused, Indeterminate) as error:
                return f"{name} refused ({error.reason}): it asked another node"
            finally:
                for node in others:
                    for service in node.services:
                        await node.resume(service.name)
            if got != 5:
                return f"{name} holds {got!r}, though 5 was written and had time to arrive"
        return None

    async def _settled(self, node: Node, key: int) -> None:
        """Wait until a node's own copy has what was written, three seconds at most."""
        for _ in range(30):
            with suppress(Refused, Indeterminate):
                reader: Any = await self._database.local(node)
                if await reader.read(key) == 5:
                    return
            await asyncio.sleep(0.1)
