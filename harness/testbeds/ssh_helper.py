"""What runs on a machine that is reached over SSH: it does what the controller asks, and puts everything back when it is gone.

Sent to the machine as text and run by its Python (3.8 or later), so only the standard library, and `families.py`, which is sent
beside it: one file because a machine is given one program. Requests and replies are JSON, a line each, on the standard input
and output: nothing that a person or a database names ever passes through a shell.

Beside it runs its *guard*, a process in a session of its own. It is told what will have to be put back before it is done, and
it hears every sign of life of the controller. When the helper ends, however it ends, or when the controller has been silent
for too long, the guard lifts our chain, has go on what stands still, and starts what was running before.

Nothing can cut the controller off: INPUT leads to the chain `GATE`, which first returns what belongs to the controller's
connections and only then leads to the chain that cuts are written into.
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
import struct
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

from splitbrain.harness.testbeds import families

GATE = "SPLITBRAIN-GATE"
CHAIN = "SPLITBRAIN"
RUN = "SPLITBRAIN_RUN"
SEARCH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
PORT = 9
TICK = 0.05
GRACE = 2.0
MOST_LOG = 8 << 20
STANDING = 2
WAIT = "--wait=5"

_NO_LINGER = struct.pack("ii", 1, 0)
_LISTENS = "0A"
_LOST = (ConnectionRefusedError, ConnectionResetError)
_AT_ONCE = ("beat", "listen", "stand", "aim", "probe", "hush", "collect")
"""Requests that are done in the order in which they come; any other has a thread of its own."""
_LATER = ("stand", "hush", "collect")
"""Those of them that are answered later."""


# --- what is done on the machine, also by the guard and by `clean`


def chains(program: str) -> list[str]:
    """The lines of INPUT that lead to our gate, as `iptables -S` prints them; none where this firewall does not exist."""
    if which(program) is None:
        return []
    listed = subprocess.run([which(program) or "", WAIT, "-S"], capture_output=True, text=True, check=False)
    return [line for line in listed.stdout.splitlines() if GATE in line or CHAIN in line]


def lift(run: str) -> list[str]:
    """Remove our chains, where they carry the label of this run: exactly them. A line for each firewall that had them."""
    removed = []
    for program in ("iptables", "ip6tables"):
        lines = chains(program)
        if not any(f'"{label(run)}"' in line or f" {label(run)} " in line for line in lines):
            continue
        jumps = "".join(f"-D{line[2:]}\n" for line in lines if line.startswith("-A INPUT ") and line.endswith(f"-j {GATE}"))
        text = f"*filter\n:{GATE} - [0:0]\n:{CHAIN} - [0:0]\n{jumps}-X {GATE}\n-X {CHAIN}\nCOMMIT\n"
        done = subprocess.run(
            [which(f"{program}-restore") or "", "--noflush", WAIT], input=text, capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            removed.append(f"the chain {CHAIN} of {program}: lifted")
    return removed


def label(run: str) -> str:
    """The comment that our rules carry."""
    return f"splitbrain {run}"


def put_back(run: str, state: Any) -> list[str]:
    """Everything as it was before faults: our chain lifted, who stands still goes on, who was ended is started. A line for
    each thing that was done."""
    done = lift(run)
    if state.get("boot") != boot():  # nothing of it is left
        return done
    for leader, (started, mark) in state.get("paused", {}).items():
        if is_same(int(leader), started):
            families.resume(int(leader), mark)
            done.append(f"{mark.rpartition('/')[2]}: resumed")
    for name, argv in state.get("ended", {}).items():
        subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        done.append(f"{name}: started again")
    return done


def end_all(run: str, state: Any) -> list[int]:
    """Kill every process that came of the servers that were started, and whatever else carries the run's label: some servers
    write over their environment."""
    mark, killed = f"{RUN}={run}".encode(), []
    for leader, (started, mark_of_service) in state.get("started", {}).items():
        if state.get("boot") == boot() and is_same(int(leader), started):
            killed += sorted(families.family(int(leader), mark_of_service))
            families.kill(int(leader), mark_of_service)
    for _ in range(200):
        alive = [pid for pid in pids() if pid not in (1, os.getpid()) and mark in families.environment(pid) and lives(pid)]
        if not alive:
            break
        for pid in alive:
            families.send_signal(pid, signal.SIGKILL)
        killed += [pid for pid in alive if pid not in killed]
        time.sleep(0.01)
    return killed


def pids() -> list[int]:
    """Every process of the machine that is to be seen here."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def lives(pid: int) -> bool:
    """Whether a process has not ended; one that has, and that nobody has waited for, does not live."""
    return _stat(pid, 0) not in ("", "Z", "X")


def start_time(pid: int) -> str:
    """When a process was started, in ticks since the machine was; empty where there is none."""
    return _stat(pid, 19)


def is_same(leader: int, started: str) -> bool:
    """Whether a process, or else what is left of its session, is the one that was started then: while a session has members
    its number is given to nobody."""
    return start_time(leader) in (started, "")


def boot() -> str:
    """Which boot of the machine this is."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _stat(pid: int, field: int) -> str:
    with contextlib.suppress(OSError):
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[field]
    return ""


def which(program: str) -> str | None:
    """The path of a program, also where a session over SSH is not told of `sbin`; None where there is none."""
    return shutil.which(program, path=os.pathsep.join((os.environ.get("PATH", ""), *SEARCH)))


def listener(port: int) -> int:
    """The process that listens on a port, the oldest where several do; 0 for none."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    for pid in sorted(pids(), key=lambda pid: (int(start_time(pid) or 0), pid)):
        with contextlib.suppress(OSError):
            for descriptor in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208
                with contextlib.suppress(OSError):
                    if os.readlink(f"/proc/{pid}/fd/{descriptor}") in inodes:  # noqa: PTH115
                        return pid
    return 0


def connection() -> list[str]:
    """The controller's address and port and this machine's, as sshd sees them; it tells the login's first process, which may
    have become root since."""
    pid = os.getpid()
    while pid > 1:
        for entry in families.environment(pid):
            if entry.startswith(b"SSH_CONNECTION="):
                return entry.decode().partition("=")[2].split()
        pid = int(_stat(pid, 1) or 0)
    return []


# --- the guard


def guard(told: int, helper: int, run: str, patience: float) -> NoReturn:
    """Wait for the end of the helper, or the silence of the controller for `patience` seconds; then put everything back."""
    os.setsid()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    state: Any = {}
    rest = b""
    while True:
        if not select.select([told], [], [], patience)[0]:
            os.kill(helper, signal.SIGKILL)
            break
        data = os.read(told, 1 << 16)
        if not data:
            break
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line:
                state = json.loads(line)
        if state.get("over"):
            os._exit(0)
    put_back(run, state)
    os._exit(0)


# --- the helper


class Service:
    """A server that was started here, or that was here (`process` is None) and listens on `port`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.process: Any = None
        self.mark = ""
        self.stopped = False
        self.log = Path()
        self.offset = 0
        self.port = 0
        self.pid = 0
        self.start: list[str] = []


class Helper:
    """Does what comes in on the standard input."""

    def __init__(self) -> None:
        self.services: dict[str, Service] = {}
        self.run = ""
        self.folder = Path()
        self.state: Any = {"boot": boot(), "started": {}, "paused": {}, "ended": {}}
        self.guard = -1
        self.armed: dict[str, Any] = {}
        self.writing = threading.Lock()
        self.changing = threading.RLock()
        self.logging = threading.Lock()
        self.poll = select.poll()
        self.readers: dict[int, Any] = {}
        self.probes = Probes(self)
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
            line = json.dumps(self.state).encode()
            if self.folder != Path():
                fresh = self.folder / "state.new"
                fresh.write_bytes(line)
                fresh.replace(self.folder / "state.json")
            data = line + b"\n"
            while data:
                data = data[os.write(self.guard, data):]

    # --- requests

    def do_beat(self) -> Any:
        if self.guard >= 0:
            os.write(self.guard, b"\n")
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
            "writable": os.access(place, os.W_OK), "left": left, "chains": chains("iptables") + chains("ip6tables"),
            "here": here,
        }

    def do_begin(self, run: str, owner: str, folder: str, gates: Any, node: str, patience: float) -> Any:
        """Take this machine for a run: its folder, its guard, its gate. `gates` are the controller's addresses with its port
        here, which are let through before anything else."""
        base = Path(folder)
        base.mkdir(parents=True, exist_ok=True)
        lock = os.open(str(base), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # held until helper and guard have ended
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            names = " ".join(entry.parent.name for entry in base.glob("*/owner"))
            raise OSError(0, f"another run of splitbrain is at work here ({names or 'no name'})") from error
        if left := chains("iptables") + chains("ip6tables"):
            raise OSError(0, f"rules of a run that was killed are still here; `splitbrain clean` lifts them: {left[0]}")
        (base / run / node).mkdir(parents=True)
        self.run, self.folder = run, base / run
        (self.folder / "owner").write_text(owner)
        read, self.guard = os.pipe()
        helper = os.getpid()
        if os.fork() == 0:
            os.close(self.guard)
            guard(read, helper, run, patience)
        os.close(read)
        self.keep()
        self.arm("iptables")
        try:
            self.gate(gates)
        except OSError:
            self.do_leave(keep=False)
            raise
        return {"folder": str(self.folder / node)}

    def gate(self, gates: Any) -> None:
        """Have INPUT lead to our chain, by the gate. An address is let through at its family's firewall."""
        for program, family in (("iptables", "4"), ("ip6tables", "6")):
            comment = f'-m comment --comment "{label(self.run)}"'
            lets = "".join(
                f"-A {GATE} -p tcp -s {address} --dport {port} -j RETURN\n" for kind, address, port in gates if kind == family
            )
            made = f":{GATE} - [0:0]\n:{CHAIN} - [0:0]\n{lets}-A {GATE} -j {CHAIN}\n-I INPUT 1 {comment} -j {GATE}\n"
            if family == "4" or Path("/proc/net/if_inet6").exists():
                self.restore_one(program, f"*filter\n{made}COMMIT\n")

    def restore_one(self, program: str, text: str) -> None:
        path = which(f"{program}-restore")
        if path is None:
            raise OSError(0, f"the program {program}-restore is missing")
        done = subprocess.run([path, "--noflush", WAIT], input=text, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise OSError(0, f"{program}: {' '.join((done.stderr or done.stdout).split())}")

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

    def arm(self, program: str) -> Any:
        """An iptables-restore that is loaded and waits for its text: what it takes to start one is not between the nodes."""
        with self.changing:
            process = self.armed.get(program)
            if process is None or process.poll() is not None:
                process = self.armed[program] = subprocess.Popen(
                    [which(f"{program}-restore") or program, "--noflush", WAIT], stdin=subprocess.PIPE,
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
            place.write_text(content)
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
        with service.log.open("ab") as log:
            service.process = subprocess.Popen(
                [program, *argv[1:]], env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )
        self.services[name] = service
        with self.changing:
            self.state["started"][str(service.process.pid)] = (start_time(service.process.pid), service.mark)
            self.keep()
        return {"pid": service.process.pid}

    def do_adopt(self, name: str, port: int, start: Any) -> Any:
        """A server that runs here already: whoever listens on that port."""
        service = Service(name)
        service.port, service.start, service.mark = port, start, f"{self.run}/{name}"
        pid = service.pid = listener(port)
        if pid:
            self.services[name] = service
        command = Path("/proc", str(pid), "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace") if pid else ""
        return {"pid": pid, "command": command.strip()}

    def leader(self, service: Service) -> int:
        return service.process.pid if service.process is not None else listener(service.port)

    def do_stop(self, name: str, kill: bool) -> Any:
        """End a server and everything that came of it."""
        service = self.services.get(name)
        if service is None:
            return {}
        service.stopped = True
        pid = self.leader(service)
        if service.process is None and pid:
            with self.changing:
                self.state["ended"][name] = service.start
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
        self.forget(str(pid))
        if service.process is not None:
            service.process.wait()
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
        service.pid, service.stopped = 0, False
        return {}

    def do_pause(self, name: str) -> Any:
        service = self.services[name]
        pid = self.leader(service)
        if not pid:
            raise OSError(0, f"{name} does not run")
        with self.changing:
            self.state["paused"][str(pid)] = (start_time(pid), service.mark)
            self.keep()
        families.pause(pid, service.mark)
        return {}

    def do_resume(self, name: str) -> Any:
        service = self.services[name]
        for pid, (_, mark) in list(self.state["paused"].items()):
            if mark == service.mark:
                families.resume(int(pid), mark)
                self.forget(pid)
        return {}

    def forget(self, pid: str) -> None:
        with self.changing:
            if self.state["paused"].pop(pid, None) is not None:
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

    def do_connections(self) -> Any:
        """The kernel's tables of TCP connections."""
        text = ""
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            with contextlib.suppress(OSError):
                text += Path(table).read_text()
        return {"text": text}

    def do_leave(self, keep: bool) -> Any:
        """The run is over: put everything back, end what was started here, remove the run's folder."""
        put_back(self.run, self.state)
        for service in self.services.values():
            service.stopped = True
        end_all(self.run, self.state)
        self.pump()
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)
        elif self.folder != Path():
            (self.folder / "owner").unlink()
        os.write(self.guard, json.dumps({"over": True}).encode() + b"\n")
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
                self.pump()
                self.say(event="ended", service=service.name, pid=service.process.pid, code=service.process.returncode, at=at)
            if service.process is None and not service.stopped:
                if service.pid and not lives(service.pid):
                    self.say(event="ended", service=service.name, pid=service.pid, code=None, at=time.monotonic_ns())
                    service.pid = 0
                elif not service.pid and (pid := listener(service.port)):
                    service.pid = pid
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

class Probes:
    """The probes of this node (see `prober.py` for what they are): packets to every other one, and what came from them."""

    def __init__(self, helper: Helper) -> None:
        self.helper = helper
        for name in ("listen", "stand", "aim", "probe", "hush", "collect"):
            setattr(helper, f"do_{name}", getattr(self, name))
        self.own = ""
        self.peers: dict[str, Any] = {}
        self.port = 0
        self.datagrams: dict[int, socket.socket] = {}
        self.standing: dict[str, list[socket.socket]] = {}
        self.far: dict[int, Any] = {}
        self.waiting: Any = None
        self.nonce = b""
        self.due = 0.0
        self.ticks = 0
        self.sending = False
        self.fresh: set[str] = set()
        self.knocks: dict[int, Any] = {}
        self.heard: set[tuple[str, str]] = set()
        self.bytes: set[str] = set()
        self.collecting: Any = None
        self.hushing: Any = None
        self.judged: list[str] = []
        self.addresses: dict[str, Any] = {}

    def register(self, one: socket.socket, events: int, call: Any) -> None:
        self.helper.readers[one.fileno()] = call
        self.helper.poll.register(one, events)

    def drop(self, one: socket.socket) -> None:
        if self.helper.readers.pop(one.fileno(), None) is not None:
            self.helper.poll.unregister(one)
        one.close()

    def listen(self, own: str, addresses: Any, port: int) -> Any:
        """Open the sockets. `addresses` are every node's, IPv4 and IPv6 (empty where it has none)."""
        self.own, self.port = own, port
        self.addresses = {name: tuple(pair) for name, pair in addresses.items()}
        self.peers = {name: pair for name, pair in self.addresses.items() if name != own}
        for family, address in zip((socket.AF_INET, socket.AF_INET6), self.addresses[own]):  # noqa: B905
            if address:
                made = socket.socket(family, socket.SOCK_DGRAM)
                made.setblocking(False)
                made.bind((address, PORT))
                self.datagrams[family] = made
                self.register(made, select.POLLIN, lambda key, made=made, family=family: self.receive(made, family))
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.addresses[own][0], PORT))
        listener.listen(1024)
        listener.setblocking(False)
        self.register(listener, select.POLLIN, lambda key: self.accept(listener))
        return {}

    # --- standing connections

    def usable(self, peer: str) -> list[socket.socket]:
        found = []
        for one in self.standing.get(peer, ()):
            with contextlib.suppress(OSError):
                established = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == b"\1"
                if established and fcntl.ioctl(one, termios.TIOCOUTQ, b"\0\0\0\0") == b"\0\0\0\0":
                    found.append(one)
        return found

    def stand(self, id: int, peers: Any, timeout: float) -> Any:
        """Give the links to these peers connections that are idle; answered when they stand, or time is up."""
        opening: dict[int, Any] = {}
        for peer in peers:
            kept = self.usable(peer)
            for one in self.standing.get(peer, ()):
                if one not in kept:
                    with contextlib.suppress(OSError):
                        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
                    one.close()
            self.standing[peer] = kept
            for _ in range(STANDING - len(kept)):
                made = socket.socket()
                made.setblocking(False)
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                made.bind((self.addresses[self.own][0], 0))
                made.connect_ex((self.peers[peer][0], PORT))
                opening[made.fileno()] = (peer, made)
                self.register(made, select.POLLOUT, self.stood)
        self.waiting = [id, opening, time.monotonic() + timeout]
        self.settle()

    def stood(self, key: int) -> None:
        peer, one = self.waiting[1].pop(key)
        self.helper.readers.pop(key, None)
        self.helper.poll.unregister(one)
        if one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
            one.send(self.own.encode() + b"\n")
            self.standing[peer].append(one)
        else:
            one.close()
        self.settle()

    def settle(self) -> None:
        if self.waiting is None:
            return
        id, opening, end = self.waiting
        if opening and time.monotonic() < end:
            return
        for _, one in opening.values():
            self.drop(one)
        self.waiting = None
        self.helper.say(id=id, missing=sorted({peer for peer, _ in opening.values()}))

    def accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            far, _ = listener.accept()
            far.setblocking(False)
            self.far[far.fileno()] = [far, "", b""]
            self.register(far, select.POLLIN, self.arrived)

    def arrived(self, key: int) -> None:
        entry = self.far[key]
        far, peer, rest = entry
        try:
            data = far.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            del self.far[key]
            self.drop(far)
            return
        if not peer:
            rest += data
            if b"\n" not in rest:
                entry[2] = rest
                return
            name, _, data = rest.partition(b"\n")
            entry[1], entry[2] = name.decode(errors="replace"), b""
        if self.nonce and self.nonce in data and entry[1] not in self.bytes:
            self.bytes.add(entry[1])
            self.helper.say(event="bytes", peer=entry[1])

    # --- a probe

    def aim(self, nonce: str) -> Any:
        """Listen for packets with this nonce; `heard`, `fresh` and `bytes` are told as they come. A link's standing connection
        is judged only where nothing on it is unacknowledged."""
        self.nonce = bytes.fromhex(nonce)
        self.heard, self.bytes, self.fresh = set(), set(), set()
        for one, _ in list(self.knocks.values()):
            self.drop(one)
        self.knocks.clear()
        self.sending, self.ticks = False, 0
        self.judged = [peer for peer in self.peers if self.usable(peer)]
        return {"standing": self.judged}

    def probe(self) -> Any:
        """Begin to send to every peer: all of them listen."""
        self.sending, self.due = True, time.monotonic()
        return {}

    def tick(self) -> None:
        self.settle()
        if not self.sending or time.monotonic() < self.due:
            return
        self.due = time.monotonic() + TICK
        if self.ticks == 0:
            for peer in self.judged:
                with contextlib.suppress(OSError, IndexError):
                    self.usable(peer)[0].send(self.nonce)
        if self.ticks % 2 == 0:
            for peer in set(self.peers) - self.fresh:
                self.knock(peer)
        self.ticks += 1
        for peer, pair in self.peers.items():
            self.send(peer, pair)
        self.quieten()

    def send(self, name: str, pair: Any, what: bytes = b"") -> None:
        for family, address in zip((socket.AF_INET, socket.AF_INET6), pair):  # noqa: B905
            if address and family in self.datagrams:
                with contextlib.suppress(OSError):
                    self.datagrams[family].sendto(self.nonce + (what or self.own.encode()), (address, PORT))

    def receive(self, made: socket.socket, family: int) -> None:
        while True:
            try:
                data = made.recv(4096)
            except OSError:
                return
            if data[:8] != self.nonce:
                continue
            sender = data[8:].decode(errors="replace")
            if sender == "\0":
                self.collecting[1].discard(family)
                if not self.collecting[1]:
                    self.collected()
            elif (str(family), sender) not in self.heard:
                self.heard.add((str(family), sender))
                self.helper.say(event="heard", family=int(family), peer=sender)

    def knock(self, peer: str) -> None:
        made = socket.socket()
        made.setblocking(False)
        made.connect_ex((self.peers[peer][0], self.port))
        self.knocks[made.fileno()] = (made, peer)
        self.register(made, select.POLLOUT, self.knocked)

    def knocked(self, key: int) -> None:
        one, peer = self.knocks.pop(key)
        problem = one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self.drop(one)
        if problem == 0 or isinstance(OSError(problem, ""), _LOST):  # somebody said no: the packets pass
            self.fresh.add(peer)
            self.helper.say(event="fresh", peer=peer)

    def hush(self, id: int, enough: int) -> None:
        """Send no more once everything was sent so often; answered then."""
        self.hushing = (id, enough)
        self.quieten()

    def quieten(self) -> None:
        if self.hushing is not None and self.ticks >= self.hushing[1]:
            self.sending = False
            self.helper.say(id=self.hushing[0], ticks=self.ticks)
            self.hushing = None

    def collect(self, id: int) -> Any:
        """Answered once a packet of this node to itself has arrived, behind everything that had."""
        self.collecting = (id, set(self.datagrams))
        self.send(self.own, self.addresses[self.own], b"\0")

    def collected(self) -> None:
        for key in list(self.far):
            self.arrived(key)
        for one, _ in list(self.knocks.values()):
            self.drop(one)
        self.knocks.clear()
        self.helper.say(id=self.collecting[0])
        self.collecting = None


if __name__ == "__main__":
    Helper().serve()
