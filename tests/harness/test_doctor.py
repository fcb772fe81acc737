"""What `doctor` and `list` tell of this machine and of what is registered."""

from __future__ import annotations

from collections.abc import Callable

from splitbrain.harness import registry
from splitbrain.harness.doctor import examine, processors
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


def test_a_busy_or_small_machine_is_warned_of() -> None:
    assert processors(2, 0.4).there
    assert not processors(1, 0.0).there
    assert not processors(2, 7.1).there and "2, with a load of 7.1" in processors(2, 7.1).found
