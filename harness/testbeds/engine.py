"""The Docker engine: connecting to it, calling it from threads, images, and the labels of what is ours."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec

from splitbrain.harness.errors import SetupError, SplitbrainError
from splitbrain.harness.testbeds.owner import is_gone
from splitbrain.harness.testbeds.testbed import Problem

T = TypeVar("T")

RUN = "splitbrain.run"
"""The label that names the run a container, network or volume belongs to."""
OWNER = "splitbrain.owner"
"""Beside it: the process that a person started (see owner.py)."""
BUILT = "splitbrain.built"
"""The label of images that `splitbrain images build` made: what from."""

_ANSWER = 60


class Unreachable(SetupError):
    """No engine can be spoken to: what is wrong, and what mends it."""

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(f"{what}: {mend}")
        self.problem = Problem(what, mend)


def connect() -> Any:
    """A `docker.DockerClient` for the engine that DOCKER_HOST names, or the usual one. Raises `Unreachable`."""
    try:
        import docker
    except ModuleNotFoundError as error:
        raise Unreachable("the Python module docker is missing", "pip install 'splitbrain[docker]'") from error
    where = place()
    try:
        client = docker.from_env(timeout=_ANSWER, max_pool_size=32)
        client.ping()
    except docker.errors.DockerException as error:
        reason = next((cause for cause in _causes(error) if isinstance(cause, OSError) and cause.errno), None)
        if reason is not None and reason.errno in (errno.EACCES, errno.EPERM):
            mend = "run `sudo usermod -aG docker $USER` and log in again, or splitbrain as root."
            raise Unreachable(f"this user may not speak to the Docker engine at {where}", mend) from error
        if reason is not None and reason.errno == errno.ENOENT:
            mend = "run `sudo apt-get install docker.io`, or name another engine in DOCKER_HOST."
            raise Unreachable(f"there is no Docker engine at {where}", mend) from error
        if reason is not None:
            mend = "run `sudo systemctl start docker`, or name another engine in DOCKER_HOST."
            raise Unreachable(f"no Docker engine answers at {where} ({reason.strerror})", mend) from error
        raise Unreachable(f"no Docker engine can be reached at {where}", str(error)) from error
    return client


def place() -> str:
    """Where the engine is: the URL in DOCKER_HOST, or the usual one."""
    return os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error, and those that led to it: requests and urllib3 keep them as causes and as arguments."""
    seen: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, BaseException) and one not in seen:
            seen.append(one)
            waiting += [one.__cause__, one.__context__, *one.args]
            yield one


async def in_thread(call: Callable[[], T]) -> T:
    """What a blocking call returns, made in a thread of its own: it holds up neither the event loop nor, should the engine
    never answer, the end of this process. Raises as `speaking` does."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()

    def done(value: T | None, error: BaseException | None) -> None:
        if result.done():
            return
        if error is None:
            result.set_result(value)  # type: ignore[arg-type]
        else:
            result.set_exception(error)

    def work() -> None:
        value, error = None, None
        try:
            value = call()
        except BaseException as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
            loop.call_soon_threadsafe(done, value, error)

    threading.Thread(target=work, daemon=True, name="docker").start()
    with speaking():
        return await result


@contextlib.contextmanager
def speaking() -> Iterator[None]:
    """What Docker, or the connection to it, says against a call becomes a `SetupError`."""
    try:
        yield
    except SplitbrainError:
        raise
    except Exception as error:
        said = _words(error)
        if said is None:
            raise
        raise SetupError(said) from error


def _words(error: Exception) -> str | None:
    """None where the error is of another kind."""
    import docker
    import requests

    if isinstance(error, docker.errors.APIError):
        return " ".join(str(error.explanation or error).split())
    if isinstance(error, docker.errors.DockerException):
        return " ".join(str(error).split())
    if isinstance(error, requests.exceptions.RequestException):
        return f"the Docker engine did not answer: {' '.join(str(error).split())}"
    return None


class Image(msgspec.Struct, frozen=True):
    """An image that is here: the name it was asked for by, what it certainly is, and where it came from."""

    name: str
    digest: str
    origin: str

    def __str__(self) -> str:
        return f"{self.name} ({self.digest}, {self.origin})"


def fetch(client: Any, name: str) -> Image:
    """The image of that name, pulled where it is not here. Blocking. Raises what Docker raises."""
    import docker
    from docker.utils import parse_repository_tag

    repository, tag = parse_repository_tag(name)
    origin = "was here already"
    try:
        image = client.images.get(name)
    except docker.errors.ImageNotFound as error:
        for line in client.api.pull(repository, tag=tag or "latest", stream=True, decode=True):
            if "error" in line:
                raise SetupError(line["error"]) from error
        image = client.images.get(name)
        origin = "pulled"
    if repository.startswith("splitbrain/") and BUILT in image.labels:
        return Image(name, image.id, f"built from {image.labels[BUILT]}")
    digests = [digest for at, _, digest in (entry.partition("@") for entry in image.attrs["RepoDigests"]) if at == repository]
    return Image(name, digests[0] if digests else image.id, origin)


def unobtainable(client: Any, name: str) -> str:
    """Why an image can neither be found here nor pulled; empty where it can. The registry is asked; what it refuses is
    pulled all the same, since not every engine can ask. Blocking."""
    import docker

    try:
        client.images.get(name)
    except docker.errors.ImageNotFound:
        try:
            client.images.get_registry_data(name)
        except docker.errors.APIError:
            try:
                with speaking():
                    fetch(client, name)
            except SetupError as error:
                return str(error)
    return ""


def built(client: Any, database: str) -> list[str]:
    """The images that were built here for a database. Blocking."""
    images = client.images.list(filters={"label": BUILT})
    return sorted(tag for image in images for tag in image.tags if tag.startswith(f"splitbrain/{database}:"))


def remove(client: Any, chosen: Callable[[Mapping[str, str]], bool]) -> list[str]:
    """Remove the containers, networks and volumes of runs whose labels are chosen; a line for each. Blocking. What disappears
    meanwhile was removed by somebody else."""
    import docker

    ours = {"label": RUN}

    def gone(kind: str, thing: Any, **how: Any) -> list[str]:
        labels = thing.attrs["Labels"] if kind != "container" else thing.labels
        if not chosen(labels):
            return []
        try:
            thing.remove(**how)
        except docker.errors.NotFound:
            return []
        return [f"{kind} {thing.name} of run {labels[RUN]}: removed"]

    containers = client.containers.list(all=True, filters=ours, ignore_removed=True)
    with ThreadPoolExecutor(8) as pool:
        removing = pool.map(lambda container: gone("container", container, force=True, v=True), containers)
        removed = [line for lines in removing for line in lines]
    # A network and a volume can be removed only when no container uses them.
    removed += [line for network in client.networks.list(filters=ours) for line in gone("network", network)]
    removed += [line for volume in client.volumes.list(filters=ours) for line in gone("volume", volume)]
    return removed


def left_behind(labels: Mapping[str, str]) -> bool:
    """Whether what carries these labels belongs to a run whose harness is gone."""
    return is_gone(labels.get(OWNER, ""))

