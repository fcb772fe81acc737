"""Mistakes in a person's own file: every method that a person writes, forgotten, wrong and raising. Each is one sentence with
file and line and exit code 64, and nothing of the run is left; in a client's call it costs that call, and is a note."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from xml.etree import ElementTree

import pytest

from splitbrain.checkers.judge import judge
from splitbrain.harness import registry
from splitbrain.harness.databases.database import copies, shard
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.history import History
from splitbrain.harness.history.journal import load
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.recording import Recording
from splitbrain.harness.load.client import lacking
from splitbrain.harness.plan import Plan
from splitbrain.harness.rehearsal import made
from splitbrain.harness.resolve import resolve
from tests.conftest import Ran
from tests.end_to_end.started import nothing_left

HERE = Path(__file__).parent
FORGETFUL = HERE.parent / "end_to_end" / "forgetful.py"
QUIET = ("--nodes", "3", "--nemesis", "none", "--time", "2", "--settle", "5", "--keys", "3")


def changed(folder: Path, file: Path, old: str, new: str) -> Path:
    """A copy of a person's file, mine.py, with one mistake."""
    text = file.read_text()
    assert text.count(old) == 1, old
    mine = folder / "mine.py"
    mine.write_text(text.replace(old, new))
    return mine


def instead(method: str, body: str) -> tuple[str, str]:
    """The beginning of a method, and a body that ends before its own begins."""
    return method, f"{method}\n        {body}"


NEXT = "def next(self, rng: random.Random, process: int, kind: Any = None) -> Invocation:"
FINAL = "def final(self) -> Sequence[Invocation]:"
LOCAL = "def local(self) -> Sequence[Invocation]:"
CHECKERS = "def checkers(self) -> tuple[splitbrain.Checker, ...]:"
AIM = "def aim(self, scenario: str, view: Outlook, rng: random.Random) -> tuple[Other, ...]:"
SCENARIOS = "def scenarios(self, nodes: int) -> Sequence[str]:"
INJECTOR = "def injector(self, spec: Any) -> splitbrain.Injector[Any]:"
MADE = "super().__init__(plan, offers)"

BEFORE_A_RUN = [
    ("workload", *instead(NEXT, "return None"), "next() returned None, and no Invocation"),
    ("workload", *instead(NEXT, "return ('read', 1)"), "next() returned ('read', 1), and no Invocation"),
    ("workload", *instead(NEXT, "return Invocation('read', 1, None, 'append')"), "its kind is 'append'"),
    ("workload", *instead(NEXT, "return Invocation(print, 1, None, 'read')"), "its f is <built-in function print>"),
    ("workload", *instead(NEXT, "return Invocation('read', [1], None, 'read')"), "its key is [1]"),
    ("workload", *instead(NEXT, "return {}['x']"), "next() raised KeyError: 'x'"),
    ("workload", NEXT, "def next(self) -> Invocation:", "next() raised TypeError"),
    ("workload", *instead(FINAL, "return None"), "final() returned None, and no Invocations"),
    ("workload", *instead(FINAL, "return 'read'"), "final() returned 'read', and no Invocations"),
    ("workload", *instead(FINAL, "return [None]"), "final() returned None, and no Invocation"),
    ("workload", *instead(FINAL, "return 1 / 0"), "final() raised ZeroDivisionError"),
    ("workload", *instead(LOCAL, "return None"), "local() returned None, and no Invocations"),
    ("workload", *instead(LOCAL, "return 1 / 0"), "local() raised ZeroDivisionError"),
    ("workload", *instead(CHECKERS, "return None"), "checkers() returned None, and no tuple of checkers"),
    ("workload", *instead(CHECKERS, "return (Bounds,)"), "Bounds is a class, and no checker: write Bounds()"),
    ("workload", *instead(CHECKERS, "return 1 / 0"), "checkers() raised ZeroDivisionError"),
    ("workload", '    name = "bounds"\n', "", "Bounds has no name"),
    ("workload", "    def check(self, ", "    def chekc(self, ", "Bounds has no method check(recording)"),
    ("workload", "    def final(", "    def invoke(self, client, invocation):\n        return 1\n\n    def final(",
     "invoke is no coroutine: write 'async def invoke'"),
    ("workload", MADE, f"{MADE}\n        raise OSError('no file')", "Counting() raised OSError: no file"),
    ("workload", "offers: frozenset[Any]) ->", "offers: frozenset[Any], more: int) ->", "Counting() raised TypeError"),
    ("workload", LOCAL, "def locla(self):", "class Counting lacks local"),
    ("workload", '    name: ClassVar[str] = "counting"\n', "", "class Counting: name must be a text"),
    ("workload", 'frozenset({"compare-and-set"})', '["registers"]', "needs must be a frozenset"),
    ("workload", 'frozenset({"compare-and-set"})', 'frozenset({"compare"})', "needs 'compare', which is nothing"),
    ("nemesis", *instead(SCENARIOS, "return None"), "scenarios() returned None, and no names of scenarios"),
    ("nemesis", *instead(SCENARIOS, "return 'one'"), "scenarios() returned 'one', and no names of scenarios"),
    ("nemesis", *instead(SCENARIOS, "return [1]"), "scenarios() returned [1], and no names of scenarios"),
    ("nemesis", *instead(SCENARIOS, "return 1 / 0"), "scenarios() raised ZeroDivisionError"),
    ("nemesis", *instead(AIM, "return None"), "aim() returned None, and no tuple of what to do"),
    ("nemesis", *instead(AIM, "return ('n1',)"), "aim() returned ('n1',), and no tuple of what to do"),
    ("nemesis", *instead(AIM, "return splitbrain.Kill(nodes=('n1',))"), "and no tuple of what to do"),
    ("nemesis", *instead(AIM, "return (splitbrain.Kill(nodes=('n9',)),)"), "aim() names 'n9', which is no node (n1, n2"),
    ("nemesis", *instead(AIM, "return (splitbrain.Kill(nodes=None),)"), "and no links or nodes"),
    ("nemesis", *instead(AIM, "return view.leader"), "aim() raised AttributeError"),
    ("nemesis", *instead(INJECTOR, "return None"), "injector() returned None, and no Injector"),
    ("nemesis", *instead(INJECTOR, "return 1 / 0"), "injector() raised ZeroDivisionError"),
    ("nemesis", AIM, "def aimm(self):", "class FullFolder lacks aim"),
    ("nemesis", SCENARIOS, f"def minimum_nodes(self):\n        return '3'\n\n    {SCENARIOS}", "minimum_nodes() returned '3'"),
    ("nemesis", SCENARIOS, f"needs = {{'cut'}}\n\n    {SCENARIOS}", "needs must be a frozenset"),
    ("nemesis", SCENARIOS, f"needs = frozenset({{'explode'}})\n\n    {SCENARIOS}", "needs 'explode', which is nothing"),
    ("checker", '    name = "small-numbers"\n', "    name = None\n", "SmallNumbers has no name"),
    ("checker", '    name = "small-numbers"\n', '    name = "x"\n\n    def __init__(self):\n        1 / 0\n',
     "SmallNumbers() raised ZeroDivisionError"),
]
FILES = {"workload": HERE / "counting.py", "nemesis": HERE / "full_folder.py", "checker": HERE / "small_numbers.py"}


@pytest.mark.parametrize(("part", "old", "new", "told"), BEFORE_A_RUN, ids=[f"{row[0]}: {row[3]}" for row in BEFORE_A_RUN])
def test_it_is_refused_before_a_run(tmp_path: Path, part: str, old: str, new: str, told: str) -> None:
    mine = changed(tmp_path, FILES[part], old, new)
    with pytest.raises(UsageError) as refused:
        resolve({"database": "reference", **({"checkers": [str(mine)]} if part == "checker" else {part: str(mine)})})
    assert re.match(r"mine\.py:\d+: ", str(refused.value)) and told in str(refused.value), refused.value
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("file", FILES.items(), ids=lambda file: str(file[0]))
def test_what_is_right_is_not_refused(file: tuple[str, Path]) -> None:
    part, path = file
    resolve({"database": "reference", **({"checkers": [str(path)]} if part == "checker" else {part: str(path)})})


CHECK = "def check(self, recording: splitbrain.Recording) -> splitbrain.Verdict:"


@pytest.mark.parametrize(("body", "told"), [
    ("return None", "check() returned None, and no Verdict"),
    ("return 1 / 0", "ZeroDivisionError"),
    ("return splitbrain.Verdict(checker='x', validity='wrong', reason='')", "no Verdict that can be kept: Invalid enum value"),
    ("return splitbrain.Verdict(checker='x', validity='valid', reason='', counts=['x'])", "no Verdict that can be kept"),
    ("return splitbrain.Verdict(checker='x', validity='invalid', reason='', anomalies=('x',))", "no Verdict that can be kept"),
])
def test_what_a_checker_says_wrongly_is_unknown_with_its_place(tmp_path: Path, body: str, told: str) -> None:
    mine = changed(tmp_path, FILES["checker"], *instead(CHECK, body))
    one = Operation(process=0, f="read", value=1, invoked=0, completed=1)
    recording = Recording(history=History.of([one]), nodes=("n1",), plan=Plan(database="d", variant="v"))
    result = judge(recording, [registry.look_up("checkers", str(mine))()])
    assert result.validity == "unknown" and told in result.verdicts[0].reason, result.verdicts
    assert re.search(r"mine\.py:\d+: ", result.verdicts[0].reason), result.verdicts[0].reason


def also(method: str, body: str) -> tuple[str, str]:
    """A method that forgetful.py does not have."""
    return "    async def versions(", f"    {method}\n        {body}\n\n    async def versions("


READY = "async def ready(self) -> bool:"
CONNECT = "async def connect(self, server: splitbrain.Node) -> Any:"
IN_A_RUN: list[tuple[str, str, str]] = [
    (*instead(READY, "return None"), "ready() returned None, and neither True nor False"),
    (*also("async def primary(self, node):", "return {}[node]"), "primary() raised KeyError"),
    (CONNECT, f"{CONNECT}\n        if hasattr(self, 'late'):\n            return None",
     "connect() returned None, and its client has no read()"),
]


@pytest.mark.parametrize(("old", "new", "told"), IN_A_RUN, ids=[row[2] for row in IN_A_RUN])
def test_a_database_that_breaks_its_contract_is_refused(
    splitbrain: Callable[..., Ran], tmp_path: Path, old: str, new: str, told: str
) -> None:
    mine = changed(tmp_path, FORGETFUL, old, new)
    if "hasattr(self, 'late')" in new:  # The servers are ready, and are asked for that by clients that are right.
        mine.write_text(mine.read_text().replace("            return False\n        return True", "            return False\n"
                                                 "        self.late = True\n        return True"))
    ran = splitbrain("test", mine, *QUIET)
    words = " ".join((ran.stdout + ran.stderr).split())
    assert ran.code == 64 and told in words and "Traceback" not in words, ran.stdout + ran.stderr
    assert re.search(r"mine\.py:\d+: ", words), words
    nothing_left(ran.folder)


def test_a_database_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    mine = changed(tmp_path, FORGETFUL, *instead("super().__init__(plan, nodes)", "1 / 0"))
    with pytest.raises(UsageError, match=r"^mine\.py:\d+: Forgetful\(\) raised ZeroDivisionError"):
        made(registry.look_up("databases", str(mine)), Plan(database=str(mine), variant="plain"), ())


def test_a_workload_that_goes_wrong_in_the_middle_ends_the_load_and_what_was_recorded_is_judged(
    splitbrain: Callable[..., Ran], tmp_path: Path
) -> None:
    late = "self.times = getattr(self, 'times', 0) + 1\n        if self.times > 20:\n            return None\n        "
    key = "key = rng.randrange(self.plan.keys)"
    mine = changed(tmp_path, FILES["workload"], key, late + key)
    # Whose author says that the order of what a copy tells is no part of it, though it is a number.
    needs = "    needs: ClassVar"
    mine = changed(tmp_path, mine, needs, f"    ordered: ClassVar[bool] = False\n{needs}")
    ran = splitbrain("test", "reference", "--variant", "majority", "--workload", mine, *QUIET, "--expect", "unknown")
    words = " ".join((ran.stdout + ran.stderr).split())
    assert ran.code == 64 and re.search(r"mine\.py:\d+: next\(\) returned None", words), ran.stdout + ran.stderr
    assert "Traceback" not in words and "UNKNOWN" in ran.stdout
    # How many of the twenty were answered is the machine's doing: whoever waited then is cut short.
    result = ran.result
    assert result.totals.operations - result.totals.final == 20, "each call that was begun is part of the history"
    assert result.exit_code == 64 and result.expectations[0].met and result.stopped.startswith("load: mine.py:")
    root = ElementTree.parse(ran.folder / "junit.xml").getroot()
    assert root.get("errors") == "1", "no run that was stopped is green"
    _, recording = load(ran.folder / "journal.jsonl")
    assert recording.local_reads and not recording.notes, recording.notes
    assert all(read.error is None for read in recording.local_reads), "numbers have no order, and are told as they are"
    nothing_left(ran.folder)


def test_an_injector_that_goes_wrong_is_told_and_the_rest_undone(splitbrain: Callable[..., Ran], tmp_path: Path) -> None:
    proof = "await self._proof(spec, cluster, full=False)"
    mine = changed(tmp_path, FILES["nemesis"], f"return {proof}", proof)
    ran = splitbrain("test", "reference", "--variant", "majority", "--nemesis", mine, "--nodes", "3", "--baseline", "1",
                     "--fault", "1", "--between", "1", "--settle", "1", "--keys", "5")
    words = " ".join((ran.stdout + ran.stderr).split())
    assert ran.code == 64 and re.search(r"mine\.py:\d+: undo\(\) returned None, and no Proof", words), ran.stdout
    assert "Traceback" not in words and "UNKNOWN" in ran.stdout
    nothing_left(ran.folder)


def test_an_injector_that_claims_a_heal_which_did_not_come_is_found_out(
    splitbrain: Callable[..., Ran], tmp_path: Path
) -> None:
    emptied = 'await self._run(spec, cluster, "rm", "-f", "ballast")'
    mine = changed(tmp_path, FILES["nemesis"], emptied, emptied + '\n        await cluster.cut("nobody", [("n1", "n2")])')
    ran = splitbrain("test", "reference", "--variant", "majority", "--nemesis", mine, "--nodes", "3", "--baseline", "1",
                     "--fault", "1", "--between", "1", "--settle", "1", "--keys", "5")
    (check,) = (one for one in ran.result.quality.checks if one.name == "phases")
    assert ran.code == 2 and not check.passed and check.text == "heal: not healed: n1→n2, n2→n1", (ran.stdout, check)
    nothing_left(ran.folder)


class Odd:
    """A database of which only the names of nodes and one method matter."""

    def __init__(self, told: Any) -> None:
        self.nodes = dict.fromkeys(("n1", "n2"))
        self._told = told

    def replicas(self, key: Any) -> Any:
        return self._told[0] if isinstance(self._told, tuple) else self._told[key]

    shard = replicas


@pytest.mark.parametrize(("of", "told", "said"), [
    (copies, ("n1",), "replicas() returned 'n1', and no tuple of names of nodes"),
    (copies, (None,), "replicas() returned None, and no tuple of names of nodes"),
    (copies, (("n1", "n9"),), "replicas() returned ('n1', 'n9'), and 'n9' is no node (n1, n2)"),
    (copies, {}, "replicas() raised KeyError: 'x'"),
    (lambda database, key: shard(database, key, 2), (2,), "returned 2, and primaries() told the primaries of 2: from 0 to 1"),
    (lambda database, key: shard(database, key, 2), (-1,), "returned -1, and"),
    (lambda database, key: shard(database, key, 2), (None,), "returned None, and"),
    (lambda database, key: shard(database, key, 2), {}, "raised KeyError: 'x'"),
])
def test_where_a_key_lies(of: Callable[..., Any], told: Any, said: str) -> None:
    """Copies and shards that are none: nothing is compared, or asked, that nobody meant."""
    with pytest.raises(UsageError) as refused:
        of(Odd(told), "x")
    assert re.match(r"test_mistakes\.py:\d+: ", str(refused.value)) and said in str(refused.value), refused.value
    assert copies(cast("Any", Odd((["n2"],))), "x") == ("n2",) and shard(cast("Any", Odd((1,))), "x", 2) == 1


def test_what_a_client_lacks() -> None:
    class Half:
        def read(self) -> None: ...

        def write(self) -> None: ...

        def close(self) -> None: ...

    assert lacking(Half(), ("registers",)) == ""
    assert "no cas(), which the capability 'compare-and-set'" in lacking(Half(), ("compare-and-set", "registers"))
    assert "no next_id(), which the capability 'ids'" in lacking(object(), ("ids",))
    assert "no close()" in lacking(SimpleNamespace(next_id=print), ("ids",))
