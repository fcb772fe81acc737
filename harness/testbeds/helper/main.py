"""The helper: requests and replies are JSON, a line each, on the standard input and output, so that nothing that a person or a
database names ever passes through a shell.

Beside it runs its *guard* (guard.py), a process in a session of its own. It is told what will have to be put back before it is
done, and it hears every sign of life of the controller. When the helper ends, however it ends, or when the controller has been
silent for too long, the guard lifts our chains, has go on what stands still, and starts what was running before.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from splitbrain.harness.testbeds import clocks, families
from splitbrain.harness.testbeds.helper import disks, rules
from splitbrain.harness.testbeds.helper.guard import end_all, guard, note, put_back, started
from splitbrain.harness.testbeds.helper.links import Shaper, refusal
from splitbrain.harness.testbeds.helper.machine import (
    RUN,
    SEARCH,
    boot,
    connection,
    is_same,
    listener,
    lives,
    start_time,
    which,
)
from splitbrain.harness.testbeds.helper.probes import Probes
from splitbrain.harness.testbeds.helper.wall import Wall

TICK = 0.05
GRACE = 2.0
MOST_LOG = 8 << 20

_AT_ONCE = ("separate", "beat", "listen", "part", "stand", "aim", "probe", "hush", "collect", "tune", "arrivals")
"""Requests that are done in the order in which they come; any other has a thread of its own."""
_LATER = ("stand", "hush", "collect")
"""Those of them that are answered later."""


class Service:
    """A server that was started here, or that was here (`process` is None) and listens on `port`; until it does it is the
    process `first`, where that is known."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.process: Any = None
        self.mark = ""
        self.stopped = False
        self.log = Path()
        self.offset = 0
        self.port = 0
        self.first = (0, "")
        self.pid = 0
        self.awaited = False
        self.start: list[str] = []


class Helper:
    """Does what comes in on the standard input."""

    def __init__(self) -> None:
        self.services: dict[str, Service] = {}
        self.run = ""
        self.folder = Path()
        self.state: Any = {"boot": boot(), "started": {}, "paused": {}, "skewed": {}, "ended": {}, "servers": {}, "down": []}
        self.guard = -1
        self.armed: dict[str, Any] = {}
        self.writing = threading.Lock()
        self.changing = threading.RLock()
        self.telling = threading.Lock()
        self.logging = threading.Lock()
        self.shaping = threading.Lock()
        self.acting = threading.Lock()
        self.shaper: Any = None
        self.disk: Any = None
        self.outside = -1
        self.gates: Any = ()
        self.avoided: Any = ()
        self.poll = select.poll()
        self.readers: dict[int, Any] = {}
        self.probes = Probes(self)
        self.wall = Wall(self)
        self.logged = 0.0

    def serve(self) -> None:
        """Until the controller hangs up."""
        wake, waker = os.pipe()
        for descriptor in (wake, waker):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self.poll.register(0, select.POLLIN)
        self.poll.register(wake, select.POLLIN)
        rest = b""
        while True:
            for descriptor, _ in self.poll.poll(TICK * 1000):
                if descriptor == wake:
                    os.read(wake, 4096)
                elif descriptor == 0:
                    data = os.read(0, 1 << 16)
                    if not data:
                        return
                    *lines, rest = (rest + data).split(b"\n")
                    for line in lines:
                        self.take(json.loads(line))
                elif descriptor in self.readers:
                    self.readers[descriptor](descriptor)
            self.probes.tick()
            self.look()

    def say(self, **message: Any) -> None:
        line = json.dumps(message).encode() + b"\n"
        with self.writing:
            while line:
                line = line[os.write(1, line):]

    def take(self, request: Any) -> None:
        if request["op"] in _AT_ONCE:
            self.answer(request)
        else:
            threading.Thread(target=self.answer, args=(request,), daemon=True).start()

    def answer(self, request: Any) -> None:
        hidden = ("op",) if request["op"] in _LATER else ("op", "id")
        fields = {name: value for name, value in request.items() if name not in hidden}
        try:
            reply = getattr(self, f"do_{request['op']}")(**fields)
        except OSError as error:
            told = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)
            self.say(id=request["id"], error=told)
        except Exception as error:
            self.say(id=request["id"], error=f"{type(error).__name__}: {error}")
        else:
            if reply is not None:
                self.pump()
                self.say(id=request["id"], **reply)
            if request["op"] == "leave":
                os._exit(0)

    def keep(self) -> None:
        """Tell the guard, and the disk, what will have to be put back."""
        with self.changing:
            if self.folder != Path():
                note(self.folder, self.state)
            self.tell_guard(self.state)

    def tell_guard(self, *states: Any) -> None:
        """The state, or nothing but that the controller lives."""
        data = b"".join(json.dumps(state).encode() for state in states) + b"\n"
        with self.telling:  # what is longer than a pipe takes at once is not to be cut in two by a sign of life
            while data:
                data = data[os.write(self.guard, data):]

    # --- requests

    def do_beat(self) -> Any:
        if self.guard >= 0:
            self.tell_guard()
        return {"now": time.monotonic_ns()}

    def do_look(self, programs: Any, folder: str, address: str) -> Any:
        """What there is on this machine; changes nothing."""
        place = Path(folder)
        while not place.exists():
            place = place.parent
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            try:
                one.bind((address, 0))
                here = True
            except OSError:
                here = False
        left = sorted(entry.parent.name for entry in Path(folder).glob("*/owner")) if os.access(folder, os.R_OK) else []
        return {
            "uid": os.getuid(), "connection": connection(), "kernel": os.uname().release,
            "programs": {name: which(path) or "" for name, path in programs.items()},
            "writable": os.access(place, os.W_OK), "left": left, "chains": rules.left(),
            "here": here, "boot": boot(),
        }

    def do_refusal(self, source: str, text: str) -> Any:
        """Why links cannot be impaired here; changes nothing."""
        return {"why": refusal(source, text)}

    def do_clock(self) -> Any:
        """Why the clock of a process cannot be put wrong here: tried with one that does nothing."""
        why = clocks.refusal()
        if not why:
            tried = subprocess.Popen(["sleep", "60"], stdin=subprocess.DEVNULL, start_new_session=True)
            try:
                clocks.skew_family(tried.pid, "try", 1_000_000_000, paused=True)
            except OSError as error:
                why = f"{error.strerror}."
            finally:
                tried.kill()
                tried.wait()
        return {"why": why}

    def do_disk(self, kind: str, source: str) -> Any:
        """Why a data folder cannot have a disk of that kind of its own here; changes nothing."""
        return {"why": disks.refusal(kind, source)}

    def do_separate(self) -> Any:
        """From now on see mounts that nobody else sees: before `begin`, which makes one. Done by the first thread, of which all
        others come."""
        self.outside = disks.separate()
        return {}

    def do_begin(
        self, run: str, owner: str, folder: str, gates: Any, node: str, patience: float, disk: str, source: str
    ) -> Any:
        """Take this machine for a run: its folder, with a `disk` of its own where one is named, which the program `source` may
        serve; its guard, its gate. `gates` are the controller's addresses with its port here, which are let through before
        anything else."""
        base = Path(folder)
        base.mkdir(parents=True, exist_ok=True)
        lock = os.open(str(base), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # held until helper and guard have ended
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            names = " ".join(entry.parent.name for entry in base.glob("*/owner"))
            raise OSError(0, f"another run of splitbrain is at work here ({names or 'no name'})") from error
        if left := rules.left():
            raise OSError(0, f"rules of a run that was killed are still here; `splitbrain clean` lifts them: {left[0]}")
        (base / run / node).mkdir(parents=True)
        self.run, self.folder = run, base / run
        (self.folder / "owner").write_text(owner)
        if disk == "memory":
            self.disk = disks.MemoryDisk(self.folder / node)
        elif disk:
            self.disk = disks.VolatileDisk(self.folder / node, source, run, str(self.folder / "disk.log"), self.outside)
        read, self.guard = os.pipe()
        helper = os.getpid()
        if os.fork() == 0:
            os.close(self.guard)
            guard(read, helper, self.folder, run, patience, self.disk)
        os.close(read)
        self.gates = gates
        self.keep()
        self.arm("iptables")
        try:
            rules.gate(run, "filter", gates)
        except OSError:
            self.do_leave(keep=False)
            raise
        return {"folder": str(self.folder / node)}

    def do_impair(self, source: str, own: int, nodes: int, first: int, links: Any) -> Any:
        """What happens from now on to packets of other nodes, once rules have them go through queues; all of it."""
        with self.shaping:
            if self.shaper is None:
                log = str(self.folder / f"shaper-{own}.log")
                shaper = Shaper(source, own, nodes, first, self.run, log)
                try:
                    rules.gate(self.run, "mangle", self.gates)
                except OSError:
                    shaper.close()
                    raise
                self.shaper = shaper
            self.shaper.tell(links)
        return {}

    def do_restore(self, texts: Any) -> Any:
        """Put rules in force, both firewalls at once; when the last of them was."""
        problems = []
        running = [(program, self.arm(program), text) for program, text in texts.items()]
        self.armed.clear()
        for _, process, text in running:
            process.stdin.write(text)
            process.stdin.close()
        for program, process, _ in running:
            said = process.stdout.read()
            if process.wait() != 0:
                problems.append(f"{program}: {' '.join(said.split())}")
            process.stdout.close()
        at = time.monotonic_ns()
        if problems:
            raise OSError(0, "; ".join(problems))
        threading.Timer(TICK, lambda: [self.arm(program) for program in texts]).start()
        return {"at": at}

    def do_avoid(self, addresses: Any) -> Any:
        """Lose what is sent from here to these addresses; with none, nothing any more."""
        rules.avoid(self.run, addresses, self.avoided)
        self.avoided = addresses
        return {}

    def arm(self, program: str) -> Any:
        """An iptables-restore that is loaded and waits for its text: what it takes to start one is not between the nodes."""
        with self.changing:
            process = self.armed.get(program)
            if process is None or process.poll() is not None:
                process = self.armed[program] = subprocess.Popen(
                    [which(f"{program}-restore") or program, "--noflush", rules.WAIT], stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                )
            return process

    def do_start(self, name: str, argv: Any, env: Any, files: Any, node: str) -> Any:
        """Start a server in a session of its own."""
        folder = self.folder / node
        service = Service(name)
        service.mark = f"{self.run}/{name}"
        for path, content in files.items():
            place = folder / path
            if folder not in place.resolve().parents:
                raise OSError(0, f"{path}: lies outside the node's folder")
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("w") as file:  # A person's files were on the disk long before the power went.
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        program = which(argv[0]) if os.sep not in argv[0] else argv[0]
        if argv[0] == "python3":
            program = sys.executable
        if program is None:
            raise OSError(0, f"the program {argv[0]} is neither in PATH nor in a usual folder")
        service.log = self.folder / f"{name}.log"
        with self.logging:
            before = self.services.pop(name, None)
            service.offset = before.offset if before is not None else 0
        kept = {key: os.environ[key] for key in ("LANG", "LC_ALL", "JAVA_HOME") if key in os.environ}
        environment = {
            "PATH": os.pathsep.join(SEARCH), "TZ": "UTC", **kept, "HOME": str(folder), "TMPDIR": str(folder), RUN: self.run,
            **env, families.SERVICE: service.mark,
        }
        server = {"argv": [program, *argv[1:]], "env": environment, "cwd": str(folder), "log": str(service.log)}
        service.process = started(server)
        self.services[name] = service
        with self.changing:
            self.state["servers"][name] = server
            self.state["down"] = [one for one in self.state["down"] if one != name]
            self.state["started"][str(service.process.pid)] = (start_time(service.process.pid), service.mark)
            self.keep()
        return {"pid": service.process.pid}

    def do_adopt(self, name: str, port: int, start: Any, first: int = 0) -> Any:
        """A server that runs here already: whoever listens on that port, or will, and is the process `first` until then."""
        service = Service(name)
        service.port, service.start, service.mark = port, start, f"{self.run}/{name}"
        service.first = first, start_time(first)
        listens = listener(port)
        service.awaited = not listens
        pid = service.pid = listens or first
        if pid:
            self.services[name] = service
        command = Path("/proc", str(pid), "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace") if pid else ""
        return {"pid": pid, "command": command.strip()}

    def leader(self, service: Service) -> int:
        if service.process is not None:
            return int(service.process.pid)
        first, began = service.first
        return listener(service.port) or (first if began and start_time(first) == began else 0)

    def do_stop(self, name: str, kill: bool) -> Any:
        """End a server and everything that came of it."""
        service = self.services.get(name)
        if service is None:
            return {}
        pid = self.leader(service)
        if service.process is None and pid:
            self.do_doom(name)
        service.stopped = True
        if service.process is not None:
            with self.changing:
                self.state["down"].append(name)
                self.keep()
        if pid and not kill:
            if service.process is None:
                families.send_signal(pid, signal.SIGTERM)
            else:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGTERM)
            end = time.monotonic() + GRACE
            while time.monotonic() < end and self.alive(service, pid):
                time.sleep(0.01)
        if pid:
            families.kill(pid, service.mark)
        self.forget(str(pid), "paused", "skewed")
        if service.process is not None:
            service.process.wait()
        return {}

    def do_doom(self, name: str) -> Any:
        """A server that was here before us is about to be ended, maybe by somebody else: how it is started is known before."""
        service = self.services[name]
        service.stopped = True
        with self.changing:
            self.state["ended"][name] = service.start
            self.keep()
        return {}

    def alive(self, service: Service, pid: int) -> bool:
        return service.process.poll() is None if service.process is not None else lives(pid)

    def do_revive(self, name: str) -> Any:
        """Start a server again that was here before us, by its own command."""
        service = self.services[name]
        done = subprocess.run(service.start, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise OSError(0, f"{' '.join(service.start)}: {' '.join((done.stderr or done.stdout).split())}")
        with self.changing:
            self.state["ended"].pop(name, None)
            self.keep()
        service.pid, service.awaited, service.stopped = 0, True, False
        return {}

    def do_pause(self, name: str) -> Any:
        service = self.services[name]
        pid = self.leader(service)
        if not pid:
            raise OSError(0, f"{name} does not run")
        with self.acting:
            with self.changing:
                self.state["paused"][str(pid)] = (start_time(pid), service.mark)
                self.keep()
            families.pause(pid, service.mark)
        return {}

    def do_resume(self, name: str) -> Any:
        service = self.services[name]
        with self.acting:
            for pid in self.known(service, "paused"):
                families.resume(int(pid), service.mark)
                self.forget(pid, "paused")
        return {}

    def do_let_run(self, name: str, seconds: float, most: float) -> Any:
        """Have a paused server go on for a moment (see `families.let_run`). It is known as paused all the time."""
        service = self.services[name]
        pid = self.leader(service)
        with self.acting:
            return {"spent": families.let_run(pid, service.mark, seconds, most) if pid else 0.0}

    def known(self, service: Service, what: str) -> list[str]:
        """The processes of a server that have this to be put back."""
        found = list(self.state[what].items())
        return [pid for pid, (started, mark) in found if mark == service.mark and is_same(int(pid), started)]

    def do_skew(self, name: str, nanoseconds: int, paused: bool) -> Any:
        """Put the clock of a server and of everything that came of it wrong by so much, or right (0)."""
        service = self.services[name]
        pid = self.leader(service)
        if not pid:
            raise OSError(0, f"{name} does not run")
        with self.acting:
            stands = paused or bool(self.known(service, "paused"))
            if nanoseconds and str(pid) not in self.state["skewed"]:
                with self.changing:
                    self.state["skewed"][str(pid)] = (start_time(pid), service.mark)
                    self.keep()
            clocks.skew_family(pid, service.mark, nanoseconds, paused=stands)
            if not nanoseconds:
                for known in self.known(service, "skewed"):
                    clocks.skew_family(int(known), service.mark, 0, paused=stands)
                    self.forget(known, "skewed")
        return {}

    def forget(self, pid: str, *whats: str) -> None:
        """A process is no more what was to be put back."""
        with self.changing:
            if [what for what in whats if self.state[what].pop(pid, None) is not None]:
                self.keep()

    def do_run(self, argv: Any, stdin: str, limit: float, cwd: str, env: Any) -> Any:
        """Run a command to its end."""
        program = sys.executable if argv[0] == "python3" else which(argv[0]) if os.sep not in argv[0] else argv[0]
        if program is None:
            raise OSError(0, f"the program {argv[0]} is neither in PATH nor in a usual folder")
        environment = {"PATH": os.pathsep.join(SEARCH), **({RUN: self.run} if self.run else {}), **env}
        try:
            done = subprocess.run(
                [program, *argv[1:]], input=stdin, capture_output=True, text=True, errors="replace", timeout=limit,
                cwd=cwd or "/", env=environment, check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise OSError(0, f"`{' '.join(argv)}` took longer than {limit:g} s") from error
        return {"code": done.returncode, "stdout": done.stdout, "stderr": done.stderr}

    def do_fill(self, full: bool) -> Any:
        """Leave no room on the disk in memory, or give it room again."""
        self.disk.fill(full)
        return {}

    def do_lose_power(self, how: str, seed: int) -> Any:
        """Take the power from the disk that can lose it; what it lost."""
        return {"lost": self.disk.lose_power(how, seed)}

    def do_slow(self, seconds: float) -> Any:
        """Let every sync of that disk take so much longer."""
        self.disk.slow(seconds)
        return {}

    def do_connections(self) -> Any:
        """The kernel's tables of TCP connections."""
        text = ""
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            with contextlib.suppress(OSError):
                text += Path(table).read_text()
        return {"text": text}

    def do_leave(self, keep: bool) -> Any:
        """The run is over: put everything back, end what was started here, remove the run's folder. One that has not begun here
        has none."""
        if self.folder == Path():
            return {}
        with self.wall.setting:
            put_back(self.run, self.state)
        if self.shaper is not None:
            self.shaper.close()
        for service in self.services.values():
            service.stopped = True
        server = self.disk.process if self.disk is not None else None
        end_all(self.run, self.state, () if server is None else (server.pid,))
        self.pump()
        if self.disk is not None:
            self.disk.remove(keep)
        if not keep:
            with self.logging:  # whose log is gone between two looks at it would end the helper in the middle of this
                shutil.rmtree(self.folder, ignore_errors=True)
        else:
            (self.folder / "owner").unlink()
        self.tell_guard({"over": True})
        with contextlib.suppress(OSError):  # somebody else has something there
            self.folder.parent.rmdir()
        return {}

    def do_clean(self, run: str, folder: str) -> Any:
        """Remove what that run left here, and exactly that."""
        place = Path(folder) / run
        state: Any = {}
        with contextlib.suppress(OSError, ValueError):
            state = json.loads((place / "state.json").read_text())
        done = put_back(run, state)
        done += [f"process {pid}: killed" for pid in end_all(run, state)]
        if (place / "owner").exists():
            shutil.rmtree(place, ignore_errors=True)
            done.append(f"{place}: removed")
            with contextlib.suppress(OSError):  # somebody else has something there
                place.parent.rmdir()
        return {"done": done}

    # --- what happens by itself

    def look(self) -> None:
        """Tell what servers print, and which ended though nobody stopped them."""
        for service in list(self.services.values()):
            if service.process is not None and service.process.poll() is not None and not service.stopped:
                service.stopped = True
                at = time.monotonic_ns()
                if self.disk is not None and self.disk.full:
                    with self.changing:
                        self.state["down"].append(service.name)
                        self.keep()
                self.pump()
                self.say(event="ended", service=service.name, pid=service.process.pid, code=service.process.returncode, at=at)
            if service.process is None and not service.stopped:
                if service.pid and not lives(service.pid):
                    self.say(event="ended", service=service.name, pid=service.pid, code=None, at=time.monotonic_ns())
                    service.pid, service.awaited = 0, True
                elif service.awaited and (pid := listener(service.port)):
                    service.pid, service.awaited = pid, False
                    self.say(event="returned", service=service.name, pid=pid)
        if time.monotonic() > self.logged + TICK:
            self.logged = time.monotonic()
            self.pump()

    def pump(self) -> None:
        """Send what servers printed since."""
        with self.logging:
            for service in list(self.services.values()):
                if service.process is None or not service.log.exists():
                    continue
                with service.log.open("rb") as log:
                    log.seek(service.offset)
                    while data := log.read(1 << 16):
                        service.offset += len(data)
                        self.say(event="log", service=service.name, text=data.decode("latin-1"))
                        if service.offset > MOST_LOG:
                            os.truncate(service.log, 0)
                            service.offset = 0
                            break


if __name__ == "__main__":
    Helper().serve()
