"""The grid: every kind of history at every size, within its limits.

    python -m bench grid [--models M,..] [--values distinct,few] [--sizes N,..] [--unsure P,..] [--clients C,..]
                         [--limits SECONDS,..] [--total SECONDS] [--store FILE] [--page FILE]

Each cell is one history, judged in a process of its own: seconds of `check`, its verdict, how many operations its evidence
shows, and by how much the process grew at its peak over the operations in memory. Each is judged valid and with one wrong
answer in its middle or end. One that a limit leaves undecided is judged again within the next, and tells the limit that was
hit. Lines are printed as cells are judged, and kept in `--store`, each with a digest of the code that judged it. What is
missing there is judged first, then what other code judged. The tables of all that is in the store stand between the marks of
`--page`, which is left as it is where it tells of more histories than the store holds.

Marked are a cell that took more than its limit and a tenth and 0.2 s, by the clock and by the processor, for on a busy machine
the clock alone proves nothing; one that took more than 2 GiB; and one that is undecided without a reason.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import itertools
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from bench import generate
from splitbrain.checkers.linearizability import check
from splitbrain.checkers.models.specifications import MODELS
from splitbrain.harness.files import write_whole
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation
from splitbrain.reports.rates import replace_table

ROOT = Path(__file__).parent.parent
STORE = ROOT / "bench" / "grid.jsonl"
PAGE = ROOT / "docs" / "grid.md"
MOST = 2 << 30
"""Bytes that judging may take."""
WORST = 8
"""Cells that are shown as the worst of their kind."""
CODE = ("checkers/linearizability/**/*.py", "checkers/models/*.py", "checkers/budget.py", "bench/generate.py")
"""What a cell depends on."""
_ANSWERS = ("read", "get", "dequeue", "pop", "generate")
_HISTORIES = re.compile(r"([\d,]+) histories, judged")


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where in the grid a history is; `values` are `distinct` or `few`, `unsure` is the share of changes without an answer."""

    model: str
    values: str
    size: int
    clients: int
    unsure: float
    fault: bool


class Cell(msgspec.Struct, array_like=True):
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


class Judged(msgspec.Struct, array_like=True):
    """A place, what it was judged to be within one limit after the other, and the digest of the code."""

    place: Place
    cells: list[Cell]
    code: str = ""

    @property
    def last(self) -> Cell:
        return self.cells[-1]

    @property
    def right(self) -> bool:
        """Whether it was decided as it should be."""
        return self.last.verdict == ("invalid" if self.place.fault else "valid")


def broken(operations: list[Operation]) -> list[Operation]:
    """The history in which one answer of the middle is given once more, much later; of a counter one that is too large, of few
    values one that nobody wrote, of a set its last read without an element of its middle, of a text one without its first
    letter, and of a lock that was held an acquisition that succeeds."""
    if operations[0].f in ("acquire", "release"):
        failed = [at for at, op in enumerate(operations) if op.outcome == "fail"]
        at = failed[len(failed) // 2]
        operations[at] = msgspec.structs.replace(operations[at], outcome="ok", value=operations[at].value or 1)
        return operations
    if operations[0].f == "txn":
        late = max(at for at, op in enumerate(operations) if op.outcome == "ok")
        read, write = operations[late].value
        operations[late] = msgspec.structs.replace(operations[late], value=((*read[:2], -1), write))
        return operations
    answers = [at for at, op in enumerate(operations) if op.f in _ANSWERS and op.outcome == "ok" and op.value is not None]
    old, late = answers[len(answers) // 2], answers[-1]
    value = operations[old].value
    if type(value) is list:
        value = [*operations[late].value]
        del value[len(value) // 2]
    if type(value) is str:
        value = operations[late].value[1:] if operations[late].value else "?"
    if operations[0].f in ("add", "read") and type(value) is int and any(op.f == "add" for op in operations[:100]):
        value += 5 * len(operations)
    if type(value) is int and 0 <= value < 5:
        value = 5
    operations[late] = msgspec.structs.replace(operations[late], value=value)
    return operations


def judge(place: Place, limits: Sequence[float]) -> Iterator[Cell]:
    """Make one history and judge it, in this process, within each limit until it is decided."""
    operations = list(generate.operations(
        place.model, place.size, clients=place.clients, unsure=place.unsure, few=place.values == "few"
    ))
    history = History.of(broken(operations) if place.fault else operations)
    del operations
    for limit in limits:
        before = _peak(afresh=True)
        began, worked = time.perf_counter(), time.process_time()
        verdict = check(history, MODELS[place.model](), time_limit=limit)
        seconds, processor = time.perf_counter() - began, time.process_time() - worked
        evidence = max((len(anomaly.operations) for anomaly in verdict.anomalies), default=0)
        yield Cell(
            limit, round(seconds, 4), round(processor, 4), verdict.validity, evidence, max(0, _peak() - before), verdict.limits
        )
        if verdict.validity != "unknown":
            break


def _peak(*, afresh: bool = False) -> int:
    """The most memory that this process has occupied, in bytes, since it was last asked `afresh`."""
    if afresh:
        Path("/proc/self/clear_refs").write_text("5")
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


# What people read


def line(place: Place, cell: Cell) -> str:
    """The row of one cell."""
    late = " **over**" if cell.late else ""
    much = " **over**" if cell.grown > MOST else ""
    why = "; ".join(cell.why) or ("**no reason**" if cell.verdict == "unknown" else "")
    return (
        f"| {place.model} | {place.values} | {place.clients} | {place.unsure:g} | {place.size:,} |"
        f" {'one' if place.fault else 'none'} | {cell.limit:g} | {cell.seconds:.2f}{late} | {cell.processor:.2f} |"
        f" {cell.verdict} | {cell.evidence or ''} | {cell.grown / 2**20:.0f} MiB{much} | {why} |"
    )


HEAD = (
    "| model | values | clients | unanswered | operations | fault | limit | seconds | processor | verdict | evidence |"
    " grown by | why |\n"
    "| --- | --- | ---: | ---: | ---: | --- | ---: | ---: | ---: | --- | ---: | ---: | --- |"
)


def growth(judged: Sequence[Judged], less: int, more: int) -> float | None:
    """By how many times the processor's seconds grow from size to size: the median over the cells that were decided at both."""
    seconds = {one.place: one.last.processor for one in judged if one.last.verdict != "unknown"}
    rates = [
        taken / max(seconds[smaller], 1e-3) for place, taken in seconds.items()
        if place.size == more and (smaller := msgspec.structs.replace(place, size=less)) in seconds
    ]
    return statistics.median(rates) if rates else None


def summary(judged: Sequence[Judged]) -> str:
    """The tables of a page: a row for each kind of history, and the worst cells."""
    sizes = sorted({one.place.size for one in judged})
    grows = [f"{less:,} to {more:,}" for less, more in itertools.pairwise(sizes)]
    head = [
        "model", "values", *(f"processor, s, {size:,}" for size in sizes), *(f"growth, {grow}" for grow in grows),
        "memory at most", "valid ones", "faulty ones", "evidence",
    ]
    rows = [head, ["---", "---", *["---:"] * (len(sizes) + len(grows) + 1), "---", "---", "---:"]]
    for model, values in itertools.product(generate.THINGS, ('distinct', 'few')):
        mine = [one for one in judged if (one.place.model, one.place.values) == (model, values)]
        if not mine:
            continue
        row = [model, values]
        for size in sizes:
            took = [one.last.processor for one in mine if one.place.size == size]
            row.append(f"{statistics.median(took):.2f} to {max(took):.2f}" if took else "-")
        for less, more in itertools.pairwise(sizes):
            grew = growth(mine, less, more)
            row.append("-" if grew is None else f"{grew:.1f} ×")
        row.append(f"{max(one.last.grown for one in mine) / 2**20:,.0f} MiB")
        for fault in (False, True):
            told = Counter(one.last.verdict for one in mine if one.place.fault == fault)
            row.append(", ".join(f"{many} {verdict}" for verdict, many in sorted(told.items())))
        row.append(str(max(one.last.evidence for one in mine) or "-"))
        rows.append(row)
    cells = [cell for one in judged for cell in one.cells]
    undecided = [one for one in judged if one.last.verdict == "unknown"]
    many = Counter(one.place.size for one in judged)
    said = [
        f"Judged were {', '.join(f'{many[size]} of {size:,} operations' for size in sizes)}.",
        f"{len(judged):,} histories, judged {len(cells):,} times: {sum(one.right for one in judged):,} decided,"
        f" {len(undecided):,} `unknown` at their last limit. {sum(cell.late for cell in cells)} of {len(cells):,} were over"
        f" their limit, {sum(cell.grown > MOST for cell in cells)} over their memory, and"
        f" {sum(not one.last.why for one in undecided)} of those undecided do not say why.",
    ]
    old = sum(one.code != code() for one in judged)
    if old:
        said.append(f"{old:,} were judged by earlier code.")
    unshown = [one for one in judged if one.last.verdict == "invalid" and not one.last.evidence]
    if unshown:
        said.append(f"{len(unshown):,} were found invalid without time left to show why.")
    worst: list[tuple[str, list[Judged]]] = [
        ("The slowest that were decided", [one for one in judged if one.last.verdict != "unknown"]),
        ("The smallest that were not decided", undecided),
    ]
    text = [" ".join(said), "\n".join("| " + " | ".join(row) + " |" for row in rows)]
    for title, some in worst:
        some.sort(key=lambda one: (one.place.size, one.place.unsure, one.place.clients) if some is undecided else (
            -one.last.processor,))
        shown = [line(one.place, one.last) for one in some[:WORST]]
        if shown:
            text.append(f"{title}:\n\n{HEAD}\n" + "\n".join(shown))
    return "\n\n".join(text) + "\n"


@functools.cache
def code() -> str:
    """A digest of the code that judges."""
    files = sorted(file for pattern in CODE for file in ROOT.glob(pattern))
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:12]


def kept(store: Path) -> dict[Place, Judged]:
    """What a store holds; of a place that was judged again, the last."""
    lines = store.read_bytes().splitlines() if store.exists() else []
    return {one.place: one for one in (msgspec.json.decode(line, type=Judged) for line in lines)}


def keep(store: Path, judged: Iterable[Judged]) -> None:
    """Write a line for each place."""
    lines = [msgspec.json.encode(one) + b"\n" for one in sorted(judged, key=lambda one: msgspec.structs.astuple(one.place))]
    write_whole(store, b"".join(lines))


def put(table: str, page: Path, histories: int) -> str:
    """Put the table of so many histories on the page, unless the one there tells of more; why not, then."""
    told = _HISTORIES.search(page.read_text())
    before = int(told[1].replace(",", "")) if told else 0
    if before > histories:
        return f"{page} is left as it is: it tells of {before:,} histories, the store of {histories:,}."
    replace_table(page, "grid", table)
    return ""


def main(arguments: list[str]) -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="bench grid", description=__doc__, formatter_class=raw)
    parser.add_argument("--models", default=",".join(generate.THINGS))
    parser.add_argument("--values", default="distinct,few")
    parser.add_argument("--sizes", default="10000,100000,1000000")
    parser.add_argument("--unsure", default="0,0.01,0.05")
    parser.add_argument("--clients", default="5,20,100")
    parser.add_argument("--limits", default="1,5,20", help="seconds; a cell has the next where it is undecided within one")
    parser.add_argument("--total", type=float, default=900, help="seconds after which no more cells are begun")
    parser.add_argument("--store", type=Path, default=STORE)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args(arguments)
    ends = time.perf_counter() + options.total
    options.store.parent.mkdir(parents=True, exist_ok=True)
    known = kept(options.store)
    wanted = [
        Place(model, values, int(size), int(clients), float(unsure), fault)
        for size, model, values, clients, unsure, fault in itertools.product(
            options.sizes.split(","), options.models.split(","), options.values.split(","), options.clients.split(","),
            options.unsure.split(","), (False, True),
        )
        if values == "distinct" or model in generate.FEW
    ]
    places = [place for place in wanted if place not in known]
    places += [place for place in wanted if place in known and known[place].code != code()]
    print(HEAD)
    with options.store.open("ab") as store:
        for place in places:
            if time.perf_counter() > ends:
                print(f"\nThe {options.total:.0f} s are over: what is missing was not tried.")
                break
            command = [sys.executable, "-m", "bench.grid", msgspec.json.encode(place).decode(), options.limits]
            done = subprocess.run(command, capture_output=True, cwd=ROOT, check=False)
            cells = [msgspec.json.decode(line, type=Cell) for line in done.stdout.splitlines()]
            if done.returncode:
                cells.append(Cell(0, 0, 0, "**failed**", 0, 0, tuple(done.stderr.decode().splitlines()[-1:])))
            known[place] = Judged(place, cells, code())
            if not done.returncode:
                store.write(msgspec.json.encode(known[place]) + b"\n")
                store.flush()
            for cell in cells:
                print(line(place, cell), flush=True)
    keep(options.store, known.values())
    table = summary(list(known.values()))
    print(f"\n{table}")
    print(put(table, options.page, len(known)))


if __name__ == "__main__":
    _, where, seconds = sys.argv
    for told in judge(msgspec.json.decode(where, type=Place), [*map(float, seconds.split(","))]):
        sys.stdout.buffer.write(msgspec.json.encode(told) + b"\n")
        sys.stdout.flush()
