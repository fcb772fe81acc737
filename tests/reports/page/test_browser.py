"""The report in a real browser: what a reader sees on a screen, on a telephone and on paper."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from splitbrain.checkers.result import Result
from splitbrain.harness.history.fault import PlainFault
from splitbrain.harness.history.recording import Recording
from splitbrain.reports import compare as compare_runs
from splitbrain.reports import serve
from splitbrain.reports.nights import Cost as nights_cost
from splitbrain.reports.nights import Night
from splitbrain.reports.nights import told as nights_of
from splitbrain.reports.page import compare, contract, html, index
from tests.reports import story
from tests.reports.test_nights import line

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium, Debian's; where there is none the tests are skipped by name, and in CI they fail."""
    program = shutil.which("chromium")
    if program is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no chromium on this machine: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two reports: of a run with one fault, in which strangers' text wants to be obeyed, and of one with 200 faults."""
    folder = tmp_path_factory.mktemp("reports")
    recording = story.recording(hostile=True)
    made = {"one": (recording, story.result(recording, hostile=True)), "many": many()}
    for name, (of, result) in made.items():
        html.write(folder / f"{name}.html", result, of)
    return {name: folder / f"{name}.html" for name in made}


def many() -> tuple[Recording, Result]:
    """The story with 200 short faults, one in seven of which cost something."""
    recording = story.recording()
    result = story.result(recording)
    cut, row = story.FAULT, result.scenarios[0]
    faults, rows = [], []
    for number in range(200):
        started = 1.2 + number * 0.22
        heal_began, healed = started + 0.15, started + 0.16
        faults.append(PlainFault(
            id=number + 1, nemesis=cut.nemesis, scenario=cut.scenario, cut=cut.cut, observed_cut=cut.cut, sides=cut.sides,
            primary="n1", spread=3_100_000, heal_spread=2_000_000, started=story.second(started),
            in_force=story.second(started + 0.01), proven=story.second(started + 0.02), heal_began=story.second(heal_began),
            healed=story.second(healed),
        ).fault())
        rows.append(msgspec.structs.replace(
            row, fault=number + 1, started=started, in_force=started + 0.01, proven=started + 0.02, heal_began=heal_began,
            healed=healed, classification="CP" if number % 7 else "neither",
            anomalies={} if number % 7 else row.anomalies,
        ))
    return (
        msgspec.structs.replace(recording, faults=tuple(faults)),
        msgspec.structs.replace(result, scenarios=tuple(rows)),
    )


def opened(browser: Any, path: Path, width: int = 1280, scheme: str = "light") -> Any:
    """The page; console messages and requests to anywhere else are in `page.complaints`."""
    # axe has to be put into the page, which its policy forbids.
    page = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, bypass_csp=True).new_page()
    page.complaints = []
    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("request", lambda request: request.url.startswith("file:") or page.complaints.append(request.url))
    page.goto(path.as_uri())
    return page


@pytest.mark.parametrize(
    ("name", "width", "scheme"), [("one", 1280, "dark"), ("one", 380, "light"), ("many", 1280, "light")]
)
def test_nobody_is_shut_out_and_nothing_is_fetched(
    browser: Any, pages: dict[str, Path], name: str, width: int, scheme: str
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = opened(browser, pages[name], width, scheme)
    found = Axe().run(page).response["violations"]
    assert [(one["id"], [node["target"] for node in one["nodes"][:3]]) for one in found] == []
    assert page.complaints == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # Every anchor leads somewhere, every picture is drawn.
    assert page.evaluate(
        "[...document.querySelectorAll('a[href^=\"#\"], svg a')].filter(a => !document.getElementById("
        "a.getAttribute('href').slice(1))).length"
    ) == 0
    assert page.evaluate(
        "[...document.querySelectorAll('svg[role=img]')].filter(svg => svg.checkVisibility() && "
        "!(svg.getBoundingClientRect().height > 5 && svg.querySelector('path, rect, circle, line'))).length"
    ) == 0
    page.context.close()


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The index of a night with nights before it, in which everything stands that an index can tell; and a served folder."""
    folder = tmp_path_factory.mktemp("nights")
    fine = msgspec.structs.replace(line(1), claims=(), place=msgspec.structs.replace(line().place, workload="set"))
    told = nights_of(story.result(story.recording()))
    assert told is not None
    again = msgspec.structs.replace(line(2), retried=("the fault never bit",))
    runs = [fine, told, again, line(3, missed=True, variant="cluster"), line(4, text=story.HOSTILE)]
    before = [Night(f"202611{at:02d}T021000-suite-n", (line(at, seen=at % 2 == 0), line(at, variant="new")))
              for at in range(1, 31)]
    cost = nights_cost(fault=1, lengths=(1.0,), unproven=0, lost=3, stale_ms=40.0, at_least=True, unknown={"recovery": "none"})
    runs += [msgspec.structs.replace(line(at), cost=msgspec.structs.replace(cost, fault=at, lengths=(at + 0.1,) * (at % 2)),
             place=msgspec.structs.replace(line().place, fault=at, workload="set")) for at in (1, 2, 3)]
    index.write(folder / "index.html", "nightly", runs, before, index.Status(5, 5))
    (folder / "serve.html").write_text(serve.listing(folder, folder))
    hostile = story.result(story.recording(hostile=True), hostile=True)
    contract.write(folder / "contract.html", [hostile, story.result(story.recording())], {hostile.run: "report.html"})
    lines = [compare_runs.Line(f"what {story.HOSTILE}", "CP", f"AP {story.HOSTILE}", True),
             *compare_runs.suites(before[0].runs, runs)]
    compare.write(folder / "compare.html", lines, before[0].name, story.HOSTILE, [("report", "report.html")])
    return folder


@pytest.mark.parametrize(("name", "width", "scheme", "media"), [
    ("index", 1280, "dark", "screen"), ("index", 380, "light", "screen"), ("index", 1280, "light", "print"),
    ("serve", 380, "dark", "screen"), ("contract", 380, "dark", "screen"), ("contract", 1280, "light", "print"),
    ("compare", 380, "light", "screen"), ("compare", 1280, "dark", "print"),
])
def test_nobody_is_shut_out_of_the_nights(
    browser: Any, nights: Path, name: str, width: int, scheme: str, media: str
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = opened(browser, nights / f"{name}.html", width, scheme)
    page.emulate_media(media=media, color_scheme=scheme)
    # What is served is live without a script, which only a page that asks for itself again can be.
    found = Axe().run(page, options={"rules": {"meta-refresh": {"enabled": False}}}).response["violations"]
    assert [(one["id"], [(node["target"], node["html"][:200]) for node in one["nodes"][:3]]) for one in found] == []
    assert page.complaints == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.context.close()


def test_on_a_telephone_the_state_and_the_evidence_are_on_the_screen(browser: Any, pages: dict[str, Path]) -> None:
    page = opened(browser, pages["one"], 380)
    right = page.evaluate("Math.max(...[...document.querySelectorAll('.state')].map(e => e.getBoundingClientRect().right))")
    assert right <= 380
    steps = page.locator("#why ol.steps").first.locator("li")
    assert steps.count() == 3
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= 380 for box in map(lambda n: steps.nth(n).bounding_box(), range(3)))
    # What is wider than the screen has a shadow at its edge, until its end is reached.
    lanes = page.locator("#why .scroll").first
    assert lanes.evaluate("e => e.scrollWidth > e.clientWidth")
    shaded = edge(page, lanes)
    lanes.evaluate("e => { e.scrollLeft = e.scrollWidth }")
    assert edge(page, lanes) > shaded + 10
    page.context.close()


def edge(page: Any, of: Any) -> float:
    """How light the last pixels at the right of an element are, in its lowest lines, where nothing is written (0 to 255)."""
    of.scroll_into_view_if_needed()
    box = of.bounding_box()
    shot = page.screenshot(clip={"x": box["x"] + box["width"] - 3, "y": box["y"] + box["height"] - 4, "width": 2, "height": 3})
    light: float = page.evaluate(
        """async bytes => {
            const drawn = await createImageBitmap(new Blob([new Uint8Array(bytes)]));
            const canvas = new OffscreenCanvas(drawn.width, drawn.height).getContext("2d");
            canvas.drawImage(drawn, 0, 0);
            const light = canvas.getImageData(0, 0, drawn.width, drawn.height).data.filter((_, at) => at % 4 < 3);
            return light.reduce((sum, one) => sum + one, 0) / light.length;
        }""",
        list(shot),
    )
    return light


def test_a_reader_can_filter_copy_point_and_link_and_without_a_script_all_is_there(
    browser: Any, pages: dict[str, Path]
) -> None:
    from playwright.sync_api import expect

    # With the page's own policy in force: its script runs because its sum is named.
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.goto(pages["one"].as_uri())
    rows = page.locator("table.timeline tbody tr:visible")
    before = rows.count()
    page.get_by_role("searchbox").fill("client 6")
    assert 0 < rows.count() < before
    assert all("client 6" in row.lower() for row in rows.all_inner_texts())
    box = page.locator("#time svg").bounding_box()
    page.mouse.move(0, 0)
    page.locator("#time svg").scroll_into_view_if_needed()
    page.locator("#time svg").hover(position={"x": box["width"] / 2, "y": box["height"] / 3})
    assert re.match(r"0:\d\d\.\d: ok [\d.]+/s, failed", page.locator(".readout").inner_text())
    assert page.locator("#why h2 a.permalink").get_attribute("href") == "#why"
    page.locator("button.copy").click()
    expect(page.locator("button.copy")).not_to_have_text("Copy", timeout=60_000)  # a browser may ask its system first
    page.context.close()
    plain = browser.new_context(java_script_enabled=False).new_page()
    plain.goto(pages["one"].as_uri())
    assert plain.locator("table.timeline tbody tr").count() == before
    assert plain.locator("button, input").count() == 0
    plain.context.close()


def test_two_hundred_faults_fit_a_page_that_can_be_read(browser: Any, pages: dict[str, Path]) -> None:
    assert pages["many"].stat().st_size <= 2_000_000
    page = opened(browser, pages["many"])
    assert page.evaluate("document.documentElement.scrollHeight") < 20_000
    assert page.locator("svg.strip .strip-fault").count() == 200
    assert page.locator("h3[id^=fault-]").count() == html.PICTURED
    page.context.close()


def test_on_paper_the_contract_has_a_page_of_its_own(browser: Any, pages: dict[str, Path], tmp_path: Path) -> None:
    page = opened(browser, pages["one"], 688)  # what a page of A4 has between its margins
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= 688
    contract = page.locator("#contract")
    assert contract.evaluate("e => getComputedStyle(e).breakBefore + getComputedStyle(e).breakAfter") == "pagepage"
    assert contract.bounding_box()["height"] < 950
    assert page.locator("details.raw").first.evaluate("e => getComputedStyle(e).display") == "none"
    # What is folded in cannot be unfolded on paper: tables that nobody opened are left out.
    folded = page.locator("details.folded")
    assert folded.count() and not any(one.is_visible() for one in folded.all())
    folded.first.evaluate("e => { e.open = true }")
    assert folded.first.is_visible()
    folded.first.evaluate("e => { e.open = false }")
    page.pdf(path=tmp_path / "report.pdf", prefer_css_page_size=True)
    paper = (tmp_path / "report.pdf").read_bytes()
    assert 4 <= len(re.findall(rb"/Type\s*/Page\b", paper)) <= 14
    page.context.close()
