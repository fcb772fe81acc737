"""Data folders on disks that lose what was not synced when their power goes: a FUSE mount each, with its own server.

The server (volatile_server.py) is a process beside the nodes, which ends with the harness; a mount without its server answers
nothing but errors, and goes with the namespace that it is in.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path

import msgspec

from splitbrain.harness.errors import SetupError
from splitbrain.harness.testbeds import kernel
from splitbrain.harness.testbeds.spawner import Channel
from splitbrain.harness.testbeds.testbed import Unwritten

_DEVICE = "/dev/fuse"
_FLAGS = kernel.MS_NOSUID | kernel.MS_NODEV
_OPTIONS = "rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
_PATIENCE = 20.0


class VolatileDisk:
    """One mount. What its server has to complain of goes to `log`."""

    def __init__(self, folder: Path, log: Path) -> None:
        self.folder = folder
        self._log = log
        self._control, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        self._asking = asyncio.Lock()

    async def begin(self, home: Channel) -> None:
        """Mount it, with the server beside the first process of `home`. Raises `SetupError` where FUSE is not to be had."""
        environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        try:
            device = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise SetupError(f"{_DEVICE} cannot be opened ({error.strerror}): run `sudo modprobe fuse`, and let this user read "
                             "and write it (`sudo chmod 666 /dev/fuse`).") from error
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            kernel.mount("splitbrain", str(self.folder), "fuse", _FLAGS, f"fd={device},{_OPTIONS}")
            with self._theirs, self._log.open("ab") as log:
                argv = (sys.executable, "-m", "splitbrain.harness.testbeds.volatile_server", "0", "1")
                await home.spawn(argv, environment, "/", (device, self._theirs.fileno(), log.fileno()))
        except OSError as error:
            raise SetupError(f"FUSE cannot be mounted: {kernel.reason(error)}.") from error
        finally:
            os.close(device)
        await self._ask({"delay": 0.0})

    async def lose_power(self, how: str, seed: int) -> Unwritten:
        """Lose what was not synced. Nobody has a file open there any more. Raises `SetupError`."""
        return msgspec.json.decode(await self._ask({"lose": how, "seed": seed}), type=Unwritten)

    async def slow(self, seconds: float) -> None:
        """Let every sync take so much longer. Raises `SetupError`."""
        await self._ask({"delay": seconds})

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
