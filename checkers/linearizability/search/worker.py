"""One process of the pool: a task comes in on standard input, decisions go out on standard output.

Standard input stays open until the parent closes it or dies, and then this process ends at once, whatever it is doing.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading

from splitbrain.checkers.linearizability.search.rotation import rotate
from splitbrain.checkers.linearizability.search.start import start


def main() -> None:
    """Judge one task: (histories, model, seconds, configurations), pickled after its length in eight bytes."""
    source = sys.stdin.buffer
    histories, model, seconds, configurations = pickle.loads(source.read(int.from_bytes(source.read(8), "big")))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def end_with_parent() -> None:
        source.read()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    searches = [start(history, model) for history in histories]
    rotate(searches, seconds, configurations)
    decisions = [search.decision(search.spent or f"time limit of {seconds:.3g} s") for search in searches]
    answers.write(pickle.dumps(decisions))
    answers.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
