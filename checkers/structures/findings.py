"""What the checkers of structures share: anomalies gathered, the worst of each kind shown."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence

from splitbrain.checkers.anomalies import in_order
from splitbrain.checkers.verdict import Anomaly, Coverage, Moment, Standing, State, Verdict
from splitbrain.harness.history.operation import Operation
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

    def add(self, identifier: str, moment: Moment, sentence: str, evidence: Callable[[], Sequence[Operation]]) -> None:
        """Count an anomaly, and keep it with its evidence, of which the last is accused, if few like it were kept."""
        self.counts[identifier] += 1
        self._moments[identifier].append(moment)
        shown = self._shown[identifier, sum(start <= moment.began for start in self._starts)]
        if len(shown) < SHOWN:
            operations = tuple(evidence())
            shown.append(Anomaly(
                identifier=identifier, sentence=sentence, key=operations[-1].key, operations=operations,
                accused=len(operations) - 1, moment=moment,
            ))

    def verdict(
        self, checker: str, models: Mapping[str, Sequence[str]], coverage: Coverage, *, judged: int, things: str,
        what: str = "reads", note: str = "", unproven: Mapping[str, str] | None = None,
    ) -> Verdict:
        """The verdict. `models` maps each model that is decided to the identifiers that refute it; `judged` reads (or `what`)
        were, of `things`. `note` is what else is to be said; `unproven` maps each model of which the answers
        prove nothing to why."""
        unproven = unproven or {}
        counts = in_order(self.counts)
        states: list[Standing] = []
        for model, identifiers in models.items():
            by = tuple(name for name in counts if name in identifiers)
            state: State = "refuted" if by else "holds" if judged and model not in unproven else "undecided"
            states.append(Standing(model=model, state=state, by=by))
        # A valid history satisfies them all: what it breaks is told first.
        states.sort(key=lambda one: one.state != "refuted")
        if counts:
            told = ", ".join(f"{number} {name}" for name, number in counts.items())
            reason = f"of {judged:,} {what} of {things}: {told}."
        elif judged and unproven:
            reason = f"{'; '.join(dict.fromkeys(unproven.values()))}: nothing is proven."
        elif judged:
            reason = f"{judged:,} {what} of {things} told what they had to."
        else:
            reason = f"no {what.removesuffix('s')} of {things} was answered: nothing is proven."
        reason += f" {note}" if note else ""
        anomalies = [anomaly for name in counts for (identifier, _), kept in sorted(self._shown.items()) if identifier == name
                     for anomaly in kept]
        return Verdict(
            checker=checker, validity="invalid" if counts else "valid" if judged and not unproven else "unknown", reason=reason,
            standings=tuple(states), anomalies=tuple(anomalies), counts=counts,
            moments={name: tuple(moments) for name, moments in self._moments.items()}, complete=True, coverage=coverage,
            seconds=time.monotonic() - self._began,
        )
