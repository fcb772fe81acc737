"""What `doctor` and `list` tell of this machine and of what is registered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from splitbrain.harness import registry
from splitbrain.harness.doctor import examine, for_plan, processors, short
from splitbrain.harness.resolve import resolve
from tests.conftest import Ran


def test_everything_is_looked_at_and_what_is_missing_has_its_mend() -> None:
    findings = examine()
    looked = " ".join(finding.what for finding in findings)
    for name in (*registry.names("databases"), *registry.names("testbeds")):
        assert name in looked
    assert all(finding.there or finding.mend for finding in findings)


def test_the_tables_are_plain_text_in_a_pipe(splitbrain: Callable[..., Ran]) -> None:
    for command in ("doctor", "list"):
        ran = splitbrain(command)
        assert ran.code == 0 and ran.stderr == ""
        assert "\x1b" not in ran.stdout and "[/" not in ran.stdout
    for name in ("reference", "sentinel", "serializable", "four-partitions", "register", "namespaces"):
        assert name in ran.stdout


def test_a_busy_or_small_machine_is_warned_of() -> None:
    assert processors(2, 0.4).there
    assert not processors(1, 0.0).there
    assert not processors(2, 7.1).there and "2, with a load of 7.1" in processors(2, 7.1).found


def test_too_few_processors_for_a_plan_are_warned_of(splitbrain: Callable[..., Ran], tmp_path: Path) -> None:
    few = resolve({"database": "etcd", "nodes": 3})
    many = resolve({"database": "reference", "nodes": 15, "think": 0.0})
    assert for_plan(few, 2, 0.3).there and not for_plan(few, 1, 0.5).there
    assert not for_plan(few, 2, 1.9).there, "what else runs has its part"
    found = for_plan(many, 2, 0.0)
    assert not found.there and found.found.startswith("needs 4.0 of 2 (15 servers 3.0, harness 1.0)") and found.mend
    assert for_plan(many, 8, 1.0).there
    assert for_plan(resolve({"database": "cassandra"}), 9, 0.0).found.startswith("needs 1.6 of 9"), "Java takes more"
    machines = tmp_path / "hosts.toml"
    machines.write_text("".join(f'[[hosts]]\nhost = "192.0.2.{at}"\n' for at in range(1, 16)))
    elsewhere = resolve({"database": "redis", "nodes": 15, "testbed": "ssh", "inventory": str(machines)})
    assert for_plan(elsewhere, 2, 0.0).there and "elsewhere" in for_plan(elsewhere, 2, 0.0).found
    assert "processors for the plan" in {finding.what for finding in examine(few)}
    assert "processors for the plan" not in {finding.what for finding in examine()}
    file = tmp_path / "plan.toml"
    file.write_text('database = "reference"\nnodes = 15\nthink = 0.0\nconcurrency = 200\n')
    ran = splitbrain("doctor", "--plan", file)
    assert ran.code == 0 and "processors for" in ran.stdout and "needs 4.0 of" in " ".join(ran.stdout.split())
    told = " ".join(splitbrain("plan", "--plan", file).stdout.split())
    assert ("too few processors: the plan needs 4.0 of" in told) == bool(short(resolve({}, file)))
