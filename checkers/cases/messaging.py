"""Messages: which were confirmed and vanished, which came twice, and which appeared behind newer ones.

An inbox is a set of copies. A message that was not confirmed may be sent again, as another copy: `copy // COPIES` is the
message. A client that reads an inbox is a device; what it had not shown before is new to whoever holds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from splitbrain.checkers.cases.customers import server_of
from splitbrain.checkers.structures.columns import check_functions, keys_of
from splitbrain.checkers.structures.findings import Findings, Told
from splitbrain.checkers.verdict import Figure, Moment, Verdict
from splitbrain.harness.history.moment import clock
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.recording import Recording

COPIES = 1000
"""Numbers of copies that a message has."""

KEPT, ORDERED = "messages kept", "messages ordered"


class MessagingChecker:
    """Judges `send` of copies and `read` of inboxes. `deduplicated`: a device shows one copy of a message.

    A confirmed message of which no copy is in an inbox that was read in the end is `lost-element`. One that appears on a device
    which had shown a newer one before, sent when the older had been confirmed, is `reordered`.
    """

    name = "messaging"

    def __init__(self, *, deduplicated: bool = False) -> None:
        self.deduplicated = deduplicated

    def check(self, recording: Recording) -> Verdict:
        """Raises `UsageError` for any other function."""
        history = recording.history
        check_functions(history, self.name, ("send", "read"))
        found = Findings(recording)
        messages = confirmed = lost_most = twice = arrived = reads = settled = 0
        for _, rows in history.by_key():
            inbox = _Inbox([history[row] for row in rows.tolist()], recording.final)
            messages, confirmed = messages + len(inbox.sent), confirmed + len(inbox.confirmed)
            reads += len(inbox.reads)
            arrived += len(inbox.shown - set(inbox.confirmed))
            twice += 0 if self.deduplicated else inbox.doubled
            lost_most += 0 if inbox.last else len(inbox.confirmed)
            settled += len(inbox.confirmed) if inbox.last else 0
            _lost(found, inbox)
            _reordered(found, inbox)
        lost, late = found.counts["lost-element"], found.counts["reordered"]
        silent = messages - confirmed
        figures = [
            Figure(name="messages confirmed", least=confirmed, most=confirmed, of=messages),
            Figure(name="confirmed messages that vanished", least=lost, most=lost + lost_most, of=confirmed,
                   price="consistency"),
            Figure(name="messages shown more than once", least=twice, most=twice, of=messages, price="consistency"),
            Figure(name="old messages that appeared as new", least=late, most=late, price="consistency"),
            Figure(name="messages never confirmed", least=silent, most=silent, of=messages, price="availability"),
            Figure(name="messages never confirmed that arrived", least=arrived, most=arrived, of=silent),
        ]
        models = {KEPT: ("lost-element",), ORDERED: ("reordered",)}
        return found.verdict(
            self.name, models, keys=keys_of(history), judged=reads, things="inboxes",
            figures=figures,
            unproven={KEPT: "no inbox was read after its last message was confirmed"} if lost_most and not settled else {},
        )


class _Inbox:
    """The operations on one inbox: the message of each copy, when each message was first confirmed, and what was shown."""

    def __init__(self, operations: Sequence[Operation], final: int) -> None:
        sends = [one for one in operations if one.f == "send"]
        self.copies = {one.value: one for one in sends}
        self.sent = {one.value // COPIES for one in sends}
        self.confirmed: dict[int, Operation] = {}
        for send in sorted((one for one in sends if one.outcome == "ok"), key=lambda one: one.ended):
            self.confirmed.setdefault(send.value // COPIES, send)
        self.reads = [one for one in operations if one.f == "read" and one.outcome == "ok"]
        over = max((one.ended for one in self.confirmed.values()), default=0)
        last = [one for one in self.reads if one.invoked > over]
        self.last = [one for one in last if one.invoked >= final] or last
        """The reads in the end: the final ones, or where there are none those after the last message was confirmed."""
        self.shown = {copy // COPIES for read in self.reads for copy in read.value if copy in self.copies}
        seen = {copy for read in self.reads for copy in read.value if copy in self.copies}
        self.doubled = len(seen) - len(self.shown)
        """Copies that a device showed beyond the first one of their message."""


def _lost(found: Findings, inbox: _Inbox) -> None:
    if not inbox.last:
        return
    kept = {copy // COPIES for read in inbox.last for copy in read.value}
    for message, send in inbox.confirmed.items():
        if message not in kept:
            without = next(one for one in inbox.reads if one.invoked > send.ended
                           and message not in {copy // COPIES for copy in one.value})
            sentence = (
                f"message {message} was confirmed as delivered to inbox {send.key} at {clock(send.ended)} by "
                f"{server_of(send)}, and nobody who read the inbox in the end found it."
            )
            found.add("lost-element", send.key, Moment(began=send.ended, seen=without.ended, lost=True),
                      partial(_told, sentence, inbox.last[-1], send))


def _reordered(found: Findings, inbox: _Inbox) -> None:
    """Go through what each device showed, one read after another."""
    devices: dict[int, list[Operation]] = {}
    for read in inbox.reads:
        devices.setdefault(read.process, []).append(read)
    for reads in devices.values():
        shown: set[int] = set()
        newest: tuple[int, int] = (0, 0)  # When the newest message shown was sent, and its copy.
        before: Operation | None = None
        for read in reads:
            copies = [copy for copy in read.value if copy in inbox.copies]
            for message in sorted({copy // COPIES for copy in copies} - shown):
                send = inbox.confirmed.get(message)
                if before is not None and send is not None and send.ended < newest[0]:
                    newer = inbox.copies[newest[1]]
                    sentence = (
                        f"message {message} in inbox {read.key} appeared as new at {read.node or 'a device'} at "
                        f"{clock(read.ended)}, though it had been delivered at {clock(send.ended)}, and message "
                        f"{newest[1] // COPIES}, which was sent after that, had been shown."
                    )
                    found.add("reordered", read.key, Moment(began=before.invoked, seen=before.ended),
                              partial(_told, sentence, send, newer, before, read))
            shown |= {copy // COPIES for copy in copies}
            latest = max(((inbox.copies[copy].invoked, copy) for copy in copies), default=newest)
            if latest > newest:
                newest, before = latest, read


def _told(sentence: str, *operations: Operation) -> Told:
    return sentence, operations
