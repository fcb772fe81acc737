"""Settings: what a key of a plan is, said once. Its reading, its bounds, its flag with `--help`, and the comment over it in a
plan that is shown all come from here.

A key is a field of a frozen struct (`Plan`, or the `Options` of a workload or a nemesis), annotated with a `Setting`.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from functools import cache
from types import NoneType
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import msgspec

from splitbrain.harness.errors import PlanError, UsageError, hint

Keys = tuple[str | int, ...]
"""The way to a value in a TOML file: the names of tables and of the key, and places in arrays, from 0."""

SECOND = "seconds"
"""The unit of lengths of time, which are also read as people write them: "20s", "1m30s", "500ms"."""

_PLAIN: Mapping[Any, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", dict: "tables"}
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_LENGTH = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")


class Setting(msgspec.Struct, frozen=True):
    """What a key means, in a sentence or two; its unit; its bounds, both included; the word for 0 where 0 is no number of that
    kind (a load of no length); what its default is where that is not one value; its flag (None: `--` and its name, empty: it
    has none); of an option, the key of the plan whose value it has where a person tells that and not this (`follows`)."""

    help: str
    unit: str = ""
    low: float = 0.0
    high: float = math.inf
    zero: str = ""
    default: str = ""
    flag: str | None = None
    follows: str = ""


class Key(NamedTuple):
    """One key of a struct: its name, what is known of it, its type and its default (`msgspec.NODEFAULT` where it has none)."""

    name: str
    setting: Setting
    kind: Any
    default: Any

    @property
    def flag(self) -> str:
        """Its flag, empty where it has none."""
        return f"--{self.name.replace('_', '-')}" if self.setting.flag is None else self.setting.flag

    def take(self, value: Any) -> Any:
        """The value as the key's type, from a TOML file, a flag or Python. Raises `PlanError` in the words of a plan."""
        try:
            return _take(self, value)
        except PlanError as error:
            raise PlanError((self.name, *error.keys), error.reason) from error

    def told(self, value: Any) -> Any:
        """The value as a plan writes it: the word for 0, where there is one."""
        return self.setting.zero if self.setting.zero and value == 0 else msgspec.to_builtins(value)

    def describe(self) -> str:
        """What it means, and in brackets what may be written and its default."""
        bounds = _bounds(self)
        told = [bounds + (f', or "{self.setting.zero}"' if self.setting.zero else "")] if bounds else []
        if get_origin(self.kind) is Literal:
            told.append(", ".join(map(str, get_args(self.kind))))
        usual = "" if self.default in (msgspec.NODEFAULT, "", (), {}) else _text(self.told(self.default))
        default = self.setting.default or usual
        if default:
            told.append(f"default {default}")
        return self.setting.help + (f" ({'; '.join(told)})" if told else "")


@cache
def keys(struct: type[msgspec.Struct]) -> Mapping[str, Key]:
    """The keys of a struct by name, in their order."""
    hints = get_type_hints(struct, include_extras=True)
    found = {}
    for field in msgspec.structs.fields(struct):
        kind, *extras = get_args(hints[field.name]) if hasattr(hints[field.name], "__metadata__") else (hints[field.name],)
        setting = next((extra for extra in extras if isinstance(extra, Setting)), Setting("", low=-math.inf))
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        found[field.name] = Key(field.name, setting, kind, default)
    return found


def take(struct: type[msgspec.Struct], given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a table, each as its key's type. Raises `PlanError` for a key that there is not, with the nearest one, and
    for a value that cannot be."""
    known = keys(struct)
    for name in given:
        if name not in known:
            raise PlanError((name,), f"unknown key '{name}': {hint(name, known)}")
    return {name: known[name].take(value) for name, value in given.items()}


def seconds(text: str) -> float | None:
    """`90`, `20s`, `1m30s`, `1.5h`, `500ms` in seconds; None for what is no length of time."""
    told = text.strip().lower().replace(" ", "")
    try:
        return float(told)
    except ValueError:
        found = _LENGTH.fullmatch(told)
    if not told or found is None:
        return None
    return sum(float(part) * unit for part, unit in zip(found.groups(), _UNITS.values(), strict=True) if part)


def line(text: str, keys: Keys) -> int:
    """The line of a TOML text, from 1, in which that value begins; 0 where the text does not have it.

    A statement ends at the first line with which the text so far is TOML again; so no TOML is parsed here but by its parser.
    """
    lines = text.splitlines(keepends=True)
    began = 1
    for number in range(1, len(lines) + 1):
        try:
            found: Any = tomllib.loads("".join(lines[:number]))
        except tomllib.TOMLDecodeError:
            continue
        try:
            for key in keys:
                found = found[key]
        except (KeyError, IndexError, TypeError):
            began = number + 1
            continue
        return began
    return 0


def parse(text: str, file: str) -> dict[str, Any]:
    """A TOML text. Raises `UsageError` naming file, line and column of what is none."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        said = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", str(error))
        place = f":{said[2]}:{said[3]}" if said and said[2] else ""
        where = " at the end of the file" if said and not said[2] else ""
        raise UsageError(f"{file}{place}: not TOML: {said[1] if said else error}{where}.") from error


def _take(key: Key, value: Any) -> Any:
    kind: Any = dict if get_origin(key.kind) is dict else key.kind
    setting = key.setting
    if setting.zero and value == setting.zero:
        return 0 if kind is int else 0.0
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise PlanError((), f"{key.name} is {_text(value)}: {hint(str(value), map(str, get_args(kind)))}")
        return value
    if get_origin(kind) is tuple:
        return _items(key, value)
    if kind is float and setting.unit == SECOND and isinstance(value, str):
        value = value if (length := seconds(value)) is None else length
    right = isinstance(value, int | float if kind is float else kind) and (kind is bool or not isinstance(value, bool))
    if not right:
        raise PlanError((), f"{key.name} is {_text(value)}: it must be {_shape(key)}.")
    if kind not in (int, float):
        return value
    if value == 0 and setting.zero:
        raise PlanError((), f'{key.name} is 0: it must be more than that, or "{setting.zero}".')
    if not setting.low <= value <= setting.high:
        raise PlanError((), f"{key.name} is {value:,g}: it must be {_bounds(key)}.")
    return kind(value)


def _items(key: Key, value: Any) -> tuple[Any, ...]:
    one = get_args(key.kind)[0]
    if one is str and isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        raise PlanError((), f"{key.name} is {_text(value)}: it must be {_shape(key)}.")
    items = []
    for number, item in enumerate(value):
        inner = Key(f"{key.name} number {number + 1}", Setting("", low=-math.inf), one, msgspec.NODEFAULT)
        if isinstance(one, type) and issubclass(one, msgspec.Struct):
            if isinstance(item, one):
                items.append(item)
                continue
            if not isinstance(item, Mapping):
                raise PlanError((number,), f"{inner.name} is {_text(item)}: it must be a table.")
            try:
                fields = take(one, item)
                if missing := [name for name, known in keys(one).items()
                               if known.default is msgspec.NODEFAULT and name not in fields]:
                    raise PlanError((), f"it lacks '{missing[0]}'.")
            except PlanError as error:
                raise PlanError((number, *error.keys), f"{inner.name}: {error.reason}") from error
            items.append(one(**fields))
        elif one in (str, int, float):
            try:
                items.append(_take(inner, item))
            except PlanError as error:
                raise PlanError((number,), error.reason) from error
        else:
            items.append(_tagged(inner, number, item))
    return tuple(items)


def _tagged(key: Key, number: int, item: Any) -> Any:
    """A table whose `type` says which of several structs it is."""
    kinds = {str(kind.__struct_config__.tag): kind for kind in get_args(key.kind)}
    if isinstance(item, Mapping):
        if "type" not in item:
            raise PlanError((number,), f"{key.name}: it lacks 'type': {hint('', kinds)}")
        if (tag := item["type"]) not in list(kinds):
            raise PlanError((number, "type"), f"{key.name}: type is {_text(tag)}: {hint(str(tag), kinds)}")
        known = [field.name for field in msgspec.structs.fields(kinds[tag])]
        for name in item:
            if name not in ("type", *known):
                raise PlanError((number, name), f"{key.name}: unknown key '{name}': {hint(name, known)}")
    try:
        return msgspec.convert(item, key.kind)
    except msgspec.ValidationError as error:
        raise PlanError((number,), f"{key.name} cannot be taken: {error}.") from error


def _shape(key: Key) -> str:
    kind = dict if get_origin(key.kind) is dict else key.kind
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    if get_origin(kind) is tuple:
        return "a list of texts" if get_args(kind)[0] is str else "a list"
    word = f', or "{key.setting.zero}"' if key.setting.zero else ""
    if kind is float and key.setting.unit == SECOND:
        return f'a length of time: seconds, "20s", "1m30s"{word}'
    return _PLAIN.get(kind, "a value") + word


def _bounds(key: Key) -> str:
    low, high = key.setting.low, key.setting.high
    if key.kind not in (int, float) or low == -math.inf:
        return ""
    unit = f" {key.setting.unit}" if key.setting.unit else ""
    least = "more than 0" if key.setting.zero else f"from {low:,g}" if high < math.inf else f"at least {low:,g}"
    return f"{least} to {high:,g}{unit}" if high < math.inf else f"{least}{unit}"


def _text(value: Any) -> str:
    """The value as TOML would have it, near enough, and not too long."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:,g}" if isinstance(value, float) else f"{value:,}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"[:80]
    if isinstance(value, NoneType):
        return "nothing"
    if isinstance(value, str):
        return f'"{value}"'[:80]
    return "a table" if isinstance(value, Mapping) else f"a {type(value).__name__}"
