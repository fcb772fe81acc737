"""Plain events of EDN, rewritten as JSON by machine code: those of clients, of keywords, integers, nil, booleans, vectors of
these, and strings in which nothing is escaped. What is of another kind is left to the reader that knows all of EDN.

Where numba is not installed (the extra `fast`), or a file is too small to repay loading the code, all is left to that reader.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from splitbrain.harness.history import machine_code
from splitbrain.harness.history.builder import Event, TextEvent
from splitbrain.harness.history.formats.jepsen import KINDS, Intake, reason
from splitbrain.harness.history.formats.text import COLUMNS, Text

COMPILED_FROM = 8 << 20
"""Characters of EDN from which on machine code repays loading it: eight tenths of a second of the processor, where reading a
million of them takes 0.14 s without it and 0.03 s with it."""
TO_COMPILE = 24 << 20
"""So many more repay compiling it, which takes three seconds where nothing is kept from before."""

_DEEPEST = 8
_TYPE, _PROCESS, _F, _VALUE, _KEY, _TIME, _INDEX, _ERROR, _NONE = range(9)
_SPACE, _COMMA, _LINE, _QUOTE, _COLON, _MINUS, _ZERO, _NINE = b' ,\n":-09'
_OPEN, _CLOSE, _BEGIN, _END, _TAG, _BACKSLASH, _UNKNOWN, _TILDE = b"[]{}#\\?~"


def _number(word: str) -> int:
    """A word of at most seven letters as the number that its bytes are."""
    return int.from_bytes(word.encode(), "big")


def _table(characters: bytes) -> Any:
    table = np.zeros(256, np.bool_)
    table[list(characters)] = True
    return table


_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_IS_LETTER, _IS_SPACE, _IS_WORD = _table(_LETTERS), _table(b" ,\n\r\t"), _table(_LETTERS + b"0123456789_-./")
_IS_DELIMITER = _table(b" ,\n\r\t[]}")
_FIELDS = np.array([_number(name) for name in ("type", "process", "f", "value", "key", "time", "index", "error")])
_TYPES = np.array([_number(kind) for kind in KINDS])
_NIL, _TRUE, _FALSE, _TXN = map(_number, ("nil", "true", "false", "txn"))
_NULL = np.frombuffer(b"null", np.uint8)
_NEEDED = 1 << _TYPE | 1 << _PROCESS | 1 << _F


class _Plain(Event, gc=False):
    """An event whose error is not yet put into words."""

    error: Any = None


class _PlainText(TextEvent, gc=False):
    error: Any = None


_EVENTS = msgspec.json.Decoder(_Plain)
_TEXTS = msgspec.json.Decoder(_PlainText)


class Plain:
    """Takes plain events that follow each other, for `intake`; not `compiled`, without machine code."""

    def __init__(self, text: Text, intake: Intake, *, compiled: bool = True) -> None:
        self._text = text
        self._intake = intake
        self._compiled = compiled
        self._size = 0
        self._piece = ""
        self.ready = False
        """Whether events of the piece of the text that was last looked at are taken at all."""
        self._bytes = b""
        self._places, self._json = np.empty(0, np.int64), np.empty(0, np.uint8)

    def take(self, at: int) -> int:
        """Take the events from the character `at` on; where what follows them begins, `at` itself where there is none."""
        if self._piece is not self._text.text:
            self._look_at(self._text.text)
        if not self.ready:
            return at
        line, column = self._text.where(at)
        read = machine_code.compiled(_rewrite) if self._compiled else _rewrite
        told = np.frombuffer(self._bytes, np.uint8) if self._compiled else self._bytes
        many, size, behind, transactions = read(told, at, line, at - column, self._places, self._json)
        if many:
            decoder: msgspec.json.Decoder[Any] = _TEXTS if transactions else _EVENTS
            events: list[Event] = decoder.decode_lines(self._json[:size].tobytes())
            for event in events:
                if event.error is not None:
                    event.error = reason(event.error)
            self._intake.take_clients(events, self._places[:many].tolist())
        return int(behind)

    def _look_at(self, piece: str) -> None:
        self._piece = piece
        self._size += len(piece)
        self.ready = self.ready or (self._size >= COMPILED_FROM and (not self._compiled or self._repays()))
        if self.ready:
            # What is not ASCII becomes a question mark, which no plain event has: bytes and characters have equal numbers.
            self._bytes = piece.encode("ascii", "replace")
            self._places, self._json = np.empty(len(piece) // 16 + 1, np.int64), np.empty(2 * len(piece) + 16, np.uint8)


    def _repays(self) -> bool:
        """Whether machine code repays what it costs to have it."""
        kept_or_long = self._size >= COMPILED_FROM + TO_COMPILE or machine_code.kept(_rewrite)
        return kept_or_long and machine_code.available()


def _rewrite(text: Any, at: int, line: int, newline: int, places: Any, json: Any) -> tuple[int, int, int, bool]:
    """Write the events from `at` on as lines of JSON into `json`, and where each begins into `places`; how many there are, how
    many bytes they became, where what follows them begins, and whether all are transactions.

    `at` is in this line, `newline` the number of the line break before. No token grows to more than twice its size.
    """
    end = len(text)
    many, size, behind, transactions = 0, 0, at, True
    while at < end:
        if text[at] == _TAG:
            if at + 1 == end or not _IS_LETTER[text[at + 1]]:
                break
            at += 1
            while at < end and _IS_WORD[text[at]]:
                at += 1
        if at == end or text[at] != _BEGIN:
            break
        place = line << COLUMNS | (at - newline)
        at += 1
        json[size] = _BEGIN
        put = size + 1
        known, field, depth, first, whole, transaction = 0, _NONE, 0, True, False, False
        while at < end:
            byte = text[at]
            if _IS_SPACE[byte]:
                if byte == _LINE:
                    line, newline = line + 1, at
                at += 1
                continue
            if byte == _END:
                whole = field == _NONE and known & _NEEDED == _NEEDED
                break
            if byte == _CLOSE:
                if not depth:
                    break
                json[put] = byte
                at, put, depth, first = at + 1, put + 1, depth - 1, False
                if not depth:
                    field = _NONE
                continue
            if not first:
                json[put] = _COMMA
                put += 1
            first = False
            begin = at
            any_value = field in (_VALUE, _ERROR)
            if byte == _OPEN:
                if not any_value or depth == _DEEPEST:
                    break
                json[put] = byte
                at, put, depth, first = at + 1, put + 1, depth + 1, True
                continue
            if byte == _QUOTE:
                if not any_value and field != _KEY:
                    break
                at += 1
                while at < end and _SPACE <= text[at] <= _TILDE and text[at] != _QUOTE and (
                    text[at] != _BACKSLASH and text[at] != _UNKNOWN
                ):
                    at += 1
                if at == end or text[at] != _QUOTE:
                    break
                at += 1
                for copied in range(begin, at):
                    json[put] = text[copied]
                    put += 1
            elif byte == _MINUS or _ZERO <= byte <= _NINE:
                if byte == _MINUS:
                    at += 1
                digits = at
                while at < end and _ZERO <= text[at] <= _NINE:
                    at += 1
                if at == digits or at - digits > 18 or (text[digits] == _ZERO and at > begin + 1):
                    break
                if not any_value and field != _KEY and field != _PROCESS and field != _TIME and (
                    field != _INDEX or byte == _MINUS
                ):
                    break
                for copied in range(begin, at):
                    json[put] = text[copied]
                    put += 1
            elif byte == _COLON or _IS_LETTER[byte]:
                if byte == _COLON:
                    at += 1
                    if at == end or not _IS_LETTER[text[at]]:
                        break
                letters, word = at, 0
                while at < end and _IS_WORD[text[at]]:
                    word = (word & 0xFFFFFFFFFFFF) << 8 | text[at]
                    at += 1
                if at - letters > 7:
                    word = 0
                if byte != _COLON:
                    if not any_value or (word != _NIL and word != _TRUE and word != _FALSE):
                        break
                    if word == _NIL:
                        for letter in _NULL:
                            json[put] = letter
                            put += 1
                    else:
                        for copied in range(begin, at):
                            json[put] = text[copied]
                            put += 1
                else:
                    named = field == _NONE
                    if named:
                        for number in range(len(_FIELDS)):
                            if _FIELDS[number] == word and not known >> number & 1:
                                field = number
                        if field == _NONE:
                            break
                        known |= 1 << field
                    elif field == _TYPE:
                        if word != _TYPES[0] and word != _TYPES[1] and word != _TYPES[2] and word != _TYPES[3]:
                            break
                    elif field == _F:
                        transaction = word == _TXN
                    elif not any_value and field != _KEY:
                        break
                    json[put] = _QUOTE
                    put += 1
                    for copied in range(letters, at):
                        json[put] = text[copied]
                        put += 1
                    json[put] = _QUOTE
                    put += 1
                    if named:
                        json[put] = _COLON
                        put, first = put + 1, True
                        if at == end or not _IS_DELIMITER[text[at]]:
                            break
                        continue
            else:
                break
            if at == end or not _IS_DELIMITER[text[at]]:
                break
            if not depth:
                field = _NONE
        if not whole:
            break
        json[put], json[put + 1] = _END, _LINE
        places[many] = place
        many, size, at, transactions = many + 1, put + 2, at + 1, transactions and transaction
        while at < end and _IS_SPACE[text[at]]:
            if text[at] == _LINE:
                line, newline = line + 1, at
            at += 1
        behind = at
    return many, size, behind, transactions
