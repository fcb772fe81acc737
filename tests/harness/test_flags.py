"""What flags mean together: a cluster of a person's own is named once, and nothing else beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from splitbrain.harness.errors import UsageError
from splitbrain.harness.flags import given


@pytest.mark.parametrize(("flags", "told"), [
    ({"hosts": "hosts.toml"}, "say --attach, too"),
    ({"attach": True}, "--attach needs the cluster: --hosts FILE"),
    ({"containers": ""}, "--containers names no label"),
    ({"containers": "app=x", "compose": Path("compose.yaml")}, "--containers and --compose name a cluster each"),
    ({"containers": "app=x", "hosts": "hosts.toml", "attach": True}, "--containers and --hosts name a cluster each"),
    ({"containers": "app=x", "testbed": "docker"}, "--containers means the testbed containers, and --testbed says docker"),
    ({"compose": Path("compose.yaml"), "testbed": "ssh"}, "--compose means the testbed containers, and --testbed says ssh"),
    ({"hosts": "hosts.toml", "attach": True, "testbed": "ssh"}, "--hosts means the testbed attached, and --testbed says ssh"),
    ({"hosts": "hosts.toml", "attach": True, "inventory": "more.toml"}, "--hosts and --inventory name the machines twice"),
])
def test_flags_that_contradict_each_other_are_refused(flags: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        given(flags, "redis")


def test_flags_that_lead_to_a_cluster() -> None:
    assert given({"containers": "app=x"}, "redis") == {"database": "redis", "containers": "app=x", "testbed": "containers"}
    hosts = {"database": "redis", "inventory": "hosts.toml", "testbed": "attached"}
    assert given({"hosts": "hosts.toml", "attach": True}, "redis") == hosts
    assert given({"hosts": "hosts.toml", "attach": True, "testbed": "attached"}, "redis") == hosts
    assert given({"testbed": "docker", "expect": ()}, None) == {"database": None, "testbed": "docker", "expect": None}
