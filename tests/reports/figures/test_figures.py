"""Every figure of a report is counted anew from the journal, in plain code of the test's own; a number that nothing counts is
an error, as is one that the count does not agree with."""

from __future__ import annotations

import lzma
import re
from pathlib import Path

import pytest

from splitbrain.harness.run import judge_run
from splitbrain.harness.store import Run
from splitbrain.reports.page import html
from tests.reports.figures import banks, locks, queue_claims, queues  # noqa: F401 (the claims of queues)
from tests.reports.figures.claims import COUNTS, Page, claimed
from tests.reports.figures.page import Block, blocks
from tests.reports.figures.recount import Recount

JOURNALS = sorted((Path(__file__).parent / "journals").glob("*.jsonl.xz"))

# Their claims are made where these are.
assert {"bank": banks.Bank, "lock": locks.Locks, "queue": queues.Queues}.items() <= COUNTS.items()

NAMES = re.compile(
    r"\bn\d+\b"  # nodes
    r"|\bp(50|95|99)\b"  # what a column is called
    r"|\bfault \d+\b"  # faults, which are told by their numbers
    r"|--[a-z]+ \d+"  # options of the program
)
"""Numbers in names, anywhere."""

NO_FIGURES = (
    ("header", "p", r"(?P<version>\d+\.\d+\.\d+) |seed \d+|\d{4}-\d\d-\d\d \d\d:\d\d UTC"),  # version, seed, date
    ("verdict", "dd", r"\((?:[12]\d{3})\)"),  # the year of a book
    ("verdict", "dd", r"Cassandra documentation 5\.0|IEEE Computer 45\(2\), 2012|etcd (?:documentation v3\.5|3\.4\.3)"),
    ("failures", "td", r"received only \d responses\. \(code 0x\d+\)"),  # in the servers' words
    ("why", "pre", r".*"),  # lines of logs, as the servers wrote them
    ("why", "p", r"^Lines within 1 s of the operations shown.*"),
    ("partition", "text", r"^\d+$"),  # the numbers of faults in the strip
    ("availability", "p", r"^Answered of attempted by .*"),  # how a side is called available
    ("availability time", "text", r".*"),  # the ticks of axes
    ("time", "figcaption", r"^In bins of .*"),
    ("checkers", "td", r"^[\d.,]+ m?s$"),  # how long a checker took on this machine
    ("reproduce files glossary", "", r".*"),  # plan, versions, machine, names of files, what words mean
)
"""What else is no figure of the run: in these sections and elements, text that this matches."""


def exempt(block: Block) -> list[tuple[int, int]]:
    return [
        found.span() for sections, tag, pattern in NO_FIGURES if block.section in sections.split() and tag in ("", block.tag)
        for found in re.finditer(pattern, block.text)
    ] + [found.span() for found in NAMES.finditer(block.text)]


@pytest.mark.parametrize("journal", JOURNALS, ids=lambda path: path.name.partition(".")[0])
def test_every_figure_is_that_of_the_journal(journal: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    lines = lzma.decompress(journal.read_bytes())
    run.journal.write_bytes(lines)
    texts = blocks(html.page(*judge_run(run), run.folder))
    page = Page(Recount(lines.decode().splitlines()), texts)
    figures = 0
    wrong, unclaimed = [], []
    for block in texts:
        spans = exempt(block)
        for start, end, problem in claimed(block, page):
            spans.append((start, end))
            figures += 1
            if problem:
                wrong.append(f"{block.section} {' | '.join(block.cells)} {block.group}: {block.text[start:end]!r}: {problem}")
        rest = "".join(" " if any(a <= at < b for a, b in spans) else letter for at, letter in enumerate(block.text))
        if re.search(r"\d", rest):
            unclaimed.append(f"{block.section} {block.tag} {block.column}: {block.text!r}: {' '.join(rest.split())!r}")
        page.last = block.text
    assert not wrong, "\n".join(wrong)
    assert not unclaimed, "\n".join(unclaimed)
    assert figures > 100
