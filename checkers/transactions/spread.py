"""What of the transactions of a history can be judged elsewhere: components of the graph of dependencies, which are searched
each by itself anyhow, and levels, which are decided each by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

Answer = TypeVar("Answer")


class Spread(Protocol):
    """Has calls done elsewhere. `edges` is how many dependencies are searched there at once."""

    edges: int

    def each(
        self, call: Callable[..., Answer], works: Iterable[tuple[Any, ...]], seconds: float
    ) -> Iterator[Answer]:
        """What `call` answers to each of these works and the seconds that it may take, in their order; all of them may take
        `seconds`. What is not asked for any more is given up."""
        ...
