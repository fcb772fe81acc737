"""The grid: every kind of history at every size, within its limits.

    python -m bench grid [--models M,..] [--sizes N,..] [--unsure P,..] [--clients C,..] [--limits SECONDS,..] [--total SECONDS]

Prints a Markdown table, a line for each cell: seconds of `check`, its verdict, how many operations its evidence shows, and by
how much the process grew at its peak over the operations in memory. Each history is judged valid and with one wrong answer in
its middle, in a process of its own. One that a limit leaves undecided is judged again within the next, and tells the limit
that was hit. Marked are a cell that took more than its limit and a tenth and 0.2 s, by the clock and by the processor, for on
a busy machine the clock alone proves nothing; one that took more than 2 GiB; and one that is undecided without a reason. At
the end, how the time grows from size to size. `few-values` are compare-and-set registers of five values, on one key;
`added-again` are sets to which elements are added three times on average; all others have distinct ones.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from bench import generate
from splitbrain.checkers.linearizability import check
from splitbrain.checkers.models.specifications import MODELS
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation

ROOT = Path(__file__).parent.parent
MOST = 2 << 30
"""Bytes that judging may take."""
_ANSWERS = ("read", "dequeue", "pop", "generate")


class Cell(msgspec.Struct):
    """One history judged within `limit`, by the clock in `seconds`: `evidence` is the number of operations of the largest
    anomaly shown, `grown` bytes."""

    limit: float
    seconds: float
    processor: float
    verdict: str
    evidence: int
    grown: int
    why: tuple[str, ...]

    @property
    def late(self) -> bool:
        return min(self.seconds, self.processor) > 1.1 * self.limit + 0.2


def broken(operations: list[Operation]) -> list[Operation]:
    """The history in which one answer of the middle is given once more, much later; of a counter one that is too large, of few
    values one that nobody wrote, of a set its last read without an element of its middle."""
    answers = [at for at, op in enumerate(operations) if op.f in _ANSWERS and op.outcome == "ok" and op.value is not None]
    old, late = answers[len(answers) // 2], answers[-1]
    value = operations[old].value
    if type(value) is list:
        value = [*operations[late].value]
        del value[len(value) // 2]
    if operations[0].f in ("add", "read") and type(value) is int and any(op.f == "add" for op in operations[:100]):
        value += len(operations)
    if type(value) is int and 0 <= value < 5:
        value = 5
    operations[late] = msgspec.structs.replace(operations[late], value=value)
    return operations


def judge(thing: str, size: int, unsure: float, clients: int, fault: bool, limits: Sequence[float]) -> Iterator[Cell]:
    """Make one history and judge it, in this process, within each limit until it is decided."""
    operations = list(generate.operations(thing, size, clients=clients, unsure=unsure))
    history = History.of(broken(operations) if fault else operations)
    del operations
    for limit in limits:
        before = _peak(afresh=True)
        began, worked = time.perf_counter(), time.process_time()
        verdict = check(history, MODELS[generate.MODEL.get(thing, thing)](), time_limit=limit)
        seconds, processor = time.perf_counter() - began, time.process_time() - worked
        evidence = max((len(anomaly.operations) for anomaly in verdict.anomalies), default=0)
        yield Cell(limit, seconds, processor, verdict.validity, evidence, max(0, _peak() - before), verdict.limits)
        if verdict.validity != "unknown":
            break


def _peak(*, afresh: bool = False) -> int:
    """The most memory that this process has occupied, in bytes, since it was last asked `afresh`."""
    if afresh:
        Path("/proc/self/clear_refs").write_text("5")
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def main(arguments: list[str]) -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="bench grid", description=__doc__, formatter_class=raw)
    parser.add_argument("--models", default=",".join(generate.THINGS))
    parser.add_argument("--sizes", default="10000,100000,1000000")
    parser.add_argument("--unsure", default="0,0.01,0.05")
    parser.add_argument("--clients", default="5,20,100")
    parser.add_argument("--limits", default="1,5,20", help="seconds; a cell has the next where it is undecided within one")
    parser.add_argument("--total", type=float, default=900, help="seconds after which no more cells are begun")
    options = parser.parse_args(arguments)
    ends = time.perf_counter() + options.total
    sizes = [int(size) for size in options.sizes.split(",")]
    print("| history | clients | unanswered | operations | fault | limit, s | seconds | verdict | evidence | grown by | why |")
    print("| --- | ---: | ---: | ---: | --- | ---: | ---: | --- | ---: | ---: | --- |")
    times: dict[tuple[str, int], float] = {}
    for model, size, clients, unsure, fault in itertools.product(
        options.models.split(","), sizes, options.clients.split(","), options.unsure.split(","), (False, True)
    ):
        if time.perf_counter() > ends:
            print(f"\nThe {options.total:.0f} s are over: what is missing was not tried.")
            break
        command = [sys.executable, "-m", "bench.grid", model, str(size), unsure, clients, str(int(fault)), options.limits]
        done = subprocess.run(command, capture_output=True, cwd=ROOT, check=False)
        cells = [msgspec.json.decode(line, type=Cell) for line in done.stdout.splitlines()]
        if done.returncode:
            cells.append(Cell(0, 0, 0, "**failed**", 0, 0, tuple(done.stderr.decode().splitlines()[-1:])))
        for cell in cells:
            times[model, size] = max(times.get((model, size), 0), cell.seconds)
            late = " **over**" if cell.late else ""
            much = " **over**" if cell.grown > MOST else ""
            why = "; ".join(cell.why) or ("**no reason**" if cell.verdict == "unknown" else "")
            print(
                f"| {model} | {clients} | {unsure} | {size:,} | {'one' if fault else 'none'} | {cell.limit:g} |"
                f" {cell.seconds:.2f}{late} | {cell.verdict} | {cell.evidence or ''} | {cell.grown / 2**20:.0f} MiB{much} |"
                f" {why} |",
                flush=True,
            )
    print("\nGrowth of the slowest cell, by how many times from size to size:")
    for model in options.models.split(","):
        steps = [
            f"{times[model, more] / max(times[model, less], 1e-3):.1f} for {more / less:.0f} times the operations"
            for less, more in itertools.pairwise(sizes) if (model, less) in times and (model, more) in times
        ]
        if steps:
            print(f"  {model}: {', '.join(steps)}")


if __name__ == "__main__":
    _, name, count, share, workers, spoiled, seconds = sys.argv
    for told in judge(name, int(count), float(share), int(workers), spoiled == "1", [*map(float, seconds.split(","))]):
        sys.stdout.buffer.write(msgspec.json.encode(told) + b"\n")
        sys.stdout.flush()
