"""What is wrong with the queues of a journal, counted anew: one call held against every other, by definition.

Every element is put in once. A read tells all that waits, the oldest first. Where calls of clients may have been served though
they were not answered nothing is counted here.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from tests.reports.figures.recount import Call, Recount


class Queue:
    """One key: all its calls."""

    def __init__(self, run: Recount, calls: list[Call]) -> None:
        self.run = run
        assert not any(call.outcome == "info" for call in calls), "what may have been served is not counted here"
        done = [call for call in calls if call.outcome == "ok"]
        self.put = {call.value: call for call in done if call.f == "enqueue"}
        took = [call for call in sorted(done, key=lambda call: call.ended) if call.f == "dequeue"]
        self.took = [call for call in took if call.value is not None]
        self.reads = [call for call in done if call.f == "read"]
        self.looks = self.reads + [call for call in took if call.value is None]
        self.taken = {call.value: call for call in reversed(self.took)}
        self.shown = {call: list(call.value or ()) for call in self.looks}
        """What waited, as each look told."""
        told = [(one, look) for look in self.looks for one in self.shown[look]] + [(call.value, call) for call in self.took]
        assert all(one in self.put and self.put[one].invoked <= call.ended for one, call in told), "nobody put that in by then"
        self.seen: dict[Any, list[Call]] = {
            one: [read for read in self.reads if one in self.shown[read]] for one in self.put
        }

    @cached_property
    def handed_out(self) -> list[Call]:
        """The dequeues that gave somebody what another had been given before."""
        assert all(len(set(shown)) == len(shown) for shown in self.shown.values())
        return [call for call in self.took if self.taken[call.value] is not call]

    @cached_property
    def back_again(self) -> list[Call]:
        """The reads that show what had been taken out before they began, or before something else that they show was put in."""
        return [
            read for read in self.reads
            if any(one in self.taken and self.taken[one].ended < self._after(read) for one in self.shown[read])
        ]

    def _after(self, look: Call) -> float:
        return max([look.invoked, *(self.put[one].invoked for one in self.shown[look])])

    def moment(self, look: Call) -> tuple[float, float]:
        """Between when it can have looked: what it shows had begun to be put in, and was not out; if that can be."""
        if look in self.back_again:
            return look.invoked, look.ended
        outs = [self.taken[one].ended for one in self.shown[look] if one in self.taken]
        return self._after(look), min([look.ended, *outs])

    @cached_property
    def moments(self) -> dict[Call, tuple[float, float]]:
        return {look: self.moment(look) for look in self.looks}

    @cached_property
    def fresh(self) -> set[Call]:
        return set(self.looks) - set(self.back_again)

    @cached_property
    def there(self) -> dict[Any, float]:
        """Since when each was certainly there: it was acknowledged, or somebody saw it."""
        return {one: min([put.ended, *(self.moments[read][1] for read in self.seen[one] if read in self.fresh)])
                for one, put in self.put.items()}

    @cached_property
    def until(self) -> dict[Any, float]:
        """How long it certainly was: until it was asked for and given, or shown for the last time; what nobody took and what is
        not lost, for ever."""
        found = {}
        for one in self.put:
            kept = one not in self.taken and one not in self.lost
            asked = [self.taken[one].invoked] if one in self.taken else [math.inf] if kept else []
            found[one] = max([*asked, *(self.moments[read][0] for read in self.seen[one] if read in self.fresh)],
                             default=-math.inf)
        return found

    @cached_property
    def lost(self) -> dict[Any, Call]:
        """What nobody took out and no look shows any more, though one began after it had been put in and was seen for the last
        time; and the first such look to be over."""
        found = {}
        for one in self.put:
            since = max([self.there[one], *(self.moments[read][1] for read in self.seen[one])])
            later = [look for look in self.looks if self.moments[look][0] > since]
            if one not in self.taken and later and not any(read.invoked >= self.run.final for read in self.seen[one]):
                found[one] = min(later, key=lambda look: self.moments[look][1])
        return found

    @cached_property
    def missed(self) -> dict[Call, list[Any]]:
        """Each look that does not show what was there all the time, and what."""
        found = {}
        for look in self.looks:
            low, high = self.moments[look]
            steady = [one for one in self.put if self.there[one] < low and self.until[one] > high]
            missing = [one for one in steady if one not in self.shown[look]]
            if missing:
                found[look] = missing
        return found

    @cached_property
    def overtaken(self) -> dict[Any, list[Any]]:
        """What came out late, or never though it is not lost, and had been there before another that came out was put in; and
        those others."""
        found = {}
        for one in self.put:
            asked = self.taken[one].invoked if one in self.taken else math.inf if one not in self.lost else -math.inf
            others = [other for other, call in self.taken.items()
                      if self.put[other].invoked > self.there[one] and call.ended < asked]
            if others:
                found[one] = others
        return found

    @cached_property
    def crossed(self) -> list[Call]:
        """The reads that show an element before one that had been there before it was put in, or was out while it was there."""
        def wrong(first: Any, second: Any) -> bool:
            out = self.taken[second].ended if second in self.taken else math.inf
            return self.there[second] < self.put[first].invoked or out < self.until[first]

        return [
            read for read in self.reads
            if any(wrong(first, second) for at, first in enumerate(self.shown[read]) for second in self.shown[read][at + 1:])
        ]


def queues(run: Recount) -> list[Queue]:
    """Every queue of a run."""
    calls: defaultdict[Any, list[Call]] = defaultdict(list)
    for call in run.calls:
        calls[call.key].append(call)
    return [Queue(run, found) for found in calls.values()]


class Queues:
    """Every queue of a run."""

    gone = "lost-element"

    def __init__(self, run: Recount) -> None:
        self.every = queues(run)
        self.moments = moments(self.every)

    def lost(self) -> int:
        return len(self.moments["lost-element"])

    def refuted(self) -> int:
        return sum(any(moments([one]).values()) for one in self.every)


def moments(every: Sequence[Queue]) -> dict[str, list[float]]:
    """The name of each anomaly, and when each of its kind was seen."""
    return {
        "lost-element": [look.ended for one in every for look in one.lost.values()],
        "duplicate": [call.ended for one in every for call in one.handed_out],
        "stale-read": [call.ended for one in every for call in one.back_again],
        "stale-element": [call.ended for one in every for call in one.missed],
        "reordered": [
            min(one.taken[other].ended for other in others) for one in every for others in one.overtaken.values()
        ] + [call.ended for one in every for call in one.crossed],
    }
