"""The order in which elements of queues are handed out.

It is judged where the one was acknowledged, or seen, before the other was begun, and handed out after the other had been, or
not at all.
"""

from __future__ import annotations

import numpy as np

from splitbrain.checkers.structures.columns import Flags, Ints, grouped, rows_of
from splitbrain.checkers.structures.findings import Findings, Told
from splitbrain.checkers.structures.queues.elements import LAST, Elements, rows_told, silent_by, unexplained
from splitbrain.harness.history.history import INFO, History
from splitbrain.harness.history.moment import clock


def find_out_of_order(found: Findings, history: History, elements: Elements) -> Ints:
    """Elements that one which came in later overtook: each once. Of which queues they are."""
    wrong = []
    ordered = elements.by_begun[elements.taken[elements.by_begun] >= 0]
    for key, places in grouped(elements.key[ordered]):
        mine = ordered[places]
        begun, out = history.invoked[elements.put[mine]], elements.out[mine]
        # The earliest to be out of those that begun at or behind each place.
        soonest = np.append(np.minimum.accumulate(out[::-1])[::-1], LAST)
        place = np.searchsorted(begun, elements.there[mine], side="right")
        at = np.flatnonzero(soonest[place] < history.invoked[elements.taken[mine]])
        if not len(at):
            continue
        at = at[np.argsort(mine[at])]
        who = np.minimum.accumulate(np.where(out == soonest[:-1], np.arange(len(out)), len(out))[::-1])[::-1]
        _tell_overtaken(found, history, elements, mine[at], mine[who[place[at]]])
        wrong.append(key)
    return np.array(wrong, np.int64)


def _tell_overtaken(found: Findings, history: History, elements: Elements, late: Ints, early: Ints) -> None:
    put, taken = elements.put, elements.taken

    def tell(at: int) -> Told:
        first, other = int(early[at]), int(late[at])
        value, key = history[int(put[first])].value, history[int(put[first])].key
        known = "put in" if elements.told(other) == put[other] else "seen there"
        sentence = (
            f"{value} came out of queue {key} at {clock(int(history.completed[taken[first]]))}, before "
            f"{history[int(put[other])].value}, which had been {known} by {clock(int(elements.there[other]))}, before "
            f"{value} was put in"
        )
        if taken[other] < 0:
            maybe = silent_by(history, int(history.key[put[other]]), int(history.completed[taken[first]]))
            others = f", nor can any of {maybe:,} unanswered dequeues have that took no other" if maybe else ""
            sentence += f": nobody had taken it out{others}"
        rows = (put[other], elements.told(other), put[first], taken[first], taken[other])
        return f"{sentence}.", rows_told(history, *map(int, rows))

    seen = np.where(taken[late] >= 0, history.completed[taken[late]], history.completed[taken[early]])
    found.add_all("reordered", history.key[put[early]], history.invoked[taken[early]], seen, tell)


def find_left_behind(found: Findings, history: History, elements: Elements, lost: Flags, gone: Ints) -> Ints:
    """Elements that nobody took out, though one that came in later came out: each once. An unanswered dequeue may have
    taken one of those before; `gone` are the moments by which looks want one, too. Of which queues they
    are."""
    put, taken = elements.put, elements.taken
    waits = np.flatnonzero((put >= 0) & (taken < 0) & (elements.there < LAST) & ~lost)
    queues: list[int] = []
    if not len(waits):
        return np.array(queues, np.int64)
    silent = np.flatnonzero(rows_of(history, "dequeue") & (history.outcome == INFO))
    # What began before any that waits in its queue was there did not overtake it.
    since = np.full(len(history.keys) + 1, LAST)
    np.minimum.at(since, elements.key[waits], elements.there[waits])
    later = elements.by_begun
    later = later[(taken[later] >= 0) & (history.invoked[put[later]] > since[elements.key[later]])]
    later_of = {key: later[places] for key, places in grouped(elements.key[later])}
    for key, places in grouped(elements.key[waits]):
        mine, others = waits[places], later_of.get(key, later[:0])
        ends = np.append(history.completed[taken[others]], LAST)[::-1]
        soonest = np.minimum.accumulate(ends)[::-1]
        by = soonest[np.searchsorted(history.invoked[put[others]], elements.there[mine], side="right")]
        wanted = np.minimum(by, gone[mine])
        some = np.flatnonzero(wanted < LAST)
        some = some[np.argsort(wanted[some], kind="stable")]
        begun = np.searchsorted(np.sort(history.invoked[silent[history.key[silent] == key]]), wanted[some], "right")
        overtaken = by[some] < gone[mine[some]]
        wrong = some[unexplained(begun, overtaken)]
        wrong = wrong[by[wrong] < LAST]
        begun, out_by = history.invoked[put[others]], history.completed[taken[others]]
        early = np.array([
            others[(out_by == by[at]) & (begun > elements.there[mine[at]])][0] for at in wrong.tolist()
        ], np.int64)
        if len(wrong):
            _tell_overtaken(found, history, elements, mine[wrong], early)
            queues.append(key)
    return np.array(queues, np.int64)
