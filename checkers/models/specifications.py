"""Models: what a correct object may answer, as pure sequential specifications.

A model says in which state an object starts and which states a call may lead to. Everything else (concurrency, time,
indeterminate answers) is the checker's business. One's own model is a class of a few lines:

    class Toggle(Model):
        name = "toggle"
        initial = False
        functions = ("flip", "read")

        def step(self, state, call):
            if call.f == "flip":
                return (not state,)
            return (state,) if call.value is state or call.outcome == "info" else ()

States and the values of calls must be hashable; values come through `canonical`, so that `1`, `"1"`, `1.0` and `True` are
four different values and lists and maps may be values too.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.operation import Key
from splitbrain.harness.history.values import Tagged

State = Hashable
Nil = Literal["absent", "wildcard"]


class Call(NamedTuple):
    """An operation as a model sees it.

    `outcome` is `ok` (it happened and `value` holds its answer), `info` (an answer is not known: a model accepts whatever
    it might have been) or `refused` (a compare-and-set that was decided and found another value: `seen` is a one-element
    tuple with that value where it was told). `process` and `key` are None unless the model asks for them.
    """

    f: str
    value: Any
    outcome: Literal["ok", "info", "refused"] = "ok"
    seen: tuple[Hashable, ...] = ()
    process: int | None = None
    key: Key = None


class Model:
    """A sequential specification. Instances are immutable and can be pickled.

    `functions` are the names of the operations it knows (empty: any; a refused `cas` is shown only to a model that names
    `cas`). `per_key` says that every key is an object of its
    own, judged alone; where it is false, a call carries its key. `per_process` says that it matters who calls (the owner
    of a lock): a call then carries its process.
    """

    name: ClassVar[str]
    functions: ClassVar[tuple[str, ...]] = ()
    per_key: ClassVar[bool] = True
    per_process: ClassVar[bool] = False
    initial: State = None

    def step(self, state: Any, call: Call) -> tuple[State, ...]:
        """The states that `call` may leave behind when the object is in `state`: none where it is impossible there, and
        more than one only where an unknown answer leaves open what happened."""
        raise NotImplementedError

    def pure(self, call: Call) -> bool:
        """Whether `call` never changes the state, in whichever state it takes effect. Saying no is always sound."""
        return False

    def complaint(self, call: Call) -> str:
        """What is wrong with the value of `call`, in words, empty where nothing is: asked before any step is taken."""
        return ""


@dataclass(frozen=True)
class Register(Model):
    """A variable. `write` sets it; `read` returns what it holds.

    `initial` is what it holds before the first write. A read of None means that it holds None (`nil="absent"`), or tells
    nothing at all (`nil="wildcard"`).
    """

    name: ClassVar[str] = "register"
    functions: ClassVar[tuple[str, ...]] = ("read", "write")
    initial: State = None
    nil: Nil = "absent"

    def step(self, state: Any, call: Call) -> tuple[State, ...]:
        if call.f == "write":
            return (call.value,)
        if call.value == state or call.outcome == "info" or (call.value is None and self.nil == "wildcard"):
            return (state,)
        return ()

    def pure(self, call: Call) -> bool:
        return call.f == "read"


@dataclass(frozen=True)
class CasRegister(Register):
    """A register with compare-and-set: `cas` of `(expected, new)` sets it to `new` if it holds `expected`.

    A refused `cas` proves that it held something else at some moment of the call, and that it held what was `seen`.
    """

    name: ClassVar[str] = "cas-register"
    functions: ClassVar[tuple[str, ...]] = ("read", "write", "cas")

    def step(self, state: Any, call: Call) -> tuple[State, ...]:
        if call.f != "cas":
            return super().step(state, call)
        expected, new = call.value
        if call.outcome == "refused":
            return (state,) if state != expected and (not call.seen or call.seen[0] == state) else ()
        return (new,) if state == expected else ()

    def pure(self, call: Call) -> bool:
        return call.f == "read" or (call.f == "cas" and (call.outcome == "refused" or call.value[0] == call.value[1]))

    def complaint(self, call: Call) -> str:
        pair = type(call.value) is tuple and len(call.value) == 2
        return "" if call.f != "cas" or pair else "a cas needs a pair (expected, new)"


@dataclass(frozen=True)
class MultiRegister(Model):
    """Several registers read and written at once. `txn` has a list of `(f, register, value)` with `f` `r` or `w` (also
    `read` and `write`), taking effect in their order; `before` is what each register holds before its first write, and a read
    of None is a register that was never written (or tells nothing, `nil="wildcard"`)."""

    name: ClassVar[str] = "multi-register"
    functions: ClassVar[tuple[str, ...]] = ("txn",)
    initial: State = frozenset()
    before: State = None
    nil: Nil = "absent"

    def step(self, state: Any, call: Call) -> tuple[State, ...]:
        held = dict(state)
        for f, register, value in call.value:
            if f in ("w", "write"):
                held[register] = value
                continue
            wild = call.outcome == "info" or (value is None and self.nil == "wildcard")
            if not wild and held.get(register, self.before) != value:
                return ()
        return (frozenset(held.items()),)

    def effect(
        self, parts: Iterable[tuple[str, Any, Any]], *, known: bool
    ) -> tuple[list[tuple[Any, Any]], dict[Any, Any]]:
        """What a transaction of these parts needs to find, as pairs of a register and its value, where what it read is `known`
        at all; and what it leaves in the registers that it writes."""
        found: list[tuple[Any, Any]] = []
        left: dict[Any, Any] = {}
        for f, register, value in parts:
            if f in ("w", "write"):
                left[register] = value
            elif known and register not in left and not (value is None and self.nil == "wildcard"):
                found.append((register, value))
        return found, left

    def pure(self, call: Call) -> bool:
        return all(f in ("r", "read") for f, _, _ in call.value)

    def complaint(self, call: Call) -> str:
        parts = call.value if type(call.value) is tuple else (None,)
        if all(type(part) is tuple and len(part) == 3 and part[0] in ("r", "w", "read", "write") for part in parts):
            return ""
        return "a txn needs a list of (r or w, register, value)"


@dataclass(frozen=True)
class KeyValue(Model):
    """A string per key: `put` sets it, `append` adds to its end, `get` returns it, and the empty string before the first
    put. Each key is an object of its own. A `get` of None is a key that was never put."""

    name: ClassVar[str] = "kv"
    functions: ClassVar[tuple[str, ...]] = ("get", "put", "append")
    initial: State = ""

    def step(self, state: Any, call: Call) -> tuple[State, ...]:
        if call.f == "put":
            return (call.value,)
        if call.f == "append":
            return (state + call.value,)
        return (state,) if (call.value or "") == state or call.outcome == "info" else ()

    def pure(self, call: Call) -> bool:
        return call.f == "get"

    def complaint(self, call: Call) -> str:
        text = type(call.value) is str or (call.f == "get" and call.value is None)
        return "" if text else f"a {call.f} needs a string"


@dataclass(frozen=True)
class Mutex(Model):
    """A lock without an owner: `acquire` where it is free, `release` where it is held."""

    name: ClassVar[str] = "mutex"
    functions: ClassVar[tuple[str, ...]] = ("acquire", "release")
    initial: State = False

    def step(self, state: Any, call: Call) -> tuple[State, ...]:
        return (not state,) if state == (call.f == "release") else ()


def _owner(call: Call) -> Hashable:
    return call.process if call.value is None else call.value


@dataclass(frozen=True)
class OwnerMutex(Model):
    """A lock that only its holder may release. The owner is the operation's value, and its process where it has none."""

    name: ClassVar[str] = "owner-mutex"
    functions: ClassVar[tuple[str, ...]] = ("acquire", "release")
    per_process: ClassVar[bool] = True

    def step(self, state: Any, call: Call) -> tuple[State, ...]:
        if call.f == "acquire":
            return ((_owner(call),),) if state is None else ()
        return (None,) if state == (_owner(call),) else ()


@dataclass(frozen=True)
class ReentrantMutex(Model):
    """An owner mutex that its holder may acquire up to `depth` times, and must release as often."""

    name: ClassVar[str] = "reentrant-mutex"
    functions: ClassVar[tuple[str, ...]] = ("acquire", "release")
    per_process: ClassVar[bool] = True
    depth: int = 2

    def step(self, state: Any, call: Call) -> tuple[State, ...]:
        owner, held = state or (_owner(call), 0)
        if owner != _owner(call):
            return ()
        if call.f == "acquire":
            return ((owner, held + 1),) if held < self.depth else ()
        if held == 0:
            return ()
        return ((owner, held - 1),) if held > 1 else (None,)


@dataclass(frozen=True)
class FencedLock(Model):
    """A lock whose `acquire` returns a fencing token (the value, an integer) greater than every token before it; only the
    process that holds it may `release`. An acquire without a token tells nothing about the order of tokens."""

    name: ClassVar[str] = "fenced-lock"
    functions: ClassVar[tuple[str, ...]] = ("acquire", "release")
    per_process: ClassVar[bool] = True
    initial: State = (None, None)

    def step(self, state: Any, call: Call) -> tuple[State, ...]:
        holder, last = state
        if call.f == "release":
            return ((None, last),) if holder == call.process else ()
        if holder is not None:
            return ()
        if call.outcome == "info" or call.value is None:
            return ((call.process, last),)
        return ((call.process, call.value),) if last is None or call.value > last else ()

    def complaint(self, call: Call) -> str:
        return "" if call.f == "release" or call.value is None or type(call.value) is int else "a fencing token is an integer"


@dataclass(frozen=True)
class Semaphore(Model):
    """`permits` permits: `acquire` takes as many as its value says (None: one) where so many are left, `release` gives them
    back, never more than were taken."""

    name: ClassVar[str] = "semaphore"
    functions: ClassVar[tuple[str, ...]] = ("acquire", "release")
    initial: State = 0
    permits: int = 2

    def step(self, state: Any, call: Call) -> tuple[State, ...]:
        count = 1 if call.value is None else call.value
        taken = state + count if call.f == "acquire" else state - count
        return (taken,) if 0 <= taken <= self.permits else ()

    def complaint(self, call: Call) -> str:
        return "" if call.value is None or type(call.value) is int else "the number of permits is an integer"


@dataclass(frozen=True)
class Queue(Model):
    """First in, first out: `enqueue` adds at the end, `dequeue` takes and returns the oldest, None where it is empty."""

    name: ClassVar[str] = "queue"
    functions: ClassVar[tuple[str, ...]] = ("enqueue", "dequeue")
    initial: State = ()

    def step(self, state: Any, call: Call) -> tuple[State, ...]:
        if call.f == "enqueue":
            return ((*state, call.value),)
        if call.outcome == "info":
            return (state[1:],)
        if not state:
            return (state,) if call.value is None else ()
        return (state[1:],) if state[0] == call.value else ()

    def pure(self, call: Call) -> bool:
        return call.f == "dequeue" and call.outcome == "ok" and call.value is None


@dataclass(frozen=True)
class UnorderedQueue(Model):
    """A bag: `enqueue` adds an element, `dequeue` takes and returns any one, None where it is empty."""

    name: ClassVar[str] = "unordered-queue"
    functions: ClassVar[tuple[str, ...]] = ("enqueue", "dequeue")
    initial: State = frozenset()

    def step(self, state: Any, call: Call) -> tuple[State, ...]:
        held: dict[Hashable, int] = dict(state)
        if call.f == "enqueue":
            held[call.value] = held.get(call.value, 0) + 1
            return (frozenset(held.items()),)
        if call.outcome == "info":
            return tuple(_without(held, element) for element in held) or (state,)
        if call.value is None and call.value not in held:
            return () if held else (state,)
        return (_without(held, call.value),) if call.value in held else ()

    def pure(self, call: Call) -> bool:
        return call.f == "dequeue" and call.outcome == "ok" and call.value is None


def _without(held: dict[Hashable, int], element: Hashable) -> State:
    left = dict(held)
    left[element] -= 1
    if not left[element]:
        del left[element]
    return frozenset(left.items())


@dataclass(frozen=True)
class Stack(Model):
    """Last in, first out: `push` adds on top, `pop` takes and returns the youngest, None where it is empty."""

    name: ClassVar[str] = "stack"
    functions: ClassVar[tuple[str, ...]] = ("push", "pop")
    initial: State = ()

    def step(self, state: Any, call: Call) -> tuple[State, ...]:
        if call.f == "push":
            return ((*state, call.value),)
        if call.outcome == "info":
            return (state[:-1],)
        if not state:
            return (state,) if call.value is None else ()
        return (state[:-1],) if state[-1] == call.value else ()

    def pure(self, call: Call) -> bool:
        return call.f == "pop" and call.outcome == "ok" and call.value is None


@dataclass(frozen=True)
class PriorityQueue(Model):
    """`enqueue` adds an element, `dequeue` takes and returns the smallest, None where it is empty. Elements are integers."""

    name: ClassVar[str] = "priority-queue"
    functions: ClassVar[tuple[str, ...]] = ("enqueue", "dequeue")
    initial: State = ()

    def step(self, state: Any, call: Call) -> tuple[State, ...]:
        if call.f == "enqueue":
            return (tuple(sorted((*state, call.value))),)
        if call.outcome == "info":
            return (state[1:],)
        if not state:
            return (state,) if call.value is None else ()
        return (state[1:],) if state[0] == call.value else ()

    def pure(self, call: Call) -> bool:
        return call.f == "dequeue" and call.outcome == "ok" and call.value is None

    def complaint(self, call: Call) -> str:
        ordered = type(call.value) is int or (call.f == "dequeue" and call.value is None)
        return "" if ordered else "the elements of a priority queue are integers"


@dataclass(frozen=True)
class Set(Model):
    """`add` and `remove` of an element, always possible; `read` returns all elements, in any order, each once."""

    name: ClassVar[str] = "set"
    functions: ClassVar[tuple[str, ...]] = ("add", "remove", "read")
    initial: State = frozenset()

    def step(self, state: Any, call: Call) -> tuple[State, ...]:
        if call.f == "add":
            return (state | {call.value},)
        if call.f == "remove":
            return (state - {call.value},)
        return (state,) if call.outcome == "info" or elements(call.value) == state else ()

    def pure(self, call: Call) -> bool:
        return call.f == "read"

    def complaint(self, call: Call) -> str:
        known = call.value is None or type(call.value) is tuple or (type(call.value) is Tagged and call.value.kind == "set")
        return "" if call.f != "read" or known else "a read of a set needs a list of elements"


def elements(value: Any) -> frozenset[Hashable] | None:
    """The elements that a canonical answer of a set's `read` holds; None where one appears twice."""
    if value is None:
        return frozenset()
    members: Any = value.content if isinstance(value, Tagged) else value
    found = frozenset(members)
    return found if isinstance(value, Tagged) or len(found) == len(value) else None


@dataclass(frozen=True)
class Counter(Model):
    """`add` adds its value (an integer, also negative), `read` returns the sum."""

    name: ClassVar[str] = "counter"
    functions: ClassVar[tuple[str, ...]] = ("add", "read")
    initial: State = 0

    def step(self, state: Any, call: Call) -> tuple[State, ...]:
        if call.f == "add":
            return (state + call.value,)
        return (state,) if call.value == state or call.outcome == "info" else ()

    def pure(self, call: Call) -> bool:
        return call.f == "read"

    def complaint(self, call: Call) -> str:
        known = type(call.value) is int or (call.f == "read" and call.value is None)
        return "" if known else "a counter needs integers"


@dataclass(frozen=True)
class IdGenerator(Model):
    """`generate` returns an id that it never returned before."""

    name: ClassVar[str] = "id-generator"
    functions: ClassVar[tuple[str, ...]] = ("generate",)
    initial: State = frozenset()

    def step(self, state: Any, call: Call) -> tuple[State, ...]:
        if call.outcome == "info":
            return (state,)
        return (state | {call.value},) if call.value not in state else ()


MODELS: dict[str, type[Model]] = {
    model.name: model
    for model in (
        Register, CasRegister, MultiRegister, KeyValue, Mutex, OwnerMutex, ReentrantMutex, FencedLock, Semaphore, Queue,
        UnorderedQueue, Stack, PriorityQueue, Set, Counter, IdGenerator,
    )
}
"""The built-in models by name, each with its default parameters when called without arguments."""


def check_functions(model: Model, fs: Iterable[str]) -> None:
    """Raise `UsageError` where a history holds a function that `model` does not know."""
    unknown = sorted(set(fs) - set(model.functions)) if model.functions else []
    if unknown:
        raise UsageError(
            f"the model {model.name} has no operation {unknown[0]!r}, only {', '.join(model.functions)}: choose another model"
        )
