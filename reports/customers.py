"""The operations of case studies in the words of what customers do: `buy item 17 (order 24007, behind 23106)`, `confirmed`."""

from __future__ import annotations

from typing import Any

from splitbrain.checkers.cases.messaging import COPIES
from splitbrain.harness.history.operation import Operation
from splitbrain.reports.wording import phrase as plainly
from splitbrain.reports.wording import plural, printable, value

NOBODY = -1
"""The user of a social feed's final views, who blocked nobody."""

SHOWN = 60
"""Letters of a list that are shown."""


def phrase(operation: Operation, workload: str) -> tuple[str, str]:
    """An operation in two halves, the call and its answer, in the words of the workload if that is a case study of ours and the
    operation is shaped like one of it; else as any other is told."""
    told = _TOLD[workload](operation) if workload in _TOLD else None
    if told is None:
        return plainly(operation)
    call, answer = told
    return printable(call), printable(answer) if operation.outcome == "ok" else plainly(operation)[1]


def _sale(op: Operation) -> tuple[str, str] | None:
    match op.f, op.key, op.value:
        case "read", int(), None | int() as last:
            return f"look at item {op.key}", "nothing sold yet" if last is None else f"last order {last}"
        case "read", str(), attempt:
            return f"look at {value(op.key)}", "not paid" if attempt is None else f"paid by attempt {value(attempt)}"
        case "buy", _, (None | int() as last, int() as order):
            behind = "the first" if last is None else f"behind {last}"
            return f"buy item {value(op.key)} (order {order}, {behind})", "confirmed"
        case "pay", _, (_, int() as attempt):
            return f"pay {value(op.key)} (attempt {attempt})", "carried out"
    return None


def _cart(op: Operation) -> tuple[str, str] | None:
    match op.f, op.value:
        case "view", None | list() | tuple() as items:
            return f"view cart {value(op.key)}", f"items {_listed(items)}" if items else "empty"
        case "put", int() as item:
            return f"put item {item} into cart {value(op.key)}", "confirmed"
        case "take", int() as item:
            return f"take item {item} out of cart {value(op.key)}", "confirmed"
    return None


def _message(op: Operation) -> tuple[str, str] | None:
    match op.f, op.value:
        case "send", int() as copy:
            return f"send {_copy(copy)} to inbox {value(op.key)}", "confirmed"
        case "read", None | list() | tuple() as copies if all(isinstance(one, int) for one in copies or ()):
            return f"read inbox {value(op.key)}", _cut(", ".join(map(_copy, copies))) if copies else "no messages"
    return None


def _copy(of: int) -> str:
    """`message 12`, and of one that was sent again `message 12 (copy 2)`."""
    message, again = divmod(of, COPIES)
    return f"message {message}" + (f" (copy {again + 1})" if again else "")


def _feed(op: Operation) -> tuple[str, str] | None:
    match op.f, op.value:
        case "view", [int() as user, *posts] | (int() as user, *posts):
            return _viewed(op, user), f"posts {_listed(posts)}" if posts else "nothing"
        case "view", int() as user:
            return _viewed(op, user), ""
        case "post", int() as post:
            return f"author {value(op.key)} posts {post}", "confirmed"
        case "reply", (int() as to, int() as number):
            return f"reply {number} to post {to} of author {value(op.key)}", "confirmed"
        case "delete", int() as post:
            return f"delete post {post} of author {value(op.key)}", "confirmed"
        case "block", int() as user:
            return f"user {user} blocks author {value(op.key)}", "confirmed"
        case "rename", int() as name:
            return f"change {_named(op)} to {name}", "confirmed"
        case "look", None | int() as name:
            return f"look at {_named(op)}", "nothing" if name is None else str(name)
        case "like", int() as number:
            return f"{_named(op)}: add like {number}", "confirmed"
        case "likes", None | int() as many:
            return f"count {_named(op)}", plural(many or 0, "like")
    return None


def _viewed(op: Operation, user: int) -> str:
    return f"{'somebody' if user == NOBODY else f'user {user}'} views author {value(op.key)}"


def _limiter(op: Operation) -> tuple[str, str] | None:
    match op.f, op.value:
        case "ask", (int() as first, int() as second):
            through = f"{'let through' if first else 'turned away'}, {second} counted"
            return f"a request of {_named(op)}", through
    return None


def _named(op: Operation) -> str:
    """The name of a key, without quotation marks."""
    return printable(op.key)


def _listed(items: Any) -> str:
    return _cut(" ".join(map(value, items)))


def _cut(text: str) -> str:
    return printable(text, SHOWN)


_TOLD = {"flash-sale": _sale, "cart": _cart, "messaging": _message, "social-feed": _feed, "rate-limiter": _limiter}
