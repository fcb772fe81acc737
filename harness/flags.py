"""The flags that commands share, what their values may be, and what those of a plan mean together."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from splitbrain.harness import completion
from splitbrain.harness.errors import PlanError, UsageError
from splitbrain.harness.plan import Plan
from splitbrain.harness.settings import SECOND, Key, keys, seconds


class Seconds(click.ParamType[float]):
    """A length of time: `90`, `60s`, `1m30s`, `2h`; seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if (length := seconds(str(value))) is None:
            self.fail(f"'{value}' is not a length of time: write 90, 60s or 1m30s.", param, ctx)
        return length


class NewFile(click.Path):
    """Where a file is to be written: in a folder that is there, told before anything is done."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, dir_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(str(super().convert(value, param, ctx)))
        if not path.parent.is_dir():
            self.fail(f"'{path}' cannot be written: there is no folder '{path.parent}'; make it first.", param, ctx)
        if not os.access(path.parent if not path.exists() else path, os.W_OK):
            self.fail(f"'{path}' cannot be written: you may not write there; name another place.", param, ctx)
        return path


class _Of(click.ParamType[Any]):
    """A value of a plan's key."""

    def __init__(self, key: Key) -> None:
        self._key = key
        self.name = {int: "integer", float: "time" if key.setting.unit == SECOND else "number"}.get(key.kind, "text")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value, or the word that stands for one."""
        if value == self._key.setting.zero:
            return value
        number = _number(value, self._key.kind)
        try:
            taken = self._key.take(value if number is None else number)
        except PlanError as error:
            self.fail(error.reason, param, ctx)
        return taken[0] if isinstance(taken, tuple) else taken


def _number(value: Any, kind: Any) -> float | int | None:
    """The number that a text is, for a key that is one."""
    try:
        return kind(value) if kind in (int, float) else None
    except ValueError:
        return None


def plan_flags(command: Callable[..., int]) -> Callable[..., int]:
    """The flags of a plan's keys, as `Plan` has them."""
    command = click.option("--compose", type=click.Path(path_type=Path, exists=True),
                           help="Test the cluster that Docker Compose runs from this file; start nothing.")(command)
    command = click.option("--attach", is_flag=True, help="Test the cluster that runs on --hosts; start nothing.")(command)
    command = click.option("--hosts", type=click.Path(), help="An inventory of a cluster of your own, for --attach.")(command)
    for key in reversed(list(keys(Plan).values())):
        if key.flag and key.kind is bool:
            command = click.option(key.flag, key.name, is_flag=True, default=None, help=key.describe())(command)
        elif key.flag:
            many = isinstance(key.default, tuple)
            again = " Repeatable." if many else ""
            command = click.option(key.flag, key.name, type=_Of(key), multiple=many, help=key.describe() + again,
                                   shell_complete=completion.of_key(key))(command)
    return command


def given(flags: dict[str, Any], database: str | None) -> dict[str, Any]:
    """The flags that were given, with what leads to a cluster of a person's own. Raises `UsageError` for half of
    --hosts FILE --attach, and for flags that lead to two clusters."""
    told = {name: None if value == () else value for name, value in flags.items()} | {"database": database}
    hosts, attach, compose = told.pop("hosts", None), told.pop("attach", False), told.pop("compose", None)
    if told.get("containers") == "":
        raise UsageError("--containers names no label.")
    leading = [flag for flag, said in (("--containers", told.get("containers")), ("--compose", compose),
                                       ("--hosts", hosts or attach)) if said]
    if len(leading) > 1:
        raise UsageError(f"{' and '.join(leading)} name a cluster each: leave all but one out.")
    testbed = "containers" if compose or told.get("containers") else "attached" if hosts or attach else ""
    if leading and told.get("testbed") not in (None, testbed):
        raise UsageError(f"{leading[0]} means the testbed {testbed}, and --testbed says {told['testbed']}: leave one out.")
    if hosts and told.get("inventory"):
        raise UsageError("--hosts and --inventory name the machines twice: leave one out.")
    if compose is not None:
        from splitbrain.harness.testbeds.attach_containers import composed

        told["containers"] = composed(compose)
    if testbed == "containers":
        return told | {"testbed": testbed}
    if hosts and not attach:
        raise UsageError("--hosts names a cluster that runs already and is yours: say --attach, too. To have splitbrain start "
                         "servers on machines: --testbed ssh --inventory FILE.")
    if attach:
        if not hosts:
            raise UsageError("--attach needs the cluster: --hosts FILE, an inventory of its machines.")
        told |= {"testbed": testbed, "inventory": str(hosts)}
    return told


PLAN = click.option("--plan", "file", type=click.Path(path_type=Path),
                    help="A plan in TOML, as runs keep it; flags win over it.")

RUNS = click.option(
    "--runs", type=click.Path(path_type=Path, file_okay=False), default=Path("runs"), show_default=True,
    help="The folder that keeps all runs.",
)

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")

HTML = click.option("--html", type=NewFile(), metavar="FILE",
                    help="Write it as a page that opens in a browser, too.")

DASK = click.option("--dask", metavar="ADDRESS", help="The scheduler of a Dask cluster whose workers do it (10.0.0.1:8786).")
