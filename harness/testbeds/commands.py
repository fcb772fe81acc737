"""Programs run to their end where a channel leads, and the firewall that is set by them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from splitbrain.harness.errors import SetupError
from splitbrain.harness.servers import SEARCH, find_program
from splitbrain.harness.testbeds import firewall
from splitbrain.harness.testbeds.spawner import Channel
from splitbrain.harness.testbeds.testbed import Applied, Completed

T = TypeVar("T")

PATH = ":".join(SEARCH)


def program(name: str, package: str) -> str:
    """The path of a program on this machine. Raises `SetupError` naming the Debian package that has it."""
    found = find_program(name)
    if found is None:
        raise SetupError(f"the program {name} is missing: sudo apt-get install {package}")
    return found


async def run(
    channel: Channel,
    argv: Sequence[str],
    stdin: str,
    *,
    env: Mapping[str, str] | None = None,
    cwd: str = "/",
    timeout: float = 10.0,
) -> tuple[Completed, int]:
    """Run a program (`argv[0]` is its path) to its end; with what it printed, when it ended (monotonic clock, ns). Raises
    `SetupError` where it takes longer than `timeout` seconds; it is then killed."""
    with contextlib.ExitStack() as stack:
        streams = []
        for stream in ("stdin", "stdout", "stderr"):
            descriptor = os.memfd_create(stream)
            stack.callback(os.close, descriptor)
            streams.append(descriptor)
        os.write(streams[0], stdin.encode())
        os.lseek(streams[0], 0, os.SEEK_SET)
        given = {"PATH": PATH} if env is None else env
        process = await channel.spawn(argv, given, cwd, (streams[0], streams[1], streams[2]))
        try:
            async with asyncio.timeout(timeout):
                ended = await asyncio.shield(process.ended)
        except TimeoutError as error:
            raise SetupError(f"{channel.name}: `{' '.join(argv)}` took longer than {timeout:g} s.") from error
        finally:
            if not process.ended.done():
                await channel.signal(process, signal.SIGKILL)
        stdout, stderr = (_everything_in(descriptor) for descriptor in streams[1:])
        return Completed(ended.code, stdout, stderr), ended.at


async def restore(channel: Channel, rules: firewall.Rules, iptables: str, ip6tables: str) -> int:
    """Give the firewall there its rules, by these two programs, and tell when the last was in force (monotonic clock, ns).
    Raises `SetupError` with what iptables said."""
    commands = [(iptables, rules.ipv4)] + ([(ip6tables, rules.ipv6)] if rules.ipv6 else [])
    results = await together(run(channel, (program, *firewall.ARGUMENTS), text) for program, text in commands)
    return max(succeeded(channel.name, result) for result in results)


async def connections(channel: Channel, cat: str) -> str:
    """The kernel's tables of the TCP connections there, IPv4 and IPv6. `cat` is the path of that program."""
    completed, _ = await run(channel, (cat, "/proc/net/tcp", "/proc/net/tcp6"), "")
    return completed.stdout  # without IPv6 in the kernel the second does not exist


async def apply(
    restore: Mapping[str, Callable[[firewall.Rules], Awaitable[int]]], texts: Mapping[str, firewall.Rules]
) -> Applied:
    """Give every node that `texts` names its rules, all at once. `restore` maps a node to what puts rules in force there and
    tells when (nanoseconds). Raises `SetupError` where a node refused."""
    times = await together(restore[name](rules) for name, rules in texts.items())
    return Applied(
        spread=max(times) - min(times) if times else 0, rules={name: rules.text() for name, rules in texts.items()}
    )


async def together(steps: Iterable[Awaitable[T]]) -> list[T]:
    """Await all at once; where one fails, the first failure once all have ended: nothing goes on behind the caller."""
    results = await asyncio.gather(*steps, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]


def succeeded(where: str, result: tuple[Completed, int]) -> int:
    """When a program ended. Raises `SetupError` with what it said where it failed."""
    completed, at = result
    if completed.code != 0:
        raise SetupError(f"{where}: {completed.stderr.strip() or completed.stdout.strip() or 'no reason given'}")
    return at


def _everything_in(descriptor: int) -> str:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace")
