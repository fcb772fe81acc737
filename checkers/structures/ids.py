"""Identifiers: none is handed out twice. One whose call was not answered was handed to nobody."""

from __future__ import annotations

import numpy as np

from splitbrain.checkers.structures.columns import Numbers, check_functions, coded, keys_of, rows_of
from splitbrain.checkers.structures.findings import Findings, Told
from splitbrain.checkers.verdict import Verdict
from splitbrain.harness.history.history import OK
from splitbrain.harness.history.moment import clock
from splitbrain.harness.history.recording import Recording

MODEL = "identifiers unique"


class IdsChecker:
    """Judges `generate`: an identifier that was handed out before, of the same key, is `duplicate-id`."""

    name = "unique-ids"

    def check(self, recording: Recording) -> Verdict:
        """Raises `UsageError` for any other function."""
        history = recording.history
        check_functions(history, self.name, ("generate",))
        found = Findings(recording)
        rows = np.flatnonzero(rows_of(history, "generate") & (history.outcome == OK))
        (code,), _ = coded((history.key[rows], Numbers().of_rows(history, rows)))
        order = np.lexsort((history.completed[rows], code))
        rows, code = rows[order], code[order]
        again = np.flatnonzero((code[1:] == code[:-1]) & (code[1:] >= 0)) + 1
        first, again = rows[np.searchsorted(code, code[again])], rows[again]

        def tell(at: int) -> Told:
            before, twice = history[int(first[at])], history[int(again[at])]
            sentence = (
                f"client {twice.process} at {twice.node or 'a server'} was given {twice.value!r} at "
                f"{clock(int(history.completed[again[at]]))}, which client {before.process} at {before.node or 'a server'} had "
                f"been given at {clock(int(history.completed[first[at]]))}."
            )
            return sentence, (before, twice)

        found.add_rows("duplicate-id", again, tell)
        return found.verdict(
            self.name, {MODEL: ("duplicate-id",)}, keys=keys_of(history), judged=len(rows), things="identifiers",
            what="answers",
        )
