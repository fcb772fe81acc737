"""What each figure of a report is: where it stands, in which words, and the number that the journal gives for it.

A claim is a pattern. Its unnamed groups are figures, its named ones tell which (`kind`, `side`); the function returns the
numbers that the figures must show: seconds for times, a share for per cent.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from tests.reports.figures import registers
from tests.reports.figures.page import Block
from tests.reports.figures.recount import SECOND, Call, Measured, Recount

N = r"([<>]?-?\d(?:[\d,.:]*\d)?(?: ?(?:ms|s|min)\b|%)?)"
"""A figure: `1,170`, `781 ms`, `>99.9%`, `0:06.481`."""
SIDE = r"\{(?P<side>[^}]*)\}"
KIND = r"(?P<kind>[Rr]ead|[Ww]rite)s?"

FIRED = r"would (?:not )?have fired"
NAME = (
    r"(?P<name>lost-element|lost-write|split-brain|stale-read|non-monotonic-read|read-went-back|missed-own-write"
    r"|wrong-total|negative-balance|lost-transfer|double-hold|stale-element|duplicate|reordered)"
)

UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "%": 0.01, "": 1.0}


def agrees(told: str, is_: float) -> bool:
    """Whether a printed figure is that number, to the digits that it has."""
    bare = told.strip()
    if ":" in bare:
        minutes, seconds = bare.split(":")
        last = 10.0 ** -len(seconds.partition(".")[2])
        return -1e-9 <= is_ - (int(minutes) * 60 + float(seconds)) < last
    found = re.fullmatch(r"([<>]?)(-?[\d,]*\.?\d+) ?(ms|s|min|%|)", bare)
    assert found, f"not a figure: {told!r}"
    sign, number, unit = found.groups()
    shown = float(number.replace(",", "")) * UNITS[unit]
    if sign:
        return 0 < is_ < shown if sign == "<" else shown < is_ < 1
    last = UNITS[unit] * 10.0 ** -len(number.partition(".")[2])
    if unit == "%" and shown in (0.0, 1.0) and is_ != shown:
        return False
    return abs(is_ - shown) <= last / 2 + 1e-9


class Claim(NamedTuple):
    pattern: re.Pattern[str]
    tag: str
    sections: frozenset[str]
    columns: frozenset[str]
    tell: Callable[..., Any]

    def speaks_of(self, block: Block) -> bool:
        return (not self.tag or block.tag == self.tag) and (not self.sections or block.section in self.sections) and (
            not self.columns or block.column in self.columns
        )


CLAIMS: list[Claim] = []


Tell = Callable[..., Any]


def figure(pattern: str, sections: str = "", columns: str = "", tag: str = "") -> Callable[[Tell], Tell]:
    """The figures that such words tell, in these sections (none named: anywhere) and in columns of these names (`|` apart)."""
    def kept(tell: Tell) -> Tell:
        CLAIMS.append(Claim(re.compile(pattern), tag, frozenset(sections.split()), frozenset(columns.split("|")) - {""}, tell))
        return tell

    return kept


def claimed(block: Block, page: Page) -> Iterator[tuple[int, int, str]]:
    """Each stretch of a text that a claim speaks of, and what is wrong there; empty where all is right."""
    for claim in CLAIMS:
        for found in claim.pattern.finditer(block.text) if claim.speaks_of(block) else ():
            named = {name: value for name, value in found.groupdict().items() if value is not None}
            places = set(claim.pattern.groupindex.values())
            figures = [found[at] for at in range(1, claim.pattern.groups + 1) if at not in places and found[at] is not None]
            named |= {"kind": named["kind"].lower()} if "kind" in named else {}
            told = claim.tell(page, block, **named)
            numbers = [told] if isinstance(told, int | float) else list(told)
            assert len(numbers) == len(figures), f"{claim.pattern.pattern}: {figures}, {numbers}"
            pairs = zip(figures, numbers, strict=True)
            wrong = "; ".join(f"{shown} is {number:g}" for shown, number in pairs if not agrees(shown, number))
            yield found.start(), found.end(), wrong


class Count(Protocol):
    """What is wrong in a run of one workload, counted anew: when each kind was seen."""

    moments: dict[str, list[float]]
    gone: str
    """What an acknowledged write is called that is certainly gone."""

    def lost(self) -> int:
        """How many are."""

    def refuted(self) -> int:
        """The keys of which anything is wrong."""


C = TypeVar("C")

COUNTS: dict[str, Callable[[Recount], Count]] = {}
"""Such counts by their workloads; the modules that make them enter them here."""


class Page:
    """What a page speaks of: the run, and what its last texts have named."""

    def __init__(self, run: Recount, blocks: Sequence[Block]) -> None:
        self.run = run
        self.last = ""
        """The text before this one."""
        told = [block for block in blocks if block.section == "quality" and block.tag == "li"]
        self.questions = sum(block.classes == "yes" for block in told), len(told)

        self.blocked = {block.heading for block in blocks if block.section == "availability" and block.row[1:2] == ("blocked",)}
        self.grave = sum(block.classes == "no" for block in told)
        self.timeline = list(dict.fromkeys(block.cells for block in blocks if block.section == "timeline" and block.cells))
        self.evidence: Call | None = None
        """The call that was shown last."""
        self.registers = registers.registers(run) if run.plan["workload"] == "register" else []
        self.counts = COUNTS[run.plan["workload"]](run) if run.plan["workload"] in COUNTS else None
        self.moments = self.counts.moments if self.counts else registers.moments(self.registers)

    def counted(self, kind: type[C]) -> C:
        """The counts of the run's workload, which are of this kind."""
        assert isinstance(self.counts, kind)
        return self.counts

    def began(self, name: str) -> Counter[bool]:
        """How many anomalies of a name were first seen once the first fault had begun, and how many before."""
        if not self.registers and not self.counts:
            return self.run.began(name)
        return Counter(moment >= self.run.faults[0]["started"] for moment in self.moments[name])

    @property
    def gone(self) -> str:
        """What an acknowledged write is called that is certainly gone."""
        if self.counts:
            return self.counts.gone
        return "lost-write" if self.registers else "lost-element"

    def stale(self) -> list[float]:
        """How old stale reads were, in seconds."""
        return [age for one in self.registers for age in one.ages()] if self.registers else self.run.stale()

    def lost(self) -> int:
        """Acknowledged writes that are certainly gone."""
        if self.counts:
            return self.counts.lost()
        return len(self.moments["lost-write"]) if self.registers else self.run.lost()

    def labelled(self, text: str) -> dict[str, Any]:
        """The fault that a text begins with, by its sides or by what it did."""
        for fault in self.run.faults:
            delays = [spec for spec in fault["specs"] if spec["type"] == "impair"]
            everywhere = delays and len(delays[0]["links"]) == len(self.run.nodes) * (len(self.run.nodes) - 1)
            if not delays or everywhere == ("on all links" in text.partition(":")[0]):
                return fault
        raise AssertionError(text)

    def refuted(self, block: Block) -> int:
        """The keys of which that checker has shown something."""
        if block.cells[0] == "linearizability" and self.registers:
            return sum(one.refuted for one in self.registers)
        if self.counts and block.cells[0] == self.run.plan["workload"]:
            return self.counts.refuted()
        if block.cells[0] != "set":
            return 0
        return len({add.key for add in self.run.gone} | {read.key for read, _ in self.run.missing})

    def shown(self, client: str, at: str, call: str, answer: str) -> float:
        """The time of the call that is shown, if it was as it is shown; of a read at least of what is shown of it."""
        seconds = _seconds(at)
        made = [one for one in self.run.calls if one.process == int(client) and 0 <= one.invoked / SECOND - seconds < 0.001
                and call in _called(one) and _answers(one, answer)]
        if not made:
            return math.nan
        one = made[0]
        self.evidence = one
        return one.invoked / SECOND

    def of_row(self, block: Block) -> dict[str, Any]:
        """The fault of a row, or of a picture: of that moment."""
        if block.columns and block.cells and block.cells[0].isdigit():
            return self.run.faults[int(block.cells[0]) - 1]
        at = re.match(r"(\d+:\d\d)–", block.text)
        if at:
            return next(fault for fault in self.run.faults if agrees(at[1], fault["started"] / SECOND))
        return self.fault(block)

    def failures(self, reason: str) -> int:
        """Calls that failed for a reason as the page words it."""
        bare, open_ = reason.removesuffix(" (may have happened)"), reason.endswith(" (may have happened)")
        return sum(call.error == bare and not call.answered and call.outcome == ("info" if open_ else "fail")
                   for call in self.run.calls)

    def fault(self, block: Block) -> dict[str, Any]:
        found = re.fullmatch(r"fault-(\d+)", block.heading)
        return self.run.faults[int(found[1]) - 1 if found else 0]

    def measured(self, block: Block) -> Measured:
        """That of the row of a table of availability."""
        kind = block.row[0].removesuffix("s")
        if block.group.startswith("all"):
            return self.run.measure(tuple(self.run.nodes), kind, self.run.before)
        fault = self.fault(block)
        return self.run.measure(homes(block.group), kind, self.run.window(fault))

    def all(self, kind: str) -> Measured:
        return self.run.measure(tuple(self.run.nodes), kind, self.run.before)


def homes(side: str) -> tuple[str, ...]:
    return tuple(re.findall(r"n\d+", side.partition("}")[0]))


# The head


@figure(rf"{N} nodes?, namespaces", "header")
def nodes(page: Page, block: Block) -> float:
    return len(page.run.nodes)


# Availability


@figure(rf"^{N}$", "availability", "Answered")
def answered_share(page: Page, block: Block) -> float:
    return page.measured(block).share


@figure(r"^([\d.]+)–([\d.]+)%$", "availability", "Interval")
def interval(page: Page, block: Block) -> tuple[float, float]:
    low, high = page.measured(block).interval
    return math.floor(1000 * low) / 10, math.ceil(1000 * high) / 10


@figure(rf"^{N} / {N}$", "availability", "Operations")
def answered_of(page: Page, block: Block) -> tuple[float, float]:
    found = page.measured(block)
    return found.answered, found.attempted


@figure(rf"^{N}$", "availability", "Of the time")
def time_share(page: Page, block: Block) -> float:
    return page.measured(block).time_share


@figure(rf"^{N}$", "availability", "Longest outage")
def outage(page: Page, block: Block) -> float:
    return page.measured(block).outage


@figure(rf"{N} of {N} answered(?:, none for {N})?(?:: too few to tell, {N} are needed)?", "availability", "Why")
def why(page: Page, block: Block) -> list[float]:
    return _why(page.measured(block), block.text)


def _why(found: Measured, text: str) -> list[float]:
    told: list[float] = [found.answered, found.attempted]
    told += [max(found.long)] if "none for" in text else []
    return told + ([18 if found.answered < found.attempted < 18 else 100] if "too few" in text else [])


@figure(rf"(?<!\w: )nothing answered for {N}", "availability", "Why")
def blocked(page: Page, block: Block) -> float:
    return max(page.measured(block).long)


@figure(rf"clients at (?P<node>n\d+): nothing answered for {N}", "availability", "Why")
def blocked_at(page: Page, block: Block, node: str) -> float:
    kind = block.row[0].removesuffix("s")
    return max(page.run.measure((node,), kind, page.run.window(page.fault(block))).long)


@figure(rf"once a new primary answered, {N} in, {N}", "availability", "Why")
def new_primary(page: Page, block: Block) -> Sequence[float]:
    found = page.run.new_primary(page.fault(block), homes(block.group), block.row[0].removesuffix("s"))
    assert found is not None
    return found


@figure(rf"no primary in reach for {N}", "availability")
def without_primary(page: Page, block: Block) -> float:
    return page.run.without_primary(page.fault(block), homes(block.group)) or math.nan


@figure(rf"{N}, (?=[a-z-]+)", "availability", tag="h3")
def began(page: Page, block: Block) -> float:
    return float(page.fault(block)["started"] / SECOND)


@figure(rf"Recovered {N} after the heal", "availability")
def recovered(page: Page, block: Block) -> float:
    return page.run.recovered(page.fault(block)) or 0.0


# The verdict, and what was given up


@figure(rf"{N} of {N} acknowledged writes (?:proven to be )?lost", "verdict")
def lost(page: Page, block: Block) -> tuple[float, float]:
    return page.lost(), sum(call.kind == "write" and call.outcome == "ok" for call in page.run.calls)


@figure(rf"{N} without a primary in reach", "verdict")
def no_primary(page: Page, block: Block) -> float:
    """On the sides with a quorum."""
    return max(page.run.without_primary(fault, side) or 0.0 for fault in page.run.faults for side in page.run.sides(fault)
               if 2 * len(side) > len(page.run.nodes))


@figure(rf"{N} from heal to recovery", "verdict")
@figure(rf"served again {N} after the heal", "contract")
def slowest(page: Page, block: Block) -> float:
    return max(page.run.recovered(fault) or 0.0 for fault in page.run.faults)


@figure(rf"{N} after the heal until replicas", "verdict")
@figure(rf"all caught up within {N} of the last heal", "sacrifice")
@figure(rf"Replicas agreed within {N}", "contract")
def agreed(page: Page, block: Block) -> float:
    found = page.run.agreed()
    assert found is not None
    return found


@figure(rf"{N} of clients got less than half of their (?P<kinds>[\w ]+) answered during", "verdict")
def shut(page: Page, block: Block, kinds: str) -> float:
    told = {page.run.shut(kind) for kind in ("read", "write") if f"{kind}s" in kinds}
    assert len(told) == 1, told
    return told.pop()


@figure(rf"{N} of those tried while a fault was in force were refused", "sacrifice")
def rejected(page: Page, block: Block) -> float:
    tried = [page.run.measure((node,), "write", page.run.window(fault)) for fault in page.run.faults for node in page.run.nodes]
    return 1 - sum(one.answered for one in tried) / sum(one.attempted for one in tried)


@figure(rf"{N} of {N} that were asked answered less than half of the {KIND}, in fault {N}", "sacrifice")
def touched(page: Page, block: Block, kind: str) -> Sequence[float]:
    """Told under its name, `Keys without reads`."""
    return page.run.reach("key" if page.last.startswith("Keys") else "server", kind)


@figure(rf"{N} of {N} that were asked answered less than half of the {KIND}, in any fault", "sacrifice")
def untouched(page: Page, block: Block, kind: str) -> Sequence[float]:
    few, asked, _ = page.run.reach("key" if page.last.startswith("Keys") else "server", kind)
    assert few == 0
    return few, asked


@figure(rf"{N} of homes, over the time of all partitions", "sacrifice")
def quorum(page: Page, block: Block) -> float:
    run = page.run
    whole = here = 0.0
    for fault in run.faults:
        if run.cut(fault):
            length = fault["heal_began"] - fault["in_force"]
            whole += len(run.nodes) * length
            here += sum(len(side) for side in run.sides(fault) if 2 * len(side) > len(run.nodes)) * length
    return here / whole


@figure(rf"{N} of those written during a partition were written on several sides", "sacrifice")
def contested(page: Page, block: Block) -> float:
    sides = page.run.written().values()
    return sum(len(one) > 1 for one in sides) / len(sides)


@figure(rf"^a spike of conflicts after the heal: {FIRED} \({N} acknowledged writes gave way\)", "measures")
def gave_way(page: Page, block: Block) -> float:
    """None can where no key was written on several sides."""
    if any(len(one) > 1 for one in page.run.written().values()):
        return sum(registers.gave_way(page.run).values())
    return 0


# Latency and alerts


@figure(rf"^{N}$", "measures", "Answered|A second|p50|p95|p99|Max")
def latency(page: Page, block: Block) -> float:
    inside, seconds = page.run.parts()[block.row[0]]
    calls = [call for call in page.run.made(block.row[1].removesuffix("s")) if call.answered and inside(call)]
    if block.column in ("Answered", "A second"):
        return len(calls) if block.column == "Answered" else len(calls) / seconds
    return page.run.quantile(calls, {"p50": 0.5, "p95": 0.95, "p99": 0.99, "Max": 1.0}[block.column])


@figure(rf"^p99 latency over 5 times the usual for 30 s: {FIRED} \(true for {N} on end, 30 s are needed; limit {N}\)")
def slow(page: Page, block: Block) -> tuple[float, float]:
    usual = [call for call in page.run.calls if call.answered and call.invoked < page.run.before[1]]
    took = sorted(call.ended - call.invoked for call in usual)
    at = 0.99 * (len(took) - 1)
    limit = 5 * (took[math.floor(at)] + (took[math.ceil(at)] - took[math.floor(at)]) * (at % 1))
    bad = [any(group) and sum(not call.answered or call.ended - call.invoked > limit for call in group) > 0.01 * len(group)
           for group in page.run.by_second()]
    return _run(bad), limit / SECOND


@figure(rf"^no write answered anywhere for 10 s \(no quorum\): {FIRED} \(true for {N} on end, 10 s are needed\)")
def none_answered(page: Page, block: Block) -> float:
    return _run([bool(some) and not any(call.answered for call in some)
                 for group in page.run.by_second() for some in [[call for call in group if call.kind == "write"]]])


@figure(rf"^more than 5% of writes rejected: would (?:not )?have fired \(true for {N} on end; {N} in the worst second\)")
def many_rejected(page: Page, block: Block) -> tuple[float, float]:
    shares = [sum(not call.answered for call in some) / len(some) if some else 0.0
              for group in page.run.by_second() for some in [[call for call in group if call.kind == "write"]]]
    return _run([share > 0.05 for share in shares]), max(shares)


def _run(true: Sequence[bool]) -> int:
    """The longest time on end for which it was true."""
    return max(map(len, "".join("x" if one else " " for one in true).split()), default=0)


# Was the test any good


@figure(rf"{N} operations on {N} keys?, {N} of them ok, and {N} final reads(?:; {N} of {N} faults proven)?")
def exercised(page: Page, block: Block) -> Sequence[float]:
    run = page.run
    loaded = [call for call in run.calls if call.invoked < run.final]
    proven = sum(all(proof["holds"] for proof in fault["proofs"]) and bool(fault["proofs"]) for fault in run.faults)
    assert len(run.faults) > 1 or ("its fault proven" in block.text) == bool(proven)
    told = [len(loaded), len(run.keys()), sum(call.outcome == "ok" for call in loaded), len(run.calls) - len(loaded)]
    return [*told, *([proven, len(run.faults)] if len(run.faults) > 1 else [])]


@figure(rf"{N} operations in flight on average", "quality")
def in_flight(page: Page, block: Block) -> float:
    return page.run.in_flight()


@figure(rf"{N} of the operations began while another was open, {N} were open on average")
def concurrent(page: Page, block: Block) -> tuple[float, float]:
    loaded = page.run.made("", (), *page.run.load)
    busy = sum(any(other.invoked < call.invoked <= other.ended for other in loaded) for call in loaded)
    return busy / len(loaded), page.run.in_flight()


@figure(rf"{N} of {N} keys were used from more than one home", "quality")
def shared(page: Page, block: Block) -> tuple[float, float]:
    users: dict[Any, set[str]] = {}
    for call in page.run.made("", (), *page.run.load):
        for key in page.run.touched(call):
            users.setdefault(key, set()).add(call.node)
    return sum(len(one) > 1 for one in users.values()), len(users)


@figure(rf"{N} of {N} keys were read at the end", "quality")
def read_at_the_end(page: Page, block: Block) -> tuple[float, float]:
    last = [call for call in page.run.calls if call.invoked >= page.run.final and call.outcome == "ok" and call.kind == "read"]
    return len({key for call in last for key in page.run.touched(call)}), len(page.run.keys())


@figure(rf"99% of the calls started within {N} of their time", "quality")
def on_time(page: Page, block: Block) -> float:
    late = sorted((call.invoked - call.scheduled) / SECOND for call in page.run.made("", (), *page.run.load)
                  if call.scheduled is not None)
    at = 0.99 * (len(late) - 1)
    return late[math.floor(at)] + (late[math.ceil(at)] - late[math.floor(at)]) * (at % 1)


@figure(rf"the harness used {N} of a CPU during the load", "quality")
def cpu(page: Page, block: Block) -> float:
    return page.run.cpu


@figure(rf"{N} {KIND} were acknowledged", "quality")
def acknowledged(page: Page, block: Block, kind: str) -> float:
    return sum(call.outcome == "ok" for call in page.run.made(kind, (), *page.run.load))


@figure(rf"{N} of {N} {KIND} were answered before the first fault(?:, fewer than {N})?"
        rf"(?: \(at this pace --baseline {N} has them\))?")
def baseline(page: Page, block: Block, kind: str) -> Sequence[float]:
    found = page.all(kind)
    told = [found.answered, found.attempted]
    if found.attempted < 100:
        told += [100, math.ceil(1.25 * page.run.plan["baseline"] * 100 / found.attempted)]
    return told


@figure(rf"{N} {KIND} tried at {SIDE}", "quality")
def tried(page: Page, block: Block, kind: str, side: str) -> float:
    fault = page.run.faults[int(re.search(r"fault (\d+)", block.text)[1]) - 1]  # type: ignore[index]
    return page.run.measure(homes(side), kind, page.run.window(fault)).attempted


@figure(rf"{N} cut links proven by packets", "quality")
def cut_links(page: Page, block: Block) -> float:
    return len(page.run.cut(page.run.faults[int(re.search(r"fault (\d+)", block.text)[1]) - 1]))  # type: ignore[index]


@figure(rf"served again after {N}", "quality")
def again(page: Page, block: Block) -> float:
    return page.run.recovered(page.run.faults[int(re.search(r"fault (\d+)", block.text)[1]) - 1]) or 0.0  # type: ignore[index]


@figure(rf"{N} of {N} questions answered with yes", "quality")
def questions(page: Page, block: Block) -> Sequence[float]:
    return page.questions


@figure(rf"^{N}$", "quality", "Called|Attempted|Answered|Share")
def by_stage(page: Page, block: Block) -> float:
    stage, side, kind = block.row[0], block.row[1], block.row[2].removesuffix("s")
    run = page.run
    calls = [call for call in run.made(kind, () if side == "all" else homes(side)) if run.stage(call) == stage]
    if block.column == "Called":
        return len(calls)
    number = re.fullmatch(r"fault (\d+)", stage)
    if stage == "baseline" or number:
        window = run.before if not number else run.window(run.faults[int(number[1]) - 1])
        found = run.measure(tuple(run.nodes) if side == "all" else homes(side), kind, window)
        if found.attempted or not calls:
            return {"Attempted": found.attempted, "Answered": found.answered}.get(block.column, found.share)
    good = sum(call.answered for call in calls)
    return {"Attempted": len(calls), "Answered": good}.get(block.column, good / len(calls))


@figure(rf"^{N}$", "quality", "Began|In force|Proven|Heal began|Healed")
def moments(page: Page, block: Block) -> float:
    fault = page.run.faults[int(block.row[0]) - 1]
    names = {"Began": "started", "In force": "in_force", "Heal began": "heal_began", "Healed": "healed"}
    if block.column == "Proven":
        return float(max(proof["at"] for proof in fault["proofs"]) / SECOND)
    return float(fault[names[block.column]] / SECOND)


@figure(rf"^{N}$", "quality", "Fault")
def number(page: Page, block: Block) -> float:
    return float(page.run.faults[int(block.text) - 1]["id"])


@figure(rf"all (?:the )?{N} keys? were equal on {N} nodes {N} after the (?P<what>heal|end of the load)")
def equal(page: Page, block: Block, what: str) -> Sequence[float]:
    run = page.run
    after = run.agreed() if what == "heal" else run.agreed_after_load()
    assert after is not None
    return len({str(read["key"]) for read in run.copies if read["fault"] is None}), len(run.nodes), after


# The faults


@figure(rf"(?P<good>\d+)/(?P<whole>\d+) links as intended, spread {N}")
def intended(page: Page, block: Block, good: str, whole: str) -> float:
    fault = page.of_row(block)
    many = len(page.run.nodes) * (len(page.run.nodes) - 1)
    wrong = sum(len(proof["wrong"]) for proof in fault["proofs"])
    assert (int(good), int(whole)) == (many - wrong, many)
    return float(max(proof["spread"] for proof in fault["proofs"]) / SECOND)


@figure(r"(?:heal: )?(\d+)/(\d+) links up")
def up(page: Page, block: Block) -> tuple[float, float]:
    fault = page.of_row(block)
    many = len(page.run.nodes) * (len(page.run.nodes) - 1)
    return many - sum(len(proof["wrong"]) for proof in fault["undone"]), many


@figure(rf"^{N}–{N} ", "partition")
def lasted(page: Page, block: Block) -> tuple[float, float]:
    fault = page.of_row(block)
    return fault["started"] / SECOND, fault["heal_began"] / SECOND


# Calls


@figure(rf"^{N}$", "failures", "Calls")
def failed(page: Page, block: Block) -> float:
    return page.failures(block.cells[1])


@figure(rf"^{N} calls? (?:more )?failed for a reason of (?:its|their) own", "failures")
def declined(page: Page, block: Block) -> float:
    return sum(call.answered and call.outcome != "ok" for call in page.run.calls)


@figure(rf"every home was served again within {N} of (?:each|the) heal", "checkers")
def within(page: Page, block: Block) -> float:
    return max(page.run.recovered(fault) or 0.0 for fault in page.run.faults)


@figure(rf"some side was blocked in {N} of {N} faults", "checkers")
def some_blocked(page: Page, block: Block) -> tuple[float, float]:
    return len(page.blocked), len(page.run.faults)


UNTIL = rf"(?:, none for {N}(?: until the heal)?)?"


@figure(rf"on {SIDE}, writes {N} answered{UNTIL}, reads {N} answered{UNTIL}", "contract")
def served(page: Page, block: Block, side: str) -> list[float]:
    """Of the fault that is named first, by its sides or by what it did."""
    fault = page.labelled(block.text)
    told = []
    for kind, text in zip(("write", "read"), block.text.partition("writes ")[2].split(", reads "), strict=True):
        found = page.run.measure(homes(side), kind, page.run.window(fault))
        told += [found.share, *([found.outage] if "none for" in text else [])]
    return told


@figure(rf'"keys": {N}, "operations": {N}, "refuted": (?:{N}|null), "methods": {{ ?(?:"[\w-]+": {N})? ?}}', "checkers")
def looked_at(page: Page, block: Block) -> list[float]:
    """A register's checker looks at the last round of copies too, where all are equal. What is wrong with transactions, and
    with sessions, may be of several keys together."""
    run = page.run
    calls = len(run.calls)
    if block.cells[0] == "linearizability":
        last = max(read["round"] for read in run.copies)
        calls += sum(read["round"] == last for read in run.copies)
    together = '"refuted": null' in block.text
    assert together is (block.cells[0] in ("transactions", "sessions"))
    refuted = [] if together else [page.refuted(block)]
    return [len(run.keys()), calls, *refuted, *([len(run.keys())] if '"methods": { "' in block.text else [])]


@figure(rf"no anomaly found: {N} keys?, {N} operations", "checkers")
def fine(page: Page, block: Block) -> list[float]:
    return list(looked_at(page, block)[:2])


@figure(rf"(?:open on average|before the first fault[^(]*(?:\([^)]*\))?) \(and {N} more\)")
def more_failed(page: Page, block: Block) -> float:
    return page.grave - 1


# Sets


@figure(rf"of {N} acknowledged elements in {N} sets: {N} lost-element, {N} stale-read", "header checkers")
def of_sets(page: Page, block: Block) -> Sequence[float]:
    run = page.run
    return len(run.added()), len(run.keys()), page.lost(), len(page.stale())


@figure(rf"{NAME}: {N} times?", "contract")
@figure(rf"(?<=Found in all: ){N} {NAME}", "why", tag="p")
@figure(rf"(?<=[a-z], ){N} {NAME}(?=(?:, \d+ [-\w]+)*\. )", "why", tag="p")
@figure(rf"(?<=linearizable: ){N} × {NAME}", "header checkers")
@figure(rf"(?<=[a-z], ){N} × {NAME}", "header checkers")
def of_name(page: Page, block: Block, name: str) -> float:
    return sum(page.began(name).values())


@figure(rf"(?<=Of these, ){N} (?P<name>lost-element)", "why", tag="p")
@figure(rf"(?<=lost-element, ){N} (?P<name>stale-read)(?= before the first fault)", "why", tag="p")
def early(page: Page, block: Block, name: str) -> float:
    return page.began(name)[False]


@figure(rf"{NAME} \({N}\)", "availability")
def in_fault(page: Page, block: Block, name: str) -> float:
    return page.began(name)[True]


@figure(rf"{N} of reads (?:were |certainly )?stale(?:, by {N} in the median)?, "
        rf"(?:the stalest by )?(?:at least )?{N}(?: at most)?", "verdict contract")
def stale_reads(page: Page, block: Block) -> list[float]:
    stale = sorted(page.stale())
    reads = sum(call.f == "read" and call.outcome == "ok" for call in page.run.calls)
    middle = (stale[(len(stale) - 1) // 2] + stale[len(stale) // 2]) / 2
    return [len(stale) / reads, *([middle] if "median" in block.text else []), stale[-1]]


@figure(rf"^a copy more than 60 s behind: would (?:not )?have fired \(reads were (?:up to|at least) {N} old\)", "measures")
def oldest(page: Page, block: Block) -> float:
    return max(page.stale(), default=0.0)


@figure(rf"^(?:at least )?{N}(?:, the stalest by {N})?$", "sacrifice", tag="dd")
def stale_share(page: Page, block: Block) -> list[float]:
    stale = page.stale()
    reads = sum(call.f == "read" and call.outcome == "ok" for call in page.run.calls)
    return [len(stale) / reads, *([max(stale)] if "stalest" in block.text else [])]


# Registers


@figure(rf"^{N} of {N} keys are not linearizable: ", "header checkers")
def refuted(page: Page, block: Block) -> tuple[float, float]:
    return sum(one.refuted for one in page.registers), len(page.registers)


@figure(rf"{N} acknowledged writes discarded(?: by a side that gave way, {N} of them the last on their key)?", "verdict")
@figure(rf"{N} acknowledged writes gave way to another side's, {N} of them the last on their key", "contract")
def gave_way_to_another(page: Page, block: Block) -> list[float]:
    gone = registers.gave_way(page.run)
    return [sum(gone.values()), *([len(gone)] if "the last" in block.text else [])]


@figure(rf"{N} keys were written on several sides, others on one that gave way as a whole; "
        rf"after the heal {N} acknowledged writes on {N} keys gave way, {N} of them the last there", "availability")
def became(page: Page, block: Block) -> list[float]:
    gone = registers.gave_way(page.run)
    return [sum(len(one) > 1 for one in page.run.written().values()), sum(gone.values()), len(gone), len(gone)]


@figure(rf"{N} writes (?:was|were) acknowledged, fewer than {N}", "quality checkers")
def few_writes(page: Page, block: Block) -> list[float]:
    return [acknowledged(page, block, "write"), 100]


@figure(rf"fewer than {N} \(and {N} more\)", "checkers")
def fewer_and_more(page: Page, block: Block) -> list[float]:
    return [100, page.grave - 1]


@figure(rf"{N} of {N} reads broke (?P<promise>monotonic reads|read your writes),.* \({N} after a fault\), worst {N};",
        "checkers")
def broke(page: Page, block: Block, promise: str) -> list[float]:
    """A compare-and-set reads what it finds, too; and a fault has begun before."""
    name, of = ("read-went-back", "read") if promise == "monotonic reads" else ("missed-own-write", "own")
    found = [pair for one in page.registers for pair in one.broke(of)]
    known = [(read.ended - call.ended) / SECOND for read, call in found]
    reads = sum(seen.call.process >= 0 for one in page.registers for seen in one.seen)
    return [len(found), reads, page.began(name)[True], max(known)]


AT = r"([\d:.]+\d)"


@figure(rf"[Ww]rite (\d+) of client (\d+), acknowledged by n\d+ at {AT}, was lost: "
        rf"client (\d+) read (?P<old>\d+|nil) from n\d+ at {AT}, which is older", "why")
def lost_write(page: Page, block: Block, old: str) -> list[float]:
    """That write was lost by the count, and that read found an older one."""
    value, reader, asked = _told(rf"rite (\d+) of .* lost: client (\d+) read .*? at {AT}, which", block)
    one = next(one for one in page.registers if any(str(gone) == value for gone in one.lost))
    write = one.writer[int(value)]
    read = next(seen for seen in one.seen if seen.call.process == int(reader) and agrees(asked, seen.call.invoked / SECOND))
    right = _value(read.value) == old and one.there(read.value) < write.invoked
    told = [write.value, write.process, write.ended / SECOND, read.call.process, read.call.invoked / SECOND]
    return told if right else [math.nan] * 5


def _told(pattern: str, block: Block) -> tuple[str, ...]:
    found = re.search(pattern, block.text)
    assert found is not None
    return found.groups()


@figure(r"after the heal [n\d, and]+ read (\d+)", "why")
def held(page: Page, block: Block) -> float:
    value, = _told(r"rite (\d+) of", block)
    return next(one.last()[0] for one in page.registers if int(value) in one.writer)  # type: ignore[no-any-return]


@figure(rf"client (\d+) read (\d+) from n\d+ at {AT}, although write (\d+) had been acknowledged at {AT}", "why")
def stale_read(page: Page, block: Block) -> list[float]:
    """That read is a stale one by the count, and that write had been acknowledged before it."""
    reader, asked, new = _told(rf"client (\d+) read .*? at {AT}, although write (\d+)", block)
    one = next(one for one in page.registers if int(new) in one.writer)
    read = next(call for call in one.stale if call.process == int(reader) and agrees(asked, call.invoked / SECOND))
    write = one.writer[int(new)]
    found = read.seen[0] if read.f == "cas" else read.value
    told = [read.process, found, read.invoked / SECOND, write.value, write.ended / SECOND]
    return told if write.ended < read.invoked and int(new) not in one.lost else [math.nan] * 5


@figure(rf"client (\d+) made cas (\d+) → (\d+) through n\d+ at {AT}, although write (\d+) had been made at {AT}: "
        r"two lineages", "why")
def two_lineages(page: Page, block: Block) -> list[float]:
    new, old = _told(r"cas \d+ → (\d+) .* write (\d+)", block)
    one = next(one for one in page.registers if int(new) in one.writer)
    made, write = one.writer[int(new)], one.writer[int(old)]
    told = [made.process, *made.value, made.invoked / SECOND, write.value, write.ended / SECOND]
    return told if made in one.parted.split and write.ended < made.invoked else [math.nan] * 6


@figure(rf"client (\d+) at n\d+ read (?:(\d+) of key \d+|what was there in the beginning) at {AT}, though it had "
        r"(?P<how>itself written|read) (\d+) of key (\d+) ([\d.]+ s) before", "why")
def of_session(page: Page, block: Block, how: str) -> list[float]:
    """A read that broke that promise by the count, and the call from which its client knew better; told by when it ended."""
    asked, key = _told(rf" at {AT}, though .* of key (\d+)", block)
    of = "own" if how == "itself written" else "read"
    broken = [pair for one in page.registers for pair in one.broke(of) if str(pair[0].key) == key]
    read, call = next(pair for pair in broken if agrees(asked, pair[0].ended / SECOND))
    old = [] if "in the beginning" in block.text else [read.value]
    known = call.value[1] if call.f == "cas" and of == "own" else call.value
    return [read.process, *old, read.ended / SECOND, known, int(key), (read.ended - call.ended) / SECOND]


# What is shown of calls


def _seconds(at: str) -> float:
    minutes, seconds = at.split(":")
    return int(minutes) * 60 + float(seconds)


def _value(of: Any) -> str:
    if isinstance(of, list):
        return f"[{' '.join(map(_value, of))}]"
    return "nil" if of is None else str(of)


def _called(one: Call) -> tuple[str, ...]:
    if one.f == "dequeue":
        return ("dequeue",)
    if one.f == "cas":
        return tuple(f"cas {one.value[0]} {word} {one.value[1]}" for word in ("to", "→"))
    return ("read",) if one.f == "read" else (f"{one.f} {_value(one.value)}",)


def _answers(one: Call, answer: str) -> bool:
    if one.f == "read" and one.outcome == "ok":
        if isinstance(one.value, list):
            told, cut, _ = answer.strip("[]").partition("…")
            return set(told.split()[: -1 if cut else None]) <= set(map(str, one.value))
        return answer == _value(one.value)
    if one.outcome == "ok":
        return answer == (_value(one.value) if one.f == "dequeue" else "ok")
    return answer.startswith("no answer" if one.outcome == "info" else ("failed", "refused"))


CALL = r"(?P<call>[^→:]*) → (?P<answer>.*?)"


WHEN = rf"{N}(?:–{N})?"


def _spanned(page: Page, client: str, when: str, call: str, answer: str) -> list[float]:
    """When the call began, and where that is told, when it was over."""
    began, _, ended = when.partition("–")
    first = page.shown(client, began, call, answer)
    return [first, *([math.nan if page.evidence is None else page.evidence.ended / SECOND] if ended else [])]


@figure(rf"^{WHEN} n\d+ client (?P<client>\d+)(?: via n\d+)?: {CALL}$", "why", tag="li")
def step(page: Page, block: Block, client: str, call: str, answer: str) -> list[float]:
    return _spanned(page, client, block.text.split()[0], call, answer)


@figure(rf"^n\d+ client (?P<client>\d+)(?: via n\d+)?: {CALL} at {WHEN}, took {N}$", "why", tag="title")
def hovered(page: Page, block: Block, client: str, call: str, answer: str) -> list[float]:
    at = block.text.rpartition(" at ")[2].partition(",")[0]
    span = _spanned(page, client, at, call, answer)
    return [*span, math.nan if page.evidence is None else (page.evidence.ended - page.evidence.invoked) / SECOND]


@figure(rf"^(?:✗ )?{CALL}(?: \(beside n\d+\))? {WHEN}$", "why", tag="text")
def drawn(page: Page, block: Block, call: str, answer: str) -> list[float]:
    at = block.text.rpartition(" ")[2]
    found = [_spanned(page, str(one.process), at, call, answer) for one in page.run.calls
             if 0 <= one.invoked / SECOND - _seconds(at.partition("–")[0]) < 0.001]
    return next((times for times in found if not math.isnan(times[0])), [math.nan, *([math.nan] if "–" in at else [])])


@figure(r"^client (\d+)$", "why", tag="text")
def who(page: Page, block: Block) -> float:
    return next((call.process for call in page.run.calls if call.process == int(block.text.split()[1])), math.nan)


@figure(rf"^{N} \{{[^|]*\| \{{[^}}]*\}}$|^heal {N}$", "why")
def band(page: Page, block: Block) -> float:
    moment = "heal_began" if block.text.startswith("heal") else "in_force"
    return float(page.run.faults[0][moment] / SECOND)


@figure(r"^Key (\d+)\.", "why", tag="figcaption")
def key(page: Page, block: Block) -> float:
    assert page.evidence is not None
    return int(page.evidence.key)


@figure(rf"[Tt]he addition of {N} was acknowledged at n\d+ at {N}, but the last reads at (?P<node>n\d+) at {N} miss it", "why")
def gone(page: Page, block: Block, node: str) -> Sequence[float]:
    value, last = re.findall(r"of (\d+) was|reads at n\d+ at ([\d:.]+)", block.text)[:2]
    add = next(call for call in page.run.gone if str(call.value) == value[0])
    read = next(call for call in page.run.calls if call.key == add.key and call.node == node and call.f == "read"
                and 0 <= call.ended / SECOND - _seconds(last[1]) < 0.001)
    return math.nan if add.value in read.value else add.value, add.ended / SECOND, read.ended / SECOND


@figure(rf"a read at (?P<node>n\d+) at {N} missed {N}, which had been acknowledged at n\d+ at {N}; "
        rf"it was there at (?P<where>n\d+) at {N}", "why")
def missed(page: Page, block: Block, node: str, where: str) -> Sequence[float]:
    told = re.findall(r"(?:at n\d+ at|missed) ([\d:.]+\d)", block.text)
    add = next(call for call in page.run.calls if call.f == "add" and str(call.value) == told[1])

    def read(node: str, at: str) -> Call:
        return next(call for call in page.run.calls if call.node == node and call.f == "read" and call.key == add.key
                    and 0 <= call.ended / SECOND - _seconds(at) < 0.001)

    old, new = read(node, told[0]), read(where, told[3])
    right = add.value not in old.value and add.value in new.value
    return old.ended / SECOND, add.value if right else math.nan, add.ended / SECOND, new.ended / SECOND


@figure(rf"was cut off from [n\d ]+ since {N}", "why")
def since(page: Page, block: Block) -> float:
    return float(page.run.faults[0]["in_force"] / SECOND)


@figure(rf"^{N}$", "timeline", "Time")
def time_of(page: Page, block: Block) -> float:
    who = re.search(r"client (\d+)", block.cells[1])
    if who:
        return page.shown(who[1], block.text, block.cells[2], block.cells[3])
    moments = [view["time"] for view in page.run.views] + [
        fault[name] for fault in page.run.faults for name in ("started", "in_force", "heal_began", "healed")
    ] + [proof["at"] for fault in page.run.faults for proof in fault["proofs"]]
    return next((at / SECOND for at in moments if agrees(block.text, at / SECOND)), math.nan)


@figure(r"^(?:n\d+ )?client (\d+)(?: via n\d+)?$", "timeline", "Who")
@figure(r"^(?:write|add|enqueue|cas) (\d+)(?: to (\d+))?$", "timeline", "What")
@figure(r"^(-?\d+)$", "timeline", "Answer")
def of_call(page: Page, block: Block) -> list[float]:
    """All of a row is held against its call where its time is; here only which number it is."""
    one = page.evidence
    assert one is not None and agrees(block.cells[0], one.invoked / SECOND)
    if block.column == "Who":
        return [one.process]
    return [float(part) for part in (one.value if isinstance(one.value, list) else [one.value])]


@figure(r"^\[(?P<elements>[\d ]*)\]$", "timeline", "Answer")
def elements(page: Page, block: Block, elements: str) -> list[float]:
    assert page.evidence is not None and elements.split() == list(map(str, page.evidence.value))
    return []


@figure(rf"^{N}$", "timeline", "Took")
def took(page: Page, block: Block) -> float:
    assert page.evidence is not None
    return (page.evidence.ended - page.evidence.invoked) / SECOND


@figure(rf"^{N} more operations? on this key$", "timeline")
def between(page: Page, block: Block) -> float:
    """Those on the key between the calls before and after this line."""
    at = page.timeline.index(block.cells)
    def call(cells: tuple[str, ...]) -> Call | None:
        who = re.search(r"client (\d+)", cells[1])
        return page.run.call(int(who[1]), _seconds(cells[0])) if who else None

    before = next(one for cells in page.timeline[:at][::-1] if (one := call(cells)) is not None)
    after = next(one for cells in page.timeline[at:] if (one := call(cells)) is not None)
    return float(sum(one.key == before.key and before.invoked < one.invoked < after.invoked for one in page.run.calls))


# The sentence on top


@figure(rf"cut off from the other {N} nodes", "header")
def others(page: Page, block: Block) -> float:
    return max(len(side) for side in page.run.sides(page.run.faults[0]))


@figure(rf"{N} writes? that had been confirmed (?:was|were) lost and {N} reads returned old data"
        r"(?P<whole>\. In the whole run, )?", "header")
def damage(page: Page, block: Block, whole: str = "") -> tuple[float, float]:
    """In the fault, where the whole run is told after it."""
    lost, old = page.began(page.gone), page.began("stale-read")
    old += page.began("non-monotonic-read") if page.registers else Counter()
    return lost[True] + (0 if whole else lost[False]), old[True] + (0 if whole else old[False])


@figure(rf"(?:clients beside (?P<nodes>n\d+(?:(?:, | and )n\d+)*) )?could not (?P<what>write or read|write|read) "
        rf"for (?:up to )?{N}", "header")
def could_not(page: Page, block: Block, what: str, nodes: str = "") -> float:
    """Of that side, or of all."""
    run = page.run
    return max(run.measure(side, kind, run.window(fault)).outage for fault in run.faults for side in run.sides(fault)
               for kind in what.split(" or ") if not nodes or set(side) == set(homes(nodes)))


@figure(rf"(?<=, ){N} acknowledged writes? lost(?:$|,)", "verdict")
@figure(rf"(?<=; ){N} acknowledged writes? lost", "availability")
def writes_lost(page: Page, block: Block) -> float:
    found = page.began(page.gone)
    return found[True] + (0 if block.section == "availability" else found[False])


@figure(rf"{N} of {N} acknowledged writes were lost", "contract")
def lost_of(page: Page, block: Block) -> tuple[float, float]:
    return lost(page, block)  # type: ignore[no-any-return]


@figure(rf"too little is known of {KIND} at {SIDE} \({N} of {N} answered: too few to tell, {N} are needed")
def too_little(page: Page, block: Block, kind: str, side: str) -> list[float]:
    found = page.run.measure(homes(side), kind, page.run.window(page.run.faults[0]))
    return _why(found, "too few")


# Delays


@figure(rf"delay {N} (?=on all links|to and from n\d+)")
def delay(page: Page, block: Block) -> float:
    return float(next(spec["delay"] for fault in page.run.faults for spec in fault["specs"]) / 1000)


@figure(rf"one way {N} \((?:{N} to {N}, )?intended {N}\)")
def one_way(page: Page, block: Block) -> list[float]:
    """As the probes of that fault measured it, in milliseconds: its middle, its least and its most."""
    for fault in page.run.faults:
        for proof in (*fault["proofs"], *fault["undone"]):
            for found in proof["figures"]:
                told = [found["middle"] / 1000]
                if " to " in block.text[block.text.index("one way"):].partition("intended")[0]:
                    told += [found["least"], found["most"]]
                told.append(found["intended"])
                printed = re.findall(r"[\d.]+(?: ms)?", block.text[block.text.index("one way"):].partition(")")[0])
                if len(printed) == len(told) and all(map(agrees, printed, told)):
                    return told
    return [math.nan] * (2 if " to " not in block.text else 4)


@figure(rf"(?<=\d\)), spread {N}", "quality partition")
def spread(page: Page, block: Block) -> float:
    return float(max(proof["spread"] for proof in page.of_row(block)["proofs"]) / SECOND)


@figure(rf"measured on {N} links", "quality")
def links(page: Page, block: Block) -> float:
    return len(page.run.faults[int(re.search(r"fault (\d+)", block.text)[1]) - 1]["specs"][0]["links"])  # type: ignore[index]


@figure(rf"were not served steadily again within {N}")
def not_again(page: Page, block: Block) -> float:
    found = [fault for fault in page.run.faults if page.run.recovered(fault) is None]
    began, over = page.run.after(found[0])
    return (over - began) / SECOND


@figure(rf"{KIND} took {N}, {N} before \(medians\)(?:: longer by {N} round trips of {N})?", "availability")
def longer(page: Page, block: Block, kind: str) -> list[float]:
    run, fault = page.run, page.fault(block)
    now, usual = run.measure(tuple(run.nodes), kind, run.window(fault)).latency, page.all(kind).latency
    trip = 2 * fault["proofs"][0]["figures"][0]["middle"] / 1000
    return [now, usual, *([(now - usual) / trip, trip] if "round trips" in block.text else [])]


@figure(rf"^fault \d+, {N}: ", "partition", tag="title")
def in_strip(page: Page, block: Block) -> float:
    return float(page.run.faults[int(block.text.split()[1].rstrip(",")) - 1]["started"] / SECOND)
