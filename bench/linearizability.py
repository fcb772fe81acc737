"""Linearizability side by side with Porcupine: the same files, in one run, on one machine.

    python -m bench.linearizability [--json FILE] [--into FILE]

Prints Markdown. Reading and checking are timed apart; a ratio is Porcupine's time for checking over ours, so more is better
for us. Each side checks a small history `REPEAT` times and its best time counts; the sides take turns. Porcupine (latest
release from the Go proxy, with the hash of states for strings) checks keys in parallel on all processors; we decide what is
near-linear in one thread. Checking is from the read history to the verdict on both sides. "Evidence" is the whole of `check`:
the verdict with the operations that prove it, which Porcupine does not look for. Memory is what a process of its own grows
by, over the operations: after reading, and at its peak.

The files of others are judged twice by us: by the plain code, and with machine code (`splitbrain.load_machine_code`, the
extra `fast`) as a program has it that judges many histories; loading it is not counted, but told. What is generated is judged
by the plain code.

What is missing (Go, numba, the shared histories) is left out, and said.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from bench import generate
from splitbrain.checkers.linearizability import check
from splitbrain.checkers.linearizability.machine import compiled
from splitbrain.checkers.models.specifications import MODELS, CasRegister, KeyValue, Model
from splitbrain.harness.history import formats
from splitbrain.reports.rates import replace_table

HERE = Path(__file__).parent
SHARED = HERE.parent.parent / "shared" / "histories"
REPEAT = 7
GIVE_UP = 15
"""Seconds after which either side gives a history up."""


class Ours(msgspec.Struct):
    """One file by us. Seconds; `held` (after reading) and `peak` (in reading and checking) in bytes an operation, 0 where
    they were not measured."""

    operations: int
    verdict: str
    read: float
    check: float
    evidence: float
    held: float = 0.0
    peak: float = 0.0


class Theirs(msgspec.Struct):
    """One file by Porcupine, as its program prints it."""

    file: str
    operations: int
    verdict: str
    read: float
    check: list[float]


class Row(msgspec.Struct):
    """One history by both, one after the other. `theirs` is None where Porcupine did not run. `fast` is the same once more,
    with machine code; None where there is none."""

    name: str
    expected: str
    ours: Ours
    theirs: Theirs | None
    fast: Row | None = None

    @property
    def ratio(self) -> float:
        """How many times as long Porcupine took; at least that where it gave up."""
        return min(self.theirs.check) / self.ours.check if self.theirs else 0.0


def judge(path: Path, model: Model, repeat: int = REPEAT) -> Ours:
    """Read and check one file."""
    began = time.perf_counter()
    history = formats.read(path).history
    read = time.perf_counter() - began
    held = _resident()
    best = evidence = float("inf")
    verdict = ""
    for _ in range(repeat):
        began = time.perf_counter()
        verdict = check(history, model, explanation=False, time_limit=GIVE_UP).validity
        best = min(best, time.perf_counter() - began)
    for _ in range(min(repeat, 2)):
        began = time.perf_counter()
        check(history, model, time_limit=GIVE_UP)
        evidence = min(evidence, time.perf_counter() - began)
    return Ours(len(history), verdict, read, best, evidence, held if repeat == 1 else 0)


def _resident() -> int:
    """The memory that this process occupies, in bytes; 0 where the system does not tell."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * resource.getpagesize() if status.exists() else 0


def judge_apart(path: Path, name: str) -> Ours:
    """As `judge`, once, in a process of its own whose memory is measured."""
    command = [sys.executable, "-m", "bench.linearizability", "--one", str(path), name]
    done = subprocess.run(command, check=True, capture_output=True, cwd=HERE.parent)
    return msgspec.json.decode(done.stdout, type=Ours)


def _one(path: Path, name: str) -> None:
    warm = generate.operations(name, 200)
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "warm.jsonl"
        small.write_bytes(b"\n".join(msgspec.json.encode(operation) for operation in warm))
        judge(small, MODELS[name](), 1)
    before = _resident()
    ours = judge(path, MODELS[name](), 1)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    held, peak = (ours.held - before) / ours.operations, (most - before) / ours.operations
    sys.stdout.write(msgspec.json.encode(msgspec.structs.replace(ours, held=held, peak=peak)).decode())


class Porcupine:
    """The program of `bench/porcupine`, built once."""

    def __init__(self, folder: Path) -> None:
        self.program = folder / "porcupine"
        subprocess.run(["go", "build", "-o", str(self.program), "."], check=True, cwd=HERE / "porcupine")

    def judge(self, model: str, path: Path, repeat: int = REPEAT) -> Theirs:
        command = [str(self.program), "-model", model, "-repeat", str(repeat), "-timeout", f"{GIVE_UP}s", str(path)]
        return msgspec.json.decode(subprocess.run(command, check=True, capture_output=True).stdout, type=Theirs)


def shared(porcupine: Porcupine | None, *, fast: bool) -> dict[str, list[Row]]:
    """The etcd logs and the key-value files, each with the verdict that its authors published.

    All by the plain code first, then with machine code if `fast`, for it stays once it is loaded.
    """
    listed = json.loads((SHARED / "verdicts.json").read_text())
    found: dict[str, list[Row]] = {"etcd": [], "kv": []}
    rows: list[tuple[Row, Model]] = []
    for entry in listed:
        name, folder = entry["file"], entry["file"].split("/")[0]
        models: dict[str, Model] = {"etcd-register": CasRegister(), "kv": KeyValue()}
        if entry["model"] not in models or entry["expected"] is None:
            continue
        model = models[entry["model"]]
        row = _by_both(porcupine, name, "valid" if entry["expected"] else "invalid", model)
        found[folder].append(row)
        rows.append((row, model))
    if fast:
        compiled.load_machine_code()
        for row, model in rows:
            row.fast = _by_both(porcupine, row.name, row.expected, model)
    found["kv"].sort(key=lambda row: (row.ours.operations, row.name))
    return found


def _by_both(porcupine: Porcupine | None, name: str, expected: str, model: Model) -> Row:
    ours = judge(SHARED / name, model)
    return Row(name, expected, ours, porcupine.judge(model.name, SHARED / name) if porcupine else None)


def generated(porcupine: Porcupine | None, folder: Path) -> list[Row]:
    """Histories of 20 clients, made here: one object, one change in a hundred never answered."""
    rows: list[Row] = []
    for model, count in (
        ("cas-register", 10_000), ("cas-register", 100_000), ("cas-register", 1_000_000),
        ("queue", 100_000), ("stack", 100_000), ("set", 100_000),
    ):
        path = folder / f"{model}-{count}.jsonl"
        generate.write(path, model, count)
        ours = judge_apart(path, model)
        theirs = None
        # Where it gave up on fewer operations it is not asked about more.
        gave_up = any(row.theirs and row.theirs.verdict == "unknown" for row in rows if row.name.startswith(model))
        if porcupine and not gave_up:
            theirs = porcupine.judge(model, path, 1)
        rows.append(Row(f"{model}, {count:,}", "valid", ours, theirs))
        path.unlink()
    return rows


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.2f}" if seconds < 0.1 else f"{seconds * 1e3:,.0f}"


def _verdict(row: Row) -> str:
    told = {one.ours.verdict for one in (row, row.fast) if one}
    wrong = "" if told == {row.expected} else f" (expected {row.expected})"
    return " or ".join(sorted(told)) + wrong


def _ratio(row: Row | None) -> str:
    if row is None or row.theirs is None:
        return "-"
    return f"{'> ' if row.theirs.verdict == 'unknown' else ''}{row.ratio:,.1f}"


def _tell_etcd(rows: list[Row]) -> list[str]:
    right = sum(row.expected == row.ours.verdict == (row.fast or row).ours.verdict for row in rows)
    lines = [
        f"**{len(rows)} etcd logs** ({sum(row.ours.operations for row in rows):,} operations): {right} verdicts as published;"
        f" reading {_ms(sum(row.ours.read for row in rows))} ms, checking with evidence"
        f" {_ms(sum(row.ours.evidence for row in rows))} ms.",
    ]
    for title, chosen in (("With machine code", [row.fast for row in rows if row.fast]), ("Plain", rows)):
        if not chosen:
            continue
        ours = sum(row.ours.check for row in chosen)
        line = f"{title}: checking {_ms(ours)} ms"
        theirs = [row.theirs for row in chosen if row.theirs]
        if theirs:
            total = sum(min(one.check) for one in theirs)
            ratio, worst = min((row.ratio, row.name) for row in chosen)
            slow = sum(row.ratio < 0.5 for row in chosen)
            line += (
                f", Porcupine {_ms(total)} ms (reading {_ms(sum(one.read for one in theirs))} ms). Ratio of the totals:"
                f" **{total / ours:.1f}**; worst file {worst}: {ratio:.2f}; files on which Porcupine is more than twice as"
                f" fast: {slow}"
            )
        lines += ["", line + "."]
    return [*lines, ""]


def tell(found: dict[str, list[Row]], loading: float | None) -> str:
    """The tables, in Markdown. `loading` is how many seconds machine code takes to load, None where there is none."""
    lines = _tell_etcd(found["etcd"]) if found.get("etcd") else []
    if loading is not None:
        lines += [f"Loading machine code takes a process {loading:.1f} s; the first time after installation it is compiled."]
    lines.append("")
    if found.get("kv"):
        lines += [
            "| key-value file | operations | verdict | Porcupine's | checking with machine code, ms | plain, ms |"
            " Porcupine's, ms | ratio with machine code | plain | plain with evidence, ms | reading, ms | Porcupine's, ms |",
            "|---|---:|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        ]
    for row in found.get("kv", ()):
        cells = [
            row.name.removeprefix("kv/"), f"{row.ours.operations:,}", _verdict(row),
            row.theirs.verdict if row.theirs else "-", _ms(row.fast.ours.check) if row.fast else "-", _ms(row.ours.check),
            _ms(min(row.theirs.check)) if row.theirs else "-", _ratio(row.fast), _ratio(row),
            _ms(row.ours.evidence), _ms(row.ours.read), _ms(row.theirs.read) if row.theirs else "-",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    if found.get("generated"):
        lines += [
            "| generated history | operations | verdict | Porcupine's | checking, ms | Porcupine's, ms | ratio |"
            " with evidence, ms | reading, ms | Porcupine's, ms | bytes an operation, held / peak |",
            "|---|---:|---|---|---:|---:|---:|---:|---:|---:|---:|",
        ]
    for row in found.get("generated", ()):
        theirs = row.theirs
        their_verdict = "not asked" if theirs is None else theirs.verdict
        if theirs and theirs.verdict == "unknown":
            their_verdict = f"gave up after {GIVE_UP} s"
        cells = [
            row.name, f"{row.ours.operations:,}", _verdict(row), their_verdict, _ms(row.ours.check),
            _ms(min(theirs.check)) if theirs else "-", _ratio(row), _ms(row.ours.evidence), _ms(row.ours.read),
            _ms(theirs.read) if theirs else "-", f"{row.ours.held:.0f} / {row.ours.peak:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _loading() -> float | None:
    """Seconds that a new process takes to load the machine code, compiled before; None where it cannot."""
    began = time.perf_counter()
    for _ in range(2):
        began = time.perf_counter()
        command = "import splitbrain; splitbrain.load_machine_code()"
        if subprocess.run([sys.executable, "-c", command], capture_output=True, cwd=HERE.parent).returncode:
            return None
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    parser.add_argument("--one", nargs=2, metavar=("FILE", "MODEL"), help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path, help="put the tables into this page, between its bench markers")
    options = parser.parse_args()
    if options.one:
        _one(Path(options.one[0]), options.one[1])
        return
    found: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        porcupine = None
        if shutil.which("go"):
            porcupine = Porcupine(folder)
        else:
            sys.stderr.write("LEFT OUT: Porcupine, because there is no Go here\n")
        # First, for a process begins with the memory of the one that made it, and loading machine code takes much.
        found["generated"] = generated(porcupine, folder)
        loading = _loading()
        if loading is None:
            sys.stderr.write("LEFT OUT: machine code, because numba is not here\n")
        if (SHARED / "verdicts.json").exists():
            found |= shared(porcupine, fast=loading is not None)
        else:
            sys.stderr.write(f"LEFT OUT: the etcd logs and key-value files, because {SHARED} is not here\n")
    tables = tell(found, loading)
    print(tables)
    if options.into:
        replace_table(options.into, "bench", tables)
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1))


if __name__ == "__main__":
    main()
