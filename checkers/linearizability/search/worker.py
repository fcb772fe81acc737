"""One process of the pool: a task comes in on standard input, decisions go out on standard output.

Standard input stays open until the parent closes it or dies, and then this process ends at once, whatever it is doing.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading

from splitbrain.checkers.budget import Budget
from splitbrain.checkers.linearizability.search.rotation import TIME_IS_UP, rotate
from splitbrain.checkers.linearizability.search.start import start


def main() -> None:
    """Judge one task: (histories, model, seconds, memory), pickled after its length in eight bytes."""
    source = sys.stdin.buffer
    histories, model, seconds, memory = pickle.loads(source.read(int.from_bytes(source.read(8), "big")))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def end_with_parent() -> None:
        source.read()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    budget = Budget.of(seconds, memory)
    searches = [start(history, model) for history in histories]
    rotate(searches, budget)
    decisions = [search.decision(search.spent or TIME_IS_UP) for search in searches]
    answers.write(pickle.dumps(decisions))
    answers.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
