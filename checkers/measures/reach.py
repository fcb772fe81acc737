"""How far a fault reached: on how many keys, and at how many servers, clients got no answer while it was in force."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np

from splitbrain.checkers.measures.availability import Operations, attempts, operations, window
from splitbrain.checkers.result import Touched
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import KINDS, Kind
from splitbrain.harness.history.recording import Recording


def reach(recording: Recording) -> Iterator[tuple[Touched, ...]]:
    """Of each fault, the keys that were asked for, and the servers that were asked, in its window, reads and writes apart, and
    of how many less than half of the calls were answered. A call is an attempt as in `availability`; one that was sent to no
    server (no primary in reach) counts for its key alone. Empty where a fault has no window."""
    if not recording.faults:
        return
    history = recording.history
    answered = history.answered()
    asked_for = {kind: operations(history, kind, None, answered) for kind in KINDS}
    for fault in recording.faults:
        span = window(recording, fault)
        yield tuple(_touched(history, asked_for, span, fault.id)) if span is not None else ()


def _touched(
    history: History, asked_for: Mapping[Kind, Operations], span: tuple[int, int], fault: int
) -> Iterator[Touched]:
    places: tuple[tuple[Literal["keys", "servers"], Any], ...] = (("keys", history.key), ("servers", history.server))
    for kind, ops in asked_for.items():
        attempted, good = attempts(ops, span)
        for of, codes in places:
            place = codes[ops.rows]
            asked = np.bincount(place[attempted & (place >= 0)])
            got = np.bincount(place[good & (place >= 0)], minlength=len(asked))
            if asked.any():
                yield Touched(of=of, kind=kind, touched=int((got * 2 < asked).sum()), asked=int((asked > 0).sum()), fault=fault)
