"""Links impaired on this machine: packets of other nodes go through queues of its kernel to a program (shaper.py), which the
controller sends when it is first needed.

The program ends with the helper, since it listens to it; packets for which nobody asks any more then pass as they come.
"""

from __future__ import annotations

import array
import ctypes
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from splitbrain.harness.testbeds.helper import rules
from splitbrain.harness.testbeds.helper.machine import RUN

PATIENCE = 10.0

_NETLINK_NETFILTER = 12
_CLONE_NEWNET = 0x40000000


class Shaper:
    """The program (`source`), on the node that is number `own` of `nodes`, whose queues are numbered from `first` on. What it
    has to complain of goes to the file `log`. Every method raises `OSError`."""

    def __init__(self, source: str, own: int, nodes: int, first: int, run: str, log: str) -> None:
        self.log = log
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.settimeout(PATIENCE)
        made = []
        try:
            with theirs, open(log, "ab") as said:  # noqa: PTH123
                made.append(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER))
                made.append(socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW))
                if Path("/proc/net/if_inet6").exists():
                    made.append(socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW))
                self.process = subprocess.Popen(
                    [sys.executable, "-I", "-S", "-c", source], stdin=theirs.fileno(), stdout=said, stderr=said, cwd="/",
                    env={RUN: run}, start_new_session=True,
                )
            begun = json.dumps({"nodes": nodes, "own": own, "first": first}).encode()
            sent = array.array("i", [one.fileno() for one in made])
            self.control.sendmsg([begun], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, sent)])
            self.answer()
        except OSError:
            self.control.close()
            raise
        finally:
            for one in made:
                one.close()

    def tell(self, links: Any) -> None:
        """What happens from now on, all of it: `[from, to, shape]` each. With none, what is held back is let go."""
        self.control.send(json.dumps({"links": links}).encode())
        self.answer()

    def answer(self) -> None:
        """Wait for its answer."""
        said = self.control.recv(4096)
        if not said:
            raise OSError(0, f"the program that impairs links has ended, see {self.log}")
        if reason := json.loads(said)["error"]:
            raise OSError(0, f"links cannot be impaired: {reason}")

    def close(self) -> None:
        """End it."""
        self.control.close()
        self.process.wait()


def refusal(source: str, text: str) -> str:
    """Why links cannot be impaired on this machine, in a sentence; empty where they can: tried with these rules in a network of
    its own, which ends with the thread that has it."""
    found = []

    def tried() -> None:
        try:
            if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET) != 0:
                raise OSError(0, f"a network of its own cannot be made to try it: {os.strerror(ctypes.get_errno())}")
            rules.gate("try", "mangle", ())
            rules.restore("iptables", text)
            Shaper(source, 0, 2, 0, "try", os.devnull).close()
        except OSError as error:
            found.append(error.strerror or str(error))

    thread = threading.Thread(target=tried)
    thread.start()
    thread.join()
    return "".join(found)
