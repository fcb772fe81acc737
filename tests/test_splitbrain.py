"""The public names: all there, all typed, and light to import."""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import splitbrain

HEAVY = ("docker", "paramiko", "click", "networkx", "rich", "jinja2", "scipy")
EXAMPLE = textwrap.dedent((splitbrain.__doc__ or "").split("recorded:\n", maxsplit=1)[1])


@pytest.mark.parametrize("name", splitbrain.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(splitbrain, name) is not None
    assert name in dir(splitbrain)


def test_every_name_is_typed() -> None:
    tree = ast.parse(Path(splitbrain.__file__).read_text())
    typed = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert set(splitbrain.__all__) <= typed


def test_a_name_that_is_none() -> None:
    with pytest.raises(AttributeError, match="module 'splitbrain' has no attribute 'nothing'"):
        _ = splitbrain.nothing


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import splitbrain", ("numpy", "msgspec", *HEAVY)),
        ("import splitbrain; splitbrain.Operation; splitbrain.Verdict; splitbrain.read; splitbrain.Model", HEAVY),
        (EXAMPLE, HEAVY),
        ("import splitbrain.checkers.linearizability, splitbrain.checkers.models.specifications", HEAVY),
    ],
)
def test_importing_loads_no_more_than_it_needs(code: str, heavy: tuple[str, ...]) -> None:
    ask = f"\nimport sys\nprint([name for name in {heavy} if name in sys.modules])"
    root = Path(splitbrain.__file__).parent
    ran = subprocess.run([sys.executable, "-c", code + ask], capture_output=True, text=True, timeout=240, check=True, cwd=root)
    assert ran.stdout.splitlines()[-1] == "[]"


def test_the_example_of_judging_one_s_own_history(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(EXAMPLE.strip().splitlines()) < 15
    exec(compile(EXAMPLE, "example", "exec"), {})
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("invalid - ")
    assert second.startswith(("stale-read - ", "lost-write - "))
