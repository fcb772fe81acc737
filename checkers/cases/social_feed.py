"""A social feed: for each feature, whether it got the consistency that it needs.

A block and a deletion need a strong one: whoever looks after they were confirmed must see neither the person nor the post. A
reply needs a causal one: it must not be shown without what it answers. A profile needs that its owner reads the own changes.
Likes are eventual: a count may be
behind while a fault lasts, but never above what people gave, and in the end somewhere as much as was confirmed. Posts need
nothing but that everybody has them in the end, which every run measures.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from splitbrain.checkers.cases.customers import Requests, server_of
from splitbrain.checkers.structures.columns import check_functions, keys_of
from splitbrain.checkers.structures.findings import Findings
from splitbrain.checkers.verdict import Figure, Moment, Verdict
from splitbrain.harness.history.moment import clock
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.recording import Recording

BLOCKS, DELETIONS = "blocks kept", "deletions kept"
REPLIES, PROFILES, LIKES = "replies causal", "profiles fresh", "likes counted"

FUNCTIONS = ("post", "reply", "delete", "block", "view", "rename", "look", "like", "likes")


class SocialFeedChecker:
    """Judges, for each author, `post` of an element, `reply` of `(answered, element)`, `delete` of an element, `block` by a
    user, and `view`, which tells the user and the elements that were shown to them; and profiles, which their owner alone gives
    a greater number by `rename`, and anybody reads by `look`; and counters, to which each `like` adds one, and which `likes`
    reads.

    A deleted element that is shown is `deleted-seen`, anything shown to who blocked the author `blocked-seen`, a reply shown
    without what it answers, which nobody deleted, `effect-before-cause`, and an older profile shown to its owner
    `missed-own-write`. More likes than anybody gave are `out-of-bounds`; a count before the end that is too low is none. Fewer
    than were confirmed, in every count in the end, are `wrong-total`.
    """

    name = "social-feed"

    def check(self, recording: Recording) -> Verdict:
        """Raises `UsageError` for any other function."""
        history = recording.history
        check_functions(history, self.name, FUNCTIONS)
        over = recording.final
        found = Findings(recording)
        views = returned = 0
        users, likes = Requests(over), _Likes(found, over)
        for _, rows in history.by_key():
            operations = [history[row] for row in rows.tolist()]
            shown = [one for one in operations if one.f in ("view", "look") and one.outcome == "ok"]
            views += len(shown)
            _deleted(found, operations, shown)
            _blocked(found, operations, shown)
            _replies(found, operations, shown)
            _profiles(found, operations)
            likes.judge(operations)
            end = [one for one in shown if one.f == "view" and one.invoked >= over]
            gone = {one.value for one in operations if one.f == "delete" and one.outcome == "ok"}
            returned += len(gone.intersection(*(one.value[1:] for one in end))) if end else 0
            users.count(operations)
        counts = found.counts
        told = (("deleted posts shown", counts["deleted-seen"]), ("of them shown to everybody in the end", returned),
                ("views that showed a blocked person", counts["blocked-seen"]),
                ("replies shown without what they answer", counts["effect-before-cause"]),
                ("profiles shown old to their owner", counts["missed-own-write"]))
        figures = [
            Figure(name="views and looks", least=views, most=views),
            *(Figure(name=name, least=number, most=number, price="consistency") for name, number in told),
            *likes.figures(),
            users.figure("requests of users turned away"),
        ]
        models: dict[str, tuple[str, ...]] = {
            BLOCKS: ("blocked-seen",), DELETIONS: ("deleted-seen",), REPLIES: ("effect-before-cause",),
            PROFILES: ("missed-own-write",),
        }
        if likes.given:
            models[LIKES] = ("wrong-total", "out-of-bounds")
        return found.verdict(
            self.name, models, keys=keys_of(history), judged=views, things="feeds",
            what="views", figures=figures,
            unproven={LIKES: "nobody counted in the end all likes that were confirmed"} if likes.unsettled else {},
        )


def _confirmed(operations: Sequence[Operation], f: str) -> dict[int, Operation]:
    """For each value the call that was confirmed first."""
    first: dict[int, Operation] = {}
    for one in operations:
        if one.f == f and one.outcome == "ok" and (one.value not in first or one.ended < first[one.value].ended):
            first[one.value] = one
    return first


def _deleted(found: Findings, operations: Sequence[Operation], shown: Sequence[Operation]) -> None:
    deleted = _confirmed(operations, "delete")
    for view in shown:
        for element in view.value[1:] if view.f == "view" else ():
            if element in deleted and deleted[element].ended < view.invoked:
                _tell(found, "deleted-seen", deleted[element], view, f"post {element} of author {view.key} was shown",
                      "its deletion had been confirmed")


def _blocked(found: Findings, operations: Sequence[Operation], shown: Sequence[Operation]) -> None:
    blocks = _confirmed(operations, "block")
    for view in shown:
        if view.f == "view" and view.value[1:] and view.value[0] in blocks and blocks[view.value[0]].ended < view.invoked:
            _tell(found, "blocked-seen", blocks[view.value[0]], view,
                  f"user {view.value[0]} was shown posts of author {view.key}", "they had blocked that author")


def _replies(found: Findings, operations: Sequence[Operation], shown: Sequence[Operation]) -> None:
    replies = {one.value[1]: one for one in operations if one.f == "reply"}
    gone = {one.value for one in operations if one.f == "delete" and one.outcome != "fail"}
    for view in shown:
        elements = set(view.value[1:]) if view.f == "view" else set()
        for element in sorted(elements & replies.keys()):
            answered = replies[element].value[0]
            if answered not in elements and answered not in gone:
                _tell(found, "effect-before-cause", replies[element], view,
                      f"reply {element} to post {answered} of author {view.key} was shown without that post",
                      "whoever replied had seen it and nobody deleted it")


def _profiles(found: Findings, operations: Sequence[Operation]) -> None:
    """An owner's changes follow each other, each with a greater number."""
    changes: dict[int, list[Operation]] = {}
    for one in operations:
        if one.f == "rename" and one.outcome == "ok":
            changes.setdefault(one.process, []).append(one)
    for look in operations:
        if look.f == "look" and look.outcome == "ok" and (own := changes.get(look.process)):
            before = bisect_left([one.ended for one in own], look.invoked)
            if before and (look.value or 0) < own[before - 1].value:
                _tell(found, "missed-own-write", own[before - 1], look, f"{look.key} was shown old to its owner",
                      "the owner's change had been confirmed")


class _Likes:
    """The counts of likes, each between what must and what can have been counted.

    A count tells a number alone: nobody knows whose likes it holds. So it is behind what was confirmed for certain where it is
    below that, and at most wherever it is below all that was given by its end and may be there.
    """

    def __init__(self, found: Findings, final: int) -> None:
        self._found, self._final = found, final
        self.given = self.confirmed = self.counts = self.unsettled = 0
        self._behind = self._behind_most = self._missing = self._missing_most = 0

    def judge(self, operations: Sequence[Operation]) -> None:
        """Judge one counter of them."""
        given = sorted((one for one in operations if one.f == "like" and one.outcome != "fail"), key=lambda one: one.invoked)
        done = sorted((one for one in given if one.outcome == "ok"), key=lambda one: one.ended)
        counts = [one for one in operations if one.f == "likes" and one.outcome == "ok"]
        begun, confirmed = [one.invoked for one in given], [one.ended for one in done]
        for count in counts:
            must, can = bisect_left(confirmed, count.invoked), bisect_right(begun, count.ended)
            if count.value > can:
                self._tell_high(count, can)
            if count.invoked < self._final:
                self.counts += 1
                self._behind += count.value < must
                self._behind_most += must > 0 and count.value < can
        self.given += len(given)
        self.confirmed += len(done)
        end = max((one for one in counts if one.invoked >= self._final), key=lambda one: one.value, default=None)
        if end is None:
            self.unsettled += bool(done)
            self._missing_most += len(done)
            return
        self._missing += max(0, len(done) - end.value)
        self._missing_most += min(len(done), max(0, len(given) - end.value))
        if end.value < len(done):
            self._tell_low(done, end)

    def figures(self) -> list[Figure]:
        """What users were shown of likes; none where nobody gave one."""
        if not self.given:
            return []
        return [
            Figure(name="counts of likes behind what was confirmed", least=self._behind, most=self._behind_most, of=self.counts,
                   price="consistency"),
            Figure(name="confirmed likes missing from every count in the end", least=self._missing, most=self._missing_most,
                   of=self.confirmed, price="consistency"),
        ]

    def _tell_high(self, count: Operation, can: int) -> None:
        sentence = (f"{count.value} likes were shown in {count.key} by {server_of(count)} at {clock(count.ended)}, though no "
                    f"more than {can} had been given, or may have been.")
        self._found.add("out-of-bounds", count.key, Moment(began=count.invoked, seen=count.ended), lambda: (sentence, (count,)))

    def _tell_low(self, done: Sequence[Operation], end: Operation) -> None:
        sentence = (f"{end.value} likes were shown in {end.key} by {server_of(end)} at {clock(end.ended)}, the most of all "
                    f"counts in the end, though {len(done)} had been confirmed.")
        moment = Moment(began=done[-1].ended, seen=end.ended)
        self._found.add("wrong-total", end.key, moment, lambda: (sentence, (*done[: end.value + 1], end)))


def _tell(found: Findings, identifier: str, cause: Operation, view: Operation, what: str, though: str) -> None:
    seen = view.ended
    sentence = f"{what} by {server_of(view)} at {clock(seen)}, though {though} ({cause.f} at {clock(cause.ended)})."
    found.add(identifier, view.key, Moment(began=view.invoked, seen=seen), lambda: (sentence, (cause, view)))
