"""A run that never was, for the reports to tell: five nodes, the primary cut off, acknowledged writes lost.

The recording is simulated (a primary that moves and takes its clients' writes along); its result is judged like any other.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache, lru_cache

from splitbrain.checkers.result import (
    Assessment,
    Blast,
    Check,
    Convergence,
    Expectation,
    Home,
    Measure,
    PeriodCount,
    Quality,
    Result,
    Scenario,
    Shut,
    Side,
    Totals,
)
from splitbrain.checkers.verdict import Anomaly, Coverage, Staleness, Verdict
from splitbrain.harness.history.fault import PlainFault
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Kind, Operation, Outcome
from splitbrain.harness.history.recording import LocalRead, Phase, Recording, View
from splitbrain.harness.history.variant import Claim, Label, Variant
from splitbrain.harness.plan import Plan, usual_rto_max

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

PLAN = Plan(
    database="redis", variant="sentinel", nemesis="partition-primary", seed=8161, time=45.0, keys=40,
    tcp_rto_max_ms=usual_rto_max()
)


def second(at: float) -> int:
    """Nanoseconds."""
    return round(at * 1e9)


FAULT = PlainFault(
    id=1,
    nemesis="partition-primary",
    scenario="primary alone",
    started=second(12.0),
    in_force=second(12.01),
    proven=second(12.11),
    heal_began=second(27.0),
    healed=second(27.09),
    cut=tuple((a, b) for a in NODES for b in NODES if (a == "n1") != (b == "n1")),
    observed_cut=tuple((a, b) for a in NODES for b in NODES if (a == "n1") != (b == "n1")),
    sides=(("n2", "n3", "n4", "n5"), ("n1",)),
    primary="n1",
    spread=3_100_000,
    heal_spread=2_400_000,
).fault()


@cache
def recording(hostile: bool = False, seed: int = 1, rate: float = 280.0) -> Recording:
    """Fifteen workers, `rate` operations a second, 45 seconds. `hostile` puts `HOSTILE` where strangers' text can stand."""
    rng = random.Random(seed)
    stores: dict[str, dict[int, object]] = {"n1": {}, "n3": {}}
    operations: list[Operation] = []
    process = {worker: worker for worker in range(15)}
    before: dict[int, object] = {}
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
        primary = "n1" if at < 15.3 or (home == "n1" and at < 28.2) else "n3"
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
                process=process[worker],
                f="write" if write else "read",
                key=key,
                value=value,
                outcome=outcome,
                invoked=second(at),
                completed=second(at + took),
                error=error,
                node=home,
                server=primary if outcome != "fail" else None,
            )
        )
        busy[worker] = at + took
        if outcome == "info":
            process[worker] += 15
    final = stores["n3"]
    reads = tuple(
        LocalRead(
            node=node,
            key=key,
            value=final.get(key) if round or node != "n1" else 0,
            time=second(27.6 + 1.3 * round),
            round=round,
        )
        for round in (0, 1)
        for node in NODES
        for key in range(40)
    )
    variant = SENTINEL
    if hostile:
        variant = Variant(
            name="sentinel",
            summary=HOSTILE,
            reads="primary",
            writes="primary",
            tuned=(HOSTILE,),
            local=HOSTILE,
            claim=Claim(text=HOSTILE, source=HOSTILE),
            labels=(Label(HOSTILE, HOSTILE),),
        )
    return Recording(
        history=History.of(operations),
        nodes=NODES,
        plan=PLAN,
        variant=variant,
        started="2026-11-05T02:10:12+00:00",
        faults=(FAULT,),
        phases=(
            Phase("set-up", 0, second(1.1)),
            Phase("load", second(1.1), second(46.2)),
            Phase("heal", second(46.2), second(46.3)),
            Phase("settle", second(46.3), second(46.9)),
            Phase("final-reads", second(46.9), second(47.4)),
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
        facts={"image": f"redis:7.2.6 (sha256:{'5e' * 32}, pulled{HOSTILE if hostile else ''})"},
    )


@lru_cache(maxsize=4)
def operations(of: History) -> Sequence[Operation]:
    """Its operations, made once: they are gone through for each figure."""
    return list(of)


def measure(of: Recording, nodes: Sequence[str], kind: Kind, since: float, until: float, outage: float = 0.0) -> Measure:
    """Counted plainly. An `outage` is one until the side had a new primary."""
    ops = [
        op
        for op in operations(of.history)
        if op.node in nodes and (op.f == "read") == (kind == "read") and second(since) <= op.invoked < second(until)
    ]
    answered = sum(op.answered for op in ops)
    share = answered / len(ops) if ops else 0.0
    return Measure(
        kind=kind,
        attempted=len(ops),
        answered=answered,
        share=share,
        low=max(0.0, share - 0.02),
        high=min(1.0, share + 0.02),
        state="available" if share >= 0.99 else "blocked",
        outage=outage,
        transition=outage or None,
        after_transition=1.0 if outage else None,
        served=True if outage else None,
    )


def result(of: Recording, hostile: bool = False) -> Result:
    """What a judge would say of it, written by hand."""
    text = HOSTILE if hostile else ""
    ops = operations(of.history)
    written = next(
        op for op in ops if op.f == "write" and op.node == "n1" and op.outcome == "ok" and op.invoked > second(14)
    )
    seen = next(
        op for op in ops if op.f == "read" and op.node == "n3" and op.key == written.key and op.invoked > second(29)
    )
    before = next(
        op for op in ops if op.f == "read" and op.node == "n3" and op.key == written.key and op.invoked > second(17)
    )
    lost = Anomaly(
        identifier="lost-write",
        key=written.key,
        operations=(written, before, seen),
        fault=1,
        sentence=f"client {written.process} was told that its write of {written.value!r} happened, and no later read "
        f"returned it, although nothing overwrote it{text}",
    )
    stale = Anomaly(
        identifier="stale-read",
        key=written.key,
        operations=(written, before),
        fault=1,
        sentence=f"the read on n3 returned an older value than the one acknowledged on n1{text}",
    )
    sides = (
        Side(
            nodes=("n1",),
            quorum=False,
            primary=True,
            read=measure(of, ("n1",), "read", 12.11, 27),
            write=measure(of, ("n1",), "write", 12.11, 27),
        ),
        Side(
            nodes=NODES[1:],
            quorum=True,
            primary=False,
            without_primary=3.2,
            read=measure(of, NODES[1:], "read", 12.11, 27, outage=3.2),
            write=measure(of, NODES[1:], "write", 12.11, 27, outage=3.2),
        ),
    )
    scenario = Scenario(
        fault=1,
        nemesis="partition-primary",
        name="primary alone",
        label="{n1} | {n2 n3 n4 n5}",
        started=12,
        in_force=12.01,
        proven=12.11,
        heal_began=27,
        healed=27.09,
        bit=True,
        spread_ms=3.1,
        primary="n1",
        links_cut=8,
        sides=sides,
        homes=tuple(
            Home(
                node=node,
                read=measure(of, (node,), "read", 12.11, 27),
                write=measure(of, (node,), "write", 12.11, 27),
            )
            for node in NODES
        ),
        clients_blocked={"write": 0.8},
        consistency="refuted",
        anomalies={"lost-write": 2, "stale-read": 14},
        recovery=1.2,
        classification="neither",
        classes={"read": "neither", "write": "neither"},
        sentence="an anomaly, and the side {n2 n3 n4 n5} was blocked for 3.2 s",
    )
    outcomes = [op.outcome for op in operations(of.history)]
    return Result(
        run="20261105T021012-redis-sentinel-register",
        started=of.started,
        plan=of.plan,
        variant=of.variant,
        versions=of.versions,
        facts=of.facts,
        nodes=of.nodes,
        validity="invalid",
        heading="NOT LINEARIZABLE",
        reason=f"2 of 40 keys: acknowledged writes were lost (lost-write){text}",
        exercised="11,000 operations on 40 keys by 15 workers; its fault proven",
        totals=Totals(
            operations=len(outcomes), ok=outcomes.count("ok"), fail=outcomes.count("fail"), info=outcomes.count("info"), keys=40
        ),
        verdicts=(
            Verdict(
                checker="linearizability",
                validity="invalid",
                reason=f"2 of 40 keys are not linearizable{text}",
                seconds=0.12,
                anomalies=(lost, stale),
                counts={"lost-write": 143, "stale-read": 1014},
                coverage=Coverage(keys=40, operations=11_000, refuted=2, methods={"chains": 40}),
            ),
            Verdict(checker="availability", validity="valid", reason="measured", seconds=0.01),
            Verdict(
                checker="convergence",
                validity="unknown",
                reason="one node answered no final read",
                seconds=0.01,
                limits=("final reads: 60 s",),
            ),
        ),
        anomalies=(lost, stale),
        counts={"lost-write": 143, "stale-read": 1014},
        consistency="refuted",
        baseline=(measure(of, NODES, "read", 1.1, 12), measure(of, NODES, "write", 1.1, 12)),
        scenarios=(scenario,),
        convergence=Convergence(
            state="agreed",
            seconds=1.9,
            rounds=2,
            keys=40,
            how=of.variant.local if of.variant else "",
            reason="all 5 copies hold the same",
        ),
        quality=Quality(
            checks=(
                Check("enough operations", True, "1,500 before, 4,100 during and 5,000 after the fault"),
                Check("fault proven", True, "20 of 20 links as intended, spread 3.1 ms"),
                Check("concurrent", True, "1.3 operations in flight on average"),
                Check("final reads", False, f"one node answered none of its final reads{text}", grave=False),
            ),
            counts=tuple(
                PeriodCount(
                    period=period, side=where, kind=kind, invoked=m.attempted, attempted=m.attempted, answered=m.answered,
                )
                for period, since, until, split in (
                    ("baseline", 1.1, 12, False),
                    ("fault 1", 12.11, 27, True),
                    ("after fault 1", 27.1, 46, False),
                )
                for where, nodes in ((("", NODES),) if not split else (("{n1}", ("n1",)), ("{n2 n3 n4 n5}", NODES[1:])))
                for kind in ("read", "write")
                for m in (measure(of, nodes, kind, since, until),)
            ),
            in_flight=1.3,
        ),
        classification="neither",
        sentence="neither consistent nor available during the partition, 143 acknowledged writes lost",
        classes={"read": "neither", "write": "neither"},
        sacrifices={"read": "wrong", "write": "wrong"},
        blast=Blast(
            clients_blocked=(Shut(kind="write", share=0.8, fault=1, scenario="primary alone"),),
            without_primary=3.2,
            recovery=1.2,
            lost=143,
            acknowledged=5312,
            convergence=1.9,
            staleness=Staleness(stale=1014, reads=5200, share=0.195, median_ms=5300, p99_ms=11_000, max_ms=11_800),
        ),
        claim=Assessment(
            text=of.variant.claim.text, source=of.variant.claim.source, standing="holds", reason="it warns of lost-write"
        )
        if of.variant
        else None,
        labels=(
            Assessment(text="CP" + text, source="textbook" + text, standing="does not hold", reason="neither was seen" + text),
            Assessment(text="PA/EL", source="Abadi 2012", standing="not tested", reason="latency was not varied"),
        ),
        expectations=(Expectation("lost-write", True, "143 times"), Expectation("CP", False, "neither was seen" + text)),
        recommendations=(
            "If acknowledged writes must survive, set min-replicas-to-write 1: it narrows the loss, it does not remove it.",
            "Treat an acknowledgement by the old primary as provisional until its replicas are known to have it." + text,
        ),
        limits=("final reads: 60 s",),
        exit_code=1,
    )
