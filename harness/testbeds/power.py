"""Data folders on disks that lose what was not synced when their power goes: a FUSE mount each, with its own server.

The server (volatile_server.py) is a process beside the nodes, which ends with the harness; a mount without its server answers
nothing but errors. It goes with the mount namespace that it is in; where that is the machine's own, it names its owner, and
`clean` takes it away.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import socket
import sys
from pathlib import Path

import msgspec

from splitbrain.harness.errors import SetupError
from splitbrain.harness.testbeds import fuse, kernel
from splitbrain.harness.testbeds.owner import is_gone, owner
from splitbrain.harness.testbeds.spawner import Channel
from splitbrain.harness.testbeds.testbed import Unwritten

_PATIENCE = 20.0
_SOURCE = "splitbrain:"
"""What such a mount says that it is of, before its owner."""


class VolatileDisk:
    """One mount. What its server has to complain of goes to `log`."""

    def __init__(self, folder: Path, log: Path) -> None:
        self.folder = folder
        self._log = log
        self._control, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        self._asking = asyncio.Lock()
        self._mounted = False

    async def begin(self, home: Channel) -> None:
        """Mount it, with the server beside the first process of `home`. Raises `SetupError` where FUSE is not to be had."""
        environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            device = fuse.mount(_SOURCE + owner(), self.folder)
            self._mounted = True
            with self._theirs, self._log.open("ab") as log, contextlib.closing(os.fdopen(device, "rb", buffering=0)):
                argv = (sys.executable, "-m", "splitbrain.harness.testbeds.volatile_server", "0", "1")
                await home.spawn(argv, environment, "/", (device, self._theirs.fileno(), log.fileno()))
        except OSError as error:
            raise SetupError(kernel.reason(error)) from error
        await self._ask({"delay": 0.0})

    async def lose_power(self, how: str, seed: int) -> Unwritten:
        """Lose what was not synced. Nobody has a file open there any more. Raises `SetupError`."""
        return msgspec.json.decode(await self._ask({"lose": how, "seed": seed}), type=Unwritten)

    async def slow(self, seconds: float) -> None:
        """Let every sync take so much longer. Raises `SetupError`."""
        await self._ask({"delay": seconds})

    def unmount(self) -> None:
        """Take it away with its folder, and with what somebody who does not see the mount put there. Idempotent. Raises
        `SetupError`."""
        if self._mounted:
            self._mounted = False
            _unmount(self.folder)
            shutil.rmtree(self.folder)

    def close(self) -> None:
        """End its server. Idempotent."""
        self._control.close()
        self._theirs.close()

    async def _ask(self, message: dict[str, float | str]) -> bytes:
        loop = asyncio.get_running_loop()
        async with self._asking:
            try:
                async with asyncio.timeout(_PATIENCE):
                    await loop.sock_sendall(self._control, msgspec.json.encode(message))
                    told = await loop.sock_recv(self._control, 4096)
            except (OSError, TimeoutError) as error:
                raise SetupError(f"the server of the disk at {self.folder} does not answer, see {self._log}.") from error
        if not told:
            raise SetupError(f"the server of the disk at {self.folder} has ended, see {self._log}.")
        return told


def clean() -> list[str]:
    """Take away the mounts, in this mount namespace, whose harness is gone; a line for each. Only root may. Raises
    `SetupError`."""
    removed = []
    for line in Path("/proc/self/mounts").read_text().splitlines() if os.geteuid() == 0 else ():
        source, folder, kind, *_ = line.split(" ")
        if kind == "fuse" and source.startswith(_SOURCE) and is_gone(source.removeprefix(_SOURCE)):
            path = re.sub(r"\\([0-7]{3})", lambda escaped: chr(int(escaped[1], 8)), folder)
            _unmount(Path(path))
            removed.append(f"the disk at {path}, whose harness is gone: removed")
    return removed


def _unmount(folder: Path) -> None:
    """Take a disk away. Raises `SetupError`."""
    try:
        kernel.unmount(str(folder))
    except OSError as error:
        raise SetupError(f"{folder}: its disk cannot be taken away: {kernel.reason(error)}") from error
