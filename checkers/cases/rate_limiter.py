"""A rate limiter: how many requests got through beyond the limit, and how many were blocked though there was room.

A request is an `ask`; the answer is `(admitted, count)`, 1 or 0 and what its gateway had counted. A gateway that has no answer
from the database admits nothing, so that what was admitted is known for certain: a request that was not answered was blocked.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from splitbrain.checkers.structures.columns import check_functions, keys_of
from splitbrain.checkers.structures.findings import Findings, Told
from splitbrain.checkers.verdict import Figure, Moment, Verdict
from splitbrain.harness.history.moment import clock
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.recording import Recording

MODEL = "limits kept"


class RateLimiterChecker:
    """Judges `ask`, whose key is a customer in a window of time in which `limit` requests may pass, beside `beat` and `read`,
    by which gateways know of each other. Whatever is let through beyond the limit is `over-admitted`."""

    name = "rate-limiter"

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def check(self, recording: Recording) -> Verdict:
        """Raises `UsageError` for any other function."""
        history = recording.history
        check_functions(history, self.name, ("ask", "beat", "read"))
        found = Findings(recording)
        asked = passed = beyond = blocked = blocked_rightly = 0
        for key, rows in history.by_key():
            requests = [history[row] for row in rows.tolist() if history.fs[history.f[row]] == "ask"]
            admitted = [one for one in requests if one.outcome == "ok" and one.value[0]]
            admitted.sort(key=lambda one: one.ended)
            refused = len(requests) - len(admitted)
            room = max(0, self.limit - len(admitted))
            asked, passed = asked + len(requests), passed + len(admitted)
            beyond += max(0, len(admitted) - self.limit)
            blocked += min(refused, room)
            blocked_rightly += refused - min(refused, room)
            for at, request in enumerate(admitted[self.limit :], self.limit):
                sentence = (
                    f"{request.node or 'a gateway'} let a request of {key} through at {clock(request.ended)}, of which it had "
                    f"counted {request.value[1]}, though {at} had been let through and {self.limit} may."
                )
                found.add("over-admitted", key, Moment(began=request.invoked, seen=request.ended),
                          partial(_told, sentence, admitted[: self.limit], request))
        figures = [
            Figure(name="requests admitted", least=passed, most=passed, of=asked),
            Figure(name="requests rightly blocked", least=blocked_rightly, most=blocked_rightly, of=asked),
            Figure(name="requests let through beyond the limit", least=beyond, most=beyond, of=passed, price="consistency"),
            Figure(name="requests blocked though there was room", least=blocked, most=blocked, of=asked, price="availability"),
        ]
        return found.verdict(
            self.name, {MODEL: ("over-admitted",)}, keys=keys_of(history), judged=passed,
            things="customers", what="requests", figures=figures,
        )


def _told(sentence: str, others: Sequence[Operation], accused: Operation) -> Told:
    return sentence, [*others, accused]
