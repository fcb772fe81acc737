"""From defaults, a TOML file and flags to a plan that can be run; what cannot is refused before anything starts."""

from __future__ import annotations

import importlib.util
import inspect
import math
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from splitbrain.checkers.anomalies import ANOMALIES
from splitbrain.checkers.expectations import parse as parse_expectation
from splitbrain.harness import options, registry, schedules
from splitbrain.harness.databases.database import Database, Program
from splitbrain.harness.databases.membership import Membership
from splitbrain.harness.errors import PlanError, SetupError, UsageError, hint
from splitbrain.harness.history.journal import load
from splitbrain.harness.history.variant import Capability, Variant
from splitbrain.harness.plan import FORMAT, Plan, usual_rto_max
from splitbrain.harness.rehearsal import named, rehearse
from splitbrain.harness.servers import binary, is_program
from splitbrain.harness.settings import Keys, keys, line, parse, take
from splitbrain.harness.store import Run, find
from splitbrain.harness.testbeds import attach_containers, ssh_inventory
from splitbrain.harness.testbeds.testbed import DEEDS, Wanted
from splitbrain.nemeses.combination import WIPE
from splitbrain.workloads.workload import Workload

_NAMED: tuple[tuple[registry.Group, str], ...] = (("workloads", "workload"), ("testbeds", "testbed"))

_ATTRIBUTES: tuple[tuple[str, Any, str], ...] = (
    ("name", str, "a text"), ("driver", str, "a text"), ("port", int, "a whole number"),
    ("starting", Annotated[float, msgspec.Meta(gt=0, le=3600)], "a number of seconds, of up to 3,600"),
    ("modules", tuple[str, ...], "a tuple of texts"), ("programs", tuple[Program, ...], "a tuple of splitbrain.Program"),
)
"""What a database's class has to have besides its methods and variants: attribute, type, and the type in words."""

_UNSCRIPTED = ("nemesis", "pace", "baseline", "fault")
"""Keys that say nothing where a plan has a schedule."""

_AWAY = frozenset({"cut", "end", "pause", "fill", "unplug"})
"""What takes a node away from the others."""


def resolve(flags: Mapping[str, Any], file: Path | None = None, replay: Path | None = None) -> Plan:
    """The plan that defaults, a TOML file and flags make together, later ones winning; checked.

    `flags` maps keys of a plan to values; None is "not given". `replay` is the folder of a run, whose plan stands for the
    file and whose faults, with the very targets that they had, for a schedule. Raises `UsageError` with the file and the
    line, the reason and the mend for an unknown key, an impossible value or combination, and a plan from a newer version; what
    a flag tells is no fault of the file, which is not named then.
    """
    told = {name: value for name, value in flags.items() if value is not None}
    repeats: dict[str, Any] = {}
    if replay is not None:
        if file is not None:
            raise UsageError("--replay RUN has the plan of that run: leave --plan out.")
        if idle := [name for name in _UNSCRIPTED if name in told]:
            raise UsageError(f"{idle[0]} would change nothing: --replay repeats the faults of {replay}.")
        run = find(replay)
        file, repeats = run.plan, repeated(run)
        if told.get("inventory") or told.get("containers"):
            repeats["tcp_rto_max_ms"] = "kernel"  # The run's own was set in a network that we made.
    if file is None:
        return _plan({}, told)
    text = read_text(file)
    given = parse(text, str(file))
    if "runs" in given:
        raise UsageError(f"{file}: this is a suite, of many plans: splitbrain suite {file}")
    try:
        return _plan(given, repeats | told)
    except PlanError as error:
        if error.keys and _is_told(told, error.keys):
            raise
        number = line(text, error.keys) if error.keys and not _is_told(repeats, error.keys) else 0
        raise PlanError(error.keys, error.reason, place=f"{file}:{number}: " if number else f"{file}: ") from error


def repeated(run: Run) -> dict[str, Any]:
    """What a plan has to say to repeat the faults of a run: its schedule, and a load that is long enough for it. Raises
    `UsageError` where there were none, `HistoryError` where the journal cannot be read."""
    header, recording = load(run.journal)
    script = tuple(schedules.replay(recording).values())
    if header is None or not script:
        raise UsageError(f"{run.folder}: no fault was done in that run, so that there is nothing to repeat.")
    ends = max(fault.at + fault.duration for fault in script)
    return {"schedule": script, "time": max(schedules.length(header.plan), math.ceil(ends))}


def read_text(file: Path) -> str:
    """The text of a file in TOML. Raises `UsageError`."""
    try:
        return file.read_text()
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: not TOML: byte {error.start + 1} is no UTF-8.") from error


def _is_told(flags: Mapping[str, Any], keys: Keys) -> bool:
    """Whether a flag has that value, and not the file."""
    found: Any = flags
    for key in keys:
        if not isinstance(found, Mapping):
            return True
        if key not in found:
            return False
        found = found[key]
    return True


def _plan(file: Mapping[str, Any], flags: Mapping[str, Any]) -> Plan:
    """The plan of a file's values and the flags', which win. Raises `PlanError`, and `UsageError` where no key is to blame."""
    given = take(Plan, _of_today(file)) | take(Plan, flags)
    if given.get("schedule") and "schedule" not in flags and (idle := [name for name in _UNSCRIPTED if name in flags]):
        raise PlanError((idle[0],), f"{idle[0]} would change nothing: the plan's [[schedule]] says which faults come when.")
    if "database" not in given:
        raise PlanError((), "names no database: splitbrain test DATABASE, or in a file: database = \"NAME\".")
    given |= {name: _whole(given[name]) for name in ("database", "workload", "nemesis", "checkers") if name in given}
    given["format"] = FORMAT
    database: type[Database] = _look_up(given, "databases", "database")
    check_database(database, given["database"])
    variants = [variant.name for variant in database.variants]
    given.setdefault("variant", variants[0])
    if given.get("inventory"):
        given["inventory"] = str(Path(given["inventory"]).expanduser().absolute())
    elif not given.get("containers"):
        given.setdefault("tcp_rto_max_ms", usual_rto_max())
    given.setdefault("seed", random.SystemRandom().randrange(100_000))
    if given["variant"] not in variants:
        raise PlanError(("variant",), f"{given['database']} has no variant '{given['variant']}': "
                                      f"{hint(given['variant'], variants)}")
    variant = next(variant for variant in database.variants if variant.name == given["variant"])
    given.setdefault("nodes", _nodes(given, variant, database))
    given.setdefault("timeout", keys(Plan)["timeout"].take(database.default_timeout))
    if variant.keys:
        given.setdefault("keys", variant.keys)
    given.pop("options", None)
    plan = Plan(**given)
    for group, key in _NAMED:
        _look_up(msgspec.structs.asdict(plan), group, key)
    for name, where in _nemeses(plan):
        try:
            registry.nemeses(name)
        except UsageError as error:
            if registry.is_path(name):
                raise
            raise PlanError(where, str(error)) from error
    plan = options.fill(plan, _tables(file, flags, plan))
    check(plan)
    return plan


def _nodes(given: Mapping[str, Any], variant: Variant, database: type[Database]) -> int:
    """How many nodes there are where the plan does not say it: at most as many as the inventory has machines, and all of them
    where they are a cluster that runs already."""
    usual = variant.nodes or database.default_nodes
    if given.get("containers"):
        return attach_containers.nodes(given["containers"])
    if not given.get("inventory"):
        return usual
    machines = len(ssh_inventory.load(Path(given["inventory"])).of(given["database"]))
    return machines if given.get("testbed") == "attached" else min(usual, machines)


def _nemeses(plan: Plan) -> Iterator[tuple[str, Keys]]:
    """The names of a plan's nemeses, each with where it stands."""
    if not plan.schedule:
        yield plan.nemesis, ("nemesis",)
    for number, fault in enumerate(plan.schedule):
        if fault.nemesis:
            yield fault.nemesis, ("schedule", number, "nemesis")


def _tables(file: Mapping[str, Any], flags: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    """The tables of options that file and flags tell. What a file tells of a workload or a nemesis that a flag has replaced by
    another one is left out."""
    tables = dict(file.get("options", {}))
    if not flags.keys().isdisjoint(("workload", "nemesis", "schedule")):
        named = {name: file[name] for name in ("workload", "nemesis") if name in file}
        before = Plan(database="", variant="", **named, **take(Plan, {"schedule": file.get("schedule", ())}))
        gone = options.kinds(before).keys() - options.kinds(plan).keys()
        tables = {name: table for name, table in tables.items() if name not in gone}
    for told in (file, flags):
        for name, kind in options.kinds(plan).items():
            followed = {key: told[known.setting.follows] for key, known in keys(kind.Options).items()
                        if known.setting.follows in told}
            if followed:
                table = tables.get(name, {})
                tables[name] = ({**followed, **table} if told is file else {**table, **followed})
        if told is flags:
            for name, table in told.get("options", {}).items():
                tables[name] = {**tables.get(name, {}), **table} if isinstance(table, Mapping) else table
    return tables


def _of_today(file: Mapping[str, Any]) -> Mapping[str, Any]:
    """A plan of an older format in the words of this one. Raises `PlanError` for one of a newer."""
    version = file.get("format", FORMAT)
    if isinstance(version, int) and version > FORMAT:
        raise PlanError(("format",), f"a plan of format {version}, newer than this splitbrain reads ({FORMAT}): update "
                                     "splitbrain.")
    if version != 1:
        return file
    words = {name: key.setting.zero for name, key in keys(Plan).items() if key.setting.zero}
    return {name: words[name] if name in words and value == 0 else value for name, value in file.items()}


def _look_up(given: Mapping[str, Any], group: registry.Group, name: str) -> Any:
    """The class that a key names. Raises `PlanError`; what is wrong in a person's own file is told with its own place."""
    try:
        return registry.look_up(group, given[name])
    except UsageError as error:
        if registry.is_path(given[name]):
            raise
        raise PlanError((name,), str(error)) from error


def _whole(name: Any) -> Any:
    """The name of a file as a path that is the same from every folder, any other name as it is: a kept plan is judged again
    wherever one stands."""
    if isinstance(name, list | tuple):
        return tuple(_whole(one) for one in name)
    if not isinstance(name, str) or not registry.is_path(name):
        return name
    if "+" in name and not Path(name).is_file():  # a combination of nemeses
        return "+".join(_whole(one) for one in name.split("+"))
    file, colon, scenario = name.partition(":")  # one scenario of a nemesis
    return str(Path(file if Path(file).is_file() else name).resolve()) + (colon + scenario if Path(file).is_file() else "")


def check(plan: Plan) -> None:
    """Refuse what cannot be run, before anything starts. Raises `UsageError`."""
    database: type[Database] = registry.look_up("databases", plan.database)
    variant = next(variant for variant in database.variants if variant.name == plan.variant)
    workload: type[Workload] = registry.look_up("workloads", plan.workload)
    registry.look_up("testbeds", plan.testbed)(plan, "", Path())  # It refuses what it cannot do.
    for name in plan.checkers:
        registry.look_up("checkers", name)
    if plan.nodes < variant.least:
        raise PlanError(("nodes",), f"{plan.database} {plan.variant} needs at least {variant.least} nodes, the plan has "
                                    f"{plan.nodes}.")
    named(workload, Capability)
    if missing := workload.needs - variant.offers:
        raise PlanError(
            ("workload",), f"workload '{plan.workload}' needs {', '.join(sorted(missing))}, which {plan.database} "
            f"{plan.variant} does not offer (it offers {', '.join(sorted(variant.offers))})."
        )
    rehearse(plan, variant)
    schedules.check(plan)
    if "skew" in schedules.needs(plan) and database.clock is Database.clock:
        key = "schedule" if plan.schedule else "nemesis"
        raise PlanError((key,), f"{plan.database} does not tell its servers' clocks: nothing could prove that they are wrong.")
    for name, where in _nemeses(plan):
        found = schedules.nemesis(name, plan.options)
        if refusal := (found.refusal(database, variant) or found.unfit(database, plan.testbed)
                       or found.too_few(database, variant, plan.nodes)):
            raise PlanError(where, f"{plan.database} {plan.variant} {refusal}.")
    _check_members(plan, database)
    _check_binary(plan, database)
    for number, expectation in enumerate(plan.expect):
        try:
            parse_expectation(expectation)
        except UsageError as error:
            raise PlanError(("expect", number), str(error)) from error


def _check_members(plan: Plan, database: type[Database]) -> None:
    """Refuse a plan in which members cannot be replaced: one whose other faults take nodes away that are to be there, and one
    whose load is over before a member can be back. Raises `PlanError`."""
    if not issubclass(database, Membership):
        return
    where = ("schedule" if plan.schedule else "nemesis",)
    only = f"{plan.database} replaces a member only while all its other nodes serve"
    mend = "Beside it, name one member, and that first ('membership:follower+kill:follower')."
    steps = [(step, schedules.deeds(step, plan)) for step in schedules.schedule(plan)]
    for step, deeds in steps:
        changes = [at for at, (needs, _) in enumerate(deeds) if WIPE in needs]
        if not changes:
            continue
        away = [at for at, (needs, _) in enumerate(deeds) if at not in changes and needs & _AWAY]
        all_in_turn = any(deeds[at][1] == "rolling" for at in changes)
        if away and all_in_turn:
            raise PlanError(where, f"'{step.nemesis}' replaces every node in turn, and what it does beside that keeps some of "
                                   f"them away until all are replaced. {mend}")
        least = database.replacing * (plan.nodes if all_in_turn else 1)
        if plan.between < least:
            who = "every member, one after the other" if all_in_turn else "a member"
            raise PlanError(("between",), f"{plan.database} takes up to {least:g} s to replace {who}: --between {least:g}.")
        if not least:
            continue
        if len(changes) > 1 or (away and away[0] < changes[0]):
            raise PlanError(where, f"{only}, and '{step.nemesis}' takes some away before. {mend}")
        back = step.at + step.duration + least
        for other, beside in steps:
            if other is not step and other.at < back and other.at + other.duration > step.at and any(
                needs & (_AWAY | {WIPE}) for needs, _ in beside
            ):
                raise PlanError(where, f"{only}: of the fault at {step.at:g} s it may be back at {back:g} s, and another "
                                       f"({other.nemesis} {other.scenario}) is from {other.at:g} s on. Put them further "
                                       "apart, as the pace 'interval' does.")


def check_database(database: type[Database], name: str) -> None:
    """Refuse a class that breaks the contract of `Database` in a way that would show only in the middle of a run, or after it.
    Raises `UsageError` naming the class and what is wrong with it."""
    where = f"{name}: class {database.__name__}"
    if missing := sorted(getattr(database, "__abstractmethods__", ())):
        raise UsageError(f"{where} lacks {', '.join(missing)}: see splitbrain.Database.")
    for method in ("start", "ready", "connect", "primary", "primaries", "local", "versions", "close"):
        if not inspect.iscoroutinefunction(getattr(database, method, None)):
            raise UsageError(f"{where}: {method} is no coroutine: write 'async def {method}'.")
    for attribute, kind, shape in _ATTRIBUTES:
        try:
            msgspec.convert(getattr(database, attribute, None), kind)
        except msgspec.ValidationError as error:
            raise UsageError(f"{where}: {attribute} must be {shape}.") from error
    for key in ("nodes", "timeout"):  # They go into the plan, which a file and another process have to take.
        try:
            keys(Plan)[key].take(getattr(database, f"default_{key}"))
        except PlanError as error:
            raise UsageError(f"{where}: default_{error.reason}") from error
    if not isinstance(variants := getattr(database, "variants", ()), tuple | list) or not variants:
        raise UsageError(f"{where}: variants must be a tuple of at least one splitbrain.Variant.")
    for variant in database.variants:
        try:
            msgspec.convert(msgspec.to_builtins(variant), Variant)
        except (msgspec.ValidationError, TypeError, AttributeError) as error:
            raise UsageError(f"{where}: variant {getattr(variant, 'name', variant)!r}: {error}.") from error
        if unknown := [admitted for admitted in variant.claim.admits if admitted not in ANOMALIES]:
            raise UsageError(f"{where}: variant '{variant.name}' admits '{unknown[0]}', which is no anomaly: "
                             f"{hint(unknown[0], ANOMALIES)}")


def _check_binary(plan: Plan, database: type[Database]) -> None:
    if not plan.binary:
        return
    path, server = binary(plan.binary, plan.database), database.server
    if path is None:
        mend = "" if server is None else (
            f", nor was it fetched ('splitbrain servers get {server.name}' fetches {server.version})"
        )
        raise PlanError(("binary",), f"binary '{plan.binary}' does not exist{mend}.")
    programs = [program.name for program in database.programs]
    if not path.is_dir() and not any(is_program(path, program) for program in programs):
        raise PlanError(
            ("binary",), f"binary '{plan.binary}' is none of this database's programs ({', '.join(programs)}), by its name: "
            "name one of them, or the folder that holds them."
        )


def check_machine(plan: Plan) -> None:
    """Refuse a plan whose driver or server this machine lacks, or whose faults it cannot do, before a folder is made for it.
    Raises `SetupError` with the command that mends it, or with the reason."""
    testbed = registry.look_up("testbeds", plan.testbed)
    if problems := testbed.problems():
        raise SetupError(f"the testbed {plan.testbed} does not work here: {problems[0].what}: {problems[0].mend}")
    needs = schedules.needs(plan)
    for ability in sorted(needs - {"cut", "end", "pause"}):
        if reason := testbed.lacks(ability):
            raise SetupError(f"this machine cannot {DEEDS[ability]} on the testbed {plan.testbed}: {reason}")
    database: type[Database] = registry.look_up("databases", plan.database)
    for module in database.modules:
        if importlib.util.find_spec(module) is None:
            raise SetupError(
                f"{plan.database} needs the Python module {module}: pip install 'splitbrain[{database.driver}]'."
            )
    others = [program for name, _ in _nemeses(plan) for program in schedules.nemesis(name, plan.options).programs(database)]
    wanted = [Wanted(program.name, program.mend) for program in (*database.programs, *others)]
    if problems := testbed.missing(plan, wanted, needs):
        raise SetupError("; ".join(f"{problem.what}: {problem.mend}" for problem in problems))
