"""Who is gone, who is not, and of whom this process cannot tell."""

from __future__ import annotations

import subprocess
import sys

import pytest

from splitbrain.harness.testbeds.owner import is_gone, owner

PROGRAM = "from splitbrain.harness.testbeds.owner import owner; print(owner(), flush=True); input()"


def test_a_process_that_lives_and_then_does_not() -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        other = process.stdout.readline().strip()
        assert other.startswith(f"{process.pid}:") and not is_gone(other)
        process.communicate("\n")
        assert is_gone(other)
    assert not is_gone(owner())


@pytest.mark.parametrize(
    ("field", "value", "gone"),
    [(1, "1", True), (3, "another boot", True), (2, "1", False), (4, "another machine", False), (0, "", False)],
)
def test_what_differs(field: int, value: str, gone: bool) -> None:
    fields = owner().split(":")
    fields[field] = value
    assert is_gone(":".join(fields)) is gone


@pytest.mark.parametrize("text", ["", "1", "a:b", ":::::", "1:2:3:4:5:6:7"])
def test_a_text_that_names_nobody(text: str) -> None:
    assert not is_gone(text)
