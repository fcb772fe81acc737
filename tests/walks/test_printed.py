"""Every command that README, documentation and help print is run as it is printed, or there is a reason why not."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from splitbrain.harness import cli
from splitbrain.harness.plan import Plan
from splitbrain.harness.resolve import resolve
from splitbrain.harness.run import perform_apart
from tests.conftest import ROOT
from tests.test_docs import printed

NOT_RUN = {
    r"test (?!DATABASE|mine)": "starts servers: tests/end_to_end does it, for every database",
    r"test (DATABASE|mine)": "starts servers: tests/walks/test_walks.py does it",
    r"verify ": "starts servers: tests/newcomers/test_new.py does it",
    r"shrink ": "takes many runs: tests/harness/test_shrink.py does it",
    r"suite ": "takes a night: tests/harness/test_suite.py does it with a short one",
    r"case (flash-sale|NAME)": "takes minutes: tests/end_to_end/test_cases.py does it with a short one",
    r"serve ": "goes on until Ctrl-C: tests/reports does it",
    r"servers get ": "asks the internet: tests/harness/test_servers.py does it where nothing answers",
    r"images build ": "needs Docker: tests/end_to_end/test_docker.py does it",
    r"clean": "takes away what others left on this machine: tests/harness/testbeds does it with what it left itself",
    r".* --dask ": "needs a Dask cluster: tests/harness/test_machines.py does it",
}
OURS = {
    "RUN|FILE": "runs/RUN", "RUN": "runs/RUN", "RUNS": "runs", "FILE": "history.jsonl", "FILE.toml": "mine.toml", "A": "runs/A",
    "B": "runs/B", "DATABASE": "reference", "PART": "database", "NAME": "mine",
}
"""What a printed word stands for → what lies here in its place."""

COMMANDS = sorted({" ".join(parameter.values[0]) for parameter in printed()})
CALLS = [("write", value, value) for value in range(3)] + [("read", 3, 2)]
HISTORY = "".join(
    json.dumps({"type": kind, "time": 10 * at + 5 * (kind == "ok"), "process": 0, "f": f, "key": "x", "value": value}) + "\n"
    for f, at, value in CALLS for kind in ("invoke", "ok")
)
EDN = "".join(f"{{:type :{kind}, :f :{f}, :value {value}, :process 0}}\n" for f, _, value in CALLS for kind in ("invoke", "ok"))


def reason(command: str) -> str:
    """Why a command is not run here; empty if it is."""
    return next((why for pattern, why in NOT_RUN.items() if re.match(pattern, f"{command} ")), "")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of somebody who has read the documentation: some runs, a history, a plan, a suite."""
    folder = tmp_path_factory.mktemp("desk")
    plan: Plan = resolve({"database": "reference", "variant": "primary-async", "nodes": 3, "nemesis": "partition-primary",
                          "baseline": 2, "fault": 3, "between": 2, "settle": 3, "keys": 10})
    perform_apart(plan, folder / "runs", "RUN")
    for name in ("A", "B", "BEFORE", "AFTER", "20261127T021700-suite-nightly", "20261128T021700-suite-nightly"):
        shutil.copytree(folder / "runs" / "RUN", folder / "runs" / name)
    (folder / "history.jsonl").write_text(HISTORY)
    (folder / "history.edn").write_text(EDN)
    shutil.copy(folder / "runs" / "RUN" / "plan.toml", folder / "mine.toml")
    (folder / "docs").mkdir()
    for name in ("rates.jsonl", "nightly.toml", "README.md", "docs/rates.md"):
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.mark.parametrize("command", [one for one in COMMANDS if not reason(one)])
def test_it_runs_as_it_is_printed(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    words = [OURS.get(word, word) for word in command.split()]
    if words == ["plan", "--show"]:
        words.append("reference")  # It stands for the command in a sentence.
    if words[0] == "new":
        for file in desk.glob("*mine.py"):
            file.unlink()
    if "NAME" in command and "--model" in words:
        words[-1] = "register"
    monkeypatch.chdir(desk)
    with (desk / "history.jsonl").open() as standard:
        monkeypatch.setattr("sys.stdin", standard)
        code = cli._guarded(lambda: cli.commands.main(words, standalone_mode=False))
    told = capsys.readouterr()
    # The run has anomalies, and what is compared may differ.
    allowed = {"check": (0, 1) if "runs" in " ".join(words) else (0,), "compare": (0, 1)}.get(words[0], (0,))
    assert code in allowed, told.out + told.err
    assert "Traceback" not in told.err
    assert told.out or any(flag in words for flag in ("--into", "--junit", "--html")), told.err


def test_each_reason_is_needed() -> None:
    for pattern, why in NOT_RUN.items():
        assert any(reason(one) == why for one in COMMANDS), pattern
        for named in re.findall(r"tests/[\w/.]+", why):
            assert (ROOT / named).exists(), named
