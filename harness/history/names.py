"""Names as codes: of functions, keys, errors and nodes a history holds each once, and a number for every operation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

NO_NAME = -2
"""The code of a name that did not appear."""


class Names:
    """Codes for names, in the order of their appearance; None is -1."""

    def __init__(self) -> None:
        self._codes: dict[Any, int] = {None: -1}

    def encode(self, names: list[Any]) -> NDArray[np.int32]:
        """The code of each of these names, new ones too."""
        codes = self._codes
        try:
            return np.fromiter(map(codes.__getitem__, names), np.int32, len(names))
        except KeyError:
            for name in names:
                codes.setdefault(name, len(codes) - 1)
            return self.encode(names)

    def code(self, name: Any) -> int:
        """The code of one name, `NO_NAME` where it did not appear yet."""
        return self._codes.get(name, NO_NAME)

    def names(self) -> tuple[Any, ...]:
        """All names, each at its code."""
        return tuple(self._codes)[1:]
