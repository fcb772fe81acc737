"""Long fork: two readers saw two independent writes in opposite orders.

Every register is written once, and groups of them are read at one moment each. Under snapshot isolation one of two reads of a
group saw all that the other saw; parallel snapshot isolation lets them differ (Sovran et al., "Transactional storage for
geo-replicated systems", SOSP 2011). So the reads of a group, by how much they saw, must be prefixes of each other.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from functools import partial
from itertools import product

import numpy as np

from splitbrain.checkers.structures.findings import Findings, Told
from splitbrain.checkers.verdict import Moment, Verdict
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.history import OK, History
from splitbrain.harness.history.micros import READ, UNKNOWN, WRITE
from splitbrain.harness.history.moment import clock
from splitbrain.harness.history.recording import Recording
from splitbrain.harness.history.values import NIL

MODEL = "reads prefixed"


class LongForkChecker:
    """Judges transactions that write one register, each register once, and transactions that read several. Two reads of which
    each saw a write that the other missed are `long-fork`, one for each two sets of writes that were seen so, and one for
    each two registers where what was read together differs."""

    name = "long-fork"

    def check(self, recording: Recording) -> Verdict:
        """Raises `UsageError` where a register is written twice, or anything but transactions is there."""
        history, micros = recording.history, recording.history.micros
        found = Findings(recording)
        models = {MODEL: ("long-fork",)}
        if not len(history):
            return found.verdict(self.name, models, keys=0, judged=0, things="groups", apart=False)
        if micros is None or set(np.unique(history.f).tolist()) - {history.fs.index("txn")}:
            raise UsageError("the long-fork checker needs transactions of reads and writes: choose another checker")
        written = micros.key[micros.f == WRITE]
        if len(np.unique(written)) < len(written):
            raise UsageError("the long-fork checker needs registers that are written once: choose another checker")
        owner = micros.owners()
        told = (micros.f == READ) & (micros.value != UNKNOWN) & (history.outcome[owner] == OK)
        seen_key, seen_by, there = micros.key[told], owner[told], micros.value[told] != NIL
        counts = np.bincount(seen_by, minlength=len(history))
        groups: defaultdict[tuple[int, ...], dict[frozenset[int], int]] = defaultdict(dict)
        reads = 0
        order = np.argsort(seen_by, kind="stable")
        seen_key, seen_by, there = seen_key[order], seen_by[order], there[order]
        ends = np.cumsum(counts)
        for row in np.flatnonzero(counts > 1).tolist():
            rows = slice(int(ends[row] - counts[row]), int(ends[row]))
            keys = seen_key[rows]
            group = tuple(sorted(set(keys.tolist())))
            groups[group].setdefault(frozenset(keys[there[rows]].tolist()), row)
            reads += 1
        for views in groups.values():
            # Each view with the one that saw next less: a chain, or some two are not comparable.
            chain = sorted(views, key=lambda view: (len(view), views[view]))
            for at, view in enumerate(chain):
                for other in chain[:at]:
                    if not other <= view:
                        self._tell(found, recording, views[other], views[view], min(other - view), min(view - other))
        self._across(groups, found, recording)
        return found.verdict(
            self.name, models, keys=len(micros.keys), judged=reads, things="groups", apart=False,
        )

    def _across(
        self, groups: Mapping[tuple[int, ...], Mapping[frozenset[int], int]], found: Findings, recording: Recording
    ) -> None:
        """Tell of reads of different groups that have registers in common."""
        times = Counter(key for group in groups for key in group)
        first: dict[tuple[int, int], tuple[tuple[int, ...], int]] = {}
        told: set[tuple[int, int]] = set()
        for group, views in groups.items():
            shared = [key for key in group if times[key] > 1]
            for view, row in views.items() if len(shared) > 1 else ():
                for seen, missed in product([key for key in shared if key in view], [key for key in shared if key not in view]):
                    first.setdefault((seen, missed), (group, row))
                    other, before = first.get((missed, seen), (group, -1))
                    if other != group and (missed, seen) not in told:
                        told |= {(seen, missed), (missed, seen)}
                        self._tell(found, recording, before, row, missed, seen)

    def _tell(self, found: Findings, recording: Recording, one: int, other: int, first: int, second: int) -> None:
        history = recording.history
        moment = Moment(
            began=int(min(history.invoked[one], history.invoked[other])),
            seen=int(max(history.completed[one], history.completed[other])),
        )
        found.add("long-fork", None, moment, partial(_told, history, (first, second), (one, other)))


def _told(history: History, keys: tuple[int, int], reads: tuple[int, int]) -> Told:
    micros = history.micros
    assert micros is not None
    (a, b), (x, y) = (history[row] for row in reads), (micros.keys[key] for key in keys)
    sentence = (
        f"client {a.process} at {a.node or 'a client'} saw the write of {x} and not that of {y} at "
        f"{clock(int(history.completed[reads[0]]))}, and client {b.process} at {b.node or 'a client'} that of {y} and not that "
        f"of {x} at {clock(int(history.completed[reads[1]]))}."
    )
    writes = micros.owners()[(micros.f == WRITE) & np.isin(micros.key, keys)]
    return sentence, [history[row] for row in [*writes.tolist(), *reads]]
