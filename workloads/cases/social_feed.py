"""A social feed whose features need different consistencies."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from typing import Any, ClassVar

from splitbrain.checkers.cases.social_feed import SocialFeedChecker
from splitbrain.checkers.verdict import Checker
from splitbrain.harness.history.operation import Key, Kind, Operation
from splitbrain.harness.history.variant import Capability
from splitbrain.harness.plan import Plan
from splitbrain.workloads.places import Places
from splitbrain.workloads.workload import Invocation, Workload

FULL = 40
"""Posts and replies of an author, before another one takes the place."""

USERS = 10

NOBODY = -1
"""The user of final views, who blocked nobody."""

DELETES, BLOCKS, REPLIES, RENAMES, LIKES = 0.1, 0.15, 0.4, 0.5, 0.65
"""Of the calls that change something, the part that deletes; and with it those that block, reply, rename, and like. The
others post."""


class SocialFeed(Workload):
    """`plan.keys` authors at a time, whose posts and the replies to them are a set. What was deleted is in a set of its own, a
    tombstone each, and so is whom a user blocked; a view shows what is in the first set and not in the second, and nothing of
    who is in the third. Each client has a profile, a register which it alone changes. A reply goes to something that its client
    was shown before, and a post is deleted by somebody who was shown it. The likes of an author are a set too, of which a
    page shows how many there are, so that a like that is sent again counts once. One worker of each home only views.
    """

    name: ClassVar[str] = "social-feed"
    summary: ClassVar[str] = "a social feed: deleted posts, blocked people, replies without a post, old profiles, lost likes"
    needs: ClassVar[frozenset[Capability]] = frozenset({"registers", "sets"})
    grows: ClassVar[bool] = True

    def __init__(self, plan: Plan, offers: frozenset[Capability]) -> None:
        super().__init__(plan, offers)
        self._number = 0
        self._authors = Places(plan.keys, FULL)
        self._shown: dict[int, tuple[int, list[int]]] = {}
        self._renamed: list[int] = []
        self._liked: dict[int, int] = {}

    def next(self, rng: random.Random, process: int, kind: Kind | None = None) -> Invocation:
        slot = rng.randrange(self.plan.keys)
        author = self._authors.current[slot]
        if self.reader(process) or kind == "read" or (kind is None and rng.random() < 0.5):
            draw = rng.random()
            if self._renamed and draw < 0.3:
                owner = process if process in self._renamed else rng.choice(self._renamed)
                return Invocation("look", f"profile-{owner}", None, "read")
            if self._liked and draw > 0.8:
                liked = author if author in self._liked else rng.choice(list(self._liked))
                return Invocation("likes", f"likes-{liked}", None, "read")
            return Invocation("view", rng.choice((author, rng.randrange(len(self._authors)))), rng.randrange(USERS), "read")
        self._number += 1
        draw = rng.random()
        shown, elements = self._shown.get(process, (author, []))
        if draw < DELETES and elements:
            return Invocation("delete", shown, rng.choice(elements), "write")
        if draw < BLOCKS:
            return Invocation("block", author, rng.randrange(USERS), "write")
        if draw < REPLIES and elements and self._authors.has_room(shown):
            self._authors.add_to(shown)
            return Invocation("reply", shown, (elements[-1], self._number), "write")
        if REPLIES <= draw < RENAMES and (process in self._renamed or len(self._renamed) < USERS * self.plan.nodes):
            if process not in self._renamed:
                self._renamed.append(process)
            return Invocation("rename", f"profile-{process}", self._number, "write")
        if RENAMES <= draw < LIKES and self._liked.get(author, 0) < FULL:
            self._liked[author] = self._liked.get(author, 0) + 1
            return Invocation("like", f"likes-{author}", self._number, "write")
        author = self._authors.open(slot)
        self._authors.add_to(author)
        return Invocation("post", author, self._number, "write")

    def observe(self, operation: Operation) -> None:
        if operation.f == "view" and operation.outcome == "ok" and isinstance(operation.key, int):
            self._shown[operation.process] = operation.key, sorted(operation.value[1:])

    async def invoke(self, client: Any, invocation: Invocation) -> Any:
        key, value = invocation.key, invocation.value
        match invocation.f:
            case "look":
                return await client.read(key)
            case "likes":
                return len(set(await client.elements(key)))
            case "rename":
                await client.write(key, value)
            case "delete":
                await client.add(f"deleted-{key}", value)
            case "block":
                await client.add(f"blocked-{value}", key)
            case "post" | "like":
                await client.add(key, value)
            case "reply":
                await client.add(key, value[1])
            case _:
                elements = set(await client.elements(key)) - set(await client.elements(f"deleted-{key}"))
                if value != NOBODY and key in await client.elements(f"blocked-{value}"):
                    elements = set()
                return [value, *sorted(elements)]
        return value

    def final(self) -> Sequence[Invocation]:
        views = [Invocation("view", author, NOBODY, "read") for author in range(len(self._authors))]
        looks = [Invocation("look", f"profile-{owner}", None, "read") for owner in self._renamed]
        return [*views, *looks, *(Invocation("likes", f"likes-{author}", None, "read") for author in self._liked)]

    def local(self) -> Sequence[Invocation]:
        return self.final()

    def holds(self, value: Any) -> bool:
        return len(value) > 1 if isinstance(value, list) else value is not None and value != 0

    def written(self) -> Collection[Key]:
        of_authors = [key for one in range(len(self._authors)) for key in (one, f"deleted-{one}", f"likes-{one}")]
        of_users = [*(f"profile-{owner}" for owner in self._renamed), *(f"blocked-{user}" for user in range(USERS))]
        return [*of_authors, *of_users]

    def checkers(self) -> tuple[Checker, ...]:
        return (SocialFeedChecker(),)
