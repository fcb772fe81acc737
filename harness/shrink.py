"""Shrinking: the smallest schedule that still shows an anomaly, found by delta debugging over the faults of a run.

What a database does is chance, so that "still shows" means: in most of a few runs. The search (`smallest`) is pure, a question
to an oracle; `Trials` is the oracle that asks real runs. After A. Zeller and R. Hildebrandt, Simplifying and Isolating
Failure-Inducing Input (2002), with one more round at the end, since an answer may have been bad luck.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, TypeVar

import click
import msgspec

from splitbrain.checkers.result import Result, decode
from splitbrain.harness import store
from splitbrain.harness.errors import INTERRUPTED, SplitbrainError, UsageError, hint
from splitbrain.harness.history.fault import Spec
from splitbrain.harness.history.journal import load
from splitbrain.harness.options import kinds
from splitbrain.harness.plan import Plan, ScriptedFault
from splitbrain.harness.resolve import resolve
from splitbrain.harness.run import perform
from splitbrain.harness.schedules import length, replay
from splitbrain.harness.store import Run
from splitbrain.reports.terminal import Progress, console

SHORTEST = 0.5
"""Seconds that a fault lasts at least: what is shorter is over before it is proven."""
LEAD = 1.0
"""Seconds of load before the first fault, and after the last one, at least."""
Shows = Callable[[Plan], bool]
"""Whether a plan shows the anomaly."""

T = TypeVar("T")

Atom = tuple[int, int]
"""A spec of a fault: which fault of the schedule, which of its specs."""


class Found(NamedTuple):
    """The smallest plan, and in how many of so many fresh runs it showed the anomaly."""

    plan: Plan
    seen: int
    runs: int


def shrink(path: Path, anomaly: str, runs: Path, *, tries: int, most: int, confirm: int) -> int:
    """Find the smallest schedule that still shows an anomaly of the run at that path, telling each step, and keep its runs and
    its plan in a folder of `runs`; the exit code: 0 where fresh runs of the smallest show it."""
    screen = console()
    run = store.find(path)
    plan, sought, blamed = begin(run, anomaly)
    folder = store.create_folder(runs, f"shrink-{run.label}")
    screen.print(f"looking for less that still shows {sought}: at most {most} runs of {length(plan):.0f} s of load or less, "
                 f"kept in {folder}", markup=False, soft_wrap=True)
    screen.print("for each schedule that was tried, in how many of its runs that was seen:", markup=False)

    def shows(plan: Plan, number: int) -> bool:
        outcome = perform(plan, folder, Progress(console(StringIO())), f"{number:03}")
        if outcome.exit_code == INTERRUPTED:
            raise KeyboardInterrupt
        if outcome.result is None:
            raise SplitbrainError(f"{outcome.folder}: {outcome.reason}")
        return sought in outcome.result.counts

    def tell(plan: Plan, seen: int, runs: int) -> None:
        screen.print(f"  {size(plan):<68}  {seen} of {runs}", markup=False, soft_wrap=True)

    trials = Trials(shows, tries, most, confirm, tell)
    file = folder / "smallest.toml"
    try:
        found = trials.shrink(plan, blamed)
    except KeyboardInterrupt:
        if trials.least is not None:
            store.write_plan(file, trials.least)
            screen.print(f"\nthe smallest so far, {size(trials.least)}, its rate not told:", markup=False, soft_wrap=True)
            click.echo(f"  splitbrain test --plan {file}")
        raise
    store.write_plan(file, found.plan)
    screen.print(f"\n{size(found.plan)}: {sought} in {found.seen} of {found.runs} fresh runs", markup=False, soft_wrap=True)
    for line in script(found.plan):
        screen.print(f"  {line}", markup=False)
    if trials.spent:
        screen.print(f"stopped after {most} runs: --most allows more", markup=False)
    click.echo(f"  splitbrain test --plan {file}")
    return 0 if found.seen else 2


def begin(run: Run, anomaly: str = "") -> tuple[Plan, str, tuple[int, ...]]:
    """What to begin with: the plan that repeats a run's faults, the anomaly that is sought (the one that the result tells
    first, where none is named), and the faults, by their place in the schedule, that it was attributed to. Raises
    `UsageError` where the run has no such anomaly, or no faults."""
    if not run.result.exists():
        raise UsageError(f"{run.folder}: has no result.json: judge it first, splitbrain check {run.folder}")
    result = decode(run.result.read_bytes(), run.result)
    if not isinstance(result, Result) or not result.counts:
        raise UsageError(f"{run.folder}: no anomaly was found in that run, so that there is nothing to shrink.")
    told = [one.identifier for one in result.anomalies]
    sought = anomaly or (told or list(result.counts))[0]
    if sought not in result.counts:
        raise UsageError(f"{run.folder}: '{sought}' was not found in that run: {hint(sought, list(result.counts))}")
    plan = resolve({"expect": (sought,)}, replay=run.folder)
    _, recording = load(run.journal)
    places = {fault: place for place, fault in enumerate(replay(recording))}
    blamed = dict.fromkeys(one.fault for one in result.anomalies if one.identifier == sought and one.fault in places)
    return plan, sought, tuple(places[fault] for fault in blamed if fault is not None)


def smallest(plan: Plan, shows: Shows, blamed: Sequence[int] = ()) -> Plan:
    """The smallest plan that was found to show what `plan` shows: no fault, and no effect of one, can be left out of it; its
    faults last as short, begin as early, and its load is as short and has as few workers, as halving finds.

    `blamed` are places in the schedule of the faults that are tried first, alone.
    """
    if blamed and shows(least := _only(plan, [atom for atom in _atoms(plan) if atom[0] in blamed])):
        plan = least
    whole = plan
    plan = _fewest(whole, shows, range(len(whole.schedule)), lambda kept: [one for one in _atoms(whole) if one[0] in kept])
    plan = _fewest(plan, shows, _atoms(plan), lambda kept: kept)
    plan = _earlier(plan, shows)
    for at in range(len(plan.schedule)):
        plan = _shorter(plan, shows, at)
    return _fewer_clients(_less_time(plan, shows), shows)


class Trials:
    """An oracle that asks runs. `shows` runs a plan and tells whether the anomaly was seen (the number of the run beside it); a
    plan shows it if most of `tries` runs did. After `most` runs in all nothing shows anything any more, which ends the
    search. The smallest plan is run `confirm` times more, for its rate: the runs that found it were chosen by their luck.
    `tell` is told every answer. `least` is the smallest plan so far that showed it; None before any did."""

    def __init__(self, shows: Callable[[Plan, int], bool], tries: int, most: int, confirm: int,
                 tell: Callable[[Plan, int, int], None]) -> None:
        self._shows = shows
        self._tries = tries
        self._wanted = tries // 2 + 1
        self._most = most
        self._confirm = confirm
        self._tell = tell
        self._done = 0
        self.least: Plan | None = None

    @property
    def spent(self) -> bool:
        """Whether no more runs are allowed."""
        return self._done >= self._most

    def shrink(self, plan: Plan, blamed: Sequence[int] = ()) -> Found:
        """The smallest plan and its rate. Raises `UsageError` where the plan itself does not show the anomaly."""
        seen, runs = self._ask(plan, self._tries, None)
        if not seen:
            raise UsageError(f"the same faults showed it in none of {runs} runs: it needs more than they tell, or more "
                             "--tries.")
        self._wanted = min(self._wanted, seen)
        self.least = plan
        found = smallest(plan, self, blamed)
        spent, self._most = self._most, self._done + self._confirm
        seen, runs = self._ask(found, self._confirm, None)
        self._most = min(spent, self._done)
        return Found(found, seen, runs)

    def __call__(self, plan: Plan) -> bool:
        seen, _ = self._ask(plan, self._tries, self._wanted)
        if seen < self._wanted:
            return False
        self.least = plan
        return True

    def _ask(self, plan: Plan, tries: int, wanted: int | None) -> tuple[int, int]:
        """How often it was seen in how many runs: no more of them than decide whether it is `wanted` times, or all."""
        seen = runs = 0
        while runs < tries and not self.spent:
            if wanted is not None and not seen < wanted <= seen + tries - runs:
                break
            self._done += 1
            runs += 1
            seen += self._shows(plan, self._done)
        if runs:
            self._tell(plan, seen, runs)
        return seen, runs


def size(plan: Plan) -> str:
    """How big a plan is, in a line."""
    faults = len(plan.schedule)
    under = sum(fault.duration for fault in plan.schedule)
    return (f"{faults} fault{'s' * (faults != 1)}, {under:.1f} s under fault, {length(plan):.1f} s of load, "
            f"{plan.concurrency} client{'s' * (plan.concurrency != 1)} a node")


def script(plan: Plan) -> Iterator[str]:
    """The faults of a plan, a line each."""
    names = [f"n{number}" for number in range(1, plan.nodes + 1)]
    for fault in plan.schedule:
        does = " + ".join(spec.doing(names) for spec in fault.specs) or f"{fault.nemesis} {fault.scenario}"
        yield f"at {fault.at:.1f} s for {fault.duration:.1f} s: {does}"


def _fewest(plan: Plan, shows: Shows, parts: Sequence[T], atoms: Callable[[Sequence[T]], Sequence[Atom]]) -> Plan:
    """Leave out what can be left out of `parts` (ddmin), then each that is left once more alone: an answer may have been bad
    luck. `atoms` are those of some parts."""
    kept = list(parts)
    pieces = 2
    while len(kept) > 1:
        chunks = _chunks(kept, pieces)
        without = [[one for one in kept if one not in chunk] for chunk in chunks] if len(chunks) > 2 else []
        smaller = next((less for less in (*chunks, *without) if shows(_only(plan, atoms(less)))), None)
        if smaller is not None:
            pieces = 2 if smaller in chunks else max(2, pieces - 1)
            kept = smaller
        elif pieces < len(kept):
            pieces = min(len(kept), 2 * pieces)
        else:
            break
    for one in list(kept):
        rest = [other for other in kept if other != one]
        if rest and shows(_only(plan, atoms(rest))):
            kept = rest
    return _only(plan, atoms(kept))


def _chunks(kept: Sequence[T], pieces: int) -> list[list[T]]:
    ends = [round(len(kept) * number / pieces) for number in range(pieces + 1)]
    return [list(kept[begin:end]) for begin, end in pairwise(ends) if end > begin]


def _atoms(plan: Plan) -> list[Atom]:
    return [(at, one) for at, fault in enumerate(plan.schedule) for one in range(max(1, len(fault.specs)))]


def _only(plan: Plan, atoms: Sequence[Atom]) -> Plan:
    """The plan with these effects alone, and with no options of a nemesis that is gone: a plan is not read back with them."""
    faults = []
    for at, fault in enumerate(plan.schedule):
        kept = [one for where, one in atoms if where == at]
        if kept:
            specs: tuple[Spec, ...] = tuple(fault.specs[one] for one in kept) if fault.specs else ()
            faults.append(msgspec.structs.replace(fault, specs=specs))
    less = msgspec.structs.replace(plan, schedule=tuple(faults))
    named = kinds(less)
    return msgspec.structs.replace(less, options={name: table for name, table in plan.options.items() if name in named})


def _earlier(plan: Plan, shows: Shows) -> Plan:
    """Begin the faults earlier, and let them follow each other without the time in which nothing was in force."""
    order = sorted(plan.schedule, key=lambda fault: fault.at)
    end, moved = LEAD, []
    gone, last = 0.0, 0.0
    for fault in order:
        gone += max(0.0, fault.at - max(last, 0.0) - LEAD)
        last = max(last, fault.at + fault.duration)
        moved.append(msgspec.structs.replace(fault, at=round(fault.at - gone, 3)))
        end = max(end, moved[-1].at + moved[-1].duration)
    tried = _with(plan, moved, max(end + LEAD, length(plan) - gone))
    return tried if gone and shows(tried) else plan


def _shorter(plan: Plan, shows: Shows, at: int) -> Plan:
    """Halve a fault for as long as the anomaly is shown; what comes after it comes earlier."""
    while plan.schedule[at].duration / 2 >= SHORTEST:
        fault = plan.schedule[at]
        less, end = round(fault.duration / 2, 3), fault.at + fault.duration
        script = [
            msgspec.structs.replace(other, at=round(other.at - less * (other.at >= end), 3)) for other in plan.schedule
        ]
        script[at] = msgspec.structs.replace(fault, duration=less)
        tried = _with(plan, script, length(plan) - less)
        if not shows(tried):
            break
        plan = tried
    return plan


def _less_time(plan: Plan, shows: Shows) -> Plan:
    """Less load after the last fault."""
    end = max(fault.at + fault.duration for fault in plan.schedule)
    left = length(plan) - end
    while left / 2 >= LEAD:
        left /= 2
        tried = _with(plan, plan.schedule, round(end + left, 3))
        if not shows(tried):
            break
        plan = tried
    return plan


def _fewer_clients(plan: Plan, shows: Shows) -> Plan:
    while plan.concurrency > 1:
        tried = msgspec.structs.replace(plan, concurrency=plan.concurrency // 2)
        if not shows(tried):
            break
        plan = tried
    return plan


def _with(plan: Plan, script: Sequence[ScriptedFault], time: float) -> Plan:
    end = max(fault.at + fault.duration for fault in script)
    return msgspec.structs.replace(plan, schedule=tuple(script), time=round(max(time, end), 3))
