"""When a line of a server's log was written, as real servers write it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from splitbrain.harness.databases.cassandra import Cassandra
from splitbrain.harness.databases.database import Database
from splitbrain.harness.databases.etcd import Etcd
from splitbrain.harness.databases.mongodb import MongoDB
from splitbrain.harness.databases.redis import Redis
from splitbrain.harness.databases.reference.database import Reference

AT = datetime(2026, 11, 28, 17, 54, 40, 909000, tzinfo=UTC)


@pytest.mark.parametrize(("database", "line", "after"), [
    (Etcd, "2026-11-28 17:54:40.909408 I | etcdmain: Go OS/Arch: linux/amd64", 0.000408),
    (Etcd, '{"level":"info","ts":"2026-11-28T17:54:40.909Z","caller":"etcdmain/etcd.go:73","msg":"Running: "}', 0),
    (Etcd, '{"level":"info","ts":"2026-11-28T19:54:40.909+0200","caller":"etcdmain/etcd.go:73","msg":"Running: "}', 0),
    (Etcd, "raft2026/11/28 17:54:40 INFO: replace the unstable entries from index 42", -0.909),
    (Redis, "10:X 28 Nov 2026 17:54:40.909 # +monitor master splitbrain 198.18.0.1 6379 quorum 2", 0),
    (Redis, "5:M 28 Nov 2026 17:54:40.909 * Ready to accept connections", 0),
    (MongoDB, '{"t":{"$date":"2026-11-28T17:54:40.909+00:00"},"s":"I",  "c":"NETWORK",  "id":22944}', 0),
    (Cassandra, "WARN  2026-11-28 17:54:40,909 SelectStatement Aggregation query used on multiple partition keys", 0),
    (Reference, "1795888480.909 n1 lost n2", 0),
])
def test_a_line_tells_when_it_was_written(database: type[Database], line: str, after: float) -> None:
    assert database.stamp(line) == pytest.approx(AT.timestamp() + after, abs=1e-4)


@pytest.mark.parametrize("database", [Etcd, Redis, MongoDB, Cassandra, Reference])
@pytest.mark.parametrize("line", [
    "", "\x00", "    at java.lang.Thread.run(Thread.java:829)", "[WARNING] Deprecated '--logger=capnslog' flag is set",
    "10:X 28 Nix 2026 17:54:40.909 # +monitor", "5:M 31 Feb 2026 17:54:40.909 * Ready", "raft2026/13/28 17:54:40 INFO: x",
    '{"t":{"$date":"yesterday"}}', "WARN  2026-11-31 17:54:40,909 x", "2026-11-28 17:54:99.909408 I | x", '{"level":"info"}',
    "99999999999999999999.909 n1",
])
def test_a_line_without_a_time_tells_none(database: type[Database], line: str) -> None:
    assert database.stamp(line) is None
