"""etcd: a Raft cluster, spoken to through the JSON gateway that every member serves beside gRPC.

The gateway is part of the server, so that nothing between the harness and the database has a retry, a balancer or a
reconnect back-off of its own: one call is one POST on one connection that can be closed. A register is the key
`register/KEY`; an element of a set is a key of its own, `set/KEY/ELEMENT`, and the set is one range over that prefix.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from splitbrain.harness.databases.database import Connections, Database, Program
from splitbrain.harness.errors import Indeterminate, Mismatch, Refused
from splitbrain.harness.history.operation import Key
from splitbrain.harness.history.variant import Claim, Label, Variant
from splitbrain.harness.plan import Plan
from splitbrain.harness.testbeds.testbed import Node, Service

if TYPE_CHECKING:
    import aiohttp

PEER_PORT = 2380

_PRE_VOTE = "--pre-vote=true (the default since 3.5; without it, in 3.4, a member that comes back unseats the leader)"

_GUARANTEES = "etcd documentation v3.5, KV API guarantees: https://etcd.io/docs/v3.5/learning/api_guarantees/"
_LABELS = (
    Label("CP", "K. Kingsbury, Call me maybe: etcd and Consul (2014): https://aphyr.com/posts/316-call-me-maybe-etcd-and-consul"),
    Label("strict serializable by default", "Jepsen: etcd 3.4.3 (2020): https://jepsen.io/analyses/etcd-3.4.3"),
)


class EtcdClient:
    """One HTTP connection to one member."""

    DEFINITE: ClassVar[dict[str, str]] = {
        "etcdserver: no leader": "no-leader",
        "etcdserver: not leader": "not-leader",
        "raft proposal dropped": "no-leader",
        "raft: proposal dropped": "no-leader",
        "etcdserver: too many requests": "overloaded",
        "etcdserver: request is too large": "too-large",
        "etcdserver: mvcc: database space exceeded": "no-space",
    }
    """The member's message → the reason of a refusal: it is sent before anything is proposed to Raft, or (no-space) when the
    proposal was applied as a refusal."""

    INDEFINITE: ClassVar[dict[str, str]] = {
        "etcdserver: request timed out": "request-timed-out",
        "etcdserver: request timed out, possibly due to previous leader failure": "request-timed-out",
        "etcdserver: request timed out, possibly due to connection lost": "request-timed-out",
        "etcdserver: leader changed": "leader-changed",
        "etcdserver: server stopped": "server-stopped",
        "etcdserver: request cancelled": "cancelled",
        "context deadline exceeded": "deadline-exceeded",
        "context canceled": "cancelled",
    }
    """The member's message → the reason: the proposal may be in some member's log. Any other message is indefinite too."""

    NEVER_SENT: ClassVar[tuple[str, ...]] = ("transport: error while dialing", "transport: Error while dialing")
    """The gateway could not reach the gRPC server in its own process: the call went nowhere."""

    def __init__(self, session: aiohttp.ClientSession, url: str, *, serializable: bool) -> None:
        self._session = session
        self._url = url
        self._serializable = serializable

    async def read(self, key: Key) -> int | None:
        """The value of a register: a range of one key, linearizable or as the variant says."""
        kvs = await self._range({"key": _register(key)})
        return _value(kvs)

    async def write(self, key: Key, value: int) -> None:
        """Set a register: a put."""
        await self.call("/v3/kv/put", {"key": _register(key), "value": _encode(str(value))})

    async def cas(self, key: Key, expected: int | None, new: int) -> None:
        """A transaction that compares the value (or that the key was never created) and puts; where the comparison fails the
        same transaction reads what is there."""
        name = _register(key)
        condition: dict[str, Any] = {"key": name, "result": "EQUAL"}
        if expected is None:
            condition |= {"target": "CREATE", "create_revision": "0"}
        else:
            condition |= {"target": "VALUE", "value": _encode(str(expected))}
        answer = await self.call(
            "/v3/kv/txn",
            {
                "compare": [condition],
                "success": [{"request_put": {"key": name, "value": _encode(str(new))}}],
                "failure": [{"request_range": {"key": name}}],
            },
        )
        if answer.get("succeeded"):
            return
        try:
            seen = _value(answer["responses"][0]["response_range"].get("kvs", []))
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            raise await self._lost("garbled-answer") from error
        raise Mismatch(seen)

    async def add(self, key: Key, element: int) -> None:
        """Add an element to a set: a put of the element's own key."""
        await self.call("/v3/kv/put", {"key": _encode(f"set/{key}/{element}"), "value": ""})

    async def elements(self, key: Key) -> list[int]:
        """The elements of a set: one range over its prefix ("0" follows "/")."""
        body = {"key": _encode(f"set/{key}/"), "range_end": _encode(f"set/{key}0"), "keys_only": True}
        kvs = await self._range(body)
        try:
            return [int(_decode(kv["key"]).rpartition("/")[2]) for kv in kvs]
        except (KeyError, TypeError, ValueError) as error:
            raise await self._lost("garbled-answer") from error

    async def close(self) -> None:
        """Close the connection."""
        await self._session.close()

    @property
    def closed(self) -> bool:
        """Whether it is closed, by `close` or because a call's outcome is not known."""
        return self._session.closed

    async def _range(self, body: dict[str, Any]) -> list[dict[str, str]]:
        answer = await self.call("/v3/kv/range", {**body, "serializable": self._serializable})
        kvs = answer.get("kvs", [])
        if not isinstance(kvs, list):
            raise await self._lost("garbled-answer")
        return kvs

    async def call(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """One POST to the gateway and its answer. aiohttp repeats only requests that it holds idempotent; a POST is none."""
        import aiohttp

        if self.closed:
            raise Refused("no-connection")
        try:
            async with self._session.post(self._url + path, data=json.dumps(body), allow_redirects=False) as response:
                status, content = response.status, await response.read()
        except aiohttp.ClientConnectorError as error:
            raise Refused("no-connection") from error
        except (aiohttp.ClientError, OSError) as error:
            raise await self._lost("connection-lost") from error
        except BaseException:
            await self.close()
            raise
        try:
            answer = json.loads(content)
            if status == 200:
                answer["header"]["member_id"]
                return dict(answer)
            message = str(answer.get("error") or answer["message"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise await self._lost("garbled-answer") from error
        if message in self.DEFINITE:
            raise Refused(self.DEFINITE[message])
        if any(words in message for words in self.NEVER_SENT):
            raise Refused("not-serving")
        raise await self._lost(self.INDEFINITE.get(message, "unknown-error"))

    async def _lost(self, reason: str) -> Indeterminate:
        await self.close()
        return Indeterminate(reason)


class Etcd(Database):
    """etcd 3.4 and later, on every node."""

    name = "etcd"
    variants = (
        Variant(
            name="linearizable",
            summary="the default: every read is confirmed by a majority",
            reads="home",
            writes="home",
            claim=Claim(
                text='"etcd ensures linearizability for all other operations by default." (all but watches)',
                source=_GUARANTEES,
                promises=("linearizable", "no-lost-write", "converges"),
            ),
            labels=_LABELS,
            tuned=(_PRE_VOTE,),
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
                promises=("no-lost-write", "converges"),
                admits=("stale-read",),
            ),
            labels=_LABELS,
            tuned=(_PRE_VOTE, "reads are sent with serializable: true (the API's default is false)"),
            local="a serializable range at each member",
        ),
    )
    programs = (Program("etcd", "apt-get install etcd-server"),)
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

    def _service(self, node: Node, cluster: str) -> Service:
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
                "--initial-cluster-state=new",
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
        name = _encode(f"splitbrain-ready/{node.name}")
        try:
            status = await self._status(node)
            self._members[status["header"]["member_id"]] = node.name
            client = await self._own.to(node)
            await client.call("/v3/kv/put", {"key": name, "value": ""})
            answer = await client.call("/v3/kv/range", {"key": name})
        except (Refused, Indeterminate):
            return None
        return str(status.get("leader", "0")) if answer.get("kvs") else None

    async def connect(self, server: Node) -> EtcdClient:
        """A connection to that member."""
        return await self._open(server, self.variant.name == "serializable")

    async def primary(self, node: Node) -> str | None:
        """The leader as the member on that node knows it."""
        try:
            status = await self._status(node)
        except (Refused, Indeterminate):
            return None
        return self._members.get(str(status.get("leader", "0")))

    async def local(self, node: Node) -> EtcdClient:
        """A connection whose ranges are serializable: the member's own."""
        return await self._own.to(node)

    async def versions(self) -> dict[str, str]:
        """What each member's status says."""
        answers = await asyncio.gather(*(self._status(node) for node in self.nodes.values()))
        return {name: str(answer["version"]) for name, answer in zip(self.nodes, answers, strict=True)}

    async def close(self) -> None:
        """Close the connections of its own."""
        await self._own.close()

    async def _status(self, node: Node) -> dict[str, Any]:
        return await (await self._own.to(node)).call("/v3/maintenance/status", {})

    async def _open(self, server: Node, serializable: bool = True) -> EtcdClient:
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
        return EtcdClient(session, url, serializable=serializable)


def _encode(text: str) -> str:
    return b64encode(text.encode()).decode()


def _decode(text: str) -> str:
    return b64decode(text).decode()


def _register(key: Key) -> str:
    return _encode(f"register/{key}")


def _value(kvs: list[dict[str, str]]) -> int | None:
    """The value of the one key of a range; an empty value is left out of the JSON."""
    return int(_decode(kvs[0]["value"])) if kvs else None
