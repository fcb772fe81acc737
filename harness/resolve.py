"""From defaults, a TOML file and flags to a plan that can be run; what cannot is refused before anything starts."""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import random
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from splitbrain.checkers.anomalies import ANOMALIES
from splitbrain.checkers.expectations import parse as parse_expectation
from splitbrain.harness import registry, schedules
from splitbrain.harness.databases.database import Database
from splitbrain.harness.errors import SetupError, UsageError
from splitbrain.harness.history.variant import Variant
from splitbrain.harness.plan import FORMAT, Plan
from splitbrain.harness.servers import find_program, is_program
from splitbrain.workloads.workload import Workload

RTO_MAX = Path("/proc/sys/net/ipv4/tcp_rto_max_ms")
"""Where the kernel offers it (Linux 6.15), a connection is tried again within a second of a heal, and not up to 6 s later:
what is measured is the database's recovery, not the kernel's. The plan that is kept says so, and 0 asks for the kernel's."""


def resolve(flags: Mapping[str, Any], file: Path | None = None) -> Plan:
    """The plan that defaults, a TOML file and flags make together, later ones winning; checked.

    `flags` maps fields of Plan to values; None is "not given". Raises `UsageError` naming the field, the reason and the
    mend for an unknown key, an impossible number or combination, and a plan from a newer version.
    """
    given: dict[str, Any] = {}
    place = ""
    if file is not None:
        place = f"{file}: "
        given |= _read(file)
    given |= {name: value for name, value in flags.items() if value is not None}
    if "database" not in given:
        raise UsageError(f"{place}names no database: splitbrain test DATABASE.")
    given |= {name: _whole(given[name]) for name in ("database", "workload", "nemesis", "checkers") if name in given}
    database: type[Database] = registry.look_up("databases", str(given["database"]))
    variants = [variant.name for variant in database.variants]
    given.setdefault("variant", variants[0])
    if RTO_MAX.exists():
        given.setdefault("tcp_rto_max_ms", 1000)
    given.setdefault("seed", random.SystemRandom().randrange(100_000))
    if given["variant"] not in variants:
        raise UsageError(f"{place}{given['database']} has no variant '{given['variant']}': {_near(given['variant'], variants)}")
    variant = next(variant for variant in database.variants if variant.name == given["variant"])
    given.setdefault("nodes", variant.nodes or database.default_nodes)
    given.setdefault("timeout", database.default_timeout)
    if variant.keys:
        given.setdefault("keys", variant.keys)
    try:
        plan = msgspec.convert(given, Plan)
    except msgspec.ValidationError as error:
        raise UsageError(f"{place}{error}.") from None
    check(plan)
    return plan


def _whole(name: Any) -> Any:
    """The name of a file as a path that is the same from every folder, any other name as it is: a kept plan is judged again
    wherever one stands."""
    if isinstance(name, list | tuple):
        return [_whole(one) for one in name]
    if not isinstance(name, str) or not registry.is_path(name):
        return name
    if "+" in name and not Path(name).is_file():  # a combination of nemeses
        return "+".join(_whole(one) for one in name.split("+"))
    file, colon, scenario = name.partition(":")  # one scenario of a nemesis
    return str(Path(file if Path(file).is_file() else name).resolve()) + (colon + scenario if Path(file).is_file() else "")


def _read(file: Path) -> dict[str, Any]:
    try:
        given = tomllib.loads(file.read_text())
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: not TOML: {error}.") from None
    format = given.get("format", FORMAT)
    if isinstance(format, int) and format > FORMAT:
        raise UsageError(f"{file}: a plan of format {format}, newer than this splitbrain reads ({FORMAT}): update splitbrain.")
    for key in given:
        if key not in Plan.__struct_fields__:
            raise UsageError(f"{file}: unknown key '{key}': {_near(key, Plan.__struct_fields__)}")
    return given


def check(plan: Plan) -> None:
    """Refuse what cannot be run, before anything starts. Raises `UsageError`."""
    database: type[Database] = registry.look_up("databases", plan.database)
    check_database(database, plan.database)
    variant = next(variant for variant in database.variants if variant.name == plan.variant)
    workload: type[Workload] = registry.look_up("workloads", plan.workload)
    registry.look_up("testbeds", plan.testbed)(plan, "", Path())  # It refuses what it cannot do.
    for name in plan.checkers:
        registry.look_up("checkers", name)
    for field, low, high in _BOUNDS:
        value = getattr(plan, field)
        if not low <= value <= high:
            raise UsageError(f"{field} is {value:g}: it must be from {low:g} to {high:g}.")
    if missing := workload.needs - variant.offers:
        raise UsageError(
            f"workload '{plan.workload}' needs {', '.join(sorted(missing))}, which {plan.database} {plan.variant} does not "
            f"offer (it offers {', '.join(sorted(variant.offers))})."
        )
    schedules.check(plan)
    _check_binary(plan.binary, [program.name for program in database.programs])
    for expectation in plan.expect:
        parse_expectation(expectation)


def check_database(database: type[Database], name: str) -> None:
    """Refuse a class that breaks the contract of `Database` in a way that would show only in the middle of a run, or after it.
    Raises `UsageError` naming the class and what is wrong with it."""
    where = f"{name}: class {database.__name__}"
    if missing := sorted(getattr(database, "__abstractmethods__", ())):
        raise UsageError(f"{where} lacks {', '.join(missing)}: see splitbrain.Database.")
    for method in ("start", "ready", "connect", "primary", "primaries", "local_read", "versions", "close"):
        if not inspect.iscoroutinefunction(getattr(database, method, None)):
            raise UsageError(f"{where}: {method} is no coroutine: write 'async def {method}'.")
    for variant in database.variants:
        try:
            msgspec.convert(msgspec.to_builtins(variant), Variant)
        except (msgspec.ValidationError, TypeError, AttributeError) as error:
            raise UsageError(f"{where}: variant {getattr(variant, 'name', variant)!r}: {error}.") from error
        if unknown := [admitted for admitted in variant.claim.admits if admitted not in ANOMALIES]:
            raise UsageError(f"{where}: variant '{variant.name}' admits '{unknown[0]}', which is no anomaly: "
                             f"{_near(unknown[0], list(ANOMALIES))}")


def _check_binary(binary: str, programs: Sequence[str]) -> None:
    path = Path(binary).expanduser()
    if not binary or path.is_dir():
        return
    if not path.exists():
        raise UsageError(f"binary '{binary}' does not exist.")
    if not any(is_program(path, program) for program in programs):
        raise UsageError(
            f"binary '{binary}' is none of this database's programs ({', '.join(programs)}), by its name: name one of them, or "
            "the folder that holds them."
        )


def check_machine(plan: Plan) -> None:
    """Refuse a plan whose driver or server this machine lacks, before a folder is made for it. Raises `SetupError` with the
    command that mends it."""
    database: type[Database] = registry.look_up("databases", plan.database)
    for module in database.modules:
        if importlib.util.find_spec(module) is None:
            raise SetupError(
                f"{plan.database} needs the Python module {module}: pip install 'splitbrain[{database.driver}]'."
            )
    if plan.testbed == "namespaces" and not plan.binary:
        for program in database.programs:
            if find_program(program.name) is None:
                raise SetupError(f"the program {program.name} is not on this machine: {program.mend}")


_BOUNDS: tuple[tuple[str, float, float], ...] = (
    ("nodes", 1, 15),
    ("time", 0, 86_400),
    ("rate", 0, 100_000),
    ("concurrency", 1, 200),
    ("timeout", 0.05, 60),
    ("think", 0, 60),
    ("baseline", 0, 3600),
    ("fault", 0.5, 3600),
    ("between", 0, 3600),
    ("settle", 0, 3600),
    ("keys", 1, 100_000),
    ("tcp_rto_max_ms", 0, 120_000),
)


def _near(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(known)}."
