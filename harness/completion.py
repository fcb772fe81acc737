"""What the shell may put where a name is begun: click asks these at the Tab key, and they ask the registry. What cannot be
told then (a file of one's own that does not load) is no name, and never an error in the middle of a line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, get_args, get_origin

import click
from click.shell_completion import CompletionItem

from splitbrain.harness import registry
from splitbrain.harness.errors import SplitbrainError
from splitbrain.harness.settings import Key

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def of(group: registry.Group) -> Completer:
    """The registered names of a group, or a file of one's own as soon as a path is begun. Of nemeses several may stand, `+`
    between them."""

    def complete(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
        before, plus, last = begun.rpartition("+") if group == "nemeses" else ("", "", begun)
        if not plus and (begun.startswith(".") or "/" in begun):
            return [CompletionItem(begun, type="file")]
        return _beginning(last, registry.names(group), before + plus)

    return complete


def words(known: Callable[[], Iterable[str]]) -> Completer:
    """Words that are the same everywhere, asked for when they are needed."""
    return lambda context, parameter, begun: _beginning(begun, known())


def variants(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """The variants of the database that stands in the line."""
    # The flag has no value yet, and click has therefore left the words before it where they were.
    named = context.params.get("database") or next(iter(context.args), "")
    try:
        database: Any = registry.look_up("databases", named)
    except SplitbrainError:
        return []
    return _beginning(begun, [variant.name for variant in database.variants])


def of_key(key: Key) -> Completer | None:
    """What completes the flag of a plan's key; None where nothing does."""
    if get_origin(key.kind) is Literal:
        return words(lambda: get_args(key.kind))
    return _FLAGS.get(key.name)


def expectations() -> Iterable[str]:
    """What `--expect` takes."""
    from splitbrain.checkers.expectations import WORDS

    return WORDS


def models() -> Iterable[str]:
    """What `check --model` takes."""
    from splitbrain.checkers.models.specifications import MODELS

    return MODELS


def formats() -> Iterable[str]:
    """What `check --format` takes."""
    from splitbrain.harness.history.formats import FORMATS

    return FORMATS


def cases() -> Iterable[str]:
    """The case studies."""
    from splitbrain.harness import cases

    return cases.names()


def _beginning(begun: str, known: Iterable[str], before: str = "") -> list[CompletionItem]:
    return [CompletionItem(before + name) for name in known if name.startswith(begun)]


_FLAGS: Mapping[str, Completer] = {
    "variant": variants, "workload": of("workloads"), "nemesis": of("nemeses"), "testbed": of("testbeds"),
    "checkers": of("checkers"), "expect": words(expectations),
}
"""A plan's key → what completes its flag."""
