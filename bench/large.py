"""A history larger than memory: `splitbrain check` of it in a process of its own, whose memory is measured.

    python -m bench.large [OPERATIONS]

The history is one block of calls of several clients on many keys, again and again with other values, each key's first call in
a block a write that nothing else is beside. Memory that is mapped from files counts as memory here, though the kernel may take
it back: `peak` is what the process had at most (`ru_maxrss`), `own` is without what is mapped. More than `BOUND` is a failure,
and so is any verdict but valid: 1 is the exit code then.
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import msgspec

OPERATIONS = 50_000_000
BOUND = 8 << 30
"""Bytes of memory within which that many are judged."""
BLOCK, KEYS, CLIENTS = 100_000, 5_000, 16
"""Operations of a block, its keys and clients."""


class Measured(msgspec.Struct):
    """One check. Seconds and bytes; `busy` is the processor's time."""

    operations: int
    file: int
    seconds: float
    busy: float
    verdict: str
    reason: str
    peak: int
    own: int

    @property
    def kept(self) -> bool:
        """Whether it was judged, rightly, within the bound."""
        return self.verdict == "valid" and 0 < self.peak <= BOUND


def block() -> bytes:
    """Its lines; `"key":9` and the like, and `@@@@` is the number of the block, the end of every value."""
    rng = random.Random(1)
    held = [0] * KEYS
    made = 0
    lines: list[str] = []
    for key in range(KEYS):
        made += 1
        held[key] = made
        for kind in ("invoke", "ok"):
            lines.append(f'{{"type":"{kind}","process":0,"f":"write","key":{key},"value":{made}@@@@}}')
    open_calls: list[tuple[int, int, str, int]] = []
    idle = list(range(CLIENTS))
    for _ in range(BLOCK - KEYS):
        while not idle or (open_calls and rng.random() < 0.5):
            client, key, f, value = open_calls.pop(rng.randrange(len(open_calls)))
            if f == "read":
                value = held[key]
            else:
                held[key] = value
            idle.append(client)
            lines.append(f'{{"type":"ok","process":{client},"f":"{f}","key":{key},"value":{value}@@@@}}')
        client, key, f = idle.pop(), rng.randrange(KEYS), rng.choice(("read", "write"))
        made += f == "write"
        open_calls.append((client, key, f, made))
        told = "null" if f == "read" else f"{made}@@@@"
        lines.append(f'{{"type":"invoke","process":{client},"f":"{f}","key":{key},"value":{told}}}')
    for client, key, f, value in open_calls:
        held[key] = held[key] if f == "read" else value
        lines.append(f'{{"type":"ok","process":{client},"f":"{f}","key":{key},"value":{held[key]}@@@@}}')
    return "\n".join(lines).encode() + b"\n"


def write(path: Path, operations: int) -> None:
    """The history, as JSON lines."""
    one = block()
    with path.open("wb") as file:
        for number in range(operations // BLOCK):
            file.write(one.replace(b"@@@@", b"%04d" % number))


def measured(operations: int) -> Measured:
    """Check it once."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.jsonl"
        write(path, operations)
        before, began = _busy(), time.perf_counter()
        command = [sys.executable, "-m", "splitbrain.harness.cli", "check", str(path), "--time-limit", "1h", "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            own: list[int] = [0]
            watcher = threading.Thread(target=_watch, args=(child, own))
            watcher.start()
            assert child.stdout is not None
            told = child.stdout.read()
            peak = _status(child.pid, "VmHWM")
            child.wait()
            watcher.join()
        result = json.loads(told)
        return Measured(
            operations, path.stat().st_size, time.perf_counter() - began, _busy() - before, result["validity"],
            result["reason"], max(peak, _peak[child.pid]), own[0],
        )


_peak: dict[int, int] = {}


def _watch(child: subprocess.Popen[bytes], own: list[int]) -> None:
    """The most that a process had of its own, looked at ten times a second."""
    while child.poll() is None:
        own[0] = max(own[0], _status(child.pid, "RssAnon"))
        _peak[child.pid] = max(_peak.get(child.pid, 0), _status(child.pid, "VmHWM"))
        time.sleep(0.1)


def _busy() -> float:
    """Seconds of the processor that ended children took."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def _status(process: int, name: str) -> int:
    """A line of /proc/PID/status, in bytes; 0 where the process is gone."""
    with suppress(OSError, IndexError):
        text = Path(f"/proc/{process}/status").read_text()
        return int(text.split(f"{name}:")[1].split()[0]) * 1024
    return 0


def tell(found: Measured) -> str:
    """A sentence of Markdown."""
    return (
        f"**{found.operations:,} register operations** ({found.file / 1e9:.1f} GB of JSON lines, {KEYS:,} keys): "
        f"{found.verdict} in {found.seconds:,.0f} s ({found.busy:,.0f} s of one processor), reading and all; "
        f"at most {found.peak / 2**30:.2f} GiB of memory, "
        f"{found.own / 2**30:.2f} GiB of that not mapped from files. "
        f"Within {BOUND >> 30} GiB: {'yes' if 0 < found.peak <= BOUND else 'no'}."
    )


if __name__ == "__main__":
    found = measured(int(sys.argv[1]) if sys.argv[1:] else OPERATIONS)
    print(tell(found))
    sys.exit(0 if found.kept else 1)
