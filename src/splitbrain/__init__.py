"""The public names of splitbrain, all that a person's own code imports.

`import splitbrain` loads nothing else: a name brings its module the moment it is used, so that judging a history needs no
testbed, no driver and no terminal. The rooms of the repository (`harness`, `checkers`, ...) are linked into this package, so
that this is the only name that an installation takes. To judge a history that one's own program recorded:

    import splitbrain
    from splitbrain import Operation

    operations = [
        Operation(process=0, f="write", key="x", value=1, invoked=0, completed=10),
        Operation(process=1, f="write", key="x", value=2, invoked=20, completed=30),
        Operation(process=2, f="read", key="x", value=1, invoked=40, completed=50),
        Operation(process=0, f="cas", key="x", value=(2, 3), invoked=60, outcome="info"),
    ]
    verdict = splitbrain.check(operations, "cas-register")
    print(verdict.validity, "-", verdict.reason)
    for anomaly in verdict.anomalies:
        print(anomaly.identifier, "-", anomaly.sentence)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from splitbrain.checkers.linearizability import Linearizability
    from splitbrain.checkers.linearizability.machine.compiled import load_machine_code
    from splitbrain.checkers.models.specifications import Call, Model
    from splitbrain.checkers.result import Result
    from splitbrain.checkers.verdict import Anomaly, Checker, Moment, Standing, Verdict
    from splitbrain.harness.check import CheckedFile, check, check_file
    from splitbrain.harness.databases.database import Connections, Database, Detection, Program
    from splitbrain.harness.databases.membership import Membership
    from splitbrain.harness.databases.switchable import Switchable
    from splitbrain.harness.errors import (
        Elsewhere,
        HistoryError,
        Indeterminate,
        Mismatch,
        Refused,
        SetupError,
        SplitbrainError,
        UsageError,
    )
    from splitbrain.harness.history.fault import Cut, Fault, Figure, Impair, Kill, Other, Pause, Proof, Skew, Spec
    from splitbrain.harness.history.formats import read
    from splitbrain.harness.history.history import History
    from splitbrain.harness.history.operation import Operation
    from splitbrain.harness.history.recording import Recording
    from splitbrain.harness.history.variant import Capability, Claim, Damage, Label, Variant
    from splitbrain.harness.load.client import Client
    from splitbrain.harness.plan import OptionTable, Plan
    from splitbrain.harness.run import Outcome, run
    from splitbrain.harness.settings import Setting
    from splitbrain.harness.testbeds.testbed import Node, Service, Testbed
    from splitbrain.harness.verify import verify
    from splitbrain.nemeses.cluster import Cluster
    from splitbrain.nemeses.injectors.injector import Injector
    from splitbrain.nemeses.nemesis import Nemesis, NoTarget, Outlook
    from splitbrain.nemeses.partitions import Partition
    from splitbrain.workloads.workload import Invocation, Workload

__version__ = "0.2.0"

__all__ = [
    "Anomaly", "Call", "Capability", "CheckedFile", "Checker", "Claim", "Client", "Cluster", "Connections", "Cut", "Damage",
    "Database", "Detection", "Elsewhere", "Fault", "Figure", "History", "HistoryError", "Impair", "Indeterminate",
    "Injector", "Invocation", "Kill", "Label", "Linearizability", "Membership", "Mismatch", "Model", "Moment", "Nemesis",
    "NoTarget", "Node", "Operation", "OptionTable", "Other", "Outcome", "Outlook", "Partition", "Pause", "Plan", "Program",
    "Proof", "Recording", "Refused", "Result", "Service", "Setting", "SetupError", "Skew", "Spec", "SplitbrainError",
    "Standing", "Switchable", "Testbed", "UsageError", "Variant", "Verdict", "Workload", "check", "check_file",
    "load_machine_code", "read", "run", "verify",
]

_HOMES = {
    "splitbrain.checkers.linearizability": ("Linearizability",),
    "splitbrain.checkers.linearizability.machine.compiled": ("load_machine_code",),
    "splitbrain.checkers.models.specifications": ("Call", "Model"),
    "splitbrain.checkers.verdict": ("Anomaly", "Checker", "Moment", "Standing", "Verdict"),
    "splitbrain.checkers.result": ("Result",),
    "splitbrain.harness.check": ("CheckedFile", "check", "check_file"),
    "splitbrain.harness.databases.database": ("Connections", "Database", "Detection", "Program"),
    "splitbrain.harness.databases.membership": ("Membership",),
    "splitbrain.harness.databases.switchable": ("Switchable",),
    "splitbrain.harness.errors": (
        "Elsewhere", "HistoryError", "Indeterminate", "Mismatch", "Refused", "SetupError", "SplitbrainError", "UsageError",
    ),
    "splitbrain.harness.history.fault": (
        "Cut", "Fault", "Figure", "Impair", "Kill", "Other", "Pause", "Proof", "Skew", "Spec",
    ),
    "splitbrain.harness.history.formats": ("read",),
    "splitbrain.harness.history.history": ("History",),
    "splitbrain.harness.history.operation": ("Operation",),
    "splitbrain.harness.history.recording": ("Recording",),
    "splitbrain.harness.history.variant": ("Capability", "Claim", "Damage", "Label", "Variant"),
    "splitbrain.harness.load.client": ("Client",),
    "splitbrain.harness.plan": ("OptionTable", "Plan"),
    "splitbrain.harness.settings": ("Setting",),
    "splitbrain.harness.run": ("Outcome", "run"),
    "splitbrain.harness.testbeds.testbed": ("Node", "Service", "Testbed"),
    "splitbrain.harness.verify": ("verify",),
    "splitbrain.nemeses.cluster": ("Cluster",),
    "splitbrain.nemeses.injectors.injector": ("Injector",),
    "splitbrain.nemeses.nemesis": ("Nemesis", "NoTarget", "Outlook"),
    "splitbrain.nemeses.partitions": ("Partition",),
    "splitbrain.workloads.workload": ("Invocation", "Workload"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'splitbrain' has no attribute '{name}'")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
