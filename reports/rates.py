"""Tables of rates for a page, made from stored results and never typed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median

import msgspec

from splitbrain.checkers.result import Class, Result
from splitbrain.checkers.verdict import Validity
from splitbrain.harness.errors import UsageError
from splitbrain.harness.files import write_whole
from splitbrain.harness.plan import Plan, short
from splitbrain.reports.wording import count, plural, printable

COLUMNS = (
    "database",
    "variant",
    "nodes",
    "workload",
    "nemesis",
    "runs",
    "verdicts",
    "anomalies (runs)",
    "class (runs)",
    "replicas after the heal (runs)",
    "writes answered: minority, majority (median)",
    "acknowledged writes lost, proven (median)",
    "discarded, on keys, last ones (median)",
)
NUMBERS = 3
"""Columns at the end that hold numbers."""
FOUND_COLUMNS = ("database", "variant", "workload", "fault", "runs", "verdicts", "found (runs)")
FOUND_RUNS = 10
"""Fewer runs make no row of what was found."""
CONTROLS = ("majority", "primary-async")
"""The variants of our own database that stand beside the others': one that is right, and one that has two primaries."""


class Rate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One run in one line: what a table of rates is made from. Shares are of the writes tried during the faults at the homes
    of sides without a quorum, and with one (where the primary changed, from the new one's first answer on)."""

    run: str
    started: str
    database: str
    version: str
    variant: str
    testbed: str
    nodes: int
    workload: str
    nemesis: str
    seed: int
    validity: Validity
    classification: Class
    anomalies: dict[str, int]
    replicas: str
    minority: float | None
    majority: float | None
    lost: int | None
    discarded: int | None
    discarded_keys: int | None
    discarded_last: int | None
    discarded_untold: int | None = None
    """The keys of which no read told what became of a side's writes; None also where the run was judged before that was asked,
    whose numbers of discarded writes are not counted."""


def rate(result: Result) -> Rate | None:
    """That run in one line; None of a history that another program recorded, and of a run that was interrupted."""
    plan = result.plan
    if plan is None or result.interrupted:
        return None
    minority = [side.write.share for row in result.scenarios for side in row.cut_sides if not side.quorum]
    majority = [
        side.write.share if side.write.after_transition is None else side.write.after_transition
        for row in result.scenarios for side in row.cut_sides if side.quorum
    ]
    # An undecided history lost nothing that anyone knows of: that is no zero.
    lost = result.blast.lost if result.blast.lost or result.consistency != "undecided" else None
    gave_way = [row.discarded for row in result.scenarios if row.discarded is not None]
    return Rate(
        run=result.run, started=result.started, database=short(plan.database),
        version="/".join(sorted(set(result.versions.values()))),
        variant=plan.variant, testbed=plan.testbed, nodes=plan.nodes, workload=short(plan.workload), nemesis=fault_of(plan),
        seed=plan.seed, validity=result.validity,
        classification=result.classification, anomalies={name: n for name, n in result.counts.items() if n},
        replicas=result.convergence.state, minority=_middle(minority), majority=_middle(majority), lost=lost,
        discarded=result.blast.discarded,
        discarded_keys=sum(one.keys for one in gave_way) if gave_way else None,
        discarded_last=result.blast.discarded_last,
        discarded_untold=None if result.blast.discarded is None else result.blast.discarded_untold,
    )


def fault_of(plan: Plan) -> str:
    """What goes wrong in a run, as a row tells it: `pause:primary`, `scripted`. Where a call may take longer than any fault
    lasts, that is told too: what a server that stood still does with the calls that waited for it is found by such clients
    alone."""
    nemesis = "scripted" if plan.schedule else short(plan.nemesis)
    longest = max((fault.duration for fault in plan.schedule), default=plan.fault)
    return f"{nemesis}, calls wait {plan.timeout:g} s" if plan.timeout > longest else nemesis


def each_once(rates: Iterable[Rate]) -> tuple[Rate, ...]:
    """Every run once, where it came first, as it was judged last. A run is one by its name and its seed: on two machines runs
    may begin in the same second."""
    return tuple({(one.run, one.seed): one for one in rates}.values())


def store_rates(path: Path, rates: Sequence[Rate]) -> tuple[Rate, ...]:
    """Add them to those that a file holds, a line each; all that it holds then. Raises `UsageError`, and leaves the file as it
    is, where it holds something else; `StorageError`."""
    if path.exists() and not path.is_file():  # A device may never end.
        raise UsageError(f"{path}: is no file: name one that is to hold the results.")
    held = each_once((*(stored_rates(path) if path.exists() else ()), *rates))
    write_whole(path, b"".join(msgspec.json.encode(one) + b"\n" for one in held))
    return held


def stored_rates(path: Path) -> tuple[Rate, ...]:
    """Those of a file that `store_rates` wrote. Raises `UsageError`."""
    found = []
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}.") from error
    for number, line in enumerate(lines, 1):
        try:
            found.append(msgspec.json.decode(line, type=Rate))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise UsageError(
                f"{path}:{number}: is no stored result ({error}): 'splitbrain rates FOLDER --store {path}' writes them."
            ) from error
    return tuple(found)


def rates_table(rates: Iterable[Rate]) -> str:
    """A Markdown table, a row for each database and version, variant, testbed and number of nodes, workload and nemesis."""
    words = len(COLUMNS) - NUMBERS
    lines = [markdown_row(COLUMNS), markdown_row(("---",) * 5 + ("---:",) + ("---",) * (words - 6) + ("---:",) * NUMBERS)]
    for names, group in _alike(rates):
        lines.append(markdown_row((
            *names,
            count(len(group)),
            *_seen(group),
            _counted(one.classification for one in group),
            _counted(one.replicas for one in group),
            f"{_share(one.minority for one in group)}, {_share(one.majority for one in group)}",
            _number(one.lost for one in group),
            _discarded(group),
        )))
    return "\n".join(lines) + "\n"


def found_table(rates: Iterable[Rate]) -> str:
    """What was found in databases that others make, and in our two `CONTROLS`, in the same rows, as far as they have enough
    runs: for readers who want no more than that."""
    lines = [markdown_row(FOUND_COLUMNS), markdown_row(("---",) * 4 + ("---:",) + ("---",) * 2)]
    told = [one for one in rates if one.database != "reference" or one.variant in CONTROLS]
    for (name, variant, _, workload, fault), group in _alike(told):
        if len(group) >= FOUND_RUNS:
            lines.append(markdown_row((name, variant, workload, fault, count(len(group)), *_seen(group))))
    return "\n".join(lines) + "\n"


def _alike(rates: Iterable[Rate]) -> list[tuple[tuple[str, ...], list[Rate]]]:
    """The runs of each row, by what names it: database, variant, nodes, workload and nemesis."""
    rows: dict[tuple[str, ...], list[Rate]] = {}
    for one in rates:
        nodes = f"{one.nodes} in {one.testbed}"
        name = f"{one.database} {one.version}".strip()
        rows.setdefault((name, one.variant, nodes, one.workload, one.nemesis), []).append(one)
    return sorted(rows.items())


def _seen(group: Sequence[Rate]) -> tuple[str, str]:
    """How these runs were judged, and the anomalies that they showed."""
    names = _counted(name for one in group for name in one.anomalies)
    return _counted(one.validity for one in group), names or "none"


def _discarded(group: Sequence[Rate]) -> str:
    """Writes, the keys that they were on, and how many of them were the last on their key; at least so many where no read told
    it of some keys; and in how many of the runs, where not in all."""
    measured = [one for one in group if one.discarded is not None and one.discarded_untold is not None]
    if not measured:
        return "-"
    names = ("discarded", "discarded_keys", "discarded_last")
    least = "≥ " if any(one.discarded_untold for one in measured) else ""
    some = f" ({plural(len(measured), 'run')})" if len(measured) < len(group) else ""
    return least + ", ".join(_number(getattr(one, name) for one in measured) for name in names) + some


def _middle(numbers: Iterable[float | None]) -> float | None:
    known = [number for number in numbers if number is not None]
    return median(known) if known else None


def _share(shares: Iterable[float | None]) -> str:
    middle = _middle(shares)
    return "-" if middle is None else f"{middle:.1%}"


def _number(numbers: Iterable[float | None]) -> str:
    middle = _middle(numbers)
    return "-" if middle is None else f"{middle:,.10g}"


def replace_tables(path: Path, tables: Mapping[str, str]) -> None:
    """Put those of the tables, by name, for which the page has a place where they belong; one of them at least. Raises as
    `replace_table` does."""
    text = path.read_text("utf-8", "replace")
    for name in [name for name in tables if f"<!-- {name}:" in text] or list(tables)[:1]:
        replace_table(path, name, tables[name])


def replace_table(path: Path, name: str, table: str) -> None:
    """Put the table between the markers of its name in that file. Raises `UsageError` where they are not there once each, in
    order, and `StorageError` where the file cannot be written."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}.") from error
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise UsageError(f"{path}: holds no place for the table: put the lines {begin} and {end} where it belongs.")
    before, rest = text.split(begin)
    after = rest.split(end)[1]
    write_whole(path, f"{before}{begin}\n{table}{end}{after}")


def _counted(of: Iterable[str]) -> str:
    """`lost-write 19, stale-read 3`: the most frequent first."""
    names = Counter(of)
    return ", ".join(f"{name} {count(names[name])}" for name in sorted(names, key=lambda name: (-names[name], name)))


def markdown_row(cells: Sequence[str]) -> str:
    """A row of a table: what would end a cell, or begin markup, is escaped."""
    shown = (printable(cell, 200).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;") for cell in cells)
    return f"| {' | '.join(shown)} |"
