"""Images where no registry answers: a database's servers from this machine's own files, with the libraries they need.

An image holds the programs, everything that `ldd` names for them, two users, and nothing else: no package manager, and a shell
only where a program is a script. It is given to the engine as one tar (`docker import`): nothing is downloaded, no build runs.
"""

from __future__ import annotations

import io
import os
import re
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

import msgspec

import splitbrain
from splitbrain.harness import programs, registry
from splitbrain.harness.databases.database import Database, Program
from splitbrain.harness.errors import SetupError
from splitbrain.harness.servers import SEARCH, find_program, is_fetched
from splitbrain.harness.testbeds import engine
from splitbrain.harness.testbeds.docker_access import IN_TOOLS, TOOLS

TOOLS_NAME = TOOLS.split("/")[1].split(":")[0]
"""What is asked for instead of a database to get the image of the sidecars."""

_LDD_LIMIT = 600
"""Seconds: hundreds of libraries are asked for at once, and a busy machine takes minutes."""
_USERS = {
    "etc/passwd": "root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
}
_NOT_IN_PYTHON = {
    "test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "pydoc_data", "site-packages", "dist-packages",
}
_OF_A_SCRIPT = ("sh", "cat", "dirname", "grep", "readlink", "tr")
_JOIN = (
    "import sys; sys.path.insert(0, '/opt/splitbrain'); "
    "from splitbrain.harness.testbeds.spawner import join; join(sys.argv[1])"
)


class Built(msgspec.Struct, frozen=True):
    """An image that was built: its name, what it certainly is, and its size in bytes."""

    name: str
    digest: str
    size: int


def build(name: str, binary: str = "") -> Built:
    """The image for a database (or `TOOLS_NAME`) from this machine's files; `binary` is its first program in another version,
    by path or name. Raises `UsageError` for a name that is none, `SetupError` where a program is missing, cannot be packed, or
    the engine refuses."""
    with tempfile.NamedTemporaryFile(suffix=".tar") as packed:
        with _Root(packed) as root:
            if name == TOOLS_NAME:
                _tools(root)
                start = msgspec.json.encode(["python3", "-I", "-c", _JOIN]).decode()
                image, source, changes = TOOLS, "iptables and Python", [f"ENTRYPOINT {start}"]
            else:
                database: type[Database] = registry.look_up("databases", name)
                given = {database.programs[0].name: binary} if binary else {}
                versions = [_program(root, program, given.get(program.name, program.name)) for program in database.programs]
                image, changes = f"splitbrain/{database.name}:{versions[0 if binary else -1]}", []
                source = " and ".join(program.name for program in database.programs)
        packed.flush()
        return _give(packed.name, image, source, changes)


class _Root:
    """The root file system of an image, as a tar that is being written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._tar = tarfile.open(fileobj=file, mode="w")  # noqa: SIM115
        self._names: set[str] = set()
        for path, text in _USERS.items():
            self.text(path, text)
        entry = tarfile.TarInfo("tmp")
        entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
        self._tar.addfile(entry)

    def __enter__(self) -> _Root:
        return self

    def __exit__(self, *raised: object) -> None:
        self._tar.close()

    def text(self, path: str, text: str) -> None:
        """A file of our own."""
        entry = tarfile.TarInfo(path)
        entry.size, entry.mode = len(text.encode()), 0o644
        self._tar.addfile(entry, io.BytesIO(text.encode()))

    def file(self, path: Path, at: Path | None = None) -> None:
        """A file of this machine, itself where it is a link, at the same path or another one; root's, whoever's it is."""
        name = self._new(at or path)
        if not name:
            return
        try:
            entry = self._tar.gettarinfo(str(path.resolve()), arcname=name)
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            with path.open("rb") as content:
                self._tar.addfile(entry, content)
        except OSError as error:
            raise SetupError(f"{path}: cannot be read: {error.strerror}.") from error

    def link(self, name: Path, to: Path) -> None:
        """A symbolic link, where these are two paths."""
        if name != to and (new := self._new(name)):
            entry = tarfile.TarInfo(new)
            entry.type, entry.linkname = tarfile.SYMTYPE, str(to)
            self._tar.addfile(entry)

    def _new(self, path: Path) -> str:
        """The name of a file's entry, empty where it has one already. `ldd` names files as `bin/../lib/FILE`."""
        name = os.path.normpath(path).lstrip("/")
        if name in self._names:
            return ""
        self._names.add(name)
        return name

    def tree(self, folder: Path, at: Path | None = None, *, without: Iterable[str] = ()) -> None:
        """The files below a folder, except archives and what is in folders of these names, and what the shared libraries among
        them are linked with, as far as this machine has it: what it has not, it does not use either."""
        libraries = []
        for place, folders, files in os.walk(folder, followlinks=True):
            folders[:] = sorted(set(folders) - set(without))
            for path in (Path(place, name) for name in sorted(files)):
                if path.is_file() and path.suffix != ".a":
                    self.file(path, at / path.relative_to(folder) if at else None)
                    if ".so" in path.suffixes:
                        libraries.append(path)
        self._libraries(libraries, all_of_them=False)

    def _libraries(self, of: Sequence[Path], *, all_of_them: bool) -> None:
        """What these files are linked with, as `ldd` finds it."""
        listed = _output(["ldd", *map(str, of)]) if of else ""
        for line in listed.splitlines():
            if "not found" in line and all_of_them:
                raise SetupError(f"the library {line.split()[0]} is missing on this machine, which {of[0]} needs.")
            if match := re.search(r"(/\S+) \(0x", line):
                self.file(Path(match[1]))

    def program(self, path: Path, name: Path) -> None:
        """A program where it really is, found by another name too, with its libraries."""
        real = path.resolve()
        self.file(real)
        self.link(name, real)
        if not _is_script(real):
            self._libraries([real], all_of_them=True)


def _program(root: _Root, program: Program, called: str) -> str:
    """Put a server's program in, which is called so here; its version."""
    name = program.name
    found = sys.executable if called == "python3" else find_program(called)
    if found is None:
        raise SetupError(f"the program {called} is missing: {program.mend}")
    path = Path(found)
    if name == "python3":
        _python(root)
    elif name == "java":
        _java(root, path)
    elif is_fetched(path):
        _fetched(root, path, name)
        return path.parent.name.rpartition("-")[2]
    elif _is_script(path):
        raise SetupError(f"{path} is a script, and what it needs is not known: {program.mend}")
    else:
        root.program(path, Path("/usr/bin", name))
    match = re.search(r"\d+(\.\d+)+", _output([found, "--version"]))
    return match[0] if match else "local"


def _fetched(root: _Root, path: Path, name: str) -> None:
    """A server that `splitbrain servers get` fetched: its whole folder, and a shell where it is a script."""
    root.tree(path.parent)
    root.program(path, Path("/usr/bin", name))
    for tool in _OF_A_SCRIPT if _is_script(path) else ():
        root.program(Path(find_program(tool) or f"/usr/bin/{tool}"), Path("/bin", tool))


def _java(root: _Root, path: Path) -> None:
    """A Java with all that belongs to it."""
    root.program(path, Path("/usr/bin/java"))
    root.tree(path.resolve().parent.parent)


def _is_script(path: Path) -> bool:
    with path.open("rb") as content:
        return content.read(2) == b"#!"


def _python(root: _Root) -> None:
    """Python and its standard library, as this process runs on them."""
    root.program(Path(sys.executable), Path("/usr/bin/python3"))
    standard = Path(os.__file__).parent
    root.tree(standard, without=_NOT_IN_PYTHON)


def _tools(root: _Root) -> None:
    """What a sidecar needs: the programs that the harness runs there, and the harness' end of the channel."""
    for program in IN_TOOLS:
        found = find_program(Path(program).name)
        if found is None:
            raise SetupError(f"the program {Path(program).name} is missing: sudo apt-get install iptables")
        root.program(Path(found), Path(program))
    for extensions in [*Path("/usr/lib").glob("*/xtables"), *Path("/usr").glob("lib*/xtables")]:
        root.tree(extensions)
    _python(root)
    place = Path("/opt/splitbrain")
    root.tree(Path(msgspec.__file__).parent, place / "msgspec")
    ours = Path(splitbrain.__file__).parent
    room = Path("harness")
    needed = ("__init__", "clocks", "families", "folders", "kernel", "memory_disk", "spawner")
    testbeds = [f"testbeds/{name}.py" for name in needed]
    for module in ("__init__.py", "errors.py", *testbeds):
        root.file(ours / room / module, place / "splitbrain" / room / module)
    root.file(ours / "__init__.py", place / "splitbrain" / "__init__.py")


def _output(command: Sequence[str]) -> str:
    """What a command prints, whatever its exit code: `ldd` fails on a static program."""
    ran = programs.run(command, limit=_LDD_LIMIT)
    return ran.stdout + ran.stderr


def _give(packed: str, name: str, source: str, changes: Sequence[str]) -> Built:
    """Give the engine a root file system as an image."""
    client = engine.connect()
    repository, tag = name.split(":")
    label = f'LABEL {engine.BUILT}="this machine\'s {source}"'
    try:
        with engine.speaking():
            always = (f"ENV PATH={':'.join(SEARCH)}", "ENV LANG=C.UTF-8", label)
            client.api.import_image_from_file(packed, repository=repository, tag=tag, changes=[*always, *changes])
            image = client.images.get(name)
            return Built(name, image.id, image.attrs["Size"])
    finally:
        client.close()
