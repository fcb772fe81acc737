"""Result: everything that a judged run says. The terminal, the report, JUnit and the comparison print this and nothing else.

Moments are seconds from the start of the run and durations are seconds, both floats, unless a name ends in `_ms`; shares
are fractions from 0 to 1. Only the operations inside an `Anomaly` keep the nanoseconds of the history. It is one file
because all of it is one document, `result.json`.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Literal

import msgspec

from splitbrain.checkers.anomalies import in_order
from splitbrain.checkers.verdict import Anomaly, Lost, Staleness, Standing, Validity, Verdict
from splitbrain.harness.errors import HistoryError
from splitbrain.harness.history.operation import Key, Kind
from splitbrain.harness.history.variant import Variant
from splitbrain.harness.plan import Plan

FORMAT = 2

Availability = Literal["available", "blocked", "unknown"]

Consistency = Literal["held", "refuted", "undecided"]
"""Of the model that the run tests: not refuted by a complete check, refuted by an anomaly, or not decided (never
counted as held)."""

Class = Literal["CP", "AP", "neither", "unavailable", "not-exercised", "not-distributed", "hybrid", "unknown"]

CLASSES: tuple[Class, ...] = (
    "CP", "AP", "neither", "unavailable", "not-exercised", "not-distributed", "hybrid", "unknown",
)

Sacrifice = Literal["none", "delayed", "blocked on a side", "blocked everywhere", "wrong", "unknown"]
"""How much of one kind of operation a partition cost, in rising order. `delayed`: blocked at first, then served again."""

Answer = Literal["holds", "holds in part", "does not hold", "not tested"]
"""To a claim or a label. In part: it says one thing of a database whose reads and writes differ, and is right of one kind."""


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """How one kind of operation was served to the workers of some homes, over one window.

    An operation is `attempted` if it was invoked inside the window; one that was still waiting when the window closed counts
    as unanswered if it had waited for a second, else not at all, and neither do those that were open while the harness stood
    still. `share` is None where nothing was attempted; `low` and `high` are its Wilson interval (95%). `outage` is the
    longest time in which none was answered though somebody had asked, `outage_limit` what it may last at most (1 s, or three
    times the baseline's longest if that is more), `outage_ended` whether one was answered again before the window closed.
    `time_share` is the part of the time that lay outside outages
    of more than a third of that limit: a closed loop that hangs makes few calls, so that the share of operations alone
    hides how long nobody was served (None: nothing was asked). `state` is `available` or `blocked` where there is evidence for
    that, else `unknown`, and `reason` says why, and how many calls were needed.

    `transition` is the time from when the fault was in force to the first answer by the side's new primary: 0 where the
    primary (or a database without one) stayed on the side, None where no new one answered. `after_transition` is the share from
    then on. `served` says whether, after the longest outage, more than half was answered (None: too little was tried).
    `latency` is the median of the seconds that answered ones took.
    """

    kind: Kind
    attempted: int = 0
    answered: int = 0
    share: float | None = None
    low: float = 0.0
    high: float = 1.0
    time_share: float | None = None
    outage: float = 0.0
    outage_limit: float = 1.0
    outage_ended: bool = True
    state: Availability = "unknown"
    reason: str = ""
    transition: float | None = None
    after_transition: float | None = None
    served: bool | None = None
    latency: float | None = None


class Home(msgspec.Struct, frozen=True, kw_only=True):
    """The workers that live beside one node, during one fault."""

    node: str
    read: Measure
    write: Measure

    def worked(self, kind: Kind) -> bool | None:
        """Whether at least half of their operations of that kind were answered (None: they tried none, or too few to say that
        they could not work)."""
        found = self.read if kind == "read" else self.write
        if found.attempted and found.answered * 2 >= found.attempted:
            return True
        return False if found.state == "blocked" else None


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """How a side served the keys (there are `keys` of them) of which it holds `here` of `of` replicas."""

    here: int
    of: int
    keys: int
    read: Measure
    write: Measure


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One side of a partition. `quorum`: more than half of all nodes are on it and were neither down nor standing still.
    `primary`: the node that was primary when the fault was aimed is on it. `struck` are its nodes to which something was done
    themselves meanwhile, by this fault or by another one, and `spared` the reads and the writes of its other homes, or of
    those that were spared longest, up to the moment at which they were struck too; empty where no home was spared for a while,
    and where all were all the time. `without_primary` is the longest time, of more than 0.1 s, in which its workers found no
    primary in reach and nothing was answered (None: they never missed one). `held` is how it served its keys by the replicas
    that it holds of them, most first; empty where every node holds every key."""

    nodes: tuple[str, ...]
    quorum: bool
    primary: bool
    read: Measure
    write: Measure
    without_primary: float | None = None
    held: tuple[Held, ...] = ()
    struck: tuple[str, ...] = ()
    spared: tuple[Measure, ...] = ()

    def of(self, kind: Kind) -> Measure:
        """Its measure of that kind of operation."""
        return self.read if kind == "read" else self.write


class GaveWay(msgspec.Struct, frozen=True, kw_only=True):
    """One key on which one side (`nodes`) gave way: how many `writes` of it its servers had acknowledged."""

    key: Key
    nodes: tuple[str, ...]
    writes: int


class Discarded(msgspec.Struct, frozen=True, kw_only=True):
    """What was acknowledged during a partition by a side that gave way after the heal: `writes` on `keys` keys, of which `last`
    were the side's last on their key. Of the `written` keys `contested` ones were written by more than one side. On `untold`
    keys no read after the heal tells what became of a side's writes: where there are some, `writes` is a lower bound."""

    written: int = 0
    contested: int = 0
    writes: int = 0
    keys: int = 0
    last: int = 0
    untold: int = 0
    rows: tuple[GaveWay, ...] = ()


class Touched(msgspec.Struct, frozen=True, kw_only=True):
    """Of so many keys or servers that were `asked` while a fault was in force, on how many less than half of the calls of that
    kind were answered."""

    of: Literal["keys", "servers"]
    kind: Kind
    touched: int
    asked: int
    fault: int


class Episode(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of time (seconds) in which these faults, and no others, were in force: what was answered on each side that all
    of them together left. `struck` are the nodes that something was done to themselves."""

    faults: tuple[int, ...]
    label: str
    began: float
    ended: float
    sides: tuple[Side, ...] = ()
    struck: tuple[str, ...] = ()


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """One fault and what it cost: a row of the result.

    `in_force` and `heal_began` bound the window that is measured; None where that was not reached. `proven` is when probes
    had shown it, `bit` that they proved it to be as intended. `label` names the sides (`{n1} | {n2 n3}`), the one with the
    old primary first.
    Where the fault did something to nodes themselves (killed, paused: `struck`), `label` tells that. What a struck node does
    not do is no choice of the database's, nor that clients were not answered who were cut off from their node (at the homes
    `severed`, which are told apart): `cut_sides` are the sides as the homes saw them to which nothing was done but the
    cut, `masked_sides` those that were cut off and have no such home, so that nothing follows from who was served there.
    `asked_sides` are those of which people are told who was served. Links that were down and up in turn (`links_flapping`)
    are not among the `links_cut`.
    `round_trip` is how many seconds longer every round trip between nodes took, as probes measured it (None: not all links were
    delayed alike).
    `done` is what its nodes were like, in everyday words, after "while" (`the server on n1 was killed`); empty where unsaid.
    `beside` are the faults that were in force together with it for a while.
    `stood_still` is how long the harness itself did in the window: that time is left out of what is measured.
    `dead` names the nodes on which a server had died on its own by the start of the heal: who was answered is then not the
    fault's doing alone.
    `recovery` is the time from the heal until every home's reads and writes were answered steadily again (None: not
    reached, or not measured; `recovery_reason` says which); `served_after`: later after the heal every home had at least most
    of its reads and writes answered; `shut_before`: the homes that had not, shortly before the first fault. `anomalies`
    counts all that it caused, shown or not, and `lost` the acknowledged writes among them that are lost.
    `classes` are the classes of reads and of writes apart, `sentence` why. `reach` is on how many keys, and at how many
    servers, clients got no answer.
    """

    fault: int
    nemesis: str
    name: str
    label: str
    started: float
    in_force: float | None
    proven: float | None
    heal_began: float | None
    healed: float | None
    bit: bool
    spread_ms: float
    stood_still: float = 0.0
    primary: str | None
    links_cut: int
    struck: tuple[str, ...] = ()
    severed: tuple[str, ...] = ()
    links_flapping: int = 0
    round_trip: float | None = None
    done: str = ""
    beside: tuple[int, ...] = ()
    dead: tuple[str, ...] = ()
    sides: tuple[Side, ...] = ()
    homes: tuple[Home, ...] = ()
    clients_blocked: dict[Kind, float] = {}
    consistency: Consistency = "undecided"
    anomalies: dict[str, int] = {}
    lost: int = 0
    recovery: float | None = None
    recovery_reason: str = ""
    served_after: bool = False
    shut_before: dict[Kind, tuple[str, ...]] = {}
    discarded: Discarded | None = None
    reach: tuple[Touched, ...] = ()
    classification: Class = "unknown"
    classes: dict[Kind, Class] = {}
    sentence: str = ""

    @property
    def told(self) -> tuple[Side, ...]:
        """The sides, as people are told of them: where links are cut and yet all nodes are connected (a bridge, a ring)
        there is one side only, and every home is told apart. None where it is not known since when it was in force: then no
        call is counted, whoever called."""
        if self.in_force is None:
            return ()
        if len(self.sides) != 1 or not self.links_cut:
            return self.sides
        return tuple(
            Side(nodes=(home.node,), quorum=self.sides[0].quorum, primary=home.node == self.primary, read=home.read,
                 write=home.write)
            for home in self.homes
        )

    @property
    def cut_sides(self) -> tuple[Side, ...]:
        """The sides on which servers went on, as the homes that nothing else was done to saw them."""
        return tuple(
            msgspec.structs.replace(side, read=side.spared[0], write=side.spared[1]) if side.spared else side
            for side in self.sides if not self._masks(side)
        )

    @property
    def masked_sides(self) -> tuple[Side, ...]:
        """The sides that were cut off while something else was done to all of their nodes; none where no link is cut."""
        return tuple(side for side in self.sides if self.links_cut and self._masks(side))

    @property
    def asked_sides(self) -> tuple[Side, ...]:
        """All sides where links are cut, else those on which servers went on, and the clients that were cut off from them."""
        lost = (side for side in self.sides if set(side.nodes) <= set(self.severed))
        return self.sides if self.links_cut else (*self.cut_sides, *lost)

    def _masks(self, side: Side) -> bool:
        nodes = set(side.nodes)
        return nodes <= set(self.severed) or (not side.spared and nodes <= {*self.struck, *side.struck})

    @property
    def deaths(self) -> str:
        """`dead` as a clause, empty where nobody died."""
        if len(self.dead) < 2:
            return f"the server on {self.dead[0]} had died on its own" if self.dead else ""
        return f"servers on {', '.join(self.dead)} had died on their own"


class Convergence(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the replicas were equal after the last heal, by final reads of each node's own copy.

    `seconds` is the time from the last heal until all had been seen to agree, also beside the load (without a fault, from the
    end of the load; None where nobody looked before the load's end). `how` says what a node-local read
    is for this database. `differing` names up to five keys with what each node held.
    """

    state: Literal["agreed", "diverged", "unknown"] = "unknown"
    reason: str = ""
    seconds: float | None = None
    rounds: int = 0
    keys: int = 0
    how: str = ""
    differing: tuple[str, ...] = ()


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Calls that failed for one reason: `fail` certainly did not happen, `info` may have. `detail` is what the servers said
    most often in their own words, of `details` different texts; empty where they said nothing, or nobody wrote it down."""

    outcome: Literal["fail", "info"]
    reason: str
    times: int
    detail: str = ""
    details: int = 0


class Check(msgspec.Struct, frozen=True):
    """One question of "was the test any good" and its answer. A failed check that is `grave` makes a run without an anomaly
    `unknown`; `why` is what that means in everyday words, after "because"."""

    name: str
    passed: bool
    text: str
    grave: bool = True
    why: str = ""


class PeriodCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many operations of a kind were `invoked` in one stretch of the run; over all rows these add up to the run's. `period`
    is `baseline`, `fault 1 begins` (until it was in force), `fault 1` (its window), `fault 1 heals`, `after fault 1`, ...,
    `after the load`, `final reads`, and of faults that overlap `faults 1 to 3` and `after faults 1 to 3`; `side` names the
    nodes and is empty for all of them. `attempted` and `answered` are those of the measure where there is one: calls that were
    still open for a moment when the window closed, or while the harness stood still, are not attempts there."""

    period: str
    side: str
    kind: Kind
    invoked: int
    attempted: int
    answered: int


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """Was the test any good."""

    checks: tuple[Check, ...] = ()
    counts: tuple[PeriodCount, ...] = ()
    in_flight: float = 0.0
    """Operations in flight, on average over the load."""

    @property
    def failed(self) -> tuple[Check, ...]:
        """The grave checks that failed."""
        return tuple(check for check in self.checks if check.grave and not check.passed)


class Shut(msgspec.Struct, frozen=True, kw_only=True):
    """The `share` of clients, by home, of whose operations of that kind less than half were answered during one fault, the
    worst in this."""

    kind: Kind
    share: float
    fault: int
    scenario: str


class Blast(msgspec.Struct, frozen=True, kw_only=True):
    """What a partition cost, as figures over the whole run; the worst of all scenarios where each has its own. None where it
    was not measured. `touched` is the widest reach of a fault, of keys and servers, by reads and writes. `rejected` is the
    share of writes that were not answered while a fault was in force, `quorum` the share of homes that lay on a side with a
    quorum then (over the time of all faults that cut links), and `contested` the share of keys, of those that were written
    during a fault, which several sides wrote. `lost` are acknowledged writes that were lost, of `acknowledged` ones;
    `discarded` are those that gave way at a heal to another side's concurrent ones, in all scenarios, and `discarded_last`
    those of them that were their side's last on a key; at least so many where no read tells it of some keys
    (`discarded_untold`)."""

    clients_blocked: tuple[Shut, ...] = ()
    touched: tuple[Touched, ...] = ()
    rejected: float | None = None
    quorum: float | None = None
    contested: float | None = None
    without_primary: float | None = None
    recovery: float | None = None
    lost: int = 0
    acknowledged: int = 0
    discarded: int | None = None
    discarded_last: int | None = None
    discarded_untold: int = 0
    staleness: Staleness | None = None
    convergence: float | None = None


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """How long the answered operations of a kind took in one part of the load (`before the faults`, `during the faults`,
    `after the last heal`; `all of it` without faults), and how many there were a second. Some may lie in none of these."""

    period: str
    kind: Kind
    answered: int
    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


Half = Literal["EL", "EC", "mixed", "unknown"]
"""Of PACELC, without a partition: answers do not wait for round trips between nodes, they do, or one kind of them does."""


class Waits(msgspec.Struct, frozen=True, kw_only=True):
    """For how many round trips (`trips`, by the medians; `low` to `high` by quartiles and measured delays) one kind of answers
    waits at these homes; `primary`: it is the primary's. `reason` says why it is unknown."""

    kind: Kind
    homes: tuple[str, ...]
    primary: bool
    half: Half
    trips: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""


class Pacelc(msgspec.Struct, frozen=True, kw_only=True):
    """What the database chose without a partition, by two known delays of all links (one way, as intended and as measured).
    `half` and `halves` are what holds at the primary, or everywhere where there is none; `sentence` spells it out."""

    half: Half
    halves: dict[Kind, Half]
    delays_ms: tuple[float, float]
    measured_ms: tuple[float, float]
    waits: tuple[Waits, ...]
    sentence: str


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """An alert that literature recommends, and whether it would have fired in this run, by what clients saw."""

    name: str
    fired: bool
    told: str


class Assessment(msgspec.Struct, frozen=True, kw_only=True):
    """The vendor's claim, or a label that literature gives, held against what was seen."""

    text: str
    source: str
    standing: Answer
    reason: str


class Expectation(msgspec.Struct, frozen=True):
    """What `--expect` named, and whether it was met. Of one that names a `rate` (`neither 80%`) a run alone decides nothing: it
    is met where the run is judged at all, and the suite holds the rate against all runs in which it was `seen`."""

    what: str
    met: bool
    reason: str
    rate: float | None = None
    seen: bool = False


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """The operations of the load and the final reads by outcome; `final` of them are final reads."""

    operations: int = 0
    ok: int = 0
    fail: int = 0
    info: int = 0
    final: int = 0
    keys: int = 0


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """How a history that another program recorded was read: as which `format`, judged by which `model` and `why`; `nil` is what
    a read of nil was taken for, empty where the verdict is of both meanings. `timed`: its times are nanoseconds."""

    path: str
    format: str
    model: str
    why: str
    nil: str
    notes: tuple[str, ...] = ()
    timed: bool = False


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What one judged run says.

    `heading` is two or three words (`NOT LINEARIZABLE`, `NO ANOMALY FOUND`, `UNKNOWN`) and `reason` the sentence after it.
    `exercised` says in a sentence what the run did, so that "no anomaly found" can be weighed. `anomalies` are those of all
    checkers, the most telling first; `counts` how many there were of each identifier, shown or not: those of the scenarios and
    those `outside` of them (they began before the first fault, or nobody told when) add up to it. `lost` are the acknowledged
    writes that are proven to be lost. `standings` tell where the run stands to each model that was tested; the first is the
    workload's own, which `consistency` and the classes speak of.

    `baseline` is measured before the first fault, over all homes. `classification` is the one label over all scenarios and
    `sentence` spells it out, hybrids and lost writes included; `classes` are those of reads and of writes apart and
    `sacrifices` what each of them gave up. `claim` is None for a history recorded by another program.

    `judged` says by which version of splitbrain, and of which journal (its size, and the sum of its end), so that a stored
    result is known to be that of the journal beside it; empty where nobody stored it.

    `run` is the name of the run's folder and may be empty; `limits` are all the budgets that were hit. `exit_code` is what
    a command that judged this run alone exits with, and `stopped` what ended the run before its plan did, or one of its phases
    before it was over, where it is that for which the exit code is neither the verdict's nor the expectations'.
    """

    format: int = FORMAT
    run: str = ""
    started: str = ""
    judged: str = ""
    plan: Plan | None = None
    source: Source | None = None
    """None for a run of our own."""
    variant: Variant | None = None
    versions: dict[str, str] = {}
    facts: dict[str, str] = {}
    """What the testbed says of itself: of a container's image, where it came from and its digest."""
    nodes: tuple[str, ...] = ()
    torn: bool = False
    interrupted: bool = False

    validity: Validity
    heading: str
    reason: str
    exercised: str = ""
    totals: Totals = Totals()
    verdicts: tuple[Verdict, ...] = ()
    anomalies: tuple[Anomaly, ...] = ()
    counts: dict[str, int] = {}
    outside: dict[str, int] = {}
    lost: Lost = Lost()
    standings: tuple[Standing, ...] = ()
    consistency: Consistency = "undecided"

    baseline: tuple[Measure, ...] = ()
    """Reads, then writes; empty where the run has no baseline."""
    scenarios: tuple[Scenario, ...] = ()
    episodes: tuple[Episode, ...] = ()
    """The stretches with the same set of faults in force, where faults overlap."""
    convergence: Convergence = Convergence()
    failures: tuple[Failure, ...] = ()
    """The commonest first."""
    quality: Quality = Quality()
    classification: Class = "unknown"
    sentence: str = ""
    classes: dict[Kind, Class] = {}
    sacrifices: dict[Kind, Sacrifice] = {}
    blast: Blast = Blast()
    latencies: tuple[Latency, ...] = ()
    alerts: tuple[Alert, ...] = ()
    pacelc: Pacelc | None = None
    """None where the run has no two delays of all links."""

    claim: Assessment | None = None
    labels: tuple[Assessment, ...] = ()
    expectations: tuple[Expectation, ...] = ()
    recommendations: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    exit_code: int = 2
    stopped: str = ""


_DIGEST = re.compile(rb',\n  "digest": "([0-9a-f]{64})"\n\}\n$')


class NotJudged(msgspec.Struct, frozen=True, kw_only=True):
    """A run that ended before it could be judged: `exit_code` 3 where the cluster could not be set up; the reason."""

    run: str
    plan: Plan | None = None
    reason: str
    exit_code: int


def encode(result: Result) -> bytes:
    """The text of `result.json`: indented, the same bytes for the same result. It ends with a digest of what stands before, by
    which `decode` finds damage."""
    plain = msgspec.to_builtins(result, str_keys=True, order="deterministic", enc_hook=repr)
    text = msgspec.json.format(msgspec.json.encode(plain), indent=2).removesuffix(b"\n}")
    return b'%b,\n  "digest": "%b"\n}\n' % (text, hashlib.sha256(text).hexdigest().encode())


class _Head(msgspec.Struct):
    """What is read of a result to know whether this version can read it."""

    format: object = None


def decode(text: bytes, path: Path | str = "result.json") -> Result:
    """The result in a `result.json`. Raises `HistoryError` naming `path` where it is none, is damaged, or of a newer
    version."""
    told = _DIGEST.search(text)
    damaged = told is not None and hashlib.sha256(text[: told.start()]).hexdigest().encode() != told[1]
    try:
        number = msgspec.json.decode(text, type=_Head).format
        # Before the digest: a newer version may count it otherwise.
        if isinstance(number, int) and number > FORMAT:
            raise HistoryError(
                f"written by a newer splitbrain (format {number}, this one reads {FORMAT}): update, or judge the run again "
                "with 'splitbrain check'.", path=str(path),
            )
        if not damaged:
            return _in_order(msgspec.json.decode(text, type=Result))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if not damaged:
            why = f"not a result of splitbrain: {error}; 'splitbrain check' judges a run again."
            raise HistoryError(why, path=str(path)) from error
    raise HistoryError("the result is damaged: 'splitbrain check' judges the run again.", path=str(path))


def _in_order(result: Result) -> Result:
    """The result with its anomalies in the order in which they are told everywhere; in the file they are by name."""
    rows = tuple(msgspec.structs.replace(row, anomalies=in_order(row.anomalies)) for row in result.scenarios)
    return msgspec.structs.replace(result, counts=in_order(result.counts), outside=in_order(result.outside), scenarios=rows)
