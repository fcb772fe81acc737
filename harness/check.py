"""`splitbrain check FILE`: a history that another program recorded, its format, its model, and the verdict.

Jepsen's own `counter`, `set` and `set-full` checkers ask less than the models of these names here, which ask for
linearizability: they let a counter's read be any sum between what was acknowledged and what was attempted, look at the last
read of a set only, and let a read of a set be stale for a while. A history that these models hold valid is valid there;
a lost, duplicated or never added element is invalid in both.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np

from splitbrain.checkers import linearizability
from splitbrain.checkers.models.specifications import (
    MODELS,
    CasRegister,
    Model,
    Nil,
    ReentrantMutex,
    Register,
    Semaphore,
    UnorderedQueue,
)
from splitbrain.checkers.transactions.choose import are_transactions, levels_of
from splitbrain.checkers.transactions.lattice import LEVELS, Level
from splitbrain.checkers.verdict import Verdict
from splitbrain.harness.errors import SplitbrainError, UsageError
from splitbrain.harness.history import formats
from splitbrain.harness.history.formats import jsonl
from splitbrain.harness.history.history import OK, OUTCOMES, History
from splitbrain.harness.history.operation import Operation

TIME_LIMIT = 60.0
"""Seconds that a check may take, unless told otherwise."""

_PARAMETERS = {Register: "initial", CasRegister: "initial", ReentrantMutex: "depth", Semaphore: "permits"}
_ALIASES = {"etcd-register": "cas-register", "set-full": "set", "fifo-queue": "queue", "kv (unpartitioned)": "kv"}
_LATER = ("bank",)
_EXIT_CODES = {"valid": 0, "invalid": 1, "unknown": 2}


class CheckedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A judged file: how it was read, by which model and why, and the verdict.

    `operations` counts them by outcome, `keys` is the number of objects, `nil` what a read of nil was taken for, `timed`
    whether the times in the verdict are nanoseconds (else positions in the file).
    """

    path: str
    format: str
    model: str
    why: str
    nil: Nil
    timed: bool
    keys: int
    operations: dict[str, int]
    notes: tuple[str, ...]
    verdict: Verdict

    @property
    def exit_code(self) -> int:
        """0 valid, 1 an anomaly, 2 unknown."""
        return _EXIT_CODES[self.verdict.validity]


def check_file(
    path: Path,
    model: str | None = None,
    format: str | None = None,
    nil: str | None = None,
    time_limit: float = TIME_LIMIT,
    torn: bool = False,
) -> CheckedFile:
    """Judge the history in a file. What is None is found out; `time_limit` is in seconds.

    Raises `UsageError` for a file that cannot be read or a model that does not fit it.
    """
    if nil not in (None, *get_args(Nil)):
        raise UsageError(f"a read of nil is a 'wildcard' or 'absent', not '{nil}'.")
    levels = levels_of(model) if model else None
    chosen = model_of(model) if model and levels is None else None
    reading = formats.read(path, _format(format), torn)
    history = reading.history
    notes = list(reading.notes)
    meaning = _meaning(nil) or ("wildcard" if reading.format in ("edn", "elle-cli") else "absent")
    counts = {str(name): int(np.count_nonzero(history.outcome == code)) for code, name in enumerate(OUTCOMES)}
    keys = len(np.unique(history.key))
    if not len(history):
        verdict = Verdict(checker="linearizability", validity="unknown", reason="no operations: nothing is proven.")
        shown, why = model or "none", "the file holds no operations"
    elif levels is not None or (chosen is None and are_transactions(history)):
        shown, why = model or "transactions", "as told" if model else "every operation is a transaction"
        verdict = judge_transactions(history, levels or (), time_limit)
    else:
        history = _with_names(history, notes)
        if chosen is None:
            chosen, why = detect(history, knossos=reading.format == "edn" and meaning == "wildcard")
        else:
            why = "as told"
        history = _drained(history, chosen, notes)
        chosen, history = _with_nil(chosen, history, meaning, notes)
        shown = describe(chosen)
        verdict = judge(history, chosen, time_limit)
    return CheckedFile(
        path=str(path),
        format=reading.format,
        model=shown,
        why=why,
        nil=meaning,
        timed=history.timed,
        keys=keys,
        operations=counts,
        notes=tuple(notes),
        verdict=verdict,
    )


def check(
    operations: Iterable[Operation] | History,
    model: Model | str | None = None,
    *,
    nil: Nil = "absent",
    time_limit: float = TIME_LIMIT,
) -> Verdict:
    """Judge operations that somebody's own program recorded. `model` is a name such as `cas-register` or `cas-register:0`,
    a model of one's own, or None to choose it by the operations' names. `time_limit` is in seconds.

    Raises `UsageError` where the model does not fit the operations.
    """
    history = operations if isinstance(operations, History) else History.of(operations)
    if not len(history):
        return Verdict(checker="linearizability", validity="unknown", reason="no operations: nothing is proven.")
    levels = levels_of(model) if isinstance(model, str) else None
    if levels is not None or (model is None and are_transactions(history)):
        return judge_transactions(history, levels or (), time_limit)
    if model is None:
        model = detect(history)[0]
    chosen = model_of(model) if isinstance(model, str) else model
    chosen, history = _with_nil(chosen, history, nil, [])
    return judge(history, chosen, time_limit)


def judge(history: History, model: Model, time_limit: float) -> Verdict:
    """The verdict on a history; `unknown` where the checker itself fails."""
    try:
        return linearizability.check(history, model, time_limit=time_limit)
    except SplitbrainError:
        raise
    except Exception as error:
        return Verdict(
            checker="linearizability",
            validity="unknown",
            reason=f"the checker failed ({type(error).__name__}: {error}): please report it with the file.",
        )


def judge_transactions(history: History, levels: Sequence[Level], time_limit: float) -> Verdict:
    """The verdict on a history of transactions. Where values repeat, so that nobody knows who was read from, and no level was
    asked for, a search may still tell whether registers that are read and written together explain it.

    Raises `UsageError` where there are operations that are no transactions.
    """
    from splitbrain.checkers import transactions

    if not are_transactions(history):
        raise UsageError("isolation levels are of transactions: lists of [r key value], [w key value] or [append key value].")
    return transactions.check(history, levels, time_limit)


# The model: by its name, or found out.


def model_of(name: str) -> Model:
    """The model of that name; `cas-register:0` and `cas-register init 0` tell its initial value, `semaphore:3` its permits,
    `reentrant-mutex:2` its depth. Raises `UsageError` naming the nearest one."""
    if name in _LATER:
        raise UsageError(f"the model '{name}' is not judged yet: {', '.join(_LATER)} are to come.")
    name, _, parameter = name.strip().replace(" init ", ":").partition(":")
    name = _ALIASES.get(name, name)
    if name not in MODELS:
        near = difflib.get_close_matches(name, (*MODELS, *_ALIASES, *LEVELS), n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join((*sorted(MODELS), *LEVELS))}."
        raise UsageError(f"no model is called '{name}': {hint}")
    model = MODELS[name]()
    if not parameter:
        return model
    field = _PARAMETERS.get(MODELS[name])
    if field is None:
        raise UsageError(f"the model '{name}' takes no parameter ('{parameter}').")
    told = _parameter(parameter)
    if field != "initial" and not (isinstance(told, int) and told > 0):
        raise UsageError(f"the {field} of '{name}' is a number above 0, not '{parameter}'.")
    return _replaced(model, {field: told})


def describe(model: Model) -> str:
    """The name of a model with its parameter, as `model_of` takes it."""
    field = _PARAMETERS.get(type(model))
    value = getattr(model, field) if field else None
    return model.name if value is None else f"{model.name}:{value}"


def detect(history: History, *, knossos: bool = False) -> tuple[Model, str]:
    """The model that the names of the operations and the shapes of their values call for, and why. `knossos`: integer
    registers may start at 0, as in Knossos' own tests.

    Raises `UsageError` where there is none, or none yet.
    """
    fs = {history.fs[code] for code in np.unique(history.f).tolist()}
    names = ", ".join(sorted(fs))
    if "txn" in fs:
        raise UsageError("transactions beside other operations, or of other steps than r, w and append, are not judged.")
    if "transfer" in fs or (fs == {"read"} and any(type(value) is dict for value in _answers(history, "read"))):
        raise UsageError("bank accounts (transfer, and reads of all balances) are not judged yet.")
    if fs <= {"read", "write", "cas"}:
        register = CasRegister if "cas" in fs else Register
        if knossos and _sees_zero(history):
            return register(initial=0), f"operations {names}; 0 is read, and taken as the initial value"
        return register(), f"operations {names}"
    for known, name in (
        ({"acquire", "release"}, "mutex"),
        ({"enqueue", "dequeue"}, "queue"),
        ({"push", "pop"}, "stack"),
        ({"generate"}, "id-generator"),
        ({"get", "put", "append"}, "kv"),
        ({"add", "remove"}, "set"),
    ):
        if fs <= known and (name != "set" or "remove" in fs):
            return MODELS[name](), f"operations {names}"
    if fs <= {"enqueue", "dequeue", "drain"}:
        return UnorderedQueue(), f"operations {names}; what is drained comes in any order"
    if fs <= {"add", "remove", "read"}:
        counted = [type(value) is int for value in _answers(history, "read") if value is not None]
        if "remove" in fs or (counted and not any(counted)):
            return MODELS["set"](), f"operations {names}, and reads return many elements"
        if counted and all(counted):
            return MODELS["counter"](), f"operations {names}, and reads return one number"
        added = _answers(history, "add")
        if not counted and len(set(map(repr, added))) == len(added):
            return MODELS["set"](), f"operations {names}, and no value is added twice"
        if not counted and all(type(value) is int for value in added):
            return MODELS["counter"](), f"operations {names}, and values are added twice"
    raise UsageError(f"no model is found for the operations {names}: --model names one of {', '.join(sorted(MODELS))}.")


def _answers(history: History, f: str) -> list[Any]:
    if f not in history.fs:
        return []
    rows = np.flatnonzero((history.f == history.fs.index(f)) & (history.outcome == OK))
    return list(history.values.take(rows))


def _sees_zero(history: History) -> bool:
    """Whether an integer register is seen to hold 0, and never nothing."""
    seen = _answers(history, "read") + [value[0] for value in _answers(history, "cas") if type(value) is tuple and value]
    return 0 in seen and None not in [value[0] for value in _answers(history, "cas") if type(value) is tuple and value]


def _format(format: str | None) -> formats.Format | None:
    for known in formats.FORMATS:
        if known == format:
            return known
    if format is None:
        return None
    raise UsageError(f"no format is called '{format}': there are {', '.join(formats.FORMATS)}.")


def _meaning(nil: str | None) -> Nil | None:
    return "wildcard" if nil == "wildcard" else "absent" if nil == "absent" else None


def _parameter(text: str) -> int | str | None:
    if text in ("nil", "null", "none"):
        return None
    return int(text) if text.lstrip("-").isdecimal() and len(text) < 20 else text


def _replaced(model: Model, fields: dict[str, Any]) -> Model:
    return dataclasses.replace(model, **fields) if dataclasses.is_dataclass(model) else model


# The history, as the model wants it.


def _with_names(history: History, notes: list[str]) -> History:
    """`get` and `put` of anything but strings are the read and write of a register."""
    if set(history.fs) != {"get", "put"} or all(type(value) is str for value in _answers(history, "put")):
        return history
    renamed = history.select(np.arange(len(history)))
    renamed.fs = tuple({"get": "read", "put": "write"}[f] for f in history.fs)
    notes.append("get and put are the read and write of a register")
    return renamed


def _drained(history: History, model: Model, notes: list[str]) -> History:
    """A `drain` is as many dequeues at the same time as it returned elements."""
    if "drain" not in history.fs or "drain" in model.functions:
        return history
    operations = list(history)
    drains = [operation for operation in operations if operation.f == "drain" and operation.outcome != "fail"]
    for drain in drains:
        if drain.outcome != "ok" or type(drain.value) is not tuple:
            raise UsageError(f"operation {drain.index} is a drain without an answer, which no model judges.")
    if drains:
        notes.append(f"{len(drains)} drains judged as the dequeues of their elements")
    spread = [msgspec.structs.replace(one, f="dequeue", value=element) for one in drains for element in one.value]
    drained = History.of([*(one for one in operations if one.f != "drain"), *spread])
    drained.timed = history.timed
    return drained


def _with_nil(model: Model, history: History, nil: Nil, notes: list[str]) -> tuple[Model, History]:
    """The model, or a history without its reads of nil, in which these have the meaning `nil`."""
    if nil == "absent" or "read" not in history.fs:
        return model, history
    if hasattr(model, "nil"):
        return _replaced(model, {"nil": nil}), history
    reads = np.flatnonzero((history.f == history.fs.index("read")) & (history.outcome == OK))
    empty = reads[[value is None for value in history.values.take(reads)]] if len(reads) else reads
    if not len(empty):
        return model, history
    notes.append(f"{len(empty)} reads of nil left out, for they tell nothing")
    kept = np.ones(len(history), np.bool_)
    kept[empty] = False
    return model, history.select(kept)


# What people and programs read.


def render_json(checked: CheckedFile) -> str:
    """The judged file as a JSON object; the operations of an anomaly are lines that `check` takes back."""
    told = msgspec.structs.asdict(checked)
    told["exit_code"] = checked.exit_code
    return jsonl.encode_plain(told).decode()


_HEADINGS = {"valid": "LINEARIZABLE", "invalid": "NOT LINEARIZABLE", "unknown": "UNKNOWN"}


def render_text(checked: CheckedFile) -> str:
    """The judged file for people: the verdict with its reason first, then the evidence, then how it was read."""
    verdict = checked.verdict
    heading = _HEADINGS[verdict.validity]
    if verdict.standings and verdict.validity != "unknown":
        told = next(one for one in verdict.standings if one.state == ("holds" if verdict.validity == "valid" else "refuted"))
        heading = ("NOT " if verdict.validity == "invalid" else "") + told.model.upper().replace("-", " ")
    lines = [f"{heading}   {verdict.reason}"]
    for anomaly in verdict.anomalies:
        key = "" if anomaly.key is None else f"key {anomaly.key}: "
        lines += ["", f"  {anomaly.identifier}   {key}{anomaly.sentence}"]
        lines += [f"    {line}" for line in _table([_cells(operation, checked.timed) for operation in anomaly.operations])]
    if verdict.anomalies:
        lines.append("")
    many = sum(checked.operations.values())
    outcomes = ", ".join(f"{count:,} {name}" for name, count in checked.operations.items() if count)
    keys = f", {checked.keys:,} keys" if checked.keys > 1 else ""
    lines.append(f"file       {checked.path}: {checked.format}, {many:,} operations ({outcomes or 'none'}){keys}")
    lines.append(f"model      {checked.model}   {checked.why}")
    for state in ("holds", "refuted", "undecided") if len(verdict.standings) > 1 else ():
        models = [standing.model for standing in verdict.standings if standing.state == state]
        lines += [f"{state:<10} {', '.join(models)}"] if models else []
    meaning = "tells nothing (wildcard)" if checked.nil == "wildcard" else "found no value (absent)"
    lines.append(f"nil        a read of nil {meaning}")
    lines += [f"note       {note}" for note in checked.notes]
    lines += [f"limit      {limit}" for limit in verdict.limits]
    return "\n".join(lines)


def _cells(operation: Operation, timed: bool) -> tuple[str, ...]:
    end = "never" if operation.completed is None else _time(operation.completed, timed)
    why = f" ({operation.error})" if operation.error else ""
    return (
        f"process {operation.process}",
        f"{operation.f} {_show(operation.value)}",
        f"{_time(operation.invoked, timed)} to {end}",
        f"{operation.outcome}{why}",
        f"from {operation.server}" if operation.server else "",
    )


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _time(time: int, timed: bool) -> str:
    return f"{time / 1e9:,.6f} s" if timed else f"event {time}"


def _show(value: Any) -> str:
    if value is None:
        return "nil"
    text = jsonl.encode_plain(value).decode()
    return text if len(text) <= 48 else f"{text[:30]} ... {text[-13:]}"
