"""Formats: the histories of others. Every reader turns a file into a `History`, and says how it read it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from splitbrain.harness.errors import HistoryError, UsageError
from splitbrain.harness.history.formats import awdit, cobra, dbcop, edn, elle_cli, jsonl, plume, porcupine_etcd, porcupine_kv
from splitbrain.harness.history.formats.text import BOM, Text, load, unreadable
from splitbrain.harness.history.history import History

Format = Literal[
    "edn", "elle-cli", "porcupine-etcd", "porcupine-kv", "jsonl", "plume", "awdit", "dbcop", "cobra",
]
FORMATS: tuple[Format, ...] = get_args(Format)

_HEAD = 1 << 16
_JSON_ARRAY = re.compile(r'\s*+\[\s*+\{\s*+"')
_JSON_LINE = re.compile(r'\s*+\{\s*+["}]')
_SUFFIXES: dict[str, Format] = {".jsonl": "jsonl", ".json": "elle-cli", ".log": "porcupine-etcd"}


class Reading(NamedTuple):
    """A history with the format it was read as, and notes on how."""

    history: History
    format: Format
    notes: list[str]


def read(path: Path, format: Format | None = None, torn: bool = False) -> Reading:
    """The history in a file. `format` None finds the format out. With `torn`, a file cut short is read as far as it goes.

    Raises `HistoryError` (a `UsageError`) with line and column and what was expected there.
    """
    if format is not None and format not in FORMATS:
        raise UsageError(f"no format is called '{format}': there are {', '.join(FORMATS)}.")
    format = format or detect(path)
    if format == "jsonl":
        history, notes = jsonl.read(path, torn=torn)
        return Reading(history, format, notes)
    if format == "cobra":
        history, notes = cobra.read(path, torn=torn)
        return Reading(history, format, notes)
    if format == "dbcop":
        history, notes = dbcop.read(load(path), path, torn=torn)
        return Reading(history, format, notes)
    text = Text(load(path), str(path), torn=torn)
    match format:
        case "edn":
            history, notes = edn.read(text, torn=torn)
        case "elle-cli":
            history, notes = elle_cli.read(text, torn=torn)
        case "porcupine-etcd":
            history, notes = porcupine_etcd.read(text, torn=torn)
        case "porcupine-kv":
            history, notes = porcupine_kv.read(text, torn=torn)
        case "plume":
            history, notes = plume.read(text, torn=torn)
        case "awdit":
            history, notes = awdit.read(text, torn=torn)
    return Reading(history, format, notes)


def is_history(folder: Path) -> bool:
    """Whether a folder is a history by itself: the logs of Cobra's clients."""
    return bool(cobra.logs(folder))


def detect(path: Path) -> Format:
    """The format of a file by how it begins; where it is empty, by its name. Raises `HistoryError` where it is none."""
    if path.is_dir() and is_history(path):
        return "cobra"
    try:
        with path.open("rb") as file:
            raw = file.read(_HEAD)
            head = raw.removeprefix(BOM).decode("utf-8", "ignore")
    except OSError as error:
        raise unreadable(path, error) from None
    if _JSON_ARRAY.match(head):
        return "elle-cli"
    if _JSON_LINE.match(head):
        return "jsonl"
    if dbcop.begins(raw):
        return "dbcop"
    begin = head.lstrip()
    if plume.LINE.match(begin.partition("\n")[0]):
        return "plume"
    if awdit.LINE.match(begin.partition("\n")[0]):
        return "awdit"
    if porcupine_kv.LINE.match(begin):
        return "porcupine-kv"
    if begin.startswith(("[", "(", "{", "#", ";", ",")):
        return "edn"
    if porcupine_etcd.MARK.search(head):
        return "porcupine-etcd"
    if begin:
        raise HistoryError(
            f"expected EDN, JSON or lines of Jepsen's log, found {begin[:20]!r} (--format says what it is).",
            path=str(path), line=1, column=1,
        )
    return _SUFFIXES.get(path.suffix, "edn")
