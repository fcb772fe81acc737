"""What reads of a list show, as stretches of one order of its elements.

Reads of what waits show the same elements again and again, one behind the other in the same order. So nearly every read is one
stretch of that order, and costs as much as its two ends, however much it shows. Where reads do not agree, one is several
stretches, down to one for each element: nothing that is asked here depends on how many there are, but the time that it takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from splitbrain.checkers.structures.columns import Flags, Ints, distinct
from splitbrain.harness.history.ranges import ranges


@dataclass(frozen=True)
class Order:
    """All elements, each once: those that reads show one behind the other stand so."""

    elements: Ints
    """The element at each place."""
    places: Ints
    """The place of each element."""

    @classmethod
    def of(cls, before: Ints, behind: Ints, began: Ints, key: Ints) -> Order:
        """That of elements of which pairs are shown beside each other; where pairs contradict each other, the later one
        counts. What nothing links stands in the order in which it began, key by key."""
        many = len(began)
        following, previous = np.full(many, -1), np.full(many, -1)
        following[before] = behind
        linked = np.flatnonzero(following >= 0)
        previous[following[linked]] = linked
        # Each jumps back to what is before it, then twice as far, until it is at the first one of its chain.
        head, steps = np.where(previous >= 0, previous, np.arange(many)), (previous >= 0).astype(np.int64)
        for _ in range(many.bit_length()):
            further = head[head]
            if (further == head).all():
                break
            steps += steps[head]
            head = further
        around = previous[head] >= 0  # What is in a circle has no first one.
        head[around], steps[around] = np.flatnonzero(around), 0
        heads = np.flatnonzero(head == np.arange(many))
        rank = np.empty(many, np.int64)
        rank[heads[np.lexsort((began[heads], key[heads]))]] = np.arange(len(heads))
        elements = np.argsort(rank[head] * many + steps, kind="stable")
        places = np.empty(many, np.int64)
        places[elements] = np.arange(many)
        return cls(elements, places)


@dataclass(frozen=True)
class Stretches:
    """What reads show: entries of `shown`, an element each, and stretches of them. Those of a read lie beside each other, in
    the order in which it shows them, and rows ascend."""

    order: Order
    shown: Ints
    row: Ints
    """Of each stretch the row of its read."""
    first: Ints
    """Its first entry."""
    size: Ints
    """How many entries it has: one at least."""

    @classmethod
    def of(cls, shown: Ints, rows: Ints, sizes: Ints, began: Ints, key: Ints) -> Stretches:
        """Those of reads (`rows`, ascending) which show so many (`sizes`) of the elements in `shown` each. `began` and `key`
        tell of each element there is when it was begun to be put in, and where."""
        some = sizes > 0
        starts = (np.cumsum(sizes) - sizes)[some]
        cut = np.zeros(len(shown), np.bool_)
        cut[starts] = True
        inner = ~cut[1:]
        order = Order.of(shown[:-1][inner], shown[1:][inner], began, key)
        places = order.places[shown]
        cut[1:] |= places[1:] != places[:-1] + 1
        first = np.flatnonzero(cut)
        ends = np.append(first, len(shown))
        return cls(order, shown, rows[some][np.searchsorted(starts, first, side="right") - 1], first, np.diff(ends))

    @cached_property
    def begin(self) -> Ints:
        """The place of the first element of each stretch."""
        return self.order.places[self.shown[self.first]]

    @cached_property
    def last(self) -> Flags:
        """Whether each stretch is the last one of its read."""
        return np.append(self.row[1:] != self.row[:-1], True)[: len(self.row)]

    @cached_property
    def _levels(self) -> list[tuple[int, Ints]]:
        """The powers of two up to the longest stretch, each with the stretches that it fits into, but no greater one."""
        level = np.frexp(self.size)[1] - 1
        return [(1 << at, np.flatnonzero(level == at)) for at in range(int(level.max(initial=0)) + 1)]

    def over(self, extreme: np.ufunc, values: Ints) -> Ints:
        """Of each stretch the extreme (`numpy.minimum` or `numpy.maximum`) of the values of its elements."""
        table = values[self.order.elements]
        found = np.empty(len(self.row), np.int64)
        for wide, which in self._levels:
            if wide > 1:
                table = extreme(table[: -(wide // 2)], table[wide // 2 :])
            begin = self.begin[which]
            found[which] = extreme(table[begin], table[begin + self.size[which] - wide])
        return found

    def spread(self, extreme: np.ufunc, values: Ints, none: int) -> Ints:
        """Of each element the extreme of the values of the stretches that show it; `none`, which is less extreme than any,
        where none does."""
        many = len(self.order.elements)
        above = np.zeros(0, np.int64)
        for wide, which in reversed(self._levels):
            table = np.full(many - wide + 1, none)
            table[: len(above)] = above
            if len(above):
                table[wide:] = extreme(table[wide:], above)
            begin = self.begin[which]
            extreme.at(table, begin, values[which])
            extreme.at(table, begin + self.size[which] - wide, values[which])
            above = table
        return above[self.order.places]

    def chains(self) -> Ints:
        """Of each place the number of its chain, ascending: no stretch goes from one chain into another."""
        many = len(self.order.elements)
        change = np.bincount(self.begin, minlength=many) - np.bincount(self.begin + self.size - 1, minlength=many)
        return np.append(0, np.cumsum(np.cumsum(change) == 0))[:many]

    def touching(self, elements: Flags) -> Flags:
        """Which stretches show any of these elements."""
        counts = np.append(0, np.cumsum(elements[self.order.elements]))
        found: Flags = counts[self.begin + self.size] > counts[self.begin]
        return found

    def entries(self, which: Flags) -> tuple[Ints, Ints]:
        """The entries of these stretches, ascending, and the row of each."""
        return ranges(self.first[which], self.size[which]), np.repeat(self.row[which], self.size[which])

    def elements_of(self, row: int) -> Ints:
        """What a read shows."""
        return self.shown[self.entries(self.row == row)[0]]

    def with_only(self, which: Flags) -> Stretches:
        """These stretches alone."""
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
        entries, _ = self.entries(self.touching(elements))
        return self.without(entries[elements[self.shown[entries]]])

    def joints(self) -> tuple[Ints, Ints, Ints]:
        """What reads of several stretches show on both sides of where they part: (before, behind, row)."""
        at = np.flatnonzero(~self.last)
        return self.shown[self.first[at] + self.size[at] - 1], self.shown[self.first[at + 1]], self.row[at]

    def links(self) -> tuple[Ints, Ints]:
        """Of each element what the last read that shows anything behind it shows next, and which row that is; -1 where none
        does."""
        many = len(self.order.elements)
        long = self.size > 1
        inside = Stretches(self.order, self.shown, self.row[long], self.first[long], self.size[long] - 1)
        usual = inside.spread(np.maximum, inside.row, -1)
        following = np.full(many, -1)
        linked = np.flatnonzero(usual >= 0)
        following[linked] = self.order.elements[self.order.places[linked] + 1]
        before, behind, by = self.joints()
        np.maximum.at(usual, before, by)
        latest = usual[before] == by
        following[before[latest]] = behind[latest]
        return following, usual

    def rows_touching(self, elements: Flags) -> Ints:
        """The rows of the reads that show any of these elements."""
        return distinct(self.row[self.touching(elements)])
