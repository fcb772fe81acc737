"""The few Linux calls that Python 3.11 lacks. Every one raises `OSError` where the kernel refuses."""

from __future__ import annotations

import ctypes
import os
import resource
import signal

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19

_MNT_DETACH = 2
_PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)


def unshare(flags: int) -> None:
    """Leave the namespaces that `flags` name for new ones. The process must have one thread."""
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def setns(descriptor: int, kind: int) -> None:
    """Enter the namespace of that descriptor, which is of that kind; for a network namespace, this thread alone."""
    _check(_libc.setns(ctypes.c_int(descriptor), ctypes.c_int(kind)), "setns")


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    """Mount a file system (`kind`, empty for a bind mount) on `target`."""
    _check(_libc.mount(source.encode(), target.encode(), kind.encode(), flags, data.encode()), f"mount on {target}")


def unmount(target: str) -> None:
    """Take away the file system on `target`, from this process' view at once, altogether when nobody uses it any more."""
    _check(_libc.umount2(target.encode(), ctypes.c_int(_MNT_DETACH)), f"unmount {target}")


def own_mounts() -> None:
    """In mount and pid namespaces just made: their own /proc, and an empty /run (iptables keeps its lock there)."""
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")


def many_descriptors() -> None:
    """Let this process have more descriptors than the usual 1024: standing connections between many nodes take them."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536) if hard != resource.RLIM_INFINITY else 65536, hard))


def die_with_parent() -> None:
    """Have this process killed when the thread that forked it ends. Whoever calls this looks afterwards whether that has
    happened already."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")


def reason(error: OSError) -> str:
    """What the kernel said, for a person: no number, the file first where one was meant."""
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)


def _check(result: int, what: str) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")
