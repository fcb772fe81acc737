"""Several registers whose values are each written once: which transactions must come before which others.

Every read tells then who wrote what it found, so a linearization is an order of the transactions in which the writer of a
value comes before its readers and no other writer of that register between them. What that makes certain is found by closing
the order, beginning with real time and with writers before their readers, under two rules (Papadimitriou, "The serializability
of concurrent database updates", 1979; Biswas & Enea, "On the complexity of checking transactional consistency", 2019). Where
`r` reads what `w` wrote in a register that `v` writes too:

* if `w` comes before `v`, so does `r`;
* if `v` comes before `r`, it comes before `w`.

What that leaves open is chosen: of two writers of a register, one is put first, and the order closed again. Where that makes
a transaction come before itself the other one comes first, and where that does too, the last choice but one was wrong. If there
was none, nothing is a linearization; when all writers of each register are in an order, any order of the transactions that
agrees with it is one. It is told only when the model was asked, transaction by transaction, and agreed.

Transactions have numbers in the order of their invocation. Two that overlap in time are related by a bit, all others by their
times alone; so what is remembered of a transaction is as large as what happens beside it.

`transactions.decide.strong` closes the order of strict serializability under the same rules, and is another program: it knows
levels at which real time means nothing, so it keeps who reaches whom of all transactions, and it asks a SAT solver, which may
not be installed. Where real time counts, the times say most of that already, and bits of what is beside are enough.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Hashable, Iterable, Sequence
from heapq import heappop, heappush

from splitbrain.checkers.budget import FOREVER, Budget, Exhausted
from splitbrain.checkers.linearizability.decision import Decision
from splitbrain.checkers.linearizability.evidence.lineages import text
from splitbrain.checkers.linearizability.search.problem import Problem, encode
from splitbrain.checkers.models.specifications import Call, MultiRegister
from splitbrain.harness.history.history import History

_BEFORE = -1
"""Who wrote what a register held before all writes."""
_BESIDE = 64
"""Of a contradiction, so many transactions on both sides are looked at first."""
_WINDOW = 4096
"""Transactions beside one, on average, up to which all is related: each takes a bit."""


class _Contradiction(Exception):
    """A transaction would have to come before itself, at or beside this operation."""

    def __init__(self, operation: int) -> None:
        super().__init__(operation)
        self.operation = operation


def decide_precedence(history: History, model: MultiRegister, budget: Budget = FOREVER) -> Decision | None:
    """The decision on transactions of which each value of a register is written by one, and is not what the register held
    before; None for others, and where choosing takes more than the budget. Raises `Exhausted`."""
    problem = encode(history, model, budget)
    try:
        order = _Order.of(problem, model, budget)
        if order is None:
            return None
        order.close()
        if not order.choose():
            return None
    except _Contradiction as found:
        return Decision(method="precedence", valid=False, stuck=problem.rows[found.operation])
    line = order.line()
    if not agrees(problem, line, budget):
        return None
    return Decision(method="precedence", valid=True, linearized=tuple(problem.rows[i] for i in line))


def show(history: History, model: MultiRegister, near: int, budget: Budget = FOREVER) -> Decision | None:
    """The proof that what `decide_precedence` refuted is not linearizable: transactions none of which can be left out, and who
    wrote what these read. It is sought beside the row `near`; None where it is not found in time. Raises `Exhausted`."""
    problem = encode(history, model, budget)
    certain = [i for i in range(len(problem.calls)) if not problem.info(i)]
    place, reach = bisect_left(certain, near, key=problem.rows.__getitem__), _BESIDE
    while True:
        kept = certain[max(0, place - reach):place + reach]
        part = _part(problem, model, kept)
        rows = {problem.rows[i] for i in kept}
        kept = [i for i, row in enumerate(part.rows) if row in rows]
        if _refuted(part, model, kept, budget):
            break
        if len(kept) == len(certain):
            return None
        reach *= 4
    kept = _needed(part, model, kept, budget)
    needed = _part(part, model, kept).rows
    ends = {~event: at for at, event in enumerate(part.events) if event < 0}
    accused = part.rows[max(kept, key=lambda i: ends.get(i, len(part.events)))]
    operation = history[accused]
    these = f"these {len(needed)} operations" if len(needed) > 1 else "this operation alone"
    sentence = (
        f"{operation.f} {text(operation.value)} of client {operation.process} fits nowhere: no order of {these} that agrees"
        f" with their times is one that a {model.name} allows, whatever the others did"
    )
    return Decision(
        method="precedence", valid=False, rows=tuple(needed), accused=accused, identifier="non-linearizable", sentence=sentence
    )


def _needed(problem: Problem, model: MultiRegister, kept: list[int], budget: Budget) -> list[int]:
    """Those of the operations, refuted together, none of which can be left out: larger parts are tried first. Raises
    `Exhausted`."""
    size = len(kept) // 2
    while size:
        start = 0
        while start < len(kept):
            fewer = kept[:start] + kept[start + size:]
            if _refuted(problem, model, fewer, budget):
                kept = fewer
            else:
                start += size
        size //= 2
    return kept


def _part(problem: Problem, model: MultiRegister, kept: Iterable[int]) -> Problem:
    """The problem of these operations, and of those that wrote what they read."""
    kept = set(kept)
    read = {pair for i in kept for pair in model.effect(problem.calls[i].value, known=True)[0]}
    chosen = [
        i for i, call in enumerate(problem.calls)
        if i in kept or not read.isdisjoint(model.effect(call.value, known=False)[1].items())
    ]
    number = {i: at for at, i in enumerate(chosen)}
    events = [number[i] if event >= 0 else ~number[i] for event in problem.events if (i := max(event, ~event)) in number]
    return Problem(
        model, [problem.calls[i] for i in chosen], [problem.rows[i] for i in chosen], events,
        [number[i] for i in problem.open_ok if i in number],
    )


def _refuted(problem: Problem, model: MultiRegister, required: Iterable[int], budget: Budget) -> bool:
    """Whether those `required` are refuted whatever the others did. Raises `Exhausted`."""
    try:
        order = _Order.of(problem, model, budget, frozenset(required))
        if order is not None:
            order.close()
            order.choose()
    except _Contradiction:
        return True
    return False


def agrees(problem: Problem, order: Sequence[int], budget: Budget = FOREVER) -> bool:
    """Whether these operations, in this order, agree with their times and the model, and only such are missing that may not
    have happened. Raises `Exhausted`."""
    called = {event: at for at, event in enumerate(problem.events) if event >= 0}
    returned = {~event: at for at, event in enumerate(problem.events) if event < 0}
    if len(set(order)) != len(order) or not {i for i in called if not problem.info(i)} <= set(order):
        return False
    states = {problem.model.initial}
    latest = -1
    for number, i in enumerate(order):
        if not number & 1023:
            budget.check()
        if returned.get(i, latest) < latest:
            return False
        latest = max(latest, called[i])
        states = {after for state in states for after in problem.model.step(state, problem.calls[i])}
    return bool(states)


_Effects = dict[Call, tuple[list[tuple[Hashable, Hashable]], dict[Hashable, Hashable]]]
"""By call, what it found, and what it left in the registers that it wrote."""
_Writers = dict[tuple[Hashable, Hashable], int]
"""By register and value, who wrote it."""


def _writers(problem: Problem, model: MultiRegister, budget: Budget) -> tuple[_Effects, _Writers] | None:
    """What every call does, and who wrote each value; None where a value was written twice, or was there before all writes.
    Raises `Exhausted`."""
    effects: _Effects = {}
    writer: _Writers = {}
    for i, call in enumerate(problem.calls):
        if not i & 1023:
            budget.check()
        if call not in effects:
            effects[call] = model.effect(call.value, known=call.outcome == "ok")
        for pair in effects[call][1].items():
            if pair in writer or pair[1] == model.before:
                return None
            writer[pair] = i
    return effects, writer


def _happened(
    problem: Problem, model: MultiRegister, effects: _Effects, writer: _Writers, known: list[bool], budget: Budget
) -> list[bool] | None:
    """Which transactions must have happened: the `known` ones and who wrote what these found, for what was not answered and
    nobody read may as well not have happened. None where nobody else wrote what was found. Raises `Exhausted`."""
    needed = known.copy()
    for i, call in enumerate(problem.calls):
        if not i & 1023:
            budget.check()
        for pair in effects[call][0] if known[i] else ():
            if pair[1] != model.before:
                if pair not in writer or writer[pair] == i:
                    return None
                needed[writer[pair]] = True
    return needed


def _times(problem: Problem, needed: list[bool], known: list[bool]) -> tuple[list[int], list[int], list[int]]:
    """The operations that are `needed` in the order of their invocation, where each begins, and where it returns: behind all
    events where that is not `known`."""
    numbers: dict[int, int] = {}
    begins: list[int] = []
    returns: list[int] = []
    for at, event in enumerate(problem.events):
        if event >= 0 and needed[event]:
            numbers[event] = len(begins)
            begins.append(at)
            returns.append(len(problem.events))
        elif event < 0 and known[~event]:
            returns[numbers[~event]] = at
    return list(numbers), begins, returns


class _Order:
    """What is known of the order of some transactions.

    By transaction: `low` and `high` bound those beside it, all before `low` have returned when it begins and all from `high` on
    begin when it has taken effect; bit k of `before` says that transaction `low + k` comes before it. `sources` are the
    registers that it reads, with who wrote what it found, `writes` the registers that it writes; by register, `reading` and
    `writing` are who does. Where too much happens beside each other to relate it (`fits` is False), nothing else is known.
    """

    def __init__(
        self, ids: list[int], begins: list[int], returns: list[int], sources: list[list[tuple[Hashable, int]]],
        writes: list[list[Hashable]], budget: Budget,
    ) -> None:
        self.ids, self.sources, self.writes, self.budget = ids, sources, writes, budget
        count = len(ids)
        self.readers: dict[tuple[Hashable, int], list[int]] = defaultdict(list)
        self.reading: dict[Hashable, list[int]] = defaultdict(list)
        self.writing: dict[Hashable, list[int]] = defaultdict(list)
        for i in range(count):
            if not i & 1023:
                budget.check()
            for register, writer in sources[i]:
                self.readers[register, writer].append(i)
                self.reading[register].append(i)
            for register in writes[i]:
                self.writing[register].append(i)
        self.low, self.high, self.before = _beside(begins, returns, budget)
        self.fits = sum(high - low for low, high in zip(self.low, self.high, strict=True)) <= _WINDOW * count
        # By transaction and register: the writers of that register beside it, as bits.
        self.rivals: list[dict[Hashable, int]] = []
        # By transaction: who was told to come behind it, and what has been looked at of those before it.
        self.behind: list[list[int]] = [[] for _ in range(count)]
        self.looked = list(self.before)
        self.applied = [0] * count
        self.queue: deque[int] = deque()
        self.queued = bytearray(count)
        # What was there before each change since the first choice.
        self.trail: list[tuple[list[int], int, int]] | None = None
        if not self.fits:
            return
        masks = {register: _mask(writers, count) for register, writers in self.writing.items()}
        for i in range(count):
            if not i & 1023:
                budget.check()
            window = (1 << (self.high[i] - self.low[i])) - 1
            touched = dict.fromkeys([*writes[i], *(register for register, _ in sources[i])])
            self.rivals.append({register: (masks.get(register, 0) >> self.low[i]) & window for register in touched})

    @classmethod
    def of(
        cls, problem: Problem, model: MultiRegister, budget: Budget, required: frozenset[int] | None = None
    ) -> _Order | None:
        """What is known at first; None for transactions that are not of this kind. Those that are not `required`, by default
        those that were not answered, may not have happened. Raises `_Contradiction` and `Exhausted`."""
        told = _writers(problem, model, budget)
        if told is None:
            return None
        effects, writer = told
        every = range(len(problem.calls))
        known = [not problem.info(i) for i in every] if required is None else [i in required for i in every]
        needed = _happened(problem, model, effects, writer, known, budget)
        if needed is None:
            return None
        ids, begins, returns = _times(problem, needed, known)
        numbers = {i: number for number, i in enumerate(ids)}
        sources: list[list[tuple[Hashable, int]]] = []
        writes: list[list[Hashable]] = []
        for number, i in enumerate(ids):
            if not number & 1023:
                budget.check()
            found, left = effects[problem.calls[i]]
            found = found if known[i] else []
            if len({register for register, _ in found}) < len(set(found)):
                return None
            sources.append([
                (register, _BEFORE if value == model.before else numbers[writer[register, value]])
                for register, value in dict.fromkeys(found)
            ])
            writes.append(list(left))
        for number, (end, i) in enumerate(sorted((end, i) for i, end in enumerate(returns))):
            if not number & 1023:
                budget.check()
            for _, source in sources[i]:
                if source >= 0:
                    returns[source] = min(returns[source], end)
                    if end < begins[source]:
                        raise _Contradiction(ids[i])
        order = cls(ids, begins, returns, sources, writes, budget)
        return order if order.fits else None

    def close(self) -> None:
        """Find all that is certain. Raises `_Contradiction` and `Exhausted`."""
        for i, (low, high) in enumerate(zip(self.low, self.high, strict=True)):
            if not i & 1023:
                self.budget.check()
            for register, writer in self.sources[i]:
                writing = self.writing.get(register, [])
                since = self.high[writer] if writer >= 0 else 0
                if bisect_left(writing, since) < bisect_left(writing, low):
                    # Somebody wrote it after the writer had returned and before the reader began.
                    raise _Contradiction(self.ids[i])
                if writer >= 0:
                    self._put(writer, i)
            for register in self.writes[i]:
                reading = self.reading.get(register, [])
                for reader in reading[bisect_left(reading, low):bisect_left(reading, high)]:
                    if reader != i and any(r == register and writer < low for r, writer in self.sources[reader]):
                        self._put(reader, i)
        self.queue.extend(i for i in range(len(self.ids)) if not self.queued[i])
        self.queued = bytearray(b"\1" * len(self.ids))
        self._settle()

    def _put(self, first: int, second: int) -> None:
        """Let `first` come before `second`."""
        place = first - self.low[second]
        if place >= 0 and not self.before[second] >> place & 1:
            self.behind[first].append(second)
            if self.trail is not None:
                self.trail.append((self.behind[first], -1, 0))
            self._follow(first, second)

    def _follow(self, first: int, second: int) -> None:
        """What comes before `first`, and that itself, comes before `second`."""
        low, known = self.low, self.before[second]
        shift = low[first] - low[second]
        more = self.before[first] << shift | (1 << shift) - 1 if shift >= 0 else self.before[first] >> -shift
        if first >= low[second]:
            more |= 1 << (first - low[second])
        if more | known != known:
            self._set(self.before, second, more | known)
            if not self.queued[second]:
                self.queued[second] = 1
                self.queue.append(second)

    def _set(self, column: list[int], i: int, value: int) -> None:
        if self.trail is not None:
            self.trail.append((column, i, column[i]))
        column[i] = value

    def _settle(self) -> None:
        """Apply the rules until nothing follows from them any more."""
        low, high, before, queue = self.low, self.high, self.before, self.queue
        turns = 0
        try:
            while queue:
                turns += 1
                if not turns & 1023:
                    self.budget.check()
                i = queue.popleft()
                self.queued[i] = 0
                if before[i] >> (i - low[i]) & 1 or before[i] >> (high[i] - low[i]):
                    raise _Contradiction(self.ids[i])
                self._return(i)
                for other in self.behind[i]:
                    self._follow(i, other)
                for register, writer in self.sources[i]:
                    self._read(i, register, writer)
                done = self.applied[i]
                if before[i] != done:
                    self._set(self.applied, i, before[i])
                    for register in self.writes[i]:
                        for other in _bits(before[i] & ~done & self.rivals[i][register]):
                            for reader in self.readers.get((register, other + low[i]), ()):
                                if reader != i:
                                    self._put(reader, i)
        finally:
            for i in queue:
                self.queued[i] = 0
            queue.clear()

    def _return(self, i: int) -> None:
        """What comes before transaction `i` has taken effect when that returns."""
        low, high, before = self.low, self.high, self.before
        new = before[i] & ~self.looked[i]
        if not new:
            return
        self._set(self.looked, i, before[i])
        for place in _bits(new):
            other = place + low[i]
            if high[other] > high[i]:
                for later in range(high[i], high[other]):
                    self._put(other, later)
                self._set(high, other, high[i])

    def _read(self, i: int, register: Hashable, writer: int) -> None:
        """Who writes what `i` read from `writer`, and comes before `i`, comes before `writer`."""
        low, before = self.low, self.before
        rivals = before[i] & self.rivals[i][register] & ~(1 << (i - low[i]))
        if writer < 0:
            if rivals:
                raise _Contradiction(self.ids[i])
            return
        shift = low[i] - low[writer]
        rivals = (
            rivals << shift | self.rivals[writer][register] & (1 << shift) - 1 if shift >= 0 else rivals >> -shift
        )
        rivals &= ~(1 << (writer - low[writer]))
        while rivals := rivals & ~before[writer]:
            self._put(rivals.bit_length() - 1 + low[writer], writer)

    def choose(self) -> bool:
        """Put all writers of each register in an order; whether the time sufficed. Raises `_Contradiction`."""
        self.trail = []
        choices: list[tuple[int, int, int, int]] = []
        first = 0
        while True:
            pair = self._open(first)
            if pair is None:
                return True
            if self.budget.over:
                return False
            first, one, other = pair
            choices.append((len(self.trail), first, one, other))
            while True:
                try:
                    self._put(one, other)
                    self._settle()
                    break
                except _Contradiction:
                    # What was chosen last cannot be: the other way round, and no choice.
                    if not choices:
                        raise
                    length, first, other, one = choices.pop()
                    self._undo(length)
                except Exhausted:
                    return False

    def _open(self, first: int) -> tuple[int, int, int] | None:
        """The next two writers of a register of which neither is known to come before the other, from `first` on; who is more
        likely to come first is the second of what is told."""
        low, high, before = self.low, self.high, self.before
        for i in range(first, len(self.ids)):
            for register in self.writes[i]:
                writing = self.writing[register]
                for other in writing[bisect_left(writing, i + 1):bisect_left(writing, high[i])]:
                    if low[other] <= i and not before[other] >> (i - low[other]) & 1 and not (
                        before[i] >> (other - low[i]) & 1
                    ):
                        sooner = self._likely(i) <= self._likely(other)
                        return (i, i, other) if sooner else (i, other, i)
        return None

    def _likely(self, i: int) -> int:
        return self.low[i] + self.before[i].bit_count() + self.high[i]

    def _undo(self, length: int) -> None:
        assert self.trail is not None
        while len(self.trail) > length:
            column, i, value = self.trail.pop()
            if i < 0:
                column.pop()
            else:
                column[i] = value

    def line(self) -> list[int]:
        """The operations in an order that agrees with what is known; fewer where there is none. Raises `Exhausted`."""
        waiting = [low + before.bit_count() for low, before in zip(self.low, self.before, strict=True)]
        behind: list[list[int]] = [[] for _ in self.ids]
        starting: list[list[int]] = [[] for _ in self.ids]
        for i, before in enumerate(self.before):
            if not i & 255:
                self.budget.check()
            for place in _bits(before):
                behind[place + self.low[i]].append(i)
            if self.low[i]:
                starting[self.low[i] - 1].append(i)
        ready = [(self.high[i], i) for i, many in enumerate(waiting) if not many]
        ready.sort()
        order: list[int] = []
        done = bytearray(len(self.ids))
        whole = 0
        while ready:
            if not len(order) & 1023:
                self.budget.check()
            _, i = heappop(ready)
            order.append(self.ids[i])
            done[i] = 1
            for other in behind[i]:
                waiting[other] -= 1
                if not waiting[other]:
                    heappush(ready, (self.high[other], other))
            while whole < len(done) and done[whole]:
                whole += 1
                for other in starting[whole - 1]:
                    waiting[other] -= whole
                    if not waiting[other]:
                        heappush(ready, (self.high[other], other))
        return order


def _beside(
    begins: Sequence[int], returns: Sequence[int], budget: Budget
) -> tuple[list[int], list[int], list[int]]:
    """Of transactions that begin and return at these places: `low`, `high`, and `before` by their times alone. Raises
    `Exhausted`."""
    count = len(begins)
    low, high, before = [0] * count, [0] * count, [0] * count
    moments = sorted([(at, 0, i) for i, at in enumerate(begins)] + [(at, 1, i) for i, at in enumerate(returns)])
    done = bytearray(count)
    base = returned = begun = 0
    for number, (_, ends, i) in enumerate(moments):
        if not number & 1023:
            budget.check()
        if ends:
            high[i] = begun
            done[i] = 1
            returned |= 1 << (i - base)
        else:
            while base < i and done[base]:
                base += 1
                returned >>= 1
            low[i], before[i] = base, returned
            begun += 1
    return low, high, before


def _mask(numbers: Iterable[int], count: int) -> int:
    """A bit for each of these numbers."""
    found = bytearray(count // 8 + 1)
    for i in numbers:
        found[i >> 3] |= 1 << (i & 7)
    return int.from_bytes(found, "little")


def _bits(mask: int) -> Iterable[int]:
    """The places of the bits that are set."""
    while mask:
        lowest = mask & -mask
        mask ^= lowest
        yield lowest.bit_length() - 1
