"""A program for tests of what outlives what: `python -m tests.harness.testbeds.lifetime WHAT FOLDER RUN`."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from splitbrain.harness.errors import SetupError
from splitbrain.harness.testbeds.namespaces import Namespaces
from splitbrain.harness.testbeds.testbed import everything
from tests.harness.testbeds.cluster import plan, up


def say(what: str) -> None:
    print(what, flush=True)


async def cut_and_heal(testbed: Namespaces, times: int) -> None:
    say("setting up")
    await up(testbed, 5)
    whole = everything(node.name for node in testbed.nodes)
    cut = whole.copy()
    cut.remove_edges_from([link for link in whole.edges if "n1" in link])
    for _ in range(times):
        for before, after in ((whole, cut), (cut, whole)):
            await testbed.apply(before, after)
            reach = await testbed.probe(after, timeout=1.0)
            if reach.wrong(after):
                raise SetupError(f"wrong: {reach.wrong(after)}")
            say(f"{len(reach.cut())} cut")
    say(f"uid {os.getuid()}")
    await testbed.down()


def count_signals() -> int:
    """Ends half a second after the first signal, so that a second delivery of it would be counted."""
    seen: list[str] = []

    def count(number: int, frame: FrameType | None) -> None:
        seen.append(signal.Signals(number).name)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, count)
    say("ready")
    while not seen:
        time.sleep(0.01)
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        time.sleep(0.01)
    say(f"seen {' '.join(seen)}")
    return 30


def wait_for_interrupt() -> int:
    say("ready")
    time.sleep(60)
    return 0


def orphans() -> int:
    """Leaves behind a process that has left its session and ignores every signal that can be ignored."""
    subprocess.Popen(["sh", "-c", "trap '' TERM HUP INT; (setsid sleep 300 &) ; exit 0"]).wait()
    end = time.monotonic() + 30
    while time.monotonic() < end:
        processes = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        states = [(entry / "stat").read_text().rpartition(")")[2].split()[0] for entry in processes]
        if len(states) == 3 and "Z" not in states:  # the init, this one, the sleeping one
            return 0
        time.sleep(0.01)
    return 1


def surroundings() -> int:
    """Says what the inner process sees."""
    Path("written").write_text("")
    say(f"pid {os.getpid()}")
    say(f"links {' '.join(sorted(name for _, name in socket.if_nameindex()))}")
    say(f"run {len(list(Path('/run').iterdir()))}")
    return 0


def main() -> int:
    what, folder, run = sys.argv[1:]
    os.chdir(folder)
    testbed = Namespaces(plan(), run, Path(folder))
    works: dict[str, Any] = {
        "loop": lambda: asyncio.run(cut_and_heal(testbed, 1_000_000)),
        "once": lambda: asyncio.run(cut_and_heal(testbed, 1)),
        "signals": count_signals,
        "interrupt": wait_for_interrupt,
        "orphans": orphans,
        "surroundings": surroundings,
    }
    if what == "loop":
        say("entering")
    try:
        code = testbed.inside(lambda: works[what]() or 0)
    except SetupError as error:
        say(f"refused: {error}")
        return error.exit_code
    say(f"outer goes on with {code}")
    return code


if __name__ == "__main__":
    sys.exit(main())
