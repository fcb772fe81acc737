"""Sets that only grow: lost, duplicated, unexpected and stale elements. The one engine for the sets of runs and of files.

Elements are added and never removed, and whole sets are read, so linearizability has an exact and small criterion. Call an
addition *certain* from the moment on at which it was acknowledged, or at which the first read that returned its element
completed. Call the *front* of a read the later of its own start and the latest start among the additions of the elements it
returned: the read takes effect no earlier than there. Then a history of one set is linearizable exactly if

* no read returns an element twice, one that was never added, whose addition failed, or began after the read had ended;
* no read misses an element that was certain before the read's front (it was lost, or the read is stale);
* of two reads, the elements of one are among those of the other (else they saw two additions in opposite orders).

*Sufficient*: order the reads by inclusion, put every addition just before the first read that returns it and those never
returned at the end. Were a later operation of this order over before an earlier one began, then, kind by kind (read and
read, addition and read, read and addition, addition and addition with a read between that returned one and missed the
other), one of the conditions above would be broken.

An indeterminate addition (`info`) may or may not appear; it is certain once it was read. An element that is added *several
times* is there from the first effect on, at a moment not before the earliest start of its additions and not after their
earliest end. Any such moment will do: the addition that began first has not ended by then, and no other has, so one takes
effect there and the others at it or later. So they count as one addition over that interval.

**Time.** Reads of the same elements in the same order are one *version*. Let versions be numbered by their size, and an
element's number be that of the first version with it. The versions are a chain exactly if each has as many elements as have
its number or a lower one; then a read misses just what has a higher number, and what was certain too early is found by the
latest front up to each version. So a valid history takes time linear in what its versions list, and four bytes for each of
that. What is wrong with another one is told read by read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from splitbrain.checkers.budget import Budget, Exhausted
from splitbrain.checkers.verdict import Moment
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.history import FAIL, NEVER, OK, History
from splitbrain.harness.history.values import NIL, SCALAR, Tagged, canonical

Ints = NDArray[np.int64]
Codes = NDArray[np.int32]

EVER = int(np.iinfo(np.int64).min)
DENSE = 1 << 22
"""Up to so many integers between the least and the greatest element are looked up in a table."""
FEW = 128
"""Up to so many elements of a read are looked through one by one."""
_AT_ONCE = 1 << 18
"""Elements that reads list which are numbered at once."""


class Report(Protocol):
    """Hears of every anomaly: its name, the rows that prove it, the elements it is about, how to say it, the row that was
    answered wrongly, and when it was, if not then."""

    def __call__(
        self, identifier: str, rows: Iterable[int], about: Iterable[Hashable], sentence: Callable[[], str], accused: int,
        moment: Moment | None = None,
    ) -> None: ...


@dataclass(slots=True)
class Growth:
    """What is known of one set: how many elements were acknowledged and how many reads there were; whether it is
    linearizable; by how many nanoseconds each stale read was; and the limit that was hit while telling what is wrong."""

    acknowledged: int
    reads: int
    valid: bool
    limit: str = ""
    stale: list[int] = field(default_factory=list)


class Growing:
    """One set: the rows of its additions and answered reads, in the order of invocation. Raises `Exhausted`, and `UsageError`
    where a read returned what is no list of elements."""

    def __init__(self, history: History, rows: Ints, budget: Budget) -> None:
        self.history = history
        self.budget = budget
        adding = history.f[rows] == (history.fs.index("add") if "add" in history.fs else -1)
        self._additions(rows[adding])
        self.read_rows = rows[~adding & (history.outcome[rows] == OK)]
        self.invoked, self.completed = history.invoked[self.read_rows], history.completed[self.read_rows]
        self._versions()
        self._seen()

    # What was added

    def _additions(self, rows: Ints) -> None:
        """Number the elements, and find for each its additions' earliest start and earliest acknowledgement, and the row of
        the addition that counts: the first acknowledged, else the first that did not fail, else the first."""
        history = self.history
        values = history.values
        self.ints: Ints | None = None
        self.numbers: dict[Hashable, int] = {}
        if (values.kind[rows] == SCALAR).all() and (values.first[rows] != NIL).all():
            self.ints, codes = np.unique(values.first[rows], return_inverse=True)
            size = len(self.ints)
        else:
            codes = np.empty(len(rows), np.int64)
            for at, row in enumerate(rows.tolist()):
                if not at & 4095:
                    self.budget.check()
                codes[at] = self.numbers.setdefault(canonical(values[row]), len(self.numbers))
            size = len(self.numbers)
        self.low = int(self.ints[0]) if self.ints is not None and size else 0
        self.table: Codes | None = None
        if self.ints is not None and size and int(self.ints[-1]) - self.low < DENSE:
            self.table = np.full(int(self.ints[-1]) - self.low + 1, -1, np.int32)
            self.table[self.ints - self.low] = np.arange(size)
        happened = history.outcome[rows] != FAIL
        acked = np.where(history.outcome[rows] == OK, history.completed[rows], NEVER)
        self.failed = np.ones(size, np.bool_)
        self.failed[codes[happened]] = False
        self.begun = np.full(size, NEVER)
        began = np.where(happened, history.invoked[rows], NEVER)
        np.minimum.at(self.begun, codes, began)
        self.began_by = np.full(size, -1, np.int64)
        order = np.lexsort((np.arange(len(rows)), began))[::-1]
        self.began_by[codes[order]] = rows[order]
        self.acknowledged = np.full(size, NEVER)
        np.minimum.at(self.acknowledged, codes, acked)
        # The last that is written stays: of the worst first.
        order = np.lexsort((np.arange(len(rows)), acked, ~happened))[::-1]
        self.added = np.full(size, -1, np.int64)
        self.added[codes[order]] = rows[order]

    def name(self, code: int) -> Hashable:
        """The element of that number."""
        return canonical(self.history.values[int(self.added[code])])

    def shown(self, code: int) -> Any:
        """The element of that number as it was told."""
        return self.history.values[int(self.added[code])]

    # What was read

    def _versions(self) -> None:
        """Tell the versions apart, and number what each lists: `codes[ends[v]:ends[v + 1]]`, -1 for what nobody added."""
        values, rows = self.history.values, self.read_rows.tolist()
        numbers: dict[tuple[Any, ...], int] = {}
        self.version = np.empty(len(rows), np.int64)
        self.listed: list[tuple[Any, ...]] = []
        self.double: list[int] = []
        parts: list[Codes] = []
        stamp = np.empty(len(self.begun), np.int32)
        numbered = waiting = work = 0
        for at, row in enumerate(rows):
            listed = members(values[row])
            work += 64 + len(listed)
            if work > _AT_ONCE:
                self.budget.check()
                work = 0
            number = numbers.setdefault(listed, len(numbers))
            self.version[at] = number
            if number == len(self.listed):
                self.listed.append(listed)
                waiting += len(listed)
            if waiting > _AT_ONCE:
                parts.append(self._take(numbered, stamp))
                numbered, waiting = len(self.listed), 0
        parts.append(self._take(numbered, stamp))
        self.ends = np.concatenate([[0], np.cumsum(np.fromiter(map(len, self.listed), np.int64, len(self.listed)))])
        self.codes = np.concatenate(parts)

    def _take(self, since: int, stamp: Codes) -> Codes:
        """Number what the versions from that one on list, one after the other, and tell which of them list an element twice."""
        versions = self.listed[since:]
        codes = self._numbered(versions)
        end = 0
        for number, listed in enumerate(versions, since):
            begin, end = end, end + len(listed)
            if len(listed) <= FEW:
                if len(set(listed)) < len(listed):
                    self.double.append(number)
                continue
            known = codes[begin:end]
            known = known[known >= 0]
            places = np.arange(len(known), dtype=np.int32)
            stamp[known] = places
            twice = bool((stamp[known] != places).any())
            if twice or (len(known) < len(listed) and len(set(listed)) < len(listed)):
                self.double.append(number)
        return codes

    def _numbered(self, versions: list[tuple[Any, ...]]) -> Codes:
        many = sum(map(len, versions))
        if self.ints is None:
            find = self.numbers.get
            return np.fromiter((find(item, -1) for item in chain.from_iterable(versions)), np.int32, many)
        if not len(self.ints):
            return np.full(many, -1, np.int32)
        told = _integers(versions, many)
        if self.table is not None:
            place = told - self.low
            inside = (place >= 0) & (place < len(self.table))
            found: Codes = np.where(inside, self.table[np.where(inside, place, 0)], -1)
            return found
        at = np.minimum(np.searchsorted(self.ints, told), len(self.ints) - 1)
        return np.where(self.ints[at] == told, at, -1).astype(np.int32)

    def _seen(self) -> None:
        """When each element was first returned and by which read, and by which read that ended last; and the front of every
        read. Elements whose additions failed, or that began after the read, are as if they had not been listed."""
        size, versions = len(self.begun), len(self.listed)
        reads = len(self.read_rows)
        first, last = np.full(versions, reads, np.int64), np.full(versions, -1, np.int64)
        by_end = np.lexsort((np.arange(reads), self.completed))
        place = np.empty(reads, np.int64)
        place[by_end] = np.arange(reads)
        np.minimum.at(first, self.version, place)
        np.maximum.at(last, self.version, place)
        owner = np.repeat(np.arange(versions), np.diff(self.ends))
        good = self.codes >= 0
        good[good] = ~self.failed[self.codes[good]]
        self.strange = np.unique(owner[~good])
        codes, owner = (self.codes, owner) if good.all() else (self.codes[good], owner[good])
        self.good_codes, self.good_owner = codes, owner
        self.budget.check()
        begun = self.begun[codes]
        early = begun > self.completed[by_end[first[owner]]] if len(codes) else np.zeros(0, np.bool_)
        self.future: list[tuple[int, int]] = []
        seen, last_seen = np.full(size, reads, np.int64), np.full(size, -1, np.int64)
        np.maximum.at(last_seen, codes, last[owner])
        if early.any():
            wrong = np.unique(owner[early])
            fine = ~np.isin(owner, wrong)
            np.minimum.at(seen, codes[fine], first[owner[fine]])
        else:
            wrong = np.empty(0, np.int64)
            np.minimum.at(seen, codes, first[owner])
        latest = np.full(versions, EVER)
        np.maximum.at(latest, owner, begun)
        self.front = np.maximum(self.invoked, latest[self.version])
        for number in wrong.tolist():
            self.budget.check()
            mine = codes[owner == number]
            for at in np.flatnonzero(self.version == number).tolist():
                before = self.begun[mine] > self.completed[at]
                self.future += [(at, code) for code in set(mine[before].tolist())]
                np.minimum.at(seen, mine[~before], place[at])
                self.front[at] = max(int(self.invoked[at]), int(self.begun[mine[~before]].max(initial=EVER)))
        known = seen < reads
        self.seen = np.where(known, self.completed[by_end[np.where(known, seen, 0)]] if reads else NEVER, NEVER)
        self.seen_by = np.where(known, by_end[np.where(known, seen, 0)] if reads else -1, -1)
        self.last_seen = np.where(last_seen >= 0, by_end[last_seen] if reads else -1, -1)
        self.certain = np.minimum(self.acknowledged, self.seen)

    def _chain(self) -> bool:
        """Whether of every two reads the elements of one are among those of the other, and no read misses what was certain
        before its front; only where no version lists an element twice, or one that it cannot."""
        versions, size = len(self.listed), len(self.begun)
        sizes = np.bincount(self.good_owner, minlength=versions)
        order = np.argsort(sizes, kind="stable")
        number = np.empty(versions, np.int64)
        number[order] = np.arange(versions)
        first = np.full(size, versions, np.int64)
        np.minimum.at(first, self.good_codes, number[self.good_owner])
        there = np.cumsum(np.bincount(first, minlength=versions + 1))[:versions]
        # Versions of the same elements in another order count as one.
        if (there != sizes[order]).any():
            return False
        fronts = np.full(versions + 1, EVER)
        np.maximum.at(fronts, number[self.version] + 1, self.front)
        return not (self.certain < np.maximum.accumulate(fronts)[first]).any()

    def judge(
        self, report: Report, at: Callable[[int], str], final: int | None = None, *, brief: bool = False
    ) -> Growth:
        """Report every anomaly; where it is `brief`, one read of what nobody added is enough, and the reads are
        compared by the rest. `at` says in words where and when the operation in a row was answered. `final` is when the reads
        began that tell what is lost: every read may where it is None."""
        growth = Growth(int(np.count_nonzero(self.acknowledged != NEVER)), len(self.read_rows), valid=False)
        clean = not self.double and not len(self.strange) and not self.future
        if clean and self._chain():
            growth.valid = True
            return growth
        account = _Account(self, report, at, final, brief)
        try:
            account.impossible()
            growth.stale = account.missing()
            if not account.told or (brief and account.told == account.strangers):
                account.compare()
        except Exhausted as error:
            growth.limit = str(error)
        return growth


class _Account:
    """What is wrong with one set, read by read."""

    def __init__(
        self, whole: Growing, report: Report, at: Callable[[int], str], final: int | None, brief: bool
    ) -> None:
        self.whole, self.at, self.final, self.brief = whole, at, final, brief
        self._report = report
        self.told = self.strangers = 0

    def report(
        self, identifier: str, rows: Iterable[int], about: Iterable[Hashable], sentence: Callable[[], str], accused: int,
        moment: Moment | None = None,
    ) -> None:
        self.told += 1
        if not self.told & 255:
            self.whole.budget.check()
        self._report(identifier, rows, about, sentence, accused, moment)

    def _row(self, read: int) -> int:
        return int(self.whole.read_rows[read])

    def impossible(self) -> None:
        """What a read alone proves: what it lists twice, what was never added, failed to be, or was added later."""
        whole, at = self.whole, self.at
        odd = np.isin(whole.version, np.union1d(np.array(whole.double, np.int64), whole.strange))
        known: set[Hashable] = set()
        double = set(whole.double)
        for read in np.flatnonzero(odd).tolist():
            row, number = self._row(read), int(whole.version[read])
            listed, codes = whole.listed[number], whole.codes[whole.ends[number]:whole.ends[number + 1]]
            if number in double:
                for name in sorted((name for name, n in Counter(listed).items() if n > 1), key=repr):
                    code = int(codes[listed.index(name)])
                    rows = (row, int(whole.added[code])) if code >= 0 else (row,)
                    plain = whole.shown(code) if code >= 0 else name
                    self.report(
                        "duplicate", rows, (name,),
                        lambda row=row, plain=plain: f"a read{at(row)} returned {plain!r} twice", row,  # type: ignore[misc]
                    )
            strange = codes < 0
            strange[~strange] = whole.failed[codes[~strange]]
            places = np.flatnonzero(strange)
            if self.brief and len(places):
                kinds = codes[places] < 0
                places = places[np.unique([np.argmax(kinds), np.argmin(kinds)])]
            for place in places.tolist():
                name, code = listed[place], int(codes[place])
                if name in known:
                    continue
                known.add(name)
                self.strangers += 1
                identifier, why = ("unexpected", "which nobody added") if code < 0 else (
                    "aborted-read", "whose addition had failed")
                plain = name if code < 0 else whole.shown(code)
                self.report(
                    identifier, (row,) if code < 0 else (row, int(whole.added[code])), (name,),
                    lambda row=row, plain=plain, why=why: (  # type: ignore[misc]
                        f"a read{at(row)} returned {plain!r}, {why}"
                    ), row,
                )
        for read, code in sorted(whole.future):
            row = self._row(read)
            self.report(
                "future-read", (row, int(whole.added[code])), (whole.name(code),),
                lambda row=row, code=code: (  # type: ignore[misc]
                    f"a read{at(row)} returned {whole.shown(code)!r} before its addition had begun"
                ), row,
            )

    def missing(self) -> list[int]:
        """Report what reads miss: what was lost, and the reads that are stale; by how much each of these was."""
        whole = self.whole
        turn = np.empty(len(whole.invoked), np.int64)
        turn[np.lexsort((whole.read_rows, whole.invoked))] = np.arange(len(turn))
        known = self._last_known()
        # Each element's last read that missed it, and the start of the first after it was last known to be there.
        last, gone_since = np.full(len(known), -1, np.int64), np.full(len(known), NEVER)
        found: list[tuple[int, Ints]] = []
        for read, codes in self._missed(turn):
            found.append((read, codes))
            ahead = codes[(last[codes] < 0) | (turn[last[codes]] < turn[read])]
            last[ahead] = read
            later = codes[whole.invoked[read] >= known[codes]]
            gone_since[later] = np.minimum(gone_since[later], whole.invoked[read])
        lost = self._gone(last)
        gone = np.flatnonzero(lost)
        for code in gone[np.argsort(whole.added[gone], kind="stable")].tolist():
            self._lost(code, int(last[code]), int(known[code]), int(gone_since[code]))
        late = []
        for read, codes in sorted(found, key=lambda pair: (int(whole.front[pair[0]]), pair[0])):
            left = codes[~lost[codes]]
            if len(left):
                late.append(max(0, int(whole.invoked[read]) - int(whole.certain[left[0]])))
                self._stale(int(left[0]), read)
        return late

    def _last_known(self) -> Ints:
        """The last moment at which each element was known to be there."""
        whole = self.whole
        known: Ints = whole.certain
        if len(whole.completed):
            known = np.maximum(known, np.where(whole.last_seen >= 0, whole.completed[whole.last_seen], -1))
        return known

    def _missed(self, turn: Ints) -> Iterator[tuple[int, Ints]]:
        """Every read that misses elements which were certain before its front, with these in the order in which they were:
        version by version, for what a version has not is looked up once, and by its `turn`."""
        whole, versions = self.whole, len(self.whole.listed)
        order = np.lexsort((whole.added, whole.certain))
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        required = np.searchsorted(whole.certain[order], whole.front, "left")
        most = np.zeros(versions, np.int64)
        np.maximum.at(most, whole.version, required)
        starts = np.searchsorted(whole.good_owner, np.arange(versions + 1))

        def absent(number: int) -> Ints:
            """The ranks below those that some read of a version requires which it does not have."""
            mine = rank[whole.good_codes[starts[number]:starts[number + 1]]]
            there = np.zeros(int(most[number]), np.bool_)
            there[mine[mine < len(there)]] = True
            return np.flatnonzero(~there)

        lowest = np.full(versions, len(order), np.int64)
        for number in range(versions):
            if not number & 63:
                whole.budget.check()
            lowest[number] = next(iter(absent(number)[:1].tolist()), len(order))
        some = np.flatnonzero(required > lowest[whole.version])
        held, ranks = -1, np.empty(0, np.int64)
        for count, read in enumerate(some[np.lexsort((turn[some], whole.version[some]))].tolist()):
            if not count & 255:
                whole.budget.check()
            if whole.version[read] != held:
                held = int(whole.version[read])
                ranks = absent(held)
            missed = ranks[:np.searchsorted(ranks, required[read])]
            if len(missed):
                yield read, order[missed]

    def _gone(self, last: Ints) -> NDArray[np.bool_]:
        """Which elements are lost, by the last read that missed each (-1: none): those of which it may tell that, and that no
        read has returned since."""
        whole = self.whole
        lost = np.zeros(len(last), np.bool_)
        for code in np.flatnonzero(last >= 0).tolist():
            end = int(whole.invoked[last[code]])
            if self.final is not None and end < self.final:
                continue
            gone_from = end if self.final is None else self.final
            seen = int(whole.last_seen[code])
            lost[code] = seen < 0 or int(whole.completed[seen]) < gone_from
        return lost

    def _proof(self, code: int, read: int) -> tuple[list[int], list[Hashable]]:
        """The rows that prove that this read had to return the element, and the elements they are about."""
        whole = self.whole
        rows, about = [int(whole.added[code]), self._row(read)], [whole.name(code)]
        if whole.seen[code] < whole.acknowledged[code]:
            rows += [self._row(int(whole.seen_by[code])), *self._additions(code)]
        if whole.certain[code] >= whole.invoked[read]:
            number = whole.version[read]
            mine = whole.codes[whole.ends[number]:whole.ends[number + 1]]
            mine = mine[mine >= 0]
            mine = mine[~whole.failed[mine]]
            mine = mine[whole.begun[mine] == whole.front[read]]
            rows += self._additions(int(mine[0]))
            about.append(whole.name(int(mine[0])))
        return rows, about

    def _additions(self, code: int) -> list[int]:
        """The addition that counts, and the one that began first where that is another."""
        return [int(self.whole.added[code]), int(self.whole.began_by[code])]

    def _lost(self, code: int, read: int, known: int, since: int) -> None:
        whole, at = self.whole, self.at
        rows, about = self._proof(code, read)
        acked = whole.acknowledged[code] != NEVER
        row = self._row(read)

        def sentence() -> str:
            if acked:
                told = f"the addition of {whole.shown(code)!r} was acknowledged{at(int(whole.added[code]))}"
            else:
                told = f"a read{at(self._row(int(whole.seen_by[code])))} returned {whole.shown(code)!r}"
            return f"{told}, but the last reads{at(row)} miss it"

        first = since if since != NEVER else int(whole.invoked[read])
        self.report("lost-element", rows, about, sentence, row, Moment(known, first, bool(acked)))

    def _stale(self, code: int, read: int) -> None:
        whole, at = self.whole, self.at
        rows, about = self._proof(code, read)
        row, seen = self._row(read), int(whole.last_seen[code])
        again = seen >= 0 and whole.completed[seen] >= whole.invoked[read]
        if again:
            rows.append(self._row(seen))

        def sentence() -> str:
            later = f"; it was there{at(self._row(seen))}" if again else "; the recording ends before anyone read it again"
            acked = whole.acknowledged[code] <= whole.seen[code]
            how = "had been acknowledged" if acked else "had been read"
            where = int(whole.added[code]) if acked else self._row(int(whole.seen_by[code]))
            return f"a read{at(row)} missed {whole.shown(code)!r}, which {how}{at(where)}{later}"

        self.report("stale-read", rows, about, sentence, row)

    def compare(self) -> None:
        """Report the reads that do not hold ever more elements when put in the order of their sizes."""
        whole, at = self.whole, self.at
        sizes = np.bincount(whole.good_owner, minlength=len(whole.listed))[whole.version]
        starts = np.searchsorted(whole.good_owner, np.arange(len(whole.listed) + 1))
        for small, large in pairwise(np.lexsort((whole.invoked, sizes)).tolist()):
            one, other = int(whole.version[small]), int(whole.version[large])
            if one == other:
                continue
            whole.budget.check()
            a, b = (whole.good_codes[starts[number]:starts[number + 1]] for number in (one, other))
            without = np.setdiff1d(a, b)
            if not len(without):
                continue
            mine = int(min(without.tolist(), key=lambda code: whole.added[code]))
            # Not empty: `b` has no fewer, and what either lists twice has been told.
            theirs = int(min(np.setdiff1d(b, a).tolist(), key=lambda code: whole.added[code]))
            rows = self._row(small), self._row(large)
            self.report(
                "reordered", (*rows, int(whole.added[mine]), int(whole.added[theirs])), (whole.name(mine), whole.name(theirs)),
                lambda rows=rows, mine=mine, theirs=theirs: (  # type: ignore[misc]
                    f"one read{at(rows[0])} returned {whole.shown(mine)!r} without {whole.shown(theirs)!r}, "
                    f"another{at(rows[1])} the other way round"
                ), rows[1],
            )


def _integers(versions: list[tuple[Any, ...]], many: int) -> Ints:
    """What these versions list, one after the other, of which there are so many; `NIL` for what no column of integers has."""
    if set(map(type, chain.from_iterable(versions))) <= {int}:
        with suppress(OverflowError):
            return np.fromiter(chain.from_iterable(versions), np.int64, many)
    items = (item if type(item) is int and NIL < item <= NEVER else NIL for item in chain.from_iterable(versions))
    return np.fromiter(items, np.int64, many)


def members(value: Any) -> tuple[Any, ...]:
    """The elements that a read returned, duplicates and all, in what stands for them."""
    if value is None:
        return ()
    if type(value) is tuple and set(map(type, value)) <= {int, str}:
        # Most reads list plain integers or strings, which need no stand-in.
        return value
    if isinstance(value, Tagged) and isinstance(value.content, Iterable):
        return tuple(value.content)
    if isinstance(value, list | tuple | set | frozenset):
        return tuple(canonical(element) for element in value)
    raise UsageError(f"a read of a set returned {value!r}, which is no list of elements")
