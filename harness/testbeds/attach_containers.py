"""The testbed `containers`: a cluster of a person's own that runs already, in containers of this machine.

Beside each container runs the helper of machines over SSH (the folder helper), here, in that container's network: so faults,
probes and the guard are theirs. Only containers that carry the label `splitbrain.disposable=true` are touched. A container that
is started again has another network, so servers are not ended here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from splitbrain.harness.errors import PlanError, SetupError
from splitbrain.harness.plan import Plan
from splitbrain.harness.testbeds import engine
from splitbrain.harness.testbeds.attach import Attached, port
from splitbrain.harness.testbeds.prober import Probed
from splitbrain.harness.testbeds.ssh import lacking
from splitbrain.harness.testbeds.ssh_inventory import Host, names
from splitbrain.harness.testbeds.ssh_link import BOOT, Link, Mended, program
from splitbrain.harness.testbeds.testbed import Ability, Problem, Wanted

DISPOSABLE = "splitbrain.disposable=true"
"""The label of a container that may be broken."""


class Containers(Attached):
    """The containers that carry the plan's label, by name n1, n2, ..."""

    name: ClassVar[str] = "containers"
    summary: ClassVar[str] = "containers of your own that run already: --containers LABEL, or --compose FILE"
    abilities: ClassVar[frozenset[Ability]] = frozenset({"cut", "pause", "impair", "skew"})

    def __init__(self, plan: Plan, run: str, folder: Path) -> None:
        Probed.__init__(self)
        if not plan.containers:
            raise PlanError(("testbed",), "the testbed containers needs a label: --containers LABEL, or --compose FILE.")
        if plan.image or plan.binary or plan.inventory:
            raise PlanError((), "--image, --binary and --inventory say nothing to containers that run already.")
        if plan.tcp_rto_max_ms:
            raise PlanError(("tcp_rto_max_ms",), 'tcp_rto_max_ms is not set in containers of one\'s own: leave it "kernel".')
        self.nodes = ()
        self._plan = plan
        self._run = run
        self._folder = folder
        self._machines = []
        self.hosts = ()

    @classmethod
    def problems(cls) -> Sequence[Problem]:
        """Whether the engine answers, and this user may enter the networks of containers."""
        try:
            engine.connect().close()
        except engine.Unreachable as error:
            return [error.problem]
        if os.geteuid() != 0:
            return [Problem("this user may not enter the networks of containers", "run splitbrain as root")]
        return []

    @classmethod
    def link(cls, name: str, host: Host) -> Link:
        """The helper beside a container."""
        return ContainerLink(name, host)

    @classmethod
    def missing(cls, plan: Plan, programs: Sequence[Wanted], needs: Collection[Ability]) -> Sequence[Problem]:
        """Look at every container of the plan: whether it can be cut, and whether a server runs there."""
        return cls.problems() or asyncio.run(lacking(cls, found(plan.containers)[: plan.nodes], (), needs, runs=port(plan)))

    async def up(self, count: int) -> None:
        """Find every container's server. Raises `SetupError` where none listens."""
        self.hosts = found(self._plan.containers)[:count]
        await super().up(count)


class ContainerLink(Link):
    """The helper in a container's network: a process of this machine."""

    def _connect(self) -> None:
        client = engine.connect()
        try:
            with engine.speaking():
                pid = client.containers.get(self.host.host).attrs["State"]["Pid"]
        except SetupError as error:
            raise Mended(str(error)) from error
        finally:
            client.close()
        if not pid:
            raise Mended("it does not run.")
        command = ["nsenter", f"--target={pid}", "--net", "--", sys.executable, "-I", "-c", BOOT]
        self._client = self._channel = _Pipes(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
                             start_new_session=True)
        )
        self._outgoing.put(program())


class _Pipes:
    """A process' ends as those of a channel."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        assert process.stdin is not None and process.stdout is not None
        self._in, self._out = process.stdin, process.stdout

    def sendall(self, data: bytes) -> None:
        while data:
            try:
                data = data[self._in.write(data):]
            except ValueError as error:
                raise OSError("closed") from error

    def recv(self, most: int) -> bytes:
        return os.read(self._out.fileno(), most)

    def recv_stderr_ready(self) -> bool:
        return False

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._in.close()
        self._process.wait()


def found(label: str) -> tuple[Host, ...]:
    """The containers that run and carry a label, by name. Raises `PlanError` where there are none, and for one that is not
    disposable."""
    client = engine.connect()
    try:
        with engine.speaking():
            running = client.containers.list(filters={"label": label})
    finally:
        client.close()
    name, _, value = DISPOSABLE.partition("=")
    marked = [one for one in running if one.labels.get(name) == value]
    unmarked = sorted(one.name for one in running if one not in marked)
    composed = label.startswith(_COMPOSED)
    if not running:
        raise PlanError(("containers",), f"no container that runs carries the label {label}: start the cluster first.")
    if (unmarked and not composed) or not marked:
        raise PlanError(
            ("containers",), f"{', '.join(unmarked)}: not marked as what may be broken. Give the containers of the cluster the "
            f"label {DISPOSABLE}, if you can do without its data."
        )
    return tuple(
        Host(host=one.name, address=_address(one.attrs), folder=f"/run/splitbrain-{one.name}")
        for one in sorted(marked, key=lambda one: str(one.name))
    )


def _address(attributes: Mapping[str, Any]) -> str:
    networks = attributes["NetworkSettings"]["Networks"]
    addresses = [str(network["IPAddress"]) for network in networks.values() if network["IPAddress"]]
    if len(addresses) != 1:
        raise PlanError(("containers",), f"{attributes['Name'].lstrip('/')} has {len(addresses)} addresses: it must have one.")
    return addresses[0]


_COMPOSED = "com.docker.compose.project.config_files="


def composed(file: Path) -> str:
    """The label of the containers that Docker Compose made from this file. Those of them that are marked are the nodes."""
    return f"{_COMPOSED}{file.expanduser().absolute()}"


def nodes(label: str) -> int:
    """How many nodes a label means."""
    return len(names(found(label)))
