"""What whole runs share: the short plan that a module writes as `SHORT`, and the same with chained writes."""

from __future__ import annotations

from pathlib import Path

import pytest

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
