"""An ordinary user for tests: the checkout copied to a home of theirs, and commands run as they would run them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import NOT_COPIED, ROOT

USER = 65534


class Ordinary:
    """The user: a home, and a Python there that has our libraries. `groups` are the user's, beside their own."""

    def __init__(self, home: Path, groups: Sequence[int]) -> None:
        self.home = home
        self._groups = list(groups)
        packages = sysconfig.get_path("purelib")
        kept = {name: os.environ[name] for name in ("PATH", "DOCKER_HOST") if name in os.environ}
        self._environment = {**kept, "HOME": str(home), "PYTHONPATH": f"{home / 'splitbrain' / 'src'}:{packages}"}
        self._python = next(filter(self._usable, (sys.executable, "/usr/bin/python3")), None)
        if self._python is None:
            (pytest.fail if os.environ.get("CI") else pytest.skip)("another user can run no Python with our libraries here")

    def splitbrain(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Call `splitbrain` as this user."""
        assert self._python is not None
        return self._call(self._python, "-m", "splitbrain.harness.cli", *words)

    def _call(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, check=False, capture_output=True, text=True, cwd=self.home, timeout=280, env=self._environment,
            user=USER, group=USER, extra_groups=self._groups,
        )

    def _usable(self, python: str) -> bool:
        try:
            return self._call(python, "-c", "import msgspec, numpy, splitbrain.harness").returncode == 0
        except OSError:
            return False


@contextmanager
def ordinary_user(*groups: int) -> Iterator[Ordinary]:
    """An ordinary user until the test ends; skips where this process cannot become one."""
    if os.geteuid() != 0:
        pytest.skip("this test steps down from root; the others already run as an ordinary user")
    home = Path("/tmp") / f"splitbrain-ordinary-{os.getpid()}"
    try:
        shutil.copytree(ROOT, home / "splitbrain", symlinks=True, ignore=NOT_COPIED)
        subprocess.run(["chown", "-R", f"{USER}:{USER}", str(home)], check=True)
        yield Ordinary(home, groups)
    finally:
        shutil.rmtree(home, ignore_errors=True)
