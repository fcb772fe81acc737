"""Several registers, each looked at alone: what transactions did to one of them is a history of that register.

Where all of it is linearizable, so is what was done to each register, in the same order: what a transaction found there and
what it left is one read, write or compare-and-set of it. So what refutes one register refutes the transactions that did it.
The converse does not hold: what passes is left to the search.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

from splitbrain.checkers.budget import FOREVER, Budget
from splitbrain.checkers.linearizability.decision import Decision
from splitbrain.checkers.models.specifications import Call, MultiRegister
from splitbrain.checkers.verdict import Verdict
from splitbrain.harness.history.history import FAIL, NEVER, OK, OUTCOMES, History, Table
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.values import canonical

_LIMIT = "time for looking at each register alone"
"""What is told where the evidence may be larger than it need be."""


def projected(history: History, model: MultiRegister, budget: Budget = FOREVER) -> tuple[History, list[Hashable]] | None:
    """What was done to each register, with the row of the transaction as its index, and the names of the registers, which are
    keys by their number; None where a transaction is none. Raises `Exhausted`."""
    names: dict[Hashable, int] = {}
    operations: list[Operation] = []
    table = Table()
    for row in range(len(history)):
        if not row & 1023:
            table.extend(operations)
            operations = []
            budget.check()
        value = history.values[row]
        if model.complaint(Call("txn", canonical(value))):
            return None
        completed = int(history.completed[row])
        for register, f, told in _parts(value, int(history.outcome[row]), model):
            operations.append(Operation(
                process=int(history.process[row]), f=f, value=told, key=names.setdefault(register, len(names)),
                outcome=OUTCOMES[history.outcome[row]], invoked=int(history.invoked[row]),
                completed=None if completed == NEVER else completed, index=row,
            ))
    table.extend(operations)
    budget.check()
    return table.history(), list(names)


def _parts(value: Any, outcome: int, model: MultiRegister) -> Iterator[tuple[Hashable, str, Any]]:
    """What a transaction did to each of its registers. What one that is not acknowledged found is not known."""
    read, left = model.effect(((f, canonical(name), told) for f, name, told in value), known=outcome == OK)
    found: dict[Hashable, Any] = {}
    for register, told in read:
        found.setdefault(register, told)
    for register, told in found.items():
        if register not in left:
            yield register, "read", told
    for register, told in left.items():
        swaps = register in found and outcome != FAIL
        yield register, *(("cas", (found[register], told)) if swaps else ("write", told))


def decision(verdict: Verdict, names: list[Hashable]) -> Decision | None:
    """What the verdict on the registers says of the transactions; None where it refutes none."""
    if verdict.validity != "invalid":
        return None
    if not verdict.anomalies:
        return Decision(method="registers", valid=False)
    anomaly = min(verdict.anomalies, key=lambda one: len(one.operations))
    assert isinstance(anomaly.key, int) and anomaly.accused is not None
    accused = anomaly.operations[anomaly.accused].index
    return Decision(
        method="registers", valid=False, identifier="non-linearizable", accused=accused,
        rows=tuple(sorted({operation.index for operation in anomaly.operations})),
        sentence=f"register {names[anomaly.key]}: {anomaly.sentence}",
        limit=_LIMIT if verdict.limits else "",
    )
