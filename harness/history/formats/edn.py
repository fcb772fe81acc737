"""EDN as Jepsen, Knossos and elle-cli write it: maps of events in a vector, in a list, or one after another.

The reader is iterative and knows all of EDN (github.com/edn-format/edn), and what Clojure prints beside it (`#"x"`, `0x1`).
Keywords, symbols and characters become strings, lists and vectors tuples, sets frozensets; a tag is dropped and its content
kept (`#inst "..."`, `#object[...]`); ratios and numbers without a value (`##NaN`) become strings, for only their equality
matters here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

from splitbrain.harness.errors import HistoryError
from splitbrain.harness.history.builder import Builder
from splitbrain.harness.history.formats import jepsen
from splitbrain.harness.history.formats.plain import Plain
from splitbrain.harness.history.formats.text import Text
from splitbrain.harness.history.values import MAX_DEPTH

MAX_DIGITS = 4000

_TOKEN = re.compile(
    r"""(?:[\s,]++|;[^\n]*+)*+(?:
      ([^\s,;"()\[\]{}\\\#][^\s,;"()\[\]{}\\]*+)        # 1 a number, keyword, symbol, nil
    | ([\[({]|\#\{|\#:{1,2}[^\s,;"()\[\]{}\\]*+[\s,]*+\{)   # 2 opens a collection
    | ([\])}])                                          # 3 closes one
    | \#?"([^"\\]*+(?:\\.[^"\\]*+)*+)"                  # 4 a string, or Clojure's regular expression
    | (\#_|\#[A-Za-z][^\s,;"()\[\]{}\\]*+)              # 5 discards or tags the next form
    | (\#\#[A-Za-z+-]*+)                                # 6 a number without a value
    | \\(u[0-9a-fA-F]{4}|[a-z]++|.)                     # 7 a character
    | (\Z)                                              # 8 the end
    | (.)                                               # 9 nothing of EDN, or a string without its end
    )""",
    re.VERBOSE | re.DOTALL,
)
_NUMBER = re.compile(r"[+-]?\d")
_INTEGER = re.compile(r"[+-]?\d++N?\Z")
_FLOAT = re.compile(r"[+-]?\d++(?:\.\d*+)?(?:[eE][+-]?\d++)?M?\Z")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]{1,100}\Z")
_RATIO = re.compile(r"[+-]?\d++/\d++\Z")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|([0-7]{1,3})|(.))", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_CHARACTERS = {"newline": "\n", "space": " ", "tab": "\t", "return": "\r", "backspace": "\b", "formfeed": "\f"}
_CLOSERS = {"[": "]", "(": ")", "{": "}", "#": "}"}
_NAMES = {"[": "vector", "(": "list", "{": "map", "#": "set"}
_NUMBERLESS = ("##NaN", "##Inf", "##-Inf")
_DISCARD, _TAG, _UNSEEN = object(), object(), object()

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*+\Z")
_NUMBERS = frozenset(("process", "time", "index"))
_INTEGERS = "-?[0-9]{1,18}"
_FLAT = r"""[^][(){}"\\#;]++"""
_VALUES = rf"nil|{_INTEGERS}|:[A-Za-z][A-Za-z0-9_-]*+|\[(?:{_FLAT}|\[(?:{_FLAT}|\[(?:{_FLAT})?\])*+\])*+\]"
_LAYOUTS, _REMEMBERED, _LONGEST = 4, 50_000, 100


def read(text: Text, builder: Builder, *, torn: bool = False) -> list[str]:
    """Hand the events of an EDN file to `builder`; notes on how it was read. With `torn`, a file cut short is read as far as it
    goes.

    Raises `HistoryError` with line and column, and what was expected there.
    """
    return read_from(text, 0, builder, torn=torn, unwrap=True)


def read_from(text: Text, start: int, builder: Builder, *, torn: bool = False, unwrap: bool = False) -> list[str]:
    """As `read`, from the character `start` on, before which other events may stand. With `unwrap`, one vector or list may
    hold them all."""
    notes: list[str] = []
    intake = jepsen.Intake(builder)
    layouts, plain = Layouts(text), Plain(text, intake)
    for form, at in forms(text, notes, start, torn=torn, unwrap=unwrap, layouts=layouts, plain=plain):
        intake.take(form, text.place(at), partial(text.error, at))
    return notes + intake.notes()


def forms(
    text: Text, notes: list[str], start: int = 0, end: int | None = None, *, torn: bool = False, unwrap: bool = True,
    layouts: Layouts | None = None, plain: Plain | None = None,
) -> Iterator[tuple[Any, int]]:
    """Every form from `start` to `end` with its first character: the top-level ones or, with `unwrap`, those of the one vector
    or list that holds them all. Without `end`, the text is read on as far as it goes, a piece at a time; the character is to
    be used before the next form is asked for.

    With `torn`, what a file cut short holds in part is left out, and said in `notes`. `layouts` reads plain maps at once;
    what `plain` takes is not handed on.
    """
    words: dict[str, Any] = {"nil": None, "true": True, "false": False}
    around = ""  # the opener of the vector or list around all forms, " " once it is closed
    first = unwrap
    waiting: list[Any] = []  # discards and tags before the next form that is handed on
    stack: list[tuple[str, int, list[Any]]] = []  # opener, place, parts
    parts = waiting
    form: Any
    last = len(text.text) if end is None else end
    begun = start  # where what is not handed on yet begins
    tokens = _TOKEN.finditer(text.text, start, last)
    while (token := next(tokens, None)) is not None:
        group = token.lastindex or 0
        if not stack and not waiting:
            begun = token.start()
        if end is None and not text.ended and _may_go_on(token, group, last):
            text.more(begun)
            last, parts = len(text.text), waiting
            stack.clear()
            waiting.clear()
            tokens = _TOKEN.finditer(text.text, 0, last)
            continue
        if group == 1:
            word = token[1]
            form = words.get(word, _UNSEEN)
            if form is _UNSEEN:
                if stack and token.end() == last:
                    continue  # Cut short, as what it is in.
                form = _word(word, token.start(1), text)
                if len(words) < 50_000 and len(word) < 100:
                    words[word] = form
            if stack:
                parts.append(form)
                continue
        at = token.start(group)
        if plain is not None and (group == 2 or group == 5) and not stack and not waiting and around != " ":
            behind = plain.take(at)
            if behind > at:
                first, tokens = False, _TOKEN.finditer(text.text, behind, last)
                continue
        if group == 2:
            if first and not waiting and token[2] in "[(":
                around, first = token[2], False
                continue
            first = False
            if layouts is not None and token[2] == "{" and not stack and not waiting and around != " ":
                behind = at
                while (read := layouts.read(behind)) is not None:
                    yield read[0], behind
                    behind = read[1]
                    if plain is not None and plain.ready:
                        break
                if behind > at:
                    tokens = _TOKEN.finditer(text.text, behind, last)
                    continue
            if len(stack) == MAX_DEPTH:
                raise text.error(at, f"expected at most {MAX_DEPTH} levels of nesting")
            parts = []
            stack.append((token[2], at, parts))
            continue
        elif group == 3:
            if not stack:
                if around.strip() and _CLOSERS[around] == token[3] and not waiting:
                    around = " "
                    continue
                raise text.error(at, f"expected an operation, found {token[3]!r}, which closes nothing")
            opener, at_open, done = stack.pop()
            if _CLOSERS[opener[0]] != token[3]:
                line, column = text.where(at_open)
                name = _NAMES[opener[0]]
                raise text.error(
                    at, f"expected {_CLOSERS[opener[0]]!r} for the {name} of line {line}, column {column}, found {token[3]!r}"
                )
            form = _collection(opener, done, at_open, text)
            parts, at = (stack[-1][2] if stack else waiting), at_open
        elif group == 4:
            form = token[4] if "\\" not in token[4] else _unescape(token[4])
        elif group == 5:
            parts.append(_DISCARD if token[5] == "#_" else _TAG)
            continue
        elif group >= 6 and token.end() == last > at and token[0][-1] != '"' and (stack or around.strip()):
            continue  # Cut short, as what it is in.
        elif group == 6:
            form = token[6]
            if form not in _NUMBERLESS:
                raise text.error(at, f"expected a number, found {form[:20]!r}")
        elif group == 7:
            form = _character(token[7], at - 1, text)
        elif group == 9 and token[9] != '"':
            raise text.error(at, f"expected EDN, found {token[9]!r}")
        elif group >= 8:
            if stack or waiting or around.strip() or group == 9:
                if not torn:
                    place = stack[-1][1] if stack and group == 8 else at
                    mend = ": --torn judges what came before" if end is None else ""
                    raise text.error(place, _unfinished(stack, group == 9) + mend)
                notes.append("the file is cut short: what its end tells in part is left out")
            return
        if stack:
            parts.append(form)
            continue
        if layouts is not None and group == 3 and type(form) is dict:
            layouts.learn(form)
        if around == " ":
            raise text.error(at, "expected the end of the file after the end of the history")
        first = False
        while waiting and waiting[-1] is _TAG:
            waiting.pop()
        if waiting:
            waiting.pop()
        else:
            yield form, at


def _may_go_on(token: re.Match[str], group: int, last: int) -> bool:
    """Whether the next piece of the text may be part of this token of one that ends at `last`."""
    if group == 9:
        return token[9] == '"' or last - token.start(9) < _LONGEST
    return token.end() == last and group not in (2, 3, 4)


class Layouts:
    """The names of maps in their order: the next map with the same ones is read by one regular expression where all its values
    are plain, as those of nearly every event are. What does not fit is left to the tokens, which know all of EDN."""

    def __init__(self, text: Text) -> None:
        self._text = text
        self._known: dict[tuple[str, ...], re.Pattern[str]] = {}
        self._values: dict[str, Any] = {"nil": None}

    def learn(self, form: dict[Any, Any]) -> None:
        """Take the names of a map."""
        names = tuple(form)
        if names and names not in self._known and len(self._known) < _LAYOUTS and all(map(_is_name, names)):
            slots = [rf":{name}[\s,]++({_INTEGERS if name in _NUMBERS else _VALUES})" for name in names]
            self._known[names] = re.compile(r"\{" + r"[\s,]++".join(slots) + r"\}[\s,]*+")

    def read(self, at: int) -> tuple[dict[str, Any], int] | None:
        """The map that begins at `at`, and where what follows it begins; None where it is not plain."""
        for names, pattern in self._known.items():
            match = pattern.match(self._text.text, at)
            if match is not None:
                known, form = self._values, {}
                try:
                    for name, told in zip(names, match.groups(), strict=True):
                        form[name] = int(told) if name in _NUMBERS else known[told] if told in known else self._value(told)
                except HistoryError:
                    return None  # The tokens tell where.
                return form, match.end()
        return None

    def _value(self, told: str) -> Any:
        if told[0] == ":":
            value: Any = told[1:]
        elif told[0] == "[":
            ((value, _),) = forms(Text.of(told.encode()), [], unwrap=False)
        else:
            value = int(told)
        if len(self._values) < _REMEMBERED and len(told) < _LONGEST:
            self._values[told] = value
        return value


def _is_name(name: Any) -> bool:
    return type(name) is str and _NAME.match(name) is not None


def _unfinished(stack: list[tuple[str, int, list[Any]]], string: bool) -> str:
    if string:
        return "expected '\"' at the end of this string, found the end"
    if stack:
        opener = stack[-1][0][0]
        return f"expected {_CLOSERS[opener]!r} at the end of this {_NAMES[opener]}, found the end"
    return "expected more operations and the end of the history, found the end of the file"


def _collection(opener: str, parts: list[Any], at: int, text: Text) -> Any:
    if _DISCARD in parts or _TAG in parts:
        parts = _without_marks(parts, at, text)
    if opener == "[" or opener == "(":
        return tuple(parts)
    if opener == "#{":
        return frozenset(map(_hashable, parts))
    if len(parts) % 2:
        raise text.error(at, "expected a value for every key of this map")
    names = parts[0::2]
    if opener != "{":
        space = opener[1:-1].strip(" \t\r\n,:")
        names = [f"{space}/{name}" if type(name) is str and "/" not in name else name for name in names]
    form = dict(zip([name if type(name) is str else _hashable(name) for name in names], parts[1::2], strict=True))
    if len(form) * 2 != len(parts):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise text.error(at, f"expected every key once, found {str(twice)[:40]!r} twice in this map")
    return form


def _without_marks(parts: list[Any], at: int, text: Text) -> list[Any]:
    left: list[Any] = []
    for part in reversed(parts):
        if part is not _DISCARD and part is not _TAG:
            left.append(part)
        elif not left:
            raise text.error(at, "expected a form after the last '#' in here")
        elif part is _DISCARD:
            left.pop()
    return left[::-1]


def _hashable(form: Any) -> Any:
    if type(form) is dict:
        return tuple(sorted(((_hashable(name), _hashable(part)) for name, part in form.items()), key=repr))
    return tuple(map(_hashable, form)) if type(form) is tuple else form


def _word(word: str, at: int, text: Text) -> Any:
    if word[0] == ":" and len(word) > 1:
        return word[1:]
    if not _NUMBER.match(word):
        if not word.isprintable():
            raise text.error(at, f"expected EDN, found {word[:20]!r}")
        return word
    if len(word) > MAX_DIGITS:
        raise text.error(at, f"expected a number of at most {MAX_DIGITS} digits, found one of {len(word)}")
    if _INTEGER.match(word):
        return int(word.rstrip("N"))
    if _FLOAT.match(word):
        number = float(word.rstrip("M"))
        return number if math.isfinite(number) else word
    if _HEXADECIMAL.match(word):
        return int(word, 16)
    if _RATIO.match(word) and word.split("/")[1].strip("0"):
        return str(Fraction(word))
    raise text.error(at, f"expected a number, found {word[:40]!r}")


def _unescape(string: str) -> str:
    def one(match: re.Match[str]) -> str:
        if match[1]:
            return chr(int(match[1], 16))
        return chr(int(match[2], 8)) if match[2] else _ESCAPED.get(match[3], match[3])

    return _paired(_ESCAPE.sub(one, string))


def _character(name: str, at: int, text: Text) -> str:
    if len(name) == 1:
        return name
    if name[0] == "u" and len(name) == 5:
        return _paired(chr(int(name[1:], 16)))
    if name not in _CHARACTERS:
        raise text.error(at, f"expected a character, found '\\{name[:20]}'")
    return _CHARACTERS[name]


def _paired(string: str) -> str:
    """The string with its surrogates joined, for one alone cannot be written."""
    return string.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
