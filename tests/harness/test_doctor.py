"""What `doctor` and `list` tell of this machine and of what is registered."""

from __future__ import annotations

from collections.abc import Callable

from splitbrain.harness import registry
from splitbrain.harness.doctor import examine
from tests.conftest import Ran


def test_everything_is_looked_at_and_what_is_missing_has_its_mend() -> None:
    findings = examine()
    looked = " ".join(finding.what for finding in findings)
    for name in (*registry.names("databases"), *registry.names("testbeds")):
        assert name in looked
    assert all(finding.there or finding.mend for finding in findings)


def test_the_tables_are_plain_text_in_a_pipe(splitbrain: Callable[..., Ran]) -> None:
    for command in ("doctor", "list"):
        ran = splitbrain(command)
        assert ran.code == 0 and ran.stderr == ""
        assert "\x1b" not in ran.stdout and "[/" not in ran.stdout
    for name in ("reference", "sentinel", "serializable", "four-partitions", "register", "namespaces"):
        assert name in ran.stdout
