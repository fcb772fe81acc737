"""Starts a container that was ended: what a guard calls (the folder helper), and who undoes a fault.

    python container_start.py SOCKET CONTAINER

A program of the standard library alone, for it runs where splitbrain has died. Who was just about to end the container may do
so after it was found running: so it is then looked at for a while.
"""

from __future__ import annotations

import http.client
import socket
import sys
import time

LOOKS = 5
"""Seconds for which one that runs is looked at."""

_STARTED, _RUNS = 204, 304


class _Engine(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def start(path: str, container: str) -> str:
    """Ask the engine at this socket; why it was not started, in its words, empty where it was or runs."""
    for look in range(LOOKS + 1):
        if look:
            time.sleep(1)
        engine = _Engine(path)
        try:
            engine.request("POST", f"/containers/{container}/start")
            answer = engine.getresponse()
            said = answer.read().decode(errors="replace")
        except OSError as error:
            return f"{path}: {error}"
        finally:
            engine.close()
        if answer.status != _RUNS:
            return "" if answer.status == _STARTED else said
    return ""


if __name__ == "__main__":
    sys.exit(start(*sys.argv[1:]) or 0)
