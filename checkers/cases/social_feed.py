"""A social feed: for each feature, whether it got the consistency that it needs.

A block and a deletion need a strong one: whoever looks after they were confirmed must see neither the person nor the post. A
reply needs a causal one: it must not be shown without what it answers. A profile needs that its owner reads the own changes.
Posts need nothing but that everybody has them in the end, which every run measures.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from splitbrain.checkers.cases.customers import Requests, server_of
from splitbrain.checkers.structures.columns import check_functions, keys_of
from splitbrain.checkers.structures.findings import Findings
from splitbrain.checkers.verdict import Coverage, Figure, Moment, Verdict
from splitbrain.harness.history.moment import clock
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.recording import Recording

BLOCKS, DELETIONS = "blocks kept", "deletions kept"
REPLIES, PROFILES = "replies causal", "profiles fresh"

FUNCTIONS = ("post", "reply", "delete", "block", "view", "rename", "look")


class SocialFeedChecker:
    """Judges, for each author, `post` of an element, `reply` of `(answered, element)`, `delete` of an element, `block` by a
    user, and `view`, which tells the user and the elements that were shown to them; and profiles, which their owner alone gives
    a greater number by `rename`, and anybody reads by `look`.

    A deleted element that is shown is `deleted-seen`, anything shown to who blocked the author `blocked-seen`, a reply shown
    without what it answers, which nobody deleted, `effect-before-cause`, and an older profile shown to its owner
    `missed-own-write`.
    """

    name = "social-feed"

    def check(self, recording: Recording) -> Verdict:
        """Raises `UsageError` for any other function."""
        history = recording.history
        check_functions(history, self.name, FUNCTIONS)
        over = recording.final
        found = Findings(recording)
        views = returned = 0
        users = Requests(over)
        for _, rows in history.by_key():
            operations = [history[row] for row in rows.tolist()]
            shown = [one for one in operations if one.f in ("view", "look") and one.outcome == "ok"]
            views += len(shown)
            _deleted(found, operations, shown)
            _blocked(found, operations, shown)
            _replies(found, operations, shown)
            _profiles(found, operations)
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
            users.figure("requests of users turned away"),
        ]
        models = {BLOCKS: ("blocked-seen",), DELETIONS: ("deleted-seen",), REPLIES: ("effect-before-cause",),
                  PROFILES: ("missed-own-write",)}
        return found.verdict(
            self.name, models, Coverage(keys=keys_of(history), operations=len(history)), judged=views, things="feeds",
            what="views", figures=figures,
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


def _tell(found: Findings, identifier: str, cause: Operation, view: Operation, what: str, though: str) -> None:
    seen = view.ended
    sentence = f"{what} by {server_of(view)} at {clock(seen)}, though {though} ({cause.f} at {clock(cause.ended)})."
    found.add(identifier, Moment(began=view.invoked, seen=seen), lambda: (sentence, (cause, view)))
