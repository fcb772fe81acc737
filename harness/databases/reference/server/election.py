"""Elections by the votes of a majority, which end however slow the nodes are.

A vote is given once in a generation, to a candidate that holds at least what the voter holds, by a voter that hears no
primary; so a majority elects at most one in a generation, and nobody who lacks what a majority confirmed (Ongaro & Ousterhout
2014, 5.2 and 5.4; the trial before the vote is 9.6 of Ongaro's thesis).

That alone is safe and need not end. Where every node that misses the primary stands for itself, those who hold too little to
win raise the generation again and again, past the one who could, whose candidacy is then refused as old; the slower the
answers, the surer. So here

* a candidate asks first whether it would be voted for (a *trial*), which raises no generation and takes no vote away;
* candidates are ordered, by what they hold and then by name, and whoever takes part in a trial *favours* its candidate: until
  that is elected, gives up, is lost, or `FAVOUR` is over, it does not stand, and is there for better candidates alone. So of
  candidates that reach each other the best is left;
* a candidate that only had too small a generation takes a greater one at once;
* an answer counts however late it comes, for as long as the candidacy lasts; no two of one node are under way together.
"""

from __future__ import annotations

import random
from typing import Protocol

from .node import Server
from .peers import Link
from .wire import Message

Candidate = tuple[list[int], str]
"""What it holds, and its name: the greater is the better candidate."""


class Voter(Protocol):
    """The mode on whose behalf an election is held."""

    def held(self) -> list[int]:
        """What this node holds, comparable with what others hold."""
        ...

    def undecided(self) -> bool:
        """Whether it may vote or stand: it is not primary, and knows of none that it is bound to."""
        ...

    def adopt(self, generation: int, voted: str | None) -> None:
        """A greater generation has begun, or this node has voted in one; before anybody is told."""
        ...

    def lead(self, generation: int) -> None:
        """This node was elected."""
        ...


class Election:
    """One node's part in elections, as a voter and as a candidate."""

    FAVOUR = 1.0

    def __init__(self, server: Server, voter: Voter, weights: dict[str, int], due: float) -> None:
        self.generation = 0
        self.voted: str | None = None
        """Whom this node voted for in this generation."""
        self.due = due
        """When it stands, if it is undecided by then."""
        self._server = server
        self._voter = voter
        self._weights = weights
        self._favoured: Candidate | None = None
        self._favoured_until = 0.0
        self._standing = False

    def majority(self, votes: int) -> bool:
        """Whether so many votes are more than half of all."""
        return 2 * votes > sum(self._weights.values())

    def quorum(self) -> bool:
        """Whether this node and the peers that it reaches have a majority of the votes."""
        return self.majority(self._weights[self._server.name] + sum(self._weights[link.name] for link in self._server.up()))

    def learn(self, generation: int, voted: str | None = None) -> None:
        """A generation that is greater than this node's own, or a vote in it."""
        if generation > self.generation or voted is not None:
            self.generation, self.voted = generation, voted
            self._voter.adopt(generation, voted)

    def restore(self, generation: int, voted: str | None) -> None:
        """What an earlier process of this node had learnt."""
        self.generation, self.voted = generation, voted

    def tick(self) -> None:
        """Stand, if it is time to."""
        if (
            not self._standing
            and self._server.now() >= self.due
            and self._voter.undecided()
            and self.quorum()
            and self._favours(self._me())
        ):
            self._standing = True
            self._server.spawn(self._stand())

    def lost(self, peer: str) -> None:
        """The link to a peer is down: it is favoured no more."""
        if self._favoured is not None and self._favoured[1] == peer:
            self._release()

    def answer(self, peer: str, message: Message) -> Message | None:
        """A peer's `vote`, or that it gives up its candidacy (`withdraw`, which has no answer)."""
        if message["t"] == "withdraw":
            self.lost(peer)
            return None
        candidate: Candidate = message["held"], peer
        generation = message["generation"]
        if not self._voter.undecided():
            refusal = "primary"
        elif message["held"] < self._voter.held():
            refusal = "held"
        elif not self._favours(candidate):
            refusal = "favour"
        elif not message["trial"] and (
            generation < self.generation or (generation == self.generation and self.voted not in (None, peer))
        ):
            refusal = "generation"
        else:
            self._favour(candidate)
            if not message["trial"]:
                self.learn(generation, peer)
            return {"yes": True, "generation": self.generation}
        return {"yes": False, "why": refusal, "generation": self.generation}

    def _me(self) -> Candidate:
        return self._voter.held(), self._server.name

    def _favours(self, candidate: Candidate) -> bool:
        return self._favoured is None or self._server.now() >= self._favoured_until or candidate >= self._favoured

    def _favour(self, candidate: Candidate) -> None:
        self._favoured, self._favoured_until = candidate, self._server.now() + self.FAVOUR

    def _release(self) -> None:
        self._favoured = None
        self.due = max(self.due, self._server.now() + random.uniform(0, 0.1))

    async def _stand(self) -> None:
        try:
            while await self._campaign():
                pass
        finally:
            self._standing = False

    async def _campaign(self) -> bool:
        """A trial, and if a majority would vote, the vote; whether to stand again at once."""
        me, peers = self._me(), self._server.up()
        self._favour(me)
        won, refusals, greatest = await self._ask(peers, trial=True, generation=self.generation + 1)
        if won and self._voter.undecided() and self._me() == me and self._favoured == me:
            generation = max(greatest, self.generation) + 1
            self.learn(generation, self._server.name)
            won, refusals, greatest = await self._ask(peers, trial=False, generation=generation)
            if won and self.generation == generation and self.voted == self._server.name and self._voter.undecided():
                self._favoured = None
                self._voter.lead(generation)
                return False
            if greatest > self.generation:
                self.learn(greatest)
            if self._voter.undecided() and self._favoured == me and refusals and set(refusals) == {"generation"}:
                return True
        if self._favoured == me:
            self._favoured = None
        for link in peers:
            if link.up:
                link.tell({"t": "withdraw"})
        # Somebody who holds more may stand instead; it may just not have missed the primary yet.
        pause = random.uniform(0.4, 0.6) if "held" in refusals else random.uniform(0.1, 0.25)
        self.due = max(self.due, self._server.now() + pause)
        return False

    async def _ask(self, peers: list[Link], *, trial: bool, generation: int) -> tuple[bool, list[str], int]:
        """Whether a majority says yes, why others refuse, and the greatest generation that any of them knows."""
        votes, greatest = self._weights[self._server.name], 0
        refusals: list[str] = []

        def judge(peer: str, reply: Message | None) -> bool:
            nonlocal votes, greatest
            if reply is not None:
                greatest = max(greatest, reply["generation"])
                if reply["yes"]:
                    votes += self._weights[peer]
                else:
                    refusals.append(reply["why"])
            return self.majority(votes)

        message = {"t": "vote", "trial": trial, "generation": generation, "held": self._voter.held()}
        if not judge(self._server.name, None):
            await self._server.ask(peers, message, judge, self._server.now() + self.FAVOUR)
        return self.majority(votes), refusals, greatest
