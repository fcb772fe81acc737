"""How long answers took, before, during and after the faults; and whether the alerts that the literature recommends would have
fired: each is held against what clients saw, second by second, with the longest time for which its condition was true."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from splitbrain.checkers.measures.availability import SECOND, window
from splitbrain.checkers.result import Alert, Latency, Scenario
from splitbrain.checkers.verdict import Staleness
from splitbrain.harness.history.history import NEVER, History
from splitbrain.harness.history.operation import KINDS, Kind
from splitbrain.harness.history.recording import Recording

SLOW, SLOW_FOR = 5.0, 30
"""p99 latency over so many times the baseline's, for so many seconds."""
LAG = 60.0
"""Seconds by which a read may be old."""
QUORUM_LOST = 10
"""Seconds in which nobody's writes are answered."""
REJECTED = 0.05
"""The share of writes that are not answered."""

Mask = NDArray[np.bool_]


def latencies(recording: Recording) -> tuple[Latency, ...]:
    """Of the answered operations of each kind, those begun before the first fault, while one was in force, and after the last
    heal; a part without any is left out. Where an open loop meant to call earlier than it could, from that moment on."""
    history = recording.history
    loaded = _load(recording)
    answered = history.answered() & (history.completed != NEVER) & loaded
    took = history.latencies()
    rows = []
    for period, inside, length in _periods(recording):
        for kind in KINDS:
            here = took[answered & inside & _of(history, kind)] / 1e6
            if len(here):
                p50, p95, p99 = np.quantile(here, [0.5, 0.95, 0.99]).tolist()
                rows.append(Latency(
                    period=period, kind=kind, answered=len(here), per_second=len(here) / length if length else 0.0,
                    p50_ms=p50, p95_ms=p95, p99_ms=p99, max_ms=float(here.max()),
                ))
    return tuple(rows)


def _load(recording: Recording) -> Mask:
    inside: Mask = recording.history.invoked < recording.final
    return inside


def _of(history: History, kind: Kind) -> Mask:
    return history.reads() if kind == "read" else ~history.reads()


def _periods(recording: Recording) -> list[tuple[str, Mask, float]]:
    """Name, rows and seconds of each part of the load."""
    invoked = recording.history.invoked
    spans = [span for fault in recording.faults if (span := window(recording, fault)) is not None]
    first, last = (int(invoked[0]), int(invoked[_load(recording)].max(initial=0))) if len(invoked) else (0, 0)
    if not spans:
        return [("all of it", np.ones(len(invoked), np.bool_), (last - first) / SECOND)]
    during = np.zeros(len(invoked), np.bool_)
    for began, ended in spans:
        during |= (invoked >= began) & (invoked < ended)
    begins = min(fault.started for fault in recording.faults)
    heals = [fault.healed for fault in recording.faults]
    parts = [
        ("before the faults", invoked < begins, (begins - first) / SECOND),
        ("during the faults", during, _covered(spans) / SECOND),
    ]
    if None not in heals and (healed := max(heal for heal in heals if heal is not None)) < last:
        parts.append(("after the last heal", invoked >= healed, (last - healed) / SECOND))
    return parts


def _covered(spans: list[tuple[int, int]]) -> int:
    """How long at least one of these lasted."""
    total, until = 0, 0
    for began, ended in sorted(spans):
        total += max(0, ended - max(began, until))
        until = max(until, ended)
    return total


def alerts(
    recording: Recording, rows: tuple[Scenario, ...], stale: Staleness | None
) -> tuple[Alert, ...]:
    """Every recommended alert and whether it would have fired, from what clients saw. Without a fault there is nothing to
    alert of, and no answer."""
    history = recording.history
    if not recording.faults or not len(history):
        return ()
    loaded = _load(recording)
    begins = min(fault.started for fault in recording.faults)
    first = int(history.invoked[0])
    seconds = int((int(history.invoked[loaded].max(initial=first)) - first) // SECOND) + 1
    at = np.clip((history.invoked - first) // SECOND, 0, seconds - 1)
    answered = history.answered() & loaded
    writes = ~history.reads() & loaded
    tried = np.bincount(at[writes], minlength=seconds)
    got = np.bincount(at[writes & answered], minlength=seconds)
    took = np.where(history.completed == NEVER, NEVER, history.completed - history.invoked)
    usual = took[answered & (history.invoked < begins)]
    found = []
    if len(usual):
        limit = SLOW * float(np.quantile(usual, 0.99))
        # An operation without an answer is as slow as anything.
        late = np.bincount(at[loaded & ((took > limit) | ~answered)], minlength=seconds)
        every = np.bincount(at[loaded], minlength=seconds)
        found.append(_held("p99 latency over 5 times the usual for 30 s", (every > 0) & (late > every * 0.01), SLOW_FOR,
                           f"limit {limit / 1e6:.1f} ms"))
    found.append(_held("no write answered anywhere for 10 s (no quorum)", (tried > 0) & (got == 0), QUORUM_LOST, ""))
    share = np.divide(tried - got, tried, out=np.zeros(seconds), where=tried > 0)
    worst = float(share.max(initial=0.0))
    found.append(_held("more than 5% of writes rejected", share > REJECTED, 1, f"{100 * worst:.1f}% in the worst second"))
    if stale is not None:
        age, least = stale.max_ms / 1000, "at least" if stale.lossy else "up to"
        behind = f"{age:.1f} s" if age >= 1 else f"{stale.max_ms:.0f} ms"
        found.append(Alert(name="a copy more than 60 s behind", fired=age > LAG, told=f"reads were {least} {behind} old"))
    gone = [row.discarded.writes for row in rows if row.discarded is not None]
    if gone:
        told = f"{sum(gone):,} acknowledged writes gave way"
        found.append(Alert(name="a spike of conflicts after the heal", fired=sum(gone) > 0, told=told))
    return tuple(found)


def _held(name: str, true: Mask, needed: int, told: str) -> Alert:
    """An alert that fires where its condition holds for so many seconds on end."""
    longest = run = 0
    for one in true.tolist():
        run = run + 1 if one else 0
        longest = max(longest, run)
    lasted = f"true for {longest} s on end, {needed} s are needed" if needed > 1 else f"true for {longest} s on end"
    return Alert(name=name, fired=longest >= needed, told="; ".join(filter(None, (lasted, told))))
