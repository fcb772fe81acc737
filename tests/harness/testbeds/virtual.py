"""Virtual machines for tests: each a kernel of its own, whose clock is its own, with a network between them and a real sshd.

QEMU emulates the processor (TCG), so that nothing but the package is needed. What they run from is laid into their memory: this
machine's own programs, with Debian's kernel for clouds as `tools/guest-kernel` fetches it. `python -m
tests.harness.testbeds.virtual FOLDER NAME...` is the process that has them; they end with it, and it with the one that made it.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import re
import socket
import stat
import struct
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from splitbrain.harness.servers import find_program
from splitbrain.harness.testbeds import kernel
from tests.conftest import ROOT, need
from tests.harness.testbeds import guest
from tests.harness.testbeds.machines import CONTROLLER, SSHD, Machines, write_inventory

MEMORY = 384
BOOT = 240.0
"""Seconds that all of them may take until their sshd answer, on a machine that is busy."""
PROGRAMS = (
    "sshd", "sh", "ip", "iptables", "iptables-restore", "ip6tables", "ip6tables-restore", "cat", "cp", "date", "find", "kill",
    "rm", "sleep",
)
MODULES = (
    "virtio_pci", "virtio_net", "virtio_rng", "nf_tables", "nft_compat", "nfnetlink_queue", "xt_NFQUEUE", "xt_comment",
    "xt_tcpudp",
)
WITHOUT = {
    "test", "idlelib", "lib2to3", "tkinter", "turtledemo", "ensurepip", "pydoc_data", "site-packages", "dist-packages", "venv",
    "unittest", "distutils", "wsgiref", "curses", "dbm", "sqlite3",
}
"""What no program of ours asks of Python's library."""


class Guest(NamedTuple):
    """One virtual machine, as tests name it."""

    name: str
    address: str


def cached() -> Path:
    """Where `tools/guest-kernel` lays the kernel and its modules."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "splitbrain" / "guest-kernel"


def possible() -> None:
    """Skip, loudly and by name, where there can be no virtual machines; in CI that is a failure."""
    need("qemu-system-x86_64", "sshd", "ssh-keygen", "iptables", "ip")
    if os.geteuid() != 0:
        pytest.skip("a network for virtual machines needs root")
    if not Path("/dev/net/tun").exists():
        pytest.skip("a network for virtual machines needs /dev/net/tun")
    if not cached().exists() and os.environ.get("CI"):
        pytest.fail(f"CI has no {cached()}: tools/guest-kernel says why")
    if not cached().exists():
        pytest.skip(f"no kernel for virtual machines in {cached()}: tools/guest-kernel fetches it")


class VirtualMachines(Machines):
    """Some of them, the inventory that names them, and the namespace of their network (see `tests.lab.inside`)."""

    def __init__(self, folder: Path, guests: tuple[Guest, ...], network: Path) -> None:
        super().__init__(folder)
        self.guests = guests
        self.network = network

    def start(self, node: int) -> int:
        """Nanoseconds from 1970 to a machine's start, as its clocks have it now."""
        return int(self.sh(node, guest.CLOCK.decode()))

    def sh(self, node: int, script: str) -> str:
        """What a script prints on a machine, by another way than SSH."""
        with socket.create_connection((self.guests[node].address, guest.PORT), timeout=60) as one:
            one.sendall(script.encode())
            one.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: one.recv(1 << 16), b"")).decode()


@contextlib.contextmanager
def virtual(folder: Path, count: int, *programs: str) -> Iterator[VirtualMachines]:
    """So many virtual machines, with these programs besides, for as long as the context lasts."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key")], check=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "host")], check=True)
    guests = tuple(Guest(f"n{number}", f"198.18.0.{number}") for number in range(1, count + 1))
    public = " ".join((folder / "host.pub").read_text().split()[:2])
    (folder / "known_hosts").write_text("".join(f"{one.address} {public}\n" for one in guests))
    write_inventory(folder, {one.name: one.address for one in guests})
    pack(folder, (*PROGRAMS, *programs))
    lab = subprocess.Popen(
        [sys.executable, "-m", "tests.harness.testbeds.virtual", str(folder), *(one.name for one in guests)], cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )
    try:
        assert lab.stdout is not None
        assert lab.stdout.readline() == "up\n", [path.read_text(errors="replace")[-3000:] for path in folder.glob("*.console")]
        yield VirtualMachines(folder, guests, Path("/proc", str(lab.pid), "ns", "net"))
    finally:
        lab.kill()
        lab.wait()


def main() -> None:
    """In a network of its own, start the machines, and be there until the standard input ends."""
    folder, names = Path(sys.argv[1]), sys.argv[2:]
    kernel.die_with_parent()
    kernel.unshare(kernel.CLONE_NEWNET)
    for words in ("link add lab type bridge", f"address add {CONTROLLER}/16 dev lab", "link set lab up", "link set lo up"):
        subprocess.run(["ip", *words.split()], check=True)
    machines = {number: start(folder, name, number) for number, name in enumerate(names, 1)}
    end = time.monotonic() + BOOT
    while silent := [number for number in machines if not _answers(f"198.18.0.{number}")]:
        if time.monotonic() > end:
            sys.exit(f"{names[silent[0] - 1]} does not answer")
        for number in silent:
            if machines[number].poll() is not None:  # a kernel that gave up on an emulated device
                machines[number] = start(folder, names[number - 1], number)
        time.sleep(0.1)
    print("up", flush=True)
    sys.stdin.read()


def start(folder: Path, name: str, number: int) -> subprocess.Popen[bytes]:
    """Start a machine, which ends with this process."""
    tap = os.open("/dev/net/tun", os.O_RDWR)
    flags = 0x0002 | 0x1000 | 0x4000  # IFF_TAP, IFF_NO_PI, IFF_VNET_HDR
    fcntl.ioctl(tap, 0x400454CA, struct.pack("16sH22x", name.encode(), flags))  # TUNSETIFF
    subprocess.run(["ip", "link", "set", name, "master", "lab", "up"], check=True)
    os.set_inheritable(tap, True)
    words = [
        f"guest.name={name}", f"guest.address=198.18.0.{number}/16",
        "console=ttyS0", "quiet", "loglevel=4", "panic=-1", "rdinit=/init", "mitigations=off", "norandmaps", "net.ifnames=0",
        # An emulated timer comes late where the machine is busy, which the kernel would take for a broken one.
        "no_timer_check", "tsc=unstable", "clocksource=hpet", "nowatchdog", "rcupdate.rcu_cpu_stall_suppress=1",
    ]
    machine = subprocess.Popen(
        [
            "qemu-system-x86_64", "-accel", "tcg", "-machine", "pc", "-cpu", "qemu64,+rdrand,+rdtscp", "-m", str(MEMORY),
            "-nodefaults", "-display", "none", "-no-reboot", "-serial", f"file:{folder / name}.console",
            "-kernel", str(next((cached() / "boot").glob("vmlinuz-*"))), "-initrd", str(folder / "initrd"),
            "-append", " ".join(words), "-netdev", f"tap,id=net,fd={tap}",
            "-device", f"virtio-net-pci,netdev=net,romfile=,mac=52:54:00:12:34:{number:02x}", "-device", "virtio-rng-pci",
        ],
        stdin=subprocess.DEVNULL, pass_fds=[tap], preexec_fn=kernel.die_with_parent,
    )
    os.close(tap)
    return machine


def _answers(address: str) -> bool:
    with socket.socket() as one, contextlib.suppress(OSError):
        one.settimeout(2)
        return one.connect_ex((address, guest.PORT)) == 0
    return False


def pack(folder: Path, programs: Iterable[str]) -> None:
    """Lay these programs, Python, the kernel's modules and what else a machine runs from into the archive `initrd`."""
    python = Path(sys.executable).resolve()
    archive = Archive(folder / "initrd")
    archive.put("etc/passwd", b"root:x:0:0::/root:/bin/sh\nsshd:x:100:100::/run/sshd:/usr/sbin/nologin\n")
    archive.put("etc/group", b"root:x:0:\nsshd:x:100:\n")
    archive.put("etc/hosts", b"127.0.0.1 localhost\n")
    archive.put("etc/sshd_config", "\n".join(("HostKey /etc/host", "AuthorizedKeysFile /etc/authorized", *SSHD, "")).encode())
    archive.put("etc/host", (folder / "host").read_bytes(), 0o600)
    archive.put("etc/authorized", (folder / "key.pub").read_bytes())
    archive.put("init", f"#!{python} -SE\n".encode() + Path(guest.__file__).read_bytes(), 0o755)
    archive.device("dev/console", 5, 1)
    for name in programs:
        if (found := find_program(name)) is None:
            raise AssertionError(f"no {name}")
        archive.program(f"usr/bin/{name}" if name != "sshd" else "usr/sbin/sshd", Path(found))
    archive.program("usr/bin/python3", python)
    for helper in Path("/usr/lib/openssh").glob("sshd-*"):  # newer sshd are several programs
        archive.program(str(helper), helper)
    for plugin in Path("/usr/lib/x86_64-linux-gnu/xtables").glob("*.so"):
        archive.program(str(plugin), plugin)
    library = Path(sysconfig.get_path("stdlib"))
    archive.program(str(python), python)
    for top, folders, files in os.walk(library):
        folders[:] = [name for name in folders if name not in WITHOUT and not name.startswith("config-")]
        for name in files:
            path = Path(top, name)
            if path.suffix == ".py":  # compiled, since that would take an emulated processor long
                compiled = Path(importlib.util.cache_from_source(str(path)))
                archive.file(f"{path}c" if compiled.exists() else str(path), compiled if compiled.exists() else path)
            elif path.suffix == ".so" and not name.startswith(("_test", "_tkinter", "_codecs_", "_sqlite", "_curses")):
                archive.program(str(path), path)
    order = ordered(MODULES)
    for path in order:
        archive.put(f"modules/{path.name}", unsigned(path.read_bytes()))
    archive.put("modules/order", "\n".join(path.name for path in order).encode())
    archive.close()


def ordered(names: Iterable[str]) -> list[Path]:
    """The files of these modules of the kernel, each after those that it needs; what is built in has none."""
    files = {path.stem.replace("-", "_"): path for path in (cached() / "lib" / "modules").glob("**/*.ko")}
    found: list[Path] = []

    def add(name: str) -> None:
        path = files.get(name.replace("-", "_"))
        if path is None or path in found:
            return
        told = re.search(rb"\0depends=([^\0]*)\0", path.read_bytes())
        for needed in (told[1].decode().split(",") if told else ()):
            add(needed)
        found.append(path)

    for name in names:
        add(name)
    return found


def unsigned(module: bytes) -> bytes:
    """A module of the kernel without the signature behind it, which an emulated processor would check for long."""
    mark = b"~Module signature appended~\n"
    if not module.endswith(mark):
        return module
    length = int.from_bytes(module[-len(mark) - 4 : -len(mark)], "big")
    return module[: -len(mark) - 12 - length]


class Archive:
    """A cpio archive ("newc", as the kernel unpacks it), with the libraries that programs in it need. `/bin`, `/lib` and their
    like are links into `/usr`."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._made: set[str] = set()
        self._number = 0
        self._programs: list[Path] = []
        for name in ("bin", "sbin", "lib", "lib64"):
            self._entry(name, stat.S_IFLNK | 0o777, f"usr/{name}".encode())
        for name in ("root", "tmp", "var/empty", "var/lib", "proc", "sys", "dev", "run"):
            self._folder(name)

    def put(self, name: str, content: bytes, mode: int = 0o644) -> None:
        self._put(name, stat.S_IFREG | mode, content, 0)

    def device(self, name: str, major: int, minor: int) -> None:
        self._put(name, stat.S_IFCHR | 0o600, b"", 0, (major, minor))

    def file(self, name: str, source: Path) -> None:
        told = source.stat()
        self._put(name, stat.S_IFREG | (told.st_mode & 0o777), source.read_bytes(), int(told.st_mtime))

    def program(self, name: str, source: Path) -> None:
        """A program or a library, and the libraries that it needs."""
        self._programs.append(source.resolve())
        self.file(name, source)

    def close(self) -> None:
        said = subprocess.run(["ldd", *map(str, self._programs)], capture_output=True, text=True, check=False).stdout
        for library in re.findall(r"(?:=> |^\t)(/\S+) \(", said, re.MULTILINE):
            self.file(os.path.normpath(library), Path(library))
        self._entry("TRAILER!!!", 0, b"")
        self._file.close()

    def _put(self, name: str, mode: int, content: bytes, time: int, device: tuple[int, int] = (0, 0)) -> None:
        name = _usr(name)
        if name not in self._made:
            self._folder(str(Path(name).parent))
            self._made.add(name)
            self._entry(name, mode, content, time, device)

    def _folder(self, name: str) -> None:
        if name not in (".", *self._made):
            self._folder(str(Path(name).parent))
            self._made.add(name)
            self._entry(name, stat.S_IFDIR | 0o755, b"")

    def _entry(self, name: str, mode: int, content: bytes, time: int = 0, device: tuple[int, int] = (0, 0)) -> None:
        self._number += 1
        numbers = (self._number, mode, 0, 0, 1, time, len(content), 0, 0, *device, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08x" % number for number in numbers) + name.encode() + b"\0"
        self._file.write(head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4))


def _usr(name: str) -> str:
    """The name of a file in the archive, where `/bin` and its like are links."""
    name = name.lstrip("/")
    return f"usr/{name}" if name.split("/")[0] in ("bin", "sbin", "lib", "lib64") else name


if __name__ == "__main__":
    main()
