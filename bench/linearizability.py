"""Linearizability side by side with Porcupine: the same files, in one run, on one machine.

    python -m bench.linearizability [--json FILE] [--readme FILE]

Prints Markdown. Reading and checking are timed apart; a ratio is Porcupine's time for checking over ours, so more is better
for us. Each side checks a small history `REPEAT` times and its best time counts; the sides take turns. Porcupine (latest
release from the Go proxy, with the hash of states for strings) checks keys in parallel on all processors; we decide what is
near-linear in one thread. "Evidence" is the whole of `check`: the verdict with the operations that prove it, which Porcupine
does not look for. Memory is what a process of its own grows by, over the operations: after reading, and at its peak.

What is missing (Go, the shared histories) is left out, and said.
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
from checkers.linearizability import check
from checkers.models import MODELS, CasRegister, KeyValue, Model
from harness.history import formats
from reports.rates import replace_table

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
    """One history by both. `theirs` is None where Porcupine did not run."""

    name: str
    expected: str
    ours: Ours
    theirs: Theirs | None

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


def shared(porcupine: Porcupine | None) -> dict[str, list[Row]]:
    """The etcd logs and the key-value files, each with the verdict that its authors published."""
    listed = json.loads((SHARED / "verdicts.json").read_text())
    found: dict[str, list[Row]] = {"etcd": [], "kv": []}
    for entry in listed:
        name, folder = entry["file"], entry["file"].split("/")[0]
        models: dict[str, tuple[str, Model]] = {
            "etcd-register": ("cas-register", CasRegister()), "kv": ("kv", KeyValue()),
        }
        if entry["model"] not in models or entry["expected"] is None:
            continue
        theirs_model, model = models[entry["model"]]
        ours = judge(SHARED / name, model)
        theirs = porcupine.judge(theirs_model, SHARED / name) if porcupine else None
        found[folder].append(Row(name, "valid" if entry["expected"] else "invalid", ours, theirs))
    found["kv"].sort(key=lambda row: (row.ours.operations, row.name))
    return found


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
    wrong = "" if row.ours.verdict == row.expected else f" (expected {row.expected})"
    return row.ours.verdict + wrong


def _ratio(row: Row) -> str:
    if row.theirs is None:
        return "-"
    return f"{'> ' if row.theirs.verdict == 'unknown' else ''}{row.ratio:,.1f}"


def tell(found: dict[str, list[Row]]) -> str:
    """The tables, in Markdown."""
    lines = []
    etcd = found.get("etcd", [])
    if etcd:
        right = sum(row.ours.verdict == row.expected for row in etcd)
        ours = sum(row.ours.check for row in etcd)
        lines += [
            f"**{len(etcd)} etcd logs** ({sum(row.ours.operations for row in etcd):,} operations): {right} verdicts as"
            f" published; checking {_ms(ours)} ms, reading {_ms(sum(row.ours.read for row in etcd))} ms,"
            f" with evidence {_ms(sum(row.ours.evidence for row in etcd))} ms.",
        ]
        pairs = [row for row in etcd if row.theirs]
        if pairs:
            total = sum(min(row.theirs.check) for row in pairs if row.theirs)
            worst = min(pairs, key=lambda row: row.ratio)
            reading = sum(row.theirs.read for row in pairs if row.theirs)
            slow = sum(row.ratio < 0.5 for row in pairs)
            lines += [
                f"Porcupine: checking {_ms(total)} ms, reading {_ms(reading)} ms. Ratio of the totals: **{total / ours:.1f}**;"
                f" worst file {worst.name}: {worst.ratio:.2f}; files on which Porcupine is more than twice as fast: {slow}.",
            ]
        lines.append("")
    for name, title in (("kv", "key-value file"), ("generated", "generated history")):
        rows = found.get(name, [])
        if not rows:
            continue
        lines += [
            f"| {title} | operations | verdict | Porcupine's | checking, ms | Porcupine's, ms | ratio | with evidence, ms |"
            " reading, ms | Porcupine's, ms | bytes an operation, held / peak |",
            "|---|---:|---|---|---:|---:|---:|---:|---:|---:|---:|",
        ]
        for row in rows:
            theirs = row.theirs
            their_verdict = "not asked" if theirs is None else theirs.verdict
            if theirs and theirs.verdict == "unknown":
                their_verdict = f"gave up after {GIVE_UP} s"
            cells = [
                row.name.removeprefix("kv/"), f"{row.ours.operations:,}", _verdict(row), their_verdict, _ms(row.ours.check),
                _ms(min(theirs.check)) if theirs else "-", _ratio(row), _ms(row.ours.evidence), _ms(row.ours.read),
                _ms(theirs.read) if theirs else "-", f"{row.ours.held:.0f} / {row.ours.peak:.0f}" if row.ours.peak else "-",
            ]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    parser.add_argument("--one", nargs=2, metavar=("FILE", "MODEL"), help=argparse.SUPPRESS)
    parser.add_argument("--readme", type=Path, help="put the tables into this file, between its bench markers")
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
        if (SHARED / "verdicts.json").exists():
            found |= shared(porcupine)
        else:
            sys.stderr.write(f"LEFT OUT: the etcd logs and key-value files, because {SHARED} is not here\n")
        found["generated"] = generated(porcupine, folder)
    tables = tell(found)
    print(tables)
    if options.readme:
        replace_table(options.readme, "bench", tables)
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1))


if __name__ == "__main__":
    main()
