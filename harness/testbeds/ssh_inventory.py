"""The machines of a person's own that a run may use, in a file in TOML; no other machine is ever touched."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from splitbrain.harness.errors import PlanError, UsageError, hint
from splitbrain.harness.settings import SECOND, Setting, keys, line, parse, take

FOLDER = "/var/lib/splitbrain"


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """One machine, a table `[[hosts]]`. What is said above the tables holds for all that do not say it themselves."""

    host: Annotated[str, Setting("The name or address that SSH connects to.")]
    address: Annotated[str, Setting("The IPv4 address that the other nodes know it by; empty: that of `host`.")] = ""
    address6: Annotated[str, Setting("Its IPv6 address, if nodes are to be cut there too.")] = ""
    user: Annotated[str, Setting("Who logs in: root, or who may use sudo without a password; empty: you.")] = ""
    port: Annotated[int, Setting("The port of its SSH server.", low=1, high=65535)] = 22
    key: Annotated[str, Setting("The file of the private key; empty: the agent's and those in ~/.ssh.")] = ""
    known_hosts: Annotated[str, Setting("The file of known host keys; empty: ~/.ssh/known_hosts.")] = ""
    roles: Annotated[tuple[str, ...], Setting("The databases that it may be a node of; empty: any.")] = ()
    folder: Annotated[str, Setting("The folder in which a run has its folder, removed when it is over.")] = FOLDER
    python: Annotated[str, Setting("Its Python, 3.8 or later.")] = "python3"
    programs: Annotated[dict[str, str], Setting("Where a server's program is, if not in PATH: name = path.")] = {}
    clock: Annotated[Literal["servers", "machine"], Setting(
        "Whose clock is put wrong: that of its servers' processes alone, or that of the whole machine, for all that runs there."
    )] = "servers"
    patience: Annotated[float, Setting(
        "After what silence of splitbrain the machine puts everything back by itself; one that is silent itself for four "
        "fifths of it counts as lost. More is for machines that are slow, or so busy that they stand still for seconds.",
        unit=SECOND, low=4, high=600,
    )] = 15.0
    install: Annotated[bool, Setting("Whether programs that are missing may be installed by apt-get.")] = False
    start: Annotated[tuple[str, ...], Setting("Attached: the command that starts its server again (a list).")] = ()


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """All of them. `disposable` says that the cluster that runs there may be broken: nothing is attached to without it."""

    path: Path
    hosts: tuple[Host, ...]
    disposable: bool = False

    def of(self, database: str) -> tuple[Host, ...]:
        """The machines that may be nodes of this database."""
        return tuple(host for host in self.hosts if not host.roles or database in host.roles)


def load(path: Path) -> Inventory:
    """Read an inventory. Raises `UsageError` with the file, the line and the mend."""
    try:
        text = path.read_text()
    except OSError as error:
        raise UsageError(f"{path}: the inventory cannot be read: {error.strerror}.") from error
    given = parse(text, str(path))
    tables = given.pop("hosts", None)
    disposable = given.pop("disposable", False)

    def refuse(where: tuple[str | int, ...], reason: str) -> UsageError:
        number = line(text, where) if where else 0
        return UsageError(f"{path}{f':{number}' if number else ''}: {reason}")

    if not isinstance(disposable, bool):
        raise refuse(("disposable",), "disposable must be true or false.")
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise refuse((), 'names no machines: begin with [[hosts]] and host = "10.0.0.1".')
    if "host" in given:
        raise refuse(("host",), "host belongs under [[hosts]].")
    hosts = []
    for number, table in enumerate(tables):
        try:
            fields = _take(given) | _take(table)
        except PlanError as error:
            place: tuple[str | int, ...] = ("hosts", number, *error.keys) if error.keys[0] in table else error.keys
            raise refuse(place, error.reason) from error
        if not fields.get("host"):
            raise refuse(("hosts", number), f"[[hosts]] number {number + 1} lacks host.")
        hosts.append(Host(**fields))
    if doubled := [host.host for at, host in enumerate(hosts) if host.host in [other.host for other in hosts[:at]]]:
        raise refuse((), f"{doubled[0]} is named twice: a machine is one node.")
    return Inventory(path=path, hosts=tuple(hosts), disposable=disposable)


def address(host: Host) -> str:
    """The IPv4 address of a machine. Raises `UsageError` where its name has none."""
    if host.address:
        return host.address
    try:
        return socket.gethostbyname(host.host)
    except OSError as error:
        mend = "write it as address = ... in the inventory."
        raise UsageError(f"{host.host}: its address cannot be found ({error}): {mend}") from error


def _take(table: dict[str, Any]) -> dict[str, Any]:
    fields = dict(table)
    programs = fields.pop("programs", {})
    known = keys(Host)
    for name in fields:
        if name not in known:
            raise PlanError((name,), f"unknown key '{name}': {hint(name, known)}")
    if not isinstance(programs, dict) or not all(isinstance(one, str) for one in programs.values()):
        raise PlanError(("programs",), "programs must be a table of paths.")
    return take(Host, fields) | ({"programs": programs} if programs else {})


def names(hosts: Sequence[Host]) -> dict[str, Host]:
    """Node → machine: n1 is the first."""
    return {f"n{number}": host for number, host in enumerate(hosts, 1)}
