"""Files in the data folder of a run on a machine over SSH: the one that was written last, its content, and a new content in its
place; whether there is room for one, and how long its sync takes. Python there does it, in one program for each call
(`folders.py` and the lines here), started in that folder.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Collection
from pathlib import Path

from splitbrain.harness.errors import SetupError
from splitbrain.harness.testbeds import folders
from splitbrain.harness.testbeds.ssh_node import SshNode

TIMEOUT = 60.0
"""Seconds that a file may take to come, or to go: the log of an etcd has 64 MB, most of them zeros."""

_PROGRAM = Path(folders.__file__).read_text() + """
import base64, sys, zlib

what, *words = sys.argv[1:]
folder = Path.cwd().resolve()
if what == "last-written":
    print(last_written(folder, words))
elif what == "full":
    print(is_full(folder))
elif what == "sync":
    print(timed_sync(folder))
else:
    file = folder / words[0]
    if folder not in (file.parent.resolve(), *file.parent.resolve().parents):
        sys.exit(f"{file} is not in {folder}")
    if what == "read":
        print(base64.b64encode(zlib.compress(content(opened(file)), 1)).decode() if file.exists() else "")
    else:
        rewrite(opened(file), zlib.decompress(base64.b64decode(sys.stdin.read())))
"""


async def last_written(node: SshNode, given: Collection[str]) -> str:
    """As `Testbed.last_written`. Raises `SetupError`."""
    return (await _ask(node, "last-written", *sorted(given))).strip("\n")


async def read(node: SshNode, file: str) -> bytes | None:
    """As `Testbed.read`. Raises `SetupError`, also for a file that is not in the node's folder."""
    told = await _ask(node, "read", file)
    return zlib.decompress(base64.b64decode(told)) if told.strip() else None


async def rewrite(node: SshNode, file: str, content: bytes) -> None:
    """As `Testbed.rewrite`. Raises `SetupError`, also for a file that is not in the node's folder."""
    await _ask(node, "rewrite", file, stdin=base64.b64encode(zlib.compress(content, 1)).decode())


async def full(node: SshNode) -> bool:
    """As `Testbed.full`. Raises `SetupError`."""
    return (await _ask(node, "full")).strip() == "True"


async def timed_sync(node: SshNode) -> float:
    """As `Testbed.timed_sync`. Raises `SetupError`."""
    return float(await _ask(node, "sync"))


async def _ask(node: SshNode, *words: str, stdin: str = "") -> str:
    done = await node.run([node.link.host.python, "-I", "-c", _PROGRAM, *words], stdin=stdin, timeout=TIMEOUT)
    if done.code:
        last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise SetupError(f"{node.name}: {node.folder}: {words[0]}: {last[0]}")
    return done.stdout
