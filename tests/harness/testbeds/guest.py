"""The first process of a virtual machine (virtual.py): it makes of a bare kernel a machine with a network and an sshd.

Run by the machine's Python. At a port of its own it does what is asked besides, so that tests can look at the machine by
another way than SSH: a script comes in, and what it printed goes out.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import threading
import time
from pathlib import Path

PORT = 4242
CLOCK = b"clock"
MODULES = Path("/modules")

libc = ctypes.CDLL(None, use_errno=True)


def clock() -> int:
    """Nanoseconds from 1970 to the machine's start, as its clocks have it now."""
    found = []
    for _ in range(25):
        before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        now = time.time_ns()
        after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        found.append((after - before, now - (before + after) // 2))
    return min(found)[1]


def mount(kind: str, target: str) -> None:
    os.makedirs(target, exist_ok=True)  # noqa: PTH103
    if libc.mount(kind.encode(), target.encode(), kind.encode(), 0, None):
        raise OSError(ctypes.get_errno(), f"mount {target}")


def load(module: str) -> None:
    with (MODULES / module).open("rb") as file:
        if libc.syscall(313, file.fileno(), b"", 0):  # finit_module
            raise OSError(ctypes.get_errno(), f"load {module}")


def answer(client: socket.socket) -> None:
    """Run the script that comes, up to the end of what is sent, and send back what it printed; or tell the clock."""
    with client:
        script = b""
        while data := client.recv(1 << 16):
            script += data
        if script == CLOCK:
            client.sendall(str(clock()).encode())
            return
        ran = subprocess.run(["sh", "-c", script.decode()], capture_output=True, check=False)
        client.sendall(ran.stdout)


def main() -> None:
    os.environ["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
    for kind, target in (("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("devpts", "/dev/pts"), ("tmpfs", "/run"),
                         ("tmpfs", "/tmp"), ("tmpfs", "/dev/shm")):
        mount(kind, target)
    given = dict(word.split("=", 1) for word in Path("/proc/cmdline").read_text().split() if word.startswith("guest."))
    for module in (MODULES / "order").read_text().split():
        load(module)
    Path("/proc/sys/kernel/hostname").write_text(given["guest.name"])
    for words in ("link set lo up", f"address add {given['guest.address']} dev eth0", "link set eth0 up"):
        subprocess.run(["ip", *words.split()], check=True)
    os.makedirs("/run/sshd", exist_ok=True)  # noqa: PTH103
    subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", "/etc/sshd_config"], stdin=subprocess.DEVNULL)
    while ":0016 00000000:0000 0A" not in Path("/proc/net/tcp").read_text():  # a connection would cost it much
        time.sleep(0.1)
    with socket.create_server(("", PORT)) as server:
        while True:
            client, _ = server.accept()
            threading.Thread(target=answer, args=(client,), daemon=True).start()


if __name__ == "__main__":
    main()
