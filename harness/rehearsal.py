"""What a person's own workload, nemesis and checkers are asked before anything starts: everything of theirs that needs no
cluster is called once, on a database in good order. A method that returns nothing, or what is no such thing, is then one
sentence with its line, and no surprise in the middle of a run.

The built-ins are asked the same: whoever refuses here breaks the contract, whoever wrote it.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast, get_args

from splitbrain.checkers.verdict import Checker
from splitbrain.harness import registry
from splitbrain.harness.errors import SplitbrainError, UsageError, defined, hint, raised_by, returned_by
from splitbrain.harness.history.fault import Spec
from splitbrain.harness.history.variant import Variant
from splitbrain.harness.plan import Plan
from splitbrain.harness.testbeds.testbed import Ability
from splitbrain.nemeses.combination import Combination
from splitbrain.nemeses.injectors.injector import Injector
from splitbrain.nemeses.nemesis import Nemesis, NoTarget, Outlook
from splitbrain.workloads.workload import Workload, check_calls

T = TypeVar("T")


def rehearse(plan: Plan, variant: Variant) -> None:
    """Ask the plan's workload and checkers. Raises `UsageError` with the file, the line and what is wrong."""
    kind = registry.look_up("workloads", plan.workload)
    for method in (kind.set_up, kind.invoke):
        if not inspect.iscoroutinefunction(method):
            raise UsageError(f"{defined(method)}{method.__name__} is no coroutine: write 'async def {method.__name__}'.")
    workload: Workload = made(kind, plan, variant.offers)
    check_calls(workload.next, [ask(workload.next, random.Random(plan.seed), process) for process in range(3)])
    for method in (workload.final, workload.local):
        check_calls(method, ask(method))
    checkers(workload)
    for name in plan.checkers:
        checker(made(registry.look_up("checkers", name)))


def checkers(workload: Workload) -> tuple[Checker, ...]:
    """The checkers of a workload. Raises `UsageError` where it tells something else."""
    told = ask(workload.checkers)
    if not isinstance(told, Sequence) or isinstance(told, str):
        raise returned_by(workload.checkers, told, "no tuple of checkers")
    return tuple(map(checker, told))


def checker(told: Any) -> Checker:
    """A checker that is one. Raises `UsageError` for what is none."""
    where = defined(told if isinstance(told, type) else type(told))
    if isinstance(told, type):
        raise UsageError(f"{where}{told.__name__} is a class, and no checker: write {told.__name__}().")
    if not isinstance(getattr(told, "name", None), str):
        raise UsageError(f"{where}{type(told).__name__} has no name: a checker has one, a text.")
    if not callable(getattr(told, "check", None)):
        raise UsageError(f"{where}{type(told).__name__} has no method check(recording).")
    return cast("Checker", told)


def rehearse_nemesis(nemesis: Nemesis, nodes: int) -> None:
    """Have a nemesis say what it would do to a cluster in good order, in each of its scenarios; whether there is a target then
    is for the run to find out. Raises `UsageError`."""
    if isinstance(nemesis, Combination):
        for part in nemesis.parts:
            rehearse_nemesis(part.nemesis, nodes)
        return
    named(type(nemesis), Ability)
    names = tuple(f"n{number}" for number in range(1, nodes + 1))
    view = Outlook(names=names, primary=names[0], last_primary=names[-1])
    least = ask(nemesis.minimum_nodes)
    if type(least) is not int:
        raise returned_by(nemesis.minimum_nodes, least, "no number of nodes")
    for scenario in scenarios(nemesis, nodes) if nodes >= least else ():
        specs = aimed(nemesis, scenario, view, random.Random(0))
        for spec in specs or ():
            injector = ask(nemesis.injector, spec)
            if not isinstance(injector, Injector):
                raise returned_by(nemesis.injector, injector, "no Injector")


def scenarios(nemesis: Nemesis, nodes: int) -> Sequence[str]:
    """The names of a nemesis' scenarios. Raises `UsageError` where it tells none."""
    told = ask(nemesis.scenarios, nodes)
    if isinstance(told, str) or not isinstance(told, Sequence) or not all(isinstance(one, str) for one in told):
        raise returned_by(nemesis.scenarios, told, "no names of scenarios")
    return told


def aimed(nemesis: Nemesis, scenario: str, view: Outlook, rng: random.Random) -> tuple[Spec, ...] | None:
    """What it would do; None where it has no target."""
    try:
        specs = ask(nemesis.aim, scenario, view, rng)
    except NoTarget:
        return None
    check_specs(nemesis, specs, view.names)
    return specs


def check_specs(nemesis: Nemesis, specs: Any, names: Sequence[str]) -> None:
    """Refuse what is no tuple of specs, and specs of nodes that there are not. Raises `UsageError`."""
    if not isinstance(specs, tuple) or not all(isinstance(spec, get_args(Spec)) for spec in specs):
        raise returned_by(nemesis.aim, specs, "no tuple of what to do: (splitbrain.Cut(...),)")
    try:
        touched = {str(node) for spec in specs for node in spec.touched}
    except TypeError as error:
        raise returned_by(nemesis.aim, specs, "no links or nodes") from error
    if unknown := sorted(touched - set(names)):
        raise UsageError(f"{defined(nemesis.aim)}aim() names '{unknown[0]}', which is no node ({', '.join(names)}).")


def ask(method: Callable[..., T], *of: Any) -> T:
    """What a person's method answers. Raises `UsageError` with its place for whatever it raises but `NoTarget`."""
    try:
        return method(*of)
    except (SplitbrainError, NoTarget):
        raise
    except Exception as error:
        raise raised_by(method, error) from error


def made(kind: type[T], *of: Any) -> T:
    """An instance of a person's class. Raises `UsageError` where it cannot be made."""
    if missing := sorted(getattr(kind, "__abstractmethods__", ())):
        raise UsageError(f"{defined(kind)}class {kind.__name__} lacks {', '.join(missing)}.")
    return ask(kind, *of)


def named(kind: type[Any], known: Any) -> None:
    """Refuse a class without a name, or that needs what there is not. Raises `UsageError`."""
    if not isinstance(getattr(kind, "name", None), str):
        raise UsageError(f"{defined(kind)}class {kind.__name__}: name must be a text.")
    needs = getattr(kind, "needs", None)
    if not isinstance(needs, frozenset):
        raise UsageError(f"{defined(kind)}class {kind.__name__}: needs must be a frozenset of texts.")
    if unknown := sorted(str(one) for one in needs if one not in get_args(known)):
        raise UsageError(f"{defined(kind)}class {kind.__name__} needs '{unknown[0]}', which is nothing that can be needed: "
                         f"{hint(unknown[0], get_args(known))}")
