"""Of a server that died its log's line that says why is told, as real servers write it."""

from __future__ import annotations

from pathlib import Path

import pytest

from splitbrain.harness.databases.cassandra import Cassandra
from splitbrain.harness.databases.database import Database
from splitbrain.harness.databases.etcd import Etcd
from splitbrain.harness.databases.mongodb import MongoDB
from splitbrain.harness.databases.redis import Redis
from splitbrain.harness.databases.reference.database import Reference
from splitbrain.harness.last_words import END, last_words

STACK = ["goroutine 112 [running]:", *(f"\t/root/go/src/backend.go:{line} +0x3db" for line in range(60))]
DEATHS: list[tuple[type[Database], list[str], str, list[str]]] = [
    (Etcd, ['{"level":"info","ts":"2026-11-30T16:27:05.314Z","caller":"embed/etcd.go:307","msg":"starting an etcd server"}'],
     '{"level":"panic","ts":"2026-11-30T16:27:05.331Z","caller":"backend/backend.go:182","msg":"failed to open database"}',
     ["panic: failed to open database", "", *STACK]),
    (Etcd, ["2026-11-30 16:26:55.960468 I | embed: initial cluster = "],
     "2026-11-30 16:26:55.961423 C | mvcc/backend: cannot open database at ed/member/snap/db (invalid database)",
     ["panic: cannot open database at ed/member/snap/db (invalid database)", "", *STACK]),
    (Etcd, ["raft2026/11/28 17:54:40 INFO: replace the unstable entries from index 42"],
     "fatal error: concurrent map writes", ["", *STACK]),
    (Redis, ["5:M 30 Nov 2026 16:26:48.439 * Ready to accept connections", "", "",
             "=== REDIS BUG REPORT START: Cut & paste starting from here ==="],
     "5:M 30 Nov 2026 16:26:49.437 # Redis 7.0.15 crashed by signal: 11, si_code: 0",
     ["5:M 30 Nov 2026 16:26:49.437 # Accessing address: 0x6375", *(f"redis-server(+0x{at:x})" for at in range(300))]),
    (Redis, [], "*** FATAL CONFIG FILE ERROR (Redis 7.0.15) ***", ["Reading the configuration file, at line 3"]),
    (MongoDB, ['{"t":{"$date":"2026-11-30T16:27:14.887+00:00"},"s":"I",  "c":"NETWORK",  "id":22944}'],
     '{"t":{"$date":"2026-11-30T16:27:14.887+00:00"},"s":"F",  "c":"CONTROL",  "id":6384300, "msg":"Writing fatal message"}',
     ['{"t":{"$date":"2026-11-30T16:27:15.506+00:00"},"s":"I",  "c":"CONTROL",  "id":31445, "msg":"Frame"}'] * 30),
    (MongoDB, [],
     '{"t":{"$date":"2026-11-30T16:27:17.342+00:00"},"s":"E",  "c":"CONTROL",  "id":20557, "msg":"DBException in '
     'initAndListen, terminating","attr":{"error":"NonExistentPath: Data directory /nonexistent not found."}}',
     ['{"t":{"$date":"2026-11-30T16:27:17.342+00:00"},"s":"I",  "c":"CONTROL",  "id":23138, "msg":"Shutting down"}'] * 12),
    (Cassandra, ["INFO  2026-11-28 18:17:43,597 Gossiper.java:2321 - No gossip backlog; proceeding"],
     "Exception (java.lang.RuntimeException) encountered during startup: Unable to gossip with any peers",
     [f"\tat org.apache.cassandra.service.StorageService.method{line}(StorageService.java:5)" for line in range(40)]),
    (Cassandra, [], "# A fatal error has been detected by the Java Runtime Environment:", ["#"] * 9),
    (Reference, ["1795888480.909 n1 lost n2", "Traceback (most recent call last):", "  File \"server.py\", line 3, in run"],
     "OSError: [Errno 28] No space left on device", []),
]


@pytest.mark.parametrize(("database", "before", "why", "after"), DEATHS)
def test_the_line_that_says_why_is_told(
    database: type[Database], before: list[str], why: str, after: list[str], tmp_path: Path
) -> None:
    log = tmp_path / "server.log"
    # A start before this one died, too, of something else.
    log.write_text("\n".join([*before, why.replace("database", "yesterday"), *["x"] * 300, *before, why, *after, ""]))
    told = last_words(log, 5, database.fatal)
    assert why in told and len(told) == 5, told
    assert told[0] == why or len(after) < 5
    assert not any(map(database.fatal, ["x", *before, ""])), "no line of a server that is well says so"


def test_where_no_line_says_why_the_last_ones_are_told(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("")
    assert last_words(log, 3, Etcd.fatal) == []
    log.write_text("panic: long ago\n" + "x" * END + "\none\n\x00\ntwo\n")
    assert last_words(log, 3, Etcd.fatal) == ["one", "\x00", "two"]
    log.write_text("panic: " + "x" * 9999)
    assert [len(line) for line in last_words(log, 3, Etcd.fatal)] == [2000]
    assert not Database.fatal("FATAL: too many connections"), "of a database of somebody's own nothing is known"
