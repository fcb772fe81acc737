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
from splitbrain.harness.testbeds.spawner import Channel, Ended, Process
from splitbrain.harness.testbeds.testbed import Applied, Completed

T = TypeVar("T")

PATH = ":".join(SEARCH)
LIMIT = 10.0
"""Seconds that a program may take where nothing else is said."""
REST = 0.1
"""Seconds after a change of a firewall until the program of the next one is loaded."""


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
    timeout: float = LIMIT,
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
        ended = await _end(channel, argv, process, timeout)
        stdout, stderr = (_everything_in(descriptor) for descriptor in streams[1:])
        return Completed(ended.code, stdout, stderr), ended.at


async def _end(channel: Channel, argv: Sequence[str], process: Process, timeout: float) -> Ended:
    """The end of a program; it is killed where it takes longer than `timeout` seconds, or nobody waits any more."""
    try:
        async with asyncio.timeout(timeout):
            return await asyncio.shield(process.ended)
    except TimeoutError as error:
        raise SetupError(f"{channel.name}: `{' '.join(argv)}` took longer than {timeout:g} s.") from error
    finally:
        if not process.ended.done():
            await channel.signal(process, signal.SIGKILL)


class Firewall:
    """The firewall where a channel leads. Of each program that has set it one more is loaded, and waits for its text: what it
    takes to start them does not lie between a fault and its nodes, nor between one node and the next."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._armed: dict[str, _Armed] = {}
        self._arming: asyncio.Task[None] | None = None

    async def restore(self, rules: firewall.Rules, iptables: str, ip6tables: str) -> int:
        """Put rules in force by these two programs (paths), and tell when the last was (monotonic clock, ns). Raises
        `SetupError` with what iptables said."""
        texts = {iptables: rules.ipv4, **({ip6tables: rules.ipv6} if rules.ipv6 else {})}
        if unready := [program for program in texts if not self._waits(program)]:
            await together(map(self._arm, unready))
        given = {program: self._armed.pop(program) for program in texts}
        for program, armed in given.items():
            armed.give(texts[program])
        ended = max(await together(self._succeeded(program, armed, texts[program]) for program, armed in given.items()))
        if self._arming is None or self._arming.done():
            self._arming = asyncio.create_task(self._arm_again(tuple(texts)))
        return ended

    def close(self) -> None:
        """Let those go that wait: without a text they change nothing. Idempotent."""
        if self._arming is not None:
            self._arming.cancel()
        while self._armed:
            self._armed.popitem()[1].close()

    async def _succeeded(self, program: str, armed: _Armed, text: str) -> int:
        """When it had done what it was given. One that somebody killed while it waited has done nothing."""
        result = await armed.end()
        if result[0].code < 0:
            again = await self._loaded(program)
            again.give(text)
            result = await again.end()
        return succeeded(self._channel.name, result)

    async def _arm_again(self, programs: Iterable[str]) -> None:
        """Once what was changed has had its effect. Who finds none loaded loads one, and says why where that fails."""
        await asyncio.sleep(REST)
        with contextlib.suppress(SetupError):
            for program in programs:
                if not self._waits(program):
                    await self._arm(program)

    def _waits(self, program: str) -> bool:
        return program in self._armed and not self._armed[program].process.ended.done()

    async def _arm(self, program: str) -> None:
        armed = await self._loaded(program)
        if (other := self._armed.pop(program, None)) is not None:
            other.close()
        self._armed[program] = armed

    async def _loaded(self, program: str) -> _Armed:
        reading, writing = os.pipe()
        said = os.memfd_create("said")
        argv = (program, *firewall.ARGUMENTS)
        try:
            process = await self._channel.spawn(argv, {"PATH": PATH}, "/", (reading, said, said))
        except BaseException:
            os.close(writing)
            os.close(said)
            raise
        finally:
            os.close(reading)
        return _Armed(self._channel, argv, process, writing, said)


class _Armed:
    """A program that waits for its text."""

    def __init__(self, channel: Channel, argv: Sequence[str], process: Process, stdin: int, said: int) -> None:
        self.process = process
        self._channel = channel
        self._argv = argv
        self._stdin = stdin
        self._said = said

    def give(self, text: str) -> None:
        """All that it will read. One that has ended says so by its end."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._stdin, text.encode())
        os.close(self._stdin)
        self._stdin = -1

    async def end(self) -> tuple[Completed, int]:
        """What it said, and when it ended. Raises `SetupError` where that takes longer than `LIMIT` seconds; it is killed."""
        try:
            ended = await _end(self._channel, self._argv, self.process, LIMIT)
            return Completed(ended.code, "", _everything_in(self._said)), ended.at
        finally:
            self.close()

    def close(self) -> None:
        """Give it up. Idempotent."""
        for descriptor in (self._stdin, self._said):
            if descriptor >= 0:
                os.close(descriptor)
        self._stdin = self._said = -1


async def connections(channel: Channel, cat: str) -> str:
    """The kernel's tables of the TCP connections there, IPv4 and IPv6. `cat` is the path of that program."""
    completed, _ = await run(channel, (cat, "/proc/net/tcp", "/proc/net/tcp6"), "")
    return completed.stdout  # without IPv6 in the kernel the second does not exist


Restore = Callable[[firewall.Rules], Awaitable[int]]
"""Puts rules in force on a node and tells when (nanoseconds). Raises `SetupError` where the node refuses."""


async def apply(restore: Mapping[str, Restore], texts: Mapping[str, firewall.Rules]) -> Applied:
    """Give every node that `texts` names its rules, all at once. Raises `SetupError` where a node refused."""
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
