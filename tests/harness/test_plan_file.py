"""A plan as a file: every key documented, and the very same plan taken back."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from splitbrain.harness import settings
from splitbrain.harness.cli import commands
from splitbrain.harness.history.fault import Cut, Kill
from splitbrain.harness.plan import Plan, ScriptedFault
from splitbrain.harness.plan_file import written
from splitbrain.harness.resolve import resolve

CUT = Cut(tuple((a, b) for a in ("n1", "n2") for b in ("n3", "n4", "n5")))


def comment_over(text: str, key: str) -> str:
    """The comment that stands over a key."""
    lines = text.splitlines()
    end = next(number for number, one in enumerate(lines) if one.startswith(f"{key} = "))
    begin = end
    while lines[begin - 1].startswith("#"):
        begin -= 1
    return " ".join(one.removeprefix("#").strip() for one in lines[begin:end])


def test_every_key_is_told_with_its_meaning_its_bounds_and_its_default() -> None:
    text = written(resolve({"database": "redis", "nemesis": "crash-loop"}))
    for name, key in settings.keys(Plan).items():
        assert key.setting.help.endswith("."), name
        if name not in ("schedule", "options"):
            assert comment_over(text, name) == key.describe()
    assert comment_over(text, "fault") == "How long a fault lasts. (from 0.5 to 3,600 seconds; default 8)"
    assert comment_over(text, "up").endswith("(from 0.1 to 600 seconds; default 2)")
    assert max(map(len, text.splitlines())) <= 100
    told = tomllib.loads(text)
    assert told["time"] == "auto" and told["rate"] == "closed" and told["options"]["crash-loop"] == {"down": 0.1, "up": 2.0}


@given(
    st.fixed_dictionaries(
        {"database": st.just("redis")},
        optional={
            "nodes": st.integers(3, 15), "time": st.one_of(st.just("auto"), st.floats(60, 86_400)), "keep": st.booleans(),
            "rate": st.one_of(st.just("closed"), st.floats(0.001, 100_000)), "seed": st.integers(0, 2**63 - 1),
            "expect": st.lists(st.sampled_from(["CP", "valid", "blocked:minority"]), max_size=3),
            "think": st.floats(0, 60), "pace": st.sampled_from(["interval", "staggered", "random", "primary-changes"]),
            "nemesis": st.sampled_from(["halves", "kill:primary", "restart+halves", "crash-loop"]),
            "workload": st.sampled_from(["register", "set"]), "keys": st.integers(1, 100_000),
            "image": st.text("abc:/\"'\\\u00e9 #", max_size=9), "testbed": st.just("docker"),
            "tcp_rto_max_ms": st.one_of(st.just("kernel"), st.integers(1, 120_000)),
        },
    )
)
def test_what_is_shown_is_taken_back_as_the_same_plan(flags: dict[str, object]) -> None:
    if "testbed" not in flags:
        flags.pop("image", None)
    plan = resolve(flags)
    again = tomllib.loads(written(plan))
    assert resolve(again) == plan


SCRIPTS: list[tuple[ScriptedFault, ...]] = [
    (ScriptedFault(at=1.0, duration=2.0, nemesis="halves"),
     ScriptedFault(at=1.5, duration=9.0, nemesis="kill", scenario="all")),
    (ScriptedFault(at=1.0, duration=2.0, specs=(CUT, Kill(("n1",), down=0.5)), when="primary-changes"),),
    (ScriptedFault(at=1.0, duration=2.0, nemesis="kill", specs=(Kill(("n1",)),)),),
]


@pytest.mark.parametrize("schedule", SCRIPTS)
def test_a_script_is_taken_back_with_its_targets(tmp_path: Path, schedule: tuple[ScriptedFault, ...]) -> None:
    plan = resolve({"database": "redis", "schedule": schedule})
    assert plan.schedule == schedule
    file = tmp_path / "plan.toml"
    file.write_text(written(plan))
    assert resolve({}, file) == plan


def test_the_command_shows_a_plan_that_the_command_takes(tmp_path: Path) -> None:
    shown = CliRunner().invoke(commands, ["plan", "--show", "redis", "--time", "1m30s", "--fault", "9", "--expect", "CP"])
    assert shown.exit_code == 0, shown.output
    file = tmp_path / "mine.toml"
    file.write_text(shown.output)
    plan = resolve({}, file)
    assert (plan.time, plan.fault, plan.expect) == (90.0, 9.0, ("CP",))
    again = CliRunner().invoke(commands, ["plan", "--show", "--plan", str(file)])
    assert again.output == shown.output
    told = CliRunner().invoke(commands, ["plan", "--plan", str(file), "--nemesis", "kill:primary"])
    assert "kill:primary primary" in told.output and "for 9.0 s" in told.output and "1:30 with 6 faults" in told.output


def test_help_says_the_same_as_the_plan() -> None:
    text = " ".join(CliRunner().invoke(commands, ["test", "--help"]).output.split())
    for key in settings.keys(Plan).values():
        if key.flag:
            assert key.flag in text and " ".join(key.setting.help.split()[:4]) in text, key.name
    refused = CliRunner().invoke(commands, ["test", "redis", "--fault", "0"])
    assert refused.exit_code == 2 and "fault is 0: it must be from 0.5 to 3,600 seconds." in refused.output


def test_a_plan_whose_workload_is_not_here_any_more_can_still_be_written() -> None:
    plan = msgspec.structs.replace(resolve({"database": "redis"}), workload="gone", options={"gone": {"size": 3}})
    assert tomllib.loads(written(plan))["options"] == {"gone": {"size": 3}}
