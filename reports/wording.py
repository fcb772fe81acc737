"""The words and numbers of everything that people read: one way to write a value, a time, a share, a side.

Whatever came from a database or a person goes through `printable` before it reaches a terminal, a page or an XML file.
"""

from __future__ import annotations

import json
import math
import re
import shlex
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from splitbrain.checkers.result import Blast, Discarded, Failure, Held, Measure, Scenario, Side
from splitbrain.checkers.verdict import Anomaly, Figure
from splitbrain.harness.history.moment import clock as clock
from splitbrain.harness.history.moment import moment as moment
from splitbrain.harness.history.operation import MISMATCH, Operation
from splitbrain.harness.history.sides import group, told
from splitbrain.harness.options import changed as changed_options
from splitbrain.harness.plan import Plan, usual_rto_max
from splitbrain.harness.settings import keys

SLOWER = 0.02
"""Seconds that a median must have grown by to be told."""

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def printable(text: object, limit: int = 300) -> str:
    """One line in which nothing is hidden: control, formatting, bidirectional and unassigned characters are written as
    escapes, and what is longer than `limit` is cut with its length told."""
    whole = str(text)
    shown = "".join(_escaped(letter) if unicodedata.category(letter) in _HIDDEN else letter for letter in whole[:limit])
    return shown if len(whole) <= limit else f"{shown}… ({count(len(whole))} characters)"


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape", "surrogatepass").decode("ascii")


def in_markdown(text: str) -> str:
    """Text that Markdown shows as it is."""
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>#|" else letter for letter in printable(text, 1000))


def value(of: Any, limit: int = 60) -> str:
    """A value that was written or read, as people write it: `42`, `nil`, `"text"`, `[1 2 3]`, `{a: 1}`."""
    return printable(_plain(of), limit)


def _plain(of: Any) -> str:
    match of:
        case None:
            return "nil"
        case bool() | int() | float():
            return json.dumps(of)
        case str():
            return json.dumps(of, ensure_ascii=False)
        case dict():
            return "{" + ", ".join(f"{key}: {_plain(item)}" for key, item in of.items()) + "}"
        case set() | frozenset():
            return "{" + " ".join(sorted(map(_plain, of))) + "}"
        case list() | tuple():
            return "[" + " ".join(map(_plain, of)) + "]"
        case _:
            return str(of)


def phrase(operation: Operation) -> tuple[str, str]:
    """An operation in two halves, the call and its answer: `("write 42", "ok")`, `("read", "7")`."""
    returned = operation.f in _RETURNING
    match operation.value:
        case (expected, new) if operation.f == "cas":
            call = f"cas {value(expected)} to {value(new)}"
        case argument if returned or argument is None:
            call = operation.f
        case [*micros] if operation.f == "txn" and all(isinstance(one, list | tuple) and len(one) == 3 for one in micros):
            call = f"txn: {', '.join(_micro(one, done=operation.outcome == 'ok') for one in micros)}"
        case argument:
            call = f"{operation.f} {value(argument)}"
    reason = f" ({printable(operation.error, 60)})" if operation.error else ""
    if operation.outcome == "ok":
        answer = value(operation.value) if returned else "ok"
    elif operation.outcome == "info":
        answer = f"no answer{reason}"
    elif operation.error == MISMATCH:
        answer = f"refused, saw {value(operation.seen[0])}" if operation.seen else "refused (mismatch)"
    else:
        answer = f"failed{reason}"
    return printable(call), answer


def _micro(micro: Sequence[Any], *, done: bool) -> str:
    """What a transaction did to one key: `read 58: [… 2722 2730 2755]`, `append 2771 to 59`."""
    f, key, given = micro
    match f:
        case "r" if done:
            newest = isinstance(given, list | tuple) and len(given) > NEWEST
            return f"read {value(key)}: " + (f"[… {' '.join(map(value, given[-NEWEST:]))}]" if newest else value(given))
        case "r":
            return f"read {value(key)}"
        case "append":
            return f"append {value(given)} to {value(key)}"
        case "w":
            return f"write {value(given)} to {value(key)}"
    return value(list(micro))


NEWEST = 3
"""Of a list that a transaction read, so many of the last elements are told; all of it is in the journal."""

_RETURNING = frozenset({"read", "elements", "dequeue", "poll", "pop", "get"})


def when(operation: Operation) -> str:
    """From when to when: `0:15.076–0:15.082`, and `0:15.076` where it took less than can be told, or had no answer. So every
    time that a sentence tells of it is there, be it that of the call or of the answer."""
    began = clock(operation.invoked)
    ended = began if operation.completed is None else clock(operation.completed)
    return began if ended == began else f"{began}–{ended}"


def failed(failure: Failure) -> str:
    """The reason of failures, and whether it leaves open what happened: `not-primary`, `timeout (may have happened)`."""
    return printable(failure.reason, 60) + (" (may have happened)" if failure.outcome == "info" else "")


def client(operation: Operation) -> str:
    """Who called: `n1 client 3`, and the server where it was not the home."""
    home = f"{printable(operation.node)} " if operation.node else ""
    via = f" via {printable(operation.server)}" if operation.server and operation.server != operation.node else ""
    return f"{home}client {operation.process}{via}"


def within(anomaly: Anomaly, scenario: Scenario) -> bool:
    """Whether an operation of the evidence was open while the fault was in force; else it shows what came of it."""
    if scenario.in_force is None:
        return False
    began, over = scenario.in_force * 1e9, math.inf if scenario.heal_began is None else scenario.heal_began * 1e9
    return any(op.invoked <= over and (op.completed is None or op.completed >= began) for op in anomaly.operations)


def before(anomaly: Anomaly, scenario: Scenario) -> bool:
    """Whether all of the evidence was over before the fault was in force on every node: it was being put in force."""
    return scenario.in_force is not None and bool(anomaly.operations) and all(
        op.completed is not None and op.completed < scenario.in_force * 1e9 for op in anomaly.operations
    )


def during(anomaly: Anomaly, scenario: Scenario) -> str:
    """Where an anomaly belongs: `in that partition, {n1} | {n2 n3}: CP: ...`. Of a fault that cut no link between nodes there
    is no class to tell, only what was done, where the anomaly's own sentence does not tell it."""
    there, early = within(anomaly, scenario), before(anomaly, scenario)
    label = printable(scenario.label)
    if scenario.links_cut and not scenario.struck:
        when = "while the links were being cut" if early else "that goes back to the partition before"
        if there:
            return f"in that partition, {label}: {scenario.sentence.replace(' during the partition', '')}"
        return f"{when}, {label}: {scenario.sentence}"
    when = "this was just being done" if early else "that goes back to what was done before"
    told = f"{'this was done meanwhile' if there else when}: {label}"
    if scenario.links_cut:
        return f"{told}: {scenario.sentence}"
    return "" if there and label in anomaly.sentence else told


def untried(measure: Measure) -> str:
    """Why no call of that kind is counted in a window: nobody made one, or all who would have waited for earlier ones."""
    if measure.time_share is None:
        return "nothing was tried"
    return f"clients waited for {seconds(measure.outage)}: none was answered, so that none could ask again"


def place(operation: Operation) -> str:
    """Where an operation was made: `n1`, `n1 via n3` where another server than its home's was asked; the client's number of
    a history that names no nodes."""
    if not operation.node:
        return f"client {operation.process}"
    via = f" via {printable(operation.server)}" if operation.server and operation.server != operation.node else ""
    return printable(operation.node) + via


def span(ns: float) -> str:
    """A length of time with two or three digits: `3 ms`, `1.2 s`, `75 s`, `12 min`."""
    if ns < 0:
        return f"-{span(-ns)}"
    ms = ns / 1e6
    if ms < 0.95:
        return f"{ms:.2f} ms" if ms >= 0.005 else ("0 ms" if ns == 0 else "<0.01 ms")
    if ms < 9.95:
        return f"{ms:.1f} ms"
    if ms < 999.5:
        return f"{ms:.0f} ms"
    seconds = ms / 1000
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"


def seconds(of: float) -> str:
    """A length of time given in seconds, as `span` writes it."""
    return span(of * 1e9)


def count(number: int) -> str:
    """An integer with its thousands apart: `12,431`."""
    return f"{number:,}"


def bounds(figure: Figure) -> str:
    """How often it is counted: `34`; `0 to 3` where that is not known."""
    return count(figure.least) if figure.least == figure.most else f"{count(figure.least)} to {count(figure.most)}"


def gave_way(of: Discarded) -> str:
    """What became of what several sides acknowledged: `40 keys were written on several sides; after the heal 758 acknowledged
    writes on 38 keys gave way, 38 of them the last there (by {n1})`; and of how many keys no read tells."""
    keys = f"{plural(of.contested, 'key')} {'was' if of.contested == 1 else 'were'} written on several sides"
    if of.keys > of.contested:
        keys += ", others on one that gave way as a whole"
    untold = f"; of {plural(of.untold, 'key')} no read tells whether a side's writes survived" if of.untold else ""
    if not of.writes:
        return f"{keys}; after the heal none {'was seen to give' if of.untold else 'gave'} way{untold}"
    by = ", ".join(side(nodes) for nodes in dict.fromkeys(row.nodes for row in of.rows))
    gone = f"{'at least ' if of.untold else ''}{plural(of.writes, 'acknowledged write')} on {plural(of.keys, 'key')} gave way"
    return f"{keys}; after the heal {gone}, {count(of.last)} of them the last there (by {by}){untold}"


def slower(baseline: Sequence[Measure], scenario: Scenario) -> Iterator[str]:
    """What took longer than before the first fault, on a side that was answered: more than twice as long, and to be felt. Where
    every round trip between nodes took longer by as much, how many of them that is."""
    before = {found.kind: found.latency for found in baseline}
    for part in scenario.told:
        for found in (part.write, part.read):
            healthy = before.get(found.kind)
            if found.latency and healthy and found.state != "blocked" and found.latency > max(2 * healthy, healthy + SLOWER):
                who = "" if len(scenario.told) == 1 else f" of {side(part.nodes)}"
                trip, longer = scenario.round_trip, found.latency - healthy
                trips = "" if trip is None else f": longer by {longer / trip:.1f} round trips of {seconds(trip)}"
                yield f"{found.kind}s{who} took {seconds(found.latency)}, {seconds(healthy)} before (medians){trips}"


def cost(of: Blast) -> list[tuple[str, str]]:
    """What a partition cost, figure by figure: its name, and its number or that it is not known."""
    def told(number: float | None, what: str, missing: str) -> str:
        return f"not known: {missing}" if number is None else f"{share(round(number * 1_000_000), 1_000_000)} {what}"

    rows = [("Writes rejected", told(of.rejected, "of those tried while a fault was in force were refused or not answered",
                                    "none was tried, or no fault was proven"))]
    rows += [(f"{one.of.capitalize()} without {one.kind}s", f"{count(one.touched)} of {count(one.asked)} that were asked "
              f"answered less than half of the {one.kind}s, in {f'fault {one.fault}' if one.touched else 'any fault'}")
             for one in of.touched]
    rows += [("Quorum in reach", told(of.quorum, "of homes, over the time of all partitions", "no link was proven to be cut")),
             ("Keys in conflict", told(of.contested, "of those written during a partition were written on several sides",
                                       "sides were not parted, or the workload does not tell"))]
    stale = of.staleness
    late = "not known: the workload does not tell" if stale is None else (
        f"{'at least ' if stale.lossy else ''}{share(stale.stale, stale.reads)}"
        + (f", the stalest by {span(stale.max_ms * 1e6)}" if stale.stale else ""))
    rows.append(("Stale reads", late))
    lag = "not known" if of.convergence is None else f"all caught up within {seconds(of.convergence)} of the last heal"
    return [*rows, ("Replication lag", lag)]


def shut(of: Blast, rows: Sequence[Scenario]) -> list[tuple[str, str]]:
    """Whose calls mostly were not answered, and when: a share of the clients, and what became of them in which fault."""
    found: dict[tuple[int, float], list[str]] = {}
    for one in of.clients_blocked:
        found.setdefault((one.fault, one.share), []).append(f"{one.kind}s")
    labels = {row.fault: row.label for row in rows}
    worst = f", the worst of {len(rows)} faults" if len(rows) > 1 else ""
    return [
        (share(round(part * 1_000_000), 1_000_000), f"of clients got less than half of their {' and of their '.join(kinds)} "
         f"answered during {printable(labels.get(fault, f'fault {fault}'))}{worst}")
        for (fault, part), kinds in found.items()
    ]


def replicas(held: Held) -> str:
    """Which keys these are: `2 of 3 replicas here`."""
    return f"{held.here} of {plural(held.of, 'replica')} here"


def time_left(took: float, done: int, left: int) -> str:
    """How long the `left` runs take if they take what the `done` ones took, in `took` seconds; empty where nothing tells it."""
    if not done or left <= 0:
        return ""
    minutes = round(took / done * left / 60)
    return f"about {minutes} min left" if minutes else "less than a minute left"


def plural(number: int, noun: str, nouns: str = "") -> str:
    """`1 key`, `2 keys`."""
    return f"{count(number)} {noun if number == 1 else nouns or noun + 's'}"


def share(part: int, whole: int) -> str:
    """A percentage that never says all or nothing where it was not: `78.2%`, `>99.9%`, `<0.1%`; `-` of nothing."""
    if whole == 0:
        return "-"
    rounded = f"{100 * part / whole:.1f}%"
    if rounded == "100.0%" and part < whole:
        return ">99.9%"
    return "<0.1%" if rounded == "0.0%" and part > 0 else rounded


def side(nodes: Iterable[str]) -> str:
    """A side of a partition: `{n1 n2}`."""
    return group(map(printable, nodes))


def sides(of: Iterable[tuple[str, ...]]) -> str:
    """All sides of a partition, the smallest first: `{n1} | {n2 n3}`."""
    return told(tuple(map(printable, nodes)) for nodes in of)


def spared(of: Side) -> str:
    """`without n2: writes 100.0%, reads 99.8%`: what was answered at the homes of a side that nothing else was done to; empty
    where that is not a part of them."""
    if not of.spared or set(of.nodes) <= set(of.struck):
        return ""
    told = (f"{measure.kind}s {share(measure.answered, measure.attempted)}" for measure in reversed(of.spared))
    return f"without {' '.join(map(printable, of.struck))}: {', '.join(told)}"


def cited(text: str) -> str:
    """What a source says: in quotation marks, unless it brings its own."""
    bare = text.strip()
    return bare if bare.startswith(('"', "“")) else f'"{bare}"'


_ADDRESS = re.compile(r"https?://[^\s<>\"',]*[^\s<>\"',.;:)]")


def sources(of: str) -> tuple[tuple[str, str], ...]:
    """A source in parts: each a name, and behind it its address on the web (empty where it names none). The names make its
    text, put together; a name is its address where it has no other."""
    parts: list[tuple[str, str]] = []
    at = 0
    for found in _ADDRESS.finditer(of):
        name = of[at : found.start()].rstrip(" :,(").removeprefix(")" if parts else "")
        parts.append((name or found[0], found[0]))
        at = found.end()
    rest = of[at:].removeprefix(")" if parts else "")
    return (*parts, (rest, "")) if rest or not parts else tuple(parts)


def source_name(of: str) -> str:
    """A source without its addresses."""
    return "".join(name for name, _ in sources(of))


def sentence(text: str) -> str:
    """With a capital letter and a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) or not text else ".")


FLAGS = {name: key.flag for name, key in keys(Plan).items() if key.flag}
"""The keys of a plan that `splitbrain test` takes as flags. Any other is carried by the plan's file."""

_ALWAYS = frozenset({"variant", "nodes", "seed"})
"""Fields whose default is the database's own, or drawn: told even where they equal the plan's."""


def again(plan: Plan, folder: str) -> str:
    """The command, quoted for a shell, that runs the same schedule again: flags for everything that is not the default;
    the stored plan where something was set that no flag can say."""
    command = ["splitbrain", "test", plan.database]
    default = Plan(database="", variant="", tcp_rto_max_ms=0 if plan.inventory else usual_rto_max())
    told = msgspec.structs.replace(plan, options=changed_options(plan))
    changed = [field for field in plan.__struct_fields__ if getattr(told, field) != getattr(default, field)]
    if any(field not in FLAGS and field not in ("database", "format") for field in changed):
        return shlex.join([*command, "--plan", f"{folder}/plan.toml"])
    for field, flag in FLAGS.items():
        if field not in changed and field not in _ALWAYS:
            continue
        match getattr(plan, field):
            case True:
                command.append(flag)
            case tuple(items):
                command += [part for item in items for part in (flag, str(item))]
            case float(number):
                command += [flag, f"{number:g}"]
            case other:
                command += [flag, str(other)]
    return shlex.join(command)


def quoted(path: str) -> str:
    """A path as a shell takes it."""
    return shlex.quote(path)


def plan_lines(plan: Plan) -> list[tuple[str, str]]:
    """Every field of a plan that differs from the default, as it stands in its TOML file."""
    default = Plan(database="", variant="")
    told = msgspec.structs.replace(plan, options=changed_options(plan))
    return [
        (field, plan_value(told, field)) for field in plan.__struct_fields__ if getattr(told, field) != getattr(default, field)
    ]


def plan_value(plan: Plan, field: str) -> str:
    """What a plan has in that field, as it stands in its TOML file."""
    return printable(json.dumps(msgspec.to_builtins(getattr(plan, field)), ensure_ascii=False))
