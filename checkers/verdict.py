"""Verdict: what one checker found, with the evidence that proves it."""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from splitbrain.harness.history.operation import Key, Operation
from splitbrain.harness.history.recording import Recording

Validity = Literal["valid", "invalid", "unknown"]

State = Literal["holds", "refuted", "undecided"]
"""Where a history stands to a model: a complete check found nothing against it; an anomaly refutes it; or neither, which is
never counted as held."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where the history stands to one consistency model. `model` completes the sentence "the history is ..." (`linearizable`)
    or tells what holds (`totals conserved`). `by` are the identifiers of the anomalies that refute it."""

    model: str
    state: State
    by: tuple[str, ...] = ()


class Moment(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """When an anomaly happened: from `began`, the moment at which what it accuses was answered (a read that was old) or was
    last known to be right (a write that was lost, when it was acknowledged), until `seen`, when the history first contradicts
    it. Nanoseconds. `lost`: it is an acknowledged write that is gone."""

    began: int
    seen: int
    lost: bool = False


class Dependency(msgspec.Struct, frozen=True, kw_only=True):
    """Why one transaction of a cycle comes before the next: `source` and `target` are places among the anomaly's operations,
    `kind` is `ww`, `wr`, `rw`, `process` or `realtime`, `sentence` what it rests on."""

    source: int
    target: int
    kind: str
    sentence: str


class Anomaly(msgspec.Struct, frozen=True, kw_only=True):
    """One anomaly: its identifier, a sentence for people, and the operations (few; more only where a proof needs them) that
    alone prove that something is wrong: judged by themselves they are invalid, with the same identifier or a more general one
    (`checkers.anomalies`). There may be none, as where replicas differ; and of a transfer that a bank lost, all others together
    are the proof, of which only the two are told that say which it is.

    `cycle` are the dependencies that go round, where the anomaly is a cycle of transactions. `accused` is the place, among
    these operations, of the one that should not have been answered as it was. `cut`: of what was read, they have only the
    elements that it is about. `fault` is the id of the fault that it belongs to, None where there was none; judge fills it in
    from `moment`.
    """

    identifier: str
    sentence: str
    key: Key = None
    operations: tuple[Operation, ...] = ()
    accused: int | None = None
    moment: Moment | None = None
    fault: int | None = None
    cycle: tuple[Dependency, ...] = ()
    cut: bool = False


class Lost(msgspec.Struct, frozen=True, kw_only=True):
    """Acknowledged writes (or added elements) that are proven to be lost, in all and for each fault's id."""

    total: int = 0
    by_fault: dict[int, int] = {}


class Staleness(msgspec.Struct, frozen=True, kw_only=True):
    """How many reads missed a newer acknowledged write, and for how long that had been acknowledged (milliseconds). `lossy`:
    writes were lost, and these are the reads that are stale for certain; there may be more, and older ones."""

    stale: int
    reads: int
    share: float
    median_ms: float
    p99_ms: float
    max_ms: float
    lossy: bool = False


class Undecided(msgspec.Struct, frozen=True, kw_only=True):
    """A key that no answer was found for: how many operations it has, and how many of them were put in an order."""

    key: Key
    operations: int
    linearized: int = 0


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """What a checker looked at: how many `keys` and `operations`, how many keys are `refuted` (None where an anomaly may be of
    several keys together), how many each way decided (`methods`), and which keys are `undecided`."""

    keys: int = 0
    operations: int = 0
    refuted: int | None = 0
    methods: dict[str, int] = {}
    undecided: tuple[Undecided, ...] = ()


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a case study counts in recorded operations: at `least` so often, as far as it is certain, and at `most`,
    if every call whose outcome nobody knows counts too; `of` so many, None where that tells nothing. `name` completes "so many
    ..." (`units sold that were not there`). `price` is what a service paid with it, None where it is no price."""

    name: str
    least: int
    most: int
    of: int | None = None
    price: Literal["consistency", "availability"] | None = None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What one checker says. `reason` is one sentence. `counts` maps an anomaly's identifier to how many were found
    (`anomalies` shows some of them, the most telling first). `standings` tell where the history stands to each model that the
    checker decides, the one that it was asked for first. `limits` names every budget that was hit. `traceback` is that of the
    exception which a checker threw, where it failed.

    A checker gives the `moments` of all that it counted, shown or not. From these judge makes `by_fault` (a fault's id → its
    counts), `outside` (the counts of those that began before the first fault, or are known to be no fault's), and `lost`;
    then by_fault and outside add up to counts, and the moments are dropped. `complete`: nothing is hidden behind what was
    found, so that a fault without an anomaly is known to have had none; else judge has each fault's part judged apart.
    """

    checker: str
    validity: Validity
    reason: str
    standings: tuple[Standing, ...] = ()
    anomalies: tuple[Anomaly, ...] = ()
    counts: dict[str, int] = {}
    moments: dict[str, tuple[Moment, ...]] = {}
    by_fault: dict[int, dict[str, int]] = {}
    outside: dict[str, int] = {}
    lost: Lost = Lost()
    complete: bool = False
    staleness: Staleness | None = None
    figures: tuple[Figure, ...] = ()
    coverage: Coverage = Coverage()
    limits: tuple[str, ...] = ()
    traceback: str = ""
    seconds: float = 0.0


class Checker(Protocol):
    """A pure judgement of a recording. A checker that throws or runs out of budget is reported as `unknown`."""

    name: str

    def check(self, recording: Recording) -> Verdict: ...
