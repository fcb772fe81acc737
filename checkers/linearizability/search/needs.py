"""What operations that have not taken effect still need: a configuration that can no longer give it to them leads nowhere.

Of several registers, a read of (register, value) needs a write of it before it. Where all that write it have taken effect, or
begin only when the reader has returned, and another value is there, the reader can never take effect. Of texts, a read of a
text needs one that it begins with; where no put of such a text can come any more, what is there can only grow, so the read
must begin with it. Both are necessary conditions, so that nothing is pruned that could have led to a linearization; the
search without them is the obvious judge in tests.

Reads that have not begun yet are looked at too: of registers all of them, of texts the one that returns first.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Protocol

from splitbrain.checkers.budget import Budget
from splitbrain.checkers.models.specifications import Call, MultiRegister

Pending = tuple[int, int, int, int, bool]
"""Of an operation that has begun: where it returns, its bit, its call and its number, and whether it never returns."""
Effect = tuple[int, int, int, bool, int]
"""Of one that may take effect: its bit, its call, the bits of its twins before it, whether it never returns, and its number."""


class Needs(Protocol):
    """`enter` is told of each return in turn: its place among the events, and what is pending there; `doomed` says whether
    what a call leads to at the return number `e` leads nowhere; `ordered` puts first what may help the `returning` one."""

    def enter(self, place: int, pending: Sequence[Pending]) -> None: ...

    def doomed(self, e: int, state: Any, reached: Any, call: int, after: int) -> bool: ...

    def ordered(self, returning: int, effects: list[Effect]) -> list[Effect]: ...


class OfTexts(Needs):
    """What reads of one text that only grows need: a put of what they begin with. Raises `Exhausted`."""

    def __init__(self, calls: list[Call], call_of: list[int], events: list[int], budget: Budget) -> None:
        self.calls = calls
        begins = {i: at for at, i in enumerate(events) if i >= 0}
        returns = {~i: at for at, i in enumerate(events) if i < 0}
        puts: dict[str, list[int]] = defaultdict(list)
        for i, at in begins.items():
            if calls[call_of[i]].f == "put":
                puts[calls[call_of[i]].value].append(at)
        # By operation: where the last put began that it may have read; and the reads in the order of their returns.
        self.last: dict[int, int] = {}
        self.reads: list[tuple[int, int, str]] = []
        for number, (i, at) in enumerate(sorted(returns.items(), key=lambda pair: pair[1])):
            if not number & 255:
                budget.check()
            call = calls[call_of[i]]
            if call.f != "get":
                continue
            shown = call.value or ""
            self.last[i] = max(
                (places[bisect_left(places, at) - 1] for put, places in puts.items()
                 if shown.startswith(put) and places[0] < at), default=-1,
            )
            self.reads.append((begins[i], i, shown))
        self._next = 0
        # By return: the bit of a reader, what it read, and the bits of the puts that it may have read.
        self._wanted: list[list[tuple[int, str, int]]] = []

    def enter(self, place: int, pending: Sequence[Pending]) -> None:
        puts = [(bit, self.calls[call].value) for _, bit, call, _, _ in pending if self.calls[call].f == "put"]
        wanted = []
        for _, bit, call, i, _ in pending:
            if self.calls[call].f == "get" and self.last.get(i, place) < place:
                wanted.append((bit, self.calls[call].value or ""))
        while self._next < len(self.reads) and self.reads[self._next][0] < place:
            self._next += 1
        if self._next < len(self.reads) and self.last[self.reads[self._next][1]] < place:
            wanted.append((0, self.reads[self._next][2]))
        self._wanted.append([
            (bit, shown, sum(b for b, put in puts if shown.startswith(put))) for bit, shown in wanted
        ])

    def doomed(self, e: int, state: Any, reached: Any, call: int, after: int) -> bool:
        return any(
            not after & bit and not puts & ~after and not shown.startswith(reached) for bit, shown, puts in self._wanted[e]
        )

    def ordered(self, returning: int, effects: list[Effect]) -> list[Effect]:
        return effects


class OfRegisters(Needs):
    """What operations on several registers need: writes of what they read. Raises `Exhausted`."""

    def __init__(
        self, model: MultiRegister, calls: list[Call], call_of: list[int], events: list[int], budget: Budget
    ) -> None:
        self.before = model.before
        self.call_of = call_of
        # By call: what it needs to find, and what it leaves.
        self.found: list[set[tuple[Any, Any]]] = []
        self.left: list[dict[Any, Any]] = []
        for number, call in enumerate(calls):
            if not number & 1023:
                budget.check()
            found, left = model.effect(call.value, known=call.outcome == "ok")
            self.found.append(set(found))
            self.left.append(left)
        begins = {i: at for at, i in enumerate(events) if i >= 0}
        returns = {~i: at for at, i in enumerate(events) if i < 0}
        writers: dict[tuple[Any, Any], list[int]] = defaultdict(list)
        for i, at in begins.items():
            for pair in self.left[call_of[i]].items():
                writers[pair].append(at)
        # By reader: for each pair, where the last other writer began that it may have read.
        self.last: dict[int, dict[tuple[Any, Any], int]] = {}
        later: dict[tuple[Any, Any], list[tuple[int, int]]] = defaultdict(list)
        for number, (i, begin) in enumerate(begins.items()):
            if not number & 1023:
                budget.check()
            end = returns.get(i, len(events))
            last = self.last[i] = {}
            for pair in self.found[call_of[i]]:
                places = writers.get(pair, [])
                at = bisect_left(places, end) - 1
                if at >= 0 and places[at] == begin:
                    at -= 1
                last[pair] = places[at] if at >= 0 else -1
                later[pair].append((last[pair], begin))
        # By pair: behind which places there are readers to whom nobody new can write it, and up to where they begin.
        self.later: dict[tuple[Any, Any], tuple[list[int], list[int]]] = {}
        for pair, spans in later.items():
            spans.sort()
            reach = [begin for _, begin in spans]
            for k in range(1, len(reach)):
                reach[k] = max(reach[k], reach[k - 1])
            self.later[pair] = [last for last, _ in spans], reach
        self._places: list[int] = []
        self._readers: list[dict[tuple[Any, Any], int]] = []
        self._writers: list[dict[tuple[Any, Any], int]] = []

    def enter(self, place: int, pending: Sequence[Pending]) -> None:
        readers: dict[tuple[Any, Any], int] = {}
        writers: dict[tuple[Any, Any], int] = {}
        for _, bit, call, i, _ in pending:
            for pair, last in self.last[i].items():
                if last < place:
                    readers[pair] = readers.get(pair, 0) | bit
            for pair in self.left[call].items():
                writers[pair] = writers.get(pair, 0) | bit
        self._places.append(place)
        self._readers.append(readers)
        self._writers.append(writers)

    def doomed(self, e: int, state: Any, reached: Any, call: int, after: int) -> bool:
        left = self.left[call]
        if not left:
            return False
        held, holds = dict(state), dict(reached)
        for register in left:
            pair = register, held.get(register, self.before)
            if holds[register] == pair[1] or self._writers[e].get(pair, 0) & ~after:
                continue
            if self._readers[e].get(pair, 0) & ~after:
                return True
            lasts, reach = self.later.get(pair, ((), ()))
            place = self._places[e]
            known = bisect_right(lasts, place)
            if known and reach[known - 1] > place:
                return True
        return False

    def ordered(self, returning: int, effects: list[Effect]) -> list[Effect]:
        """Who returns, then who writes what that needs or needs what that overwrites, and so on."""
        writing: dict[tuple[Any, Any], list[Effect]] = defaultdict(list)
        reading: dict[Any, list[Effect]] = defaultdict(list)
        for effect in effects:
            for pair in self.left[effect[1]].items():
                writing[pair].append(effect)
            for register, _ in self.found[effect[1]]:
                reading[register].append(effect)
        known = {returning}
        order = [effect for effect in effects if effect[4] == returning]
        for effect in order:
            helping = [other for pair in self.found[effect[1]] for other in writing.get(pair, ())]
            helping += [other for register in self.left[effect[1]] for other in reading.get(register, ())]
            for other in helping:
                if other[4] not in known:
                    known.add(other[4])
                    order.append(other)
        return order + [effect for effect in effects if effect[4] not in known]
