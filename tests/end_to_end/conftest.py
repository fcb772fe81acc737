"""What whole runs share: the short plan that a module writes as `SHORT`."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def short(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The module's `SHORT`, as a file."""
    file = tmp_path / "short.toml"
    file.write_text(request.module.SHORT)
    return file
