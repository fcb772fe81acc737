"""Registers that only grow: nobody may see one go down.

Every change is a compare-and-set to a greater value. So what is read is at least what anyone had read, or had been told was
set, before the read began.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from splitbrain.checkers.structures.columns import check_functions, keys_of, latest_before, rows_of
from splitbrain.checkers.structures.findings import Findings
from splitbrain.checkers.verdict import Coverage, Moment, Verdict
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.history import OK
from splitbrain.harness.history.moment import clock
from splitbrain.harness.history.recording import Recording
from splitbrain.harness.history.values import NIL, PAIR, SCALAR

MODEL = "values monotonic"


class MonotonicChecker:
    """Judges `read`, and `cas` from a value to a greater one: a read, or what a `cas` that succeeded expected, below what was
    known before is `non-monotonic-read`."""

    name = "monotonic"

    def check(self, recording: Recording) -> Verdict:
        """Raises `UsageError` for any other function, and for values that do not grow."""
        history = recording.history
        check_functions(history, self.name, ("read", "cas"))
        values = history.values
        cas = rows_of(history, "cas")
        pairs = cas & (values.kind == PAIR)
        if not ((values.kind == SCALAR) | pairs).all() or (values.second[pairs] <= values.first[pairs]).any():
            raise UsageError("the monotonic checker needs integers, and compare-and-sets to greater ones: choose another "
                             "checker")
        found = Findings(recording)
        ok = history.outcome == OK
        judged = 0
        for key, rows in history.by_key():
            rows = rows[ok[rows]]
            # NIL, the beginning, is below every integer.
            told, reached = values.first[rows], np.where(cas[rows], values.second[rows], values.first[rows])
            completed = history.completed[rows]
            before = latest_before(completed, reached, history.invoked[rows], NIL)
            judged += int((~cas[rows]).sum())
            for at in np.flatnonzero(told < before).tolist():
                operation = history[int(rows[at])]
                known = np.flatnonzero((reached == before[at]) & (completed < operation.invoked))
                earlier = history[int(rows[known[0]])]
                moment = Moment(began=int(completed[known[0]]), seen=int(completed[at]))
                seen = operation.value[0] if operation.f == "cas" else operation.value
                sentence = (
                    f"register {key} held {'nothing' if seen is None else seen} for client {operation.process} at "
                    f"{operation.node or 'a server'} at {clock(moment.seen)}, though client {earlier.process} had seen "
                    f"{before[at]} by {clock(moment.began)}."
                )
                found.add("non-monotonic-read", moment, sentence, partial(list, (earlier, operation)))
        return found.verdict(
            self.name, {MODEL: ("non-monotonic-read",)}, Coverage(keys=keys_of(history), operations=len(history)),
            judged=judged, things="registers",
        )
