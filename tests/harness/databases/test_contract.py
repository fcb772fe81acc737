"""What every client owes the history, shown against servers that hang up, talk nonsense, refuse, or never answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bson
import pytest

from splitbrain.harness.databases.cassandra import Cassandra
from splitbrain.harness.databases.cassandra_client import ALL, ONE, QUORUM, SERIAL, CassandraClient
from splitbrain.harness.databases.database import Database
from splitbrain.harness.databases.etcd import Etcd
from splitbrain.harness.databases.etcd_client import EtcdClient
from splitbrain.harness.databases.mongodb import MongoDB
from splitbrain.harness.databases.mongodb_client import MongoClient
from splitbrain.harness.databases.redis import Redis
from splitbrain.harness.databases.redis_client import RedisClient
from splitbrain.harness.databases.reference.client import ReferenceClient
from splitbrain.harness.databases.reference.database import Reference
from splitbrain.harness.errors import Indeterminate, Mismatch, Refused
from splitbrain.harness.history.variant import Capability
from splitbrain.harness.plan import Plan
from tests.harness.databases.loopback import LoopbackNode
from tests.harness.databases.scripted import (
    HANG_UP,
    SILENCE,
    Scripted,
    Wire,
    cql,
    cql_error,
    cql_rows,
    http,
    number_op_msg,
    op_msg,
    scripted,
    split_cql,
    split_http,
    split_lines,
    split_op_msg,
    split_resp,
)

NUMBER = 77

CALLS: dict[str, Callable[[Any], Coroutine[Any, Any, Any]]] = {
    "read": lambda client: client.read(1),
    "write": lambda client: client.write(1, 5),
    "cas": lambda client: client.cas(1, 4, 5),
    "cas-from-nothing": lambda client: client.cas(1, None, 5),
    "add": lambda client: client.add(1, 5),
    "elements": lambda client: client.elements(1),
}

MORE: dict[Capability, dict[str, Callable[[Any], Coroutine[Any, Any, Any]]]] = {
    "counters": {"increment": lambda client: client.increment(1, 5), "count": lambda client: client.count(1)},
    "queues": {
        "enqueue": lambda client: client.enqueue(1, 5),
        "dequeue": lambda client: client.dequeue(1),
        "waiting": lambda client: client.waiting(1),
    },
    "ids": {"next_id": lambda client: client.next_id(1)},
    "accounts": {
        "deposit": lambda client: client.deposit(1, 5),
        "transfer": lambda client: client.transfer(1, 2, 5),
        "balances": lambda client: client.balances([1, 2]),
    },
    "transactions": {
        "txn-read": lambda client: client.txn([("r", 1, None)]),
        "txn-append": lambda client: client.txn([("r", 1, None), ("append", 1, 5)]),
        "txn-write": lambda client: client.txn([("w", 1, 5)]),
    },
    "locks": {
        "acquire": lambda client: client.acquire(1, 7, 2),
        "renew": lambda client: client.renew(1, 7, 2),
        "release": lambda client: client.release(1, 7),
        "holder": lambda client: client.holder(1),
    },
    "fences": {"guarded_write": lambda client: client.guarded_write(1, 5, 3)},
}
"""What not every database has; the first request of a call that makes several is the one that fails."""

CALLS |= {name: call for calls in MORE.values() for name, call in calls.items()}


@dataclass
class Kind:
    """A database, its wire, and what it may be answered: nonsense, refusals (answer → reason), indefinite errors."""

    database: type[Database]
    wire: Wire
    garbage: tuple[bytes, ...]
    refusals: dict[bytes, str]
    indefinite: tuple[bytes, ...]


HEADER = '{"header":{"member_id":"1"}'


def _etcd_error(message: str) -> str:
    return f'{{"error":"{message}","message":"{message}","code":14}}'


ETCD = Kind(
    database=Etcd,
    wire=Wire(split_http, lambda request: http(200, '{"etcdserver":"0"}') if request.startswith(b"GET /version") else None),
    garbage=(
        b"hello\r\n\r\n" + HANG_UP,
        http(200, "hello"),
        http(200, "[]"),
        http(200, "{}"),
        http(200, "null"),
        http(500, "hello"),
        http(500, "{}"),
        http(200, HEADER + "}")[:-3] + HANG_UP,
        http(307, "", headers="Location: /v3/kv/put\r\n"),
        http(200, HEADER + ',"kvs":7,"responses":7}')[:-9] + HANG_UP,
    ),
    refusals={http(503, _etcd_error(message)): reason for message, reason in EtcdClient.DEFINITE.items()}
    | {
        # grpc-gateway 2 (etcd 3.6) has no "error"
        http(503, '{"code":14,"message":"etcdserver: no leader","details":[]}'): "no-leader",
        http(
            503,
            _etcd_error("connection error: desc = 'transport: Error while dialing dial tcp: connect: connection refused'"),
        ): "not-serving",
    },
    indefinite=(
        *(http(503, _etcd_error(message)) for message in EtcdClient.INDEFINITE),
        http(503, _etcd_error("transport is closing")),
        http(503, _etcd_error("error reading from server: EOF")),
        http(500, _etcd_error("anything new")),
    ),
)


def _redis_greet(request: bytes) -> bytes | None:
    if request.startswith(b"CLIENT SETINFO"):
        return b"+OK\r\n"
    return b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n" if request == b"ROLE" else None


REDIS = Kind(
    database=Redis,
    wire=Wire(split_resp, _redis_greet),
    garbage=(b"hello\r\n", b"+WHAT\r\n", b"$5\r\nhel" + HANG_UP, b"*2\r\n$1\r\na\r\n:" + HANG_UP, b"$abc\r\n", b"\r\n\r\n"),
    refusals={f"-{word} 3999 127.0.0.1:6381\r\n".encode(): reason for word, reason in RedisClient.DEFINITE.items()}
    | {
        b"-READONLY You can't write against a read only replica. script: x, on @user_script:1.\r\n": "read-only",
        b"-LOADING Redis is loading the dataset in memory\r\n": "loading",
        b"-MOVED 3999 127.0.0.1:6381\r\n": "moved",
        b"-CLUSTERDOWN Hash slot not served\r\n": "cluster-down",
    },
    indefinite=(b"-ERR anything new\r\n", b"-UNKNOWN word\r\n"),
)

def _reference_refusal(word: str, *, definite: str = "true") -> bytes:
    return f'{{"id": 1, "error": "{word}", "definite": {definite}}}\n'.encode()


REFERENCE = Kind(
    database=Reference,
    wire=Wire(split_lines, lambda request: None),
    garbage=(
        b"hello\n",
        b"[]\n",
        b"null\n",
        b"{}\n",
        b"[" * 100_000 + b"\n",
        b'{"id": 1}\n',
        b'{"id": 1, "ok": 1, "value": 5, "elements": [5]}\n',
        b'{"id": 2, "ok": true, "value": 5, "elements": [5]}\n',
        b'{"id": null, "ok": true, "value": 5, "elements": [5]}\n',
        b'{"id": 1, "ok": true, "value": 5, "elements": [5]}',
        b'{"id": 1, "error": "no-quorum"}\n',
        b'{"id": null, "error": "bad-request", "definite": true}\n',
    ),
    refusals={_reference_refusal(word): word for word, definite in ReferenceClient.ERRORS.items() if definite},
    indefinite=(
        *(_reference_refusal(word, definite="false") for word in ReferenceClient.ERRORS),
        *(_reference_refusal(word) for word, definite in ReferenceClient.ERRORS.items() if not definite),
        _reference_refusal("anything-new"),
    ),
)

_CURSOR = {"id": 0, "ns": "splitbrain.registers", "firstBatch": [{"_id": 1, "value": 5, "elements": [5]}]}
_DONE: dict[str, Any] = {"n": 1, "value": {"_id": 1, "value": 4}, "cursor": _CURSOR}


def _command_failed(code: int, **more: object) -> bytes:
    return op_msg({"ok": 0.0, "errmsg": "as the script says", "code": code, "codeName": "Scripted", **more})


def _update_failed(code: int) -> bytes:
    return op_msg({"ok": 1.0, "n": 0, "writeErrors": [{"index": 0, "code": code, "errmsg": "as the script says"}]})


MONGODB = Kind(
    database=MongoDB,
    wire=Wire(split_op_msg, lambda request: op_msg({"ok": 1.0}) if b"hello" in request else None, number_op_msg),
    garbage=(
        b"hello, this is no server of documents",
        op_msg({}),
        op_msg({"ok": 1.0}),
        op_msg({"ok": 2.0, **_DONE}),
        op_msg({"ok": "1", **_DONE}),
        op_msg({"ok": 1.0, **_DONE}, responds=99),
        op_msg({"ok": 1.0, **_DONE}, code=1),
        op_msg({"ok": 1.0, **_DONE})[:-4],
        op_msg({"ok": 1.0, **_DONE})[:16] + b"\1" + op_msg({"ok": 1.0, **_DONE})[17:],
        op_msg({"ok": 1.0, "n": 2, "value": 7, "cursor": 7}),
        op_msg({"ok": 1.0, "n": "1", "value": {"_id": 1}, "cursor": {"firstBatch": [{"_id": 1}]}}),
        op_msg({"ok": 1.0, "value": {"value": "4"}, "cursor": {"firstBatch": [{"_id": 2, "value": 5, "elements": [5]}]}}),
        op_msg({"ok": 1.0, "value": [], "cursor": {"firstBatch": [{"_id": 1, "value": "5", "elements": ["5"]}]}}),
    ),
    refusals={_command_failed(code): reason for code, reason in MongoClient.DEFINITE.items()},
    indefinite=(
        *(_command_failed(code) for code in MongoClient.INDEFINITE),
        *(_command_failed(code, writeConcernError={"code": 64}) for code in MongoClient.DEFINITE),
        _command_failed(123456),
        op_msg({"ok": 0.0, "errmsg": "no code"}),
        op_msg({"ok": 1.0, "writeErrors": [{"index": 0, "code": 123456}], "n": 0}),
    ),
)

VOID = cql(8, b"\0\0\0\1")

CASSANDRA = Kind(
    database=Cassandra,
    wire=Wire(split_cql, lambda request: cql(2, b"") if request[4] == 1 else None),
    garbage=(
        b"hello, this is no server of rows",
        cql(2, b""),
        cql(8, b""),
        cql(8, b"\0\0\0\2"),
        cql(8, b"\0\0\0\3\0\5hello"),
        cql(0, b""),
        cql(99, b"hello"),
        cql(8, b"\0\0\0\1", stream=1),
        cql(8, b"\0\0\0\1", version=0x85),
        cql(8, b"\0\0\0\1")[:-1],
        cql_rows({"value": 13}, [b"hello"]),
        cql_rows({"value": 2}, [b"hello"]),
        cql_rows({"value": 2, "more": 2}, [bytes(8), bytes(8)]),
        cql_rows({"[applied]": 13, "value": 2}, [b"true", bytes(8)]),
    ),
    # Unavailable is another matter, see below.
    refusals={cql_error(code): reason for code, reason in CassandraClient.DEFINITE.items() if code != 0x1000},
    indefinite=(*(cql_error(code) for code in CassandraClient.INDEFINITE), cql_error(0x1700), cql_error(0x2500)),
)

ALL_KINDS = [ETCD, REDIS, REFERENCE, MONGODB, CASSANDRA]
KINDS = pytest.mark.parametrize("kind", ALL_KINDS, ids=lambda kind: kind.database.name)


def _methods(kind: Kind) -> list[str]:
    """The calls that a database's default variant has; a MULTI of Redis, which is several requests at once, apart."""
    lacking = {name for capability, calls in MORE.items() if capability not in kind.database.variants[0].offers
               for name in calls}
    together = {"txn-read", "txn-append", "txn-write"} if kind is REDIS else set()
    return [name for name in CALLS if name not in lacking | together]


METHODS_OF_KINDS = pytest.mark.parametrize(
    ("kind", "method"),
    [pytest.param(kind, name, id=f"{name}-{kind.database.name}") for kind in ALL_KINDS for name in _methods(kind)],
)


@asynccontextmanager
async def _connected(
    kind: Kind, root: Path, *answers: bytes, variant: str = "", number: int = NUMBER
) -> AsyncIterator[tuple[Any, Scripted]]:
    node = LoopbackNode(number, root)
    plan = Plan(database=kind.database.name, variant=variant or kind.database.variants[0].name, nodes=1)
    database = kind.database(plan, [node])
    async with scripted(kind.wire, node.address, kind.database.port, *answers) as script:
        client = await database.connect(node)
        try:
            yield client, script
        finally:
            await client.close()


async def _each(
    kind: Kind, root: Path, answers: Iterable[bytes], told: Callable[[Any, Scripted, bytes], Coroutine[Any, Any, None]]
) -> None:
    """What is told by a client of a server that gives that answer, for each answer."""

    async def one(number: int, answer: bytes) -> None:
        async with _connected(kind, root / str(number), answer, number=number) as (client, script):
            await told(client, script, answer)

    await _together(one(number, answer) for number, answer in enumerate(answers, 1))


async def _every_call(
    kind: Kind, root: Path, told: Callable[[Any, Scripted, str], Coroutine[Any, Any, None]], *answers: bytes
) -> None:
    """The same for each of its calls, whose servers give all of the answers in turn."""

    async def one(number: int, method: str) -> None:
        async with _connected(kind, root / method, *answers, number=number) as (client, script):
            await told(client, script, method)

    await _together(one(number, method) for number, method in enumerate(_methods(kind), 1))


async def _together(tests: Iterable[Coroutine[Any, Any, None]]) -> None:
    """All at once, since they mostly wait."""
    async with asyncio.TaskGroup() as group:
        for test in tests:
            group.create_task(test)


async def _quiet() -> None:
    """Long enough for a retry to show itself: a first back-off is a few milliseconds, and aiohttp's retry has none."""
    await asyncio.sleep(0.1)


@KINDS
async def test_one_invocation_sends_one_request_and_a_hang_up_decides_nothing(kind: Kind, tmp_path: Path) -> None:
    async def told(client: Any, script: Scripted, method: str) -> None:
        with pytest.raises(Indeterminate):
            await CALLS[method](client)
        await _quiet()
        assert len(script.requests) == 1, method

    await _every_call(kind, tmp_path, told, HANG_UP)


@KINDS
async def test_a_hang_up_on_a_connection_that_worked_before_is_not_repeated(kind: Kind, tmp_path: Path) -> None:
    async def told(client: Any, script: Scripted, method: str) -> None:
        with pytest.raises(Refused):
            await CALLS[method](client)
        with pytest.raises(Indeterminate):
            await CALLS[method](client)
        await _quiet()
        assert len(script.requests) == 2, method

    await _every_call(kind, tmp_path, told, list(kind.refusals)[1], HANG_UP)


async def test_a_connection_that_the_server_gave_up_is_not_opened_again(tmp_path: Path) -> None:
    async def told(client: Any, script: Scripted, method: str) -> None:
        with pytest.raises(Refused):
            await CALLS[method](client)
        with pytest.raises(Indeterminate):
            await CALLS[method](client)
        await _quiet()
        assert len(script.requests) == 1, method

    await _every_call(REDIS, tmp_path, told, b"-LOADING Redis is loading the dataset in memory\r\n" + HANG_UP)


@METHODS_OF_KINDS
async def test_nonsense_is_never_an_answer(kind: Kind, method: str, tmp_path: Path) -> None:
    async def told(client: Any, script: Scripted, garbage: bytes) -> None:
        with pytest.raises(Indeterminate):
            print(garbage, await CALLS[method](client))
        await _quiet()
        assert len(script.requests) == 1, garbage

    await _each(kind, tmp_path, (garbage + HANG_UP for garbage in kind.garbage), told)


@METHODS_OF_KINDS
async def test_the_table_of_refusals(kind: Kind, method: str, tmp_path: Path) -> None:
    async def told(client: Any, script: Scripted, answer: bytes) -> None:
        with pytest.raises(Refused) as refused:
            await CALLS[method](client)
        assert refused.value.reason == kind.refusals[answer]
        assert not isinstance(refused.value, Mismatch)
        assert len(script.requests) == 1

    await _each(kind, tmp_path, kind.refusals, told)


@METHODS_OF_KINDS
async def test_any_other_error_is_indeterminate(kind: Kind, method: str, tmp_path: Path) -> None:
    async def told(client: Any, script: Scripted, answer: bytes) -> None:
        with pytest.raises(Indeterminate) as lost:
            await CALLS[method](client)
        assert lost.value.reason != "unknown-error" or lost.value.detail, "what nobody knows is not lost"
        assert len(script.requests) == 1

    await _each(kind, tmp_path, kind.indefinite, told)


@KINDS
async def test_cancellation_closes_the_connection_and_sends_nothing_more(kind: Kind, tmp_path: Path) -> None:
    async def told(client: Any, script: Scripted, method: str) -> None:
        call = asyncio.ensure_future(CALLS[method](client))
        async with asyncio.timeout(60):
            while not script.requests:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.02)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            while not script.ended:
                await asyncio.sleep(0.01)
        await _quiet()
        assert script.ended == 1, method
        with pytest.raises(Refused):
            await CALLS[method](client)
        assert len(script.requests) == 1, method

    await _every_call(kind, tmp_path, told, SILENCE)


@KINDS
async def test_no_server_is_a_refusal(kind: Kind, tmp_path: Path) -> None:
    node = LoopbackNode(NUMBER, tmp_path)
    plan = Plan(database=kind.database.name, variant=kind.database.variants[0].name, nodes=1)
    database = kind.database(plan, [node])
    with pytest.raises(Refused):
        await database.connect(node)
    with pytest.raises(Refused):
        await database.local(node)
    assert await database.primary(node) is None
    assert not await database.ready()
    await database.close()


@KINDS
def test_every_variant_says_where_its_claim_is_from(kind: Kind) -> None:
    for variant in kind.database.variants:
        assert ("reference/server," if kind is REFERENCE else "https://") in variant.claim.source
        assert all(label.source for label in variant.labels)


async def test_redis_a_transaction_is_sent_as_one_and_decided_as_one(tmp_path: Path) -> None:
    queued, aborted = b"+QUEUED\r\n", b"-EXECABORT Transaction discarded because of previous errors.\r\n"
    read_only = b"-READONLY You can't write against a read only replica.\r\n"
    done = b"*2\r\n:1\r\n+OK\r\n"
    micros = [("append", 1, 5), ("w", 2, 6)]
    decided: tuple[tuple[type[Exception], str, tuple[bytes, ...]], ...] = (
        (Refused, "read-only", (b"+OK\r\n", read_only, read_only, aborted)),
        (Refused, "no-replicas", (b"+OK\r\n", queued, queued, b"-NOREPLICAS Not enough good replicas to write.\r\n")),
        (Mismatch, "mismatch", (b"+OK\r\n", queued, queued, b"*-1\r\n")),
        (Indeterminate, "garbled-answer", (b"-ERR no MULTI\r\n", b":1\r\n", b"+OK\r\n", b"-ERR EXEC without MULTI\r\n")),
        (Indeterminate, "garbled-answer", (b"-LOADING for now\r\n", b":1\r\n", b"+OK\r\n", b"-ERR no MULTI\r\n")),
        (Indeterminate, "garbled-answer", (b"+OK\r\n", queued, queued, b"*2\r\n:1\r\n-WRONGTYPE of a key\r\n")),
        (Indeterminate, "garbled-answer", (b"+OK\r\n", queued, queued, b"*1\r\n:1\r\n")),
        (Indeterminate, "unknown-error", (b"+OK\r\n", queued, queued, b"-ERR anything new\r\n")),
        (Indeterminate, "connection-lost", (b"+OK\r\n", queued, queued, HANG_UP)),
        (Indeterminate, "connection-lost", (HANG_UP,)),
    )
    for number, (kind, reason, answers) in enumerate(decided):
        async with _connected(REDIS, tmp_path / str(number), *answers) as (client, script):
            with pytest.raises((Refused, Indeterminate)) as raised:
                await client.txn(micros)
            assert (type(raised.value), raised.value.reason) == (kind, reason), answers
            await _quiet()
            assert len(script.requests) == len(answers)
    async with _connected(REDIS, tmp_path / "done", b"+OK\r\n", queued, queued, done) as (client, script):
        assert await client.txn(micros) == tuple(micros)
        assert script.requests == [b"MULTI", b"RPUSH list:{None}:1 5", b"SET register:{None}:2 6", b"EXEC"]


async def test_mongodb_a_transaction_is_undone_as_long_as_its_commit_was_not_sent(tmp_path: Path) -> None:
    def failed(code: int, *labels: str) -> bytes:
        return op_msg({"ok": 0.0, "errmsg": "as the script says", "code": code, "errorLabels": list(labels)})

    done, transient = op_msg({"ok": 1.0, "n": 1}), "TransientTransactionError"
    for number, (kind, answers) in enumerate((
        (Mismatch, (failed(112, transient),)),
        (Mismatch, (done, failed(112, transient))),
        (Mismatch, (done, done, failed(251, transient))),
        (Refused, (done, failed(10107, transient))),
        (Indeterminate, (done, failed(112))),
        (Indeterminate, (done, done, failed(11602))),
        (Indeterminate, (done, done, op_msg({"ok": 1.0, "writeConcernError": {"code": 64}}))),
        (Indeterminate, (done, done, HANG_UP)),
        (Indeterminate, (done, HANG_UP)),
    )):
        async with _connected(MONGODB, tmp_path / str(number), *answers, variant="transactions") as (client, script):
            with pytest.raises((Refused, Indeterminate)) as raised:
                await client.txn([("append", 1, 5), ("w", 2, 6)])
            assert type(raised.value) is kind, answers
            await _quiet()
            assert len(script.requests) == len(answers)
    async with _connected(MONGODB, tmp_path / "done", done, variant="transactions") as (client, script):
        assert await client.txn([("append", 1, 5), ("w", 2, 6)]) == (("append", 1, 5), ("w", 2, 6))
        first, second, last = [bson.decode(request[21:]) for request in script.requests]
        assert (first["startTransaction"], first["readConcern"]) == (True, {"level": "snapshot"})
        assert not {"startTransaction", "readConcern", "writeConcern"} & second.keys()
        assert (last["commitTransaction"], last["$db"], last["writeConcern"]) == (1, "admin", {"w": "majority"})
        assert len({(step["lsid"]["id"], step["txnNumber"], step["autocommit"]) for step in (first, second, last)}) == 1


async def test_mongodb_a_write_whose_concern_failed_was_done_all_the_same(tmp_path: Path) -> None:
    for code in (64, 10107, 11602):
        failed = op_msg({"ok": 1.0, **_DONE, "writeConcernError": {"code": code, "errmsg": "waiting timed out"}})
        for method in ("write", "cas", "add"):
            async with _connected(MONGODB, tmp_path / f"{method}{code}", failed) as (client, script):
                with pytest.raises(Indeterminate) as lost:
                    await CALLS[method](client)
                assert (lost.value.reason, len(script.requests)) == ("write-concern", 1)


async def test_mongodb_an_update_that_failed_is_as_definite_as_its_code(tmp_path: Path) -> None:
    for code, reason in MongoClient.DEFINITE.items():
        async with _connected(MONGODB, tmp_path / str(code), _update_failed(code)) as (client, _):
            with pytest.raises(Refused) as refused:
                await client.add(1, 5)
            assert refused.value.reason == reason


async def test_cassandra_an_error_that_is_not_known_keeps_its_text(tmp_path: Path) -> None:
    async with _connected(CASSANDRA, tmp_path, cql_error(0x1777)) as (client, _):
        with pytest.raises(Indeterminate) as lost:
            await client.read(1)
        assert lost.value.reason == "unknown-error" and lost.value.detail == "as the (code 0x1777)"


async def test_cassandra_is_unavailable_for_certain_where_nothing_came_before(tmp_path: Path) -> None:
    for method in ("read", "write", "cas", "cas-from-nothing", "add", "elements"):
        conditional = method.startswith("cas")
        for consistency in (ONE, QUORUM, ALL, SERIAL):
            script = cql_error(0x1000, consistency)
            async with _connected(CASSANDRA, tmp_path / f"{method}{consistency}", script) as (client, _):
                certain = consistency == (SERIAL if conditional else ONE)
                with pytest.raises(Refused if certain else Indeterminate, match=r"^unavailable$"):
                    await CALLS[method](client)


async def test_cassandra_tells_what_a_transaction_saw_unless_it_may_have_been_its_own_write(tmp_path: Path) -> None:
    def seen(value: bytes | None) -> bytes:
        return cql_rows({"[applied]": 4, "value": 2}, [b"\0", value])

    for answer, told in ((seen((7).to_bytes(8, "big")), 7), (seen(None), None), (cql_rows({"[applied]": 4}, [b"\0"]), None)):
        async with _connected(CASSANDRA, tmp_path / f"{told}{len(answer)}", answer) as (client, _):
            with pytest.raises(Mismatch) as mismatch:
                await client.cas(1, 4, 5)
            assert mismatch.value.seen == (told,)
    async with _connected(CASSANDRA, tmp_path / "own", seen((5).to_bytes(8, "big"))) as (client, _):
        with pytest.raises(Indeterminate):
            await client.cas(1, 4, 5)
    async with _connected(CASSANDRA, tmp_path / "applied", cql_rows({"[applied]": 4}, [b"\1"])) as (client, script):
        await client.cas(1, 4, 5)
        assert len(script.requests) == 1


async def test_cassandra_nonsense_is_no_answer_about_a_queue_or_a_lock_either(tmp_path: Path) -> None:
    for capability in ("queues", "locks", "fences"):
        for method, call in MORE[capability].items():
            for number, garbage in enumerate(CASSANDRA.garbage):
                place = tmp_path / f"{method}{number}"
                async with _connected(CASSANDRA, place, garbage + HANG_UP, variant="serial") as (client, script):
                    with pytest.raises(Indeterminate):
                        print(garbage, await call(client))
                    assert len(script.requests) == 1, garbage


async def test_cassandra_a_lock_or_a_place_that_another_took_is_refused_unless_it_may_have_been_by_this_call(
    tmp_path: Path
) -> None:
    def against(column: str, value: int) -> bytes:
        return cql_rows({"[applied]": 4, column: 2}, [b"\0", value.to_bytes(8, "big")])

    free = cql_rows({"owner": 2, "fence": 2}, [None, (3).to_bytes(8, "big")])
    for holder, raised in ((8, Mismatch), (7, Indeterminate)):
        answers = free, against("owner", holder)
        async with _connected(CASSANDRA, tmp_path / f"{holder}", *answers, variant="serial") as (client, script):
            with pytest.raises(raised):
                await client.acquire(1, 7, 2)
            assert len(script.requests) == 2
    async with _connected(CASSANDRA, tmp_path / "place", cql_rows({"last": 2}), against("last", 9), variant="serial") as (
        client, script
    ):
        with pytest.raises(Mismatch):
            await client.enqueue(1, 5)
        assert len(script.requests) == 2
    async with _connected(CASSANDRA, tmp_path / "held", cql_rows({"owner": 2, "fence": 2}, [bytes(8), bytes(8)]),
                          variant="serial") as (client, script):
        with pytest.raises(Mismatch):
            await client.acquire(1, 7, 2)
        assert len(script.requests) == 1
