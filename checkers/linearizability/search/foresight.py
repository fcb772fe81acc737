"""Which foresight the search of a model has: what it must not reach, for it leads nowhere (see `needs`)."""

from __future__ import annotations

from splitbrain.checkers.budget import Budget
from splitbrain.checkers.linearizability.search.needs import Needs, OfRegisters, OfTexts
from splitbrain.checkers.linearizability.search.stock import Stock, foreseeing
from splitbrain.checkers.linearizability.search.sums import sums_of
from splitbrain.checkers.models.specifications import (
    Call,
    Counter,
    KeyValue,
    Model,
    MultiRegister,
    Mutex,
    Queue,
    Semaphore,
    Set,
    Stack,
    UnorderedQueue,
)

_BLIND: dict[type[Model], tuple[str, ...]] = {
    **dict.fromkeys((Queue, UnorderedQueue), ("enqueue",)), Stack: ("push",), Counter: ("add",),
    Set: ("add", "remove"), KeyValue: ("put", "append"), **dict.fromkeys((Mutex, Semaphore), ("acquire", "release")),
}
"""By model, the functions that do the same whether or not an answer came."""


def same(model: Model, call: Call) -> Call:
    """What does the same as `call` in every state, and is told in one way for all that do."""
    if call.outcome == "info" and call.f in _BLIND.get(type(model), ()):
        return call._replace(outcome="ok")
    return call


def foresight(
    model: Model, calls: list[Call], call_of: list[int], events: list[int], budget: Budget
) -> tuple[Model, Needs | None]:
    """The model to ask, and what is known of the needs of its operations; None where nothing is. Raises `Exhausted`."""
    if type(model) is KeyValue:
        return model, OfTexts(calls, call_of, events, budget)
    if type(model) is MultiRegister:
        return model, OfRegisters(model, calls, call_of, events, budget)
    if type(model) is Counter:
        return model, sums_of(calls, call_of, events, budget)
    if type(model) not in (Queue, Stack, UnorderedQueue):
        return model, None
    if None in {call.value for call in calls if call.f == model.functions[0]}:
        return model, None
    model = foreseeing(model, calls, call_of, events, budget)
    return model, Stock(model, calls, call_of, events, budget)
