import json
import shlex
import unicodedata
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitbrain.checkers.result import Blast, Discarded, GaveWay, Measure, Shut, Side
from splitbrain.harness.cli import commands
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.plan import Plan, ScriptedFault, usual_rto_max
from splitbrain.reports import wording
from tests.reports import story
from tests.reports.story import HOSTILE


@given(st.text(st.characters()))
def test_nothing_is_hidden_in_what_is_printable(text: str) -> None:
    shown = wording.printable(text)
    assert all(unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for letter in shown)
    assert "\n" not in shown


@given(st.text(st.characters(codec="ascii", categories=["L", "N", "P", "Zs"]), max_size=300))
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert wording.printable(text) == text


def test_long_text_is_cut_and_says_so() -> None:
    shown = wording.printable("x" * 5_000_000)
    assert len(shown) < 400
    assert shown.endswith("(5,000,000 characters)")


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_share_never_says_all_or_nothing_where_it_was_not(part: int, whole: int) -> None:
    part = min(part, whole)
    shown = wording.share(part, whole)
    if whole == 0:
        assert shown == "-"
        return
    assert (shown == "100.0%") == (part == whole)
    assert (shown == "0.0%") == (part == 0)
    if shown[0] not in "<>":
        assert abs(float(shown[:-1]) - 100 * part / whole) <= 0.0501


@pytest.mark.parametrize(
    ("ns", "shown"),
    [(0, "0:00.000"), (14_201_000_000, "0:14.201"), (14_201_999_999, "0:14.201"), (3_661_000_000_000, "61:01.000")],
)
def test_clock(ns: int, shown: str) -> None:
    assert wording.clock(ns) == shown


@pytest.mark.parametrize(
    ("ns", "shown"),
    [
        (0, "0 ms"), (400, "<0.01 ms"), (200_000, "0.20 ms"), (3_100_000, "3.1 ms"), (12_000_000, "12 ms"),
        (999_400_000, "999 ms"), (999_600_000, "1.0 s"), (3_300_000_000, "3.3 s"),
        (99_960_000_000, "100 s"), (720_000_000_000, "12 min"),
    ],
)  # fmt: skip
def test_span(ns: int, shown: str) -> None:
    assert wording.span(ns) == shown


def op(**fields: Any) -> Operation:
    usual: dict[str, Any] = {"process": 3, "f": "write", "value": 42, "invoked": 0, "completed": 1}
    return Operation(**usual | fields)


@pytest.mark.parametrize(
    ("operation", "call", "answer"),
    [
        (op(), "write 42", "ok"),
        (op(f="read", value=7), "read", "7"),
        (op(f="read", value=None), "read", "nil"),
        (op(f="read", value=None, outcome="fail", error="no-leader"), "read", "failed (no-leader)"),
        (op(f="cas", value=(3, 7)), "cas 3 to 7", "ok"),
        (op(f="cas", value=(3, 7), outcome="fail", error="mismatch", seen=(5,)), "cas 3 to 7", "refused, saw 5"),
        (op(f="cas", value=(None, 7), outcome="fail", error="mismatch"), "cas nil to 7", "refused (mismatch)"),
        (op(outcome="info", error="timeout", completed=None), "write 42", "no answer (timeout)"),
        (op(f="add", value="a"), 'add "a"', "ok"),
        (op(f="elements", value=[1, None]), "elements", "[1 nil]"),
    ],
)
def test_phrase(operation: Operation, call: str, answer: str) -> None:
    assert wording.phrase(operation) == (call, answer)


def test_sides_begin_with_the_smallest() -> None:
    assert wording.sides((("n2", "n3"), ("n1",))) == "{n1} | {n2 n3}"


def parsed(command: str) -> dict[str, Any]:
    """What the real command understands."""
    program, name, *arguments = shlex.split(command)
    assert program == "splitbrain"
    return commands.commands[name].make_context(name, arguments).params


@given(
    st.builds(
        Plan,
        database=st.sampled_from(["redis", "my db.py", "it's.py"]),
        variant=st.sampled_from(["sentinel", "a b"]),
        workload=st.sampled_from(["register", "set"]),
        nemesis=st.sampled_from(["four-partitions", "halves"]),
        nodes=st.integers(1, 9),
        time=st.sampled_from([0.0, 45.0, 0.5]),
        rate=st.sampled_from([0.0, 1200.0]),
        concurrency=st.integers(1, 5),
        seed=st.integers(0, 2**63 - 1),
        binary=st.sampled_from(["", "/opt/a b/redis"]),
        image=st.sampled_from(["", "redis:7"]),
        keep=st.booleans(),
        keys=st.sampled_from([40, 3]),
        timeout=st.sampled_from([1.0, 0.5]),
        settle=st.sampled_from([28.0, 0.0]),
        pace=st.sampled_from(["interval", "random"]),
        tcp_rto_max_ms=st.just(usual_rto_max()),
        expect=st.lists(st.sampled_from(["CP", "lost-write", "available:majority"]), max_size=2).map(tuple),
    )
)
def test_the_command_to_run_it_again_means_the_same_plan(plan: Plan) -> None:
    understood = parsed(wording.again(plan, "runs/x"))
    default = Plan(database="", variant="")
    for field in ("database", *wording.FLAGS):
        given, meant = understood[field], getattr(plan, field)
        if given is None or given == ():
            # Not told: then it must be the default that every database shares.
            assert meant == getattr(default, field)
            assert field not in ("variant", "nodes", "seed")
        else:
            assert given == meant


@pytest.mark.parametrize(
    "special",
    [{"tcp_rto_max_ms": 3}, {"tcp_rto_max_ms": 1000 - usual_rto_max()}, {"options": {"register": {"busy_reads": 0.4}}},
     {"schedule": (ScriptedFault(at=1, duration=2, nemesis="halves"),)}]
)
def test_what_no_flag_can_say_is_carried_by_the_plans_file(special: dict[str, Any]) -> None:
    command = wording.again(Plan(database="redis", variant="sentinel", **special), "my runs/x")
    assert str(parsed(command)["file"]) == "my runs/x/plan.toml"


def test_plan_lines_tell_what_differs_from_the_defaults() -> None:
    lines = dict(wording.plan_lines(Plan(database=HOSTILE, variant="v", keys=3)))
    assert lines.keys() == {"database", "variant", "keys"}
    assert json.loads(lines["keys"]) == 3
    assert "\x1b" not in lines["database"]


@pytest.mark.parametrize(
    ("of", "name", "address"),
    [
        ("documentation of Sentinel", "documentation of Sentinel", ""),
        (
            "N. Hurst, Visual guide (2010): http://blog.nahurst.com/visual",
            "N. Hurst, Visual guide (2010)",
            "http://blog.nahurst.com/visual",
        ),
        ("https://a.b/c", "https://a.b/c", "https://a.b/c"),
        ("javascript:alert(1)", "javascript:alert(1)", ""),
        ('x: http://a"onclick=1', 'x"onclick=1', "http://a"),
        ("See the guide (http://a/b).", "See the guide.", "http://a/b"),
        ("Manual, Writes: http://a/w/, and Journal: http://a/j/", "Manual, Writes, and Journal", "http://a/w/ http://a/j/"),
    ],
)
def test_a_source_is_names_and_addresses(of: str, name: str, address: str) -> None:
    assert wording.source_name(of) == name
    assert [one for _, one in wording.sources(of) if one] == address.split()


def test_quotation_marks_are_never_doubled() -> None:
    assert wording.cited('"as it is"') == wording.cited("as it is") == '"as it is"'
    assert wording.cited('"all" (but watches)') == '"all" (but watches)'


def test_clients_that_waited_are_not_told_as_if_nobody_had_come() -> None:
    assert wording.untried(Measure(kind="read")) == "nothing was tried"
    waited = Measure(kind="read", time_share=0.0, outage=3.9)
    assert wording.untried(waited) == "clients waited for 3.9 s: none was answered, so that none could ask again"


def test_what_gave_way_is_a_lower_bound_where_no_read_tells() -> None:
    of = Discarded(contested=2, writes=3, keys=1, last=1, rows=(GaveWay(key=1, nodes=("n1",), writes=3),))
    begins = "2 keys were written on several sides; after the heal "
    none = begins + "none"
    told = "3 acknowledged writes on 1 key gave way, 1 of them the last there (by {n1})"
    assert wording.gave_way(of) == begins + told
    untold = "; of 1 key no read tells whether a side's writes survived"
    assert wording.gave_way(msgspec.structs.replace(of, untold=1)) == begins + "at least " + told + untold
    assert wording.gave_way(Discarded(contested=2)) == none + " gave way"
    assert wording.gave_way(Discarded(contested=2, untold=1)) == none + " was seen to give way" + untold


def test_whose_calls_were_not_answered_is_told_with_the_fault_in_which() -> None:
    rows = tuple(story.result(story.recording()).scenarios) * 2
    row = rows[0]
    one = Shut(kind="read", share=1.0, fault=row.fault, scenario=row.name)
    both = (one, msgspec.structs.replace(one, kind="write"))
    assert wording.shut(Blast(clients_blocked=both), rows) == [
        ("100.0%", f"of clients got less than half of their reads and of their writes answered during {row.label}, the worst "
                   "of 2 faults"),
    ]
    apart = wording.shut(Blast(clients_blocked=(one, msgspec.structs.replace(both[1], share=0.2))), rows[:1])
    assert [(part, "worst" in told) for part, told in apart] == [("100.0%", False), ("20.0%", False)]


def test_what_took_longer_is_told_and_in_round_trips_where_all_links_were_delayed_alike() -> None:
    (row, *_), sides = story.result(story.recording()).scenarios, ("n1", "n2")
    usual = [Measure(kind="write", latency=0.012), Measure(kind="read", latency=0.011)]

    def told(write: float, read: float, trip: float | None) -> list[str]:
        side = Side(nodes=sides, quorum=True, primary=True, write=Measure(kind="write", latency=write),
                    read=Measure(kind="read", latency=read))
        return list(wording.slower(usual, msgspec.structs.replace(row, sides=(side,), links_cut=0, round_trip=trip)))

    assert told(0.214, 0.030, 0.202) == ["writes took 214 ms, 12 ms before (medians): longer by 1.0 round trips of 202 ms"]
    assert told(0.214, 0.040, None) == [
        "writes took 214 ms, 12 ms before (medians)", "reads took 40 ms, 11 ms before (medians)",
    ]
    assert told(0.020, 0.011, 0.202) == []


def test_keys_that_gave_way_without_a_write_of_another_side_are_told_as_others() -> None:
    rows = tuple(GaveWay(key=key, nodes=("n1",), writes=1) for key in range(3))
    of = Discarded(contested=2, writes=3, keys=3, last=3, rows=rows)
    assert wording.gave_way(of) == ("2 keys were written on several sides, others on one that gave way as a whole; "
                                    "after the heal 3 acknowledged writes on 3 keys gave way, 3 of them the last there "
                                    "(by {n1})")


def test_a_transaction_is_told_by_what_it_did_and_its_newest_reads() -> None:
    micros = [["r", 58, list(range(20, 29))], ["append", 59, 2771], ["r", "x", None], ["w", "y", 5], ["r", 4, []]]
    made = Operation(process=1, f="txn", value=micros, invoked=0, completed=1)
    assert wording.phrase(made) == (
        'txn: read 58: [… 26 27 28], append 2771 to 59, read "x": nil, write 5 to "y", read 4: []', "ok"
    )
    lost = Operation(process=1, f="txn", value=[["r", 4, None], ["append", 4, 1]], outcome="info", invoked=0)
    assert wording.phrase(lost) == ("txn: read 4, append 1 to 4", "no answer")
    strange = Operation(process=1, f="txn", value=[["swap", 4, 1], ["r", 4]], invoked=0, completed=1)
    assert wording.phrase(strange)[0] == 'txn [["swap" 4 1] ["r" 4]]'


def test_how_long_is_left_is_never_told_as_no_time() -> None:
    assert wording.time_left(60.0, 1, 3) == "about 3 min left" and wording.time_left(20.0, 1, 1) == "less than a minute left"
    assert not wording.time_left(0.0, 0, 3) and not wording.time_left(60.0, 3, 0)
