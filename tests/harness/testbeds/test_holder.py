"""The program that waits for ever."""

from __future__ import annotations

import platform
import signal
import struct
import subprocess
import time
from pathlib import Path

import pytest

from splitbrain.harness.testbeds import holder

HERE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "")


@pytest.mark.skipif(not HERE, reason="no program for this machine")
def test_it_waits_until_it_is_killed_and_uses_no_time(tmp_path: Path) -> None:
    program = tmp_path / "holder"
    program.write_bytes(holder.program(HERE))
    program.chmod(0o755)
    with subprocess.Popen([program]) as process:
        state = ""
        while state != "S":
            assert process.poll() is None
            time.sleep(0.01)
            state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        process.kill()
        assert process.wait() == -signal.SIGKILL


@pytest.mark.parametrize(("architecture", "machine"), [("amd64", 62), ("arm64", 183)])
def test_its_headers(architecture: str, machine: int) -> None:
    program = holder.program(architecture)
    kind, given, _, entry = struct.unpack_from("<HHIQ", program, 16)
    flags, _, address, _, in_file, in_memory = struct.unpack_from("<IQQQQQ", program, 64 + 4)
    assert program[:7] == b"\x7fELF\x02\x01\x01" and (kind, given) == (2, machine)
    assert flags == 5 and in_file == in_memory == len(program) and entry == address + 64 + 56
