"""What the checkers of structures share: anomalies gathered, the worst of each kind shown."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from splitbrain.checkers.anomalies import in_order
from splitbrain.checkers.verdict import Anomaly, Coverage, Moment, Standing, State, Verdict
from splitbrain.harness.history.history import NEVER
from splitbrain.harness.history.recording import Recording

SHOWN = 5
"""Anomalies shown of each identifier between two faults' beginnings."""


class Findings:
    """The anomalies of one recording, as they are found."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.counts: Counter[str] = Counter()
        self._moments: defaultdict[str, list[Moment]] = defaultdict(list)
        self._shown: defaultdict[tuple[str, int], list[Anomaly]] = defaultdict(list)
        self._starts = sorted(fault.started for fault in recording.faults)
        self._began = time.monotonic()
        phase = recording.phase("final-reads") if recording.phases else None
        self.final = NEVER if phase is None else phase.began
        """When the final reads began."""

    def add(self, anomaly: Anomaly) -> None:
        """Count an anomaly, which has its moment, and keep it if few like it were kept."""
        assert anomaly.moment is not None
        self.counts[anomaly.identifier] += 1
        self._moments[anomaly.identifier].append(anomaly.moment)
        before = sum(start <= anomaly.moment.began for start in self._starts)
        shown = self._shown[anomaly.identifier, before]
        if len(shown) < SHOWN:
            shown.append(anomaly)

    def verdict(
        self, checker: str, models: Mapping[str, Sequence[str]], coverage: Coverage, *, judged: int, things: str
    ) -> Verdict:
        """The verdict. `models` maps each model that is decided to the identifiers that refute it; `judged` reads were, of
        `things`."""
        counts = in_order(self.counts)
        states: list[Standing] = []
        for model, identifiers in models.items():
            by = tuple(name for name in counts if name in identifiers)
            state: State = "refuted" if by else "holds" if judged else "undecided"
            states.append(Standing(model=model, state=state, by=by))
        if counts:
            told = ", ".join(f"{number} {name}" for name, number in counts.items())
            reason = f"of {judged} reads of {things}: {told}."
        elif judged:
            reason = f"{judged} reads of {things} told what they had to."
        else:
            reason = f"no read of {things} was answered: nothing is proven."
        anomalies = [anomaly for name in counts for (identifier, _), kept in sorted(self._shown.items()) if identifier == name
                     for anomaly in kept]
        return Verdict(
            checker=checker, validity="invalid" if counts else "valid" if judged else "unknown", reason=reason,
            standings=tuple(states), anomalies=tuple(anomalies), counts=counts,
            moments={name: tuple(moments) for name, moments in self._moments.items()}, complete=True, coverage=coverage,
            seconds=time.monotonic() - self._began,
        )
