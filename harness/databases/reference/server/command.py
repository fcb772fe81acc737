"""The command line."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path

from .mode import Mode
from .modes.fenced_primary import FencedPrimary
from .modes.lww import LastWriteWins
from .modes.majority import Majority
from .modes.majority_no_writeback import MajorityNoWriteback
from .modes.primary_async import PrimaryAsync
from .modes.split_brain import SplitBrain
from .node import Server

MODES: dict[str, type[Mode]] = {
    mode.name: mode for mode in (Majority, MajorityNoWriteback, PrimaryAsync, LastWriteWins, SplitBrain, FencedPrimary)
}


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def _peer(text: str) -> tuple[str, tuple[str, int]]:
    name, _, address = text.partition("=")
    return name, _address(address)


def main(arguments: Sequence[str]) -> None:
    """Serve as the command line says."""
    parser = argparse.ArgumentParser(description="The reference database of splitbrain.", allow_abbrev=False)
    parser.add_argument("--name", required=True)
    parser.add_argument("--listen", required=True, type=_address, metavar="HOST:PORT")
    parser.add_argument("--peer", action="append", default=[], type=_peer, metavar="NAME=HOST:PORT")
    parser.add_argument("--mode", required=True, choices=sorted(MODES))
    parser.add_argument("--data", required=True, type=Path, metavar="DIR")
    parser.add_argument("--fsync", action="store_true", help="wait for the disk, not only for the kernel")
    options = parser.parse_args(arguments)

    async def serve() -> None:
        server = Server(options.name, dict(options.peer), MODES[options.mode], options.data, fsync=options.fsync)
        await server.run(*options.listen)

    asyncio.run(serve())
