"""What came of runs, a line each, and of the nights before: what the index of a suite, the comparison and rates are made of.

A suite keeps `runs.json` beside its runs, so that a trend over thirty nights reads thirty small files.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from math import comb
from pathlib import Path
from typing import Literal

import msgspec

from splitbrain.checkers.result import Assessment, Class, Expectation, Half, NotJudged, Result
from splitbrain.checkers.verdict import Validity
from splitbrain.harness.files import write_whole
from splitbrain.harness.plan import Plan, short
from splitbrain.reports.wording import count, plural

FILE = "runs.json"

Verdict = Validity | Literal["not judged"]

CHANCE = 0.001
"""How improbable what was seen must be under the expected rate before that is held to be refuted: of twelve such rates a
night, one in eighty nights is then red by chance alone, far less than one in thirty."""


class Place(msgspec.Struct, frozen=True, order=True):
    """A cell of the matrix: what is tested, where, under which load and which faults."""

    database: str
    version: str
    variant: str
    nodes: str
    workload: str
    nemesis: str
    fault: float = 0.0
    """How long its faults last (seconds), in a suite that has runs with others; else 0."""

    @property
    def row(self) -> tuple[str, str, str, str]:
        return self.database, self.version, self.variant, self.nodes

    @property
    def column(self) -> tuple[str, str]:
        return self.workload, self.under

    @property
    def under(self) -> str:
        """The nemesis, with the length of its faults where that tells two places apart."""
        return self.nemesis + (f", {self.fault:g} s" if self.fault else "")


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What faults of one length cost in one run. `lengths` are those measured (seconds, from when a fault was in force until
    its heal began) of the faults that were proven, `unproven` how many were not. `lost` are the acknowledged writes that are
    proven to be lost in these faults, `discarded` those that gave way to another side's (`untold`: of some
    keys no read tells, so that there may be more), `stale_ms` is the age of the stalest read of the run (`at_least`: beside
    lost writes there may be older ones), `recovery` the slowest (seconds). None where it is not known: `unknown` says of each
    why.
    """

    fault: float
    lengths: tuple[float, ...]
    unproven: int
    lost: int | None = None
    discarded: int | None = None
    untold: bool = False
    stale_ms: float | None = None
    at_least: bool = False
    recovery: float | None = None
    unknown: dict[str, str] = {}

    @property
    def proven(self) -> bool:
        """Whether every fault of the run was."""
        return bool(self.lengths) and not self.unproven

    @property
    def length(self) -> float:
        """How long a fault lasted, as measured; as planned where none was proven."""
        return sum(self.lengths) / len(self.lengths) if self.lengths else self.fault


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One run in one line. `expectations` are empty where it could not be judged; `expect` is what its plan named."""

    run: str
    place: Place
    seed: int
    verdict: Verdict
    heading: str
    reason: str
    classification: Class = "unknown"
    exit_code: int
    anomalies: dict[str, int] = {}
    lost: int = 0
    expect: tuple[str, ...] = ()
    expectations: tuple[Expectation, ...] = ()
    claims: tuple[Assessment, ...] = ()
    """The vendor's claim and the labels of literature, as they stood to this run."""
    otherwise: Half | None = None
    """The half of PACELC that was seen without a partition, where the run measured that."""
    cost: Cost | None = None
    """None where it could not be judged, or had no fault."""
    retried: tuple[str, ...] = ()
    """Why the attempts before this one proved nothing."""

    @property
    def whole(self) -> bool:
        """Whether it went to its end and was decided: only such a one counts for or against a rate."""
        return self.verdict in ("valid", "invalid") and self.exit_code in (0, 1, 4)


def headline(runs: Sequence[Told]) -> str:
    """How a night stands: how many of its runs were as they should be; where nothing was expected of any, what they showed."""
    if any(run.expect for run in runs):
        right = sum(run.exit_code == 0 for run in runs)
        return f"{count(right)} of {plural(len(runs), 'run')} as {'it' if len(runs) == 1 else 'they'} should be"
    verdicts = Counter(run.verdict for run in runs)
    every: tuple[Verdict, ...] = ("valid", "invalid", "unknown", "not judged")
    told = ", ".join(f"{count(verdicts[word])} {word}" for word in every if verdicts[word])
    return f"{plural(len(runs), 'run')}: {told}"


class Night(msgspec.Struct, frozen=True):
    """An earlier run of the same suite: the name of its folder, and its runs."""

    name: str
    runs: tuple[Told, ...]

    @property
    def green(self) -> bool:
        """Whether every run was as it should be."""
        return all(run.exit_code == 0 for run in self.runs)


def told(result: Result | NotJudged) -> Told | None:
    """The line of a run; None of a history that another program recorded, or a run whose plan nobody knows."""
    plan = result.plan
    if plan is None:
        return None
    versions = "/".join(sorted(set(result.versions.values()))) if isinstance(result, Result) else ""
    place = Place(
        short(plan.database), versions, plan.variant, f"{plan.nodes} {plan.testbed}", short(plan.workload),
        "scripted" if plan.schedule else short(plan.nemesis),
    )
    if isinstance(result, NotJudged):
        return Told(
            run=result.run, place=place, seed=plan.seed, verdict="not judged", heading="NOT JUDGED", reason=result.reason,
            exit_code=result.exit_code, expect=plan.expect,
        )
    return Told(
        run=result.run, place=place, seed=plan.seed, verdict=result.validity, heading=result.heading,
        reason=result.stopped or result.reason, classification=result.classification,
        exit_code=result.exit_code, anomalies=result.counts,
        lost=result.blast.lost, expect=plan.expect, expectations=result.expectations,
        claims=(*(() if result.claim is None else (result.claim,)), *result.labels),
        otherwise=None if result.pacelc is None else result.pacelc.half, cost=_cost(result, plan),
    )


def _cost(result: Result, plan: Plan) -> Cost | None:
    """What the faults of a run cost; of one whose faults are scripted each has its own length, which tells nothing here."""
    if not result.scenarios or plan.schedule:
        return None
    blast, unknown = result.blast, {}
    # What a database loses without a fault is not what a fault cost.
    decided = result.consistency != "undecided" or any(row.lost for row in result.scenarios)
    if not decided:
        unknown["lost"] = "consistency is undecided"
    if blast.discarded is None:
        unknown["discarded"] = "no fault parted sides, or this workload does not tell"
    if blast.staleness is None:
        unknown["stale_ms"] = "this workload does not tell how old a read is"
    if blast.recovery is None:
        unknown["recovery"] = next((row.recovery_reason for row in result.scenarios if row.recovery is None), "")
    return Cost(
        fault=plan.fault, unproven=sum(not row.bit for row in result.scenarios),
        lengths=tuple(
            row.heal_began - row.in_force for row in result.scenarios
            if row.bit and row.in_force is not None and row.heal_began is not None
        ),
        lost=sum(row.lost for row in result.scenarios) if decided else None, discarded=blast.discarded,
        untold=blast.discarded_untold > 0, recovery=blast.recovery,
        stale_ms=None if blast.staleness is None else blast.staleness.max_ms,
        at_least=blast.staleness is not None and blast.staleness.lossy, unknown=unknown,
    )


def all_told(results: Sequence[Result | NotJudged], retried: Sequence[tuple[str, ...]] = ()) -> tuple[Told, ...]:
    """The lines of all that have one, with why the attempts before each were unknown. A run that never got so far as to ask its
    version stands beside its sisters; runs that differ in how long their faults last stand apart."""
    pairs = [
        (line, result.plan.fault, again)
        for result, again in zip(results, retried or [()] * len(results), strict=True)
        if (line := told(result)) is not None and result.plan is not None
    ]
    known = {(line.place.database, line.place.variant): line.place.version for line, *_ in pairs if line.place.version}
    lines = []
    lengths: defaultdict[Place, set[float]] = defaultdict(set)
    for line, fault, again in pairs:
        version = line.place.version or known.get((line.place.database, line.place.variant), "")
        place = msgspec.structs.replace(line.place, version=version)
        lengths[place].add(fault)
        lines.append((msgspec.structs.replace(line, place=place, retried=again), fault))
    return tuple(
        line if len(lengths[line.place]) < 2
        else msgspec.structs.replace(line, place=msgspec.structs.replace(line.place, fault=fault))
        for line, fault in lines
    )


def write(folder: Path, runs: Sequence[Told]) -> None:
    """Keep the lines of a suite in its folder. Raises `StorageError`."""
    write_whole(folder / FILE, b"[\n" + b",\n".join(map(msgspec.json.encode, runs)) + b"\n]\n")


def read(folder: Path) -> tuple[Told, ...]:
    """The lines that a suite's folder keeps; empty where it has none that this version can read."""
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=tuple[Told, ...])
    except (OSError, msgspec.MsgspecError):
        return ()


def nights(folders: Iterable[Path]) -> tuple[Night, ...]:
    """Those of these folders of suites that hold runs, in their order."""
    return tuple(Night(folder.name, found) for folder in folders if (found := read(folder)))


class RateSeen(msgspec.Struct, frozen=True, kw_only=True):
    """An expectation as a rate, over the runs of one place that were judged, tonight's and those of earlier nights: `seen` in
    so many of `runs`. `chance`: how probable so few would be if the rate were true."""

    place: Place
    what: str
    rate: float
    seen: int
    runs: int
    chance: float

    @property
    def refuted(self) -> bool:
        return self.chance < CHANCE

    @property
    def sentence(self) -> str:
        return f"{self.what}: seen in {self.seen} of {self.runs} runs"


def rates_seen(tonight: Sequence[Told], before: Sequence[Night]) -> tuple[RateSeen, ...]:
    """What became of every expectation that names a rate. Databases of other versions count apart: they are other places."""
    found = []
    wanted = dict.fromkeys((run.place, one.what) for run in tonight for one in run.expectations if one.rate is not None)
    for place, what in wanted:
        every = [
            one for run in (*(run for night in before for run in night.runs), *tonight) if run.place == place
            and run.whole for one in run.expectations if one.what == what and one.rate is not None
        ]
        seen, rate = sum(one.seen for one in every), next((one.rate for one in every), None)
        if rate is not None:
            chance = at_most(seen, len(every), rate)
            found.append(RateSeen(place=place, what=what, rate=rate, seen=seen, runs=len(every), chance=chance))
    return tuple(found)


def at_most(seen: int, of: int, rate: float) -> float:
    """How probable it is that at most `seen` of so many runs show what a run shows with that probability."""
    from scipy.special import bdtr  # Not scipy.stats, which takes seconds to load on a busy machine.

    return float(bdtr(seen, of, rate))


def differ(seen: int, of: int, other_seen: int, other_of: int) -> bool:
    """Whether two counts of runs differ by more than chance (Fisher's exact test, 5%)."""
    drawn = seen + other_seen
    ways = [comb(of, here) * comb(other_of, drawn - here) for here in range(max(0, drawn - other_of), min(of, drawn) + 1)]
    as_odd = sum(one for one in ways if one <= comb(of, seen) * comb(other_of, other_seen))
    return 20 * as_odd < comb(of + other_of, drawn)
