"""What whole runs share: the short plan that a module writes as `SHORT`, the same with chained writes, and runs to be hit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.end_to_end.started import Started

CHAINED = """
[options.register]
busy_cas = 0.5
"""
"""Every write to a busy key but its first is a compare-and-set, so that all that it held is one lineage. Where two sides wrote
such a key, it branches, and the last read tells which branch died. Among writes that come of nothing, as calm keys have them,
it is chance which call comes first after a fail-over, and whether anything is proven by it."""


@pytest.fixture
def short(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The module's `SHORT`, as a file."""
    file = tmp_path / "short.toml"
    file.write_text(request.module.SHORT)
    return file


@pytest.fixture
def chained(short: Path) -> Path:
    """The same with chained writes to busy keys."""
    short.write_text(short.read_text() + CHAINED)
    return short


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Started]]:
    """Starts `splitbrain test` in the background; what still runs in the end is killed."""
    started: list[Started] = []

    def begin(*words: object, **environment: str) -> Started:
        started.append(Started(tmp_path, *words, **environment))
        return started[-1]

    yield begin
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.communicate()
