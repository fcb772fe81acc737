"""The sandbox: what the work sees, how it ends, and that nothing outlives any of its processes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from splitbrain.harness.errors import SetupError, UsageError
from splitbrain.harness.testbeds import sandbox
from splitbrain.harness.testbeds.namespaces import Namespaces
from splitbrain.harness.testbeds.spawner import Channel
from tests.harness.testbeds.cluster import plan

ROOT = Path(__file__).parents[3]
Lifetime = Callable[..., "subprocess.Popen[str]"]


def marked(run: str) -> list[int]:
    """Every process that carries this run's mark in its environment; those that were forked carry it too."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if run.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return sorted(found)


def machine() -> tuple[str, ...]:
    """What a leak would change: mounts, network links, rules. What another test mounts in its folder meanwhile, or has the
    engine of its containers mount, is not ours."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines(keepends=True)
    rules = subprocess.run(["iptables-save"], capture_output=True, text=True).stdout if os.geteuid() == 0 else ""
    return (
        "".join(line for line in mounts if "/pytest-of-" not in line and "/splitbrain-lab/" not in line),
        " ".join(name for _, name in socket.if_nameindex()),
        "\n".join(re.sub(r"\[\d+:\d+\]", "", line) for line in rules.splitlines() if not line.startswith("#")),
        os.uname().nodename,
    )


def gone(run: str) -> bool:
    end = time.monotonic() + 60
    while marked(run):
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture
def run() -> Iterator[str]:
    label = f"test-{uuid.uuid4()}"
    yield label
    for pid in marked(label):
        os.kill(pid, signal.SIGKILL)


def command(what: str, folder: Path, run: str, python: str = sys.executable) -> list[str]:
    return [python, "-m", "tests.harness.testbeds.lifetime", what, str(folder), run]


@pytest.fixture
def lifetime(tmp_path: Path, run: str) -> Lifetime:
    def start(
        what: str, *before: str, python: str = sys.executable, folder: Path = tmp_path
    ) -> subprocess.Popen[str]:
        path = os.pathsep.join([str(ROOT / "src"), *(entry for entry in sys.path if entry.endswith("site-packages"))])
        return subprocess.Popen(
            [*before, *command(what, folder, run, python)],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "MARK": run},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    return start


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=60)
    return process.returncode, output


@pytest.mark.parametrize("code", [0, 1, 2, 130])
def test_the_exit_code_of_the_work(tmp_path: Path, code: int) -> None:
    assert Namespaces(plan(), "test", tmp_path).inside(lambda: code) == code


def raises(error: BaseException) -> Callable[[socket.socket], int]:
    def work(init_end: socket.socket) -> int:
        raise error

    return work


def test_what_the_work_raises(capfd: pytest.CaptureFixture[str]) -> None:
    assert sandbox.enter(raises(ValueError("oh"))) == 70
    assert "ValueError: oh" in capfd.readouterr().err
    assert sandbox.enter(raises(UsageError("no such thing."))) == 64
    assert capfd.readouterr().err == "splitbrain: no such thing.\n"
    assert sandbox.enter(raises(KeyboardInterrupt())) == 130
    assert sandbox.enter(raises(SystemExit(4))) == 4
    assert capfd.readouterr().err == ""


def test_a_signal_that_ends_the_work() -> None:
    def work(init_end: socket.socket) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    assert sandbox.enter(work) == 128 + 9


def test_output_is_printed_once(capfd: pytest.CaptureFixture[str]) -> None:
    sys.stdout.write("outer ")

    def work(init_end: socket.socket) -> int:
        sys.stdout.write("inner ")
        return 0

    sandbox.enter(work)
    sys.stdout.flush()
    assert capfd.readouterr().out == "outer inner "


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    gc.collect()  # What earlier tests left open is not closed meanwhile.
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    sandbox.enter(lambda init_end: 0)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


def test_surroundings(lifetime: Lifetime, tmp_path: Path) -> None:
    code, output = ended(lifetime("surroundings"))
    assert code == 0, output
    assert output.splitlines() == ["pid 2", "links lo", "run 0", "outer goes on with 0"]
    assert (tmp_path / "written").stat().st_uid == os.getuid()


def test_orphans_are_reaped_and_end_with_the_work(lifetime: Lifetime, run: str) -> None:
    code, output = ended(lifetime("orphans"))
    assert code == 0, output
    assert gone(run)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("whole_group", [False, True])
def test_a_signal_reaches_the_work_exactly_once(lifetime: Lifetime, number: signal.Signals, whole_group: bool) -> None:
    process = lifetime("signals")
    assert process.stdout and process.stdout.readline() == "ready\n"
    (os.killpg if whole_group else os.kill)(process.pid, number)
    code, output = ended(process)
    assert (code, output) == (30, f"seen {number.name}\nouter goes on with 30\n")


def test_ctrl_c_on_work_that_does_not_care(lifetime: Lifetime, run: str) -> None:
    process = lifetime("interrupt")
    assert process.stdout and process.stdout.readline() == "ready\n"
    os.killpg(process.pid, signal.SIGINT)
    assert ended(process)[0] == 130
    assert gone(run)


VICTIMS = ("outer", "middle", "init", "inner")


def victim(which: str, outer: int) -> int:
    """The process of that name, the nearest one to it where there is none yet."""
    pid = outer
    for _ in range(VICTIMS.index(which)):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if not children:
            break
        pid = int(children[0])
    return pid


@pytest.mark.parametrize("moment", range(12))
def test_kill_9_leaves_nothing(lifetime: Lifetime, run: str, moment: int) -> None:
    before = machine()
    process = lifetime("loop")
    assert process.stdout
    which = VICTIMS[moment % 4]
    if moment < 4:  # somewhere in the making of the sandbox
        assert process.stdout.readline() == "entering\n"
        time.sleep(0.004 * moment)
    else:
        lines = 2 if moment < 8 else 3 + moment % 3
        for _ in range(lines):
            assert process.stdout.readline()
        time.sleep(0.013 * moment)
    os.kill(victim(which, process.pid), signal.SIGKILL)
    process.wait(timeout=60)
    assert process.returncode != 0
    assert gone(run), f"{which} killed: {marked(run)}"
    process.stdout.close()
    assert machine() == before


def ordinary() -> tuple[str, ...]:
    """What runs a command as an ordinary user, and the Python that this user may execute."""
    return ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "env", "HOME=/nonexistent")


def python_for_everyone() -> str:
    return f"/usr/bin/python3.{sys.version_info.minor}"


@pytest.mark.skipif(os.geteuid() != 0, reason="everything else already runs as an ordinary user")
def test_as_an_ordinary_user(lifetime: Lifetime, run: str) -> None:
    path = os.pathsep.join([str(ROOT / "src"), *(entry for entry in sys.path if entry.endswith("site-packages"))])
    readable = [*ordinary(), f"PYTHONPATH={path}", python_for_everyone(), "-c", "import harness.plan, networkx"]
    tried = subprocess.run(readable, capture_output=True, text=True)
    if tried.returncode != 0:
        pytest.skip(f"an ordinary user cannot read this checkout: {tried.stderr.strip()[-200:]}")
    with tempfile.TemporaryDirectory() as place:  # pytest's own folders are closed to others
        folder = Path(place)
        os.chown(folder, 65534, 65534)
        code, output = ended(lifetime("once", *ordinary(), python=python_for_everyone(), folder=folder))
        assert code == 0, output
        assert output.splitlines() == ["setting up", "8 cut", "0 cut", "uid 0", "outer goes on with 0"]
        assert {path.stat().st_uid for path in folder.rglob("*")} == {65534}
        assert gone(run)
        process = lifetime("loop", *ordinary(), python=python_for_everyone(), folder=folder)
        assert process.stdout
        lines = [process.stdout.readline() for _ in range(3)]
        process.kill()
        rest = process.communicate(timeout=60)[0]
        assert lines == ["entering\n", "setting up\n", "8 cut\n"], "".join(lines) + rest
        assert gone(run)


FORBID = "echo 0 > /proc/sys/user/max_user_namespaces && exec "
INSIDE = ("unshare", "-Ur", "--", "sh", "-c")


def test_root_needs_no_user_namespaces(lifetime: Lifetime) -> None:
    code, output = ended(lifetime("once", *INSIDE, FORBID + '"$@"', "-"))
    assert code == 0, output
    assert "8 cut\n0 cut\n" in output


def test_where_namespaces_are_forbidden(lifetime: Lifetime) -> None:
    code, output = ended(lifetime("once", *INSIDE, FORBID + 'setpriv --bounding-set -all --inh-caps -all "$@"', "-"))
    assert code == 3
    assert output.startswith("refused: this process cannot make namespaces (unshare: ")
    assert output.endswith("run `sudo sysctl -w user.max_user_namespaces=15000`, or splitbrain as root.\n")


def test_a_folder_that_the_nodes_could_not_see() -> None:
    with pytest.raises(SetupError, match="/run"):
        Namespaces(plan(), "test", Path("/run/user/0")).inside(lambda: 0)


def test_a_channel_that_is_closed_before_an_end_was_read() -> None:
    def work(init: socket.socket) -> int:
        async def spawned() -> None:
            channel = Channel("the sandbox", init)
            await channel.spawn(["/bin/true"], {}, "/", (0, 1, 2))
            time.sleep(0.3)  # noqa: ASYNC251 - its end comes meanwhile, and nobody reads of it
            channel.close()

        asyncio.run(spawned())
        time.sleep(0.3)
        return 7

    assert sandbox.enter(work) == 7
