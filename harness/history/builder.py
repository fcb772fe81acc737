"""Builder: events as a file tells them, paired and packed into the columns of a History, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import itemgetter
from typing import Any, Literal, NoReturn

import msgspec
import numpy as np
from numpy.typing import NDArray

from splitbrain.harness.errors import HistoryError
from splitbrain.harness.history.columns import Columns, arranged
from splitbrain.harness.history.history import FAIL, INFO, KIND_CODES, NEVER, OK, History, moved
from splitbrain.harness.history.lines import Read
from splitbrain.harness.history.micros import OperationsPacker
from splitbrain.harness.history.names import Names
from splitbrain.harness.history.operation import Kind as Access
from splitbrain.harness.history.shapes import MICROS as TRANSACTION
from splitbrain.harness.history.shapes import Shapes, shapes_of
from splitbrain.harness.history.values import MAX_DEPTH, MICROS, MISSING, NIL, OBJECT, PAIR, SCALAR, Values, frozen

BATCH = 32768
_KIND = {"ok": OK, "fail": FAIL, "info": INFO, "invoke": 3}
_INVOKE = 3
_ACCESS = {str(kind): code for kind, code in KIND_CODES.items() if kind is not None}
_TELLS_ARGUMENT = ("write", "add", "remove", "enqueue", "push", "put", "append", "cas")
_DRAINING = -(1 << 61)


Kind = Literal["invoke", "ok", "fail", "info"]


class Event(msgspec.Struct, gc=False):
    """One event. A completion may leave out what its invocation told; None is
    "not told", but for `value`, where None is a value and UNSET is "not told". The meaning of the fields is that of
    `Operation`; `time` is the moment of the event. `kind` is told by the invocation."""

    type: Kind
    process: int | None = None
    f: str | None = None
    value: Any = msgspec.UNSET
    key: int | str | None = None
    time: int | None = None
    error: str | None = None
    detail: str | None = None
    kind: Access | None = None
    seen: tuple[Any, ...] | None = None
    node: str | None = None
    server: str | None = None
    scheduled: int | None = None
    index: int | None = None


class TextEvent(Event, gc=False):
    """An event of a transaction whose value is still JSON."""

    value: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


TOO_DEEP = f"expected at most {MAX_DEPTH} levels of nesting"
"""What is said of a value with more."""

_PACKED_SHAPES = (
    "integer", "nil", ("integer", "integer"), ("integer", "nil"), ("nil", "integer"), ("nil", "nil"), "untold", TRANSACTION,
)


def too_deep(value: Any) -> bool:
    """Whether a value is nested more deeply than that."""
    try:
        frozen(value)
    except RecursionError:
        return True
    return False


_OPERATION_COLUMNS = (
    "process", "invoked", "completed", "outcome", "f", "key", "error", "node", "server", "scheduled", "index",
    "kind",
    "began", "ended", "form", "first", "second", "answered",
)
_OPEN_COLUMNS = (
    "process", "invoked", "f", "key", "node", "server", "scheduled", "index", "kind",
    "began", "form", "first", "second", "position",
)
_Columns = dict[str, NDArray[Any]]


@dataclass(slots=True)
class _Told:
    """What a batch of events tells, in columns: of all of them, then of the invocations and of the completions among them.
    `noted` are the completions that tell what they saw, or a detail; `argument` is the value of an invocation."""

    kinds: NDArray[np.int8]
    process: NDArray[np.int64]
    time: NDArray[np.int64]
    f: NDArray[np.int32]
    key: NDArray[np.int32]
    values: Values
    node: NDArray[np.int32]
    server: NDArray[np.int32]
    scheduled: NDArray[np.int64]
    index: NDArray[np.int64]
    access: NDArray[np.int8]
    error: NDArray[np.int32]
    noted: list[tuple[int, tuple[Any, ...] | None, str | None]]
    argument: Callable[[int], Any]


def _coded(
    names: Names, column: NDArray[np.int8], table: list[str], others: NDArray[np.int64], told: list[Any]
) -> NDArray[np.int32]:
    """The codes of names of which a column tells the places in a table, and at the rows of `others` those that are told there.
    New ones are numbered as they appear."""
    first = {name: int(np.argmax(column == at)) for at, name in enumerate(table) if (column == at).any()}
    appear = [*((row, name) for name, row in first.items()), *zip(others.tolist(), told, strict=True)]
    names.encode([name for _, name in sorted(appear, key=itemgetter(0))])
    codes = np.array([*map(names.code, table), -1], np.int32)[column]
    codes[others] = names.encode(told)
    return codes


class Builder:
    """Pairs the events of each process and packs them into columns. `add` takes them in the order of the file.

    `clock` says what orders them: `times` trusts the events' own times wherever they are told (our own journals: a call is
    timed before it is sent and after it is answered), `file` trusts the order of the file, as Jepsen's tools do, and keeps
    the times only where they rise with every event. Where no times are kept, `invoked` and `completed` are positions of
    events, from 0. `where` turns an event's position into its line and column, for errors.

    Raises `HistoryError` for a completion without its invocation, a process that is busy or crashed and acts, a completion
    of something else than was invoked, times that run backwards inside one operation, and a missing process or function.
    """

    def __init__(
        self, path: str = "", *, clock: Literal["times", "file"], where: Callable[[int], tuple[int, int]]
    ) -> None:
        self.path = path
        self.where = where
        self.clock = clock
        self.events = 0
        """How many events were taken so far."""
        self.rising = True
        """Whether the times told rose with every event."""
        self.timed: bool | None = None
        """Whether every event told its time, None before the first."""
        self.shapes = Shapes()
        """The shapes of the invocations' values."""
        self._nameless: bool | None = None
        self._last = -NEVER - 1
        self._values = OperationsPacker()
        self._fs, self._keys, self._errors, self._nodes = Names(), Names(), Names(), Names()
        self._batch: list[Event] = []
        self._positions: list[int] = []
        self._parts = Columns()
        self._open: _Columns | None = None
        self._crashed = np.empty(0, np.int64)
        self._seen: dict[int, tuple[Any, ...]] = {}
        self._details: dict[int, str] = {}

    def add(self, event: Event, position: int) -> None:
        """Take one event, found at `position`."""
        self._batch.append(event)
        self._positions.append(position)
        if len(self._batch) >= BATCH:
            self._flush()

    def extend(self, events: Sequence[Event], positions: NDArray[np.int64]) -> None:
        """Take many events at once, each found at its position."""
        self._flush()
        if events:
            self._take(events, positions)

    def extend_read(self, read: Read, others: Sequence[Event], positions: NDArray[np.int64]) -> bool:
        """Take events that were read into columns, with those of the `others` among these, each found at its position; whether
        that can be: where it cannot, they are to be taken as events, and none of them is taken."""
        self._flush()
        at = np.flatnonzero(read.others)
        if (
            self.clock != "times" or self._nameless or self.timed is False
            or not _KIND.keys() >= set(read.names["type"]) or not _ACCESS.keys() >= set(read.names["kind"])
            or "txn" in read.names["f"] or (read.f[~read.others] < 0).any()
            or None in (processes := [event.process for event in others]) or None in (times := [event.time for event in others])
            or any(event.f in (None, "txn") for event in others)
        ):
            return False
        calls = [event for event in others if event.type == "invoke"]
        try:
            read.process[at], read.time[at] = np.array(processes, np.int64), np.array(times, np.int64)
            index = np.array([-1 if event.index is None else event.index for event in calls], np.int64)
            scheduled = np.array([NEVER if event.scheduled is None else event.scheduled for event in calls], np.int64)
            values = self._values.pack([event.value for event in others], np.zeros(len(at), np.bool_), msgspec.UNSET)
        except (OverflowError, RecursionError):
            return False
        self._nameless, self.timed = False, True
        read.form[at], read.first[at], read.second[at] = values.kind, values.first, values.second
        kinds = np.array([*map(_KIND.__getitem__, read.names["type"]), -1], np.int8)[read.type]
        kinds[at] = [_KIND[event.type] for event in others]
        starts = kinds == _INVOKE
        among, ended = np.flatnonzero(read.others[starts]), np.flatnonzero(read.others[~starts])
        fs = _coded(self._fs, read.f, read.names["f"], at, [event.f for event in others])
        keys: list[Any] = read.key.tolist()
        for i in np.flatnonzero(~read.keyed).tolist():
            keys[i] = None
        for i, event in zip(at.tolist(), others, strict=True):
            keys[i] = event.key
        node = _coded(self._nodes, read.node[starts], read.names["node"], among, [event.node for event in calls])
        server = _coded(self._nodes, read.server[starts], read.names["server"], among, [event.server for event in calls])
        indices, when = np.full(len(node), -1), read.scheduled[starts]
        indices[among], when[among] = index, scheduled
        access = np.array([*map(_ACCESS.__getitem__, read.names["kind"]), -1], np.int8)[read.kind[starts]]
        access[among] = [KIND_CODES[event.kind] for event in calls]
        answers = [event for event in others if event.type != "invoke"]
        error = np.full(len(starts) - len(node), -1, np.int32)
        error[ended] = self._errors.encode([event.error for event in answers])
        told = dict(zip(among.tolist(), (event.value for event in calls), strict=True))
        self._pair_up(_Told(
            kinds=kinds, process=self._apart(read.process, fs), time=read.time, f=fs, key=self._keys.encode(keys),
            values=Values(read.form, read.first, read.second, ()), node=node, server=server, scheduled=when, index=indices,
            access=access, error=error,
            noted=[(place, one.seen, one.detail) for place, one in zip(ended.tolist(), answers, strict=True)
                   if one.seen or one.detail],
            argument=told.__getitem__,
        ), positions)
        return True

    def history(self) -> History:
        """The history of all events taken. What was invoked and never completed is `info`."""
        self._flush()
        if self._open is not None:
            self._part(self._open, None)
            self._open = None
        history = History()
        history.timed = bool(self.timed) and (self.clock == "times" or self.rising)
        columns = {name: self._column(name) for name in _OPERATION_COLUMNS}
        if self._nameless:  # Who is not told is nobody else: what one process promises is not asked of it.
            columns["process"] = np.arange(len(columns["process"]))
        draining = columns["process"] <= _DRAINING // 2
        columns["process"][draining] = _DRAINING - columns["process"][draining]
        if not history.timed:
            columns["invoked"], columns["completed"] = columns["began"], columns["ended"]
        order = np.lexsort((columns["began"], columns["invoked"]))
        began = columns.pop("began")
        del columns["ended"]
        for name in tuple(columns):
            columns[name] = arranged(columns[name], order)
        form, first, second = columns.pop("form"), columns.pop("first"), columns.pop("second")
        form[form == MISSING] = SCALAR
        history.values = self._values.values(
            form, first, second, ok=columns["outcome"] == OK, answered=columns.pop("answered"),
            transactions=columns["f"] == self._fs.code("txn"),
        )
        for name, column in columns.items():
            setattr(history, name, column)
        history.fs, history.keys, history.errors = self._fs.names(), self._keys.names(), self._errors.names()
        history.nodes = self._nodes.names()
        history.seen, history.details = self._seen, self._details
        if self._seen or self._details:
            place = np.empty(self.events, np.int64)
            place[began[order]] = np.arange(len(order))
            history.seen, history.details = moved(self._seen, place), moved(self._details, place)
        return history

    def _column(self, name: str) -> NDArray[Any]:
        if self._parts.rows:
            return self._parts.take(name)
        kinds: dict[str, Any] = {"outcome": np.int8, "kind": np.int8, "form": np.int8, "answered": np.bool_}
        kinds |= dict.fromkeys(("f", "key", "error", "node", "server"), np.int32)
        return np.empty(0, kinds.get(name, np.int64))

    # One batch: the invocations still open and the new events, paired in numpy.

    def _flush(self) -> None:
        if self._batch:
            events, positions = self._batch, np.array(self._positions, np.int64)
            self._batch, self._positions = [], []
            self._take(events, positions)

    def _take(self, events: Sequence[Event], positions: NDArray[np.int64]) -> None:
        kinds = np.fromiter([_KIND[event.type] for event in events], np.int8, len(events))
        process = self._processes(events, positions)
        time = self._times(events, positions, self.events)
        starts = kinds == _INVOKE
        began = positions[starts]
        invocations = list(compress(events, starts.tolist()))
        completions = list(compress(events, (~starts).tolist()))
        fs = self._fs.encode([event.f for event in events])
        keys = self._keys.encode([event.key for event in events])
        process = self._apart(process, fs)
        transactions = (fs == self._fs.code("txn")) | (~starts & (fs < 0))
        values = [event.value for event in events]
        told_again = answer = np.zeros(0, np.int64)
        if transactions.any():
            told_again, answer = self._told_again(process, kinds, values, transactions)
            transactions[told_again] = False
            for at in told_again.tolist():
                values[at] = None
        try:
            told = self._packed(events, values, transactions)
        except RecursionError:
            self._fail(positions[next(i for i, value in enumerate(values) if too_deep(value))], TOO_DEEP)
        for told_of in (told.kind, told.first, told.second):
            told_of[told_again] = told_of[answer]
        self._pair_up(_Told(
            kinds=kinds, process=process, time=time, f=fs, key=keys, values=told,
            node=self._nodes.encode([e.node for e in invocations]),
            server=self._nodes.encode([e.server for e in invocations]),
            scheduled=self._integers([e.scheduled for e in invocations], NEVER, began, "scheduled"),
            index=self._integers([e.index for e in invocations], -1, began, "index"),
            access=np.fromiter([KIND_CODES[e.kind] for e in invocations], np.int8, len(invocations)),
            error=self._errors.encode([e.error for e in completions]),
            noted=[(at, e.seen, e.detail) for at, e in enumerate(completions) if e.seen or e.detail],
            argument=lambda at: invocations[at].value,
        ), positions)

    def _apart(self, process: NDArray[np.int64], fs: NDArray[np.int32]) -> NDArray[np.int64]:
        """A drain stays open while its client dequeues."""
        drain = self._fs.code("drain")
        return np.where(fs == drain, _DRAINING - process, process) if drain >= 0 else process

    def _pair_up(self, told: _Told, positions: NDArray[np.int64]) -> None:
        ordinal = np.arange(self.events, self.events + len(positions))
        self.events += len(positions)
        starts = told.kinds == _INVOKE
        began, ended = np.flatnonzero(starts), np.flatnonzero(~starts)
        opened: _Columns = {
            "process": told.process[began],
            "invoked": told.time[began],
            "f": told.f[began],
            "key": told.key[began],
            "node": told.node,
            "server": told.server,
            "scheduled": told.scheduled,
            "index": told.index,
            "began": ordinal[began],
            "kind": told.access,
            "form": told.values.kind[began],
            "first": told.values.first[began],
            "second": told.values.second[began],
            "position": positions[began],
        }
        self._shape(opened, told.argument)
        untold = opened["index"] < 0
        opened["index"][untold] = opened["began"][untold]
        if (nameless := np.flatnonzero(opened["f"] < 0)).size:
            self._fail(opened["position"][nameless[0]], "an invocation does not tell its function (f)")
        closed: _Columns = {
            "process": told.process[ended],
            "completed": told.time[ended],
            "outcome": told.kinds[ended],
            "f": told.f[ended],
            "key": told.key[ended],
            "error": told.error,
            "ended": ordinal[ended],
            "form": told.values.kind[ended],
            "first": told.values.first[ended],
            "second": told.values.second[ended],
            "position": positions[ended],
        }
        if self._open is not None:
            opened = {name: np.concatenate((self._open[name], opened[name])) for name in _OPEN_COLUMNS}
        starts_at, ends_at, left = self._pair(opened, closed)
        matched = {name: opened[name][starts_at] for name in _OPEN_COLUMNS}
        answers = {name: column[ends_at] for name, column in closed.items()}
        self._open = {name: opened[name][left] for name in _OPEN_COLUMNS}
        self._part(matched, answers)
        self._crashed = np.concatenate((self._crashed, closed["process"][closed["outcome"] == INFO]))
        if told.noted:
            began_of = np.full(len(ended), -1)
            began_of[ends_at] = matched["began"]
            for at, seen, detail in told.noted:
                began_at = int(began_of[at])
                if seen:
                    self._seen[began_at] = seen
                if detail:
                    self._details[began_at] = detail

    def _packed(self, events: Sequence[Event], values: list[Any], transactions: NDArray[np.bool_]) -> Values:
        forms = set(map(type, events))
        if texts := {form for form in forms if issubclass(form, TextEvent)}:
            told = self._values.pack_texts(values, transactions) if texts == forms else None
            if told is not None:
                return told
            for at, event in enumerate(events):
                if type(event.value) is msgspec.Raw:
                    event.value = msgspec.json.decode(event.value)
                values[at] = None if values[at] is None else event.value
        return self._values.pack(values, transactions, msgspec.UNSET)

    def _shape(self, opened: _Columns, argument: Callable[[int], Any]) -> None:
        """Keep the shapes of the values that these invocations tell."""
        form, f = opened["form"], opened["f"]
        nil, also = opened["first"] == NIL, opened["second"] == NIL
        codes = np.select([form == SCALAR, form == PAIR, form == MISSING, form == MICROS], [nil, 2 + 2 * nil + also, 6, 7], 8)
        for told in np.unique(f.astype(np.int64) * 16 + codes).tolist():
            code, at = told >> 4, told & 15
            if code < 0:
                continue
            name = self._fs.names()[code]
            if at < len(_PACKED_SHAPES):
                self.shapes.add(name, [_PACKED_SHAPES[at]])
            else:
                rows = np.flatnonzero((f == code) & (form == OBJECT)).tolist()
                self.shapes.add(name, shapes_of([argument(row) for row in rows]))

    def _told_again(
        self, process: NDArray[np.int64], kinds: NDArray[np.int8], values: list[Any], transactions: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The invocations of transactions whose answer, in the same batch, tells all that they told and what they read; and
        these answers."""
        order = np.argsort(process, kind="stable")
        before, behind = order[:-1], order[1:]
        answered = (kinds[before] == _INVOKE) & (kinds[behind] == OK) & (process[before] == process[behind])
        answered &= transactions[before] & transactions[behind]
        before, behind = before[answered], behind[answered]
        telling = [values[at] is not msgspec.UNSET for at in behind.tolist()]
        return before[telling], behind[telling]

    def _pair(
        self, opened: _Columns, closed: _Columns
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Positions of invocations and of the completions that belong to them, and the invocations left open."""
        many = len(opened["process"])
        process = np.concatenate((opened["process"], closed["process"]))
        order = np.lexsort((np.concatenate((opened["began"], closed["ended"])), process))
        start = order < many
        follows = np.zeros(len(order), np.bool_)
        follows[1:] = process[order[1:]] == process[order[:-1]]
        before_starts = np.zeros(len(order), np.bool_)
        before_starts[1:] = start[:-1]
        orphan = ~start & ~(follows & before_starts)
        busy = start & follows & before_starts
        info = np.zeros(len(order), np.bool_)
        info[~start] = closed["outcome"][order[~start] - many] == INFO
        dead = np.zeros(len(order), np.bool_)
        dead[1:] = start[1:] & follows[1:] & info[:-1]
        if len(self._crashed):
            dead |= start & np.isin(process[order], self._crashed)
        wrong = orphan | busy | dead
        if wrong.any():
            places = np.concatenate((opened["position"], closed["position"]))[order]
            first = int(np.flatnonzero(wrong)[np.argmin(places[wrong])])
            who = int(process[order[first]])
            who = _DRAINING - who if who <= _DRAINING // 2 else who
            if orphan[first]:
                self._fail(places[first], f"process {who} completes an operation, but has none open")
            if busy[first]:
                line = self.where(int(places[first - 1]))[0]
                client = "without processes, an operation begins" if self._nameless else f"process {who} begins an operation"
                self._fail(
                    places[first],
                    f"{client} while its last one (line {line}) has not completed: give every client a process of its own",
                )
            self._fail(
                places[first],
                f"process {who} acts again after an operation with the outcome info: its client goes on under a new process",
            )
        done = np.flatnonzero(~start)
        starts_at, ends_at = order[done - 1], order[done] - many
        still = np.ones(many, np.bool_)
        still[starts_at] = False
        return starts_at, ends_at, np.flatnonzero(still)

    def _part(self, opened: _Columns, closed: _Columns | None) -> None:
        """Keep operations: invocations with their completions (None: they never completed)."""
        part = dict(opened)
        position = part.pop("position")
        count = len(position)
        if closed is None:
            part["completed"] = part["ended"] = np.full(count, NEVER)
            part["outcome"] = np.full(count, INFO, np.int8)
            part["error"] = np.full(count, -1, np.int32)
            part["answered"] = np.zeros(count, np.bool_)
            self._parts.append(part)
            return
        for column, word, names in (("f", "function", self._fs), ("key", "key", self._keys)):
            other = (closed[column] >= 0) & (closed[column] != part[column])
            if other.any():
                at = int(np.flatnonzero(other)[0])
                known, invoked = names.names(), part[column][at]
                self._fail(
                    closed["position"][at],
                    f"process {closed['process'][at]} completes {word} {known[closed[column][at]]!r}, "
                    f"but it invoked {f'no {word}' if invoked < 0 else repr(known[invoked])}",
                )
        if self.clock == "times" and (back := np.flatnonzero(closed["completed"] < part["invoked"])).size:
            self._fail(closed["position"][back[0]], "an operation completes before the time at which it was invoked")
        answered = (closed["outcome"] == OK) & (closed["form"] != MISSING)
        # A write that is acknowledged with nil wrote what it was invoked with.
        arguments = np.isin(part["f"], [self._fs.code(f) for f in _TELLS_ARGUMENT])
        answered &= ~(arguments & (closed["form"] == SCALAR) & (closed["first"] == NIL))
        for column in ("form", "first", "second"):
            part[column] = np.where(answered, closed[column], part[column])
        for column in ("completed", "outcome", "error", "ended"):
            part[column] = closed[column]
        part["answered"] = answered
        self._parts.append(part)

    def _processes(self, events: Sequence[Event], positions: NDArray[np.int64]) -> NDArray[np.int64]:
        told = [event.process for event in events]
        nameless = told.count(None)
        if self._nameless is None:
            self._nameless = told[0] is None
        if nameless != (len(told) if self._nameless else 0):
            at = next(i for i, one in enumerate(told) if (one is None) != self._nameless)
            self._fail(positions[at], "some events tell their process and some do not")
        return self._integers(told, 0, positions, "process")

    def _times(
        self, events: Sequence[Event], positions: NDArray[np.int64], before: int
    ) -> NDArray[np.int64]:
        told = [event.time for event in events]
        timeless = told.count(None)
        if self.timed is None:
            self.timed = told[0] is not None
        if self.clock == "times" and timeless != (0 if self.timed else len(told)):
            at = next(i for i, one in enumerate(told) if (one is None) == self.timed)
            self._fail(positions[at], "some events tell their time and some do not")
        self.timed &= timeless == 0
        if not self.timed:
            return np.arange(before, before + len(events))
        time = self._integers(told, 0, positions, "time")
        if self.clock == "file" and self.rising:
            self.rising = bool(time[0] > self._last and (np.diff(time) > 0).all())
            self._last = int(time[-1])
        return time

    def _integers(
        self, told: list[int | None], untold: int, positions: NDArray[np.int64], name: str
    ) -> NDArray[np.int64]:
        if told.count(None) == len(told):
            return np.full(len(told), untold, np.int64)
        try:
            return np.fromiter(told, np.int64, len(told))
        except TypeError:
            return self._integers([untold if one is None else one for one in told], untold, positions, name)
        except OverflowError:
            at = next(i for i, one in enumerate(told) if one is not None and not -NEVER <= one <= NEVER)
            self._fail(positions[at], f"expected an integer of at most 64 bits as {name}")

    def _fail(self, position: Any, message: str) -> NoReturn:
        line, column = self.where(int(position))
        raise HistoryError(f"{message}.", path=self.path, line=line, column=column)
