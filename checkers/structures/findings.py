"""What the checkers of structures share: anomalies gathered, the worst of each kind shown."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from splitbrain.checkers.anomalies import in_order
from splitbrain.checkers.structures.columns import Flags, Integers, Ints
from splitbrain.checkers.verdict import Anomaly, Coverage, Figure, Moment, Standing, State, Verdict
from splitbrain.harness.history.operation import Key, Operation
from splitbrain.harness.history.recording import Recording

SHOWN = 5
"""Anomalies shown of each identifier between two faults' beginnings."""


Told = tuple[str, Iterable[Operation]]
"""What is shown of an anomaly: the sentence, and the operations that prove it, of which the last is accused."""


class Findings:
    """The anomalies of one recording, as they are found. There may be very many: what is shown is told of a few."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.counts: Counter[str] = Counter()
        self.keys: set[Key] = set()
        """Of which keys there are any."""
        self.least: set[str] = set()
        """Identifiers of which there may be more than were counted."""
        self._moments: defaultdict[str, list[Moment]] = defaultdict(list)
        self._shown: defaultdict[tuple[str, int], list[Anomaly]] = defaultdict(list)
        self._starts = np.array(sorted(fault.started for fault in recording.faults), np.int64)
        self._began = time.monotonic()

    def add(self, identifier: str, key: Key, moment: Moment, tell: Callable[[], Told]) -> None:
        """Count an anomaly of a key, and show what `tell` tells of it if few like it are shown."""
        self.keys.add(key)
        self.counts[identifier] += 1
        self._moments[identifier].append(moment)
        between = int(np.searchsorted(self._starts, moment.began, side="right"))
        if len(self._shown[identifier, between]) < SHOWN:
            self._show(identifier, between, moment, tell())

    def add_all(
        self, identifier: str, keys: Integers, began: Ints, seen: Ints, tell: Callable[[int], Told], lost: bool | Flags = False,
    ) -> None:
        """Add an anomaly for each of these moments, of keys by their codes in the history; `tell` gets a place among them."""
        if not len(began):
            return
        names = self.recording.history.keys
        self.keys.update(names[code - 1] if code else None for code in np.flatnonzero(np.bincount(keys + 1)).tolist())
        moments = list(map(Moment, began.tolist(), seen.tolist(), np.broadcast_to(lost, len(began)).tolist()))
        self.counts[identifier] += len(moments)
        self._moments[identifier] += moments
        betweens = np.searchsorted(self._starts, began, side="right")
        for between in np.flatnonzero(np.bincount(betweens)).tolist():
            free = SHOWN - len(self._shown[identifier, between])
            for at in np.flatnonzero(betweens == between)[:free].tolist():
                self._show(identifier, between, moments[at], tell(at))

    def add_rows(self, identifier: str, rows: Ints, tell: Callable[[int], Told]) -> None:
        """Add an anomaly for each of these rows, which happened while that call was open; `tell` gets a place among them."""
        history = self.recording.history
        self.add_all(identifier, history.key[rows], history.invoked[rows], history.completed[rows], tell)

    def _show(self, identifier: str, between: int, moment: Moment, told: Told) -> None:
        sentence, operations = told[0], tuple(told[1])
        self._shown[identifier, between].append(Anomaly(
            identifier=identifier, sentence=sentence, key=operations[-1].key, operations=operations,
            accused=len(operations) - 1, moment=moment,
        ))

    def verdict(
        self, checker: str, models: Mapping[str, Sequence[str]], *, keys: int, judged: int, things: str,
        what: str = "reads", note: str = "", unproven: Mapping[str, str] | None = None,
        figures: Sequence[Figure] = (), apart: bool = True,
    ) -> Verdict:
        """The verdict. `models` maps each model that is decided to the identifiers that refute it; `judged` reads (or `what`)
        were, of `things`, of which there are so many `keys`, judged each `apart` or together. `note` is what else is to be
        said; `unproven` maps each model of which the answers prove nothing to why."""
        unproven = unproven or {}
        counts = in_order(self.counts)
        states: list[Standing] = []
        for model, identifiers in models.items():
            by = tuple(name for name in counts if name in identifiers)
            state: State = "refuted" if by else "holds" if judged and model not in unproven else "undecided"
            states.append(Standing(model=model, state=state, by=by))
        # A valid history satisfies them all: what it breaks is told first, and of that what the first evidence is against.
        worst = list(counts)
        states.sort(key=lambda one: worst.index(one.by[0]) if one.by else len(worst))
        if counts:
            told = ", ".join(
                f"{'at least ' if name in self.least else ''}{number:,} {name}" for name, number in counts.items()
            )
            reason = f"of {judged:,} {what} of {things}: {told}."
        elif judged and unproven:
            reason = f"{'; '.join(dict.fromkeys(unproven.values()))}: nothing is proven."
        elif judged:
            reason = f"{judged:,} {what} of {things} told what they had to."
        else:
            reason = f"there are no {what} of {things}: nothing is proven."
        reason += f" {note}" if note else ""
        anomalies = [anomaly for name in counts for (identifier, _), kept in sorted(self._shown.items()) if identifier == name
                     for anomaly in kept]
        return Verdict(
            checker=checker, validity="invalid" if counts else "valid" if judged and not unproven else "unknown", reason=reason,
            standings=tuple(states), anomalies=tuple(anomalies), counts=counts,
            moments={name: tuple(moments) for name, moments in self._moments.items()},
            # Of a fault that nothing of such a name was found of, nobody knows that there was none.
            complete=self.least.isdisjoint(counts),
            coverage=Coverage(
                keys=keys, operations=len(self.recording.history), refuted=len(self.keys) if apart else None
            ),
            figures=tuple(figures),
            seconds=time.monotonic() - self._began,
        )
