"""`splitbrain check FILE`: a history that another program recorded, its format, its model, and the verdict.

Jepsen's own `counter` and `set` checkers ask less than the models of these names here, which ask for linearizability: they
let a counter's read be any sum between what was acknowledged and what was attempted (`counter-bounds`), and look at the last
read of a set only (`set-full` judges every one). A history that these models hold valid is valid there; a lost, duplicated or
never added element is invalid in both.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from splitbrain.checkers import linearizability, sessions
from splitbrain.checkers.judge import judge as judge_recording
from splitbrain.checkers.judge import tells
from splitbrain.checkers.linearizability.parts import Spread
from splitbrain.checkers.models.choose import (
    beginning_with,
    describe,
    detect,
    has_initial,
    model_of,
    parameter_of,
    replaced,
    tells_initial,
)
from splitbrain.checkers.models.specifications import FencedLock, Model, Nil, Register, check_functions
from splitbrain.checkers.result import Result, Source
from splitbrain.checkers.structures import choose as structures
from splitbrain.checkers.transactions import Transactions
from splitbrain.checkers.transactions.choose import are_transactions, levels_of, unwritten_is_read, values_repeat
from splitbrain.checkers.transactions.lattice import LEVELS, Level
from splitbrain.checkers.transactions.spread import Spread as TransactionSpread
from splitbrain.checkers.transactions.unlogged import Unlogged
from splitbrain.checkers.verdict import Checker, Standing, Verdict
from splitbrain.harness.errors import SplitbrainError, UsageError
from splitbrain.harness.history import formats
from splitbrain.harness.history.builder import TOO_DEEP, too_deep
from splitbrain.harness.history.clients import first_overlap
from splitbrain.harness.history.formats import cobra, jsonl
from splitbrain.harness.history.formats.source import STORED, is_folder
from splitbrain.harness.history.history import OK, OUTCOMES, History
from splitbrain.harness.history.meaning import begun_with, fenced, may_have_begun_with, meant
from splitbrain.harness.history.micros import APPEND, READ
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.recording import Recording
from splitbrain.harness.history.values import MISSING, NIL, SCALAR, canonical

TIME_LIMIT = 60.0
"""Seconds that a check may take, unless told otherwise; of sessions, seconds of processor time."""

_SESSIONS = ("plume", "awdit", "dbcop", "cobra")
"""Formats that tell what the initial state is."""


class Elsewhere(Spread, TransactionSpread, Protocol):
    """Judges parts of any history elsewhere."""


class CheckedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A judged file: how it was read, by which model and why, and the result that every report prints.

    `nil` says what a read of nil was taken for.
    """

    path: str
    format: str
    model: str
    why: str
    nil: Nil
    notes: tuple[str, ...]
    result: Result
    recording: Recording

    @property
    def verdict(self) -> Verdict:
        """What the checker said."""
        return self.result.verdicts[0]

    @property
    def exit_code(self) -> int:
        """0 valid, 1 an anomaly, 2 unknown."""
        return self.result.exit_code


def is_run(path: Path) -> bool:
    """Whether a path is a folder of ours, and not a history or the folder that a test of another program left. Raises
    `HistoryError` where nothing can have such a name."""
    if not is_folder(path) or (path / "journal.jsonl").exists():
        return is_folder(path)
    return not any((path / name).exists() for name in (*STORED, "test.jepsen")) and not cobra.logs(path)


def check_file(
    path: Path | str,
    model: str | None = None,
    format: str | None = None,
    nil: str | None = None,
    time_limit: float = TIME_LIMIT,
    torn: bool = False,
    initial: str | None = None,
    spread: Elsewhere | None = None,
) -> CheckedFile:
    """Judge the history in a file, a pipe (`-` is the standard input) or the folder of a Jepsen test. What is None is found
    out; `initial` is what registers began with (`nil`, `0`, `"a"`); `time_limit` is in seconds, for judging what was read:
    reading takes time by the length of the file alone, and nothing can be said without it. `spread` has the keys of many
    operations, or the components and levels of transactions, judged elsewhere.

    Raises `UsageError` for a file that cannot be read or a model that does not fit it.
    """
    path = Path(path)
    if nil not in (None, *get_args(Nil)):
        raise UsageError(f"a read of nil is a 'wildcard' or 'absent', not '{nil}'.")
    asked = _asked(model, initial)
    reading = formats.read(path, _format(format), torn)
    notes = list(reading.notes)
    history = meant(reading.history, reading.shapes, notes)
    recording = Recording(history=history, nodes=tuple(sorted(history.nodes)))
    if asked.object is not None or asked.structure or (model is None and initial is None):
        found = _structure(history, model)
        if found is not None and len(history):
            result = judge_recording(recording, [found.checker])
            return _checked(path, reading, recording, result, found.name, found.why, "", notes)
    told_nil = _meaning(nil)
    # Whether nil is the answer "nothing" or no answer at all is the convention of each tool that writes these formats.
    meaning: Nil | None = told_nil or (None if reading.format in ("edn", "elle-cli") else "absent")
    levels, promised = _of_clients(asked, reading, history, initial)
    why = "as told" if model else "every operation is a transaction"
    if len(history) and levels is not None:
        checker = _of_transactions(history, levels, time_limit, spread)
        if reading.format == "cobra":
            checker = Unlogged(checker)
        result = judge_recording(recording, [checker])
        return _checked(path, reading, recording, result, model or "transactions", why, "absent", notes)
    if len(history) and promised:
        begun = None if initial is None else parameter_of(initial)
        of_sessions = SessionWeighing(promised, nil=meaning or "wildcard", initial=begun, time_limit=time_limit)
        result = judge_recording(recording, [of_sessions])
        return _checked(path, reading, recording, result, model or "", why, of_sessions.nil, notes)
    chosen, why = _object(asked.object, reading, history, initial, notes)
    begins = initial is not None or (model is not None and tells_initial(model))
    weighing = Weighing(
        chosen, nil=meaning, told_nil=told_nil is not None, initial_told=begins, time_limit=time_limit, spread=spread,
    )
    result = judge_recording(recording, [weighing])
    shown = model if model and (levels is not None or promised) else describe(weighing.model)
    return _checked(path, reading, recording, result, shown, why, weighing.nil or "", notes)


class _Asked(NamedTuple):
    """What the name of a model asks of a history: `promised` to each session, the isolation `levels` of transactions, a
    `structure`, or an `object`. A model of sessions may be a level too; without a name, all is to be found out."""

    promised: tuple[sessions.Model, ...] | None = None
    levels: tuple[Level, ...] | None = None
    structure: bool = False
    object: Model | None = None


def _asked(model: str | None, initial: str | None) -> _Asked:
    """Raises `UsageError` for a name that nothing has, and where an initial value is told of what has none."""
    if model is None:
        return _Asked()
    promised = sessions.models_of(model)
    levels = levels_of(model) if promised is None or set(promised) <= set(LEVELS) else None
    if structures.is_name(model):
        asked = _Asked(promised, levels, structure=True)
    elif levels is None and promised is None:
        asked = _Asked(object=model_of(model))
    else:
        asked = _Asked(promised, levels)
    if initial is None:
        return asked
    if asked.structure:
        raise UsageError(f"the model '{model}' has no initial value to be told.")
    if levels is not None and promised is None:
        raise UsageError(f"transactions begin with nothing: --initial {initial} is for registers.")
    if asked.object is not None and not has_initial(asked.object):
        raise UsageError(f"the model '{asked.object.name}' has no initial value to be told.")
    if tells_initial(model):
        raise UsageError(f"the initial value is told twice: --model {model} and --initial {initial}.")
    return asked


def _of_clients(
    asked: _Asked, reading: formats.Reading, history: History, initial: str | None
) -> tuple[tuple[Level, ...] | None, tuple[sessions.Model, ...] | None]:
    """The isolation levels to hold the history against, none of them where they are to be found out, and what sessions were
    promised; both None where it is one of objects."""
    if asked.levels is not None and (asked.promised is None or are_transactions(history)):
        return asked.levels, None
    if asked.promised is not None:  # Causality is asked of registers too.
        return None, asked.promised
    if asked.object is not None or initial is not None or not _told_apart(history):
        return None, None
    if reading.format not in _SESSIONS and unwritten_is_read(history) and begun_with(history, "absent")[:1] not in ([], [None]):
        return None, None  # What was there before may have been directly seen, as of any register.
    return (), None


def _object(
    told: Model | None, reading: formats.Reading, history: History, initial: str | None, notes: list[str]
) -> tuple[Model, str]:
    """The model of the object that the history is of, and why; what it leaves unjudged is noted."""
    if not len(history):
        return told or Register(), "the file holds no operations"
    model, why = (told, "as told") if told is not None else detect(history, reading.shapes)
    if initial is not None:
        model = beginning_with(model, parameter_of(initial))
    if model.name != FencedLock.name and fenced(history, reading.shapes):
        notes.append(f"the fences in the lock's answers are not judged by the model {model.name}: fenced-lock does")
    return model, why


def _checked(
    path: Path, reading: formats.Reading, recording: Recording, result: Result, model: str, why: str, nil: Nil | Literal[""],
    notes: Sequence[str],
) -> CheckedFile:
    source = Source(
        path=str(path), format=reading.format, why=why, model=model, nil=nil, notes=tuple(notes), timed=recording.history.timed,
    )
    return CheckedFile(
        path=str(path), format=reading.format, model=model, why=why, nil=nil or "wildcard", notes=tuple(notes),
        result=msgspec.structs.replace(result, source=source), recording=recording,
    )


class _Structure(NamedTuple):
    """The structure that a history is judged as, and why."""

    checker: Checker
    name: str
    why: str


def _structure(history: History, model: str | None) -> _Structure | None:
    """The structure that the name, or the operations where there is none, certainly call for."""
    if model is not None:
        checker = structures.structure_of(model, history)
        return None if checker is None else _Structure(checker, model, "as told")
    found = structures.found_structure(history)
    return None if found is None else _Structure(structures.STRUCTURES[found[0]](), *found)


def check(
    operations: Iterable[Operation] | History,
    model: Model | str | None = None,
    *,
    nil: Nil = "absent",
    time_limit: float = TIME_LIMIT,
) -> Verdict:
    """Judge operations that somebody's own program recorded. `model` is a name such as `cas-register` or `cas-register:0`,
    a model of one's own, or None to choose it by the operations' names. `time_limit` is in seconds (see `TIME_LIMIT`).

    Raises `UsageError` where the model does not fit the operations, and for an operation that cannot be (its place is told).
    """
    history = operations if isinstance(operations, History) else _strict(list(operations))
    _refuse_unequal(history)
    promised = sessions.models_of(model) if isinstance(model, str) else None
    if promised is not None and not (set(promised) <= set(LEVELS) and are_transactions(history)):
        weighed = SessionWeighing(promised, nil=nil, initial=None, time_limit=time_limit)
        return weighed.check(Recording(history=history, nodes=()))
    levels = levels_of(model) if isinstance(model, str) else None
    if levels is None and (isinstance(model, str) or (model is None and len(history))):
        structure = _structure(history, model)
        if structure is not None:
            return structure.checker.check(Recording(history=history, nodes=()))
    if levels is not None or (model is None and _told_apart(history)):
        return _of_transactions(history, levels or (), time_limit).check(Recording(history=history, nodes=()))
    told = model is not None and (not isinstance(model, str) or tells_initial(model))
    if model is None:
        model = detect(history)[0] if len(history) else Register()
    chosen = model_of(model) if isinstance(model, str) else model
    return Weighing(chosen, nil=nil, told_nil=True, initial_told=told, time_limit=time_limit).weigh(history)


_PLAIN = {int, str, float, bool, bytes, type(None)}


def _refuse_unequal(history: History) -> None:
    """Raise `UsageError` for a value that is equal to itself alone: whether a read returned what was written is not known."""
    level: list[Any] = [*history.values.objects, *history.seen.values(), *(history.micros.objects if history.micros else ())]
    while kinds := set(map(type, level)) - _PLAIN:
        maps = {kind for kind in kinds if issubclass(kind, dict)}
        lists = {kind for kind in kinds if issubclass(kind, tuple | list | set | frozenset)}
        for kind in kinds - maps - lists:
            if kind.__eq__ is object.__eq__:  # type: ignore[comparison-overlap]
                found = next(value for value in level if type(value) is kind)
                raise UsageError(
                    f"a value of the type {kind.__name__} ({found!r:.60}) is equal to nothing but itself: whether it was "
                    "read again cannot be told. Use numbers, words, lists and maps."
                )
        parts = [value for value in level if type(value) in lists]
        parts += [part for value in level if type(value) in maps for part in (value, value.values())] if maps else []
        # Most lists hold nothing else that holds anything, and are not put beside each other to see that.
        level = [] if _PLAIN.issuperset(map(type, chain.from_iterable(parts))) else list(chain.from_iterable(parts))


def judge(history: History, model: Model, time_limit: float, spread: Spread | None = None) -> Verdict:
    """The verdict on a history; `unknown` where the checker itself fails. `spread` has its keys judged elsewhere."""
    try:
        if model.per_key:
            return linearizability.check_parts(history, model, time_limit, spread)
        return linearizability.check(history, model, time_limit=time_limit)
    except SplitbrainError:
        raise
    except Exception as error:
        return Verdict(
            checker="linearizability",
            validity="unknown",
            reason=f"the checker failed ({type(error).__name__}: {error}): please report it with the file.",
        )


class SessionWeighing:
    """The checker of sessions of a history that somebody else recorded: where its verdict depends on what registers began with,
    which nothing tells, it is `unknown`."""

    name = "sessions"

    def __init__(
        self, promised: Sequence[sessions.Model], *, nil: Nil, initial: Any, time_limit: float = TIME_LIMIT
    ) -> None:
        self.promised = promised
        self.nil = nil
        self.initial = initial
        self.time_limit = time_limit

    def check(self, recording: Recording) -> Verdict:
        """Raises `UsageError` for a history of anything but registers."""
        ends = time.process_time() + self.time_limit
        seen = [] if self.initial is not None else begun_with(recording.history, self.nil)
        begun = seen[0] if len(seen) == 1 else self.initial
        verdict = self._from(begun, recording, ends)
        if self.initial is not None:
            return verdict
        for other in may_have_begun_with(recording.history):
            if other != begun and (told := self._from(other, recording, ends)).validity != verdict.validity:
                reason = (
                    f"it depends on what registers began with (--initial): {_show(begun)}: {verdict.reason} "
                    f"{_show(other)}: {told.reason}"
                )
                return Verdict(checker=self.name, validity="unknown", reason=reason)
        return verdict

    def _from(self, initial: Any, recording: Recording, ends: float) -> Verdict:
        seconds = max(0.0, ends - time.process_time())
        checker = sessions.Sessions(self.promised, initial=initial, nil=self.nil, time_limit=seconds)
        return checker.check(recording)


class Weighing:
    """The checker of a history that somebody else recorded: where the file leaves open what registers began with, and the
    verdict depends on it, it is `unknown` and tells both answers; where it depends on what a read of nil means, the reason says
    so first.

    `nil` None leaves its meaning open. After `check`, `model` and `nil` are those that the verdict is of.
    `spread` has the keys judged elsewhere.
    """

    name = "linearizability"

    def __init__(
        self, model: Model, *, nil: Nil | None, told_nil: bool, initial_told: bool, time_limit: float = TIME_LIMIT,
        spread: Spread | None = None,
    ) -> None:
        self.model = model
        self.nil = nil
        self.told_nil = told_nil
        self.initial_told = initial_told or not has_initial(model)
        self.time_limit = time_limit
        self.spread = spread

    def check(self, recording: Recording) -> Verdict:
        """The verdict on a recording's history."""
        return self.weigh(recording.history)

    def weigh(self, history: History) -> Verdict:
        """The verdict on a history. Raises `UsageError` where the model does not fit it."""
        ends = time.perf_counter() + self.time_limit
        if not len(history):
            return self._unknown("no operations: nothing is proven.")
        check_functions(self.model, history.fs)
        if not history.answered().any():
            many = "1 operation was" if len(history) == 1 else f"none of {len(history):,} operations was"
            return self._unknown(f"nothing is proven: {many} {'not ' if len(history) == 1 else ''}answered.")
        if history.micros is not None and not len(history.micros.f) and are_transactions(history):
            return self._unknown("every transaction is empty: nothing is proven.")
        nils = _reads_of_nil(history)
        open_nil = self.nil is None
        first: Nil = self.nil or "wildcard"
        verdict, model = self._begun(history, first, ends)
        self.nil = first
        if nils and open_nil and verdict.validity == "valid":
            other, _ = self._begun(history, "absent", ends)
            if other.validity != "valid":
                # Knossos reads them so, and a lost value may hide behind one.
                reason = f"valid only if a read of nil tells nothing; if it found nothing (--nil absent): {other.reason}"
                verdict = msgspec.structs.replace(verdict, reason=reason)
        if nils and not self.told_nil and first == "absent" and verdict.validity == "invalid":
            other, _ = self._begun(history, "wildcard", ends)
            if other.validity == "valid":
                also = "(a read of nil found nothing; valid if it tells nothing: --nil wildcard)"
                reason = f"{verdict.reason.rstrip('.')} {also}."
                verdict = msgspec.structs.replace(verdict, reason=reason)
        self.model = model
        if verdict.validity == "valid" and not tells(history.select(~_nil_reads(history)) if first == "wildcard" else history):
            told = "no answer tells what is there, and calls that tell nothing are right whatever became of them"
            verdict = msgspec.structs.replace(verdict, reason=f"{verdict.reason.rstrip('.')}; {told}.")
        return _without_times(verdict) if verdict.validity == "valid" and not history.ends_told() else verdict

    def _begun(self, history: History, nil: Nil, ends: float) -> tuple[Verdict, Model]:
        """The verdict with the initial value that was told, directly seen or nil, and the model with it."""
        if self.initial_told:
            return self._judged(history, self.model, nil, ends), self.model
        seen = begun_with(history, nil)
        if len(seen) == 1 and seen[0] is not None:
            model = beginning_with(self.model, seen[0])
            verdict = self._judged(history, model, nil, ends)
            if verdict.validity == "valid":
                reason = f"valid only if it began with {_show(seen[0])}, as was directly seen: {verdict.reason}"
                verdict = msgspec.structs.replace(verdict, reason=reason)
            return verdict, model
        verdict = self._judged(history, self.model, nil, ends)
        if verdict.validity != "invalid":
            return verdict, self.model
        among = _read_by(verdict.anomalies[0].operations) if verdict.anomalies else None
        for value in may_have_begun_with(history, among):
            if not all(_reads(anomaly.operations, value) for anomaly in verdict.anomalies):
                continue
            other = self._judged(history, beginning_with(self.model, value), nil, ends)
            if other.validity == "valid":
                return self._unknown(
                    f"valid only if it began with {_show(value)}; if it began with nil: {verdict.reason.rstrip('.')} "
                    f"(--initial {_show(value)} or --initial nil says which)."
                ), self.model
        return verdict, self.model

    def _judged(self, history: History, model: Model, nil: Nil, ends: float) -> Verdict:
        chosen, kept = _with_nil(model, history, nil)
        if not len(kept) or not kept.answered().any():
            return self._unknown("nothing is proven: only reads of nil were answered, and they tell nothing.")
        return judge(kept, chosen, max(0.1, ends - time.perf_counter()), self.spread)

    def _unknown(self, reason: str) -> Verdict:
        return Verdict(checker=self.name, validity="unknown", reason=reason)


def _without_times(verdict: Verdict) -> Verdict:
    """What is known where an order was found that explains transactions of which nobody knows when they ran: that they are
    serializable. The order of clients and that of time were not looked at."""
    return msgspec.structs.replace(
        verdict, validity="unknown",
        reason="serializable holds, for one order of the transactions explains them all; whether that of clients and of time "
        "does is not known: values that are written more than once do not tell who was read from.",
        standings=(
            *(msgspec.structs.replace(one, state="undecided") for one in verdict.standings),
            Standing(model="serializable", state="holds"),
        ),
    )


def _reads(operations: Sequence[Operation], value: Any) -> bool:
    """Whether one of them read that value, or replaced it."""
    return any(_same(one, value) for one in _read_by(operations))


def _read_by(operations: Sequence[Operation]) -> list[Any]:
    """The values that these read or replaced."""
    found: list[Any] = []
    for one in operations:
        if one.f == "read":
            found.append(one.value)
        elif one.f == "cas" and type(one.value) is tuple:
            found.append(one.value[0])
        elif one.f == "txn":
            found += [micro[-1] for micro in one.value if micro[0] in ("r", "read")]
    return found


def _same(one: Any, other: Any) -> bool:
    return canonical(one) == canonical(other)


def _reads_of_nil(history: History) -> bool:
    micros = history.micros
    if micros is not None:
        return bool(((micros.f == READ) & (micros.value == NIL)).any())
    return bool(_nil_reads(history).any())


def _nil_reads(history: History) -> NDArray[np.bool_]:
    """Which rows are reads that were told nil."""
    if "read" not in history.fs:
        return np.zeros(len(history), np.bool_)
    values = history.values
    reads: NDArray[np.bool_] = (history.f == history.fs.index("read")) & (history.outcome == OK)
    reads &= (values.first == NIL) & np.isin(values.kind, (SCALAR, MISSING))
    return reads


def _strict(operations: list[Operation]) -> History:
    """The history of these operations. Raises `UsageError` for what the readers of files refuse."""
    for place, one in enumerate(operations):
        if not isinstance(one, Operation):
            raise UsageError(f"operation {place} is a {type(one).__name__}: it must be a splitbrain.Operation.")
        wrong = _complaint(one)
        if wrong:
            raise UsageError(f"operation {place} (process {one.process}, {one.f}): {wrong}.")
    try:
        history = History.of(operations)
    except OverflowError as error:
        raise UsageError("an operation has an integer of more than 64 bits outside of its value.") from error
    except RecursionError as error:
        place = next(at for at, one in enumerate(operations) if too_deep(one.value))
        raise UsageError(f"operation {place}: {TOO_DEEP} in its value.") from error
    overlap = first_overlap(history.process, history.invoked, history.completed)
    if overlap is not None:
        # A call that took no time is over before another that began at the same moment, whichever was told first.
        history = History.of(sorted(operations, key=lambda one: (one.invoked, one.completed is None, one.completed or 0)))
        overlap = first_overlap(history.process, history.invoked, history.completed)
    if overlap is not None:
        raise UsageError(f"operation {int(history.index[overlap[0]])}: {overlap[1]}.")
    return history


def _complaint(one: Operation) -> str:
    for name in ("process", "invoked", "completed"):
        told = getattr(one, name)
        if type(told) is not int and not (name == "completed" and told is None):
            return f"expected a whole number as {name}, found {told!r}"
    if one.outcome not in OUTCOMES:
        return f"expected the outcome ok, fail or info, found {one.outcome!r}"
    if type(one.f) is not str:
        return f"expected a word as f, the function, found {one.f!r}"
    if one.key is not None and type(one.key) is not int and type(one.key) is not str:
        return f"expected a number or a word as key, found {one.key!r}"
    if one.completed is not None and one.completed < one.invoked:
        return "it completes before the time at which it was invoked"
    return ""


def _told_apart(history: History) -> bool:
    """Whether all operations are transactions whose values tell who was read from. Where they repeat, a search may still find
    an order in which registers that are read and written together explain it; lists are judged as transactions alone."""
    lists = history.micros is not None and bool((history.micros.f == APPEND).any())
    return are_transactions(history) and (lists or not values_repeat(history))


def _of_transactions(
    history: History, levels: Sequence[Level], time_limit: float, spread: Elsewhere | None = None
) -> Checker:
    if not are_transactions(history):
        raise UsageError("isolation levels are of transactions: lists of [r key value], [w key value] and [append key value].")
    return Transactions(levels, time_limit, spread)


def _format(format: str | None) -> formats.Format | None:
    for known in formats.FORMATS:
        if known == format:
            return known
    if format is None:
        return None
    raise UsageError(f"no format is called '{format}': there are {', '.join(formats.FORMATS)}.")


def _meaning(nil: str | None) -> Nil | None:
    return "wildcard" if nil == "wildcard" else "absent" if nil == "absent" else None


# The history, as the model wants it.


def _with_nil(model: Model, history: History, nil: Nil) -> tuple[Model, History]:
    """The model, or a history without its reads of nil, in which these have the meaning `nil`."""
    if nil == "absent":
        return model, history
    if hasattr(model, "nil"):
        return replaced(model, {"nil": nil}), history
    empty = _nil_reads(history)
    return model, history.select(~empty) if empty.any() else history


def _show(value: Any) -> str:
    if value is None:
        return "nil"
    text = jsonl.encode_plain(value).decode()
    return text if len(text) <= 48 else f"{text[:30]} ... {text[-13:]}"
