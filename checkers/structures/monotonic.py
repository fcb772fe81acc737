"""Registers that only grow: nobody may see one go down.

Every change is a compare-and-set to a greater value. So what is read is at least what anyone had read, or had been told was
set, before the read began.
"""

from __future__ import annotations

import numpy as np

from splitbrain.checkers.structures.columns import Ints, check_functions, keys_of, latest_before, rows_of
from splitbrain.checkers.structures.findings import Findings, Told
from splitbrain.checkers.verdict import Verdict
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.history import OK, History
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
        if not np.where(cas, pairs, values.kind == SCALAR).all() or (values.second[pairs] <= values.first[pairs]).any():
            raise UsageError("the monotonic checker needs integers, and compare-and-sets to greater ones: choose another "
                             "checker")
        found = Findings(recording)
        ok = history.outcome == OK
        judged = 0
        for _, rows in history.by_key():
            rows = rows[ok[rows]]
            # NIL, the beginning, is below every integer.
            told, reached = values.first[rows], np.where(cas[rows], values.second[rows], values.first[rows])
            completed = history.completed[rows]
            before = latest_before(completed, reached, history.invoked[rows], NIL)
            judged += int((~cas[rows]).sum())
            back = np.flatnonzero(told < before)
            if len(back):
                self._tell(found, history, rows, back, reached, before[back])
        return found.verdict(
            self.name, {MODEL: ("non-monotonic-read",)}, keys=keys_of(history),
            judged=judged, things="registers",
        )

    def _tell(self, found: Findings, history: History, rows: Ints, back: Ints, reached: Ints, before: Ints) -> None:
        """Tell those of these rows that went back, each behind the first that had reached what was known before."""
        completed = history.completed[rows]
        by_value = np.lexsort((completed, reached))
        knew = by_value[np.searchsorted(reached[by_value], before)]

        def tell(at: int) -> Told:
            operation, earlier = history[int(rows[back[at]])], history[int(rows[knew[at]])]
            seen = operation.value[0] if operation.f == "cas" else operation.value
            sentence = (
                f"register {operation.key} held {'nothing' if seen is None else seen} for client {operation.process} at "
                f"{operation.node or 'a server'} at {clock(int(completed[back[at]]))}, though client {earlier.process} had "
                f"seen {before[at]} by {clock(int(completed[knew[at]]))}."
            )
            return sentence, (earlier, operation)

        found.add_all("non-monotonic-read", history.key[rows[back]], completed[knew], completed[back], tell)
