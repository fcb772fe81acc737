"""The matrix of a suite: plans in TOML.

Top-level keys of a plan are defaults; each `[[runs]]` table overrides them, and where it names a list for `database`,
`variant`, `workload`, `nemesis`, `nodes`, `testbed` or `fault`, every combination is run, `repeats` times each with seeds of
their own:

    time = 20
    repeats = 10
    retries = 1

    [[runs]]
    database = "redis"
    variant = ["sentinel", "sentinel-min-replicas"]
    nemesis = "partition-primary"
    expect = ["lost-write"]

A list of lengths (`fault = [1, 2, 4, 8]`) is a sweep: what it costs is told against how long the fault lasted. `time = "auto"`
(the default) gives each run the time that its faults need.

A run that proves nothing (`unknown`) is run again with another seed, `retries` times at most; what came of the attempts before
is told beside it.

Without a `seed` the seeds differ from day to day (UTC), so that a month of nights is a month of schedules; each run's folder
has its own.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from splitbrain.harness.errors import PlanError, UsageError, hint
from splitbrain.harness.options import kinds
from splitbrain.harness.plan import Plan
from splitbrain.harness.resolve import read_text, resolve
from splitbrain.harness.settings import line, parse, take

MATRIX = ("database", "variant", "workload", "nemesis", "nodes", "testbed", "fault")

SEEDS = 100_000
"""Seeds are whole numbers below this."""


class Planned(NamedTuple):
    """A run that a suite asks for, and how often it is run again where it proves nothing."""

    plan: Plan
    retries: int = 0


def read(file: Path) -> tuple[Planned, ...]:
    """The runs of a suite in their order. Raises `UsageError` naming the table and what is wrong with it."""
    text = read_text(file)
    given = parse(text, str(file))
    tables = given.pop("runs", None)
    if tables is None:
        instead = f" (one plan: splitbrain test --plan {file})" if "database" in given else ""
        raise UsageError(f"{file}: has no [[runs]] table: a suite needs at least one{instead}.")
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise UsageError(f"{file}:{line(text, ('runs',))}: runs must be tables, [[runs]] each.")
    planned: list[Planned] = []
    used: set[str] = set()
    for number, table in enumerate(tables, 1):
        try:
            for one in _planned(given | table):
                planned.append(one)
                used |= one.plan.options.keys()
        except PlanError as error:
            places = (("runs", number - 1, *error.keys), error.keys, ("runs", number - 1))
            place = next(found for keys in places if keys and (found := line(text, keys)))
            raise PlanError(error.keys, error.reason, place=f"{file}:{place}: [[runs]] number {number}: ") from error
        except UsageError as error:
            raise UsageError(f"{file}: [[runs]] number {number}: {error}") from error
    for keys, options in ((("options",), given.get("options")),
                          *((("runs", at, "options"), table.get("options")) for at, table in enumerate(tables))):
        if idle := sorted(set(options or {}) - used):
            place = line(text, (*keys, idle[0]))
            raise UsageError(f"{file}:{place}: [options.{idle[0]}]: no run has a workload or nemesis of that name with "
                             f"options: {hint(idle[0], sorted(used))}")
    return tuple(planned)


def _planned(fields: dict[str, Any]) -> Iterator[Planned]:
    """The runs of one table with the defaults of its suite. Raises `PlanError`."""
    fields = dict(fields)
    repeats, retries = _times(fields, "repeats", 1, 1000), _times(fields, "retries", 0, 10)
    seed = fields.pop("seed", int(f"{datetime.now(UTC):%Y%m%d}"))
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise PlanError(("seed",), f"seed is {seed!r}: it must be a whole number.")
    for combination in _combinations(fields):
        for repeat in range(repeats):
            own = zlib.crc32(repr((sorted(map(str, combination.items())), repeat)).encode()) % SEEDS
            yield Planned(resolve(_with_own_options(combination) | {"seed": (seed + own) % SEEDS}), retries)


def _times(fields: dict[str, Any], name: str, least: int, most: int) -> int:
    """How often, taken out of the fields; `least` without the key. Raises `PlanError`."""
    times = fields.pop(name, least)
    if not isinstance(times, int) or isinstance(times, bool) or not least <= times <= most:
        raise PlanError((name,), f"{name} is {times!r}: it must be a whole number from {least} to {most}.")
    return times


def _with_own_options(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of one run without the options that are for other runs of its suite."""
    if not isinstance(fields.get("options"), dict):
        return fields
    told = take(Plan, {name: fields[name] for name in ("workload", "nemesis", "schedule") if name in fields})
    known = kinds(Plan(database="", variant="", **told))
    return fields | {"options": {name: table for name, table in fields["options"].items() if name in known}}


def _combinations(fields: dict[str, Any]) -> Iterator[dict[str, Any]]:
    lists = {name: value if isinstance(value, list) else [value] for name, value in fields.items() if name in MATRIX}
    for values in itertools.product(*lists.values()):
        yield fields | dict(zip(lists, values, strict=True))
