"""The wall clock of single processes, put ahead or back, while that of the machine stays as it is.

Programs ask the time of the vDSO, a page of code that the kernel lends to every process. Written to through /proc/PID/mem the
page becomes the process' own, and what it then says is the kernel's time and a number that lies beside the code. It needs the
right to trace the process and no other; children inherit it, and a program that is started anew has the kernel's page again.
Clocks that only go forward are left alone. x86-64 only. Only the standard library, so that it can be sent to a machine as text.
"""

from __future__ import annotations

import contextlib
import os
import platform
import struct
import time
from collections.abc import Iterable, Iterator
from io import FileIO
from pathlib import Path

from splitbrain.harness.testbeds import families

_TAIL = 512
"""Bytes at the end of the vDSO that nothing is in."""
_OFFSET = 8
"""Where the number lies, from the end."""
_JUMP = 5
_ATTEMPTS = 50

_CODE: dict[str, str] = {
    # The system call; then, for the wall clock, coarse or not, add the number to what it wrote at rsi.
    "__vdso_clock_gettime": "b8e4000000 0f05 85c0 7531 85ff 7405 83ff05 7528 488b06 4869c000ca9a3b 48034608 480305{offset} 4899"
                            "b900ca9a3b 48f7f9 488906 48895608 31c0 c3",
    # The same in microseconds, at rdi, where that is given.
    "__vdso_gettimeofday": "b860000000 0f05 85c0 7537 4885ff 7432 488b05{offset} 4899 b9e8030000 48f7f9 48690f40420f00 48034f08"
                           "4801c8 4899 b940420f00 48f7f9 488907 48895708 31c0 c3",
    # The same in seconds, in rax, and at rdi, where that is given.
    "__vdso_time": "4989f8 31ff b8c9000000 0f05 4989c1 488b05{offset} 4899 b900ca9a3b 48f7f9 4c01c8 4d85c0 7403 498900 c3",
}


def refusal() -> str:
    """Why clocks cannot be put wrong on this machine, in a sentence; empty where they can."""
    if platform.machine() != "x86_64":
        return f"the clock of a process can be put wrong on x86-64 only, this is {platform.machine()}."
    try:
        _image()
    except OSError as error:
        return f"{error.strerror}."
    return ""


def skew(pids: Iterable[int], nanoseconds: int) -> None:
    """Put the wall clock of these processes ahead (or back) of the machine's by so much; 0 gives them back the kernel's own
    code. The processes must stand still. Raises `OSError`."""
    image, entries = _image()
    for pid in pids:
        base = _mapped(pid)[0]
        with Path("/proc", str(pid), "mem").open("r+b", buffering=0) as memory:
            memory.seek(base)
            theirs = memory.read(len(image))
            if _without(theirs, entries) != _without(image, entries):
                raise OSError(0, f"process {pid} has another vDSO than this one, and its clock cannot be put wrong")
            _put(memory, base + len(image) - _OFFSET, struct.pack("<q", nanoseconds))
            if not nanoseconds:
                for entry in entries.values():
                    _put(memory, base + entry, image[entry : entry + _JUMP])
                continue
            at = len(image) - _TAIL
            for name, entry in entries.items():
                for counter in _counters(pid):
                    if base + entry < counter < base + entry + _JUMP:
                        raise BlockingIOError(0, f"process {pid} was just asking the time")
                code = _code(name, at, len(image) - _OFFSET)
                _put(memory, base + at, code)
                _put(memory, base + entry, b"\xe9" + struct.pack("<i", at - entry - _JUMP))
                at += len(code) + 15 & ~15


def skew_family(leader: int, service: str, nanoseconds: int, *, paused: bool) -> bool:
    """The same for a process and everything that came of it (families.py), which stands still meanwhile, and afterwards too if
    it is `paused`; whether anything had to be changed. One that was just asking the time is let go on for a moment. A container
    that is paused is frozen already: one that is told to stop there would stop when it goes on. Raises `OSError`."""
    frozen = paused and not service
    with contextlib.suppress(OSError):  # One that has just ended.
        if all(is_skewed(pid, nanoseconds) for pid in families.family(leader, service)):
            return False
    for attempt in range(_ATTEMPTS):
        try:
            if not frozen:
                families.pause(leader, service)
            skew(families.family(leader, service), nanoseconds)
        except BlockingIOError:
            if attempt == _ATTEMPTS - 1:
                raise
        else:
            break
        finally:
            if not paused:
                families.resume(leader, service)
        time.sleep(0.001)
    return True


def is_skewed(pid: int, nanoseconds: int) -> bool:
    """Whether the wall clock of a process is wrong by that much, or right (0). Raises `OSError`."""
    image, entries = _image()
    base = _mapped(pid)[0]
    with Path("/proc", str(pid), "mem").open("rb", buffering=0) as memory:
        memory.seek(base)
        theirs = memory.read(len(image))
    wrong = any(theirs[entry : entry + _JUMP] != image[entry : entry + _JUMP] for entry in entries.values())
    return wrong == bool(nanoseconds) and (not wrong or theirs[-_OFFSET:] == struct.pack("<q", nanoseconds))


def _code(name: str, at: int, number: int) -> bytes:
    """The code of a function that lies at `at`, with the distance to the number in it."""
    before, after = _CODE[name].split("{offset}")
    head, tail = bytes.fromhex(before), bytes.fromhex(after)
    return head + struct.pack("<i", number - (at + len(head) + 4)) + tail


def _put(memory: FileIO, at: int, data: bytes) -> None:
    memory.seek(at)
    memory.write(data)


def _without(image: bytes, entries: dict[str, int]) -> bytes:
    """An image without what is written to."""
    kept = bytearray(image[:-_TAIL])
    for entry in entries.values():
        kept[entry : entry + _JUMP] = bytes(_JUMP)
    return bytes(kept)


def _mapped(pid: int) -> tuple[int, int]:
    for line in Path("/proc", str(pid), "maps").read_text().splitlines():
        if line.endswith("[vdso]"):
            begin, _, end = line.split()[0].partition("-")
            return int(begin, 16), int(end, 16)
    raise OSError(0, f"process {pid} has no vDSO, and its clock cannot be put wrong")


def _counters(pid: int) -> Iterator[int]:
    """Where the threads of a process stand."""
    for task in Path("/proc", str(pid), "task").iterdir():
        told = (task / "syscall").read_text().split()
        if len(told) > 2:
            yield int(told[-1], 16)


def _image() -> tuple[bytes, dict[str, int]]:
    """The vDSO as the kernel lends it, this process' own, and where its functions begin. Raises `OSError` for one that is not
    as expected."""
    begin, end = _mapped(os.getpid())
    with Path("/proc/self/mem").open("rb", buffering=0) as memory:
        memory.seek(begin)
        image = memory.read(end - begin)
    entries = {name: value for name, value in _symbols(image) if name in _CODE}
    if len(entries) < len(_CODE) or any(image[-_TAIL:]):
        raise OSError(0, "this kernel's vDSO is not as expected, and the clock of a process cannot be put wrong")
    return image, entries


def _symbols(image: bytes) -> Iterator[tuple[str, int]]:
    """The symbols of an ELF image with sections, and their addresses."""
    sections, size, count = struct.unpack_from("<Q", image, 40)[0], *struct.unpack_from("<HH", image, 58)
    headers = [struct.unpack_from("<IIQQQQIIQQ", image, sections + size * number) for number in range(count)]
    for _, kind, _, _, begin, length, link, *_ in headers:
        if kind == 11:  # SHT_DYNSYM
            names = headers[link][4]
            for at in range(begin, begin + length, 24):
                name, _, _, _, value, _ = struct.unpack_from("<IBBHQQ", image, at)
                yield image[names + name : image.index(b"\0", names + name)].decode(), value
