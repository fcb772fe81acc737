"""How many round trips answers wait for without a partition, counted anew from a journal with all links delayed twice."""

from __future__ import annotations

import lzma
import statistics
from pathlib import Path

from scipy.stats import binom

from splitbrain.harness.run import judge_run
from splitbrain.harness.store import Run
from splitbrain.reports.page import html
from tests.reports.figures.claims import agrees
from tests.reports.figures.page import blocks
from tests.reports.figures.recount import SECOND, Call, Recount

JOURNAL = Path(__file__).parent / "pacelc.jsonl.xz"


def within(calls: list[Call], *spans: tuple[float, float]) -> list[float]:
    """How long answers took that began and ended in one of these spans, in the order of their calls."""
    return [(call.ended - call.invoked) / SECOND for call in calls if call.answered
            and any(began <= call.invoked and call.invoked < ended and call.ended <= ended for began, ended in spans)]


def edges(took: list[float], part: float) -> tuple[float, float]:
    """Between what that quantile lies, with 95%, by ranks; a median also where any sixth of the calls has its own."""
    among, many = sorted(took), len(took)
    low, high = (int(binom.ppf(chance, many, part)) for chance in (0.025, 0.975))
    found = [among[max(low - 1, 0)], among[min(high, many - 1)]]
    if part == 0.5:
        at = 0
        for sixth in range(6):
            size = many // 6 + (sixth < many % 6)
            found.append(statistics.median(took[at : at + size]))
            at += size
    return min(found), max(found)


def test_round_trips_are_those_of_the_journal(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    lines = lzma.decompress(JOURNAL.read_bytes())
    run.journal.write_bytes(lines)
    texts = blocks(html.page(*judge_run(run), run.folder))
    counted = Recount(lines.decode().splitlines())
    small, large = counted.faults
    probes = [fault["proofs"][0]["figures"][0] for fault in (small, large)]
    trips = [(2 * one["intended"] / 1000, 2 * one["middle"] / 1000) for one in probes]
    calm = [(max(one["acted"] for one in fault["undone"]), until)
            for fault, until in ((small, large["started"]), (large, counted.load[1]))]
    rows = sorted({block.cells for block in texts if block.columns[2:3] == ("Round trips",) and len(block.cells) == 6})
    assert [(cells[1], cells[5]) for cells in rows] == [("reads", "EC"), ("writes", "EC")]
    for cells in rows:
        calls = [call for call in counted.calls if call.kind == cells[1].removesuffix("s") and call.invoked < counted.load[1]]
        rest = within(calls, (0, small["started"])), within(calls, *calm)
        late = [within(calls, (fault["in_force"], fault["heal_began"])) for fault in (small, large)]
        k = (statistics.median(late[1]) - statistics.median(late[0])) / (trips[1][0] - trips[0][0])
        bounds = [k]
        for part in (0.25, 0.5, 0.75):
            for took, lengths in zip(late, trips, strict=True):
                for usual in rest:
                    low, high = edges(took, part)
                    least, most = edges(usual, part)
                    bounds += [longer / length for longer in (low - most, high - least) for length in lengths]
        for told, number in zip(cells[2:5], (k, min(bounds), max(bounds)), strict=True):
            assert agrees(told, number), (cells, k, min(bounds), max(bounds))
        sentence = next(block.text for block in texts if "Every link was" in block.text)
        assert f"{cells[1]} wait for {k:.1f} round trips ({min(bounds):.1f} to {max(bounds):.1f})" in sentence
        assert "50 ms late, then 100 ms (probes measured 53 and 101 ms)" in sentence
