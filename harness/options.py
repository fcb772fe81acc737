"""The options of a plan: which tables it may have, and what differs from their defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from splitbrain.harness import registry, settings
from splitbrain.harness.errors import PlanError, UsageError, hint
from splitbrain.harness.plan import OptionTable, Plan, options_of


def kinds(plan: Plan) -> dict[str, type[Any]]:
    """The classes of a plan's workload and nemeses that have options, by their tables' names. Raises `UsageError` for two of
    one name."""
    found: dict[str, type[Any]] = {}
    named = [name for fault in plan.schedule if (name := fault.nemesis)] if plan.schedule else [plan.nemesis]
    nemeses = [kind for name in named for _, kind, _ in registry.nemeses(name)]
    for kind in (registry.look_up("workloads", plan.workload), *nemeses):
        check_kind(kind)
        if kind.Options is not OptionTable and found.setdefault(kind.name, kind) is not kind:
            raise UsageError(f"workload and nemesis are both called '{kind.name}': [options.{kind.name}] would be both's.")
    return found


def fill(plan: Plan, tables: Mapping[str, Any]) -> Plan:
    """The plan with the options that the tables tell, and the defaults of all others. Raises `PlanError`."""
    known = kinds(plan)
    full: dict[str, dict[str, Any]] = {}
    for name, table in tables.items():
        if name not in known:
            raise PlanError(("options", name), f"[options.{name}]: the plan has no workload or nemesis of that name with "
                                               f"options: {hint(name, list(known))}")
        if not isinstance(table, Mapping):
            raise PlanError(("options", name), f"options.{name} must be a table, [options.{name}].")
    for name, kind in known.items():
        try:
            told = settings.take(kind.Options, tables.get(name, {}))
        except PlanError as error:
            raise PlanError(("options", name, *error.keys), f"[options.{name}]: {error.reason}") from error
        try:
            full[name] = msgspec.to_builtins(options_of(kind, {name: msgspec.to_builtins(told)}))
        except msgspec.ValidationError as error:
            raise PlanError(("options", name), f"[options.{name}]: {error}.") from error
    return msgspec.structs.replace(plan, options=full)


def changed(plan: Plan) -> dict[str, dict[str, Any]]:
    """The options that are not the defaults; all of those whose class is not here any more."""
    try:
        known = kinds(plan)
    except UsageError:
        known = {}
    found = {}
    for name, table in plan.options.items():
        defaults = msgspec.to_builtins(known[name].Options()) if name in known else {}
        found[name] = {key: value for key, value in table.items() if key not in defaults or defaults[key] != value}
    return {name: table for name, table in found.items() if table}


def check_kind(kind: type[Any]) -> None:
    """Refuse options that cannot be set. Raises `UsageError`."""
    options = kind.Options
    if not (isinstance(options, type) and issubclass(options, OptionTable)):
        raise UsageError(f"class {kind.__name__}: Options is no subclass of splitbrain.OptionTable.")
    if needed := [name for name, key in settings.keys(options).items() if key.default is msgspec.NODEFAULT]:
        raise UsageError(f"class {kind.__name__}: the option '{needed[0]}' has no default.")
    for name, key in settings.keys(options).items():
        try:
            msgspec.to_builtins(key.default)
        except TypeError as error:
            raise UsageError(f"class {kind.__name__}: the default of the option '{name}' cannot be written into a plan: "
                             f"a {type(key.default).__name__}.") from error
