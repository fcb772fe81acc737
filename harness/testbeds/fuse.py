"""A mount whose files come from a program of ours: FUSE, for whom neither libfuse nor `fusermount` is needed. Only the standard
library and `kernel.py`, so that it can be sent to a machine as text.
"""

from __future__ import annotations

import os
from pathlib import Path

from splitbrain.harness.testbeds import kernel

DEVICE = "/dev/fuse"

_FLAGS = kernel.MS_NOSUID | kernel.MS_NODEV
_OPTIONS = "rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"


def mount(source: str, folder: Path) -> int:
    """Put one over a folder, which says that it is of `source`; the descriptor over which it is served. Raises `OSError` with a
    sentence."""
    try:
        device = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise OSError(
            error.errno, f"{DEVICE} cannot be opened ({error.strerror}): run `sudo modprobe fuse`, and let this user read and "
            "write it (`sudo chmod 666 /dev/fuse`)."
        ) from error
    try:
        kernel.mount(source, str(folder), "fuse", _FLAGS, f"fd={device},{_OPTIONS}")
    except OSError as error:
        os.close(device)
        raise OSError(error.errno, f"FUSE cannot be mounted: {kernel.reason(error)}.") from error
    return device
