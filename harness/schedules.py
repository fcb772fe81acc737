"""Schedules: which fault comes when, as values. Nothing here waits: the controller of `faults.py` does.

A plan names its nemesis (`halves`, `kill:primary`, `halves+kill`) and a pace, or a script of its own, whose faults may name a
scenario, or the very targets that a run before had.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Collection, Sequence
from pathlib import Path

import msgspec

from splitbrain.harness import registry
from splitbrain.harness.databases.database import Database, Detection
from splitbrain.harness.errors import PlanError, returned_by
from splitbrain.harness.history.fault import Other, Pause, Spec
from splitbrain.harness.history.recording import Recording
from splitbrain.harness.plan import Plan, ScriptedFault, Tables, When
from splitbrain.harness.rehearsal import ask, made, rehearse_nemesis
from splitbrain.harness.testbeds.testbed import DEEDS
from splitbrain.nemeses.combination import AND, Combination, Part, leaves
from splitbrain.nemeses.nemesis import DRAWS, Nemesis
from splitbrain.nemeses.roles import OWNER, each
from splitbrain.workloads.workload import Workload

QUIET = 0.25
"""The part of the time in which a random schedule leaves the cluster alone."""


SCRIPTED = "scripted"
"""What a fault is called of which a script tells the targets alone."""


class Step(msgspec.Struct, frozen=True):
    """One fault of a schedule: it starts `at` seconds into the load, no sooner than so many `writes` were acknowledged, or
    `when` something happens after that, and is undone `duration` seconds later. `specs` are its targets where they are known
    before; `primary` is then the node whose part the primary of that moment takes. One that comes `alone` waits for the heal of
    the one before to be proven. Pauses of one that is `exact` last so long in all, the proofs of them included."""

    at: float
    duration: float
    nemesis: str
    scenario: str
    specs: tuple[Spec, ...] = ()
    when: When = "due"
    primary: str = ""
    writes: int = 0
    alone: bool = False
    exact: bool = False


def nemesis(name: str, options: Tables | None = None) -> Nemesis:
    """The nemesis of that name, with its options of a plan's: `halves`, `kill:primary` for one of its scenarios, `halves+kill`
    for several at once. Raises `UsageError`."""
    if name == SCRIPTED:
        return Combination(())
    parts = [Part(made(kind, options), scenario, called) for called, kind, scenario in registry.nemeses(name)]
    return parts[0].nemesis if len(parts) == 1 and not parts[0].scenario else Combination(parts)


def schedule(plan: Plan, told: Detection | None = None) -> tuple[Step, ...]:
    """The faults of a plan, in the order of their beginnings: its own script, or its nemesis at the plan's pace. `told` is the
    detection that servers which are not ours have told."""
    if plan.schedule:
        return tuple(_scripted(fault, plan) for fault in sorted(plan.schedule, key=lambda fault: fault.at))
    match plan.pace:
        case "interval":
            return interval(plan, told)
        case "staggered":
            return staggered(plan, told)
        case "random":
            return shuffled(plan, told)
        case "primary-changes":
            return tuple(msgspec.structs.replace(step, when="primary-changes") for step in interval(plan, told))


def needs(plan: Plan) -> frozenset[str]:
    """What a testbed must be able to do for the faults of a plan."""
    if not plan.schedule:
        return frozenset(nemesis(plan.nemesis, plan.options).needs)
    found = {spec.needs for fault in plan.schedule for spec in fault.specs if spec.needs}
    return frozenset(found.union(*(nemesis(fault.nemesis, plan.options).needs for fault in plan.schedule if fault.nemesis)))


def deeds(step: Step, plan: Plan) -> tuple[tuple[frozenset[str], str], ...]:
    """What a testbed must be able to do for each part of a fault, in the order in which they are done, and its scenario."""
    if step.nemesis == SCRIPTED:
        return tuple((frozenset({spec.needs}), SCRIPTED) for spec in step.specs)
    found = nemesis(step.nemesis, plan.options)
    if isinstance(found, Combination):
        return tuple((part.needs, scenario) for part, scenario in found.apart(step.scenario, plan.nodes))
    return ((found.needs, step.scenario),)


def planned(step: Step, nodes: int) -> str:
    """What a fault of a schedule is to be on so many nodes: its nemesis and scenario, or what is to befall its very targets."""
    if not step.specs:
        return f"{step.nemesis} {step.scenario}"
    return " + ".join(spec.doing(each(nodes)) for spec in step.specs)


def length(plan: Plan, told: Detection | None = None) -> float:
    """Seconds that the load takes, unless it is stopped; for `told` see `schedule`."""
    return plan.time or max((step.at + step.duration for step in schedule(plan, told)), default=0.0) + plan.between


def interval(plan: Plan, told: Detection | None = None) -> tuple[Step, ...]:
    """After the baseline the scenarios in turn, again from the first while time is left, each followed by `plan.between`
    healthy seconds: less is left of them where a heal takes long, and none comes before the one before is healed. With
    `plan.time` 0 every scenario comes exactly once, or again until there was a fault of every length that the nemesis has."""
    scenarios = [(plan.nemesis, scenario) for scenario in nemesis(plan.nemesis, plan.options).scenarios(plan.nodes)]
    steps = _in_turn(plan, scenarios, told)
    return tuple(msgspec.structs.replace(step, alone=True) for step in steps)


def staggered(plan: Plan, told: Detection | None = None) -> tuple[Step, ...]:
    """The parts of a combination, each a fault of its own, one beginning `plan.between` seconds after the other began: where
    faults last longer than that, they overlap."""
    return _in_turn(plan, _apart(plan), told, every=plan.between)


def shuffled(plan: Plan, told: Detection | None = None) -> tuple[Step, ...]:
    """Faults of random length, one in three with another one inside that finds a server left to it, and the cluster left alone
    for a quarter of the time. Which part of a combination comes how often shifts over the run, so that every mix is met."""
    choices = _apart(plan)
    rng, own = (random.Random(f"{plan.seed}/{name}") for name in ("schedule", "lengths"))
    end = plan.time or plan.baseline + len(choices) * (plan.fault + plan.between)
    steps: list[Step] = []
    at = plan.baseline
    while choices:
        length = plan.fault * rng.uniform(0.5, 1.5)
        if at + length + (plan.between if plan.time else 0.0) > end:
            return tuple(steps)
        turn = math.tau * at / end
        weights = [1.1 + math.cos(turn - math.tau * number / len(choices)) for number in range(len(choices))]
        one, other = rng.choices(choices, weights, k=2)
        steps.append(_within(Step(at, length, *one), plan, own, told))
        if rng.random() < 1 / 3:
            for _ in range(DRAWS):
                first, then = ((nemesis(name, plan.options), scenario) for name, scenario in (one, other))
                if leaves(first, then, plan.nodes):
                    steps.append(_within(Step(at + length / 4, length / 2, *other), plan, own, told))
                    break
                (other,) = rng.choices(choices, weights)
        at += length * (1 + rng.uniform(0.5, 1.5) * QUIET / (1 - QUIET))
    return ()


def replay(recording: Recording) -> dict[int, ScriptedFault]:
    """The faults that a run had, by their ids, as a script: the same targets at the same times, where the node that is primary
    then takes the part of the one that was. What a run could not aim at is left out. They last as long as they were meant to,
    where they were not ended before that: the proofs before their ends take time that they take again."""
    load = recording.phase("load")
    began = load.began if load else 0
    steps = dict(enumerate(schedule(recording.plan) if recording.plan is not None else (), 1))
    script = {}
    for fault in recording.faults:
        if fault.specs and fault.heal_began is not None:
            lasted = max(0.1, round((fault.heal_began - (fault.proven or fault.started)) / 1e9, 3))
            nemesis, scenario = ("" if name == SCRIPTED else name for name in (fault.nemesis, fault.scenario))
            exact = max((spec.length for spec in fault.specs if isinstance(spec, Pause)), default=0.0)
            script[fault.id] = ScriptedFault(
                at=round(max(0, fault.started - began) / 1e9, 3), nemesis=nemesis, scenario=scenario, specs=fault.specs,
                duration=exact or min(lasted, steps[fault.id].duration if fault.id in steps else lasted),
                primary=fault.primary or "",
            )
    return script


def _in_turn(
    plan: Plan, scenarios: Sequence[tuple[str, str]], told: Detection | None, every: float = 0.0
) -> tuple[Step, ...]:
    """One beginning `every` seconds after the other, or with 0 `plan.between` seconds after its end."""
    lengths = [_lengths(plan, *scenario, told) for scenario in scenarios]
    rng = random.Random(f"{plan.seed}/lengths")
    steps: list[Step] = []
    at = plan.baseline
    for number in range(max(len(lengths), *map(len, lengths))) if scenarios and plan.time == 0 else itertools.count():
        if not scenarios:
            break
        turn = number % len(scenarios)
        length = _drawn(lengths[turn], number, rng) or plan.fault
        if plan.time and at + length + plan.between > plan.time:
            break
        steps.append(Step(at, length, *scenarios[turn], exact=bool(lengths[turn])))
        at += every or length + plan.between
    return tuple(steps)


def _lengths(plan: Plan, name: str, scenario: str, told: Detection | None) -> Sequence[tuple[float, float]]:
    """How long faults of a scenario last, where that is the nemesis' to say. Raises `UsageError`."""
    found = nemesis(name, plan.options)
    return ask(found.lengths, scenario, plan.fault, told or detection(plan))


def _within(step: Step, plan: Plan, rng: random.Random, told: Detection | None) -> Step:
    """A fault as long as its nemesis has it, where that says it, and no longer than it was to be."""
    lengths = _lengths(plan, step.nemesis, step.scenario, told)
    drawn = _drawn(lengths, rng.randrange(len(lengths)), rng) if lengths else step.duration
    return msgspec.structs.replace(step, duration=min(step.duration, drawn), exact=bool(lengths))


def _drawn(lengths: Sequence[tuple[float, float]], number: int, rng: random.Random) -> float:
    """The length of the fault of that number; 0 where there are none."""
    return round(rng.uniform(*lengths[number % len(lengths)]), 3) if lengths else 0.0


def detection(plan: Plan) -> Detection | None:
    """After how long a silence the servers of a plan take one of them for gone; None where nobody tells before a run, as of one
    that is set as its owner likes. Raises `UsageError`."""
    database: type[Database] = registry.look_up("databases", plan.database)
    if registry.look_up("testbeds", plan.testbed).attached:
        return None
    told = ask(database.detection, next(variant for variant in database.variants if variant.name == plan.variant))
    if told is not None and not isinstance(told, Detection):
        raise returned_by(database.detection, told, "neither a splitbrain.Detection nor None")
    return told


def _apart(plan: Plan) -> list[tuple[str, str]]:
    """(nemesis, scenario) of each part of the plan's nemesis, the parts taking turns."""
    whole = nemesis(plan.nemesis, plan.options)
    parts = whole.parts if isinstance(whole, Combination) else (Part(whole),)
    theirs = [[(part.called or plan.nemesis, scenario) for scenario in part.scenarios(plan.nodes)] for part in parts]
    longest = max(map(len, theirs), default=0)
    return [scenarios[at] for at in range(longest) for scenarios in theirs if at < len(scenarios)]


def _scripted(fault: ScriptedFault, plan: Plan) -> Step:
    scenario = fault.scenario
    if not scenario and not fault.specs:
        scenario = nemesis(fault.nemesis, plan.options).scenarios(plan.nodes)[0]
    return Step(fault.at, fault.duration, fault.nemesis or SCRIPTED, scenario or SCRIPTED, fault.specs, fault.when,
                fault.primary, fault.writes)


def check(plan: Plan) -> None:
    """Refuse a schedule that cannot be run. Raises `UsageError` naming the fault and what is wrong with it."""
    names = {f"n{number}" for number in range(1, plan.nodes + 1)}
    abilities = registry.look_up("testbeds", plan.testbed)(plan, "", Path()).can()
    scripted = [(fault.nemesis, fault.scenario) for fault in plan.schedule if fault.nemesis]
    key = "schedule" if plan.schedule else "nemesis"
    workload = registry.look_up("workloads", plan.workload)
    for name, scenario in scripted if plan.schedule else [(plan.nemesis, "")]:
        found = nemesis(name, plan.options)
        rehearse_nemesis(found, plan.nodes)
        if plan.nodes < found.minimum_nodes():
            raise PlanError((key,), f"nemesis '{name}' needs {found.minimum_nodes()} nodes, the plan has {plan.nodes}.")
        if missing := found.needs - abilities:
            raise PlanError((key,), f"nemesis '{name}' needs {_other_testbed(missing, plan)}")
        parts = found.parts if isinstance(found, Combination) else (Part(found),)
        wanted = [(part.nemesis, part.scenario) for part in parts if part.scenario]
        if scenario and len(parts) == 1:
            wanted.append((parts[0].nemesis, scenario))
        elif scenario and len(scenario.split(AND)) != (does := sum(bool(part.scenarios(plan.nodes)) for part in parts)):
            raise PlanError((key,), f"nemesis '{name}' does {does} things at once, and its scenario '{scenario}' does not name "
                                    f"one of each, with '{AND}' between them.")
        for one, called in wanted:
            if called.endswith(OWNER) and workload.owners is Workload.owners:
                raise PlanError((key,), f"'{one.name}:{called}' is aimed at who holds a lock: in the workload "
                                        f"'{plan.workload}' nobody does.")
            if called not in one.known(plan.nodes):
                raise PlanError((key,), f"nemesis '{one.name}' has no scenario '{called}' on {plan.nodes} nodes: there are "
                                 f"{', '.join(one.known(plan.nodes)) or 'none'}.")
        at_once = bool(plan.schedule) or plan.pace not in ("staggered", "random")
        if at_once and any(part.scenarios(plan.nodes) for part in parts) and not found.scenarios(plan.nodes):
            raise PlanError((key,), f"nemesis '{name}' on {plan.nodes} nodes: what one part does leaves another no server to "
                                    "do anything to.")
        if plan.time and not plan.schedule and found.scenarios(plan.nodes) and not schedule(plan):
            least = plan.baseline + plan.fault + plan.between
            raise PlanError(
                ("time",), f"time is {plan.time:g} s: too short for a fault (baseline {plan.baseline:g} + fault {plan.fault:g} "
                f"+ between {plan.between:g} = {least:g} s). Give more --time, or a shorter --baseline, --fault or --between."
            )
    if {"fill", "unplug"} <= needs(plan):
        raise PlanError((key,), "a data folder's disk can be filled or lose its power, not both in one run.")
    end = 0.0
    for number, fault in enumerate(plan.schedule):
        at, place = ("schedule", number), f"schedule: the fault at {fault.at:g} s"
        if not (0 <= fault.at < math.inf and 0 < fault.duration < math.inf):
            raise PlanError(at, f"{place} lasts {fault.duration:g} s: it must begin at 0 or later, and last.")
        if not fault.nemesis and not fault.specs:
            raise PlanError(at, f"{place} names neither a nemesis nor specs.")
        for its, spec in enumerate(fault.specs):
            if spec.needs and spec.needs not in abilities:
                raise PlanError(at, f"{place} needs {_other_testbed({spec.needs}, plan)}")
            if unknown := sorted(spec.touched - names):
                raise PlanError(at, f"{place} names {', '.join(unknown)}: the nodes are n1 to n{plan.nodes}.")
            if spec.nonsense:
                raise PlanError((*at, "specs", its), f"{place}: {spec.nonsense}.")
            if isinstance(spec, Other) and not fault.nemesis:
                raise PlanError(at, f"{place} has the spec '{spec.name}' and does not name the nemesis that brings it.")
        end = max(end, fault.at + fault.duration)
    if plan.time and end > plan.time:
        raise PlanError(("time",), f"schedule: the last fault ends at {end:g} s, after the load ({plan.time:g} s).")


def _other_testbed(missing: Collection[str], plan: Plan) -> str:
    """What the testbed of a plan cannot do, in words, and which ones can."""
    others = [name for name in registry.names("testbeds") if name != plan.testbed]
    able = [name for name in others if set(missing) <= registry.look_up("testbeds", name).abilities]
    can = f": {' and '.join(able)} can" if able else ""
    return f"a testbed that can {' and '.join(DEEDS[one] for one in sorted(missing))}, not {plan.testbed}{can}."
