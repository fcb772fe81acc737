"""A place that ends with the process that made it: namespaces of its own for network, processes, mounts, host name.

Four processes, so that nothing can be left over whichever of them is killed:

* the *outer* process, which a person started; it waits, and hands on the signals it gets;
* the *middle* one, which enters the new namespaces (a process cannot enter a pid namespace, only its children can);
* the *init*, PID 1 of the new pid namespace: when it ends, the kernel kills every process in it, and with the last of
  them go its network, its firewall rules and its mounts. It reaps orphans and starts what it is asked to (spawner.py);
* the *inner* one, which does the work; when it ends, the init ends.

The middle one dies with the outer one and the init with the middle one (`PR_SET_PDEATHSIG`).
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from splitbrain.harness.errors import CRASHED, INTERRUPTED, SetupError, SplitbrainError
from splitbrain.harness.testbeds import kernel
from splitbrain.harness.testbeds.spawner import serve

Work = Callable[[socket.socket], int]
Handlers = dict[signal.Signals, Callable[[int, FrameType | None], Any] | int]

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_NAMESPACES = kernel.CLONE_NEWNET | kernel.CLONE_NEWNS | kernel.CLONE_NEWUTS | kernel.CLONE_NEWIPC | kernel.CLONE_NEWPID


def enter(work: Work, *, as_root: bool = False) -> int:
    """Call `work` in new namespaces and return what it returns, 128 + N where signal N ended it.

    `work` gets a socket to the init, for `spawner.Channel`. It sees an empty /run and its own /proc, is root there (outside
    it stays who it was, and so do the files it writes), and has a session of its own: a signal that reaches the outer
    process, from the terminal or from `kill`, reaches it exactly once. What it raises is printed and gives 70; a
    `SplitbrainError` is printed as its one sentence and gives its own exit code, Ctrl-C gives 130.

    An ordinary user needs user namespaces; root does without where they are forbidden, or `as_root`, for programs that change
    who they are. To be called from the main thread, with no event loop running. Raises `SetupError` with the mend where the
    kernel refuses.
    """
    refusal = _Refusal("")
    for user in (False,) if as_root else (True, False) if os.geteuid() == 0 else (True,):
        try:
            return _enter(work, user=user)
        except _Refusal as error:
            refusal = error
    raise SetupError(f"this process cannot make namespaces ({refusal}): {mend()}")


def mend() -> str:
    """What lets this user make namespaces on this machine, as far as the machine tells."""
    if _sysctl("kernel/unprivileged_userns_clone") == "0":
        return "run `sudo sysctl -w kernel.unprivileged_userns_clone=1`, or splitbrain as root."
    if _sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1":
        return "run `sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, or splitbrain as root."
    if _sysctl("user/max_user_namespaces") == "0":
        return "run `sudo sysctl -w user.max_user_namespaces=15000`, or splitbrain as root."
    return "run splitbrain as root; in a container, give it the capability SYS_ADMIN and an unmasked /proc."


def _sysctl(name: str) -> str:
    path = Path("/proc/sys", name)
    return path.read_text().strip() if path.exists() else ""


class _Refusal(Exception):
    pass


def _enter(work: Work, *, user: bool) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    outer = os.getpid()
    control_read, control_write = os.pipe()
    report_read, report_write = os.pipe()
    handlers = {number: signal.getsignal(number) or signal.SIG_DFL for number in _FORWARDED}

    def forward(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(BrokenPipeError):  # the work has ended
            os.write(control_write, bytes([number]))

    # No signal may fall between the fork and the moment when each process knows what to do with it.
    signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)
    try:
        middle = os.fork()
        if middle == 0:
            try:
                os.close(control_write)
                os.close(report_read)
                _middle(work, user, outer, control_read, report_write, handlers)
            finally:
                os._exit(CRASHED)
        os.close(control_read)
        os.close(report_write)
        for number, handler in handlers.items():
            if handler is not signal.SIG_IGN:  # nohup ignores SIGHUP
                signal.signal(number, forward)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
        with open(report_read, encoding="utf-8") as report:  # noqa: PTH123
            refusal = report.read()
        _, status = os.waitpid(middle, 0)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
        os.close(control_write)
    if refusal:
        raise _Refusal(refusal)
    return exit_code(status)


def exit_code(status: int) -> int:
    """The exit code of a wait status, 128 + N where signal N ended the process."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _middle(
    work: Work, user: bool, outer: int, control: int, report: int, handlers: Handlers
) -> NoReturn:
    for number in _FORWARDED:
        signal.signal(number, signal.SIG_IGN)
    gc.disable()
    uid, gid = os.geteuid(), os.getegid()
    try:
        kernel.unshare(_NAMESPACES | (kernel.CLONE_NEWUSER if user else 0))
        if user:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
            Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
        # A change of identity clears this, so it comes after.
        kernel.die_with_parent()
        if os.getppid() != outer:
            os._exit(CRASHED)
    except OSError as error:
        os.write(report, kernel.reason(error).encode())
        os._exit(CRASHED)
    alive_read, alive_write = os.pipe()
    init = os.fork()
    if init == 0:
        try:
            os.close(alive_write)
            _init(work, alive_read, control, report, handlers)
        finally:
            os._exit(CRASHED)
    os.close(control)
    os.close(report)
    os.close(alive_read)
    _, status = os.waitpid(init, 0)
    os._exit(exit_code(status))


def _init(work: Work, alive: int, control: int, report: int, handlers: Handlers) -> NoReturn:
    try:
        kernel.die_with_parent()
        # The parent is in another pid namespace, where getppid() cannot see it: a pipe tells whether it still lives.
        if select.select([alive], [], [], 0)[0]:
            os._exit(CRASHED)
        os.close(alive)
        os.setsid()
        for number in _FORWARDED:
            # PID 1 is immune to a signal with the default action; ignored ones would be inherited by the servers.
            signal.signal(number, signal.SIG_DFL)
        kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
        kernel.own_mounts()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    except OSError as error:
        os.write(report, kernel.reason(error).encode())
        os._exit(CRASHED)
    os.close(report)
    inner = os.fork()
    if inner == 0:
        code = CRASHED
        try:
            os.close(control)
            ours.close()
            code = _inner(work, theirs, handlers)
        finally:
            os._exit(code)
    theirs.close()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
    os._exit(exit_code(serve(ours, child=inner, control=control)))


def _inner(work: Work, init: socket.socket, handlers: Handlers) -> int:
    os.setsid()
    gc.enable()
    for number, handler in handlers.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
    kernel.many_descriptors()
    try:
        code = work(init)
    except SplitbrainError as error:
        sys.stderr.write(f"splitbrain: {error}\n")
        code = error.exit_code
    except KeyboardInterrupt:
        code = INTERRUPTED
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else CRASHED if error.code else 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = CRASHED
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # the terminal is gone: the exit code still counts
            stream.flush()
    return code
