"""Recording: everything one run wrote to its journal, loaded once; what the checkers judge."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from splitbrain.harness.history.death import Death
from splitbrain.harness.history.fault import Fault
from splitbrain.harness.history.history import NEVER, History
from splitbrain.harness.history.moment import Time
from splitbrain.harness.history.operation import Key
from splitbrain.harness.history.variant import Variant
from splitbrain.harness.plan import Plan

PhaseName = Literal["set-up", "load", "heal", "settle", "final-reads", "logs", "tear-down"]


class Phase(msgspec.Struct, frozen=True):
    """One phase of a run; times in nanoseconds from the start of the run, `ended` None where the run stopped inside it. `cpu`
    is how many of them the harness itself computed, the servers not counted; None where nobody measured it. `exit_code` is what
    the `problem` ends the run with, whatever the verdict is: 0 where the verdict alone decides."""

    name: PhaseName
    began: int
    ended: int | None = None
    problem: str = ""
    cpu: int | None = None
    exit_code: int = 0

    @property
    def share(self) -> float | None:
        """The part of one CPU that the harness used, None where that is not known."""
        return None if self.cpu is None or self.ended is None else self.cpu / max(1, self.ended - self.began)


class LocalRead(msgspec.Struct, frozen=True, kw_only=True):
    """One read of a node's own replica, compared between nodes and never part of the history.

    `round` counts the rounds of reading, from 0; the settle phase reads in rounds until replicas agree. `fault` is the id of
    the fault after whose heal the replicas were compared beside the load, None for the reads after the load.
    """

    node: str
    key: Key
    value: Any = None
    error: str | None = None
    time: Time
    round: int = 0
    fault: int | None = None


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Who `node` believed to be primary at `time` (nanoseconds); None where it knew of none."""

    node: str
    primary: str | None
    time: Time


class Stall(msgspec.Struct, frozen=True, kw_only=True):
    """A time in which the harness itself stood still (stopped, swapped out, starved), in nanoseconds from the start of the
    run: between its last sign of life and the next. What it asked was not heard then, and what it should have done was not
    done: nothing of that is the database's doing."""

    began: Time
    ended: Time

    @property
    def length(self) -> int:
        """Nanoseconds."""
        return self.ended - self.began


class Placement(msgspec.Struct, frozen=True):
    """The nodes that hold a key by design, where that is not every node."""

    key: Key
    replicas: tuple[str, ...]


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """One run as its journal tells it. `plan` and `variant` are None for a history recorded by another program. `started`
    is the wall-clock time of the start (ISO 8601, UTC) and `epoch` the same in nanoseconds since 1970, None where that is not
    known (an older journal, another program); `splitbrain` is the harness' version and `kernel` that it ran on.
    `placements` name each key that was used once, and none where every node holds every key.
    `versions` are the servers' by node, `facts` what the testbed says of itself: of a container's image, where it came from.
    `deaths` are those from the load to the final reads, None where nobody looked for them (an older journal, another program).
    `stalls` are the times in which the harness stood still, None where nobody looked for them (an older journal, another
    program). `torn` is set where the journal ends in the middle of the run, or was damaged later, as `damage` then says: what
    stands before it is the recording. `notes` are what a reader of the verdict should know: what the person's own code did
    against its contract, and how often."""

    history: History
    nodes: tuple[str, ...]
    plan: Plan | None = None
    variant: Variant | None = None
    started: str = ""
    epoch: int | None = None
    splitbrain: str = ""
    kernel: str = ""
    faults: tuple[Fault, ...] = ()
    phases: tuple[Phase, ...] = ()
    local_reads: tuple[LocalRead, ...] = ()
    views: tuple[View, ...] = ()
    placements: tuple[Placement, ...] = ()
    deaths: tuple[Death, ...] | None = None
    stalls: tuple[Stall, ...] | None = None
    versions: dict[str, str] = {}
    facts: dict[str, str] = {}
    notes: tuple[str, ...] = ()
    torn: bool = False
    damage: str = ""
    interrupted: bool = False

    def phase(self, name: PhaseName) -> Phase | None:
        """The phase of that name, None where the run never reached it."""
        return next((phase for phase in self.phases if phase.name == name), None)

    @property
    def final(self) -> int:
        """When the final reads began (nanoseconds), `NEVER` where there were none."""
        phase = self.phase("final-reads")
        return NEVER if phase is None else phase.began

    def stalled(self, began: int, ended: int) -> int:
        """For how long the harness stood still in that time (nanoseconds)."""
        return sum(max(0, min(stall.ended, ended) - max(stall.began, began)) for stall in self.stalls or ())

    def until_next(self, fault: Fault) -> int:
        """When the fault after that one began, `NEVER` for the last (nanoseconds)."""
        return min((other.started for other in self.faults if other.started > fault.started), default=NEVER)

    def dead(self, by: int) -> tuple[Death, ...]:
        """The servers that had died on their own by that time (nanoseconds), as far as that was looked for. One that ended of
        what a fault did to its disk, and was put right with it, did not die on its own."""
        return tuple(death for death in self.deaths or () if death.time <= by
                     and not any(fault.ended(death.node, death.time) for fault in self.faults))
