"""Programs of the machine that are run for what they print: for so long at most, and with one sentence where that fails."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from splitbrain.harness.errors import SetupError


class Ran(NamedTuple):
    """How a program ended, and what it printed."""

    code: int
    stdout: str
    stderr: str

    @property
    def said(self) -> str:
        """The first line that it printed, of what went wrong if it told that."""
        return next(iter((self.stderr + self.stdout).strip().splitlines()), "it said nothing")


def run(command: Sequence[str], *, limit: float, mend: str = "", environment: Mapping[str, str] | None = None) -> Ran:
    """Run a program to its end, `limit` seconds at most, with these variables in its environment too. Raises `SetupError`
    where it is missing (with what mends that) or takes longer; its exit code is the caller's to judge."""
    try:
        ran = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=limit, check=False,
                             env=os.environ | dict(environment or {}))
    except FileNotFoundError as error:
        raise SetupError(f"the program {command[0]} is missing{f': {mend}' if mend else ' on this machine.'}") from error
    except subprocess.TimeoutExpired as error:
        raise SetupError(f"`{' '.join(command)}` took longer than {limit:.0f} s.") from error
    return Ran(ran.returncode, ran.stdout, ran.stderr)
