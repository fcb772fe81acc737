"""The tests' own Docker engine: it lives in a network namespace of its own, and tests enter that (see tools/docker-lab)."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from splitbrain.harness import images
from splitbrain.harness.testbeds import engine, kernel

NAMESPACE = Path("/run/netns/lab")
_TURN = Path("/run/splitbrain-lab/turn")


def enter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """This process beside the engine: in its network namespace, with DOCKER_HOST set, and with no other test there meanwhile,
    of this session or another. Yields a client of it."""
    address = os.environ.get("SPLITBRAIN_LAB")
    if not address and os.environ.get("CI"):
        pytest.fail("CI has no Docker engine for tests: tools/docker-lab says why")
    if not address:
        pytest.skip("no Docker engine for tests: run `tools/docker-lab .venv/bin/pytest`, as root")
    monkeypatch.setenv("DOCKER_HOST", address)
    with _TURN.open("w") as turn, inside(NAMESPACE):
        fcntl.flock(turn, fcntl.LOCK_EX)
        client = engine.connect()
        try:
            yield client
        finally:
            client.close()


@contextmanager
def inside(namespace: Path | None) -> Iterator[None]:
    """This thread, and the processes that it starts, in a network namespace, a new one where none is given."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if namespace is None:
            kernel.unshare(kernel.CLONE_NEWNET)
        else:
            there = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
            try:
                kernel.setns(there, kernel.CLONE_NEWNET)
            finally:
                os.close(there)
        yield
        kernel.setns(home, kernel.CLONE_NEWNET)
    finally:
        os.close(home)


@cache
def built(name: str) -> str:
    """An image of this machine's own programs, made once in a session; its name."""
    return images.build(name).name


@contextmanager
def removed(make: Callable[[], Any], **how: Any) -> Iterator[Any]:
    """Something of the engine's that a test makes for itself, and its end."""
    made = make()
    try:
        yield made
    finally:
        made.remove(**how)
