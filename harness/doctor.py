"""What this machine can do: each testbed, each database's server and driver, each with the command that mends it."""

from __future__ import annotations

import importlib.util
import math
import os
import platform
from collections.abc import Sequence

import msgspec
from rich import box
from rich.table import Table
from rich.text import Text

from splitbrain.harness import registry
from splitbrain.harness.databases.database import Database
from splitbrain.harness.plan import Plan
from splitbrain.harness.servers import find_program
from splitbrain.harness.testbeds.ssh import Ssh
from splitbrain.harness.testbeds.testbed import Testbed


class Finding(msgspec.Struct, frozen=True):
    """One row: what was looked at, whether it is there, what was found, and the command that mends it."""

    what: str
    there: bool
    found: str
    mend: str = ""


def examine(plan: Plan | None = None) -> Sequence[Finding]:
    """Look at everything, also whether there are processors enough for a plan; starts nothing that stays."""
    findings = [
        Finding("Python", True, platform.python_version()),
        Finding("kernel", platform.system() == "Linux", f"{platform.system()} {platform.release()}", "run on Linux"),
    ]
    findings.append(processors(*_machine()))
    if plan is not None:
        findings.append(for_plan(plan, *_machine()))
    for name in registry.names("testbeds"):
        testbed: type[Testbed] = registry.look_up("testbeds", name)
        problems = testbed.problems()
        findings.append(Finding(f"testbed {name}", not problems, "works" if not problems else problems[0].what,
                                problems[0].mend if problems else ""))
        findings += [Finding(f"testbed {name}", False, problem.what, problem.mend) for problem in problems[1:]]
        if not problems and "unplug" in testbed.abilities and not issubclass(testbed, Ssh):  # who asks its machines
            reason = testbed.lacks("unplug")
            findings.append(Finding(f"power loss on {name}", not reason, reason or "works", "make /dev/fuse usable"))
    for name in registry.names("databases"):
        database: type[Database] = registry.look_up("databases", name)
        for program in database.programs:
            path = find_program(program.name)
            findings.append(Finding(f"{name} server", path is not None, path or f"no {program.name}", program.mend))
        missing = [module for module in database.modules if importlib.util.find_spec(module) is None]
        if database.modules:
            found = f"no module {missing[0]}" if missing else ", ".join(database.modules)
            findings.append(Finding(f"{name} driver", not missing, found, f"pip install 'splitbrain[{database.driver}]'"))
    return findings


PROCESSORS = 2
"""That a run needs: one for the harness, which must hear an answer when it comes, and one for the servers."""


def abreast(asked: int, number: int) -> tuple[int, str]:
    """How many of the `asked` runs at once so many processors bear, and a sentence where that is less."""
    most = max(1, number // PROCESSORS)
    if asked <= most:
        return asked, ""
    return most, (f"{asked} runs at once would need {asked * PROCESSORS} processors, {PROCESSORS} a run, and this machine has "
                  f"{number}: {most} at a time.")


def processors(number: int, load: float) -> Finding:
    """Whether a run has processors enough: a starved harness hears answers late, and what it then measures is itself."""
    mend = "let nothing else run beside it, or use fewer clients (--concurrency 1), fewer nodes or a --rate"
    return Finding("processors", number >= PROCESSORS and load <= number, f"{number}, with a load of {load:.1f}", mend)


CALL = 50e-6
"""Seconds of a processor's time that a call costs the harness, about: from 30 where nobody thinks to 80 where few call."""


def for_plan(plan: Plan, number: int, load: float) -> Finding:
    """Whether so many processors, with that load, bear a plan: what its servers take where they run here, and its calls."""
    database: type[Database] = registry.look_up("databases", plan.database)
    testbed: type[Testbed] = registry.look_up("testbeds", plan.testbed)
    here = not testbed.attached and not issubclass(testbed, Ssh)
    servers = plan.nodes * database.busy if here else 0.0
    calls = plan.rate or (plan.nodes * plan.concurrency / plan.think if plan.think else math.inf)
    harness = min(1.0, calls * CALL)
    told = f"needs {servers + harness:.1f} of {number} ({plan.nodes} servers {servers:.1f}, harness {harness:.1f})"
    if not here:
        told = f"needs {harness:.1f} of {number} (harness alone: the servers are elsewhere)"
    enough = servers + harness <= number - min(load, number)
    return Finding("processors for the plan", enough, f"{told}, with a load of {load:.1f}",
                   "fewer nodes, fewer clients (--concurrency 1), a --rate, or a machine with more processors")


def short(plan: Plan) -> str:
    """What this machine lacks of processors for a plan, in a sentence; empty where it has them."""
    found = for_plan(plan, *_machine())
    return "" if found.there else f"too few processors: the plan {found.found}; {found.mend}"


def _machine() -> tuple[int, float]:
    """The processors that may be used here, and the load."""
    return len(os.sched_getaffinity(0)), os.getloadavg()[0]


def table(findings: Sequence[Finding]) -> Table:
    """The findings as people read them."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("", "what", "found", "to mend it"):
        shown.add_column(heading, overflow="fold")
    for finding in findings:
        mark = Text("yes", "green") if finding.there else Text("no", "red")
        shown.add_row(mark, finding.what, finding.found, "" if finding.there else finding.mend)
    return shown
