"""`splitbrain serve`: a folder of runs in a browser, live, read only, for this machine alone.

It answers GET and HEAD on the loopback address, and only to a browser that asked for that address by its name (a page of a
stranger's that points its own name at 127.0.0.1 is refused). It gives out what lies in the folder and nothing else: a path
that leaves it, by dots or by a link, is not found.
"""

from __future__ import annotations

import html
import mimetypes
import urllib.parse
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec

from splitbrain.harness.errors import UsageError
from splitbrain.reports import nights
from splitbrain.reports.wording import printable

LOOPBACK = "127.0.0.1"

SHOWN = (".html", ".json", ".jsonl", ".xml", ".md", ".toml", ".log", ".txt")
"""What is shown in the browser; anything else that servers left is offered as bytes."""

_STYLE = (Path(__file__).parent / "page" / "style.css").read_text("utf-8")


def server(runs: Path, port: int = 0) -> ThreadingHTTPServer:
    """A server of that folder, bound and not yet serving; port 0 takes a free one. Raises `UsageError` where the port is
    taken."""
    root = runs.resolve()

    class Handler(_Handler):
        folder = root

    try:
        return ThreadingHTTPServer((LOOPBACK, port), Handler)
    except OSError as error:
        raise UsageError(f"port {port}: cannot be listened on: {error.strerror}. Another one: --port.") from error


def address(of: ThreadingHTTPServer) -> str:
    """Where it is to be found."""
    return f"http://{LOOPBACK}:{of.server_address[1]}/"


class _Handler(BaseHTTPRequestHandler):
    folder: Path
    server_version = "splitbrain"
    sys_version = ""

    def do_GET(self) -> None:
        """The index, a folder of a run, or a file in it."""
        self._answer(body=True)

    def do_HEAD(self) -> None:
        """The same without the content."""
        self._answer(body=False)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the terminal is for runs."""

    def _answer(self, *, body: bool) -> None:
        if self.headers.get("Host", "").rpartition(":")[0] not in (LOOPBACK, "localhost"):
            self._send(HTTPStatus.FORBIDDEN, b"not by this name", "text/plain", body=body)
            return
        found = self._path()
        if found is None:
            self._send(HTTPStatus.NOT_FOUND, b"not found", "text/plain", body=body)
        elif found.is_dir():
            if not urllib.parse.urlsplit(self.path).path.endswith("/"):
                self.send_response(HTTPStatus.MOVED_PERMANENTLY)
                self.send_header("Location", urllib.parse.quote(f"/{found.relative_to(self.folder)}/"))
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self._send(HTTPStatus.OK, listing(self.folder, found).encode(), "text/html", body=body)
        else:
            kind = mimetypes.guess_type(found.name)[0] if found.suffix in SHOWN else "application/octet-stream"
            # A stranger's server wrote some of these: a browser shows them as text and guesses nothing.
            kind = "text/plain" if found.suffix in (".log", ".toml", ".md", ".jsonl", ".txt") else kind or "text/plain"
            try:
                content = found.read_bytes()
            except OSError:
                self._send(HTTPStatus.NOT_FOUND, b"not found", "text/plain", body=body)
                return
            self._send(HTTPStatus.OK, content, kind, body=body)

    def _path(self) -> Path | None:
        """The file or folder that is asked for; None where it is none of ours."""
        asked = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        if "\0" in asked:
            return None
        found = _within(self.folder, self.folder / asked.lstrip("/"))
        try:
            return found if found is not None and (found.is_dir() or found.is_file()) else None
        except OSError:  # A name that is too long.
            return None

    def _send(self, status: HTTPStatus, content: bytes, kind: str, *, body: bool) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8" if kind.startswith("text/") else kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        if kind != "text/html":
            self.send_header("Content-Security-Policy", "default-src 'none'")
        self.end_headers()
        if body:
            self.wfile.write(content)


def _within(root: Path, path: Path) -> Path | None:
    """Where a path leads to, if that is `root` or lies in it; None where it leads out, or in circles."""
    try:
        found = path.resolve()
    except (OSError, ValueError, RuntimeError):
        return None
    return found if found == root or root in found.parents else None


def listing(root: Path, folder: Path) -> str:
    """The page of a folder: its runs and suites, the newest first, and its files."""
    title = "Runs" if folder == root else printable(folder.name)
    lines = list(_entries(root.resolve(), folder))
    up = "" if folder == root else '<p><a href="../">all of it</a></p>'
    rows = "\n".join(lines) or '<tr><td class="muted" colspan="3">nothing yet</td></tr>'
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta http-equiv="refresh" content="10"><title>{html.escape(title)}</title><style>{_STYLE}</style></head>
<body class="index"><header class="study"><h1>{html.escape(title)}</h1></header><main>{up}
<div class="scroll" tabindex="0" role="region" aria-label="what lies here"><table>
<thead><tr><th>Name</th><th>What</th><th>Read</th></tr></thead><tbody>
{rows}
</tbody></table></div></main></body></html>
"""


def _entries(root: Path, folder: Path) -> Iterator[str]:
    """What lies in the folder; of a link that leads out of `root` nothing is told."""
    inside = [path for path in folder.iterdir() if not path.name.startswith(".") and _within(root, path)]
    folders = sorted((path for path in inside if not path.is_file()), key=lambda path: path.name, reverse=True)
    for path in [*folders, *sorted(path for path in inside if path.is_file())]:
        link = urllib.parse.quote(path.name) + ("/" if path.is_dir() else "")
        reads = " ".join(
            f'<a href="{urllib.parse.quote(path.name)}/{name}">{word}</a>'
            for name, word in (("index.html", "index"), ("report.html", "report")) if (path / name).is_file()
        ) if path.is_dir() else ""
        name = html.escape(printable(path.name))
        yield f'<tr><td><a href="{link}">{name}</a></td><td>{html.escape(_what(path))}</td><td>{reads}</td></tr>'


def _what(path: Path) -> str:
    """What an entry of a folder is, and how it stands."""
    if path.is_file():
        return f"{path.stat().st_size:,} bytes"
    if told := nights.read(path):
        return f"suite: {nights.headline(told)}"
    if (path / nights.FILE).is_file():
        return "suite: none of its runs judged yet, or by a version that this one cannot read"
    if (path / "journal.jsonl").is_file():
        return f"run: {_judged(path / 'result.json')}"
    return "folder"


class _Verdict(msgspec.Struct):
    heading: str


def _judged(result: Path) -> str:
    """The verdict of a run, as its heading says it."""
    try:
        return printable(msgspec.json.decode(result.read_bytes(), type=_Verdict).heading)
    except FileNotFoundError:
        return "under way, or not judged"
    except (OSError, msgspec.MsgspecError):
        return "judged, by a version that this one cannot read"
