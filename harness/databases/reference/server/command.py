"""The command line."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path

from .mode import Mode
from .modes.all_sync import AllSync
from .modes.ap_ledger import ApLedger
from .modes.counter_crdt import CounterCrdt
from .modes.dynamo import DynamoOne, DynamoQuorum, DynamoSloppy
from .modes.fenced_primary import FencedPrimary
from .modes.first_write_wins import FirstWriteWins
from .modes.lww import LastWriteWins
from .modes.majority import Majority, MajorityAmnesia
from .modes.majority_no_writeback import MajorityNoWriteback
from .modes.majority_switch import MajoritySwitch
from .modes.merge import Merge, MergeTombstones
from .modes.primary_async import PrimaryAsync
from .modes.quorum_clock import QuorumClock
from .modes.split_brain import SplitBrain
from .modes.transactional import (
    ReadCommitted,
    ReadCommittedDirty,
    Serializable,
    SerializableWriteSkew,
    Snapshot,
    SnapshotLostUpdate,
    SnapshotReadSkew,
)
from .modes.two_phase import TwoPhase
from .modes.vector_clock import VectorClock
from .node import Server

_MODES: tuple[type[Mode], ...] = (
    Majority,
    MajorityAmnesia,
    MajorityNoWriteback,
    MajoritySwitch,
    QuorumClock,
    PrimaryAsync,
    SplitBrain,
    FencedPrimary,
    AllSync,
    LastWriteWins,
    FirstWriteWins,
    VectorClock,
    Merge,
    MergeTombstones,
    DynamoOne,
    DynamoQuorum,
    DynamoSloppy,
    CounterCrdt,
    TwoPhase,
    ApLedger,
    ReadCommitted,
    ReadCommittedDirty,
    Snapshot,
    SnapshotReadSkew,
    SnapshotLostUpdate,
    Serializable,
    SerializableWriteSkew,
)

MODES: dict[str, type[Mode]] = {mode.name: mode for mode in _MODES}


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
    parser.add_argument("--skew", type=float, default=0.0, metavar="SECONDS", help="how far the wall clock is put forward")
    parser.add_argument("--join", action="store_true", help="no member yet: wait until the others have made it one")
    options = parser.parse_args(arguments)

    async def serve() -> None:
        server = Server(options.name, dict(options.peer), MODES[options.mode], options.data, fsync=options.fsync,
                        skew=options.skew, joins=options.join)
        await server.run(*options.listen)

    asyncio.run(serve())
