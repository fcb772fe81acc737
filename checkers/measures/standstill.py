"""Standstill: a recording as if the harness had never stood still.

A harness that is stopped, swapped out or starved asks nothing and hears no answer, while the database goes on: in its journal
that looks like an outage of everybody. So whoever measures time is given the recording without these stretches: they have no
length, and the calls that were open in one are left out, for their time-outs ran on while nobody could hear an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from splitbrain.harness.history.fault import Fault, Proof
from splitbrain.harness.history.history import NEVER
from splitbrain.harness.history.recording import Recording, Stall

T = TypeVar("T", bound=msgspec.Struct)


def awake(recording: Recording) -> Recording:
    """The recording with every stall cut out: all later moments come earlier by as much. It is for measures of time alone:
    what operations returned is judged on the whole."""
    if not recording.stalls:
        return recording
    cut = _Cut(recording.stalls)
    history = recording.history
    heard = np.ones(len(history), np.bool_)
    for stall in recording.stalls:
        heard &= (history.invoked >= stall.ended) | (history.completed <= stall.began)
    return msgspec.structs.replace(
        recording,
        history=history.select(heard).on_clock(cut),
        faults=tuple(cut.fault(fault) for fault in recording.faults),
        phases=tuple(cut.moments(phase, ("began", "ended")) for phase in recording.phases),
        local_reads=tuple(cut.moments(read, ("time",)) for read in recording.local_reads),
        views=tuple(cut.moments(view, ("time",)) for view in recording.views),
        deaths=None if recording.deaths is None else tuple(cut.moments(death, ("time",)) for death in recording.deaths),
        stalls=(),
    )


class _Cut:
    def __init__(self, stalls: Sequence[Stall]) -> None:
        self.began = np.array([stall.began for stall in stalls], np.int64)
        self.ended = np.array([stall.ended for stall in stalls], np.int64)
        self.before = np.concatenate([[0], np.cumsum(self.ended - self.began)])

    def __call__(self, times: NDArray[np.int64]) -> NDArray[np.int64]:
        """These moments (nanoseconds, `NEVER` stays), as if nobody had stood still."""
        number = np.searchsorted(self.began, times, "right")
        inside = np.maximum(0, np.append(0, self.ended)[number] - times)
        lost = self.before[number] - np.where(number > 0, inside, 0)
        return np.where(times == NEVER, NEVER, times - lost)

    def fault(self, fault: Fault) -> Fault:
        """The same of a fault, and of what proved it."""
        proofs, undone = (tuple(self.moments(proof, Proof.MOMENTS) for proof in of) for of in (fault.proofs, fault.undone))
        return msgspec.structs.replace(self.moments(fault, Fault.MOMENTS), proofs=proofs, undone=undone)

    def moments(self, of: T, fields: Sequence[str]) -> T:
        """The same with those fields (None stays) as if nobody had stood still."""
        known = {name: getattr(of, name) for name in fields if getattr(of, name) is not None}
        moved = self(np.array(list(known.values()), np.int64)).tolist()
        return msgspec.structs.replace(of, **dict(zip(known, moved, strict=True)))
