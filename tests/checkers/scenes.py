"""Scenes: recordings made by hand, of workers on a regular grid of time that are served as a test says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from splitbrain.checkers.verdict import Anomaly, Moment, Standing, State, Validity, Verdict
from splitbrain.harness.history.death import Death
from splitbrain.harness.history.fault import Cut, Fault, Kill, Link, Pause, PlainFault, Proof, Spec
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.recording import LocalRead, Phase, Recording, View
from splitbrain.harness.history.sides import sides as parts
from splitbrain.harness.history.variant import Claim, Label, Variant
from splitbrain.harness.plan import Plan

MS = 1_000_000
SECOND = 1000 * MS

NODES = ("n1", "n2", "n3", "n4", "n5")

Service = Literal["served", "refused", "silent"]
"""Answered at once, refused at once, or no answer until the client's time-out of one second."""

Serve = Callable[[str, str, float], Service]
"""(home, kind, second) → how an operation is served that is invoked then."""


def served(home: str, kind: str, second: float) -> Service:
    return "served"


@dataclass
class Says:
    """A checker with a ready verdict; of a fault's part it says what did not come before it."""

    validity: Validity = "valid"
    anomalies: tuple[Anomaly, ...] = ()
    counts: dict[str, int] | None = None
    moments: dict[str, tuple[Moment, ...]] | None = None
    """By default all that is counted of a name happened when the first anomaly of it did, and what says lost is lost."""
    model: str = "linearizable"
    name: str = "says"

    def check(self, recording: Recording) -> Verdict:
        counts = self.counts
        if counts is None:
            counts = {anomaly.identifier: 1 for anomaly in self.anomalies}
        moments = self.moments
        if moments is None:
            when = {one.identifier: one.operations[0].invoked for one in reversed(self.anomalies)}
            moments = {
                name: (Moment(when[name], when[name] + MS, name in ("lost-write", "lost-element")),) * number
                for name, number in counts.items()
            }
        part = not recording.local_reads and len(recording.faults) == 1
        if part:
            began = recording.faults[0].started
            moments = {name: tuple(one for one in found if one.seen >= began) for name, found in moments.items()}
            counts = {name: len(found) for name, found in moments.items() if found}
            if not counts:
                return Verdict(checker=self.name, validity="valid", reason="as told.")
        states: dict[Validity, State] = {"valid": "holds", "invalid": "refuted", "unknown": "undecided"}
        return Verdict(
            checker=self.name, validity=self.validity, reason="as told.", anomalies=self.anomalies, counts=counts,
            moments=moments, standings=(Standing(model=self.model, state=states[self.validity], by=tuple(counts)),),
        )


def fault(
    number: int = 1, began: float = 5.0, ended: float = 13.0,
    sides: Sequence[tuple[str, ...]] = (("n2", "n3", "n4", "n5"), ("n1",)), primary: str | None = "n1", **changes: Any,
) -> Fault:
    """A fault that was in force at once, proven a moment later, and healed at once."""
    fields: dict[str, Any] = dict(
        id=number, nemesis="partition", scenario=f"scenario {number}", started=int(began * SECOND),
        in_force=int(began * SECOND), proven=int(began * SECOND) + MS,
        heal_began=int(ended * SECOND), healed=int(ended * SECOND) + MS,
        sides=tuple(sides), primary=primary, cut=(("n1", "n2"),), observed_cut=(("n1", "n2"),), spread=3 * MS,
    )
    return PlainFault(**fields | changes).fault()


def apart(*groups: tuple[str, ...]) -> Cut:
    """Every link between these groups."""
    return Cut(tuple((a, b) for one in groups for other in groups if one != other for a in one for b in other))


def overlapping(number: int, began: float, ended: float, *specs: Spec, beside: tuple[Spec, ...] = ()) -> Fault:
    """One that was proven at once and healed at once; `beside` is what others did when it began."""
    at, end = int(began * SECOND), int(ended * SECOND)
    cut: set[Link] = {link for spec in (*specs, *beside) if isinstance(spec, Cut) for link in spec.links}
    out = {node for spec in (*specs, *beside) if isinstance(spec, Kill | Pause) for node in spec.nodes}
    return Fault(
        id=number, nemesis="planted", scenario=f"scenario {number}", started=at, in_force=at, heal_began=end, healed=end + MS,
        specs=specs, proofs=tuple(Proof(holds=True, acted=at, at=at + MS) for _ in specs), sides=parts(NODES, cut, out),
        undone=tuple(Proof(holds=True, acted=end, at=end + MS) for _ in specs), primary="n1",
    )


def recording(
    serve: Serve = served, faults: Sequence[Fault] = (), *, length: float = 18.0, nodes: Sequence[str] = NODES, keys: int = 4,
    workers: int = 2, every: int = 20 * MS, views: Sequence[View] = (), local: Sequence[LocalRead] | None = None,
    expect: tuple[str, ...] = (), claim: Claim | None = None, labels: tuple[Label, ...] = (), final: bool = True,
    plan: bool = True, readers: bool = False, **changes: Any,
) -> Recording:
    """`workers` workers at each node do one operation `every` so often, reads and writes in turn (where there are `readers`,
    the first of each node only reads), each taking 2 ms, for `length` seconds, served by `serve`; then final reads and local
    reads that agree."""
    operations: list[Operation] = []
    process = value = 0
    for home in nodes:
        for worker in range(workers):
            process += 1
            at, turn = worker * MS, worker
            while at < length * SECOND:
                kind = "read" if turn % 2 == 0 or (readers and worker == 0) else "write"
                how = serve(home, kind, at / SECOND)
                value += 1
                outcome: Any = "ok" if how == "served" else "fail" if how == "refused" or kind == "read" else "info"
                took = SECOND if how == "silent" else 2 * MS
                operations.append(
                    Operation(
                        process=process, f=kind, key=turn % keys, value=value if kind == "write" else None, outcome=outcome,
                        invoked=at, completed=at + took, node=home, server=home,
                        error=None if how == "served" else "no-primary-in-reach" if how == "refused" else "timeout",
                    )
                )
                at += max(every, took)
                turn += 1
                if outcome == "info":
                    process += 1
    end = int(length * SECOND) + 2 * SECOND
    if final:
        operations += [
            Operation(process=1000, f="read", key=key, invoked=end + key * MS, completed=end + key * MS + 1, node=home)
            for key in range(keys) for home in nodes
        ]
    if local is None:
        local = [LocalRead(node=node, key=key, value=key, time=end - MS) for node in nodes for key in range(keys)]
    phases = [
        Phase("set-up", -SECOND, 0), Phase("load", 0, int(length * SECOND)), Phase("settle", end - SECOND, end),
        Phase("final-reads", end, end + SECOND),
    ]
    if not final:
        phases.pop()
    variant = Variant(
        name="v", summary="", reads="home", writes="home", claim=claim or Claim(text="nothing", source="nowhere"), labels=labels
    )
    fields: dict[str, Any] = dict(
        history=History.of(operations), nodes=tuple(nodes), faults=tuple(faults), views=tuple(views), local_reads=tuple(local),
        plan=Plan(database="d", variant="v", nodes=len(nodes), keys=keys, expect=expect) if plan else None,
        variant=variant if plan else None, phases=tuple(phases), deaths=() if plan else None,
        stalls=() if plan else None,
    )
    return Recording(**fields | changes)


def death(second: float, node: str = "n3", code: int = -9) -> Death:
    """A server that died on its own."""
    return Death(node=node, service="server", time=int(second * SECOND), code=code, log=("the moon is full",))


def during(start: float, end: float, homes: Sequence[str], how: Service, kinds: Sequence[str] = ("read", "write")) -> Serve:
    """Served, but for these homes and kinds in this time."""
    return lambda home, kind, second: how if start <= second < end and home in homes and kind in kinds else "served"


def both(*serves: Serve) -> Serve:
    """The first that does not serve decides."""
    def serve(home: str, kind: str, second: float) -> Service:
        return next((how for one in serves if (how := one(home, kind, second)) != "served"), "served")

    return serve


def anomaly(identifier: str, second: float, fault: int | None = None) -> Anomaly:
    """An anomaly with one operation at that time."""
    op = Operation(process=1, f="read", key=1, value=1, invoked=int(second * SECOND), completed=int(second * SECOND) + MS)
    return Anomaly(identifier=identifier, sentence="made up", operations=(op,), fault=fault)
