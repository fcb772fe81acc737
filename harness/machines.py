"""Other machines: the workers of a Dask cluster, which take the runs of a suite and the parts of a huge history.

Dask moves calls and answers, and tells who is there; it decides nothing of ours. A run needs the cores of its machine, so a
machine has one at a time, however many workers are on it. What was given to a worker that is lost is done again elsewhere.

A worker is any `dask worker` whose Python has the same splitbrain; who may run commands there may do all that runs do.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import logging
import os
import platform
import signal
import subprocess
import tarfile
import tempfile
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from splitbrain import __version__
from splitbrain.checkers import linearizability
from splitbrain.checkers.models.specifications import Model
from splitbrain.checkers.result import NotJudged
from splitbrain.checkers.transactions.spread import Answer
from splitbrain.checkers.verdict import Verdict
from splitbrain.harness import registry
from splitbrain.harness.errors import SetupError, SplitbrainError, UsageError
from splitbrain.harness.history.history import History
from splitbrain.harness.plan import Plan, short
from splitbrain.harness.run import perform_apart
from splitbrain.harness.suite import suite
from splitbrain.harness.suite.suite import Ended

if TYPE_CHECKING:
    from distributed import Client, Future

PATIENCE = 30.0
"""Seconds that a cluster may be without workers when it is first asked."""

CONNECT = 5.0
"""Seconds that a scheduler has to answer."""

ATTEMPTS = 3
"""Workers that may be lost over one piece of work, before it is given up as what kills them."""

TEAR_DOWN = 60.0
"""Seconds that an interrupted suite waits for the runs that other machines tear down."""


class Machine(NamedTuple):
    """What has to be the same on both sides for a verdict from there to be the verdict from here."""

    splitbrain: str
    sources: str
    python: str
    distributed: str
    files: tuple[str, ...] = ()


class Watch(Protocol):
    """Who is told how runs on other machines go on. `number` is the place of a run in its suite."""

    def begins(self, number: int, plan: Plan, where: str) -> None: ...
    def says(self, number: int, line: str) -> None: ...
    def ended(self, number: int, told: str) -> None: ...
    def note(self, text: str) -> None: ...


class _Given(NamedTuple):
    """A piece of work that a worker has."""

    number: int
    worker: str


class Cluster:
    """A Dask cluster that was reached, and whose workers have what this side has."""

    def __init__(self, client: Client, address: str, files: Sequence[Path]) -> None:
        self.client = client
        self.address = address
        self._files = tuple(str(file) for file in files)
        self._here = machine(self._files)
        self._fit: dict[str, str] = {}

    def workers(self) -> list[str]:
        """The addresses of the workers that are there now and fit. Raises `SetupError` where the scheduler is gone."""
        try:
            return [worker for worker in self.client.nthreads() if not self.misfit(worker)]
        except (OSError, TimeoutError) as error:
            raise SetupError(f"the Dask scheduler at {self.address} is gone; the same command goes on.") from error

    def misfit(self, worker: str) -> str:
        """In what a worker differs from this side, empty if in nothing. A worker that is gone is no misfit."""
        if worker not in self._fit:
            found = self.client.run(machine, self._files, workers=[worker], on_error="return").get(worker)
            if found is None or isinstance(found, OSError):
                return ""
            self._fit[worker] = _difference(worker, self._here, found, self._files)
        return self._fit[worker]

    def refuse_misfits(self) -> None:
        """Raises `UsageError` for the first worker that differs, and `SetupError` where there are none."""
        until = time.monotonic() + PATIENCE
        while not (there := list(self.client.nthreads())):
            if time.monotonic() > until:
                raise SetupError(f"the Dask scheduler at {self.address} has no workers: start one with 'dask worker "
                                 f"{self.address}' on each machine.")
            time.sleep(0.2)
        if wrong := next(filter(None, map(self.misfit, there)), ""):
            raise UsageError(wrong)


@contextmanager
def connect(address: str, files: Sequence[Path] = ()) -> Iterator[Cluster]:
    """The cluster whose scheduler is at `address` (`tcp://10.0.0.1:8786`, `10.0.0.1:8786`). `files` are a person's own, which
    must lie at the same path on each machine. Raises `UsageError` where a worker has another splitbrain, Python or file,
    `SetupError` where nobody answers."""
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise UsageError("--dask needs Dask: pip install 'splitbrain[dask]'.") from error
    for name in ("distributed", "distributed.client", "distributed.core"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        client = Client(address, timeout=CONNECT, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise SetupError(f"no Dask scheduler answers at {address}: start one with 'dask scheduler'.") from error
    try:
        cluster = Cluster(client, address, files)
        cluster.refuse_misfits()
        yield cluster
    finally:
        with suppress(OSError, TimeoutError):
            client.close(timeout=5)


def own_files(plans: Sequence[Plan]) -> tuple[Path, ...]:
    """The files of a person's own that these plans name."""
    named = {
        name for plan in plans for name in (plan.database, plan.workload, *plan.nemesis.split("+"), *plan.checkers)
        if registry.is_path(name)
    }
    return tuple(sorted(Path(name) for name in named if Path(name).is_file()))


def machine(files: Sequence[str] = ()) -> Machine:
    """What this process has. It is called here, and by the workers."""
    import distributed

    return Machine(
        __version__, _sources(), ".".join(platform.python_version_tuple()[:2]), distributed.__version__,
        tuple(_digest(Path(file)) for file in files),
    )


@cache
def _sources() -> str:
    """A digest of splitbrain's own sources: two states of a checkout have the same version."""
    root = Path(__file__).resolve().parent.parent
    rooms = [Path(__file__).parent.parent / room for room in ("harness", "checkers", "nemeses", "workloads", "reports")]
    files = sorted(file for room in rooms for file in room.resolve().rglob("*.py"))
    told = hashlib.sha256()
    for file in files:
        told.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes() + b"\0")
    return told.hexdigest()[:12]


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12] if file.is_file() else ""


def _difference(worker: str, here: Machine, there: Any, files: Sequence[str]) -> str:
    where = f"the worker at {_host(worker)}"
    if isinstance(there, ModuleNotFoundError):
        return f"{where} has no {there.name}: pip install 'splitbrain[dask]=={here.splitbrain}' in its Python."
    if not isinstance(there, Machine):
        return f"{where} cannot tell what it has ({type(there).__name__}: {there}): has it the same splitbrain?"
    for name, mine, theirs in (
        ("splitbrain", here.splitbrain, there.splitbrain), ("Python", here.python, there.python),
        ("distributed", here.distributed, there.distributed),
    ):
        if mine != theirs:
            return f"{where} has {name} {theirs}, here is {mine}: give both the same."
    if here.sources != there.sources:
        return (f"{where} has a splitbrain {there.splitbrain} of other sources ({there.sources}, here {here.sources}): give "
                "both the same.")
    for file, mine, theirs in zip(files, here.files, there.files, strict=True):
        if mine != theirs:
            return f"{where} has {'another' if theirs else 'no'} {file}: give each machine the same file at that path."
    return ""


def _host(worker: str) -> str:
    from distributed.comm.addressing import get_address_host

    return str(get_address_host(worker))


# The runs of a suite.


def perform_on(cluster: Cluster, runs: Sequence[tuple[int, Plan]], folder: Path, watch: Watch) -> Iterator[tuple[int, Ended]]:
    """Perform these runs, one at a time on each machine, and bring their folders into `folder`. Yields them as they end. A
    run whose worker was lost is done again; workers that come later are given runs too. Left early, it tears down what runs.

    Raises `SetupError` where the scheduler is gone.
    """
    waiting, given, losses = deque(runs), dict[Any, _Given](), Counter[int]()
    plans = dict(runs)
    topic = f"splitbrain-{folder.name}-{time.time_ns()}"
    told: set[str] = set()
    cluster.client.subscribe_topic(topic, lambda event: watch.says(*event[1]))
    try:
        while waiting or given:
            there = cluster.workers()
            for worker in cluster.client.nthreads():
                if (misfit := cluster.misfit(worker)) and misfit not in told:
                    told.add(misfit)
                    watch.note(f"{misfit} It is given no runs.")
            busy = {_host(one.worker) for one in given.values() if one.worker in there}
            for worker in there:
                if waiting and _host(worker) not in busy:
                    number, plan = waiting.popleft()
                    busy.add(_host(worker))
                    watch.begins(number, plan, _host(worker))
                    future = cluster.client.submit(
                        perform_there, plan, _name(plan, number), topic, number,
                        workers=[worker], allow_other_workers=False, pure=False, retries=0,
                    )
                    given[future] = _Given(number, worker)
            for future, one in list(given.items()):
                came = _answer(future, one.worker in there)
                if came is None:
                    continue
                del given[future]
                if isinstance(came, Lost):
                    losses[one.number] += 1
                    if losses[one.number] < ATTEMPTS:
                        watch.note(f"run {one.number + 1}: its worker at {_host(one.worker)} was lost; it is done again")
                        waiting.appendleft((one.number, plans[one.number]))
                        continue
                    came = Came(70, f"it lost {ATTEMPTS} workers, the last at {_host(one.worker)}")
                ended = _kept(came, folder)
                found = suite.came(folder, suite.Entry(plans[one.number], *ended))
                watch.ended(one.number, found.reason if isinstance(found, NotJudged) else found.heading)
                yield one.number, ended
            time.sleep(0.1)
    finally:
        left = [one.worker for one in given.values()]
        if left:
            watch.note(f"{len(left)} {'run is' if len(left) == 1 else 'runs are'} torn down on other machines")
            with suppress(OSError, TimeoutError):
                cluster.client.run(stop, topic, workers=left, on_error="ignore")
                until = time.monotonic() + TEAR_DOWN
                while any(future.status == "pending" for future in given) and time.monotonic() < until:
                    time.sleep(0.1)
        for future in given:
            future.cancel()
        with suppress(OSError, TimeoutError, ValueError):
            cluster.client.unsubscribe_topic(topic)


class Lost(NamedTuple):
    """The worker is gone, and with it what it had."""


class Came(NamedTuple):
    """What came back of a run: its exit code, why it has no verdict, and its folder, packed (empty where it made none)."""

    exit_code: int
    reason: str = ""
    packed: bytes = b""


def _answer(future: Future, there: bool) -> Came | Lost | None:
    """What came of a run, None while it goes on."""
    if future.status == "finished":
        try:
            return Came(*future.result(timeout=120))
        except (OSError, TimeoutError):
            return Lost()
        finally:
            future.release()
    if future.status == "error":
        error = future.exception(timeout=60)
        return Lost() if type(error).__name__ == "KilledWorker" else Came(70, f"{type(error).__name__}: {error}")
    if future.status in ("lost", "cancelled") or not there:
        future.cancel(force=True)
        return Lost()
    return None


def _name(plan: Plan, number: int) -> str:
    """The name of a run's folder, told here: two machines may begin in the same second."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    return f"{stamp}-{short(plan.database)}-{plan.variant}-{short(plan.workload)}-{number + 1}"[:100]


def _kept(came: Came, folder: Path) -> Ended:
    if not came.packed:
        return Ended("", came.exit_code, came.reason)
    with tarfile.open(fileobj=io.BytesIO(came.packed)) as packed:
        run = packed.getnames()[0]
        packed.extractall(folder, filter="data")
    return Ended(run, came.exit_code, came.reason)


# What workers call.

_running: dict[str, list[subprocess.Popen[bytes]]] = {}
"""The processes of the runs that this worker has, by their suite's topic."""


def perform_there(plan: Plan, name: str, topic: str, number: int) -> tuple[int, str, bytes]:
    """Perform a run on this machine, once no other is performed on it, and give back what `Came` holds. Each line that it says
    is an event of `topic`, with the `number` of the run."""
    from distributed import get_worker

    worker = get_worker()

    def hear(line: str) -> None:
        if line.strip():
            worker.log_event(topic, (number, line))

    def began(child: subprocess.Popen[bytes]) -> None:
        _running.setdefault(topic, []).append(child)

    # The folder goes with the worker, however that ends.
    with tempfile.TemporaryDirectory(dir=worker.local_directory, ignore_cleanup_errors=True) as place:
        with _alone(_host(worker.address)):
            try:
                outcome = perform_apart(plan, Path(place), name, began=began, hear=hear)
            except SplitbrainError as error:
                return error.exit_code, str(error), b""
            finally:
                _running.pop(topic, None)
        return outcome.exit_code, "" if outcome.result else outcome.reason, _packed(outcome.folder)


def stop(topic: str) -> None:
    """Interrupt the runs of a suite on this machine, so that they tear down what they started."""
    for child in _running.get(topic, []):
        child.send_signal(signal.SIGINT)


@contextmanager
def _alone(host: str) -> Iterator[None]:
    """Wait until no other run of this user's is performed on this machine: other suites have other clients."""
    with Path(tempfile.gettempdir(), f"splitbrain-{os.getuid()}-{host}.turn").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield


def _packed(folder: Path) -> bytes:
    """A run's folder, the folder itself first: its files, neither links nor sockets that a server left in it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as file:
        file.add(folder, folder.name, recursive=False)
        for path in sorted(folder.rglob("*")):
            if (path.is_file() or path.is_dir()) and not path.is_symlink() and os.access(path, os.R_OK):
                file.add(path, folder.name / path.relative_to(folder), recursive=False)
    return packed.getvalue()


# The parts of a history.


class Parts:
    """Has the parts of a history judged by the workers of a cluster: keys, or components and levels of transactions. Dask gives
    what a lost worker had to another one."""

    operations = 100_000
    edges = 20_000

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def __call__(self, parts: Iterable[History], model: Model, time_limit: float) -> Iterator[Verdict]:
        """The verdict on each part, in their order. Raises `SetupError` where the workers are lost again and again."""
        return self.each(judge_there, ((part, model) for part in parts), time_limit)

    def each(
        self, call: Callable[..., Answer], works: Iterable[tuple[Any, ...]], seconds: float
    ) -> Iterator[Answer]:
        """What `call` answers to each of these works and the seconds that are left, in their order; what nobody asks for any
        more is given up. Raises `SetupError` where the workers are lost again and again."""
        ends = time.monotonic() + seconds
        given = deque[Any]()
        try:
            for work in works:
                # What is sent stays with the scheduler until it is judged, so that it can be sent again.
                while len(given) >= 2 * max(1, sum(self._cluster.client.nthreads().values())):
                    yield self._answer(given)
                with warnings.catch_warnings(action="ignore"):
                    given.append(self._cluster.client.submit(
                        call, *work, max(0.1, ends - time.monotonic()), pure=False, retries=ATTEMPTS,
                        workers=self._cluster.workers(), allow_other_workers=False,
                    ))
            while given:
                yield self._answer(given)
        finally:
            for future in given:
                future.cancel()

    def _answer(self, given: deque[Any]) -> Any:
        """The answer to what was given first."""
        while given[0].status == "pending":
            self._cluster.workers()
            time.sleep(0.02)
        try:
            return given.popleft().result(timeout=120)
        except SplitbrainError:
            raise
        except Exception as error:
            raise SetupError(
                f"the workers at {self._cluster.address} could not judge a part of the history "
                f"({type(error).__name__}: {error}); without --dask it is judged here."
            ) from error


def judge_there(history: History, model: Model, seconds: float) -> Verdict:
    """Judge a part of a history on a worker."""
    return linearizability.check(history, model, time_limit=seconds, processes=1)
