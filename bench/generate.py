"""Histories of objects that work, as large as wanted: several clients, each operation taking effect within its interval."""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import msgspec

from splitbrain.harness.history.operation import MISMATCH, Operation

CALL = 1_000_000
"""Nanoseconds that half a call takes on average."""


class Thing(Protocol):
    """`call` says what a client does next, `run` does it: the value to record, and what a refused compare-and-set saw."""

    def call(self, client: int) -> tuple[str, Any]: ...

    def run(self, client: int, f: str, value: Any) -> tuple[Any, tuple[Any, ...]]: ...


class Register:
    """Half reads, a quarter writes of fresh values, a quarter compare-and-sets from what the client read last; a refused one
    tells what was there."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.held: int | None = None
        self.made = 0
        self.seen: dict[int, int | None] = {}

    def call(self, client: int) -> tuple[str, Any]:
        kind = self.rng.random()
        if kind < 0.5:
            return "read", None
        self.made += 1
        return ("write", self.made) if kind < 0.75 else ("cas", (self.seen.get(client), self.made))

    def run(self, client: int, f: str, value: Any) -> tuple[Any, tuple[Any, ...]]:
        if f == "read":
            self.seen[client] = self.held
            return self.held, ()
        if f == "write":
            self.held = value
        elif self.held != value[0]:
            return value, (self.held,)
        else:
            self.held = value[1]
        return value, ()


class Queue:
    """As many enqueues as dequeues; `names` and `end` make it a stack."""

    names = ("enqueue", "dequeue")

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.held: deque[int] = deque()
        self.made = 0

    def call(self, client: int) -> tuple[str, Any]:
        if self.rng.random() < 0.5:
            return self.names[1], None
        self.made += 1
        return self.names[0], self.made

    def run(self, client: int, f: str, value: Any) -> tuple[Any, tuple[Any, ...]]:
        if f == self.names[0]:
            self.held.append(value)
            return value, ()
        return (self.take() if self.held else None), ()

    def take(self) -> int:
        return self.held.popleft()


class Stack(Queue):
    names = ("push", "pop")

    def take(self) -> int:
        return self.held.pop()


class PriorityQueue(Queue):
    """As `Queue`, where the smallest goes first."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.ranked: list[int] = []

    def run(self, client: int, f: str, value: Any) -> tuple[Any, tuple[Any, ...]]:
        if f == "enqueue":
            heapq.heappush(self.ranked, value)
            return value, ()
        return (heapq.heappop(self.ranked) if self.ranked else None), ()


class Set:
    """Additions, and reads that grow rarer as what they list grows: all together list some ten elements for each addition."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.held: dict[int, None] = {}
        self.made = 0

    def call(self, client: int) -> tuple[str, Any]:
        if self.rng.random() < min(0.05, 10 / (self.made + 1)):
            return "read", None
        self.made += 1
        return "add", self.element()

    def element(self) -> int:
        return self.made

    def run(self, client: int, f: str, value: Any) -> tuple[Any, tuple[Any, ...]]:
        if f == "read":
            return list(self.held), ()
        self.held[value] = None
        return value, ()


class AddedAgain(Set):
    """As `Set`, where elements are added three times on average."""

    def element(self) -> int:
        return self.rng.randrange(self.made // 3 + 1)


class FewValues(Register):
    """As `Register`, of five values."""

    def call(self, client: int) -> tuple[str, Any]:
        f, _ = super().call(client)
        if f == "read":
            return f, None
        new = self.rng.randrange(5)
        return (f, new) if f == "write" else (f, (self.seen.get(client), new))


class Counter:
    """As many additions of one as reads."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.sum = 0

    def call(self, client: int) -> tuple[str, Any]:
        return ("read", None) if self.rng.random() < 0.5 else ("add", 1)

    def run(self, client: int, f: str, value: Any) -> tuple[Any, tuple[Any, ...]]:
        if f == "read":
            return self.sum, ()
        self.sum += 1
        return value, ()


class Ids:
    """Ids, one after the other."""

    def __init__(self, rng: random.Random) -> None:
        self.made = 0

    def call(self, client: int) -> tuple[str, Any]:
        return "generate", None

    def run(self, client: int, f: str, value: Any) -> tuple[Any, tuple[Any, ...]]:
        self.made += 1
        return self.made, ()


THINGS: dict[str, Callable[[random.Random], Thing]] = {
    "cas-register": Register, "queue": Queue, "stack": Stack, "set": Set, "unordered-queue": Queue,
    "priority-queue": PriorityQueue,
    "counter": Counter, "id-generator": Ids, "few-values": FewValues, "added-again": AddedAgain,
}
MODEL = {"few-values": "cas-register", "added-again": "set"}
"""The model of a thing that is not called as its model is."""


def operations(model: str, count: int, *, clients: int = 20, unsure: float = 0.01, seed: int = 1) -> Iterator[Operation]:
    """A linearizable history of `count` operations; a share `unsure` of the changes is never answered.

    A client whose call is not answered goes on as another process.
    """
    rng = random.Random(seed)
    thing = THINGS[model](rng)
    agenda: list[tuple[float, int, tuple[str, Any, float] | None]] = [(rng.random() * CALL, c, None) for c in range(clients)]
    heapq.heapify(agenda)
    names = list(range(clients))
    unnamed = clients
    begun = 0
    while agenda:
        now, client, call = heapq.heappop(agenda)
        if call is None:
            if begun < count:
                begun += 1
                f, value = thing.call(client)
                heapq.heappush(agenda, (now + rng.expovariate(1 / CALL), client, (f, value, now)))
            continue
        f, argument, invoked = call
        value, seen = thing.run(client, f, argument)
        done = now + rng.expovariate(1 / CALL)
        lost = argument is not None and rng.random() < unsure
        outcome = "info" if lost else "fail" if seen else "ok"
        yield Operation(
            process=names[client], f=f, value=value, outcome=outcome, invoked=int(invoked),  # type: ignore[arg-type]
            completed=None if lost else int(done), error=MISMATCH if seen and not lost else None,
            seen=() if lost else seen,
        )
        if lost:
            names[client], unnamed = unnamed, unnamed + 1
        heapq.heappush(agenda, (done + rng.expovariate(2 / CALL), client, None))


def write(path: Path, model: str, count: int, **options: Any) -> None:
    """The history of `operations` as JSON lines."""
    encode = msgspec.json.Encoder().encode_into
    with path.open("wb") as file:
        line = bytearray()
        for operation in operations(model, count, **options):
            encode(operation, line)
            file.write(line + b"\n")
