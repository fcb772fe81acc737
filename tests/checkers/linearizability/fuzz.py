"""The differential fuzzer: random small histories, judged by every fast way and by the plain search.

    python -m tests.checkers.linearizability.fuzz --model queue --count 100000 --seed 1
    python -m tests.checkers.linearizability.fuzz --wild --model cas-register --count 100000 --seed 1

Half of the histories are recorded from an object that works, the rest are broken afterwards, so that valid and invalid ones
come in similar share. A disagreement stops the run and prints the model, the seed and the history. Evidence is tested too:
the rows of an invalid decision, judged alone, are invalid by the search, and by the same way with the same identifier; and
`check` finds in the operations that it shows for an anomaly that anomaly and no other.

`--wild` draws every operation by itself, of every model: refused and indeterminate compare-and-sets, failed writes, values
used again, None, answers that never came. They are judged as the keys of one history, and some of them alone and beside a
second key, which are three ways through the engine: all must say what an obvious judge says, who knows no trick, and must not
fail in explaining it.
"""

from __future__ import annotations

import argparse
import random
import sys
import traceback
from collections import Counter as Tally
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from splitbrain.checkers.anomalies import generalises
from splitbrain.checkers.linearizability import check
from splitbrain.checkers.linearizability.containers.distinct import (
    decide_priority_queue,
    decide_queue,
    decide_stack,
    decide_unordered_queue,
)
from splitbrain.checkers.linearizability.containers.sets import decide_set
from splitbrain.checkers.linearizability.decision import Decision
from splitbrain.checkers.linearizability.engine import answers
from splitbrain.checkers.linearizability.evidence.explain import explain
from splitbrain.checkers.linearizability.registers import zones
from splitbrain.checkers.linearizability.search.plain import search
from splitbrain.checkers.linearizability.strings.append import decide_append
from splitbrain.checkers.models.specifications import (
    MODELS,
    CasRegister,
    KeyValue,
    Model,
    PriorityQueue,
    Queue,
    Register,
    Set,
    Stack,
    UnorderedQueue,
)
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import MISMATCH, Key, Operation, Outcome
from tests.checkers.linearizability import stores
from tests.checkers.linearizability.naive import possible

Decide = Callable[[History, Model], Decision | None]

_TOGETHER = 200
"""Wild histories that are keys of one history."""
_ALONE = 12
"""Of so many wild histories, one is judged by itself too."""


class Object:
    """A working object: `call` says what one random operation is, `run` applies it and returns the value to record."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.made = 0

    def fresh(self) -> int:
        self.made += 1
        return self.made

    def call(self) -> tuple[str, Any]:
        raise NotImplementedError

    def run(self, f: str, value: Any) -> Any:
        raise NotImplementedError


class Container(Object):
    """A queue, bag, stack or priority queue; `take` says which position of `held` a removal takes."""

    names = ("enqueue", "dequeue")

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.held: list[Any] = []
        self.share = rng.choice((0.4, 0.5, 0.6))

    def call(self) -> tuple[str, Any]:
        return (self.names[0], self.fresh()) if self.rng.random() < self.share else (self.names[1], None)

    def take(self) -> int:
        return 0

    def run(self, f: str, value: Any) -> Any:
        if f == self.names[0]:
            self.held.append(value)
            return value
        return self.held.pop(self.take()) if self.held else None


class Bag(Container):
    def take(self) -> int:
        return self.rng.randrange(len(self.held))


class Pile(Container):
    names = ("push", "pop")

    def take(self) -> int:
        return -1


class Heap(Container):
    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.ranks = rng.sample(range(20), 20)

    def fresh(self) -> int:
        return self.ranks[super().fresh() % 20] + 20 * (self.made // 20)

    def take(self) -> int:
        return self.held.index(min(self.held))


class Members(Object):
    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.held: set[int] = set()
        self.unremoved: list[int] = []
        self.removing = rng.choice((0.0, 0.0, 0.25))

    def call(self) -> tuple[str, Any]:
        if self.rng.random() < 0.45:
            return "read", None
        if self.rng.random() < self.removing:
            if self.unremoved and self.rng.random() < 0.9:
                return "remove", self.unremoved.pop(self.rng.randrange(len(self.unremoved)))
            return "remove", 99
        element = self.fresh()
        self.unremoved.append(element)
        return "add", element

    def run(self, f: str, value: Any) -> Any:
        if f == "read":
            return sorted(self.held)
        (self.held.add if f == "add" else self.held.discard)(value)
        return value


class Text(Object):
    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.held = ""
        self.puts = rng.choice((0.0, 0.2, 0.4))
        self.shared, self.twice = rng.choice(((0.0, 0.0), (0.0, 0.0), (0.5, 0.0), (0.0, 0.4), (0.5, 0.4)))
        self.put: list[str] = []
        self.appended: list[str] = []

    def call(self) -> tuple[str, Any]:
        if self.rng.random() < 0.5:
            return "get", None
        if self.put and self.rng.random() < self.shared:
            return "append", self.put.pop()
        text = "abcdefghijklmnopqrst"[self.fresh() - 1]
        if self.appended and self.rng.random() < self.twice:
            return "append", self.rng.choice(self.appended)
        if self.put and self.rng.random() < self.twice / 2:
            return "put", self.rng.choice(self.put)
        if self.rng.random() >= self.puts:
            self.appended.append(text)
            return "append", text
        self.put.append(text)
        return "put", text

    def run(self, f: str, value: Any) -> Any:
        if f == "get":
            return self.held
        self.held = value if f == "put" else self.held + value
        return value


class Variable(Object):
    """A register, with compare-and-set where `swaps`; every value is written once, but for a few histories."""

    swaps = False

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.held: int | None = None
        self.last: int | None = None

    def call(self) -> tuple[str, Any]:
        draw = self.rng.random()
        if draw < 0.5:
            return "read", None
        return ("cas", (self.last, self.fresh())) if self.swaps and draw < 0.75 else ("write", self.fresh())

    def run(self, f: str, value: Any) -> Any:
        if f == "read":
            self.last = self.held
            return self.held
        if f == "write":
            self.held = value
        elif self.held == value[0]:
            self.held = value[1]
        else:
            # A refusal is recorded as a read of what was there: `refused` tells the two apart.
            return Refused(value, self.held)
        return value


@dataclass(frozen=True)
class Refused:
    """A compare-and-set that found another value."""

    value: Any
    seen: int | None


class Swapped(Variable):
    swaps = True


def decide_register(history: History, model: Model) -> Decision | None:
    """Zones or chains, with the first finding of the account, which may have none; None where they do not decide."""
    assert isinstance(model, Register)
    status = int(zones.decide(history, model)[0])
    if status != zones.INVALID:
        return Decision(method="zones", valid=True) if status == zones.VALID else None
    findings = explain(history, model, 5)[1]
    if not findings:
        return Decision(method="zones", valid=False)
    first = findings[0]
    return Decision(method="zones", valid=False, identifier=first.identifier, rows=first.rows, sentence=first.sentence)


@dataclass(frozen=True)
class Kind:
    """One model with a working object of its kind and the ways of deciding it."""

    model: Model
    object: type[Object]
    ways: tuple[Decide, ...]
    readers: tuple[str, ...]


KINDS: dict[str, Kind] = {
    "register": Kind(Register(), Variable, (decide_register,), ("read",)),
    "cas-register": Kind(CasRegister(), Swapped, (decide_register,), ("read",)),
    "queue": Kind(Queue(), Container, (decide_queue,), ("dequeue",)),
    "unordered-queue": Kind(UnorderedQueue(), Bag, (decide_unordered_queue,), ("dequeue",)),
    "stack": Kind(Stack(), Pile, (decide_stack,), ("pop",)),
    "priority-queue": Kind(PriorityQueue(), Heap, (decide_priority_queue,), ("dequeue",)),
    "set": Kind(Set(), Members, (decide_set,), ("read",)),
    "kv": Kind(KeyValue(), Text, (decide_append,), ("get",)),
}


def record(kind: Kind, rng: random.Random) -> list[Operation]:
    """A history of a working object: it takes effect inside each interval; an `info` may do so later, or never."""
    clients = rng.randint(1, 4)
    count = rng.randint(2, 9)
    span = rng.choice((4, 10, 30))
    unsure = rng.choice((0.0, 0.0, 0.1, 0.3))
    clocks = [100 + rng.random() * span for _ in range(clients)]
    names = list(range(clients))
    calls = []
    for _ in range(count):
        client = rng.randrange(clients)
        start = round(clocks[client] + rng.random() * 2)
        end = start + round(rng.random() ** 2 * span)
        outcome: Outcome = "ok"
        effect = start + rng.random() * (end - start)
        if rng.random() < unsure:
            outcome = rng.choice(("info", "info", "fail"))
            effect = start + rng.random() * span * 2
            if rng.random() < 0.4 or outcome == "fail":
                effect = -1.0
        calls.append((effect, start, end, names[client], outcome))
        clocks[client] = end + 1
        if outcome == "info":
            names[client] = clients + len(calls)
    thing = kind.object(rng)
    operations = []
    for effect, start, end, process, outcome in sorted(calls):
        f, argument = thing.call()
        value = argument if effect < 0 else thing.run(f, argument)
        if outcome != "ok" and f in kind.readers:
            value = None
        if isinstance(value, Refused):
            seen = (value.seen,) if rng.random() < 0.5 else ()
            value, error = value.value, None
            if outcome == "ok":
                outcome, error = "fail", MISMATCH
            else:
                seen = ()
            operations.append(Operation(
                process=process, f=f, value=value, outcome=outcome, invoked=start, error=error, seen=seen,
                completed=None if outcome == "info" else end,
            ))
            continue
        done = None if outcome == "info" and rng.random() < 0.5 else end
        operations.append(Operation(process=process, f=f, value=value, outcome=outcome, invoked=start, completed=done))
    return operations


def tangle(kind: Kind, rng: random.Random) -> list[Operation]:
    """For containers: every element put in once and most taken out once, at any time: all about order, and nothing else."""
    put, take = kind.model.functions
    span = rng.choice((12, 30))
    operations = []
    for element in range(1, rng.randint(3, 6)):
        start = rng.randint(0, span)
        end = start + round(rng.random() ** 2 * span / 2)
        outcome: Outcome = "info" if rng.random() < 0.05 else "ok"
        operations.append(Operation(process=2 * element, f=put, value=element, outcome=outcome, invoked=start, completed=end))
        if rng.random() < 0.85:
            start = rng.randint(start, start + span)
            end = start + round(rng.random() ** 2 * span / 2)
            told = None if rng.random() < 0.15 else element
            outcome = "info" if rng.random() < 0.05 else "ok"
            operations.append(
                Operation(process=2 * element + 1, f=take, value=told, outcome=outcome, invoked=start, completed=end)
            )
    return operations


def breakage(kind: Kind, operations: list[Operation], rng: random.Random) -> list[Operation]:
    """The history with one thing changed: a value, an order, a moment, an outcome, an operation left out."""
    ops = list(operations)
    i = rng.randrange(len(ops))
    op = ops[i]
    how = rng.choice((0, 0, 0, 1, 2, 2, 3, 4, 5, 6))
    readers = [k for k, other in enumerate(ops) if other.f in kind.readers and other.outcome == "ok"]
    if how == 0 and len(readers) > 1:
        a, b = rng.sample(readers, 2)
        ops[a], ops[b] = _with(ops[a], value=ops[b].value), _with(ops[b], value=ops[a].value)
    elif how == 1 and readers:
        a = rng.choice(readers)
        ops[a] = _with(ops[a], value=_distorted(ops[a].value, ops, rng))
    elif how == 2:
        shift = rng.randint(-8, 8)
        ops[i] = _with(op, invoked=op.invoked + shift, completed=None if op.completed is None else op.completed + shift)
    elif how == 3:
        ops[i] = _with(op, invoked=op.invoked if op.completed is None else rng.randint(op.invoked, op.completed))
    elif how == 4 and op.completed is not None:
        ops[i] = _with(op, completed=rng.randint(op.invoked, op.completed))
    elif how == 5 and op.f not in kind.readers:
        ops[i] = _with(op, outcome=rng.choice(("ok", "fail", "info")))
    elif len(ops) > 1:
        del ops[i]
    return ops


def _with(op: Operation, **changes: Any) -> Operation:
    return msgspec.structs.replace(op, **changes)


def _distorted(value: Any, ops: list[Operation], rng: random.Random) -> Any:
    """Another answer of the same kind: a part lost, added, moved or made up."""
    told = [op.value for op in ops if op.value is not None and not isinstance(op.value, list | tuple)]
    if isinstance(value, list | str):
        parts: list[Any] = list(value)
        how = rng.randrange(4)
        if how == 0 and parts:
            del parts[rng.randrange(len(parts))]
        elif how == 1 and told:
            other = rng.choice(told)
            parts[len(parts):] = other if isinstance(other, str) else [other]
        elif how == 2:
            rng.shuffle(parts)
        else:
            parts.append("z" if isinstance(value, str) else 77)
        return "".join(parts) if isinstance(value, str) else parts
    return rng.choice([*told, *told, *told, *told, None, None, 77])


def histories(kind: Kind, seed: int, count: int) -> Iterator[tuple[int, History]]:
    """`count` random histories, each with the seed that makes it again."""
    for number in range(seed, seed + count):
        rng = random.Random(number)
        if issubclass(kind.object, Container) and rng.random() < 0.3:
            yield number, History.of(tangle(kind, rng))
            continue
        operations = record(kind, rng)
        for _ in range(rng.choice((0, 1, 2, 3, 4))):
            operations = breakage(kind, operations, rng)
        yield number, History.of(operations)


def wild(model: Model, rng: random.Random) -> list[Operation]:
    """Up to nine operations, each drawn for itself."""
    fresh = rng.random() < 0.6
    domain = [None, 1, 2, 3]
    unsure = rng.choice((0.1, 0.3, 0.5))
    span = rng.choice((6, 12, 25))
    # One after the other, mostly compare-and-sets: what one refusal needs, another forbids.
    flowing, swapping = rng.random() < 0.5, "cas" in model.functions
    made = 100
    operations: list[Operation] = []
    for process in range(rng.randint(2, 7 if model.name == "multi-register" else 9)):
        start = 2 * process + rng.randint(0, 1) if flowing else rng.randint(0, span)
        end = start + rng.choice((0, 1, 1, 2, span // 2))
        f = "cas" if flowing and swapping and rng.random() < 0.7 else rng.choice(model.functions)
        known = [op.value if op.f != "cas" else op.value[1] for op in operations if op.f in ("write", "cas")] or [None]
        if fresh and model.name in ("register", "cas-register"):
            made += 1
            value: Any = {"write": made, "read": rng.choice([*known, None]), "cas": (rng.choice([*known, None]), made)}[f]
        else:
            value = _drawn(model, f, rng, domain)
        draw = rng.random()
        outcome: Outcome = "info" if draw < unsure else "fail" if draw < unsure + 0.1 else "ok"
        error: str | None = None
        seen: tuple[Any, ...] = ()
        if f == "cas" and rng.random() < 0.4:
            outcome, error = "fail", MISMATCH
            seen = (rng.choice([*known, None]),) if rng.random() < 0.2 else ()
        answerless = outcome != "fail" and rng.random() < (0.5 if outcome == "info" else 0.05)
        client = process if not model.per_process else rng.randint(0, 2)
        operations.append(Operation(
            process=client, f=f, value=value, outcome=outcome, invoked=start, error=error, seen=seen,
            completed=None if answerless else end,
        ))
    return operations


def _drawn(model: Model, f: str, rng: random.Random, domain: list[Any]) -> Any:
    """Any argument or answer of the function."""
    few: list[Any] = domain[1:]
    match model.name, f:
        case "counter", "add":
            return rng.choice((1, 1, 1, 2, -1)) if rng.random() < 0.3 else 1
        case "counter", "read":
            return rng.randint(-1, 4)
        case "set", "read":
            return tuple(rng.sample(few, rng.randint(0, 3)))
        case "kv", _:
            return rng.choice(("", "a", "b", "ab", "ba", "aab") if f == "get" else ("a", "b"))
        case "multi-register", _:
            return [[rng.choice("rw"), rng.choice("xy"), rng.choice(few[:2])] for _ in range(rng.randint(1, 2))]
        case "priority-queue", "enqueue":
            return rng.choice(few)
        case "fenced-lock", "acquire":
            return rng.choice(few)
        case "mutex" | "owner-mutex" | "reentrant-mutex" | "semaphore" | "fenced-lock", _:
            return None
        case _, "cas":
            return rng.choice(domain), rng.choice(domain)
    return rng.choice(domain)


def disagreement(model: Model, history: History, possible: bool, *, explanation: bool) -> str:
    """What `check` says of `history` that is not true, by the plain search and as it is `possible` or not; empty where all
    agree."""
    truth = "valid" if search(history, model).valid else "invalid"
    if truth != ("valid" if possible else "invalid"):
        return f"the plain search says {truth}"
    beside = History.of([
        *(_with(op, key="a") for op in history),
        *(_with(op, key="b", process=50) for op in _QUIET.get(model.name, _QUIET["register"]) if op.f in model.functions),
    ])
    for told in (history, beside) if model.per_key else (history,):
        verdict = check(told, model, explanation=explanation, processes=1)
        if verdict.validity != truth:
            return f"check says {verdict.validity} of {len(told)} operations ({verdict.limits}), the search {truth}"
        if failures := [limit for limit in verdict.limits if "failed" in limit]:
            return failures[0]
    return ""


_QUIET: dict[str, list[Operation]] = {
    "kv": [Operation(process=1, f="get", value="", invoked=0, completed=1)],
    "set": [Operation(process=1, f="read", value=(), invoked=0, completed=1)],
    "counter": [Operation(process=1, f="read", value=0, invoked=0, completed=1)],
    "register": [
        Operation(process=1, f=f, value=None, invoked=0, completed=1) for f in ("read", "dequeue", "pop", "acquire", "generate")
    ],
}
"""What may be done with an object in its initial state."""


def fuzz_wild(name: str, seed: int, count: int) -> Tally[str]:
    """Judge `count` wild histories of the model `name`, many at once as keys of one history where keys are objects of their
    own, and each `_ALONE`th by itself and with its explanation. Raises AssertionError, naming the seed, at the first
    disagreement with the obvious judge; else how many were valid and invalid."""
    model = MODELS[name]()
    tally: Tally[str] = Tally()
    for first in range(seed, seed + count, _TOGETHER):
        several = {number: wild(model, random.Random(number)) for number in range(first, min(first + _TOGETHER, seed + count))}
        truths: dict[Key, bool] = {number: possible(operations, model) for number, operations in several.items()}
        told = dict(truths)
        if model.per_key:
            told = answers(History.of([_keyed(op, number) for number, ops in several.items() for op in ops]), model)
        for number, operations in several.items():
            wrong = "" if told[number] is truths[number] else f"one key of many is valid: {told[number]}"
            if not wrong and (number % _ALONE == 0 or not model.per_key):
                try:
                    wrong = disagreement(model, History.of(operations), truths[number], explanation=number % _ALONE == 0)
                except Exception as problem:
                    wrong = "".join(traceback.format_exception(problem))
            if wrong:
                raise AssertionError(f"{name}, wild seed {number}: {wrong}\n{_listed(History.of(operations))}")
            tally["valid" if truths[number] else "invalid"] += 1
    return tally


def _keyed(op: Operation, key: Key) -> Operation:
    return msgspec.structs.replace(op, key=key)


def _listed(history: History) -> str:
    return "\n".join(
        f"  {row}: client {op.process} {op.f} {op.value!r} {op.outcome} {op.error or ''} {op.seen or ''}"
        f" [{op.invoked}, {op.completed}]" for row, op in enumerate(history)
    )


@dataclass
class Outcomes:
    """What a run saw: how many were valid, invalid, or not decided by the way in question; identifiers; rows of evidence;
    and of what `check` shows, the identifiers and how many operations each has."""

    valid: int = 0
    invalid: int = 0
    passed: int = 0
    identifiers: Tally[str] = field(default_factory=Tally)
    rows: Tally[int] = field(default_factory=Tally)
    shown: Tally[str] = field(default_factory=Tally)
    operations: Tally[int] = field(default_factory=Tally)


def complaint(kind: Kind, history: History, seen: Outcomes) -> str:
    """What is wrong with how `history` is judged, empty where nothing is."""
    truth = search(history, kind.model)
    for way in kind.ways:
        decision = way(history, kind.model)
        if decision is None:
            seen.passed += 1
            continue
        if decision.valid:
            seen.valid += 1
        else:
            seen.invalid += 1
        if decision.valid != truth.valid:
            return f"{way.__name__} says {decision}, the search {truth}"
        if decision.valid:
            continue
        seen.identifiers[decision.identifier] += 1
        seen.rows[len(decision.rows)] += 1
        if decision.method == "zones" and not decision.rows:
            # What the account of registers cannot name, the search for a smallest history names later.
            continue
        if not decision.rows or not decision.identifier or not decision.sentence:
            return f"{way.__name__} gives no evidence: {decision}"
        alone = history.select(np.array(decision.rows))
        if search(alone, kind.model).valid:
            return f"the evidence alone is linearizable: {decision}"
        again = way(alone, kind.model)
        if again is None or again.valid or not generalises(again.identifier, decision.identifier):
            return f"the evidence alone is judged otherwise: {decision}, then {again}"
    verdict = check(history, kind.model)
    if (verdict.validity == "valid") is not truth.valid:
        return f"check says {verdict}, the search {truth}"
    for anomaly in verdict.anomalies:
        seen.shown[anomaly.identifier] += 1
        seen.operations[len(anomaly.operations)] += 1
        shown = check(History.of(anomaly.operations), kind.model)
        if shown.validity != "invalid" or not all(generalises(name, anomaly.identifier) for name in shown.counts):
            return f"the evidence shown is judged otherwise: {anomaly}, then {shown.counts}"
    if verdict.validity == "invalid" and not verdict.anomalies:
        return "nothing is shown"
    return ""


def fuzz(name: str, seed: int, count: int) -> Outcomes:
    """Judge `count` histories of the model `name`. Raises AssertionError, naming the seed, at the first disagreement."""
    kind = KINDS[name]
    seen = Outcomes()
    for number, history in histories(kind, seed, count):
        try:
            wrong = complaint(kind, history, seen)
        except Exception as problem:  # a checker that throws is a finding too
            wrong = "".join(traceback.format_exception(problem))
        if wrong:
            raise AssertionError(f"{name}, seed {number}: {wrong}\n{_listed(history)}")
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=[*MODELS, "all"], default="all")
    parser.add_argument("--wild", action="store_true", help="wild histories only, of any model")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**9))
    parser.add_argument("--stories", type=int, default=5_000, help="of stores with each known fault")
    options = parser.parse_args()
    for flaw in stores.NAMES if options.model == "all" and not options.wild else ():
        for seed in range(options.seed, options.seed + options.stories):
            if untrue := stores.wrong(stores.tell(random.Random(f"{flaw} {seed}"), flaw)):
                sys.exit(f"a store with {flaw}, seed {seed}: {untrue}")
        print(f"stores with {flaw}: {options.stories} stories from seed {options.seed}: nothing said that is not true")
    names = list(MODELS) if options.model == "all" else [options.model]
    for name in names:
        try:
            told = f"{name}: {options.count} histories from seed {options.seed}"
            print(f"{told}, wild: {dict(fuzz_wild(name, options.seed, options.count))}", flush=True)
            if name in KINDS and not options.wild:
                print(f"{told}: {fuzz(name, options.seed, options.count)}", flush=True)
        except AssertionError as problem:
            sys.exit(str(problem))


if __name__ == "__main__":
    main()
