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


ON_A_KEY = 500
"""Operations on one key, where there are several."""


class Thing(Protocol):
    """`call` says what a client does next, `run` does it: the value to record, and what a refused compare-and-set saw, None
    where it failed. Calls of None, and of `answered` functions, are always answered."""

    answered: tuple[str, ...] = ()

    def call(self, client: int) -> tuple[str, Any]: ...

    def run(self, client: int, f: str, value: Any) -> tuple[Any, tuple[Any, ...] | None]: ...


class Register(Thing):
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


class Queue(Thing):
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
        return self.names[0], self.element()

    def element(self) -> int:
        return self.made

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


class Set(Thing):
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


class ReadWrite(Register):
    """As many writes of fresh values as reads."""

    def call(self, client: int) -> tuple[str, Any]:
        if self.rng.random() < 0.5:
            return "read", None
        self.made += 1
        return "write", self.element()

    def element(self) -> int:
        return self.made


class ManyRegisters(Thing):
    """Transactions over three registers, each of which reads one and writes another, or the same."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.held: dict[int, int] = {}
        self.made = 0

    def call(self, client: int) -> tuple[str, Any]:
        self.made += 1
        return "txn", (("r", self.rng.randrange(3), None), ("w", self.rng.randrange(3), self.element()))

    def element(self) -> int:
        return self.made

    def run(self, client: int, f: str, value: Any) -> tuple[Any, tuple[Any, ...] | None]:
        (_, read, _), write = value
        found = ("r", read, self.held.get(read))
        self.held[write[1]] = write[2]
        return (found, write), ()


class Texts(Thing):
    """Half reads, nearly half appends of fresh texts, now and then a put."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.held = ""
        self.made = 0

    def call(self, client: int) -> tuple[str, Any]:
        kind = self.rng.random()
        if kind < 0.5:
            return "get", None
        self.made += 1
        return "put" if kind < 0.52 else "append", self.element()

    def element(self) -> str:
        return f"{self.made},"

    def run(self, client: int, f: str, value: Any) -> tuple[Any, tuple[Any, ...] | None]:
        if f == "get":
            return self.held, ()
        self.held = value if f == "put" else self.held + value
        return value, ()


class Lock(Thing):
    """Who does not hold it acquires it, which fails where as many as `holds` do; who holds it releases it."""

    answered = ("acquire",)
    holds = 1

    def __init__(self, rng: random.Random) -> None:
        self.holders: list[int] = []
        self.tokens = 0

    def call(self, client: int) -> tuple[str, Any]:
        return ("release" if client in self.holders else "acquire"), self.told(client)

    def told(self, client: int) -> int | None:
        return client

    def run(self, client: int, f: str, value: Any) -> tuple[Any, tuple[Any, ...] | None]:
        if f == "release":
            self.holders.remove(client)
        elif len(self.holders) == self.holds:
            return value, None
        else:
            self.holders.append(client)
        return value, ()


class Permits(Lock):
    holds = 2

    def told(self, client: int) -> int | None:
        return 1


class Fenced(Lock):
    """As `Lock`, where every holder is given a greater token."""

    def run(self, client: int, f: str, value: Any) -> tuple[Any, tuple[Any, ...] | None]:
        _, seen = super().run(client, f, value)
        if f == "release":
            return value, seen
        self.tokens += 1
        return (self.tokens if seen is not None else None), seen


class Counter(Thing):
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


class UnequalCounter(Counter):
    """As `Counter`, where one to five are added."""

    def call(self, client: int) -> tuple[str, Any]:
        return ("read", None) if self.rng.random() < 0.5 else ("add", self.rng.randrange(1, 6))

    def run(self, client: int, f: str, value: Any) -> tuple[Any, tuple[Any, ...]]:
        if f == "add":
            self.sum += value
        return (self.sum if f == "read" else value), ()


class Ids(Thing):
    """Ids, one after the other."""

    def __init__(self, rng: random.Random) -> None:
        self.made = 0

    def call(self, client: int) -> tuple[str, Any]:
        return "generate", None

    def run(self, client: int, f: str, value: Any) -> tuple[Any, tuple[Any, ...]]:
        self.made += 1
        return self.made, ()


THINGS: dict[str, Callable[[random.Random], Thing]] = {
    "register": ReadWrite, "cas-register": Register, "multi-register": ManyRegisters, "kv": Texts, "queue": Queue,
    "unordered-queue": Queue, "priority-queue": PriorityQueue, "stack": Stack, "set": Set, "counter": Counter,
    "id-generator": Ids, "mutex": Lock, "owner-mutex": Lock, "reentrant-mutex": Lock, "fenced-lock": Fenced,
    "semaphore": Permits,
}
"""By model: what takes distinct values, where it takes any."""


def _of_few(thing: type[Any], *values: Any) -> type[Any]:
    """`thing`, of these few values."""
    return type(f"Few{thing.__name__}", (thing,), {"element": lambda self: values[self.rng.randrange(len(values))]})


FEW: dict[str, Callable[[random.Random], Thing]] = {
    "register": _of_few(ReadWrite, *range(5)), "cas-register": FewValues, "multi-register": _of_few(ManyRegisters, *range(5)),
    "kv": _of_few(Texts, *"abcde"), "queue": _of_few(Queue, *range(5)), "unordered-queue": _of_few(Queue, *range(5)),
    "priority-queue": _of_few(PriorityQueue, *range(5)), "stack": _of_few(Stack, *range(5)), "set": AddedAgain,
    "counter": UnequalCounter,
}
"""The same with few values, which come again and again."""


def operations(
    model: str, count: int, *, clients: int = 20, unsure: float = 0.01, seed: int = 1, few: bool = False
) -> Iterator[Operation]:
    """A linearizable history of `count` operations, of `few` values or distinct ones; a share `unsure` of the changes is never
    answered.

    A client whose call is not answered goes on as another process. Texts are on a key for each `ON_A_KEY` operations, one key
    after the other; all else is one object.
    """
    rng = random.Random(seed)
    make = (FEW if few else THINGS)[model]
    thing = make(rng)
    key: int | None = 0 if model == "kv" else None
    agenda: list[tuple[float, int, tuple[str, Any, float, Thing, int | None] | None]] = [
        (rng.random() * CALL, client, None) for client in range(clients)
    ]
    heapq.heapify(agenda)
    names = list(range(clients))
    unnamed = clients
    begun = 0
    while agenda:
        now, client, call = heapq.heappop(agenda)
        if call is None:
            if begun < count:
                begun += 1
                if key is not None and begun // ON_A_KEY > key:
                    key, thing = key + 1, make(rng)
                f, value = thing.call(client)
                heapq.heappush(agenda, (now + rng.expovariate(1 / CALL), client, (f, value, now, thing, key)))
            continue
        f, argument, invoked, called, on = call
        value, seen = called.run(client, f, argument)
        done = now + rng.expovariate(1 / CALL)
        lost = argument is not None and f not in called.answered and rng.random() < unsure
        outcome = "info" if lost else "fail" if seen or seen is None else "ok"
        yield Operation(
            process=names[client], f=f, value=value, key=on, outcome=outcome, invoked=int(invoked),  # type: ignore[arg-type]
            completed=None if lost else int(done), error=MISMATCH if seen and not lost else None,
            seen=() if lost or seen is None else seen,
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
