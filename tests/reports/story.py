"""A run that never was, for the reports to tell: five nodes, the primary cut off, acknowledged writes lost.

The recording is simulated (a primary that moves and takes its clients' writes along); its result is judged like any other.
"""

from __future__ import annotations

import random

from checkers.judge import judge
from checkers.result import Result
from checkers.verdict import Checker
from harness.history.fault import Fault
from harness.history.history import History
from harness.history.operation import Operation, Outcome
from harness.history.recording import LocalRead, Phase, Recording, View
from harness.history.variant import Claim, Label, Variant
from harness.plan import Plan

NODES = ("n1", "n2", "n3", "n4", "n5")
HOSTILE = "</script><script>alert(1)</script>\x1b[31m\x1b]0;owned\x07 \"quoted\" 'single' & \u202e\x00"

SENTINEL = Variant(
    name="sentinel",
    summary="a primary with asynchronous replicas, failed over by Sentinel",
    reads="primary",
    writes="primary",
    claim=Claim(
        text="acknowledged writes may be lost in partitions",
        source="documentation of Sentinel",
        promises=("converges",),
        admits=("lost-write",),
    ),
    labels=(Label("CP", "textbook"), Label("PA/EL", "Abadi 2012")),
    tuned=("down-after-milliseconds 2000 (default 30000)", "failover-timeout 4000 (default 180000)"),
    local="GET on each replica",
)

PLAN = Plan(database="redis", variant="sentinel", nemesis="partition-primary", seed=8161, time=45.0, keys=40)


def second(at: float) -> int:
    """Nanoseconds."""
    return round(at * 1e9)


FAULT = Fault(
    id=1,
    nemesis="partition-primary",
    scenario="primary alone",
    started=second(12.0),
    proven=second(12.11),
    heal_began=second(27.0),
    healed=second(27.09),
    cut=tuple((a, b) for a in NODES for b in NODES if (a == "n1") != (b == "n1")),
    observed_cut=tuple((a, b) for a in NODES for b in NODES if (a == "n1") != (b == "n1")),
    sides=(("n2", "n3", "n4", "n5"), ("n1",)),
    primary="n1",
    spread=3_100_000,
    heal_spread=2_400_000,
)


def recording(hostile: bool = False, seed: int = 1, rate: float = 280.0) -> Recording:
    """Fifteen workers, `rate` operations a second, 45 seconds. `hostile` puts `HOSTILE` wherever a stranger's text can stand."""
    rng = random.Random(seed)
    stores: dict[str, dict[int, object]] = {"n1": {}, "n3": {}}
    operations: list[Operation] = []
    process = {worker: worker for worker in range(15)}
    fresh = 0
    at = 1.2
    busy = dict.fromkeys(range(15), 0.0)
    while at < 46:
        at += rng.expovariate(rate)
        worker = rng.randrange(15)
        if busy[worker] > at:
            continue
        home = NODES[worker % 5]
        key, write = rng.randrange(40), rng.random() < 0.5
        took = 0.0012 + rng.expovariate(1 / 0.0006) + (0.03 if rng.random() < 0.004 else 0)
        primary = "n1" if at < 15.3 or home == "n1" and at < 28.2 else "n3"
        outcome: Outcome = "ok"
        error = None
        if home != "n1" and 12.05 < at < 12.11:
            outcome, took, error = "info" if write else "fail", 1.0, "timeout"
        elif home != "n1" and 12.1 < at < 15.3:
            outcome, took, error = "fail", 0.0006, "no-primary-in-reach"
        elif home == "n1" and 27.2 < at < 28.2:
            outcome, took, error = "fail", 0.0005, "no-primary-in-reach"
        if primary == "n3" and not stores["n3"]:
            stores["n3"] = dict(before)
        if at < 12.05:
            before = dict(stores["n1"])
        value: object = None
        if write:
            fresh += 1
            value = HOSTILE + str(fresh) if hostile and fresh % 7 == 0 else fresh
            if outcome == "ok":
                stores[primary][key] = value
        elif outcome == "ok":
            value = stores[primary].get(key)
        operations.append(
            Operation(
                process=process[worker], f="write" if write else "read", key=key, value=value, outcome=outcome,
                invoked=second(at), completed=second(at + took), error=error, node=home, server=primary if outcome != "fail" else None,
            )
        )
        busy[worker] = at + took
        if outcome == "info":
            process[worker] += 15
    final = stores["n3"]
    reads = tuple(
        LocalRead(node=node, key=key, value=final.get(key) if round or node != "n1" else 0, time=second(27.6 + 1.3 * round), round=round)
        for round in (0, 1) for node in NODES for key in range(40)
    )
    variant = SENTINEL
    if hostile:
        variant = Variant(
            name="sentinel", summary=HOSTILE, reads="primary", writes="primary", tuned=(HOSTILE,), local=HOSTILE,
            claim=Claim(text=HOSTILE, source=HOSTILE), labels=(Label(HOSTILE, HOSTILE),),
        )
    return Recording(
        history=History.of(operations),
        nodes=NODES,
        plan=PLAN,
        variant=variant,
        started="2026-11-05T02:10:12+00:00",
        faults=(FAULT,),
        phases=(
            Phase("set-up", 0, second(1.1)), Phase("load", second(1.1), second(46.2)), Phase("heal", second(46.2), second(46.3)),
            Phase("settle", second(46.3), second(46.9)), Phase("final-reads", second(46.9), second(47.4)),
            Phase("tear-down", second(47.4), second(47.9)),
        ),
        local_reads=reads,
        views=(
            *(View(node=node, primary="n1", time=second(1.1)) for node in NODES),
            *(View(node=node, primary=None, time=second(14.1)) for node in NODES[1:]),
            *(View(node=node, primary="n3", time=second(15.3)) for node in NODES[1:]),
            View(node="n1", primary=None, time=second(27.2)),
            View(node="n1", primary="n3", time=second(28.2)),
        ),
        versions=dict.fromkeys(NODES, HOSTILE if hostile else "7.0.15"),
    )


def result(of: Recording, checkers: tuple[Checker, ...] = ()) -> Result:
    """What the judge says of it."""
    return judge(of, checkers)
