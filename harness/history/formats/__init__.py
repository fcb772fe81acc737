"""Formats: the histories of others. Every reader turns a file into events, a piece at a time, and these into a `History` as
the file tells it; what keys, initial values and answers mean is decided afterwards, for all formats in one place
(`harness.history.meaning`)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from splitbrain.harness.errors import HistoryError, UsageError
from splitbrain.harness.history.builder import Builder
from splitbrain.harness.history.formats import awdit, cobra, dbcop, edn, elle_cli, jepsen_log, jsonl, plume, porcupine_kv
from splitbrain.harness.history.formats.source import is_folder, opened
from splitbrain.harness.history.formats.text import Text, line_and_column
from splitbrain.harness.history.history import History
from splitbrain.harness.history.shapes import Shapes

Format = Literal["edn", "elle-cli", "jepsen-log", "porcupine-kv", "jsonl", "plume", "awdit", "dbcop", "cobra"]
FORMATS: tuple[Format, ...] = get_args(Format)

_JSON_ARRAY = re.compile(r'\s*+\[\s*+(?:\{\s*+"|\]\s*+\Z)')
_JSON_LINE = re.compile(r'\s*+\{\s*+["}]')
_SUFFIXES: dict[str, Format] = {".jsonl": "jsonl", ".json": "elle-cli", ".log": "jepsen-log", ".txt": "jepsen-log"}


class Reading(NamedTuple):
    """A history with the format it was read as, notes on how, and the shapes of what was invoked."""

    history: History
    format: Format
    notes: list[str]
    shapes: Shapes


def read(path: Path, format: Format | None = None, torn: bool = False) -> Reading:
    """The history in a file, a pipe or a folder that a Jepsen test left. `format` None finds the format out. With `torn`, a
    file cut short is read as far as it goes.

    Raises `HistoryError` (a `UsageError`) with line and column and what was expected there.
    """
    if format is not None and format not in FORMATS:
        raise UsageError(f"no format is called '{format}': there are {', '.join(FORMATS)}.")
    if format == "cobra" and not (is_folder(path) and cobra.logs(path)):
        raise HistoryError("expected a folder with Cobra's logs (T0.log, T1.log, ...), found none.", path=str(path))
    if format == "cobra" or (format is None and is_folder(path) and cobra.logs(path)):
        history, notes = cobra.read(path, torn=torn)
        return Reading(history, "cobra", notes, Shapes())
    with opened(path) as source:
        format = format or _detected(source.head, source.path)
        if format == "jsonl":
            history, notes, shapes = jsonl.read(source.file, str(source.path), torn=torn)
            return Reading(history, format, notes, shapes)
        if format == "dbcop":
            history, notes = dbcop.read(source.file, source.path, torn=torn)
            return Reading(history, format, notes, Shapes())
        text = Text(source.file, str(source.path), torn=torn)
        builder = Builder(text.path, clock="file", where=line_and_column)
        match format:
            case "edn":
                notes = edn.read(text, builder, torn=torn)
            case "elle-cli":
                notes = elle_cli.read(text, builder, torn=torn)
            case "jepsen-log":
                notes = jepsen_log.read(text, builder, torn=torn)
            case "porcupine-kv":
                notes = porcupine_kv.read(text, builder, torn=torn)
            case "plume":
                history, notes = plume.read(text, torn=torn)
                return Reading(history, format, notes, Shapes())
            case "awdit":
                history, notes = awdit.read(text, torn=torn)
                return Reading(history, format, notes, Shapes())
    history = builder.history()
    if builder.timed and not builder.rising:
        notes.append("times do not rise with every event: the order of the file counts")
    return Reading(history, format, notes, builder.shapes)


def detect(path: Path) -> Format:
    """The format of a file by how it begins; where it is empty, by its name. Raises `HistoryError` where it is none."""
    if is_folder(path) and cobra.logs(path):
        return "cobra"
    with opened(path) as source:
        return _detected(source.head, source.path)


def _detected(raw: bytes, path: Path) -> Format:
    head = raw.decode("utf-8", "ignore")
    if _JSON_ARRAY.match(head):
        return "elle-cli"
    if _JSON_LINE.match(head):
        return "jsonl"
    if dbcop.begins(raw):
        return "dbcop"
    if b"\0" in raw:
        message = "expected text, or what dbcop writes, found a byte of zeros."
        raise HistoryError(message, path=str(path), line=raw.count(b"\n", 0, raw.index(b"\0")) + 1, column=1)
    begin = head.lstrip()
    if plume.LINE.match(begin.partition("\n")[0]):
        return "plume"
    if awdit.LINE.match(begin.partition("\n")[0]):
        return "awdit"
    if porcupine_kv.LINE.match(begin):
        return "porcupine-kv"
    if jepsen_log.begins(head):
        return "jepsen-log"
    if begin.startswith(("[", "(", "{", "#", ";", ",")):
        return "edn"
    if begin:
        raise HistoryError(
            f"expected the beginning of one of {', '.join(FORMATS)}, found {begin[:20]!r} (--format says which it is).",
            path=str(path), line=1, column=1,
        )
    return _SUFFIXES.get(path.suffix, "edn")
