"""Availability: who was answered, by operation kind, fault, side and home. A measurement, never a failure.

It is one file because a side, a home and a group of keys are all measured by the same few columns, windows and limits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import pairwise
from math import sqrt
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from splitbrain.checkers.result import Availability as State
from splitbrain.checkers.result import Episode, Held, Home, Measure, Scenario, Side
from splitbrain.checkers.verdict import Verdict
from splitbrain.harness.history.fault import Fault, Impair, OnServers
from splitbrain.harness.history.history import NEVER, History
from splitbrain.harness.history.operation import KINDS, Kind
from splitbrain.harness.history.recording import Recording
from splitbrain.harness.history.sides import apart, group, sides

SECOND = 1_000_000_000
ENOUGH = 100
"""Operations that a share needs before a side is called available."""
GOOD = 0.99
"""The share from which on a side is available."""
TRIED = 18
"""Operations that a share needs before a side is called blocked for it: of fewer, a single one without an answer would leave
the whole interval below `GOOD`, and one blip of a network is no side that is not served."""
LONG = 3
"""A call that alone waits for so many times what an outage may last is no blip."""
DUE = 10
"""Nor is a time in which so many answers would have come at the pace of the rest of the window."""
PATIENCE = SECOND
"""A shorter outage is none that counts; an operation that waits longer than this for the end of a window was not answered in
it."""

NO_PRIMARY = ("no-primary-in-reach", "no-leader")
"""The reasons of a refusal that say that there was no primary."""

_Z = 1.959963984540054

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


def wilson(answered: int, attempted: int) -> tuple[float, float]:
    """The 95% interval of a share after Wilson (1927): (0, 1) where nothing was attempted."""
    if attempted == 0:
        return 0.0, 1.0
    share = answered / attempted
    square = _Z * _Z / attempted
    centre = (share + square / 2) / (1 + square)
    spread = _Z * sqrt(share * (1 - share) / attempted + square / attempted / 4) / (1 + square)
    return (0.0 if answered == 0 else centre - spread), (1.0 if answered == attempted else centre + spread)


class Outage(NamedTuple):
    """A time in which nothing was answered though somebody had asked, in nanoseconds. `ended`: an answer ended it; else the
    end of the window did."""

    start: int
    end: int
    ended: bool

    @property
    def length(self) -> int:
        return self.end - self.start


def outages(
    invoked: Ints, completed: Ints, answered: Mask, window: tuple[int, int], *, longer_than: int = 0
) -> list[Outage]:
    """The outages of these operations (in any order) inside a window that are longer than `longer_than`, ascending.

    Between two answers (or an answer and an end of the window) there is one where somebody asked: from the first moment at
    which a call was open there. However few calls hung or were refused in it, it lasts until the next answer: who is refused
    and pauses, or turns to something else, is still not served. A time in which nobody asked is none.
    """
    return _longer(_gaps(invoked, completed, answered, window), longer_than)


def _gaps(invoked: Ints, completed: Ints, answered: Mask, window: tuple[int, int]) -> tuple[Ints, Ints, Mask]:
    """From when to when each outage lasted, and whether an answer ended it; those of no length too."""
    w0, w1 = window
    touching = (invoked < w1) & (completed > w0)
    start = np.sort(np.maximum(invoked[touching], w0))
    end = np.sort(np.minimum(completed[touching], w1))
    # Between two answers of the same moment there is an outage of no length.
    answers = np.sort(completed[touching & answered & (completed <= w1)])
    begins, until = np.append(w0, answers), np.append(answers, w1)
    started = np.searchsorted(start, begins, "right")
    idle = started <= np.searchsorted(end, begins, "right")
    first = np.where(idle, np.append(start, NEVER)[started], begins)
    return first, until, np.arange(len(begins)) < len(answers)


def _longer(gaps: tuple[Ints, Ints, Mask], than: int) -> list[Outage]:
    first, until, ended = gaps
    long = until - than > first
    return [Outage(*row) for row in zip(first[long].tolist(), until[long].tolist(), ended[long].tolist(), strict=True)]


class Operations(NamedTuple):
    """The columns that availability needs, of the rows of one kind and some homes. `lived` is the time in which workers lived
    at these homes and asked for anything, whatever its kind."""

    invoked: Ints
    completed: Ints
    answered: Mask
    rows: Ints
    lived: tuple[int, int] = (0, NEVER)


def operations(
    history: History, kind: Kind, homes: Sequence[str] | None = None, answered: Mask | None = None, keys: Sequence[int] = ()
) -> Operations:
    """The operations of that kind by workers of these homes (None: all, also workers without a home), on keys of these codes
    (none: all)."""
    # Of a million operations this is asked for very often: only the rows that live there are looked at again.
    reads, here = history.reads(), None
    if homes is not None:
        wanted = np.array([*(name in homes for name in history.nodes), False])  # The last is what -1 finds.
        here = np.flatnonzero(wanted[history.node])
    if here is None or len(here) == len(history):
        began, ended = history.invoked, history.completed
        rows = np.flatnonzero(reads == (kind == "read"))
    else:
        began, ended = history.invoked[here], history.completed[here]
        rows = here[reads[here] == (kind == "read")]
    if keys:
        rows = rows[np.isin(history.key[rows], keys)]
    decided = history.answered() if answered is None else answered
    lived = int(began.min(initial=NEVER)), int(ended.max(initial=0))
    return Operations(history.invoked[rows], history.completed[rows], decided[rows], rows, lived)


def attempts(ops: Operations, window: tuple[int, int]) -> tuple[Mask, Mask]:
    """Which operations count as attempted in the window, and which of those as answered."""
    w0, w1 = window
    open_at_end = ops.completed > w1
    attempted = (ops.invoked >= w0) & (ops.invoked < w1) & ~(open_at_end & (w1 - ops.invoked <= PATIENCE))
    return attempted, attempted & ops.answered & ~open_at_end


def measure(
    ops: Operations, kind: Kind, window: tuple[int, int], limit: int = PATIENCE, beside: Operations | None = None
) -> Measure:
    """How these operations were served in the window; `limit` is what an outage may last (nanoseconds), `beside` are those of
    the other kind at the same homes."""
    attempted, answered = attempts(ops, window)
    tried, got = int(attempted.sum()), int(answered.sum())
    low, high = wilson(got, tried)
    longest, unserved = _outages(ops, window, limit)
    long = [gap for gap in unserved if gap.length > limit]
    asked = _lived(ops, window)
    state, reason = _state(ops, beside, tried, got, high, long, limit, asked)
    last_answer = int(ops.completed[answered].max(initial=0))
    served: bool | None = None
    if long and not long[-1].ended and last_answer < long[-1].end:
        served = False
    else:
        tail = attempted & (ops.invoked >= (long[-1].end if long else window[0]))
        if tail.sum() >= 10:
            served = bool((answered & tail).sum() * 2 > tail.sum())
    return Measure(
        kind=kind, attempted=tried, answered=got, share=got / tried if tried else None, low=low, high=high,
        time_share=1 - sum(gap.length for gap in unserved) / (asked[1] - asked[0]) if tried or longest.length else None,
        outage=longest.length / SECOND, outage_limit=limit / SECOND,
        outage_ended=longest.ended or last_answer > longest.end, state=state, reason=reason, served=served,
        latency=float(np.median((ops.completed - ops.invoked)[answered])) / SECOND if got else None,
    )


def _state(
    ops: Operations, beside: Operations | None, tried: int, got: int, high: float, long: Sequence[Outage], limit: int,
    asked: tuple[int, int],
) -> tuple[State, str]:
    """Which state that is, and why; either one needs its evidence.

    Blocked by an outage that is longer than it may be and cannot have been one blip (`_seen`), or by the share, where at least
    `TRIED` were made and the interval lies below 99%. Available by at least 99% of at least 100, and no outage. All else is not
    known. `asked` is the time that is judged.
    """
    length = asked[1] - asked[0]
    told = f"{got:,} of {tried:,} answered" if tried else "nothing was tried"
    due = [got > 0 and got * gap.length >= DUE * (length - gap.length) for gap in long]
    if seen := [gap for gap, answers in zip(long, due, strict=True) if answers or _seen(ops, beside, gap, limit, asked[0])]:
        return "blocked", f"nothing answered for {max(gap.length for gap in seen) / SECOND:.1f} s"
    if tried >= TRIED and high < GOOD:
        return "blocked", told
    if not tried and not long:
        return "unknown", told
    told += f", none for {max(gap.length for gap in long) / SECOND:.1f} s" if long else ""
    if tried < ENOUGH:
        needed = TRIED if got < tried < TRIED else ENOUGH
        return "unknown", f"{told}: too few to tell, {needed} are needed"
    if long:
        return "unknown", f"{told}: too few were made then to tell an outage from a blip"
    if got >= GOOD * tried:
        return "available", told
    return "unknown", f"{told}: too close to {GOOD:.0%}"


def _seen(ops: Operations, beside: Operations | None, gap: Outage, limit: int, since: int) -> bool:
    """Whether calls saw that nothing was answered for longer than `limit` in this outage, and more than one blip: two of them
    did, or one that waited far longer. Where nothing of the other kind was answered either, calls of that kind saw it too, also
    before it: who waits for the answer to a write does not read. `since` is when the time that is judged began.

    A call saw it that ended there without an answer, or waited for so long that it was no usual wait. When nobody was asking,
    nobody saw anything: who was refused once, and calls again after two seconds, may have missed all but a moment.
    """
    begin, end = _saw(ops, gap, limit)
    if not len(begin):
        return False
    together = int(end.max() - begin.min())
    if together > limit and (len(begin) > 1 or together > LONG * limit):
        return True
    if beside is None:
        return False
    answers = beside.completed[beside.answered & (beside.completed > since) & (beside.completed <= gap.end)]
    if (last := int(answers.max(initial=since))) > gap.start:
        return False
    answers = ops.completed[ops.answered & (ops.completed <= gap.start)]
    others, until = _saw(beside, gap._replace(start=int(answers.max(initial=last))), limit)
    return len(others) > 0 and max(int(until.max()), int(end.max())) - min(int(others.min()), int(begin.min())) > limit


def _saw(ops: Operations, gap: Outage, limit: int) -> tuple[Ints, Ints]:
    """From when to when each of these calls saw that nothing was answered in this outage."""
    touching = np.flatnonzero((ops.invoked <= gap.end) & (ops.completed > gap.start))
    begin = np.maximum(ops.invoked[touching], gap.start)
    end = np.minimum(ops.completed[touching], gap.end)
    saw = (~ops.answered[touching] & (ops.completed[touching] <= gap.end)) | (end - begin > limit // 3)
    return begin[saw], end[saw]


def _lived(ops: Operations, window: tuple[int, int]) -> tuple[int, int]:
    """The part of the window in which somebody lived there to ask."""
    return max(window[0], ops.lived[0]), min(window[1], ops.lived[1])


def _outages(ops: Operations, window: tuple[int, int], limit: int) -> tuple[Outage, list[Outage]]:
    """The longest outage (of no length where there is none), and all that are longer than a third of `limit`: in these the
    time was one without service, shorter ones are how long an answer takes."""
    begin, end = _lived(ops, window)
    if begin >= end:
        return Outage(0, 0, True), []
    gaps = _gaps(ops.invoked, ops.completed, ops.answered, (begin, end))
    unserved = _longer(gaps, limit // 3)
    found, least = unserved, limit // 3
    while not found and least:
        least //= 10
        found = _longer(gaps, least)
    return max(found, key=lambda gap: gap.length, default=Outage(0, 0, True)), unserved


def load_period(recording: Recording) -> tuple[int, int] | None:
    """The load, from its start to its end or to the last thing recorded; None where none was recorded."""
    phase = recording.phase("load")
    if phase is None:
        return None
    if phase.ended is not None:
        return phase.began, phase.ended
    completed = recording.history.completed
    last = int(max(completed[completed != NEVER].max(initial=0), recording.history.invoked.max(initial=0)))
    return phase.began, max(phase.began, last)


def baseline_window(recording: Recording) -> tuple[int, int] | None:
    """The load before the first fault; None where there was none."""
    period = load_period(recording)
    if period is None:
        return None
    end = min([period[1], *(fault.started for fault in recording.faults)])
    return (period[0], end) if end > period[0] else None


def window(recording: Recording, fault: Fault) -> tuple[int, int] | None:
    """From when the fault was in force on every node to the start of its heal (or the end of the load); None where it was
    never proven."""
    period = load_period(recording)
    if fault.in_force is None or fault.proven is None or period is None:
        return None
    end = fault.heal_began if fault.heal_began is not None else period[1]
    return (fault.in_force, end) if end > fault.in_force else None


def settled(recording: Recording, fault: Fault) -> int | None:
    """When a fault was proven undone, and every other that was in force together with it; None where that was not reached."""
    begin = fault.healed
    for other in sorted(recording.faults, key=lambda other: other.started):
        if begin is not None and other.specs and other.started <= begin:
            begin = None if other.healed is None else max(begin, other.healed)
    return begin


def after(recording: Recording, fault: Fault) -> tuple[int, int] | None:
    """The healthy time after a fault: from its proven heal, or that of the last fault which was in force together with it, to
    the next fault or the end of the load; None where there is none."""
    period, begin = load_period(recording), settled(recording, fault)
    if begin is None or period is None:
        return None
    end = min([period[1], *(other.started for other in recording.faults if other.started > begin)])
    return (begin, end) if end > begin else None


def baseline(recording: Recording) -> tuple[Measure, ...]:
    """Reads and writes over all homes before the first fault; empty where there was no such time."""
    healthy = baseline_window(recording)
    if healthy is None:
        return ()
    answered = recording.history.answered()
    return tuple(measure(operations(recording.history, kind, None, answered), kind, healthy) for kind in KINDS)


def scenarios(recording: Recording) -> tuple[Scenario, ...]:
    """One row for each fault, with its sides and homes measured; consistency, recovery and classes are not filled in."""
    survey = _Survey(recording)
    return tuple(
        _scenario(recording, fault, survey, [other for other in recording.faults if other.id != fault.id])
        for fault in recording.faults
    )


def quorum(side: Iterable[str], nodes: Sequence[str]) -> bool:
    """Whether a side holds more than half of all nodes."""
    return len(set(side) & set(nodes)) * 2 > len(nodes)


def _round_trip(recording: Recording, fault: Fault) -> float | None:
    """How many seconds longer a fault made every round trip between nodes; None where it did not delay all links alike."""
    late, figure = [spec for spec in fault.specs if isinstance(spec, Impair) and spec.delay], fault.one_way
    if not fault.bit or figure is None or len(late) != 1 or not late[0].everywhere(recording.nodes):
        return None
    return 2 * figure.middle / 1000


def _scenario(recording: Recording, fault: Fault, survey: _Survey, others: Sequence[Fault]) -> Scenario:
    beside = [other for other in others if _together(fault, other)]
    composed = _composed(recording.nodes, fault, beside) or (recording.nodes,)
    severed = tuple(node for node in recording.nodes if any(node in one.severed for one in (fault, *beside)))
    parts = sorted(apart(composed, severed), key=lambda side: (fault.primary not in side, -len(side), side))
    # A server goes on without the clients that it lost, whose group has none.
    servers = {part: next((side for side in composed if set(part) <= set(side)), part) for part in parts}
    servers |= {severed: ()} if severed else {}
    out = {node for one in (fault, *beside) for spec in one.specs if isinstance(spec, OnServers) for node in spec.nodes}
    spared = _spared(recording, fault, others)
    homes = tuple(survey.home(fault, node) for node in recording.nodes)
    return Scenario(
        fault=fault.id,
        nemesis=fault.nemesis,
        name=fault.scenario,
        label=(fault.doing(recording.nodes) if fault.struck or fault.impaired or fault.loaded
               else _label(recording, fault, parts)),
        started=fault.started / SECOND,
        in_force=None if fault.in_force is None else fault.in_force / SECOND,
        proven=None if fault.proven is None else fault.proven / SECOND,
        heal_began=None if fault.heal_began is None else fault.heal_began / SECOND,
        healed=None if fault.healed is None else fault.healed / SECOND,
        bit=fault.bit,
        spread_ms=fault.spread / 1e6,
        primary=fault.primary,
        links_cut=len(fault.cut),
        struck=fault.struck,
        severed=severed,
        links_flapping=len(fault.flapping),
        round_trip=_round_trip(recording, fault) if not any(one.impaired for one in beside) else None,
        done=fault.meanwhile,
        beside=tuple(other.id for other in beside),
        dead=tuple(sorted({death.node for death in recording.dead(NEVER if fault.heal_began is None else fault.heal_began)})),
        sides=tuple(
            survey.side(fault, side, [home for home in homes if home.node in side], servers[side], out, spared)
            for side in parts
        ),
        homes=homes,
        clients_blocked={
            kind: worked.count(False) / len(worked)
            for kind in KINDS if (worked := [done for home in homes if (done := home.worked(kind)) is not None])
        },
    )


def _label(recording: Recording, fault: Fault, parts: Sequence[Sequence[str]]) -> str:
    if len(parts) == 1 and fault.cut:
        return f"{fault.scenario}: {len(fault.cut)} of {len(recording.nodes) * (len(recording.nodes) - 1)} links, all connected"
    return " | ".join(map(group, parts))


def _together(one: Fault, other: Fault) -> bool:
    """Whether two faults were in force at the same time, until they were proven undone."""
    return _overlap(one, one.healed, other, other.healed)


def _overlap(one: Fault, end: int | None, other: Fault, other_end: int | None) -> bool:
    if one.in_force is None or other.in_force is None:
        return False
    return one.in_force < (other_end or NEVER) and other.in_force < (end or NEVER)


def _composed(nodes: Sequence[str], fault: Fault, beside: Sequence[Fault]) -> tuple[tuple[str, ...], ...]:
    """The sides of a fault: of those nodes that were cut off from each other by nothing all the while, also not by a fault
    beside it."""
    acting = [other for other in beside if _overlap(fault, fault.heal_began, other, other.heal_began)]
    if not any(other.cut or other.out for other in acting) and not (fault.cut and fault.out):
        return fault.sides
    return _left(nodes, [*acting, fault])


def composed(recording: Recording, acting: Sequence[Fault]) -> tuple[tuple[str, ...], ...]:
    """The sides of a moment in which these faults were in force, and no other. What a fault says itself tells what others cut
    when it began, so that is taken only where it was alone all the while."""
    alone = len(acting) == 1 and not any(
        other.id != acting[0].id and other.specs and other.started < (acting[0].healed or NEVER)
        and acting[0].started < (other.healed or NEVER) for other in recording.faults
    )
    if alone:
        return acting[0].sides
    return _left(recording.nodes, acting)


def _left(nodes: Sequence[str], acting: Sequence[Fault]) -> tuple[tuple[str, ...], ...]:
    """The sides that all of these faults together leave."""
    return sides(nodes, {link for fault in acting for link in fault.cut}, {node for fault in acting for node in fault.out})


def _spared(recording: Recording, fault: Fault, others: Sequence[Fault]) -> dict[str, int]:
    """Until when, in the window of a fault, nothing was done to each node itself. Something is until it was proven undone."""
    span = window(recording, fault)
    if span is None:
        return {}
    found = {node: span[0] if node in fault.struck else span[1] for node in recording.nodes}
    for other in others:
        if other.started < span[1] and (other.healed or NEVER) > span[0]:
            found |= {node: min(found[node], max(other.started, span[0])) for node in other.struck if node in found}
    return found


def episodes(recording: Recording) -> tuple[Episode, ...]:
    """The stretches of time with the same set of faults in force, measured; none where faults never overlap, for the rows of
    the faults then tell it. In the time of a fault that was not proven nothing is measured."""
    survey = _Survey(recording)
    found = []
    for stretch in stretches(recording):
        others = [fault for fault in recording.faults if fault.id not in stretch.faults]
        row = _scenario(recording, stretch.whole, survey, others)
        found.append(Episode(
            faults=stretch.faults, label=stretch.whole.doing(recording.nodes), began=stretch.whole.started / SECOND,
            ended=(stretch.whole.heal_began or 0) / SECOND, sides=row.sides, struck=row.struck,
        ))
    return tuple(found)


class Stretch(NamedTuple):
    """A stretch of time in which these faults were in force, told as one fault that does what all of them did."""

    faults: tuple[int, ...]
    whole: Fault


def stretches(recording: Recording) -> Iterator[Stretch]:
    """The stretches, in order, in which faults that overlap were in force."""
    spans = [(fault, span) for fault in recording.faults if (span := window(recording, fault)) is not None]
    mixed = [(fault, span) for fault, span in spans if any(
        other is not fault and span[0] < end and begin < span[1] for other, (begin, end) in spans
    )]
    edges = sorted({edge for _, span in mixed for edge in span})
    for begin, end in pairwise(edges):
        acting = [fault for fault, span in mixed if span[0] < end and begin < span[1]]
        if not acting:
            continue
        # A fault that is being put in force is at some nodes already, and not at all of them.
        end = min([end, *(fault.started for fault, span in mixed if span[0] == end and fault.started > begin)])
        specs = tuple(spec for fault in acting for spec in fault.specs)
        yield Stretch(tuple(fault.id for fault in acting), Fault(
            id=acting[0].id, nemesis="", scenario="", started=begin, specs=specs, in_force=begin, heal_began=end, healed=end,
            proofs=tuple(proof for fault in acting for proof in fault.proofs), sides=composed(recording, acting),
            primary=acting[0].primary,
        ))


class _Survey:
    """The measuring of a recording, with the columns of each group of homes kept for the next question."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.history = recording.history
        self.healthy = baseline_window(recording)
        self.answered = recording.history.answered()
        self.known: dict[tuple[tuple[str, ...], Kind, tuple[int, ...]], tuple[Operations, int]] = {}
        codes = {key: code for code, key in enumerate(self.history.keys)}
        self.placed = {codes[at.key]: at.replicas for at in recording.placements if at.key in codes}

    def group(self, nodes: tuple[str, ...], kind: Kind, keys: tuple[int, ...] = ()) -> tuple[Operations, int]:
        """The operations of these homes (on these keys, by their codes; none: all), and what an outage of theirs may last: it
        follows from their own baseline."""
        if (nodes, kind, keys) not in self.known:
            ops = operations(self.history, kind, nodes, self.answered, keys)
            limit = PATIENCE
            if self.healthy is not None:
                limit = max(limit, 3 * _outages(ops, self.healthy, limit)[0].length)
            self.known[nodes, kind, keys] = ops, limit
        return self.known[nodes, kind, keys]

    def home(self, fault: Fault, node: str) -> Home:
        read, write = (self.served(fault, (node,), kind) for kind in KINDS)
        return Home(node=node, read=read, write=write)

    def side(
        self, fault: Fault, nodes: tuple[str, ...], homes: Sequence[Home], servers: tuple[str, ...], out: Set[str],
        spared: Mapping[str, int],
    ) -> Side:
        read, write = (self.whole(fault, nodes, kind, homes) for kind in KINDS)
        struck = self.struck(fault, nodes, spared)
        return Side(
            nodes=nodes,
            quorum=quorum(set(servers) - out, self.recording.nodes),
            struck=struck,
            spared=self.spared(fault, nodes, spared) if struck else (),
            primary=fault.primary in servers,
            read=read,
            write=write,
            without_primary=self.without_primary(fault, nodes),
            held=tuple(self.held(fault, nodes)),
        )

    def struck(self, fault: Fault, nodes: tuple[str, ...], until: Mapping[str, int]) -> tuple[str, ...]:
        """Those of these nodes to which something was done themselves in the window."""
        span = window(self.recording, fault)
        return tuple(node for node in nodes if (node in fault.struck if span is None else until.get(node, span[1]) < span[1]))

    def spared(self, fault: Fault, nodes: tuple[str, ...], until: Mapping[str, int]) -> tuple[Measure, ...]:
        """Reads and writes by the homes among these nodes that were spared longest, for as long as they were."""
        span = window(self.recording, fault)
        if span is None or (end := max(until.get(node, span[1]) for node in nodes)) <= span[0]:
            return ()
        left = tuple(node for node in nodes if until.get(node, span[1]) == end)
        part = msgspec.structs.replace(fault, heal_began=end)
        return tuple(self.whole(part, left, kind, [self.home(part, node) for node in left]) for kind in KINDS)

    def held(self, fault: Fault, nodes: tuple[str, ...]) -> Iterator[Held]:
        """How these homes were served, apart for the keys with as many replicas among these nodes."""
        groups: dict[tuple[int, int], list[int]] = {}
        for code, replicas in self.placed.items():
            groups.setdefault((len(set(replicas) & set(nodes)), len(replicas)), []).append(code)
        for (here, of), codes in sorted(groups.items(), reverse=True):
            read, write = (self.served(fault, nodes, kind, tuple(codes)) for kind in KINDS)
            yield Held(here=here, of=of, keys=len(codes), read=read, write=write)

    def served(self, fault: Fault, nodes: tuple[str, ...], kind: Kind, keys: tuple[int, ...] = ()) -> Measure:
        span = window(self.recording, fault)
        if span is None:
            proven = fault.in_force is not None and fault.proven is not None
            return Measure(kind=kind, reason="it lasted no time" if proven else "the fault was never proven")
        ops, limit = self.group(nodes, kind, keys)
        beside, _ = self.group(nodes, "read" if kind == "write" else "write", keys)
        return measure(ops, kind, span, limit, beside)

    def whole(self, fault: Fault, nodes: tuple[str, ...], kind: Kind, homes: Sequence[Home]) -> Measure:
        """A side's measure. Who is answered asks more often than who waits, so a side with a blocked home is blocked, however
        small that home's part of the operations is."""
        found = self.served(fault, nodes, kind)
        own = {home.node: home.read if kind == "read" else home.write for home in homes}
        shut = [node for node, m in own.items() if m.state == "blocked"]
        if found.state != "blocked" and shut:
            text = "; ".join(f"clients at {node}: {own[node].reason}" for node in shut)
            found = msgspec.structs.replace(found, state="blocked", reason=text)
        span = window(self.recording, fault)
        start = None if span is None else self.transition(fault, span, nodes, kind)
        if span is None or start is None:
            return found
        ops, _ = self.group(nodes, kind)
        attempted, answered = attempts(ops, span)
        later = ops.invoked >= start
        tried = int((attempted & later).sum())
        return msgspec.structs.replace(
            found,
            transition=(start - span[0]) / SECOND,
            after_transition=int((answered & later).sum()) / tried if tried else None,
        )

    def transition(self, fault: Fault, span: tuple[int, int], nodes: tuple[str, ...], kind: Kind) -> int | None:
        """When the side's new primary first answered an operation of that kind: the start of the window where the side keeps
        its primary or the database has none, None where no new one answered."""
        views = self.recording.views
        news = [
            view for view in views
            if fault.started <= view.time < span[1] and view.node in nodes
            and view.primary in nodes and view.primary != fault.primary
        ]
        if not news:
            leaderless = fault.primary is None and not any(view.primary for view in views)
            return span[0] if leaderless or fault.primary in nodes else None
        first = min(news, key=lambda view: view.time)
        ops, _ = self.group(nodes, kind)
        variant = self.recording.variant
        route = "home" if variant is None else variant.route(kind)
        if route == "home":
            by_new = ops.answered & (ops.completed >= first.time)
        else:
            code = self.history.nodes.index(first.primary) if first.primary in self.history.nodes else -2
            by_new = ops.answered & (self.history.server[ops.rows] == code) & (ops.invoked >= fault.started)
        answers = ops.completed[by_new & (ops.completed <= span[1])]
        return max(span[0], int(answers.min())) if len(answers) else None

    def without_primary(self, fault: Fault, nodes: tuple[str, ...]) -> float | None:
        span = window(self.recording, fault)
        if span is None:
            return None
        codes = [code for code, name in enumerate(self.history.errors) if name in NO_PRIMARY]
        longest = None
        for kind in KINDS:
            ops, _ = self.group(nodes, kind)
            refused = ops.completed[np.isin(self.history.error[ops.rows], codes)]
            if not len(refused):
                continue
            for gap in outages(ops.invoked, ops.completed, ops.answered, _lived(ops, span), longer_than=SECOND // 10):
                if ((refused > gap.start) & (refused <= gap.end)).any():
                    longest = max(longest or 0.0, gap.length / SECOND)
        return longest


def verdict(before: Sequence[Measure], rows: Sequence[Scenario]) -> Verdict:
    """What the measurement amounts to: `unknown` where the cluster was not healthy before the first fault."""
    if not before:
        return Verdict(
            checker="availability", validity="unknown", reason="no time before the first fault was recorded.",
        )
    for found in before:
        if found.share is None or found.share < GOOD:
            share = "none were tried" if found.share is None else f"{found.share:.1%} were answered"
            return Verdict(
                checker="availability", validity="unknown",
                reason=f"the cluster was not healthy before the first fault: of the {found.kind}s {share}.",
            )
    blocked = sum(any(side.of(kind).state == "blocked" for side in row.asked_sides for kind in KINDS) for row in rows)
    reason = f"some side was blocked in {blocked:,} of {len(rows):,} faults." if rows else "no fault happened."
    if len(rows) == 1:
        reason = f"{'some' if blocked else 'no'} side was blocked in the fault."
    return Verdict(checker="availability", validity="valid", reason=reason)
