"""Cassandra's servers: what their files say, and how they are had, from Maven, where no package brings them."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path

from splitbrain.harness.servers import Server, fetch

YAML = """\
cluster_name: splitbrain
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
num_tokens: 1
initial_token: {token}
auto_bootstrap: {bootstrap}
endpoint_snitch: GossipingPropertyFileSnitch
dynamic_snitch: false
listen_address: {address}
rpc_address: {address}
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters:
      - seeds: "{seeds}"
commitlog_sync: periodic
commitlog_sync_period: 10s
commitlog_segment_size: 4MiB
data_file_directories: ["{folder}/data"]
commitlog_directory: {folder}/commitlog
saved_caches_directory: {folder}/saved_caches
hints_directory: {folder}/hints
hints_flush_period: 1s
read_request_timeout: {timeout}ms
write_request_timeout: {timeout}ms
cas_contention_timeout: {timeout}ms
paxos_variant: v2
memtable_heap_space: 64MiB
memtable_offheap_space: 32MiB
networking_cache_size: 16MiB
"""

LOGBACK = """\
<configuration>
  <appender name="out" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%-5level %date{ISO8601} %logger{0} %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="out"/></root>
  <logger name="org.apache.cassandra.config.Config" level="WARN"/>
</configuration>
"""

JAVA = (
    "-Xms64m",
    "-Xmx256m",
    "-Xss256k",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-Dcassandra.storagedir={folder}",
    "-Djava.io.tmpdir={folder}",
    "-XX:-UsePerfData",
    "-Dcassandra-rackdc.properties=file://{folder}/cassandra-rackdc.properties",
    "-Dcassandra.skip_wait_for_gossip_to_settle=0",
    "-Dcassandra.memtable.row_overhead_size=180",
    "-Dcassandra.enable_nodelocal_queries=true",
)


def delays(ring: int, quarantine: int) -> tuple[str, ...]:
    """How many seconds a node that changes its place in the ring waits until the others have heard of it, and for how long the
    others hear nobody at the address of one that left. Half of the quarantine is also after what silence a node is forgotten
    that has no place yet: one that starts slowly, whose tables are then never asked for again."""
    return f"-Dcassandra.ring_delay_ms={ring * 1000}", f"-Dcassandra.gossip_quarantine_delay_ms={quarantine * 1000}"


JMX = 7199
NODETOOL = f"""\
#!/bin/sh
# Runs nodetool on the server that was started in this folder, from the very jars that it was started with.
cd "$(dirname "$0")" || exit 1
for process in /proc/[0-9]*; do
  grep -q org.apache.cassandra.service.CassandraDaemon "$process/cmdline" 2>/dev/null || continue
  [ "$(readlink "$process/cwd")" = "$(pwd -P)" ] || continue
  jars=$(tr '\\0' '\\n' <"$process/cmdline" | while read -r word; do
    if [ "$before" = -cp ]; then echo "$word"; break; fi
    before=$word
  done)
  [ -n "$jars" ] || continue
  exec "$(readlink "$process/exe")" $(grep '^-' jvm17-server.options) -Xmx96m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \\
    -Duser.home=. -Dlogback.configurationFile=logback.xml -cp "$jars" \\
    org.apache.cassandra.tools.NodeTool -h 127.0.0.1 -p {JMX} "$@"
done
echo "no server of Cassandra runs in $(pwd -P)" >&2
exit 1
"""
"""A program that stands for `nodetool`, which a distribution has and its jars have not."""

_POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>splitbrain</groupId>
  <artifactId>servers</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.cassandra</groupId>
      <artifactId>cassandra-all</artifactId>
      <version>5.0.2</version>
    </dependency>
  </dependencies>
</project>
"""

LAUNCHER = """\
#!/bin/sh
# Starts Cassandra from the jars in $CASSANDRA_JARS, or beside this file, in the foreground. Its options come from the files in
# $CASSANDRA_CONF that bin/cassandra of the distribution takes them from, so that either may be started.
home=${CASSANDRA_JARS:-$(dirname "$(readlink -f "$0")")}
conf=$(cd "$CASSANDRA_CONF" && pwd)
jars=$(printf '%s:' "$home"/*.jar)
[ -f "$home/cassandra.jsa" ] && archive="-XX:SharedArchiveFile=$home/cassandra.jsa -Xshare:auto -Xlog:cds=off"
exec "${JAVA_HOME:+$JAVA_HOME/bin/}java" $(cat "$conf"/jvm-server.options "$conf"/jvm17-server.options | grep '^-') \\
  $archive $JVM_EXTRA_OPTS "-Dcassandra.config=file://$conf/cassandra.yaml" "-Dlogback.configurationFile=$conf/logback.xml" \\
  -Dcassandra-foreground=yes -cp "${jars%:}" org.apache.cassandra.service.CassandraDaemon
"""
"""A program that stands for `cassandra` where there are only its jars."""

JAVA_17 = (
    "-Djdk.attach.allowAttachSelf=true",
    "-Djava.security.manager=allow",
    *(
        f"--add-exports={export}=ALL-UNNAMED"
        for export in (
            "java.base/jdk.internal.misc", "java.base/jdk.internal.ref", "java.base/sun.nio.ch",
            "java.management.rmi/com.sun.jmx.remote.internal.rmi", "java.rmi/sun.rmi.registry", "java.rmi/sun.rmi.server",
            "java.sql/java.sql", "java.base/java.lang.ref", "java.base/jdk.internal.util", "jdk.unsupported/sun.misc",
        )
    ),
    *(
        f"--add-opens={opened}=ALL-UNNAMED"
        for opened in (
            "java.base/java.lang.module", "java.base/jdk.internal.loader", "java.base/jdk.internal.ref",
            "java.base/jdk.internal.reflect", "java.base/jdk.internal.math", "java.base/jdk.internal.module",
            "java.base/jdk.internal.util.jar", "jdk.management/com.sun.management.internal", "java.base/sun.nio.ch",
            "java.base/java.io", "java.base/java.lang", "java.base/java.lang.reflect", "java.base/java.util",
            "java.base/java.util.concurrent", "java.base/java.util.concurrent.atomic", "java.base/java.nio",
            "java.rmi/sun.rmi.transport.tcp",
        )
    ),
)
"""What Cassandra 5.0 needs of Java 17's modules: the lines of its own jvm17-server.options."""

_ONCE = {
    "cassandra.yaml": """\
cluster_name: splitbrain
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
num_tokens: 1
initial_token: 0
endpoint_snitch: SimpleSnitch
listen_address: {address}
rpc_address: {address}
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters:
      - seeds: {address}
commitlog_sync: periodic
commitlog_sync_period: 10s
commitlog_segment_size: 4MiB
data_file_directories: ["{folder}/data"]
commitlog_directory: {folder}/commitlog
saved_caches_directory: {folder}/saved_caches
hints_directory: {folder}/hints
""",
    "logback.xml": """\
<configuration>
  <appender name="out" class="ch.qos.logback.core.ConsoleAppender"><encoder><pattern>%msg%n</pattern></encoder></appender>
  <root level="INFO"><appender-ref ref="out"/></root>
</configuration>
""",
    "jvm-server.options": "-Xmx512m\n-XX:+UseSerialGC\n-XX:TieredStopAtLevel=1\n-Dcassandra.storagedir={folder}\n"
    "-Djava.io.tmpdir={folder}\n-XX:-UsePerfData\n"
    "-Dcassandra.skip_wait_for_gossip_to_settle=0\n",
    "jvm17-server.options": "\n".join(JAVA_17) + "\n",
}


_ARCHIVE = 180.0

def _jars(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        pom = Path(place, "pom.xml")
        pom.write_text(_POM)
        fetch(["mvn", "--quiet", "--batch-mode", f"--file={pom}", "dependency:copy-dependencies", "-DincludeScope=runtime",
                f"-DoutputDirectory={folder}"])
    launcher = folder / "cassandra"
    launcher.write_text(LAUNCHER)
    launcher.chmod(0o755)


def _archive_classes(folder: Path) -> None:
    """Start Cassandra once, alone on a loopback address, and have Java keep the classes that it loaded: later starts take a
    third less time. Java finds the archive only for jars at the same path."""
    with tempfile.TemporaryDirectory() as place:
        for name, content in _ONCE.items():
            Path(place, name).write_text(content.replace("{folder}", place).replace("{address}", "127.55.90.42"))
        log = Path(place, "log")
        env = {**os.environ, "CASSANDRA_CONF": place, "JVM_EXTRA_OPTS": f"-XX:ArchiveClassesAtExit={folder / 'cassandra.jsa'}"}
        command = [str(folder / "cassandra")]
        with log.open("wb") as said, subprocess.Popen(command, env=env, stdout=said, stderr=said) as process:
            end = time.monotonic() + _ARCHIVE
            while process.poll() is None and time.monotonic() < end:
                if b"Startup complete" in log.read_bytes():
                    process.terminate()
                    process.wait(_ARCHIVE)
                time.sleep(0.2)
            process.kill()


CASSANDRA = Server("cassandra", "5.0.2", "Maven, org.apache.cassandra:cassandra-all", _jars, _archive_classes)
