"""What modes share in which every node holds copies, versioned by key, and quorums of them are asked."""

from __future__ import annotations

from .wire import Ballot, Key, Message, Value, as_ballot


class Copy:
    """One key at one replica: the register's newest version, and the set."""

    def __init__(self) -> None:
        self.version: Ballot = (0, "")
        self.issued = 0
        """The highest number of a version that this node has given."""
        self.value: Value = None
        self.elements: dict[Value, None] = {}

    def put(self, message: Message) -> None:
        """Take in what is newer."""
        if "v" in message and as_ballot(message["b"]) > self.version:
            self.version, self.value = as_ballot(message["b"]), message["v"]
        self.elements.update(dict.fromkeys(message.get("e", ())))

    def whole(self) -> Message:
        """As a peer is told it."""
        return {"b": self.version, "v": self.value, "e": list(self.elements)}

    def misses(self, message: Message) -> bool:
        """Whether `put` would change anything."""
        return ("v" in message and as_ballot(message["b"]) > self.version) or any(
            element not in self.elements for element in message.get("e", ())
        )


class Copies:
    """A node's copies."""

    def __init__(self) -> None:
        self.changes = 0
        self._copies: dict[Key, Copy] = {}

    def __getitem__(self, key: Key) -> Copy:
        copy = self._copies.get(key)
        if copy is None:
            copy = self._copies[key] = Copy()
        return copy

    def put(self, message: Message) -> None:
        """Take in what is newer of the key `k`."""
        self[message["k"]].put(message)
        self.changes += 1

    def value(self, key: Key) -> Value:
        """What the register holds here."""
        return self._copies[key].value if key in self._copies else None

    def elements(self, key: Key) -> list[Value]:
        """What the set holds here."""
        return list(self._copies[key].elements) if key in self._copies else []

    def whole(self) -> list[Message]:
        """All of it, as a peer is told it."""
        return [{"k": key, **copy.whole()} for key, copy in self._copies.items()]
