"""Side by side with an earlier commit: every cell is measured by both in turn, in one run on one machine, and their ratio told.

    python -m bench pairs [COMMIT] [--histories FOLDER] [--size N] [--rounds N]

COMMIT is the one before unless it is named; it is checked out into a temporary worktree, which is gone afterwards. Times of
two runs on a shared machine differ by more than most changes do; those of a pair that was measured in turn do not, so the
median of the rounds' ratios is what a change cost. Seconds are of the processor, each measurement in a process of its own.

Then every file of FOLDER (histories with known verdicts, or folders of runs) is judged by both, and what differs in verdict,
counts of anomalies, standings, classification or lost writes is listed: nothing should, but what the commits in between name.
Exits with 1 where something does.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import generate, transactions

ROOT = Path(__file__).parent.parent
HISTORIES = ROOT.parent / "shared" / "histories"
TIME_LIMIT = 30.0
_SAME = ("validity", "heading", "counts", "standings", "classification", "lost", "scenarios")

_MEASURED = """
import json, sys, time
from pathlib import Path
import splitbrain
path, model = sys.argv[1:]
from splitbrain.harness.history.formats import read
splitbrain.check([splitbrain.Operation(process=0, f="read", invoked=0, completed=1)])  # What is imported late is so now.
loading, judging = [], []
while sum(loading) + sum(judging) < 0.5:
    began = time.process_time()
    found = read(Path(path))
    history = getattr(found, "history", None) or found[0]
    loading.append(time.process_time() - began)
    verdict = splitbrain.check(history, model or None, time_limit=120.0)
    judging.append(time.process_time() - began - loading[-1])
print(json.dumps([min(loading), min(judging), verdict.validity]))
"""
"""What measures a cell, in either tree: seconds to load a file and to judge it, and the verdict. Of what is short, the best of
some: the first time is that of what is loaded late, which `starts` measures."""


_JUDGED = """
import contextlib, io, json, sys
from splitbrain.harness.cli import commands
limit, *paths = sys.argv[1:]
for path in paths:
    told, out = {}, io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            told["exit"] = commands.main(["check", path, "--json", "--time-limit", limit], standalone_mode=False)
        told = json.loads(out.getvalue()) | told
    except Exception as error:
        told["error"] = f"{type(error).__name__}: {error}"
    print(json.dumps(told), flush=True)
"""
"""What judges histories, in either tree: a line for each with its result and exit code, or the error's sentence."""


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """A worktree of a commit, for as long as it is needed."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "before")
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(tree), commit], cwd=ROOT, check=True)
        try:
            yield tree
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=ROOT, check=True)


def run(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python with a tree's own code, which is compiled once, as it is where it is installed."""
    env = {**os.environ, "PYTHONPATH": str(tree / "src"), "PYTHONDONTWRITEBYTECODE": ""}
    return subprocess.run([sys.executable, *arguments], cwd=tree, env=env, capture_output=True, text=True, check=False)


_SMALL = 1_000
"""Operations of a history that people wait for only because of what is loaded."""


def cells(folder: Path, size: int) -> Iterator[tuple[str, Path, str]]:
    """Each cell's name, its history and the model."""
    for model in ("cas-register", "set", "queue", "counter"):
        for many in (_SMALL, size):
            path = folder / f"{model}-{many}.jsonl"
            generate.write(path, model, many)
            yield f"{model}, {many:,} operations", path, model
    for kind in ("list-append", "rw-register"):
        path = folder / f"{kind}.jsonl"
        transactions.write(path, kind, size, "anywhere")
        yield f"{kind}, {size:,} transactions", path, ""


def pair(before: Path, path: Path, model: str, rounds: int) -> tuple[list[list[float]], list[list[float]], set[str]]:
    """Seconds of loading and of judging, before and now, a row a round, and the verdicts."""
    told: tuple[list[list[float]], list[list[float]]] = ([], [])
    verdicts = set()
    for number in range(rounds):
        for which, tree in ((0, before), (1, ROOT)) if number % 2 else ((1, ROOT), (0, before)):
            ran = run(tree, "-c", _MEASURED, str(path), model)
            if ran.returncode:
                raise RuntimeError(f"{tree}: {path.name}: {ran.stderr.strip().splitlines()[-1]}")
            *seconds, verdict = json.loads(ran.stdout)
            told[which].append(seconds)
            verdicts.add(verdict)
    return *told, verdicts


def starts(before: Path, folder: Path, rounds: int) -> Iterator[str]:
    """A row for each of some commands that are short: seconds of the processor of the whole process, and the ratio."""
    path = folder / "small.jsonl"
    generate.write(path, "cas-register", _SMALL)
    commands = {"splitbrain --help": ["--help"], f"splitbrain check, {_SMALL:,} operations": ["check", str(path)]}
    for name, arguments in commands.items():
        told: tuple[list[float], list[float]] = ([], [])
        for _ in range(2 * rounds + 1):
            for which, tree in ((0, before), (1, ROOT)):
                spent = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
                run(tree, "-m", "splitbrain.harness.cli", *arguments)
                told[which].append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - spent)
        was, now = map(min, told)
        yield f"| {name} | {was:.2f} | {now:.2f} | {now / was:.2f} |"


def judging(tree: Path, paths: list[Path]) -> subprocess.Popen[str]:
    """A process that judges files and folders of runs by a tree's own code, a line for each."""
    env = {**os.environ, "PYTHONPATH": str(tree / "src")}
    command = [sys.executable, "-c", _JUDGED, f"{TIME_LIMIT:g}s", *map(str, paths)]
    return subprocess.Popen(command, cwd=tree, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _timeless(part) for name, part in value.items() if name != "seconds"}
    return [_timeless(part) for part in value] if isinstance(value, list) else value


def differences(before: Path, folder: Path) -> Iterator[str]:
    """A line for each history of a folder that the two judge differently; last how many are judged equally."""
    runs = sorted(path.parent for path in folder.rglob("journal.jsonl"))
    paths = runs or sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in _NO_HISTORIES)
    same = 0
    with judging(before, paths) as then, judging(ROOT, paths) as now:
        assert then.stdout is not None and now.stdout is not None
        for path, old_line, new_line in zip(paths, then.stdout, now.stdout, strict=True):
            old, new = (_compared(json.loads(line)) for line in (old_line, new_line))
            names = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
            same += not names
            if names:
                each = ((name, *(json.dumps(one.get(name))[:200] for one in (old, new))) for name in names)
                told = "; ".join(f"{name}: {was} -> {is_now}" for name, was, is_now in each)
                yield f"DIFFERENT {path.relative_to(folder)}: {told}"
    yield f"{same} of {len(paths)} histories are judged equally."


def _compared(told: dict[str, Any]) -> dict[str, Any]:
    """What is compared of a result: not its times, nor how its evidence is told."""
    return {name: _timeless(told[name]) for name in (*_SAME, "exit", "error") if name in told}


_NO_HISTORIES = {"README.md", "verdicts.json"}


def main(arguments: list[str]) -> None:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="bench pairs", description=__doc__, formatter_class=formatter)
    parser.add_argument("commit", nargs="?", default="HEAD~1")
    parser.add_argument("--histories", type=Path, default=HISTORIES, help="a folder of histories or of runs that both judge")
    parser.add_argument("--size", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("times", "verdicts"))
    options = parser.parse_args(arguments)
    different = False
    with checked_out(options.commit) as before, tempfile.TemporaryDirectory() as folder:
        if options.only != "verdicts":
            print("| cell | loading before, s | now | ratio | judging before, s | now | ratio | verdicts |")
            print("|---|---:|---:|---:|---:|---:|---:|---|")
            for name, path, model in cells(Path(folder), options.size):
                old, new, verdicts = pair(before, path, model, options.rounds)
                row = [name]
                for step in (0, 1):
                    ratios = [now[step] / max(then[step], 1e-9) for then, now in zip(old, new, strict=True)]
                    row += [f"{statistics.median(one[step] for one in some):.4f}" for some in (old, new)]
                    row.append(f"{statistics.median(ratios):.2f}")
                print(f"| {' | '.join([*row, ', '.join(sorted(verdicts))])} |", flush=True)
                different |= len(verdicts) > 1
            print("\n| command | before, s | now | ratio |\n|---|---:|---:|---:|")
            for line in starts(before, Path(folder), options.rounds):
                print(line, flush=True)
        if options.only != "times" and options.histories.is_dir():
            for line in differences(before, options.histories):
                print(line, flush=True)
                different |= line.startswith("DIFFERENT")
    sys.exit(1 if different else 0)
