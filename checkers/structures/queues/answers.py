"""Answers of queues that are wrong whatever the order: what was handed out twice, what nobody put in, what was out already."""

from __future__ import annotations

import numpy as np

from splitbrain.checkers.structures.columns import Flags, Ints
from splitbrain.checkers.structures.findings import Findings, Told
from splitbrain.checkers.structures.queues.elements import LAST, Elements, Windows, in_pieces, rows_told
from splitbrain.checkers.structures.stretches import Stretches
from splitbrain.harness.history.history import FAIL, History
from splitbrain.harness.history.moment import clock


def find_handed_out(found: Findings, history: History, elements: Elements, took: Ints, code: Ints) -> None:
    twice = elements.taken[code] != took
    rows, codes = took[twice], code[twice]
    earlier = elements.taken[codes]

    def tell(at: int) -> Told:
        row, first = int(rows[at]), int(earlier[at])
        again, before = history[row], history[first]
        sentence = (
            f"element {again.value} was handed out to client {again.process} at {again.node or 'a client'} at "
            f"{clock(int(history.completed[row]))}, though client {before.process} had it since "
            f"{clock(int(history.completed[first]))}."
        )
        return sentence, rows_told(history, int(elements.put[codes[at]]), first, row)

    found.add_rows("duplicate", rows, tell)


def shown_once(found: Findings, history: History, elements: Elements, every: Stretches) -> Stretches:
    """Elements that wait twice, as one read shows them: each once. What reads show, an element only where its read shows
    it first."""
    # What is one stretch shows nothing twice.
    entries, shown_by = every.entries(in_pieces(every))
    shown = every.shown[entries]
    order = np.lexsort((shown_by, shown))
    code, by = shown[order], shown_by[order]
    again = np.flatnonzero((code[1:] == code[:-1]) & (by[1:] == by[:-1]))
    later = entries[order[again + 1]]
    again = again[np.unique(code[again], return_index=True)[1]]
    again = again[elements.put[code[again]] >= 0]
    codes, rows = code[again], by[again]

    def tell(at: int) -> Told:
        row, put = int(rows[at]), int(elements.put[codes[at]])
        read = history[row]
        sentence = (
            f"a read of queue {read.key} at {read.node or 'a server'} at {clock(int(history.completed[row]))} showed "
            f"{history[put].value} more than once."
        )
        return sentence, rows_told(history, put, row)

    found.add_rows("duplicate", rows, tell)
    return every.without(np.sort(later))


def find_unput(
    found: Findings, history: History, elements: Elements, took: Ints, code: Ints, every: Stretches, early_entries: Ints
) -> None:
    """Elements that nobody put in, whose enqueue failed, or had yet to begin (entries of reads that show these are given):
    each once."""
    since = np.where(elements.sound, elements.begun, LAST)
    late = every.touching(~elements.sound)
    if len(early_entries):
        late[np.searchsorted(every.first, early_entries, side="right") - 1] = True
    entries, shown_by = every.entries(late)
    shown = every.shown[entries]
    early, soon = (
        np.flatnonzero(history.completed[rows] < since[codes]) for codes, rows in ((code, took), (shown, shown_by))
    )
    codes, rows = np.concatenate([code[early], shown[soon]]), np.concatenate([took[early], shown_by[soon]])
    first = np.sort(np.unique(codes, return_index=True)[1])
    by, rows = elements.put[codes[first]], rows[first]
    failed = (by >= 0) & (history.outcome[by] == FAIL)
    for name, kind, why in (
        ("unexpected", by < 0, "which nobody had put in"),
        ("aborted-read", failed, "though putting it in was reported as failed"),
        ("future-read", (by >= 0) & ~failed, "before it was put in"),
    ):
        _untimely(found, history, name, by[kind], rows[kind], why)


def _untimely(found: Findings, history: History, name: str, put: Ints, rows: Ints, why: str) -> None:
    def tell(at: int) -> Told:
        row = int(rows[at])
        seen = history[row]
        sentence = f"a {seen.f} of queue {seen.key} at {clock(int(history.completed[row]))} told an element {why}."
        return sentence, rows_told(history, int(put[at]), row)

    found.add_rows(name, rows, tell)


def find_back_again(
    found: Findings, history: History, elements: Elements, windows: Windows, every: Stretches
) -> Flags:
    """Reads that show what had been taken out before they took effect. Which rows they are."""
    gone = elements.out
    wrong = np.zeros(len(history), np.bool_)
    entries, shown_by = every.entries(every.over(np.minimum, gone) < windows.low[every.row])
    shown = every.shown[entries]
    stale = np.flatnonzero(gone[shown] < windows.low[shown_by])
    # The entries of a read lie beside each other.
    stale = stale[np.append(True, shown_by[stale][1:] != shown_by[stale][:-1])[: len(stale)]]
    rows, codes, took = shown_by[stale], shown[stale], elements.taken[shown[stale]]
    wrong[rows] = True
    low = windows.low[rows]

    def tell(at: int) -> Told:
        row, more = int(rows[at]), []
        read, dequeue = history[row], history[int(took[at])]
        sentence = (
            f"a read of queue {read.key} at {read.node or 'a server'} at {clock(int(history.completed[row]))} showed "
            f"{dequeue.value}, which client {dequeue.process} had taken out by {clock(int(history.completed[took[at]]))}"
        )
        if history.completed[took[at]] >= history.invoked[row]:
            others = elements.put[every.elements_of(row)]
            more = others[(others >= 0) & (history.invoked[others] == low[at])][:1].tolist()
            sentence += f", beside {history[more[0]].value}, which was put in since {clock(int(low[at]))} only"
        return f"{sentence}.", rows_told(history, int(elements.put[codes[at]]), *more, int(took[at]), row)

    found.add_rows("stale-read", rows, tell)
    return wrong
