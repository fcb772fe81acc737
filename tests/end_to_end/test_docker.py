"""Whole runs in containers: the verdicts of namespaces, images from a registry and without one, and what is left behind."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from splitbrain.harness.testbeds import engine
from tests.conftest import ROOT, Ran, need
from tests.end_to_end.ordinary import USER, ordinary_user
from tests.lab import built, removed

Splitbrain = Callable[..., Ran]

SHORT = """
time = 18.0
baseline = 3.0
fault = 8.0
between = 6.0
concurrency = 1
"""
"""A plan of 18 s: one fault of 8 s."""

pytestmark = pytest.mark.usefixtures("lab")


def cut(splitbrain: Splitbrain, short: Path, database: str) -> Ran:
    return splitbrain(
        "test", database, "--testbed", "docker", "--image", built(database), "--nemesis", "partition-primary", "--plan", short
    )


def test_etcd_is_cp_as_in_namespaces(splitbrain: Splitbrain, short: Path) -> None:
    need("etcd")
    ran = cut(splitbrain, short, "etcd")
    result = ran.result
    assert (ran.code, result.validity, result.classification) == (0, "valid", "CP"), ran.stdout
    assert result.scenarios[0].bit
    assert "built from this machine's etcd" in result.facts["image"] and "splitbrain/etcd:" in result.facts["image"]
    assert result.facts["image"].split("(")[0] in (ran.folder / "report.html").read_text()


def test_redis_under_sentinel_loses_acknowledged_writes_as_in_namespaces(splitbrain: Splitbrain, chained: Path) -> None:
    need("redis-server", "redis-sentinel")
    ran = cut(splitbrain, chained, "redis")
    result = ran.result
    assert (ran.code, result.classification) == (1, "neither"), ran.stdout
    assert result.counts["lost-write"] > 0 and result.scenarios[0].bit


def test_a_node_of_etcd_is_wiped_and_joins_anew(splitbrain: Splitbrain) -> None:
    need("etcd")
    ran = splitbrain("test", "etcd", "--testbed", "docker", "--image", built("etcd"), "--nodes", "3",
                     "--nemesis", "membership:follower", "--time", "12s", "--baseline", "5s", "--fault", "2s",
                     "--between", "3s")
    (row,) = ran.result.scenarios
    assert row.bit and row.healed and row.dead == () and (ran.code, ran.result.validity) == (0, "valid"), ran.stdout
    (struck,) = row.struck
    others = " ".join(name for name in ("n1", "n2", "n3") if name != struck)
    assert f"members {others}, before n1 n2 n3" in ran.said and "add to the members members n1 n2 n3" in ran.said


@pytest.mark.parametrize(
    ("database", "programs", "seconds"),
    [("reference", (), 2), ("mongodb", ("mongod",), 2), ("cassandra", ("java", "cassandra"), 6)],
)
def test_other_databases_run_unchanged(
    splitbrain: Splitbrain, database: str, programs: tuple[str, ...], seconds: int
) -> None:
    need(*programs)
    quick = ("--nodes", 3, "--nemesis", "none", "--time", f"{seconds}s")
    ran = splitbrain("test", database, "--testbed", "docker", "--image", built(database), *quick)
    assert ran.code != 3 and ran.result.totals.ok > 10 and not ran.result.torn, ran.stdout
    assert set(ran.result.versions) == {"n1", "n2", "n3"}


def test_an_ordinary_user_in_the_group_of_the_engine(lab: Any, short: Path) -> None:
    need("etcd")
    built("tools")
    image, before = built("etcd"), {one.name for one in lab.containers.list(all=True)}
    engine_socket = Path(os.environ["DOCKER_HOST"].removeprefix("unix://"))
    with ordinary_user() as stranger:
        refused = stranger.splitbrain("test", "etcd", "--testbed", "docker", "--image", image)
        assert refused.returncode == 3 and "usermod -aG docker" in flat(refused.stdout + refused.stderr), refused.stdout
    with ordinary_user(engine_socket.stat().st_gid) as user:
        (user.home / "short.toml").write_text(short.read_text())
        ran = user.splitbrain(
            "test", "etcd", "--testbed", "docker", "--image", image, "--nemesis", "partition-primary", "--plan", "short.toml",
            "--runs", str(user.home / "runs"),
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        (folder,) = (user.home / "runs").iterdir()
        result = json.loads((folder / "result.json").read_bytes())
        assert (result["validity"], result["classification"]) == ("valid", "CP") and result["scenarios"][0]["bit"]
        assert "by a sidecar container" in result["facts"]["faults"]
        assert {path.stat().st_uid for path in folder.rglob("*")} == {USER}
    assert {one.name for one in lab.containers.list(all=True)} == before


@contextmanager
def registry(folder: Path) -> Iterator[str]:
    """A registry of images beside the engine; its address."""
    address = "127.0.0.1:5000"
    config = folder / "registry.yml"
    config.write_text(
        f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {folder / 'registry'}\nhttp:\n  addr: {address}\n"
    )
    with (folder / "registry.log").open("wb") as log, subprocess.Popen(
        ["docker-registry", "serve", str(config)], stdout=log, stderr=log
    ) as process:
        try:
            yield address
        finally:
            process.terminate()


def test_an_image_is_pulled_pinned_and_shown_with_its_digest(lab: Any, splitbrain: Splitbrain, tmp_path: Path) -> None:
    need("redis-server", "redis-sentinel", "docker-registry")
    with registry(tmp_path) as address:
        name = f"{address}/redis:7.2.6"
        lab.images.get(built("redis")).tag(f"{address}/redis", tag="7.2.6")
        for _ in range(600):
            pushed = list(lab.api.push(f"{address}/redis", tag="7.2.6", stream=True, decode=True))
            if not any("error" in line for line in pushed):
                break
            time.sleep(0.1)
        (digest,) = [line["aux"]["Digest"] for line in pushed if "aux" in line]
        lab.images.remove(name)
        quick = ("test", "redis", "--testbed", "docker", "--nodes", 3, "--nemesis", "none", "--time", "2s", "--image")
        try:
            for origin in ("pulled", "was here already"):
                ran = splitbrain(*quick, name)
                assert ran.result.facts["image"] == f"{name} ({digest}, {origin})" and not ran.result.anomalies
        finally:
            lab.images.remove(name)
        ran = splitbrain(*quick, f"{address}/redis:7.2.7")
        assert ran.code == 3 and "7.2.7 is not here and cannot be pulled (" in flat(ran.stderr), ran.stderr
    assert f"use the one that was built on this machine: --image {built('redis')}" in flat(ran.stderr)


def test_the_official_image_where_no_registry_answers(lab: Any, splitbrain: Splitbrain) -> None:
    ran = splitbrain("test", "mongodb", "--testbed", "docker", "--nemesis", "none", "--time", "2s")
    assert ran.code == 3 and "Traceback" not in ran.stdout + ran.stderr
    assert "the image mongo:6.0.14 is not here and cannot be pulled" in flat(ran.stdout)
    assert "splitbrain images build mongodb" in flat(ran.stdout) or "--image splitbrain/mongodb:" in flat(ran.stdout)


def test_a_container_that_dies_at_start(lab: Any, splitbrain: Splitbrain) -> None:
    program = b"#!/usr/bin/python3 -I\nprint('no room for any data')\nraise SystemExit(9)\n"
    recipe = f"FROM {built('reference')}\nCOPY redis-server /usr/bin/\n".encode()
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        for name, content in (("Dockerfile", recipe), ("redis-server", program)):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
    context.seek(0)
    with removed(lambda: lab.images.build(fileobj=context, custom_context=True, tag="splitbrain-test/dying:1", rm=True)[0]):
        ran = splitbrain("test", "redis", "--variant", "cluster", "--nodes", 3, "--testbed", "docker",
                         "--image", "splitbrain-test/dying:1")
    assert ran.code == 3 and "Traceback" not in ran.stdout + ran.stderr
    assert "redis ended with exit code 9" in ran.said and "no room for any data" in ran.said


def test_clean_removes_what_a_killed_run_left_behind_and_nothing_else(
    lab: Any, splitbrain: Splitbrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside it: a run that is alive, and a stranger's container, network, volume and rule, some of them much like ours."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    image = built("reference")

    @contextmanager
    def run(folder: str) -> Iterator[subprocess.Popen[str]]:
        """A run that goes on until it is ended, here at the latest."""
        command = [sys.executable, "-m", "splitbrain.harness.cli", "test", "reference", "--testbed", "docker", "--image", image,
                   "--nodes", "3", "--nemesis", "none", "--time", "600s", "--runs", str(tmp_path / folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
            try:
                yield process
            finally:
                process.send_signal(signal.SIGINT)

    def there() -> dict[str, set[str]]:
        return {
            "containers": {one.name for one in lab.containers.list(all=True)},
            "networks": {one.name for one in lab.networks.list()},
            "volumes": {one.name for one in lab.volumes.list()},
        }

    def rules() -> str:
        return subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout.split("*filter")[1]

    def stranger(name: str, **how: Any) -> Any:
        return lab.containers.run(image, ["python3", "-c", "import time; time.sleep(600)"], name=name, detach=True, **how)

    label = {engine.RUN: "somebody else's, who uses our label", "splitbrain": "yes"}
    subprocess.run(["iptables", "-A", "DOCKER-USER", "-s", "198.19.77.1", "-j", "DROP"], check=True)
    try:
        with (
            removed(lambda: lab.networks.create("splitbrain-stranger", labels=label)),
            removed(lambda: lab.volumes.create("splitbrain-stranger", labels=label)),
            removed(lambda: stranger("splitbrain-stranger", labels=label), force=True),
            removed(lambda: stranger("stranger", network="splitbrain-stranger"), force=True),
        ):
            strangers = there()
            with run("killed") as killed, run("alive") as alive:
                for process in (killed, alive):
                    assert process.stdout is not None
                    while "nodes ready" not in process.stdout.readline():
                        assert process.poll() is None
                both = there()
                killed.send_signal(signal.SIGKILL)
                killed.wait()
                assert there() == both
                ran = splitbrain("clean")
                lines = ran.stdout.splitlines()
                left = there()
                removed_here = {kind: both[kind] - left[kind] for kind in both}
                # A run that a test beside this one has killed in that moment is told too.
                ours = [line for line in lines[:-1] if not line.startswith("process ")]
                assert lines[-1] == f"removed {len(lines) - 1}" and len(ours) == 10, ran.stdout
                count = {kind: len(names) for kind, names in removed_here.items()}
                assert count == {"containers": 6, "networks": 1, "volumes": 3}
                for line in ours:
                    assert line.split()[1] in set.union(*removed_here.values())
                alive.send_signal(signal.SIGINT)
                assert alive.wait(timeout=240) == 130
                assert {kind: names for kind, names in there().items()} == {
                    kind: names & strangers[kind] for kind, names in left.items()
                }
                assert "-A DOCKER-USER -s 198.19.77.1/32 -j DROP" in rules()
                for name in ("stranger", "splitbrain-stranger"):
                    assert lab.containers.get(name).status == "running"
                again = splitbrain("clean")
                assert again.code == 0 and all(line.startswith(("process ", "removed ", "nothing was left behind"))
                                               for line in again.stdout.splitlines()), again.stdout
    finally:
        subprocess.run(["iptables", "-D", "DOCKER-USER", "-s", "198.19.77.1", "-j", "DROP"], check=True)


def test_doctor_and_what_an_image_needs(lab: Any, splitbrain: Splitbrain) -> None:
    told = flat(splitbrain("doctor", COLUMNS="300").stdout)
    assert "testbed docker works" in told
    ran = splitbrain("images", "build", "no-such-database")
    assert ran.code == 64 and "no database is called 'no-such-database'" in ran.stderr
    ran = splitbrain("images", "build", "etcd", DOCKER_HOST="unix:///nowhere")
    assert ran.code == 3 and "there is no Docker engine at unix:///nowhere" in ran.stderr
    ran = splitbrain("images", "build", "etcd")
    assert ran.code == 0 and "splitbrain test etcd --testbed docker --image splitbrain/etcd:" in ran.said
    assert shutil.which("etcd") is None or "sha256:" in ran.stdout


def flat(text: str) -> str:
    """What was printed, as one line: the terminal wraps."""
    return " ".join(text.split())


def test_a_container_that_is_started_again_is_still_cut(splitbrain: Splitbrain, tmp_path: Path) -> None:
    """Inside a partition a server is ended and started again, another one stands still; the rules in force stay so."""
    need("etcd")
    file = tmp_path / "both.toml"
    file.write_text("""
time = 21.0
concurrency = 1
nodes = 3
[[schedule]]
at = 3.0
duration = 12.0
[[schedule.specs]]
type = "cut"
links = [["n1", "n2"], ["n2", "n1"], ["n1", "n3"], ["n3", "n1"]]
[[schedule]]
at = 4.5
duration = 1.5
[[schedule.specs]]
type = "kill"
nodes = ["n1"]
[[schedule]]
at = 7.0
duration = 1.5
[[schedule.specs]]
type = "pause"
nodes = ["n2"]
""")
    ran = splitbrain("test", "etcd", "--testbed", "docker", "--image", built("etcd"), "--plan", file)
    cut_off, killed, paused = ran.result.scenarios
    assert ran.result.validity != "invalid" and not ran.result.quality.checks[0].text.startswith("a server died"), ran.stdout
    assert cut_off.bit and killed.bit and paused.bit, ran.stdout
    assert cut_off.healed and killed.healed and paused.healed and paused.healed < (cut_off.heal_began or 0)
    assert "links as intended" in ran.said and "6/6 links up" in ran.said
    assert "1/1 down" in ran.said and "1/1 standing still" in ran.said
