"""What etcd has beyond registers and sets: transactions, and what is built of them.

etcd's transaction compares revisions and puts, all at one moment, and knows no steps in between. So a transaction that reads
before it writes is made of two: one reads all that it needs, and one puts if nothing of that has changed since. Where
something has, it was decided against for another's sake, and nobody tries again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from math import ceil
from typing import Any, NamedTuple

from splitbrain.harness.databases.etcd_client import EtcdClient, decode, encode
from splitbrain.harness.errors import Mismatch, Refused
from splitbrain.harness.history.micros import Micro
from splitbrain.harness.history.operation import Key
from splitbrain.harness.history.variant import Capability
from splitbrain.harness.load.client import QUIET


class _Held(NamedTuple):
    """What a key holds, and the revision that put it there, 0 where there is nothing."""

    value: Any
    revision: int


class EtcdStructures(EtcdClient):
    """Values are JSON: lists and registers of transactions `txn/KEY`, accounts `account/KEY`, counters `counter/KEY`. An
    element of a queue is the key `queue/KEY/ELEMENT`, and the revision that created it is its place. The revision of a put
    to `id/KEY` is an identifier that nobody else is given. A lock is the key `lock/KEY` on a lease, and its fence the revision
    that created it; what it guards is the register of the same key."""

    async def txn(self, micros: Sequence[Micro]) -> tuple[Micro, ...]:
        """One request where it only reads or reads nothing, else two, see above."""
        needed: dict[str, Any] = {}
        written: set[Key] = set()
        for f, key, _ in micros:
            if f != "w" and key not in written:
                needed[_name(key)] = None
            elif f == "w":
                written.add(key)
        held = await self._held(list(needed)) if needed else {}
        state = {name: one.value for name, one in held.items()}
        puts: dict[str, Any] = {}
        done: list[Micro] = []
        for f, key, value in micros:
            name = _name(key)
            if f == "append":
                value_now = state.get(name) or []
                if not isinstance(value_now, list):
                    raise await self._lost("garbled-answer")
                state[name] = puts[name] = [*value_now, value]
            elif f == "w":
                state[name] = puts[name] = value
            done.append((f, key, state[name] if f == "r" else value))
        if puts:
            await self._put_unless_changed(held, puts)
        return tuple(done)

    async def deposit(self, key: Key, amount: int) -> None:
        """Read the balance, and put the new one unless it has changed."""
        await self._add(f"account/{key}", amount)

    async def transfer(self, source: Key, target: Key, amount: int) -> None:
        """Read both balances, and put the new ones unless one has changed."""
        names = f"account/{source}", f"account/{target}"
        held = await self._held(names)
        balances = [await self._number(held[name]) for name in names]
        if balances[0] < amount:
            raise Mismatch(balances[0])
        await self._put_unless_changed(held, {names[0]: balances[0] - amount, names[1]: balances[1] + amount})

    async def balances(self, keys: Sequence[Key]) -> dict[Key, int]:
        """Read all accounts in one transaction."""
        held = await self._held([f"account/{key}" for key in keys])
        return {key: await self._number(held[f"account/{key}"]) for key in keys}

    async def increment(self, key: Key, amount: int) -> None:
        """Read the counter, and put the new number unless it has changed."""
        await self._add(f"counter/{key}", amount)

    async def count(self, key: Key) -> int:
        """Read the counter."""
        name = f"counter/{key}"
        return await self._number((await self._held([name]))[name])

    async def enqueue(self, key: Key, element: int) -> None:
        """Put the element's key, unless it waits already: its place is the revision that created it."""
        name = encode(f"queue/{key}/{element}")
        body = {"compare": [_unchanged(name, 0)], "success": [{"request_put": {"key": name, "value": ""}}]}
        if not (await self.call("/v3/kv/txn", body)).get("succeeded"):
            raise Mismatch

    async def dequeue(self, key: Key) -> int | None:
        """Read the first key, and delete it unless another has."""
        first = await self._waiting(key, limit=1)
        if not first:
            return None
        element, revision = first[0]
        name = encode(f"queue/{key}/{element}")
        delete = {"request_delete_range": {"key": name}}
        body = {"compare": [_unchanged(name, revision)], "success": [delete]}
        if not (await self.call("/v3/kv/txn", body)).get("succeeded"):
            raise Mismatch
        return element

    async def waiting(self, key: Key) -> list[int]:
        """One range over the queue's keys."""
        return [element for element, _ in await self._waiting(key)]

    async def next_id(self, key: Key) -> int:
        """Put, and take the revision of the put."""
        return await self._revision(await self.call("/v3/kv/put", {"key": encode(f"id/{key}"), "value": ""}))

    async def acquire(self, key: Key, owner: int, lease: float) -> int:
        """Look whether the lock is free, be granted a lease of whole seconds (of at least two, says the server), and put the
        lock's key on that lease unless somebody else has; the fence is the revision of the put. The look spares a lease, and is
        no member's own: whom only a stale copy refuses nobody has answered."""
        name = f"lock/{key}"
        held = (await self._held([name], own=False))[name]
        if held.value is not None:
            raise Mismatch(held.value)
        granted = await self.call("/v3/lease/grant", {"TTL": str(ceil(lease))})
        put = {"key": encode(name), "value": encode(json.dumps(owner)), "lease": granted.get("ID")}
        body = {"compare": [_unchanged(encode(name), 0)], "success": [{"request_put": put}]}
        answer = await self.call("/v3/kv/txn", body)
        if not answer.get("succeeded"):
            raise Mismatch
        return await self._revision(answer)

    async def renew(self, key: Key, owner: int, lease: float) -> None:
        """Read which lease the lock is on, and have the lease begin anew."""
        (kv,) = await self._range({"key": encode(f"lock/{key}")}) or [{}]
        try:
            holder, granted = json.loads(decode(kv["value"])) if kv else None, kv.get("lease")
            if holder != owner:
                raise Mismatch(holder)
            renewed = int((await self.call("/v3/lease/keepalive", {"ID": granted})).get("TTL", "0"))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise await self._lost("garbled-answer") from error
        if renewed <= 0:
            raise Mismatch

    async def release(self, key: Key, owner: int) -> None:
        """Delete the lock's key if it has that owner."""
        name = encode(f"lock/{key}")
        own = {"key": name, "target": "VALUE", "result": "EQUAL", "value": encode(json.dumps(owner))}
        body = {"compare": [own], "success": [{"request_delete_range": {"key": name}}]}
        if not (await self.call("/v3/kv/txn", body)).get("succeeded"):
            raise Mismatch

    async def holder(self, key: Key) -> int | None:
        """Read the lock's key."""
        name = f"lock/{key}"
        held = (await self._held([name]))[name]
        return None if held.value is None else await self._number(held)

    async def guarded_write(self, key: Key, value: int, fence: int) -> None:
        """Put the register if the lock's key is the one that this revision created."""
        lock = {"key": encode(f"lock/{key}"), "target": "CREATE", "result": "EQUAL", "create_revision": str(fence)}
        put = {"request_put": {"key": encode(f"register/{key}"), "value": encode(str(value))}}
        if not (await self.call("/v3/kv/txn", {"compare": [lock], "success": [put]})).get("succeeded"):
            raise Mismatch

    async def watch(self, key: Key, since: int) -> list[tuple[int, int]]:
        """A watch of the register's key, from that revision on until it has told what there was when it was asked; where that
        was nothing new, until something is told, or it is quiet."""
        name = encode(f"register/{key}")
        kvs = await self._range({"key": name, "keys_only": True})
        told: list[tuple[int, int]] = []
        try:
            latest = max([since, *(int(kv["mod_revision"]) for kv in kvs)])
            async with aclosing(self._events(name, since + 1)) as events, asyncio.timeout(None if latest > since else QUIET):
                while not told or told[-1][0] < latest:
                    changes = await anext(events)
                    if any(change.get("type") == "DELETE" for change in changes):
                        raise await self._lost("deleted", _DELETED)
                    changed = [change["kv"] for change in changes]
                    told += [(int(kv["mod_revision"]), int(decode(kv["value"]))) for kv in changed]
        except TimeoutError:
            pass  # Nothing has changed.
        except (KeyError, TypeError, AttributeError, ValueError, StopAsyncIteration) as error:
            raise await self._lost("garbled-answer") from error
        return told

    async def _events(self, name: str, start: int) -> AsyncGenerator[list[dict[str, Any]], None]:
        """The events of a watch, as many at a time as the member tells at once."""
        import aiohttp

        if self.closed:
            raise Refused("no-connection")
        body = {"create_request": {"key": name, "start_revision": str(start)}}
        try:
            async with self._session.post(self._url + "/v3/watch", data=json.dumps(body), allow_redirects=False) as response:
                async for line in response.content:
                    yield json.loads(line)["result"].get("events", [])
        except aiohttp.ClientConnectorError as error:
            raise Refused("no-connection") from error
        except (aiohttp.ClientError, OSError) as error:
            raise await self._lost("connection-lost") from error

    async def _revision(self, answer: Mapping[str, Any]) -> int:
        try:
            return int(answer["header"]["revision"])
        except (KeyError, TypeError, ValueError) as error:
            raise await self._lost("garbled-answer") from error

    async def _add(self, name: str, amount: int) -> None:
        held = await self._held([name])
        await self._put_unless_changed(held, {name: await self._number(held[name]) + amount})

    async def _held(self, names: Sequence[str], *, own: bool = True) -> dict[str, _Held]:
        """What these keys hold, all at one moment: one transaction of ranges, of the member's `own` copy where reads may be."""
        serializable = self._serializable and own
        ranges = [{"request_range": {"key": encode(name), "serializable": serializable}} for name in names]
        answer = await self.call("/v3/kv/txn", {"success": ranges})
        try:
            found = [response["response_range"].get("kvs", []) for response in answer["responses"]]
            held = [_Held(json.loads(decode(kvs[0]["value"])), int(kvs[0]["mod_revision"])) if kvs else _Held(None, 0)
                    for kvs in found]
            return dict(zip(names, held, strict=True))
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            raise await self._lost("garbled-answer") from error

    async def _put_unless_changed(self, held: Mapping[str, _Held], puts: Mapping[str, Any]) -> None:
        """Put these values if every key that was read is still of the revision that was read; else `Mismatch`."""
        compared = [_unchanged(encode(name), one.revision) for name, one in held.items()]
        put = [{"request_put": {"key": encode(name), "value": encode(json.dumps(value))}} for name, value in puts.items()]
        if not (await self.call("/v3/kv/txn", {"compare": compared, "success": put})).get("succeeded"):
            raise Mismatch

    async def _waiting(self, key: Key, *, limit: int = 0) -> list[tuple[int, int]]:
        """The elements of a queue with the revisions that created them, in their order."""
        body = {"key": encode(f"queue/{key}/"), "range_end": encode(f"queue/{key}0"), "keys_only": True, "limit": str(limit),
                "sort_target": "CREATE", "sort_order": "ASCEND"}
        kvs = await self._range(body)
        try:
            return [(int(decode(kv["key"]).rpartition("/")[2]), int(kv["create_revision"])) for kv in kvs]
        except (KeyError, TypeError, ValueError) as error:
            raise await self._lost("garbled-answer") from error

    async def _number(self, held: _Held) -> int:
        if held.value is None:
            return 0
        if type(held.value) is not int:
            raise await self._lost("garbled-answer")
        return held.value


_DELETED = "the key was deleted before: a watch is told of it until etcd is compacted (etcdctl compaction)"


class GuardedSets(EtcdStructures):
    """An element is added if every element of its set is as it was added: a comparison of a whole range, which takes a member
    the longer, the more elements there are."""

    async def add(self, key: Key, element: int) -> None:
        """A transaction that compares the versions of all elements of the set, and puts the element's own key."""
        intact = {"key": encode(f"set/{key}/"), "range_end": encode(f"set/{key}0"), "target": "VERSION", "result": "LESS",
                  "version": "2"}
        put = {"request_put": {"key": encode(f"set/{key}/{element}"), "value": ""}}
        if not (await self.call("/v3/kv/txn", {"compare": [intact], "success": [put]})).get("succeeded"):
            raise Mismatch


def kinds(needs: Collection[Capability]) -> list[str]:
    """How the names begin that these capabilities write, up to the slash before the key."""
    return sorted({kind for need in needs for kind in _KINDS[need]})


def written(needs: Collection[Capability], keys: Collection[Key]) -> list[tuple[str, str]]:
    """What these capabilities write under these keys, and what asks whether members serve: the first name of each range, and
    the first one behind it, empty where it is one name."""
    ranges = [("splitbrain-ready/", "splitbrain-ready0"), ("register/splitbrain-ready/", "register/splitbrain-ready0")]
    for need in needs:
        for name in (f"{kind}/{key}" for kind in _KINDS[need] for key in keys):
            ranges.append((f"{name}/", f"{name}0") if need in ("sets", "queues") else (name, ""))
    return ranges


_KINDS: dict[Capability, tuple[str, ...]] = {
    "registers": ("register",), "compare-and-set": ("register",), "watches": ("register",), "sets": ("set",),
    "queues": ("queue",), "counters": ("counter",), "ids": ("id",), "locks": ("lock",), "fences": ("register", "lock"),
    "accounts": ("account",), "transactions": ("txn",),
}


def _name(key: Key) -> str:
    return f"txn/{key}"


def _unchanged(name: str, revision: int) -> dict[str, Any]:
    """That the key (encoded) was last put by that revision; 0: that there is none."""
    return {"key": name, "target": "MOD", "result": "EQUAL", "mod_revision": str(revision)}
