"""A run of a million operations of which 400,000 are wrong: loaded, judged and reported in a process of its own.

    python -m bench.judging [OPERATIONS]

The run is simulated: a cluster of five nodes is cut in two for most of the load, and both sides go on, each with registers of
its own, of which only the larger side's are there after the heal. Told are the seconds that pass, those of all processors
together, and the memory of all processes together, of the second time: the first one on a machine compiles. What takes longer
or more memory than it may, scaled to the number of operations, is a failure, and 1 is the exit code then.
"""

from __future__ import annotations

import heapq
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from splitbrain.harness import registry, store
from splitbrain.harness.history.fault import PlainFault
from splitbrain.harness.history.journal import Header, Invoke, Journal
from splitbrain.harness.history.operation import MISMATCH, Operation, Outcome
from splitbrain.harness.history.recording import LocalRead, PhaseName, View
from splitbrain.harness.plan import Plan
from splitbrain.harness.store import Run

OPERATIONS = 1_000_000
SECONDS, MEMORY = 30.0, 3 << 29
"""What a million operations may take: seconds that pass, and bytes of all processes together."""
NODES = ("n1", "n2", "n3", "n4", "n5")
MAJORITY = NODES[2:]
HOMES = ("n1", "n2", "n3", "n1", "n2", "n4", "n1", "n5")
"""Where one client after the other lives: half of them on the smaller side."""
READS = 0.95, 0.75
"""Of the calls on the smaller side and on the larger one, so many are reads: what is read on the smaller one is soon old."""
SWAPS = 0.2
"""Of the others, so many are compare-and-sets from what the client read last; the rest are writes of fresh values."""
CLIENTS, KEYS = 40, 200
SECOND = 1_000_000_000
CALL = 1_000_000
"""Nanoseconds that half a call takes on average."""
PACE = CLIENTS * SECOND // (3 * CALL)
"""Operations in a second of the run, about."""
LOOK = 0.25
"""Seconds between two looks at the memory."""


class Spent(msgspec.Struct):
    """What a command took: seconds that passed, seconds of all processors, and the most bytes of its processes together."""

    passed: float
    computed: float
    peak: int


class Measured(msgspec.Struct):
    """What loading alone took, and all; `size` is that of the journal in bytes."""

    operations: int
    anomalies: int
    size: int
    loading: Spent
    whole: Spent

    @property
    def kept(self) -> bool:
        """Whether all was within its bounds."""
        millions = max(1.0, self.operations / 1e6)
        return self.whole.passed <= SECONDS * millions and self.whole.peak <= MEMORY * millions


def write(folder: Path, operations: int) -> Run:
    """The run's folder, with its plan and journal."""
    load = operations * SECOND // PACE
    plan = Plan(database="reference", variant="split-brain", nemesis="halves", seed=1, time=load / SECOND, keys=KEYS)
    variant = next(one for one in registry.look_up("databases", "reference").variants if one.name == plan.variant)
    run = store.create(folder, plan, "simulated")
    journal = Journal(run.journal)
    journal.header(Header(
        run=run.label, plan=plan, variant=variant, nodes=NODES, started="2026-01-01T00:00:00Z",
        epoch=0, version="simulated",
    ))
    began = SECOND
    cut, heal = began + load // 100, began + load * 97 // 100
    links = tuple((a, b) for a in NODES for b in NODES if (a in MAJORITY) != (b in MAJORITY))
    fault = PlainFault(
        id=1, nemesis="halves", scenario="halves", started=cut, in_force=cut + CALL, proven=cut + 2 * CALL, cut=links,
        observed_cut=links, sides=(MAJORITY, NODES[:2]), primary="n3", spread=CALL,
    )
    healed = msgspec.structs.replace(fault, heal_began=heal, healed=heal + 2 * CALL, heal_spread=CALL)
    journal.phase("set-up", 0, ended=False)
    journal.phase("set-up", began, ended=True)
    for node in NODES:
        journal.view(View(node=node, primary="n3", time=began))
    journal.phase("load", began, ended=False)
    ended, held = _load(journal, began, operations, cut, heal, fault, healed)
    for name in _BETWEEN:
        journal.phase(name, ended, ended=False)
        journal.phase(name, ended, ended=True)
    journal.phase("final-reads", ended, ended=False)
    ended = _final(journal, ended, held)
    journal.phase("final-reads", ended, ended=True)
    journal.end(ended, interrupted=False)
    journal.close()
    return run


_BETWEEN: tuple[PhaseName, ...] = ("heal", "settle")


def _load(
    journal: Journal, began: int, operations: int, cut: int, heal: int, fault: PlainFault, healed: PlainFault
) -> tuple[int, dict[int, int | None]]:
    """When the load ended, and what the registers hold then."""
    rng = random.Random(1)
    whole: dict[int, int | None] = dict.fromkeys(range(KEYS))
    sides = (whole, whole)
    seen: dict[tuple[int, int], int | None] = {}
    stages = [(cut, fault), (heal, healed)]
    # When, which client, and what it called: None where it is to call next; then the answer to be told.
    agenda: list[tuple[int, int, Invoke | Operation | None]] = [(began + client, client, None) for client in range(CLIENTS)]
    heapq.heapify(agenda)
    begun = made = now = 0
    while agenda:
        now, client, call = heapq.heappop(agenda)
        if stages and now >= stages[0][0]:
            at, stage = stages.pop(0)
            journal.fault(stage.fault())
            sides = (dict(whole), whole) if at == cut else (whole, whole)
        node = HOMES[client % len(HOMES)]
        server = node if cut <= now < heal and node not in MAJORITY else "n3"
        later = now + round(rng.expovariate(1 / CALL)) + 1
        if call is None:
            if begun == operations:
                continue
            begun += 1
            key, kind, reads = rng.randrange(KEYS), rng.random(), READS[node in MAJORITY]
            made += kind >= reads
            swap = seen.get((client, key)), made
            f, value = ("read", None) if kind < reads else ("cas", swap) if kind > 1 - SWAPS * (1 - reads) else ("write", made)
            invoke = Invoke(
                time=now, process=client, f=f, key=key, value=value, node=node, server=server,
                kind="read" if f == "read" else "write",
            )
            journal.invoke(invoke)
            heapq.heappush(agenda, (later, client, invoke))
        elif isinstance(call, Invoke):
            assert isinstance(call.key, int)
            held, value, outcome = sides[node in MAJORITY], call.value, "ok"
            was = held[call.key]
            if call.f == "read":
                seen[client, call.key] = value = was
            elif call.f == "cas" and was != value[0]:
                outcome = "fail"
            else:
                held[call.key] = value[1] if call.f == "cas" else value
            heapq.heappush(agenda, (later, client, _answer(call, value, outcome, later, was)))  # type: ignore[arg-type]
        else:
            journal.complete(call)
            heapq.heappush(agenda, (later, client, None))
    journal.phase("load", now, ended=True, cpu=0)
    return now, whole


def _answer(call: Invoke, value: object, outcome: Outcome, at: int, was: int | None) -> Operation:
    return Operation(
        process=call.process, f=call.f, key=call.key, value=value, outcome=outcome, invoked=call.time, completed=at,
        error=MISMATCH if outcome == "fail" else None, seen=(was,) if outcome == "fail" else (),
    )


def _final(journal: Journal, began: int, held: dict[int, int | None]) -> int:
    """Read every key at every node; when that is over."""
    now = began
    for number, node in enumerate(NODES):
        for key in range(KEYS):
            call = Invoke(time=now, process=CLIENTS + number, f="read", key=key, node=node, server=node, kind="read")
            journal.invoke(call)
            journal.complete(_answer(call, held[key], "ok", now + CALL, None))
            journal.local_read(LocalRead(node=node, key=key, value=held[key], time=now, round=0))
            now += 2 * CALL
    return now


def measured(operations: int) -> Measured:
    """Write a run and judge it once."""
    with tempfile.TemporaryDirectory() as folder:
        run = write(Path(folder), operations)
        load = f"from splitbrain.harness.history import journal; journal.load(journal.Path({str(run.journal)!r}))"
        _, loading = (_spent("-c", load) for _ in range(2))
        _, whole = (_spent("-m", "splitbrain.harness.cli", "check", str(run.folder)) for _ in range(2))
        result = json.loads(run.result.read_bytes())
        return Measured(
            result["totals"]["operations"], sum(result["counts"].values()), run.journal.stat().st_size, loading, whole
        )


def _spent(*command: str) -> Spent:
    """What a Python process took, with those that it began."""
    began, together = time.monotonic(), 0
    # What is compiled is kept, as where it is installed.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    child = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL, env=environment)
    while True:
        ended, status, spent = os.wait4(child.pid, os.WNOHANG)
        if ended:
            break
        together = max(together, _occupied(child.pid))
        time.sleep(LOOK)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode not in (0, 1, 2):
        raise RuntimeError(f"{' '.join(command)}: ended with {child.returncode}")
    return Spent(time.monotonic() - began, spent.ru_utime + spent.ru_stime, max(together, spent.ru_maxrss * 1024))


def _occupied(process: int) -> int:
    """Bytes that a process and those that it began occupy together: what they share counts once."""
    try:
        told = Path(f"/proc/{process}/smaps_rollup").read_text()
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:  # It has just ended.
        return 0
    own = next((int(line.split()[1]) for line in told.splitlines() if line.startswith("Pss:")), 0)
    return own * 1024 + sum(_occupied(int(child)) for child in children)


def tell(found: Measured) -> str:
    """A sentence of Markdown."""
    loading, whole, processors = found.loading, found.whole, len(os.sched_getaffinity(0))
    return (
        f"**A run of {found.operations:,} operations with {found.anomalies:,} anomalies** (a journal of "
        f"{found.size / 1e6:,.0f} MB) is loaded, judged and reported in {whole.passed:.1f} s, {whole.computed:.1f} s of "
        f"processors ({processors} there), with {whole.peak / 2**30:.2f} GiB of memory at most; loading alone takes "
        f"{loading.passed:.1f} s, {loading.computed:.1f} s of processors, and {loading.peak / 2**30:.2f} GiB. Within "
        f"{SECONDS:.0f} s and {MEMORY / 2**30:.1f} GiB a million: {'yes' if found.kept else 'no'}."
    )


if __name__ == "__main__":
    found = measured(int(sys.argv[1]) if sys.argv[1:] else OPERATIONS)
    print(tell(found))
    sys.exit(0 if found.kept else 1)
