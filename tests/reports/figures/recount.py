"""A journal counted anew, line by line and in the plainest way: with nothing of what judges or reports."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

SECOND = 1_000_000_000
NO_PRIMARY = ("no-primary-in-reach", "no-leader")


@dataclass(eq=False)
class Call:
    """One operation. `ended` is infinite where it never was answered; `sure` says that its outcome is known."""

    process: int
    f: str
    kind: str
    key: Any
    value: Any
    node: str
    server: str
    invoked: int
    scheduled: int | None
    ended: float = math.inf
    returned: float = math.inf
    """When it ended, also of those whose outcome is not known."""
    outcome: str = "info"
    error: str = ""
    detail: str = ""
    seen: Any = None

    @property
    def answered(self) -> bool:
        return self.outcome == "ok" or self.error == "mismatch"

    @property
    def latency(self) -> float:
        began = self.invoked if self.scheduled is None else min(self.scheduled, self.invoked)
        return self.ended - began


@dataclass
class Measured:
    attempted: int = 0
    answered: int = 0
    outage: float = 0.0
    time_share: float = 1.0
    long: list[float] = field(default_factory=list)
    """Seconds of the outages over the limit."""
    limit: float = 1.0
    latency: float = 0.0

    @property
    def share(self) -> float:
        return self.answered / self.attempted

    @property
    def interval(self) -> tuple[float, float]:
        """After Wilson: the two shares whose distance from what was seen is 1.96 of their own standard errors; by halving."""
        def edge(low: float, high: float, sign: int) -> float:
            for _ in range(100):
                middle = (low + high) / 2
                away = abs(self.share - middle) > 1.959963984540054 * math.sqrt(middle * (1 - middle) / self.attempted)
                low, high = (middle, high) if away == (sign < 0) else (low, middle)
            return low

        return edge(0.0, self.share, -1), edge(self.share, 1.0, 1)


class Recount:
    def __init__(self, lines: Iterable[str]) -> None:
        told = [json.loads(line) for line in lines]
        of = defaultdict(list)
        for line in told:
            of[line["type"]].append(line)
        self.plan = of["header"][0]["plan"]
        self.variant = of["header"][0]["variant"]
        self.nodes: list[str] = of["header"][0]["nodes"]
        self.calls: list[Call] = []
        open_calls: dict[int, Call] = {}
        for line in told:
            if line["type"] == "invoke":
                call = Call(
                    line["process"], line["f"], line["kind"], line.get("key"), line.get("value"), line.get("node", ""),
                    line.get("server") or "", line["time"], line.get("scheduled"),
                )
                open_calls[call.process] = call
                self.calls.append(call)
            elif line["type"] in ("ok", "fail", "info"):
                call = open_calls.pop(line["process"])
                call.ended = call.returned = line["time"]
                call.outcome, call.error, call.detail = line["type"], line.get("error") or "", line.get("detail") or ""
                call.seen = line.get("seen")
                if line["type"] == "ok" and line.get("value") is not None:
                    call.value = line["value"]
                elif line["type"] == "ok" and call.f == "read":
                    call.value = None
        faults = {line["fault"]["id"]: line["fault"] for line in of["fault"]}
        self.faults: list[dict[str, Any]] = [faults[number] for number in sorted(faults)]
        self.views = [line["view"] for line in of["view"]]
        self.copies = [line["read"] for line in of["local-read"]]
        self.phases = {(line["name"], line["ended"]): line for line in of["phase"]}
        self.load: tuple[int, int] = self.phases["load", False]["time"], self.phases["load", True]["time"]
        self.final: int = self.phases["final-reads", False]["time"]
        self.cpu: float = self.phases["load", True]["cpu"] / (self.load[1] - self.load[0])
        assert not of["stall"] and not of["death"], "time that is left out, and servers that die, are not counted here"
        self.measure = cache(self._measure)

    def call(self, process: int, at: float) -> Call | None:
        """That client's call that began at that millisecond (in seconds, rounded down)."""
        return next((call for call in self.calls if call.process == process and 0 <= call.invoked / SECOND - at < 0.001), None)

    # The run

    @property
    def before(self) -> tuple[int, int]:
        return self.load[0], min(fault["started"] for fault in self.faults)

    def window(self, fault: dict[str, Any]) -> tuple[int, int]:
        return fault["in_force"], fault["heal_began"]

    def after(self, fault: dict[str, Any]) -> tuple[int, int]:
        later = [other["started"] for other in self.faults if other["started"] > fault["healed"]]
        return fault["healed"], min([self.load[1], *later])

    def sides(self, fault: dict[str, Any]) -> list[tuple[str, ...]]:
        found = [tuple(side) for side in fault["sides"]]
        return sorted(found, key=lambda side: (fault["primary"] not in side, -len(side), side)) or [tuple(self.nodes)]

    def cut(self, fault: dict[str, Any]) -> list[list[str]]:
        return [link for spec in fault["specs"] if spec["type"] == "cut" for link in spec["links"]]

    def made(self, kind: str = "", homes: Iterable[str] = (), since: float = -math.inf, until: float = math.inf) -> list[Call]:
        """The calls of that kind at these homes that began in that time."""
        among = set(homes or self.nodes)
        return [call for call in self.calls
                if (not kind or call.kind == kind) and call.node in among and since <= call.invoked < until]

    # Availability

    def _measure(self, homes: tuple[str, ...], kind: str, window: tuple[int, int], limit: float | None = None) -> Measured:
        if limit is None:
            whole = len(homes) == len(self.nodes) and window == self.before
            limit = 1.0 if whole else max(1.0, 3 * self.measure(homes, kind, self.before, 1.0).outage)
        began, over = window
        calls = self.made(kind, homes)
        tried = [call for call in calls if began <= call.invoked < over
                 and not (call.ended > over and over - call.invoked <= SECOND)]
        good = [call for call in tried if call.answered and call.ended <= over]
        lived = self.made("", homes)
        since = max(began, min(call.invoked for call in lived))
        until = min(over, max(call.returned for call in lived))
        gaps = self.gaps(calls, since, until)
        unserved = [end - start for start, end in gaps if end - start > limit * SECOND / 3]
        return Measured(
            attempted=len(tried), answered=len(good), outage=max((end - start for start, end in gaps), default=0) / SECOND,
            time_share=1 - sum(unserved) / (until - since), limit=limit,
            long=[(end - start) / SECOND for start, end in gaps if end - start > limit * SECOND],
            latency=statistics.median(call.ended - call.invoked for call in good) / SECOND if good else 0.0,
        )

    def gaps(self, calls: list[Call], since: float, until: float) -> list[tuple[float, float]]:
        """Every time between two answers in which a call was open, from the first moment at which one was."""
        there = [(max(call.invoked, since), min(call.ended, until)) for call in calls
                 if call.invoked < until and call.ended > since]
        answers = sorted(call.ended for call in calls if call.answered and since < call.ended <= until and call.invoked < until)
        found = []
        for start, end in zip([since, *answers], [*answers, until], strict=True):
            if not any(begin <= start < over for begin, over in there):
                start = min((begin for begin, _ in there if begin > start), default=math.inf)
            if start < end:
                found.append((start, end))
        return found

    def new_primary(self, fault: dict[str, Any], side: tuple[str, ...], kind: str) -> tuple[float, float] | None:
        """Seconds until the side's new primary first answered such a call, and the share from then on; None without one."""
        began, over = self.window(fault)
        news = [view for view in self.views if fault["started"] <= view["time"] < over and view["node"] in side
                and view["primary"] in side and view["primary"] != fault["primary"]]
        if not news:
            return None
        first = min(news, key=lambda view: view["time"])
        answers = [call.ended for call in self.made(kind, side, fault["started"])
                   if call.answered and call.ended <= over
                   and (call.ended >= first["time"] if self.variant[f"{kind}s"] == "home" else call.server == first["primary"])]
        if not answers:
            return None
        start = max(began, min(answers))
        tried = [call for call in self.made(kind, side, start, over)
                 if not (call.ended > over and over - call.invoked <= SECOND)]
        return (start - began) / SECOND, sum(call.answered and call.ended <= over for call in tried) / len(tried)

    def without_primary(self, fault: dict[str, Any], side: tuple[str, ...]) -> float | None:
        """The longest time in which calls found no primary and none was answered."""
        began, over = self.window(fault)
        found = []
        for kind in ("read", "write"):
            calls = self.made(kind, side)
            refused = [call.ended for call in calls if call.error in NO_PRIMARY]
            for start, end in self.gaps(calls, began, over):
                if end - start > SECOND / 10 and any(start < at <= end for at in refused):
                    found.append((end - start) / SECOND)
        return max(found, default=None)

    def recovered(self, fault: dict[str, Any]) -> float | None:
        """Seconds from the heal until the reads and the writes of every home were answered steadily again."""
        began, over = self.after(fault)
        latest: float = began
        for node in self.nodes:
            for kind in ("read", "write"):
                calls = self.made(kind, (node,))
                if not any(call.invoked < over and call.ended > began for call in calls):
                    continue
                long = [end for start, end in self.gaps(calls, began, over) if end - start > SECOND]
                inside = sorted((call for call in calls if call.invoked >= began and call.ended <= over),
                                key=lambda call: call.ended)
                for at, call in enumerate(inside):
                    rest = Measured(len(inside) - at, sum(other.answered for other in inside[at:]))
                    if call.answered and call.ended >= max(long, default=began) and rest.interval[1] >= 0.99:
                        if over - call.ended < SECOND:
                            return None
                        latest = max(latest, call.ended)
                        break
                else:
                    return None
        return (latest - began) / SECOND

    def agreed(self) -> float | None:
        """Seconds from the last heal until each key had been seen equal on all nodes, beside the load or after it."""
        last = self.faults[-1]
        since = last["healed"]
        beside = [read for read in self.copies if read["fault"] == last["id"]]
        if not beside:
            return None
        found = _all_equal(beside) or _all_equal(self.after_load())
        return None if found is None else (found - since) / SECOND

    def agreed_after_load(self) -> float | None:
        """The same from the end of the load, where nobody looked before."""
        found = _all_equal(self.after_load())
        return None if found is None else (found - self.load[1]) / SECOND

    def after_load(self) -> list[Any]:
        return [read for read in self.copies if read["fault"] is None and read["time"] >= self.faults[-1]["healed"]]

    # What was given up

    def shut(self, kind: str) -> float:
        """The share of homes of whose calls less than half were answered, of those that made calls; in the worst fault."""
        found = []
        for fault in self.faults:
            each = [self.measure((node,), kind, self.window(fault)) for node in self.nodes]
            worked = [2 * one.answered >= one.attempted for one in each if one.attempted]
            found.append(worked.count(False) / len(worked))
        return max(found)

    def reach(self, of: str, kind: str) -> tuple[int, int, int]:
        """How many keys or servers answered less than half of such calls, of how many that were asked, and in which fault:
        where that was the greatest part."""
        found = []
        for fault in self.faults:
            began, over = self.window(fault)
            asked: dict[Any, list[bool]] = defaultdict(list)
            for call in self.made(kind, (), began, over):
                if call.ended > over and over - call.invoked <= SECOND:
                    continue
                for place in [call.key] if of == "key" else [call.server] if call.server else []:
                    asked[place].append(call.answered and call.ended <= over)
            few = sum(2 * sum(good) < len(good) for good in asked.values())
            found.append((few, len(asked), fault["id"]))
        return max(found, key=lambda one: one[0] / one[1])

    def lost(self) -> int:
        """Acknowledged writes that are certainly gone: elements that no last read has; registers whose last value was written
        before another write began that was acknowledged."""
        last = [call for call in self.calls if call.invoked >= self.final and call.outcome == "ok"]
        if any(call.f in ("add", "txn") for call in self.calls):
            held: dict[Any, set[Any]] = defaultdict(set)
            for call in last:
                for f, key, value in call.value if call.f == "txn" else [("r", call.key, call.value)]:
                    held[key] |= set(value or ()) if f == "r" else set()
            return sum(value not in held[key] for key, value in self.added() if key in held)
        made = [call for call in self.calls if call.f in ("write", "cas")]
        new = {(call.key, call.value[1] if call.f == "cas" else call.value): call for call in made if call.outcome != "fail"}
        kept = {call.key: new.get((call.key, call.value)) for call in last}
        return sum(call.outcome == "ok" and (one := kept[call.key]) is not None and call.invoked > one.ended for call in made)

    def added(self) -> list[tuple[Any, Any]]:
        """(key, element) of everything whose addition was acknowledged."""
        found = [(call.key, call.value) for call in self.calls if call.f == "add" and call.outcome == "ok"]
        return found + [(key, value) for call in self.calls if call.f == "txn" and call.outcome == "ok"
                        for f, key, value in call.value if f == "append"]

    @cached_property
    def gone(self) -> list[Call]:
        """The additions to sets that were acknowledged, and that no last read has."""
        return [add for add in self.calls if add.f == "add" and add.outcome == "ok" and not self.seen_at_last(add)]

    @cached_property
    def missing(self) -> list[tuple[Call, float]]:
        """Every read of a set that missed an element which had been acknowledged when it was asked for, and was found again
        later; and the seconds for which the first such element had been acknowledged."""
        found = []
        for read in self.calls:
            if read.f != "read" or read.outcome != "ok":
                continue
            missed = [
                add.ended for add in self.calls
                if add.f == "add" and add.key == read.key and add.outcome == "ok" and add.ended < read.invoked
                and add.value not in (read.value or ()) and self.seen_at_last(add)
            ]
            if missed:
                found.append((read, (read.invoked - min(missed)) / SECOND))
        return found

    def began(self, name: str) -> Counter[bool]:
        """How many of these anomalies were first seen once the first fault had begun (it may have caused them), and how many
        before: a lost element by the first read that missed it for good, a stale read when it was made."""
        stale = name == "stale-read"
        moments = [read.invoked for read, _ in self.missing] if stale else [self.missed_since(add) for add in self.gone]
        return Counter(moment >= self.faults[0]["started"] for moment in moments)

    def missed_since(self, add: Call) -> int:
        """When the first read of that set began that missed an element which nobody found afterwards."""
        reads = [read for read in self.calls if read.f == "read" and read.key == add.key and read.outcome == "ok"]
        there = max([add.ended, *(read.ended for read in reads if add.value in (read.value or ()))])
        return min(read.invoked for read in reads if read.invoked > there)

    def stale(self) -> list[float]:
        """The ages of these reads."""
        return [age for _, age in self.missing]

    def seen_at_last(self, add: Call) -> bool:
        """Whether some last read of that set has that element."""
        return any(call.key == add.key and add.value in (call.value or ()) for call in self.calls
                   if call.invoked >= self.final and call.f == "read" and call.outcome == "ok")

    def written(self) -> dict[Any, set[tuple[str, ...]]]:
        """Key by key, by the servers of which sides writes were acknowledged while a fault was in force."""
        found: dict[Any, set[tuple[str, ...]]] = defaultdict(set)
        for fault in self.faults:
            began, over = self.window(fault)
            for call in self.calls:
                if call.kind == "write" and call.outcome == "ok" and began <= call.invoked and call.ended <= over:
                    place = call.server or call.node
                    found[call.key] |= {side for side in self.sides(fault) if place in side}
        return found

    # Calls

    def touched(self, call: Call) -> list[Any]:
        """The keys of a call: those of all its parts, where it is a transaction."""
        return [part[1] for part in call.value] if call.f == "txn" else [call.key]

    def keys(self) -> set[Any]:
        return {key for call in self.calls for key in self.touched(call)}

    def by_second(self) -> list[list[Call]]:
        """The calls of the load by the second in which they began."""
        loaded = [call for call in self.calls if call.invoked < self.final]
        first = min(call.invoked for call in loaded)
        found: list[list[Call]] = [[] for _ in range((max(call.invoked for call in loaded) - first) // SECOND + 1)]
        for call in loaded:
            found[(call.invoked - first) // SECOND].append(call)
        return found

    def quantile(self, calls: list[Call], part: float) -> float:
        """Of how long they took, in seconds: between two neighbours in proportion."""
        took = sorted(call.latency for call in calls)
        at = part * (len(took) - 1)
        low = math.floor(at)
        high = min(low + 1, len(took) - 1)
        return (took[low] + (took[high] - took[low]) * (at - low)) / SECOND

    def parts(self) -> dict[str, tuple[Callable[[Call], bool], float]]:
        """The parts of the load by their names: which calls belong there, and its seconds."""
        loaded = [call for call in self.calls if call.invoked < self.final]
        first, last = min(call.invoked for call in loaded), max(call.invoked for call in loaded)
        spans = [self.window(fault) for fault in self.faults]
        started, healed = min(fault["started"] for fault in self.faults), max(fault["healed"] for fault in self.faults)
        return {
            "before the faults": (lambda call: call.invoked < started, (started - first) / SECOND),
            "during the faults": (lambda call: any(began <= call.invoked < over for began, over in spans),
                                  sum(over - began for began, over in spans) / SECOND),
            "after the last heal": (lambda call: healed <= call.invoked < self.final, (last - healed) / SECOND),
        }

    def in_flight(self) -> float:
        began, over = self.load
        return sum(max(0.0, min(call.ended, over) - max(call.invoked, began)) for call in self.calls) / (over - began)

    def stage(self, call: Call) -> str:
        """The part of the run in which a call began, as the table of operations calls it."""
        found = "baseline"
        for fault in self.faults:
            name = f"fault {fault['id']}"
            for moment, told in (("started", f"{name} begins"), ("in_force", name), ("heal_began", f"{name} heals"),
                                 ("healed", f"after {name}")):
                found = told if call.invoked >= fault[moment] else found
        found = "after the load" if call.invoked >= self.load[1] else found
        return "final reads" if call.invoked >= self.final else found


def _all_equal(reads: list[Any]) -> int | None:
    """When every key had been seen equal on all nodes in one round."""
    rounds: dict[Any, list[Any]] = defaultdict(list)
    for read in reads:
        rounds[read["round"], read["key"]].append(read)
    seen: dict[Any, int] = {}
    for (_, key), found in sorted(rounds.items(), key=lambda item: item[0][0]):
        same = len({_held(read["value"]) for read in found}) == 1 and not any(read["error"] for read in found)
        if same and key not in seen:
            seen[key] = max(read["time"] for read in found)
    return max(seen.values()) if rounds and set(seen) == {key for _, key in rounds} else None


def _held(value: Any) -> str:
    return json.dumps(sorted(value, key=repr) if isinstance(value, list) else value)
