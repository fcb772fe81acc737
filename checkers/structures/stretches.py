"""What reads of a list show, as stretches of one order of its elements.

Reads of what waits show the same elements again and again, one behind the other in the same order. So nearly every read is one
stretch of that order, and costs as much as its two ends, however much it shows. Where reads do not agree, one is several
stretches, down to one for each element: nothing that is asked here depends on how many there are, but the time that it takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from splitbrain.checkers.structures.columns import CHUNK, Flags, Integers, Ints, distinct
from splitbrain.harness.history.ranges import ranges


@dataclass(frozen=True)
class Order:
    """All elements, each once: those that reads show one behind the other stand so."""

    elements: Ints
    """The element at each place."""
    places: Ints
    """The place of each element."""
    cuts: Ints
    """The places at which another queue begins, but the first."""

    def from_behind(self, extreme: np.ufunc, values: Ints, none: int) -> Ints:
        """Of each place the extreme of the values that stand there and behind it in its queue. At the first one of a queue, and
        behind them all, it is `none`: nothing is behind what ends before it."""
        parts = np.split(values, self.cuts)
        most = np.append(np.concatenate([extreme.accumulate(part[::-1])[::-1] for part in parts]), none)
        most[self.cuts] = none
        return most

    @classmethod
    def of(cls, following: Ints, began: Ints, key: Ints) -> Order:
        """That of elements of which each has one `following` it (-1: none). Where two have the same, one of them counts. What
        nothing links stands in the order in which it began, key by key."""
        many = len(began)
        previous = np.full(many, -1)
        linked = np.flatnonzero(following >= 0)
        previous[following[linked]] = linked
        # Most of what is linked is numbered one behind the other: such a run is as one.
        starts = np.flatnonzero(np.append(True, previous[1:] != np.arange(many - 1))[:many])
        run = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, many)))
        before = np.where(previous[starts] >= 0, run[previous[starts]], -1)
        # Each jumps back to what is before it, then twice as far, until it is at the first one of its chain.
        head, steps = np.where(before >= 0, before, np.arange(len(starts))), np.zeros(len(starts), np.int64)
        steps[before >= 0] = previous[starts[before >= 0]] - starts[before[before >= 0]] + 1
        for _ in range(len(starts).bit_length()):
            further = head[head]
            if (further == head).all():
                break
            steps += steps[head]
            head = further
        around = before[head] >= 0  # What is in a circle has no first one.
        head[around], steps[around] = np.flatnonzero(around), 0
        heads = np.flatnonzero(head == np.arange(len(starts)))
        rank = np.empty(len(starts), np.int64)
        rank[heads[np.lexsort((began[starts[heads]], key[starts[heads]]))]] = np.arange(len(heads))
        runs = np.argsort(rank[head] * many + steps, kind="stable")
        elements = ranges(starts[runs], np.diff(np.append(starts, many))[runs])
        places = np.empty(many, np.int64)
        places[elements] = np.arange(many)
        queues = key[elements]
        return cls(elements, places, np.flatnonzero(queues[1:] != queues[:-1]) + 1)


@dataclass(frozen=True)
class Stretches:
    """What reads show: entries of `shown`, an element each, and stretches of them. Those of a read lie beside each other, in
    the order in which it shows them, and rows ascend."""

    order: Order
    shown: Integers
    row: Ints
    """Of each stretch the row of its read."""
    first: Ints
    """Its first entry."""
    size: Ints
    """How many entries it has: one at least."""

    @classmethod
    def of(cls, shown: Integers, rows: Ints, sizes: Ints, began: Ints, key: Ints) -> Stretches:
        """Those of reads (`rows`, ascending) which show so many (`sizes`) of the elements in `shown` each. `began` and `key`
        tell of each element there is when it was begun to be put in, and where."""
        some = sizes > 0
        rows, sizes = rows[some], sizes[some]
        starts = np.cumsum(sizes) - sizes
        order = Order.of(_following(shown, starts, sizes, len(began)), began, key)
        places, cut = order.places.astype(np.int32), np.ones(len(shown), np.bool_)
        for at in range(1, len(shown), CHUNK):
            beside = places[shown[at - 1 : at + CHUNK]]
            cut[at : at + CHUNK] = beside[1:] - beside[:-1] != 1
        cut[starts] = True
        first = np.flatnonzero(cut)
        whole = len(first) == len(starts)
        by = rows if whole else rows[np.searchsorted(starts, first, side="right") - 1]
        return cls(order, shown, by, first, np.diff(np.append(first, len(shown))))

    @cached_property
    def begin(self) -> Ints:
        """The place of the first element of each stretch."""
        return self.order.places[self.shown[self.first]]

    @cached_property
    def last(self) -> Flags:
        """Whether each stretch is the last one of its read."""
        return np.append(self.row[1:] != self.row[:-1], True)[: len(self.row)]

    @cached_property
    def _levels(self) -> list[tuple[int, Ints, Ints, Ints]]:
        """The powers of two up to the longest stretch, each with the stretches that it fits into, but no greater one, where
        these begin, and where the last so many places of each begin."""
        level = (np.frexp(self.size)[1] - 1).astype(np.int8)
        found = []
        for at in range(int(level.max(initial=0)) + 1):
            which = np.flatnonzero(level == at)
            begin = self.begin[which]
            found.append((1 << at, which, begin, begin + (self.size[which] - (1 << at))))
        return found

    def over(self, extreme: np.ufunc, values: Ints) -> Ints:
        """Of each stretch the extreme (`numpy.minimum` or `numpy.maximum`) of the values of its elements."""
        table = values[self.order.elements]
        found = np.empty(len(self.row), np.int64)
        for wide, which, begin, end in self._levels:
            if wide > 1:
                table = extreme(table[: -(wide // 2)], table[wide // 2 :])
            found[which] = extreme(table[begin], table[end])
        return found

    def spread(self, extreme: np.ufunc, values: Ints, none: int) -> Ints:
        """Of each element the extreme of the values of the stretches that show it; `none`, which is less extreme than any,
        where none does."""
        many = len(self.order.elements)
        above = np.zeros(0, np.int64)
        for wide, which, begin, end in reversed(self._levels):
            table = np.full(many - wide + 1, none)
            if len(above):
                table[: len(above)] = above
                extreme(table[wide:], above, out=table[wide:])
            of_these = values[which]
            extreme.at(table, begin, of_these)
            extreme.at(table, end, of_these)
            above = table
        return above[self.order.places]

    def before(self, extreme: np.ufunc, values: Ints, none: int) -> Ints:
        """Of each stretch the extreme of the values that stand before it in the order of its queue; `none` where nothing does.
        The values are those of places."""
        parts = np.split(values, self.order.cuts)
        most = np.append(none, np.concatenate([extreme.accumulate(part) for part in parts]))
        most[self.order.cuts] = none
        found: Ints = most[self.begin]
        return found

    def behind(self, extreme: np.ufunc, values: Ints, none: int) -> Ints:
        """Of each stretch the extreme of the values that stand behind it."""
        found: Ints = self.order.from_behind(extreme, values, none)[self.begin + self.size]
        return found

    def inside(self, ends: Ints) -> Flags:
        """Of each place whether it is in a stretch, each of which ends before the place that `ends` tells."""
        many = len(self.order.elements) + 1
        found: Flags = np.cumsum(np.bincount(self.begin, minlength=many) - np.bincount(ends, minlength=many))[:-1] > 0
        return found

    def touching(self, elements: Flags) -> Flags:
        """Which stretches show any of these elements."""
        if not elements.any():
            return np.zeros(len(self.row), np.bool_)
        counts = np.append(0, np.cumsum(elements[self.order.elements]))
        found: Flags = counts[self.begin + self.size] > counts[self.begin]
        return found

    def entries(self, which: Flags) -> tuple[Ints, Ints]:
        """The entries of these stretches, ascending, and the row of each."""
        return ranges(self.first[which], self.size[which]), np.repeat(self.row[which], self.size[which])

    def elements_of(self, row: int) -> Integers:
        """What a read shows."""
        return self.shown[self.entries(self.row == row)[0]]

    def with_only(self, which: Flags) -> Stretches:
        """These stretches alone."""
        if which.all():
            return self
        return Stretches(self.order, self.shown, self.row[which], self.first[which], self.size[which])

    def without(self, entries: Ints) -> Stretches:
        """The same without these entries, which are some of them: what is around one is two stretches then."""
        if not len(entries):
            return self
        hit = np.zeros(len(self.row), np.bool_)
        hit[np.searchsorted(self.first, entries, side="right") - 1] = True
        left, rows = self.entries(hit)
        stays = ~np.isin(left, entries)
        part = np.repeat(np.flatnonzero(hit), self.size[hit])[stays]
        left, rows = left[stays], rows[stays]
        starts = np.flatnonzero(np.append(True, (left[1:] != left[:-1] + 1) | (part[1:] != part[:-1]))[: len(left)])
        row, first = np.append(self.row[~hit], rows[starts]), np.append(self.first[~hit], left[starts])
        size = np.append(self.size[~hit], np.diff(np.append(starts, len(left))))
        order = np.argsort(first, kind="stable")
        return Stretches(self.order, self.shown, row[order], first[order], size[order])

    def without_elements(self, elements: Flags) -> Stretches:
        """The same without what is shown of these elements."""
        if not elements.any():
            return self
        entries, _ = self.entries(self.touching(elements))
        return self.without(entries[elements[self.shown[entries]]])

    def joints(self) -> tuple[Integers, Integers, Ints]:
        """What reads of several stretches show on both sides of where they part: (before, behind, row)."""
        at = np.flatnonzero(~self.last)
        return self.shown[self.first[at] + self.size[at] - 1], self.shown[self.first[at + 1]], self.row[at]

    def following(self) -> Ints:
        """Of each element what the last read that shows anything behind it shows next; -1 where none does."""
        many = len(self.order.elements)
        before, behind, by = self.joints()
        if not len(before):
            places = np.flatnonzero(self.inside(self.begin + self.size - 1))
            found = np.full(many, -1)
            found[self.order.elements[places]] = self.order.elements[places + 1]
            return found
        long = self.size > 1
        inside = Stretches(self.order, self.shown, self.row[long], self.first[long], self.size[long] - 1)
        usual = inside.spread(np.maximum, inside.row, -1)
        found = np.full(many, -1)
        linked = np.flatnonzero(usual >= 0)
        found[linked] = self.order.elements[self.order.places[linked] + 1]
        np.maximum.at(usual, before, by)
        latest = usual[before] == by
        found[before[latest]] = behind[latest]
        return found

    def last_linking(self, element: int) -> int:
        """The row of the last read that shows anything behind that element, which is some."""
        place = self.order.places[element]
        rows = self.row[(self.begin <= place) & (self.begin + self.size - 1 + ~self.last > place)]
        return int(rows.max())

    def rows_touching(self, elements: Flags) -> Ints:
        """The rows of the reads that show any of these elements."""
        return distinct(self.row[self.touching(elements)])


def _following(shown: Integers, starts: Ints, sizes: Ints, many: int) -> Ints:
    """Of each element one that a read shows right behind it; -1 where none shows any. What is new stands at the end of a read:
    what the ends tell counts more, as later reads do among them."""
    found = np.full(many, -1, np.int32)
    tails = np.minimum(sizes - 1, 2 * many // max(len(sizes), 1) + 2)
    before = ranges(starts + sizes - 1 - tails, tails)
    found[shown[before]] = shown[before + 1]
    left = [np.zeros(0, np.int64)]
    for at in range(0, len(shown), CHUNK):
        left.append(np.flatnonzero(found[shown[at : at + CHUNK]] < 0) + at)
    rest, last = np.concatenate(left), np.zeros(len(shown), np.bool_)
    last[starts + sizes - 1] = True
    rest = rest[~last[rest]]
    found[shown[rest]] = shown[rest + 1]
    return found.astype(np.int64)
