"""The model of a disk that loses its power, against a slow oracle, and the same disk behind a real mount."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitbrain.harness.testbeds.namespaces import Namespaces
from splitbrain.harness.testbeds.volatile import COMMITTED, PAGE, WRITTEN_BACK, Disk, How, Inode
from tests.nemeses.test_power import with_power

NAMES = ("a", "b")
Step = tuple[str, int, int, int]
steps = st.lists(st.tuples(st.sampled_from(["write", "resize", "rename", "remove", "sync", "make"]), st.integers(0, 1),
                           st.integers(0, 2), st.integers(1, 255)), max_size=8)
"""What is done, to which name, at which page (or to how many), and with which byte."""


def done(disk: Disk, step: Step, now: float = 0.0) -> None:
    """One step; one that cannot be is none."""
    what, which, page, byte = step
    name, other = NAMES[which].encode(), NAMES[1 - which].encode()
    inode = disk.root.folder.get(name)
    if inode is None:
        if what == "make":
            disk.make(disk.root, name, 0o100644, now)
    elif what == "write":
        disk.write(inode, page * PAGE + PAGE // 2, bytes([byte]) * PAGE, now)
    elif what == "resize":
        disk.resize(inode, page * PAGE + byte, now)
    elif what == "rename":
        disk.rename(disk.root, name, disk.root, other, now)
    elif what == "remove":
        disk.remove(disk.root, name, now)
    elif what == "sync":
        disk.sync(inode)


Content = dict[str, bytes]


def content(disk: Disk) -> Content:
    """Every file, whole."""
    return {name.decode(): disk.read(inode, 0, inode.size) for name, inode in disk.root.folder.items()}


def oracle(made: list[Step]) -> Content:
    """With files as plain bytes, and every step of the past run again at each sync: what is there if all that is unsynced is
    dropped."""
    files: dict[int, list[tuple[str, int, bytes]]] = {}
    names: dict[str, int] = {}
    journal: list[tuple[str, object, int]] = []
    durable_names: dict[str, int] = {}
    durable: dict[int, bytes] = {}
    new = itertools.count()

    def put(old: bytes, offset: int, data: bytes) -> bytes:
        return old.ljust(offset, b"\0")[:offset] + data + old[offset + len(data) :]

    for what, which, page, byte in made:
        name, other = NAMES[which], NAMES[1 - which]
        if name not in names:
            if what == "make":
                names[name] = next(new)
                files[names[name]], durable[names[name]] = [], b""
                journal.append(("names", dict(names), 0))
        elif what == "write":
            files[names[name]].append(("write", page * PAGE + PAGE // 2, bytes([byte]) * PAGE))
        elif what == "resize":
            files[names[name]].append(("resize", page * PAGE + byte, b""))
            journal.append(("resize", names[name], len(files[names[name]])))
        elif what in ("rename", "remove"):
            number = names.pop(name)
            if what == "rename":
                names[other] = number
            journal.append(("names", dict(names), 0))
        elif what == "sync":
            for kind, value, at in journal:
                if kind == "names":
                    assert isinstance(value, dict)
                    durable_names = value
                elif isinstance(value, int):
                    length = files[value][at - 1][1]
                    durable[value] = durable[value].ljust(length, b"\0")[:length]
                    files[value][:at] = [(one, where, data[: max(0, length - where)])
                                         for one, where, data in files[value][:at]]
            journal.clear()
            number = names[name]
            for kind, where, data in files[number]:
                if kind == "write" and data:
                    durable[number] = put(durable[number], where, data)
                elif kind == "resize":
                    durable[number] = durable[number].ljust(where, b"\0")[:where]
            files[number] = []
            for others in files.values():  # committed: only written data is left to be synced
                others[:] = [one for one in others if one[0] == "write"]
    return {name: durable[number] for name, number in durable_names.items()}


@settings(max_examples=300, deadline=None)
@given(steps)
def test_dropping_leaves_what_was_synced(made: list[Step]) -> None:
    disk = Disk()
    for step in made:
        done(disk, step)
    disk.lose_power("drop", random.Random(1), 0.0)
    assert content(disk) == oracle(made)


def states(made: list[Step]) -> list[Content]:
    """What there was after each step."""
    disk = Disk()
    found: list[Content] = [{}]
    for step in made:
        done(disk, step)
        found.append(content(disk))
    return found


@settings(max_examples=300, deadline=None)
@given(steps, st.integers(0, 5), st.sampled_from(["tear", "reorder"]))
def test_what_survives_was_there_once(made: list[Step], seed: int, how: How) -> None:
    """Every page that is there after a power loss was there before in some file at some moment, or is zeros; the names were
    there together at some moment; and what was synced last and not touched since is there whole."""
    disk = Disk()
    for step in made:
        done(disk, step)
    before = states(made)
    disk.lose_power(how, random.Random(seed), 0.0)
    after = content(disk)
    assert set(after) in [set(state) for state in before]
    rows = {cut for state in before for whole in state.values() for cut in pages(whole)}
    for whole in after.values():
        for page in pages(whole):
            assert not page.strip(b"\0") or any(row.startswith(page.rstrip(b"\0")) or merged(page, rows) for row in rows)
    if made and made[-1][0] == "sync" and NAMES[made[-1][1]] in before[-1]:
        assert after[NAMES[made[-1][1]]] == before[-1][NAMES[made[-1][1]]] and set(after) == set(before[-1])


def files(testbed: Namespaces, names: set[str]) -> Content:
    """Those of these that are in the data folder of the first node."""
    return {path.name: path.read_bytes() for path in Path(testbed.nodes[0].folder).iterdir() if path.name in names}


def pages(whole: bytes) -> list[bytes]:
    return [whole[at : at + PAGE] for at in range(0, len(whole), PAGE)]


def merged(page: bytes, rows: set[bytes]) -> bool:
    """Whether each half of a page was there at some moment: a write covers halves of two."""
    half = PAGE // 2
    return all(not part.strip(b"\0") or any(row[at : at + len(part.rstrip(b"\0"))] == part.rstrip(b"\0") for row in rows)
               for at, part in ((0, page[:half]), (half, page[half:])))


def test_each_way_of_losing_is_seen() -> None:
    """Two unsynced writes of two pages each: a torn one, and a later one without an earlier one, do occur, each in its way
    only."""
    seen: dict[str, set[tuple[bool, ...]]] = {"drop": set(), "tear": set(), "reorder": set()}
    for how, found in seen.items():
        for seed in range(100):
            disk = Disk()
            inode = written(disk)
            disk.write(inode, 0, b"1" * 2 * PAGE, 0.0)
            disk.write(inode, 2 * PAGE, b"2" * 2 * PAGE, 0.0)
            lost = disk.lose_power(how, random.Random(seed), 0.0)  # type: ignore[arg-type]
            (after,) = content(disk).values()
            found.add(tuple(after[at * PAGE : at * PAGE + 1] in (b"1", b"2") for at in range(4)))
            assert lost.size == PAGE * (4 - sum(after[at * PAGE : at * PAGE + 1] in (b"1", b"2") for at in range(4)))
    ordered = {(False,) * 4, (True, True, False, False), (True,) * 4}
    assert seen["drop"] == {(False,) * 4}
    assert seen["tear"] == ordered | {(True, False, False, False), (False, True, False, False), (True, True, True, False),
                                      (True, True, False, True)}
    assert len(seen["reorder"]) == 16


def written(disk: Disk) -> Inode:
    inode = disk.make(disk.root, b"file", 0o100644, 0.0)
    disk.sync(inode)
    return inode


def test_what_is_old_was_written_back() -> None:
    disk = Disk()
    inode = written(disk)
    disk.write(inode, 0, b"old", 0.0)
    disk.write(inode, 3, b"new", 1.0)
    disk.make(disk.root, b"name", 0o100644, WRITTEN_BACK - COMMITTED)
    disk.make(disk.root, b"late", 0o100644, WRITTEN_BACK - 1)
    lost = disk.lose_power("drop", random.Random(1), WRITTEN_BACK)
    assert content(disk) == {"file": b"old", "name": b""} and (lost.steps, lost.writes, lost.size) == (1, 1, 3)


def test_a_sync_of_a_folder_keeps_the_names_in_it() -> None:
    disk = Disk()
    disk.make(disk.root, b"new", 0o100644, 0.0)
    disk.sync(disk.root)
    disk.make(disk.root, b"newer", 0o100644, 0.0)
    disk.lose_power("drop", random.Random(1), 0.0)
    assert content(disk) == {"new": b""}


PROGRAM = """
import mmap, os, sys
synced = sys.argv[1] == "sync"
def put(name, how):
    descriptor = os.open(name, os.O_RDWR | os.O_CREAT | how)
    os.write(descriptor, b"x" * 10_000)
    return descriptor
plain = put("plain", 0)
if synced: os.fsync(plain)
put("dsync", os.O_DSYNC if synced else 0)
mapped = put("mapped", 0)
view = mmap.mmap(mapped, 10_000)
view[5_000:5_003] = b"new"
if synced: view.flush(); os.fsync(mapped)
put("temporary", 0) if not synced else os.fsync(put("temporary", 0))
os.rename("temporary", "renamed")
if synced: os.fsync(os.open(".", os.O_RDONLY))
sys.stdout.write("done")
"""


@pytest.mark.parametrize("synced", [True, False])
def test_a_real_program_loses_what_it_did_not_sync(tmp_path: Path, synced: bool) -> None:
    async def work(testbed: Namespaces) -> None:
        node = testbed.nodes[0]
        done = await node.run(["python3", "-c", PROGRAM, "sync" if synced else "not"])
        assert done.stdout == "done", done
        names = {"plain", "dsync", "mapped", "renamed"}
        before = files(testbed, names)
        assert len(before["mapped"]) == 10_000 and before["mapped"][5_000:5_003] == b"new"
        await node.stop("server", kill=True)
        lost = await testbed.lose_power("n1", "drop", 1)
        there = files(testbed, names | {"temporary"})
        if synced:
            assert there == before and (lost.steps, lost.writes) == (0, 0)
        else:
            assert there == {} and lost.writes >= 4 and lost.bytes >= 40_000 and lost.steps >= 5
        assert (await testbed.lose_power("n1", "drop", 1)).writes == 0

    with_power(tmp_path, 1, work)
