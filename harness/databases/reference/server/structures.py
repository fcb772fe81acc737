"""What a replicated store holds beside registers and sets: queues, locks on lease, identifiers, and the changes of registers.

All of it is changed by `[op, key, argument...]`, and nothing but these arguments decides what comes of a change, so that every
replica that makes the same changes holds the same. Time comes as an argument: the wall clock of the primary.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from .wire import Failure, Key, Message, Value

KEPT = 4000
"""The changes of a register that are kept; who asks for older ones is refused."""


class Structures:
    """One replica's."""

    def __init__(self) -> None:
        self.queues: dict[Key, deque[Value]] = {}
        self.holders: dict[Key, list[int]] = {}
        """Lock → owner, and when the lease ends, by the wall clock in nanoseconds."""
        self.fences: dict[Key, int] = {}
        """Lock → the fence of its last holder."""
        self.ids: dict[Key, int] = {}
        self.events: dict[Key, list[list[Any]]] = {}
        self.revision = 0
        self.forgotten: dict[Key, int] = {}
        """Register → the last revision that is not kept any more."""

    def apply(self, change: list[Any]) -> Message:
        """Make a change; the answer."""
        op, key = change[0], change[1]
        match op:
            case "enqueue":
                self.queues.setdefault(key, deque()).append(change[2])
                return {"ok": True}
            case "dequeue":
                queue = self.queues.get(key)
                return {"ok": True, "value": queue.popleft() if queue else None}
            case "id":
                self.ids[key] = self.ids.get(key, 0) + 1
                return {"ok": True, "value": self.ids[key]}
            case "acquire":
                owner, ends, now = change[2:]
                if (other := self.holder(key, now)) not in (None, owner):
                    return {"ok": False, "seen": other}
                self.fences[key] = self.fences.get(key, 0) + 1
                self.holders[key] = [owner, ends]
                return {"ok": True, "fence": self.fences[key]}
            case "renew":
                owner, ends, now = change[2:]
                if (other := self.holder(key, now)) != owner:
                    return {"ok": False, "seen": other}
                self.holders[key] = [owner, ends]
                return {"ok": True}
            case _:
                owner, _, now = change[2:]
                if (other := self.holder(key, now)) != owner:
                    return {"ok": False, "seen": other}
                del self.holders[key]
                return {"ok": True}

    def holder(self, key: Key, now: int) -> int | None:
        """Who holds a lock at that time."""
        held = self.holders.get(key)
        return held[0] if held is not None and now < held[1] else None

    def changed(self, key: Key, value: Value) -> None:
        """A register was set."""
        self.revision += 1
        events = self.events.setdefault(key, [])
        events.append([self.revision, value])
        if len(events) > KEPT:
            self.forgotten[key] = events[KEPT // 4 - 1][0]
            del events[: KEPT // 4]

    def since(self, key: Key, revision: int) -> list[list[Any]]:
        """The changes of a register after a revision. Raises `Failure` where they are forgotten."""
        if revision < self.forgotten.get(key, 0):
            raise Failure("compacted", definite=True)
        events = self.events.get(key, [])
        first = len(events)
        while first and events[first - 1][0] > revision:
            first -= 1
        return events[first:]

    def whole(self) -> Message:
        """As a peer is told it."""
        return {
            "queues": [[key, list(queue)] for key, queue in self.queues.items()],
            "revision": self.revision,
            **{name: list(getattr(self, name).items()) for name in ("holders", "fences", "ids", "events", "forgotten")},
        }

    def restore(self, whole: Message) -> None:
        """Become what a peer told."""
        self.queues = {key: deque(elements) for key, elements in whole["queues"]}
        self.revision = whole["revision"]
        for name in ("holders", "fences", "ids", "events", "forgotten"):
            setattr(self, name, {key: value for key, value in whole[name]})
