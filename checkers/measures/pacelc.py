"""PACELC: else, latency or consistency? Without a partition, do answers wait for round trips between nodes?

PACELC (Abadi, Consistency tradeoffs in modern distributed database system design, IEEE Computer 45(2), 2012) asks a second
question beside that of CAP: where there is no partition, does a database answer at once (EL), or does it wait for other nodes,
so that replicas agree (EC)? Nobody sees a wait of a millisecond among others. So every link is delayed by a known time and then
by another one: what waits for k round trips takes k times as much longer, both times, and is as fast as before without them.
Whatever grows otherwise (a time-out, a queue, a cluster that was slow) waited for something else, and nothing is claimed.

How long answers take is known within an interval only: a label is told where all of it is on one side. Each quartile has its
interval by ranks, which holds whatever the distribution (David and Nagaraja, Order Statistics, 2003, 7.1). Ranks know nothing
of a cluster that is faster in one second than in the next, so a median may also be whatever it was in any of six stretches.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from math import exp, lgamma, log
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from splitbrain.checkers.measures.availability import SECOND
from splitbrain.checkers.result import Half, Pacelc, Waits
from splitbrain.harness.history.fault import Fault, Impair
from splitbrain.harness.history.history import NEVER, History
from splitbrain.harness.history.operation import KINDS, Kind
from splitbrain.harness.history.recording import Recording

ENOUGH = 30
"""Answers of one kind, in each part of the run, from which their quartiles are told."""
ANSWERED = 0.95
"""The share of calls that must be answered in each part: the slow ones among them must not hide as time-outs."""
NONE, ONE = 0.3, 0.5
"""Up to so many round trips three quarters of the answers wait for none; from so many on three quarters wait for some."""
BENT, BENT_SHARE = 0.3, 0.25
"""By so many round trips, or this share of them, growth from no delay to the first may differ from that to the second."""
CALM = 0.5
"""The part of the smaller round trip by which the median may differ before and after the delays. Less widens the bounds:
acknowledgements that the kernel holds back for 40 ms may go on after a delay has made connections slow."""
_PARTS = (("before the delays", "--baseline"), ("under the first delay", "--fault"), ("under the second delay", "--fault"),
          ("after the delays", "--between"))
"""The parts of a run that are compared, and what makes each longer."""
LATE = 1.6
"""How much later than intended packets may come: a loaded machine holds them back a little longer."""

SURE = 0.95
"""How probable it is that a quartile lies within its interval."""
STRETCHES = 6
"""The least for which the least and the most of what independent medians are hold their own median between them that often."""

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Answers(NamedTuple):
    """How long, in ms, calls took in one part of the run, as they were made one after another: those that were answered, of so
    many that were made."""

    took: Sequence[float] | Floats
    made: int


class Trip(NamedTuple):
    """A round trip between two nodes, in ms: as intended, and as probes measured it."""

    intended: float
    measured: float


class Fit(NamedTuple):
    """For how many round trips answers wait: by the medians, and the least and the most that the intervals of the quartiles and
    the measured delays allow; which half of PACELC that is, and why it is unknown."""

    half: Half
    trips: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""


def ranks(count: int, share: float) -> tuple[int, int]:
    """Between which of so many sorted values (from 0; both are among them) the quantile of that share lies with a probability
    of `SURE`, whatever the distribution. Pure."""
    at = np.arange(count + 1)
    chance = np.array([exp(lgamma(count + 1) - lgamma(k + 1) - lgamma(count - k + 1) + k * log(share)
                           + (count - k) * log(1 - share)) for k in at.tolist()])
    below = np.cumsum(chance)  # so probable it is that at most k values lie below the quantile
    low = int(np.searchsorted(below, (1 - SURE) / 2, "right"))
    high = int(np.searchsorted(below, (1 + SURE) / 2, "left"))
    return max(low - 1, 0), min(high, count - 1)


class Quartiles(NamedTuple):
    """The quartiles of one part, in ms, and between what they lie."""

    at: Floats
    low: Floats
    high: Floats


def quartiles(took: Sequence[float] | Floats) -> Quartiles:
    """The quartiles of what calls took that were made one after another, with their intervals. Pure."""
    given = np.asarray(took, float)
    shares = [0.25, 0.5, 0.75]
    among = np.sort(given)
    low, high = (np.array([among[ranks(len(among), share)[end]] for share in shares]) for end in (0, 1))
    middles = [float(np.median(part)) for part in np.array_split(given, STRETCHES)]
    low[1], high[1] = min(low[1], *middles), max(high[1], *middles)
    return Quartiles(np.quantile(given, shares), low, high)


def fit(before: Answers, delayed: Sequence[Answers], after: Answers, trips: Sequence[Trip]) -> Fit:
    """Fit k in `latency = usual + k x round trip` to the medians before any delay and under two delays (`trips`, the smaller
    first). Pure. It is unknown, with the reason, where too few calls were answered, where the usual latency was quite another
    afterwards, where growth is no line, and where some answers wait and others do not."""
    parts = (before, *delayed, after)
    fewest, (when, longer) = min(zip((len(part.took) for part in parts), _PARTS, strict=True), key=lambda one: one[0])
    if fewest < ENOUGH:
        return Fit("unknown", reason=f"too few answers: {fewest} {when}, {ENOUGH} are needed: more load, or a longer {longer}")
    for part, (when, _) in zip(parts, _PARTS, strict=True):
        if len(part.took) < ANSWERED * part.made:
            return Fit("unknown", reason=f"more than 5% of the calls were not answered {when}")
    each = [quartiles(part.took) for part in parts]
    middle = [float(one.at[1]) for one in each]
    small, large = trips
    # Load takes about as long under either delay: it is not in the difference.
    further = large.intended - small.intended
    k = (middle[2] - middle[1]) / further
    bounds = [
        (longer - usual) / length
        for quartile in range(3) for at, trip in enumerate(trips, 1) for rest in (0, 3) for length in trip
        for longer, usual in ((each[at].low[quartile], each[rest].high[quartile]),
                              (each[at].high[quartile], each[rest].low[quartile]))
    ] + [k]
    low, high = float(min(bounds)), float(max(bounds))
    if all(each[at].high[2] <= NONE * trip.intended for at, trip in enumerate(trips, 1)):
        return Fit("EL", k, low, high)  # Within less than a round trip nobody has waited for one, whatever was usual.
    drift = middle[3] - middle[0]
    if abs(drift) > CALM * small.intended:
        return Fit("unknown", k, low, high, f"the median without a delay was {middle[0]:.1f} ms before the delays and "
                                            f"{middle[3]:.1f} ms after them")
    firsts = [(middle[1] - middle[usual]) / small.intended for usual in (0, 3)]
    first = min(max(k, min(firsts)), max(firsts))  # what is nearest of all that may have been usual meanwhile
    if abs(first - k) > max(BENT, BENT_SHARE * abs(k)):
        told = f"growth is no line: {first:.1f} round trips under the first delay, {k:.1f} for what the second one added"
        return Fit("unknown", k, low, high, told)
    if max(abs(low), abs(high)) <= NONE:
        return Fit("EL", k, low, high)
    if low >= ONE:
        return Fit("EC", k, low, high)
    told = f"unclear: {k:.1f} round trips by the medians, {low:.1f} to {high:.1f} by all that quartiles may be"
    return Fit("unknown", k, low, high, f"{told}; some answers may wait and others not")


def pacelc(recording: Recording) -> Pacelc | None:
    """Which half of PACELC's second question reads and writes chose, by the first two faults of a run that delayed all links by
    different times and did nothing else. None where there were none. At the primary, where there is one, apart from the other
    homes, whose calls go a round trip to it before the database has a choice."""
    found = _delays(recording)
    if found is None:
        return None
    (first, second), trips = found
    primary = first.primary
    wrong = _wrong(recording, (first, second), trips)
    places = ((primary,),) if primary is not None else (recording.nodes,)
    others = tuple(node for node in recording.nodes if primary is not None and node != primary)
    rows = []
    for homes in (*places, *((others,) if others else ())):
        for kind in KINDS:
            told = Fit("unknown", reason=wrong) if wrong else fit(*_parts(recording, (first, second), homes, kind), trips)
            rows.append(Waits(kind=kind, homes=homes, primary=homes == (primary,), half=told.half, trips=told.trips,
                              low=told.low, high=told.high, reason=told.reason))
    here = tuple(row for row in rows if row.homes == places[0])
    halves = {row.kind: row.half for row in here}
    one = set(halves.values())
    half: Half = "unknown" if "unknown" in one else one.pop() if len(one) == 1 else "mixed"
    delays = (trips[0].intended / 2, trips[1].intended / 2)
    measured = (trips[0].measured / 2, trips[1].measured / 2)
    return Pacelc(half=half, halves=halves, delays_ms=delays, measured_ms=measured, waits=tuple(rows),
                  sentence=f"unknown: {wrong}" if wrong else _sentence(half, here, rows[len(here):]))


def _delays(recording: Recording) -> tuple[tuple[Fault, Fault], tuple[Trip, Trip]] | None:
    """The two faults, the smaller delay first, and the round trips that they make."""
    links = set(permutations(recording.nodes, 2))
    found: list[tuple[float, Fault]] = []
    for fault in recording.faults:
        if len(fault.specs) == 1 and isinstance(spec := fault.specs[0], Impair) and set(spec.links) == links:
            plain = spec == Impair(spec.links, delay=spec.delay)
            if plain and spec.delay and all(spec.delay != delay for delay, _ in found):
                found.append((spec.delay, fault))
    if len(found) < 2:
        return None
    small, large = sorted(found[:2], key=lambda one: one[0])
    return (small[1], large[1]), (_trip(*small), _trip(*large))


def _trip(delay: float, fault: Fault) -> Trip:
    figure = fault.one_way
    return Trip(2 * delay, 2 * figure.middle if figure is not None else 0.0)


def _wrong(recording: Recording, faults: tuple[Fault, Fault], trips: Sequence[Trip]) -> str:
    """Why nothing can be told of this run; empty where something can."""
    for fault, trip in zip(faults, trips, strict=True):
        figure = fault.one_way
        if not fault.bit or fault.healed is None or figure is None:
            return f"the delay of {trip.intended / 2:g} ms, or its end, was not proven"
        if figure.intended != trip.intended / 2:
            return "the delays overlapped: more time between them is needed"
        if not 0.9 * figure.intended <= figure.least <= figure.most <= LATE * figure.intended:
            return f"not delayed as intended: {figure}"
    began, ended = min(fault.started for fault in faults), max(fault.healed or 0 for fault in faults)
    if any(other not in faults and other.started < ended and (other.healed or NEVER) > began for other in recording.faults):
        return "another fault came between"
    variant = recording.variant
    primaries = {fault.primary for fault in faults}
    primaries |= {view.primary for view in recording.views if began <= view.time <= ended and view.primary is not None}
    if len(primaries) > 1:
        return "the primary changed meanwhile"
    if primaries == {None} and variant is not None and "primary" in (variant.reads, variant.writes):
        return "nobody named the primary"
    return ""


def _parts(
    recording: Recording, faults: tuple[Fault, Fault], homes: Sequence[str], kind: Kind
) -> tuple[Answers, list[Answers], Answers]:
    """The calls of these homes before the faults, during each, and between or after them."""
    history, end = recording.history, recording.final
    codes = [code for code, name in enumerate(history.nodes) if name in homes]
    mine = np.isin(history.node, codes) & (history.invoked < end)
    mine &= history.reads() if kind == "read" else ~history.reads()

    unanswered = ~history.answered()  # These count as made, however long they waited.

    def among(spans: Sequence[tuple[int, int]]) -> Answers:
        inside = np.zeros(len(history), np.bool_)
        for began, ended in spans:
            inside |= (history.invoked >= began) & (history.invoked < ended) & ((history.completed <= ended) | unanswered)
        return _answers(history, mine & inside)

    order = sorted(faults, key=lambda fault: fault.started)
    # From the moment on at which the change was made: on a busy machine it takes a while until probes have seen it.
    calm = [(max((proof.acted for proof in fault.undone), default=NEVER), recording.until_next(fault)) for fault in order]
    during = [among([(fault.in_force or NEVER, fault.heal_began or NEVER)]) for fault in faults]
    earliest = min(fault.started for fault in recording.faults)
    return among([(0, earliest)]), during, among(calm)


def _answers(history: History, rows: Mask) -> Answers:
    answered = rows & history.answered() & (history.completed != NEVER)
    # From the call on, also in an open loop: the wait for a free worker is no round trip.
    took: Floats = (history.completed - history.invoked)[answered] * 1000.0 / SECOND
    return Answers(took, int(rows.sum()))


def _sentence(half: Half, here: Sequence[Waits], elsewhere: Sequence[Waits]) -> str:
    """`EC at the primary: writes wait for 1.0 round trips, reads for 0.0`, and what is so elsewhere."""
    apart = ", ".join(f"{row.kind}s {row.half}" for row in here[::-1])
    where = " at the primary" if here[0].primary else ""
    told = f"{apart if half == 'mixed' else half}{where}: {', '.join(map(_waits, here[::-1]))}"
    if elsewhere:
        told += f"; from the other homes, the way to the primary included, {', '.join(map(_waits, elsewhere[::-1]))}"
    return told


def _waits(row: Waits) -> str:
    if row.half == "unknown":
        return f"{row.kind}s unknown ({row.reason})"
    if row.half == "EL":
        return f"{row.kind}s wait for no round trip"
    return f"{row.kind}s wait for {row.trips:.1f} round trips ({row.low:.1f} to {row.high:.1f})"
