"""Why a register with distinct values is not linearizable: for each name, the few operations that prove it alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec
import numpy as np
from numpy.typing import NDArray

from splitbrain.checkers.anomalies import generalises, rank
from splitbrain.checkers.budget import FOREVER, Budget, Exhausted
from splitbrain.checkers.linearizability.evidence.concerned import concerned
from splitbrain.checkers.linearizability.evidence.explanation import Explanation, Finding
from splitbrain.checkers.linearizability.evidence.lineages import Course
from splitbrain.checkers.linearizability.registers import zones
from splitbrain.checkers.models.specifications import Register
from splitbrain.checkers.verdict import Moment
from splitbrain.harness.history.history import History
from splitbrain.harness.history.values import canonical

_CANDIDATES = 3
"""For each that is to be shown, so many proofs are kept: of some, the rows alone show something else as well."""
LONG = 5000
"""Of a history of more operations, those that have to do with what is wrong are looked for first."""
MOST = 60
"""Operations of evidence above which the middle of a long lineage is counted instead of shown."""
_FEW = 6
"""A proof of so many operations is not made smaller."""


def explain(
    history: History, model: Register, shown: int, budget: Budget = FOREVER, course: Course | None = None
) -> tuple[dict[str, list[Moment]], list[Finding], bool]:
    """When each anomaly of the history of one key with distinct written values happened, by its name; at most `shown` of each
    name, the most telling name first; and whether the budget sufficed to look at all. Empty if
    there are none.

    `course` tells of the run's heals and when it had settled; None for a history that tells of no phases.

    Each finding's rows, taken as a history of their own, are invalid, by the same name or by more general ones. One for which
    no such rows are found is counted but not shown.
    """
    if course is None and len(history) > LONG:
        chains = zones.chains(history, model, budget)
        if chains is not None:
            rows = concerned(history, chains)
            if len(rows) < len(history):
                told, findings, whole = _explain(history.select(rows), model, shown, budget, None, _homes(history))
                if findings or budget.over:
                    return told, [_lifted(finding, rows) for finding in findings], whole
    return _explain(history, model, shown, budget, course, _homes(history))


def _homes(history: History) -> set[int]:
    """The codes of the nodes that somebody lived on, or whose server answered where that is not known."""
    return set(np.unique(np.where(history.node >= 0, history.node, history.server)).tolist()) - {-1}


def _lifted(finding: Finding, rows: NDArray[np.int64]) -> Finding:
    """`finding`, on the history of `rows`, with the rows of the whole history."""
    places = tuple(int(rows[row]) for row in finding.rows)
    return msgspec.structs.replace(finding, rows=places, accused=int(rows[finding.accused]))


def _explain(
    history: History, model: Register, shown: int, budget: Budget, course: Course | None, homes: set[int]
) -> tuple[dict[str, list[Moment]], list[Finding], bool]:
    """As `explain`, of all of the history."""
    moments: dict[str, list[Moment]] = {}
    candidates: list[Finding] = []
    found: list[Finding] = []
    per: Counter[str] = Counter()
    try:
        lineages = Explanation(history, model, _CANDIDATES * shown, budget, course, homes)
        moments, candidates = lineages.moments, lineages.found
        lineages.judge()
        whole = True
    except Exhausted:
        whole = False
    for finding in sorted(candidates, key=lambda finding: rank(finding.identifier)):
        if per[finding.identifier] == shown:
            continue
        if found and budget.over:
            whole = False
            break
        try:
            exact = _alone(lineages, history, model, finding, budget)
        except Exhausted:
            whole = False
            break
        if exact is not None:
            per[finding.identifier] += 1
            found.append(exact)
    return dict(sorted(moments.items(), key=lambda entry: rank(entry[0]))), found, whole


def _alone(lineages: Explanation, history: History, model: Register, finding: Finding, budget: Budget) -> Finding | None:
    """The finding with rows that alone show it, by its name or more general ones; None where others mingle. Raises `Exhausted`.

    A row is left out only where no other observes what it wrote; so what is left is no less true of the whole history.
    Where the budget is exhausted it is as small as it is.
    """
    rows = lineages.closed(finding.rows)
    if len(rows) > MOST:
        return _in_short(lineages, history, model, finding, len(rows), budget)
    names = _names(history, model, rows, budget)
    if _fits(names, finding) and len(rows) <= _FEW:
        return msgspec.structs.replace(finding, rows=tuple(sorted(rows)))
    for row in sorted(rows - {finding.accused}, key=lambda row: (-int(history.invoked[row]), row)):
        if budget.over:
            break
        fewer = rows - {row}
        if lineages.proves(row, finding) or lineages.closed(fewer) != fewer:
            continue
        try:
            left = _names(history, model, fewer, budget)
        except Exhausted:
            break
        if _fits(left, finding) and (left <= names or not _fits(names, finding)):
            rows, names = fewer, left
    return msgspec.structs.replace(finding, rows=tuple(sorted(rows))) if _fits(names, finding) else None


def _in_short(
    lineages: Explanation, history: History, model: Register, finding: Finding, size: int, budget: Budget
) -> Finding | None:
    """The finding without most of the compare-and-sets that lead from one version to another, where these are too many to look
    at: they are counted. None where what is left does not show it.

    One whose expected value nobody among the rows wrote stands for a write of what it set: that allows more, so what is not
    linearizable then is not with all of them either.
    """
    ends = sorted(lineages.ends(finding.rows))
    more = sorted({*ends, *lineages.turns(finding.rows)})
    for some in (ends, more, *([*ends[:at], *ends[at + 1:]] for at, row in enumerate(ends) if row != finding.accused)):
        part = _loosened(history, some)
        alone = Explanation(part, model, 0, budget, None, _homes(part))
        alone.judge()
        if _fits(set(alone.moments), finding):
            left = f"{finding.sentence} (with {size - len(some)} more compare-and-sets in between, which are not shown)"
            return msgspec.structs.replace(finding, rows=tuple(some), sentence=left)
    return None


def _loosened(history: History, rows: list[int]) -> History:
    """These rows, each compare-and-set from a value that none of them wrote taken for a write."""
    operations = [history[row] for row in rows]
    wrote = {
        canonical(op.value[1] if op.f == "cas" else op.value) for op in operations if op.f in ("write", "cas")
    }
    part = History.of([
        msgspec.structs.replace(op, f="write", value=op.value[1])
        if op.f == "cas" and op.outcome != "fail" and canonical(op.value[0]) not in wrote else op
        for op in operations
    ])
    part.timed = history.timed
    return part


def _fits(names: set[str], finding: Finding) -> bool:
    """Whether evidence that shows these names alone is evidence of the finding."""
    return bool(names) and all(generalises(name, finding.identifier) for name in names)


def _names(history: History, model: Register, rows: Iterable[int], budget: Budget) -> set[str]:
    """The names of what `rows` show alone. Raises `Exhausted`."""
    part = history.select(np.array(sorted(rows)))
    alone = Explanation(part, model, 0, budget, None, _homes(part))
    alone.judge()
    return set(alone.moments)
