"""Attribution: which fault each anomaly belongs to, told from when it happened. Judge asks here, and nobody else does."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from operator import attrgetter

import msgspec
import numpy as np

from splitbrain.checkers.anomalies import in_order
from splitbrain.checkers.verdict import Anomaly, Lost, Moment, Verdict
from splitbrain.harness.history.fault import Fault
from splitbrain.harness.history.moment import clock
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.sides import natural


def fault_of(faults: Sequence[Fault], moment: Moment) -> Fault | None:
    """The first fault during which the anomaly was under way; else the last one that had begun before it was seen; None where
    it was seen before any fault began. A fault that did nothing is none.

    The first one: what a later fault shows of an earlier one's damage (a write lost in the first and missed in the second)
    belongs to the earlier.
    """
    return _among(_acting(faults), moment)


def _acting(faults: Sequence[Fault]) -> list[Fault]:
    """Those that did anything, in the order in which they began."""
    return sorted((fault for fault in faults if fault.specs), key=attrgetter("started"))


def _among(acting: list[Fault], moment: Moment) -> Fault | None:
    begun = acting[: bisect_right(acting, moment.seen, key=attrgetter("started"))]
    standing = (fault for fault in begun if fault.healed is None or moment.began <= fault.healed)
    return next(standing, begun[-1] if begun else None)


def _places(acting: list[Fault], moments: Sequence[Moment]) -> list[int]:
    """As `_among`, of very many moments: which of these faults each belongs to, -1 for none."""
    began = np.fromiter([moment.began for moment in moments], np.int64, len(moments))
    seen = np.fromiter([moment.seen for moment in moments], np.int64, len(moments))
    begun = np.searchsorted(np.array([fault.started for fault in acting], np.int64), seen, side="right")
    found = begun - 1
    left = np.flatnonzero(begun)
    for at, fault in enumerate(acting):
        left = left[begun[left] > at]
        standing = np.ones(len(left), np.bool_) if fault.healed is None else began[left] <= fault.healed
        found[left[standing]] = at
        left = left[~standing]
    places: list[int] = found.tolist()
    return places


def attribute(verdict: Verdict, faults: Sequence[Fault]) -> Verdict:
    """The verdict with the fault of every anomaly, and with all its counts by fault.

    Where a checker told no moments, the shown anomalies speak for themselves by the times of their operations, and what it
    counted beyond them is nobody's.
    """
    acting = _acting(faults)  # There may be very many moments.
    anomalies = tuple(_placed(anomaly, faults) for anomaly in verdict.anomalies)
    by_fault: defaultdict[int, Counter[str]] = defaultdict(Counter)
    outside: Counter[str] = Counter()
    lost: Counter[int] = Counter()
    total = 0
    for name in {**verdict.counts, **verdict.moments, **{anomaly.identifier: 0 for anomaly in anomalies}}:
        shown = [anomaly for anomaly in anomalies if anomaly.identifier == name]
        told = verdict.moments.get(name)
        if told is None:
            places = [anomaly.fault for anomaly in shown]
            gone = [anomaly.fault for anomaly in shown if anomaly.moment is not None and anomaly.moment.lost]
        else:
            ids = [*(fault.id for fault in acting), None]  # The last is what -1 finds.
            places = list(map(ids.__getitem__, _places(acting, told)))
            gone = [place for place, moment in zip(places, told, strict=True) if moment.lost]
        total += len(gone)
        lost.update(fault for fault in gone if fault is not None)
        for place, many in Counter(places).items():
            (outside if place is None else by_fault[place])[name] += many
        outside[name] += max(0, verdict.counts.get(name, 0) - len(places))
    counts: Counter[str] = sum(by_fault.values(), Counter(outside))
    return msgspec.structs.replace(
        verdict, anomalies=anomalies, counts=in_order(counts), moments={}, outside=in_order(outside),
        by_fault={fault: in_order(by_fault[fault]) for fault in sorted(by_fault)},
        lost=Lost(total=total, by_fault=dict(sorted(lost.items()))),
    )


def _placed(anomaly: Anomaly, faults: Sequence[Fault]) -> Anomaly:
    """The anomaly with its fault. One that no moment is known of, as where replicas differ in the end, is the last fault's."""
    moment = anomaly.moment or _last(anomaly.operations)
    last = max((fault for fault in faults if fault.specs), key=lambda fault: fault.started, default=None)
    fault = last if moment is None else fault_of(faults, moment)
    if fault is None:
        return msgspec.structs.replace(anomaly, fault=None)
    sentence = anomaly.sentence
    if anomaly.accused is not None:
        sentence += _cut_off(anomaly.operations[anomaly.accused], fault)
    return msgspec.structs.replace(anomaly, fault=fault.id, sentence=sentence)


def _last(operations: Iterable[Operation]) -> Moment | None:
    """The time of the last of these operations, by which what is wrong has shown; None where there are none."""
    last = max(operations, key=lambda op: op.invoked, default=None)
    return None if last is None else Moment(last.invoked, last.ended)


def _cut_off(accused: Operation, fault: Fault) -> str:
    """Which nodes the one that answered was cut off from, or what was done to it itself, in brackets; empty where no moment of
    the operation lies in the fault's window: while links are being cut, or mended, nobody knows which of them are up."""
    if not fault.bit or fault.in_force is None or fault.in_force > accused.ended:
        return ""
    if fault.heal_began is not None and fault.heal_began <= max(accused.invoked, fault.in_force):
        return ""
    node = accused.server or accused.node
    cut = (fault.observed_cut or fault.cut) if fault.cut else ()
    others = sorted({b for a, b in cut if a == node} | {a for a, b in cut if b == node}, key=natural)
    told = f"{node} was cut off from {' '.join(others)}" if others else fault.done_to(node or "")
    return f" ({told} since {clock(fault.in_force)})" if told else ""
