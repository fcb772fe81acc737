"""The client of etcd: one connection to one member, through the JSON gateway that every member serves beside gRPC.

The gateway is part of the server, so that nothing between the harness and the database has a retry, a balancer or a
reconnect back-off of its own: one request is one POST on one connection that can be closed. A register is the key
`register/KEY`; an element of a set is a key of its own, `set/KEY/ELEMENT`, and the set is one range over that prefix.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any, ClassVar

from splitbrain.harness.databases.connection import Connection
from splitbrain.harness.errors import Mismatch, Refused
from splitbrain.harness.history.operation import Key

if TYPE_CHECKING:
    import aiohttp


class EtcdClient(Connection):
    """One HTTP connection to one member."""

    DEFINITE: ClassVar[dict[str, str]] = {
        "etcdserver: no leader": "no-leader",
        "etcdserver: not leader": "not-leader",
        "raft proposal dropped": "no-leader",
        "raft: proposal dropped": "no-leader",
        "etcdserver: too many requests": "overloaded",
        "etcdserver: request is too large": "too-large",
        "etcdserver: mvcc: database space exceeded": "no-space",
        "etcdserver: unhealthy cluster": "unhealthy",
        "etcdserver: re-configuration failed due to not enough started members": "too-few-members",
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
        self.date = ""
        """When the last answer was made, as its header says."""

    async def read(self, key: Key) -> int | None:
        """The value of a register: a range of one key, linearizable or as the variant says."""
        kvs = await self._range({"key": _register(key)})
        return _value(kvs)

    async def write(self, key: Key, value: int) -> None:
        """Set a register: a put."""
        await self.call("/v3/kv/put", {"key": _register(key), "value": encode(str(value))})

    async def cas(self, key: Key, expected: int | None, new: int) -> None:
        """A transaction that compares the value (or that the key was never created) and puts; where the comparison fails the
        same transaction reads what is there."""
        name = _register(key)
        condition: dict[str, Any] = {"key": name, "result": "EQUAL"}
        if expected is None:
            condition |= {"target": "CREATE", "create_revision": "0"}
        else:
            condition |= {"target": "VALUE", "value": encode(str(expected))}
        answer = await self.call(
            "/v3/kv/txn",
            {
                "compare": [condition],
                "success": [{"request_put": {"key": name, "value": encode(str(new))}}],
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
        await self.call("/v3/kv/put", {"key": encode(f"set/{key}/{element}"), "value": ""})

    async def elements(self, key: Key) -> list[int]:
        """The elements of a set: one range over its prefix ("0" follows "/")."""
        body = {"key": encode(f"set/{key}/"), "range_end": encode(f"set/{key}0"), "keys_only": True}
        kvs = await self._range(body)
        try:
            return [int(decode(kv["key"]).rpartition("/")[2]) for kv in kvs]
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
                self.date = response.headers.get("Date", "")
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
                answer = answer.get("result", answer)  # that of a stream, of which one answer is asked
                answer["header"]["member_id"]
                return dict(answer)
            message = str(answer.get("error") or answer["message"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise await self._lost("garbled-answer") from error
        if message in self.DEFINITE:
            raise Refused(self.DEFINITE[message], message)
        if any(words in message for words in self.NEVER_SENT):
            raise Refused("not-serving", message)
        raise await self._lost(self.INDEFINITE.get(message, "unknown-error"), message)


def encode(text: str) -> str:
    """A key or a value as the JSON gateway takes it: base64."""
    return b64encode(text.encode()).decode()


def decode(text: str) -> str:
    """The text of a key or a value from the JSON gateway."""
    return b64decode(text).decode()


def _register(key: Key) -> str:
    return encode(f"register/{key}")


def _value(kvs: list[dict[str, str]]) -> int | None:
    """The value of the one key of a range; an empty value is left out of the JSON."""
    return int(decode(kvs[0]["value"])) if kvs else None
