"""Death: a server that ended during a run though nobody ended it."""

from __future__ import annotations

import signal

import msgspec

from splitbrain.harness.history.moment import Time


class Death(msgspec.Struct, frozen=True, kw_only=True):
    """One server that crashed, gave up, or was killed by somebody else, as the kernel for want of memory.

    `time` is in nanoseconds from the start of the run. `code` is its exit code, negative for the signal that ended it, None
    where it was lost sight of; `detail` is what else its testbed knows. `log` holds some lines that it
    printed: from the one on that says why it ended, where one is known to, else the last ones.
    """

    node: str
    service: str
    time: Time
    code: int | None
    detail: str = ""
    log: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.code is None:
            how = "was lost sight of"
        elif self.code < 0:
            how = f"was ended by {_signal(-self.code)}"
        else:
            how = f"ended with exit code {self.code}"
        return f"{self.service} {how}" + (f" ({self.detail})" if self.detail else "")


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
