"""Where a queue may be wrong in a way that no rule tells: by one order of its elements, which is right in nearly all of it.

Where it is known in which order the elements go in, and so out, every call stands behind certain others and before others: an
element is put in behind the one before it and taken out behind it; a read stands behind what put the last element that it shows
in and took the one before the first out, and before what put the next one in and took the first out. So each call has an
earliest moment, and where none is later than the call's end the queue is explained. Of two elements whose order nothing tells
one is taken for the first: a call for which it is too late then proves nothing, but it is where to look.
"""

from __future__ import annotations

import numpy as np

from splitbrain.checkers.structures.columns import Flags, Ints
from splitbrain.checkers.structures.queues.elements import FIRST, LAST, Elements
from splitbrain.checkers.structures.stretches import Stretches
from splitbrain.harness.history.history import OK, History

_PASSES = 40
"""How often what one call puts off is handed on to others; where that has no end by then calls wait for each other."""
_BETWEEN = 1 << 36
"""Places for calls between two moments: more than there are calls."""


def find_doubts(
    history: History, elements: Elements, mine: Ints, looks: Ints, silent: Ints, every: Stretches, shown: Ints, place: Ints
) -> tuple[Ints, Ints, Ints]:
    """The elements of one queue in an order in which they may have gone in; and of each call for which it is too late then a
    place in that order and a moment. `mine` are the elements that were put in, `looks` the rows of reads and of what found
    nothing (ascending), `silent` those of unanswered dequeues (the earliest first), and `shown` the stretches that its reads
    show. `place` is room for a number of every element there is."""
    order = _order(history, elements, mine, every)
    place[order] = np.arange(len(order))
    starts = np.flatnonzero(np.append(True, every.row[shown[1:]] != every.row[shown[:-1]])[: len(shown)])
    ends = np.append(starts[1:], len(shown))[: len(starts)] - 1
    rows = every.row[shown[starts]]
    first = place[every.shown[every.first[shown[starts]]]]
    last = place[every.shown[every.first[shown[ends]] + every.size[shown[ends]] - 1]]
    many = np.add.reduceat(every.size[shown], starts) if len(starts) else starts
    told = np.zeros(len(looks), np.bool_)
    told[np.searchsorted(looks, rows)] = True
    empty = looks[~told]
    # What was there for certain before such a look began was out when it took effect.
    there = elements.there[order]
    by_there = np.argsort(there, kind="stable")
    behind = np.append(0, np.maximum.accumulate(by_there) + 1)
    gone = behind[np.searchsorted(there[by_there], history.invoked[empty], side="left")]
    rows, first, last = np.append(rows, empty), np.append(first, gone), np.append(last, gone - 1)
    torn = np.append(last[: len(many)] - first[: len(many)] + 1 != many, np.zeros(len(empty), np.bool_))
    # From here on of each look how many elements were out, and how many had been put in.
    put_in = last + 1

    put, taken = elements.put[order], elements.taken[order]
    out_by = max(int(first.max(initial=0)), int(np.flatnonzero(taken >= 0).max(initial=-1)) + 1)
    wanted = np.flatnonzero(taken[:out_by] < 0)[: len(silent)]
    took = taken.copy()
    took[wanted] = silent[: len(wanted)]
    begins = np.concatenate([
        history.invoked[put], np.where(took >= 0, history.invoked[took], LAST), history.invoked[rows],
    ])
    over = np.concatenate([
        np.where(history.outcome[put] == OK, history.completed[put], LAST), elements.out[order], history.completed[rows],
    ])
    moments = np.unique(np.concatenate([begins, over]))
    earliest = np.searchsorted(moments, begins) * _BETWEEN
    latest = (np.searchsorted(moments, over) + 1) * _BETWEEN - 1
    stopped = _put_off(earliest, len(order), first, put_in)
    late = (earliest > latest) | ~stopped
    late[2 * len(order) :] |= torn
    at = np.flatnonzero(late)
    where = np.concatenate([np.arange(len(order)), np.arange(len(order)), np.minimum(first, max(len(order) - 1, 0))])
    return order, where[at], np.where(over[at] < LAST, over[at], begins[at])


def _order(history: History, elements: Elements, mine: Ints, every: Stretches) -> Ints:
    """The elements in the order that reads tell, and of those that no read shows each as early as it can be."""
    out, begun = elements.out, elements.begun
    seen = elements.seen_last[mine] > FIRST
    told, lonely = mine[seen], mine[~seen]
    told = told[np.argsort(every.order.places[told], kind="stable")]
    ahead = np.zeros(len(lonely), np.int64)
    for ends, since in ((out, _since(history, elements, lonely)), (elements.there, begun[lonely])):
        by_end = np.argsort(ends[told], kind="stable")
        behind = np.append(0, np.maximum.accumulate(by_end) + 1)
        ahead = np.maximum(ahead, behind[np.searchsorted(ends[told][by_end], since, side="left")])
    both = np.append(told, lonely)
    rank = np.append(2 * np.arange(len(told)) + 1, 2 * ahead)
    order: Ints = both[np.lexsort((begun[both], out[both], rank))]
    return order


def _since(history: History, elements: Elements, some: Ints) -> Ints:
    """When these began to be taken out; `LAST` where nobody did."""
    taken = elements.taken[some]
    return np.where(taken >= 0, history.invoked[taken], LAST)


def _put_off(earliest: Ints, many: int, out: Ints, put_in: Ints) -> Flags:
    """Put off what has to wait for others: puts and takes of so `many` elements in their order, and looks behind them, each
    when the first so many of them are `out` and `put_in`. Which calls that came to an end for."""
    puts, takes, looks = earliest[:many], earliest[many : 2 * many], earliest[2 * many :]
    ahead, has_next = put_in > 0, put_in < many
    gone, held = out > 0, out < put_in
    steps = np.arange(many)
    before = earliest.copy()
    for _ in range(_PASSES):
        before[:] = earliest
        np.maximum(takes, puts + 1, out=takes)
        for chain in (puts, takes):
            chain[:] = np.maximum.accumulate(chain - steps) + steps
        looks[ahead] = np.maximum(looks[ahead], puts[put_in[ahead] - 1] + 1)
        looks[gone] = np.maximum(looks[gone], takes[out[gone] - 1] + 1)
        np.maximum.at(puts, put_in[has_next], looks[has_next] + 1)
        np.maximum.at(takes, out[held], looks[held] + 1)
        if (before == earliest).all():
            break
    settled: Flags = before == earliest
    return settled
