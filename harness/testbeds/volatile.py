"""What a disk with a volatile cache has after power was lost: a model of files and folders, pure, without a kernel.

What the model promises is no more than Linux file systems with an ordered journal do (ext4 with its defaults, but for the
flushing of a file that is renamed over another, `noauto_da_alloc`; XFS):

* Names (create, link, rename, unlink) and lengths (truncate, allocate) are journaled in the order in which they were made: what
  survives of them is a prefix. A rename is one step. `sync` of any file or folder commits all of them so far, and by itself the
  journal is committed after `COMMITTED` seconds.
* Written data is durable once `sync` of its file has returned, or by itself after `WRITTEN_BACK` seconds. Until then any page
  may survive as it was at any moment since, whatever became of others; where one does beyond the end of the file, the file is
  as long.
* Who owns a file, its mode and its times are not modelled: they survive.

One that relies on less than this loses nothing at a power loss. One that relies on more may.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Literal

PAGE = 4096
COMMITTED = 5.0
"""Seconds after which the journal is committed, as ext4 does it."""
WRITTEN_BACK = 30.0
"""Seconds after which data is written back, as Linux does it (`dirty_expire_centisecs`)."""
_ZEROS = bytes(PAGE)

How = Literal["drop", "tear", "reorder"]
"""What becomes of all that is not durable: nothing of it survives; a prefix of it does, in the order in which it was made, and
of the write where it ends some pages; each page as it was at some moment does, and a prefix of the journal."""


WAYS: dict[str, How] = {"drop": "drop", "tear": "tear", "reorder": "reorder"}


class Inode:
    """A file, a folder (`names` is its content) or a link to a path (`target`), as it is now, and what is durable of it."""

    def __init__(self, number: int, mode: int, *, folder: bool = False, target: bytes = b"", owner: tuple[int, int] = (0, 0),
                 at: float = 0.0) -> None:
        self.number = number
        self.mode = mode
        self.owner = owner
        self.target = target
        self.names: dict[bytes, Inode] | None = {} if folder else None
        self.pages: dict[int, bytes] = {}
        self.size = 0
        self.links = 0
        self.read = self.written = self.changed = at
        self.durable_names: dict[bytes, Inode] = {}
        self.durable_pages: dict[int, bytes] = {}
        self.durable_size = 0
        self.unsynced: list[_Write] = []

    @property
    def folder(self) -> dict[bytes, Inode]:
        """What lies in it. Raises `NotADirectoryError`."""
        if self.names is None:
            raise NotADirectoryError(20, "not a folder")
        return self.names


class _Write:
    """One write that is not durable: its pieces are (page, where in it, what)."""

    def __init__(self, number: int, at: float, pieces: list[tuple[int, int, bytes]]) -> None:
        self.number = number
        self.at = at
        self.pieces = pieces


class _Step:
    """One step of the journal: names set in folders (None: taken away), or a length."""

    def __init__(self, number: int, at: float, entries: tuple[tuple[Inode, bytes, Inode | None], ...],
                 length: tuple[Inode, int] | None = None) -> None:
        self.number = number
        self.at = at
        self.entries = entries
        self.length = length


class Lost:
    """What a power loss took: steps of the journal, writes of which some page is gone, and their bytes."""

    def __init__(self) -> None:
        self.steps = self.writes = self.size = 0


class Disk:
    """Files and folders below `root`. `now` is the time in seconds, of a clock that only goes forward."""

    def __init__(self) -> None:
        self.root = Inode(1, 0o40755, folder=True)
        self.root.links = 1
        self._last = 1
        self._number = 0
        self._journal: list[_Step] = []
        self._unsynced: dict[int, Inode] = {}

    def make(self, folder: Inode, name: bytes, mode: int, now: float, *, is_folder: bool = False, target: bytes = b"",
             owner: tuple[int, int] = (0, 0)) -> Inode:
        """A new file, folder or link. Raises `FileExistsError`."""
        if name in folder.folder:
            raise FileExistsError(17, "exists")
        self._last += 1
        made = Inode(self._last, mode, folder=is_folder, target=target, owner=owner, at=now)
        self._enter(now, (folder, name, made))
        return made

    def link(self, inode: Inode, folder: Inode, name: bytes, now: float) -> None:
        """Another name. Raises `FileExistsError`."""
        if name in folder.folder:
            raise FileExistsError(17, "exists")
        self._enter(now, (folder, name, inode))

    def remove(self, folder: Inode, name: bytes, now: float) -> None:
        """Take a name away. Raises `FileNotFoundError`, and `OSError` for a folder that is not empty."""
        self._empty(self.found(folder, name))
        self._enter(now, (folder, name, None))

    def rename(self, folder: Inode, name: bytes, other: Inode, new: bytes, now: float, *, swap: bool = False) -> None:
        """In one step, over what has the new name, or in exchange for it."""
        inode, there = self.found(folder, name), other.folder.get(new)
        if swap:
            self._enter(now, (folder, name, self.found(other, new)), (other, new, inode))
        elif there is not inode:
            if there is not None:
                self._empty(there)
            self._enter(now, (folder, name, None), (other, new, inode))

    def found(self, folder: Inode, name: bytes) -> Inode:
        """What has that name. Raises `FileNotFoundError`."""
        inode = folder.folder.get(name)
        if inode is None:
            raise FileNotFoundError(2, "no such file")
        return inode

    def read(self, inode: Inode, offset: int, size: int) -> bytes:
        """What is in a file now."""
        size = min(size, inode.size - offset)
        if size <= 0:
            return b""
        first = offset // PAGE
        parts = [inode.pages.get(page, _ZEROS) for page in range(first, (offset + size - 1) // PAGE + 1)]
        return b"".join(parts)[offset - first * PAGE :][:size]

    def write(self, inode: Inode, offset: int, data: bytes, now: float) -> None:
        """Write; durable later."""
        pieces, at = [], 0
        while at < len(data):
            page, start = divmod(offset + at, PAGE)
            piece = data[at : at + PAGE - start]
            pieces.append((page, start, piece))
            at += len(piece)
        for one in pieces:
            _put(inode.pages, one)
        inode.size = max(inode.size, offset + len(data))
        inode.written = inode.changed = now
        inode.unsynced.append(_Write(self._next(), now, pieces))
        self._unsynced[inode.number] = inode

    def resize(self, inode: Inode, size: int, now: float) -> None:
        """Cut a file, or extend it with zeros."""
        if size != inode.size:
            _cut(inode.pages, inode.size, size)
            inode.size = size
            self._journal.append(_Step(self._next(), now, (), (inode, size)))
        inode.written = inode.changed = now

    def sync(self, inode: Inode) -> None:
        """All that was written to it is durable, and the whole journal."""
        for step in self._journal:
            _commit(step)
        self._journal.clear()
        for write in inode.unsynced:
            _apply(inode, write)
        self._forget(inode)

    def lose_power(self, how: How, rng: random.Random, now: float) -> Lost:
        """Only what survives is there afterwards. Every inode but the root has another number then: who remembers one by its
        number must not take it for what it was."""
        self._write_back(now)
        kept = self._survivors(how, rng)
        lost = Lost()
        unsynced = [(write.number, inode, write) for inode in self._unsynced.values() for write in inode.unsynced]
        steps: list[tuple[int, Inode | None, _Step | _Write]] = [(step.number, None, step) for step in self._journal]
        for number, inode, made in sorted([*steps, *unsynced], key=lambda one: one[0]):
            if isinstance(made, _Step):
                if number in kept:
                    _commit(made)
                else:
                    lost.steps += 1
            elif inode is not None:
                gone = [piece for at, piece in enumerate(made.pieces) if at not in kept.get(number, ())]
                lost.writes += bool(gone)
                lost.size += sum(len(piece[2]) for piece in gone)
                made.pieces = [piece for at, piece in enumerate(made.pieces) if at in kept.get(number, ())]
                _apply(inode, made)
        self._journal.clear()
        self._unsynced.clear()
        self._restart()
        return lost

    def inodes(self) -> Iterator[Inode]:
        """All that can be reached, the root first."""
        seen, todo = {self.root.number}, [self.root]
        while todo:
            inode = todo.pop()
            yield inode
            for other in (inode.names or {}).values():
                if other.number not in seen:
                    seen.add(other.number)
                    todo.append(other)

    def _survivors(self, how: How, rng: random.Random) -> dict[int, set[int]]:
        """Number of a step or write → which pieces of it survive."""
        writes = {write.number: len(write.pieces) for inode in self._unsynced.values() for write in inode.unsynced}
        steps = [step.number for step in self._journal]
        if how == "drop":
            return {}
        if how == "reorder":
            kept: dict[int, set[int]] = {number: set() for number in (*writes, *steps[: rng.randint(0, len(steps))])}
            for _, pieces in sorted(self._by_page().items()):
                for number, at in pieces[: rng.randint(0, len(pieces))]:
                    kept[number].add(at)
            return kept
        order = sorted([*writes, *steps])
        ends = rng.randint(0, len(order))
        kept = {number: set(range(writes.get(number, 0))) for number in order[:ends]}
        if ends < len(order) and writes.get(order[ends], 0) > 1:
            count = writes[order[ends]]
            kept[order[ends]] = set(rng.sample(range(count), rng.randrange(count)))
        return kept

    def _by_page(self) -> dict[tuple[int, int], list[tuple[int, int]]]:
        """(Inode, page) → the pieces that were written to it, in their order, as (write, place): a page on a disk is what it
        was at some moment."""
        pages: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for inode in self._unsynced.values():
            for write in inode.unsynced:
                for at, (page, _, _) in enumerate(write.pieces):
                    pages.setdefault((inode.number, page), []).append((write.number, at))
        return pages

    def _write_back(self, now: float) -> None:
        while self._journal and self._journal[0].at <= now - COMMITTED:
            _commit(self._journal.pop(0))
        for inode in list(self._unsynced.values()):
            old = [write for write in inode.unsynced if write.at <= now - WRITTEN_BACK]
            for write in old:
                _apply(inode, write)
            inode.unsynced = inode.unsynced[len(old) :]

    def _restart(self) -> None:
        found: dict[int, Inode] = {}
        todo = [self.root]
        while todo:
            inode = todo.pop()
            if inode.number in found:
                inode.links += 1
                continue
            found[inode.number] = inode
            inode.links = 1
            inode.unsynced = []
            inode.pages, inode.size = dict(inode.durable_pages), inode.durable_size
            if inode.names is not None:
                inode.names = dict(inode.durable_names)
                todo.extend(inode.names.values())
        for inode in found.values():
            if inode is not self.root:
                self._last += 1
                inode.number = self._last

    def _enter(self, now: float, *entries: tuple[Inode, bytes, Inode | None]) -> None:
        for folder, name, inode in entries:
            before = folder.folder.pop(name, None)
            if before is not None:
                before.links -= 1
                before.changed = now
            if inode is not None:
                folder.folder[name] = inode
                inode.links += 1
                inode.changed = now
            folder.written = folder.changed = now
        self._journal.append(_Step(self._next(), now, entries))

    def _forget(self, inode: Inode) -> None:
        inode.unsynced = []
        self._unsynced.pop(inode.number, None)

    def _next(self) -> int:
        self._number += 1
        return self._number

    @staticmethod
    def _empty(inode: Inode) -> None:
        if inode.names:
            raise OSError(39, "not empty")


def _put(pages: dict[int, bytes], piece: tuple[int, int, bytes]) -> None:
    page, start, data = piece
    if len(data) == PAGE:
        pages[page] = data
    else:
        before = pages.get(page, _ZEROS)
        pages[page] = before[:start] + data + before[start + len(data) :]


def _cut(pages: dict[int, bytes], before: int, size: int) -> None:
    """What lies beyond the new end is gone: zeros, where the file grows again."""
    if size >= before:
        return
    last, rest = divmod(size, PAGE)
    for page in [page for page in pages if page > last or (page == last and not rest)]:
        del pages[page]
    if rest and last in pages:
        pages[last] = pages[last][:rest] + bytes(PAGE - rest)


def _apply(inode: Inode, write: _Write) -> None:
    for page, start, data in write.pieces:
        _put(inode.durable_pages, (page, start, data))
        inode.durable_size = max(inode.durable_size, page * PAGE + start + len(data))


def _commit(step: _Step) -> None:
    for folder, name, inode in step.entries:
        if inode is None:
            folder.durable_names.pop(name, None)
        else:
            folder.durable_names[name] = inode
    if step.length is not None:
        inode, size = step.length
        _cut(inode.durable_pages, inode.durable_size, size)
        inode.durable_size = size
        for write in inode.unsynced:
            if write.number > step.number:
                break
            write.pieces = [(page, start, data[: size - page * PAGE - start]) for page, start, data in write.pieces
                            if page * PAGE + start < size]
