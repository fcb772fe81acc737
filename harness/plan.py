"""Plan: everything that decides a run, one frozen value."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from splitbrain.harness.history.fault import Spec

FORMAT = 1

Pace = Literal["interval", "staggered", "random", "primary-changes"]
"""How a nemesis' faults follow each other (see `schedules.py`)."""

When = Literal["due", "primary-changes"]
"""When a fault that is due begins: at once, or when the nodes name another primary than at that moment."""


def short(name: str) -> str:
    """What people read of a name in a plan: a person's own file by its stem, anything else as it is."""
    if "+" in name and not Path(name).is_file():  # a combination of nemeses
        return "+".join(map(short, name.split("+")))
    file, colon, scenario = name.partition(":")
    return Path(file).stem + colon + scenario if file.endswith(".py") else name


class ScriptedFault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fault of a scripted schedule: from `at` seconds of load on (or `when` something happens after that), for `duration`
    seconds, this nemesis, in this scenario (empty: its first) or with these very targets."""

    at: float
    duration: float
    nemesis: str = ""
    scenario: str = ""
    specs: tuple[Spec, ...] = ()
    when: When = "due"


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that decides a run. Times are in seconds; the seed fixes the schedule of operations and faults.

    `time` is the length of the load; 0 stands for "as long as the nemesis' schedule needs". `rate` is operations a second
    of an open loop over all workers; 0 is a closed loop, whose workers wait `think` seconds after each answer.
    `concurrency` is workers a node. `timeout` bounds one operation. `keys` is the number of keys. `settle` bounds the waiting
    for equal replicas after the load. `checkers` judge the run beside those of its workload. `pace` is how the nemesis'
    faults follow each other; `schedule` replaces them by a script, whose faults may overlap. `tcp_rto_max_ms` bounds the
    kernel's retransmission time-out on the nodes; 0 leaves the kernel's default.
    """

    format: int = FORMAT
    database: str
    variant: str
    workload: str = "register"
    nemesis: str = "four-partitions"
    nodes: int = 5
    time: float = 0.0
    rate: float = 0.0
    concurrency: int = 3
    seed: int = 0
    testbed: str = "namespaces"
    binary: str = ""
    image: str = ""
    keep: bool = False
    expect: tuple[str, ...] = ()
    checkers: tuple[str, ...] = ()
    timeout: float = 1.0
    think: float = 0.004
    baseline: float = 5.0
    fault: float = 8.0
    between: float = 5.0
    settle: float = 28.0
    keys: int = 40
    pace: Pace = "interval"
    schedule: tuple[ScriptedFault, ...] = ()
    tcp_rto_max_ms: int = 0

