"""Queues of elements that are put in once: none lost, none handed out twice, and the first in is the first out.

What waits is read now and then, and in the end; a dequeue that finds nothing looks, too. What is asked stands in `queues`, a
file for each question: answers that are wrong by themselves, what is missing, the order in which elements go out, and the order
that reads tell. Where all of these find nothing of a queue, it is searched through for an order of its calls, where it is large
in parts.
"""

from __future__ import annotations

import numpy as np

from splitbrain.checkers.structures.columns import (
    Integers,
    Numbers,
    check_functions,
    coded_beside,
    keys_of,
    rows_of,
    shown_elements,
)
from splitbrain.checkers.structures.findings import Findings
from splitbrain.checkers.structures.queues.answers import find_back_again, find_handed_out, find_unput, shown_once
from splitbrain.checkers.structures.queues.elements import FIRST, Elements, find_until, timely, windows_of
from splitbrain.checkers.structures.queues.missing import find_lost, find_missed
from splitbrain.checkers.structures.queues.order import find_left_behind, find_out_of_order
from splitbrain.checkers.structures.queues.reads import (
    find_circles,
    find_jumped,
    find_parting,
    find_shown_out_of_order,
    find_torn,
)
from splitbrain.checkers.structures.queues.search import find_unexplained
from splitbrain.checkers.structures.stretches import Stretches
from splitbrain.checkers.verdict import Verdict
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.history import OK
from splitbrain.harness.history.recording import Recording

COMPLETE = "queues complete"
ORDERED = "queues ordered"

_NOWHERE = -2
"""No key's code: the queue of what only reads show, as long as nobody looked which that is."""


class QueueChecker:
    """Judges `enqueue` of elements, each once, `dequeue` (nil: there was none), and `read` of what waits, in its order."""

    name = "queue"

    def check(self, recording: Recording) -> Verdict:
        """Raises `UsageError` for any other function, and where an element was put in twice or is nil."""
        history = recording.history
        check_functions(history, self.name, ("enqueue", "dequeue", "read"))
        found = Findings(recording)
        numbers = Numbers()
        put = np.flatnonzero(rows_of(history, "enqueue"))
        took = np.flatnonzero(rows_of(history, "dequeue") & (history.outcome == OK))
        reads = np.flatnonzero(rows_of(history, "read") & (history.outcome == OK))
        shown_value, sizes = shown_elements(history, reads, numbers)
        (put_code, took_code), listed, many = coded_beside(
            [(history.key[put], numbers.of_rows(history, put)), (history.key[took], numbers.of_rows(history, took))],
            history.key[reads], sizes, shown_value,
        )
        if listed.min(initial=0) < 0:
            # Nil is no element.
            sizes = np.bincount(np.repeat(np.arange(len(reads)), sizes)[listed >= 0], minlength=len(reads))
            listed = listed[listed >= 0]
        if len(put_code) and put_code.min() < 0:
            raise UsageError("the queue checker needs elements that are not nil, which a dequeue of an empty queue tells: "
                             "choose another checker")
        if len(put_code) and np.bincount(put_code).max() > 1:
            raise UsageError("the queue checker needs elements that are put in once: choose another checker")
        real = took_code >= 0
        out, out_code = took[real], took_code[real]
        elements = Elements(history, many, put, put_code, out, out_code)
        find_handed_out(found, history, elements, out, out_code)
        queues = np.full(many, _NOWHERE)
        queues[out_code], queues[put_code] = history.key[out], history.key[put]
        if (queues == _NOWHERE).any():
            queues[listed] = np.repeat(history.key[reads], sizes)
        shown = shown_once(found, history, elements, Stretches.of(listed, reads, sizes, elements.begun, queues))
        right, early = timely(history, elements, shown)
        find_unput(found, history, elements, out, out_code, shown, early)
        windows = windows_of(history, elements, shown, right)
        stale = find_back_again(found, history, elements, windows, shown)
        for moments, plain in ((windows.low, history.invoked), (windows.high, history.completed)):
            moments[stale] = plain[stale]
        elements.seen_last = shown.spread(np.maximum, windows.high[shown.row], FIRST)
        elements.see(windows, right.with_only(~stale[right.row]))
        looks = np.sort(np.concatenate([reads, took[~real]]))
        lost_by, gone, untold = find_lost(found, history, elements, windows, looks)
        find_until(history, elements, lost_by)
        stale[find_missed(found, history, elements, windows, looks, shown)] = True
        disordered: list[Integers] = [
            find_out_of_order(found, history, elements), find_left_behind(found, history, elements, lost_by, gone)
        ]
        everything, shown = shown, shown.without_elements(elements.put < 0)
        crossed = find_shown_out_of_order(found, history, elements, shown)
        disordered.append(history.key[crossed])
        shown = shown.with_only(~crossed[shown.row])
        circles = find_circles(found, history, elements, shown)
        # What reads that contradict each other show of a queue tells no order of it.
        fine = shown.with_only(~stale[shown.row] & ~np.isin(history.key[shown.row], circles)).without_elements(lost_by)
        disordered.append(history.key[find_parting(found, history, elements, fine)])
        torn = find_torn(found, history, elements, windows, fine)
        # What such a read does not show, or shows too early, tells no order.
        if not elements.sound.all() or len(early):
            late = fine.over(np.maximum, history.invoked[elements.put]) > history.completed[fine.row]
            torn = np.append(torn, fine.row[late])
        simpler = np.isin(history.key[fine.row], np.concatenate(disordered))
        find_jumped(found, history, elements, windows, fine.with_only(~simpler & ~np.isin(fine.row, torn)))
        find_unexplained(found, history, elements, everything)
        lost = ("lost-element", "duplicate", "unexpected", "aborted-read", "future-read", "stale-element", "stale-read",
                "non-linearizable")
        # Without any read nobody could have told that one is lost.
        blind = {COMPLETE: f"nobody looked what became of {untold:,} elements"} if untold and not len(looks) else {}
        note = f"What became of {untold:,} elements nobody looked at." if untold and not blind else ""
        return found.verdict(
            self.name, {COMPLETE: lost, ORDERED: ("reordered", "non-linearizable")},
            keys=keys_of(history), judged=int(real.sum()) + len(reads),
            things="queues", what="answers", note=note,
            unproven=blind,
        )
