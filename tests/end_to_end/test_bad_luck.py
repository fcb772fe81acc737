"""Bad input and bad luck: one clear sentence, nothing running or cut afterwards, the history kept."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from splitbrain.harness.history.journal import load
from splitbrain.harness.run import _patience
from splitbrain.reports.terminal import Progress, console
from tests.conftest import ROOT, Ran, need
from tests.end_to_end.ordinary import USER, ordinary_user
from tests.end_to_end.started import Started, lives_in, nothing_left

Splitbrain = Callable[..., Ran]

FORGETFUL = Path(__file__).parent / "forgetful.py"
BRIEF = "time = 7.0\nbaseline = 2.0\nfault = 3.0\nbetween = 2.0\nkeys = 20\n"
MEANWHILE = BRIEF.replace("time = 7.0", "time = 12.0").replace("fault = 3.0", "fault = 8.0")
"""The same with time for what happens in its fault."""
AFTERWARDS = BRIEF.replace("time = 7.0", "time = 9.0").replace("between = 2.0", "between = 4.0")
"""The same with time for what happens after its heal."""


@pytest.fixture
def brief(tmp_path: Path) -> Path:
    """A plan of 7 s: one fault of 3 s."""
    file = tmp_path / "brief.toml"
    file.write_text(BRIEF)
    return file


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """A plan whose fault lasts until the run is ended from outside, however late that comes."""
    file = tmp_path / "endless.toml"
    file.write_text("time = 250.0\nbaseline = 1.0\nfault = 240.0\nbetween = 5.0\nkeys = 20\n")
    return file


MOMENTS = {
    "set-up": '"type":"header"',
    "load": '"name":"load"',
    "cutting": '"type":"fault"',
    "cut": r'"in_force":\d',
    "heal": r'"heal_began":\d',
    "final reads": '"name":"final-reads"',
    "tear-down": '"name":"tear-down"',
}


@pytest.mark.parametrize(("moment", "nemesis"), [
    *((moment, "halves") for moment in MOMENTS), ("cutting", "kill:all"), ("cut", "halves+kill:any+pause:any"),
])
def test_killed_at_any_moment_nothing_is_left_and_the_history_is_kept(
    moment: str, nemesis: str, start: Callable[..., Started], splitbrain: Splitbrain, brief: Path, tmp_path: Path
) -> None:
    acknowledged = tmp_path / "acknowledged"
    if moment not in ("final reads", "tear-down"):  # It ends by being killed, however late that comes.
        brief.write_text(BRIEF.replace("time = 7.0", "time = 60.0").replace("between = 2.0", "between = 55.0"))
    run = start(FORGETFUL, "--nemesis", nemesis, "--plan", brief, FORGETFUL_ACKNOWLEDGED=str(acknowledged))
    run.until(MOMENTS[moment])
    time.sleep(random.uniform(0, 0.3) if moment not in ("tear-down", "cutting") else 0)
    os.kill(run.process.pid, signal.SIGKILL)
    run.process.wait()
    nothing_left(run.journal.parent)
    _, recording = load(run.journal)
    kept = {op.value for op in recording.history if op.f == "write" and op.outcome == "ok"}
    told = {int(line) for line in acknowledged.read_text().split()} if acknowledged.exists() else set()
    assert len({value for value in told if value != 1} - kept) <= 1, "more than the line being written was lost"
    checked = splitbrain("check", run.journal.parent)
    assert checked.code in (0, 1, 2), checked.stdout + checked.stderr
    assert recording.torn or moment in ("final reads", "tear-down")  # A quick run may have ended by then.


@pytest.mark.parametrize(("moment", "dead"), [('"name":"load"', True), (r'"in_force":\d', True), (r'"healed":\d', False)])
def test_a_server_that_dies_on_its_own_is_told_and_not_blamed_on_the_partition(
    moment: str, dead: bool, start: Callable[..., Started], brief: Path
) -> None:
    brief.write_text(MEANWHILE if dead else AFTERWARDS)
    run = start("reference", "--nemesis", "partition-primary", "--plan", brief)
    run.until(moment)
    (victim,) = servers(run.journal.parent, "--name=n2")
    os.kill(victim, signal.SIGKILL)
    told = run.end()
    assert run.process.returncode == 2, told
    _, recording = load(run.journal)
    assert recording.deaths is not None and not recording.torn
    (death,) = recording.deaths
    assert (death.node, death.service, death.code) == ("n2", "reference", -signal.SIGKILL) and death.log
    noticed = " ".join(told.split("\n\n")[0].split())
    assert "n2: reference was ended by SIGKILL" in noticed and "on its own" in noticed
    assert " ".join(death.log[-1].split()) in noticed
    result = json.loads((run.journal.parent / "result.json").read_bytes())
    assert result["validity"] == "unknown" and result["reason"].startswith("a server died on its own: n2: reference was ended")
    assert "UNKNOWN   a server died on its own: n2: reference was ended by SIGKILL" in told
    assert [row["dead"] for row in result["scenarios"]] == [["n2"] if dead else []]
    if dead:
        assert result["classification"] == "unknown"
        assert "the server on n2 had died on its own" in " ".join(told.split("OBSERVED")[1].split())
    assert "reference was ended by SIGKILL" in (run.journal.parent / "report.html").read_text()


def servers(folder: Path, *words: str) -> list[int]:
    """The processes of the run in that folder whose commands have these words."""
    home, found = f"HOME={folder}/".encode(), []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and lives_in(entry, home):
                command = (entry / "cmdline").read_bytes().decode().split("\0")
                found += [int(entry.name)] if set(words) <= set(command) else []
        except OSError:
            continue
    return found


def test_interrupted_once_it_heals_tears_down_and_judges(start: Callable[..., Started], endless: Path) -> None:
    run = start("reference", "--nemesis", "partition-primary", "--plan", endless)
    run.until(r'"in_force":\d')
    run.process.send_signal(signal.SIGINT)
    told = run.end()
    assert run.process.returncode == 130, told
    _, recording = load(run.journal)
    assert recording.interrupted and not recording.torn
    assert recording.faults[0].healed is not None
    assert (run.journal.parent / "report.html").is_file()
    assert "healing and tearing down" in " ".join(told.split())


def test_interrupted_twice_it_tears_down_now(start: Callable[..., Started], endless: Path) -> None:
    run = start("reference", "--nemesis", "partition-primary", "--plan", endless)
    run.until(r'"in_force":\d')
    run.process.send_signal(signal.SIGINT)
    time.sleep(0.02)
    run.process.send_signal(signal.SIGINT)
    told = run.end()
    assert run.process.returncode == 130, told
    nothing_left(run.journal.parent)


NEVER = """
from splitbrain.harness.databases.reference.database import Reference


class Never(Reference):
    name = "never"

    async def ready(self) -> bool:
        return False
"""


def test_interrupted_before_the_load_there_is_nothing_to_judge(
    start: Callable[..., Started], brief: Path, tmp_path: Path
) -> None:
    (tmp_path / "never.py").write_text(NEVER)
    run = start(tmp_path / "never.py", "--nemesis", "none", "--plan", brief)
    run.until('"name":"set-up"')
    run.process.send_signal(signal.SIGINT)
    told = " ".join(run.end().split())
    assert run.process.returncode == 130, told
    assert "interrupted before its load began, so there is nothing to judge; splitbrain test --plan" in told
    assert "UNKNOWN" not in told and not (run.journal.parent / "report.html").exists()
    nothing_left(run.journal.parent)


def test_a_closed_terminal_ends_the_run(start: Callable[..., Started], brief: Path) -> None:
    run = start("reference", "--nemesis", "none", "--plan", brief)
    run.until('"type":"invoke"')
    assert run.process.stdout is not None
    run.process.stdout.close()
    run.process.send_signal(signal.SIGHUP)
    run.process.wait(60)
    nothing_left(run.journal.parent)
    assert len(load(run.journal)[1].history) > 0


def test_a_database_in_one_file_outside_the_tree(splitbrain: Splitbrain, brief: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine" / "forgetful.py"
    mine.parent.mkdir()
    shutil.copy(FORGETFUL, mine)
    assert len(mine.read_text().splitlines()) < 250
    # Of a thousand keys some are not written again after the heal.
    brief.write_text(BRIEF.replace("keys = 20", "keys = 1000"))
    ran = splitbrain("test", mine, "--nemesis", "halves", "--plan", brief)
    assert ran.code == 1, ran.stdout + ran.stderr
    assert ran.result.convergence.state == "diverged" and ran.result.classification == "neither", ran.stdout
    assert "stale-read" in ran.result.counts


def test_a_database_that_another_package_installs(splitbrain: Splitbrain, brief: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    about = site / "forgetful_database-1.dist-info"
    about.mkdir(parents=True)
    shutil.copy(FORGETFUL, site / "forgetful.py")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: forgetful-database\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[splitbrain.databases]\nforgetful = forgetful:Forgetful\n")
    path = f"{ROOT}/src:{site}"
    assert "forgetful" in splitbrain("list", PYTHONPATH=path).stdout
    ran = splitbrain("test", "forgetful", "--nemesis", "none", "--time", "3s", PYTHONPATH=path)
    assert ran.code in (0, 1, 2), ran.stdout + ran.stderr
    assert ran.result.totals.ok > 100


def test_as_an_ordinary_user() -> None:
    with ordinary_user() as user:
        (user.home / "plan.toml").write_text(BRIEF)
        ran = user.splitbrain(
            "test", "reference", "--nemesis", "partition-primary", "--plan", "plan.toml", "--runs", str(user.home / "runs")
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        report = next((user.home / "runs").glob("*/report.html"))
        assert report.stat().st_uid == USER


def test_a_node_that_never_gets_ready_is_told_with_its_last_words(splitbrain: Splitbrain, tmp_path: Path) -> None:
    need("etcd")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "etcd").write_text("#!/bin/sh\necho 'cannot start: the moon is full' >&2\nexit 1\n")
    (broken / "etcd").chmod(0o755)
    ran = splitbrain("test", "etcd", "--binary", broken / "etcd", "--nemesis", "none", "--time", "3s")
    assert ran.code == 3, ran.stdout + ran.stderr
    assert "the moon is full" in ran.said and "Traceback" not in ran.stdout + ran.stderr


SLOW = """
from __future__ import annotations

import time

from splitbrain.harness.databases.reference.database import Reference


class Slow(Reference):
    name = "slow"
    since = 0.0
    late = 0

    async def ready(self) -> bool:
        self.since = self.since or time.monotonic()
        self.late += time.monotonic() - self.since > 5.1
        return self.late > 5 and await super().ready()
"""


def test_a_set_up_that_takes_long_says_what_it_waits_for(splitbrain: Splitbrain, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    ran = splitbrain("test", tmp_path / "slow.py", "--variant", "lww", "--nodes", "2", "--nemesis", "none", "--time", "1s")
    assert "still waiting for slow to get ready. From the logs:" in ran.said, ran.stdout + ran.stderr
    assert "n1/reference.log: " in ran.said and "2/2 nodes ready" in ran.said


def test_a_set_up_takes_no_longer_than_the_database_says(splitbrain: Splitbrain, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW.replace("late = 0", "late = -(10**9)\n    starting = 1.5"))
    ran = splitbrain("test", tmp_path / "slow.py", "--variant", "lww", "--nodes", "2", "--nemesis", "none", "--time", "1s")
    assert ran.code == 3, ran.stdout + ran.stderr
    assert "slow did not get ready within 1.5 s. From the logs:" in ran.said, ran.stdout + ran.stderr


def test_a_runs_folder_that_fills_up(splitbrain: Splitbrain, tmp_path: Path, brief: Path) -> None:
    small = tmp_path / "runs"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "none", str(small)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        pytest.skip("no small file system can be mounted here")
    try:
        ran = splitbrain("test", "reference", "--variant", "lww", "--nemesis", "none", "--plan", brief, "--time", "240s")
        assert ran.code == 3, ran.stdout + ran.stderr
        words = " ".join((ran.stdout + ran.stderr).lower().split())
        assert "no space" in words and "traceback" not in words, ran.stdout + ran.stderr
        nothing_left(ran.folder)
        recording = load(ran.folder / "journal.jsonl")[1]
        assert len(recording.history) > 0 and recording.torn and not recording.damage
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["test", "redos"], "did you mean 'redis'"),
        (["test", "redis", "--variant", "sentinal"], "did you mean 'sentinel'"),
        (["test", "redis", "--workload", "regster"], "did you mean 'register'"),
        (["test", "redis", "--nemesis", "one_node"], "did you mean 'one-node'"),
        (["test", "reference", "--nodes", "1"], "needs 2 nodes"),
        (["test", "reference", "--nodes", "many"], "--nodes"),
        (["test", "reference", "--time", "soon"], "it must be a length of time"),
        (["test", "reference", "--expect", "lost-writes"], "lost-write"),
        (["test"], "names no database"),
        (["tset"], "tset"),
        (["check", "/no/such/file"], "/no/such/file"),
        (["test", "reference", "--plan", "/no/such/plan.toml"], "cannot be read"),
    ],
)
def test_bad_input_gets_one_sentence(splitbrain: Splitbrain, words: list[str], told: str) -> None:
    ran = splitbrain(*words)
    assert ran.code == 64, ran.stdout + ran.stderr
    assert told in ran.stderr and "Traceback" not in ran.stderr
    assert len(ran.stderr.strip().splitlines()) == 1, ran.stderr
    assert not ran.runs.exists()


def test_foreign_and_newer_journals(splitbrain: Splitbrain, tmp_path: Path) -> None:
    for name, text, told in (
        ("newer", json.dumps({"type": "header", "format": 99}), "update splitbrain"),
        ("foreign", "these are not the lines you are looking for", "journal.jsonl:1"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "journal.jsonl").write_text(text + "\n")
        ran = splitbrain("check", folder)
        assert ran.code == 64 and told in ran.stderr and "Traceback" not in ran.stderr


def test_expectations_decide_the_exit_code(splitbrain: Splitbrain, brief: Path) -> None:
    ran = splitbrain("test", FORGETFUL, "--nemesis", "halves", "--plan", brief, "--expect", "stale-read", "--expect", "CP")
    assert ran.code == 4, ran.stdout
    assert {(one.what, one.met) for one in ran.result.expectations} == {("stale-read", True), ("CP", False)}


def test_a_server_that_hangs_after_the_heal_is_judged(start: Callable[..., Started], brief: Path) -> None:
    brief.write_text(AFTERWARDS + "settle = 2.0\n")
    run = start("reference", "--nemesis", "partition-primary", "--plan", brief)
    run.until(r'"healed":\d')
    (victim,) = servers(run.journal.parent, "--name=n2")
    os.kill(victim, signal.SIGSTOP)
    told = run.end()
    assert run.process.returncode in (0, 2), told
    result = json.loads((run.journal.parent / "result.json").read_bytes())
    assert result["convergence"]["state"] == "unknown" and not result["torn"], told
    nothing_left(run.journal.parent)


def test_what_nohup_ignores_stays_ignored(tmp_path: Path, brief: Path) -> None:
    command = [sys.executable, "-m", "splitbrain.harness.cli", "test", "reference", "--nemesis", "none", "--plan", str(brief)]
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = subprocess.Popen([*command, "--runs", str(tmp_path / "runs")], stdout=subprocess.PIPE, text=True,
                                   env={**os.environ, "PYTHONPATH": str(ROOT / "src")})
    finally:
        signal.signal(signal.SIGHUP, before)
    while not any('"name":"load"' in path.read_text() for path in tmp_path.glob("runs/*/journal.jsonl")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGHUP)
    told, _ = process.communicate(timeout=120)
    assert process.returncode == 0, told


def test_reports_that_cannot_be_written_cost_no_verdict(start: Callable[..., Started], brief: Path) -> None:
    run = start("reference", "--variant", "lww", "--nemesis", "halves", "--plan", brief)
    run.until('"type":"header"')
    for name in ("result.json", "report.html", "junit.xml"):
        (run.journal.parent / name).mkdir()
    told = " ".join(run.end().split())
    assert run.process.returncode == 1, told
    verdict, notes = told.index("NOT LINEARIZABLE"), told.index("cannot be written")
    assert verdict < notes and told.count("cannot be written") == 3 and "Traceback" not in told


def test_the_verdict_is_written_before_a_sigterm_ends_the_process(tmp_path: Path) -> None:
    told: list[str] = []
    with _patience(Told(told)) as received:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        assert received == [signal.SIGTERM] and "the verdict is written first" in told[0]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


class Told(Progress):
    """Keeps the notes."""

    def __init__(self, told: list[str]) -> None:
        super().__init__(console())
        self.told = told

    def note(self, text: str) -> None:
        self.told.append(text)


def changed(tmp_path: Path, *changes: tuple[str, str]) -> Path:
    """The database of forgetful.py with faults of its own."""
    text = FORGETFUL.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    mine = tmp_path / "mine.py"
    mine.write_text(text)
    return mine


def test_a_primary_that_is_no_node_is_refused(splitbrain: Splitbrain, brief: Path, tmp_path: Path) -> None:
    named = "    async def primary(self, node):\n        return 'n9'\n\n    async def versions("
    mine = changed(tmp_path, ("    async def versions(", named))
    ran = splitbrain("test", mine, "--nemesis", "partition-primary", "--plan", brief)
    assert ran.code == 64 and "names 'n9', which is no node" in ran.said and "Traceback" not in ran.stdout, ran.stdout


def test_a_database_that_breaks_its_contract_everywhere_is_judged(splitbrain: Splitbrain, brief: Path, tmp_path: Path) -> None:
    """Each way some times, however fast the machine is: a hundred times would end the run."""
    mine = changed(
        tmp_path,
        ("        await self._ask(\"write\", key, value)\n", "        await self._ask(\"write\", key, value)\n"
         "        if value % 40 == 0 and value < 2000:\n            raise OSError('half a network \\x1b[31m')\n"),
        ("            return json.loads(line)\n", "            found = json.loads(line)\n"
         "            return '\\ud800' if f == 'read' and found and found in range(97, 1000, 97) else found\n"),
        ("        return dict.fromkeys(self.nodes, \"1\")", "        return {'n1': object(), 'n2': '\\ud800'}\n\n"
         "    async def close(self):\n        raise RuntimeError('never raises')\n"),
        ("        return await self._own.to(node)", "        self.asked = getattr(self, 'asked', 0) + 1\n"
         "        if self.asked in range(7, 2000, 40):\n            raise asyncio.CancelledError\n"
         "        return await self._own.to(node)"),
    )
    brief.write_text(BRIEF + "settle = 2.0\n")
    ran = splitbrain("test", mine, "--nemesis", "halves", "--plan", brief)
    assert ran.code in (1, 2), ran.stdout + ran.stderr
    assert "Traceback" not in ran.stdout + ran.stderr and "\x1b" not in ran.stdout
    _, recording = load(ran.folder / "journal.jsonl")
    assert not recording.torn and recording.faults[0].healed is not None
    for told in ("write() raised OSError", "local() raised CancelledError", "close() raised RuntimeError"):
        assert any(told in note and note.startswith("mine.py:") for note in recording.notes), recording.notes
        assert told in ran.said, ran.stdout
    assert any("a history holds no text that is not Unicode" in note for note in recording.notes)


def test_a_mistake_in_a_persons_file_is_one_sentence_with_its_line(splitbrain: Splitbrain, brief: Path, tmp_path: Path) -> None:
    mine = changed(
        tmp_path, ('reads="home"', 'reads="primary"'), ("    async def versions(", "    async def primary(self, node):\n"
                   "        return 'n1'\n\n    def shard(self, key):\n        return {}[key]\n\n    async def versions("),
    )
    ran = splitbrain("test", mine, "--nemesis", "none", "--plan", brief)
    assert ran.code == 64 and "Traceback" not in ran.stdout + ran.stderr, ran.stdout + ran.stderr
    assert re.search(r"mine\.py:\d+: shard\(\) raised KeyError: \d+", ran.said), ran.stdout
    assert "Traceback" in (ran.folder / "crash.txt").read_text()
    nothing_left(ran.folder)
