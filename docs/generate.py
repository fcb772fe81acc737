"""What the pages take from the code while they are built: the keys of a plan, models and levels, and every anomaly
with its picture.

A page has a line `<!-- generated: plan -->` where the table belongs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape
from importlib.resources import files
from typing import Any, NamedTuple, get_args

import msgspec

from splitbrain.checkers.anomalies import ANOMALIES
from splitbrain.checkers.expectations import WORDS
from splitbrain.checkers.models.specifications import MODELS
from splitbrain.checkers.transactions.lattice import IMPLIED, RULED_OUT
from splitbrain.harness import registry
from splitbrain.harness.history.fault import Other, Spec
from splitbrain.harness.plan import Plan, ScriptedFault
from splitbrain.harness.settings import keys
from splitbrain.harness.testbeds.ssh_inventory import Host
from splitbrain.harness.testbeds.testbed import DEEDS


class Bar(NamedTuple):
    """One operation of a picture: whose, when, what, and whether it is the one that should not have been answered so."""

    who: str
    began: float
    ended: float
    text: str
    wrong: bool = False


def _bars(*rows: str) -> tuple[Bar, ...]:
    """`A 0-2 write 1` and `B 3-4 read → 1 !`."""
    bars = []
    for row in rows:
        who, span, text = row.split(" ", 2)
        began, _, ended = span.partition("-")
        bars.append(Bar(who, float(began), float(ended), text.removesuffix(" !"), text.endswith(" !")))
    return tuple(bars)


_SKEW = _bars("T1 0-4 r x → nil, w y 1", "T2 0.5-4.5 r y → nil, w x 1 !")
PICTURES: dict[str, tuple[Bar, ...]] = {
    "lost-write": _bars("A 0-2 write 1", "B 3-5 write 2", "C 6-8 cas 1 → 3 !", "A 9-10 read → 3"),
    "lost-element": _bars("A 0-2 add 1", "B 3-5 add 2", "A 7-9 read → {2} !"),
    "lost-append": _bars("T1 0-2 append x 1", "T2 3-5 append x 2", "T3 6-8 r x → [2] !"),
    "lost-transfer": _bars("A 0-2 transfer 30 x to y", "B 3-5 transfer 20 y to z", "C 6-9 balances → 100, 80, 120 !"),
    "lost-update": _bars("T1 0-4 r x → 5, w x 6", "T2 0.5-4.5 r x → 5, w x 7 !"),
    "double-hold": _bars("A 0-2 acquire", "B 3-5 acquire !", "A 6-8 release"),
    "stale-fence": _bars("A 0-2 acquire → 7", "A 3-4 release", "B 5-8 acquire → 7 !"),
    "duplicate-id": _bars("A 0-2 next id → 9", "B 3-5 next id → 9 !"),
    "oversold": _bars("A 0-2 buy (the last one)", "B 3-5 buy → ok !"),
    "charged-twice": _bars("A 0-2 pay, key 7", "A 3-5 pay, key 7 → ok !"),
    "came-back": _bars("A 0-2 put 1", "A 3-5 take 1", "B 6-8 view → 1 !"),
    "over-admitted": _bars("A 0-2 ask → admitted (the last one)", "B 3-5 ask → admitted !"),
    "blocked-seen": _bars("A 0-2 block B", "A 3-5 view B → 1 post !"),
    "deleted-seen": _bars("A 0-2 delete 7", "B 3-5 view → 6, 7 !"),
    "wrong-total": _bars("A 0-2 deposit 100", "B 3-5 transfer 30", "C 6-9 balances → 100, 30 !"),
    "wrong-balance": _bars("A 0-2 transfer 30 x to y", "C 6-9 balances → 40, 160 !"),
    "inconsistent-analysis": _bars("A 0-2 transfer 30 x to y", "B 3-5 transfer 20 x to z", "C 6-9 balances → 80, 130, 90 !"),
    "negative-balance": _bars("A 0-2 deposit 10", "B 3-5 transfer 30", "C 6-9 balances → -20, 30 !"),
    "out-of-bounds": _bars("A 0-2 increment 1", "B 3-5 increment 1", "C 6-8 count → 1 !"),
    "dirty-update": _bars("T1 0-3 append x 1 (aborted)", "T2 4-7 append x 2", "T3 8-11 r x → [1 2] !"),
    "split-brain": _bars("A 0-2 write 1", "B 3-5 cas 1 → 2", "C 3.5-5.5 cas 1 → 3 !"),
    "duplicate": _bars("A 0-2 enqueue 1", "B 3-5 dequeue → 1", "C 6-8 dequeue → 1 !"),
    "unexpected": _bars("A 0-2 add 1", "B 3-6 read → {1 9} !"),
    "duplicate-elements": _bars("T1 0-3 append x 1", "T2 4-7 r x → [1 1] !"),
    "incompatible-order": _bars("T1 0-4 r x → [1 2]", "T2 5-9 r x → [2 1] !"),
    "cyclic-versions": _bars("T1 0-3 r x → 1, w x 2", "T2 4-7 r x → 2, w x 1 !"),
    "internal": _bars("T1 0-5 w x 1, r x → 7 !"),
    "G1a": _bars("T1 0-3 w x 1 (aborted)", "T2 4-7 r x → 1 !"),
    "G1b": _bars("T1 0-5 w x 1, w x 2", "T2 2-6 r x → 1 !"),
    "G0": _bars("T1 0-5 append x 1, append y 1", "T2 0.5-5.5 append x 2, append y 2", "T3 7-12 r x → [1 2], r y → [2 1] !"),
    "G1c": _bars("T1 0-5 w x 1, r y → 2", "T2 0.5-5.5 w y 2, r x → 1 !"),
    "G-single": _bars("T1 0-6 r x → nil, r y → 1 !", "T2 1-5 w x 1, w y 1"),
    "G-nonadjacent": _bars("T1 0-2 w x 1", "T2 0-2.5 w y 1", "T3 3-7 r x → 1, r y → nil", "T4 3-7.5 r y → 1, r x → nil !"),
    "G2-item": _SKEW,
    "non-repeatable-read": _bars("T1 0-6 r x → 1, r x → 2 !", "T2 2-4 w x 2"),
    "long-fork": _bars("T1 0-2 w x 1", "T2 0-2.5 w y 1", "T3 3-7 r x → 1, r y → nil", "T4 3-7.5 r y → 1, r x → nil !"),
    "stale-read": _bars("A 0-2 write 1", "B 3-5 write 2", "C 6-8 read → 1 !"),
    "stale-element": _bars("A 0-2 add 1", "B 3-5 read → {} !", "C 6-8 read → {1}"),
    "non-monotonic-read": _bars("A 0-2 write 1", "B 2.5-9 write 2", "C 3-5 read → 2", "D 6-8 read → 1 !"),
    "reordered": _bars("A 0-2 enqueue 1", "A 3-5 enqueue 2", "B 6-8 dequeue → 2 !"),
    "aborted-read": _bars("A 0-2 write 1 (failed)", "B 3-5 read → 1 !"),
    "future-read": _bars("A 0-2 read → 1 !", "B 3-5 write 1"),
    "unwritten-read": _bars("A 0-2 write 1", "B 3-5 read → 9 !"),
    "diverged": _bars("n1 0-3 holds 1", "n2 0-3 holds 2 !", "n3 0-3 holds 1"),
    "fence-passed": _bars("A 0-2 acquire → 7", "B 3-5 acquire → 8", "B 6-8 write 2, fence 8", "A 9-11 write 1, fence 7 → ok !"),
    "missed-event": _bars("A 0-2 write 1", "A 3-5 write 2", "W 1-9 told: 2 !"),
    "event-reordered": _bars("A 0-2 write 1", "A 3-5 write 2", "W 1-9 told: 2, 1 !"),
    "event-from-the-past": _bars("A 0-2 write 1 (revision 5)", "A 3-5 write 2 (revision 6)", "W 6-9 from revision 6: 1, 2 !"),
    "missed-own-write": _bars("A 0-2 write 1", "A 3-5 read → nil !"),
    "read-went-back": _bars("A 0-2 write 1", "B 0.5-2.5 read → 1", "B 3-5 read → nil !"),
    "own-writes-reordered": _bars("A 0-2 write x 1", "A 3-5 write y 1", "B 6-8 read y → 1", "B 9-11 read x → nil !"),
    "effect-before-cause": _bars("A 0-2 write x 1", "B 3-5 read x → 1", "B 6-8 write y 1", "C 9-11 read y → 1",
                                 "C 12-14 read x → nil !"),
    "causality-broken": _bars("A 0-2 write x 1", "A 3-5 write y 1", "B 6-8 read y → 1", "B 9-11 write z 1",
                              "C 12-14 read z → 1", "C 15-17 read x → nil !"),
    "no-sequential-order": _bars("A 0-2 write 1", "B 0-2.5 write 2", "C 3-5 read → 1", "C 6-8 read → 2", "D 3-5.5 read → 2",
                                 "D 6-8.5 read → 1 !"),
    "non-linearizable": _bars("A 0-3 write 1", "B 1-4 write 2", "C 5-7 read → 1", "D 5-7.5 read → 2 !"),
}
"""Anomaly → a smallest history of it. The cycles of transactions share theirs: `-process` and `-realtime` differ in what else
orders the transactions."""


def picture(identifier: str) -> str:
    """An SVG: a line for each client or transaction, time to the right, what is wrong in red."""
    bars = PICTURES[re.sub("-(process|realtime)$", "", identifier)]
    names = list(dict.fromkeys(bar.who for bar in bars))
    wide = max(max((len(bar.text) * 7 + 14) / (bar.ended - bar.began) for bar in bars), 26)
    end = max(bar.ended for bar in bars) * wide
    drawn = []
    for row, name in enumerate(names):
        y = 8 + row * 32
        drawn.append(f'<text x="4" y="{y + 16}" class="who">{escape(name)}</text>')
        drawn.append(f'<line x1="34" x2="{end + 40:.0f}" y1="{y + 12}" y2="{y + 12}" class="time"/>')
        for bar in bars:
            if bar.who == name:
                x, width = 36 + bar.began * wide, (bar.ended - bar.began) * wide
                drawn.append(f'<rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="24" rx="3" '
                             f'class="{"wrong" if bar.wrong else "call"}"/>')
                drawn.append(f'<text x="{x + width / 2:.0f}" y="{y + 16}" class="what">{escape(bar.text)}</text>')
    style = (".call{fill:#5b8def33;stroke:#5b8def}.wrong{fill:#e0404033;stroke:#e04040}.time{stroke:#8888}"
             "text{font:12px monospace;fill:currentColor}.what{text-anchor:middle}.who{font-weight:bold}")
    style = re.sub(r"(^|\})(\.?[a-z])", r"\1.history \2", style)
    height = 16 + 32 * len(names)
    return (f'<svg class="history" role="img" aria-label="{escape(identifier)}" viewBox="0 0 {end + 48:.0f} {height}" '
            f'width="{min(end + 48, 900):.0f}" xmlns="http://www.w3.org/2000/svg"><style>{style}</style>{"".join(drawn)}</svg>')


def anomalies() -> str:
    """Every row of the table of anomalies."""
    told = []
    for identifier, row in ANOMALIES.items():
        facts = [f"Seen on: {', '.join(row.touches)}.", f"Refutes: {' and '.join(f'{kind}s' for kind in sorted(row.refutes))}."]
        if row.loses:
            facts.append("Something acknowledged is gone.")
        if row.more_general:
            facts.append(f"Its evidence alone may be called {' or '.join(f'`{name}`' for name in row.more_general)}.")
        told.append(f"## `{identifier}`\n\n{row.meaning}\n\n{picture(identifier)}\n\n{' '.join(facts)}\n")
    return "\n".join(told)


def plan() -> str:
    """Every key of a plan, and of a fault in its schedule."""
    return f"{_keys(Plan)}\n\n## `[[schedule]]`\n\n{msgspec_doc(ScriptedFault)}\n\n{_keys(ScriptedFault)}"


def specs() -> str:
    """Every kind of target that a script can name."""
    rows = ["| `type` | keys | what it does |", "| --- | --- | --- |"]
    for kind in get_args(Spec):
        if kind is not Other:  # It belongs to a nemesis, which has to be named beside it.
            told = ", ".join(f"`{name}`" for name in keys(kind))
            rows.append(f"| `{kind.__struct_config__.tag}` | {told} | {msgspec_doc(kind)} |")
    return "\n".join(rows)


def inventory() -> str:
    """Every key of a machine."""
    return _keys(Host)


def msgspec_doc(struct: type[msgspec.Struct]) -> str:
    """The docstring as one paragraph."""
    return " ".join((struct.__doc__ or "").split())


def _keys(struct: type[msgspec.Struct]) -> str:
    rows = ["| key | type | what it decides |", "| --- | --- | --- |"]
    for name, key in keys(struct).items():
        rows.append(f"| `{name}` | {_type(key.kind)} | {key.describe()} |".replace("||", "\\|\\|"))
    return "\n".join(rows)


def _type(kind: Any) -> str:
    text = kind.__name__ if isinstance(kind, type) and not hasattr(kind, "__args__") else str(kind)
    text = re.sub(r"[a-zA-Z_.]*\.(?=[A-Z])", "", text)
    if text.startswith("Literal"):
        return " or ".join(f"`{one}`" for one in kind.__args__)
    if text.startswith("tuple"):
        return "list"
    if text.startswith("dict"):
        return "tables"
    return {"str": "text", "int": "whole number", "float": "number", "bool": "`true` or `false`"}.get(text, text)


def models() -> str:
    """Every object with its operations."""
    rows = ["| model | operations | what it is |", "| --- | --- | --- |"]
    for name, model in MODELS.items():
        said = " ".join((model.__doc__ or "").split("\n\n")[0].split()).replace("|", "\\|")
        rows.append(f"| `{name}` | {', '.join(f'`{f}`' for f in model.functions)} | {said} |")
    return "\n".join(rows)


def levels() -> str:
    """Every level of isolation with those that it implies, and the anomalies that name it as the weakest they rule out."""
    rows = ["| level | implies | ruled out by, among others |", "| --- | --- | --- |"]
    for level, implied in IMPLIED.items():
        by = [f"`{anomaly}`" for anomaly, weakest in RULED_OUT.items() if weakest == level]
        rows.append(f"| `{level}` | {', '.join(f'`{one}`' for one in implied)} | {', '.join(by)} |")
    return "\n".join(rows)


def abilities() -> str:
    """What each testbed can do to its nodes."""
    testbeds = {name: registry.look_up("testbeds", name) for name in registry.names("testbeds")}
    rows = [f"| what is done to nodes | {' | '.join(f'`{name}`' for name in testbeds)} |", "| --- " * (len(testbeds) + 1) + "|"]
    for ability, deed in DEEDS.items():
        rows.append(f"| {deed} | {' | '.join('yes' if ability in one.abilities else '-' for one in testbeds.values())} |")
    return "\n".join(rows)


def expectations() -> str:
    """Every word that `--expect` takes."""
    return ", ".join(f"`{word}`" for word in WORDS) + "."


def example() -> str:
    """The test of a new database."""
    text = (files("splitbrain.harness") / "templates" / "database_test.txt").read_text("utf-8")
    return "```python\n" + text.replace("@NAME@", "mine").replace("@FILE@", "mine").rstrip() + "\n```"


PARTS: dict[str, Callable[[], str]] = {
    "anomalies": anomalies, "plan": plan, "inventory": inventory, "models": models, "levels": levels,
    "expectations": expectations, "specs": specs, "example": example, "abilities": abilities,
}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """mkdocs' hook: put in what is generated."""
    return re.sub(r"<!-- generated: (\w+) -->", lambda found: PARTS[found[1]](), markdown)
