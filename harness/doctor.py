"""What this machine can do: each testbed, each database's server and driver, each with the command that mends it."""

from __future__ import annotations

import importlib.util
import os
import platform
from collections.abc import Sequence

import msgspec
from rich import box
from rich.table import Table
from rich.text import Text

from splitbrain.harness import registry
from splitbrain.harness.databases.database import Database
from splitbrain.harness.servers import find_program
from splitbrain.harness.testbeds.ssh import Ssh
from splitbrain.harness.testbeds.testbed import Testbed


class Finding(msgspec.Struct, frozen=True):
    """One row: what was looked at, whether it is there, what was found, and the command that mends it."""

    what: str
    there: bool
    found: str
    mend: str = ""


def examine() -> Sequence[Finding]:
    """Look at everything; starts nothing that stays."""
    findings = [
        Finding("Python", True, platform.python_version()),
        Finding("kernel", platform.system() == "Linux", f"{platform.system()} {platform.release()}", "run on Linux"),
    ]
    findings.append(processors(len(os.sched_getaffinity(0)), os.getloadavg()[0]))
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


def table(findings: Sequence[Finding]) -> Table:
    """The findings as people read them."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("", "what", "found", "to mend it"):
        shown.add_column(heading, overflow="fold")
    for finding in findings:
        mark = Text("yes", "green") if finding.there else Text("no", "red")
        shown.add_row(mark, finding.what, finding.found, "" if finding.there else finding.mend)
    return shown
