"""A plan as a file that people read and edit: TOML, and over each key what it means. `--plan` takes it back as it is."""

from __future__ import annotations

import textwrap
from typing import Any

import msgspec
import tomli_w

from splitbrain.harness import options, settings
from splitbrain.harness.errors import UsageError
from splitbrain.harness.plan import OptionTable, Plan, ScriptedFault

WIDTH = 100

_HEAD = """A plan of splitbrain. To run it: splitbrain test --plan THIS-FILE; flags win over it. A key that is left out has its
default. Lengths of time are seconds, or as in "20s" and "1m30s"."""


def written(plan: Plan) -> str:
    """The plan in TOML: every key with what it means, its bounds and its default, then its schedule and its options."""
    parts = [_comment(_HEAD)]
    keys = settings.keys(Plan)
    for name, key in keys.items():
        if name not in ("schedule", "options"):
            parts.append(_entry(key, getattr(plan, name)))
    schedule = _comment(keys["schedule"].describe())
    for name, key in settings.keys(ScriptedFault).items():
        schedule += "\n" + textwrap.fill(f"{name}: {key.describe()}", WIDTH, initial_indent="#   ", subsequent_indent="#     ")
    for fault in plan.schedule:
        schedule += "\n\n" + _scripted(fault)
    parts.append(schedule)
    parts.append(_comment(keys["options"].describe()))
    for name, table in plan.options.items():
        parts.append(_table(plan, name, table))
    return "\n\n".join(parts) + "\n"


def _table(plan: Plan, name: str, table: dict[str, Any]) -> str:
    try:
        known = settings.keys(options.kinds(plan)[name].Options)
    except (UsageError, KeyError):
        known = settings.keys(OptionTable)  # The class is not here any more.
    head = tomli_w.dumps({"options": {name: {}}}).strip()
    entries = [_entry(known[key], value) if key in known else tomli_w.dumps({key: value}).strip()
               for key, value in table.items()]
    return "\n\n".join((head, *entries))


def _entry(key: settings.Key, value: Any) -> str:
    return f"{_comment(key.describe())}\n{tomli_w.dumps({key.name: key.told(value)}).strip()}"


def _scripted(fault: ScriptedFault) -> str:
    """A table of its own for a scripted fault, without what is the default anyway."""
    told = {name: value for name, value in msgspec.to_builtins(fault).items()
            if name in ("at", "duration") or value not in ("", [], "due", 0)}
    for spec in told.get("specs", ()):
        for name in [name for name, value in spec.items() if value is None]:  # TOML has no word for nothing.
            del spec[name]
    table = tomli_w.dumps({"schedule": [told]}).strip()
    if table.startswith("[["):
        return table
    return "\n".join(("[[schedule]]", *(tomli_w.dumps({name: value}).strip() for name, value in told.items())))


def _comment(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False,
                         break_long_words=False)
