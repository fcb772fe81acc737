"""The exception tree. Every class carries the exit code that it means for a command (see `reports/` reading)."""

from __future__ import annotations

import difflib
import inspect
import sysconfig
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

CRASHED, INTERRUPTED = 70, 130
"""The exit codes of what no class stands for: a bug in splitbrain, and a person who ended it."""


class SplitbrainError(Exception):
    """Something a person can mend: one clear sentence naming the place and the mend. Never shown with a traceback."""

    exit_code = CRASHED


class UsageError(SplitbrainError):
    """Bad input: an unknown name, an impossible combination, a malformed file. Raised before anything starts."""

    exit_code = 64


class PlanError(UsageError):
    """A value in a plan that cannot be: `keys` is the way to it in the file, `reason` says why, without the place."""

    def __init__(self, keys: tuple[str | int, ...], reason: str, *, place: str = "") -> None:
        super().__init__(place + reason)
        self.keys = keys
        self.reason = reason


class SetupError(SplitbrainError):
    """The cluster could not be set up: a server is missing, a node never got ready, an address is in use."""

    exit_code = 3


class NotCleaned(SetupError):
    """Not all that killed runs left behind could be removed: `kept` says of each rest why, `removed` is a line for all else."""

    def __init__(self, kept: Sequence[str], removed: Sequence[str]) -> None:
        super().__init__("; ".join(kept))
        self.kept = tuple(kept)
        self.removed = tuple(removed)


class StorageError(SplitbrainError):
    """The runs folder cannot be written, or its disk is full."""

    exit_code = 3


class HistoryError(UsageError):
    """A history or journal that cannot be read. `line` and `column` count from 1 and are 0 where unknown."""

    def __init__(self, message: str, *, path: str = "", line: int = 0, column: int = 0) -> None:
        place = ":".join(str(part) for part in (path, line or "", column or "") if part != "")
        super().__init__(f"{place}: {message}" if place else message)
        self.path = path
        self.line = line
        self.column = column


class _NotDone(Exception):
    """What a client raises where a call was not acknowledged."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self._detail = detail

    @property
    def detail(self) -> str:
        """What the server or the system said, in one line of at most `DETAIL` characters: the text that was given, else
        that of the exception it was raised from; empty where there is neither."""
        cause = self.__cause__
        if self._detail or cause is None:
            return one_line(self._detail, DETAIL)
        return cause.detail if isinstance(cause, _NotDone) else described(cause)


class Refused(_NotDone):
    """Raised by a client: the operation certainly did not happen. `reason` is a short stable word, `no-leader`, and `detail`
    what the server said of it in its own words."""


DETAIL = 300
"""Characters of what a server said that are kept."""

ELSEWHERE = "elsewhere"
"""The reason of an `Elsewhere`."""


class Mismatch(Refused):
    """The database decided against it, as its meaning has it: a compare-and-set whose expected value differed, a transfer that
    the source cannot cover, a transaction that was rolled back for another's sake. An answer, where other refusals are none.
    `seen` is the value that the reply told, if it did."""

    def __init__(self, *seen: object) -> None:
        super().__init__("mismatch")
        self.seen = seen


class Elsewhere(Refused):
    """Raised by a node-local read: by design this node holds no copy of that key."""

    def __init__(self) -> None:
        super().__init__(ELSEWHERE)


class Indeterminate(_NotDone):
    """Raised by a client: the operation may have happened, or may still happen. `reason` is a short stable word, and `detail`
    what the server said of it in its own words."""


_HARNESS = Path(__file__).parent
_NOT_OWN = (
    *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")),
    *(str(_HARNESS / room) for room in ("load", "history")), "<",
)


def place(error: BaseException, *, foreign: bool = False) -> str:
    """`mine.py:97: `, the innermost line that belongs neither to Python, nor to an installed package, nor to those who called
    it here; empty if there is none. With `foreign`, the innermost that is not splitbrain's own either."""
    not_own = (*_NOT_OWN, str(_HARNESS.parent)) if foreign else _NOT_OWN
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(not_own):
            return f"{Path(frame.filename).name}:{frame.lineno}: "
    return ""


def defined(method: Any) -> str:
    """`mine.py:90: `, where a class or a method is defined; empty where that is not known."""
    try:
        file, (_, line) = inspect.getsourcefile(method), inspect.getsourcelines(method)
    except (OSError, TypeError):
        return ""
    return f"{Path(file).name}:{line}: " if file else ""


def raised_by(method: Any, error: BaseException) -> SplitbrainError:
    """What to say where a method raised what its contract does not know, or cannot be called at all: a `UsageError` of a
    person's own, a bug of ours."""
    where = place(error, foreign=True)
    if where or not getattr(method, "__module__", "").startswith("splitbrain."):
        return UsageError(f"{where or defined(method)}{called(method)} raised {described(error)}.")
    return SplitbrainError(f"{place(error)}{called(method)} raised {described(error)}: this is a bug in splitbrain.")


def returned_by(method: Any, told: object, wanted: str) -> UsageError:
    """What to say where it returned something else than is wanted (`no Invocation`)."""
    return UsageError(f"{defined(method)}{called(method)} returned {one_line(repr(told), 60)}, and {wanted}.")


def called(method: Any) -> str:
    """`next()`, as a person reads a method's name."""
    return f"{getattr(method, '__name__', type(method).__name__)}()"


def ours(raised: BaseException) -> SplitbrainError | None:
    """The error of ours that a group of exceptions stands for, None where one of them is not ours."""
    if isinstance(raised, SplitbrainError):
        return raised
    if isinstance(raised, BaseExceptionGroup):
        found = [ours(inner) for inner in raised.exceptions]
        return found[0] if all(found) else None
    return None


def described(error: BaseException) -> str:
    """`KeyError: 'primary'`, in one line of at most `DETAIL` characters."""
    said = str(error).strip()
    return one_line(f"{type(error).__name__}: {said}" if said else type(error).__name__, DETAIL)


def one_line(text: str, most: int) -> str:
    """A text as one line of at most so many characters; that it was cut off is seen."""
    line = " ".join(text[: 4 * most].split())
    return line if len(line) <= most else line[: most - 3] + "..."


def hint(name: str, known: Iterable[str]) -> str:
    """What a person meant who wrote `name`: "did you mean 'halves'?", or all that there are."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(names)}."
