"""Verdict: what one checker found, with the evidence that proves it."""

from __future__ import annotations

from typing import Any, Literal, Protocol

import msgspec

from splitbrain.harness.history.operation import Key, Operation
from splitbrain.harness.history.recording import Recording

Validity = Literal["valid", "invalid", "unknown"]

ANOMALIES = (
    "stale-read", "lost-write", "split-brain", "aborted-read", "future-read", "unwritten-read", "non-monotonic-read",
    "lost-element", "duplicate", "unexpected", "reordered", "diverged", "non-linearizable",
)
"""The identifiers of anomalies: the same in JSON, JUnit, `--expect` and headings.

`non-linearizable` is for models (a mutex, a semaphore, a person's own) in which no other name fits, and for values written
more than once where it is not certain which of the names does.
"""


class Anomaly(msgspec.Struct, frozen=True, kw_only=True):
    """One anomaly: its identifier, a sentence for people, and the operations (few; more only where a proof needs them) that
    alone prove it: judged by themselves they show this anomaly and no other.

    `fault` is the id of the fault in whose window it was caused, None where there was none.
    """

    identifier: str
    sentence: str
    key: Key = None
    operations: tuple[Operation, ...] = ()
    fault: int | None = None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What one checker says. `reason` is one sentence; `counts` maps an anomaly's identifier to how many were found
    (`anomalies` shows some of them, the most telling first); `limits` names every budget that was hit; `facts` holds the
    checker's own measurements as plain JSON values."""

    checker: str
    validity: Validity
    reason: str
    anomalies: tuple[Anomaly, ...] = ()
    counts: dict[str, int] = {}
    limits: tuple[str, ...] = ()
    facts: dict[str, Any] = {}
    seconds: float = 0.0


class Checker(Protocol):
    """A pure judgement of a recording. A checker that throws or runs out of budget is reported as `unknown`."""

    name: str

    def check(self, recording: Recording) -> Verdict: ...
