"""What is wrong with the registers of a journal, counted anew: one operation held against every other, by definition.

Every value of a register is written once, so that a value is a version. A compare-and-set that took effect makes its new value
come of the one that it expected; a plain write begins a line of its own.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from tests.reports.figures.recount import SECOND, Call, Recount

NOTHING = None
"""What a register held before anybody wrote."""


class Seen(NamedTuple):
    """One operation that found a version."""

    value: Any
    call: Call

    @property
    def read(self) -> bool:
        """Whether it only looked: a compare-and-set that took effect found what it replaced."""
        return self.call.f == "read" or self.call.outcome == "fail"


class Parted(NamedTuple):
    """What came of lines that went on beside each other."""

    lost: dict[Any, float]
    split: list[Call]
    both: set[Any]
    """The versions of lines that gave way, and of two of which nobody knows: no reads of them are told of besides."""


class Register:
    """One key: `calls` are those of clients and, where all replicas held the same in the end, one read of each of them."""

    def __init__(self, run: Recount, calls: list[Call]) -> None:
        self.run = run
        done = [call for call in calls if call.outcome == "ok"]
        self.seen = [Seen(call.value, call) for call in done if call.f == "read"]
        self.seen += [Seen(call.value[0], call) for call in done if call.f == "cas"]
        self.seen += [Seen(call.seen[0], call) for call in calls if call.f == "cas" and call.outcome == "fail" and call.seen]
        self.writer = {call.value[1] if call.f == "cas" else call.value: call for call in done if call.f != "read"}
        open_ = {call.value[1] if call.f == "cas" else call.value: call for call in calls
                 if call.f != "read" and call.outcome == "info"}
        while found := [value for value in open_ if any(seen.value == value for seen in self.seen)]:
            for value in found:
                self.writer[value] = call = open_.pop(value)
                self.seen += [Seen(call.value[0], call)] if call.f == "cas" else []
        self.versions = [NOTHING, *self.writer]
        assert len(set(map(str, self.versions))) == len(self.versions)
        assert all(seen.value in self.versions for seen in self.seen), "values that nobody wrote are not counted here"

    # Versions

    def line(self, value: Any) -> list[Any]:
        """The version and all that it came of, the newest first."""
        call = self.writer.get(value)
        return [value, *(self.line(call.value[0]) if call is not None and call.f == "cas" else [])]

    def came_of(self, value: Any, older: Any) -> bool:
        return older in self.line(value)

    def akin(self, one: Any, other: Any) -> bool:
        """Whether they came of one version."""
        return bool(self.line(one)[-1] == self.line(other)[-1])

    def there(self, value: Any) -> float:
        """When it was certainly there: what wrote or found it, or a version that it came of, had returned."""
        line = self.line(value)
        if NOTHING in line:
            return -math.inf
        return min([self.writer[one].ended for one in line] + [seen.call.ended for seen in self.seen if seen.value in line])

    def sought(self, value: Any) -> float:
        """When the last operation began that found it, or what came of it."""
        return max((seen.call.invoked for seen in self.seen if self.came_of(seen.value, value)), default=-math.inf)

    def acknowledged(self, value: Any) -> bool:
        return value in self.writer and self.writer[value].outcome == "ok"

    def last(self) -> tuple[Any, list[Call]]:
        """What it held in the end, and who read that."""
        reads = [seen for seen in self.seen if seen.call.invoked >= self.run.final]
        value = max((seen.value for seen in reads), key=lambda value: len(self.line(value)))
        assert {seen.call.node for seen in reads} == set(self.run.nodes)
        assert all(self.came_of(value, seen.value) for seen in reads)
        return value, [seen.call for seen in reads if seen.value == value]

    # What is wrong

    @cached_property
    def lost(self) -> dict[Any, float]:
        """Every acknowledged version that is certainly gone, and when what first shows it was asked for: those of a line that
        gave way where two had parted, and those that nobody found again though what was there in the end, or what every home
        found since, is older."""
        found = dict(self.parted.lost)
        final, closing = self.last()
        for value in self.versions:
            if not self.acknowledged(value) or self.came_of(final, value) or value in self.parted.both:
                continue
            call = self.writer[value]
            known = max(call.ended, self.sought(value))
            if self.came_of(value, final) or self.there(final) < call.invoked:
                found[value] = min(one.invoked for one in closing if one.invoked > known)
                continue
            old = [seen.call for seen in self.seen if seen.call.invoked > known and self.there(seen.value) < call.invoked]
            if {one.node for one in old} == set(self.run.nodes):
                found[value] = min(one.invoked for one in old)
        return found

    @cached_property
    def lost_itself(self) -> dict[Any, float]:
        """The lost versions that no later acknowledged write had replaced before that showed: of the others that write is the
        one that is lost."""
        writes = [call for call in self.writer.values() if call.f == "write" and call.outcome == "ok"]
        return {
            value: moment for value, moment in self.lost.items() if value in self.parted.lost
            or not any(self.writer[value].ended < other.invoked and other.ended < moment for other in writes)
        }

    @cached_property
    def parted(self) -> Parted:
        """What came of every two lines that went on beside each other: two compare-and-sets on one version, or one on a version
        that was there before another was written, and made after that had been acknowledged."""
        told = Parted({}, [], set())
        swaps = [value for value, call in self.writer.items() if call.f == "cas"]
        for two in sorted(swaps, key=lambda one: self.writer[one].invoked):
            parent = self.writer[two].value[0]
            for one in self.versions[1:]:
                call = self.writer[one]
                siblings = call.f == "cas" and call.value[0] == parent and call.invoked < self.writer[two].invoked
                passed = (self.acknowledged(one) and not self.akin(one, two) and self.there(parent) < call.invoked
                          and call.ended < self.writer[two].invoked)
                if (siblings or passed) and not {one, two} & told.both:
                    self.part(one, two, told)
        return told

    def part(self, one: Any, two: Any, told: Parted) -> None:
        """Tell which of two lines gave way, and what of it had been acknowledged and last been found before that showed."""
        known = self.survivor(one, two)
        lines = {value: [below for below in self.versions if self.came_of(below, value)] for value in (one, two)}
        if known is None:
            told.both.update(*lines.values())
            told.split.append(self.writer[two])
            return
        dead, moment = known
        told.both.update(lines[dead])
        gone = [value for value in lines[dead] if self.acknowledged(value)
                and max(self.writer[value].ended, self.sought(value)) < moment]
        told.lost.update(dict.fromkeys(gone, moment))
        if not gone or (self.sought(one) > self.writer[two].invoked and self.sought(two) > self.writer[one].invoked):
            told.split.append(self.writer[two])

    def survivor(self, one: Any, two: Any) -> tuple[Any, float] | None:
        """Which of two lines gave way, and when that showed: what was there in the end came of the other; or else the server or
        the home that had one was given the other's, or what the other's server acknowledged from then on until the next heal,
        and nothing of its own any more."""
        final, closing = self.last()
        for dead, kept in ((two, one), (one, two)):
            if self.came_of(final, kept) and not self.came_of(final, dead):
                return dead, min(call.invoked for call in closing)
        both = max(self.writer[one].ended, self.writer[two].ended)
        shown = []
        for dead, kept in ((one, two), (two, one)):
            mine, other = self.writer[dead], self.writer[kept]
            shown += [
                (seen.call.invoked, dead) for seen in self.seen if seen.call.invoked > both
                and (seen.call.server == mine.server != other.server or seen.call.node == mine.node != other.node)
                and (self.came_of(seen.value, kept) or seen.value in self.served(kept))
            ]
        if not shown:
            return None
        moment, dead = min(shown, key=lambda one: one[0])
        return (dead, moment) if all(self.sought(value) < moment for value in (dead, *self.served(dead))) else None

    def served(self, value: Any) -> list[Any]:
        """What the server of a version acknowledged from it on until the next heal."""
        call = self.writer[value]
        heals = [fault["heal_began"] for fault in self.run.faults if fault["heal_began"] > call.invoked]
        return [other for other, made in self.writer.items() if made.server == call.server and made.outcome == "ok"
                and call.invoked <= made.invoked and made.ended < min(heals, default=-math.inf)]

    @cached_property
    def stale(self) -> list[Call]:
        """The reads of a version though a newer write had been acknowledged when they began, that was not lost."""
        lost, gone = self.lost, self.parted.both
        return [
            seen.call for seen in self.seen if seen.read and seen.value not in gone and any(
                self.writer[newer].ended < seen.call.invoked and self.newer(newer, seen.value, self.writer[newer])
                for newer in self.versions if self.acknowledged(newer) and newer not in lost
            )
        ]

    @cached_property
    def backwards(self) -> list[Call]:
        """The reads, not told already, of a version though a newer one had been found when they began."""
        gone, wrong = self.parted.both, set(self.stale)
        untold = {*gone, *self.lost}
        made = [self.writer[value] for value in self.lost]  # A lost compare-and-set found what was old by then.
        found = []
        for seen in sorted(self.seen, key=lambda seen: seen.call.invoked):
            if seen.read and seen.value not in gone and seen.call not in wrong and any(
                other.call not in (*wrong, *made) and other.value not in untold and other.call.ended < seen.call.invoked
                and self.newer(other.value, seen.value, other.call) for other in self.seen
            ):
                found.append(seen.call)
                wrong.add(seen.call)
        return found

    def newer(self, value: Any, older: Any, call: Call) -> bool:
        """Whether a version that `call` wrote or found took the place of another: it came of it, or that was there before."""
        if value == older or self.came_of(older, value):
            return False
        return self.came_of(value, older) or (not self.akin(value, older) and call.invoked > self.there(older))

    @property
    def refuted(self) -> bool:
        """Whether anything is wrong that no order of its operations explains."""
        return bool(self.lost or self.parted.split or self.stale or self.backwards)

    def broke(self, promise: str) -> list[tuple[Call, Call]]:
        """Each read that found an older version than its client knew of, by its last acknowledged write of this key before it
        (`own`) or its last read of it (`read`), with that call. Older is the beginning, and a version of which somebody else
        saw, in that way, that it had been replaced by the one that was known of, or by what replaced that."""
        went: list[tuple[Any, Any, Call, Call]] = []
        for seen in self.seen:
            known = [
                (other.call, other.value) for other in self.seen if promise == "read" and other.call is not seen.call
            ] + [(call, value) for value, call in self.writer.items() if promise == "own" and call.outcome == "ok"]
            before = [(call, value) for call, value in known
                      if call.process == seen.call.process >= 0 and call.invoked < seen.call.invoked]
            # A write is known until the client's next one; of its own writes every earlier one comes before the last.
            if before:
                call, value = max(before, key=lambda one: one[0].invoked)
                went.append((value, seen.value, call, seen.call))
        after: defaultdict[str, set[str]] = defaultdict(set)
        for older, newer, _, _ in went:
            after[str(older)].add(str(newer))
        for value, call in self.writer.items():
            if call.f == "cas":
                after[str(call.value[0])].add(str(value))

        def leads(start: str, end: str) -> bool:
            reached, left = {start}, [start]
            while left:
                more = after[left.pop()] - reached
                reached |= more
                left += more
            return end in reached

        return [
            (read, call) for newer, older, call, read in went if newer != older and newer is not NOTHING and (
                older is NOTHING or (leads(str(older), str(newer))
                                     and self.writer[newer].invoked >= self.writer[older].invoked)
            )
        ]

    def ages(self) -> list[float]:
        """Seconds for which a write had been acknowledged that a read missed and that somebody found again; of each such read
        the longest."""
        found = []
        for seen in self.seen:
            if seen.call.f != "read" or seen.call.process < 0:
                continue
            missed = [
                call.ended for value, call in self.writer.items()
                if call.outcome == "ok" and call.ended < seen.call.invoked and call.invoked > self.answered(seen.value)
                and any(other.value == value and other.call.f == "read" and other.call.process >= 0
                        and other.call.invoked >= seen.call.invoked for other in self.seen)
            ]
            found += [(seen.call.invoked - min(missed)) / SECOND] if missed else []
        return found

    def answered(self, value: Any) -> float:
        """When a version was written, or first read."""
        if value is NOTHING:
            return -math.inf
        reads = [seen.call for seen in self.seen if seen.value == value and seen.call.f == "read"]
        return min(call.ended for call in (self.writer[value], *reads) if call.process >= 0)


def registers(run: Recount) -> list[Register]:
    """Every register of a run, with what all replicas held in the end, where that was the same."""
    calls: defaultdict[Any, list[Call]] = defaultdict(list)
    for call in run.calls:
        calls[call.key].append(call)
    last = [read for read in run.copies if read["round"] == max(read["round"] for read in run.copies)]
    began = max(max(call.invoked, call.returned) for call in run.calls if call.returned < math.inf) + 1
    for key, found in calls.items():
        mine = [read for read in last if read["key"] == key]
        if {read["node"] for read in mine} == set(run.nodes) and len({str(read["value"]) for read in mine}) == 1:
            found += [
                Call(-1 - at, "read", "read", key, read["value"], read["node"], read["node"], int(began), None, read["time"],
                     read["time"], "ok")
                for at, read in enumerate(mine)
            ]
    return [Register(run, found) for found in calls.values()]


def moments(every: Sequence[Register]) -> dict[str, list[float]]:
    """The name of each anomaly, and when each of its kind was seen."""
    found: dict[str, list[float]] = {}
    tells: dict[str, Callable[[Register], Iterable[float]]] = {
        "lost-write": lambda one: one.lost_itself.values(),
        "split-brain": lambda one: (call.ended for call in one.parted.split),
        "stale-read": lambda one: (call.ended for call in one.stale),
        "non-monotonic-read": lambda one: (call.ended for call in one.backwards),
    }
    tells["read-went-back"] = lambda one: (read.ended for read, _ in one.broke("read"))
    tells["missed-own-write"] = lambda one: (read.ended for read, _ in one.broke("own"))
    for name, tell in tells.items():
        found[name] = [moment for one in every for moment in tell(one)]
    return found


def gave_way(run: Recount) -> dict[Any, int]:
    """The keys on which the side that was parted from the others in the one fault of a run with one primary gave way, and how
    many of its writes that it had acknowledged while the fault was in force: clients of it read, after the heal, what another
    side had acknowledged meanwhile, and nobody found its own any more, on keys of both; and so it did as a whole."""
    fault, = run.faults
    side = {node: group for group in run.sides(fault) for node in group}
    began, over = run.window(fault)
    made = [one for one in run.calls if one.kind == "write" and one.outcome == "ok" and one.invoked >= fault["started"]
            and one.ended <= fault["healed"]]
    of = {(one.key, one.value[1] if one.f == "cas" else one.value): one for one in made}
    inside = [one for one in made if one.invoked >= began and one.ended <= over]
    reads = [(read, of[read.key, read.value]) for read in run.calls if read.f == "read" and read.outcome == "ok"
             and read.invoked >= fault["healed"] and (read.key, read.value) in of]
    others = [(read, write) for read, write in reads if side[read.node] != side[write.server] and write in inside
              and any(own.key == read.key and side[own.server] == side[read.node] for own in inside)]
    dead = {side[read.node] for read, _ in others}
    assert len(dead) == 1, "of several sides that gave way, or of none, nothing is counted here"
    over_there = {read.node: read.invoked for read, _ in sorted(others, key=lambda one: -one[0].invoked)}
    found: dict[Any, int] = {}
    for write in inside:
        own = [read.invoked < over_there.get(read.node, -math.inf) for read, one in reads
               if one.key == write.key and side[one.server] == side[write.server]]
        if side[write.server] in dead and all(own):  # A demoted primary answers from its own until it hears that it is one.
            found[write.key] = found.get(write.key, 0) + 1
    return found
