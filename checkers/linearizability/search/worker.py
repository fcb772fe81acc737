"""One process of the pool: a piece of work comes in on standard input, what it came to goes out on standard output.

Standard input stays open until the parent closes it or dies, and then this process ends at once, whatever it is doing.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading

import msgspec

from splitbrain.checkers.budget import resident


def main() -> None:
    """Do one piece: (a function, its arguments, the budget that it gets as its last), pickled after its length in eight
    bytes."""
    source = sys.stdin.buffer
    work, arguments, budget = pickle.loads(source.read(int.from_bytes(source.read(8), "big")))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def end_with_parent() -> None:
        source.read()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    answers.write(pickle.dumps(work(*arguments, msgspec.structs.replace(budget, held=resident()))))
    answers.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
