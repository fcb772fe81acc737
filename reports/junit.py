"""JUnit XML, for the jobs that run splitbrain by night.

One suite a run, named by its folder. Its cases have a class that is the same every night, `database.variant.workload.nemesis`:

* `verdict`: an `error` of type `unknown` where the run proves nothing; else passed. Where expectations were named they
  decide alone, as they decide the exit code, and this case only tells what was found.
* each checker: passed where it held, `skipped` where it did not decide, and for each kind of anomaly that it found a case of
  its own with a `failure` whose type is the anomaly's identifier (without expectations; an anomaly may be the expected one).
* each expectation: a `failure` of type `expectation` where it was not met.

A run whose cluster could not be set up is a suite with one `error` of type `set-up`; one that was refused, of type `usage`;
one that was interrupted, of type `interrupted`; one that crashed or cannot be read, of type `crash`. A run that was judged
though it was stopped has that error of its `verdict` beside what was found: it is never green, whatever was expected of it.

An attempt that proved nothing and was made again is a `flakyError` of the `verdict`, or a `rerunError` where the last attempt
proves nothing either.

The file is valid against the schema of Jenkins' xUnit plugin (junit-10.xsd): totals of all runs have no `skipped`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from splitbrain.checkers.result import NotJudged, Result
from splitbrain.checkers.verdict import Verdict
from splitbrain.harness.errors import CRASHED, INTERRUPTED, SetupError, UsageError
from splitbrain.harness.files import write_whole
from splitbrain.harness.plan import Plan, short
from splitbrain.reports.wording import client, clock, phrase, plural, printable, sentence

LONGEST = 4000
"""Characters of one text."""

STOPPED = {SetupError.exit_code: "set-up", UsageError.exit_code: "usage", CRASHED: "crash", INTERRUPTED: "interrupted"}
"""Exit codes of runs that did not go as planned, whatever their verdict is, with the type of their error."""


def write(path: Path, results: Sequence[Result | NotJudged], retried: Sequence[Sequence[str]] = ()) -> None:
    """Write the runs as JUnit XML. `retried` says of each run in its place what its attempts before were unknown for. Raises
    `StorageError` where it cannot be written."""
    root = ET.Element("testsuites", name="splitbrain")
    for result, before in zip(results, retried or [()] * len(results), strict=True):
        root.append(_suite(result, before))
    for total in ("tests", "failures", "errors"):
        root.set(total, str(sum(int(suite.get(total, "0")) for suite in root)))
    root.set("time", _seconds(suite.get("time", "0") for suite in root))
    ET.indent(root)
    write_whole(path, '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n")


def _suite(result: Result | NotJudged, retried: Sequence[str]) -> ET.Element:
    plan = result.plan
    called = () if plan is None else (plan.database, plan.variant, plan.workload, plan.nemesis)
    stable = _stable(plan) if plan is not None else _history(result)
    name = result.run or "-".join(map(short, called)) or _history(result)
    suite = ET.Element("testsuite", name=_text(name))
    properties: dict[str, object] = {}
    if plan is not None:
        shown = ("database", "variant", "workload", "nemesis", "nodes", "testbed", "seed")
        properties = {field: getattr(plan, field) for field in shown}
    if isinstance(result, NotJudged):
        _outcome(_case(suite, stable, "verdict"), "error", STOPPED.get(result.exit_code, "crash"), result.reason)
    else:
        if result.started:
            suite.set("timestamp", _text(result.started[:19]))
        properties |= {f"version.{node}": version for node, version in result.versions.items()}
        properties |= {f"testbed.{what}": told for what, told in result.facts.items()}
        properties |= {"validity": result.validity, "class": result.classification, "exit-code": result.exit_code}
        properties |= {f"count.{identifier}": number for identifier, number in result.counts.items()}
        _judged(suite, stable, result)
    if properties:
        holder = ET.Element("properties")
        for key, value in properties.items():
            ET.SubElement(holder, "property", name=_text(key), value=_text(value))
        suite.insert(0, holder)
    cases = suite.findall("testcase")
    proven = isinstance(result, Result) and result.validity != "unknown"
    for reason in retried:
        _outcome(cases[0], "flakyError" if proven else "rerunError", "unknown", reason)
    suite.set("tests", str(len(cases)))
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(attribute, str(sum(case.find(tag) is not None for case in cases)))
    suite.set("time", _seconds(case.get("time", "0") for case in cases))
    return suite


def _seconds(times: Iterable[str]) -> str:
    return f"{sum(map(float, times)):.3f}"


def _stable(plan: Plan) -> str:
    """The class of a run's cases: the same from night to night, so that a server shows a case's history."""
    return ".".join(map(short, (plan.database, plan.variant, plan.workload, "scripted" if plan.schedule else plan.nemesis)))


def _history(result: Result | NotJudged) -> str:
    """The name of a history that another program recorded."""
    source = result.source if isinstance(result, Result) else None
    return Path(source.path).name if source is not None else "history"


def _judged(suite: ET.Element, name: str, result: Result) -> None:
    case = _case(suite, name, "verdict", _length(result))
    if result.stopped or result.exit_code in STOPPED:
        _outcome(case, "error", STOPPED.get(result.exit_code, "unknown"), result.stopped or result.reason)
    elif result.validity == "unknown" and not result.expectations:
        _outcome(case, "error", "unknown", result.reason)
    told = sentence(f"{result.heading}: {result.reason}"), sentence(f"observed: {result.sentence or result.classification}")
    ET.SubElement(case, "system-out").text = _text(" ".join(told))
    faults = {row.fault: f"fault {row.fault}, {row.label}" for row in result.scenarios}
    for verdict in result.verdicts:
        _checker(suite, name, verdict, faults, may_fail=not result.expectations)
    for expected in result.expectations:
        case = _case(suite, name, f"expect {expected.what}")
        if not expected.met:
            _outcome(case, "failure", "expectation", f"{expected.what} was not seen: {expected.reason}")


def _length(result: Result) -> float:
    """How long the load of a run was, in seconds: as planned, or as its faults made it. 0 of what was no run."""
    if result.plan is None:
        return 0.0
    last = max((row.healed for row in result.scenarios if row.healed is not None), default=result.plan.baseline)
    return result.plan.time or last + result.plan.between


def _checker(suite: ET.Element, name: str, verdict: Verdict, faults: Mapping[int, str], *, may_fail: bool) -> None:
    found = dict.fromkeys([*verdict.counts, *(anomaly.identifier for anomaly in verdict.anomalies)])
    if verdict.validity != "invalid" or not found:
        case = _case(suite, name, verdict.checker, verdict.seconds)
        if verdict.validity == "unknown":
            ET.SubElement(case, "skipped", message=_text(verdict.reason))
        elif verdict.validity == "invalid" and may_fail:
            _outcome(case, "failure", verdict.checker, verdict.reason)
        return
    for number, identifier in enumerate(found):
        case = _case(suite, name, f"{verdict.checker}: {identifier}", 0.0 if number else verdict.seconds)
        example = next((anomaly for anomaly in verdict.anomalies if anomaly.identifier == identifier), None)
        times = f" ({plural(verdict.counts[identifier], 'time')})" if identifier in verdict.counts else ""
        blamed = [faults[fault] for fault, found in verdict.by_fault.items() if found.get(identifier) and fault in faults]
        during = f"; {', '.join(blamed[:3])}" + (f" and {len(blamed) - 3} more" if len(blamed) > 3 else "") if blamed else ""
        message = (example.sentence if example else verdict.reason) + times + during
        if may_fail:
            lines = (
                []
                if example is None
                else [f"{clock(op.invoked)} {client(op)}: {' -> '.join(phrase(op))}" for op in example.operations]
            )
            _outcome(case, "failure", identifier, message, lines)
        else:
            ET.SubElement(case, "system-out").text = _text(message)


def _case(suite: ET.Element, run: str, name: str, seconds: float = 0.0) -> ET.Element:
    return ET.SubElement(suite, "testcase", classname=_text(run), name=_text(name), time=f"{seconds:.3f}")


def _outcome(case: ET.Element, tag: str, kind: str, message: str, lines: Sequence[str] = ()) -> None:
    child = ET.SubElement(case, tag, type=_text(kind), message=_text(message))
    child.text = "\n".join(map(_text, lines)) or None


def _text(of: object) -> str:
    """XML knows no control characters, not even escaped: they are written out."""
    return printable(of, LONGEST)
