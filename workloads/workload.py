"""What a workload is: the calls that clients make, and the checkers that judge what came of them."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from typing import Any, ClassVar

import msgspec

from splitbrain.checkers.verdict import Checker
from splitbrain.harness.errors import returned_by
from splitbrain.harness.history.operation import KINDS, Key, Kind, Operation
from splitbrain.harness.history.variant import Capability
from splitbrain.harness.plan import OptionTable, Plan, options_of


class Invocation(msgspec.Struct, frozen=True):
    """A call about to be made. `kind` decides its route and whether an unanswered one may be forgotten (a read). It is
    journaled with the call: by it, and not by the name `f`, what is measured tells reads from writes."""

    f: str
    key: Key
    value: Any
    kind: Kind


def check_calls(method: Callable[..., Any], told: Any) -> Sequence[Invocation]:
    """The calls that a workload's method told. Raises `UsageError` naming it for what are none."""
    if isinstance(told, str) or not isinstance(told, Sequence):
        raise returned_by(method, told, "no Invocations")
    for one in told:
        check_call(method, one)
    return told


def check_call(method: Callable[..., Any], told: Any) -> None:
    """Refuse what is no call that can be made and journaled. Raises `UsageError` naming the method that told it."""
    if not isinstance(told, Invocation):
        raise returned_by(method, told, "no Invocation")
    if told.kind not in KINDS:
        raise returned_by(method, told, f"its kind is {told.kind!r}, neither 'read' nor 'write'")
    if not isinstance(told.f, str):
        raise returned_by(method, told, f"its f is {told.f!r}, and no text")
    if not isinstance(told.key, Key):
        raise returned_by(method, told, f"its key is {told.key!r}, neither a text nor a whole number nor None")


class Workload(ABC):
    """What clients do. Made once for a run; `next` and `observe` are called from the one event loop."""

    name: ClassVar[str]
    summary: ClassVar[str]
    needs: ClassVar[frozenset[Capability]]
    """The capabilities of a client that it cannot do without."""
    ordered: ClassVar[bool] = True
    """Whether the order in which a copy tells a key's elements is part of what it holds: that of a queue is, a set's is not."""
    grows: ClassVar[bool] = False
    """Whether what a key holds grows for as long as it is written: copies are then not compared beside the load."""

    Options: ClassVar[type[OptionTable]] = OptionTable
    """What a plan can set of it alone, in its table `[options.NAME]`."""
    options: Any
    """Its `Options`, as the plan has them."""

    def __init__(self, plan: Plan, offers: frozenset[Capability]) -> None:
        self.plan = plan
        self.offers = offers
        self.options = options_of(type(self), plan.options)

    async def set_up(self, client: Any) -> None:
        """Make what has to be there before the load, by one client (of the primary, where there is one)."""

    @abstractmethod
    def next(self, rng: random.Random, process: int, kind: Kind | None = None) -> Invocation:
        """The next call of that process, of that kind where one is asked for: a worker whose call hung tries the other kind
        next, so that a side where every call hangs is asked for both."""

    def reader(self, process: int) -> bool:
        """Whether that process only reads: the first worker of every home that has several. So reads are still measured
        where everyone else waits for a write. (A read is never indeterminate, so a reader keeps its process.)"""
        workers = self.plan.concurrency
        return workers > 1 and process % workers == 0 and process < workers * self.plan.nodes

    def observe(self, operation: Operation) -> None:
        """Learn from a completed operation (the value last read, for a CAS)."""

    def owners(self) -> Sequence[str]:
        """The homes of the clients that hold something (a lock) at this moment, first the one that means to longest: a fault
        can be aimed at who does. A workload in which nobody holds anything keeps this method as it is."""
        return ()

    @abstractmethod
    async def invoke(self, client: Any, invocation: Invocation) -> Any:
        """Make the call; the value that belongs into the history. `client` has what the workload `needs`."""

    @abstractmethod
    def final(self) -> Sequence[Invocation]:
        """Reads of everything, made after settling by the ordinary route from every home."""

    @abstractmethod
    def local(self) -> Sequence[Invocation]:
        """Reads of everything, one for each key, made of every node's own copy after the heal and at the end: the ordinary
        reads, by a client that asks that copy alone."""

    def holds(self, value: Any) -> bool:
        """Whether what one of the `local` reads told was written by somebody: before the first call of a run nothing may be."""
        return value is not None and value != [] and value != ()

    def written(self) -> Collection[Key]:
        """The keys under which it has written by now: those of the `local` reads, unless it says else."""
        return {call.key for call in self.local()}

    @abstractmethod
    def checkers(self) -> tuple[Checker, ...]:
        """What judges its history, beyond what judges every run."""


class KeyedWorkload(Workload):
    """A workload of keys numbered from 0, each of which the call `read` tells as a whole."""

    @property
    def keys(self) -> int:
        """How many keys there are by now."""
        return self.plan.keys

    def final(self) -> Sequence[Invocation]:
        """One read of every key."""
        return [Invocation("read", key, None, "read") for key in range(self.keys)]

    def local(self) -> Sequence[Invocation]:
        """The same reads."""
        return self.final()


def shown(operation: Operation) -> Any:
    """The value of a register that a read, a write or a compare-and-set showed to be there; None where it showed none."""
    if operation.outcome == "ok":
        return operation.value[1] if operation.f == "cas" else operation.value
    return operation.seen[0] if operation.seen else None
