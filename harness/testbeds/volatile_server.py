"""Serves a `volatile.Disk` to the kernel by FUSE: what is written to the mount is lost with the power, but for what was synced.

It speaks the kernel's own protocol (`linux/fuse.h`, version 7.31), so that neither libfuse nor `fusermount` is needed. Nothing
is cached by the kernel beyond an open file, and every write comes here at once; what is written through a shared mapping comes
with `msync`, `fsync`, or when the mapping ends, with its process at the latest.

Started with two descriptors' numbers: of the mount (/dev/fuse), and of a socket (`SOCK_SEQPACKET`) over which it is told, in
JSON, to lose power (`{"lose": "drop", "seed": 7}`) or to be slow (`{"delay": 0.2}`, seconds before a sync is done). It ends
with either.
"""

from __future__ import annotations

import errno
import heapq
import json
import os
import random
import select
import socket
import stat
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable

from splitbrain.harness.testbeds.volatile import PAGE, WAYS, Disk, Inode

_MOST = 1 << 20
_HEADER = struct.Struct("<IIQQIIIHH")
_REPLY = struct.Struct("<IiQ")
_ATTRIBUTES = struct.Struct("<QQQQQQIIIIIIIIII")
_ENTRY = struct.Struct("<QQQQII")
_SETATTR = struct.Struct("<IIQQQQQQIIIIIIII")
_STATISTICS = struct.Struct("<QQQQQIIII24x")
_ROOM = 1 << 30
_O_SYNC = os.O_DSYNC | os.O_SYNC
_MODE, _UID, _GID, _SIZE, _ATIME, _MTIME, _ATIME_NOW, _MTIME_NOW, _CTIME = (1 << bit for bit in (0, 1, 2, 3, 4, 5, 7, 8, 10))
_ASYNC_READ, _BIG_WRITES, _PARALLEL, _MAX_PAGES = 1, 1 << 5, 1 << 18, 1 << 22


class Server:
    """One mount. `pending` are syncs that are being slow: (since when, number of the request, inode)."""

    def __init__(self, fuse: int) -> None:
        self.disk = Disk()
        self._fuse = fuse
        self._inodes: dict[int, Inode] = {1: self.disk.root}
        self._known: Counter[int] = Counter()
        self._delay = 0.0
        self._pending: list[tuple[float, int, int]] = []
        self._owner = (0, 0)
        self._buffer = bytearray(_MOST + 8192)
        self._view = memoryview(self._buffer)
        self._handlers: dict[int, Callable[[int, Inode, memoryview], bytes | None]] = {
            1: self._lookup, 3: self._getattr, 4: self._setattr, 5: self._readlink, 6: self._symlink, 8: self._mknod,
            9: self._mkdir, 10: self._remove, 11: self._remove, 12: self._rename, 13: self._link, 14: self._open,
            15: self._read, 16: self._write, 17: self._statistics, 18: self._nothing, 20: self._sync, 25: self._nothing,
            27: self._open, 28: self._list, 29: self._nothing, 30: self._sync, 35: self._create, 43: self._allocate,
            45: self._rename_how,
        }

    def serve(self, control: socket.socket) -> None:
        """Until the mount is gone, or whoever holds the other end of `control`."""
        os.set_blocking(self._fuse, False)
        poll = select.poll()
        poll.register(self._fuse, select.POLLIN)
        poll.register(control, select.POLLIN)
        while True:
            wait = max(0.0, self._pending[0][0] + self._delay - time.monotonic()) * 1000 if self._pending else None
            for ready, _ in poll.poll(wait):
                if ready == control.fileno():
                    told = control.recv(4096)
                    if not told:
                        return
                    control.send(json.dumps(self.told(json.loads(told))).encode())
                elif not self._requests():
                    return
            while self._pending and self._pending[0][0] + self._delay <= time.monotonic():
                _, unique, number = heapq.heappop(self._pending)
                if number in self._inodes:
                    self.disk.sync(self._inodes[number])
                self._answer(unique, 0 if number in self._inodes else -errno.ESTALE)

    def told(self, message: dict[str, float | str]) -> dict[str, int]:
        """Lose power, or be slow. The processes that had files open have ended: what they wrote through mappings has come."""
        if "delay" in message:
            self._delay = float(message["delay"])
            return {}
        while self._pending:
            self._answer(heapq.heappop(self._pending)[1], -errno.EIO)
        lost = self.disk.lose_power(WAYS[str(message["lose"])], random.Random(int(message["seed"])), time.time())
        self._inodes = {inode.number: inode for inode in self.disk.inodes()}
        self._known.clear()
        return {"steps": lost.steps, "writes": lost.writes, "bytes": lost.size}

    def _requests(self) -> bool:
        """All that have come; False where the mount is gone."""
        while True:
            try:
                size = os.readv(self._fuse, [self._buffer])
            except BlockingIOError:
                return True
            except (InterruptedError, FileNotFoundError):  # one that was taken back
                continue
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return False
                raise
            _, code, unique, number, uid, gid, *_ = _HEADER.unpack_from(self._buffer)
            body = self._view[_HEADER.size : size]
            if code == 38:
                return False
            self._request(code, unique, number, body, (uid, gid))

    def _request(self, code: int, unique: int, number: int, body: memoryview, owner: tuple[int, int]) -> None:
        if code in (2, 42):
            self._forgotten(number, body, many=code == 42)
        elif code == 36:  # taken back: what was asked is answered all the same
            return
        elif code == 26:
            self._begin(unique, body)
        elif code not in self._handlers:
            self._answer(unique, -errno.ENOSYS)
        elif number not in self._inodes:
            self._answer(unique, -errno.ESTALE)
        else:
            self._owner = owner
            try:
                payload = self._handlers[code](unique, self._inodes[number], body)
            except OSError as error:
                self._answer(unique, -(error.errno or errno.EIO))
            else:
                if payload is not None:
                    self._answer(unique, 0, payload)

    def _answer(self, unique: int, error: int, payload: bytes = b"") -> None:
        try:
            os.writev(self._fuse, [_REPLY.pack(_REPLY.size + len(payload), error, unique), payload])
        except FileNotFoundError:  # whoever asked was killed meanwhile
            return

    def _begin(self, unique: int, body: memoryview) -> None:
        major, _, readahead, flags = struct.unpack_from("<IIII", body)
        flags &= _ASYNC_READ | _BIG_WRITES | _PARALLEL | _MAX_PAGES
        pages = _MOST // PAGE
        self._answer(unique, 0, struct.pack("<IIIIHHIIHHI28x", major, 31, readahead, flags, 64, 48, _MOST, 1, pages, 0, 0))

    # --- what the kernel remembers

    def _forgotten(self, number: int, body: memoryview, *, many: bool) -> None:
        told = [(number, struct.unpack_from("<Q", body)[0])]
        if many:
            count = struct.unpack_from("<I", body)[0]
            told = [struct.unpack_from("<QQ", body, 8 + 16 * at) for at in range(count)]
        for one, times in told:
            self._known[one] -= times
            if self._known[one] <= 0:
                del self._known[one]
                if one in self._inodes and not self._inodes[one].links:
                    del self._inodes[one]

    def _entry(self, inode: Inode) -> bytes:
        self._inodes[inode.number] = inode
        self._known[inode.number] += 1
        return _ENTRY.pack(inode.number, 0, 0, 0, 0, 0) + _attributes(inode)

    # --- names

    def _lookup(self, unique: int, inode: Inode, body: memoryview) -> bytes:
        return self._entry(self.disk.found(inode, _names(body)[0]))

    def _mknod(self, unique: int, inode: Inode, body: memoryview) -> bytes:
        mode, _, mask = struct.unpack_from("<III", body)
        return self._entry(self.disk.make(inode, _names(body[16:])[0], mode & ~mask, time.time(), owner=self._owner))

    def _mkdir(self, unique: int, inode: Inode, body: memoryview) -> bytes:
        mode, mask = struct.unpack_from("<II", body)
        made = self.disk.make(inode, _names(body[8:])[0], stat.S_IFDIR | (mode & ~mask), time.time(), is_folder=True,
                              owner=self._owner)
        return self._entry(made)

    def _symlink(self, unique: int, inode: Inode, body: memoryview) -> bytes:
        name, target = _names(body)
        return self._entry(self.disk.make(inode, name, stat.S_IFLNK | 0o777, time.time(), target=target, owner=self._owner))

    def _create(self, unique: int, inode: Inode, body: memoryview) -> bytes:
        _, mode, mask = struct.unpack_from("<III", body)
        kind = stat.S_IFREG | (mode & ~mask & 0o7777)
        made = self.disk.make(inode, _names(body[16:])[0], kind, time.time(), owner=self._owner)
        return self._entry(made) + bytes(16)

    def _link(self, unique: int, inode: Inode, body: memoryview) -> bytes:
        linked = self._inodes[struct.unpack_from("<Q", body)[0]]
        self.disk.link(linked, inode, _names(body[8:])[0], time.time())
        return self._entry(linked)

    def _remove(self, unique: int, inode: Inode, body: memoryview) -> bytes:
        name = _names(body)[0]
        removed = self.disk.found(inode, name)
        self.disk.remove(inode, name, time.time())
        if not removed.links and removed.number not in self._known:
            self._inodes.pop(removed.number, None)
        return b""

    def _rename(self, unique: int, inode: Inode, body: memoryview, skip: int = 8, how: int = 0) -> bytes:
        other = self._inodes[struct.unpack_from("<Q", body)[0]]
        name, new = _names(body[skip:])
        if how & 1 and new in other.folder:
            raise FileExistsError(errno.EEXIST, "exists")
        self.disk.rename(inode, name, other, new, time.time(), swap=bool(how & 2))
        return b""

    def _rename_how(self, unique: int, inode: Inode, body: memoryview) -> bytes:
        return self._rename(unique, inode, body, 16, struct.unpack_from("<QI", body)[1])

    def _list(self, unique: int, inode: Inode, body: memoryview) -> bytes:
        _, offset, most = struct.unpack_from("<QQI", body)
        listed = [(b".", inode), (b"..", inode), *inode.folder.items()]
        told = bytearray()
        for at, (name, one) in enumerate(listed[offset:], offset + 1):
            entry = struct.pack("<QQII", one.number, at, len(name), one.mode >> 12) + name
            entry += bytes(-len(entry) % 8)
            if len(told) + len(entry) > most:
                break
            told += entry
        return bytes(told)

    # --- files

    def _open(self, unique: int, inode: Inode, body: memoryview) -> bytes:
        return bytes(16)

    def _nothing(self, unique: int, inode: Inode, body: memoryview) -> bytes:
        return b""

    def _getattr(self, unique: int, inode: Inode, body: memoryview) -> bytes:
        return bytes(16) + _attributes(inode)

    def _setattr(self, unique: int, inode: Inode, body: memoryview) -> bytes:
        valid, _, _, size, _, *times, ans, mns, cns, mode, _, uid, gid, _ = _SETATTR.unpack_from(body)
        read, written, changed = (one + part / 1e9 for one, part in zip(times, (ans, mns, cns)))  # noqa: B905
        now = time.time()
        if valid & _SIZE:
            self._room_for(size - inode.size)
            self.disk.resize(inode, size, now)
        if valid & _MODE:
            inode.mode = stat.S_IFMT(inode.mode) | stat.S_IMODE(mode)
        inode.owner = (uid if valid & _UID else inode.owner[0], gid if valid & _GID else inode.owner[1])
        if valid & _ATIME:
            inode.read = now if valid & _ATIME_NOW else read
        if valid & _MTIME:
            inode.written = now if valid & _MTIME_NOW else written
        inode.changed = changed if valid & _CTIME else now
        return bytes(16) + _attributes(inode)

    def _readlink(self, unique: int, inode: Inode, body: memoryview) -> bytes:
        return inode.target

    def _read(self, unique: int, inode: Inode, body: memoryview) -> bytes:
        _, offset, size = struct.unpack_from("<QQI", body)
        return self.disk.read(inode, offset, size)

    def _write(self, unique: int, inode: Inode, body: memoryview) -> bytes | None:
        _, offset, size, _, _, flags = struct.unpack_from("<QQIIQI", body)
        self._room_for(offset + size - inode.size)
        self.disk.write(inode, offset, bytes(body[40 : 40 + size]), time.time())
        if flags & _O_SYNC:
            self.disk.sync(inode)
        return struct.pack("<II", size, 0)

    def _sync(self, unique: int, inode: Inode, body: memoryview) -> bytes | None:
        if self._delay:
            heapq.heappush(self._pending, (time.monotonic(), unique, inode.number))
            return None
        self.disk.sync(inode)
        return b""

    def _allocate(self, unique: int, inode: Inode, body: memoryview) -> bytes:
        _, offset, length, mode = struct.unpack_from("<QQQI", body)
        if mode & ~1:
            raise OSError(errno.EOPNOTSUPP, "not supported")
        if not mode and offset + length > inode.size:
            self.disk.resize(inode, offset + length, time.time())
        return b""

    def _room_for(self, more: int) -> None:
        if more > 1 << 40:
            raise OSError(errno.EFBIG, "too large")

    def _statistics(self, unique: int, inode: Inode, body: memoryview) -> bytes:
        free = _ROOM // PAGE
        return _STATISTICS.pack(2 * free, free, free, 1 << 20, 1 << 19, PAGE, 255, PAGE, 0)


def _names(body: memoryview) -> list[bytes]:
    return bytes(body).split(b"\0")[:-1]


def _attributes(inode: Inode) -> bytes:
    times = [divmod(round(one * 1e9), 1_000_000_000) for one in (inode.read, inode.written, inode.changed)]
    size = len(inode.target) or inode.size
    return _ATTRIBUTES.pack(inode.number, size, 8 * len(inode.pages), *(seconds for seconds, _ in times),
                            *(part for _, part in times), inode.mode, inode.links, *inode.owner, 0, PAGE, 0)


if __name__ == "__main__":
    Server(int(sys.argv[1])).serve(socket.socket(fileno=int(sys.argv[2])))
