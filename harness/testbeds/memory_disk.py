"""A data folder's own disk, in memory, whose size the kernel lets us change at any time: so it can be full."""

from __future__ import annotations

import os
from pathlib import Path

from splitbrain.harness.testbeds import kernel

ROOM = 1 << 30
"""Its size while it is not full, in bytes."""

_FLAGS = kernel.MS_NOSUID | kernel.MS_NODEV
_ATTEMPTS = 50


def mount(folder: Path) -> None:
    """Put one over a folder. Raises `OSError`."""
    kernel.mount("tmpfs", str(folder), "tmpfs", _FLAGS, f"mode=755,size={ROOM}")


def fill(folder: Path, *, full: bool) -> None:
    """Make it as small as what lies on it, or as large as before. The kernel refuses where more was written meanwhile: then
    again. Raises `OSError`."""
    for attempt in range(_ATTEMPTS):
        disk = os.statvfs(folder)
        size = max(1, disk.f_blocks - disk.f_bfree) * disk.f_frsize
        try:
            kernel.mount("tmpfs", str(folder), "tmpfs", _FLAGS | kernel.MS_REMOUNT, f"size={size if full else ROOM}")
        except OSError:
            if attempt == _ATTEMPTS - 1:
                raise
        else:
            return
