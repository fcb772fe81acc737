"""What a client may ask for, and the shape of each request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .wire import Message


def _scalar(field: Any) -> bool:
    return type(field) in (str, int)


def _optional(field: Any) -> bool:
    return field is None or _scalar(field)


def _whole(field: Any) -> bool:
    return type(field) is int


def _amount(field: Any) -> bool:
    return type(field) is int and field > 0


def _keys(field: Any) -> bool:
    return isinstance(field, list) and bool(field) and all(map(_scalar, field))


def _reads(field: Any) -> bool:
    return isinstance(field, list) and all(map(_is_micro, field)) and all(micro[0] == "r" for micro in field)


def _micros(field: Any) -> bool:
    return isinstance(field, list) and bool(field) and all(map(_is_micro, field))


def _is_micro(field: Any) -> bool:
    if not isinstance(field, list) or len(field) != 3 or not _scalar(field[1]):
        return False
    return field[2] is None if field[0] == "r" else field[0] in ("w", "append") and _scalar(field[2])


FIELDS: dict[str, dict[str, Callable[[Any], bool]]] = {
    "read": {"key": _scalar},
    "write": {"key": _scalar, "value": _scalar},
    "cas": {"key": _scalar, "expected": _optional, "new": _scalar},
    "siblings": {"key": _scalar},
    "compensated": {"key": _scalar},
    "add": {"key": _scalar, "element": _scalar},
    "remove": {"key": _scalar, "element": _scalar},
    "elements": {"key": _scalar},
    "increment": {"key": _scalar, "amount": _whole},
    "count": {"key": _scalar},
    "deposit": {"key": _scalar, "amount": _amount},
    "transfer": {"source": _scalar, "target": _scalar, "amount": _amount},
    "balances": {"keys": _keys},
    "txn": {"micros": _micros},
    "enqueue": {"key": _scalar, "element": _scalar},
    "dequeue": {"key": _scalar},
    "waiting": {"key": _scalar},
    "acquire": {"key": _scalar, "owner": _whole, "lease": _amount},
    "renew": {"key": _scalar, "owner": _whole, "lease": _amount},
    "release": {"key": _scalar, "owner": _whole},
    "holder": {"key": _scalar},
    "guarded-write": {"key": _scalar, "value": _scalar, "fence": _whole},
    "id": {"key": _scalar},
    "watch": {"key": _scalar, "since": _whole},
    "add-member": {"member": _scalar},
    "remove-member": {"member": _scalar},
    "allow-minority": {},
    "forbid-minority": {},
    "local-waiting": {"key": _scalar},
    "local-holder": {"key": _scalar},
    "local-watch": {"key": _scalar, "since": _whole},
    "local-read": {"key": _scalar},
    "local-elements": {"key": _scalar},
    "local-count": {"key": _scalar},
    "local-balances": {"keys": _keys},
    "local-txn": {"micros": _reads},
}


def is_sound(request: Message) -> bool:
    """Whether it is a request: a known operation, with every field of the right shape."""
    fields = FIELDS.get(str(request.get("op")))
    return fields is not None and all(is_right(request.get(field)) for field, is_right in fields.items())
