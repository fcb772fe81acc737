"""The data folder's own disk on this machine: one in memory, so that it can be full, or one of ours by FUSE, whose power can be
taken and whose syncs can be slow.

It is mounted in a mount namespace of the helper's own (`separate`), in which its guard and the servers are too: nobody else on
the machine sees it, nothing of the machine's is mounted or unmounted, and it is gone with the last of them, however they end.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from splitbrain.harness.testbeds import fuse, kernel, memory_disk
from splitbrain.harness.testbeds.helper.machine import RUN

PATIENCE = 20.0


def separate() -> int:
    """Leave the machine's mount namespace for one of our own, with this thread and all that it starts from now on. What is
    mounted there is seen nowhere else; what the machine mounts and unmounts is seen there. Returns a descriptor of the one that
    was left. Raises `OSError`."""
    before = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        kernel.unshare(kernel.CLONE_NEWNS)
        kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_SLAVE)
    except OSError:
        os.close(before)
        raise
    return before


class MemoryDisk:
    """One in memory (memory_disk.py). Every method raises `OSError`."""

    process: Any = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.full = False
        memory_disk.mount(folder)

    def fill(self, full: bool) -> None:
        """Leave no room on it, or give it room again."""
        self.full = full or self.full
        memory_disk.fill(self.folder, full=full)
        self.full = full

    def restore(self) -> None:
        """As it is without a fault."""
        self.fill(False)

    def remove(self, keep: bool) -> None:
        """Take it away; what lay on it is in its place then, where it is to be kept."""
        _take_away(self.folder, keep)


class VolatileDisk:
    """One by FUSE, served by a program (`source`: volatile_server.py and what it needs) in the machine's mount namespace
    (`outside`), so that the mount ends with the servers, and the program with the mount. What it has to complain of goes to the
    file `log`. Every method raises `OSError`."""

    full = False
    process: Any

    def __init__(self, folder: Path, source: str, run: str, log: str, outside: int) -> None:
        self.folder = folder
        self.log = log
        self.asking = threading.Lock()
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.settimeout(PATIENCE)
        device = fuse.mount("splitbrain", folder)
        try:
            with theirs, open(log, "ab") as said:  # noqa: PTH123
                self.process = subprocess.Popen(  # It has our end too, and so does not end with us.
                    [sys.executable, "-I", "-S", "-", str(outside), str(device), str(folder)], stdin=subprocess.PIPE,
                    stdout=theirs.fileno(), stderr=said, cwd="/", env={RUN: run}, start_new_session=True,
                    pass_fds=(outside, device, self.control.fileno()),
                )
            with contextlib.suppress(BrokenPipeError), self.process.stdin as program:  # If it has ended, its log tells why.
                program.write(source.encode())
        finally:
            os.close(device)
        self.slow(0.0)

    def ask(self, **message: Any) -> Any:
        """Tell its server something; the answer."""
        with self.asking:
            try:
                self.control.send(json.dumps(message).encode())
                told = self.control.recv(4096)
            except socket.timeout as error:  # noqa: UP041
                raise OSError(0, f"the server of the disk at {self.folder} does not answer, see {self.log}") from error
            except OSError:
                told = b""
        if not told:
            raise OSError(0, f"the server of the disk at {self.folder} has ended, see {self.log}")
        return json.loads(told)

    def lose_power(self, how: str, seed: int) -> Any:
        """Lose what was not synced."""
        return self.ask(lose=how, seed=seed)

    def slow(self, seconds: float) -> None:
        """Let every sync take so much longer."""
        self.ask(delay=seconds)

    def restore(self) -> None:
        """As it is without a fault."""
        self.slow(0.0)

    def remove(self, keep: bool) -> None:
        """Take it away; what lay on it is in its place then, where it is to be kept."""
        _take_away(self.folder, keep)
        self.process.wait(PATIENCE)
        self.control.close()


def refusal(kind: str, source: str) -> str:
    """Why a data folder cannot have a disk of that kind on this machine, in a sentence; empty where it can: tried with one in a
    mount namespace of its own, which ends with the thread that has it."""
    found = []
    folder = Path(tempfile.mkdtemp(prefix="splitbrain-disk-"))

    def tried() -> None:
        try:
            with open(separate(), "rb", buffering=0) as outside:
                if kind == "memory":
                    disk: Any = MemoryDisk(folder)
                    disk.fill(True)
                else:
                    disk = VolatileDisk(folder, source, "try", os.devnull, outside.fileno())
                    (folder / "try").mkdir()
                disk.remove(keep=False)
        except OSError as error:
            found.append(error.strerror or str(error))

    thread = threading.Thread(target=tried)
    thread.start()
    thread.join()
    folder.rmdir()
    return "".join(found)


def _take_away(folder: Path, keep: bool) -> None:
    kept = folder.with_name(f"{folder.name}.kept")
    try:
        if keep:
            shutil.copytree(folder, kept, symlinks=True)
    finally:
        kernel.unmount(str(folder))
    if keep:
        folder.rmdir()
        kept.rename(folder)
