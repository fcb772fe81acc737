"""`vector-clock`: what was written beside each other is kept, and merged on read."""

from __future__ import annotations

from typing import Any

from ..gossip import Gossip
from ..wire import Key, Value, encode


class VectorClock(Gossip):
    """`vector-clock`: every node answers from its own copy; versions are ordered by what their writers had seen, not by time.

    An entry is a clock (node → how many of that node's writes are in here or were overwritten knowingly) and siblings, each
    with its dot (the node that wrote it, and which of its writes it was): the dotted version vectors of Preguiça et al.
    (2010). A write overwrites exactly what its node held; what another wrote meanwhile becomes its sibling. A sibling is
    dropped where the other's clock covers its dot and the other does not hold it: somebody who had seen it overwrote it.

    A register that holds siblings reads as the greatest of them (`siblings` tells all); a set, which is a value replaced as a
    whole, as their union: the merge of Dynamo's shopping cart (DeCandia et al. 2007, 4.4).

    Known answer: available everywhere, converges after heal, and of a set nothing acknowledged is lost.
    """

    name = "vector-clock"

    def merge(self, mine: Any, theirs: Any) -> Any:
        def kept(entry: Any, other: Any) -> list[Any]:
            held = {tuple(dot) for dot, _ in other["siblings"]}
            return [[dot, value] for dot, value in entry["siblings"]
                    if tuple(dot) in held or dot[1] > other["clock"].get(dot[0], 0)]

        siblings = {tuple(dot): value for dot, value in [*kept(mine, theirs), *kept(theirs, mine)]}
        clock = {node: max(mine["clock"].get(node, 0), theirs["clock"].get(node, 0))
                 for node in sorted({*mine["clock"], *theirs["clock"]})}
        return {"clock": clock, "siblings": [[list(dot), value] for dot, value in sorted(siblings.items())]}

    def digest(self, entry: Any) -> Any:
        return [entry["clock"], [dot for dot, _ in entry["siblings"]]]

    async def read(self, key: Key) -> Value:
        return self.local_read(key)

    async def write(self, key: Key, value: Value) -> None:
        self._overwrite(encode(["register", key]), value)

    async def add(self, key: Key, element: Value) -> None:
        self._overwrite(encode(["set", key]), [*self.local_elements(key), element])

    async def elements(self, key: Key) -> list[Value]:
        return self.local_elements(key)

    def siblings(self, key: Key) -> list[Value]:
        return self._values(encode(["register", key]))

    def local_read(self, key: Key) -> Value:
        return max(self.siblings(key), key=lambda value: (isinstance(value, str), value), default=None)

    def local_elements(self, key: Key) -> list[Value]:
        return list(dict.fromkeys(element for elements in self._values(encode(["set", key])) for element in elements))

    def _values(self, name: str) -> list[Any]:
        entry = self.entries.get(name)
        return [value for _, value in entry["siblings"]] if entry else []

    def _overwrite(self, name: str, value: Any) -> None:
        me, entry = self.server.name, self.entries.get(name)
        clock = dict(entry["clock"]) if entry else {}
        clock[me] = clock.get(me, 0) + 1
        self.change(name, {"clock": dict(sorted(clock.items())), "siblings": [[[me, clock[me]], value]]})
