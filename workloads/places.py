"""Keys that fill up, each replaced by a new one once it is full, so that a read stays small."""

from __future__ import annotations


class Places:
    """`count` keys at a time, each with room for `full` things. Keys are numbers from 0."""

    def __init__(self, count: int, full: int) -> None:
        self.current: list[int] = list(range(count))
        """The keys that are in use now."""
        self._full = full
        self._sizes = [0] * count

    def __len__(self) -> int:
        """How many keys there were."""
        return len(self._sizes)

    def has_room(self, key: int) -> bool:
        """Whether one more thing fits there."""
        return self._sizes[key] < self._full

    def add_to(self, key: int) -> int:
        """One more thing there; how many that makes."""
        self._sizes[key] += 1
        return self._sizes[key]

    def open(self, place: int) -> int:
        """The key that is in use at that place, a new one if that is full."""
        if not self.has_room(self.current[place]):
            self.current[place] = len(self._sizes)
            self._sizes.append(0)
        return self.current[place]
