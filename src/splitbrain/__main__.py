"""The program `splitbrain`, also as `python -m splitbrain`."""

from __future__ import annotations

import os
import signal
import sys

INTERRUPTED = 130
"""As in `harness/errors.py`, which is not loaded yet when it is needed."""


def main() -> None:
    """Run the command line. Ctrl-C ends it with one line also while it is still being loaded, when there is nothing to undo and
    no module to be left half loaded."""
    usual = signal.getsignal(signal.SIGINT)
    if usual is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    from splitbrain.harness import cli

    try:
        signal.signal(signal.SIGINT, usual)
        cli.main()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
