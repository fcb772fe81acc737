"""The commands that a person meets first, and what they print for programs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from splitbrain.harness import registry, store
from splitbrain.harness.cli import commands
from splitbrain.harness.errors import UsageError
from splitbrain.harness.plan import Plan
from tests.conftest import ROOT, Ran


def test_bare_it_greets_with_three_commands_that_are_there(splitbrain: Callable[..., Ran]) -> None:
    ran = splitbrain("")
    assert ran.code == 64, "an empty word is no greeting"
    ran = splitbrain()
    assert ran.code == 0 and not ran.stderr
    told = [line.split()[1] for line in ran.stdout.splitlines() if line.startswith("  splitbrain")]
    assert len(told) == 3 and set(told) <= set(commands.commands)


@pytest.mark.parametrize("command", [(), ("test",), ("check",), ("suite",)])
def test_help_has_examples(splitbrain: Callable[..., Ran], command: tuple[str, ...]) -> None:
    ran = splitbrain(*command, "--help")
    assert ran.code == 0 and "Example" in ran.stdout


def test_lists_for_programs(splitbrain: Callable[..., Ran]) -> None:
    found = json.loads(splitbrain("list", "--json").stdout)
    assert [entry["name"] for entry in found["databases"]] == list(registry.names("databases"))
    assert {entry["name"] for entry in found["nemeses"]} == set(registry.names("nemeses"))
    redis = next(entry for entry in found["databases"] if entry["name"] == "redis")
    assert {"sentinel", "cluster"} <= {variant["name"] for variant in redis["variants"]}
    drawn = json.loads(splitbrain("list", "nemeses", "--json").stdout)
    assert {one["nemesis"] for one in drawn} == set(registry.names("nemeses")) - {"none"}
    assert {"nemesis": "one-way", "scenario": "primary-deaf", "picture": "P | 2 3 4 5, P → 2 3 4 5", "usual": True} in drawn
    findings = json.loads(splitbrain("doctor", "--json").stdout)
    assert {"what": "Python", "there": True}.items() <= findings[0].items()
    assert {"testbed namespaces", "etcd server", "redis driver"} <= {finding["what"] for finding in findings}


def test_a_group_of_commands_alone_tells_which_there_are(splitbrain: Callable[..., Ran]) -> None:
    ran = splitbrain("servers")
    assert ran.code == 64 and "\nCommands:\n  get " in ran.stderr and not ran.stdout


@pytest.mark.parametrize("module", ["splitbrain.harness.cli", "click", "splitbrain.reports.output"])
def test_an_interrupt_while_the_program_is_loaded_is_quiet(module: str) -> None:
    """Ctrl-C in the moment in which that module is looked for."""
    program = f"""
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
from splitbrain.__main__ import main
main()
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "")


def test_a_run_by_name(tmp_path: Path) -> None:
    plan = Plan(database="reference", variant="majority")
    run = store.create(tmp_path / "runs", plan, "nightly-7")
    assert (run.folder, run.plan.is_file()) == (tmp_path / "runs" / "nightly-7", True)
    for name, told in (("nightly-7", "is there already"), *((bad, "make a name") for bad in ("../mine", "a b", "."))):
        with pytest.raises(UsageError, match=told):
            store.create(tmp_path / "runs", plan, name)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["nightly-7"]


def test_rates_of_no_run_are_no_empty_table(splitbrain: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "damaged").mkdir()
    assert splitbrain("rates", str(tmp_path)).code == 64
    (tmp_path / "damaged" / "result.json").write_text('{"format":')
    ran = splitbrain("rates", str(tmp_path))
    assert ran.code == 64 and not ran.stdout
    assert "left out: damaged: " in ran.stderr and "no run is left to make a table of" in ran.stderr


def test_the_store_of_rates_is_added_to_and_its_table_is_of_all(splitbrain: Callable[..., Ran], tmp_path: Path) -> None:
    lines = (ROOT / "rates.jsonl").read_text().splitlines(keepends=True)
    store, more = tmp_path / "store.jsonl", tmp_path / "more.jsonl"
    store.write_text("".join(lines[:3]))
    more.write_text("".join(lines[2:5]))
    for _ in range(2):
        ran = splitbrain("rates", str(more), "--store", str(store))
        assert ran.code == 0 and store.read_text() == "".join(lines[:5])
    assert splitbrain("rates", str(store)).stdout == ran.stdout


@pytest.mark.parametrize(("command", "told"), [
    (("compare", "empty", "empty"), "empty: no run lies in this folder"),
    (("compare", "begun", "begun"), "begun: no run there was judged: "),
    (("compare", "damaged", "damaged"), "'splitbrain check' judges a run again"),
    (("compare", "empty", "empty", "--html", "nowhere/page.html"), "there is no folder '"),
    (("contract", "damaged"), "no judged run there: "),
    (("contract", "empty", "--html", "empty"), "is a directory"),
    (("rates", "empty", "--store", "nowhere/rates.jsonl"), "there is no folder '"),
    (("serve", "file"), "is a file"),
    (("shrink", "empty"), "not the folder of a run"),
])
def test_a_mistake_is_one_sentence_and_exits_64(
    splitbrain: Callable[..., Ran], tmp_path: Path, command: tuple[str, ...], told: str
) -> None:
    for name in ("empty", "begun", "damaged"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "damaged" / "result.json").write_bytes(b'{"format": 2, "run')
    store.write_plan(tmp_path / "begun" / "plan.toml", Plan(database="reference", variant="majority"))
    ran = splitbrain(*(word if word.startswith("-") or at == 0 else str(tmp_path / word) for at, word in enumerate(command)))
    assert ran.code == 64 and told in ran.stderr and not ran.stdout, ran
    assert len(ran.stderr.splitlines()) == 1 and "Traceback" not in ran.stderr
