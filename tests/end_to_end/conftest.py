"""What whole runs share: the short plan that a module writes as `SHORT`, and the same with chained writes."""

from __future__ import annotations

from pathlib import Path

import pytest

CHAINED = """
[options.register]
busy_cas = 0.5
calm_cas = 0.1
"""
"""Every write but the first of a key is a compare-and-set, so that what a key held is one lineage. Where two sides wrote a key,
it branches, and the last read tells which branch died: no write that knows of neither has come between. With writes among them
it depends on which of the calls came first after a fail-over whether anything of that is proven."""


@pytest.fixture
def short(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The module's `SHORT`, as a file."""
    file = tmp_path / "short.toml"
    file.write_text(request.module.SHORT)
    return file


@pytest.fixture
def chained(short: Path) -> Path:
    """The same with chained writes."""
    short.write_text(short.read_text() + CHAINED)
    return short
