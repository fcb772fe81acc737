"""Plan: everything that decides a run, one frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from splitbrain.harness.history.fault import Spec
from splitbrain.harness.settings import SECOND, Setting

FORMAT = 2
"""2: `time`, `rate` and `tcp_rto_max_ms` say in a word what 0 stood for in 1, and there are options."""

Pace = Literal["interval", "staggered", "random", "primary-changes"]
"""How a nemesis' faults follow each other (see `schedules.py`)."""

SETTLE = 28.0
"""Seconds in which replicas of every database here become equal again after a heal, unless they never do."""

When = Literal["due", "primary-changes"]
"""When a fault that is due begins: at once, or when the nodes name another primary than at that moment."""


def short(name: str) -> str:
    """What people read of a name in a plan: a person's own file by its stem, anything else as it is."""
    if "+" in name and not Path(name).is_file():  # a combination of nemeses
        return "+".join(map(short, name.split("+")))
    file, colon, scenario = name.partition(":")
    return Path(file).stem + colon + scenario if file.endswith(".py") else name


_RTO_MAX = Path("/proc/sys/net/ipv4/tcp_rto_max_ms")
"""Where the kernel offers it (Linux 6.15), a connection is tried again within a second of a heal, and not up to 6 s later:
what is measured is the database's recovery, not the kernel's. The plan that is kept says so; "kernel" asks for the kernel's."""


def usual_rto_max() -> int:
    """What `tcp_rto_max_ms` is on this machine where nobody tells it."""
    return 1000 if _RTO_MAX.exists() else 0


Tables = Mapping[str, Mapping[str, Any]]
"""The options of a plan: a table for its workload, and one for each of its nemeses, that has any."""


class OptionTable(msgspec.Struct, frozen=True):
    """What can be set of one workload or one nemesis, in the plan's table `[options.NAME]`: by default nothing.

    A workload or nemesis with a nested class `Options(splitbrain.OptionTable, frozen=True)` has its values as `self.options`. A
    field is annotated with its `Setting`; what two of them cannot be together is a `ValueError` in `__post_init__`.
    """


def options_of(kind: Any, tables: Tables) -> Any:
    """The options of a class of workload or nemesis out of a plan's tables; what they do not tell has its default."""
    return msgspec.convert(tables.get(getattr(kind, "name", ""), {}), kind.Options)


class ScriptedFault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fault of a scripted schedule: from `at` seconds of load on (or `when` something happens after that), for `duration`
    seconds, this nemesis, in this scenario (empty: its first) or with these very targets."""

    at: Annotated[float, Setting("When it begins, from the beginning of the load.", unit=SECOND)]
    duration: Annotated[float, Setting("How long it lasts.", unit=SECOND)]
    nemesis: Annotated[str, Setting("What goes wrong, as the plan's nemesis.")] = ""
    scenario: Annotated[str, Setting("One of the nemesis' scenarios; empty: its first.")] = ""
    specs: Annotated[tuple[Spec, ...], Setting("Its very targets, as a run's journal has them, instead of a scenario.")] = ()
    when: Annotated[When, Setting("Whether it begins when it is due, or when the primary changes after that.")] = "due"
    writes: Annotated[int, Setting(
        "It begins no sooner than so many writes were acknowledged since the beginning of the load.")] = 0
    primary: Annotated[str, Setting(
        "Who was primary when these targets were chosen: where another node is primary now, the two change places; empty: they "
        "are meant as they are.")] = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that decides a run. Times are in seconds; the seed fixes the schedule of operations and faults.

    What each key means is said beside it; `time` 0 is "auto", `rate` 0 is "closed", `tcp_rto_max_ms` 0 is "kernel".
    """

    format: Annotated[int, Setting("The format of this file.", low=1, flag="")] = FORMAT
    database: Annotated[str, Setting("A database ('splitbrain list'), or the path of a Python file that defines one.", flag="")]
    variant: Annotated[str, Setting("One configuration of the database ('splitbrain list').", default="the vendor's")]
    workload: Annotated[str, Setting("What clients do ('splitbrain list'), or a file of one's own.")] = "register"
    nemesis: Annotated[str, Setting(
        "What goes wrong ('splitbrain list'), or a file of one's own; one scenario of it (kill:primary), or several at once "
        "(halves+kill).")] = "four-partitions"
    nodes: Annotated[int, Setting("Nodes in the cluster.", low=1, high=15, default="what the variant needs, mostly 5")] = 5
    time: Annotated[float, Setting(
        'Length of the load; "auto": as long as every scenario of the nemesis, or the schedule, needs once.',
        unit=SECOND, high=86_400, zero="auto")] = 0.0
    rate: Annotated[float, Setting(
        'Operations started a second, over all workers, whether answers come or not (an open loop); "closed": each worker '
        "calls again once it has its answer.", unit="operations a second", high=100_000, zero="closed")] = 0.0
    concurrency: Annotated[int, Setting("Workers on each node; where there are several, one of them only reads.",
                                        low=1, high=200)] = 3
    seed: Annotated[int, Setting("Fixes the schedule of operations and faults, not what a database does.",
                                 default="drawn")] = 0
    testbed: Annotated[str, Setting("Where nodes live ('splitbrain list').")] = "namespaces"
    binary: Annotated[str, Setting("The server's program, or the folder that holds its programs (or Cassandra's jars), or "
                                   "one that was fetched ('servers get': etcd-3.5.1); empty: what this machine has.")] = ""
    image: Annotated[str, Setting("The container image; empty: the official one.")] = ""
    inventory: Annotated[str, Setting("The file that names the machines, for the testbeds ssh and attached.")] = ""
    containers: Annotated[str, Setting(
        "A label: the containers of your own that run with it are the nodes; nothing is started.")] = ""
    keep: Annotated[bool, Setting("Keep the nodes' data folders.")] = False
    expect: Annotated[tuple[str, ...], Setting(
        "What must be seen, each of them: valid, invalid, an anomaly (lost-write), a class (CP), or a side "
        "(blocked:minority). A run that does not show it exits with 4.")] = ()
    checkers: Annotated[tuple[str, ...], Setting("Files of checkers of one's own, beside the workload's.",
                                                 flag="--checker")] = ()
    timeout: Annotated[float, Setting("How long an operation may take, before it is given up as one that may have happened.",
                                      unit=SECOND, low=0.05, high=60, default="the database's, mostly 1")] = 1.0
    think: Annotated[float, Setting("How long a worker of a closed loop waits after each answer.",
                                    unit=SECOND, high=60)] = 0.004
    baseline: Annotated[float, Setting("How long the load goes on before the first fault.", unit=SECOND, high=3600)] = 5.0
    fault: Annotated[float, Setting("How long a fault lasts.", unit=SECOND, low=0.5, high=3600)] = 8.0
    between: Annotated[float, Setting("How long the cluster is left alone after a fault.", unit=SECOND, high=3600)] = 5.0
    settle: Annotated[float, Setting("How long, at most, equal replicas are waited for after the load.",
                                     unit=SECOND, high=3600)] = SETTLE
    keys: Annotated[int, Setting("Keys that the workload uses (registers, or sets that grow at a time).",
                                 low=1, high=100_000, default="40, or what the variant needs")] = 40
    pace: Annotated[Pace, Setting(
        "How faults follow each other: one after another; the parts of a combination staggered, so that they overlap; at "
        "random, with random lengths; or each once the primary has changed.")] = "interval"
    schedule: Annotated[tuple[ScriptedFault, ...], Setting(
        "Faults by hand instead, a [[schedule]] table each, which may overlap.", flag="")] = ()
    tcp_rto_max_ms: Annotated[int, Setting(
        'Most milliseconds between two attempts of the nodes\' TCP; "kernel": what this kernel does.',
        unit="milliseconds", high=120_000, zero="kernel", default="1,000 where the kernel can (Linux 6.15)", flag="")] = 0
    options: Annotated[dict[str, dict[str, Any]], Setting(
        "What can be set of the workload and of the nemesis alone, a table [options.NAME] each.", flag="")] = {}
