"""One run as one step: record it, judge it, write what came of it.

`perform` is what `splitbrain test`, suites and `splitbrain.run` call. The recording alone needs the cluster (recorder.py);
judging needs the journal alone, and `judge_run` is what `check` and `report` call too.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from splitbrain import __version__
from splitbrain.checkers.judge import judge
from splitbrain.checkers.result import NotJudged, Result, decode, encode
from splitbrain.harness import errors, registry, store
from splitbrain.harness.errors import INTERRUPTED, HistoryError, SplitbrainError, StorageError, UsageError, described, place
from splitbrain.harness.files import write_whole
from splitbrain.harness.history.journal import load
from splitbrain.harness.history.recording import Recording
from splitbrain.harness.plan import Plan
from splitbrain.harness.recorder import record
from splitbrain.harness.rehearsal import checker, checkers, made
from splitbrain.harness.resolve import check_machine, resolve
from splitbrain.harness.store import Run
from splitbrain.harness.testbeds import kernel
from splitbrain.reports import junit
from splitbrain.reports.page import html
from splitbrain.reports.terminal import Progress, console
from splitbrain.reports.wording import sentence
from splitbrain.workloads.workload import Workload


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one run.

    `exit_code` is what `splitbrain test` ends with (0 valid, 1 anomaly, 2 unknown, 3 the cluster could not be set up, 4 an
    expectation was not met, 64 a mistake in a file of one's own, 70 crash, 130 interrupted), and `reason` a sentence that says
    why it is that. `result` is the judgement, None where the run ended before it could be judged. `told` is what the terminal
    said, where the run had none of its own (`splitbrain.run`).
    """

    folder: Path
    exit_code: int
    result: Result | None = None
    reason: str = ""
    told: str = ""


def perform(plan: Plan, runs: Path, progress: Progress, name: str = "") -> Outcome:
    """Record a run of `plan` in a new folder in `runs`, judge it, and write result and reports there. The folder is called
    `name`, or by the time and what is tested.

    What was recorded is judged, however the recording ended; only a run that never came to its load has no verdict. To be
    called from the main thread of a process that has no other, with no event loop: it forks and handles signals (`run` does
    that in a process of its own). Raises `SplitbrainError` where the run could not even begin.
    """
    check_machine(plan)
    run = store.create(runs, plan, name)
    progress.plan(plan, run.label)
    with store.owned(run.folder):
        try:
            code = record(plan, run, progress)
        except KeyboardInterrupt:  # Before it began to listen to signals.
            code = INTERRUPTED
    if code and not _has_load(run):
        known = not_judged(run, code)
        if code == INTERRUPTED:
            known = msgspec.structs.replace(known, reason="it was interrupted before its load began")
            progress.note(f"{known.reason}, so there is nothing to judge; splitbrain test --plan {run.plan} begins it anew")
        _keep(progress, lambda: junit.write(run.junit, [known]))
        progress.note(f"the run's folder: {run.folder}")
        return Outcome(folder=run.folder, exit_code=code, reason=known.reason)
    judged = judge_and_write(run, progress, ended=code)
    return msgspec.structs.replace(judged, exit_code=code or judged.exit_code)


def judge_and_write(run: Run, progress: Progress, *, tell: bool = True, ended: int = 0) -> Outcome:
    """Judge a run's journal, tell the verdict, and keep the result and its reports in the run's folder. What cannot be written
    is told and costs no verdict. A SIGTERM meanwhile waits until the reports are written; Ctrl-C does not. `ended` is the exit
    code with which recording ended just now, 0 if it did well: the journal of a run whose disk was full does not tell it."""
    with _patience(progress) as received:
        try:
            progress.judging()
            result, recording = judge_run(run)
            result = msgspec.structs.replace(result, exit_code=ended or result.exit_code)
        except KeyboardInterrupt:
            progress.close()
            progress.note(f"judging was interrupted; this goes on with it: splitbrain check {run.folder}")
            return Outcome(folder=run.folder, exit_code=INTERRUPTED, reason="judging was interrupted")
        progress.close()
        if tell:
            progress.verdict(result)
        try:
            _keep(progress, lambda: write_whole(run.result, encode(result)))
            _keep(progress, lambda: html.write(run.report, result, recording))
            _keep(progress, lambda: junit.write(run.junit, [result]))
        except KeyboardInterrupt:
            progress.note(f"writing the report was interrupted; this writes it: splitbrain report {run.folder}")
            return Outcome(folder=run.folder, exit_code=INTERRUPTED, result=result, reason="writing the report was interrupted")
        if tell:
            progress.kept(result, run.folder)
    exit_code = INTERRUPTED if received else result.exit_code
    return Outcome(folder=run.folder, exit_code=exit_code, result=result, reason=why(result))


def why(result: Result) -> str:
    """What terminal, report and JUnit say of a run, in one sentence: what stopped it, what was expected and not seen, else the
    heading with its reason."""
    if result.stopped:
        return sentence(result.stopped)
    missed = [f"{one.what} was not seen: {one.reason}" for one in result.expectations if not one.met]
    return sentence("; ".join(missed) or f"{result.heading}: {result.reason}")


def encode_outcome(outcome: Outcome) -> bytes:
    """The outcome as JSON: `folder`, `exit_code`, `reason`, and `result` as in result.json (null if there is none)."""
    result = msgspec.Raw(encode(outcome.result) if outcome.result is not None else b"null")
    fields = {"folder": str(outcome.folder), "exit_code": outcome.exit_code, "reason": outcome.reason, "result": result}
    return msgspec.json.format(msgspec.json.encode(fields), indent=2)


def _has_load(run: Run) -> bool:
    try:
        return load(run.journal)[1].phase("load") is not None
    except HistoryError:
        return False


def _keep(progress: Progress, write: Callable[[], None]) -> None:
    """Write one file of the run's; if it cannot be, say so."""
    try:
        write()
    except StorageError as error:
        progress.note(str(error))
    except Exception as error:
        progress.note(f"{place(error)}a report cannot be made ({described(error)}): this is a bug in splitbrain.")


@contextmanager
def _patience(progress: Progress) -> Iterator[list[int]]:
    """SIGTERM and SIGHUP are noted, in the list; the second one of them ends the work as Ctrl-C does."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            raise KeyboardInterrupt
        progress.note(f"{signal.Signals(number).name}: the verdict is written first (once more: stop now)")

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, note)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def judge_run(run: Run) -> tuple[Result, Recording]:
    """Load the journal once and judge it. The same for a fresh run, `check` and `report`."""
    with _uncollected():
        header, recording = load(run.journal)
        if header is None:
            raise HistoryError("holds no header: the run died before it began.", path=str(run.journal))
        workload: Workload = made(registry.look_up("workloads", header.plan.workload), header.plan, header.variant.offers)
        own = [checker(made(registry.look_up("checkers", name))) for name in header.plan.checkers]
        result = judge(recording, [*checkers(workload), *own])
    return msgspec.structs.replace(result, run=run.label, judged=_judged(run)), recording


@contextmanager
def _uncollected() -> Iterator[None]:
    """Look for no garbage that holds itself: hardly any is made, and among a million operations it is looked for again and
    again, for a tenth of all the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def stored_or_judged(run: Run) -> tuple[Result, Recording]:
    """The stored result of a run and its recording, where this version made it of the journal that lies there; else the run is
    judged. One whose workload or checkers are a person's own files, which may have changed since, is always judged."""
    try:
        result = decode(run.result.read_bytes(), run.result)
    except (OSError, HistoryError):
        return judge_run(run)
    plan = result.plan
    if plan is None or any(name.endswith(".py") for name in (plan.workload, *plan.checkers)) or result.judged != _judged(run):
        return judge_run(run)
    recording = load(run.journal)[1]
    # A bit that flipped in the middle of the journal since then is told by the sums of its lines alone.
    if (recording.torn, len(recording.history)) != (result.torn, result.totals.operations):
        return judge_run(run)
    return result, recording


_TAIL = 4096
"""Bytes at the end of a journal that tell it from others: every line carries the sum of all before it."""


def _judged(run: Run) -> str:
    """By whom, and of what, a result that is made now is."""
    with run.journal.open("rb") as journal:
        size = journal.seek(0, os.SEEK_END)
        journal.seek(max(0, size - _TAIL))
        return f"splitbrain {__version__}, journal {size}:{zlib.crc32(journal.read()):08x}"


def not_judged(run: Run, exit_code: int = 3) -> NotJudged:
    """What is known of a run that ended before it could be judged: the phase that failed, and why."""
    try:
        header, recording = load(run.journal)
    except HistoryError as error:
        return NotJudged(run=run.label, reason=str(error), exit_code=exit_code)
    failed = next((phase for phase in recording.phases if phase.problem), None)
    reason = f"{failed.name}: {failed.problem}" if failed else "it ended before anything was recorded"
    return NotJudged(run=run.label, plan=header.plan if header else None, reason=reason, exit_code=exit_code)


def run(
    database: str, *, runs: Path | str = "runs", name: str = "", plan: Path | str | None = None, **fields: Any
) -> Outcome:
    """Test a database as `splitbrain test` does, from a program of one's own or from pytest, and wait for the end.

    `database` is a name or the path of a Python file; `plan` is the path of a plan in TOML, and `fields` are fields of
    `Plan`, which win over it (`nemesis="halves"`, `time=20`, `expect=["CP"]`). The folder of the run is made in `runs`, and
    called `name`, or by the time and what is tested.

    Forking and handling signals stay inside a process of the run's own, which ends with this one: it may be called from any
    thread, and beside an event loop. Ctrl-C tears the run down and raises KeyboardInterrupt.

    Raises `UsageError` for a plan that cannot be run, `StorageError` where `runs` cannot be written; whatever happens
    afterwards is told by the outcome.
    """
    paths = {"runs": runs, "plan": plan} if plan is not None else {"runs": runs}
    for argument, value in paths.items():
        if not isinstance(value, str | os.PathLike):
            raise UsageError(f"{argument}={value!r}: a path is wanted, as a text or a pathlib.Path.")
    if not isinstance(name, str):
        raise UsageError(f"name={name!r}: a text is wanted, the name of the run's folder.")
    resolved = resolve(fields | {"database": database}, Path(plan) if plan is not None else None)
    return perform_apart(resolved, Path(runs), name)


def perform_apart(
    plan: Plan, runs: Path, name: str = "", *, began: Callable[[subprocess.Popen[bytes]], None] = lambda _: None,
    hear: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """`perform` in a process of the run's own, from any thread. `began` gets the process, which a SIGINT makes tear down, and
    `hear` each line that it says, as soon as it does. Raises what `perform` raises."""
    told: list[str] = []
    read, write = os.pipe()
    try:
        with subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, str(write), str(os.getpid())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=(write,), start_new_session=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(place or str(Path.cwd()) for place in sys.path)},
        ) as child:
            os.close(write)
            write = -1
            assert child.stdin is not None and child.stdout is not None
            try:
                with suppress(BrokenPipeError), child.stdin as given:
                    given.write(msgspec.json.encode((plan, str(runs.absolute()), name)))
                began(child)
                for line in child.stdout:
                    told.append(line.decode(errors="replace"))
                    hear(told[-1].rstrip())
            except BaseException:
                child.send_signal(signal.SIGINT)
                child.wait()
                raise
        report = b"".join(iter(lambda: os.read(read, 1 << 16), b""))
    finally:
        os.close(read)
        if write >= 0:
            os.close(write)
    if not report:
        last = "".join(told).strip().splitlines()[-1:] or [f"it ended with {child.returncode}"]
        raise SplitbrainError(f"the process of the run ended before the run did: {last[0]}")
    ended = msgspec.json.decode(report, type=_Ended)
    if ended.error:
        raise getattr(errors, ended.error)(ended.reason)
    found = Run(Path(ended.folder))
    result = decode(found.result.read_bytes(), found.result) if found.result.exists() else None
    return Outcome(
        folder=found.folder, exit_code=ended.exit_code, result=result, reason=ended.reason, told="".join(told),
    )


class _Ended(msgspec.Struct):
    """What the process of a run reports: its outcome, whose result is in the folder, or the error of ours that it raised."""

    folder: str = ""
    exit_code: int = 0
    reason: str = ""
    error: str = ""


def _serve(report: int, parent: int) -> None:
    """The process of one run: take its plan from standard input, perform it, and write the outcome to `report`."""
    kernel.die_with_parent()
    if os.getppid() != parent:
        return
    plan, runs, name = msgspec.json.decode(sys.stdin.buffer.read(), type=tuple[Plan, str, str])
    os.set_inheritable(report, False)
    try:
        outcome = perform(plan, Path(runs), Progress(console(width=120)), name)
        ended = _Ended(str(outcome.folder), outcome.exit_code, outcome.reason)
    except SplitbrainError as error:
        ended = _Ended(error=type(error).__name__, reason=str(error))
    with open(report, "wb") as file:
        file.write(msgspec.json.encode(ended))


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]))
