"""The model of objects that a history of others calls for: told by name, or found out by its operations."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from splitbrain.checkers import sessions
from splitbrain.checkers.models.specifications import (
    MODELS,
    CasRegister,
    FencedLock,
    Model,
    MultiRegister,
    ReentrantMutex,
    Register,
    Semaphore,
    UnorderedQueue,
)
from splitbrain.checkers.structures import choose as structures
from splitbrain.checkers.transactions.lattice import LEVELS
from splitbrain.harness.errors import UsageError, hint
from splitbrain.harness.history.history import History
from splitbrain.harness.history.meaning import answers, fenced
from splitbrain.harness.history.micros import WRITE
from splitbrain.harness.history.shapes import Shapes
from splitbrain.harness.history.values import Tagged, canonical

_PARAMETERS = {
    Register: "initial", CasRegister: "initial", MultiRegister: "before", ReentrantMutex: "depth", Semaphore: "permits",
}
_INITIAL = ("initial", "before")
_ALIASES = {"etcd-register": "cas-register", "fifo-queue": "queue", "kv (unpartitioned)": "kv"}


def model_of(name: str) -> Model:
    """The model of that name; `cas-register:0` and `cas-register init 0` tell its initial value, `semaphore:3` its permits,
    `reentrant-mutex:2` its depth. Raises `UsageError` naming the nearest one."""
    name, _, parameter = name.strip().replace(" init ", ":").partition(":")
    name = _ALIASES.get(name, name)
    if name not in MODELS:
        known = sorted({*MODELS, *_ALIASES, *LEVELS, *sessions.MODELS, *structures.names()})
        raise UsageError(f"no model is called '{name}': {hint(name, known)}")
    model = MODELS[name]()
    if not parameter:
        return model
    field = _PARAMETERS.get(MODELS[name])
    if field is None:
        raise UsageError(f"the model '{name}' takes no parameter ('{parameter}').")
    told = parameter_of(parameter)
    if field in _INITIAL:
        return beginning_with(model, told)
    if not (isinstance(told, int) and told > 0):
        raise UsageError(f"the {field} of '{name}' is a number above 0, not '{parameter}'.")
    return replaced(model, {field: told})


def has_initial(model: Model) -> bool:
    """Whether it begins with a value that can be told."""
    return _PARAMETERS.get(type(model)) in _INITIAL


def tells_initial(name: str) -> bool:
    """Whether the name of a model tells its parameter."""
    return ":" in name or " init " in name


def describe(model: Model) -> str:
    """The name of a model with its parameter, as `model_of` takes it."""
    field = _PARAMETERS.get(type(model))
    value = getattr(model, field) if field else None
    if isinstance(value, Tagged) and value.kind == "bool":
        value = "true" if value.content else "false"
    return model.name if value is None else f"{model.name}:{value}"


def detect(history: History, shapes: Shapes | None = None) -> tuple[Model, str]:
    """The model that the names of the operations and the `shapes` of their values call for, and why.

    Raises `UsageError` where there is none, or none yet.
    """
    fs = {history.fs[code] for code in np.unique(history.f).tolist()}
    names = ", ".join(sorted(fs))
    micros = history.micros
    if fs == {"txn"} and micros is not None and (micros.f <= WRITE).all():
        return MultiRegister(), "transactions that read and write registers"
    if "txn" in fs:
        raise UsageError("transactions beside other operations, or of other steps than r, w and append, are not judged.")
    if fs == {"read"} and any(type(value) is dict for value in answers(history, "read")):
        raise UsageError("reads of maps alone may be of a bank's accounts: --model bank says so, or names another model.")
    if fs <= {"read", "write", "cas"}:
        return (CasRegister if "cas" in fs else Register)(), f"operations {names}"
    if fs <= {"acquire", "release"} and fenced(history, shapes or Shapes()):
        return FencedLock(), f"operations {names}, and an answer is a fence"
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
        counted = [type(value) is int for value in answers(history, "read") if value is not None]
        if "remove" in fs or (counted and not any(counted)):
            return MODELS["set"](), f"operations {names}, and reads return many elements"
        if counted and all(counted):
            return MODELS["counter"](), f"operations {names}, and reads return one number"
        added = answers(history, "add")
        if not counted and len(set(map(repr, added))) == len(added):
            return MODELS["set"](), f"operations {names}, and no value is added twice"
        if not counted and all(type(value) is int for value in added):
            return MODELS["counter"](), f"operations {names}, and values are added twice"
    raise UsageError(f"no model is found for the operations {names}: --model names one of {', '.join(sorted(MODELS))}.")


def beginning_with(model: Model, value: Any) -> Model:
    """The model of registers that hold `value` at first. Raises `UsageError` for one that has none."""
    field = _PARAMETERS.get(type(model))
    if field not in _INITIAL:
        raise UsageError(f"the model '{model.name}' has no initial value to be told.")
    return replaced(model, {field: canonical(value)})


def parameter_of(text: str) -> int | str | bool | None:
    """The value that a parameter's text stands for: nil, true, false, a number, or a word, in quotes or not."""
    if text in ("nil", "null", "none"):
        return None
    if text in ("true", "false"):
        return text == "true"
    if len(text) > 1 and text[0] == text[-1] == '"':
        return text[1:-1]
    return int(text) if text.lstrip("-").isdecimal() and len(text) < 20 else text


def replaced(model: Model, fields: dict[str, Any]) -> Model:
    """The model with other parameters."""
    return dataclasses.replace(model, **fields) if dataclasses.is_dataclass(model) else model
