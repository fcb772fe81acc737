"""What is put back on the machine, also by `clean`, and the guard that does it when nobody else can."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any, NoReturn

from splitbrain.harness.testbeds import clocks, families
from splitbrain.harness.testbeds.helper import rules, wall
from splitbrain.harness.testbeds.helper.machine import RUN, boot, is_same, lives, pids, shares_network, start_time


def put_back(run: str, state: Any) -> list[str]:
    """Everything as it was before faults: our chains lifted, clocks right, who stands still goes on, who was ended is started.
    A line for each thing that was done, or could not be. Who goes on, or was started, is no longer in `state`."""
    done = rules.lift(run)
    if state.get("boot") != boot():  # nothing of it is left
        return done
    if known := state.get("clock"):
        try:
            if wall.put_right(known):
                done.append("the machine's clock: put right")
        except OSError as error:
            done.append(f"the machine's clock is wrong still: {error.strerror}")
    for leader, (started, mark) in state.get("skewed", {}).items():
        if is_same(int(leader), started):
            name = mark.rpartition("/")[2]
            try:
                if clocks.skew_family(int(leader), mark, 0, paused=leader in state.get("paused", {})):
                    done.append(f"{name}: its clock put right")
            except OSError as error:
                done.append(f"{name}: its clock is wrong still: {error.strerror}")
            families.resume(int(leader), mark)  # Who was about to change it had it stand still, and may have ended there.
    paused, state["paused"] = state.get("paused", {}), {}
    for leader, (started, mark) in paused.items():
        if is_same(int(leader), started):
            families.resume(int(leader), mark)
            done.append(f"{mark.rpartition('/')[2]}: resumed")
    ended, state["ended"] = state.get("ended", {}), {}
    for name, argv in ended.items():
        said = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if said.returncode:
            state["ended"][name] = argv
            done.append(f"{name}: not started again: {' '.join((said.stderr or said.stdout).split())}")
        else:
            done.append(f"{name}: started again")
    return done


def note(folder: Path, state: Any) -> None:
    """Write down, in the folder of the run, what will have to be put back. Nobody else reads it: environments may be secret."""
    fresh = folder / "state.new"
    fresh.touch(0o600)
    fresh.write_text(json.dumps(state))
    fresh.replace(folder / "state.json")


def started(server: Any) -> Any:
    """A server's process, in a session of its own."""
    with open(server["log"], "ab") as log:  # noqa: PTH123
        return subprocess.Popen(
            server["argv"], env=server["env"], cwd=server["cwd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )


def start_again(folder: Path, state: Any) -> None:
    """Start the servers of the run that are down, in their order, and write down what is left to be put back."""
    for name, server in state["servers"].items():
        if name in state["down"]:
            process = started(server)
            state["started"][str(process.pid)] = start_time(process.pid), server["env"][families.SERVICE]
    note(folder, state)


def end_all(run: str, state: Any, spared: Collection[int] = ()) -> list[int]:
    """Kill every process that came of the servers that were started, and whatever else in this network carries the run's label,
    but for those that are `spared`: some servers write over their environment."""
    mark, killed = f"{RUN}={run}".encode(), []
    for leader, (started, mark_of_service) in state.get("started", {}).items():
        if state.get("boot") == boot() and is_same(int(leader), started):
            killed += sorted(families.family(int(leader), mark_of_service))
            families.kill(int(leader), mark_of_service)
    for _ in range(200):
        others = (pid for pid in pids() if pid not in (1, os.getpid(), *spared))
        labelled = (pid for pid in others if mark in families.environment(pid))
        alive = [pid for pid in labelled if shares_network(pid) and lives(pid)]
        if not alive:
            break
        for pid in alive:
            families.send_signal(pid, signal.SIGKILL)
        killed += [pid for pid in alive if pid not in killed]
        time.sleep(0.01)
    return killed


def guard(told: int, helper: int, folder: Path, run: str, patience: float, disk: Any) -> NoReturn:
    """Wait for the end of the helper, or the silence of the controller for `patience` seconds; then put everything back, also
    on the `disk` of the data folder, where it has one."""
    os.setsid()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: None)  # what it starts would ignore for ever what it ignored
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    state: Any = {}
    rest = b""
    while True:
        if not select.select([told], [], [], patience)[0]:
            os.kill(helper, signal.SIGKILL)
            break
        data = os.read(told, 1 << 16)
        if not data:
            break
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line:
                state = json.loads(line)
        if state.get("over"):
            os._exit(0)
    put_back(run, state)
    if disk is not None:
        with contextlib.suppress(OSError):
            disk.restore()
    if state:
        with contextlib.suppress(OSError):
            start_again(folder, state)
    os._exit(0)
